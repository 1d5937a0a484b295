//! Our own connections to the engine. They show what a connection pool hides: that a single engine process
//! answered from a container's start to its end. A connection ends with the process behind it.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use super::{EngineEndpoint, OutputStream};

/// Timeout of connecting, and of the head of a response that does not wait for an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// Timeout of a command. Starting a container takes long on a busy host.
const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// Maximum length of a response that is read as a whole, in bytes: a list of a machine's containers, each
/// with its labels and mounts.
const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

/// Maximum length of the last line of a report, in bytes.
const MAX_REPORT_BYTES: usize = 64 * 1_024;

/// Maximum number of bytes that an error quotes from an unexpected response.
const MAX_WORDS_BYTES: usize = 512;

/// Maximum number of bytes of a frame in memory at once.
const CHUNK_BYTES: usize = 64 * 1_024;

/// Port of an engine whose address has none.
const DEFAULT_PORT: u16 = 2375;

/// Reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The connection could not be made, or broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The engine refused.
    #[error("{message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// The engine's message.
        message: String,
    },
    /// The response is not in the expected format.
    #[error("the engine's answer cannot be read: {0}")]
    Unreadable(String),
}

fn broken(error: impl std::fmt::Display) -> WireError {
    WireError::Broken(error.to_string())
}

/// One HTTP connection.
pub(super) struct Wire {
    requests: SendRequest<Full<Bytes>>,
    /// Task that drives the connection; ends with it.
    driver: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wire {
    pub(super) async fn open(endpoint: &EngineEndpoint) -> Result<Self, WireError> {
        let opening = async {
            match endpoint {
                EngineEndpoint::Socket(path) => {
                    Self::over(UnixStream::connect(path).await.map_err(broken)?).await
                }
                EngineEndpoint::Http(address) => {
                    let has_port = address
                        .rsplit_once(':')
                        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                    let address = if has_port {
                        address.clone()
                    } else {
                        format!("{address}:{DEFAULT_PORT}")
                    };
                    Self::over(TcpStream::connect(address).await.map_err(broken)?).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, opening).await.map_err(broken)?
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, WireError> {
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(async move {
            // The requests report how the connection ended.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { requests, driver })
    }

    /// Sends a JSON document, and returns the response as JSON, which must arrive within the timeout.
    pub(super) async fn post_json<T: DeserializeOwned>(
        &mut self,
        path: &str,
        document: &serde_json::Value,
    ) -> Result<T, WireError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "engine")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(document.to_string()))
            .map_err(broken)?;
        let posting = async {
            let response = self.requests.send_request(request).await.map_err(broken)?;
            Self::read_json(response).await
        };
        tokio::time::timeout(COMMAND_PATIENCE, posting)
            .await
            .map_err(broken)?
    }

    /// Sends a request, and returns the head of the response with its body still to come.
    async fn ask(&mut self, method: Method, path: &str) -> Result<Response<Incoming>, WireError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "engine")
            .body(Full::default())
            .map_err(broken)?;
        self.requests.send_request(request).await.map_err(broken)
    }

    /// Returns the response as JSON, however long it takes.
    pub(super) async fn slow_json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
    ) -> Result<T, WireError> {
        let response = self.ask(method, path).await?;
        Self::read_json(response).await
    }

    async fn read_json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, WireError> {
        let code = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        if !code.is_success() {
            return Err(refused(code, &body));
        }
        serde_json::from_slice(&body).map_err(|error| WireError::Unreadable(error.to_string()))
    }

