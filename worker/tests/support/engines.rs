//! Engines that the environment gives, and what the stories about them share.
//!
//! A story is a function that gets a fixture over a [`Subject`], or over a [`SocketSubject`] if it needs
//! what only Docker and Podman have. [`stories!`] makes a test of each story at each engine:
//! `podman::<story>`, `docker::<story>` and `kubernetes::<story>`. A story that an engine cannot do is in a
//! list with the reason: its test there is there, and ignored.
//!
//! | variable | is |
//! |---|---|
//! | `ASSAY_TEST_ENGINE_SOCKET` | socket of a Podman |
//! | `ASSAY_TEST_ENGINE_COMMAND` | command of that Podman, one word a line, for a service of the test's own |
//! | `ASSAY_TEST_DOCKER_SOCKET` | socket of a Docker with CDI switched on |
//! | `ASSAY_TEST_DOCKER_RUNTIME` | name of a stronger runtime of that Docker |
//! | `ASSAY_TEST_KUBECONFIG` | file with the worker's rights in a cluster |
//! | `ASSAY_TEST_KUBERNETES_ADMIN` | file with all rights in it |
//! | `ASSAY_TEST_KUBERNETES_NODE` | name of its node, which can pull from the registry |
//! | `ASSAY_TEST_REGISTRY` | host and port of a registry on the loopback address |
//! | `ASSAY_TEST_IMAGE` | image by digest that the engines can pull, with `/bin/busybox` |
//!
//! `scripts/test` sets them. A test whose engine is not there prints so and does nothing.

