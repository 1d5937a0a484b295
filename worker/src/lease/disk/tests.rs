//! Disks on the test's own host, if it can hold any.

#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Write},
    os::unix::fs::{chown, symlink},
    process::Command,
};

use super::{
    root::{MERGED, WritablePart},
    *,
};
use crate::engine::ImageRoot;

const MIB_PER_SLOT: u64 = 24;

/// A folder of disks, removed with all mounts in it.
struct Host {
    folder: tempfile::TempDir,
    disks: Disks,
}

impl Host {
    /// Returns a host, if disks can be held to a limit here.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match Disks::open(settings(folder.path())) {
            Ok(disks) => Some(Self { folder, disks }),
            Err(reason) => {
                println!("no disks here: nothing is tested: {reason}");
                None
            }
        }
    }

    fn folder_of(&self, key: &LeaseKey) -> PathBuf {
        self.disks.folder_of(key)
    }

    /// Returns the entries of the folder of the disks.
    fn rest(&self) -> Vec<String> {
        fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != LOCK)
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for key in self.disks.keys().unwrap() {
            let _ = release_now(&self.folder_of(&key));
        }
    }
}

fn settings(folder: &Path) -> DiskSettings {
    DiskSettings {
        folder: folder.to_owned(),
        mib_per_slot: MIB_PER_SLOT,
        slots: 4,
        kept_output_bytes: 0,
    }
}

fn key(job: u64) -> LeaseKey {
    LeaseKey {
        job,
        fingerprint: "ab".repeat(16),
    }
}

/// Writes zeros until the file system is full; returns their number.
fn fill(path: &Path) -> u64 {
    let mut file = fs::File::create(path).unwrap();
    let mut written = 0;
    loop {
        match file.write(&[0; 64 * 1024]) {
            Ok(bytes) => written += bytes as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                return written;
            }
        }
    }
}

