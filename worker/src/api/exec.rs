//! `GET /v1/jobs/{id}/exec`: a command in a job's container, over a WebSocket.
//!
//! Only for jobs whose manifest has the profile `interactive`, while their container runs, and not for
//! replicas: an owner could make one replica differ from the others at its provider's cost. A session does
//! not change how a result counts: the worker still sees the whole output and the end, and the owner, who
//! chose the profile, is responsible for the session's effects.
//!
//! | parameter | means |
//! |---|---|
//! | `command` | one word of the command; repeat it for each argument. Default: `/bin/sh` |
//! | `tty` | `true` for a terminal; default: `false` |
//!
//! The subprotocol is [`PROTOCOL`]. Both sides send binary messages of at most [`MAX_MESSAGE_BYTES`], of
//! which the first byte is the channel:
//!
//! | channel | from | content |
//! |---|---|---|
//! | 0 | client | standard input; an empty message ends it |
//! | 1 | worker | standard output, or what the terminal shows |
//! | 2 | worker | standard error |
//! | 3 | client | the terminal's size as JSON: `{"columns":80,"rows":24}` |
//! | 4 | worker | the end as JSON: `{"exit_code":0}`, or `{"error":"…"}`; the connection is closed after it |
//!
//! The session ends with the command's first process, or before it: the client is gone, takes nothing,
//! was idle for [`StreamLimits::shell_idle`](super::streams::StreamLimits), or its token has ended. All
//! processes of the command that are left in the container are killed then, also those in the background.
//! A worker whose engine is on another host cannot do that; the command's input ends there all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{
        FromRequestParts, Query,
        rejection::QueryRejection,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
    routing::any,
};
use futures::{
    SinkExt, StreamExt,
    future::BoxFuture,
    stream::{SplitSink, SplitStream},
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, time::Instant};
use utoipa::OpenApi;

use super::{
    auth::Owner,
    errors::{ApiError, Refusal},
    seats::Seat,
    streams::JobStreams,
    tokens::TokenLife,
};
use crate::engine::{
    ContainerEngine, ContainerState, EngineError, ExecControl, ExecInput, ExecOutput, ExecSession, ExecSpec,
    OutputStream, TerminalSize,
};

/// Name of the subprotocol.
pub const PROTOCOL: &str = "assay.exec.v1";

/// Maximum length of a message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Maximum number of words of a command.
const MAX_COMMAND_WORDS: usize = 64;

/// Maximum length of a command, in bytes.
const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// Interval of pings, which detect a client that is gone.
const PING_PAUSE: Duration = Duration::from_secs(20);

/// Maximum time between the end of the output and the command's.
const EXIT_PATIENCE: Duration = Duration::from_secs(10);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESIZE: u8 = 3;
const EXIT: u8 = 4;

/// Reason why a command cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The job has no running container.
    #[error("the job's container does not run; try again when it does")]
    NotRunning,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Runs commands in the containers of jobs.
pub trait Shells: Send + Sync + 'static {
    /// Runs a command in the running container of a job.
    fn open<'a>(
        &'a self,
        job: u64,
        fingerprint: &'a str,
        spec: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<ExecSession, ShellError>>;
}

/// No job has a shell.
impl Shells for () {
    fn open<'a>(
        &'a self,
        _: u64,
        _: &'a str,
        _: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<ExecSession, ShellError>> {
        Box::pin(async { Err(ShellError::NotRunning) })
    }
}

/// Runs commands at an engine.
pub struct EngineShells<E, W> {
    engine: Arc<E>,
    /// Returns the public parts, hexadecimal, of the worker keys whose containers are this machine's.
    workers: W,
}

impl<E, W> EngineShells<E, W> {
    /// Creates it. `workers` returns the public parts, hexadecimal, of the worker keys whose containers are
    /// this machine's: the present one and the earlier ones.
    pub fn new(engine: Arc<E>, workers: W) -> Self {
        Self { engine, workers }
    }
}

