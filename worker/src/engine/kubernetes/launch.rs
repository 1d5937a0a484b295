//! The files of a container's namespace, and the launch that is sent to its `assay-init`.

use std::{collections::BTreeMap, fs, io, path::Path};

use assay_init::{Frame, LAUNCH_NAME, Launch};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Namespace, Pod},
};
use kube::ResourceExt;
use zeroize::Zeroizing;

use super::{
    images::ImageConfig,
    objects,
    objects::{ANNOTATION_LAUNCH, ANNOTATION_SECRETS, FILES, POD_ENTRY},
};
use crate::{
    engine::{ContainerSpec, EngineError},
    launch::INIT,
};

/// First program of a container, small enough for a ConfigMap: it reads [`INIT`] from standard input.
const LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assay_loader"));

/// Maximum length of a secret's file that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 1_024 * 1_024;

/// Maximum number of secrets of a job.
const MAX_SECRETS: usize = 256;

/// Returns the files of a container: its first program, its specification, and the launch unless it is
/// sealed.
pub(super) fn files(spec: &ContainerSpec, image: &ImageConfig, pod: &Pod) -> Result<ConfigMap, EngineError> {
    let refused = |reason: String| EngineError::Refused {
        action: "create the job's pod".into(),
        reason,
    };
    let mut binary = BTreeMap::from([(objects::program_entry(), ByteString(LOADER.to_vec()))]);
    if !objects::is_sealed(spec) {
        let launch = launch_of(spec, image)
            .encode()
            .map_err(|error| refused(error.to_string()))?;
        binary.insert(LAUNCH_NAME.to_owned(), ByteString(launch));
    }
    let pod = serde_json::to_string(pod).map_err(|error| refused(error.to_string()))?;
    Ok(ConfigMap {
        metadata: objects::named(FILES),
        immutable: Some(true),
        binary_data: Some(binary),
        data: Some(BTreeMap::from([(POD_ENTRY.to_owned(), pod)])),
    })
}

/// Returns the command and the environment of a public job, as an engine makes them of image and manifest.
fn launch_of(spec: &ContainerSpec, image: &ImageConfig) -> Launch {
    let (entrypoint, command) = match (spec.entrypoint.is_empty(), spec.command.is_empty()) {
        (true, true) => (&image.entrypoint, &image.command),
        (true, false) => (&image.entrypoint, &spec.command),
        // An entrypoint of one's own leaves the image's command out.
        (false, _) => (&spec.entrypoint, &spec.command),
    };
    Launch {
        command: entrypoint.iter().chain(command).cloned().collect(),
        environment: spec
            .environment
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// Returns the bytes that make the loader become `assay-init`.
pub(super) fn program() -> io::Result<Vec<u8>> {
    let length = u32::try_from(INIT.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], INIT].concat())
}

/// Returns what is sent to a container's `assay-init` after its greeting: the secrets and the launch of a
/// sealed job, from the folders in memory that its namespace names; otherwise the word that the launch is in
/// its file.
pub(super) async fn frames(namespace: &Namespace) -> Result<Zeroizing<Vec<u8>>, EngineError> {
    let folder = |name: &str| namespace.annotations().get(name).cloned();
    let (launch, secrets) = (folder(ANNOTATION_LAUNCH), folder(ANNOTATION_SECRETS));
    let read = tokio::task::spawn_blocking(move || read_frames(launch.as_deref(), secrets.as_deref()));
    read.await
        .map_err(io::Error::other)
        .and_then(|frames| frames)
        .map_err(|error| EngineError::Failed {
            action: "read the job's launch".into(),
            reason: error.to_string(),
        })
}