#[tokio::test]
async fn disk_has_its_limit_and_the_host_stays_whole() {
    let Some(host) = Host::new() else { return };
    let one = host.disks.take(&key(1), 1).await.unwrap();
    let two = host.disks.take(&key(2), 2).await.unwrap();
    assert!(host.disks.keys().unwrap() == [key(1), key(2)]);
    let written = fill(&one.data().join("zeros"));
    assert!((16 * MIB..24 * MIB).contains(&written), "{written}");
    let written = fill(&two.data().join("zeros"));
    assert!((36 * MIB..48 * MIB).contains(&written), "{written}");
    fs::write(host.folder.path().join("host"), "has room").unwrap();
    fs::remove_file(host.folder.path().join("host")).unwrap();
    // The room was reserved before the job wrote anything.
    let image = fs::metadata(host.folder_of(&key(2)).join(IMAGE)).unwrap();
    assert!(image.blocks() * 512 >= 2 * MIB_PER_SLOT * MIB);

    assert_eq!(host.disks.take(&key(1), 1).await.unwrap(), one, "the same disk");
    assert!(one.data().join("zeros").exists());
    host.disks.release(&key(1)).await.unwrap();
    host.disks.release(&key(1)).await.unwrap();
    assert_eq!(host.disks.keys().unwrap(), [key(2)]);
    assert!(two.data().join("zeros").exists());
    host.disks.release(&key(2)).await.unwrap();
    assert_eq!(host.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn whatever_user_an_image_has_may_write_and_no_other_program_of_the_host() {
    let Some(host) = Host::new() else { return };
    let disk = host.disks.take(&key(1), 1).await.unwrap();
    assert_eq!(fs::metadata(disk.data()).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(
        fs::metadata(host.folder_of(&key(1))).unwrap().mode() & 0o7777,
        0o700
    );
    let options = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = host.folder_of(&key(1)).join(MOUNT).display().to_string();
    let line = options.lines().find(|line| line.contains(&mount)).unwrap();
    assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
}

#[tokio::test]
async fn disk_that_was_cut_off_anywhere_is_finished_or_removed() {
    let Some(host) = Host::new() else { return };
    let folder = host.folder_of(&key(1));
    let whole = |folder: &Path| {
        let disk = take_now(folder, Some(MIB_PER_SLOT * MIB)).unwrap();
        fs::write(disk.data().join("file"), "kept").unwrap();
    };
    type Cut = fn(&Path);
    let cuts: [(&str, Cut); 6] = [
        ("only the folder", |folder| create_private(folder).unwrap()),
        ("a file without a whole file system", |folder| {
            create_private(&folder.join(MOUNT)).unwrap();
            fs::write(folder.join("image.new"), "half").unwrap();
        }),
        ("not mounted", |folder| {
            take_now(folder, Some(MIB_PER_SLOT * MIB)).unwrap();
            image_file::unmount(&folder.join(MOUNT)).unwrap();
        }),
        ("mounted without the job's folder", |folder| {
            let disk = take_now(folder, Some(MIB_PER_SLOT * MIB)).unwrap();
            fs::remove_dir(disk.data()).unwrap();
        }),
        ("unmounted and without its file", |folder| {
            take_now(folder, Some(MIB_PER_SLOT * MIB)).unwrap();
            image_file::unmount(&folder.join(MOUNT)).unwrap();
            fs::remove_file(folder.join(IMAGE)).unwrap();
        }),
        ("mounted twice", |folder| {
            take_now(folder, Some(MIB_PER_SLOT * MIB)).unwrap();
            let mount = folder.join(MOUNT);
            let bound = Command::new("mount")
                .arg("--bind")
                .args([&mount, &mount])
                .status();
            assert!(bound.unwrap().success());
        }),
    ];
    for (state, cut) in cuts {
        cut(&folder);
        host.disks.release(&key(1)).await.unwrap();
        assert_eq!(host.rest(), Vec::<String>::new(), "{state}");
        cut(&folder);
        host.disks.take(&key(1), 1).await.unwrap();
        whole(&folder);
        host.disks.release(&key(1)).await.unwrap();
        assert_eq!(host.rest(), Vec::<String>::new(), "{state}");
    }
}

#[tokio::test]
async fn disk_keeps_its_content_over_a_restart_of_the_host() {
    let Some(host) = Host::new() else { return };
    let disk = host.disks.take(&key(1), 1).await.unwrap();
    fs::write(disk.data().join("file"), "kept").unwrap();
    image_file::unmount(&host.folder_of(&key(1)).join(MOUNT)).unwrap();
    assert!(!disk.data().exists());
    let again = host.disks.mounted(&key(1)).await.unwrap();
    assert_eq!(fs::read(again.data().join("file")).unwrap(), b"kept");
    assert!(matches!(
        host.disks.mounted(&key(9)).await,
        Err(LeaseError::Failed(_))
    ));
    assert_eq!(host.disks.keys().unwrap(), [key(1)], "asking makes none");
}

#[tokio::test]
async fn disk_in_use_is_not_removed() {
    let Some(host) = Host::new() else { return };
    let disk = host.disks.take(&key(1), 1).await.unwrap();
    let file = fs::File::create(disk.data().join("open")).unwrap();
    let error = host.disks.release(&key(1)).await.unwrap_err();
    assert!(error.to_string().contains("cannot unmount "), "{error}");
    assert!(disk.data().join("open").exists());
    drop(file);
    host.disks.release(&key(1)).await.unwrap();
    assert_eq!(host.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn folder_of_another_worker_is_left_alone() {
    let Some(host) = Host::new() else { return };
    let reason = Disks::open(settings(host.folder.path())).unwrap_err();
    assert!(reason.contains("`assay.disk_dir`"), "{reason}");
    for odd in ["lost+found", "1", "1-", "01-ab", "1-a_b", "x-ab", "1-ab.bak"] {
        fs::create_dir(host.folder.path().join(odd)).unwrap();
    }
    assert_eq!(host.disks.keys().unwrap(), []);
    let odd = LeaseKey {
        job: 1,
        fingerprint: "../x".into(),
    };
    assert!(matches!(
        host.disks.take(&odd, 1).await,
        Err(LeaseError::Refused(_))
    ));
    assert!(matches!(
        host.disks.release(&odd).await,
        Err(LeaseError::Refused(_))
    ));
}

#[test]
fn host_without_disks_says_why() {
    let reason = Disks::open(settings(Path::new("/proc/disks"))).unwrap_err();
    assert!(reason.starts_with("cannot create /proc/disks: "), "{reason}");
    let missing = image_file::run(&mut Command::new("assay-no-such-program")).unwrap_err();
    assert!(
        missing.to_string().starts_with("assay-no-such-program: "),
        "{missing}"
    );
    let failed = image_file::run(Command::new("mkfs.ext4").arg("/nowhere/file"));
    assert!(failed.unwrap_err().to_string().contains("mkfs.ext4"));
}

#[tokio::test]
async fn disk_that_the_host_has_no_room_for_is_not_made() {
    let Some(host) = Host::new() else { return };
    let tmpfs = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=20m", "tmpfs"])
        .arg(tmpfs.path())
        .status();
    assert!(mounted.unwrap().success());
    let small = Disks::open(settings(tmpfs.path())).unwrap();
    assert!(small.lacking_mib(1).unwrap() >= 3, "24 MiB are promised on 20");
    assert_eq!(host.disks.lacking_mib(1).unwrap(), 0);
    let error = small.take(&key(1), 1).await.unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(!small.folder_of(&key(1)).join("image.new").exists());
    small.release(&key(1)).await.unwrap();
    drop(small);
    rustix::mount::unmount(tmpfs.path(), rustix::mount::UnmountFlags::empty()).unwrap();
}

/// Makes the layers of an image: links, folders with owners, and a file that the upper layer replaces.
fn image_in(folder: &Path) -> ImageRoot {
    let (upper, lower) = (folder.join("one"), folder.join("two"));
    for path in ["etc", "usr/bin", "var/lib/db", "srv", "proc", "tmp"] {
        fs::create_dir_all(lower.join(path)).unwrap();
    }
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(lower.join("etc/name"), "lower").unwrap();
    fs::write(upper.join("etc/name"), "upper").unwrap();
    symlink("usr/bin", lower.join("bin")).unwrap();
    symlink("/etc", lower.join("srv/trap")).unwrap();
    symlink("/run", lower.join("var/run")).unwrap();
    chown(lower.join("var/lib/db"), Some(70), Some(70)).unwrap();
    fs::write(lower.join("var/lib/db/seed"), "content").unwrap();
    ImageRoot {
        layers: vec![upper, lower],
        volumes: Vec::new(),
    }
}

fn targets(mounts: &[crate::engine::BindMount]) -> Vec<&str> {
    mounts.iter().map(|mount| &*mount.target).collect()
}

#[tokio::test]
async fn writable_root_is_the_image_on_the_jobs_disk() {
    let Some(host) = Host::new() else { return };
    let layers = tempfile::tempdir().unwrap();
    let image = image_in(layers.path());
    assert!(JobDisk::can_hold(&image) && !JobDisk::can_hold(&ImageRoot::default()));
    host.disks.take(&key(1), 1).await.unwrap();
    let mount = async || {
        host.disks
            .mount_root(&key(1), &image, WritablePart::Everything)
            .await
    };
    let mounts = mount().await.unwrap();
    // A link is no folder of its own, and what belongs to the kernel is no part of the image.
    assert_eq!(targets(&mounts), ["/etc", "/srv", "/usr", "/var"]);
    let etc = &mounts[0].source;
    assert_eq!(fs::read(etc.join("name")).unwrap(), b"upper");
    fs::write(etc.join("name"), "changed").unwrap();
    assert_eq!(fs::read(layers.path().join("one/etc/name")).unwrap(), b"upper");
    let written = fill(&etc.join("zeros"));
    assert!((14 * MIB..24 * MIB).contains(&written), "{written}");
    assert_eq!(mount().await.unwrap(), mounts, "the same again");

    // After a restart of the host the changes are still there.
    let folder = host.folder_of(&key(1)).join(MOUNT);
    image_file::unmount(&folder.join(MERGED)).unwrap();
    image_file::unmount(&folder).unwrap();
    host.disks.take(&key(1), 1).await.unwrap();
    assert_eq!(mount().await.unwrap(), mounts);
    assert_eq!(fs::read(etc.join("name")).unwrap(), b"changed");
    host.disks.release(&key(1)).await.unwrap();
    assert_eq!(host.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn volumes_keep_content_and_owner_and_no_link_leads_out() {
    let Some(host) = Host::new() else { return };
    let layers = tempfile::tempdir().unwrap();
    let image = ImageRoot {
        volumes: ["/etc", "/new/deep", "/srv/trap", "/var/lib/db", "/var/run/x"]
            .map(str::to_owned)
            .to_vec(),
        ..image_in(layers.path())
    };
    host.disks.take(&key(1), 1).await.unwrap();
    let mounts = host
        .disks
        .mount_root(&key(1), &image, WritablePart::Volumes)
        .await
        .unwrap();
    // Files in scratch stay there.
    assert_eq!(
        targets(&mounts),
        ["/etc", "/new/deep", "/srv/trap", "/var/lib/db"]
    );
    let name = |number: usize| fs::read(mounts[number].source.join("name")).unwrap();
    assert_eq!(name(0), b"upper");
    assert_eq!(name(2), b"upper", "the image's own, not the host's");
    assert_eq!(fs::metadata(&mounts[1].source).unwrap().mode() & 0o7777, 0o1777);
    let database = fs::metadata(&mounts[3].source).unwrap();
    assert_eq!((database.uid(), database.gid()), (70, 70));
    assert_eq!(fs::read(mounts[3].source.join("seed")).unwrap(), b"content");

    // The job moves a volume's parent, and puts a link to the host in its place.
    fs::write(mounts[1].source.join("mark"), "the job's").unwrap();
    let merged = host.folder_of(&key(1)).join(MOUNT).join(MERGED);
    fs::rename(merged.join("new"), merged.join("moved")).unwrap();
    symlink(layers.path(), merged.join("new")).unwrap();
    fs::create_dir(layers.path().join("deep")).unwrap();
    let again = host
        .disks
        .mount_root(&key(1), &image, WritablePart::Volumes)
        .await
        .unwrap();
    assert_eq!(again, mounts);
    assert_eq!(fs::read(again[1].source.join("mark")).unwrap(), b"the job's");
    host.disks.release(&key(1)).await.unwrap();
    assert_eq!(host.rest(), Vec::<String>::new());
}
