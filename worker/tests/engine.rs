//! The engines against real ones: Docker, Podman, Kubernetes. Each story runs at every engine that is there.
//!
//! `scripts/test` sets the variables. Without the first two each test prints so and does nothing.
//!
//! | variable | is |
//! |---|---|
//! | `ASSAY_TEST_IMAGE` | an image by digest that the engines can pull and that has `/bin/busybox` |
//! | `ASSAY_TEST_ENGINE_SOCKET` | socket of a Docker or Podman service |
//! | `ASSAY_TEST_DOCKER_SOCKET` | socket of a Docker service, perhaps none |
//! | `ASSAY_TEST_KUBECONFIG` | file with the worker's rights in a cluster, perhaps none |
//! | `ASSAY_TEST_KUBERNETES_ADMIN` | file with all rights in it |
//! | `ASSAY_TEST_KUBERNETES_NODE` | name of its node |
//! | `ASSAY_TEST_DOCKER_RUNTIME` | name of a stronger runtime of that Docker, perhaps none |
//! | `ASSAY_TEST_ENGINE_COMMAND` | command, one word per line, of a Podman that a test may start and kill |

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use assay_client::manifest::{ImageReference, Profile};
use assay_primitives::job::StdoutResult;
use assay_worker::{
    config::SlotShare,
    devices::Holding,
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, ContainerState,
        DeviceAccess, DockerEngine, Engine, EngineEndpoint, EngineError, Exit, KubernetesEngine,
        MAX_OUTPUT_BYTES, RunEnd, RunFact,
    },
    logs::{self, LiveLogs},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/own_service.rs"]
mod own_service;

use own_service::OwnService;

/// A real engine.
#[derive(Clone, Debug)]
enum Place {
    /// Docker or Podman behind a socket.
    Socket(String),
    /// A cluster.
    Cluster,
}

impl Place {
    /// Returns the engines that are there.
    fn all() -> Vec<Self> {
        let sockets = ["ASSAY_TEST_ENGINE_SOCKET", "ASSAY_TEST_DOCKER_SOCKET"]
            .into_iter()
            .filter_map(variable)
            .map(Self::Socket);
        sockets
            .chain(cluster::settings().map(|_| Self::Cluster))
            .collect()
    }

