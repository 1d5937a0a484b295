//! The job's environment, and the search for its program.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// Default of `PATH` if neither image nor manifest sets it, as in engines.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the inherited environment with the variables of a launch on top, and a default for `PATH`.
pub fn merged_environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    environment: Vec<(String, String)>,
) -> BTreeMap<OsString, OsString> {
    let mut merged: BTreeMap<_, _> = inherited.into_iter().collect();
    merged.extend(
        environment
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    merged.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    merged
}

/// Returns the file of a program: the word itself if it has a slash, otherwise the first executable file of
/// that name in the folders of `PATH`.
pub fn find_program(word: &str, path: &OsStr) -> io::Result<PathBuf> {
    if word.contains('/') {
        return Ok(PathBuf::from(word));
    }
    let mut error = io::ErrorKind::NotFound;
    for folder in path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the working directory, as for shells.
        let folder = if folder.is_empty() { b"." } else { folder };
        let file = Path::new(OsStr::from_bytes(folder)).join(word);
        match file.metadata() {
            Ok(details) if details.is_file() && details.permissions().mode() & 0o111 != 0 => return Ok(file),
            Ok(_) => error = io::ErrorKind::PermissionDenied,
            Err(_) => (),
        }
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn later_variables_replace_earlier_ones() {
        let inherited = [("PATH", "/a"), ("KEEP", "1"), ("GPU", "all")]
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let own = pairs(&[("GPU", "all"), ("OWN", "2"), ("PATH", "/b"), ("GPU", "void")]);
        let merged = merged_environment(inherited, own);
        let text: Vec<_> = merged
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(text, ["GPU=void", "KEEP=1", "OWN=2", "PATH=/b"]);
    }

    #[test]
    fn path_has_a_default() {
        let merged = merged_environment([], Vec::new());
        assert_eq!(merged[OsStr::new("PATH")], DEFAULT_PATH);
        let empty = merged_environment([], pairs(&[("PATH", "")]));
        assert_eq!(empty[OsStr::new("PATH")], "");
    }

    #[test]
    fn program_is_the_first_executable_file_of_its_name() {
        let root = std::env::temp_dir().join(format!("assay-init-{}", std::process::id()));
        let (first, second) = (root.join("first"), root.join("second"));
        fs::create_dir_all(first.join("folder")).unwrap();
        fs::create_dir_all(&second).unwrap();
        let write = |path: PathBuf, mode| {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write(first.join("tool"), 0o644);
        write(second.join("tool"), 0o755);
        write(second.join("folder"), 0o755);
        write(first.join("data"), 0o644);
        let path = OsString::from(format!("/nowhere:{}:{}", first.display(), second.display()));

        assert_eq!(find_program("tool", &path).unwrap(), second.join("tool"));
        assert_eq!(find_program("folder", &path).unwrap(), second.join("folder"));
        assert_eq!(find_program("./any", &path).unwrap(), Path::new("./any"));
        let kind = |word| find_program(word, &path).unwrap_err().kind();
        assert_eq!(kind("data"), io::ErrorKind::PermissionDenied);
        assert_eq!(kind("none"), io::ErrorKind::NotFound);
        fs::remove_dir_all(root).unwrap();
    }
}