    /// Returns the response as JSON, which must arrive within the timeout.
    pub(super) async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
    ) -> Result<T, WireError> {
        tokio::time::timeout(PATIENCE, self.slow_json(method, path))
            .await
            .map_err(broken)?
    }

    /// Sends a command; returns true if the engine carried it out, false if the state was so already.
    pub(super) async fn command(&mut self, path: &str) -> Result<bool, WireError> {
        let commanding = async {
            let response = self.ask(Method::POST, path).await?;
            let code = response.status();
            if code.is_success() || code == StatusCode::NOT_MODIFIED {
                return Ok(code != StatusCode::NOT_MODIFIED);
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            Err(refused(
                code,
                &body.map(|body| body.to_bytes()).unwrap_or_default(),
            ))
        };
        tokio::time::timeout(COMMAND_PATIENCE, commanding)
            .await
            .map_err(broken)?
    }

    /// Sends a request with a JSON body, and returns the response; `None` if it has no body.
    pub(super) async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Option<serde_json::Value>, WireError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "engine")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .map_err(broken)?;
        let requesting = async {
            let response = self.requests.send_request(request).await.map_err(broken)?;
            let code = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(broken)?
                .to_bytes();
            if !code.is_success() {
                return Err(refused(code, &body));
            }
            Ok(serde_json::from_slice(&body).ok())
        };
        tokio::time::timeout(COMMAND_PATIENCE, requesting)
            .await
            .map_err(broken)?
    }

    /// Sends a command that the engine reports on by JSON objects, one a line, and returns the last one.
    /// Takes as long as the engine does; dropping the connection ends the command.
    pub(super) async fn reported(&mut self, path: &str) -> Result<serde_json::Value, WireError> {
        let response = self.ask(Method::POST, path).await?;
        let code = response.status();
        let mut body = response.into_body();
        let mut tail: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            tail.extend(frame.map_err(broken)?.into_data().unwrap_or_default());
            // Only the end counts; the lines before it report progress.
            let surplus = tail.len().saturating_sub(MAX_REPORT_BYTES);
            tail.drain(..surplus);
        }
        if !code.is_success() {
            return Err(refused(code, &tail));
        }
        let line = tail
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.trim_ascii().is_empty())
            .unwrap_or_default();
        serde_json::from_slice(line).map_err(|error| WireError::Unreadable(error.to_string()))
    }

    /// Returns a response that goes on until the connection ends.
    pub(super) async fn stream(&mut self, path: &str) -> Result<Incoming, WireError> {
        let response = tokio::time::timeout(PATIENCE, self.ask(Method::GET, path))
            .await
            .map_err(broken)??;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            code => Err(refused(code, b"")),
        }
    }

    /// Upgrades the connection to a stream of frames.
    pub(super) async fn attach(self, path: &str) -> Result<Frames<TokioIo<Upgraded>>, WireError> {
        self.upgrade(path, None).await.map(Frames::new)
    }

    /// Upgrades the connection to a stream of bytes, by a request with a JSON body or with none.
    pub(super) async fn upgrade(
        mut self,
        path: &str,
        json: Option<String>,
    ) -> Result<TokioIo<Upgraded>, WireError> {
        let upgrading = async {
            let mut request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(header::HOST, "engine")
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp");
            if json.is_some() {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            let request = request
                .body(Full::from(json.unwrap_or_default()))
                .map_err(broken)?;
            let response = self.requests.send_request(request).await.map_err(broken)?;
            let code = response.status();
            if code != StatusCode::SWITCHING_PROTOCOLS {
                let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                    .collect()
                    .await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                return Err(refused(code, &body));
            }
            let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
            Ok(TokioIo::new(upgraded))
        };
        tokio::time::timeout(PATIENCE, upgrading).await.map_err(broken)?
    }
}

/// Encodes a filter, a map of one name to one value, as the value of a URL parameter.
pub(super) fn filters(name: &str, value: &str) -> String {
    escaped(&serde_json::json!({ name: [value] }).to_string())
}

/// Encodes a text as the value of a URL parameter.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn refused(code: StatusCode, body: &[u8]) -> WireError {
    let words: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = words
        .as_ref()
        .and_then(|words| words.get("message"))
        .and_then(serde_json::Value::as_str)
        .map_or_else(
            || {
                let text = String::from_utf8_lossy(&body[..body.len().min(MAX_WORDS_BYTES)]);
                format!("status {code}: {text}")
            },
            str::to_owned,
        );
    WireError::Status {
        code: code.as_u16(),
        message,
    }
}