impl<E, W> Shells for EngineShells<E, W>
where
    E: ContainerEngine,
    W: Fn() -> Vec<String> + Send + Sync + 'static,
{
    fn open<'a>(
        &'a self,
        job: u64,
        fingerprint: &'a str,
        spec: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<ExecSession, ShellError>> {
        Box::pin(async move {
            for worker in (self.workers)() {
                let running = self.engine.list(&worker).await?.into_iter().find(|container| {
                    container.job == job
                        && container.fingerprint == fingerprint
                        && container.state == ContainerState::Running
                });
                if let Some(container) = running {
                    return Ok(self.engine.exec(&container.id, spec).await?);
                }
            }
            Err(ShellError::NotRunning)
        })
    }
}

pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Owner: FromRequestParts<S>,
{
    // HTTP/2 opens a WebSocket by another method than HTTP/1.
    Router::new().route("/v1/jobs/{id}/exec", any(exec))
}

#[derive(OpenApi)]
#[openapi(paths(exec))]
struct Description;

/// Returns the description of the route in OpenAPI.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Reads a request's parameters.
fn spec(query: Vec<(String, String)>) -> Result<ExecSpec, ApiError> {
    let mut command = Vec::new();
    let mut tty = false;
    for (name, value) in query {
        match (name.as_str(), value.as_str()) {
            ("command", "") if command.is_empty() => {
                return Err(ApiError::bad_request("the first `command` names a program"));
            }
            ("command", _) if value.contains('\0') => {
                return Err(ApiError::bad_request("a command has no zero bytes"));
            }
            ("command", _) => command.push(value),
            ("tty", "true" | "") => tty = true,
            ("tty", "false") => tty = false,
            ("tty", _) => return Err(ApiError::bad_request("`tty` is true or false")),
            (other, _) => return Err(ApiError::bad_request(format!("there is no parameter {other:?}"))),
        }
    }
    if command.len() > MAX_COMMAND_WORDS || command.iter().map(String::len).sum::<usize>() > MAX_COMMAND_BYTES
    {
        return Err(ApiError::bad_request(format!(
            "a command has at most {MAX_COMMAND_WORDS} words and {MAX_COMMAND_BYTES} bytes; put a longer one into a \
             script of the image"
        )));
    }
    if command.is_empty() {
        command.push("/bin/sh".to_owned());
    }
    let environment = if tty {
        vec!["TERM=xterm-256color".to_owned()]
    } else {
        Vec::new()
    };
    Ok(ExecSpec {
        command,
        environment,
        tty,
    })
}

/// Runs a command in a job's container, over a WebSocket with the subprotocol `assay.exec.v1`.
///
/// Both sides send binary messages of at most 64 KiB. The first byte is the channel: 0 standard input, from
/// the client (an empty message ends it); 1 standard output and 2 standard error, from the worker; 3 the
/// terminal's size as JSON, `{"columns":80,"rows":24}`, from the client; 4 the end as JSON, `{"exit_code":0}`
/// or `{"error":"…"}`, from the worker. Over HTTP/2 the method is `CONNECT`.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/exec",
    params(
        ("id" = u64, Path, description = "Number of the job", example = 5),
        (
            "command" = Option<Vec<String>>,
            Query,
            description = "One word of the command; repeated for each argument. Default: `/bin/sh`"
        ),
        ("tty" = Option<bool>, Query, description = "True for a terminal. Default: false"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`assay.exec.v1`"),
    ),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
        (status = 405, body = Refusal),
        (status = 426, body = Refusal),
    ),
    security(("token" = [])),
)]
async fn exec(
    owner: Owner,
    Extension(streams): Extension<Arc<JobStreams>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let spec = spec(query)?;
    let job = owner.job;
    let notes = streams.known(job)?;
    if !notes.interactive {
        return Err(ApiError::forbidden(
            "commands run only in jobs whose manifest has `\"profile\": \"interactive\"`",
        ));
    }
    if notes.replica {
        return Err(ApiError::forbidden(
            "the job is one of several replicas, whose results must not depend on their owner",
        ));
    }
    let upgrade = upgrade.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    let seat = streams.sessions.take(job).ok_or_else(|| {
        ApiError::too_many("too many commands run at once; end another one, or try again later")
    })?;
    tracing::info!(job, account = %owner.account, tty = spec.tty, "an owner runs a command in a container");
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(4 * MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| async move {
            let outcome = streams.shells.open(job, &notes.fingerprint, &spec).await;
            let (to_client, from_client) = socket.split();
            let client = Client {
                to: to_client,
                from: from_client,
                patience: streams.limits.patience,
            };
            match outcome {
                Ok(session) => run(session, client, streams.limits.shell_idle, &owner.life).await,
                Err(error) => client.end(&End::error(error)).await,
            }
            drop::<Seat>(seat);
        }))
}

