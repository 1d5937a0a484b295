//! Attempts to get out of a job's container, in both profiles.
//!
//! The attempts are those that public advisories and guides of about the last three years name for containers
//! that are set up carelessly; faults of kernels are no part of them. `escapes/attempts.py` makes
//! them all inside of one container that the worker's own code creates, and again in a container that
//! the test creates at the engine with every protection off. There each must succeed, unless the table says
//! why not: so none fails for want of a tool. Addresses that a job must not reach, the engine's API on a
//! bridge among them, are in `networks.rs`, full disks in `leases.rs`, and output without end in `runs.rs`.
//!
//! The images are made by `worker/tests/images/root`; everything here needs disks, which need root and loop
//! devices.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use assay_client::manifest::{JobManifest, Profile};
use assay_worker::{
    artifacts::{ArtifactError, OutputFolder},
    config::SlotShare,
    engine::{
        ContainerEngine, ContainerIdentity, ContainerSpec, DeviceAccess, DockerEngine, EngineError, ImageRoot,
    },
    lease::{LeaseError, LeaseKey, LeaseRequest, Leases, Storage, disk::Disks},
    logs::beginnings,
};
use serde_json::{Value, json};

mod host;
mod table;

use host::{Host, SECRET, unique};
use table::{ATTEMPTS, Attempt, Control, IMAGES};

use crate::{
    own_service::OwnService,
    support::{Offers, PODMAN, SocketSubject, disks, leased, make_root, pack, run_on_disks, target},
};

/// Limits of a job. `attempts.py` tries to use more than these.
const SHARE: SlotShare = SlotShare {
    memory_mib: 256,
    cpu_millis: 2_000,
    processes: 128,
};

/// Program of the image that makes the attempts.
const PROGRAM: [&str; 3] = ["/usr/bin/python3", "-B", "/opt/attempts.py"];

/// Texts of errors by which a kernel says that it lacks something.
const LACKING: [&str; 5] = [
    "Function not implemented",
    "No such file or directory",
    "No such device",
    "not supported",
    "nothing to try",
];

struct Fixture {
    subject: SocketSubject,
    engine: DockerEngine,
    folder: tempfile::TempDir,
    disks: Disks,
    leases: Leases,
}

/// Tells a story about an engine, if it is there and the host can hold disks.
fn with_engine<F: Future<Output = ()>>(place: impl Offers<SocketSubject>, story: impl FnOnce(Fixture) -> F) {
    let Some(subject) = place.find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // Otherwise the mode of the folder, and not the container, would keep a job out.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(disks) = disks(folder.path()) else { return };
    let fixture = Fixture {
        engine: subject.docker.clone(),
        subject,
        folder,
        leases: Leases::default().with_storage(Storage::Disks(disks.clone())),
        disks: disks.clone(),
    };
    run_on_disks(120, disks, story(fixture));
}

stories! {
    with: with_engine;
    not_at_kubernetes:
        no_attempt_of_a_tenant_gets_out
            because "its image is imported, and the cluster of the tests has a containerd of 2023 and no limit of processes",
        image_that_begins_in_a_folder_of_the_runtime_is_refused
            because "its images are imported; pulls.rs refuses such a one at a cluster",
        links_of_an_image_lead_no_mount_to_the_host
            because "its image is imported, and its control is a container without protection, which a cluster refuses",
        links_in_place_of_proc_leave_the_settings_of_the_kernel_closed
            because "its image is imported, and its control is a container without protection, which a cluster refuses",
        link_in_place_of_dev_leaves_the_folder_behind_it_alone
            because "its images are imported, and nodes pull theirs from a registry",
        output_folder_shows_nothing_of_the_host
            because "of a pod's disk nothing but the output folder is copied, and no pipes",
        labels_of_an_image_name_no_other_job
            because "labels of an image are none of its pod",
        image_loads_no_library_into_the_hooks_of_devices
            because "variables of an image are none of its pod's; the pod that is made is tested beside the engine",
    ;
    only_at_podman:
        annotations_of_an_image_give_the_runtime_no_orders
            because "Docker and Kubernetes hand no annotations of images on",
    ;
}

