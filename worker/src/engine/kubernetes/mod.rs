//! A Kubernetes cluster as container engine.
//!
//! ```text
//! container  = namespace, named after the job: the API server refuses a second one of the same name
//!   ├─ NetworkPolicy  lets nothing in and out but what the manifest asks for
//!   ├─ Service        of the type NodePort, if it publishes ports
//!   ├─ ServiceAccount without a token
//!   ├─ ConfigMap      assay-init, the launch of a public job, and the pod as it was specified
//!   └─ Pod            on the machine's node; its first process is assay-init, which waits for its launch
//! ```
//!
//! A pod and not a Job: a Job replaces pods that it lost, and Kubernetes says that a program may so be
//! started twice. What is lost here stays lost until the supervisor, which knows the chain, decides.
//!
//! The container is *started* by attaching to the waiting `assay-init` and sending it the launch: so the log
//! begins with the first byte, secrets pass no etcd and no disk, and the network's rules are tried out from
//! inside before the job's program runs. The namespace's annotation [`LAUNCHED`] names the pod that got its
//! launch.
//!
//! `assay-init` stays the parent of the job's processes, counts and hashes what they write, and vouches for
//! it in the pod's termination message: see [`streams`]. No hash is made of what came over the network.

mod collect;
mod connection;
mod exec;
mod images;
mod launch;
mod objects;
mod ports;
mod run;
mod runtimes;
mod settings;
mod streams;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use assay_client::manifest::{ImageReference, RegistryLogin};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};
use tokio::{sync::Mutex, time::Instant};

pub use settings::{KubernetesSettings, MAX_FENCE_TARGETS};

use super::{
    CaptureTarget, Container, ContainerEngine, ContainerSpec, ContainerState, EngineDisk, EngineError,
    EngineInfo, ExecSession, ExecSpec, ImageProcess, ImageRoot, LABEL_DEVICES, LABEL_FINGERPRINT, LABEL_JOB,
    LABEL_SLOTS, RunEnd, RunFact,
    run::{Run, Runs},
};
use crate::{devices::Holding, registry::Registry};
use connection::{Connection, is_gone, is_there};
use objects::{ANNOTATION_WORKER, FILES, POD, SERVICE_ACCOUNT, short_worker};
use ports::PodAddress;

/// Annotation of a namespace with the identifier of the pod that got its launch.
const LAUNCHED: &str = "assay.launched";

/// Timeout of the removal of a container.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(90);

/// Interval of looks at objects that are about to change.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Maximum number of objects of one kind in a page of a list.
const PAGE: u32 = 500;

/// A cluster; connects on first use, and again after a failure. Clones share the connection and the runs.
#[derive(Clone)]
pub struct KubernetesEngine {
    settings: Arc<KubernetesSettings>,
    connection: Connection,
    /// Reads the configuration of images, which no API of a cluster tells.
    registry: Arc<Registry>,
    /// Configurations of images by reference, as far as they were read.
    images: Arc<Mutex<images::KnownImages>>,
    runs: Runs,
    /// Addresses of their pods.
    addresses: Arc<SyncMutex<HashMap<String, PodAddress>>>,
}

/// Identifier of a container: its namespace, and the identifier that the API server gave that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContainerId {
    namespace: String,
    uid: String,
}

impl ContainerId {
    fn parse(id: &str) -> Option<Self> {
        let (namespace, uid) = id.split_once('/')?;
        (!namespace.is_empty() && !uid.is_empty()).then(|| Self {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        })
    }

    fn of(namespace: &Namespace) -> Option<Self> {
        Some(Self {
            namespace: namespace.metadata.name.clone()?,
            uid: namespace.metadata.uid.clone()?,
        })
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.uid)
    }
}

impl KubernetesEngine {
    /// Creates an engine without connecting, so that the cluster may be started later.
    pub fn new(settings: KubernetesSettings) -> Self {
        let settings = Arc::new(settings);
        Self {
            connection: Connection::new(settings.clone()),
            registry: Arc::new(Registry::new(settings.private_registries.clone())),
            settings,
            images: Arc::default(),
            runs: Runs::default(),
            addresses: Arc::default(),
        }
    }

    /// Waits for the end of a container's run that this process started, and returns it.
    pub async fn run_end(&self, id: &str) -> RunEnd {
        self.runs.end(id).await
    }

    fn change_runs<T>(&self, change: impl FnOnce(&mut HashMap<String, Run>) -> T) -> T {
        self.runs.change(change)
    }

