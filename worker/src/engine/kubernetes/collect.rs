//! The copy of a job's output folder, which is gone with its pod.
//!
//! ```text
//! container: all processes have ended, assay-init waits      worker's host
//!   └─ a second assay-init, by exec ── items of the folder ──▶ .<lease>.new/ ── whole? ──▶ <lease>/
//! ```
//!
//! The items are the job's content: each name is opened in the folder before it, links are made last and
//! never followed, and nothing is written outside or beyond the disk's size. A stream that lost bytes does
//! not have the hash in its end, and is asked for again.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::Duration,
};

use assay_init::{Blake3, FolderItem, Frame, MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, MAX_PATHS_BYTES};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, ResourceExt};
use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat, symlinkat, syncfs};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};

use super::{KubernetesEngine, objects::ANNOTATION_OUTPUT, run::random_key};
use crate::{
    engine::{ContainerSpec, EngineError},
    lease::outputs::unfinished,
};

/// Time in which the next item of a folder must come.
const SILENCE: Duration = Duration::from_secs(120);

/// Pause before a copy that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Number of items on the way to the disk.
const QUEUE: usize = 16;

/// Output folder of a container, as its namespace notes it: another process of the worker may have to copy
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutputCopy {
    /// Path of the disk in the container.
    disk: String,
    /// Folder below the disk.
    below: String,
    /// Folder of the worker's host.
    pub(super) folder: PathBuf,
    /// Size of the disk.
    bytes: u64,
}

impl OutputCopy {
    pub(super) fn of_spec(spec: &ContainerSpec) -> Option<Self> {
        let disk = spec.disk.as_ref()?;
        let output = disk.output.as_ref()?;
        Some(Self {
            disk: disk.target.clone(),
            below: output.below.clone(),
            folder: output.folder.clone(),
            bytes: disk.bytes,
        })
    }

    pub(super) fn of_namespace(namespace: &Namespace) -> Option<Self> {
        serde_json::from_str(namespace.annotations().get(ANNOTATION_OUTPUT)?).ok()
    }

