//! Images: their configurations from the registry, and pulls on the machine's node.

use std::collections::BTreeMap;

use assay_client::manifest::{ImageReference, RegistryLogin};
use assay_init::NOTHING;
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{
    ByteString,
    api::core::v1::{LocalObjectReference, Namespace, Pod, Secret, ServiceAccount},
    api::networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use tokio::time::{Duration, Instant};

use super::{
    KubernetesEngine, LOOK_INTERVAL, connection,
    connection::{is_gone, is_there},
    launch, objects,
    objects::{POD, SERVICE_ACCOUNT},
};
use crate::{
    config::SlotShare,
    devices::Holding,
    engine::{
        ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess, EngineError,
        declared_volumes, digest_part, volumes::check_working_dir,
    },
};

/// Timeout of pulling one image.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Time for which a pull that the runtime tries again may fail before it counts as failed.
const PULL_PATIENCE: Duration = Duration::from_secs(20);

/// Maximum number of images whose configuration is kept.
const MAX_KNOWN: usize = 256;

/// Label of the namespaces of pulls.
const LABEL_PULL: &str = "assay.pull";

/// Annotation of a pull's namespace with its beginning, in seconds since 1970.
const BEGUN: &str = "assay.begun";

/// Name of the Secret with a registry's credentials.
const LOGIN: &str = "registry";

/// Configuration of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageConfig {
    /// Digest of the manifest for the node's platform: `sha256:<hex>`.
    pub(super) manifest: String,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    /// Environment variables of the image, as `NAME=value`.
    pub(super) environment: Vec<String>,
    /// User as the image names it; empty for root.
    pub(super) user: String,
    /// Declared volumes, from [`declared_volumes`].
    pub(super) volumes: Vec<String>,
}

impl ImageConfig {
    /// Returns the name by which the node gets the image: that of the manifest which the worker read, so
    /// that the runtime chooses none of an index by rules of its own.
    pub(super) fn name(&self, image: &str) -> String {
        match image.split_once('@') {
            Some((repository, _)) if !self.manifest.is_empty() => format!("{repository}@{}", self.manifest),
            _ => image.to_owned(),
        }
    }
}

/// Configurations by reference.
#[derive(Default)]
pub(super) struct KnownImages(BTreeMap<String, ImageConfig>);

impl KnownImages {
    fn insert(&mut self, image: &str, config: ImageConfig) {
        if self.0.len() >= MAX_KNOWN {
            self.0.pop_first();
        }
        self.0.insert(image.to_owned(), config);
    }
}

impl KubernetesEngine {
    /// Returns an image's configuration: as it was read with its credentials, or from the registry.
    pub(super) async fn image_config(&self, image: &str) -> Result<ImageConfig, EngineError> {
        if let Some(known) = self.images.lock().await.0.get(image) {
            return Ok(known.clone());
        }
        self.read_config(image, None).await
    }

    /// Returns true if the node tells that it has an image, under its name or that of its manifest.
    pub(super) async fn node_has(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        let known = self.images.lock().await.0.get(image).cloned().unwrap_or_default();
        let digests = [format!("sha256:{}", hex::encode(digest)), known.manifest];
        let node = self.node().await?;
        let images = node.status.unwrap_or_default().images.unwrap_or_default();
        // The kubelet reports no more than fifty; what it does not report is pulled in no time.
        let mut names = images
            .into_iter()
            .flat_map(|found| found.names.unwrap_or_default());
        Ok(names.any(|name| {
            let has_digest =
                digest_part(&name).is_some_and(|found| digests.iter().any(|digest| digest == found));
            has_digest && super::same_repository(&name, image)
        }))
    }

