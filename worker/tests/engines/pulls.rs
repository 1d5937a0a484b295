//! Pulls of a real engine through the worker's proxy, or by a cluster's node after the worker's checks, from
//! registries of the test's own.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use assay_client::manifest::RegistryLogin;
use assay_worker::{
    engine::{
        ContainerEngine, DockerEngine, Engine, EngineEndpoint, EngineError, KubernetesEngine,
        KubernetesSettings,
    },
    image_cache::ImageCache,
    registry::{PrivateRegistries, Registry, RegistryNames, RegistryProxy},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, UnixStream},
};

use crate::support::{Offers, Place, SocketSubject, Subject, container, run};

/// Tells a story about an engine, if it is there.
fn with_engine<S: AsRef<Subject>, F: Future<Output = ()>>(place: impl Offers<S>, story: impl FnOnce(S) -> F) {
    if let Some(subject) = place.find() {
        run(subject.as_ref().limit_s(120), story(subject));
    }
}

stories! {
    with: with_engine;
    everywhere:
        credentials_reach_the_registry,
        registry_at_a_private_address_is_never_asked,
        image_that_begins_in_a_folder_of_the_system_is_refused,
    ;
    not_at_kubernetes:
        pulled_image_is_found_used_and_removed
            because "the kubelet keeps and removes images by itself, and tells of them late",
        layer_at_a_private_address_is_never_asked_for
            because "nodes pull by themselves, and follow a registry that somebody vouches for",
        engine_that_may_be_elsewhere_pulls_from_named_registries_only
            because "a cluster is always elsewhere; kubernetes.rs has the story",
    ;
}

/// Returns an engine that may pull from these registries at addresses outside the public network.
fn engine(subject: &Subject, registries: &[&str]) -> Engine {
    engine_that_trusts(subject, registries, &[])
}

/// Returns an engine like [`engine`]. Operators of `trusted` registries are trusted with the requests of a
/// cluster's nodes; their addresses must be public all the same.
fn engine_that_trusts(subject: &Subject, registries: &[&str], trusted: &[String]) -> Engine {
    let private = PrivateRegistries::new(registries.iter().copied()).unwrap();
    match &subject.place {
        Place::Socket(path) => Engine::Docker(docker(EngineEndpoint::resolve(Some(path)), private)),
        Place::Cluster(settings) => Engine::Kubernetes(KubernetesEngine::new(KubernetesSettings {
            private_registries: private,
            registries: RegistryNames::new(trusted).unwrap(),
            registry_logins: true,
            ..settings.clone()
        })),
    }
}

/// Returns an engine that pulls through a proxy.
fn docker(endpoint: EngineEndpoint, private: PrivateRegistries) -> DockerEngine {
    DockerEngine::new(endpoint).with_proxy(Arc::new(RegistryProxy::new(Registry::new(private))))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Returns a tar archive of one file, whose content no other archive has.
fn unique_layer() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let content = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "unique");
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(content.as_bytes());
    // The file's last block, and the two that end an archive.
    archive.resize(512 * 4, 0);
    archive
}

/// An image that no engine has yet.
struct Image {
    configuration: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        Self::beginning_in("")
    }

    /// Makes an image whose program begins in a folder.
    fn beginning_in(working_dir: &str) -> Self {
        let layer = unique_layer();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let configuration = format!(
            r#"{{"os":"linux","architecture":"{architecture}","config":{{"Cmd":["/unique"],"WorkingDir":"{working_dir}"}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(&layer)
        )
        .into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{KIND}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
            digest(&configuration),
            configuration.len(),
            digest(&layer),
            layer.len()
        )
        .into_bytes();
        Self {
            configuration,
            layer,
            manifest,
        }
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.manifest).into()
    }

    fn reference(&self, registry: &str) -> String {
        format!("{registry}/team/image@{}", digest(&self.manifest))
    }
}

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// Behaviour of a test's registry.
#[derive(Clone, Default)]
struct Manners {
    /// Value of the header `Authorization` that it wants.
    wanted: Option<&'static str>,
    /// URL to which it redirects requests for the layer.
    layer_at: Option<String>,
}

