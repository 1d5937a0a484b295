//! The Docker Engine API, for both Docker and Podman.

use std::{
    collections::HashMap,
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as SyncMutex},
};

use assay_client::manifest::{ImageReference, RegistryLogin};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as ApiError,
    models::ImageInspect,
    query_parameters::{
        CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use tokio::sync::Mutex;

use super::{
    Capture, CaptureTarget, Container, ContainerEngine, ContainerSpec, DeviceAccess, EngineDisk,
    EngineEndpoint, EngineError, EngineInfo, ExecSession, ExecSpec, ImageProcess, ImageRoot, RunEnd, RunFact,
    STOP_GRACE_SECONDS, StoredImage,
    body::create_body,
    loader,
    podman::{KnownKind, Place},
    removal::Removals,
    run::{Follower, Listed, Run, Runs},
    runtimes::stronger_runtimes,
    seccomp::ConfinementError,
    volumes::{check_working_dir, declared_volumes, link_on_the_way},
    wire::{Wire, WireError},
    with_sources,
};
use crate::registry::RegistryProxy;

/// Timeout of one request, in seconds.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// Number of bytes in a MiB.
const MIB: i64 = 1024 * 1024;

/// Locks, one for each digest of an image.
pub(super) type Turns = Arc<SyncMutex<HashMap<[u8; 32], Arc<Mutex<()>>>>>;

/// An engine behind a Unix socket or an HTTP address; connects on first use, and again after a failure.
///
/// Clones share the connection and the runs.
#[derive(Clone)]
pub struct DockerEngine {
    pub(super) endpoint: EngineEndpoint,
    pub(super) connection: Arc<Mutex<Option<Docker>>>,
    /// Kind of the engine, once it told.
    pub(super) kind: Arc<SyncMutex<Option<KnownKind>>>,
    pub(super) runs: Runs,
    /// Proxy that the engine pulls through; `None` if it requests images from their registries by itself.
    pub(super) proxy: Option<Arc<RegistryProxy>>,
    /// Locks of the pulls that are under way, by digest.
    pub(super) turns: Turns,
    pub(super) removals: Removals,
}

impl DockerEngine {
    /// Creates an engine at an endpoint without connecting, so that the engine may be started later. It
    /// requests images from their registries by itself: see [`Self::with_proxy`].
    pub fn new(endpoint: EngineEndpoint) -> Self {
        Self {
            endpoint,
            connection: Arc::default(),
            kind: Arc::default(),
            runs: Runs::default(),
            proxy: None,
            turns: Arc::default(),
            removals: Removals::default(),
        }
    }

    /// Returns true if the engine is on this host.
    pub fn is_here(&self) -> bool {
        matches!(self.endpoint, EngineEndpoint::Socket(_))
    }

    /// Waits for the end of a container's run that this process started, and returns it.
    pub async fn run_end(&self, id: &str) -> RunEnd {
        self.runs.end(id).await
    }

    pub(super) fn change_runs<T>(&self, change: impl FnOnce(&mut HashMap<String, Run>) -> T) -> T {
        self.runs.change(change)
    }

    /// Follows a run from its start, or one already under way. Runs in a task of its own, so that a cancelled
    /// caller does not leave a run behind that nobody follows.
    async fn followed(&self, id: &str, output: CaptureTarget, starts: bool) -> Result<(), EngineError> {
        let action = "follow the container";
        let (engine, id) = (self.clone(), id.to_owned());
        let following = tokio::spawn(async move {
            let mut follower = Follower::connect(&engine.endpoint, &id, starts)
                .await
                .map_err(|error| of_wire(&engine.endpoint, action, &error))?;
            if starts && !engine.start_only(&id).await? {
                follower.came_late();
            }
            let run = follower.follow(Capture::new(&output));
            engine.change_runs(|runs| drop(runs.insert(id, run)));
            Ok(())
        });
        following.await.unwrap_or_else(|error| {
            Err(EngineError::Failed {
                action: action.into(),
                reason: error.to_string(),
            })
        })
    }

    /// Returns the folders of an image's layers, if they are on this host; see [`layer_folders`].
    fn layers_here(&self, image: &ImageInspect) -> Vec<PathBuf> {
        match self.endpoint {
            EngineEndpoint::Socket(_) => layer_folders(image),
            EngineEndpoint::Http(_) => Vec::new(),
        }
    }

    /// Makes one request over the connection, and translates its error.
    pub(super) async fn call<T, F>(
        &self,
        action: &str,
        request: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let docker = self.connected().await?;
        match request(docker).await {
            Ok(value) => Ok(value),
            Err(error) => {
                let error = self.translate(action, &error);
                if matches!(error, EngineError::Unreachable { .. }) {
                    *self.connection.lock().await = None;
                    self.forget_kind();
                }
                Err(error)
            }
        }
    }

    /// Returns the connection, negotiated to an API version that the engine speaks.
    async fn connected(&self) -> Result<Docker, EngineError> {
        let mut connection = self.connection.lock().await;
        if let Some(docker) = &*connection {
            return Ok(docker.clone());
        }
        let docker = match &self.endpoint {
            EngineEndpoint::Socket(path) => {
                Docker::connect_with_unix(path, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            }
            EngineEndpoint::Http(address) => {
                Docker::connect_with_http(address, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            }
        };
        let docker = docker.map_err(|error| self.unreachable(&error))?;
        let docker = docker
            .negotiate_version()
            .await
            .map_err(|error| self.unreachable(&error))?;
        *connection = Some(docker.clone());
        self.forget_kind();
        Ok(docker)
    }

    /// Starts a container; returns false if it already ran.
    async fn start_only(&self, id: &str) -> Result<bool, EngineError> {
        let action = "start the container";
        let starting = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            wire.command(&format!("/containers/{id}/start")).await
        };
        let error = match starting.await {
            Ok(was_started) => return Ok(was_started),
            Err(WireError::Status { code, message }) => {
                let status_code = code;
                self.translate(
                    action,
                    &ApiError::DockerResponseServerError { status_code, message },
                )
            }
            Err(error) => of_wire(&self.endpoint, action, &error),
        };
        let EngineError::Refused { action, reason } = error else {
            return Err(error);
        };
        let is_gone = self
            .call("look at the container", |docker| async move {
                match docker.inspect_container(id, None).await {
                    Err(error) if is_not_found(&error) => Ok(true),
                    other => other.map(|_| false),
                }
            })
            .await?;
        // The failure of a container that is gone does not concern the next one.
        Err(if is_gone {
            EngineError::Failed { action, reason }
        } else {
            EngineError::Refused { action, reason }
        })
    }

    fn unreachable(&self, error: &ApiError) -> EngineError {
        EngineError::Unreachable {
            endpoint: self.endpoint.to_string(),
            reason: innermost(error),
        }
    }

    pub(super) fn translate(&self, action: &str, error: &ApiError) -> EngineError {
        let action = action.to_owned();
        match error {
            ApiError::DockerResponseServerError { status_code, message } => {
                let reason = message.trim().to_owned();
                match *status_code {
                    // 409 is temporary: for example, the container is just being removed or started.
                    408 | 409 | 425 | 429 => EngineError::Failed { action, reason },
                    400..=499 => EngineError::Refused { action, reason },
                    _ => EngineError::Failed { action, reason },
                }
            }
            ApiError::HyperLegacyError { .. }
            | ApiError::HyperResponseError { .. }
            | ApiError::IOError { .. }
            | ApiError::SocketNotFoundError(_) => self.unreachable(error),
            other => EngineError::Failed {
                action,
                reason: with_sources(other),
            },
        }
    }
}

/// Translates an error of one of our own connections.
pub(super) fn of_wire(endpoint: &EngineEndpoint, action: &str, error: &WireError) -> EngineError {
    match error {
        WireError::Broken(reason) => EngineError::Unreachable {
            endpoint: endpoint.to_string(),
            reason: reason.clone(),
        },
        // Temporary: a later attempt to attach may succeed, or the container's start gives a better reason.
        other => EngineError::Failed {
            action: action.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// Returns the text of an error's innermost source: the outer ones of a connection error say nothing.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Returns true for a 404 from the engine.
pub(super) fn is_not_found(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::DockerResponseServerError { status_code: 404, .. }
    )
}

impl ContainerEngine for DockerEngine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        let place = Place::of(&self.endpoint);
        let (version, info) = self
            .call("describe itself", |docker| async move {
                docker.ping().await?;
                Ok((docker.version().await?, docker.info().await?))
            })
            .await?;
        self.note_kind(place, &version);
        let runtimes = stronger_runtimes(&version, &info);
        let component = version.components.unwrap_or_default().into_iter().next();
        let name = component.map_or_else(|| "Engine".to_owned(), |component| component.name);
        Ok(EngineInfo {
            endpoint: self.endpoint.to_string(),
            version: format!("{name} {}", version.version.unwrap_or_default()),
            cpu_cores: info.ncpu.and_then(|cores| u32::try_from(cores).ok()).unwrap_or(0),
            memory_mib: info
                .mem_total
                .and_then(|bytes| u64::try_from(bytes / MIB).ok())
                .unwrap_or(0),
            runtimes,
        })
    }

    async fn has_image(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        self.has_stored(image, digest).await
    }

    fn check_registry(&self, image: &ImageReference) -> Result<(), EngineError> {
        self.way_of_pull(image).map(drop)
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        let info = self
            .call("report where it keeps images", |docker| async move {
                docker.info().await
            })
            .await?;
        let EngineEndpoint::Socket(_) = self.endpoint else {
            return Ok(None);
        };
        Ok(info.docker_root_dir.and_then(|folder| {
            let room = rustix::fs::statvfs(Path::new(&folder)).ok()?;
            Some(EngineDisk {
                free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
                total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
            })
        }))
    }

    async fn image_process(&self, image: &str) -> Result<ImageProcess, EngineError> {
        let found = self.present(&format!("look at {image}"), image).await?;
        let config = found.config.unwrap_or_default();
        Ok(ImageProcess {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
        })
    }

    async fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        self.pull_stored(image, digest, login).await
    }

    async fn image_root(&self, image: &str) -> Result<ImageRoot, EngineError> {
        let found = self.present("look at the image", image).await?;
        Ok(ImageRoot {
            layers: self.layers_here(&found),
            volumes: image_volumes(&found)?,
        })
    }

    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        self.stored_images().await
    }

    async fn remove_image(&self, image: &str) -> Result<bool, EngineError> {
        self.remove_stored(image).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let name = spec.identity.name();
        let is_podman = self.is_podman().await?;
        if let Some(runtime) = &spec.runtime {
            self.check_runtime(runtime).await?;
        }
        let image = self.present("look at the image", &spec.image).await?;
        let volumes = image_volumes(&image)?;
        let layers = self.layers_here(&image);
        let config = image.config.unwrap_or_default();
        let refused = |reason: String| EngineError::Refused {
            action: "create the container".into(),
            reason,
        };
        let working_dir = config.working_dir.as_deref().unwrap_or_default();
        check_working_dir(working_dir).map_err(refused)?;
        let mut body = create_body(spec, &volumes);
        // By its identifier: the engine may have the image under another name only.
        let image_id = image
            .id
            .as_deref()
            .unwrap_or(&spec.image)
            .trim_start_matches("sha256:");
        body.image = Some(image_id.to_owned());
        // For AMD's GPUs the engine maps device nodes by itself, and runs no hook.
        if matches!(spec.devices, DeviceAccess::Cdi(_) | DeviceAccess::Nvidia(_)) {
            let of_image = config.env.as_deref().unwrap_or_default();
            let all = of_image.iter().chain(&spec.environment).map(String::as_str);
            body.env.get_or_insert_default().extend(loader::emptied(all));
        }
        if is_podman {
            self.check_annotations(image_id).await?;
            if link_on_the_way(&layers, "/dev").is_some() {
                return Err(refused(
                    "the image has a link in place of /dev, which runc before 1.3.6 follows to the host \
                     (CVE-2026-41579); build it with a folder there"
                        .into(),
                ));
            }
            if let Some(link) = link_on_the_way(&layers, working_dir) {
                return Err(refused(format!(
                    "the image's program begins in {working_dir:?}, and {link:?} on the way is a link; build it with the \
                     path that it leads to as WORKDIR"
                )));
            }
            let profile = self
                .strict_profile()
                .await
                .map_err(ConfinementError::into_engine_error)?;
            let options = &mut body.host_config.get_or_insert_default().security_opt;
            options
                .get_or_insert_default()
                .push(format!("seccomp={}", profile.display()));
        }
        let cdi_at_podman = match &spec.devices {
            DeviceAccess::Cdi(names) => is_podman.then_some(names),
            _ => None,
        };
        let created = match (cdi_at_podman, &mut body.host_config) {
            (Some(names), Some(host_config)) => {
                // The names go as devices instead.
                host_config.device_requests = None;
                self.create_by_libpod(&name, &body, names).await
            }
            _ => {
                self.call("create the container", |docker| {
                    let options = CreateContainerOptionsBuilder::new().name(&name).build();
                    async move {
                        docker
                            .create_container(Some(options), body)
                            .await
                            .map(|answer| answer.id)
                    }
                })
                .await
            }
        };
        let refused = match created {
            Err(error @ EngineError::Refused { .. }) => error,
            // Podman answers 500 if the name is taken.
            Err(error @ EngineError::Failed { .. }) => error,
            other => return other,
        };
        let existing = self.list(&spec.identity.worker).await?;
        existing
            .into_iter()
            .find(|container| {
                container.job == spec.identity.job && container.fingerprint == spec.identity.fingerprint
            })
            .map(|container| container.id)
            .ok_or(refused)
    }

    async fn start(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        self.followed(id, output, true).await
    }

    async fn follow(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        self.followed(id, output, false).await
    }

    async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        self.call("resume the container", |docker| async move {
            docker.unpause_container(id).await
        })
        .await
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.open_exec(id, spec).await
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        let facts = self.runs.facts();
        let listed = self.entries(worker).await?;
        self.finish_removals(worker, &listed);
        let fact = |id: &str| facts.get(id).copied().unwrap_or(RunFact::Unwatched);
        Ok(listed
            .into_iter()
            .filter_map(|entry| Listed::read(entry)?.describe(fact))
            .collect())
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.call("stop and remove the container", |docker| async move {
            let stop = StopContainerOptionsBuilder::new()
                .t(STOP_GRACE_SECONDS as i32)
                .build();
            match docker.stop_container(id, Some(stop)).await {
                Err(error) if is_not_found(&error) => return Ok(()),
                // A container that cannot be stopped is removed by force below.
                _ => (),
            }
            let remove = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(id, Some(remove)).await {
                Err(error) if is_not_found(&error) => Ok(()),
                other => other,
            }
        })
        .await?;
        self.change_runs(|runs| drop(runs.remove(id)));
        Ok(())
    }
}

/// Returns the volumes that an image declares.
fn image_volumes(image: &ImageInspect) -> Result<Vec<String>, EngineError> {
    let declared = image.config.as_ref().and_then(|config| config.volumes.as_deref());
    declared_volumes(declared.unwrap_or_default()).map_err(|reason| EngineError::Refused {
        action: "create the container".into(),
        reason,
    })
}

/// Returns the folders of an image's layers, the uppermost first; empty if the storage driver is not overlay.
fn layer_folders(image: &ImageInspect) -> Vec<PathBuf> {
    let Some(driver) = image.graph_driver.as_ref() else {
        return Vec::new();
    };
    if !matches!(&*driver.name, "overlay" | "overlay2") {
        return Vec::new();
    }
    let folders = |key: &str| driver.data.get(key).map(String::as_str).unwrap_or_default();
    std::iter::once(folders("UpperDir"))
        .chain(folders("LowerDir").split(':'))
        .filter(|folder| folder.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}
