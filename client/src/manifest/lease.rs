//! Wishes of a manifest on the lease: network, ports, disk, profile, secrets.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
    ser::SerializeMap,
};

/// Maximum number of ports of a job.
pub const MAX_PORTS: usize = 16;

/// Maximum number of destinations of an allow-list.
pub const MAX_DESTINATIONS: usize = 64;

/// Maximum number of secrets of a job.
pub const MAX_SECRETS: usize = 64;

/// Maximum number of accounts that may act for a job's consumer.
pub const MAX_DELEGATES: usize = 16;

/// Maximum length of a port's name, in bytes: a label of a host name.
pub const MAX_PORT_NAME_BYTES: usize = 32;

/// Maximum length of a path inside the container, in bytes.
pub const MAX_PATH_BYTES: usize = 255;

/// Maximum length of a host name, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// Path of the lease's disk where the manifest names none.
pub const DEFAULT_WORK_DIR: &str = "/work";

/// Network access of a container, as a manifest states it: `false`, `true`, or `{"allow": [destination, …]}`.
///
/// No setting leads to private, link-local or multicast addresses, to the host, or to other jobs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NetworkAccess {
    /// No network besides the container's own loopback interface.
    #[default]
    Off,
    /// The public network.
    On,
    /// The listed destinations of the public network, and nothing else.
    Allow(Vec<Destination>),
}

impl Serialize for NetworkAccess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On => serializer.serialize_bool(true),
            Self::Allow(allow) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("allow", allow)?;
                map.end()
            }
        }
    }
}

// By hand: the derived error for a bad destination would only say that no variant matches.
impl<'de> Deserialize<'de> for NetworkAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shapes;

        impl<'de> Visitor<'de> for Shapes {
            type Value = NetworkAccess;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("false, true or {\"allow\": [destinations]}")
            }

            fn visit_bool<E>(self, is_on: bool) -> Result<NetworkAccess, E> {
                Ok(if is_on {
                    NetworkAccess::On
                } else {
                    NetworkAccess::Off
                })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<NetworkAccess, M::Error> {
                let list = AllowList::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NetworkAccess::Allow(list.allow))
            }
        }

        deserializer.deserialize_any(Shapes)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowList {
    allow: Vec<Destination>,
}

/// Host of a [`Destination`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DestinationHost {
    /// Host name in lower case; its addresses are resolved by the worker.
    Name(String),
    /// Address or network.
    Network(IpNet),
}

/// Destination of an allow-list: a host name, an address or a network, and a port:
/// `example.org:443`, `198.51.100.0/24:443`, `[2001:db8::/32]:443`. Without a port, all ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Host.
    pub host: DestinationHost,
    /// TCP and UDP port; `None` for all.
    pub port: Option<u16>,
}

/// Error of a text that is no [`Destination`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{text:?} is not a destination: write a host name, an address or a network with an optional port, such as \
     example.org:443, 198.51.100.0/24 or [2001:db8::1]:443"
)]
pub struct DestinationError {
    /// The text.
    pub text: String,
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        Self::read(text).ok_or_else(|| DestinationError {
            text: text.to_owned(),
        })
    }
}

impl Destination {
    fn read(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (read_network(host)?, port)
        } else if let Some(network) = read_network(text) {
            (network, None)
        } else {
            let (host, port) = text
                .rsplit_once(':')
                .map_or((text, None), |(host, port)| (host, Some(port)));
            (read_network(host).or_else(|| read_name(host))?, port)
        };
        let port = port.map(read_port).map_or(Some(None), |port| port.map(Some))?;
        Some(Self { host, port })
    }
}

fn read_network(text: &str) -> Option<DestinationHost> {
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // An address with host bits set would be one network in the manifest and another in the rules.
    (network.trunc() == network).then_some(DestinationHost::Network(network))
}

fn read_name(text: &str) -> Option<DestinationHost> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits would be read as an address by some resolvers.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = text.len() <= MAX_HOST_BYTES
        && text.split('.').all(is_label)
        && !text.rsplit('.').next().is_some_and(is_number);
    is_name.then(|| DestinationHost::Name(text.to_owned()))
}

fn read_port(text: &str) -> Option<u16> {
    // Digits only: `parse` takes a sign as well.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port > 0)
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            DestinationHost::Name(name) => name.clone(),
            DestinationHost::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string()
            }
            DestinationHost::Network(network) => network.to_string(),
        };
        match self.port {
            None => formatter.write_str(&host),
            Some(port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Some(port) => write!(formatter, "{host}:{port}"),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, DestinationError> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

/// Protocol of a published port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortProtocol {
    /// TCP, at a port of the worker's range.
    Tcp,
    /// UDP, at a port of the worker's range.
    Udp,
    /// HTTP, behind the worker's TLS listener.
    Http,
}

impl PortProtocol {
    /// Returns the name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Http => "http",
        }
    }
}

