//! Commands in a running container, attached to input and output.
//!
//! The stream comes over a connection of our own: of a terminal it has no frames, and its first byte may be
//! any.

use std::{
    collections::HashSet,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use futures::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use hyper::body::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{
    DockerEngine, EngineEndpoint, EngineError, OutputStream,
    docker::of_wire,
    session::{self, Mark, Session},
    wire::{Frames, Wire},
};

/// Number of bytes that are read from a terminal at once.
const CHUNK_BYTES: usize = 16 * 1_024;

/// Number of times that the engine is asked for a command's first process, and the pause between two.
const SESSION_LOOKS: u32 = 20;
const SESSION_PAUSE: Duration = Duration::from_millis(50);

/// Command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables as `NAME=value`, added to those of the container.
    pub environment: Vec<String>,
    /// True if the command gets a terminal. Its standard error is part of standard output then.
    pub tty: bool,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Number of columns.
    pub columns: u16,
    /// Number of rows.
    pub rows: u16,
}

/// Standard input of a command; shutting it down ends the command's input.
pub type ExecInput = Pin<Box<dyn AsyncWrite + Send>>;

/// Output of a command, until both of its streams are closed.
pub type ExecOutput = BoxStream<'static, io::Result<(OutputStream, Bytes)>>;

/// A command that runs in a container.
pub struct ExecSession {
    /// Standard input.
    pub input: ExecInput,
    /// Output.
    pub output: ExecOutput,
    /// Handle of the command.
    pub control: Box<dyn ExecControl>,
}

/// Handle of a command that runs in a container.
pub trait ExecControl: Send + Sync {
    /// Changes the size of the terminal.
    fn resize(&self, size: TerminalSize) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Returns the exit code; `None` while the command runs.
    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, EngineError>>;

    /// Ends all processes of the command that are left in the container, also those in the background and
    /// those that the first one did not wait for; returns false if this host cannot. The job's own processes
    /// and those of other commands go on. Dropping the handle does the same, as far as it is possible at
    /// once.
    fn kill(&self) -> BoxFuture<'_, Result<bool, EngineError>>;
}

/// A command at an engine with the Docker Engine API.
struct DockerExec {
    engine: DockerEngine,
    container: String,
    exec: String,
    mark: Mark,
    /// Session of the command's first process, once it is known.
    session: Arc<OnceLock<Session>>,
    /// True once the command's processes were ended.
    is_ended: AtomicBool,
}

impl DockerEngine {
    /// Creates and starts a command.
    pub(super) async fn open_exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        let action = "run a command in the container";
        let mark = Mark::draw().map_err(|error| EngineError::Failed {
            action: action.into(),
            reason: error.to_string(),
        })?;
        let mut environment = spec.environment.clone();
        environment.push(mark.variable().to_owned());
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(spec.tty),
            env: Some(environment),
            cmd: Some(spec.command.clone()),
            privileged: Some(false),
            ..CreateExecOptions::default()
        };
        let exec = self
            .call(action, |docker| async move {
                docker.create_exec(id, options).await.map(|created| created.id)
            })
            .await?;
        let body = serde_json::json!({ "Detach": false, "Tty": spec.tty }).to_string();
        let starting = async {
            let wire = Wire::open(&self.endpoint).await?;
            wire.upgrade(&format!("/exec/{exec}/start"), Some(body)).await
        };
        let connection = starting
            .await
            .map_err(|error| of_wire(&self.endpoint, action, &error))?;
        let (output, input) = tokio::io::split(connection);
        let session = Arc::default();
        if matches!(self.endpoint, EngineEndpoint::Socket(_)) {
            // Beside the session, which need not wait for it.
            tokio::spawn(note_session(
                self.clone(),
                id.to_owned(),
                exec.clone(),
                Arc::clone(&session),
            ));
        }
        Ok(ExecSession {
            input: Box::pin(input),
            output: if spec.tty {
                terminal(output)
            } else {
                frames(output)
            },
            control: Box::new(DockerExec {
                engine: self.clone(),
                container: id.to_owned(),
                exec,
                mark,
                session,
                is_ended: AtomicBool::new(false),
            }),
        })
    }
}

/// Notes the session of a command's first process, as long as that lives.
///
/// Without it, processes that dropped the mark are found by their living relatives only.
async fn note_session(engine: DockerEngine, container: String, exec: String, noted: Arc<OnceLock<Session>>) {
    for _ in 0..SESSION_LOOKS {
        let found = engine
            .call("look at a command", |docker| {
                let exec = exec.as_str();
                async move { docker.inspect_exec(exec).await }
            })
            .await;
        let Ok(found) = found else { return };
        let process = found.pid.and_then(|pid| i32::try_from(pid).ok());
        if let Some(session) = process
            .filter(|process| *process > 0)
            .and_then(|process| Session::led_by(process, &container))
        {
            // One task notes it, once.
            let _ = noted.set(session);
            return;
        }
        if found.running == Some(false) && found.exit_code.is_some() {
            return;
        }
        tokio::time::sleep(SESSION_PAUSE).await;
    }
    tracing::debug!(
        exec,
        "the first process of a command leads no session that this host sees"
    );
}