/// Outcome of one attempt.
#[derive(Debug)]
struct Outcome {
    succeeded: bool,
    text: String,
}

/// Finds the outcome of an attempt among the lines of the program.
fn outcome(lines: &str, attempt: &Attempt) -> Option<Outcome> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["name"] == attempt.name)
        .map(|line| Outcome {
            succeeded: line["succeeded"] == true,
            text: line["text"].as_str().unwrap_or_default().to_owned(),
        })
}

impl Fixture {
    fn ask(&self, method: &str, path: &str, more: &[&str]) -> String {
        self.subject.ask(method, path, more)
    }

    fn ask_json(&self, method: &str, path: &str, document: &Value) -> Value {
        let document = document.to_string();
        let more = ["--header", "Content-Type: application/json", "--data", &document];
        let answer = self.ask(method, path, &more);
        serde_json::from_str(&answer).unwrap()
    }

    /// Imports an image from its root folder; returns its identifier.
    fn import(&self, root: &Path, changes: &[&str]) -> String {
        let changes: Vec<_> = ["ENV PATH=/usr/bin:/bin"]
            .iter()
            .chain(changes)
            .map(|change| (*change).to_owned())
            .collect();
        self.subject.import(&pack(root), &changes)
    }

    fn key(&self, number: u64) -> LeaseKey {
        LeaseKey {
            job: number,
            fingerprint: format!("e{}", std::process::id()),
        }
    }

    fn worker(&self, number: u64) -> String {
        format!("e{number}-{}", std::process::id())
    }

    /// Creates a job's container as the worker does, for a manifest without an image.
    async fn create(
        &self,
        number: u64,
        image: &str,
        mut manifest: Value,
        devices: Option<DeviceAccess>,
    ) -> Result<String, LeaseError> {
        // The identifier of an imported image is no name with a digest; the lease does not look at it.
        manifest["image"] = format!("a@sha256:{}", "ab".repeat(32)).into();
        let manifest = JobManifest::from_bytes(manifest.to_string().as_bytes()).unwrap();
        let root: ImageRoot = self.engine.image_root(image).await?;
        let key = self.key(number);
        let lease = self
            .leases
            .take(&LeaseRequest {
                key: key.clone(),
                slots: 1,
                share: SHARE,
                manifest: &manifest,
                image: &root,
            })
            .await?;
        let identity = ContainerIdentity {
            job: number,
            machine: 0,
            worker: self.worker(number),
            fingerprint: key.fingerprint,
        };
        let given = lease.devices.clone();
        let spec = ContainerSpec {
            devices: devices.unwrap_or(given),
            ..leased(identity, image, &manifest, SHARE, lease)
        };
        Ok(self.engine.create(&spec).await?)
    }

