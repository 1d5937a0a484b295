//! The worker's HTTP API, in two parts with separate listeners, budgets and threads.
//!
//! *Public part*, plain HTTP at `network_config.p2p_port`, for anybody:
//!
//! | path | response |
//! |---|---|
//! | `GET /status` | the status as JSON, signed with the worker key, including the nonce of `?nonce=<text>` |
//! | `GET /health` | 200 while the worker can run jobs, 503 and the reasons otherwise |
//! | `GET /metrics` | metrics of the machine as a whole, in Prometheus' text format |
//! | `GET /v1/probe?nonce=<NONCE>` | the signed answer to a validator's probe; or 503 as for `/health` |
//! | `GET /v1/owner` | where the owner part is, and the worker key's signature of its TLS key |
//!
//! *Owner part*, with TLS at `assay.owner_port`, for a job's consumer and the delegates in its manifest:
//!
//! | path | response |
//! |---|---|
//! | `POST /v1/jobs/{id}/challenge` | a nonce to sign |
//! | `POST /v1/jobs/{id}/token` | a token for the job, against the signature; all further paths want it |
//! | `DELETE /v1/token` | ends the token |
//! | `PUT /v1/jobs/{id}/manifest` | takes a sealed manifest, without a token; the machine's receipt |
//! | `GET /v1/jobs/{id}` | status, notes and ports of the job |
//! | `GET /v1/jobs/{id}/logs` | its output; `?follow=true` as server-sent events |
//! | `GET /v1/jobs/{id}/exec` | a command or terminal in its container, over a WebSocket |
//! | `GET /v1/jobs/{id}/artifacts…` | its output folder: list, archive, files; also after its end |
//! | `GET /v1/jobs/{id}/result` | the fields of a finished task's result, and its hash in a header |
//!
//! `GET /v1/openapi.json` of each part describes it. `<NONCE>` has 64 hexadecimal digits.
//!
//! A third listener, plain HTTP at `assay.metrics_listen` and by default on the loopback address, has
//! `GET /metrics` with the values of devices and jobs, too: for the provider, and for nobody else.
//!
//! The owner part has a listener, limits and threads of its own: a flood of it can neither take a connection
//! from the public part nor keep a probe waiting for a thread.

mod manifest;

pub mod artifacts;
pub mod auth;
pub mod errors;
pub mod exec;
pub mod limits;
pub mod logs;
pub mod openapi;
pub mod owner;
mod produced;
pub mod proxy;
pub mod public;
mod ranges;
pub mod responses;
mod seats;
mod server;
pub mod streams;
pub mod tls;
pub mod tokens;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use assay_client::Keypair;
use axum::{Router, http::Uri, response::Response, routing::get};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use auth::Owner;
pub use errors::ApiError;
pub use limits::{ConnectionSeat, PartLimits};
pub use owner::OwnerContext;
pub use proxy::PortProxy;
pub use public::{MAX_NONCE_BYTES, PublicContext};
use responses::{METRICS_TYPE, with_headers};
pub use responses::{RESULT_HASH_HEADER, SIGNATURE_HEADER, WORKER_KEY_HEADER};
pub use streams::{JobStreams, MissingOutput, OutputFolders, StreamLimits};
pub use tls::{CertificateSource, TlsError, TlsKeeper};

use crate::{
    config::{Config, owner::certificate_names},
    delivery::Delivery,
    jobs::JobStore,
    metrics::Metrics,
    status::{KeyHash, StatusBoard},
    tasks::PartRunner,
};

/// Number of threads of the owner part.
const OWNER_THREADS: usize = 2;

/// Maximum number of threads of the owner part for work that blocks.
const OWNER_BLOCKING_THREADS: usize = 16;

/// Grace period for connections when the worker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Error of opening a part of the API.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; change `network_config.p2p_port`, `assay.owner_port` or \
     `assay.listen_address`, or stop the program that has the port"
)]
pub struct ListenError {
    /// Address to listen on.
    pub address: SocketAddr,
    /// Error of the system.
    pub source: io::Error,
}

/// Reason why the API cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS cannot be set up with the certificate.
    #[error("TLS cannot be set up: {0}; please report it")]
    Protocol(#[from] rustls::Error),
    /// The system gave no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] tokens::NoRandomness),
    /// The system gave no threads.
    #[error("the threads of the API cannot be started: {0}; raise the limits of the worker's user")]
    Threads(io::Error),
}

