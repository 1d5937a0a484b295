//! The Docker Engine API, spoken to Docker and to Podman alike.

use std::{collections::HashMap, future::Future, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    container::LogOutput,
    errors::Error as ApiError,
    models::{
        ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageInspect, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::{
    Container, ContainerEngine, ContainerIdentity, ContainerSpec, ContainerState, EngineEndpoint,
    EngineError, EngineInfo, LABEL_FINGERPRINT, LABEL_JOB, LABEL_MACHINE, LABEL_WORKER, MAX_OUTPUT_BYTES,
    Output, STOP_GRACE_SECONDS,
    listing::{self, ListError, Listed},
};

/// Seconds that the engine has for the answer to one request.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// Longest time that one image may take to arrive.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Size at which the engine cuts a container's log, so that output cannot fill the host's disk.
const LOG_FILE_BYTES: &str = "16777216";

/// Bytes of a MiB.
const MIB: i64 = 1024 * 1024;

/// An engine behind a socket or an HTTP address; connects when first used, and again after a failure.
pub struct DockerEngine {
    endpoint: EngineEndpoint,
    connection: Mutex<Option<Docker>>,
}

impl DockerEngine {
    /// An engine at an endpoint. Nothing is dialled yet: an engine that is started later is fine.
    pub fn new(endpoint: EngineEndpoint) -> Self {
        Self {
            endpoint,
            connection: Mutex::new(None),
        }
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

    /// A listed container in our own words; `None` for one that is gone or going. Where the engine's words for it are not
    /// understood, it is there and nothing more is known.
    async fn describe(&self, listed: Listed) -> Result<Option<Container>, EngineError> {
        let Listed {
            id,
            job,
            fingerprint,
            state,
        } = listed;
        let state = match state.as_str() {
            // Nothing can be done with it.
            _ if id.is_empty() => ContainerState::Unknown,
            "created" => ContainerState::Created,
            "running" | "paused" | "restarting" | "stopping" => ContainerState::Running,
            "exited" | "dead" => {
                // The list does not tell the exit code.
                let id = &id;
                let inspect = |docker: Docker| async move {
                    match docker.inspect_container(id, None).await {
                        Err(error) if is_not_found(&error) => Ok(None),
                        found => found.map(Some),
                    }
                };
                match self.call("look at an ended container", inspect).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(found)) => ContainerState::Exited {
                        exit_code: found.state.and_then(|state| state.exit_code).unwrap_or(-1),
                    },
                    Err(error @ EngineError::Unreachable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::warn!(job, %error, "how a job's container ended is not known yet");
                        ContainerState::Unknown
                    }
                }
            }
            "removing" => return Ok(None),
            word => {
                tracing::warn!(
                    job,
                    state = word,
                    "a job's container is in a state that this worker does not know; it is left alone"
                );
                ContainerState::Unknown
            }
        };
        Ok(Some(Container {
            id,
            job,
            fingerprint,
            state,
        }))
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

    async fn pull(&self, image: &str, digest: [u8; 32]) -> Result<[u8; 32], EngineError> {
        let action = format!("pull {image}");
        let present = self
            .call(&action, |docker| async move {
                match docker.inspect_image(image).await {
                    Ok(found) => Ok(Some(found)),
                    Err(error) if is_not_found(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await?;
        if let Some(found) = present {
            return verified_digest(&found, image, digest);
        }
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

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        let started = self
            .call("start the container", |docker| async move {
                docker.start_container(id, None).await
            })
            .await;
        let (action, reason) = match started {
            Err(EngineError::Refused { action, reason }) => (action, reason),
            other => return other,
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

    async fn wait(&self, id: &str) -> Result<i64, EngineError> {
        self.call("wait for the container", |docker| async move {
            let options = WaitContainerOptionsBuilder::new()
                .condition("not-running")
                .build();
            match docker.wait_container(id, Some(options)).next().await {
                Some(Ok(ended)) => Ok(ended.status_code),
                Some(Err(ApiError::DockerContainerWaitError { code, .. })) => Ok(code),
                Some(Err(error)) => Err(error),
                None => Err(ApiError::RequestTimeoutError),
            }
        })
        .await
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        let version = self.connected().await?.client_version();
        let version = format!("{}.{}", version.major_version, version.minor_version);
        let listed = match listing::containers(&self.endpoint, &version, worker).await {
            Ok(listed) => listed,
            Err(ListError::Unreachable(reason)) => {
                *self.connection.lock().await = None;
                return Err(EngineError::Unreachable {
                    endpoint: self.endpoint.to_string(),
                    reason,
                });
            }
            Err(ListError::Unusable(reason)) => {
                return Err(EngineError::Failed {
                    action: "list containers".to_owned(),
                    reason,
                });
            }
        };
        let mut containers = Vec::with_capacity(listed.len());
        for one in listed {
            containers.extend(self.describe(one).await?);
        }
        Ok(containers)
    }

    async fn output(&self, id: &str) -> Result<Output, EngineError> {
        self.call("read the container's output", |docker| async move {
            let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
            let mut chunks = std::pin::pin!(docker.logs(id, Some(options)));
            let mut output = Output::default();
            while let Some(chunk) = chunks.try_next().await? {
                let stream = match &chunk {
                    LogOutput::StdErr { .. } => &mut output.stderr,
                    _ => &mut output.stdout,
                };
                let bytes = chunk.as_ref();
                let room = MAX_OUTPUT_BYTES - stream.len();
                stream.extend_from_slice(&bytes[..bytes.len().min(room)]);
                output.truncated |= bytes.len() > room;
                let both_full =
                    output.stdout.len() == MAX_OUTPUT_BYTES && output.stderr.len() == MAX_OUTPUT_BYTES;
                if output.truncated && both_full {
                    break;
                }
            }
            Ok(output)
        })
        .await
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
        .await
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
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([(
                    "max-size".to_owned(),
                    LOG_FILE_BYTES.to_owned(),
                )])),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
