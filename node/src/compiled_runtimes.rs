//! Folder that caches the machine code of compiled runtimes.
//!
//! The node executes the files in it, so only the node's user and root may be able to change them, the
//! folder, or the folders on its path. The path is walked from the root. Each step is checked without
//! following links, and only after its parent was found safe. So no other user can replace a step afterwards,
//! and there is no race between check and use.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

/// Mode bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Mode bits that let others than the owner use a folder or file at all.
const OTHERS_USE: u32 = 0o077;

/// Mode bit of a folder in which only an entry's owner can rename or remove it, such as `/tmp`.
const STICKY: u32 = 0o1000;

/// User id of root.
const ROOT: u32 = 0;

/// Maximum number of links on a path, the same as Linux's.
const MAX_LINKS: usize = 40;

/// Maximum number of entries that are checked: more than the compiler's cache keeps.
const MAX_ENTRIES: usize = 200_000;

/// Reason why a folder is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Error of the file system.
    #[error("{}: {source}", path.display())]
    System {
        /// Path of the failed operation.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },

    /// Another user owns the folder, something in it, or a folder on its path.
    #[error(
        "{} belongs to user id {owner}, who can put code there that the node would execute; name a folder below one of \
         your own, or have it removed",
        path.display()
    )]
    ForeignOwner {
        /// Path with the foreign owner.
        path: PathBuf,
        /// User id of the owner.
        owner: u32,
    },

    /// Other users can write into the folder, something in it, or a folder on its path.
    #[error(
        "other users can write into {0}, and the node executes its contents; run `chmod go-w {0}`, and empty the folder \
         if you do not know who wrote there",
        path.display()
    )]
    OthersWrite {
        /// Path that others can write to.
        path: PathBuf,
    },

    /// The path, or a part of it, is not a folder.
    #[error("{} is not a folder; name another, or remove it", path.display())]
    NotFolder {
        /// Path of the other entry.
        path: PathBuf,
    },

    /// The path contains too many links, or a loop.
    #[error("{} leads through more than {MAX_LINKS} links; name the folder itself", path.display())]
    TooManyLinks {
        /// Path as given.
        path: PathBuf,
    },

    /// An entry of the folder is neither a file nor a folder: a link, for example.
    #[error("{} is neither a file nor a folder, and the node creates nothing else there; remove it", path.display())]
    NotFile {
        /// Path of the entry.
        path: PathBuf,
    },

    /// The folder has more entries than the node ever creates.
    #[error("{} holds more than {MAX_ENTRIES} files; empty it", path.display())]
    TooManyEntries {
        /// Path of the folder.
        path: PathBuf,
    },
}

/// Returns the folder's real path. Creates missing parts for their owner alone.
///
/// Fails if anyone but the node's user and root can change the contents.
pub(crate) fn own_folder(folder: &Path) -> Result<PathBuf, FolderError> {
    folder_of(folder, rustix::process::geteuid().as_raw())
}

/// Does the same as [`own_folder`], for a node that runs as that user.
fn folder_of(folder: &Path, user: u32) -> Result<PathBuf, FolderError> {
    let real = walk(folder, user)?;
    let metadata = look_at(&real)?;
    ensure_owner(&real, &metadata, user)?;
    // A sticky folder is refused too: the compiler's cache creates new files there.
    ensure_closed(&real, &metadata)?;
    // If others cannot enter at all, a user's own files need no further protection.
    let is_private = metadata.mode() & OTHERS_USE == 0;
    check_entries(&real, user, is_private)?;
    Ok(real)
}

/// Follows a path from the root to a folder, and creates missing folders.
fn walk(folder: &Path, user: u32) -> Result<PathBuf, FolderError> {
    let absolute = std::path::absolute(folder).map_err(|source| FolderError::System {
        path: folder.to_owned(),
        source,
    })?;
    let mut reached = PathBuf::from("/");
    ensure_step(&reached, &look_at(&reached)?, user)?;
    let mut ahead = VecDeque::new();
    push_front(&mut ahead, &absolute);
    let mut links = 0;

    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            // The parent was checked before.
            reached.pop();
            continue;
        }
        let next = reached.join(name);
        let metadata = look_at_or_make(&next)?;
        ensure_owner(&next, &metadata, user)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(FolderError::TooManyLinks {
                    path: folder.to_owned(),
                });
            }
            let target = fs::read_link(&next).map_err(|source| FolderError::System { path: next, source })?;
            if target.is_absolute() {
                reached = PathBuf::from("/");
            }
            push_front(&mut ahead, &target);
            continue;
        }
        ensure_step(&next, &metadata, user)?;
        reached = next;
    }
    Ok(reached)
}