    fn change_addresses<T>(&self, change: impl FnOnce(&mut HashMap<String, PodAddress>) -> T) -> T {
        change(&mut self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the interface to the objects of one kind in a namespace.
    async fn of<K>(&self, namespace: &str) -> Result<Api<K>, EngineError>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Ok(Api::namespaced(self.connection.client().await?, namespace))
    }

    async fn namespaces(&self) -> Result<Api<Namespace>, EngineError> {
        Ok(Api::all(self.connection.client().await?))
    }

    /// Returns the machine's node.
    async fn node(&self) -> Result<Node, EngineError> {
        let name = self.settings.node_name().ok_or_else(|| EngineError::Refused {
            action: "find its node".into(),
            reason: "no node is named; set `assay.kubernetes.node`, or NODE_NAME in the worker's pod".into(),
        })?;
        let nodes: Api<Node> = Api::all(self.connection.client().await?);
        self.connection.call("look at its node", nodes.get(&name)).await
    }

    /// Returns a container's namespace; an error of the kind [`EngineError::Failed`] if it is gone or going.
    async fn namespace_of(&self, id: &ContainerId, action: &str) -> Result<Namespace, EngineError> {
        let namespaces = self.namespaces().await?;
        let found = self
            .connection
            .call(action, namespaces.get_opt(&id.namespace))
            .await?;
        found
            .filter(|found| found.metadata.uid.as_ref() == Some(&id.uid) && !is_going(found))
            .ok_or_else(|| EngineError::Failed {
                action: action.to_owned(),
                reason: "the container is gone".into(),
            })
    }

    fn id_of(id: &str, action: &str) -> Result<ContainerId, EngineError> {
        ContainerId::parse(id).ok_or_else(|| EngineError::Refused {
            action: action.to_owned(),
            reason: format!("{id:?} is no container of a cluster"),
        })
    }

    /// Creates a container's namespace, or returns the one that is there.
    async fn make_namespace(&self, spec: &ContainerSpec) -> Result<Namespace, EngineError> {
        let action = "create the job's namespace";
        let namespaces = self.namespaces().await?;
        let wanted = objects::namespace(spec);
        let created = self
            .connection
            .try_call(action, namespaces.create(&PostParams::default(), &wanted))
            .await?;
        match created {
            Ok(created) => return Ok(created),
            Err(status) if is_there(&status) => (),
            Err(status) => return Err(connection::of_status(action, &status)),
        }
        let found = self
            .connection
            .call(action, namespaces.get(&spec.identity.name()))
            .await?;
        let failed = |reason: &str| EngineError::Failed {
            action: action.to_owned(),
            reason: reason.to_owned(),
        };
        if is_going(&found) {
            return Err(failed(
                "the namespace of an earlier container is still being removed",
            ));
        }
        if found.annotations().get(ANNOTATION_WORKER) != Some(&spec.identity.worker) {
            return Err(EngineError::Refused {
                action: action.to_owned(),
                reason: format!(
                    "a namespace {} exists and is not of this worker",
                    spec.identity.name()
                ),
            });
        }
        Ok(found)
    }

    /// Creates an object unless it exists.
    async fn make<K>(&self, namespace: &str, action: &str, object: &K) -> Result<(), EngineError>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.of(namespace).await?;
        let created = self
            .connection
            .try_call(action, api.create(&PostParams::default(), object))
            .await?;
        match created {
            Ok(_) => Ok(()),
            Err(status) if is_there(&status) => Ok(()),
            Err(status) => Err(connection::of_status(action, &status)),
        }
    }

    /// Creates a container's pod as it is specified in its namespace, unless it exists.
    async fn make_pod(&self, namespace: &str) -> Result<(), EngineError> {
        let action = "create the job's pod";
        let files: Api<ConfigMap> = self.of(namespace).await?;
        let files = self.connection.call(action, files.get(FILES)).await?;
        let pod = objects::stored_pod(&files).ok_or_else(|| EngineError::Refused {
            action: action.to_owned(),
            reason: "its specification was changed from outside".into(),
        })?;
        self.make(namespace, action, &pod).await
    }

