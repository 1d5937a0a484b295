//! GPUs in containers of real engines, with specifications of the Container Device Interface (CDI) that map a
//! harmless device.
//!
//! For Podman see `worker/tests/engine.rs`. `ASSAY_TEST_DOCKER_SOCKET` is the socket of a Docker with CDI; if
//! it is unset, Docker's part prints so and does nothing.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use assay_client::manifest::{ImageReference, JobManifest, Profile};
use assay_primitives::job::StdoutResult;
use assay_worker::{
    config::SlotShare,
    devices::{CDI_GPU_KIND, Holding},
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess,
        DockerEngine, EngineEndpoint, Exit, GpuInterface, ImageRoot, RunEnd,
    },
    lease::{LeaseKey, LeaseRequest, Leases},
    logs::{LiveLogs, beginnings},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/own_service.rs"]
mod own_service;

use own_service::OwnService;

/// Folder that Podman reads besides `/etc/cdi`.
const PODMAN_CDI: &str = "/run/cdi";

/// Line of a shell that shows what matters of a container.
const SHOW: &str = "ls /dev | grep -E 'gpu|kfd'; cat /driver-library; echo cdi=$CDI_SEEN; echo hook=$NVIDIA_VISIBLE_DEVICES; \
                    grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /file 2>/dev/null || echo read-only; \
                    ls /sys/class/net | grep -v bonding; df -m /dev/shm | tail -n 1 | (read -r a b c; echo shm=$b); \
                    cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
                    echo GREETING=$GREETING";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

struct Fixture {
    engine: DockerEngine,
    socket: String,
    image: ImageReference,
    folder: tempfile::TempDir,
    /// Text in the names of this test's devices and containers.
    unique: String,
}

/// Runs a test against the engine behind a socket, if there is one.
fn with_engine<F: Future<Output = ()>>(socket: &str, name: &str, test: impl FnOnce(Fixture) -> F) {
    let (Some(socket), Some(image)) = (variable(socket), variable("ASSAY_TEST_IMAGE")) else {
        println!("no engine: set {socket} and ASSAY_TEST_IMAGE");
        return;
    };
    let fixture = Fixture {
        engine: DockerEngine::new(EngineEndpoint::resolve(Some(&socket))),
        socket,
        image: image.parse().unwrap(),
        folder: tempfile::tempdir().unwrap(),
        unique: format!("{name}-{}", std::process::id()),
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

/// Runs a test against Podman.
fn with_podman<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Fixture) -> F) {
    with_engine("ASSAY_TEST_ENGINE_SOCKET", name, |fixture| async move {
        if fixture.engine.gpu_interface().await.unwrap() == GpuInterface::PodmanDevices {
            test(fixture).await;
        } else {
            println!("the engine is no Podman");
        }
    });
}

/// Specification of two devices; its file ends with the test.
struct Specification {
    file: PathBuf,
    uuids: [String; 2],
}