use std::{
    future::Future,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use assay_client::manifest::{ImageReference, JobManifest, Profile};
use assay_worker::{
    config::SlotShare,
    devices::Holding,
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess,
        DockerEngine, Engine, EngineEndpoint, KubernetesEngine, KubernetesSettings,
    },
    lease::{
        Lease,
        disk::{DiskSettings, Disks},
    },
    logs::LiveLogs,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::cluster;

/// Name of the Podman.
pub(crate) const PODMAN: &str = "podman";

/// Name of the Docker.
pub(crate) const DOCKER: &str = "docker";

/// Name of the cluster.
pub(crate) const KUBERNETES: &str = "kubernetes";

/// An engine of the environment at which stories about an `S` can be told. A further engine gets a type like
/// those below, and a module and a list of its own in [`stories!`].
pub(crate) trait Offers<S> {
    /// Returns the engine, if it is there.
    fn find(self) -> Option<S>;
}

/// The Podman of the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Podman;

/// The Docker of the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Docker;

/// The cluster of the environment. It offers no [`SocketSubject`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kubernetes;

impl Offers<SocketSubject> for Podman {
    fn find(self) -> Option<SocketSubject> {
        SocketSubject::find(PODMAN, "ASSAY_TEST_ENGINE_SOCKET")
    }
}

impl Offers<Subject> for Podman {
    fn find(self) -> Option<Subject> {
        Offers::<SocketSubject>::find(self).map(|found| found.subject)
    }
}

impl Offers<SocketSubject> for Docker {
    fn find(self) -> Option<SocketSubject> {
        SocketSubject::find(DOCKER, "ASSAY_TEST_DOCKER_SOCKET")
    }
}

impl Offers<Subject> for Docker {
    fn find(self) -> Option<Subject> {
        Offers::<SocketSubject>::find(self).map(|found| found.subject)
    }
}

impl Offers<Subject> for Kubernetes {
    fn find(self) -> Option<Subject> {
        let (Some(settings), Some(image)) = (cluster::settings(), variable("ASSAY_TEST_IMAGE")) else {
            println!("no {KUBERNETES}: set ASSAY_TEST_KUBECONFIG and ASSAY_TEST_IMAGE");
            return None;
        };
        Some(Subject {
            name: KUBERNETES,
            image: image.parse().unwrap(),
            engine: Engine::Kubernetes(KubernetesEngine::new(settings.clone())),
            place: Place::Cluster(settings),
        })
    }
}

/// Declares the tests of stories: functions that get what `$with` makes for an engine.
///
/// `everywhere` are those that every engine can do. `not_at_kubernetes` are those that Podman and Docker can
/// do, `only_at_podman` and `only_at_docker` those that one engine can, each with the reason why no other.
macro_rules! stories {
    (
        with: $with:ident;
        $(everywhere: $($story:ident),* $(,)?;)?
        $(not_at_kubernetes: $($socket:ident because $why_socket:literal),* $(,)?;)?
        $(only_at_podman: $($podman:ident because $why_podman:literal),* $(,)?;)?
        $(only_at_docker: $($docker:ident because $why_docker:literal),* $(,)?;)?
    ) => {
        mod podman {
            $($(
                #[test]
                fn $story() {
                    super::$with($crate::support::Podman, super::$story);
                }
            )*)?
            $($(
                #[test]
                fn $socket() {
                    super::$with($crate::support::Podman, super::$socket);
                }
            )*)?
            $($(
                #[test]
                fn $podman() {
                    super::$with($crate::support::Podman, super::$podman);
                }
            )*)?
            $($(
                #[test]
                #[ignore = $why_docker]
                fn $docker() {}
            )*)?
        }

        mod docker {
            $($(
                #[test]
                fn $story() {
                    super::$with($crate::support::Docker, super::$story);
                }
            )*)?
            $($(
                #[test]
                fn $socket() {
                    super::$with($crate::support::Docker, super::$socket);
                }
            )*)?
            $($(
                #[test]
                fn $docker() {
                    super::$with($crate::support::Docker, super::$docker);
                }
            )*)?
            $($(
                #[test]
                #[ignore = $why_podman]
                fn $podman() {}
            )*)?
        }

        mod kubernetes {
            $($(
                #[test]
                fn $story() {
                    super::$with($crate::support::Kubernetes, super::$story);
                }
            )*)?
            $($(
                #[test]
                #[ignore = $why_socket]
                fn $socket() {}
            )*)?
            $($(
                #[test]
                #[ignore = $why_podman]
                fn $podman() {}
            )*)?
            $($(
                #[test]
                #[ignore = $why_docker]
                fn $docker() {}
            )*)?
        }
    };
}

/// Returns the value of a variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Place of an engine.
#[derive(Clone)]
pub(crate) enum Place {
    /// Path of a socket.
    Socket(String),
    /// Settings of a worker in a cluster.
    Cluster(KubernetesSettings),
}

/// An engine of the environment.
#[derive(Clone)]
pub(crate) struct Subject {
    /// Name, as in the modules of the tests.
    pub(crate) name: &'static str,
    /// Image with a static busybox.
    pub(crate) image: ImageReference,
    /// Connection to the engine.
    pub(crate) engine: Engine,
    /// Place of the engine.
    pub(crate) place: Place,
}

impl AsRef<Self> for Subject {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Subject {
    /// Returns another connection to the engine, as another process of the worker has one.
    pub(crate) fn again(&self) -> Engine {
        match &self.place {
            Place::Socket(path) => Engine::Docker(connect(path)),
            Place::Cluster(settings) => Engine::Kubernetes(KubernetesEngine::new(settings.clone())),
        }
    }

    /// Returns true for a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// Returns the image's name for a pull.
    pub(crate) fn reference(&self) -> String {
        self.image.pull_reference()
    }

    /// Has the engine pull the image.
    pub(crate) async fn pull(&self) {
        self.engine
            .pull(&self.reference(), self.image.digest(), None)
            .await
            .unwrap();
    }

    /// Returns the time for a story that may take `seconds` at Docker: a cluster takes seconds to make and to
    /// remove a namespace.
    pub(crate) fn limit_s(&self, seconds: u64) -> u64 {
        if self.is_cluster() { seconds * 3 } else { seconds }
    }

    /// Returns the seconds that a program sleeps until another connection follows it.
    pub(crate) fn sleep_s(&self) -> u64 {
        if self.is_cluster() { 6 } else { 3 }
    }

    /// Returns limits that several containers at once can have: a pod requests what it may use, and the node
    /// of the tests has perhaps two processors.
    pub(crate) fn share(&self, share: SlotShare) -> SlotShare {
        match self.place {
            Place::Socket(_) => share,
            Place::Cluster(_) => SlotShare {
                cpu_millis: share.cpu_millis.min(SMALL.cpu_millis),
                ..share
            },
        }
    }

    /// Kills a container behind the worker's back.
    pub(crate) async fn kill(&self, id: &str) {
        match &self.place {
            Place::Socket(path) => tell(path, id, "kill").await,
            Place::Cluster(_) => cluster::remove_pod(id).await,
        }
    }

    /// Returns all that the engine keeps about a container, as text.
    pub(crate) async fn record(&self, id: &str) -> String {
        match &self.place {
            Place::Socket(path) => ask(path, "GET", &format!("/containers/{id}/json"), &[]),
            Place::Cluster(_) => cluster::everything_in(cluster::namespace(id)).await,
        }
    }
}

/// An engine of the environment with the Docker Engine API at a socket.
#[derive(Clone)]
pub(crate) struct SocketSubject {
    subject: Subject,
    /// Path of the socket.
    pub(crate) socket: String,
    /// Connection to the engine, the same as that of the subject.
    pub(crate) docker: DockerEngine,
}

impl Deref for SocketSubject {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl AsRef<Subject> for SocketSubject {
    fn as_ref(&self) -> &Subject {
        &self.subject
    }
}

impl SocketSubject {
    /// Creates an engine at a socket.
    pub(crate) fn at(name: &'static str, socket: &str, image: ImageReference) -> Self {
        let docker = connect(socket);
        Self {
            subject: Subject {
                name,
                image,
                engine: Engine::Docker(docker.clone()),
                place: Place::Socket(socket.to_owned()),
            },
            socket: socket.to_owned(),
            docker,
        }
    }

    /// Returns the engine whose socket a variable names, if it is there.
    fn find(name: &'static str, socket: &str) -> Option<Self> {
        let (Some(path), Some(image)) = (variable(socket), variable("ASSAY_TEST_IMAGE")) else {
            println!("no {name}: set {socket} and ASSAY_TEST_IMAGE");
            return None;
        };
        Some(Self::at(name, &path, image.parse().unwrap()))
    }

    /// Makes one request to the engine by ourselves; returns the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, more: &[&str]) -> String {
        ask(&self.socket, method, path, more)
    }

    /// Returns the engine's record of a container.
    pub(crate) fn inspect(&self, id: &str) -> Value {
        serde_json::from_str(&self.ask("GET", &format!("/containers/{id}/json"), &[])).unwrap()
    }

    /// Makes the engine act on a container in a way that the worker never requests, such as `pause`.
    pub(crate) async fn tell(&self, id: &str, verb: &str) {
        tell(&self.socket, id, verb).await;
    }

    /// Imports an image from the archive of its root folder, with settings as in a Containerfile; returns its
    /// identifier.
    pub(crate) fn import(&self, archive: &Path, changes: &[String]) -> String {
        let changes: String = changes
            .iter()
            .map(|change| format!("&changes={}", in_query(change)))
            .collect();
        let path = format!("/images/create?fromSrc=-{changes}");
        let header = "Content-Type: application/x-tar";
        let archive = archive.to_str().unwrap();
        let answer = self.ask("POST", &path, &["--header", header, "--upload-file", archive]);
        let first: Value = serde_json::from_str(answer.lines().next().unwrap()).unwrap();
        first["status"].as_str().unwrap().to_owned()
    }
}

/// Makes one request to the engine at a socket; returns the answer.
fn ask(socket: &str, method: &str, path: &str, more: &[&str]) -> String {
    let version = if path.starts_with("/libpod/") {
        "v4.0.0"
    } else {
        "v1.40"
    };
    let ended = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--globoff"])
        .args(["--max-time", "100"])
        .args(["--unix-socket", socket, "--request", method])
        .args(more)
        .arg(format!("http://engine/{version}{path}"))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{method} {path}: {answer} {complaint}");
    answer
}

/// Makes the engine at a socket act on a container.
async fn tell(socket: &str, id: &str, verb: &str) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "POST /containers/{id}/{verb} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// Creates an engine at a socket.
pub(crate) fn connect(socket: &str) -> DockerEngine {
    DockerEngine::new(EngineEndpoint::resolve(Some(socket)))
}

/// Writes a text as a part of a URL's query.
fn in_query(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Runs a story to its end, on one thread, within a time.
pub(crate) fn run(limit_s: u64, story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(limit_s), story)
            .await
            .expect("the test takes too long");
    });
}