/// Multiplexed output streams of a container: frames of a header (stream, three zeros, length as 32 bits,
/// big-endian) and that many bytes.
pub(super) struct Frames<S> {
    stream: S,
    chunk: Vec<u8>,
    current: OutputStream,
    left_in_frame: usize,
}

impl<S: AsyncRead + Unpin> Frames<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            chunk: vec![0; CHUNK_BYTES],
            current: OutputStream::Stdout,
            left_in_frame: 0,
        }
    }

    /// Returns the next bytes, or `None` if the stream ends between two frames.
    ///
    /// # Errors
    /// The stream ends within a frame, or a header is invalid: bytes are missing.
    pub(super) async fn next(&mut self) -> Result<Option<(OutputStream, &[u8])>, WireError> {
        while self.left_in_frame == 0 {
            let mut head = [0; 8];
            if self.stream.read(&mut head[..1]).await.map_err(broken)? == 0 {
                return Ok(None);
            }
            self.stream.read_exact(&mut head[1..]).await.map_err(broken)?;
            let [stream, 0, 0, 0, length @ ..] = head else {
                return Err(WireError::Unreadable("a frame's header is invalid".into()));
            };
            self.current = match stream {
                1 => OutputStream::Stdout,
                2 => OutputStream::Stderr,
                other => {
                    return Err(WireError::Unreadable(format!(
                        "a frame is of the unknown stream {other}"
                    )));
                }
            };
            self.left_in_frame = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        }
        let wanted = self.left_in_frame.min(CHUNK_BYTES);
        let read = self
            .stream
            .read(&mut self.chunk[..wanted])
            .await
            .map_err(broken)?;
        if read == 0 {
            return Err(broken("a frame ends too early"));
        }
        self.left_in_frame -= read;
        Ok(Some((self.current, &self.chunk[..read])))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn read(bytes: &[u8]) -> Result<Vec<(OutputStream, Vec<u8>)>, WireError> {
        let mut frames = Frames::new(bytes);
        let mut seen = Vec::new();
        while let Some((stream, bytes)) = frames.next().await? {
            seen.push((stream, bytes.to_vec()));
        }
        Ok(seen)
    }

    #[test]
    fn filters_are_escaped() {
        assert_eq!(
            filters("label", "a b=\"1"),
            "%7B%22label%22%3A%5B%22a%20b%3D%5C%221%22%5D%7D"
        );
    }

    #[tokio::test]
    async fn frames_are_taken_apart() {
        let bytes =
            b"\x01\0\0\0\0\0\0\x03a\xff\0\x02\0\0\0\0\0\0\x01e\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01b";
        let expected = [
            (OutputStream::Stdout, b"a\xff\0".to_vec()),
            (OutputStream::Stderr, b"e".to_vec()),
            (OutputStream::Stdout, b"b".to_vec()),
        ];
        assert_eq!(read(bytes).await.unwrap(), expected);
        assert_eq!(read(b"").await.unwrap(), []);
    }

    #[tokio::test]
    async fn end_inside_a_frame_is_no_end() {
        let whole = b"\x01\0\0\0\0\0\0\x03abc";
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).await.is_err(), "{length} bytes");
        }
        assert!(read(b"\x03\0\0\0\0\0\0\x01a").await.is_err());
        assert!(read(b"\x01\x01\0\0\0\0\0\x01a").await.is_err());
        assert!(read(b"hello there").await.is_err());
    }

    #[tokio::test]
    async fn frame_is_never_in_memory_as_a_whole() {
        let length = 3 * CHUNK_BYTES + 5;
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![7; length]);
        let pieces = read(&bytes).await.unwrap();
        assert!(pieces.iter().all(|(_, piece)| piece.len() <= CHUNK_BYTES));
        assert_eq!(pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>(), length);
    }
}
