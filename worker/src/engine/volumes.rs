//! Volumes that an image declares: paths that its programs expect to be writable.

use std::{collections::BTreeSet, path::PathBuf};

/// Maximum number of volumes of an image. Each becomes a mount of the container.
pub const MAX_VOLUMES: usize = 64;

/// Maximum length of a volume's path, in bytes.
const MAX_VOLUME_BYTES: usize = 1_024;

/// Folders that no image may cover, with everything below them.
const RESERVED: [&str; 4] = ["/dev", "/proc", "/run/secrets", "/sys"];

/// Folders that are writable scratch in every container.
pub(super) const SCRATCH: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// Returns true if an absolute path is `folder` or below it; both without `.`, `..` and empty components.
fn is_path_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the declared volumes as plain absolute paths, each once, in order. Leaves out scratch.
///
/// # Errors
/// The reason why an image with these volumes cannot run. A volume that the worker left out would be one of
/// the engine's own making, without a limit.
pub fn declared_volumes(declared: &[String]) -> Result<Vec<String>, String> {
    let mut volumes = BTreeSet::new();
    for path in declared {
        if path.len() > MAX_VOLUME_BYTES || path.contains([':', ',']) || path.chars().any(char::is_control) {
            let start: String = path.chars().take(80).collect();
            return Err(format!(
                "the image declares the volume {start:?}, which is no path that engines mount"
            ));
        }
        let path = plain(path);
        if path == "/" || RESERVED.iter().any(|folder| is_path_below(&path, folder)) {
            return Err(format!(
                "the image declares the volume {path}, which belongs to the system; build it without that"
            ));
        }
        if !SCRATCH.contains(&&*path) {
            volumes.insert(path);
        }
    }
    if volumes.len() > MAX_VOLUMES {
        return Err(format!(
            "the image declares {} volumes; a container has at most {MAX_VOLUMES}",
            volumes.len()
        ));
    }
    Ok(volumes.into_iter().collect())
}

/// Checks the folder in which an image's program begins.
///
/// # Errors
/// The reason why an image with this folder cannot run: below `/proc` it leads to files that the runtime has
/// open at that moment, perhaps a folder of the host (CVE-2024-21626).
pub(super) fn check_working_dir(path: &str) -> Result<(), String> {
    // The kernel follows a link before a `..` after it, so no step of the way may be there either.
    let steps = path.match_indices('/').map(|(end, _)| &path[..end]);
    let is_reserved = |step: &str| {
        let plain = plain(step);
        RESERVED.iter().any(|folder| is_path_below(&plain, folder))
    };
    if path.len() > MAX_VOLUME_BYTES || steps.chain([path]).any(is_reserved) {
        let start: String = path.chars().take(80).collect();
        return Err(format!(
            "the image's program begins in {start:?}, which is too long or belongs to the system; build it with \
             another WORKDIR"
        ));
    }
    Ok(())
}

/// Returns the first link on the way to a folder, in any layer of the image. A `..` counts as one.
///
/// Podman before 5.7.1 creates the folder in which a program begins, and follows links of the image to the
/// host on the way (CVE-2026-55686).
pub(super) fn link_on_the_way(layers: &[PathBuf], path: &str) -> Option<String> {
    layers.iter().find_map(|layer| {
        let (mut place, mut way) = (layer.clone(), String::new());
        path.split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .find_map(|part| {
                place.push(part);
                way = format!("{way}/{part}");
                // No step before was a link, so this looks at the layer itself.
                let is_link = place
                    .symlink_metadata()
                    .is_ok_and(|found| found.file_type().is_symlink());
                (part == ".." || is_link).then(|| way.clone())
            })
    })
}