/// Returns a text that no other test of this machine uses at this time. It differs in its first twelve
/// characters, which are those that a container's name has.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id())
}

/// Limits of a container of the tests.
pub(crate) const SMALL: SlotShare = SlotShare {
    memory_mib: 64,
    cpu_millis: 500,
    processes: 32,
};

/// Specifies a container for one test only, with no more than an image: tests run in parallel on one engine.
pub(crate) fn container(image: &str) -> ContainerSpec {
    let unique = unique();
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
        share: SMALL,
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

/// Specifies the container of a job with a lease, as the worker does.
pub(crate) fn leased(
    identity: ContainerIdentity,
    image: &str,
    manifest: &JobManifest,
    share: SlotShare,
    lease: Lease,
) -> ContainerSpec {
    let own = manifest.env.iter().map(|(name, value)| format!("{name}={value}"));
    ContainerSpec {
        identity,
        image: image.to_owned(),
        entrypoint: manifest.entrypoint.clone(),
        command: manifest.command.clone(),
        environment: own.chain(lease.environment).collect(),
        share,
        shm_mib: lease.shm_mib,
        profile: manifest.profile,
        capabilities: lease.capabilities,
        writable_root: lease.writable_root,
        runtime: None,
        network: lease.network,
        ports: lease.ports,
        devices: lease.devices,
        holding: lease.holding,
        disk: lease.disk,
        mounts: lease.mounts,
    }
}

/// Returns the target of a run's output in a folder of its own.
pub(crate) fn target(folder: PathBuf) -> CaptureTarget {
    CaptureTarget {
        folder,
        append: false,
        logs: LiveLogs::default(),
    }
}

/// Opens disks of 256 MiB for four jobs; `None` if this host can hold none.
pub(crate) fn disks(folder: &Path) -> Option<Disks> {
    let opened = Disks::open(DiskSettings {
        folder: folder.join("disks"),
        mib_per_slot: 256,
        slots: 4,
        kept_output_bytes: 0,
    });
    opened
        .inspect_err(|reason| println!("no disks here: nothing is tested: {reason}"))
        .ok()
}

/// Runs a story over disks, which are released after it, also if it takes too long.
pub(crate) fn run_on_disks(limit_s: u64, disks: Disks, story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ended = tokio::time::timeout(Duration::from_secs(limit_s), story).await;
        for key in disks.keys().unwrap_or_default() {
            disks.release(&key).await.unwrap();
        }
        ended.expect("the test takes too long");
    });
}

/// Makes the root folder of an image by `worker/tests/images/root`; `None` if this machine lacks what it
/// is made of.
pub(crate) fn make_root(kind: &str, folder: &Path) -> Option<PathBuf> {
    let root = folder.join(kind);
    std::fs::create_dir(&root).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/root");
    let made = Command::new(script).arg(kind).arg(&root).output().unwrap();
    let complaint = String::from_utf8_lossy(&made.stderr);
    if made.status.code() == Some(3) {
        println!("left out: {complaint}");
        return None;
    }
    assert!(made.status.success(), "{kind}: {complaint}");
    Some(root)
}

/// Packs a root folder; returns the archive, which lies beside it.
pub(crate) fn pack(root: &Path) -> PathBuf {
    let archive = root.with_extension("tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(root)
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    archive
}
