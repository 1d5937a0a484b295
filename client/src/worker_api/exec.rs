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
    #![allow(clippy::unwrap_used, clippy::result_large_err)]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };
    use tokio_tungstenite::{
        accept_hdr_async,
        tungstenite::handshake::server::{Request, Response},
    };

    use super::*;
    use crate::worker_api::{WorkerApi, WorkerIdentity, http::Base, tls::any_key};

    /// Path, token and standard input of a command.
    type Asked = (String, Option<String>, Vec<u8>);

    fn session(url: &str) -> OwnerSession {
        OwnerSession {
            api: WorkerApi {
                identity: WorkerIdentity {
                    worker_key: [0; 32],
                    machine: 3,
                    genesis_hash: [0; 32],
                },
                base: Base::new(url, any_key().unwrap()).unwrap(),
                spki_sha256: [0; 32],
            },
            job: 5,
            token: "word".into(),
        }
    }

    /// A worker that takes one command, and answers it with these messages.
    async fn worker(answers: Vec<Vec<u8>>) -> (OwnerSession, JoinHandle<Asked>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut path, mut token) = (String::new(), None);
            let answer = |request: &Request, mut response: Response| {
                path = request.uri().to_string();
                token = request
                    .headers()
                    .get(header::AUTHORIZATION)
                    .map(|value| value.to_str().unwrap().to_owned());
                let protocol = HeaderValue::from_static(PROTOCOL);
                response
                    .headers_mut()
                    .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, answer).await.unwrap();
            let mut input = Vec::new();
            loop {
                let message = socket.next().await.unwrap().unwrap().into_data();
                match &message[..] {
                    [STDIN] => break,
                    [STDIN, bytes @ ..] => input.extend_from_slice(bytes),
                    other => panic!("{other:?}"),
                }
            }
            for message in answers {
                socket.send(Message::Binary(message.into())).await.unwrap();
            }
            // The client may have gone by now.
            let _ = socket.close(None).await;
            (path, token, input)
        });
        (session(&url), serving)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_is_a_query_of_its_words() {
        assert_eq!(query(&[]), "");
        assert_eq!(
            query(&words(&["/bin/sh", "-c", "echo \"ü&=\"; exit 3", ""])),
            "?command=/bin/sh&command=-c&command=echo%20%22%C3%BC%26%3D%22%3B%20exit%203&command="
        );
    }

    #[tokio::test]
    async fn output_and_exit_code_of_a_command_are_returned() {
        let answers = vec![
            b"\x01out".to_vec(),
            b"\x02err".to_vec(),
            // A channel of a later version.
            b"\x09?".to_vec(),
            b"\x01put".to_vec(),
            b"\x04{\"exit_code\":3}".to_vec(),
        ];
        let (session, serving) = worker(answers).await;
        // More than fits into one message.
        let input = vec![7; MAX_MESSAGE_BYTES + 1];
        let output = session.exec(&words(&["cat", "-"]), &input).await.unwrap();
        assert_eq!((output.exit_code, output.stdout), (3, b"output".to_vec()));
        assert_eq!(output.stderr, b"err");
        let (path, token, received) = serving.await.unwrap();
        assert_eq!(path, "/v1/jobs/5/exec?command=cat&command=-");
        assert_eq!(token.as_deref(), Some("Bearer word"));
        assert_eq!(received, input);
    }

    #[tokio::test]
    async fn command_without_an_end_is_an_error() {
        let (session, _serving) = worker(vec![b"\x01out".to_vec()]).await;
        let error = session.exec(&[], b"").await.unwrap_err();
        assert!(matches!(error, WorkerApiError::Unreachable { .. }), "{error}");

        let (session, _serving) = worker(vec![b"\x04{\"error\":\"it does not run\"}".to_vec()]).await;
        let error = session.exec(&[], b"").await.unwrap_err();
        assert!(error.to_string().contains("it does not run"), "{error}");
    }

    #[tokio::test]
    async fn caller_ends_a_command_that_writes_too_much() {
        let (session, _serving) = worker(vec![b"\x01out".to_vec(), b"\x01more".to_vec()]).await;
        let ended = session.exec_streaming(&[], b"", |_, _| false).await.unwrap();
        assert_eq!(ended, None);
    }

    #[tokio::test]
    async fn refusal_of_a_worker_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 14\r\n\r\n{\"error\":\"no\"}";
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let error = session(&url).exec(&[], b"").await.unwrap_err();
        assert!(error.is_refused_with(403), "{error}");
    }
}
