//! The container: settings, secrets and their sources.

use std::collections::BTreeMap;

use super::{Sources, read_bounded, values};
use crate::{
    keys,
    manifest::{
        Destination, MAX_SEALED_MANIFEST_BYTES, NetworkAccess, PortProtocol, Profile, PublishPort,
        RegistryLogin, Secret,
    },
    order::ContainerSettings,
    types::AccountId,
    yaml::{Node, Place, Reader, ScalarKind, Section, Value},
};

/// Keys of a source.
pub(crate) const SOURCE_KEYS: [&str; 2] = ["env", "file"];

/// Keys of `registry_login`.
pub(crate) const LOGIN_KEYS: [&str; 2] = ["username", "password"];

/// Keys of `network`.
pub(crate) const NETWORK_KEYS: [&str; 1] = ["allow"];

/// Keys of a port.
pub(crate) const PORT_KEYS: [&str; 4] = ["port", "protocol", "name", "public"];

/// Form of a source, for error messages.
const SOURCE_FORM: &str = "{env: NAME} or {file: PATH}";

/// Form of a command, for error messages.
const WORDS_FORM: &str = "a list of its parts, such as [python, train.py]";

/// Reads all keys of the container.
pub(super) fn read(
    reader: &mut Reader,
    section: &Section<'_>,
    sources: Sources<'_>,
    is_sealed: bool,
) -> ContainerSettings {
    let source = SourceReader { sources, is_sealed };
    let defaults = ContainerSettings::default();
    let path = |reader: &mut Reader, key| {
        values::text(reader, section, key, "an absolute path in the container").map(|text| text.value)
    };
    ContainerSettings {
        entrypoint: words(reader, section, "entrypoint"),
        command: words(reader, section, "command"),
        env: environment(reader, section, &source),
        secrets: secrets(reader, section, &source),
        registry: login(reader, section, &source),
        network: network(reader, section),
        ports: ports(reader, section),
        work_dir: path(reader, "work_dir"),
        output: path(reader, "output"),
        writable_root: values::boolean(reader, section, "writable_root").unwrap_or(defaults.writable_root),
        shm_mib: values::integer(reader, section, "shm_mib", 1..=u32::MAX),
        profile: values::word(
            reader,
            section,
            "profile",
            &[("batch", Profile::Batch), ("interactive", Profile::Interactive)],
        )
        .unwrap_or(defaults.profile),
        runtime: values::text(reader, section, "runtime", "the name of a runtime, such as runsc")
            .map(|text| text.value),
        delegates: delegates(reader, section),
        capture_stdout: values::boolean(reader, section, "capture_stdout").unwrap_or(defaults.capture_stdout),
    }
}

fn words(reader: &mut Reader, section: &Section<'_>, key: &str) -> Vec<String> {
    let texts = values::strings(reader, section, key, WORDS_FORM);
    texts.into_iter().map(|text| text.value).collect()
}

/// Returns the keys of a section whose names are the user's own.
fn named<'a>(
    reader: &mut Reader,
    section: &Section<'a>,
    key: &str,
    allowed: &str,
) -> Vec<(&'a str, Place, &'a Node)> {
    let Some(node) = section.get(reader, key) else {
        return Vec::new();
    };
    let Value::Map(entries) = &node.value else {
        values::wrong_shape(reader, &section.key(key), node, allowed);
        return Vec::new();
    };
    entries
        .iter()
        .map(|entry| (entry.key.value.as_str(), entry.key.place, &entry.value))
        .collect()
}

fn environment(
    reader: &mut Reader,
    section: &Section<'_>,
    source: &SourceReader<'_>,
) -> BTreeMap<String, String> {
    let allowed = format!("names with values, each a scalar, {SOURCE_FORM}");
    let mut environment = BTreeMap::new();
    for (name, place, node) in named(reader, section, "env", &allowed) {
        let key = format!("env.{name}");
        let value = match values::scalar_of(node) {
            Some((_, ScalarKind::Null)) => {
                reader.problem(
                    place,
                    format!("`{key}` has no value; write \"\" for an empty one"),
                );
                continue;
            }
            Some((text, _)) => Some(text.value),
            None => source.text(reader, &key, node),
        };
        if let Some(value) = value {
            environment.insert(name.to_owned(), value);
        }
    }
    environment
}

fn secrets(
    reader: &mut Reader,
    section: &Section<'_>,
    source: &SourceReader<'_>,
) -> BTreeMap<String, Secret> {
    let allowed = format!("names of files below /run/secrets, each with {SOURCE_FORM}");
    let mut secrets = BTreeMap::new();
    for (name, _, node) in named(reader, section, "secrets", &allowed) {
        if let Some(bytes) = source.bytes(reader, &format!("secrets.{name}"), node) {
            secrets.insert(name.to_owned(), Secret::from_bytes(bytes));
        }
    }
    secrets
}

fn login(reader: &mut Reader, section: &Section<'_>, source: &SourceReader<'_>) -> Option<RegistryLogin> {
    let node = section.get(reader, "registry_login")?;
    let login = Section::read(reader, "registry_login", node, &LOGIN_KEYS)?;
    for key in LOGIN_KEYS {
        super::missing_in(reader, &login, key);
    }
    let username = values::text(reader, &login, "username", "the user name at the registry");
    let password = login
        .get(reader, "password")
        .and_then(|node| source.text(reader, "registry_login.password", node));
    Some(RegistryLogin {
        username: username?.value,
        password: password?,
    })
}