    /// Removes what an earlier run of the container left: the disk of the next one is empty.
    pub(super) async fn forget(&self) -> io::Result<()> {
        match tokio::fs::remove_dir_all(&self.folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns true once the folder is there as a whole.
    pub(super) fn is_done(&self) -> bool {
        self.folder.is_dir()
    }
}

impl KubernetesEngine {
    /// Copies an output folder, however often that must be tried. The job's processes have ended.
    pub(super) async fn collect(&self, pods: &Api<Pod>, copy: &OutputCopy) {
        while !copy.is_done() {
            match self.collect_once(pods, copy).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "a job's output folder could not be copied; trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn collect_once(&self, pods: &Api<Pod>, copy: &OutputCopy) -> Result<(), EngineError> {
        let failed = |error: io::Error| EngineError::Failed {
            action: "copy the job's output folder".into(),
            reason: error.to_string(),
        };
        let mut helper = self.attach_helper(pods).await?;
        let key = random_key().map_err(failed)?;
        let frame = Frame::Collect {
            key,
            disk: copy.disk.clone(),
            below: copy.below.clone(),
        };
        let frame = frame.encode().map_err(failed)?;
        helper.send(&frame).await.map_err(failed)?;
        let (items, received) = mpsc::channel(QUEUE);
        let place = copy.clone();
        let writing = tokio::task::spawn_blocking(move || write_down(&place, received));
        let read = read_items(&mut helper.stdout, &Blake3::keyed(&key), items).await;
        let written = writing
            .await
            .map_err(io::Error::other)
            .and_then(|written| written);
        // A failure on the disk's side ends the reading as well, and says more.
        written.and(read).map_err(failed)
    }
}

/// Reads the items of a folder to their end.
async fn read_items(
    stream: &mut (impl AsyncRead + Unpin),
    begun: &Blake3,
    items: mpsc::Sender<FolderItem>,
) -> io::Result<()> {
    let mut hasher = begun.clone();
    loop {
        let mut head = [0; 5];
        read_exact(stream, &mut head).await?;
        let (kind, length) = FolderItem::read_head(head)?;
        let mut content = vec![0; length];
        read_exact(stream, &mut content).await?;
        let item = FolderItem::read(kind, &content)?;
        let is_end = match &item {
            FolderItem::End { is_usable, tag } => {
                hasher.update(&[u8::from(*is_usable)]);
                if hasher.finish() != *tag {
                    return Err(io::Error::other("bytes were lost on the way"));
                }
                true
            }
            _ => {
                hasher.update(&head);
                hasher.update(&content);
                false
            }
        };
        let is_taken = items.send(item).await.is_ok();
        if is_end {
            return Ok(());
        }
        if !is_taken {
            return Err(io::Error::other("the folder on this host cannot be written"));
        }
    }
}

async fn read_exact(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> io::Result<()> {
    tokio::time::timeout(SILENCE, stream.read_exact(bytes))
        .await
        .map_err(|_| io::Error::other("assay-init does not answer"))?
        .map(drop)
}

/// Writes items to a folder of this host. It has its name once it is whole.
fn write_down(copy: &OutputCopy, mut items: mpsc::Receiver<FolderItem>) -> io::Result<()> {
    let unfinished = unfinished(&copy.folder);
    if let Some(above) = copy.folder.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    let mut writer = FolderWriter::create(&unfinished, copy)?;
    while let Some(item) = items.blocking_recv() {
        if let FolderItem::End { is_usable, .. } = item {
            return finish(writer, is_usable, &unfinished, copy);
        }
        writer.take(item)?;
    }
    Err(io::Error::other("the folder did not come to its end"))
}

fn finish(mut writer: FolderWriter, is_usable: bool, unfinished: &Path, copy: &OutputCopy) -> io::Result<()> {
    writer.close_file()?;
    if !is_usable || writer.is_unusable {
        drop(writer);
        writer = FolderWriter::create(unfinished, copy)?;
        writer.make_unusable()?;
    } else {
        writer.make_links()?;
    }
    // Whole after a crash, or not there.
    syncfs(&writer.root)?;
    fs::rename(unfinished, &copy.folder)?;
    syncfs(&writer.root)?;
    Ok(())
}

/// Folders are opened one in another, never through a link.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Files are new.
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Folder that is written item by item.
struct FolderWriter {
    root: OwnedFd,
    /// The last file, with its mode and its length so far.
    file: Option<(File, u32, u64)>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    entries: usize,
    path_bytes: usize,
    /// Number of bytes other than zeros that fit.
    room: u64,
    /// The content is beyond a bound.
    is_unusable: bool,
}

impl FolderWriter {
    /// Creates an empty folder in place of what is there.
    fn create(unfinished: &Path, copy: &OutputCopy) -> io::Result<Self> {
        match fs::remove_dir_all(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let root = unfinished.join(&copy.below);
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        Ok(Self {
            root: rustix::fs::open(root.as_path(), FOLDER, Mode::empty())?,
            file: None,
            links: Vec::new(),
            entries: 0,
            path_bytes: 0,
            room: copy.bytes,
            is_unusable: false,
        })
    }

    fn take(&mut self, item: FolderItem) -> io::Result<()> {
        // The rest is read to its end, and forgotten.
        if self.is_unusable {
            return Ok(());
        }
        match item {
            FolderItem::File { mode, path } => {
                self.close_file()?;
                self.count(&path)?;
                if self.is_unusable {
                    return Ok(());
                }
                let (folder, name) = self.parent(&path)?;
                let file = openat(&folder, name, NEW_FILE, Mode::from_raw_mode(0o600))?;
                self.file = Some((File::from(file), mode & 0o777, 0));
            }
            FolderItem::Link { path, target } => {
                self.close_file()?;
                self.count(&path)?;
                self.links.push((path, target));
            }
            FolderItem::Data(bytes) => {
                let length = bytes.len() as u64;
                match self.room.checked_sub(length) {
                    Some(room) => self.room = room,
                    None => {
                        self.is_unusable = true;
                        return Ok(());
                    }
                }
                let (file, _, position) = self.file.as_mut().ok_or_else(no_file)?;
                file.write_all(&bytes)?;
                *position = position.saturating_add(length);
            }
            FolderItem::Zeros(number) => {
                let (file, _, position) = self.file.as_mut().ok_or_else(no_file)?;
                *position = position.saturating_add(number);
                file.seek(SeekFrom::Start(*position))?;
            }
            FolderItem::End { .. } => (),
        }
        Ok(())
    }

    /// Ends the last file: zeros at its end are a hole.
    fn close_file(&mut self) -> io::Result<()> {
        if let Some((file, mode, length)) = self.file.take() {
            file.set_len(length)?;
            fchmod(&file, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8]) -> io::Result<()> {
        if names(path).is_none() {
            return Err(io::Error::other(
                "the stream has a path that leads out of the folder",
            ));
        }
        self.entries = self.entries.saturating_add(1);
        self.path_bytes = self.path_bytes.saturating_add(path.len());
        self.is_unusable |= self.entries > MAX_ENTRIES || self.path_bytes > MAX_PATHS_BYTES;
        Ok(())
    }

    /// Opens the folder above a path, making what is missing; returns it with the last name.
    fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        let mut names = names(path).ok_or(io::ErrorKind::InvalidData)?;
        let last = names.pop().ok_or(io::ErrorKind::InvalidData)?;
        let mut folder = self.root.try_clone()?;
        for name in names {
            folder = make_folder(&folder, name)?;
        }
        Ok((folder, last))
    }

    /// Makes the links, of which none is there before: no path leads through one.
    fn make_links(&mut self) -> io::Result<()> {
        for (path, target) in std::mem::take(&mut self.links) {
            let (folder, name) = self.parent(&path)?;
            symlinkat(&target[..], &folder, name)?;
        }
        Ok(())
    }

    /// Makes a folder that no listing can hold, as that of the job is.
    fn make_unusable(&self) -> io::Result<()> {
        let mut folder = self.root.try_clone()?;
        for _ in 0..MAX_DEPTH.saturating_add(2) {
            folder = make_folder(&folder, b"too-deep")?;
        }
        Ok(())
    }
}

fn no_file() -> io::Error {
    io::Error::other("the stream has content without a file")
}

fn make_folder(above: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    match mkdirat(above, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => (),
        Err(error) => return Err(error.into()),
    }
    Ok(openat(above, name, FOLDER, Mode::empty())?)
}

/// Splits a path into names; `None` for one that could leave the folder.
fn names(path: &[u8]) -> Option<Vec<&[u8]>> {
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let is_plain = |name: &&[u8]| !matches!(**name, [] | [b'.'] | [b'.', b'.']) && !name.contains(&0);
    (names.iter().all(is_plain) && names.len() <= MAX_DEPTH.saturating_add(1)).then_some(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        ffi::OsStr,
        os::unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, symlink},
        },
        sync::atomic::AtomicBool,
    };

    use super::*;
    use crate::artifacts::{self, ArtifactError, Listing, OutputFolder};

    const KEY: [u8; 32] = [3; 32];

    fn copy_to(folder: &Path, below: &str, bytes: u64) -> OutputCopy {
        OutputCopy {
            disk: "/work".into(),
            below: below.into(),
            folder: folder.join("outputs/1-ab"),
            bytes,
        }
    }

    fn list(folder: &Path, below: &str) -> Result<Listing, ArtifactError> {
        OutputFolder::new(folder, below).listing(None, &AtomicBool::new(false))
    }

    /// Sends a stream to the disk.
    async fn write(stream: &[u8], copy: &OutputCopy) -> io::Result<()> {
        let (items, received) = mpsc::channel(QUEUE);
        let place = copy.clone();
        let writing = tokio::task::spawn_blocking(move || write_down(&place, received));
        let read = read_items(&mut &stream[..], &Blake3::keyed(&KEY), items).await;
        writing.await.unwrap().and(read)
    }

    fn stream_of(disk: &Path, below: &str) -> Vec<u8> {
        let mut stream = Vec::new();
        assay_init::send_folder(&mut stream, &KEY, disk, below).unwrap();
        stream
    }

    fn stream_of_items(items: &[FolderItem]) -> Vec<u8> {
        let mut stream: Vec<u8> = items.iter().flat_map(FolderItem::encode).collect();
        let mut hasher = Blake3::keyed(&KEY);
        hasher.update(&stream);
        hasher.update(&[1]);
        let end = FolderItem::End {
            is_usable: true,
            tag: hasher.finish(),
        };
        stream.extend(end.encode());
        stream
    }

    #[test]
    fn bounds_are_those_of_listings() {
        assert_eq!(
            (MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, MAX_PATHS_BYTES),
            (
                artifacts::MAX_DEPTH,
                artifacts::MAX_ENTRIES,
                artifacts::MAX_PATH_BYTES,
                artifacts::MAX_PATHS_BYTES
            )
        );
    }

    #[tokio::test]
    async fn copy_has_the_hash_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        let out = disk.join("a/out");
        fs::create_dir_all(out.join("inner/empty")).unwrap();
        fs::write(out.join("inner/data"), vec![7; 200_000]).unwrap();
        fs::write(out.join(OsStr::from_bytes(b"\xff\n")), b"odd").unwrap();
        fs::set_permissions(out.join("inner/data"), fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("/etc", out.join("inner/link")).unwrap();
        let sparse = File::create(out.join("sparse")).unwrap();
        sparse.set_len(100 * 1_024 * 1_024).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(out.join("socket")).unwrap();
        fs::write(disk.join("beside"), "no part of it").unwrap();
        for below in ["a/out", ""] {
            let copy = copy_to(
                &place.path().join(format!("host{}", below.len())),
                below,
                1_000_000,
            );
            // What a worker that was killed left behind does not matter.
            fs::create_dir_all(unfinished(&copy.folder).join("old")).unwrap();
            assert!(!copy.is_done());
            write(&stream_of(&disk, below), &copy).await.unwrap();
            assert!(copy.is_done());
            let (one, other) = (list(&disk, below).unwrap(), list(&copy.folder, below).unwrap());
            assert_eq!(one.root_hash(), other.root_hash());
            assert_eq!(one.archive_len(), other.archive_len());
            assert!(
                fs::metadata(copy.folder.join("a/out/sparse")).unwrap().blocks() < 1_000,
                "a hole stays one"
            );
        }
        drop(socket);
    }

    #[tokio::test]
    async fn missing_folder_is_empty_and_no_folder_is_unusable() {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        fs::create_dir(&disk).unwrap();
        symlink("/etc", disk.join("link")).unwrap();
        let empty = list(&disk, "none").unwrap().root_hash();
        let copy = copy_to(&place.path().join("one"), "none", 10);
        write(&stream_of(&disk, "none"), &copy).await.unwrap();
        assert_eq!(list(&copy.folder, "none").unwrap().root_hash(), empty);
        let copy = copy_to(&place.path().join("two"), "link", 10);
        write(&stream_of(&disk, "link"), &copy).await.unwrap();
        assert!(matches!(
            list(&copy.folder, "link"),
            Err(ArtifactError::TooMuch { .. })
        ));
    }

    #[tokio::test]
    async fn more_than_the_disk_holds_is_unusable_and_takes_no_room() {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("large"), vec![1; 300_000]).unwrap();
        let copy = copy_to(place.path(), "", 100_000);
        write(&stream_of(&disk, ""), &copy).await.unwrap();
        assert!(matches!(
            list(&copy.folder, ""),
            Err(ArtifactError::TooMuch { .. })
        ));
        assert!(!copy.folder.join("large").exists());
    }

    #[tokio::test]
    async fn damaged_or_cut_stream_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("file"), vec![1; 1_000]).unwrap();
        let copy = copy_to(place.path(), "", 100_000);
        let stream = stream_of(&disk, "");
        for length in [0, 4, 20, 500, stream.len() - 1] {
            assert!(write(&stream[..length], &copy).await.is_err(), "{length}");
        }
        // Bytes that were lost in the middle.
        let lost = [&stream[..100], &stream[140..]].concat();
        assert!(write(&lost, &copy).await.is_err());
        let mut changed = stream.clone();
        changed[100] ^= 1;
        assert!(write(&changed, &copy).await.is_err());
        assert!(!copy.is_done());
        write(&stream, &copy).await.unwrap();
        assert!(copy.is_done());
    }

