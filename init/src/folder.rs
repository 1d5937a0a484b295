//! The content of a job's output folder as a stream of items, for engines whose disks the worker cannot open.
//!
//! A program that runs after the job's end, in its container, sends the folder to the worker, which writes it
//! down and lists it as any other. Nobody writes the folder meanwhile, and yet its content is the job's:
//! links are told and never followed, of special files only the number is told, and entries, depth and names
//! are bounded as in the worker.
//!
//! An item is its kind (one byte), a length (four bytes, little endian) and a content. The last one has a
//! keyed hash of everything before it, so bytes that were lost on the way do not pass unnoticed.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use crate::{KEY_BYTES, blake3::Blake3};

/// Maximum number of entries of an output folder, folders included, as in the worker.
pub const MAX_ENTRIES: usize = 65_536;

/// Maximum number of folders above an entry, as in the worker.
pub const MAX_DEPTH: usize = 64;

/// Maximum length of a path, in bytes, as in the worker.
pub const MAX_PATH_BYTES: usize = 4_096;

/// Maximum number of bytes of all paths together, as in the worker.
pub const MAX_PATHS_BYTES: usize = 16 * 1_024 * 1_024;

/// Maximum length of an item's content, in bytes.
pub const MAX_ITEM_BYTES: usize = 64 * 1_024;

/// Number of zeros after which an item tells of them, so that a large hole is no silence.
const MAX_ZEROS: u64 = 64 * 1_024 * 1_024;

/// `O_DIRECTORY`, `O_NOFOLLOW` and `O_NONBLOCK` of Linux.
#[cfg(target_arch = "aarch64")]
const FLAGS: [i32; 3] = [0o40_000, 0o100_000, 0o4_000];
#[cfg(not(target_arch = "aarch64"))]
const FLAGS: [i32; 3] = [0o200_000, 0o400_000, 0o4_000];

/// Item of a folder's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderItem {
    /// Regular file; its content follows.
    File {
        /// Permission bits.
        mode: u32,
        /// Path below the folder; need not be text.
        path: Vec<u8>,
    },
    /// Symbolic link.
    Link {
        /// Path below the folder.
        path: Vec<u8>,
        /// Target.
        target: Vec<u8>,
    },
    /// Further bytes of the last file.
    Data(Vec<u8>),
    /// Further bytes of the last file, all of them zero.
    Zeros(u64),
    /// The end.
    End {
        /// False if the folder exceeds a bound, or is no folder: then the items before say nothing.
        is_usable: bool,
        /// Keyed hash of everything before.
        tag: [u8; 32],
    },
}

const FILE: u8 = 1;
const LINK: u8 = 2;
const DATA: u8 = 3;
const ZEROS: u8 = 4;
const END: u8 = 5;

impl FolderItem {
    /// Writes the item.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::File { mode, path } => (FILE, [&mode.to_le_bytes()[..], &path[..]].concat()),
            // No path has a NUL byte.
            Self::Link { path, target } => (LINK, [&path[..], b"\0", &target[..]].concat()),
            Self::Data(bytes) => (DATA, bytes.clone()),
            Self::Zeros(number) => (ZEROS, number.to_le_bytes().to_vec()),
            Self::End { is_usable, tag } => (END, [&[u8::from(*is_usable)][..], &tag[..]].concat()),
        };
        // Every content is shorter than `MAX_ITEM_BYTES`.
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        [&[kind][..], &length.to_le_bytes(), &content[..]].concat()
    }

    /// Reads an item's head: its kind, and the length of its content.
    ///
    /// # Errors
    /// It is no item.
    pub fn read_head([kind, length @ ..]: [u8; 5]) -> io::Result<(u8, usize)> {
        usize::try_from(u32::from_le_bytes(length))
            .ok()
            .filter(|length| *length <= MAX_ITEM_BYTES && (FILE..=END).contains(&kind))
            .map(|length| (kind, length))
            .ok_or_else(bad)
    }

    /// Reads an item of a kind.
    ///
    /// # Errors
    /// It is no item.
    pub fn read(kind: u8, content: &[u8]) -> io::Result<Self> {
        match kind {
            FILE => {
                let (mode, path) = content.split_first_chunk::<4>().ok_or_else(bad)?;
                Ok(Self::File {
                    mode: u32::from_le_bytes(*mode),
                    path: path.to_vec(),
                })
            }
            LINK => {
                let end = content.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
                let (path, target) = content.split_at(end);
                Ok(Self::Link {
                    path: path.to_vec(),
                    target: target.get(1..).unwrap_or_default().to_vec(),
                })
            }
            DATA => Ok(Self::Data(content.to_vec())),
            ZEROS => {
                let number = <[u8; 8]>::try_from(content).map_err(|_| bad())?;
                Ok(Self::Zeros(u64::from_le_bytes(number)))
            }
            END => {
                let (is_usable, tag) = content.split_first().ok_or_else(bad)?;
                Ok(Self::End {
                    is_usable: *is_usable == 1,
                    tag: <[u8; 32]>::try_from(tag).map_err(|_| bad())?,
                })
            }
            _ => Err(bad()),
        }
    }
}