/// Dependencies of the API.
pub struct ApiParts {
    /// The status to show.
    pub status: StatusBoard,
    /// The worker key.
    pub worker: Keypair,
    /// Store of notes and results.
    pub store: JobStore,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// Takes sealed manifests.
    pub delivery: Delivery,
    /// Logs, shells and artifacts of jobs.
    pub streams: Arc<JobStreams>,
    /// Proxy to jobs' HTTP ports.
    pub proxy: PortProxy,
    /// Restarts a part that fails.
    pub runner: PartRunner,
}

/// Binds a port, so that a port in use is an error before anything else happens.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves the public part on a listener until `stop` is cancelled.
pub async fn serve_public(
    listener: TcpListener,
    context: Arc<PublicContext>,
    limits: PartLimits,
    stop: CancellationToken,
) -> io::Result<()> {
    let routes = public_routes().with_state(context);
    server::serve(listener, None, limits, routes, stop).await
}

/// Serves the owner part on a listener until `stop` is cancelled.
pub async fn serve_owner(
    listener: TcpListener,
    context: Arc<OwnerContext>,
    tls: &TlsKeeper,
    limits: PartLimits,
    stop: CancellationToken,
) -> io::Result<()> {
    let acceptor = tls.acceptor().map_err(io::Error::other)?;
    let routes = owner_routes(&context).with_state(context);
    server::serve(listener, Some(acceptor), limits, routes, stop).await
}

/// Serves all metrics, also those of devices and jobs, on a listener until `stop` is cancelled.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Metrics,
    limits: PartLimits,
    stop: CancellationToken,
) -> io::Result<()> {
    let answer = move || std::future::ready(all_metrics(&metrics));
    let nothing_else = || async { ApiError::not_found("there is /metrics here, and nothing else") };
    let routes = Router::new()
        .route("/metrics", get(answer))
        .fallback(nothing_else);
    server::serve(listener, None, limits, routes, stop).await
}

fn all_metrics(metrics: &Metrics) -> Result<Response, ApiError> {
    let text = metrics.render_all().map_err(|error| ApiError::internal(&error))?;
    Ok(with_headers(METRICS_TYPE, [], text))
}

fn public_routes() -> Router<Arc<PublicContext>> {
    openapi::finish(public::routes()).fallback(no_such_path)
}

fn owner_routes(context: &OwnerContext) -> Router<Arc<OwnerContext>> {
    let mut described = owner::routes();
    if context.streams.is_some() {
        described.get_openapi_mut().merge(streams::description());
    }
    if context.proxy.is_some() {
        described.get_openapi_mut().merge(proxy::description());
    }
    let mut routes = openapi::finish(described);
    if let Some(streams) = &context.streams {
        routes = routes.merge(streams::routes(streams.clone()));
    }
    if context.proxy.is_some() {
        routes = routes.merge(proxy::routes());
    }
    routes.fallback(no_such_path)
}

async fn no_such_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    ApiError::not_found(format!(
        "there is no {path} here; GET {} lists the paths of this part of the API",
        openapi::OPENAPI_PATH
    ))
}

/// Threads of the owner part; they end with this value.
struct OwnerThreads(Option<Runtime>);

impl OwnerThreads {
    fn start() -> Result<Self, StartError> {
        runtime::Builder::new_multi_thread()
            .thread_name("owner-api")
            .worker_threads(OWNER_THREADS)
            .max_blocking_threads(OWNER_BLOCKING_THREADS)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(StartError::Threads)
    }
}

