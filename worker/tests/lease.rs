//! Leases in real containers: disks, profiles, and what ordinary images do in them.
//!
//! See `worker/tests/engine.rs` for the environment. The images of the table are made by
//! `worker/tests/images/root` and imported with `ASSAY_TEST_ENGINE_COMMAND`; without that command the table
//! is left out, and so is a kind that this machine has no programs for. Everything here needs disks, which
//! need root and loop devices.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap, future::Future, os::unix::fs::MetadataExt, path::PathBuf, process::Command,
    time::Duration,
};

use assay_client::manifest::{JobManifest, Profile};
use assay_primitives::job::StdoutResult;
use assay_worker::{
    artifacts::OutputFolder,
    config::SlotShare,
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerSpec, DockerEngine, EngineEndpoint,
        EngineError, Exit, ImageRoot,
    },
    files::Disk,
    image_cache::ImageCache,
    lease::{
        LeaseError, LeaseKey, LeaseRequest, Leases, Storage,
        disk::{DiskSettings, Disks},
    },
    logs::{LiveLogs, beginnings},
};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/own_service.rs"]
mod own_service;

use own_service::OwnService;

/// Result of a run: exit code, standard output and standard error.
type Ran = (i32, String, String);

struct Fixture {
    engine: DockerEngine,
    /// Image with a static busybox.
    image: String,
    folder: tempfile::TempDir,
    disks: Disks,
    leases: Leases,
}

