//! GPUs in containers of real engines, with specifications of the Container Device Interface (CDI) that map a
//! harmless device.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use assay_client::manifest::{ImageReference, JobManifest};
use assay_primitives::job::StdoutResult;
use assay_worker::{
    devices::{CDI_GPU_KIND, DeviceId, Holding},
    engine::{ContainerEngine, ContainerSpec, DeviceAccess, Exit, GpuInterface, ImageRoot, RunEnd},
    lease::{LeaseKey, LeaseRequest, Leases},
    logs::beginnings,
};
use serde_json::{Value, json};

use crate::{
    own_service::OwnService,
    support::{DOCKER, Offers, SMALL, SocketSubject, Subject, container, run, target, unique, variable},
};

/// Folder that Podman reads besides `/etc/cdi`.
const PODMAN_CDI: &str = "/run/cdi";

/// Line of a shell that shows what matters of a container.
const SHOW: &str = "ls /dev | grep -E 'gpu|kfd'; cat /driver-library; echo cdi=$CDI_SEEN; echo hook=$NVIDIA_VISIBLE_DEVICES; \
                    grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /file 2>/dev/null || echo read-only; \
                    ls /sys/class/net | grep -v bonding; df -m /dev/shm | tail -n 1 | (read -r a b c; echo shm=$b); \
                    cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
                    echo GREETING=$GREETING";

struct Fixture<S = SocketSubject> {
    subject: S,
    folder: tempfile::TempDir,
    /// Text in the names of this test's devices.
    unique: String,
}

/// Tells a story about an engine, if it is there.
fn with_engine<S: AsRef<Subject>, F: Future<Output = ()>>(
    place: impl Offers<S>,
    story: impl FnOnce(Fixture<S>) -> F,
) {
    if let Some(subject) = place.find() {
        run(subject.as_ref().limit_s(120), story(Fixture::of(subject)));
    }
}

stories! {
    with: with_engine;
    everywhere:
        manifest_that_asks_for_all_gpus_gets_none,
    ;
    not_at_kubernetes:
        job_sees_its_device_and_no_other
            because "a device plugin chooses a pod's devices, and needs GPUs; kubernetes.rs has one that only counts",
        device_that_no_specification_names_is_an_error
            because "a cluster counts devices and knows no names of them",
        job_has_the_nodes_of_its_device
            because "GPUs of AMD cannot be given to pods; the refusal is tested beside the engine",
    ;
    only_at_podman:
        cpu_job_gets_no_gpu_where_the_default_runtime_gives_them
            because "it starts an engine with another default runtime, and all tests share the Docker and the cluster",
    ;
    only_at_docker:
        engine_without_cdi_is_asked_for_the_uuids
            because "Podman and clusters have no device requests",
    ;
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
    /// Returns the folder that the engine reads specifications from.
    async fn cdi_folder(&self) -> PathBuf {
        match self.subject.docker.gpu_interface().await.unwrap() {
            GpuInterface::PodmanDevices => PODMAN_CDI.into(),
            GpuInterface::DockerCdi(folders) => folders[0].clone(),
            GpuInterface::DockerRequests => panic!("the Docker of the tests has CDI switched on"),
        }
    }

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

    /// Checks that a job sees the one device that it has, and is confined like any other. Returns the
    /// engine's record of its container.
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
        serde_json::from_str(&record).unwrap()
    }
}

impl<S: AsRef<Subject>> Fixture<S> {
    fn of(subject: S) -> Self {
        Self {
            unique: format!("{}-{}", subject.as_ref().name, unique()),
            subject,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn spec(&self, line: &str, environment: Vec<String>, devices: DeviceAccess) -> ContainerSpec {
        ContainerSpec {
            command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
            environment: [vec!["GREETING=hello".to_owned()], environment].concat(),
            devices,
            holding: Holding {
                slots: vec![3, 5],
                devices: vec![DeviceId("GPU-x".into())],
            },
            ..container(&self.subject.as_ref().reference())
        }
    }

    /// Runs a container to its end; returns its standard output and the engine's record of it.
    async fn run(&self, spec: &ContainerSpec) -> (String, String) {
        let subject = self.subject.as_ref();
        let engine = &subject.engine;
        subject.pull().await;
        let id = engine.create(spec).await.unwrap();
        assert_eq!(
            engine.create(spec).await.unwrap(),
            id,
            "the same again is the same container"
        );
        let listed = engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].holding, spec.holding);
        let record = subject.record(&id).await;
        let target = target(self.folder.path().join(&spec.identity.fingerprint));
        engine.start(&id, target.clone()).await.unwrap();
        let end = engine.run_end(&id).await;
        let (stdout, _) = beginnings(&target.folder).unwrap().unwrap();
        engine.remove(&id).await.unwrap();
        assert_eq!(
            end,
            RunEnd {
                exit: Exit::Clean(0),
                stdout: Some(StdoutResult::Whole(blake3::hash(&stdout).into())),
            }
        );
        (String::from_utf8(stdout).unwrap(), record)
    }
}

