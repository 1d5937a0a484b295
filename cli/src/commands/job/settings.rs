//! Image and container of `assay job deploy`: from options, or from a manifest.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, bail};
use assay_client::{
    manifest::{
        Destination, ImageReference, JobManifest, MAX_MANIFEST_BYTES, MAX_SEALED_MANIFEST_BYTES,
        NetworkAccess, PortProtocol, Profile, PublishPort,
    },
    order::{ContainerSettings, OrderSpec},
};
use clap::{Args, ValueEnum};

use super::sealed::read_bounded;

/// Rights of the container.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileName {
    /// No capabilities, and a read-only root
    Batch,
    /// The capabilities that package managers and sshd need, and a writable root
    Interactive,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Batch => Self::Batch,
            ProfileName::Interactive => Self::Interactive,
        }
    }
}

/// Settings of the container and of its lease.
#[derive(Debug, Args)]
pub(super) struct SettingsOptions {
    /// The image by digest: [registry/]name[:tag]@sha256:<64 hex digits>
    #[arg(long, value_name = "REFERENCE")]
    image: Option<ImageReference>,

    /// Take all settings of the container from a manifest as JSON, instead of these options
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "image", "environment", "network", "ports", "work_dir", "output_dir", "shm", "profile",
            "no_capture_stdout", "command", "arguments"
        ]
    )]
    manifest: Option<PathBuf>,

    /// Environment variable of the container; may be repeated. No secrets: other users see them in the
    /// process list, and a manifest that is not sealed is public
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,

    /// Network of the container: `off`, `on` for the public network, or `allow=` with destinations and
    /// commas, such as allow=example.org:443,198.51.100.0/24; without a value: on
    #[arg(
        long,
        value_name = "off|on|allow=DESTINATION,…",
        num_args = 0..=1,
        default_missing_value = "on",
        default_value = "off",
        hide_default_value = true,
        value_parser = parse_network
    )]
    network: NetworkAccess,

    /// Publish a port of the container, such as web:8080/http; may be repeated. HTTP ports are reached
    /// through the worker's TLS by `assay job fetch`, and by others only with `:public`; tcp and udp ports
    /// are open to all
    #[arg(long = "port", value_name = "[NAME:]PORT/PROTOCOL[:public]", value_parser = parse_port)]
    ports: Vec<PublishPort>,

    /// Path of the job's disk in the container; /work when left out
    #[arg(long, value_name = "PATH")]
    work_dir: Option<String>,

    /// Folder on the job's disk whose content is part of a task's result; `assay job artifacts` downloads it
    #[arg(long, value_name = "PATH")]
    output_dir: Option<String>,

    /// Size of /dev/shm in MiB, at most half of the job's memory; 64 when left out
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    shm: Option<u32>,

    /// Rights of the container
    #[arg(long, value_enum, default_value = "batch")]
    profile: ProfileName,

    /// Leave standard output out of a task's result, for example if it differs from run to run
    #[arg(long)]
    no_capture_stdout: bool,

    /// Command to run instead of the image's own
    #[arg(long, num_args = 1.., value_name = "PART")]
    command: Vec<String>,

    /// More arguments of the command, which may begin with a dash
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

impl SettingsOptions {
    /// Returns an order of the image and its container. Settings for sealed manifests come from the file
    /// only.
    pub(super) fn order(&self, is_sealed: bool) -> anyhow::Result<OrderSpec> {
        if let Some(path) = &self.manifest {
            let read = if is_sealed {
                JobManifest::from_sealed_bytes(&read_bounded(path, MAX_SEALED_MANIFEST_BYTES)?)
            } else {
                JobManifest::from_bytes(&read_bounded(path, MAX_MANIFEST_BYTES)?)
            };
            let manifest = read.with_context(|| {
                let hint = if is_sealed {
                    ""
                } else {
                    " as a public manifest; `--sealed` delivers it to the machines alone"
                };
                format!("{} cannot be used{hint}", path.display())
            })?;
            return Ok(OrderSpec {
                sealed: is_sealed,
                container: manifest.clone().into(),
                ..OrderSpec::new(manifest.image.into())
            });
        }
        let image = self.image.clone().context(
            "no image is named: name one with --image, an order with --file, or a manifest with --manifest",
        )?;
        let container = ContainerSettings {
            command: [&self.command[..], &self.arguments[..]].concat(),
            env: collect_environment(&self.environment)?,
            network: self.network.clone(),
            ports: self.ports.clone(),
            work_dir: self.work_dir.clone(),
            output: self.output_dir.clone(),
            shm_mib: self.shm,
            profile: self.profile.into(),
            capture_stdout: !self.no_capture_stdout,
            ..ContainerSettings::default()
        };
        Ok(OrderSpec {
            sealed: is_sealed,
            container,
            ..OrderSpec::new(image.into())
        })
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!(
            "{text:?} is not an environment variable: write NAME=VALUE"
        )),
    }
}

