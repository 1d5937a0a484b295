//! Containers and their runs at an engine.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use assay_primitives::job::StdoutResult;
use assay_worker::{
    engine::{
        CaptureTarget, ContainerEngine, ContainerSpec, ContainerState, Engine, EngineError, ExecSpec, Exit,
        MAX_OUTPUT_BYTES, OutputStream, RunEnd, RunFact,
    },
    logs,
};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::{
    own_service::OwnService,
    support::{Offers, SocketSubject, Subject, connect, container, run, target, variable},
};

struct Fixture<S = Subject> {
    subject: S,
    engine: Engine,
    folder: tempfile::TempDir,
}

/// Tells a story about an engine, if it is there.
fn with_engine<S: AsRef<Subject>, F: Future<Output = ()>>(
    place: impl Offers<S>,
    story: impl FnOnce(Fixture<S>) -> F,
) {
    let Some(subject) = place.find() else {
        return;
    };
    let limit_s = subject.as_ref().limit_s(120);
    let fixture = Fixture {
        engine: subject.as_ref().engine.clone(),
        subject,
        folder: tempfile::tempdir().unwrap(),
    };
    run(limit_s, story(fixture));
}

stories! {
    with: with_engine;
    everywhere:
        ping_says_what_the_engine_is,
        output_and_exit_code_are_exact,
        long_output_has_the_same_hash_in_every_run,
        output_that_is_no_text_is_hashed_as_it_was_written,
        standard_error_changes_nothing_of_a_result,
        empty_output_has_a_hash_too,
        container_that_ended_is_started_again_and_followed_again,
        killed_container_does_not_end_cleanly,
        run_that_is_followed_late_has_an_end_and_no_hash,
        start_of_a_container_that_runs_is_not_its_beginning,
        container_has_no_network_no_capabilities_and_no_writable_root,
        container_is_killed_at_its_memory_limit,
        container_is_found_again_and_created_once,
        image_that_is_not_there_is_an_error,
        command_that_is_not_there_fails_to_start,
        container_that_is_gone_fails_to_start_and_is_not_refused,
        runtime_that_the_engine_does_not_offer_is_refused,
    ;
    not_at_kubernetes:
        paused_container_is_seen_and_runs_on
            because "pods cannot be paused; the refusal is tested beside the engine",
        commands_run_in_a_container_beside_its_own
            because "pods of the profile batch take no commands; kubernetes.rs runs some in one of interactive",
        engine_is_asked_once_what_it_is_and_again_after_a_restart
            because "a cluster has no socket that a test could make anew",
    ;
    only_at_podman:
        run_is_lost_with_the_engine_that_told_of_it
            because "it kills an engine, and all tests share the Docker and the cluster",
        run_is_lost_with_the_process_that_watches_the_container
            because "it kills Podman's watcher of a container; that of the others ends with the container",
        podman_whose_profile_cannot_be_read_gets_no_job
            because "it is about a setting of Podman",
    ;
    only_at_docker:
        container_runs_under_the_stronger_runtime_that_its_manifest_names
            because "Podman's interface for Docker's clients ignores the runtime; kubernetes.rs makes a cluster's class",
    ;
}