/// Port of the container that the worker publishes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishPort {
    /// Port that the container listens on, 1 to 65,535.
    pub port: u16,
    /// Protocol.
    #[serde(default = "tcp")]
    pub protocol: PortProtocol,
    /// Name by which the consumer finds it, 1 to [`MAX_PORT_NAME_BYTES`] of `a`–`z`, `0`–`9` and `-`, unique
    /// in the manifest. Default: protocol and port, such as `tcp-8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Opens an HTTP port to everybody; otherwise the worker asks for the owner's token. Has no effect for
    /// other protocols, whose ports are open to all. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub public: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn tcp() -> PortProtocol {
    PortProtocol::Tcp
}

impl PublishPort {
    /// Returns the name by which the consumer finds the port.
    pub fn name(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("{}-{}", self.protocol.name(), self.port))
    }
}

/// Rights of a job's container.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// No capabilities, no new privileges, read-only root.
    #[default]
    Batch,
    /// The capabilities that package managers and sshd need, and a writable root within the disk's limit.
    Interactive,
}

impl Profile {
    /// Returns true for the profile of a manifest that names none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Credentials for the registry of the image.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password must not reach a log.
        formatter.debug_struct("RegistryLogin").finish_non_exhaustive()
    }
}

/// Content of a secret's file: text, or `{"base64": "…"}` for bytes.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Secret {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(SecretBytes),
}

/// Bytes of a [`Secret`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretBytes {
    /// The bytes as standard base64 with padding.
    pub base64: String,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shapes;

        impl<'de> Visitor<'de> for Shapes {
            type Value = Secret;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or {\"base64\": \"…\"}")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Text(text.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Secret, M::Error> {
                SecretBytes::deserialize(MapAccessDeserializer::new(map)).map(Secret::Bytes)
            }
        }

        deserializer.deserialize_any(Shapes)
    }
}

impl Secret {
    /// Creates the secret of a file's bytes: text where they are text.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        use base64::Engine;

        String::from_utf8(bytes).map_or_else(
            |error| {
                Self::Bytes(SecretBytes {
                    base64: base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
                })
            },
            Self::Text,
        )
    }

    /// Returns the bytes of the file; `None` if the base64 text is invalid.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine;

        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Bytes(SecretBytes { base64: text }) => {
                base64::engine::general_purpose::STANDARD.decode(text).ok()
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret must not reach a log.
        formatter.write_str("Secret(…)")
    }
}

/// Returns true for an absolute path without empty, `.` and `..` components, below the root.
pub(super) fn is_plain_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/')
                .all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\0', ':', ',']))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destinations_are_read_and_written() {
        for text in [
            "example.org",
            "example.org:443",
            "198.51.100.7",
            "198.51.100.0/24:443",
            "2001:db8::1",
            "2001:db8::/32",
            "[2001:db8::/32]:443",
            "[2001:db8::1]:53",
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
        }
        let bracketed: Destination = "[2001:db8::1]".parse().unwrap();
        assert_eq!(bracketed.to_string(), "2001:db8::1");
    }

    #[test]
    fn destination_fails_when_it_is_none() {
        for text in [
            "",
            ":443",
            "example.org:",
            "example.org:0",
            "example.org:+1",
            "example.org:65536",
            "Example.org",
            "exa mple.org",
            "-a.org",
            "a..org",
            "1.2.3",
            "198.51.100.7/24",
            "198.51.100.0/33",
            "[2001:db8::1",
            "[2001:db8::1]443",
            "http://example.org",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        for path in ["/work", "/a/b.c/d-e"] {
            assert!(is_plain_path(path), "{path}");
        }
        for path in [
            "", "/", "work", "/work/", "//work", "/a/../b", "/a/./b", "/a:b", "/a,b", "/a\0",
        ] {
            assert!(!is_plain_path(path), "{path}");
        }
    }

    #[test]
    fn secrets_are_text_or_bytes() {
        let text: Secret = serde_json::from_str(r#""word""#).unwrap();
        assert_eq!(text.bytes().unwrap(), b"word");
        let bytes: Secret = serde_json::from_str(r#"{"base64":"AP8="}"#).unwrap();
        assert_eq!(bytes.bytes().unwrap(), [0, 255]);
        let bad: Secret = serde_json::from_str(r#"{"base64":"?"}"#).unwrap();
        assert_eq!(bad.bytes(), None);
        assert_eq!(format!("{text:?}"), "Secret(…)");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Destination>();
            is_plain_path(&text);
        }
    }
}