    async fn read_config(
        &self,
        image: &str,
        login: Option<&RegistryLogin>,
    ) -> Result<ImageConfig, EngineError> {
        let action = format!("look at {image}");
        let refused = |reason: String| EngineError::Refused {
            action: action.clone(),
            reason,
        };
        let reference: ImageReference = image.parse().map_err(|error| refused(format!("{error}")))?;
        let found = self
            .registry
            .with_login(login)
            .configuration(&reference)
            .await
            .map_err(|error| {
                let (action, reason) = (action.clone(), error.to_string());
                if error.is_permanent() {
                    EngineError::Refused { action, reason }
                } else {
                    EngineError::Failed { action, reason }
                }
            })?;
        check_working_dir(&found.working_dir).map_err(refused)?;
        let config = ImageConfig {
            manifest: found.manifest,
            entrypoint: found.entrypoint,
            command: found.command,
            environment: found.environment,
            user: found.user,
            volumes: declared_volumes(&found.volumes).map_err(refused)?,
        };
        self.images.lock().await.insert(image, config.clone());
        Ok(config)
    }

    /// Makes the node pull an image, by a pod that does nothing. Kubernetes has no other way to ask for one.
    pub(super) async fn pull_on_node(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        let action = format!("pull {image}");
        if self.has_image(image, digest).await? {
            return Ok(digest);
        }
        let reference: ImageReference = image.parse().map_err(|error| EngineError::Refused {
            action: action.clone(),
            reason: format!("{error}"),
        })?;
        self.check_registry(&reference)?;
        if login.is_some() && !self.settings.registry_logins {
            return Err(EngineError::Refused {
                action,
                reason: "its registry wants credentials, and they would lie in the cluster's etcd during the pull; the \
                         provider allows that with `assay.kubernetes.registry_logins`"
                    .into(),
            });
        }
        self.drop_old_pulls().await?;
        let config = self.read_config(image, login).await?;
        let spec = pull_spec(image, digest);
        let namespace = spec.identity.name();
        let pulled = self.pull_in(&namespace, &spec, &config, login, &action).await;
        // Dropping this future leaves the namespace behind, for a later pull to remove.
        let removed = self.drop_namespace(&namespace).await;
        pulled?;
        removed?;
        Ok(digest)
    }

