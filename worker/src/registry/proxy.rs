//! A registry on the loopback address that has the images which the worker is pulling, and no others.
//!
//! An engine that pulls by itself resolves names and follows redirects by itself, so it can be directed to an
//! address that the worker refused. Here it requests everything from this proxy, under a name with a token
//! that is unpredictable and ends with the pull. The proxy requests each part from the image's registry with
//! [`Registry`]'s rules for addresses, and only the parts that the image's own manifest names. The consumer's
//! credentials stay with the worker. The engine verifies all digests, as of any registry.
//!
//! Engines accept a registry at `127.0.0.0/8` without TLS: Docker by default, Podman if the pull says so.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use assay_client::manifest::{ImageReference, RegistryLogin};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
};
use futures::stream;
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    PrivateRegistries, Registry, RegistryError,
    session::{HOST, Pull, Session, Sessions, TOKEN_BYTES},
};
use crate::attestation::FetchError;

/// Maximum number of connections at once. An engine uses a few for each pull.
const MAX_CONNECTIONS: usize = 128;

/// Timeout of a request's line and headers.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Maximum duration of a connection; a little more than that of a pull.
const CONNECTION_TIME: Duration = Duration::from_secs(31 * 60);

/// Maximum time without a byte from the registry.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Maximum size of a request's line and headers, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1_024;

/// Maximum number of a request's headers.
const MAX_HEADERS: usize = 64;

/// Pause after an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Name of the header with the digest of a response's body.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Name of the header by which engines recognise a registry.
const API_VERSION: &str = "docker-distribution-api-version";

/// The proxy. It listens from the first pull on, for as long as it exists.
pub struct RegistryProxy {
    registry: Registry,
    sessions: Arc<Sessions>,
    server: OnceCell<Server>,
}

struct Server {
    port: u16,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RegistryProxy {
    /// Creates a proxy that requests images with this client.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            sessions: Arc::default(),
            server: OnceCell::new(),
        }
    }

    /// Returns the registries that are allowed by name.
    pub fn private_registries(&self) -> &PrivateRegistries {
        self.registry.private()
    }

    /// Permits the engine to pull an image until the returned permission is dropped. The credentials are
    /// shown to the image's registry and to its token service only.
    ///
    /// # Errors
    /// Fails if the system gives no port of the loopback address, or no random numbers.
    pub async fn begin(&self, image: &ImageReference, login: Option<&RegistryLogin>) -> io::Result<Pull> {
        let start = || Server::start(self.sessions.clone());
        let port = self.server.get_or_try_init(start).await?.port;
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token).map_err(|error| io::Error::other(error.to_string()))?;
        let repository = self.registry.with_login(login).repository(image);
        Ok(Pull::begin(self.sessions.clone(), repository, image, token, port))
    }
}

impl Server {
    async fn start(sessions: Arc<Sessions>) -> io::Result<Self> {
        let listener = TcpListener::bind((HOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(accept(listener, sessions)).abort_handle();
        Ok(Self { port, task })
    }
}

async fn accept(listener: TcpListener, sessions: Arc<Sessions>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Closed if there are too many: the engine tries again.
                if let Ok(seat) = seats.clone().try_acquire_owned() {
                    tokio::spawn(serve(stream, sessions.clone(), seat));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection of the engine failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, sessions: Arc<Sessions>, _seat: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let sessions = sessions.clone();
        let range = request
            .headers()
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            range: range.map(str::to_owned),
        };
        async move { Ok::<_, Infallible>(answer(&sessions, &asked).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        // A connection without a request would keep its seat.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the engine broke off"),
        Err(_) => tracing::debug!("a connection of the engine took too long"),
    }
}

/// A request of the engine.
struct Asked {
    method: Method,
    path: String,
    range: Option<String>,
}

/// The part of an image that a path names: `/v2/<token>/<repository>/(manifests|blobs)/<digest>`.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    token: &'a str,
    kind: &'a str,
    digest: &'a str,
}

impl<'a> Wanted<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let (token, rest) = path.strip_prefix("/v2/")?.split_once('/')?;
        let (rest, digest) = rest.rsplit_once('/')?;
        let (_, kind) = rest.rsplit_once('/')?;
        Some(Self { token, kind, digest })
    }
}

