//! Commands in a job's container, over a WebSocket through the worker's pinned TLS.

use std::{fmt::Write as _, time::Duration};

use futures::{SinkExt, StreamExt};
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{
    OutputStream, OwnerSession, WorkerApiError,
    http::{Wire, refused, unreachable},
};

/// Maximum length of what a command may write to both of its streams, in bytes, where it is collected.
pub const MAX_EXEC_OUTPUT_BYTES: usize = 16 * 1_024 * 1_024;

/// Name of the subprotocol.
const PROTOCOL: &str = "assay.exec.v1";

/// Maximum length of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1_024;

/// Bytes of standard input in one message, besides its channel.
const INPUT_PIECE_BYTES: usize = MAX_MESSAGE_BYTES - 1;

/// Timeout of the WebSocket's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest silence of a worker that still answers: several of the pauses between its pings.
const SILENCE: Duration = Duration::from_secs(90);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 4;

type Socket = WebSocketStream<Wire>;

/// Output of a command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i64,
}

/// Content of the last message.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    ExitCode(i64),
    Error(String),
}

impl OwnerSession {
    /// Runs a command in the job's container until it ends, and returns what it wrote. `input` is its
    /// standard input.
    ///
    /// The manifest of the job must have the profile `interactive`, and its container must run.
    ///
    /// # Errors
    /// The worker refuses, breaks off, or the command writes more than [`MAX_EXEC_OUTPUT_BYTES`].
    pub async fn exec(&self, command: &[String], input: &[u8]) -> Result<ExecOutput, WorkerApiError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit_code = self
            .exec_streaming(command, input, |stream, bytes| {
                if stdout.len() + stderr.len() + bytes.len() > MAX_EXEC_OUTPUT_BYTES {
                    return false;
                }
                match stream {
                    OutputStream::Stdout => stdout.extend_from_slice(bytes),
                    OutputStream::Stderr => stderr.extend_from_slice(bytes),
                }
                true
            })
            .await?;
        match exit_code {
            Some(exit_code) => Ok(ExecOutput {
                stdout,
                stderr,
                exit_code,
            }),
            None => Err(self.not_understood(format!(
                "the command wrote more than {MAX_EXEC_OUTPUT_BYTES} bytes; let it write to a file of the job's disk instead"
            ))),
        }
    }

    /// Runs a command in the job's container, and hands on what it writes as it comes. Returns its exit code;
    /// `None` if `on_output` returned false, which ends the command.
    ///
    /// # Errors
    /// The worker refuses, or breaks off.
    pub async fn exec_streaming(
        &self,
        command: &[String],
        input: &[u8],
        mut on_output: impl FnMut(OutputStream, &[u8]) -> bool,
    ) -> Result<Option<i64>, WorkerApiError> {
        let mut socket = self.open_exec(command).await?;
        // An empty message ends the input.
        for piece in input.chunks(INPUT_PIECE_BYTES).chain([&[][..]]) {
            let message = [&[STDIN][..], piece].concat();
            socket
                .send(Message::Binary(message.into()))
                .await
                .map_err(|error| self.broken(error))?;
        }
        loop {
            let message = match timeout(SILENCE, socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(self.broken(error)),
                Ok(None) => return Err(self.broken("it ended the connection before the command's end")),
                Err(_) => {
                    let seconds = SILENCE.as_secs();
                    return Err(self.broken(format!("nothing came for {seconds} seconds")));
                }
            };
            let Message::Binary(bytes) = message else {
                // Pings are answered by the library.
                continue;
            };
            let goes_on = match bytes.split_first() {
                Some((&STDOUT, bytes)) => on_output(OutputStream::Stdout, bytes),
                Some((&STDERR, bytes)) => on_output(OutputStream::Stderr, bytes),
                Some((&EXIT, json)) => return self.end(json).map(Some),
                _ => true,
            };
            if !goes_on {
                let _ = socket.close(None).await;
                return Ok(None);
            }
        }
    }

    fn end(&self, json: &[u8]) -> Result<i64, WorkerApiError> {
        match serde_json::from_slice(json) {
            Ok(End::ExitCode(code)) => Ok(code),
            Ok(End::Error(error)) => Err(refused(self.exec_path(), 500, error.as_bytes())),
            Err(error) => Err(self.not_understood(error.to_string())),
        }
    }

    async fn open_exec(&self, command: &[String]) -> Result<Socket, WorkerApiError> {
        let base = &self.api.base;
        let path = format!("{}{}", base.path(&self.exec_path()), query(command));
        let malformed = |error: &dyn std::fmt::Display| self.not_understood(error.to_string());
        // The scheme is that of the protocol; the connection below has the TLS.
        let mut request = format!("ws://{}{path}", base.authority())
            .into_client_request()
            .map_err(|error| malformed(&error))?;
        let token =
            HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|error| malformed(&error))?;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, token);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        let settings = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let wire = base.open().await?;
        let opened = timeout(
            HANDSHAKE_TIMEOUT,
            client_async_with_config(request, wire, Some(settings)),
        )
        .await;
        match opened {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(refused(self.exec_path(), response.status().as_u16(), body))
            }
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.broken(format!(
                "no answer within {} seconds",
                HANDSHAKE_TIMEOUT.as_secs()
            ))),
        }
    }

    fn exec_path(&self) -> String {
        format!("/v1/jobs/{}/exec", self.job)
    }

    fn broken(&self, reason: impl ToString) -> WorkerApiError {
        unreachable(self.api.url(), reason)
    }

    fn not_understood(&self, reason: String) -> WorkerApiError {
        WorkerApiError::NotUnderstood {
            path: self.exec_path(),
            reason,
        }
    }
}

/// Returns the query that names a command, word by word.
fn query(command: &[String]) -> String {
    let mut query = String::new();
    for word in command {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str("command=");
        for byte in word.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                query.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_a_query_of_its_words() {
        assert_eq!(query(&[]), "");
        let words = ["/bin/sh", "-c", "echo \"ü&=\"; exit 3", ""].map(str::to_owned);
        assert_eq!(
            query(&words),
            "?command=/bin/sh&command=-c&command=echo%20%22%C3%BC%26%3D%22%3B%20exit%203&command="
        );
    }
}
