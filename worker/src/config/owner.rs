//! Settings of the owner part of the API: `assay.owner_…` and `assay.tls_…`.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use assay_client::yaml::{Place, Reader, Text};

use super::{file, resolve::url};
use crate::api::{PartLimits, StreamLimits};

/// Settings of the owner part of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerSettings {
    /// `owner_port`: TCP port of the owner part, 1 to 65,535. Default: the port after `p2p_port`.
    pub port: u16,
    /// `owner_endpoint`: public URL of the owner part, `https://…`, at most 128 bytes. Default: the host of
    /// `endpoint` with `owner_port`.
    pub endpoint: String,
    /// `tls_certificate_file` and `tls_key_file`: certificate chain and key as PEM, of a public authority.
    /// Default: a certificate that the worker signs itself. Clients of Assay need no authority.
    pub certificate: Option<CertificateFiles>,
    /// `owner_limits`: connections and requests of the owner part. Optional, its keys have defaults.
    pub limits: OwnerLimits,
}

/// Certificate of a public authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `tls_certificate_file`: the certificate, then those of its authorities, as PEM.
    pub certificate_file: PathBuf,
    /// `tls_key_file`: the certificate's key, as PEM.
    pub key_file: PathBuf,
}

/// `assay.owner_limits`: limits of the owner part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerLimits {
    /// `connections`: maximum number of connections, 1 to 65,536. Default: 256.
    pub connections: u32,
    /// `connections_per_address`: maximum number of connections from one address, 1 to 65,536. Default: 32. A
    /// worker behind a reverse proxy sees one address.
    pub connections_per_address: u32,
    /// `requests_per_second`: average number of requests and new connections of one address, 1 to 1,000,000;
    /// four times as many may come at once. Default: 50.
    pub requests_per_second: u32,
    /// Limits of logs, commands and artifacts, each with a key of its own:
    ///
    /// | key | bounds | default |
    /// |---|---|---|
    /// | `log_readers`, `log_readers_per_job` | 1 to 65,536 | 64, 8 |
    /// | `shells`, `shells_per_job` | 1 to 65,536 | 32, 4 |
    /// | `downloads`, `downloads_per_job` | 1 to 65,536 | 32, 4 |
    /// | `patience_s`: a client that takes nothing for this time is disconnected | 1 to 3,600 | 30 |
    /// | `keep_alive_s`: pause between two signs of life on a silent log | 1 to 3,600 | 15 |
    /// | `shell_idle_s`: a command without input and output ends after this time | 1 to 604,800 | 900 |
    pub streams: StreamLimits,
}

impl Default for OwnerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 32,
            requests_per_second: 50,
            streams: StreamLimits::default(),
        }
    }
}

impl OwnerSettings {
    /// Returns the limits of the owner part of the API.
    pub fn part_limits(&self) -> PartLimits {
        PartLimits {
            connections: self.limits.connections as usize,
            connections_per_address: self.limits.connections_per_address as usize,
            requests_per_second: self.limits.requests_per_second,
            burst: self.limits.requests_per_second.saturating_mul(4),
            ..PartLimits::OWNER
        }
    }
}

/// Reads the settings; `endpoint` is the resolved `assay.endpoint`, `port` is `network_config.p2p_port`.
pub(super) fn owner(
    reader: &mut Reader,
    section: &file::Assay,
    folder: &Path,
    listen_address: IpAddr,
    endpoint: &str,
    port: u16,
) -> OwnerSettings {
    let owner_port = owner_port(reader, section.owner_port.as_ref(), port);
    let given = url(
        reader,
        "assay.owner_endpoint",
        section.owner_endpoint.as_ref(),
        &["https://"],
    );
    OwnerSettings {
        port: owner_port,
        endpoint: given.unwrap_or_else(|| default_endpoint(endpoint, listen_address, owner_port)),
        certificate: certificate(reader, section, folder),
        limits: section
            .owner_limits
            .as_ref()
            .map(|limits| owner_limits(reader, limits))
            .unwrap_or_default(),
    }
}

fn owner_port(reader: &mut Reader, text: Option<&Text>, port: u16) -> u16 {
    let Some(text) = text else {
        return match port.checked_add(1) {
            Some(next) => next,
            None => {
                let message = "`network_config.p2p_port` is the last port; add `assay.owner_port`".to_owned();
                reader.problem(Place::UNKNOWN, message);
                port
            }
        };
    };
    let owner_port = reader.number("assay.owner_port", text, 1..=u16::MAX);
    if owner_port == port {
        reader.bad(
            "assay.owner_port",
            text,
            "a port other than `network_config.p2p_port`, where the public part listens",
        );
    }
    owner_port
}

/// Returns the host of the public part with the port of the owner part.
fn default_endpoint(endpoint: &str, listen_address: IpAddr, port: u16) -> String {
    let authority = endpoint
        .split_once("://")
        .map_or("", |(_, rest)| rest)
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        // A bracket after the colon belongs to an IPv6 address without a port.
        Some((host, rest)) if !rest.ends_with(']') => host,
        _ => authority,
    };
    if host.is_empty() {
        return format!("https://{}", SocketAddr::new(listen_address, port));
    }
    format!("https://{host}:{port}")
}