impl Drop for Specification {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

impl Fixture {
    /// Writes a specification that gives each device a node, a variable and a file.
    fn specify(&self, folder: &Path) -> Specification {
        let uuids = ["a", "b"].map(|name| format!("GPU-{}-{name}", self.unique));
        let library = self.folder.path().join("library");
        fs::write(&library, "a library of the driver\n").unwrap();
        let devices: Vec<Value> = (0..)
            .zip(&uuids)
            .map(|(index, uuid): (usize, _)| {
                json!({ "name": uuid, "containerEdits": {
                    "deviceNodes": [
                        { "path": format!("/dev/test-gpu{index}"), "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3 },
                    ],
                    "env": ["CDI_SEEN=yes"],
                    "mounts": [{ "hostPath": library, "containerPath": "/driver-library", "options": ["ro", "bind"] }],
                } })
            })
            .collect();
        fs::create_dir_all(folder).unwrap();
        let file = folder.join(format!("assay-{}.json", self.unique));
        let text = json!({ "cdiVersion": "0.5.0", "kind": CDI_GPU_KIND, "devices": devices });
        fs::write(&file, text.to_string()).unwrap();
        Specification { file, uuids }
    }

    fn spec(&self, line: &str, environment: Vec<String>, devices: DeviceAccess) -> ContainerSpec {
        ContainerSpec {
            identity: ContainerIdentity {
                job: 1,
                machine: 0,
                worker: self.unique.chars().rev().collect(),
                fingerprint: self.unique.chars().rev().collect(),
            },
            image: self.image.pull_reference(),
            command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
            environment: [vec!["GREETING=hello".to_owned()], environment].concat(),
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
            devices,
            holding: Holding {
                slots: vec![3, 5],
                devices: vec![assay_worker::devices::DeviceId("GPU-x".into())],
            },
            disk: None,
            mounts: Vec::new(),
        }
    }

    async fn pull(&self) {
        self.engine
            .pull(&self.image.pull_reference(), self.image.digest(), None)
            .await
            .unwrap();
    }

    /// Returns the engine's record of a container.
    async fn inspect(&self, id: &str) -> Value {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let request =
            format!("GET /v1.40/containers/{id}/json HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (start, end) = (answer.find('{').unwrap(), answer.rfind('}').unwrap());
        // A long answer comes in chunks, whose lengths stand on lines of their own.
        let body: String = answer[start..=end]
            .split("\r\n")
            .filter(|line| u32::from_str_radix(line, 16).is_err())
            .collect();
        serde_json::from_str(&body).unwrap()
    }

    /// Runs a container to its end; returns its standard output and the engine's record of it.
    async fn run(&self, spec: &ContainerSpec) -> (String, Value) {
        self.pull().await;
        let id = self.engine.create(spec).await.unwrap();
        assert_eq!(
            self.engine.create(spec).await.unwrap(),
            id,
            "the same again is the same container"
        );
        let listed = self.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].holding, spec.holding);
        let record = self.inspect(&id).await;
        let target = CaptureTarget {
            folder: self.folder.path().join("output"),
            append: false,
            logs: LiveLogs::default(),
        };
        self.engine.start(&id, target.clone()).await.unwrap();
        let end = self.engine.run_end(&id).await;
        let (stdout, _) = beginnings(&target.folder).unwrap().unwrap();
        self.engine.remove(&id).await.unwrap();
        assert_eq!(
            end,
            RunEnd {
                exit: Exit::Clean(0),
                stdout: Some(StdoutResult::Whole(blake3::hash(&stdout).into())),
            }
        );
        (String::from_utf8(stdout).unwrap(), record)
    }

    /// Checks that a job sees the one device that it has, and is confined like any other.
    async fn sees_its_device_alone(&self, specification: &Specification) -> Value {
        let [_, second] = &specification.uuids;
        let access = DeviceAccess::Cdi(vec![format!("{CDI_GPU_KIND}={second}")]);
        let guard = vec!["NVIDIA_VISIBLE_DEVICES=void".to_owned()];
        let (with, record) = self.run(&self.spec(SHOW, guard.clone(), access)).await;
        let expected = "test-gpu1\na library of the driver\ncdi=yes\nhook=void\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n\
                        read-only\nlo\nshm=32\n67108864\nGREETING=hello\n";
        assert_eq!(with, expected);
        let (without, _) = self.run(&self.spec(SHOW, guard, DeviceAccess::None)).await;
        let confined = expected.replace("test-gpu1\na library of the driver\ncdi=yes\n", "cdi=\n");
        assert_eq!(without, confined, "only the device makes a difference");
        record
    }
}

#[test]
fn job_at_podman_sees_its_device_and_no_other() {
    with_podman("podman", |fixture| async move {
        let specification = fixture.specify(Path::new(PODMAN_CDI));
        let record = fixture.sees_its_device_alone(&specification).await;
        let host = &record["HostConfig"];
        assert_eq!(
            [&host["Memory"], &host["MemorySwap"]],
            [&json!(67_108_864), &json!(67_108_864)]
        );
        assert_eq!(host["PidsLimit"], 32);
        assert_eq!(host["NanoCpus"], 500_000_000);
        assert_eq!(record["Config"]["Labels"]["assay.slots"], "3,5");
    });
}

#[test]
fn device_that_no_specification_names_is_an_error() {
    with_podman("absent", |fixture| async move {
        fixture.pull().await;
        let access = DeviceAccess::Cdi(vec![format!("{CDI_GPU_KIND}=GPU-nowhere")]);
        let spec = fixture.spec("true", Vec::new(), access);
        let target = CaptureTarget {
            folder: fixture.folder.path().join("output"),
            append: false,
            logs: LiveLogs::default(),
        };
        // Podman resolves the name when it creates the container or when it starts it.
        let outcome = match fixture.engine.create(&spec).await {
            Ok(id) => {
                let started = fixture.engine.start(&id, target).await;
                fixture.engine.remove(&id).await.unwrap();
                started.map(|()| id)
            }
            refused => refused,
        };
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("GPU-nowhere"), "{error}");
    });
}

