//! Reverse proxy to jobs' HTTP ports: `/v1/jobs/{id}/ports/{name}/{path}`.
//!
//! Requests and responses stream through; neither is ever in memory as a whole. WebSockets and other upgrades
//! pass as bytes. The header `X-Forwarded-Prefix` has the public path of the container's root, and the proxy
//! rewrites redirects to the container's own absolute paths. The owner's token stays with the worker, and its
//! end closes connections to ports that are not public.
//!
//! Every job's pages share the worker's origin: tokens must be kept out of cookies.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, BodyDataStream, Bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header},
    response::{IntoResponse, Response},
    routing::any,
};
use futures::{Stream, StreamExt, stream};
use hyper::{
    client::conn::http1,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use utoipa::OpenApi;

use super::{
    auth::Owner,
    errors::{ApiError, ApiPath, Refusal},
    owner::OwnerContext,
    server::PeerAddress,
    tokens::TokenLife,
};
use crate::lease::{ClusterNetworks, JobNetworks};

/// Maximum length of a response's head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1_024;

/// Maximum number of requests and upgraded connections at once, of all jobs together.
const MAX_REQUESTS: usize = 256;

/// Length of the pieces in which an upgraded connection is copied, in bytes.
const CHUNK_BYTES: usize = 16 * 1_024;

/// Time for closing an upgraded connection.
const CLOSING: Duration = Duration::from_secs(2);

/// Header with the path at which the container's port is reached.
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Header with the client's address.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Header with the host that the client asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Header with the scheme that the client used.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that concern one connection only, and headers that clients must not set.
const DROPPED: [HeaderName; 13] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    FORWARDED_PREFIX,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
];

fn refusal(code: StatusCode, text: &str) -> Response {
    ApiError::new(code, text).into_response()
}

/// Returns the routes to jobs' HTTP ports.
pub(super) fn routes() -> Router<Arc<OwnerContext>> {
    Router::new()
        .route("/v1/jobs/{id}/ports/{name}", any(root))
        .route("/v1/jobs/{id}/ports/{name}/", any(root))
        .route("/v1/jobs/{id}/ports/{name}/{*path}", any(below))
}

#[derive(OpenApi)]
#[openapi(paths(below))]
struct Description;

/// Returns the description of the routes in OpenAPI.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

async fn root(
    State(context): State<Arc<OwnerContext>>,
    ApiPath((job, name)): ApiPath<(u64, String)>,
    request: Request,
) -> Response {
    pass(&context, job, &name, "", request).await
}

/// Passes a request of any method on to the HTTP port `name` of a job's container, and its response back.
///
/// The answer is the container's. WebSockets and other upgrades pass, too. The owner's token is needed unless
/// the manifest makes the port public; it stays with the worker. Without `path`, with or without a slash at
/// the end, the container gets `/`.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/ports/{name}/{path}",
    params(
        ("id" = u64, Path, description = "Number of the job", example = 5),
        ("name" = String, Path, description = "Name of the port in the manifest"),
        ("path" = String, Path, description = "Path at the port; its slashes stay as they are"),
    ),
    responses(
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 404, body = Refusal),
        (status = 502, body = Refusal),
        (status = 504, body = Refusal),
        (status = "default", description = "The container's answer"),
    ),
    security((), ("token" = [])),
)]
async fn below(
    State(context): State<Arc<OwnerContext>>,
    ApiPath((job, name, path)): ApiPath<(u64, String, String)>,
    request: Request,
) -> Response {
    pass(&context, job, &name, &path, request).await
}

async fn pass(context: &Arc<OwnerContext>, job: u64, name: &str, path: &str, request: Request) -> Response {
    let Some(proxy) = &context.proxy else {
        return refusal(StatusCode::NOT_FOUND, "this worker publishes no HTTP ports");
    };
    let address = request.extensions().get().map(|PeerAddress(address)| *address);
    let (mut parts, body) = request.into_parts();
    // Ports that are public need no token.
    let owner = Owner::from_request_parts(&mut parts, context).await.ok();
    let is_owner = owner.is_some();
    if let Some(Owner { life, .. }) = owner {
        parts.extensions.insert(life);
    }
    let client = ProxyClient {
        address,
        is_owner,
        scheme: "https",
    };
    proxy
        .answer(job, name, path, client, Request::from_parts(parts, body))
        .await
}

/// Bounds in time.
#[derive(Clone, Copy, Debug)]
pub struct ProxyLimits {
    /// Timeout of connecting to the container.
    pub connect: Duration,
    /// Timeout from the request's head to the response's.
    pub answer: Duration,
    /// Longest pause between two pieces of a body or of an upgraded connection.
    pub idle: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(120),
            idle: Duration::from_secs(300),
        }
    }
}

/// Client of a proxied request.
#[derive(Clone, Copy, Debug)]
pub struct ProxyClient {
    /// Address of the client, if it is known.
    pub address: Option<IpAddr>,
    /// True if the client showed the owner's token.
    pub is_owner: bool,
    /// Scheme that the client used: `http` or `https`.
    pub scheme: &'static str,
}