    #[tokio::test]
    async fn hostile_paths_lead_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let file = |path: &[u8]| FolderItem::File {
            mode: 0o644,
            path: path.to_vec(),
        };
        for path in [
            &b"../out"[..],
            b"/etc/passwd",
            b"a/../../b",
            b"a//b",
            b".",
            b"",
            b"a\0b",
        ] {
            let copy = copy_to(place.path(), "", 100);
            assert!(
                write(&stream_of_items(&[file(path)]), &copy).await.is_err(),
                "{path:?}"
            );
            assert!(!copy.is_done());
        }
        // A link and a file below it cannot both be.
        let link = FolderItem::Link {
            path: b"a".to_vec(),
            target: place.path().as_os_str().as_bytes().to_vec(),
        };
        for items in [[link.clone(), file(b"a/b")], [file(b"a/b"), link]] {
            let copy = copy_to(place.path(), "", 100);
            assert!(write(&stream_of_items(&items), &copy).await.is_err());
        }
        assert!(!place.path().join("b").exists());
        assert!(
            write(
                &stream_of_items(&[FolderItem::Data(vec![1])]),
                &copy_to(place.path(), "", 9)
            )
            .await
            .is_err()
        );
    }

    #[test]
    fn wish_survives_in_the_namespace() {
        let copy = copy_to(Path::new("/var/lib/assay"), "out", 5);
        let mut namespace = Namespace::default();
        assert_eq!(OutputCopy::of_namespace(&namespace), None);
        let text = serde_json::to_string(&copy).unwrap();
        namespace.annotations_mut().insert(ANNOTATION_OUTPUT.into(), text);
        assert_eq!(OutputCopy::of_namespace(&namespace), Some(copy));
    }
}