    /// Connects anew, as another process of the worker does.
    fn connect(&self) -> Engine {
        match self {
            Self::Socket(socket) => Engine::Docker(DockerEngine::new(EngineEndpoint::resolve(Some(socket)))),
            Self::Cluster => Engine::Kubernetes(KubernetesEngine::new(cluster::settings().unwrap())),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

struct Fixture {
    place: Place,
    engine: Engine,
    image: ImageReference,
    folder: tempfile::TempDir,
}

/// Runs a test against each engine that is there.
fn with_engine<F: Future<Output = ()>>(test: impl Fn(Fixture) -> F) {
    let places = Place::all();
    if places.is_empty() {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET or ASSAY_TEST_KUBECONFIG");
    }
    with_engines(places, test);
}

/// Runs a test against engines.
fn with_engines<F: Future<Output = ()>>(places: Vec<Place>, test: impl Fn(Fixture) -> F) {
    let Some(image) = variable("ASSAY_TEST_IMAGE") else {
        println!("no image: set ASSAY_TEST_IMAGE");
        return;
    };
    for place in places {
        println!("at {place:?}");
        let fixture = Fixture {
            engine: place.connect(),
            place,
            image: image.parse().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            // A cluster takes seconds to make and to remove a namespace.
            tokio::time::timeout(Duration::from_secs(300), test(fixture))
                .await
                .expect("the test takes too long");
        });
    }
}

impl Fixture {
    fn reference(&self) -> String {
        self.image.pull_reference()
    }

    /// Specifies a container for one test only: tests run in parallel on one engine.
    fn spec(&self, command: &[&str]) -> ContainerSpec {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // A container's name contains the first characters of both.
        let unique = format!("{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        ContainerSpec {
            identity: ContainerIdentity {
                job: 1,
                machine: 0,
                worker: format!("w{unique}"),
                fingerprint: format!("p{unique}"),
            },
            image: self.reference(),
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            environment: vec!["GREETING=hello".into()],
            entrypoint: Vec::new(),
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

    /// Returns the target of a container's output.
    fn target(&self, spec: &ContainerSpec) -> CaptureTarget {
        CaptureTarget {
            folder: self.folder.path().join(&spec.identity.fingerprint),
            append: false,
            logs: LiveLogs::default(),
        }
    }

    /// Creates and starts a container that runs a shell line.
    async fn begin(&self, line: &str) -> (ContainerSpec, String) {
        let spec = self.spec(&["/bin/busybox", "sh", "-c", line]);
        self.begin_spec(spec).await
    }

    /// Creates and starts a container.
    async fn begin_spec(&self, spec: ContainerSpec) -> (ContainerSpec, String) {
        self.engine
            .pull(&self.reference(), self.image.digest(), None)
            .await
            .unwrap();
        let id = self.engine.create(&spec).await.unwrap();
        self.engine.start(&id, self.target(&spec)).await.unwrap();
        (spec, id)
    }

    /// Runs a shell line to its end; returns the run's end, and the kept standard output and standard error.
    async fn run(&self, line: &str) -> (RunEnd, Vec<u8>, Vec<u8>) {
        let (spec, id) = self.begin(line).await;
        self.end(spec, id).await
    }

    /// Waits for the end of a container, and removes it.
    async fn end(&self, spec: ContainerSpec, id: String) -> (RunEnd, Vec<u8>, Vec<u8>) {
        let end = self.engine.run_end(&id).await;
        let listed = self.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].state, listed[0].run),
            (ContainerState::Exited, RunFact::Ended(end))
        );
        self.engine.remove(&id).await.unwrap();
        assert_eq!(self.engine.list(&spec.identity.worker).await.unwrap(), []);
        let (stdout, stderr) = kept(&self.target(&spec));
        (end, stdout, stderr)
    }

    /// Returns true at an engine that is not the one of `ASSAY_TEST_ENGINE_COMMAND`.
    fn is_not_podman(&self) -> bool {
        let podman = variable("ASSAY_TEST_ENGINE_SOCKET");
        !matches!(&self.place, Place::Socket(socket) if Some(socket) == podman.as_ref())
    }

    /// Returns true at a cluster.
    fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster)
    }

    /// Makes the engine act on a container in a way that the worker never requests.
    async fn tell(&self, id: &str, verb: &str) {
        let Place::Socket(socket) = &self.place else {
            assert_eq!(verb, "kill");
            return cluster::remove_pod(id).await;
        };
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let request = format!(
            "POST /containers/{id}/{verb} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// Returns the listed state of a container.
    async fn listed(&self, spec: &ContainerSpec) -> (ContainerState, RunFact) {
        let listed = self.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed.len(), 1);
        (listed[0].state, listed[0].run)
    }
}

/// Returns the beginnings of the logged standard output and standard error.
fn kept(target: &CaptureTarget) -> (Vec<u8>, Vec<u8>) {
    logs::beginnings(&target.folder).unwrap().unwrap()
}

/// Makes the end of a run that was seen, with this exit code and standard output.
fn clean(exit_code: i32, stdout: &[u8]) -> RunEnd {
    RunEnd {
        exit: Exit::Clean(exit_code),
        stdout: Some(StdoutResult::Whole(blake3::hash(stdout).into())),
    }
}

#[test]
fn ping_says_what_the_engine_is() {
    with_engine(|fixture| async move {
        let info = fixture.engine.ping().await.unwrap();
        assert!(info.cpu_cores > 0 && info.memory_mib > 0, "{info:?}");
        assert!(info.version.len() > 3, "{info:?}");
    });
}

#[test]
fn output_and_exit_code_are_exact() {
    with_engine(|fixture| async move {
        let line = "echo $GREETING; printf 'no newline'; echo problem >&2; exit 3";
        let outcome = fixture.run(line).await;
        let stdout = b"hello\nno newline";
        assert_eq!(
            outcome,
            (clean(3, stdout), stdout.to_vec(), b"problem\n".to_vec())
        );
    });
}

#[test]
fn long_output_has_the_same_hash_in_every_run() {
    with_engine(|fixture| async move {
        let mut stdout = Vec::new();
        for number in 1..=4_000_000 {
            stdout.extend_from_slice(format!("{number}\n").as_bytes());
        }
        for _ in 0..2 {
            let (end, kept, _) = fixture.run("seq 1 4000000").await;
            assert_eq!(end, clean(0, &stdout));
            assert_eq!(kept, stdout[..MAX_OUTPUT_BYTES]);
        }
    });
}

