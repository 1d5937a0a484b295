//! Leases in real containers: disks, profiles, output folders, secrets, and what ordinary images do in them.
//!
//! The images of the table are made by `worker/tests/images/root`; a kind that this machine has no
//! programs for is left out. Disks of Podman's and Docker's containers need root and loop devices; those of
//! pods are the cluster's.

use std::{
    collections::HashMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Duration,
};

use assay_client::manifest::{JobManifest, Profile};
use assay_primitives::job::StdoutResult;
use assay_worker::{
    artifacts::OutputFolder,
    config::SlotShare,
    engine::{ContainerEngine, ContainerIdentity, ContainerSpec, Engine, EngineError, Exit, ImageRoot},
    files::Disk,
    image_cache::ImageCache,
    launch::Launcher,
    lease::{EngineOutputs, LeaseError, LeaseKey, LeaseRequest, Leases, Storage, disk::Disks},
    logs::beginnings,
};

use crate::{
    own_service::OwnService,
    support::{
        Offers, SocketSubject, Subject, disks, leased, make_root, pack, run, run_on_disks, target, unique,
        variable,
    },
};

/// Result of a run: exit code, standard output and standard error.
type Ran = (i32, String, String);

struct Fixture<S = Subject> {
    subject: S,
    engine: Engine,
    /// Image with a static busybox.
    image: String,
    folder: tempfile::TempDir,
    leases: Leases,
}

/// Tells a story about an engine, if it is there and the host or the cluster has disks.
fn with_engine<S: AsRef<Subject>, F: Future<Output = ()>>(
    place: impl Offers<S>,
    story: impl FnOnce(Fixture<S>) -> F,
) {
    let Some(subject) = place.find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let disks_of_host = if subject.as_ref().is_cluster() {
        None
    } else {
        let Some(disks) = disks(folder.path()) else { return };
        Some(disks)
    };
    let storage = match &disks_of_host {
        Some(disks) => Storage::Disks(disks.clone()),
        None => disks_of_engine(folder.path()),
    };
    let fixture = Fixture {
        engine: subject.as_ref().engine.clone(),
        image: subject.as_ref().reference(),
        subject,
        folder,
        leases: Leases::default().with_storage(storage),
    };
    // The table runs thirty containers.
    match disks_of_host {
        Some(disks) => run_on_disks(400, disks, story(fixture)),
        None => run(400, story(fixture)),
    }
}

/// Returns the source of disks that a cluster makes, of 256 MiB each.
fn disks_of_engine(folder: &Path) -> Storage {
    Storage::Engine {
        gib: 1,
        slots: 4,
        outputs: EngineOutputs::below(folder),
        kept_bytes: 0,
    }
}