/// Returns the absolute path without `.`, `..` and empty components; `..` at the root stays there.
fn plain(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn of(declared: &[&str]) -> Result<Vec<String>, String> {
        let declared: Vec<String> = declared.iter().map(|path| (*path).to_owned()).collect();
        declared_volumes(&declared)
    }

    #[test]
    fn odd_volumes_are_made_plain() {
        assert_eq!(of(&["/data/", "/data", "//data/."]).unwrap(), ["/data"]);
        assert_eq!(of(&["/a/../data", "b"]).unwrap(), ["/b", "/data"]);
        assert_eq!(
            of(&["/tmp", "/var/tmp/", "/x/../run"]).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(of(&["/devices", "/run/db"]).unwrap(), ["/devices", "/run/db"]);
    }

    #[test]
    fn volume_over_the_system_is_refused() {
        for path in [
            "/",
            "",
            "/../..",
            "/a/..",
            "/proc",
            "/proc/self",
            "/sys/fs",
            "/dev",
            "/dev/shm",
            "/run/secrets",
            "/run/secrets/key",
            "/x/../proc/1",
        ] {
            let reason = of(&["/data", path]).unwrap_err();
            assert!(reason.contains("belongs to the system"), "{path}: {reason}");
        }
    }

    #[test]
    fn program_does_not_begin_in_a_folder_of_the_system() {
        for path in ["", "/", "work", "/work", "/devices", "/home/proc"] {
            assert_eq!(check_working_dir(path), Ok(()), "{path}");
        }
        for path in [
            "/proc/self/fd/8",
            "proc/self/fd/8",
            "/proc/self/fd/8/../../../..",
            "/x/..//proc/1/cwd",
            "/dev",
            "/sys/fs",
            &"/a".repeat(1_000),
        ] {
            let reason = check_working_dir(path).unwrap_err();
            assert!(reason.contains("belongs to the system"), "{path}: {reason}");
        }
    }

    #[test]
    fn link_on_the_way_to_a_folder_is_found_in_any_layer() {
        let layers = tempfile::tempdir().unwrap();
        let [upper, lower] = ["upper", "lower"].map(|name| layers.path().join(name));
        std::fs::create_dir_all(upper.join("app/inner")).unwrap();
        std::fs::create_dir_all(lower.join("srv")).unwrap();
        std::os::unix::fs::symlink("/", lower.join("srv/way")).unwrap();
        let layers = [upper, lower];
        let link = |path: &str| link_on_the_way(&layers, path);
        for path in ["", "/", "/app/./inner", "app//inner/new", "/srv", "/missing/way"] {
            assert_eq!(link(path), None, "{path}");
        }
        for path in ["/srv/way", "srv/way/etc", "/srv/./way/x"] {
            assert_eq!(link(path).as_deref(), Some("/srv/way"), "{path}");
        }
        assert_eq!(link("/app/../srv").as_deref(), Some("/app/.."));
        assert_eq!(link_on_the_way(&[], "/srv/way"), None);
    }

    #[test]
    fn image_with_too_many_or_unusable_volumes_is_refused() {
        let many: Vec<String> = (0..1_000).map(|number| format!("/v{number}")).collect();
        assert_eq!(
            declared_volumes(&many).unwrap_err(),
            "the image declares 1000 volumes; a container has at most 64"
        );
        assert_eq!(declared_volumes(&many[..MAX_VOLUMES]).unwrap().len(), MAX_VOLUMES);
        let same: Vec<String> = (1..1_000)
            .map(|dots| format!("/v{}", "/.".repeat(dots % 50)))
            .collect();
        assert_eq!(declared_volumes(&same).unwrap(), ["/v"]);
        for path in ["/a:b", "/a,b", "/a\nb", &"/a".repeat(1_000)] {
            assert!(
                of(&[path]).unwrap_err().contains("no path that engines mount"),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_volume_is_plain(declared in proptest::collection::vec("[a-c./]{0,12}", 0..20)) {
            for volume in declared_volumes(&declared).unwrap_or_default() {
                prop_assert!(volume.starts_with('/') && volume.len() > 1);
                prop_assert!(volume[1..].split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