async fn answer(sessions: &Sessions, asked: &Asked) -> Response<Body> {
    if !matches!(asked.method, Method::GET | Method::HEAD) {
        let text = "this registry is read-only";
        return fault(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", text);
    }
    if matches!(asked.path.as_str(), "/v2" | "/v2/") {
        return json(StatusCode::OK, "{}".to_owned());
    }
    let found = Wanted::parse(&asked.path).and_then(|wanted| Some((sessions.find(wanted.token)?, wanted)));
    let Some((session, wanted)) = found else {
        return fault(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such pull is under way");
    };
    let is_head = asked.method == Method::HEAD;
    let answered = match wanted.kind {
        "manifests" => manifest(&session, wanted.digest, is_head).await,
        "blobs" => blob(&session, wanted.digest, is_head, asked.range.as_deref()).await,
        _ => Ok(None),
    };
    match answered {
        Ok(Some(response)) => response,
        Ok(None) => {
            let text = "the image that is being pulled has no such part";
            fault(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", text)
        }
        Err(error) => {
            session.note(&error);
            // Engines repeat a request after a status from 500 on, and not after a denial.
            let (status, code) = if error.is_permanent() {
                (StatusCode::FORBIDDEN, "DENIED")
            } else {
                (StatusCode::BAD_GATEWAY, "UNKNOWN")
            };
            fault(status, code, &error.to_string())
        }
    }
}

async fn manifest(
    session: &Session,
    digest: &str,
    is_head: bool,
) -> Result<Option<Response<Body>>, RegistryError> {
    let Some((manifest, kind)) = session.manifest(digest).await? else {
        return Ok(None);
    };
    let length = manifest.bytes.len() as u64;
    let body = if is_head {
        Body::empty()
    } else {
        Body::from(manifest.bytes)
    };
    Ok(Some(part(StatusCode::OK, kind, digest, length, body)))
}

/// Answers with a configuration or a layer, as it arrives.
async fn blob(
    session: &Arc<Session>,
    digest: &str,
    is_head: bool,
    range: Option<&str>,
) -> Result<Option<Response<Body>>, RegistryError> {
    const KIND: &str = "application/octet-stream";
    let Some(whole) = session.blob_bytes(digest) else {
        return Ok(None);
    };
    if is_head {
        return Ok(Some(part(StatusCode::OK, KIND, digest, whole, Body::empty())));
    }
    // Fails only if the semaphore is closed, which it never is.
    let Ok(permit) = session.streams.clone().acquire_owned().await else {
        return Ok(None);
    };
    if session.ended.is_cancelled() {
        return Ok(None);
    }
    // An engine resumes a broken download at a byte.
    let start = range.and_then(|range| start_of(range, whole));
    let asked = start.map(|start| format!("bytes={start}-"));
    let response = session.repository.open("blobs", digest, asked.as_deref()).await?;
    let url = session.repository.url("blobs", digest);
    let (head, body) = response.into_parts();
    let limit = match (head.status, start) {
        (StatusCode::OK, _) => whole,
        (StatusCode::PARTIAL_CONTENT, Some(start)) => whole.saturating_sub(start),
        (status, _) => {
            let code = status.as_u16();
            return Err(RegistryError::Status { url, code });
        }
    };
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(announced) = announced.filter(|announced| *announced != limit) {
        return Err(RegistryError::BadAnswer {
            url,
            reason: format!("it has {announced} bytes, and the manifest says {limit}"),
        });
    }
    let relay = Relay {
        body: Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)),
        url,
        session: session.clone(),
        _permit: permit,
    };
    let body = Body::from_stream(stream::unfold(Some(relay), Relay::next));
    let mut response = part(head.status, KIND, digest, limit, body);
    if head.status == StatusCode::PARTIAL_CONTENT
        && let Some(range) = head.headers.get(header::CONTENT_RANGE)
    {
        response
            .headers_mut()
            .insert(header::CONTENT_RANGE, range.clone());
    }
    Ok(Some(response))
}

/// Returns the first byte of a request for the rest of `whole` bytes: `bytes=<first>-`.
fn start_of(range: &str, whole: u64) -> Option<u64> {
    let first = range.strip_prefix("bytes=")?.strip_suffix('-')?;
    first.parse().ok().filter(|first| *first < whole)
}

/// A layer on its way from the registry to the engine.
struct Relay {
    body: Limited<Incoming>,
    url: String,
    session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Relay {
    /// Returns the next bytes with the state after them; after an error there is none.
    async fn next(state: Option<Self>) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let mut relay = state?;
        let ended = relay.session.ended.clone();
        let arrived = tokio::select! {
            () = ended.cancelled() => return Some((Err(io::Error::other("the pull has ended")), None)),
            arrived = timeout(IDLE_TIME, relay.body.frame()) => arrived,
        };
        let reason = match arrived {
            Ok(None) => return None,
            // Trailers have no bytes.
            Ok(Some(Ok(frame))) => return Some((Ok(frame.into_data().unwrap_or_default()), Some(relay))),
            Ok(Some(Err(error))) => error.to_string(),
            Err(_) => format!("no byte arrived for {} seconds", IDLE_TIME.as_secs()),
        };
        let url = relay.url.clone();
        let error = io::Error::other(reason.clone());
        relay.session.note(&FetchError::Unreadable { url, reason }.into());
        Some((Err(error), None))
    }
}

fn part(status: StatusCode, kind: &'static str, digest: &str, length: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(digest) = HeaderValue::from_str(digest) {
        headers.insert(CONTENT_DIGEST, digest);
    }
    response
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn fault(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let document = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    json(status, document.to_string())
}

#[cfg(test)]
mod tests;