    /// Runs a job to its end; returns what it wrote to standard output. The disk stays.
    async fn run(&self, number: u64, image: &str, manifest: Value) -> Result<String, LeaseError> {
        let id = self.create(number, image, manifest, None).await?;
        let output = target(self.folder.path().join(format!("output-{number}")));
        let started = self.engine.start(&id, output.clone()).await;
        if started.is_ok() {
            self.engine.run_end(&id).await;
        }
        self.engine.remove(&id).await.unwrap();
        started?;
        let (stdout, _) = beginnings(&output.folder).unwrap().unwrap_or_default();
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Runs a container of our own, with every protection off and with folders of the host. Returns what its
    /// program wrote to the file in `ESCAPES_REPORT`.
    fn run_unprotected(
        &self,
        image: &str,
        command: &[&str],
        variables: &[(String, String)],
        binds: &[String],
    ) -> String {
        let report = self.folder.path().join(unique());
        std::fs::create_dir(&report).unwrap();
        let environment: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .chain(["ESCAPES_REPORT=/report/lines".to_owned()])
            .collect();
        let binds: Vec<_> = binds
            .iter()
            .cloned()
            .chain([format!("{}:/report", report.display())])
            .collect();
        let created = self.ask_json(
            "POST",
            "/containers/create",
            &json!({
                "Image": image, "Cmd": command, "Env": environment,
                "HostConfig": {
                    "Privileged": true, "PidMode": "host", "IpcMode": "host", "NetworkMode": "host", "UTSMode": "host",
                    "CgroupnsMode": "host", "SecurityOpt": ["seccomp=unconfined"], "Binds": binds,
                },
            }),
        );
        let id = created["Id"].as_str().unwrap();
        self.ask("POST", &format!("/containers/{id}/start"), &[]);
        self.ask("POST", &format!("/containers/{id}/wait"), &[]);
        self.ask("DELETE", &format!("/containers/{id}?force=1"), &[]);
        std::fs::read_to_string(report.join("lines")).unwrap_or_default()
    }

    /// Removes an image and a job's disk.
    async fn clean_up(&self, image: &str, jobs: &[u64]) {
        for job in jobs {
            self.leases.release(&self.key(*job)).await.unwrap();
        }
        assert!(self.engine.remove_image(image).await.unwrap());
        assert_eq!(self.disks.keys().unwrap(), []);
    }
}

/// Returns a manifest that runs a shell line.
fn shell(line: &str) -> Value {
    json!({ "entrypoint": ["/bin/busybox"], "command": ["sh", "-c", line] })
}

async fn no_attempt_of_a_tenant_gets_out(fixture: Fixture) {
    let Some(root) = make_root("escapes", fixture.folder.path()) else {
        return;
    };
    let image = fixture.import(&root, &[]);
    let host = Host::new(fixture.folder.path());
    let mut wrong = Vec::new();

    let variables = [host.variables(), vec![("ESCAPES_LEAK".into(), "/host".into())]].concat();
    let binds = [
        "/:/host".to_owned(),
        format!("{}:/run/docker.sock", fixture.subject.socket),
    ];
    let lines = fixture.run_unprotected(&image, &PROGRAM, &variables, &binds);
    for attempt in ATTEMPTS {
        let found = outcome(&lines, attempt);
        let is_as_expected = match (attempt.control, &found) {
            (_, None) => false,
            (Control::Succeeds, Some(found)) => found.succeeded,
            (Control::WhereTheKernelHasIt, Some(found)) => {
                found.succeeded || LACKING.iter().any(|text| found.text.contains(*text))
            }
            (Control::Impossible, Some(_)) => true,
        };
        if !is_as_expected {
            wrong.push(format!("{} without protection: {found:?}", attempt.name));
        }
    }

    for (number, profile) in [(1, Profile::Batch), (2, Profile::Interactive)] {
        let mut manifest = json!({ "entrypoint": PROGRAM[..1], "command": PROGRAM[1..] });
        manifest["env"] = host.variables().into_iter().collect();
        if profile == Profile::Interactive {
            manifest["profile"] = "interactive".into();
        }
        let lines = fixture.run(number, &image, manifest).await.unwrap();
        for attempt in ATTEMPTS {
            let found = outcome(&lines, attempt);
            let may_succeed = attempt.only_batch && profile == Profile::Interactive;
            if !matches!(&found, Some(found) if may_succeed || !found.succeeded) {
                wrong.push(format!("{} in {profile:?}: {found:?}", attempt.name));
            }
        }
    }
    drop(host);
    fixture.clean_up(&image, &[1, 2]).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A container that shows the folder itself would need a runtime with the fault, so there is no control.
async fn image_that_begins_in_a_folder_of_the_runtime_is_refused(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let image = fixture.import(&root, &["WORKDIR /proc/self/fd/8"]);
    let refused = fixture.run(1, &image, shell("pwd")).await.unwrap_err();
    assert!(
        matches!(&refused, LeaseError::Engine(EngineError::Refused { reason, .. }) if reason.contains("belongs to the system")),
        "{refused}"
    );
    fixture.clean_up(&image, &[1]).await;
    // A link of the image to that place; engines with the fault mended do not start it.
    std::os::unix::fs::symlink("/proc/self/fd/8", root.join("begin")).unwrap();
    let image = fixture.import(&root, &["WORKDIR /begin"]);
    let mark = fixture.folder.path().join("mark");
    std::fs::write(&mark, SECRET).unwrap();
    let line = format!("cat ../../../../../../../..{}", mark.display());
    let ran = fixture.run(2, &image, shell(&line)).await;
    assert!(
        !ran.as_ref().is_ok_and(|stdout| stdout.contains(SECRET)),
        "{ran:?}"
    );
    fixture.clean_up(&image, &[2]).await;
    // Engines create the folder if it is missing, on the host if they follow the link.
    let victim = fixture.folder.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let way = format!("/../../../../../..{}", victim.display());
    std::os::unix::fs::symlink(way, root.join("way")).unwrap();
    let image = fixture.import(&root, &["WORKDIR /way/made"]);
    let ran = fixture.run(3, &image, shell("pwd")).await;
    assert!(!victim.join("made").exists(), "{ran:?}");
    fixture.clean_up(&image, &[3]).await;
}

async fn links_of_an_image_lead_no_mount_to_the_host(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let victim = fixture.folder.path().join("victim");
    for place in ["work", "run", "var/tmp", "etc"] {
        std::fs::create_dir_all(victim.join(place)).unwrap();
    }
    let way = |place: &str| format!("/../../../../../..{}/{place}", victim.display());
    std::fs::create_dir_all(root.join("var")).unwrap();
    for place in ["work", "run", "var/tmp", "etc/hosts", "etc/resolv.conf"] {
        let _ = std::fs::remove_dir_all(root.join(place));
        std::os::unix::fs::symlink(way(place), root.join(place)).unwrap();
    }
    let image = fixture.import(&root, &[]);
    let line = "for place in /work /run /var/tmp; do echo x > $place/mark; done; echo x >> /etc/hosts; true";
    let files = || -> Vec<PathBuf> {
        [
            "work/mark",
            "run/mark",
            "var/tmp/mark",
            "etc/hosts",
            "etc/resolv.conf",
        ]
        .iter()
        .map(|place| victim.join(place))
        .filter(|path| path.exists())
        .collect()
    };
    for (number, profile) in [(1, "batch"), (2, "interactive")] {
        let mut manifest = shell(line);
        manifest["profile"] = profile.into();
        // It may be refused, and it may run with the links inside of its own root.
        let _ = fixture.run(number, &image, manifest).await;
        assert_eq!(files(), Vec::<PathBuf>::new(), "{profile}");
    }
    // The same links lead there in a container that has the folder.
    let bind = format!("{0}:{0}", victim.display());
    fixture.run_unprotected(&image, &["/bin/busybox", "sh", "-c", line], &[], &[bind]);
    assert!(files().contains(&victim.join("work/mark")), "{:?}", files());
    fixture.clean_up(&image, &[1, 2]).await;
}

async fn links_in_place_of_proc_leave_the_settings_of_the_kernel_closed(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let line = "if : 2>/dev/null >>/proc/sys/kernel/core_pattern; then echo reached; fi | tee ${ESCAPES_REPORT:-/dev/null}";
    let image = fixture.import(&root, &[]);
    let lines = fixture.run_unprotected(&image, &["/bin/busybox", "sh", "-c", line], &[], &[]);
    assert_eq!(lines, "reached\n", "without protection");
    fixture.clean_up(&image, &[]).await;

    for name in ["proc", "sys"] {
        std::fs::create_dir_all(root.join("elsewhere").join(name)).unwrap();
        let _ = std::fs::remove_dir(root.join(name));
        std::os::unix::fs::symlink(format!("/elsewhere/{name}"), root.join(name)).unwrap();
    }
    let image = fixture.import(&root, &[]);
    for (number, profile) in [(1, "batch"), (2, "interactive")] {
        let mut manifest = shell(line);
        manifest["profile"] = profile.into();
        // Runtimes with the fault mended do not start it.
        let ran = fixture.run(number, &image, manifest).await;
        assert!(
            !ran.as_ref().is_ok_and(|stdout| stdout.contains("reached")),
            "{ran:?}"
        );
    }
    fixture.clean_up(&image, &[1, 2]).await;
}

/// The control is the same image without the link, which runs.
async fn link_in_place_of_dev_leaves_the_folder_behind_it_alone(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let image = fixture.import(&root, &[]);
    assert_eq!(
        fixture.run(1, &image, shell("echo runs")).await.unwrap(),
        "runs\n"
    );
    fixture.clean_up(&image, &[1]).await;

    let victim = fixture.folder.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("ptmx"), SECRET).unwrap();
    let _ = std::fs::remove_dir_all(root.join("dev"));
    let way = format!("/../../../../../..{}", victim.display());
    std::os::unix::fs::symlink(way, root.join("dev")).unwrap();
    let image = fixture.import(&root, &[]);
    let ran = fixture.run(2, &image, shell("true")).await;
    if fixture.subject.name == PODMAN {
        assert!(
            matches!(&ran, Err(LeaseError::Engine(EngineError::Refused { reason, .. })) if reason.contains("/dev")),
            "{ran:?}"
        );
    }
    let names: Vec<_> = std::fs::read_dir(&victim)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["ptmx"], "{ran:?}");
    assert_eq!(std::fs::read_to_string(victim.join("ptmx")).unwrap(), SECRET);
    fixture.clean_up(&image, &[2]).await;
}

