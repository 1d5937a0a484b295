#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::manifest::{ImageName, RegistryLogin};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"digest":"sha256:00","size":1},"layers":[]}"#;
const INDEX: &str = r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:00","platform":{"os":"linux","architecture":"amd64"}}]}"#;

/// Answer of a test registry: status, headers, body.
type Reply = (u16, Vec<(&'static str, String)>, String);

/// Requests of a test registry: paths, and values of `Authorization`.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A registry on this host, and what it was asked: paths and `Authorization`.
struct TestRegistry {
    address: String,
    asked: Asked,
}

impl TestRegistry {
    /// `answer` gets the registry's address, the path and the value of `Authorization`.
    async fn start(answer: impl Fn(&str, &str, Option<&str>) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Asked::default();
        let (host, notes) = (address.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 8_192];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let permission = text.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization")
                        .then(|| value.to_owned())
                });
                let (status, headers, body) = answer(&host, &path, permission.as_deref());
                notes.lock().unwrap().push((path, permission));
                let headers: String = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let head = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream
                    .write_all(&[head.as_bytes(), body.as_bytes()].concat())
                    .await;
            }
        });
        Self { address, asked }
    }

    fn image(&self, rest: &str) -> ImageName {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    fn asked(&self) -> Vec<(String, Option<String>)> {
        self.asked.lock().unwrap().clone()
    }
}

fn ok(body: &str) -> Reply {
    (200, Vec::new(), body.to_owned())
}

fn digest_of(body: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}

#[tokio::test]
async fn tag_is_resolved_to_the_digest_of_its_document() {
    let registry = TestRegistry::start(|_, path, _| match path {
        "/v2/team/finetune/manifests/v2.4" => ok(MANIFEST),
        "/v2/team/finetune/manifests/latest" => ok(INDEX),
        _ => (404, Vec::new(), String::new()),
    })
    .await;
    let tagged = resolve(&registry.image("team/finetune:v2.4"), None)
        .await
        .unwrap();
    assert_eq!(tagged.digest_text(), digest_of(MANIFEST));
    assert_eq!(tagged.tag(), Some("v2.4"));
    let latest = resolve(&registry.image("team/finetune"), None).await.unwrap();
    assert_eq!(latest.digest_text(), digest_of(INDEX));
    let error = resolve(&registry.image("team/other:v1"), None).await.unwrap_err();
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("team/other:v1"), "{error}");
}

#[tokio::test]
async fn digest_asks_no_registry() {
    let name: ImageName = format!("127.0.0.1:1/a:v1@sha256:{}", "ab".repeat(32))
        .parse()
        .unwrap();
    assert_eq!(resolve(&name, None).await.unwrap().digest(), [0xab; 32]);
}

#[tokio::test]
async fn anonymous_token_is_got_where_the_registry_says() {
    let registry = TestRegistry::start(|host, path, permission| match (path, permission) {
        ("/token?service=reg&scope=repository:a:pull", None) => ok(r#"{"token":"word"}"#),
        ("/v2/a/manifests/v1", Some("Bearer word")) => ok(MANIFEST),
        ("/v2/a/manifests/v1", _) => {
            let challenge =
                format!(r#"Bearer realm="http://{host}/token",service="reg",scope="repository:a:pull""#);
            (401, vec![("www-authenticate", challenge)], String::new())
        }
        _ => (404, Vec::new(), String::new()),
    })
    .await;
    let image = resolve(&registry.image("a:v1"), None).await.unwrap();
    assert_eq!(image.digest_text(), digest_of(MANIFEST));
    assert_eq!(registry.asked().len(), 3);
}

#[tokio::test]
async fn credentials_are_shown_when_they_are_asked_for() {
    let registry = TestRegistry::start(|_, _, permission| match permission {
        Some("Basic dXNlcjp3b3Jk") => ok(MANIFEST),
        _ => (
            401,
            vec![("www-authenticate", "Basic realm=\"x\"".to_owned())],
            String::new(),
        ),
    })
    .await;
    let login = RegistryLogin {
        username: "user".to_owned(),
        password: "word".to_owned(),
    };
    assert!(resolve(&registry.image("a:v1"), Some(&login)).await.is_ok());
    assert_eq!(registry.asked()[0].1, None, "not before");
    let error = resolve(&registry.image("a:v1"), None).await.unwrap_err();
    assert!(matches!(error, ResolveError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("word"), "{error}");
}

#[tokio::test]
async fn what_no_worker_takes_is_refused() {
    let registry = TestRegistry::start(|_, path, _| match path {
        "/v2/a/manifests/urls" => ok(r#"{"config":{"digest":"x","urls":["http://10.0.0.1/"]}}"#),
        "/v2/a/manifests/other" => (
            200,
            vec![("docker-content-digest", format!("sha256:{}", "00".repeat(32)))],
            MANIFEST.to_owned(),
        ),
        "/v2/a/manifests/long" => ok(&" ".repeat(MAX_DOCUMENT_BYTES + 1)),
        "/v2/a/manifests/round" => (
            307,
            vec![("location", "/v2/a/manifests/round".to_owned())],
            String::new(),
        ),
        _ => ok("{}"),
    })
    .await;
    for tag in ["urls", "other", "long", "round", "empty"] {
        let error = resolve(&registry.image(&format!("a:{tag}")), None)
            .await
            .unwrap_err();
        assert!(matches!(error, ResolveError::BadAnswer { .. }), "{tag}: {error}");
    }
}

#[tokio::test]
async fn registry_that_is_not_there_is_an_error() {
    let error = resolve(&"127.0.0.1:9/a:v1".parse().unwrap(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::NoAnswer { .. }), "{error}");
}