fn network(reader: &mut Reader, section: &Section<'_>) -> NetworkAccess {
    let form = "off, on or {allow: [destinations]}";
    let Some(node) = section.get(reader, "network") else {
        return NetworkAccess::Off;
    };
    if let Some((text, kind)) = values::scalar_of(node) {
        return match (text.value.as_str(), kind) {
            ("off", _) | (_, ScalarKind::Boolean(false)) => NetworkAccess::Off,
            ("on", _) | (_, ScalarKind::Boolean(true)) => NetworkAccess::On,
            _ => {
                reader.bad("network", &text, form);
                NetworkAccess::Off
            }
        };
    }
    if matches!(node.value, Value::List(_)) {
        values::wrong_shape(reader, "network", node, form);
        return NetworkAccess::Off;
    }
    let Some(allowing) = Section::read(reader, "network", node, &NETWORK_KEYS) else {
        return NetworkAccess::Off;
    };
    super::missing_in(reader, &allowing, "allow");
    let texts = values::strings(reader, &allowing, "allow", "a list, such as [example.org:443]");
    let destinations = texts
        .iter()
        .filter_map(|text| values::read_as(reader, "network.allow", text, str::parse::<Destination>))
        .collect();
    NetworkAccess::Allow(destinations)
}

fn ports(reader: &mut Reader, section: &Section<'_>) -> Vec<PublishPort> {
    let form = "a list, such as [{port: 8080, protocol: http, name: web}]";
    values::list(reader, section, "ports", form)
        .iter()
        .filter_map(|node| {
            let section = Section::read(reader, "ports", node, &PORT_KEYS)?;
            port(reader, &section)
        })
        .collect()
}

fn port(reader: &mut Reader, section: &Section<'_>) -> Option<PublishPort> {
    super::missing_in(reader, section, "port");
    let port = values::integer(reader, section, "port", 1..=u16::MAX);
    let protocols = [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Http].map(|one| (one.name(), one));
    let protocol = values::word(reader, section, "protocol", &protocols).unwrap_or(PortProtocol::Tcp);
    let name = values::text(reader, section, "name", "a name of a-z, 0-9 and inner -").map(|text| text.value);
    let public = values::boolean(reader, section, "public").unwrap_or_default();
    if public && protocol != PortProtocol::Http {
        let place = section.place_of("public").unwrap_or(Place::UNKNOWN);
        let message =
            "`ports.public` is for http; tcp and udp ports are open to anybody in any case".to_owned();
        reader.problem(place, message);
    }
    Some(PublishPort {
        port: port?,
        protocol,
        name,
        public,
    })
}

fn delegates(reader: &mut Reader, section: &Section<'_>) -> Vec<AccountId> {
    let form = "a list of accounts as SS58 addresses";
    values::strings(reader, section, "delegates", form)
        .iter()
        .filter_map(|text| {
            let account = keys::parse_ss58(&text.value).ok();
            if account.is_none() {
                reader.bad("delegates", text, form);
            }
            account
        })
        .collect()
}

/// Reads values from where the file says that they are.
struct SourceReader<'a> {
    sources: Sources<'a>,
    is_sealed: bool,
}

impl SourceReader<'_> {
    /// Reads text, without a line break at its end.
    fn text(&self, reader: &mut Reader, key: &str, node: &Node) -> Option<String> {
        let bytes = self.bytes(reader, key, node)?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(_) => {
                reader.problem(node.place, format!("the file of `{key}` is not UTF-8 text"));
                None
            }
        }
    }

    /// Reads bytes. The value itself is refused, since it does not belong into a file that is shared.
    fn bytes(&self, reader: &mut Reader, key: &str, node: &Node) -> Option<Vec<u8>> {
        if !matches!(node.value, Value::Map(_)) {
            values::wrong_shape(reader, key, node, SOURCE_FORM);
            return None;
        }
        let section = Section::read(reader, key, node, &SOURCE_KEYS)?;
        if !self.is_sealed {
            let message = format!(
                "`{key}` is a secret, and `sealed: false` publishes the manifest on chain; remove one of them"
            );
            reader.problem(node.place, message);
            return None;
        }
        match SOURCE_KEYS.map(|key| section.place_of(key).is_some()) {
            [true, false] => {
                let name = values::text(reader, &section, "env", "the name of an environment variable")?;
                let value = (self.sources.variable)(&name.value);
                if value.is_none() {
                    let message = format!(
                        "`{key}.env` names the environment variable {:?}, which is not set, or no text; set it first",
                        name.value
                    );
                    reader.problem(name.place, message);
                }
                value.map(String::into_bytes)
            }
            [false, true] => {
                let path = values::text(reader, &section, "file", "the path of a file")?;
                match read_bounded(&self.sources.folder.join(&path.value), MAX_SEALED_MANIFEST_BYTES) {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        let message = format!("`{key}.file` {:?} cannot be read: {error}", path.value);
                        reader.problem(path.place, message);
                        None
                    }
                }
            }
            [true, true] | [false, false] => {
                values::wrong_shape(reader, key, node, &format!("one of {SOURCE_FORM}"));
                None
            }
        }
    }
}