/// The control is the walk of the test's own that follows links: it finds the secret.
async fn output_folder_shows_nothing_of_the_host(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let image = fixture.import(&root, &[]);
    let mark = fixture.folder.path().join("mark");
    std::fs::write(&mark, SECRET).unwrap();
    let line = format!(
        "mkdir /work/out; cd /work/out; ln -s {0} file; ln -s {1} folder; ln -s {1} ../linked; mkfifo pipe; \
         ln {0} hard; mknod disk b 7 0; ln /etc/passwd passwd; true",
        mark.display(),
        fixture.folder.path().display()
    );
    let mut manifest = shell(&line);
    manifest["output"] = "/work/out".into();
    fixture.run(1, &image, manifest).await.unwrap();
    let data = fixture.leases.work_folder(&fixture.key(1)).await.unwrap();
    let follows = std::fs::read_to_string(data.join("out/file")).unwrap();
    assert_eq!(follows, SECRET, "whoever follows the link leaves the folder");

    let stop = AtomicBool::new(false);
    let folder = OutputFolder::new(&data, "out");
    let listing = folder.listing(None, &stop).unwrap();
    let secret: [u8; 32] = blake3::hash(SECRET.as_bytes()).into();
    assert!(listing.entries().iter().all(|entry| entry.hash != secret));
    let paths: Vec<_> = listing
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    assert_eq!(
        paths,
        ["file", "folder"],
        "links as links, and nothing behind them"
    );
    assert_eq!(listing.skipped(), 1, "the pipe");
    for path in [&b"file"[..], b"folder", b"folder/mark", b"pipe"] {
        let error = folder.entry(path, None, &stop).unwrap_err();
        assert!(matches!(error, ArtifactError::NotAFile), "{error}");
    }
    let error = OutputFolder::new(&data, "linked")
        .listing(None, &stop)
        .unwrap_err();
    assert!(matches!(error, ArtifactError::NotAFile), "{error}");
    fixture.clean_up(&image, &[1]).await;
}

