//! A real cluster, for tests.

use assay_worker::{engine::KubernetesSettings, registry::PrivateRegistries};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Event, Namespace, Pod, Secret},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the settings of a worker, if there is a cluster.
pub(crate) fn settings() -> Option<KubernetesSettings> {
    Some(KubernetesSettings {
        kubeconfig: Some(variable("ASSAY_TEST_KUBECONFIG")?.into()),
        node: variable("ASSAY_TEST_KUBERNETES_NODE"),
        // The image comes from a registry on the loopback address.
        private_registries: PrivateRegistries::new(variable("ASSAY_TEST_IMAGE")?.split('/').next()).unwrap(),
        ..KubernetesSettings::default()
    })
}

/// Returns a client with all rights.
pub(crate) async fn admin() -> Client {
    let file = Kubeconfig::read_from(variable("ASSAY_TEST_KUBERNETES_ADMIN").unwrap()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Returns the namespace of a container.
pub(crate) fn namespace(id: &str) -> &str {
    id.split('/').next().unwrap()
}

/// Removes the pod of a container, as an administrator does who drains a node.
pub(crate) async fn remove_pod(id: &str) {
    let pods: Api<Pod> = Api::namespaced(admin().await, namespace(id));
    pods.delete("job", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
}

/// Returns everything that a namespace's objects say, as one text.
pub(crate) async fn everything_in(namespace: &str) -> String {
    let client = admin().await;
    let all = ListParams::default();
    let mut found = Vec::new();
    macro_rules! add {
        ($kind:ty) => {
            let api: Api<$kind> = Api::namespaced(client.clone(), namespace);
            found.push(serde_json::to_string(&api.list(&all).await.unwrap().items).unwrap());
        };
    }
    add!(Pod);
    add!(ConfigMap);
    add!(Secret);
    add!(NetworkPolicy);
    add!(Event);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    found.push(serde_json::to_string(&namespaces.get(namespace).await.unwrap()).unwrap());
    found.concat()
}