fn certificate(reader: &mut Reader, section: &file::Assay, folder: &Path) -> Option<CertificateFiles> {
    match (&section.tls_certificate_file, &section.tls_key_file) {
        (Some(certificate), Some(key)) => Some(CertificateFiles {
            certificate_file: folder.join(&certificate.value),
            key_file: folder.join(&key.value),
        }),
        (None, None) => None,
        (Some(text), None) => {
            let message = "`assay.tls_certificate_file` needs its key; add `assay.tls_key_file`".to_owned();
            reader.problem(text.place, message);
            None
        }
        (None, Some(text)) => {
            let message =
                "`assay.tls_key_file` needs its certificate; add `assay.tls_certificate_file`".to_owned();
            reader.problem(text.place, message);
            None
        }
    }
}

fn owner_limits(reader: &mut Reader, section: &file::OwnerLimits) -> OwnerLimits {
    let defaults = OwnerLimits::default();
    OwnerLimits {
        connections: reader.number_or(
            "assay.owner_limits.connections",
            section.connections.as_ref(),
            1..=65_536,
            defaults.connections,
        ),
        connections_per_address: reader.number_or(
            "assay.owner_limits.connections_per_address",
            section.connections_per_address.as_ref(),
            1..=65_536,
            defaults.connections_per_address,
        ),
        requests_per_second: reader.number_or(
            "assay.owner_limits.requests_per_second",
            section.requests_per_second.as_ref(),
            1..=1_000_000,
            defaults.requests_per_second,
        ),
        streams: stream_limits(reader, section),
    }
}

/// Maximum of a number of things that clients hold open.
const MAX_OPEN: usize = 65_536;

/// Maximum of a client's patience and of the pause between two signs of life, in seconds.
const MAX_PATIENCE_S: u64 = 3_600;

/// Maximum time without input and output of a command, in seconds: a week.
const MAX_SHELL_IDLE_S: u64 = 7 * 24 * 3_600;

fn stream_limits(reader: &mut Reader, section: &file::OwnerLimits) -> StreamLimits {
    let defaults = StreamLimits::default();
    let mut count = |key: &str, text: Option<&Text>, default: usize| {
        reader.number_or(&format!("assay.owner_limits.{key}"), text, 1..=MAX_OPEN, default)
    };
    let (readers, readers_per_job) = (
        count("log_readers", section.log_readers.as_ref(), defaults.readers),
        count(
            "log_readers_per_job",
            section.log_readers_per_job.as_ref(),
            defaults.readers_per_job,
        ),
    );
    let (shells, shells_per_job) = (
        count("shells", section.shells.as_ref(), defaults.shells),
        count(
            "shells_per_job",
            section.shells_per_job.as_ref(),
            defaults.shells_per_job,
        ),
    );
    let (downloads, downloads_per_job) = (
        count("downloads", section.downloads.as_ref(), defaults.downloads),
        count(
            "downloads_per_job",
            section.downloads_per_job.as_ref(),
            defaults.downloads_per_job,
        ),
    );
    let mut seconds = |key: &str, text: Option<&Text>, most: u64, default: Duration| {
        let key = format!("assay.owner_limits.{key}");
        Duration::from_secs(reader.number_or(&key, text, 1..=most, default.as_secs()))
    };
    StreamLimits {
        readers,
        readers_per_job,
        shells,
        shells_per_job,
        downloads,
        downloads_per_job,
        patience: seconds(
            "patience_s",
            section.patience_s.as_ref(),
            MAX_PATIENCE_S,
            defaults.patience,
        ),
        keep_alive: seconds(
            "keep_alive_s",
            section.keep_alive_s.as_ref(),
            MAX_PATIENCE_S,
            defaults.keep_alive,
        ),
        shell_idle: seconds(
            "shell_idle_s",
            section.shell_idle_s.as_ref(),
            MAX_SHELL_IDLE_S,
            defaults.shell_idle,
        ),
    }
}

/// Returns the names for a certificate of the worker's own: the host of the owner part.
pub(crate) fn certificate_names(endpoint: &str) -> Vec<String> {
    let host = default_endpoint(endpoint, IpAddr::from([127, 0, 0, 1]), 0);
    let host = host.trim_start_matches("https://").trim_end_matches(":0");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // Anything else would be refused by the certificate's encoder; Assay's clients do not look at names.
    let is_name = host.parse::<IpAddr>().is_ok()
        || host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if is_name {
        vec![host.to_owned()]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_part_is_at_the_host_of_the_public_part() {
        let address = IpAddr::from([127, 0, 0, 1]);
        for (endpoint, expected) in [
            ("http://127.0.0.1:4001", "https://127.0.0.1:4002"),
            ("https://worker.example.org", "https://worker.example.org:4002"),
            (
                "http://worker.example.org:80/a/b?c",
                "https://worker.example.org:4002",
            ),
            ("http://[2001:db8::1]:4001", "https://[2001:db8::1]:4002"),
            ("http://[2001:db8::1]", "https://[2001:db8::1]:4002"),
            ("http://:1", "https://127.0.0.1:4002"),
        ] {
            assert_eq!(default_endpoint(endpoint, address, 4002), expected, "{endpoint}");
        }
    }

    #[test]
    fn certificate_is_for_the_host() {
        assert_eq!(certificate_names("https://[2001:db8::1]:4002"), ["2001:db8::1"]);
        assert_eq!(certificate_names("https://127.0.0.1:4002"), ["127.0.0.1"]);
        assert_eq!(
            certificate_names("https://worker.example.org:4002"),
            ["worker.example.org"]
        );
        assert_eq!(certificate_names("https://user@host:4002"), Vec::<String>::new());
    }
}