/// Labels of an image are labels of its containers, as the first assertion shows.
async fn labels_of_an_image_name_no_other_job(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let changes = [
        "LABEL other=kept",
        "LABEL assay.job=999",
        "LABEL assay.worker=other",
    ];
    let image = fixture.import(&root, &changes);
    let id = fixture.create(1, &image, shell("true"), None).await.unwrap();
    let record = fixture.subject.inspect(&id);
    assert_eq!(record["Config"]["Labels"]["other"], "kept");
    let listed = fixture.engine.list(&fixture.worker(1)).await.unwrap();
    assert_eq!(
        listed.iter().map(|container| container.job).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(fixture.engine.list("other").await.unwrap(), []);
    fixture.engine.remove(&id).await.unwrap();
    fixture.clean_up(&image, &[1]).await;
}

/// The worker decides on the request alone: without a GPU there is no hook to run.
async fn image_loads_no_library_into_the_hooks_of_devices(fixture: Fixture) {
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let image = fixture.import(&root, &["ENV LD_LIBRARY_PATH=/proc/self/cwd/lib"]);
    let mut manifest = shell("true");
    manifest["env"] = json!({ "LD_PRELOAD": "/proc/self/cwd/library.so", "NVIDIA_VISIBLE_DEVICES": "all" });
    for (number, devices) in [
        (1, None),
        (2, Some(DeviceAccess::Nvidia(vec!["GPU-nowhere".into()]))),
    ] {
        let has_devices = devices.is_some();
        let id = fixture
            .create(number, &image, manifest.clone(), devices)
            .await
            .unwrap();
        let record = fixture.subject.inspect(&id);
        fixture.engine.remove(&id).await.unwrap();
        let environment = record["Config"]["Env"].as_array().unwrap();
        // The last value counts.
        let last = |name: &str| {
            environment
                .iter()
                .filter_map(|entry| entry.as_str()?.split_once('='))
                .rfind(|(found, _)| *found == name)
                .map(|(_, value)| value.to_owned())
        };
        let (path, preload) = if has_devices {
            ("", "")
        } else {
            ("/proc/self/cwd/lib", "/proc/self/cwd/library.so")
        };
        assert_eq!(last("LD_LIBRARY_PATH").as_deref(), Some(path), "job {number}");
        assert_eq!(last("LD_PRELOAD").as_deref(), Some(preload), "job {number}");
        assert_eq!(
            last("NVIDIA_VISIBLE_DEVICES").as_deref(),
            Some("void"),
            "job {number}"
        );
    }
    fixture.clean_up(&image, &[1, 2]).await;
}

async fn annotations_of_an_image_give_the_runtime_no_orders(fixture: Fixture) {
    let Some(mut podman) = OwnService::command() else {
        println!("no engine of one's own: set ASSAY_TEST_ENGINE_COMMAND");
        return;
    };
    let Some(root) = make_root("plain", fixture.folder.path()) else {
        return;
    };
    let base = fixture.import(&root, &[]);
    let recipe = fixture.folder.path().join("recipe");
    std::fs::create_dir(&recipe).unwrap();
    let text = format!("FROM {}\n", base.trim_start_matches("sha256:"));
    std::fs::write(recipe.join("Containerfile"), text).unwrap();
    let order = "org.systemd.property.MemoryMax";
    let built = podman
        .args([
            "build",
            "--quiet",
            "--annotation",
            &format!("{order}=1"),
            "--file",
        ])
        .arg(recipe.join("Containerfile"))
        .arg(&recipe)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let image = String::from_utf8(built.stdout).unwrap().trim().to_owned();

    let refused = fixture.create(1, &image, shell("true"), None).await.unwrap_err();
    assert!(
        matches!(&refused, LeaseError::Engine(EngineError::Refused { reason, .. }) if reason.contains(order)),
        "{refused}"
    );
    // Without the worker's check it gets to the runtime.
    let body = json!({ "Image": image, "Cmd": ["true"], "HostConfig": { "NetworkMode": "none" } });
    let created = fixture.ask_json("POST", "/containers/create", &body);
    let id = created["Id"].as_str().unwrap();
    let record: Value =
        serde_json::from_str(&fixture.ask("GET", &format!("/libpod/containers/{id}/json"), &[])).unwrap();
    fixture.ask("DELETE", &format!("/containers/{id}?force=1"), &[]);
    assert_eq!(record["Config"]["Annotations"][order], "1");
    assert!(fixture.engine.remove_image(&image).await.unwrap());
    fixture.clean_up(&base, &[1]).await;
}

#[test]
fn document_and_program_have_the_attempts_of_the_table() {
    let document = include_str!("../../../docs/LEASE.md");
    let (_, section) = document.split_once("\n## What tenants try\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    // Without the head of the table.
    let documented: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| attempt |"))
        .collect();
    let expected: Vec<_> = ATTEMPTS
        .iter()
        .map(|attempt| (attempt.name, attempt.reference, attempt.stopped_by))
        .chain(IMAGES.iter().copied())
        .map(|(name, reference, stopped_by)| format!("| {name} | {reference} | {stopped_by} |"))
        .collect();
    assert_eq!(documented, expected);

    let program = include_str!("escapes/attempts.py");
    for attempt in ATTEMPTS {
        assert!(
            program.contains(&format!("(\"{}\")", attempt.name))
                || program.contains(&format!("    \"{}\": ", attempt.name)),
            "attempts.py lacks {}",
            attempt.name
        );
    }
}