#[test]
fn job_at_docker_sees_its_device_and_no_other() {
    with_engine("ASSAY_TEST_DOCKER_SOCKET", "docker", |fixture| async move {
        let GpuInterface::DockerCdi(folders) = fixture.engine.gpu_interface().await.unwrap() else {
            panic!("the Docker of the tests has CDI switched on");
        };
        let specification = fixture.specify(&folders[0]);
        let record = fixture.sees_its_device_alone(&specification).await;
        assert_eq!(
            record["HostConfig"]["DeviceRequests"],
            json!([{
                "Driver": "cdi", "Count": 0, "Capabilities": null, "Options": null,
                "DeviceIDs": [format!("{CDI_GPU_KIND}={}", specification.uuids[1])],
            }])
        );
    });
}

#[test]
fn docker_without_cdi_is_asked_for_the_uuids() {
    with_engine("ASSAY_TEST_DOCKER_SOCKET", "requests", |fixture| async move {
        fixture.pull().await;
        let uuids = vec!["GPU-a".to_owned(), "GPU-b".to_owned()];
        let spec = fixture.spec("true", Vec::new(), DeviceAccess::Nvidia(uuids));
        let id = fixture.engine.create(&spec).await.unwrap();
        let record = fixture.inspect(&id).await;
        fixture.engine.remove(&id).await.unwrap();
        let request = &record["HostConfig"]["DeviceRequests"][0];
        assert_eq!(request["Driver"], "nvidia");
        assert_eq!(request["Count"], 0, "not all of them");
        assert_eq!(request["DeviceIDs"], json!(["GPU-a", "GPU-b"]));
        assert_eq!(request["Capabilities"], json!([["gpu", "compute", "utility"]]));
    });
}

/// Checks that a job gets device nodes, and may open them with another user than root.
async fn sees_its_nodes(fixture: Fixture) {
    // Where the scratch folders of the container hide nothing.
    let name = fixture
        .folder
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let node = Path::new("/dev").join(format!("assay-test{name}"));
    let made = Command::new("mknod").arg(&node).args(["c", "1", "3"]).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::chown(&node, Some(0), Some(4_242)).unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o660)).unwrap();
    let line = format!(
        "ls -ln {0} | cut -c 1-10; id -G | tr ' ' '\\n' | grep 4242; echo x >{0} && echo written",
        node.display()
    );
    let (stdout, _) = fixture
        .run(&fixture.spec(&line, Vec::new(), DeviceAccess::Nodes(vec![node.clone()])))
        .await;
    fs::remove_file(node).unwrap();
    assert_eq!(stdout, "crw-rw----\n4242\nwritten\n");
}

#[test]
fn job_at_podman_has_the_nodes_of_its_device() {
    with_podman("nodes", sees_its_nodes);
}

#[test]
fn job_at_docker_has_the_nodes_of_its_device() {
    with_engine("ASSAY_TEST_DOCKER_SOCKET", "nodes", sees_its_nodes);
}

/// Returns the environment of a CPU job whose manifest asks for all GPUs.
async fn greedy_environment(image: &ImageReference) -> Vec<String> {
    let text = json!({
        "version": 1, "image": image.to_string(),
        "env": { "NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all", "AMD_VISIBLE_DEVICES": "all" },
    });
    let manifest = JobManifest::from_bytes(text.to_string().as_bytes()).unwrap();
    let lease = Leases::default()
        .take(&LeaseRequest {
            key: LeaseKey {
                job: 1,
                fingerprint: "f".into(),
            },
            slots: 1,
            share: SlotShare {
                memory_mib: 64,
                cpu_millis: 500,
                processes: 32,
            },
            manifest: &manifest,
            image: &ImageRoot::default(),
        })
        .await
        .unwrap();
    let own = manifest.env.iter().map(|(name, value)| format!("{name}={value}"));
    own.chain(lease.environment).collect()
}