/// Runs a test against the engine, if there is one and the host can hold disks.
fn with_engine<F: Future<Output = ()>>(limit_s: u64, test: impl FnOnce(Fixture) -> F) {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(socket), Some(image)) = (variable("ASSAY_TEST_ENGINE_SOCKET"), variable("ASSAY_TEST_IMAGE"))
    else {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let opened = Disks::open(DiskSettings {
        folder: folder.path().join("disks"),
        mib_per_slot: 256,
        slots: 4,
        kept_output_bytes: 0,
    });
    let disks = match opened {
        Ok(disks) => disks,
        Err(reason) => {
            println!("no disks here: nothing is tested: {reason}");
            return;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let held = disks.clone();
    let fixture = Fixture {
        engine: DockerEngine::new(EngineEndpoint::resolve(Some(&socket))),
        image,
        folder,
        leases: Leases::default().with_storage(Storage::Disks(disks.clone())),
        disks,
    };
    runtime.block_on(async {
        let ended = tokio::time::timeout(Duration::from_secs(limit_s), test(fixture)).await;
        for key in held.keys().unwrap_or_default() {
            held.release(&key).await.unwrap();
        }
        ended.expect("the test takes too long");
    });
}

/// One job: its image and its manifest.
struct Job<'a> {
    number: u64,
    image: &'a str,
    manifest: JobManifest,
}

impl<'a> Job<'a> {
    /// Makes a job that runs a shell line; `more` are further keys of the manifest.
    fn new(number: u64, image: &'a str, line: &str, more: &str) -> Self {
        // The name of an imported image has no digest; the lease does not look at it.
        let text = format!(
            r#"{{"image":"a@sha256:{}","entrypoint":["/bin/busybox"],"command":["sh","-c",{}]{more}}}"#,
            "ab".repeat(32),
            serde_json::to_string(line).unwrap()
        );
        Self {
            number,
            image,
            manifest: JobManifest::from_bytes(text.as_bytes()).unwrap(),
        }
    }
}

const SHARE: SlotShare = SlotShare {
    memory_mib: 512,
    cpu_millis: 2_000,
    processes: 128,
};

impl Fixture {
    fn key(&self, number: u64) -> LeaseKey {
        LeaseKey {
            job: number,
            fingerprint: format!("p{}", std::process::id()),
        }
    }

    async fn create(&self, job: &Job<'_>) -> Result<String, LeaseError> {
        let root: ImageRoot = self.engine.image_root(job.image).await?;
        let key = self.key(job.number);
        let lease = self
            .leases
            .take(&LeaseRequest {
                key: key.clone(),
                slots: 1,
                share: SHARE,
                manifest: &job.manifest,
                image: &root,
            })
            .await?;
        let spec = ContainerSpec {
            identity: ContainerIdentity {
                job: job.number,
                machine: 0,
                worker: format!("w{}-{}", job.number, std::process::id()),
                fingerprint: key.fingerprint,
            },
            image: job.image.to_owned(),
            entrypoint: job.manifest.entrypoint.clone(),
            command: job.manifest.command.clone(),
            environment: lease.environment,
            share: SHARE,
            shm_mib: lease.shm_mib,
            profile: job.manifest.profile,
            capabilities: lease.capabilities,
            writable_root: lease.writable_root,
            runtime: None,
            network: lease.network,
            ports: lease.ports,
            devices: lease.devices,
            holding: lease.holding,
            disk: lease.disk,
            mounts: lease.mounts,
        };
        Ok(self.engine.create(&spec).await?)
    }

    /// Runs a job to its end, and removes its container; the disk stays.
    async fn run(&self, job: &Job<'_>) -> Result<Ran, LeaseError> {
        let id = self.create(job).await?;
        let output = CaptureTarget {
            folder: self.folder.path().join(format!("output-{}", job.number)),
            append: false,
            logs: LiveLogs::default(),
        };
        let started = self.engine.start(&id, output.clone()).await;
        let end = match started {
            Ok(()) => self.engine.run_end(&id).await,
            Err(error) => {
                self.engine.remove(&id).await.unwrap();
                return Err(error.into());
            }
        };
        self.engine.remove(&id).await.unwrap();
        let (stdout, stderr) = beginnings(&output.folder).unwrap().unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = match end.exit {
            Exit::Clean(code) | Exit::Signalled(code) => code,
            Exit::Unseen => panic!("the run was not seen"),
        };
        Ok((code, text(stdout), text(stderr)))
    }

    /// Runs a shell line in the small image.
    async fn line(&self, number: u64, line: &str, more: &str) -> Ran {
        self.engine
            .pull(&self.image, digest_of(&self.image), None)
            .await
            .unwrap();
        self.run(&Job::new(number, &self.image, line, more))
            .await
            .unwrap()
    }
}

fn digest_of(image: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    hex::decode_to_slice(image.rsplit(':').next().unwrap(), &mut digest).unwrap();
    digest
}

#[test]
fn job_fills_its_disk_and_the_host_stays_whole() {
    with_engine(100, |fixture| async move {
        let line = "cat /dev/zero > /work/zeros; echo code $?; ls -ld /work; cat /proc/mounts";
        let (code, stdout, stderr) = fixture.line(1, line, "").await;
        assert_eq!(code, 0, "{stderr}");
        assert!(
            stdout.starts_with("code 1\n") && stderr.contains("No space left on device"),
            "{stderr}"
        );
        assert!(stdout.contains("drwxrwxrwt"), "{stdout}");
        let data = fixture.leases.work_folder(&fixture.key(1)).await.unwrap();
        let written = std::fs::metadata(data.join("zeros")).unwrap().len();
        assert!((200 << 20..256 << 20).contains(&written), "{written}");
        let image = fixture
            .disks
            .folder()
            .join(fixture.key(1).to_string())
            .join("image");
        let taken = std::fs::metadata(image).unwrap().blocks() * 512;
        assert!(taken <= 257 << 20, "{taken}");
        // Another job has its own, and the first one's is gone with it.
        let (_, stdout, _) = fixture
            .line(2, "ls /work; echo more > /work/file; cat /work/file", "")
            .await;
        assert_eq!(stdout, "more\n");
        fixture.leases.release(&fixture.key(1)).await.unwrap();
        assert!(!data.exists());
        assert_eq!(fixture.disks.keys().unwrap(), [fixture.key(2)]);
    });
}

#[test]
fn scratch_may_execute_and_shared_memory_has_its_size() {
    with_engine(100, |fixture| async move {
        let line = "for folder in /tmp /var/tmp /work; do cp /bin/busybox $folder/sh && $folder/sh -c \"echo $folder\"; done; \
                    /bin/busybox df -m /dev/shm | /bin/busybox tail -n 1 | /bin/busybox awk '{ print $2 }'; \
                    /bin/busybox touch /file /bin/file; echo $?";
        let (_, stdout, stderr) = fixture.line(1, line, r#","shm_mib":128"#).await;
        assert_eq!(stdout, "/tmp\n/var/tmp\n/work\n128\n1\n", "{stderr}");
    });
}

#[test]
fn disk_is_where_the_manifest_wants_it_and_output_is_read_from_it() {
    with_engine(100, |fixture| async move {
        let line = "set -e; cd /data/set; mkdir -p out/inner; printf 'a\\n' > out/inner/file; ln -s /etc out/link; \
                    printf '\\377\\000' > out/bytes";
        let more = r#","work_dir":"/data/set","output":"/data/set/out""#;
        let mut hashes = Vec::new();
        for number in [1, 2] {
            let (code, _, stderr) = fixture.line(number, line, more).await;
            assert_eq!(code, 0, "{stderr}");
            let data = fixture.leases.work_folder(&fixture.key(number)).await.unwrap();
            let listing = OutputFolder::new(data, "out")
                .listing(None, &std::sync::atomic::AtomicBool::new(false))
                .unwrap();
            assert_eq!(listing.entries().len(), 3);
            hashes.push(listing.root_hash());
        }
        assert_eq!(hashes[0], hashes[1], "two runs of one job agree");
    });
}

#[test]
fn one_line_of_a_mebibyte_is_hashed_whole() {
    with_engine(100, |fixture| async move {
        fixture
            .engine
            .pull(&fixture.image, digest_of(&fixture.image), None)
            .await
            .unwrap();
        let line = "cat /dev/zero | /bin/busybox head -c 1048576 | /bin/busybox tr '\\000' x";
        let id = fixture
            .create(&Job::new(1, &fixture.image, line, ""))
            .await
            .unwrap();
        let output = CaptureTarget {
            folder: fixture.folder.path().join("output"),
            append: false,
            logs: LiveLogs::default(),
        };
        fixture.engine.start(&id, output).await.unwrap();
        let end = fixture.engine.run_end(&id).await;
        fixture.engine.remove(&id).await.unwrap();
        let expected = blake3::hash(&vec![b'x'; 1 << 20]).into();
        assert_eq!(end.stdout, Some(StdoutResult::Whole(expected)));
    });
}

#[test]
fn writable_root_has_the_limit_of_the_disk() {
    with_engine(100, |fixture| async move {
        let line = "echo new > /bin/new && cat /bin/new; cat /dev/zero > /bin/zeros; echo $?; \
                    grep -E '^(CapEff|NoNewPrivs)' /proc/self/status";
        for (number, more, rights) in [
            (
                1,
                r#","writable_root":true"#,
                "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n",
            ),
            (
                2,
                r#","profile":"interactive""#,
                "CapEff:\t00000000200405fb\nNoNewPrivs:\t0\n",
            ),
        ] {
            let (code, stdout, stderr) = fixture.line(number, line, more).await;
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(stdout, format!("new\n1\n{rights}"), "{stderr}");
            assert!(stderr.contains("No space left on device"), "{stderr}");
        }
        // The image itself is as it was.
        let (_, stdout, _) = fixture.line(3, "cat /bin/new || echo none", "").await;
        assert_eq!(stdout, "none\n");
    });
}

/// A row of the table in `docs/LEASE.md`: what happens to an image in each profile.
struct Row {
    name: &'static str,
    /// Kind of root folder, see `worker/tests/images/root`.
    kind: &'static str,
    /// Settings of the image, one instruction each.
    changes: &'static [&'static str],
    line: &'static str,
    batch: &'static str,
    interactive: &'static str,
}

const WORKS: &str = "works";

/// Each line prints `fine` at its end if the image did its work, and otherwise fails.
const TABLE: [Row; 15] = [
    Row {
        name: "Debian: `apt-get install` of a package",
        kind: "debian",
        changes: &[],
        line: "apt-get install -y /opt/greeting.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }; \
               ls -ln /usr/share/greeting/file | grep -q ' 1000 ' && echo fine",
        batch: "fails: the root is read-only",
        interactive: WORKS,
    },
    Row {
        name: "`su` to another user",
        kind: "su",
        changes: &[],
        line: "[ \"$(/usr/bin/su user -c 'id -u')\" = 1000 ] && echo fine",
        batch: "fails: no right to change users",
        interactive: WORKS,
    },
    Row {
        name: "set-user-ID `su` of an ordinary user",
        kind: "su",
        changes: &["USER 1000"],
        line: "[ \"$(/usr/bin/su root -c 'id -u')\" = 0 ] && echo fine",
        batch: "fails: no right to change users",
        interactive: WORKS,
    },
    Row {
        name: "nginx as root: port 80, workers of another user",
        kind: "nginx",
        changes: &[],
        line: "nginx; sleep 1; [ \"$(wget -q -O - http://127.0.0.1/)\" = greeting ] && echo fine",
        batch: "fails: the root is read-only",
        interactive: WORKS,
    },
    Row {
        name: "nginx as an ordinary user",
        kind: "nginx",
        changes: &["USER 33"],
        line: "nginx -c /etc/nginx/plain.conf; sleep 1; \
               [ \"$(wget -q -O - http://127.0.0.1:8080/)\" = greeting ] && echo fine",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "PostgreSQL with its volume",
        kind: "postgres",
        changes: &["USER 70", "VOLUME /var/lib/postgresql/data"],
        line: "export PATH=/postgresql/bin:$PATH PGDATA=/var/lib/postgresql/data; initdb -N --no-locale >/tmp/log 2>&1 && \
               pg_ctl -w -o '-k /tmp' start >/tmp/log2 2>&1 && \
               [ \"$(psql -h /tmp -Atc 'select 6*7' postgres)\" = 42 ] && echo fine || { cat /tmp/log /tmp/log2 >&2; exit 1; }",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "Redis with its volume",
        kind: "redis",
        changes: &["USER 1000", "VOLUME /data", "WORKDIR /data"],
        line: "redis-server --daemonize yes --dir /data >/tmp/log; sleep 1; redis-cli set a b >/tmp/log; \
               redis-cli save >/tmp/log; [ \"$(redis-cli get a)\" = b ] && [ -s /data/dump.rdb ] && echo fine",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "Python: `pip install --user` into the home folder of root",
        kind: "python",
        changes: &["ENV HOME=/root"],
        line: "python3 -m pip install --user --no-index --break-system-packages /opt/greeting-1-py3-none-any.whl \
               >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }; python3 -c 'import greeting' && echo fine",
        batch: "fails: the root is read-only",
        interactive: WORKS,
    },
    Row {
        name: "Python: `pip install --user` with `HOME=/work`",
        kind: "python",
        changes: &["ENV HOME=/work", "USER 1000"],
        line: "python3 -m pip install --user --no-index --break-system-packages /opt/greeting-1-py3-none-any.whl \
               >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }; python3 -c 'import greeting' && echo fine",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "Node.js: compiler at run time",
        kind: "node",
        changes: &["USER 1000"],
        line: "node -e 'let s = 0; for (let i = 0; i < 1e7; i++) s += i % 7; console.log(s > 0 ? \"fine\" : s)'",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "entrypoint that changes owners",
        kind: "volumes",
        changes: &[],
        line: "touch /work/file && chown 1000 /work/file && echo fine",
        batch: "fails: no right to change owners",
        interactive: WORKS,
    },
    Row {
        name: "user of the image's own",
        kind: "plain",
        changes: &["USER 1000"],
        line: "[ \"$(id -u)\" = 1000 ] && echo a > /work/file && echo b > /tmp/file && echo fine",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "odd volumes: `/data/`, `/a/../data`, `/not/there`",
        kind: "volumes",
        changes: &[
            "USER 1000",
            "VOLUME /data/",
            "VOLUME /a/../data",
            "VOLUME /not/there",
        ],
        line: "[ \"$(cat /data/seed)\" = seed ] && echo a > /data/file && echo b > /not/there/file && echo fine",
        batch: WORKS,
        interactive: WORKS,
    },
    Row {
        name: "volume `/`",
        kind: "plain",
        changes: &["VOLUME /"],
        line: "echo fine",
        batch: "refused: the volume belongs to the system",
        interactive: "refused: the volume belongs to the system",
    },
    Row {
        name: "a thousand volumes",
        kind: "plain",
        // Made by the test.
        changes: &[],
        line: "echo fine",
        batch: "refused: a container has at most 64 volumes",
        interactive: "refused: a container has at most 64 volumes",
    },
];

/// Makes the root folders of images, each once, and imports images from them.
struct Images {
    folder: tempfile::TempDir,
    /// Archive of each kind; `None` if it cannot be made here.
    roots: HashMap<&'static str, Option<PathBuf>>,
}

impl Images {
    fn root(&mut self, kind: &'static str) -> Option<PathBuf> {
        let folder = self.folder.path();
        let make = || {
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
            let archive = folder.join(format!("{kind}.tar"));
            let packed = Command::new("tar")
                .arg("-C")
                .arg(&root)
                .arg("-cf")
                .arg(&archive)
                .arg(".")
                .status();
            assert!(packed.unwrap().success());
            std::fs::remove_dir_all(&root).unwrap();
            Some(archive)
        };
        self.roots.entry(kind).or_insert_with(make).clone()
    }

    /// Imports an image, and returns its name.
    fn import(&mut self, number: usize, row: &Row) -> Option<String> {
        let archive = self.root(row.kind)?;
        let name = format!("localhost/assay-kind-{}:{number}", std::process::id());
        let mut changes: Vec<String> = row.changes.iter().map(|change| (*change).to_owned()).collect();
        if row.name == "a thousand volumes" {
            let volumes: Vec<_> = (0..1_000).map(|number| format!("\"/v{number}\"")).collect();
            changes.push(format!("VOLUME [{}]", volumes.join(",")));
        }
        changes.push("ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin".into());
        let mut command = OwnService::command()?;
        command.args(["import", "--quiet"]);
        for change in changes {
            command.args(["--change", &change]);
        }
        let imported = command.arg(archive).arg(&name).output().unwrap();
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        Some(name)
    }
}

/// Says in the table's words what happened.
fn outcome(ran: &Result<Ran, LeaseError>) -> String {
    let (stdout, stderr) = match ran {
        Ok((0, stdout, _)) if stdout.ends_with("fine\n") => return WORKS.into(),
        Ok((_, stdout, stderr)) => (stdout, stderr.to_lowercase()),
        Err(LeaseError::Engine(EngineError::Refused { reason, .. }))
            if reason.contains("belongs to the system") =>
        {
            return "refused: the volume belongs to the system".into();
        }
        Err(LeaseError::Engine(EngineError::Refused { reason, .. })) if reason.contains("at most 64") => {
            return "refused: a container has at most 64 volumes".into();
        }
        Err(error) => return error.to_string(),
    };
    if stderr.contains("read-only file system") {
        "fails: the root is read-only".into()
    } else if stderr.contains("chown") && stderr.contains("not permitted") {
        "fails: no right to change owners".into()
    } else if stderr.contains("not permitted") || stderr.contains("cannot set groups") {
        "fails: no right to change users".into()
    } else {
        format!("{stdout:?} {stderr:?}")
    }
}

#[test]
fn ordinary_images_do_what_the_table_says() {
    with_engine(400, |fixture| async move {
        if OwnService::command().is_none() {
            println!("no engine of one's own: set ASSAY_TEST_ENGINE_COMMAND");
            return;
        }
        let mut images = Images {
            folder: tempfile::tempdir().unwrap(),
            roots: HashMap::new(),
        };
        let document = include_str!("../../docs/LEASE.md");
        let mut wrong = Vec::new();
        for (number, row) in TABLE.iter().enumerate() {
            let documented = format!("| {} | {} | {} |", row.name, row.batch, row.interactive);
            if !document.lines().any(|line| line == documented) {
                wrong.push(format!("docs/LEASE.md lacks: {documented}"));
            }
            let Some(image) = images.import(number, row) else {
                continue;
            };
            for (profile, expected) in [
                (Profile::Batch, row.batch),
                (Profile::Interactive, row.interactive),
            ] {
                let more = match profile {
                    Profile::Batch => "",
                    Profile::Interactive => r#","profile":"interactive""#,
                };
                let job = Job::new(number as u64 + 1, &image, row.line, more);
                let ran = fixture.run(&job).await;
                let found = outcome(&ran);
                if found != expected {
                    wrong.push(format!(
                        "{} ({profile:?}): {found}, not {expected}: {ran:?}",
                        row.name
                    ));
                }
                fixture.leases.release(&fixture.key(job.number)).await.unwrap();
            }
            assert!(fixture.engine.remove_image(&image).await.unwrap());
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn volume_of_an_image_has_the_limit_of_the_disk() {
    with_engine(100, |fixture| async move {
        if OwnService::command().is_none() {
            println!("no engine of one's own: set ASSAY_TEST_ENGINE_COMMAND");
            return;
        }
        let mut images = Images {
            folder: tempfile::tempdir().unwrap(),
            roots: HashMap::new(),
        };
        let row = Row {
            name: "volume",
            kind: "volumes",
            changes: &["VOLUME /data"],
            line: "",
            batch: WORKS,
            interactive: WORKS,
        };
        let Some(image) = images.import(100, &row) else {
            return;
        };
        let line = "cat /dev/zero > /data/zeros; ls -ldn /data | awk '{ print $3 }'";
        let job = Job::new(1, &image, line, r#","work_dir":"/data/work""#);
        // Root without capabilities may not write what belongs to the image's user.
        let (_, stdout, stderr) = fixture.run(&job).await.unwrap();
        assert_eq!(stdout, "1000\n");
        assert!(stderr.contains("Permission denied"), "{stderr}");
        let job = Job::new(2, &image, line, r#","profile":"interactive""#);
        let (_, stdout, stderr) = fixture.run(&job).await.unwrap();
        assert_eq!(stdout, "1000\n");
        assert!(stderr.contains("No space left on device"), "{stderr}");
        // The engine made no volume of its own.
        let volumes = OwnService::command()
            .unwrap()
            .args(["volume", "ls", "--quiet"])
            .output();
        assert_eq!(String::from_utf8(volumes.unwrap().stdout).unwrap(), "");
        assert!(fixture.engine.remove_image(&image).await.unwrap());
    });
}

#[test]
fn images_are_kept_to_a_bound_and_never_taken_from_a_container() {
    with_engine(100, |fixture| async move {
        let (Some(registry), Some(_)) = (std::env::var_os("ASSAY_TEST_REGISTRY"), OwnService::command())
        else {
            println!("no registry or no engine of one's own");
            return;
        };
        let registry = registry.into_string().unwrap();
        let podman = |arguments: &[&str]| {
            let done = OwnService::command().unwrap().args(arguments).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        // Three images of 8 MiB, of which two and a small one fit.
        let mut references = Vec::new();
        for number in 0..3u8 {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("root")).unwrap();
            let root = folder.path().join("root");
            std::fs::copy("/bin/busybox", root.join("busybox")).unwrap();
            std::fs::write(root.join("content"), vec![number; 8 << 20]).unwrap();
            let archive = folder.path().join("image.tar");
            let packed = Command::new("tar")
                .arg("-C")
                .arg(&root)
                .arg("-cf")
                .arg(&archive)
                .arg(".")
                .status();
            assert!(packed.unwrap().success());
            let name = format!("{registry}/assay-cache-{number}:latest");
            let digest_file = folder.path().join("digest");
            podman(&["import", "--quiet", archive.to_str().unwrap(), &name]);
            podman(&[
                "push",
                "--quiet",
                "--digestfile",
                digest_file.to_str().unwrap(),
                &name,
            ]);
            podman(&["rmi", &name]);
            let digest = std::fs::read_to_string(digest_file).unwrap();
            references.push(format!("{registry}/assay-cache-{number}@{}", digest.trim()));
        }
        let cache = ImageCache::open(fixture.folder.path(), Disk::default(), Some(22 << 20));
        let has = async |number: usize| {
            let image: &String = &references[number];
            fixture.engine.has_image(image, digest_of(image)).await.unwrap()
        };
        let pull = async |number: usize| {
            let image: &String = &references[number];
            drop(
                cache
                    .pull(&fixture.engine, image, digest_of(image), None)
                    .await
                    .unwrap(),
            );
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        };
        pull(0).await;
        let mut job = Job::new(1, &references[0], "", "");
        job.manifest.entrypoint = vec!["/busybox".into(), "true".into()];
        let container = fixture.create(&job).await.unwrap();
        pull(1).await;
        assert!(has(0).await && has(1).await, "both fit");
        pull(2).await;
        assert!(has(0).await, "a container has it, though it was used first");
        assert!(!has(1).await && has(2).await);
        fixture.engine.remove(&container).await.unwrap();
        pull(1).await;
        assert!(!has(0).await && has(1).await && has(2).await);
        for image in &references {
            assert!(fixture.engine.remove_image(image).await.unwrap());
        }
        assert!(
            fixture.engine.remove_image(&references[0]).await.unwrap(),
            "gone already"
        );
    });
}

#[test]
fn image_that_was_used_tells_its_layers() {
    with_engine(100, |fixture| async move {
        fixture
            .engine
            .pull(&fixture.image, digest_of(&fixture.image), None)
            .await
            .unwrap();
        let root = fixture.engine.image_root(&fixture.image).await.unwrap();
        assert_eq!(root.volumes, Vec::<String>::new());
        let busybox = root.layers.iter().map(|layer| layer.join("bin/busybox"));
        let sizes: Vec<u64> = busybox
            .filter_map(|path| Some(path.metadata().ok()?.size()))
            .collect();
        assert_eq!(sizes.len(), 1, "{root:?}");
        let listed = fixture.engine.images().await.unwrap();
        let found = listed
            .iter()
            .find(|image| image.references.contains(&fixture.image))
            .unwrap();
        assert!(found.bytes >= sizes[0]);
    });
}