fn collect_environment(variables: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for (name, value) in variables {
        if environment.insert(name.clone(), value.clone()).is_some() {
            bail!("the environment variable {name} is given twice: keep one");
        }
    }
    Ok(environment)
}

fn parse_network(text: &str) -> Result<NetworkAccess, String> {
    match text {
        "off" => Ok(NetworkAccess::Off),
        "on" => Ok(NetworkAccess::On),
        _ => {
            let list = text.strip_prefix("allow=").ok_or_else(|| {
                format!(
                    "{text:?} is no network access: write off, on, or allow= and destinations with commas"
                )
            })?;
            let destinations: Result<Vec<Destination>, String> = list
                .split(',')
                .map(|text| text.parse::<Destination>().map_err(|error| error.to_string()))
                .collect();
            destinations.map(NetworkAccess::Allow)
        }
    }
}

fn parse_port(text: &str) -> Result<PublishPort, String> {
    let bad = || {
        format!(
            "{text:?} is not a port: write NAME:PORT/tcp, NAME:PORT/udp, NAME:PORT/http or NAME:PORT/http:public"
        )
    };
    let (rest, public) = text
        .strip_suffix(":public")
        .map_or((text, false), |rest| (rest, true));
    let (name, rest) = rest
        .split_once(':')
        .map_or((None, rest), |(name, rest)| (Some(name.to_owned()), rest));
    let (port, protocol) = rest.split_once('/').ok_or_else(bad)?;
    let protocol = match protocol {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        "http" => PortProtocol::Http,
        _ => return Err(bad()),
    };
    if public && protocol != PortProtocol::Http {
        return Err(format!(
            "{text:?}: tcp and udp ports are open to all in any case; leave out :public"
        ));
    }
    // Digits only: `parse` takes a sign as well.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| is_number && *port > 0);
    Ok(PublishPort {
        port: port.ok_or_else(bad)?,
        protocol,
        name,
        public,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::commands::testing::parsed;

    fn image() -> String {
        format!("busybox@sha256:{}", "ab".repeat(32))
    }

    fn options(words: &[&str]) -> Result<SettingsOptions, String> {
        parsed(words).map_err(|error| error.to_string())
    }

    /// Returns the manifest of these options, for the image of the tests.
    fn manifest(words: &[&str]) -> Result<JobManifest, String> {
        let option = format!("--image={}", image());
        let words = [&[option.as_str()][..], words].concat();
        let order = options(&words)?
            .order(false)
            .map_err(|error| format!("{error:#}"))?;
        order
            .manifest(image().parse().unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn parse_variable_works() {
        assert_eq!(parse_variable("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(parse_variable("A=").unwrap(), ("A".into(), String::new()));
        assert!(parse_variable("A").is_err());
        assert!(parse_variable("=b").is_err());
    }

    #[test]
    fn environment_is_refused_when_a_name_is_given_twice() {
        let error = manifest(&["--env=A=1", "--env=A=2"]).unwrap_err();
        assert!(error.contains("given twice"), "{error}");
    }

    #[test]
    fn network_is_off_on_or_a_list() {
        let network = |words: &[&str]| manifest(words).map(|manifest| manifest.network);
        assert_eq!(network(&[]), Ok(NetworkAccess::Off));
        assert_eq!(network(&["--network=off"]), Ok(NetworkAccess::Off));
        assert_eq!(network(&["--network"]), Ok(NetworkAccess::On));
        assert_eq!(network(&["--network", "on"]), Ok(NetworkAccess::On));
        assert_eq!(network(&["--network", "--shm=1"]), Ok(NetworkAccess::On));
        let list = ["example.org:443", "198.51.100.0/24"].map(|text| text.parse::<Destination>().unwrap());
        assert_eq!(
            network(&["--network=allow=example.org:443,198.51.100.0/24"]),
            Ok(NetworkAccess::Allow(list.to_vec()))
        );
        for (text, remedy) in [
            ("yes", "write off, on, or allow="),
            ("allow=", "write a host name"),
            ("allow=a.org,,b.org", "write a host name"),
            ("allow=http://a.org", "write a host name"),
        ] {
            let error = network(&["--network", text]).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn ports_have_name_number_protocol_and_publicity() {
        let port = |name: Option<&str>, port, protocol, public| PublishPort {
            port,
            protocol,
            name: name.map(str::to_owned),
            public,
        };
        for (text, expected) in [
            (
                "web:8080/http",
                port(Some("web"), 8080, PortProtocol::Http, false),
            ),
            (
                "web:80/http:public",
                port(Some("web"), 80, PortProtocol::Http, true),
            ),
            ("ssh:22/tcp", port(Some("ssh"), 22, PortProtocol::Tcp, false)),
            ("53/udp", port(None, 53, PortProtocol::Udp, false)),
        ] {
            assert_eq!(parse_port(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "web",
            "web:80",
            "web:80/",
            "web:80/sctp",
            "web:0/tcp",
            "web:+1/tcp",
            "web:65536/tcp",
            "web:/tcp",
            "a:b:80/tcp",
            "web:80/http:private",
        ] {
            let error = parse_port(text).unwrap_err();
            assert!(error.contains("write NAME:PORT/tcp"), "{error}");
        }
        let error = parse_port("ssh:22/tcp:public").unwrap_err();
        assert!(error.contains("leave out :public"), "{error}");
    }

    #[test]
    fn options_make_a_manifest_that_is_checked() {
        let made = manifest(&[
            "--port=web:8080/http",
            "--work-dir=/data",
            "--output-dir=/data/out",
            "--shm=256",
            "--profile=interactive",
            "--no-capture-stdout",
            "--command",
            "/bin/sh",
            "--",
            "-c",
            "true",
        ])
        .unwrap();
        assert_eq!(made.command, ["/bin/sh", "-c", "true"]);
        assert_eq!(made.work_dir(), "/data");
        assert_eq!(made.output.as_deref(), Some("/data/out"));
        assert_eq!((made.shm_mib, made.profile), (Some(256), Profile::Interactive));
        assert!(!made.capture_stdout);
        assert_eq!(made.ports[0].name(), "web");
        assert!(made.to_bytes().is_ok());
        assert!(
            manifest(&["--output-dir=/tmp/out"]).is_err(),
            "the output folder is not on the disk"
        );
        assert!(manifest(&["--shm=0"]).is_err());
        assert!(manifest(&["--profile=root"]).is_err());
    }

    #[test]
    fn manifest_of_a_file_is_checked_and_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let option = format!("--manifest={}", path.display());
        let read = |text: &str, is_sealed| {
            fs::write(&path, text).unwrap();
            let options = options(&[option.as_str()]).unwrap();
            let order = options.order(is_sealed).map_err(|error| format!("{error:#}"))?;
            Ok::<_, String>(order.container)
        };
        let public = format!("{{\"image\":\"{}\",\"shm_mib\":7}}", image());
        assert_eq!(read(&public, false).unwrap().shm_mib, Some(7));
        let secret = format!("{{\"image\":\"{}\",\"secrets\":{{\"a\":\"b\"}}}}", image());
        assert!(read(&secret, true).is_ok());
        let error = read(&secret, false).unwrap_err();
        assert!(error.contains("`--sealed`"), "{error}");
        let error = read("{\"immage\":1}", true).unwrap_err();
        assert!(error.contains("manifest.json"), "{error}");
        assert!(read(&"x".repeat(MAX_MANIFEST_BYTES + 1), false).is_err());

        let error = options(&[]).unwrap().order(false).unwrap_err().to_string();
        assert!(error.contains("--image"), "{error}");
        for more in [
            "--env=A=b",
            "--network",
            "--port=80/tcp",
            "--work-dir=/a",
            "--shm=1",
            "--profile=batch",
        ] {
            let error = options(&[option.as_str(), more]).unwrap_err();
            assert!(error.contains("cannot be used with"), "{more}: {error}");
        }
    }
}