/// Content of the last message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    ExitCode(i64),
    Error(String),
}

impl End {
    fn error(error: impl std::fmt::Display) -> Self {
        Self::Error(error.to_string())
    }
}

/// Connection with the client.
struct Client {
    to: SplitSink<WebSocket, Message>,
    from: SplitStream<WebSocket>,
    patience: Duration,
}

/// Sending half of the connection.
struct ToClient<'a> {
    to: &'a mut SplitSink<WebSocket, Message>,
    patience: Duration,
}

impl ToClient<'_> {
    /// Sends a message; `None` if the client is gone or takes nothing.
    async fn send(&mut self, message: Message) -> Option<()> {
        tokio::time::timeout(self.patience, self.to.send(message))
            .await
            .ok()?
            .ok()
    }

    /// Sends bytes of a channel, in messages that are not too long.
    async fn send_bytes(&mut self, channel: u8, bytes: &[u8]) -> Option<()> {
        for part in bytes.chunks(MAX_MESSAGE_BYTES - 1) {
            let message = [&[channel], part].concat();
            self.send(Message::Binary(message.into())).await?;
        }
        Some(())
    }
}

impl Client {
    /// Returns both directions, for use at the same time.
    fn directions(&mut self) -> (ToClient<'_>, &mut SplitStream<WebSocket>) {
        let to = ToClient {
            to: &mut self.to,
            patience: self.patience,
        };
        (to, &mut self.from)
    }

    /// Sends the last message, and closes the connection when the client has taken everything.
    async fn end(mut self, end: &End) {
        // Numbers and text always have a form in JSON.
        let json = serde_json::to_vec(end).unwrap_or_default();
        if self.directions().0.send_bytes(EXIT, &json).await.is_none() {
            return;
        }
        // Closing a socket with unread input, even a pong, discards output that the client has not received.
        // So the worker reads until the client closes as well.
        let _ = tokio::time::timeout(self.patience, async {
            if self.to.close().await.is_ok() {
                while let Some(Ok(_)) = self.from.next().await {}
            }
        })
        .await;
    }
}

