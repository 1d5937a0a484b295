//! Pulls of a real engine through the worker's proxy, from registries of the test's own.
//!
//! `scripts/test` sets `ASSAY_TEST_ENGINE_SOCKET` to the socket of a Docker or Podman service, and
//! `ASSAY_TEST_DOCKER_SOCKET` to that of a Docker. Each test runs with both; for one that is unset it prints
//! so.

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use assay_client::manifest::{Profile, RegistryLogin};
use assay_worker::{
    config::SlotShare,
    devices::Holding,
    engine::{
        ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess, DockerEngine,
        EngineEndpoint, EngineError,
    },
    image_cache::ImageCache,
    registry::{PrivateRegistries, Registry, RegistryProxy},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, UnixStream},
};

/// Runs a test with the socket of each engine, if there is one.
fn with_socket<F: Future<Output = ()>>(test: impl Fn(String) -> F) {
    for variable in ["ASSAY_TEST_ENGINE_SOCKET", "ASSAY_TEST_DOCKER_SOCKET"] {
        let socket = std::env::var(variable).unwrap_or_default();
        if socket.is_empty() {
            println!("no engine: set {variable}");
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(120), test(socket))
                .await
                .expect("the test takes too long");
        });
    }
}

/// Returns an engine that pulls through a proxy, which allows these registries by name.
fn engine(endpoint: EngineEndpoint, registries: &[&str]) -> DockerEngine {
    let private = PrivateRegistries::new(registries.iter().copied()).unwrap();
    DockerEngine::new(endpoint).with_proxy(Arc::new(RegistryProxy::new(Registry::new(private))))
}

fn at(socket: &str) -> EngineEndpoint {
    EngineEndpoint::resolve(Some(socket))
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
        let layer = unique_layer();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let configuration = format!(
            r#"{{"os":"linux","architecture":"{architecture}","config":{{"Cmd":["/unique"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
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
    /// Header with the credentials that it wants.
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
                    let found = parts.iter().find(|part| path.ends_with(&digest(part)));
                    let (status, more, body) = match (found, &manners.layer_at) {
                        _ if manners.wanted.is_some_and(|wanted| !head.contains(wanted)) => (
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

fn spec(image: &str) -> ContainerSpec {
    let unique = &image[image.len() - 16..];
    ContainerSpec {
        identity: ContainerIdentity {
            job: 1,
            machine: 0,
            worker: format!("w{unique}"),
            fingerprint: format!("p{unique}"),
        },
        image: image.to_owned(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        environment: Vec::new(),
        share: SlotShare {
            memory_mib: 64,
            cpu_millis: 500,
            processes: 32,
        },
        shm_mib: 32,
        profile: Profile::Batch,
        capabilities: Vec::new(),
        writable_root: false,
        runtime: None,
        network: ContainerNetwork::None,
        ports: Vec::new(),
        devices: DeviceAccess::None,
        holding: Holding::default(),
        disk: None,
        mounts: Vec::new(),
    }
}

#[test]
fn pulled_image_is_found_used_and_removed() {
    with_socket(|socket| async move {
        let image = Image::new();
        let host = Host::start(&image, Manners::default()).await;
        let engine = engine(at(&socket), &[&host.address]);
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
        let later = self::engine(at(&socket), &[]);
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

        let container = later.create(&spec(&reference)).await.unwrap();
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
    });
}

#[test]
fn credentials_reach_the_registry() {
    with_socket(|socket| async move {
        let image = Image::new();
        let manners = Manners {
            wanted: Some("authorization: Basic bWU6d29yZA=="),
            ..Manners::default()
        };
        let host = Host::start(&image, manners).await;
        let engine = engine(at(&socket), &[&host.address]);
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
    });
}

#[test]
fn registry_at_a_private_address_is_never_asked() {
    with_socket(|socket| async move {
        let image = Image::new();
        let host = Host::start(&image, Manners::default()).await;
        let engine = engine(at(&socket), &["registry.example"]);
        for registry in [
            host.address.clone(),
            host.address.replace("127.0.0.1", "localhost"),
        ] {
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
    });
}

#[test]
fn layer_at_a_private_address_is_never_asked_for() {
    with_socket(|socket| async move {
        let image = Image::new();
        let inside = Host::start(&image, Manners::default()).await;
        let manners = Manners {
            layer_at: Some(format!("https://{}/{}", inside.address, digest(&image.layer))),
            ..Manners::default()
        };
        let host = Host::start(&image, manners).await;
        let engine = engine(at(&socket), &[&host.address]);
        let reference = image.reference(&host.address);
        let error = engine.pull(&reference, image.digest(), None).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { .. }), "{error}");
        assert!(
            error.to_string().contains("not an address of the public network"),
            "{error}"
        );
        assert_eq!(inside.requests(), Vec::<String>::new());
        assert!(!engine.has_image(&reference, image.digest()).await.unwrap());
    });
}

#[test]
fn engine_that_may_be_elsewhere_pulls_from_named_registries_only() {
    with_socket(|socket| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let path = socket.trim_start_matches("unix://").to_owned();
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
        let engine = engine(EngineEndpoint::Http(address), &["registry.example"]);
        let reference = image.reference(&host.address);
        let error = engine.pull(&reference, image.digest(), None).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("assay.private_registries"), "{error}");
        // An order for it is declined for the same reason.
        assert_eq!(engine.check_registry(&reference.parse().unwrap()), Err(error));
        assert_eq!(host.requests(), Vec::<String>::new());
    });
}