/// Forwards requests to jobs' HTTP ports. Clones share the seats.
#[derive(Clone)]
pub struct PortProxy {
    networks: Option<JobNetworks>,
    cluster: Option<ClusterNetworks>,
    limits: ProxyLimits,
    seats: Arc<Semaphore>,
}

impl PortProxy {
    /// Creates a proxy.
    pub fn new(networks: impl Into<Option<JobNetworks>>) -> Self {
        Self {
            networks: networks.into(),
            cluster: None,
            limits: ProxyLimits::default(),
            seats: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    /// Adds the networks of a cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Option<ClusterNetworks>) -> Self {
        self.cluster = cluster;
        self
    }

    /// Answers a request of the path `/v1/jobs/{job}/ports/{name}/{path}` with the container's response.
    pub async fn answer(
        &self,
        job: u64,
        name: &str,
        path: &str,
        client: ProxyClient,
        mut request: Request,
    ) -> Response {
        let target = self
            .networks
            .as_ref()
            .and_then(|networks| networks.http_target(job, name))
            .or_else(|| self.cluster.as_ref()?.http_target(job, name));
        let Some(target) = target else {
            return refusal(
                StatusCode::NOT_FOUND,
                "this machine has no such job with an HTTP port of this name",
            );
        };
        if !target.is_public && !client.is_owner {
            return refusal(
                StatusCode::UNAUTHORIZED,
                "this port is for the job's owner; send the owner's token, or order it with \"public\": true",
            );
        }
        if target.is_public {
            request.extensions_mut().remove::<TokenLife>();
        }
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests at once; try again",
            );
        };
        let route = Route {
            target: target.address,
            prefix: format!("/v1/jobs/{job}/ports/{name}"),
            path: format!("/{}", path.trim_start_matches('/')),
        };
        forward(&route, client, request, self.limits, seat).await
    }
}

/// Target of a request.
struct Route {
    target: SocketAddr,
    /// Path at which the container's root is reached.
    prefix: String,
    /// Path in the container.
    path: String,
}

async fn forward(
    route: &Route,
    client: ProxyClient,
    mut request: Request,
    limits: ProxyLimits,
    seat: OwnedSemaphorePermit,
) -> Response {
    let life = request.extensions_mut().remove::<TokenLife>();
    let upgrade = wanted_upgrade(request.headers());
    let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let forwarded = match outgoing(route, client, request, limits, upgrade.as_ref()) {
        Ok(forwarded) => forwarded,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, reason),
    };
    let Some(stream) = within(limits.connect, TcpStream::connect(route.target)).await else {
        return refusal(
            StatusCode::BAD_GATEWAY,
            "nothing listens on this port of the job's container",
        );
    };
    let handshake = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await;
    let Ok((mut requests, connection)) = handshake else {
        return refusal(
            StatusCode::BAD_GATEWAY,
            "the job's container closed the connection",
        );
    };
    tokio::spawn(async move {
        // It ends with the response's body, or with the upgraded connection.
        let _ = connection.with_upgrades().await;
    });
    let response = match tokio::time::timeout(limits.answer, requests.send_request(forwarded)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a job's HTTP port did not answer");
            return refusal(
                StatusCode::BAD_GATEWAY,
                "the job's container did not answer with HTTP",
            );
        }
        Err(_) => {
            return refusal(
                StatusCode::GATEWAY_TIMEOUT,
                "the job's container did not answer in time",
            );
        }
    };
    let hold = Hold { seat, life };
    incoming(route, response.map(Body::new), client_side, limits, hold)
}

/// Place of a request among the others, and the life of the token that it needs: both for as long as its
/// answer goes on.
struct Hold {
    /// Given back when it is dropped.
    seat: OwnedSemaphorePermit,
    /// `None` at a port that is public.
    life: Option<TokenLife>,
}

/// Waits for the end of a token; for ever without one.
async fn over(life: Option<&TokenLife>) {
    match life {
        Some(life) => life.over().await,
        None => std::future::pending().await,
    }
}

/// Returns the result of a future that succeeds in time.
async fn within<T, E>(limit: Duration, future: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()?.ok()
}

/// Returns the protocol that a request wants its connection upgraded to.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

/// Removes the headers that end at this proxy, with those that `Connection` names.
fn drop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&DROPPED) {
        headers.remove(name);
    }
}

