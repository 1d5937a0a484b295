//! Commands in a running pod, attached to input and output.

use std::io;

use assay_init::PROGRAM;
use futures::{
    SinkExt,
    future::{BoxFuture, FutureExt, Shared},
    stream::{self, StreamExt},
};
use hyper::body::Bytes;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize as PodTerminal},
};
use tokio::{
    io::{AsyncReadExt, ReadHalf, SimplexStream},
    sync::Mutex,
};

use super::{KubernetesEngine, objects::POD, run::has_shells};
use crate::engine::{
    EngineError, ExecControl, ExecOutput, ExecSession, ExecSpec, OutputStream, TerminalSize,
};

/// Size of the buffer of each stream.
const STREAM_BUFFER: usize = 64 * 1_024;

/// Number of bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1_024;

/// End of a command, as the node tells it; `None` if the connection broke.
type End = Shared<BoxFuture<'static, Option<Status>>>;

/// A command in a pod.
struct PodExec {
    /// Ends the connection when it is dropped.
    _process: AttachedProcess,
    terminal: Mutex<Option<futures::channel::mpsc::Sender<PodTerminal>>>,
    end: End,
}

impl KubernetesEngine {
    /// Runs a command in a container.
    pub(super) async fn open_exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        let action = "run a command in the container";
        let parsed = Self::id_of(id, action)?;
        let namespace = self.namespace_of(&parsed, action).await?;
        if !has_shells(&namespace) {
            return Err(EngineError::Refused {
                action: action.into(),
                reason: "its profile has no shells".into(),
            });
        }
        let pods: Api<Pod> = self.of(&parsed.namespace).await?;
        let options = AttachParams::default()
            .container(POD)
            .stdin(true)
            .stdout(true)
            .stderr(!spec.tty)
            .tty(spec.tty)
            .max_stdin_buf_size(STREAM_BUFFER)
            .max_stdout_buf_size(STREAM_BUFFER)
            .max_stderr_buf_size(STREAM_BUFFER);
        // The API takes no variables for a command.
        let command: Vec<String> = [
            PROGRAM.to_owned(),
            "--with".to_owned(),
            spec.environment.len().to_string(),
        ]
        .into_iter()
        .chain(spec.environment.iter().cloned())
        .chain(spec.command.iter().cloned())
        .collect();
        let mut process = self
            .connection
            .call(action, pods.exec(POD, command, &options))
            .await?;
        let lacking = || EngineError::Failed {
            action: action.into(),
            reason: "a stream is not attached".into(),
        };
        let stdin = process.stdin().ok_or_else(lacking)?;
        let stdout = process.stdout().ok_or_else(lacking)?;
        let stderr = process.stderr();
        let terminal = process.terminal_size();
        let status = process.take_status();
        let end = async move {
            match status {
                Some(status) => status.await,
                None => None,
            }
        }
        .boxed()
        .shared();
        Ok(ExecSession {
            input: Box::pin(stdin),
            output: output(stdout, stderr, end.clone()),
            control: Box::new(PodExec {
                _process: process,
                terminal: Mutex::new(terminal),
                end,
            }),
        })
    }
}

/// Reads both streams until they end, or until the connection breaks.
fn output(stdout: ReadHalf<SimplexStream>, stderr: Option<ReadHalf<SimplexStream>>, end: End) -> ExecOutput {
    let one = pieces(stdout, OutputStream::Stdout, end.clone());
    match stderr {
        Some(stderr) => stream::select(one, pieces(stderr, OutputStream::Stderr, end)).boxed(),
        None => one,
    }
}

fn pieces(stream: ReadHalf<SimplexStream>, kind: OutputStream, end: End) -> ExecOutput {
    let chunk = vec![0; CHUNK_BYTES];
    stream::try_unfold((stream, chunk, end), move |(mut stream, mut chunk, end)| async move {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut chunk) => read?,
            () = broken(end.clone()) => return Err(io::Error::other("the connection to the container broke")),
        };
        let piece = Bytes::copy_from_slice(chunk.get(..read).unwrap_or_default());
        Ok::<_, io::Error>((read > 0).then_some(((kind, piece), (stream, chunk, end))))
    })
    .boxed()
}

/// Waits for a connection that broke. After an end that the node told the streams end by themselves.
async fn broken(end: End) {
    if end.await.is_some() {
        std::future::pending::<()>().await;
    }
}

/// Returns the exit code in a status of the node.
fn exit_code(status: &Status) -> Option<i64> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?
        .message
        .as_ref()?
        .parse()
        .ok()
}

impl ExecControl for PodExec {
    fn resize(&self, size: TerminalSize) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let mut terminal = self.terminal.lock().await;
            let Some(sender) = terminal.as_mut() else {
                return Ok(());
            };
            let size = PodTerminal {
                width: size.columns,
                height: size.rows,
            };
            sender.send(size).await.map_err(|error| EngineError::Failed {
                action: "resize a terminal".into(),
                reason: error.to_string(),
            })
        })
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, EngineError>> {
        Box::pin(async move {
            // Not yet told: the command runs.
            match self.end.clone().now_or_never() {
                None => Ok(None),
                Some(Some(status)) => exit_code(&status).map(Some).ok_or_else(|| EngineError::Failed {
                    action: "look at a command".into(),
                    reason: status.message.unwrap_or_default(),
                }),
                Some(None) => Err(EngineError::Failed {
                    action: "look at a command".into(),
                    reason: "the connection to the container broke".into(),
                }),
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        // No API of a cluster ends a command; a terminal's programs end with their terminal.
        Box::pin(async { Ok(false) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn exit_code_is_read_from_the_status() {
        let read = |text: &str| exit_code(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"status":"Success"}"#), Some(0));
        assert_eq!(
            read(
                r#"{"status":"Failure","reason":"NonZeroExitCode",
                "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#
            ),
            Some(3)
        );
        assert_eq!(read(r#"{"status":"Failure","reason":"InternalError"}"#), None);
    }
}