async fn job_sees_its_device_and_no_other(fixture: Fixture) {
    let specification = fixture.specify(&fixture.cdi_folder().await);
    let record = fixture.sees_its_device_alone(&specification).await;
    let host = &record["HostConfig"];
    assert_eq!(
        [&host["Memory"], &host["MemorySwap"]],
        [&json!(67_108_864), &json!(67_108_864)]
    );
    assert_eq!(host["PidsLimit"], 32);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(record["Config"]["Labels"]["assay.slots"], "3,5");
    // Podman has no word for it: it resolves the name when it creates the container.
    if fixture.subject.name == DOCKER {
        assert_eq!(
            host["DeviceRequests"],
            json!([{
                "Driver": "cdi", "Count": 0, "Capabilities": null, "Options": null,
                "DeviceIDs": [format!("{CDI_GPU_KIND}={}", specification.uuids[1])],
            }])
        );
    }
}

async fn device_that_no_specification_names_is_an_error(fixture: Fixture) {
    fixture.subject.pull().await;
    let engine = &fixture.subject.engine;
    let access = DeviceAccess::Cdi(vec![format!("{CDI_GPU_KIND}=GPU-nowhere")]);
    let spec = fixture.spec("true", Vec::new(), access);
    let target = target(fixture.folder.path().join("output"));
    // An engine resolves the name when it creates the container or when it starts it.
    let outcome = match engine.create(&spec).await {
        Ok(id) => {
            let started = engine.start(&id, target).await;
            engine.remove(&id).await.unwrap();
            started.map(|()| id)
        }
        refused => refused,
    };
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("GPU-nowhere"), "{error}");
}

async fn engine_without_cdi_is_asked_for_the_uuids(fixture: Fixture) {
    fixture.subject.pull().await;
    let engine = &fixture.subject.engine;
    let uuids = vec!["GPU-a".to_owned(), "GPU-b".to_owned()];
    let spec = fixture.spec("true", Vec::new(), DeviceAccess::Nvidia(uuids));
    let id = engine.create(&spec).await.unwrap();
    let record = fixture.subject.inspect(&id);
    engine.remove(&id).await.unwrap();
    let request = &record["HostConfig"]["DeviceRequests"][0];
    assert_eq!(request["Driver"], "nvidia");
    assert_eq!(request["Count"], 0, "not all of them");
    assert_eq!(request["DeviceIDs"], json!(["GPU-a", "GPU-b"]));
    assert_eq!(request["Capabilities"], json!([["gpu", "compute", "utility"]]));
}

/// Checks that a job gets device nodes, and may open them with another user than root.
async fn job_has_the_nodes_of_its_device(fixture: Fixture) {
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
            share: SMALL,
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

async fn manifest_that_asks_for_all_gpus_gets_none(fixture: Fixture<Subject>) {
    let environment = greedy_environment(&fixture.subject.image).await;
    let spec = ContainerSpec {
        holding: Holding::default(),
        ..fixture.spec(SHOW_VARIABLES, environment, DeviceAccess::None)
    };
    let (stdout, _) = fixture.run(&spec).await;
    // Each name once: a runtime that reads the first of two finds no other.
    assert_eq!(stdout, "void,,void\n5\n");
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

async fn cpu_job_gets_no_gpu_where_the_default_runtime_gives_them(fixture: Fixture) {
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
    let Subject { name, image, .. } = (*fixture.subject).clone();
    let own = Fixture::of(SocketSubject::at(name, &service.socket, image));
    while own.subject.engine.ping().await.is_err() {
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
    let environment = greedy_environment(&own.subject.image).await;
    let (stdout, _) = own
        .run(&own.spec(SHOW_VARIABLES, environment, DeviceAccess::None))
        .await;
    assert_eq!(given(), "\"NVIDIA_VISIBLE_DEVICES=void\"\n");
    assert_eq!(stdout, "void,,void\n5\n");
    drop(service);
}