#[test]
fn output_that_is_no_text_is_hashed_as_it_was_written() {
    with_engine(|fixture| async move {
        let (end, kept, _) = fixture.run(r"printf '\377\000\200\r\n\303('").await;
        assert_eq!(end, clean(0, b"\xff\0\x80\r\n\xc3("));
        assert_eq!(kept, b"\xff\0\x80\r\n\xc3(");
    });
}

#[test]
fn standard_error_changes_nothing_of_a_result() {
    with_engine(|fixture| async move {
        let noise = "i=0; while [ $i -lt 300 ]; do echo $i; echo noise $i $RANDOM >&2; i=$((i+1)); done";
        let (loud, ..) = fixture.run(noise).await;
        let (silent, ..) = fixture.run(&noise.replace(">&2", ">/dev/null")).await;
        let stdout: String = (0..300).map(|number| format!("{number}\n")).collect();
        assert_eq!(
            (loud, silent),
            (clean(0, stdout.as_bytes()), clean(0, stdout.as_bytes()))
        );
    });
}

#[test]
fn empty_output_has_a_hash_too() {
    with_engine(|fixture| async move {
        assert_eq!(fixture.run("exit 0").await, (clean(0, b""), vec![], vec![]));
        // A container that closes its output runs on.
        assert_eq!(
            fixture.run("exec >&- 2>&-; sleep 1; exit 4").await.0,
            clean(4, b"")
        );
    });
}