impl<S: AsRef<Subject>> Fixture<S> {
    /// Specifies a container that runs a command.
    fn spec(&self, command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            environment: vec!["GREETING=hello".into()],
            ..container(&self.subject.as_ref().reference())
        }
    }

    /// Returns the target of a container's output.
    fn target(&self, spec: &ContainerSpec) -> CaptureTarget {
        target(self.folder.path().join(&spec.identity.fingerprint))
    }

    /// Creates and starts a container that runs a shell line.
    async fn begin(&self, line: &str) -> (ContainerSpec, String) {
        let spec = self.spec(&["/bin/busybox", "sh", "-c", line]);
        self.begin_spec(spec).await
    }

    /// Creates and starts a container.
    async fn begin_spec(&self, spec: ContainerSpec) -> (ContainerSpec, String) {
        self.subject.as_ref().pull().await;
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

async fn ping_says_what_the_engine_is(fixture: Fixture) {
    let info = fixture.engine.ping().await.unwrap();
    assert!(info.cpu_cores > 0 && info.memory_mib > 0, "{info:?}");
    assert!(info.version.len() > 3, "{info:?}");
}

async fn output_and_exit_code_are_exact(fixture: Fixture) {
    let line = "echo $GREETING; printf 'no newline'; echo problem >&2; exit 3";
    let outcome = fixture.run(line).await;
    let stdout = b"hello\nno newline";
    assert_eq!(
        outcome,
        (clean(3, stdout), stdout.to_vec(), b"problem\n".to_vec())
    );
}

async fn long_output_has_the_same_hash_in_every_run(fixture: Fixture) {
    let mut stdout = Vec::new();
    for number in 1..=4_000_000 {
        stdout.extend_from_slice(format!("{number}\n").as_bytes());
    }
    for _ in 0..2 {
        let (end, kept, _) = fixture.run("seq 1 4000000").await;
        assert_eq!(end, clean(0, &stdout));
        assert_eq!(kept, stdout[..MAX_OUTPUT_BYTES]);
    }
}

async fn output_that_is_no_text_is_hashed_as_it_was_written(fixture: Fixture) {
    let (end, kept, _) = fixture.run(r"printf '\377\000\200\r\n\303('").await;
    assert_eq!(end, clean(0, b"\xff\0\x80\r\n\xc3("));
    assert_eq!(kept, b"\xff\0\x80\r\n\xc3(");
}

async fn standard_error_changes_nothing_of_a_result(fixture: Fixture) {
    let noise = "i=0; while [ $i -lt 300 ]; do echo $i; echo noise $i $RANDOM >&2; i=$((i+1)); done";
    let (loud, ..) = fixture.run(noise).await;
    let (silent, ..) = fixture.run(&noise.replace(">&2", ">/dev/null")).await;
    let stdout: String = (0..300).map(|number| format!("{number}\n")).collect();
    assert_eq!(
        (loud, silent),
        (clean(0, stdout.as_bytes()), clean(0, stdout.as_bytes()))
    );
}

async fn empty_output_has_a_hash_too(fixture: Fixture) {
    assert_eq!(fixture.run("exit 0").await, (clean(0, b""), vec![], vec![]));
    // A container that closes its output runs on.
    assert_eq!(
        fixture.run("exec >&- 2>&-; sleep 1; exit 4").await.0,
        clean(4, b"")
    );
}

async fn container_that_ended_is_started_again_and_followed_again(fixture: Fixture) {
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
}

async fn killed_container_does_not_end_cleanly(fixture: Fixture) {
    let (spec, id) = fixture.begin("echo begun; exec sleep 600").await;
    assert_eq!(
        fixture.listed(&spec).await,
        (ContainerState::Running, RunFact::Watched)
    );
    fixture.subject.kill(&id).await;
    // Recognised as a kill from outside, and not only by the exit code.
    assert_eq!(fixture.engine.run_end(&id).await, RunEnd::UNSEEN);
    fixture.engine.remove(&id).await.unwrap();
}

async fn paused_container_is_seen_and_runs_on(fixture: Fixture<SocketSubject>) {
    let (spec, id) = fixture.begin("echo a; sleep 3; echo b").await;
    fixture.subject.tell(&id, "pause").await;
    assert_eq!(fixture.listed(&spec).await.0, ContainerState::Paused);
    fixture.engine.unpause(&id).await.unwrap();
    assert_eq!(fixture.listed(&spec).await.0, ContainerState::Running);
    assert_eq!(fixture.engine.run_end(&id).await, clean(0, b"a\nb\n"));
    fixture.engine.remove(&id).await.unwrap();
}

async fn run_that_is_followed_late_has_an_end_and_no_hash(fixture: Fixture) {
    let line = format!("echo a; sleep {}; echo b; exit 5", fixture.subject.sleep_s());
    let (spec, id) = fixture.begin(&line).await;
    // Stands for another process of the worker.
    let engine = fixture.subject.again();
    let listed = engine.list(&spec.identity.worker).await.unwrap();
    assert_eq!(listed[0].run, RunFact::Unwatched);
    let late = CaptureTarget {
        append: true,
        ..target(fixture.folder.path().join("late"))
    };
    engine.follow(&id, late.clone()).await.unwrap();
    let expected = RunEnd {
        exit: Exit::Clean(5),
        stdout: None,
    };
    assert_eq!(engine.run_end(&id).await, expected);
    assert!(kept(&late).0.ends_with(b"b\n"));
    engine.remove(&id).await.unwrap();
}

async fn start_of_a_container_that_runs_is_not_its_beginning(fixture: Fixture) {
    let line = format!("echo a; sleep {}; echo b", fixture.subject.sleep_s());
    let (spec, id) = fixture.begin(&line).await;
    let second = fixture.subject.again();
    let other = target(fixture.folder.path().join("second"));
    second.start(&id, other).await.unwrap();
    assert_eq!(second.run_end(&id).await.stdout, None);
    assert_eq!(fixture.engine.run_end(&id).await, clean(0, b"a\nb\n"));
    assert_eq!(fixture.listed(&spec).await.0, ContainerState::Exited);
    fixture.engine.remove(&id).await.unwrap();
}

async fn run_is_lost_with_the_engine_that_told_of_it(fixture: Fixture) {
    let Some(mut service) = OwnService::start(fixture.folder.path()) else {
        return;
    };
    let spec = fixture.spec(&["/bin/busybox", "sh", "-c", "echo a; sleep 2; echo b; exit 0"]);
    fixture.subject.pull().await;
    let engine = connect(&service.socket);
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
}

async fn run_is_lost_with_the_process_that_watches_the_container(fixture: Fixture) {
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
}

async fn container_has_no_network_no_capabilities_and_no_writable_root(fixture: Fixture) {
    let line = "ls /sys/class/net; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; \
                touch /file 2>/dev/null || echo read-only; echo scratch > /tmp/file && cat /tmp/file";
    let (end, stdout, _) = fixture.run(line).await;
    assert_eq!(end, clean(0, &stdout));
    let stdout = String::from_utf8(stdout).unwrap();
    let expected =
        "lo\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nread-only\nscratch\n";
    // A pod has an interface, which its network policy closes.
    let is_expected =
        |line: &&str| !(line.contains("bonding") || fixture.subject.is_cluster() && *line == "eth0");
    let without_bonding: String = stdout
        .lines()
        .filter(is_expected)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(without_bonding, expected);
}

async fn container_is_killed_at_its_memory_limit(fixture: Fixture) {
    // `tail` of an endless line keeps the whole line in memory.
    let (end, ..) = fixture.run("exec /bin/busybox tail /dev/zero").await;
    assert_eq!(end.exit, Exit::Signalled(137));
}

async fn container_is_found_again_and_created_once(fixture: Fixture) {
    let spec = fixture.spec(&["/bin/busybox", "sleep", "600"]);
    fixture.subject.pull().await;
    let id = fixture.engine.create(&spec).await.unwrap();
    assert_eq!(
        fixture.engine.create(&spec).await.unwrap(),
        id,
        "the same again is the same container"
    );
    let state = || async {
        // A new connection, as after a restart of the worker.
        let engine = fixture.subject.again();
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
}

async fn image_that_is_not_there_is_an_error(fixture: Fixture) {
    let digest = [0x11; 32];
    let reference = format!("{}@sha256:{}", fixture.subject.image.name(), hex::encode(digest));
    let error = fixture.engine.pull(&reference, digest, None).await.unwrap_err();
    assert!(!matches!(error, EngineError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&reference), "{error}");
}

async fn command_that_is_not_there_fails_to_start(fixture: Fixture) {
    let spec = fixture.spec(&["/no/such/command"]);
    fixture.subject.pull().await;
    let id = fixture.engine.create(&spec).await.unwrap();
    let started = fixture.engine.start(&id, fixture.target(&spec)).await;
    if fixture.subject.is_cluster() {
        // The pod's first process is the worker's own, which ends as a shell does.
        started.unwrap();
        assert_eq!(fixture.engine.run_end(&id).await.exit, Exit::Clean(127));
    } else {
        let error = started.unwrap_err();
        assert!(!matches!(error, EngineError::Unreachable { .. }), "{error}");
    }
    fixture.engine.remove(&id).await.unwrap();
}

async fn container_that_is_gone_fails_to_start_and_is_not_refused(fixture: Fixture) {
    let spec = fixture.spec(&["/bin/busybox", "true"]);
    fixture.subject.pull().await;
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
}

async fn container_runs_under_the_stronger_runtime_that_its_manifest_names(fixture: Fixture) {
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
}

async fn runtime_that_the_engine_does_not_offer_is_refused(fixture: Fixture) {
    fixture.subject.pull().await;
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
}

#[test]
fn dead_engine_is_named_with_the_remedy() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let engine = connect("/nowhere/docker.sock");
    let error = runtime.block_on(engine.ping()).unwrap_err().to_string();
    assert!(
        error.starts_with("no container engine answers at unix:///nowhere/docker.sock: "),
        "{error}"
    );
    assert!(error.contains("assay.engine"), "{error}");
}

async fn commands_run_in_a_container_beside_its_own(fixture: Fixture) {
    let (_, id) = fixture.begin("echo own; sleep 60").await;
    let spec = ExecSpec {
        command: [
            "/bin/busybox",
            "sh",
            "-c",
            "cat; echo $GREETING $MORE; echo problem >&2; exit 7",
        ]
        .map(str::to_owned)
        .to_vec(),
        environment: vec!["MORE=more".into()],
        tty: false,
    };
    let mut session = fixture.engine.exec(&id, &spec).await.unwrap();
    session.input.write_all(b"typed\n").await.unwrap();
    session.input.shutdown().await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = session.output.next().await {
        let (stream, bytes) = piece.unwrap();
        match stream {
            OutputStream::Stdout => stdout.extend_from_slice(&bytes),
            OutputStream::Stderr => stderr.extend_from_slice(&bytes),
        }
    }
    assert_eq!(stdout, b"typed\nhello more\n");
    assert_eq!(stderr, b"problem\n");
    let exit_code = loop {
        match session.control.exit_code().await.unwrap() {
            Some(exit_code) => break exit_code,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(exit_code, 7);
    fixture.engine.remove(&id).await.unwrap();
    assert!(
        fixture.engine.exec(&id, &spec).await.is_err(),
        "its container is gone"
    );
}

/// A socket that passes everything on to an engine, and counts the requests for its version. Made anew it is
/// another file, as that of an engine that was started anew.
struct Door {
    path: std::path::PathBuf,
    asked: Arc<AtomicUsize>,
    engine: String,
}

impl Door {
    fn open(folder: &std::path::Path, engine: &str) -> Self {
        let door = Self {
            path: folder.join("door.sock"),
            asked: Arc::default(),
            engine: engine.to_owned(),
        };
        door.make();
        door
    }

    /// Makes the socket, in place of the one that is there.
    fn make(&self) {
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).unwrap();
        let (asked, engine) = (self.asked.clone(), self.engine.clone());
        tokio::spawn(async move {
            while let Ok((outer, _)) = listener.accept().await {
                let inner = UnixStream::connect(&engine).await.unwrap();
                tokio::spawn(pass_on(outer, inner, asked.clone()));
            }
        });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Passes both directions on; counts the requests for the version, each of which has a packet of its own.
async fn pass_on(outer: UnixStream, inner: UnixStream, asked: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = outer.into_split();
    let (mut from_engine, mut to_engine) = inner.into_split();
    let requests = async {
        let mut piece = vec![0; 64 * 1_024];
        while let Ok(read @ 1..) = from_client.read(&mut piece).await {
            let text = String::from_utf8_lossy(&piece[..read]);
            if text.starts_with("GET ") && text.lines().next().is_some_and(|line| line.contains("/version")) {
                asked.fetch_add(1, Ordering::Relaxed);
            }
            if to_engine.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
        let _ = to_engine.shutdown().await;
    };
    let answers = async {
        let _ = tokio::io::copy(&mut from_engine, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(requests, answers);
}

async fn engine_is_asked_once_what_it_is_and_again_after_a_restart(fixture: Fixture<SocketSubject>) {
    fixture.subject.pull().await;
    let door = Door::open(fixture.folder.path(), &fixture.subject.socket);
    let engine = connect(door.path.to_str().unwrap());
    let create = async || {
        let spec = fixture.spec(&["/bin/busybox", "true"]);
        let id = engine.create(&spec).await.unwrap();
        engine.remove(&id).await.unwrap();
    };
    create().await;
    let first = door.asked();
    assert!(
        (1..=2).contains(&first),
        "{first}: the connection is made with one question"
    );
    create().await;
    engine.gpu_interface().await.unwrap();
    create().await;
    assert_eq!(door.asked(), first);
    door.make();
    create().await;
    create().await;
    assert_eq!(
        door.asked(),
        first + 1,
        "a connection that holds is not made anew"
    );
}

async fn podman_whose_profile_cannot_be_read_gets_no_job(fixture: Fixture) {
    let known = variable("ASSAY_TEST_ENGINE_COMMAND").and_then(|command| {
        let mut words = command.lines();
        words.find_map(|word| word.strip_prefix("CONTAINERS_CONF=").map(str::to_owned))
    });
    let text = known.map_or_else(String::new, |path| std::fs::read_to_string(path).unwrap());
    let missing = fixture.folder.path().join("no-profile.json");
    let setting = format!("seccomp_profile = \"{}\"\n", missing.display());
    // A table is named once in a file.
    let text = if text.contains("[containers]\n") {
        text.replace("[containers]\n", &format!("[containers]\n{setting}"))
    } else {
        format!("[containers]\n{setting}{text}")
    };
    let file = fixture.folder.path().join("containers.conf");
    std::fs::write(&file, text).unwrap();
    let variables = [format!("CONTAINERS_CONF={}", file.display())];
    let Some(service) = OwnService::start_with(fixture.folder.path(), &variables) else {
        return;
    };
    fixture.subject.pull().await;
    let engine = connect(&service.socket);
    while engine.ping().await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reason = engine.confinement().await.unwrap_err().to_string();
    assert!(
        reason.contains("no-profile.json") && reason.contains("containers-common"),
        "{reason}"
    );
    let spec = fixture.spec(&["/bin/busybox", "true"]);
    let error = engine.create(&spec).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(error.to_string().contains("user namespaces"), "{error}");
    assert_eq!(engine.list(&spec.identity.worker).await.unwrap(), []);
    // The tests' own has its profile, so it is the setting that matters.
    assert!(fixture.engine.confinement().await.is_ok());
}
