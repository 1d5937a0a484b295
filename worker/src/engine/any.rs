//! The engine that the configuration chooses.

use std::sync::Arc;

use assay_client::manifest::{ImageReference, RegistryLogin};

use super::{
    CaptureTarget, ConfinementError, Container, ContainerEngine, ContainerSpec, DockerEngine, EngineDisk,
    EngineEndpoint, EngineError, EngineInfo, ExecSession, ExecSpec, ImageProcess, ImageRoot,
    KubernetesEngine, RunEnd, StoredImage,
};
use crate::{
    config::Config,
    registry::{Registry, RegistryProxy},
};

/// Value of `assay.engine` that chooses a cluster.
pub const KUBERNETES: &str = "kubernetes";

/// An engine of either kind. Clones share its connections and its runs.
#[derive(Clone)]
pub enum Engine {
    /// Docker or Podman, by the Docker Engine API.
    Docker(DockerEngine),
    /// A node of a cluster.
    Kubernetes(KubernetesEngine),
}

impl Engine {
    /// Creates the engine of a configuration without connecting.
    pub fn of(config: &Config) -> Self {
        let settings = &config.assay;
        match &settings.kubernetes {
            Some(kubernetes) => Self::Kubernetes(KubernetesEngine::new(kubernetes.clone())),
            None => {
                let registry = Registry::new(settings.private_registries.clone());
                let docker = DockerEngine::new(EngineEndpoint::resolve(settings.engine.as_deref()));
                Self::Docker(docker.with_proxy(Arc::new(RegistryProxy::new(registry))))
            }
        }
    }

    /// Returns the engine with the Docker Engine API, if it is one.
    pub fn docker(&self) -> Option<&DockerEngine> {
        match self {
            Self::Docker(docker) => Some(docker),
            Self::Kubernetes(_) => None,
        }
    }

    /// Checks that containers of this engine run under a profile that refuses new user namespaces and
    /// sockets to the hypervisor; returns a description of it.
    ///
    /// Every pod asks for `RuntimeDefault`, which Pod Security `restricted` demands: the profile of the
    /// node's runtime, as Docker has it.
    pub async fn confinement(&self) -> Result<String, ConfinementError> {
        match self {
            Self::Docker(engine) => engine.confinement().await,
            Self::Kubernetes(_) => Ok("`RuntimeDefault`, the profile of the node's runtime".to_owned()),
        }
    }

    /// Returns the cluster, if it is one.
    pub fn kubernetes(&self) -> Option<&KubernetesEngine> {
        match self {
            Self::Docker(_) => None,
            Self::Kubernetes(kubernetes) => Some(kubernetes),
        }
    }

    /// Waits for the end of a container's run that this process started, and returns it.
    pub async fn run_end(&self, id: &str) -> RunEnd {
        match self {
            Self::Docker(engine) => engine.run_end(id).await,
            Self::Kubernetes(engine) => engine.run_end(id).await,
        }
    }
}

impl ContainerEngine for Engine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        match self {
            Self::Docker(engine) => engine.ping().await,
            Self::Kubernetes(engine) => engine.ping().await,
        }
    }

    async fn has_image(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        match self {
            Self::Docker(engine) => engine.has_image(image, digest).await,
            Self::Kubernetes(engine) => engine.has_image(image, digest).await,
        }
    }

    fn check_registry(&self, image: &ImageReference) -> Result<(), EngineError> {
        match self {
            Self::Docker(engine) => engine.check_registry(image),
            Self::Kubernetes(engine) => engine.check_registry(image),
        }
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        match self {
            Self::Docker(engine) => engine.disk().await,
            Self::Kubernetes(engine) => engine.disk().await,
        }
    }

    async fn image_process(&self, image: &str) -> Result<ImageProcess, EngineError> {
        match self {
            Self::Docker(engine) => engine.image_process(image).await,
            Self::Kubernetes(engine) => engine.image_process(image).await,
        }
    }

    async fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        match self {
            Self::Docker(engine) => engine.pull(image, digest, login).await,
            Self::Kubernetes(engine) => engine.pull(image, digest, login).await,
        }
    }

    async fn image_root(&self, image: &str) -> Result<ImageRoot, EngineError> {
        match self {
            Self::Docker(engine) => engine.image_root(image).await,
            Self::Kubernetes(engine) => engine.image_root(image).await,
        }
    }

    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        match self {
            Self::Docker(engine) => engine.images().await,
            Self::Kubernetes(engine) => engine.images().await,
        }
    }

    async fn remove_image(&self, image: &str) -> Result<bool, EngineError> {
        match self {
            Self::Docker(engine) => engine.remove_image(image).await,
            Self::Kubernetes(engine) => engine.remove_image(image).await,
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        match self {
            Self::Docker(engine) => engine.create(spec).await,
            Self::Kubernetes(engine) => engine.create(spec).await,
        }
    }

    async fn start(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        match self {
            Self::Docker(engine) => engine.start(id, output).await,
            Self::Kubernetes(engine) => engine.start(id, output).await,
        }
    }

    async fn follow(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        match self {
            Self::Docker(engine) => engine.follow(id, output).await,
            Self::Kubernetes(engine) => engine.follow(id, output).await,
        }
    }

    async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        match self {
            Self::Docker(engine) => engine.unpause(id).await,
            Self::Kubernetes(engine) => engine.unpause(id).await,
        }
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        match self {
            Self::Docker(engine) => engine.exec(id, spec).await,
            Self::Kubernetes(engine) => engine.exec(id, spec).await,
        }
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        match self {
            Self::Docker(engine) => engine.list(worker).await,
            Self::Kubernetes(engine) => engine.list(worker).await,
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        match self {
            Self::Docker(engine) => engine.remove(id).await,
            Self::Kubernetes(engine) => engine.remove(id).await,
        }
    }
}
