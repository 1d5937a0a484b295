//! `assay.kubernetes`: the cluster on which jobs run where `assay.engine` is `kubernetes`.

use std::{net::SocketAddr, path::Path};

use assay_client::yaml::{Reader, Text};
use serde::Deserialize;

use super::{file, registries};
use crate::{
    engine::{KUBERNETES, KubernetesSettings, MAX_FENCE_TARGETS},
    registry::{PUBLIC_REGISTRIES, PrivateRegistries, RegistryNames},
};

/// Maximum length of a name in a cluster, in bytes.
const MAX_NAME_BYTES: u32 = 253;

/// `assay.kubernetes` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesSection {
    kubeconfig: Option<Text>,
    node: Option<Text>,
    runtime_class: Option<Text>,
    storage_class: Option<Text>,
    registry_logins: Option<Text>,
    registries: Option<Vec<Text>>,
    fence_targets: Option<Vec<Text>>,
}

/// Reads the section; `None` if the engine is another one. `private_registries` are those of
/// `assay.private_registries`, and `folder` is the base of relative paths.
pub(super) fn resolve(
    reader: &mut Reader,
    section: &file::Assay,
    private_registries: PrivateRegistries,
    folder: &Path,
) -> Option<KubernetesSettings> {
    let is_chosen = section
        .engine
        .as_ref()
        .is_some_and(|engine| engine.value == KUBERNETES);
    let empty = KubernetesSection::default();
    let own = section.kubernetes.as_ref();
    if !is_chosen {
        let given = own.and_then(KubernetesSection::first);
        if let Some(text) = given {
            let message = "`assay.kubernetes` is for `assay.engine: kubernetes`; set that, or remove it";
            reader.problem(text.place, message.into());
        }
        return None;
    }
    let own = own.unwrap_or(&empty);
    let mut name = |key: &str, text: Option<&Text>| {
        text.map(|text| reader.text(&format!("assay.kubernetes.{key}"), text, MAX_NAME_BYTES))
    };
    let fence_targets = own.fence_targets.as_deref().unwrap_or_default();
    Some(KubernetesSettings {
        node: name("node", own.node.as_ref()),
        runtime_class: name("runtime_class", own.runtime_class.as_ref()),
        storage_class: name("storage_class", own.storage_class.as_ref()),
        kubeconfig: own.kubeconfig.as_ref().map(|text| folder.join(&text.value)),
        registries: match &own.registries {
            Some(list) => registries::names(reader, "assay.kubernetes.registries", list),
            // All of them are names of registries, which a test checks.
            None => RegistryNames::new(PUBLIC_REGISTRIES).unwrap_or_default(),
        },
        registry_logins: reader.flag("assay.kubernetes.registry_logins", own.registry_logins.as_ref()),
        fence_targets: targets(reader, fence_targets),
        private_registries,
    })
}

fn targets(reader: &mut Reader, list: &[Text]) -> Vec<String> {
    let key = "assay.kubernetes.fence_targets";
    if let Some(surplus) = list.get(MAX_FENCE_TARGETS) {
        let message = format!("`{key}` has more than {MAX_FENCE_TARGETS} entries; remove those from here on");
        reader.problem(surplus.place, message);
    }
    list.iter()
        .map(|text| {
            reader.with(key, text, |value| {
                let address: Result<SocketAddr, _> = value.parse();
                address
                    .map(|address| address.to_string())
                    .map_err(|_| "addresses with their ports, such as 10.0.0.5:22".to_owned())
            })
        })
        .collect()
}