#[test]
fn container_that_ended_is_started_again_and_followed_again() {
    with_engine(|fixture| async move {
        let (spec, id) = fixture.begin("echo run; exit 1").await;
        assert_eq!(fixture.engine.run_end(&id).await, clean(1, b"run\n"));
        let again = CaptureTarget {
            append: true,
            ..fixture.target(&spec)
        };
        fixture.engine.start(&id, again.clone()).await.unwrap();
        // The hash covers the second run alone; the kept output is of both.
        assert_eq!(fixture.engine.run_end(&id).await, clean(1, b"run\n"));
        assert_eq!(kept(&again).0, b"run\nrun\n");
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn killed_container_does_not_end_cleanly() {
    with_engine(|fixture| async move {
        let (spec, id) = fixture.begin("echo begun; exec sleep 600").await;
        assert_eq!(
            fixture.listed(&spec).await,
            (ContainerState::Running, RunFact::Watched)
        );
        fixture.tell(&id, "kill").await;
        // Recognised as a kill from outside, and not only by the exit code.
        assert_eq!(fixture.engine.run_end(&id).await, RunEnd::UNSEEN);
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn paused_container_is_seen_and_runs_on() {
    with_engine(|fixture| async move {
        let (spec, id) = fixture.begin("echo a; sleep 3; echo b").await;
        if fixture.is_cluster() {
            assert!(fixture.engine.unpause(&id).await.unwrap_err().is_permanent());
            return fixture.engine.remove(&id).await.unwrap();
        }
        fixture.tell(&id, "pause").await;
        assert_eq!(fixture.listed(&spec).await.0, ContainerState::Paused);
        fixture.engine.unpause(&id).await.unwrap();
        assert_eq!(fixture.listed(&spec).await.0, ContainerState::Running);
        assert_eq!(fixture.engine.run_end(&id).await, clean(0, b"a\nb\n"));
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn run_that_is_followed_late_has_an_end_and_no_hash() {
    with_engine(|fixture| async move {
        let (spec, id) = fixture.begin("echo a; sleep 5; echo b; exit 5").await;
        // Stands for another process of the worker.
        let engine = fixture.place.connect();
        let listed = engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].run, RunFact::Unwatched);
        let late = CaptureTarget {
            folder: fixture.folder.path().join("late"),
            append: true,
            logs: LiveLogs::default(),
        };
        engine.follow(&id, late.clone()).await.unwrap();
        let expected = RunEnd {
            exit: Exit::Clean(5),
            stdout: None,
        };
        assert_eq!(engine.run_end(&id).await, expected);
        assert!(kept(&late).0.ends_with(b"b\n"));
        engine.remove(&id).await.unwrap();
    });
}

#[test]
fn start_of_a_container_that_runs_is_not_its_beginning() {
    with_engine(|fixture| async move {
        let (spec, id) = fixture.begin("echo a; sleep 5; echo b").await;
        let second = fixture.place.connect();
        let other = CaptureTarget {
            folder: fixture.folder.path().join("second"),
            append: false,
            logs: LiveLogs::default(),
        };
        second.start(&id, other).await.unwrap();
        assert_eq!(second.run_end(&id).await.stdout, None);
        assert_eq!(fixture.engine.run_end(&id).await, clean(0, b"a\nb\n"));
        assert_eq!(fixture.listed(&spec).await.0, ContainerState::Exited);
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn run_is_lost_with_the_engine_that_told_of_it() {
    with_engine(|fixture| async move {
        if fixture.is_not_podman() {
            return;
        }
        let Some(mut service) = OwnService::start(fixture.folder.path()) else {
            return;
        };
        let spec = fixture.spec(&["/bin/busybox", "sh", "-c", "echo a; sleep 2; echo b; exit 0"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest(), None)
            .await
            .unwrap();
        let engine = DockerEngine::new(EngineEndpoint::resolve(Some(&service.socket)));
        while engine.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let id = engine.create(&spec).await.unwrap();
        engine.start(&id, fixture.target(&spec)).await.unwrap();
        service.kill();
        assert_eq!(engine.run_end(&id).await, RunEnd::UNSEEN);
        // The container ends with 0 all the same, and the restarted engine reports that.
        let ended = async {
            while fixture.listed(&spec).await.0 != ContainerState::Exited {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended)
            .await
            .unwrap();
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn run_is_lost_with_the_process_that_watches_the_container() {
    with_engine(|fixture| async move {
        if fixture.is_not_podman() {
            return;
        }
        let Some(mut command) = OwnService::command() else {
            println!("no engine of one's own: set ASSAY_TEST_ENGINE_COMMAND");
            return;
        };
        let (_, id) = fixture.begin("while true; do echo on; sleep 1; done").await;
        let told = command
            .args(["inspect", "--format", "{{.State.ConmonPid}}", &id])
            .output()
            .unwrap();
        let watcher = String::from_utf8(told.stdout).unwrap().trim().to_owned();
        assert!(watcher.parse::<u32>().unwrap() > 1);
        assert!(
            Command::new("kill")
                .args(["-9", &watcher])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fixture.engine.run_end(&id).await, RunEnd::UNSEEN);
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn container_has_no_network_no_capabilities_and_no_writable_root() {
    with_engine(|fixture| async move {
        let line = "ls /sys/class/net; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; \
                    touch /file 2>/dev/null || echo read-only; echo scratch > /tmp/file && cat /tmp/file";
        let (end, stdout, _) = fixture.run(line).await;
        assert_eq!(end, clean(0, &stdout));
        let stdout = String::from_utf8(stdout).unwrap();
        let expected =
            "lo\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nread-only\nscratch\n";
        // A pod has an interface, and no way out of it: see the tests of the network.
        let is_expected =
            |line: &&str| !line.contains("bonding") && !(fixture.is_cluster() && *line == "eth0");
        let without_bonding: String = stdout
            .lines()
            .filter(is_expected)
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(without_bonding, expected);
    });
}

#[test]
fn container_is_killed_at_its_memory_limit() {
    with_engine(|fixture| async move {
        // `tail` of an endless line keeps the whole line in memory.
        let (end, ..) = fixture.run("exec /bin/busybox tail /dev/zero").await;
        assert_eq!(end.exit, Exit::Signalled(137));
    });
}

#[test]
fn container_is_found_again_and_created_once() {
    with_engine(|fixture| async move {
        let spec = fixture.spec(&["/bin/busybox", "sleep", "600"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest(), None)
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        assert_eq!(
            fixture.engine.create(&spec).await.unwrap(),
            id,
            "the same again is the same container"
        );
        let state = || async {
            // A new connection, as after a restart of the worker.
            let engine = fixture.place.connect();
            let listed = engine.list(&spec.identity.worker).await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(
                (listed[0].job, &listed[0].fingerprint),
                (1, &spec.identity.fingerprint)
            );
            listed[0].state
        };
        assert_eq!(state().await, ContainerState::Created);
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        assert_eq!(state().await, ContainerState::Running);
        assert_eq!(fixture.engine.list("somebody else").await.unwrap(), []);
        fixture.engine.remove(&id).await.unwrap();
        fixture.engine.remove(&id).await.unwrap();
        assert_eq!(fixture.engine.list(&spec.identity.worker).await.unwrap(), []);
    });
}

#[test]
fn image_that_is_not_there_is_an_error() {
    with_engine(|fixture| async move {
        let digest = [0x11; 32];
        let reference = format!("{}@sha256:{}", fixture.image.name(), hex::encode(digest));
        let error = fixture.engine.pull(&reference, digest, None).await.unwrap_err();
        assert!(!matches!(error, EngineError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&reference), "{error}");
    });
}

#[test]
fn command_that_is_not_there_fails_to_start() {
    with_engine(|fixture| async move {
        let spec = fixture.spec(&["/no/such/command"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest(), None)
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        let started = fixture.engine.start(&id, fixture.target(&spec)).await;
        if fixture.is_cluster() {
            // The first process is the worker's own; it ends as a shell does.
            started.unwrap();
            let end = fixture.engine.run_end(&id).await;
            assert_eq!(end.exit, Exit::Clean(127));
        } else {
            let error = started.unwrap_err();
            assert!(!matches!(error, EngineError::Unreachable { .. }), "{error}");
        }
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn container_that_is_gone_fails_to_start_and_is_not_refused() {
    with_engine(|fixture| async move {
        let spec = fixture.spec(&["/bin/busybox", "true"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest(), None)
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        fixture.engine.remove(&id).await.unwrap();
        let error = fixture
            .engine
            .start(&id, fixture.target(&spec))
            .await
            .unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        // Another container of the same identity takes its place.
        let other = fixture.engine.create(&spec).await.unwrap();
        assert_ne!(other, id);
        fixture.engine.start(&other, fixture.target(&spec)).await.unwrap();
        assert_eq!(fixture.engine.run_end(&other).await, clean(0, b""));
        fixture.engine.remove(&other).await.unwrap();
    });
}

#[test]
fn container_runs_under_the_stronger_runtime_that_its_manifest_names() {
    // A class of a cluster is in kubernetes.rs.
    let docker = variable("ASSAY_TEST_DOCKER_SOCKET").map(Place::Socket);
    with_engines(docker.into_iter().collect(), |fixture| async move {
        let Some(runtime) = variable("ASSAY_TEST_DOCKER_RUNTIME") else {
            println!("no stronger runtime: set ASSAY_TEST_DOCKER_RUNTIME");
            return;
        };
        let offered = fixture.engine.ping().await.unwrap().runtimes;
        assert_eq!(offered, [runtime.as_str()], "runc is none of them");
        let line = "dmesg | head -n 1; echo $GREETING; exit 3";
        let spec = ContainerSpec {
            runtime: Some(runtime),
            ..fixture.spec(&["/bin/busybox", "sh", "-c", line])
        };
        let (spec, id) = fixture.begin_spec(spec).await;
        let (end, stdout, _) = fixture.end(spec, id).await;
        let stdout = String::from_utf8(stdout).unwrap();
        assert!(
            stdout.contains("gVisor") && stdout.ends_with("\nhello\n"),
            "{stdout}"
        );
        assert_eq!(end, clean(3, stdout.as_bytes()));
    });
}

#[test]
fn runtime_that_the_engine_does_not_offer_is_refused() {
    with_engine(|fixture| async move {
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest(), None)
            .await
            .unwrap();
        // The second is there, and isolates no better than the default.
        for name in ["kata-none", "runc"] {
            let spec = ContainerSpec {
                runtime: Some(name.into()),
                ..fixture.spec(&["/bin/busybox", "true"])
            };
            let error = fixture.engine.create(&spec).await.unwrap_err();
            assert!(error.is_permanent(), "{error}");
            assert!(
                error
                    .to_string()
                    .contains(&format!("asks for the runtime {name}")),
                "{error}"
            );
            assert_eq!(fixture.engine.list(&spec.identity.worker).await.unwrap(), []);
        }
    });
}

#[test]
fn dead_engine_is_named_with_the_remedy() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let engine = DockerEngine::new(EngineEndpoint::resolve(Some("/nowhere/docker.sock")));
    let error = runtime.block_on(engine.ping()).unwrap_err().to_string();
    assert!(
        error.starts_with("no container engine answers at unix:///nowhere/docker.sock: "),
        "{error}"
    );
    assert!(error.contains("assay.engine"), "{error}");
}