impl Drop for OwnerThreads {
    fn drop(&mut self) {
        // Anything else would wait, which a task must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The API while it is served; ends with this value.
pub struct Api {
    stop: CancellationToken,
    parts: Vec<JoinHandle<io::Result<()>>>,
    _owner_threads: OwnerThreads,
}

impl Api {
    /// Binds both ports and serves both parts, each on a new listener after a failure of the first one.
    ///
    /// # Errors
    /// A port in use, or a certificate that cannot be loaded.
    pub async fn start(config: &Config, parts: ApiParts) -> Result<Self, StartError> {
        let ApiParts {
            status,
            worker,
            store,
            metrics,
            delivery,
            streams,
            proxy,
            runner,
        } = parts;
        let source = match &config.assay.owner.certificate {
            Some(files) => CertificateSource::Files(files.clone()),
            None => CertificateSource::Own {
                folder: config.assay.state_dir.clone(),
                names: certificate_names(&config.assay.owner.endpoint),
            },
        };
        let tls = TlsKeeper::open(source, store.disk().clone())?;
        // Faults of TLS show before anything is served.
        tls.acceptor()?;
        let owner = OwnerContext::new(status.clone(), worker.clone(), store, delivery)?
            .with_streams(streams)
            .with_proxy(proxy);
        let owner = Arc::new(owner);
        let public = Arc::new(PublicContext {
            status: status.clone(),
            worker_hex: hex::encode(worker.public_key().0),
            worker,
            metrics: metrics.clone(),
        });
        let stop = CancellationToken::new();
        let threads = OwnerThreads::start()?;
        let owner_runtime = match &threads.0 {
            Some(runtime) => runtime.handle().clone(),
            None => runtime::Handle::current(),
        };
        let (address, owner_address) = (config.listen_on(), config.owner_listen_on());
        let listener = listen(address).await?;
        // A listener belongs to the threads on which it was made.
        let owner_listener = owner_runtime
            .spawn(listen(owner_address))
            .await
            .map_err(|error| StartError::Threads(io::Error::other(error)))??;
        let note_key = move |hash| {
            status.update(|status| status.owner_part.spki_sha256 = Some(KeyHash(hash)));
        };
        note_key(tls.spki_sha256());

        let limits = config.assay.owner.part_limits();
        let token = stop.clone();
        let metrics_runner = runner.clone();
        let public_part = keep_part(runner.clone(), "api", listener, address, move |listener| {
            serve_public(listener, public.clone(), PartLimits::PUBLIC, token.clone())
        });
        let (token, served) = (stop.clone(), tls.clone());
        let owner_part = keep_part(
            runner,
            "owner_api",
            owner_listener,
            owner_address,
            move |listener| {
                let (context, tls, stop) = (owner.clone(), served.clone(), token.clone());
                async move { serve_owner(listener, context, &tls, limits, stop).await }
            },
        );
        let token = stop.clone();
        owner_runtime.spawn(async move {
            tokio::select! {
                () = token.cancelled() => (),
                () = tls.keep_fresh(note_key) => (),
            }
        });
        let mut parts = vec![tokio::spawn(public_part), owner_runtime.spawn(owner_part)];
        parts.extend(start_metrics(config.assay.metrics_listen, metrics, metrics_runner, &stop).await);
        Ok(Self {
            stop,
            parts,
            _owner_threads: threads,
        })
    }

    /// Ends both parts. Clients that keep their connections open do not delay it for long.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let parts = std::mem::take(&mut self.parts);
        let _ = tokio::time::timeout(STOP_TIMEOUT, futures::future::join_all(parts)).await;
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Begins to serve all metrics; `None` if the address cannot be listened on, for which no job is worth
/// stopping.
async fn start_metrics(
    address: SocketAddr,
    metrics: Metrics,
    runner: PartRunner,
    stop: &CancellationToken,
) -> Option<JoinHandle<io::Result<()>>> {
    let listener = TcpListener::bind(address)
        .await
        .inspect_err(|error| {
            tracing::error!(
                %address, %error,
                "the metrics of devices and jobs are not served; name another address with `assay.metrics_listen`"
            );
        })
        .ok()?;
    let stop = stop.clone();
    let serve = move |listener| serve_metrics(listener, metrics.clone(), PartLimits::PUBLIC, stop.clone());
    Some(tokio::spawn(keep_part(
        runner, "metrics", listener, address, serve,
    )))
}

/// Serves a part until it is stopped; on a new listener after a failure of the first one.
async fn keep_part<F>(
    runner: PartRunner,
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    serve: impl Fn(TcpListener) -> F,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    let mut first = Some(listener);
    let begin = || {
        let (listener, serve) = (first.take(), &serve);
        async move {
            let listener = match listener {
                Some(listener) => listener,
                None => listen(address).await.map_err(io::Error::other)?,
            };
            serve(listener).await
        }
    };
    runner.keep_going(name, |_| true, begin).await
}