    async fn pull_in(
        &self,
        name: &str,
        spec: &ContainerSpec,
        config: &ImageConfig,
        login: Option<&RegistryLogin>,
        action: &str,
    ) -> Result<(), EngineError> {
        self.make_pull_namespace(spec, action).await?;
        let policy: NetworkPolicy = objects::network_policy(spec);
        self.make(name, action, &policy).await?;
        let account = ServiceAccount {
            metadata: objects::named(SERVICE_ACCOUNT),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        self.make(name, action, &account).await?;
        let mut pod = objects::pod(spec, config, &self.settings)?;
        if let Some(pod) = &mut pod.spec {
            for container in &mut pod.containers {
                container.args = Some(vec![NOTHING.to_owned()]);
                container.stdin = None;
                container.stdin_once = None;
            }
            if let Some(login) = login {
                self.make(name, action, &login_secret(spec, login)).await?;
                pod.image_pull_secrets = Some(vec![LocalObjectReference {
                    name: LOGIN.to_owned(),
                }]);
            }
        }
        self.make(name, action, &launch::files(spec, config, &pod)?)
            .await?;
        self.make(name, action, &pod).await?;
        self.await_pull(name, action).await
    }

    async fn make_pull_namespace(&self, spec: &ContainerSpec, action: &str) -> Result<(), EngineError> {
        let mut wanted: Namespace = objects::namespace(spec);
        // No container of a job: the list must not show it.
        let labels = wanted.metadata.labels.unwrap_or_default();
        wanted.metadata.labels = Some(
            labels
                .into_iter()
                .filter(|(name, _)| name.starts_with("pod-security"))
                .chain([(LABEL_PULL.to_owned(), "true".to_owned())])
                .collect(),
        );
        wanted.metadata.annotations = Some(BTreeMap::from([(BEGUN.to_owned(), now_seconds().to_string())]));
        let namespaces = self.namespaces().await?;
        let end = Instant::now() + super::REMOVAL_TIMEOUT;
        loop {
            let created = self
                .connection
                .try_call(action, namespaces.create(&PostParams::default(), &wanted))
                .await?;
            match created {
                Ok(_) => return Ok(()),
                Err(status) if is_there(&status) && Instant::now() < end => (),
                Err(status) => return Err(connection::of_status(action, &status)),
            }
            let found = self
                .connection
                .call(action, namespaces.get_opt(&spec.identity.name()))
                .await?;
            if found.is_some_and(|found| !super::is_going(&found)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn await_pull(&self, namespace: &str, action: &str) -> Result<(), EngineError> {
        let pods: Api<Pod> = self.of(namespace).await?;
        let begun = Instant::now();
        let mut failing_since: Option<Instant> = None;
        loop {
            let pod = self.connection.call(action, pods.get(POD)).await?;
            // Where the container's first process ran, its image was there.
            if objects::ending(&pod).is_some_and(|end| end.exit_code.is_some()) || objects::is_running(&pod) {
                return Ok(());
            }
            let error = match super::run::obstacle(&pod, action) {
                Some(error) if error.is_permanent() => return Err(error),
                other => other,
            };
            match error {
                Some(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PULL_PATIENCE {
                        return Err(error);
                    }
                }
                None => failing_since = None,
            }
            if begun.elapsed() >= PULL_TIMEOUT {
                return Err(EngineError::Failed {
                    action: action.to_owned(),
                    reason: format!(
                        "the image did not arrive within {} minutes",
                        PULL_TIMEOUT.as_secs() / 60
                    ),
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Removes the namespaces of pulls that nobody waits for any more: their worker died.
    async fn drop_old_pulls(&self) -> Result<(), EngineError> {
        let namespaces = self.namespaces().await?;
        let oldest = now_seconds().saturating_sub(PULL_TIMEOUT.as_secs().saturating_mul(2));
        for namespace in self
            .all(&namespaces, "list the namespaces of pulls", LABEL_PULL)
            .await?
        {
            let begun = namespace
                .annotations()
                .get(BEGUN)
                .and_then(|text| text.parse::<u64>().ok());
            if let (Some(begun), Some(name)) = (begun, &namespace.metadata.name)
                && begun < oldest
                && !super::is_going(&namespace)
            {
                self.drop_namespace(name).await?;
            }
        }
        Ok(())
    }

    /// Begins the removal of a namespace, without waiting for its end.
    async fn drop_namespace(&self, name: &str) -> Result<(), EngineError> {
        let action = "remove the namespace of a pull";
        let namespaces = self.namespaces().await?;
        let deleted = self
            .connection
            .try_call(action, namespaces.delete(name, &DeleteParams::background()))
            .await?;
        match deleted {
            Ok(_) => Ok(()),
            Err(status) if is_gone(&status) => Ok(()),
            Err(status) => Err(connection::of_status(action, &status)),
        }
    }
}

/// Returns the specification of a pod that pulls an image and does nothing.
fn pull_spec(image: &str, digest: [u8; 32]) -> ContainerSpec {
    ContainerSpec {
        identity: ContainerIdentity {
            job: 0,
            machine: 0,
            worker: "pull".to_owned(),
            // Parallel pulls of one image share the pod, and the first to end removes it: each has its own.
            fingerprint: hex::encode(digest).chars().take(8).collect::<String>() + &unique(),
        },
        image: image.to_owned(),
        entrypoint: Vec::new(),
        command: vec![assay_init::PROGRAM.to_owned()],
        environment: Vec::new(),
        share: SlotShare {
            memory_mib: 32,
            cpu_millis: 50,
            processes: 16,
        },
        shm_mib: 1,
        profile: assay_client::manifest::Profile::Batch,
        capabilities: Vec::new(),
        writable_root: false,
        runtime: None,
        network: ContainerNetwork::None,
        ports: Vec::new(),
        devices: DeviceAccess::None,
        holding: Holding::default(),
        disk: None,
        mounts: Vec::new(),
    }
}

/// Returns the time in seconds since 1970.
fn now_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Returns four hexadecimal digits that tell pulls of one process apart.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) ^ std::process::id();
    format!("{:04x}", number & 0xffff)
}

fn login_secret(spec: &ContainerSpec, login: &RegistryLogin) -> Secret {
    let registry = spec.image.split('/').next().unwrap_or_default();
    let pair = STANDARD.encode(format!("{}:{}", login.username, login.password));
    let content = serde_json::json!({ "auths": { registry: { "auth": pair } } });
    Secret {
        metadata: objects::named(LOGIN),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            ByteString(content.to_string().into_bytes()),
        )])),
        ..Secret::default()
    }
}