/// Puts the steps of a path before the remaining ones.
fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// Returns the metadata of a path without following a link.
fn look_at(path: &Path) -> Result<Metadata, FolderError> {
    path.symlink_metadata().map_err(|source| FolderError::System {
        path: path.to_owned(),
        source,
    })
}

/// Does the same as [`look_at`]; creates a missing folder for its owner alone.
fn look_at_or_make(path: &Path) -> Result<Metadata, FolderError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => {
            return found.map_err(|source| FolderError::System {
                path: path.to_owned(),
                source,
            });
        }
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Another process created it first: check it like any existing folder.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FolderError::System {
            path: path.to_owned(),
            source: error,
        }),
        _ => look_at(path),
    }
}

/// Checks a folder on the path: no other user may be able to replace its entries.
fn ensure_step(path: &Path, metadata: &Metadata, user: u32) -> Result<(), FolderError> {
    if !metadata.is_dir() {
        return Err(FolderError::NotFolder {
            path: path.to_owned(),
        });
    }
    ensure_owner(path, metadata, user)?;
    if metadata.mode() & STICKY != 0 {
        // Others can add entries. They own these, which the next step refuses.
        return Ok(());
    }
    ensure_closed(path, metadata)
}

/// Checks that the node's user or root owns the entry.
fn ensure_owner(path: &Path, metadata: &Metadata, user: u32) -> Result<(), FolderError> {
    let owner = metadata.uid();
    if owner == user || owner == ROOT {
        return Ok(());
    }
    Err(FolderError::ForeignOwner {
        path: path.to_owned(),
        owner,
    })
}

/// Checks that only the owner can write.
fn ensure_closed(path: &Path, metadata: &Metadata) -> Result<(), FolderError> {
    if metadata.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(FolderError::OthersWrite {
        path: path.to_owned(),
    })
}