impl KubernetesSection {
    /// Returns one of the given values.
    fn first(&self) -> Option<&Text> {
        [
            &self.kubeconfig,
            &self.node,
            &self.runtime_class,
            &self.storage_class,
            &self.registry_logins,
        ]
        .into_iter()
        .find_map(Option::as_ref)
        .or_else(|| self.registries.as_ref()?.first())
        .or_else(|| self.fence_targets.as_ref()?.first())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(assay: &str) -> Result<Option<KubernetesSettings>, String> {
        let text = format!(
            "version: \"3.2\"\nnode_settings: {{node_name: a, reward_address: \"0x{}\"}}\nshared_resources: {{cpu_cores: 1, \
             ram_gb: 1, storage_gb: 1}}\nnetwork_config: {{max_upload_mbps: 1, max_download_mbps: 1}}\nassay: {{{assay}}}\n",
            "11".repeat(20)
        );
        match Config::parse(&text, Path::new("/etc/assay/worker.yaml")) {
            Ok(config) => Ok(config.assay.kubernetes),
            Err(ConfigError::Invalid { problems, .. }) => Err(problems
                .iter()
                .map(|problem| problem.message.clone())
                .collect::<Vec<_>>()
                .join("; ")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn cluster_is_chosen_by_the_engine() {
        assert_eq!(parse("slots: 1").unwrap(), None);
        assert_eq!(
            parse("engine: kubernetes").unwrap(),
            Some(KubernetesSettings {
                registries: RegistryNames::new(PUBLIC_REGISTRIES).unwrap(),
                ..KubernetesSettings::default()
            })
        );
        let settings = parse(
            "engine: kubernetes, private_registries: [\"127.0.0.1:5000\"], kubernetes: {kubeconfig: admin.yaml, node: n1, \
             storage_class: lvm, runtime_class: gvisor, registry_logins: true, registries: [quay.io], fence_targets: [\"10.0.0.5:22\"]}",
        );
        assert_eq!(
            settings.unwrap().unwrap(),
            KubernetesSettings {
                kubeconfig: Some(PathBuf::from("/etc/assay/admin.yaml")),
                node: Some("n1".into()),
                runtime_class: Some("gvisor".into()),
                storage_class: Some("lvm".into()),
                registry_logins: true,
                registries: RegistryNames::new(["quay.io"]).unwrap(),
                fence_targets: vec!["10.0.0.5:22".into()],
                private_registries: PrivateRegistries::new(["127.0.0.1:5000"]).unwrap(),
            }
        );
    }

    #[test]
    fn section_of_the_example_file_is_valid() {
        let example = include_str!("../../worker.example.yaml");
        let begin = example.find("  # kubernetes:").unwrap();
        let commented: Vec<&str> = example[begin..]
            .lines()
            .take_while(|line| line.starts_with("  #"))
            .collect();
        let section: Vec<String> = commented.iter().map(|line| line.replacen("# ", "", 1)).collect();
        let text = example
            .replace(&commented.join("\n"), &section.join("\n"))
            .replace(
                "  # engine: \"unix:///run/podman/podman.sock\"",
                "  engine: kubernetes",
            );
        let config = Config::parse(&text, Path::new("/etc/assay/worker.yaml")).unwrap();
        let settings = config.assay.kubernetes.unwrap();
        assert_eq!(settings.node.as_deref(), Some("gpu-node-1"));
        assert_eq!(settings.registries.names(), ["quay.io"]);
        assert_eq!(settings.fence_targets, ["10.0.0.5:22"]);
        assert!(settings.storage_class.is_some() && settings.runtime_class.is_some());
    }

    #[test]
    fn section_without_its_engine_and_bad_values_are_errors() {
        let error = parse("kubernetes: {node: n1}").unwrap_err();
        assert!(error.contains("is for `assay.engine: kubernetes`"), "{error}");
        let error = parse("engine: kubernetes, kubernetes: {fence_targets: [\"10.0.0.5\"]}").unwrap_err();
        assert!(error.contains("addresses with their ports"), "{error}");
        let error = parse("engine: kubernetes, kubernetes: {registries: [\"https://quay.io\"]}").unwrap_err();
        assert!(error.contains("`assay.kubernetes.registries`"), "{error}");
        assert!(parse("kubernetes: {registries: [quay.io]}").is_err());
        assert!(parse("engine: kubernetes, kubernetes: {unknown: 1}").is_err());
        assert!(parse("engine: kubernetes, kubernetes: {registry_logins: perhaps}").is_err());
    }
}