/// Returns the request for the container.
fn outgoing(
    route: &Route,
    client: ProxyClient,
    request: Request,
    limits: ProxyLimits,
    upgrade: Option<&HeaderValue>,
) -> Result<Request, &'static str> {
    let (mut head, body) = request.into_parts();
    let host = head.headers.get(header::HOST).cloned();
    drop_headers(&mut head.headers);
    if client.is_owner {
        // The worker checks the token; the container must not see it.
        head.headers.remove(header::AUTHORIZATION);
    }
    let query = head
        .uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    head.uri = format!("{}{query}", route.path)
        .parse::<Uri>()
        .map_err(|_| "the path is not valid")?;
    head.version = Version::HTTP_11;
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            head.headers.insert(name, value);
        }
    };
    set(FORWARDED_PREFIX, &route.prefix);
    set(FORWARDED_PROTO, client.scheme);
    if let Some(address) = client.address {
        set(FORWARDED_FOR, &address.to_string());
    }
    match host {
        Some(host) => drop(head.headers.insert(FORWARDED_HOST, host)),
        None => set(header::HOST, &route.target.to_string()),
    }
    if let Some(protocol) = upgrade {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, protocol.clone());
    }
    let body = body_with_pauses(body.into_data_stream(), limits.idle, None);
    Ok(Request::from_parts(head, body))
}

/// Returns the response for the client.
fn incoming(
    route: &Route,
    mut response: Response,
    client_side: Option<OnUpgrade>,
    limits: ProxyLimits,
    hold: Hold,
) -> Response {
    let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = wanted_upgrade(response.headers());
    let container_side = is_upgraded.then(|| hyper::upgrade::on(&mut response));
    let (mut head, body) = response.into_parts();
    drop_headers(&mut head.headers);
    head.version = Version::HTTP_11;
    if let Some(location) = head
        .headers
        .get(header::LOCATION)
        .and_then(|value| led_back(value, &route.prefix))
    {
        head.headers.insert(header::LOCATION, location);
    }
    match (container_side, client_side, upgrade) {
        (Some(container), Some(client), Some(protocol)) => {
            head.headers
                .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, protocol);
            tokio::spawn(splice(client, container, limits.idle, hold));
            Response::from_parts(head, Body::empty())
        }
        (Some(_), ..) => refusal(
            StatusCode::BAD_GATEWAY,
            "the job's container switched protocols unasked",
        ),
        (None, ..) => {
            let body = body_with_pauses(body.into_data_stream(), limits.idle, Some(hold));
            Response::from_parts(head, body).into_response()
        }
    }
}

/// Returns the target of a redirect to an absolute path of the container, as the client reaches it.
fn led_back(location: &HeaderValue, prefix: &str) -> Option<HeaderValue> {
    let location = location.to_str().ok()?;
    let is_own = location.starts_with('/') && !location.starts_with("//") && !location.starts_with(prefix);
    is_own.then(|| HeaderValue::from_str(&format!("{prefix}{location}")).ok())?
}

/// Returns a body that fails after a pause that is too long, and at the end of the token. It holds the seat
/// until it is dropped.
fn body_with_pauses(body: BodyDataStream, idle: Duration, hold: Option<Hold>) -> Body {
    Body::from_stream(with_pauses(body, idle, hold))
}

fn with_pauses(
    body: BodyDataStream,
    idle: Duration,
    hold: Option<Hold>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    stream::unfold(Some((body, hold)), move |state| async move {
        let (mut body, hold) = state?;
        let life = hold.as_ref().and_then(|hold| hold.life.as_ref());
        let piece = tokio::select! {
            piece = tokio::time::timeout(idle, body.next()) => piece,
            () = over(life) => {
                let ended = axum::Error::new("the token that the answer needs has ended");
                return Some((Err(ended), None));
            }
        };
        match piece {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some((body, hold)))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(elapsed) => Some((Err(axum::Error::new(elapsed)), None)),
        }
    })
}

/// Copies both directions of an upgraded connection until one side closes it, both are silent for too
/// long, or the token has ended.
async fn splice(client: OnUpgrade, container: OnUpgrade, idle: Duration, hold: Hold) {
    let (client, container) = match tokio::join!(client, container) {
        (Ok(client), Ok(container)) => (client, container),
        _ => {
            tracing::debug!("an upgraded connection to a job's port was not made");
            return;
        }
    };
    let halves = |upgraded: Upgraded| tokio::io::split(TokioIo::new(upgraded));
    let (mut from_client, mut to_client) = halves(client);
    let (mut from_container, mut to_container) = halves(container);
    let activity = Activity::default();
    tokio::select! {
        () = copy(&mut from_client, &mut to_container, &activity) => (),
        () = copy(&mut from_container, &mut to_client, &activity) => (),
        () = activity.silence(idle) => (),
        () = over(hold.life.as_ref()) => (),
    }
    let closing = async {
        let _ = to_client.shutdown().await;
        let _ = to_container.shutdown().await;
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
    drop(hold.seat);
}

/// Time of the last piece in either direction.
struct Activity(Mutex<Instant>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Activity {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing was copied for a time.
    async fn silence(&self, idle: Duration) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= idle {
                return;
            }
            tokio::time::sleep_until(last + idle).await;
        }
    }
}

/// Copies one direction to its end.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), activity: &Activity) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                activity.note();
                if to.write_all(&chunk[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