const SHOW_VARIABLES: &str =
    "echo $NVIDIA_VISIBLE_DEVICES,$NVIDIA_DRIVER_CAPABILITIES,$AMD_VISIBLE_DEVICES; env | grep -c VISIBLE";

#[test]
fn manifest_that_asks_for_all_gpus_gets_none_at_docker() {
    with_engine("ASSAY_TEST_DOCKER_SOCKET", "greedy", |fixture| async move {
        let environment = greedy_environment(&fixture.image).await;
        let (stdout, _) = fixture
            .run(&fixture.spec(SHOW_VARIABLES, environment, DeviceAccess::None))
            .await;
        // Each name once: a runtime that reads the first of two finds no other.
        assert_eq!(stdout, "void,,void\n5\n");
    });
}

/// Stand-in for NVIDIA's runtime: like that one it looks for the variable in the container's configuration,
/// and then has runc do the work. It writes down what it would give.
const NVIDIA_RUNTIME: &str = r#"#!/bin/sh
previous=
for word in "$@"; do
    if [ "$previous" = --bundle ] || [ "$previous" = -b ]; then
        grep -o '"NVIDIA_VISIBLE_DEVICES=[^"]*"' "$word/config.json" >>"LOG" || echo unset >>"LOG"
    fi
    previous=$word
done
exec runc "$@"
"#;

#[test]
fn cpu_job_gets_no_gpu_where_the_default_runtime_gives_them() {
    with_podman("runtime", |fixture| async move {
        let folder = fixture.folder.path();
        let (log, runtime) = (folder.join("given"), folder.join("nvidia-runtime"));
        fs::write(
            &runtime,
            NVIDIA_RUNTIME.replace("LOG", &log.display().to_string()),
        )
        .unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        // The settings of the tests' Podman, with another default runtime.
        let known = variable("ASSAY_TEST_ENGINE_COMMAND").and_then(|command| {
            let mut words = command.lines();
            words.find_map(|word| word.strip_prefix("CONTAINERS_CONF=").map(str::to_owned))
        });
        let text = known.map_or("[engine]\n".to_owned(), |path| fs::read_to_string(path).unwrap());
        let others: String = text
            .lines()
            .filter(|line| !line.starts_with("runtime ="))
            .map(|line| format!("{line}\n"))
            .collect();
        let settings = format!(
            "{others}runtime = \"nvidia\"\n[engine.runtimes]\nnvidia = [\"{}\"]\n",
            runtime.display()
        );
        let file = folder.join("containers.conf");
        fs::write(&file, settings).unwrap();
        let Some(service) = OwnService::start_with(folder, &[format!("CONTAINERS_CONF={}", file.display())])
        else {
            return;
        };
        let own = Fixture {
            engine: DockerEngine::new(EngineEndpoint::resolve(Some(&service.socket))),
            socket: service.socket.clone(),
            image: fixture.image.clone(),
            folder: tempfile::tempdir().unwrap(),
            unique: fixture.unique.clone(),
        };
        while own.engine.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let given = || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let _ = fs::remove_file(&log);
            text
        };
        let all = vec!["NVIDIA_VISIBLE_DEVICES=all".to_owned()];
        own.run(&own.spec("true", all, DeviceAccess::None)).await;
        assert_eq!(
            given(),
            "\"NVIDIA_VISIBLE_DEVICES=all\"\n",
            "the runtime would give all GPUs"
        );
        let environment = greedy_environment(&own.image).await;
        let (stdout, _) = own
            .run(&own.spec(SHOW_VARIABLES, environment, DeviceAccess::None))
            .await;
        assert_eq!(given(), "\"NVIDIA_VISIBLE_DEVICES=void\"\n");
        assert_eq!(stdout, "void,,void\n5\n");
        drop(service);
    });
}
