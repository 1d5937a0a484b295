//! The engine's list of containers, read one by one.
//!
//! A client that knows all words of one version of the engine's interface fails at the first new one, and
//! then sees no container at all. Here each is read by itself, and no more of it than is needed: one in a
//! state that nobody told this worker of is there, and the others are what they are.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{EngineEndpoint, LABEL_FINGERPRINT, LABEL_JOB, LABEL_WORKER};

/// Longest list that is read: thousands of containers.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// Longest time that the engine has to give it.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The engine's name of it; empty where that cannot be read.
    pub(super) id: String,
    /// The job that it belongs to.
    pub(super) job: u64,
    /// That job's fingerprint.
    pub(super) fingerprint: String,
    /// The engine's word for what it is doing; empty where it has none.
    pub(super) state: String,
}

/// Why there is no list.
#[derive(Debug)]
pub(super) enum ListError {
    /// Nobody answers, or not to the end.
    Unreachable(String),
    /// The answer is no list.
    Unusable(String),
}

impl ListError {
    fn unreachable(error: impl std::fmt::Display) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// The containers of a worker, running or not, by a version of the engine's interface such as `1.43`.
pub(super) async fn containers(
    endpoint: &EngineEndpoint,
    version: &str,
    worker: &str,
) -> Result<Vec<Listed>, ListError> {
    let filters = format!(r#"{{"label":["{LABEL_WORKER}={worker}"]}}"#);
    let path = format!(
        "/v{version}/containers/json?all=true&filters={}",
        escaped(&filters)
    );
    let answer = async {
        match endpoint {
            EngineEndpoint::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(ListError::unreachable)?;
                get(stream, "localhost", &path).await
            }
            EngineEndpoint::Http(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(ListError::unreachable)?;
                get(stream, address, &path).await
            }
        }
    };
    let bytes = tokio::time::timeout(LIST_TIMEOUT, answer)
        .await
        .map_err(|_| ListError::Unusable(format!("no answer within {} seconds", LIST_TIMEOUT.as_secs())))??;
    let entries: Vec<Value> = serde_json::from_slice(&bytes)
        .map_err(|error| ListError::Unusable(format!("its answer is no list: {error}")))?;
    Ok(entries.iter().filter_map(listed).collect())
}

/// A container, if its labels say which job it is of.
fn listed(entry: &Value) -> Option<Listed> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let label = |name| {
        entry
            .get("Labels")
            .and_then(|labels| labels.get(name))
            .and_then(text)
    };
    Some(Listed {
        id: entry.get("Id").and_then(text).unwrap_or_default(),
        job: label(LABEL_JOB)?.parse().ok()?,
        fingerprint: label(LABEL_FINGERPRINT)?,
        state: entry.get("State").and_then(text).unwrap_or_default(),
    })
}

/// Asks for a path over a connection of its own.
async fn get<S>(stream: S, host: &str, path: &str) -> Result<Bytes, ListError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(ListError::unreachable)?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| ListError::Unusable(error.to_string()))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(ListError::unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_LIST_BYTES)
            .collect()
            .await
            .map_err(ListError::unreachable)?
            .to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(ListError::Unusable(format!(
                "{status}: {}",
                String::from_utf8_lossy(&body)
            ))),
        }
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        outcome = &mut exchange => outcome,
        // It may end once everything has come.
        _ = &mut connection => exchange.await,
    }
}

/// A text as a part of a query: everything but letters and digits in hexadecimal digits.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