fn bad() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the stream of a folder's content is damaged",
    )
}

/// Reason why a folder is not sent to its end.
enum Failure {
    /// The content is beyond a bound, or no folder: another machine would find the same.
    Unusable,
    System(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Sends the content of the folder `below` a disk. A folder that does not exist is empty.
///
/// # Errors
/// The system's only.
pub fn send_folder(
    output: &mut impl Write,
    key: &[u8; KEY_BYTES],
    disk: &Path,
    below: &str,
) -> io::Result<()> {
    let mut sender = Sender {
        output,
        hasher: Blake3::keyed(key),
        entries: 0,
        path_bytes: 0,
    };
    let is_usable = match sender.folder(disk, below) {
        Ok(()) => true,
        Err(Failure::Unusable) => false,
        Err(Failure::System(error)) => return Err(error),
    };
    sender.hasher.update(&[u8::from(is_usable)]);
    let end = FolderItem::End {
        is_usable,
        tag: sender.hasher.finish(),
    };
    sender.output.write_all(&end.encode())?;
    sender.output.flush()
}

/// An open folder, which names its entries by `/proc`: so a path of any length can be opened.
struct Folder(File);

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let [directory, no_follow, _] = FLAGS;
        OpenOptions::new()
            .read(true)
            .custom_flags(directory | no_follow)
            .open(path)
            .map(Self)
    }

    /// Returns the path of an entry.
    fn entry(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Opens a folder in this one. The job may have taken itself the right to read it.
    fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.entry(name);
        with_right(&path, 0o500, || Self::open(&path))
    }
}

/// Opens what belongs to this process's user, though its mode may forbid that; leaves the mode as it was.
fn with_right<T>(path: &Path, right: u32, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mode = fs::symlink_metadata(path)?.permissions().mode() & 0o7777;
            fs::set_permissions(path, Permissions::from_mode(mode | right))?;
            let opened = open();
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            opened
        }
        opened => opened,
    }
}

struct Sender<'a, W> {
    output: &'a mut W,
    hasher: Blake3,
    entries: usize,
    path_bytes: usize,
}

