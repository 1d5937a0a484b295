//! Unpacks a job's output folder into a new folder that no entry can leave.
//!
//! The archive's reader passes on plain relative paths only. This module stores them in a new folder, and
//! creates links only after all files. It leaves out links that could lead out of the folder.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
};

use crate::worker_api::ArchiveSink;

/// Folder under construction: it gets its name when it is complete, and is removed otherwise.
#[derive(Debug)]
pub(super) struct Unpacked {
    target: PathBuf,
    partial: PathBuf,
    file: Option<File>,
    /// Paths and targets of links.
    links: Vec<(PathBuf, OsString)>,
    left_out: u64,
    is_complete: bool,
}

impl Unpacked {
    /// Creates a folder beside `target`, which must not exist or be empty.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(io::Error::other(format!(
                        "{} is not empty: choose a new folder",
                        target.display()
                    )));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => {
                return Err(described(
                    error,
                    format_args!("{} is no folder to fill", target.display()),
                ));
            }
        }
        let Some(name) = target.file_name() else {
            return Err(io::Error::other(format!(
                "{} has no name of its own: choose a new folder",
                target.display()
            )));
        };
        let mut partial_name = OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(".partial-{}", std::process::id()));
        let partial = target.with_file_name(partial_name);
        DirBuilder::new()
            .mode(0o700)
            .create(&partial)
            .map_err(|error| described(error, format_args!("{} cannot be made", partial.display())))?;
        Ok(Self {
            target: target.to_owned(),
            partial,
            file: None,
            links: Vec::new(),
            left_out: 0,
            is_complete: false,
        })
    }

    /// Makes the links, and gives the folder its name. Returns the number of links that were left out.
    pub(super) fn complete(mut self) -> io::Result<u64> {
        for (path, target) in &self.links {
            symlink(target, path).map_err(|error| {
                described(error, format_args!("the link {} cannot be made", path.display()))
            })?;
        }
        fs::rename(&self.partial, &self.target)
            .map_err(|error| described(error, format_args!("{} cannot be made", self.target.display())))?;
        self.is_complete = true;
        Ok(self.left_out)
    }

    /// Returns where a path is stored, and makes the folders above it.
    fn place(&self, path: &[u8]) -> io::Result<PathBuf> {
        let relative = Path::new(OsStr::from_bytes(path));
        // The archive's reader has checked the path; this check keeps every file in the folder even if the
        // reader has a fault.
        let is_plain = relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if !is_plain || relative.as_os_str().is_empty() {
            return Err(io::Error::other("its path leads out of the folder"));
        }
        let place = self.partial.join(relative);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(place)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if !self.is_complete {
            // Follows no link.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

impl ArchiveSink for Unpacked {
    fn begin_file(&mut self, path: &[u8], mode: u32, _size: u64) -> io::Result<()> {
        let place = self.place(path)?;
        // A file that is there already, such as one whose name differs in case, is an error.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode & 0o777)
            .open(place)?;
        self.file = Some(file);
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::Error::other("it has content and no beginning")),
        }
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let place = self.place(path)?;
        if stays_inside(path, target) {
            self.links.push((place, OsStr::from_bytes(target).to_owned()));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        Ok(())
    }
}

/// Returns an error of the system that says what failed.
fn described(error: io::Error, what: impl fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Returns true for a link that cannot lead out of the folder, even through other links: its target is
/// relative and has `..` at its beginning only, at most one for each folder above the link. These folders are
/// real ones; behind another link, `..` could be any folder.
fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let components: Vec<_> = Path::new(OsStr::from_bytes(target)).components().collect();
    let is_up = |component: &&Component<'_>| matches!(component, Component::ParentDir);
    let ups = components.iter().take_while(is_up).count();
    ups <= depth
        && components
            .iter()
            .skip(ups)
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store(unpacked: &mut Unpacked, path: &[u8], content: &[u8]) -> io::Result<()> {
        unpacked.begin_file(path, 0o640, content.len() as u64)?;
        unpacked.content(content)?;
        unpacked.end_file()
    }

    #[test]
    fn files_and_links_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        let mut unpacked = Unpacked::create(&target).unwrap();
        store(&mut unpacked, b"a/b", b"content").unwrap();
        store(&mut unpacked, b"c", b"").unwrap();
        unpacked.link(b"a/up", b"../c").unwrap();
        unpacked.link(b"away", b"/etc/passwd").unwrap();
        assert_eq!(unpacked.complete().unwrap(), 1);
        assert_eq!(fs::read(target.join("a/b")).unwrap(), b"content");
        let mode = fs::metadata(target.join("a/b")).unwrap().permissions().mode();
        // The umask of the tests may take bits away.
        assert_eq!(mode & 0o777 & !0o640, 0);
        assert_eq!(fs::read_link(target.join("a/up")).unwrap(), Path::new("../c"));
        assert!(fs::symlink_metadata(target.join("away")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn paths_that_lead_out_are_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let mut unpacked = Unpacked::create(&folder.path().join("out")).unwrap();
        let absolute = folder.path().join("absolute");
        for path in [
            &b"../out-of-it"[..],
            b"a/../../b",
            absolute.as_os_str().as_bytes(),
            b"",
            b".",
        ] {
            assert!(store(&mut unpacked, path, b"x").is_err(), "{path:?}");
            assert!(unpacked.link(path, b"x").is_err(), "{path:?}");
        }
        drop(unpacked);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn no_file_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        let mut unpacked = Unpacked::create(&folder.path().join("out")).unwrap();
        // Links are created last, so the name is a folder by then.
        unpacked.link(b"a", victim.as_os_str().as_bytes()).unwrap();
        unpacked.link(b"b", b"c").unwrap();
        store(&mut unpacked, b"a/file", b"x").unwrap();
        store(&mut unpacked, b"b/file", b"x").unwrap();
        assert!(unpacked.complete().is_err(), "a link and a folder have one name");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        assert!(!folder.path().join("out").exists());
    }

    #[test]
    fn links_stay_inside_whatever_they_lead_through() {
        for (path, target) in [
            (&b"a"[..], &b"b"[..]),
            (b"a", b"b/c"),
            (b"a", b"./b"),
            (b"d/a", b"../b"),
            (b"d/e/a", b"../../b"),
        ] {
            assert!(stays_inside(path, target), "{path:?} {target:?}");
        }
        for (path, target) in [
            (&b"a"[..], &b".."[..]),
            (b"a", b"../b"),
            (b"d/a", b"../../b"),
            (b"a", b"/b"),
            // Where `d/up` leads to the folder itself, `d/up/..` is outside.
            (b"a", b"d/up/.."),
            (b"d/a", b"b/../c"),
        ] {
            assert!(!stays_inside(path, target), "{path:?} {target:?}");
        }
    }

    #[test]
    fn folder_with_content_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), b"x").unwrap();
        let error = Unpacked::create(folder.path()).unwrap_err().to_string();
        assert!(error.contains("choose a new folder"), "{error}");
        assert!(Unpacked::create(&folder.path().join("mine")).is_err());
        assert!(Unpacked::create(Path::new("/")).is_err());
    }
}
