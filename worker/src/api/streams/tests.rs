#![allow(clippy::unwrap_used)]

mod artifacts;
mod exec;
mod logs;

use std::{
    net::SocketAddr,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use assay_client::types::AccountId;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{
    api::{exec::Shells, owner::OwnerContext},
    config::Config,
    delivery::Delivery,
    engine::Capture,
    keys::Keys,
    sealing_store::SealingStore,
};

/// Job whose owner the tests are.
const JOB: u64 = 5;

/// Header of the owner's requests.
const TOKEN: (&str, &str) = ("authorization", "Bearer owner");

/// The streaming routes behind a layer that recognises the owner of [`JOB`], at a real listener.
struct Server {
    address: SocketAddr,
    streams: Arc<JobStreams>,
    _folder: tempfile::TempDir,
}

/// Lets the header of the tests stand for a token that the context has issued.
async fn recognise(State(context): State<Arc<OwnerContext>>, mut request: Request, next: Next) -> Response {
    let is_ours = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|token| token == TOKEN.1);
    if is_ours {
        let token = context
            .tokens
            .issue(JOB, owner(), Duration::from_secs(600), Instant::now());
        let value = HeaderValue::from_str(&format!("Bearer {}", token.unwrap())).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    next.run(request).await
}

fn owner() -> AccountId {
    AccountId::from([7; 32])
}

impl Server {
    async fn start(limits: StreamLimits) -> Self {
        Self::with((), (), limits).await
    }

    async fn with(shells: impl Shells, outputs: impl OutputFolders, limits: StreamLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../../worker.example.yaml");
        let config = Config::parse(text, &folder.path().join("worker.yaml")).unwrap();
        let sealing = SealingStore::File(config.assay.sealing_key_file.clone());
        let keys = Keys::load_or_create(&config.assay, &sealing, &[]).unwrap();
        let store = JobStore::open(folder.path().join("jobs")).unwrap();
        let status = StatusBoard::new(&config, &keys);
        let delivery = Delivery::new(keys.worker.clone(), keys.sealing.clone(), store.clone());
        let context =
            OwnerContext::new(status.clone(), keys.worker.clone(), store.clone(), delivery).unwrap();
        let context = Arc::new(context);
        let streams = Arc::new(JobStreams::new(store, status, shells, outputs, limits));
        let router: Router = routes(streams.clone())
            .layer(middleware::from_fn_with_state(context.clone(), recognise))
            .with_state(context);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            streams,
            _folder: folder,
        }
    }

    /// Notes that the job's container was started.
    fn note(&self, change: impl FnOnce(&mut JobNotes)) {
        let mut notes = self.streams.store.notes(JOB, "aa").unwrap();
        notes.container_started = true;
        notes.consumer = Some(owner());
        change(&mut notes);
        self.streams.store.write_notes(JOB, &notes).unwrap();
    }

    /// Begins a run of the job's container.
    fn capture(&self) -> Capture {
        Capture::new(&self.streams.store.output_target(JOB, true))
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::get(format!("/v1/jobs/{JOB}/{path}")).header("host", "worker");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        requests.send_request(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Vec<u8>) {
        let response = self.ask(path, &[&[TOKEN][..], headers].concat()).await;
        let code = response.status();
        (
            code,
            response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        )
    }
}

/// Waits until a condition holds.
#[track_caller]
fn until<F: AsyncFnMut() -> bool>(holds: F) -> impl Future<Output = ()> {
    until_or(holds, String::new)
}

/// Waits until a condition holds; after ten seconds and 400 looks it panics with what `state` tells.
#[track_caller]
fn until_or<F: AsyncFnMut() -> bool>(
    mut holds: F,
    state: impl FnOnce() -> String,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        for _ in 0..400 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the condition at {caller} never held; {}", state());
    }
}

#[tokio::test]
async fn nothing_is_shown_without_a_token() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|notes| notes.interactive = true);
    drop(server.capture());
    for path in [
        "logs",
        "logs?follow",
        "exec",
        "artifacts",
        "artifacts/archive",
        "artifacts/files/a",
    ] {
        for headers in [&[][..], &[("authorization", "Bearer somebody")]] {
            let response = server.ask(path, headers).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}
