//! Stronger runtimes of a cluster: the RuntimeClasses that the machine's node can run.
//!
//! A manifest names a runtime as it does at Docker, such as `runsc`. Here that is the handler of a class, or,
//! where the node names its handlers in another way, the class itself.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{core::v1::Node, node::v1::RuntimeClass};
use kube::{Api, ResourceExt, api::ListParams};

use super::{KubernetesEngine, PAGE};
use crate::engine::{
    EngineError,
    runtimes::{is_stronger, lacking, offered},
};

impl KubernetesEngine {
    /// Returns the names of the stronger runtimes.
    pub(super) async fn runtimes(&self, node: &Node) -> Result<Vec<String>, EngineError> {
        let classes = self.classes().await?;
        Ok(offered(stronger(node, &classes).into_keys().collect()))
    }

    /// Returns the class of the runtime that a manifest asks for.
    ///
    /// # Errors
    /// A refusal, if there is none.
    pub(super) async fn runtime_class(&self, name: &str) -> Result<String, EngineError> {
        let node = self.node().await?;
        let classes = stronger(&node, &self.classes().await?);
        classes
            .get(name)
            .cloned()
            .ok_or_else(|| lacking(name, &offered(classes.into_keys().collect())))
    }

    async fn classes(&self) -> Result<Vec<RuntimeClass>, EngineError> {
        let api: Api<RuntimeClass> = Api::all(self.connection.client().await?);
        // One page holds more than any cluster has.
        let options = ListParams::default().limit(PAGE);
        let action = "list the runtime classes";
        Ok(self.connection.call(action, api.list(&options)).await?.items)
    }
}

/// Returns the stronger runtimes of a node by the names that manifests use, each with its class.
fn stronger(node: &Node, classes: &[RuntimeClass]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for class in classes.iter().filter(|class| runs_at(node, class)) {
        let own = class.name_any();
        if let Some(name) = [&class.handler, &own].into_iter().find(|name| is_stronger(name)) {
            found.entry(name.clone()).or_insert(own.clone());
        }
    }
    found
}

/// Returns true if pods of the class can run at a node, as far as the node and the class tell.
fn runs_at(node: &Node, class: &RuntimeClass) -> bool {
    let labels = node.labels();
    let selector = class
        .scheduling
        .as_ref()
        .and_then(|scheduling| scheduling.node_selector.as_ref());
    let is_selected = selector
        .into_iter()
        .flatten()
        .all(|(name, value)| labels.get(name) == Some(value));
    let handlers: BTreeSet<&String> = node
        .status
        .iter()
        .flat_map(|status| status.runtime_handlers.iter().flatten())
        .filter_map(|handler| handler.name.as_ref())
        .collect();
    // Nodes before Kubernetes 1.30 tell none.
    is_selected && (handlers.is_empty() || handlers.contains(&class.handler))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn class(name: &str, handler: &str, selector: &serde_json::Value) -> RuntimeClass {
        let object = json!({
            "metadata": { "name": name }, "handler": handler, "scheduling": { "nodeSelector": selector }
        });
        serde_json::from_value(object).unwrap()
    }

    fn names(node: &serde_json::Value, classes: &[RuntimeClass]) -> Vec<(String, String)> {
        let node: Node = serde_json::from_value(node.clone()).unwrap();
        stronger(&node, classes).into_iter().collect()
    }

    #[test]
    fn handlers_of_the_two_families_are_offered_with_their_classes() {
        let any = json!({});
        let classes = [
            class("default", "runc", &any),
            class("gvisor", "runsc", &any),
            class("gvisor-2", "runsc", &any),
            class("kata", "hypervisor", &any),
            class("nvidia", "nvidia", &any),
            class("sandboxed", "kata-qemu", &json!({ "pool": "strong" })),
        ];
        let pair = |name: &str, class: &str| (name.to_owned(), class.to_owned());
        let (gvisor, kata) = (pair("runsc", "gvisor"), pair("kata", "kata"));
        let node = json!({ "metadata": { "labels": { "pool": "weak" } } });
        assert_eq!(names(&node, &classes), [kata, gvisor.clone()]);
        // A node that tells its handlers has no others.
        let node = json!({
            "metadata": { "labels": { "pool": "strong" } },
            "status": { "runtimeHandlers": [{ "name": "" }, { "name": "runsc" }, { "name": "kata-qemu" }] }
        });
        assert_eq!(names(&node, &classes), [pair("kata-qemu", "sandboxed"), gvisor]);
    }
}