/// A registry on the loopback address with one image, and a record of its requests.
struct Host {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Host {
    async fn start(image: &Image, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = requests.clone();
        let parts: Arc<Vec<Vec<u8>>> = Arc::new(vec![
            image.manifest.clone(),
            image.configuration.clone(),
            image.layer.clone(),
        ]);
        let layer = digest(&image.layer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (asked, parts) = (asked.clone(), parts.clone());
                let (layer, manners) = (layer.clone(), manners.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 8_192];
                    let read = stream.read(&mut request).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&request[..read]).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    asked.lock().unwrap().push(path.clone());
                    let authorization = head
                        .lines()
                        .filter_map(|line| line.split_once(": "))
                        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                        .map(|(_, value)| value);
                    let found = parts.iter().find(|part| path.ends_with(&digest(part)));
                    let (status, more, body) = match (found, &manners.layer_at) {
                        _ if manners.wanted.is_some() && manners.wanted != authorization => (
                            401,
                            "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
                            Vec::new(),
                        ),
                        (Some(_), Some(place)) if path.ends_with(&layer) => {
                            (307, format!("Location: {place}\r\n"), Vec::new())
                        }
                        (Some(part), _) => (200, format!("Content-Type: {KIND}\r\n"), part.clone()),
                        (None, _) => (404, String::new(), Vec::new()),
                    };
                    let head = format!(
                        "HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                });
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn pulled_image_is_found_used_and_removed(subject: SocketSubject) {
    let image = Image::new();
    let host = Host::start(&image, Manners::default()).await;
    let engine = engine(&subject, &[&host.address]);
    let layer = digest(&image.layer);
    let (reference, digest) = (image.reference(&host.address), image.digest());
    assert!(!engine.has_image(&reference, digest).await.unwrap());
    let cache = ImageCache::default();
    // Several jobs at once have the image pulled once.
    let pulls = (0..4).map(|_| cache.pull(&engine, &reference, digest, None));
    for pulled in futures::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().1, digest);
    }
    assert!(engine.has_image(&reference, digest).await.unwrap());
    let layers = host.requests().into_iter().filter(|path| path.ends_with(&layer));
    assert_eq!(layers.count(), 1, "{:?}", host.requests());
    // Another process, with another proxy, and a job with another name of the same image.
    let later = self::engine(&subject, &[]);
    let other = image.reference("registry.example");
    assert!(later.has_image(&other, digest).await.unwrap());
    assert_eq!(later.pull(&other, digest, None).await.unwrap(), digest);
    assert_eq!(later.image_process(&other).await.unwrap().command, ["/unique"]);
    let names = later.images().await.unwrap();
    let named = names.iter().filter(|stored| stored.is(&reference));
    assert_eq!(
        named.map(|stored| stored.references.len()).collect::<Vec<_>>(),
        [1]
    );

    let container = later.create(&container(&reference)).await.unwrap();
    assert!(
        !later.remove_image(&reference).await.unwrap(),
        "a container has it"
    );
    later.remove(&container).await.unwrap();
    assert!(cache.removable_bytes(&later).await.unwrap() > 0);
    assert!(later.remove_image(&reference).await.unwrap());
    assert!(!later.has_image(&reference, digest).await.unwrap());
    assert!(later.remove_image(&reference).await.unwrap(), "gone already");
    assert!(
        !later
            .images()
            .await
            .unwrap()
            .iter()
            .any(|stored| stored.is(&reference))
    );
}

async fn credentials_reach_the_registry(subject: Subject) {
    let image = Image::new();
    let manners = Manners {
        wanted: Some("Basic bWU6d29yZA=="),
        ..Manners::default()
    };
    let host = Host::start(&image, manners).await;
    let engine = engine(&subject, &[&host.address]);
    let (reference, digest) = (image.reference(&host.address), image.digest());
    let error = engine.pull(&reference, digest, None).await.unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("status 401"),
        "{error}"
    );
    let login = RegistryLogin {
        username: "me".into(),
        password: "word".into(),
    };
    assert_eq!(
        engine.pull(&reference, digest, Some(&login)).await.unwrap(),
        digest
    );
    assert!(engine.remove_image(&reference).await.unwrap());
}

async fn registry_at_a_private_address_is_never_asked(subject: Subject) {
    let image = Image::new();
    let host = Host::start(&image, Manners::default()).await;
    let registries = [
        host.address.clone(),
        host.address.replace("127.0.0.1", "localhost"),
    ];
    let engine = engine_that_trusts(&subject, &["registry.example"], &registries);
    for registry in registries {
        let error = engine
            .pull(&image.reference(&registry), image.digest(), None)
            .await
            .unwrap_err();
        assert!(matches!(error, EngineError::Refused { .. }), "{error}");
        assert!(
            error.to_string().contains("not an address of the public network"),
            "{error}"
        );
    }
    assert_eq!(host.requests(), Vec::<String>::new());
}

async fn image_that_begins_in_a_folder_of_the_system_is_refused(subject: Subject) {
    let image = Image::beginning_in("/proc/self/fd/8");
    let host = Host::start(&image, Manners::default()).await;
    let engine = engine(&subject, &[&host.address]);
    let (reference, digest) = (image.reference(&host.address), image.digest());
    // A cluster's node does not even pull it.
    let error = match engine.pull(&reference, digest, None).await {
        Ok(_) => engine.create(&container(&reference)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, EngineError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("belongs to the system"), "{error}");
    assert!(engine.remove_image(&reference).await.unwrap());
}

async fn layer_at_a_private_address_is_never_asked_for(subject: SocketSubject) {
    let image = Image::new();
    let inside = Host::start(&image, Manners::default()).await;
    let manners = Manners {
        layer_at: Some(format!("https://{}/{}", inside.address, digest(&image.layer))),
        ..Manners::default()
    };
    let host = Host::start(&image, manners).await;
    let engine = engine(&subject, &[&host.address]);
    let reference = image.reference(&host.address);
    let error = engine.pull(&reference, image.digest(), None).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("not an address of the public network"),
        "{error}"
    );
    assert_eq!(inside.requests(), Vec::<String>::new());
    assert!(!engine.has_image(&reference, image.digest()).await.unwrap());
}

async fn engine_that_may_be_elsewhere_pulls_from_named_registries_only(subject: SocketSubject) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let path = subject.socket.trim_start_matches("unix://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut outer, _)) = listener.accept().await {
            let path = path.clone();
            tokio::spawn(async move {
                if let Ok(mut inner) = UnixStream::connect(path).await {
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    let image = Image::new();
    let host = Host::start(&image, Manners::default()).await;
    let private = PrivateRegistries::new(["registry.example"]).unwrap();
    let engine = docker(EngineEndpoint::Http(address), private);
    let reference = image.reference(&host.address);
    let error = engine.pull(&reference, image.digest(), None).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("assay.private_registries"), "{error}");
    assert_eq!(
        engine.check_registry(&reference.parse().unwrap()),
        Err(error),
        "an order is declined for the same reason"
    );
    assert_eq!(host.requests(), Vec::<String>::new());
}