impl<W: Write> Sender<'_, W> {
    fn send(&mut self, item: &FolderItem) -> io::Result<()> {
        let bytes = item.encode();
        self.hasher.update(&bytes);
        self.output.write_all(&bytes)
    }

    fn folder(&mut self, disk: &Path, below: &str) -> Result<(), Failure> {
        let mut folder = Folder::open(disk)?;
        for name in below.split('/').filter(|name| !name.is_empty()) {
            let kind = match fs::symlink_metadata(folder.entry(OsStr::new(name))) {
                Ok(found) => found.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if !kind.is_dir() {
                return Err(Failure::Unusable);
            }
            folder = folder.open_folder(OsStr::new(name))?;
        }
        self.content(&folder, &[], 0)
    }

    /// Sends the entries of a folder, which has `depth` folders above it.
    fn content(&mut self, folder: &Folder, path: &[u8], depth: usize) -> Result<(), Failure> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            names.push(entry?.file_name());
            if names.len() > MAX_ENTRIES {
                return Err(Failure::Unusable);
            }
        }
        for name in names {
            let mut entry_path = path.to_vec();
            if !entry_path.is_empty() {
                entry_path.push(b'/');
            }
            entry_path.extend_from_slice(name.as_bytes());
            self.count(&entry_path)?;
            let place = folder.entry(&name);
            let found = fs::symlink_metadata(&place)?;
            let kind = found.file_type();
            if kind.is_dir() {
                if depth >= MAX_DEPTH {
                    return Err(Failure::Unusable);
                }
                let inner = folder.open_folder(&name)?;
                self.content(&inner, &entry_path, depth.saturating_add(1))?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&place)?.into_os_string().into_vec();
                self.send(&FolderItem::Link {
                    path: entry_path,
                    target,
                })?;
            } else if kind.is_file() {
                let mode = found.permissions().mode() & 0o777;
                self.send(&FolderItem::File {
                    mode,
                    path: entry_path,
                })?;
                self.file(&place)?;
            }
            // Sockets, pipes and devices are no part of an output.
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8]) -> Result<(), Failure> {
        self.entries = self.entries.saturating_add(1);
        self.path_bytes = self.path_bytes.saturating_add(path.len());
        let is_too_much =
            self.entries > MAX_ENTRIES || path.len() > MAX_PATH_BYTES || self.path_bytes > MAX_PATHS_BYTES;
        if is_too_much {
            return Err(Failure::Unusable);
        }
        Ok(())
    }

    /// Sends a file's content; of zeros only their number, so that a file with holes takes no time on the
    /// way.
    fn file(&mut self, place: &Path) -> io::Result<()> {
        let [_, no_follow, non_blocking] = FLAGS;
        let mut file = with_right(place, 0o400, || {
            OpenOptions::new()
                .read(true)
                .custom_flags(no_follow | non_blocking)
                .open(place)
        })?;
        let mut buffer = vec![0; MAX_ITEM_BYTES];
        let mut zeros: u64 = 0;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = buffer.get(..read).unwrap_or_default();
            if piece.iter().all(|byte| *byte == 0) {
                zeros = zeros.saturating_add(read as u64);
                if zeros < MAX_ZEROS {
                    continue;
                }
            }
            if zeros > 0 {
                self.send(&FolderItem::Zeros(std::mem::take(&mut zeros)))?;
            }
            if piece.iter().any(|byte| *byte != 0) {
                self.send(&FolderItem::Data(piece.to_vec()))?;
            }
        }
        if zeros > 0 {
            self.send(&FolderItem::Zeros(zeros))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    const KEY: [u8; KEY_BYTES] = [9; KEY_BYTES];

    struct Disk(PathBuf);

    impl Disk {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("assay-init-folder-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// Returns the items that are sent, in the order of their paths, and whether the folder is usable.
        fn items(&self, below: &str) -> (Vec<FolderItem>, bool) {
            let mut bytes = Vec::new();
            send_folder(&mut bytes, &KEY, &self.0, below).unwrap();
            let mut hasher = Blake3::keyed(&KEY);
            let (mut items, mut rest) = (Vec::new(), &bytes[..]);
            loop {
                let (head, after) = rest.split_first_chunk::<5>().unwrap();
                let (kind, length) = FolderItem::read_head(*head).unwrap();
                let (content, after) = after.split_at(length);
                match FolderItem::read(kind, content).unwrap() {
                    FolderItem::End { is_usable, tag } => {
                        assert!(after.is_empty());
                        hasher.update(&[u8::from(is_usable)]);
                        assert_eq!(hasher.finish(), tag);
                        return (items, is_usable);
                    }
                    item => {
                        hasher.update(&rest[..5 + length]);
                        items.push(item);
                    }
                }
                rest = after;
            }
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn file(path: &[u8], mode: u32) -> FolderItem {
        FolderItem::File {
            mode,
            path: path.to_vec(),
        }
    }

    #[test]
    fn files_and_links_are_sent_and_nothing_is_followed() {
        let disk = Disk::new("hostile");
        let out = disk.0.join("out");
        fs::create_dir_all(out.join("a")).unwrap();
        let odd = out.join("a").join(OsStr::from_bytes(b"\xff\n"));
        fs::write(&odd, "x").unwrap();
        fs::set_permissions(&odd, Permissions::from_mode(0o4750)).unwrap();
        assert_eq!(
            disk.items("out"),
            (
                vec![file(b"a/\xff\n", 0o750), FolderItem::Data(b"x".to_vec())],
                true
            )
        );
        fs::remove_file(&odd).unwrap();
        symlink("/etc", out.join("a/link")).unwrap();
        let link = FolderItem::Link {
            path: b"a/link".to_vec(),
            target: b"/etc".to_vec(),
        };
        assert_eq!(disk.items("out"), (vec![link], true));
        // The folder itself may be missing, and must be none of the host's.
        assert_eq!(disk.items("none"), (vec![], true));
        assert_eq!(disk.items("out/a/link"), (vec![], false));
        fs::write(disk.0.join("file"), "").unwrap();
        assert_eq!(disk.items("file"), (vec![], false));
        assert!(disk.items("").1);
    }

    #[test]
    fn holes_are_told_by_their_length() {
        let disk = Disk::new("sparse");
        let sparse = File::create(disk.0.join("sparse")).unwrap();
        sparse.set_len(200 * 1_024 * 1_024).unwrap();
        let (items, is_usable) = disk.items("");
        assert!(is_usable && items.len() < 10, "{}", items.len());
        let zeros: u64 = items
            .iter()
            .map(|item| match item {
                FolderItem::Zeros(number) => *number,
                _ => 0,
            })
            .sum();
        assert_eq!(zeros, 200 * 1_024 * 1_024);
        fs::write(disk.0.join("sparse"), [&[0; 100][..], b"end"].concat()).unwrap();
        let data = [&[0; 100][..], b"end"].concat();
        assert_eq!(disk.items("").0[1], FolderItem::Data(data));
    }

    #[test]
    fn files_that_forbid_reading_are_read_and_left_as_they_were() {
        let disk = Disk::new("modes");
        fs::create_dir(disk.0.join("closed")).unwrap();
        fs::write(disk.0.join("closed/secret"), "x").unwrap();
        for (path, mode) in [("closed/secret", 0), ("closed", 0)] {
            fs::set_permissions(disk.0.join(path), Permissions::from_mode(mode)).unwrap();
        }
        let expected = vec![file(b"closed/secret", 0), FolderItem::Data(b"x".to_vec())];
        assert_eq!(disk.items(""), (expected, true));
        let closed = disk.0.join("closed");
        assert_eq!(fs::metadata(&closed).unwrap().permissions().mode() & 0o777, 0);
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn folder_beyond_a_bound_is_unusable() {
        let disk = Disk::new("deep");
        let mut deep = disk.0.clone();
        for _ in 0..MAX_DEPTH {
            deep.push("x");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        assert!(disk.items("").1);
        fs::create_dir(deep.join("more")).unwrap();
        assert!(!disk.items("").1);
    }

    #[test]
    fn damaged_items_are_refused() {
        for head in [[0, 0, 0, 0, 0], [6, 0, 0, 0, 0], [DATA, 1, 0, 1, 0]] {
            assert!(FolderItem::read_head(head).is_err(), "{head:?}");
        }
        for (kind, content) in [
            (FILE, &b"abc"[..]),
            (LINK, b"abc"),
            (ZEROS, b"1"),
            (END, b""),
            (END, b"\x01x"),
        ] {
            assert!(FolderItem::read(kind, content).is_err(), "{kind}");
        }
        let link = FolderItem::Link {
            path: b"a".to_vec(),
            target: Vec::new(),
        };
        let bytes = link.encode();
        assert_eq!(FolderItem::read(bytes[0], &bytes[5..]).unwrap(), link);
    }
}