stories! {
    with: with_engine;
    everywhere:
        scratch_may_execute_and_shared_memory_has_its_size,
        disk_is_where_the_manifest_wants_it_and_output_is_read_from_it,
        one_line_of_a_mebibyte_is_hashed_whole,
        secrets_reach_the_job_and_no_record_of_the_engine,
    ;
    not_at_kubernetes:
        job_fills_its_disk_and_the_host_stays_whole
            because "a full disk without a storage class is an eviction: kubernetes.rs",
        writable_root_has_the_limit_of_the_disk
            because "a full root is an eviction, and no job of the profile batch is root in a pod",
        volume_of_an_image_has_the_limit_of_the_disk
            because "its image is imported, and a full volume is an eviction",
        images_are_kept_to_a_bound_and_never_taken_from_a_container
            because "the kubelet keeps and removes images by itself",
        image_that_was_used_tells_its_layers
            because "no API of a cluster tells where an image's files are",
        ordinary_images_do_what_the_table_says
            because "its images are imported, and root is another user in a pod of the profile batch",
    ;
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

impl Fixture<SocketSubject> {
    /// Returns the disks of the host.
    fn disks(&self) -> &Disks {
        match self.leases.storage() {
            Storage::Disks(disks) => disks,
            Storage::Engine { .. } | Storage::None(_) => {
                panic!("an engine at a socket has disks of the host")
            }
        }
    }
}

impl<S: AsRef<Subject>> Fixture<S> {
    fn key(&self, number: u64) -> LeaseKey {
        LeaseKey {
            job: number,
            fingerprint: format!("p{}", std::process::id()),
        }
    }

    /// Takes a job's lease, and specifies its container.
    async fn spec(&self, job: &Job<'_>) -> Result<ContainerSpec, LeaseError> {
        let root: ImageRoot = self.engine.image_root(job.image).await?;
        let share = self.subject.as_ref().share(SHARE);
        let key = self.key(job.number);
        let lease = self
            .leases
            .take(&LeaseRequest {
                key: key.clone(),
                slots: 1,
                share,
                manifest: &job.manifest,
                image: &root,
            })
            .await?;
        let identity = ContainerIdentity {
            job: job.number,
            machine: 0,
            worker: format!("w{}-{}", job.number, std::process::id()),
            fingerprint: key.fingerprint,
        };
        Ok(leased(identity, job.image, &job.manifest, share, lease))
    }

    async fn create(&self, job: &Job<'_>) -> Result<String, LeaseError> {
        Ok(self.engine.create(&self.spec(job).await?).await?)
    }

    /// Runs a job to its end, and removes its container; the disk stays.
    async fn run(&self, job: &Job<'_>) -> Result<Ran, LeaseError> {
        let id = self.create(job).await?;
        let output = target(self.folder.path().join(format!("output-{}", job.number)));
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
        self.subject.as_ref().pull().await;
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

async fn job_fills_its_disk_and_the_host_stays_whole(fixture: Fixture<SocketSubject>) {
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
        .disks()
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
    assert_eq!(fixture.disks().keys().unwrap(), [fixture.key(2)]);
}

async fn scratch_may_execute_and_shared_memory_has_its_size(fixture: Fixture) {
    let line = "for folder in /tmp /var/tmp /work; do cp /bin/busybox $folder/sh && $folder/sh -c \"echo $folder\"; done; \
                /bin/busybox touch /file /bin/file; echo $?; \
                /bin/busybox df -m /dev/shm | /bin/busybox tail -n 1 | /bin/busybox awk '{ print $2 }'";
    let (_, stdout, stderr) = fixture.line(1, line, r#","shm_mib":128"#).await;
    let others = "/tmp\n/var/tmp\n/work\n1\n";
    if fixture.subject.is_cluster() {
        // Folders in memory have their size from Kubernetes 1.22 on; before, the pod's memory bounds them.
        assert!(stdout.starts_with(others), "{stdout} {stderr}");
    } else {
        assert_eq!(stdout, format!("{others}128\n"), "{stderr}");
    }
}

async fn disk_is_where_the_manifest_wants_it_and_output_is_read_from_it(fixture: Fixture) {
    let line = "set -e; cd /data/set; mkdir -p out/inner; printf 'a\\n' > out/inner/file; ln -s /etc out/link; \
                printf '\\377\\000' > out/bytes";
    let more = r#","work_dir":"/data/set","output":"/data/set/out""#;
    let mut hashes = Vec::new();
    for number in [1, 2] {
        let (code, _, stderr) = fixture.line(number, line, more).await;
        assert_eq!(code, 0, "{stderr}");
        let data = fixture.leases.work_folder(&fixture.key(number)).await.unwrap();
        let listing = OutputFolder::new(data, "out")
            .listing(None, &AtomicBool::new(false))
            .unwrap();
        assert_eq!(listing.entries().len(), 3);
        hashes.push(listing.root_hash());
    }
    assert_eq!(hashes[0], hashes[1], "two runs of one job agree");
    // The same files made by hand: so the hash is that of no engine.
    let out = fixture.folder.path().join("hand/out");
    std::fs::create_dir_all(out.join("inner")).unwrap();
    std::fs::write(out.join("inner/file"), "a\n").unwrap();
    std::fs::write(out.join("bytes"), b"\xff\0").unwrap();
    std::os::unix::fs::symlink("/etc", out.join("link")).unwrap();
    for file in ["inner/file", "bytes"] {
        std::fs::set_permissions(out.join(file), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let by_hand = OutputFolder::new(fixture.folder.path().join("hand"), "out")
        .listing(None, &AtomicBool::new(false))
        .unwrap();
    assert_eq!(hashes[0], by_hand.root_hash());
}

async fn one_line_of_a_mebibyte_is_hashed_whole(fixture: Fixture) {
    fixture.subject.pull().await;
    let line = "cat /dev/zero | /bin/busybox head -c 1048576 | /bin/busybox tr '\\000' x";
    let id = fixture
        .create(&Job::new(1, &fixture.image, line, ""))
        .await
        .unwrap();
    let output = target(fixture.folder.path().join("output"));
    fixture.engine.start(&id, output).await.unwrap();
    let end = fixture.engine.run_end(&id).await;
    fixture.engine.remove(&id).await.unwrap();
    let expected = blake3::hash(&vec![b'x'; 1 << 20]).into();
    assert_eq!(end.stdout, Some(StdoutResult::Whole(expected)));
}

async fn writable_root_has_the_limit_of_the_disk(fixture: Fixture) {
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
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            roots: HashMap::new(),
        }
    }

    fn root(&mut self, kind: &'static str) -> Option<PathBuf> {
        let folder = self.folder.path();
        let make = || {
            let root = make_root(kind, folder)?;
            let archive = pack(&root);
            std::fs::remove_dir_all(&root).unwrap();
            Some(archive)
        };
        self.roots.entry(kind).or_insert_with(make).clone()
    }

    /// Imports an image, and returns its identifier.
    fn import(&mut self, subject: &SocketSubject, row: &Row) -> Option<String> {
        let archive = self.root(row.kind)?;
        let mut changes: Vec<String> = row.changes.iter().map(|change| (*change).to_owned()).collect();
        if row.name == "a thousand volumes" {
            let volumes: Vec<_> = (0..1_000).map(|number| format!("\"/v{number}\"")).collect();
            changes.push(format!("VOLUME [{}]", volumes.join(",")));
        }
        // Of two images with the same files and settings an engine keeps one.
        changes.push(format!("LABEL row={}-{}", unique(), row.kind));
        Some(subject.import(&archive, &changes))
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

async fn ordinary_images_do_what_the_table_says(fixture: Fixture<SocketSubject>) {
    let mut images = Images::new();
    let document = include_str!("../../../docs/LEASE.md");
    let mut wrong = Vec::new();
    for (number, row) in TABLE.iter().enumerate() {
        let documented = format!("| {} | {} | {} |", row.name, row.batch, row.interactive);
        if !document.lines().any(|line| line == documented) {
            wrong.push(format!("docs/LEASE.md lacks: {documented}"));
        }
        let Some(image) = images.import(&fixture.subject, row) else {
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
}

async fn volume_of_an_image_has_the_limit_of_the_disk(fixture: Fixture<SocketSubject>) {
    let mut images = Images::new();
    let row = Row {
        name: "volume",
        kind: "volumes",
        changes: &["VOLUME /data"],
        line: "",
        batch: WORKS,
        interactive: WORKS,
    };
    let Some(image) = images.import(&fixture.subject, &row) else {
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
    let volumes: serde_json::Value =
        serde_json::from_str(&fixture.subject.ask("GET", "/volumes", &[])).unwrap();
    assert!(
        volumes["Volumes"].as_array().is_none_or(Vec::is_empty),
        "{volumes}"
    );
    assert!(fixture.engine.remove_image(&image).await.unwrap());
}

async fn images_are_kept_to_a_bound_and_never_taken_from_a_container(fixture: Fixture) {
    let (Some(registry), Some(_)) = (variable("ASSAY_TEST_REGISTRY"), OwnService::command()) else {
        println!("no registry or no Podman to push to it");
        return;
    };
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
        let archive = pack(&root);
        let name = format!("{registry}/assay-cache-{}-{number}:latest", fixture.subject.name);
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
        references.push(format!(
            "{registry}/assay-cache-{}-{number}@{}",
            fixture.subject.name,
            digest.trim()
        ));
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
}

async fn image_that_was_used_tells_its_layers(fixture: Fixture) {
    fixture.subject.pull().await;
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
}

async fn secrets_reach_the_job_and_no_record_of_the_engine(fixture: Fixture) {
    fixture.subject.pull().await;
    let launcher = Launcher::new(None, fixture.folder.path());
    if let Err(error) = launcher.probe() {
        println!("no folders in memory: {error}");
        return;
    }
    let secret = format!("secret-{}", unique());
    let text = serde_json::json!({
        "image": format!("a@sha256:{}", "ab".repeat(32)),
        "command": ["/bin/busybox", "sh", "-c", "cat /run/secrets/key; echo; echo $TOKEN $1", "name", secret],
        "env": { "TOKEN": secret },
        "secrets": { "key": secret },
    });
    let job = Job {
        number: 1,
        image: &fixture.image,
        manifest: JobManifest::from_sealed_bytes(text.to_string().as_bytes()).unwrap(),
    };
    let key = fixture.key(1);
    let open = fixture.spec(&job).await.unwrap();
    let process = fixture.engine.image_process(&fixture.image).await.unwrap();
    let sealed = launcher.write(&key, &job.manifest, &process, &[]).unwrap();
    let spec = ContainerSpec {
        entrypoint: vec![assay_init::PROGRAM.to_owned()],
        command: Vec::new(),
        environment: Vec::new(),
        mounts: [open.mounts.clone(), sealed].concat(),
        ..open
    };
    let id = fixture.engine.create(&spec).await.unwrap();
    let record = fixture.subject.record(&id).await;
    let output = target(fixture.folder.path().join("output"));
    fixture.engine.start(&id, output.clone()).await.unwrap();
    let end = fixture.engine.run_end(&id).await;
    let record_after = fixture.subject.record(&id).await;
    fixture.engine.remove(&id).await.unwrap();
    launcher.remove(&key).unwrap();
    let (stdout, stderr) = beginnings(&output.folder).unwrap().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&stdout),
        format!("{secret}\n{secret} {secret}\n"),
        "{}",
        String::from_utf8_lossy(&stderr)
    );
    assert_eq!(end.exit, Exit::Clean(0));
    for record in [record, record_after] {
        assert!(!record.contains(&secret), "{record}");
    }
}