/// Checks all entries of the folder: they may date from a time when others could write into it.
fn check_entries(folder: &Path, user: u32, is_private: bool) -> Result<(), FolderError> {
    let mut ahead = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(path) = ahead.pop() {
        let failed = |source| FolderError::System {
            path: path.clone(),
            source,
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(FolderError::TooManyEntries {
                    path: folder.to_owned(),
                });
            }
            let entry = entry.map_err(failed)?.path();
            let metadata = match look_at(&entry) {
                // Another node that shares the folder has just removed it.
                Err(FolderError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                found => found?,
            };
            if !metadata.is_dir() && !metadata.is_file() {
                return Err(FolderError::NotFile { path: entry });
            }
            ensure_owner(&entry, &metadata, user)?;
            if !is_private {
                ensure_closed(&entry, &metadata)?;
            }
            if metadata.is_dir() {
                ahead.push(entry);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::{
        fs::{PermissionsExt, chown, lchown, symlink},
        net::UnixListener,
    };

    use tempfile::TempDir;

    use super::*;

    /// User id that is neither root's nor the tests'.
    const SOMEBODY: u32 = 65_534;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode_of(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn current_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Returns the user for whom the entry is foreign: root, if the tests can give it away, otherwise a user
    /// who owns nothing here.
    fn stranger_to(path: &Path) -> u32 {
        if current_user() != ROOT {
            return current_user() + 1;
        }
        let give = if path.is_symlink() { lchown } else { chown };
        give(path, Some(SOMEBODY), None).unwrap();
        ROOT
    }

    /// Asserts that the folder is refused to that user because of its owner, or that of an entry or parent.
    fn assert_foreign(home: &TempDir, folder: &Path, user: u32, culprit: &Path) {
        match folder_of(folder, user).unwrap_err() {
            FolderError::ForeignOwner { path, owner } if user == ROOT => {
                assert_eq!((path.as_path(), owner), (culprit, SOMEBODY));
            }
            FolderError::ForeignOwner { path, owner } => {
                assert!(path.starts_with(home.path().canonicalize().unwrap()), "{path:?}");
                assert_eq!(owner, current_user());
            }
            other => panic!("{other}"),
        }
    }

    #[track_caller]
    fn assert_others_write(folder: &Path, culprit: &Path) {
        let error = own_folder(folder).unwrap_err();
        assert!(
            matches!(&error, FolderError::OthersWrite { path } if path == culprit),
            "{error}"
        );
        assert!(error.to_string().contains("`chmod go-w "), "{error}");
    }

    /// Returns a home folder of the tests' user, by its real path.
    fn home() -> (TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().canonicalize().unwrap();
        (home, path)
    }

    #[test]
    fn own_folder_makes_what_is_missing_for_its_owner_alone() {
        let (_home, path) = home();
        let folder = path.join("a/b/c");
        assert_eq!(own_folder(&folder).unwrap(), folder);
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode_of(&path.join(made)), 0o700, "{made}");
        }
        assert_eq!(own_folder(&folder).unwrap(), folder, "it may exist already");
        assert_eq!(own_folder(&path.join("a/./b/../b/c")).unwrap(), folder);
    }

    #[test]
    fn folder_that_others_may_read_is_trusted() {
        let (_home, path) = home();
        set_mode(&path, 0o755);
        assert_eq!(own_folder(&path).unwrap(), path);
    }

    #[test]
    fn folder_that_others_can_write_into_is_refused() {
        let (_home, path) = home();
        for mode in [0o720, 0o702, 0o1777] {
            set_mode(&path, mode);
            assert_others_write(&path, &path);
        }
    }

    #[test]
    fn folder_of_somebody_else_is_refused_whatever_its_mode() {
        let (home, path) = home();
        let folder = path.join("made beforehand");
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o700);
        let user = stranger_to(&folder);
        assert_foreign(&home, &folder, user, &folder);
    }

    #[test]
    fn folder_below_one_of_somebody_else_is_refused() {
        let (home, path) = home();
        let above = path.join("theirs");
        let folder = above.join("mine");
        fs::create_dir_all(&folder).unwrap();
        let user = stranger_to(&above);
        assert_foreign(&home, &folder, user, &above);
    }

    #[test]
    fn folder_below_one_that_others_can_write_into_is_refused_unless_that_is_sticky() {
        let (_home, path) = home();
        let above = path.join("shared");
        let folder = above.join("mine");
        fs::create_dir_all(&folder).unwrap();
        set_mode(&above, 0o777);
        assert_others_write(&folder, &above);
        set_mode(&above, 0o1777);
        assert_eq!(own_folder(&folder).unwrap(), folder);
    }

    #[test]
    fn link_is_followed_and_what_it_leads_to_is_checked() {
        let (_home, path) = home();
        let folder = path.join("real");
        fs::create_dir(&folder).unwrap();
        for (name, target) in [("absolute", folder.as_path()), ("relative", Path::new("./real"))] {
            let link = path.join(name);
            symlink(target, &link).unwrap();
            assert_eq!(own_folder(&link).unwrap(), folder);
            assert_eq!(own_folder(&link.join("deeper")).unwrap(), folder.join("deeper"));
        }
        set_mode(&folder, 0o777);
        assert_others_write(&path.join("absolute"), &folder);
    }

    #[test]
    fn link_of_somebody_else_is_refused() {
        let (home, path) = home();
        let (folder, link) = (path.join("real"), path.join("link"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &link).unwrap();
        let user = stranger_to(&link);
        assert_foreign(&home, &link, user, &link);
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let (_home, path) = home();
        let (one, other) = (path.join("one"), path.join("other"));
        symlink(&one, &other).unwrap();
        symlink(&other, &one).unwrap();
        let error = own_folder(&one).unwrap_err();
        assert!(matches!(error, FolderError::TooManyLinks { .. }), "{error}");
    }

    #[test]
    fn file_is_no_folder() {
        let (_home, path) = home();
        let file = path.join("file");
        fs::write(&file, "").unwrap();
        for folder in [file.clone(), file.join("below")] {
            let error = own_folder(&folder).unwrap_err();
            assert!(
                matches!(&error, FolderError::NotFolder { path } if *path == file),
                "{error}"
            );
        }
    }

    #[test]
    fn file_of_somebody_else_in_the_folder_is_refused() {
        let (home, path) = home();
        let file = path.join("modules/code");
        fs::create_dir(path.join("modules")).unwrap();
        fs::write(&file, "").unwrap();
        let user = stranger_to(&file);
        assert_foreign(&home, &path, user, &file);
    }

    #[test]
    fn entry_that_others_can_write_is_refused_where_they_can_reach_it() {
        let (_home, path) = home();
        let inner = path.join("modules");
        let file = inner.join("code");
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "").unwrap();
        set_mode(&file, 0o666);
        set_mode(&path, 0o755);
        assert_others_write(&path, &file);
        set_mode(&file, 0o644);
        set_mode(&inner, 0o775);
        assert_others_write(&path, &inner);
        // With the mode that a node with a umask of 002 creates.
        set_mode(&path, 0o700);
        assert_eq!(own_folder(&path).unwrap(), path);
    }

    #[test]
    fn link_or_socket_in_the_folder_is_refused() {
        for make in [
            |path: &Path| symlink("/etc/hostname", path).unwrap(),
            |path: &Path| drop(UnixListener::bind(path).unwrap()),
        ] {
            let (_home, path) = home();
            let entry = path.join("code");
            make(&entry);
            let error = own_folder(&path).unwrap_err();
            assert!(
                matches!(&error, FolderError::NotFile { path } if *path == entry),
                "{error}"
            );
        }
    }
}
