//! Preflight against a registry of the test's own, on the loopback address.

#![allow(clippy::unwrap_used)]

use assay_client::manifest::RegistryLogin;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    attestation::fetch_tests::{Reply, Server},
    engine::{CaptureTarget, Container, ContainerSpec, EngineDisk, EngineInfo, ImageProcess},
    registry::{ImageConfiguration, Platform, RegistryError},
};

/// An engine without images, with this much free space.
struct Empty {
    free_bytes: Option<u64>,
    has_image: bool,
    refuses_registries: bool,
}

const EMPTY: Empty = Empty {
    free_bytes: None,
    has_image: false,
    refuses_registries: false,
};

impl ContainerEngine for Empty {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn has_image(&self, _: &str, _: [u8; 32]) -> Result<bool, EngineError> {
        Ok(self.has_image)
    }

    fn check_registry(&self, _: &ImageReference) -> Result<(), EngineError> {
        if self.refuses_registries {
            return Err(EngineError::Refused {
                action: "pull an image".into(),
                reason: "not from there".into(),
            });
        }
        Ok(())
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        Ok(self.free_bytes.map(|free_bytes| EngineDisk {
            free_bytes,
            total_bytes: u64::MAX,
        }))
    }

    async fn image_process(&self, _: &str) -> Result<ImageProcess, EngineError> {
        unreachable!("preflight pulls nothing")
    }

    async fn pull(&self, _: &str, _: [u8; 32], _: Option<&RegistryLogin>) -> Result<[u8; 32], EngineError> {
        unreachable!("preflight pulls nothing")
    }

    async fn create(&self, _: &ContainerSpec) -> Result<String, EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn start(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn follow(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn unpause(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn list(&self, _: &str) -> Result<Vec<Container>, EngineError> {
        unreachable!("preflight starts nothing")
    }

    async fn remove(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("preflight starts nothing")
    }
}

fn digest(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// An image: its configuration, its manifest, and an index that contains the manifest.
struct Image {
    configuration: String,
    manifest: String,
    index: String,
}

fn image_of(platform: &Platform, layers: &[u64]) -> Image {
    let platform = format!(
        r#"{{"os":"{}","architecture":"{}"}}"#,
        platform.os, platform.architecture
    );
    let configuration = platform.clone();
    let layers: Vec<String> = layers
        .iter()
        .map(|size| format!(r#"{{"digest":"sha256:{}","size":{size}}}"#, "cd".repeat(32)))
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":{}}},"layers":[{}]}}"#,
        digest(&configuration),
        configuration.len(),
        layers.join(",")
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1,"platform":{platform}}}]}}"#,
        digest(&manifest)
    );
    Image {
        configuration,
        manifest,
        index,
    }
}

/// Starts a registry with these documents.
async fn registry(documents: &[&str]) -> Server {
    let documents: Vec<String> = documents.iter().map(|text| (*text).to_owned()).collect();
    Server::start(move |path| {
        let wanted = path.rsplit('/').next().unwrap_or_default();
        documents
            .iter()
            .find(|text| digest(text) == wanted)
            .map_or_else(|| Reply::status(404), Reply::ok)
    })
    .await
}

