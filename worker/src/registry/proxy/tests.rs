//! The proxy, asked as engines ask, in front of registries on the loopback address.

#![allow(clippy::unwrap_used)]

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    attestation::{
        HttpFetch, HttpResponse,
        fetch_tests::{Reply, Server},
    },
    registry::is_pull_name,
};

const CONFIGURATION: &str = "{}";
const LAYER: &str = "a layer";
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

fn image_manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":{}}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
        digest(CONFIGURATION),
        CONFIGURATION.len(),
        digest(LAYER),
        LAYER.len()
    )
}

/// Returns the response of a registry that has one image, whose layer is answered as given.
fn of_registry(path: &str, layer: impl Fn() -> Reply) -> Reply {
    let wanted = path.rsplit('/').next().unwrap_or_default();
    if wanted == digest(&image_manifest()) {
        Reply::ok(image_manifest()).header("Content-Type", KIND)
    } else if wanted == digest(CONFIGURATION) {
        Reply::ok(CONFIGURATION)
    } else if wanted == digest(LAYER) {
        layer()
    } else {
        Reply::status(404)
    }
}

fn host(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// Begins a pull of an image of a registry that is allowed by name.
async fn begin(server: &Server, digest: &str, login: Option<&RegistryLogin>) -> (RegistryProxy, Pull) {
    let private = PrivateRegistries::new([host(server)]).unwrap();
    let proxy = RegistryProxy::new(Registry::new(private));
    let image = format!("{}/team/image@{digest}", host(server)).parse().unwrap();
    let pull = proxy.begin(&image, login).await.unwrap();
    (proxy, pull)
}

fn url(pull: &Pull, kind: &str, digest: &str) -> String {
    let (place, _) = pull.name().split_once('@').unwrap();
    let (host, path) = place.split_once('/').unwrap();
    format!("http://{host}/v2/{path}/{kind}/{digest}")
}

async fn get(url: &str) -> HttpResponse {
    HttpFetch::new().ask(url, &[], 1 << 20).await.unwrap()
}

#[tokio::test]
async fn image_comes_with_the_credentials_that_the_engine_never_sees() {
    let server = Server::start_seeing_heads(|path, head| {
        if head.contains("authorization: Basic bWU6d29yZA==") {
            of_registry(path, || Reply::ok(LAYER))
        } else {
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")
        }
    })
    .await;
    let login = RegistryLogin {
        username: "me".into(),
        password: "word".into(),
    };
    let name = digest(&image_manifest());
    let (_proxy, pull) = begin(&server, &name, Some(&login)).await;
    assert!(is_pull_name(pull.name()), "{}", pull.name());
    assert!(pull.name().ends_with(&format!("/team/image@{name}")));
    let found = get(&url(&pull, "manifests", &name)).await;
    assert_eq!(found.body, image_manifest().as_bytes());
    assert_eq!(found.headers["content-type"], KIND);
    assert_eq!(found.headers["docker-content-digest"], name.as_str());
    for part in [CONFIGURATION, LAYER] {
        let found = get(&url(&pull, "blobs", &digest(part))).await;
        assert_eq!(
            (found.code, found.body),
            (StatusCode::OK, part.as_bytes().to_vec())
        );
    }
    assert_eq!(pull.refusal(), None);

    let (_proxy, pull) = begin(&server, &name, None).await;
    assert_eq!(
        get(&url(&pull, "manifests", &name)).await.code,
        StatusCode::FORBIDDEN
    );
    let reason = pull.refused().await.reason;
    assert!(reason.contains("status 401"), "{reason}");
}

#[tokio::test]
async fn nothing_but_the_image_of_a_pull_is_there_and_only_while_it_lasts() {
    let server = Server::start(|path| of_registry(path, || Reply::ok(LAYER))).await;
    let name = digest(&image_manifest());
    let (_proxy, pull) = begin(&server, &name, None).await;
    let manifest = url(&pull, "manifests", &name);
    let (_, token) = manifest.split_once("/v2/").unwrap();
    let token = token.split('/').next().unwrap();
    for url in [
        manifest.replace(token, &"0".repeat(32)),
        // Not named by a manifest yet.
        url(&pull, "blobs", &digest(LAYER)),
        url(&pull, "manifests", &digest("other")),
        url(&pull, "manifests", "latest"),
        url(&pull, "tags", "list"),
    ] {
        assert_eq!(get(&url).await.code, StatusCode::NOT_FOUND, "{url}");
    }
    assert_eq!(server.requests(), Vec::<String>::new());
    assert_eq!(get(&manifest).await.code, StatusCode::OK);
    let place = pull.name().split('/').next().unwrap().to_owned();
    drop(pull);
    assert_eq!(get(&manifest).await.code, StatusCode::NOT_FOUND);
    assert_eq!(server.requests().len(), 1);

    let mut stream = TcpStream::connect(&place).await.unwrap();
    let request = format!("POST /v2/ HTTP/1.1\r\nHost: {place}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(get(&format!("http://{place}/v2/")).await.body, b"{}");
}

#[tokio::test]
async fn layer_that_leads_to_a_private_address_is_refused() {
    let other = Server::start(|_| Reply::ok(LAYER)).await;
    let target = format!("{}/layer", other.url.replace("http://", "https://"));
    let server = Server::start(move |path| {
        of_registry(path, || Reply::status(307).header("Location", target.clone()))
    })
    .await;
    let name = digest(&image_manifest());
    let (_proxy, pull) = begin(&server, &name, None).await;
    assert_eq!(get(&url(&pull, "manifests", &name)).await.code, StatusCode::OK);
    let found = get(&url(&pull, "blobs", &digest(LAYER))).await;
    assert_eq!(found.code, StatusCode::FORBIDDEN);
    let refusal = pull.refused().await;
    assert!(
        refusal
            .reason
            .contains("127.0.0.1, which is not an address of the public network"),
        "{refusal:?}"
    );
    assert_eq!(other.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn answers_of_registries_are_bounded_and_as_the_manifest_says() {
    let long = Server::start(|path| of_registry(path, || Reply::ok("a longer layer"))).await;
    let name = digest(&image_manifest());
    let (_proxy, pull) = begin(&long, &name, None).await;
    get(&url(&pull, "manifests", &name)).await;
    assert_eq!(
        get(&url(&pull, "blobs", &digest(LAYER))).await.code,
        StatusCode::FORBIDDEN
    );
    let reason = pull.refused().await.reason;
    assert!(reason.contains("14 bytes, and the manifest says 7"), "{reason}");

    let endless = Server::start(|_| Reply::ok(vec![b' '; 5 << 20]).header("Content-Type", KIND)).await;
    let (_proxy, pull) = begin(&endless, &name, None).await;
    assert_eq!(
        get(&url(&pull, "manifests", &name)).await.code,
        StatusCode::BAD_GATEWAY
    );
    assert!(!pull.refusal().unwrap().is_permanent);

    let other = Server::start(|_| Reply::ok(LAYER).header("Content-Type", KIND)).await;
    let (_proxy, pull) = begin(&other, &name, None).await;
    get(&url(&pull, "manifests", &name)).await;
    let reason = pull.refused().await.reason;
    assert!(reason.contains(&digest(LAYER)), "{reason}");

    let untyped = Server::start(|_| Reply::ok(image_manifest()).header("Content-Type", "text/plain")).await;
    let (_proxy, pull) = begin(&untyped, &name, None).await;
    get(&url(&pull, "manifests", &name)).await;
    let reason = pull.refused().await.reason;
    assert!(reason.contains("media type"), "{reason}");
}

#[test]
fn rest_of_a_layer_begins_within_it() {
    assert_eq!(start_of("bytes=0-", 7), Some(0));
    assert_eq!(start_of("bytes=6-", 7), Some(6));
    for range in [
        "bytes=7-",
        "bytes=1-2",
        "bytes=-1",
        "bytes=-",
        "bytes=1-,3-",
        "lines=1-",
    ] {
        assert_eq!(start_of(range, 7), None, "{range}");
    }
}

#[test]
fn names_of_pulls_are_told_from_others() {
    let token = "0f".repeat(16);
    assert!(is_pull_name(&format!(
        "127.0.0.1:4001/{token}/team/image@sha256:1"
    )));
    for name in [
        format!("127.0.0.1:4001/{token}"),
        format!("127.0.0.1/{token}/image"),
        format!("10.0.0.1:4001/{token}/image"),
        "127.0.0.1:5000/team/image@sha256:1".to_owned(),
        "busybox".to_owned(),
    ] {
        assert!(!is_pull_name(&name), "{name}");
    }
}
