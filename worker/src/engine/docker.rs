//! The Docker Engine API, spoken to Docker and to Podman alike.

use std::{
    collections::HashMap,
    future::Future,
    path::Path,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as ApiError,
    models::{
        ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageInspect, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use futures::TryStreamExt;
use hyper::Method;
use tokio::sync::Mutex;

use super::{
    Capture, CaptureTarget, Container, ContainerEngine, ContainerIdentity, ContainerSpec, EngineDisk,
    EngineEndpoint, EngineError, EngineInfo, LABEL_FINGERPRINT, LABEL_JOB, LABEL_MACHINE, LABEL_WORKER,
    RunEnd, RunFact, STOP_GRACE_SECONDS,
    run::{Follower, Listed, Run},
    wire::{Wire, WireError, filters},
};

/// Seconds that the engine has for the answer to one request.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// Longest time that one image may take to arrive.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Bytes of a MiB.
const MIB: i64 = 1024 * 1024;

/// An engine behind a socket or an HTTP address; connects when first used, and again after a failure.
///
/// Clones share the connection and the runs.
#[derive(Clone)]
pub struct DockerEngine {
    endpoint: EngineEndpoint,
    connection: Arc<Mutex<Option<Docker>>>,
    /// Runs that were started or taken up by this process, by the engine's name of the container. Here,
    /// because they outlive a connection to the chain, and with it the supervisor.
    runs: Arc<SyncMutex<HashMap<String, Run>>>,
}

impl DockerEngine {
    /// An engine at an endpoint. Nothing is dialled yet: an engine that is started later is fine.
    pub fn new(endpoint: EngineEndpoint) -> Self {
        Self {
            endpoint,
            connection: Arc::default(),
            runs: Arc::default(),
        }
    }

    /// Waits until the run of a container that this process started has ended, and tells how.
    pub async fn run_end(&self, id: &str) -> RunEnd {
        let run = self.change_runs(|runs| runs.get(id).cloned());
        match run {
            Some(run) => run.ended().await,
            None => RunEnd::UNSEEN,
        }
    }

    fn change_runs<T>(&self, change: impl FnOnce(&mut HashMap<String, Run>) -> T) -> T {
        change(&mut self.runs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows a run from its start, or one that goes on. A task of its own does so, lest a caller that is
    /// cut off leaves a run behind that nobody follows.
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

    /// Does one thing with the connection, and translates what goes wrong.
    async fn call<T, F>(&self, action: &str, request: impl FnOnce(Docker) -> F) -> Result<T, EngineError>
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
                }
                Err(error)
            }
        }
    }

    /// The connection, negotiated to an API version that the engine speaks.
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
        Ok(docker)
    }

    /// Starts a container; returns false for one that ran already.
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
        // A container that is gone says nothing about the next one.
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

    fn translate(&self, action: &str, error: &ApiError) -> EngineError {
        let action = action.to_owned();
        match error {
            ApiError::DockerResponseServerError { status_code, message } => {
                let reason = message.trim().to_owned();
                match *status_code {
                    // 409: the container is just being removed, or started, or whatever else passes.
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

/// What a connection of our own says, in the words of all others.
fn of_wire(endpoint: &EngineEndpoint, action: &str, error: &WireError) -> EngineError {
    match error {
        WireError::Broken(reason) => EngineError::Unreachable {
            endpoint: endpoint.to_string(),
            reason: reason.clone(),
        },
        // A container that cannot be attached to now may be so later, or its start says more.
        other => EngineError::Failed {
            action: action.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// An error with everything that caused it: the outermost text alone often says nothing.
fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What in the end caused an error: of a connection, everything around that says nothing.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether the engine said that there is no such thing.
fn is_not_found(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::DockerResponseServerError { status_code: 404, .. }
    )
}

impl ContainerEngine for DockerEngine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        let (version, info) = self
            .call("say what it is", |docker| async move {
                docker.ping().await?;
                Ok((docker.version().await?, docker.info().await?))
            })
            .await?;
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
        })
    }

    async fn has_image(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        let present = self
            .call(&format!("look for {image}"), |docker| async move {
                match docker.inspect_image(image).await {
                    Ok(found) => Ok(Some(found)),
                    Err(error) if is_not_found(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await?;
        present.map_or(Ok(false), |found| {
            verified_digest(&found, image, digest).map(|_| true)
        })
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        let info = self
            .call("say where it keeps images", |docker| async move {
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
            })
        }))
    }

    async fn pull(&self, image: &str, digest: [u8; 32]) -> Result<[u8; 32], EngineError> {
        if self.has_image(image, digest).await? {
            return Ok(digest);
        }
        let action = format!("pull {image}");
        let pulling = self.call(&action, |docker| async move {
            let options = CreateImageOptionsBuilder::new().from_image(image).build();
            docker
                .create_image(Some(options), None, None)
                .try_for_each(|_| async { Ok(()) })
                .await
        });
        tokio::time::timeout(PULL_TIMEOUT, pulling)
            .await
            .map_err(|_| EngineError::Failed {
                action: action.clone(),
                reason: format!("it did not arrive within {} minutes", PULL_TIMEOUT.as_secs() / 60),
            })??;
        let found = self
            .call(&action, |docker| async move { docker.inspect_image(image).await })
            .await?;
        verified_digest(&found, image, digest)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let name = spec.identity.name();
        let image = self
            .call("look at the image", |docker| async move {
                docker.inspect_image(&spec.image).await
            })
            .await?;
        let volumes = image.config.and_then(|config| config.volumes).unwrap_or_default();
        let body = create_body(spec, &volumes);
        let created = self
            .call("create the container", |docker| {
                let options = CreateContainerOptionsBuilder::new().name(&name).build();
                async move {
                    docker
                        .create_container(Some(options), body)
                        .await
                        .map(|answer| answer.id)
                }
            })
            .await;
        let refused = match created {
            Err(error @ EngineError::Refused { .. }) => error,
            // Podman answers a name that is taken with 500.
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
        self.call("let the container run on", |docker| async move {
            docker.unpause_container(id).await
        })
        .await
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        // Not through the library, and each by itself: one that cannot be read must not hide the others.
        let filters = filters("label", &format!("{LABEL_WORKER}={worker}"));
        // Before the list: what is listed as running and followed must not have ended meanwhile.
        let facts: HashMap<String, RunFact> =
            self.change_runs(|runs| runs.iter().map(|(id, run)| (id.clone(), run.fact())).collect());
        let listing = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            let path = format!("/containers/json?all=true&filters={filters}");
            wire.json::<Vec<serde_json::Value>>(Method::GET, &path).await
        };
        let listed = listing
            .await
            .map_err(|error| of_wire(&self.endpoint, "list containers", &error))?;
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
                // One that cannot be stopped is removed by force below.
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

/// The digest that the engine recorded for the image under this name, if it is the one that is wanted.
///
/// Docker and Podman hash a manifest that they fetch by digest and keep it only when the hash agrees.
fn verified_digest(image: &ImageInspect, name: &str, digest: [u8; 32]) -> Result<[u8; 32], EngineError> {
    let wanted = format!("sha256:{}", hex::encode(digest));
    let recorded = image.repo_digests.as_deref().unwrap_or_default();
    let agrees = recorded
        .iter()
        .any(|entry| entry.rsplit_once('@').is_some_and(|(_, found)| found == wanted));
    if agrees {
        return Ok(digest);
    }
    Err(EngineError::Refused {
        action: format!("verify {name}"),
        reason: format!(
            "its digests are [{}], and {wanted} is not among them",
            recorded.join(", ")
        ),
    })
}

/// What the engine is told to make. `volumes` are the paths that the image wants to write to.
fn create_body(spec: &ContainerSpec, volumes: &[String]) -> ContainerCreateBody {
    let ContainerIdentity {
        job,
        machine,
        worker,
        fingerprint,
    } = &spec.identity;
    let memory_bytes = i64::from(spec.share.memory_mib) * MIB;
    // The root is read-only, so what a container can write is memory, and the memory limit bounds it.
    let scratch = format!("rw,nosuid,nodev,size={}", memory_bytes / 2);
    let writable = ["/tmp", "/run", "/var/tmp"]
        .into_iter()
        .chain(volumes.iter().map(String::as_str));
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(spec.environment.clone()),
        labels: Some(HashMap::from([
            (LABEL_JOB.to_owned(), job.to_string()),
            (LABEL_MACHINE.to_owned(), machine.to_string()),
            (LABEL_WORKER.to_owned(), worker.clone()),
            (LABEL_FINGERPRINT.to_owned(), fingerprint.clone()),
        ])),
        attach_stdin: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(HostConfig {
            memory: Some(memory_bytes),
            // The same as memory: no swap on top of it.
            memory_swap: Some(memory_bytes),
            nano_cpus: Some(i64::from(spec.share.cpu_millis) * 1_000_000),
            pids_limit: Some(i64::from(spec.share.processes)),
            network_mode: Some(if spec.network { "bridge" } else { "none" }.to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(true),
            privileged: Some(false),
            tmpfs: Some(writable.map(|path| (path.to_owned(), scratch.clone())).collect()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            // Output is taken from the attach stream. A log would only fill the host's disk with it again.
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