fn host(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

fn reference(server: &Server, digest: &str) -> ImageReference {
    format!("{}/team/image@{digest}", host(server)).parse().unwrap()
}

/// A checker that allows these servers by name.
fn allowing(servers: &[&Server]) -> Preflight {
    let names = servers.iter().map(|server| host(server));
    Preflight::new(PrivateRegistries::new(names).unwrap(), 100)
}

async fn refusal(
    preflight: &Preflight,
    engine: &Empty,
    image: &ImageReference,
    within_ms: Option<u64>,
) -> String {
    match preflight
        .check(engine, image, within_ms, Purpose::Order)
        .await
        .unwrap_err()
    {
        PreflightError::Refused(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn download_takes_as_long_as_the_line_makes_it() {
    assert_eq!(download_ms(0, 100), 0);
    assert_eq!(download_ms(1, 100), 1);
    // 100 Mbit/s are 12.5 MB/s.
    assert_eq!(download_ms(12_500_000, 100), 1_000);
    assert_eq!(download_ms(12_500_001, 100), 1_001);
    // An image too large for any start window: 40 GB at 100 Mbit/s.
    assert_eq!(download_ms(40_000_000_000, 100), 3_200_000);
    assert_eq!(download_ms(u64::MAX, 1), u64::MAX.div_ceil(1_000));
    assert_eq!(download_ms(1_000, 0), download_ms(1_000, 1));
}

#[tokio::test]
async fn image_that_cannot_be_here_in_time_is_refused() {
    let image = image_of(&Platform::of_this_machine(), &[20_000_000_000, 20_000_000_000]);
    let server = registry(&[&image.configuration, &image.manifest, &image.index]).await;
    let preflight = allowing(&[&server]);
    for document in [&image.manifest, &image.index] {
        let reference = reference(&server, &digest(document));
        let reason = refusal(&preflight, &EMPTY, &reference, Some(540_000)).await;
        assert!(
            reason.contains("38147 MiB") && reason.contains("3201 s"),
            "{reason}"
        );
        preflight
            .check(&EMPTY, &reference, Some(3_201_000), Purpose::Order)
            .await
            .unwrap();
        preflight
            .check(&EMPTY, &reference, None, Purpose::Order)
            .await
            .unwrap();
        let present = Empty {
            has_image: true,
            ..EMPTY
        };
        preflight
            .check(&present, &reference, Some(0), Purpose::Order)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn image_that_does_not_fit_on_the_disk_is_refused() {
    let image = image_of(&Platform::of_this_machine(), &[1_000_000]);
    let server = registry(&[&image.configuration, &image.manifest]).await;
    let reference = reference(&server, &digest(&image.manifest));
    let preflight = allowing(&[&server]);
    let needed = (1_000_000 + image.configuration.len() as u64) * DISK_PER_DOWNLOAD + DISK_RESERVE_BYTES;
    let with_room = |free_bytes| Empty {
        free_bytes: Some(free_bytes),
        ..EMPTY
    };
    let reason = refusal(&preflight, &with_room(needed - 1), &reference, None).await;
    assert!(reason.contains("259 MiB"), "{reason}");
    preflight
        .check(&with_room(needed), &reference, None, Purpose::Order)
        .await
        .unwrap();
}

#[tokio::test]
async fn image_for_another_platform_is_refused() {
    let other = Platform {
        os: "linux".into(),
        architecture: "s390x".into(),
    };
    let image = image_of(&other, &[5]);
    let server = registry(&[&image.configuration, &image.manifest, &image.index]).await;
    let preflight = allowing(&[&server]);
    for document in [&image.manifest, &image.index] {
        let reason = refusal(&preflight, &EMPTY, &reference(&server, &digest(document)), None).await;
        let wanted = Platform::of_this_machine();
        assert_eq!(
            reason,
            format!("the image is for linux/s390x, and this machine is {wanted}")
        );
    }
}

#[tokio::test]
async fn registry_at_a_private_address_is_refused_unless_it_is_allowed() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let server = registry(&[&image.configuration, &image.manifest]).await;
    let reference = reference(&server, &digest(&image.manifest));
    let reason = refusal(
        &Preflight::new(PrivateRegistries::default(), 100),
        &EMPTY,
        &reference,
        None,
    )
    .await;
    assert!(
        reason.contains("127.0.0.1, which is not an address of the public network"),
        "{reason}"
    );
    assert_eq!(server.requests(), Vec::<String>::new(), "nothing was sent there");
}

#[tokio::test]
async fn manifest_of_another_digest_is_refused() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let manifest = image.manifest.clone();
    let server = Server::start(move |_| Reply::ok(&manifest)).await;
    let reason = refusal(
        &allowing(&[&server]),
        &EMPTY,
        &reference(&server, &digest("other")),
        None,
    )
    .await;
    assert!(reason.contains(&digest(&image.manifest)), "{reason}");
}

#[tokio::test]
async fn registry_that_knows_no_such_image_is_believed_and_one_that_fails_is_asked_again() {
    for (code, is_permanent) in [(404, true), (403, true), (429, false), (500, false), (503, false)] {
        let server = Server::start(move |_| Reply::status(code)).await;
        let error = allowing(&[&server])
            .check(&EMPTY, &reference(&server, &digest("x")), None, Purpose::Order)
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, PreflightError::Refused(_)),
            is_permanent,
            "{code}: {error}"
        );
    }
    // No service listens at this address.
    let nowhere: ImageReference = format!("127.0.0.1:9/x@{}", digest("x")).parse().unwrap();
    let error = Preflight::new(PrivateRegistries::new(["127.0.0.1:9"]).unwrap(), 100)
        .check(&EMPTY, &nowhere, None, Purpose::Order)
        .await
        .unwrap_err();
    assert!(matches!(error, PreflightError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_no_further() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let (manifest, configuration) = (image.manifest.clone(), image.configuration.clone());
    let name = digest(&image.configuration);
    let server = Server::start(move |path| {
        if path.contains("/manifests/") {
            Reply::ok(&manifest)
        } else if path.ends_with("/moved") {
            Reply::ok(&configuration)
        } else if path.ends_with(&name) {
            Reply::status(307).header("Location", "/elsewhere/moved")
        } else {
            Reply::status(404)
        }
    })
    .await;
    let preflight = allowing(&[&server]);
    preflight
        .check(
            &EMPTY,
            &reference(&server, &digest(&image.manifest)),
            None,
            Purpose::Order,
        )
        .await
        .unwrap();

    let around = Server::start(|path| Reply::status(302).header("Location", path.to_owned())).await;
    let reason = refusal(
        &allowing(&[&around]),
        &EMPTY,
        &reference(&around, &digest("x")),
        None,
    )
    .await;
    assert!(reason.contains("more than 3 redirects"), "{reason}");
    assert_eq!(around.requests().len(), 1 + 3);
}

#[tokio::test]
async fn allowed_registry_cannot_redirect_to_another_private_address() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let other = registry(&[&image.configuration, &image.manifest]).await;
    let sealed = other.url.replace("http://", "https://");
    for (target, expected) in [
        (other.url.clone(), "a redirect without an allowed target"),
        (sealed, "not an address of the public network"),
    ] {
        let server =
            Server::start(move |path| Reply::status(307).header("Location", format!("{target}{path}"))).await;
        let reference = reference(&server, &digest(&image.manifest));
        let reason = refusal(&allowing(&[&server]), &EMPTY, &reference, None).await;
        assert!(reason.contains(expected), "{reason}");
    }
    assert_eq!(other.requests(), Vec::<String>::new());
    let target = other.url.clone();
    let server =
        Server::start(move |path| Reply::status(307).header("Location", format!("{target}{path}"))).await;
    allowing(&[&server, &other])
        .check(
            &EMPTY,
            &reference(&server, &digest(&image.manifest)),
            None,
            Purpose::Order,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn registry_that_wants_a_token_gets_one() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let (manifest, configuration) = (image.manifest.clone(), image.configuration.clone());
    let issuer = Server::start(|_| Reply::ok(r#"{"token":"t0"}"#)).await;
    let realm = issuer.url.clone();
    let server = Server::start_seeing_heads(move |path, head| {
        if !head.to_ascii_lowercase().contains("authorization: bearer t0") {
            let challenge =
                format!(r#"Bearer realm="{realm}/token",service="s",scope="repository:team/image:pull""#);
            return Reply::status(401).header("WWW-Authenticate", challenge);
        }
        Reply::ok(if path.contains("/manifests/") {
            &manifest
        } else {
            &configuration
        })
    })
    .await;
    allowing(&[&server, &issuer])
        .check(
            &EMPTY,
            &reference(&server, &digest(&image.manifest)),
            None,
            Purpose::Order,
        )
        .await
        .unwrap();
    assert_eq!(
        issuer.requests(),
        ["/token?service=s&scope=repository:team/image:pull"]
    );
}

fn login() -> RegistryLogin {
    RegistryLogin {
        username: "me".into(),
        password: "word".into(),
    }
}

/// `me:word`, as HTTP's basic authentication has it.
const BASIC: &str = "authorization: Basic bWU6d29yZA==";

#[tokio::test]
async fn registry_that_wants_credentials_gets_them_and_nobody_else_does() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let (manifest, configuration) = (image.manifest.clone(), image.configuration.clone());
    let server = Server::start_seeing_heads(move |path, head| {
        if !head.contains(BASIC) {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        Reply::ok(if path.contains("/manifests/") {
            &manifest
        } else {
            &configuration
        })
    })
    .await;
    let reference = reference(&server, &digest(&image.manifest));
    let preflight = allowing(&[&server]);
    let reason = refusal(&preflight, &EMPTY, &reference, None).await;
    assert!(reason.contains("status 401"), "{reason}");
    let login = login();
    preflight
        .with_login(Some(&login))
        .check(&EMPTY, &reference, None, Purpose::Order)
        .await
        .unwrap();
    // A registry without a challenge gets no credentials.
    let open = Server::start_seeing_heads(|_, head| {
        assert!(!head.contains("authorization"), "{head}");
        Reply::status(404)
    })
    .await;
    let preflight = allowing(&[&open]).with_login(Some(&login));
    let reference = self::reference(&open, &digest(&image.manifest));
    assert!(
        refusal(&preflight, &EMPTY, &reference, None)
            .await
            .contains("status 404")
    );
}

#[tokio::test]
async fn token_service_gets_the_credentials() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let (manifest, configuration) = (image.manifest.clone(), image.configuration.clone());
    let issuer = Server::start_seeing_heads(|_, head| {
        if head.contains(BASIC) {
            Reply::ok(r#"{"token":"t0"}"#)
        } else {
            Reply::status(401)
        }
    })
    .await;
    let realm = issuer.url.clone();
    let server = Server::start_seeing_heads(move |path, head| {
        if !head.contains("authorization: Bearer t0") {
            let challenge = format!(r#"Bearer realm="{realm}/token",service="s""#);
            return Reply::status(401).header("WWW-Authenticate", challenge);
        }
        Reply::ok(if path.contains("/manifests/") {
            &manifest
        } else {
            &configuration
        })
    })
    .await;
    let reference = reference(&server, &digest(&image.manifest));
    let preflight = allowing(&[&server, &issuer]);
    let reason = refusal(&preflight, &EMPTY, &reference, None).await;
    assert!(reason.contains("status 401"), "{reason}");
    preflight
        .with_login(Some(&login()))
        .check(&EMPTY, &reference, None, Purpose::Order)
        .await
        .unwrap();
}

/// Returns the configuration of an image with this text, as its registry tells it, without the manifest's
/// digest.
async fn configuration_of(configuration: &str) -> Result<ImageConfiguration, RegistryError> {
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":1}},"layers":[]}}"#,
        digest(configuration)
    );
    let server = registry(&[configuration, &manifest]).await;
    let private = PrivateRegistries::new([host(&server)]).unwrap();
    let found = Registry::new(private)
        .configuration(&reference(&server, &digest(&manifest)))
        .await?;
    assert_eq!(found.manifest, digest(&manifest));
    Ok(ImageConfiguration {
        manifest: String::new(),
        ..found
    })
}

#[tokio::test]
async fn configuration_is_read_as_engines_read_it() {
    let Platform { os, architecture } = Platform::of_this_machine();
    let with =
        |config: &str| format!(r#"{{"os":"{os}","architecture":"{architecture}","created":"x"{config}}}"#);
    let whole = r#","config":{"Entrypoint":["/a"],"Cmd":["b","c"],"Env":["D=e"],"User":"7:8","WorkingDir":"/f",
        "Volumes":{"/g":{}},"ExposedPorts":{"80/tcp":{}}}"#;
    assert_eq!(
        configuration_of(&with(whole)).await.unwrap(),
        ImageConfiguration {
            manifest: String::new(),
            entrypoint: vec!["/a".into()],
            command: vec!["b".into(), "c".into()],
            environment: vec!["D=e".into()],
            user: "7:8".into(),
            working_dir: "/f".into(),
            volumes: vec!["/g".into()],
        }
    );
    for empty in [
        "",
        r#","config":null"#,
        r#","config":{"Cmd":null,"Volumes":null}"#,
    ] {
        assert_eq!(
            configuration_of(&with(empty)).await.unwrap(),
            ImageConfiguration::default(),
            "{empty}"
        );
    }
    for hidden in [
        r#","config":{"workingdir":"/proc/self/fd/7"}"#,
        r#","config":{"WorkingDir":"/a","WORKINGDIR":"/proc/self/fd/7"}"#,
        r#","config":{"Wor\u212AingDir":"/proc/self/fd/7"}"#,
        r#","config":{"U\u017Fer":"0"}"#,
        r#","config":{},"Config":{"User":"0"}"#,
        r#","config":{"User":"1","User":"0"}"#,
    ] {
        let error = configuration_of(&with(hidden)).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::BadAnswer { .. }),
            "{hidden}: {error}"
        );
    }
    let error = configuration_of(r#"{"os":"linux","architecture":"s390x"}"#)
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::OtherPlatform { .. }), "{error}");
}

#[tokio::test]
async fn index_leads_to_the_manifest_for_this_platform() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let server = registry(&[&image.configuration, &image.manifest, &image.index]).await;
    let registry = Registry::new(PrivateRegistries::new([host(&server)]).unwrap());
    for document in [&image.manifest, &image.index] {
        let found = registry
            .configuration(&reference(&server, &digest(document)))
            .await
            .unwrap();
        assert_eq!(found.manifest, digest(&image.manifest));
    }
}

#[tokio::test]
async fn manifest_that_an_engine_might_take_for_another_is_refused() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let mixed = format!(r#"{{"layers":[{{"digest":"x"}}],{}"#, &image.index[1..]);
    let hidden = image
        .manifest
        .replace(r#""layers""#, r#""Manifests":[],"layers""#);
    let server = registry(&[&image.configuration, &image.manifest, &mixed, &hidden]).await;
    for (document, expected) in [(&mixed, "an index as well"), (&hidden, "another case")] {
        let reference = reference(&server, &digest(document));
        let reason = refusal(&allowing(&[&server]), &EMPTY, &reference, None).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn registry_that_the_engine_may_not_pull_from_is_not_asked() {
    let image = image_of(&Platform::of_this_machine(), &[5]);
    let server = registry(&[&image.configuration, &image.manifest]).await;
    let engine = Empty {
        refuses_registries: true,
        ..EMPTY
    };
    let reference = reference(&server, &digest(&image.manifest));
    let reason = refusal(&allowing(&[&server]), &engine, &reference, None).await;
    assert!(reason.contains("not from there"), "{reason}");
    assert_eq!(server.requests(), Vec::<String>::new());
    let present = Empty {
        has_image: true,
        ..engine
    };
    allowing(&[&server])
        .check(&present, &reference, None, Purpose::Order)
        .await
        .unwrap();
}
