//! Container lists as engines return them, including states that this worker's libraries do not know.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use assay_worker::engine::{
    Container, ContainerEngine, ContainerState, DockerEngine, EngineEndpoint, EngineError, RunFact,
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

/// An engine on the loopback address that lists these containers.
struct Engine {
    engine: DockerEngine,
    answers_strangely: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Answers {
    containers: Value,
    answers_strangely: Arc<AtomicBool>,
}

async fn list(State(answers): State<Answers>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let asked: Vec<_> = query
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        asked,
        [("all", "true"), ("filters", r#"{"label":["assay.worker=abc"]}"#)]
    );
    if answers.answers_strangely.load(Ordering::SeqCst) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "out of order").into_response();
    }
    Json(answers.containers).into_response()
}

impl Engine {
    async fn listing(containers: Value) -> Self {
        let answers_strangely = Arc::new(AtomicBool::new(false));
        let answers = Answers {
            containers,
            answers_strangely: answers_strangely.clone(),
        };
        let version = || async { Json(json!({ "Version": "99.0", "ApiVersion": "1.44" })) };
        let router = Router::new()
            .route("/version", get(version))
            .route("/containers/json", get(list))
            .with_state(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = EngineEndpoint::resolve(Some(&format!("http://{address}")));
        Self {
            engine: DockerEngine::new(endpoint),
            answers_strangely,
        }
    }
}

fn entry(id: &str, job: u64, state: &str) -> Value {
    json!({
        "Id": id,
        "Labels": { "assay.job": job.to_string(), "assay.fingerprint": "print", "assay.worker": "abc" },
        "State": state,
    })
}

fn container(id: &str, job: u64, state: ContainerState) -> Container {
    Container {
        id: id.to_owned(),
        job,
        fingerprint: "print".to_owned(),
        holding: assay_worker::devices::Holding::default(),
        state,
        run: RunFact::Unwatched,
    }
}

#[tokio::test]
async fn container_in_an_unknown_state_blinds_the_worker_to_no_other() {
    let mut without_name = entry("", 4, "running");
    without_name.as_object_mut().unwrap().remove("Id");
    let mut new_words = entry("new", 5, "running");
    new_words["Health"] = json!({ "Status": "euphoric" });
    new_words["Ports"] = json!([{ "Type": "carrier-pigeon", "PrivatePort": 1 }]);
    let world = Engine::listing(json!([
        entry("runs", 1, "running"),
        entry("sleeps", 2, "hibernating"),
        entry("ended", 3, "exited"),
        without_name,
        new_words,
        entry("ending", 6, "stopping"),
        entry("paused", 7, "paused"),
        entry("going", 8, "removing"),
        { "Id": "theirs", "Labels": null, "State": "running" },
        "no container at all",
        entry("made", 9, "created"),
    ]))
    .await;
    let listed = world.engine.list("abc").await.unwrap();
    assert_eq!(
        listed,
        [
            container("runs", 1, ContainerState::Running),
            container("sleeps", 2, ContainerState::Unknown),
            container("ended", 3, ContainerState::Exited),
            container("", 4, ContainerState::Unknown),
            container("new", 5, ContainerState::Running),
            container("ending", 6, ContainerState::Stuck),
            container("paused", 7, ContainerState::Paused),
            container("made", 9, ContainerState::Created),
        ]
    );
}

#[tokio::test]
async fn answer_that_is_no_list_is_a_failure_that_passes() {
    let world = Engine::listing(json!({ "message": "later" })).await;
    let error = world.engine.list("abc").await.unwrap_err();
    assert!(matches!(error, EngineError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    world.answers_strangely.store(true, Ordering::SeqCst);
    let error = world.engine.list("abc").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("500 Internal Server Error: out of order"),
        "{error}"
    );
}

#[tokio::test]
async fn engine_that_is_gone_is_unreachable() {
    let engine = DockerEngine::new(EngineEndpoint::resolve(Some("http://127.0.0.1:1")));
    let error = engine.list("abc").await.unwrap_err();
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn container_that_was_removed_by_half_hides_no_other_and_is_removed_again() {
    let is_removed = Arc::new(AtomicBool::new(false));
    let removed = is_removed.clone();
    // Podman's own list goes on where its Docker-compatible one fails.
    let other = move |method: Method, uri: Uri| {
        let removed = removed.clone();
        async move {
            if method == Method::DELETE && uri.path().ends_with("/containers/half") {
                removed.store(true, Ordering::SeqCst);
                return StatusCode::NO_CONTENT.into_response();
            }
            if uri.path().ends_with("/version") {
                return Json(json!({ "Version": "4.3.1", "ApiVersion": "1.41" })).into_response();
            }
            match uri.path() {
                "/v4.0.0/libpod/containers/json" => {
                    Json(json!([entry("runs", 1, "running"), entry("half", 2, "removing")])).into_response()
                }
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "container not known").into_response(),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(other)).await });
    let engine = DockerEngine::new(EngineEndpoint::resolve(Some(&format!("http://{address}"))));

    let others = [container("runs", 1, ContainerState::Running)];
    assert_eq!(engine.list("abc").await.unwrap(), others);
    assert!(!is_removed.load(Ordering::SeqCst), "it may just be going");
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(engine.list("abc").await.unwrap(), others);
        if is_removed.load(Ordering::SeqCst) {
            return;
        }
    }
    panic!("nobody removed the container that is half gone");
}
