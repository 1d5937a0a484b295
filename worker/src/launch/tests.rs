//! Launches of sealed jobs, on a file system of this machine.

#![allow(clippy::unwrap_used)]

use assay_client::manifest::OpenedManifest;

use super::*;

fn manifest(text: &str) -> OpenedManifest {
    let text = format!(r#"{{"image":"a@sha256:{}"{text}}}"#, "ab".repeat(32));
    OpenedManifest::new(JobManifest::from_sealed_bytes(text.as_bytes()).unwrap())
}

fn process(entrypoint: &[&str], command: &[&str]) -> ImageProcess {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    ImageProcess {
        entrypoint: words(entrypoint),
        command: words(command),
    }
}

#[test]
fn command_is_the_one_that_the_engine_would_run() {
    let image = process(&["/entry"], &["image", "arguments"]);
    for (text, expected) in [
        ("", "/entry image arguments"),
        (r#","command":["own"]"#, "/entry own"),
        (r#","entrypoint":["/own"]"#, "/own"),
        (r#","entrypoint":["/own","a"],"command":["b"]"#, "/own a b"),
    ] {
        let launch = launch_of(&manifest(text), &image, &[]);
        assert_eq!(launch.command.join(" "), expected, "{text}");
    }
    let launch = launch_of(&manifest(r#","command":["own"]"#), &process(&[], &["image"]), &[]);
    assert_eq!(launch.command, ["own"]);
}

#[test]
fn lease_has_the_last_word_on_the_environment() {
    let lease = ["GPU=void".to_owned(), "nonsense".to_owned()];
    let launch = launch_of(
        &manifest(r#","env":{"GPU":"all","K":"a=b"}"#),
        &process(&[], &[]),
        &lease,
    );
    let merged = assay_init::merged_environment([], launch.environment);
    assert_eq!(merged[std::ffi::OsStr::new("GPU")], "void");
    assert_eq!(merged[std::ffi::OsStr::new("K")], "a=b");
}

#[test]
fn init_is_a_static_program() {
    assert_eq!(&INIT[..4], b"\x7fELF");
    // Program headers of a 64-bit little-endian ELF: none of type 3, which names a loader.
    let number = |at: usize, bytes: usize| {
        (0..bytes).fold(0, |sum, byte| sum + (usize::from(INIT[at + byte]) << (8 * byte)))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let kinds: Vec<usize> = (0..count).map(|index| number(table + index * size, 4)).collect();
    assert!(kinds.contains(&1) && !kinds.contains(&3), "{kinds:?}");
}

/// A launcher in a folder of a tmpfs, if there is one.
fn launcher() -> Option<(tempfile::TempDir, Launcher)> {
    let folder = tempfile::tempdir_in("/dev/shm").ok()?;
    let launcher = Launcher::new(Some(folder.path()), Path::new("/state"));
    match launcher.probe() {
        Ok(()) => Some((folder, launcher)),
        Err(error) => {
            println!("nothing is tested: {error}");
            None
        }
    }
}

fn key() -> LeaseKey {
    LeaseKey {
        job: 7,
        fingerprint: "ab".into(),
    }
}

#[test]
fn folder_is_in_memory_closed_and_removed() {
    let Some((folder, launcher)) = launcher() else {
        return;
    };
    let manifest =
        manifest(r#","command":["go"],"secrets":{"token":"marker","key":{"base64":"AP8="}},"env":{"K":"V"}"#);
    assert!(!launcher.is_ready(&key()));
    let mounts = launcher
        .write(&key(), &manifest, &process(&["/entry"], &[]), &[])
        .unwrap();
    assert!(launcher.is_ready(&key()));
    let root = launcher.folder.clone();
    assert_eq!(root.parent(), Some(folder.path()));
    let job = root.join("7-ab");
    let expected = [("assay", "/run/assay"), ("secrets", "/run/secrets")].map(|(name, target)| BindMount {
        source: job.join(name),
        target: target.into(),
        is_read_only: true,
    });
    assert_eq!(mounts, expected);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (path, expected) in [
        ("", 0o700),
        ("7-ab", 0o700),
        ("7-ab/assay", 0o755),
        ("7-ab/assay/init", 0o555),
        ("7-ab/assay/launch", 0o444),
        ("7-ab/secrets", 0o755),
        ("7-ab/secrets/token", 0o444),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
    assert_eq!(fs::read(job.join("secrets/key")).unwrap(), [0, 255]);
    let launch = Launch::decode(&fs::read(job.join("assay/launch")).unwrap()).unwrap();
    assert_eq!(launch.command, ["/entry", "go"]);
    assert_eq!(launch.environment, [("K".to_owned(), "V".to_owned())]);

    // Once more, as after a restart of the worker.
    launcher
        .write(&key(), &manifest, &process(&["/entry"], &[]), &[])
        .unwrap();
    launcher.remove(&key()).unwrap();
    launcher.remove(&key()).unwrap();
    assert!(!job.exists() && !launcher.is_ready(&key()));
}

#[test]
fn manifest_that_names_no_program_is_refused() {
    let Some((_folder, launcher)) = launcher() else {
        return;
    };
    let error = launcher
        .write(&key(), &manifest(""), &process(&[], &[]), &[])
        .unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("names a program"),
        "{error}"
    );
    assert!(!launcher.is_ready(&key()));
}

#[test]
fn mounted_folder_is_small() {
    let Some((_folder, launcher)) = launcher() else {
        return;
    };
    launcher
        .write(&key(), &manifest(r#","command":["go"]"#), &process(&[], &[]), &[])
        .unwrap();
    let job = launcher.folder_of(&key());
    if fs::metadata(&job).unwrap().dev() != fs::metadata(&launcher.folder).unwrap().dev() {
        let error = fs::write(job.join("ballast"), vec![1; 7 * 1_024 * 1_024]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    launcher.remove(&key()).unwrap();
}

#[test]
fn folder_on_a_disk_is_refused_without_the_right_to_mount() {
    let folder = tempfile::tempdir().unwrap();
    let launcher = Launcher::new(Some(folder.path()), Path::new("/state"));
    // As root a tmpfs is mounted on it; otherwise the disk is found.
    match launcher.probe() {
        Ok(()) | Err(LaunchError::OnDisk { .. }) => (),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_state_folder_has_a_folder_of_its_own() {
    let of = |state: &str| Launcher::new(Some(Path::new("/run")), Path::new(state)).folder;
    assert_eq!(of("/a"), of("/a"));
    assert_ne!(of("/a"), of("/b"));
    assert!(of("relative").starts_with("/run"));
}
