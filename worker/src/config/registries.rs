//! Registries that are allowed by name: `assay.private_registries`, and those of a cluster.

use assay_client::yaml::{Reader, Text};

use super::file;
use crate::registry::{MAX_PRIVATE_REGISTRIES, PrivateRegistries, RegistryNames};

/// Key of the list.
const KEY: &str = "assay.private_registries";

/// Reads the list, and refuses the key that it replaced.
pub(super) fn resolve(reader: &mut Reader, section: &file::Assay) -> PrivateRegistries {
    if let Some(old) = &section.allow_private_registries {
        let message = format!(
            "`assay.allow_private_registries` is replaced by `{KEY}`, which names each registry that may be at a \
             non-public address, such as [\"registry.example.lan:5000\", \"127.0.0.1:5000\"]; remove the old key"
        );
        reader.problem(old.place, message);
    }
    let list = section.private_registries.as_deref().unwrap_or_default();
    names(reader, KEY, list)
}

/// Reads a list of registries.
pub(super) fn names(reader: &mut Reader, key: &str, list: &[Text]) -> RegistryNames {
    if let Some(surplus) = list.get(MAX_PRIVATE_REGISTRIES) {
        let message =
            format!("`{key}` has more than {MAX_PRIVATE_REGISTRIES} entries; remove those from here on");
        reader.problem(surplus.place, message);
        return RegistryNames::default();
    }
    let mut names = Vec::new();
    for text in list {
        match RegistryNames::new([text.value.as_str()]) {
            Ok(_) => names.push(text.value.clone()),
            Err(_) => reader.bad(
                key,
                text,
                "a registry as in the names of images, host or host:port, such as registry.example.lan:5000",
            ),
        }
    }
    // Each entry was checked, and their number.
    RegistryNames::new(names).unwrap_or_default()
}