    /// Removes a pod by force, and waits until it is gone.
    async fn remove_pod(&self, namespace: &str, grace_seconds: u32) -> Result<(), EngineError> {
        let action = "remove the job's pod";
        let pods: Api<Pod> = self.of(namespace).await?;
        let options = DeleteParams::default().grace_period(grace_seconds);
        let deleted = self
            .connection
            .try_call(action, pods.delete(POD, &options))
            .await?;
        match deleted {
            Ok(_) => (),
            Err(status) if is_gone(&status) => return Ok(()),
            Err(status) => return Err(connection::of_status(action, &status)),
        }
        let end = Instant::now() + REMOVAL_TIMEOUT;
        while self.connection.call(action, pods.get_opt(POD)).await?.is_some() {
            if Instant::now() >= end {
                return Err(EngineError::Failed {
                    action: action.to_owned(),
                    reason: format!("it is not gone after {} seconds", REMOVAL_TIMEOUT.as_secs()),
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Lists all objects of one kind with a label, page by page.
    async fn all<K>(&self, api: &Api<K>, action: &str, label: &str) -> Result<Vec<K>, EngineError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let mut found = Vec::new();
        let mut options = ListParams::default().labels(label).limit(PAGE);
        loop {
            let mut page = self.connection.call(action, api.list(&options)).await?;
            found.append(&mut page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => options = options.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

/// Returns true for a namespace that is being removed.
fn is_going(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

/// Returns the identifier of the pod that got its launch, if one did.
fn launched(namespace: &Namespace) -> Option<&String> {
    namespace
        .annotations()
        .get(LAUNCHED)
        .filter(|uid| !uid.is_empty())
}

/// Returns the state of a container by its namespace and its pod.
fn state_of(namespace: &Namespace, pod: Option<&Pod>) -> ContainerState {
    let launched = launched(namespace);
    let Some(pod) = pod else {
        return match launched {
            // Its pod was evicted, or removed by somebody.
            Some(_) => ContainerState::Exited,
            None => ContainerState::Created,
        };
    };
    match launched {
        None => ContainerState::Created,
        // The pod that had the launch is gone, and another waits in its place.
        Some(uid) if pod.metadata.uid.as_ref() != Some(uid) => ContainerState::Exited,
        Some(_) if objects::ending(pod).is_some() => ContainerState::Exited,
        Some(_) if pod.metadata.deletion_timestamp.is_some() => ContainerState::Stuck,
        Some(_) if objects::is_running(pod) => ContainerState::Running,
        Some(_) => ContainerState::Stuck,
    }
}

/// Returns the container of a namespace; `None` for one that is being removed, or whose labels name no job.
fn describe(namespace: &Namespace, pod: Option<&Pod>, run: RunFact, id: &ContainerId) -> Option<Container> {
    if is_going(namespace) {
        return None;
    }
    let annotation = |name: &str| namespace.annotations().get(name).cloned().unwrap_or_default();
    Some(Container {
        id: id.to_string(),
        job: namespace.labels().get(LABEL_JOB)?.parse().ok()?,
        fingerprint: namespace.labels().get(LABEL_FINGERPRINT)?.clone(),
        holding: Holding::of_texts(&annotation(LABEL_SLOTS), &annotation(LABEL_DEVICES)),
        state: state_of(namespace, pod),
        run,
    })
}

impl ContainerEngine for KubernetesEngine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        let client = self.connection.client().await?;
        let version = self
            .connection
            .call("tell its version", client.apiserver_version())
            .await?;
        let node = self.node().await?;
        let runtimes = self.runtimes(&node).await?;
        let capacity = node.status.unwrap_or_default().allocatable.unwrap_or_default();
        let amount = |name: &str| {
            capacity
                .get(name)
                .and_then(|quantity| objects::amount(&quantity.0))
        };
        Ok(EngineInfo {
            endpoint: self.connection.endpoint().await,
            version: format!("Kubernetes {}", version.git_version),
            cpu_cores: amount("cpu")
                .and_then(|millis| u32::try_from(millis / 1_000).ok())
                .unwrap_or(0),
            memory_mib: amount("memory")
                .map(|millis| millis / 1_000 / (1_024 * 1_024))
                .and_then(|mib| u64::try_from(mib).ok())
                .unwrap_or(0),
            runtimes,
        })
    }

    async fn has_image(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        self.node_has(image, digest).await
    }

    fn check_registry(&self, image: &ImageReference) -> Result<(), EngineError> {
        if self.settings.may_pull(image) {
            return Ok(());
        }
        Err(EngineError::Refused {
            action: format!("pull {image}"),
            reason: "nodes of a cluster pull by themselves, and nobody vouches that this registry directs no pull to an \
                     address of the cluster; the provider allows a registry with `assay.kubernetes.registries`, or, in a \
                     network of its own, with `assay.private_registries`"
                .into(),
        })
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        // The kubelet removes unused images by itself, and evicts before the node's disk is full.
        Ok(None)
    }

    async fn image_process(&self, image: &str) -> Result<ImageProcess, EngineError> {
        let found = self.image_config(image).await?;
        Ok(ImageProcess {
            entrypoint: found.entrypoint,
            command: found.command,
        })
    }

    async fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        self.pull_on_node(image, digest, login).await
    }

    async fn image_root(&self, image: &str) -> Result<ImageRoot, EngineError> {
        Ok(ImageRoot {
            layers: Vec::new(),
            volumes: self.image_config(image).await?.volumes,
        })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let mut spec = spec.clone();
        if let Some(name) = &spec.runtime {
            spec.runtime = Some(self.runtime_class(name).await?);
        }
        let spec = &spec;
        let image = self.image_config(&spec.image).await?;
        let pod = objects::pod(spec, &image, &self.settings)?;
        let files = launch::files(spec, &image, &pod)?;
        let namespace = self.make_namespace(spec).await?;
        let id = ContainerId::of(&namespace).ok_or_else(|| EngineError::Failed {
            action: "create the job's namespace".into(),
            reason: "the API server gave it no identifier".into(),
        })?;
        let name = &id.namespace;
        // The rules are there before the pod is.
        let policy: NetworkPolicy = objects::network_policy(spec);
        self.make(name, "create the job's network policy", &policy)
            .await?;
        let account = ServiceAccount {
            metadata: objects::named(SERVICE_ACCOUNT),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        self.make(name, "create the job's service account", &account)
            .await?;
        self.publish(name, spec).await?;
        self.make(name, "store the job's files", &files).await?;
        if launched(&namespace).is_none() {
            self.make_pod(name).await?;
        }
        Ok(id.to_string())
    }

    async fn start(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        self.begin(id, output).await
    }

    async fn follow(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        self.follow_late(id, &output).await
    }

    async fn unpause(&self, _: &str) -> Result<(), EngineError> {
        Err(EngineError::Refused {
            action: "resume the container".into(),
            reason: "pods cannot be paused".into(),
        })
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.open_exec(id, spec).await
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        let action = "list the jobs' namespaces";
        let facts = self.runs.facts();
        let label = format!("{}={}", super::LABEL_WORKER, short_worker(worker));
        let pods: Api<Pod> = Api::all(self.connection.client().await?);
        let namespaces = self.namespaces().await?;
        // The pods first: a namespace without its pod is then one whose pod was gone already.
        let pods = self.all(&pods, "list the jobs' pods", &label).await?;
        let namespaces = self.all(&namespaces, action, &label).await?;
        let pods: HashMap<String, Pod> = pods
            .into_iter()
            .filter(|pod| pod.metadata.name.as_deref() == Some(POD))
            .filter_map(|pod| Some((pod.metadata.namespace.clone()?, pod)))
            .collect();
        Ok(namespaces
            .iter()
            .filter(|namespace| {
                namespace
                    .annotations()
                    .get(ANNOTATION_WORKER)
                    .is_some_and(|of| of == worker)
            })
            .filter_map(|namespace| {
                let id = ContainerId::of(namespace)?;
                let fact = facts.get(&id.to_string()).copied().unwrap_or(RunFact::Unwatched);
                describe(namespace, pods.get(&id.namespace), fact, &id)
            })
            .collect())
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let action = "stop and remove the container";
        let parsed = Self::id_of(id, action)?;
        let namespaces = self.namespaces().await?;
        let find = || async {
            let found = self
                .connection
                .call(action, namespaces.get_opt(&parsed.namespace))
                .await?;
            Ok::<_, EngineError>(found.filter(|found| found.metadata.uid.as_ref() == Some(&parsed.uid)))
        };
        if let Some(found) = find().await? {
            if !is_going(&found) {
                self.remove_pod(&parsed.namespace, super::STOP_GRACE_SECONDS)
                    .await?;
                let options = DeleteParams::background().preconditions(Preconditions {
                    uid: Some(parsed.uid.clone()),
                    resource_version: None,
                });
                let deleted = self
                    .connection
                    .try_call(action, namespaces.delete(&parsed.namespace, &options))
                    .await?;
                match deleted {
                    Ok(_) => (),
                    Err(status) if is_gone(&status) => (),
                    Err(status) => return Err(connection::of_status(action, &status)),
                }
            }
            let end = Instant::now() + REMOVAL_TIMEOUT;
            while find().await?.is_some() {
                if Instant::now() >= end {
                    return Err(EngineError::Failed {
                        action: action.to_owned(),
                        reason: format!(
                            "the namespace {} is not gone after {} seconds; `kubectl get namespace {} -o yaml` tells what \
                             holds it",
                            parsed.namespace,
                            REMOVAL_TIMEOUT.as_secs(),
                            parsed.namespace
                        ),
                    });
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        self.change_runs(|runs| drop(runs.remove(id)));
        self.change_addresses(|addresses| drop(addresses.remove(id)));
        Ok(())
    }
}

/// Returns true if two references by digest name the same repository. Runtimes write `docker.io/` out.
fn same_repository(one: &str, other: &str) -> bool {
    let repository = |name: &str| {
        let name = name.split('@').next().unwrap_or_default();
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name).to_owned()
    };
    repository(one) == repository(other)
}

#[cfg(test)]
mod tests;