/// Reads the output of a terminal.
fn terminal(output: impl AsyncRead + Unpin + Send + 'static) -> ExecOutput {
    let chunk = vec![0; CHUNK_BYTES];
    stream::try_unfold((output, chunk), |(mut output, mut chunk)| async move {
        let read = output.read(&mut chunk).await?;
        let piece = Bytes::copy_from_slice(&chunk[..read]);
        Ok::<_, io::Error>((read > 0).then_some(((OutputStream::Stdout, piece), (output, chunk))))
    })
    .boxed()
}

/// Reads the output of a command without a terminal.
fn frames(output: impl AsyncRead + Unpin + Send + 'static) -> ExecOutput {
    stream::try_unfold(Frames::new(output), |mut frames| async move {
        let piece = match frames.next().await.map_err(io::Error::other)? {
            Some((stream, bytes)) => (stream, Bytes::copy_from_slice(bytes)),
            None => return Ok(None),
        };
        Ok::<_, io::Error>(Some((piece, frames)))
    })
    .boxed()
}

impl ExecControl for DockerExec {
    fn resize(&self, size: TerminalSize) -> BoxFuture<'_, Result<(), EngineError>> {
        let options = ResizeExecOptions {
            height: size.rows,
            width: size.columns,
        };
        Box::pin(self.engine.call("resize a terminal", move |docker| async move {
            docker.resize_exec(&self.exec, options).await
        }))
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, EngineError>> {
        Box::pin(async move {
            let found = self
                .engine
                .call("look at a command", |docker| async move {
                    docker.inspect_exec(&self.exec).await
                })
                .await?;
            Ok(found.exit_code.filter(|_| found.running == Some(false)))
        })
    }

    fn kill(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async move {
            let action = "end the processes of a command";
            let failed = |reason: String| EngineError::Failed {
                action: action.into(),
                reason,
            };
            let is_here = matches!(self.engine.endpoint, EngineEndpoint::Socket(_));
            let mut killed = HashSet::new();
            if is_here {
                let (container, mark) = (self.container.clone(), self.mark.clone());
                let session = self.session.get().copied();
                killed = tokio::task::spawn_blocking(move || session::end(&container, &mark, session))
                    .await
                    .map_err(|error| failed(error.to_string()))?
                    .map_err(|error| failed(error.to_string()))?;
                self.is_ended.store(true, Ordering::Relaxed);
            }
            let found = self
                .engine
                .call(
                    action,
                    |docker| async move { docker.inspect_exec(&self.exec).await },
                )
                .await;
            let found = match found {
                Ok(found) => found,
                // The command ended, and the engine has forgotten it with its container.
                Err(_) if is_here => return Ok(true),
                Err(error) => return Err(error),
            };
            let process = found.pid.and_then(|pid| i32::try_from(pid).ok());
            match process {
                _ if found.running != Some(true) => Ok(true),
                Some(process) if killed.contains(&process) => Ok(true),
                // It began a moment ago and has no environment yet.
                Some(process) if is_here => {
                    kill_in_container(process, &self.container).map_err(|error| failed(error.to_string()))
                }
                _ => Ok(false),
            }
        })
    }
}

impl Drop for DockerExec {
    fn drop(&mut self) {
        // A session that was given up, as at the worker's end: it takes no longer than some looks at `/proc`.
        let is_here = matches!(self.engine.endpoint, EngineEndpoint::Socket(_));
        if is_here
            && !self.is_ended.load(Ordering::Relaxed)
            && let Err(error) = session::end(&self.container, &self.mark, self.session.get().copied())
        {
            tracing::warn!(%error, "ending the processes of a command that was given up failed");
        }
    }
}

/// Kills a process, if it belongs to a container; returns false for any other process.
///
/// The engine's number of the process is right only if the engine runs on this host and in its namespace, and
/// the number may have another owner by now. Control groups are named after the container.
fn kill_in_container(process: i32, container: &str) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(process) else {
        return Ok(false);
    };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        handle => handle?,
    };
    // Read after the handle is open: either both concern the same process, or the signal is lost.
    let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    if container.is_empty() || !groups.contains(container) {
        return Ok(false);
    }
    match pidfd_send_signal(handle, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    #[test]
    fn process_outside_the_container_is_not_killed() {
        let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
        let process = i32::try_from(bystander.id()).unwrap();
        assert!(!kill_in_container(process, &"ab".repeat(32)).unwrap());
        assert!(!kill_in_container(process, "").unwrap());
        assert!(bystander.try_wait().unwrap().is_none());
        // Every process is in some group.
        assert!(kill_in_container(process, "/").unwrap());
        assert!(!bystander.wait().unwrap().success());
        assert!(kill_in_container(process, "/").unwrap(), "it is gone already");
    }

    #[tokio::test]
    async fn terminal_is_read_byte_for_byte() {
        // A stream with frames would begin with 1.
        let bytes = b"\x01\x02\x00hello\r\n".repeat(3_000);
        let pieces: Vec<_> = terminal(std::io::Cursor::new(bytes.clone())).collect().await;
        let read: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| piece.unwrap().1.to_vec())
            .collect();
        assert_eq!(read, bytes);
    }
}
