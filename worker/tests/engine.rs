//! The engine against a real Docker Engine API.
//!
//! `scripts/test` sets `ASSAY_TEST_ENGINE_SOCKET` to the socket of a Docker or Podman service, and
//! `ASSAY_TEST_IMAGE` to an image by digest that the engine can pull and that has `/bin/busybox`. Where they are unset,
//! each test says so and does nothing.

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use assay_client::manifest::ImageReference;
use assay_worker::{
    config::SlotShare,
    engine::{
        ContainerEngine, ContainerIdentity, ContainerSpec, ContainerState, DockerEngine, EngineEndpoint,
        EngineError,
    },
};

struct Fixture {
    engine: DockerEngine,
    image: ImageReference,
}

/// Runs a test against the engine, if there is one.
fn with_engine<F: Future<Output = ()>>(test: impl FnOnce(Fixture) -> F) {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(socket), Some(image)) = (variable("ASSAY_TEST_ENGINE_SOCKET"), variable("ASSAY_TEST_IMAGE"))
    else {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE");
        return;
    };
    let engine = DockerEngine::new(EngineEndpoint::resolve(Some(&socket)));
    let fixture = Fixture {
        engine,
        image: image.parse().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), test(fixture))
            .await
            .expect("the test takes too long");
    });
}

impl Fixture {
    fn reference(&self) -> String {
        self.image.pull_reference()
    }

    /// A container of its own for each test: tests run side by side on one engine.
    fn spec(&self, command: &[&str]) -> ContainerSpec {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ContainerSpec {
            identity: ContainerIdentity {
                job: 1,
                machine: 0,
                worker: format!("test-{unique}"),
                fingerprint: format!("print-{unique}"),
            },
            image: self.reference(),
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            environment: vec!["GREETING=hello".into()],
            network: false,
            share: SlotShare {
                memory_mib: 64,
                cpu_millis: 500,
                processes: 32,
            },
        }
    }

    /// Runs a shell line to its end; returns exit code, standard output and standard error.
    async fn run(&self, line: &str) -> (i64, String, String) {
        let spec = self.spec(&["/bin/busybox", "sh", "-c", line]);
        self.engine
            .pull(&self.reference(), self.image.digest())
            .await
            .unwrap();
        let id = self.engine.create(&spec).await.unwrap();
        self.engine.start(&id).await.unwrap();
        let exit_code = self.engine.wait(&id).await.unwrap();
        let output = self.engine.output(&id).await.unwrap();
        let listed = self.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].state, ContainerState::Exited { exit_code });
        self.engine.remove(&id).await.unwrap();
        assert_eq!(self.engine.list(&spec.identity.worker).await.unwrap(), []);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (exit_code, text(output.stdout), text(output.stderr))
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
        assert_eq!(outcome, (3, "hello\nno newline".into(), "problem\n".into()));
    });
}

#[test]
fn container_has_no_network_no_capabilities_and_no_writable_root() {
    with_engine(|fixture| async move {
        let line = "ls /sys/class/net; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; \
                    touch /file 2>/dev/null || echo read-only; echo scratch > /tmp/file && cat /tmp/file";
        let (exit_code, stdout, _) = fixture.run(line).await;
        assert_eq!(exit_code, 0);
        let expected =
            "lo\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nread-only\nscratch\n";
        let without_bonding: String = stdout
            .lines()
            .filter(|line| !line.contains("bonding"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(without_bonding, expected);
    });
}

#[test]
fn container_is_killed_at_its_memory_limit() {
    with_engine(|fixture| async move {
        // `tail` of a line that never ends keeps all of it in memory.
        let (exit_code, _, _) = fixture.run("exec /bin/busybox tail /dev/zero").await;
        assert_eq!(exit_code, 137);
    });
}

#[test]
fn container_is_found_again_and_created_once() {
    with_engine(|fixture| async move {
        let spec = fixture.spec(&["/bin/busybox", "sleep", "600"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest())
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        assert_eq!(
            fixture.engine.create(&spec).await.unwrap(),
            id,
            "the same again is the same container"
        );
        let state = || async {
            // A connection of its own, as after a restart of the worker.
            let socket = std::env::var("ASSAY_TEST_ENGINE_SOCKET").unwrap();
            let engine = DockerEngine::new(EngineEndpoint::resolve(Some(&socket)));
            let listed = engine.list(&spec.identity.worker).await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(
                (listed[0].job, &listed[0].fingerprint),
                (1, &spec.identity.fingerprint)
            );
            listed[0].state
        };
        assert_eq!(state().await, ContainerState::Created);
        fixture.engine.start(&id).await.unwrap();
        fixture.engine.start(&id).await.unwrap();
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
        let error = fixture.engine.pull(&reference, digest).await.unwrap_err();
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
            .pull(&fixture.reference(), fixture.image.digest())
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        let error = fixture.engine.start(&id).await.unwrap_err();
        assert!(!matches!(error, EngineError::Unreachable { .. }), "{error}");
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn container_that_is_gone_fails_to_start_and_is_not_refused() {
    with_engine(|fixture| async move {
        let spec = fixture.spec(&["/bin/busybox", "true"]);
        fixture
            .engine
            .pull(&fixture.reference(), fixture.image.digest())
            .await
            .unwrap();
        let id = fixture.engine.create(&spec).await.unwrap();
        fixture.engine.remove(&id).await.unwrap();
        let error = fixture.engine.start(&id).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        // Another of the same identity takes its place.
        let other = fixture.engine.create(&spec).await.unwrap();
        assert_ne!(other, id);
        fixture.engine.start(&other).await.unwrap();
        assert_eq!(fixture.engine.wait(&other).await.unwrap(), 0);
        fixture.engine.remove(&other).await.unwrap();
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