/// Time of the last input or output.
#[derive(Clone)]
struct Activity {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last_ms: Arc::default(),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has happened for a while.
    async fn idle(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let end = self.began + last + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Runs a session to its end.
async fn run(session: ExecSession, mut client: Client, idle: Duration, life: &TokenLife) {
    let ExecSession {
        input,
        output,
        control,
    } = session;
    let activity = Activity::new();
    let end = {
        let (to_client, from_client) = client.directions();
        let inbound = std::pin::pin!(take_input(from_client, input, &*control, &activity));
        let outbound = std::pin::pin!(give_output(to_client, output, &activity));
        tokio::select! {
            // The output first: the exit code of a command that ended is reported even if its input failed.
            biased;
            ended = outbound => match ended {
                Some(Ok(())) => Some(exit_code(&*control).await.map_or_else(End::error, End::ExitCode)),
                Some(Err(error)) => Some(End::error(error)),
                None => None,
            },
            () = life.over() => Some(End::error("the token has ended; get another, and begin a new command")),
            reason = inbound => reason.map(|reason| End::Error(reason.to_owned())),
            () = activity.idle(idle) => Some(End::error(format!(
                "nothing happened for {} seconds",
                idle.as_secs()
            ))),
        }
    };
    match control.kill().await {
        Ok(true) => (),
        Ok(false) => tracing::info!("a command of an ended session cannot be killed from this host"),
        Err(error) => tracing::warn!(%error, "killing the command of an ended session failed"),
    }
    if let Some(end) = end {
        client.end(&end).await;
    }
}

/// Waits for a command's exit code.
async fn exit_code(control: &dyn ExecControl) -> Result<i64, String> {
    let waiting = async {
        loop {
            match control.exit_code().await {
                Ok(Some(exit_code)) => return Ok(exit_code),
                Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    tokio::time::timeout(EXIT_PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| Err("the command closed its output and goes on; it is killed".to_owned()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    columns: u16,
    rows: u16,
}

/// Passes a client's messages on until it closes the connection; returns the fault of an invalid one.
async fn take_input(
    from_client: &mut SplitStream<WebSocket>,
    input: ExecInput,
    control: &dyn ExecControl,
    activity: &Activity,
) -> Option<&'static str> {
    let mut input = Some(input);
    loop {
        let message = match from_client.next().await? {
            Ok(Message::Binary(message)) => message,
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Text(_)) => return Some("messages are binary, and begin with the channel"),
            Ok(Message::Close(_)) => return None,
            // Also a message that is too long.
            Err(_) => return None,
        };
        activity.note();
        match message.split_first() {
            Some((&STDIN, [])) => {
                if let Some(mut input) = input.take() {
                    let _ = input.shutdown().await;
                }
            }
            Some((&STDIN, bytes)) => {
                if let Some(open) = &mut input
                    && (open.write_all(bytes).await.is_err() || open.flush().await.is_err())
                {
                    // The command takes no more input, but may go on.
                    input = None;
                }
            }
            Some((&RESIZE, json)) => {
                let Ok(Resize { columns, rows }) = serde_json::from_slice(json) else {
                    return Some("a size is {\"columns\":80,\"rows\":24}");
                };
                if let Err(error) = control.resize(TerminalSize { columns, rows }).await {
                    tracing::debug!(%error, "resizing a terminal failed");
                }
            }
            _ => return Some("clients send on the channels 0 and 3"),
        }
    }
}

/// Passes a command's output on to its end. Returns `None` if the client is gone.
async fn give_output(
    mut client: ToClient<'_>,
    mut output: ExecOutput,
    activity: &Activity,
) -> Option<std::io::Result<()>> {
    let mut pings = tokio::time::interval(PING_PAUSE);
    loop {
        let piece = tokio::select! {
            piece = output.next() => piece,
            _ = pings.tick() => {
                client.send(Message::Ping(axum::body::Bytes::new())).await?;
                continue;
            }
        };
        let (stream, bytes) = match piece {
            None => return Some(Ok(())),
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Some(Err(error)),
        };
        activity.note();
        let channel = match stream {
            OutputStream::Stdout => STDOUT,
            OutputStream::Stderr => STDERR,
        };
        client.send_bytes(channel, &bytes).await?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(words: &[(&str, &str)]) -> Result<ExecSpec, ApiError> {
        spec(
            words
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn command_is_made_of_its_words() {
        let default = parsed(&[]).unwrap();
        assert_eq!(
            (default.command, default.tty),
            (vec!["/bin/sh".to_owned()], false)
        );
        let asked = parsed(&[
            ("command", "ls"),
            ("tty", "true"),
            ("command", "a b"),
            ("command", ""),
        ]);
        let asked = asked.unwrap();
        assert_eq!(asked.command, ["ls", "a b", ""]);
        assert_eq!(asked.environment, ["TERM=xterm-256color"]);
        let long = "x".repeat(MAX_COMMAND_BYTES + 1);
        for wrong in [
            &[("command", "")][..],
            &[("command", "a\0b")],
            &[("tty", "maybe")],
            &[("user", "root")],
            &[("command", &long)],
            &[("command", "x"); MAX_COMMAND_WORDS + 1],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