fn read_frames(launch: Option<&str>, secrets: Option<&str>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut frames = Zeroizing::new(Vec::new());
    if let Some(folder) = secrets {
        for entry in fs::read_dir(folder)?.take(MAX_SECRETS) {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if entry.metadata()?.len() > MAX_SECRET_BYTES {
                return Err(io::Error::other("a secret is longer than 1 MiB"));
            }
            let content = fs::read(entry.path())?;
            let frame = Zeroizing::new(Frame::Secret { name, content }.encode()?);
            frames.extend_from_slice(&frame);
        }
    }
    let launch = match launch {
        Some(folder) => fs::read(Path::new(folder).join(LAUNCH_NAME))?,
        None => Vec::new(),
    };
    let frame = Zeroizing::new(Frame::Launch(launch).encode()?);
    frames.extend_from_slice(&frame);
    Ok(frames)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        io::Write,
        os::unix::fs::PermissionsExt,
        process::{Command, Output, Stdio},
    };

    use assay_init::{MAX_FRAME_BYTES, Orders, Report, greeting_end};

    use super::*;

    /// Runs the first program of a container on this host.
    fn run(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
        let path = folder.join("loader");
        fs::write(&path, LOADER).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("NVIDIA_VISIBLE_DEVICES", "GPU-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that ended does not read.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn launch(command: &[&str]) -> Vec<u8> {
        let launch = Launch {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: vec![("GREETING".into(), "hello there".into())],
        };
        launch.encode().unwrap()
    }

    #[test]
    fn program_comes_over_standard_input_and_then_its_launch() {
        let folder = tempfile::tempdir().unwrap();
        let hello = Frame::Hello {
            number: 3,
            // Nobody listens there.
            targets: vec!["127.0.0.1:1".into()],
        };
        let line = r#"echo "$GREETING"; cat; echo problem >&2; exit 7"#;
        let input = [
            program().unwrap(),
            hello.encode().unwrap(),
            Frame::Launch(launch(&["sh", "-c", line])).encode().unwrap(),
            b"not for the job".to_vec(),
        ]
        .concat();
        let output = run(folder.path(), &["--attached"], &input);
        assert_eq!(output.status.code(), Some(7));
        for (stream, rest) in [(&output.stdout, "hello there\n"), (&output.stderr, "problem\n")] {
            let (greeting, end) = greeting_end(stream, 3).unwrap();
            assert_eq!(greeting.reached, Vec::<String>::new());
            // A host with GPUs names those.
            if !Path::new("/dev/nvidia0").exists() {
                assert_eq!(greeting.devices, "GPU-1");
            }
            assert_eq!(std::str::from_utf8(&stream[end..]).unwrap(), rest);
        }
    }

    #[test]
    fn program_with_orders_vouches_for_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        fs::write(&report, "").unwrap();
        let key = [8; 32];
        let orders = Frame::Orders(Orders {
            key,
            hashed_bytes: u64::MAX,
            patience_s: 1,
            report: report.to_str().unwrap().to_owned(),
        });
        let input = [
            program().unwrap(),
            orders.encode().unwrap(),
            Frame::Launch(launch(&["sh", "-c", "echo out; exit 7"]))
                .encode()
                .unwrap(),
        ]
        .concat();
        let output = run(folder.path(), &["--attached"], &input);
        assert_eq!(output.status.code(), Some(7));
        let mark = assay_init::end_mark(&key);
        assert_eq!(output.stdout, [&b"out\n"[..], &mark].concat());
        let report = Report::read(&fs::read_to_string(&report).unwrap(), &key).unwrap();
        let hash: [u8; 32] = blake3::hash(b"out\n").into();
        assert_eq!((report.stdout_bytes, report.stdout_hash), (4, hash));
    }

    #[test]
    fn target_that_is_reached_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let hello = Frame::Hello {
            number: 1,
            targets: vec![target.clone(), "127.0.0.1:1".into()],
        };
        let input = [program().unwrap(), hello.encode().unwrap()].concat();
        let output = run(folder.path(), &["--attached"], &input);
        // Without a launch nothing runs.
        assert_eq!(output.status.code(), Some(assay_init::NO_LAUNCH.into()));
        assert_eq!(greeting_end(&output.stdout, 1).unwrap().0.reached, [target]);
    }

    #[test]
    fn input_that_ends_early_runs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let whole = [
            program().unwrap(),
            Frame::Launch(launch(&["true"])).encode().unwrap(),
        ]
        .concat();
        for length in [0, 3, 4, 5_000, whole.len() - 1] {
            let output = run(folder.path(), &["--attached"], &whole[..length]);
            assert_eq!(
                output.status.code(),
                Some(assay_init::NO_LAUNCH.into()),
                "{length}"
            );
        }
        assert_eq!(run(folder.path(), &["--attached"], &whole).status.code(), Some(0));
        assert_eq!(run(folder.path(), &["--nothing"], &[]).status.code(), Some(0));
    }

    #[test]
    fn command_gets_its_variables_before_those_of_the_container() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(
            folder.path(),
            &[
                "--with",
                "2",
                "TERM=xterm",
                "NVIDIA_VISIBLE_DEVICES=other",
                "sh",
                "-c",
                "echo $TERM; cat",
            ],
            b"typed",
        );
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "xterm\ntyped");
        let output = run(folder.path(), &["--with", "0", "no-such-command"], b"");
        assert_eq!(output.status.code(), Some(127));
        for arguments in [&["--with"][..], &["--with", "x", "true"], &["--with", "1", "A=b"]] {
            let output = run(folder.path(), arguments, b"");
            assert_eq!(output.status.code(), Some(126), "{arguments:?}");
        }
    }

    #[test]
    fn sealed_launch_is_read_from_the_folders_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (assay, secrets) = (folder.path().join("assay"), folder.path().join("secrets"));
        fs::create_dir(&assay).unwrap();
        fs::create_dir(&secrets).unwrap();
        fs::write(assay.join(LAUNCH_NAME), launch(&["true"])).unwrap();
        fs::write(secrets.join("key"), b"\0secret").unwrap();
        let frames = read_frames(assay.to_str(), secrets.to_str()).unwrap();
        let mut input = &frames[..];
        assert!(
            Frame::read(&mut input).unwrap()
                == Frame::Secret {
                    name: "key".into(),
                    content: b"\0secret".to_vec()
                }
        );
        assert!(Frame::read(&mut input).unwrap() == Frame::Launch(launch(&["true"])));
        assert!(input.is_empty());
        // A launch that is gone is made again before the next attempt.
        fs::remove_file(assay.join(LAUNCH_NAME)).unwrap();
        assert!(read_frames(assay.to_str(), None).is_err());
        assert!(read_frames(None, None).unwrap().len() < MAX_FRAME_BYTES);
    }

    #[test]
    fn first_program_fits_into_a_config_map_many_times() {
        assert!(LOADER.len() < 32 * 1_024, "{}", LOADER.len());
    }
}
