//! A sealed job with a real engine: the container sees what was sealed, and no file of the host has it. See
//! `worker/tests/support/engines.rs` for the environment that it needs.

use std::{fs, path::PathBuf};

use assay_client::{
    manifest::{ImageReference, JobManifest},
    sealing::{PlainManifest, SealContext},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{real_engine::RealWorld, *};
use crate::engine::{DockerEngine, EngineEndpoint};

/// Largest file that is searched, in bytes: nothing that an engine writes about a container is longer.
const MAX_SEARCHED_BYTES: u64 = 16 * 1_024 * 1_024;

/// Returns the engine's answer to a GET request.
async fn ask(socket: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Returns the folders in which the engine keeps its files.
async fn folders_of_engine(socket: &str) -> Vec<PathBuf> {
    let info = ask(socket, "/info").await;
    let (_, rest) = info.split_once(r#""DockerRootDir":""#).unwrap();
    let mut folders = vec![PathBuf::from(rest.split('"').next().unwrap())];
    // A Podman of the tests' own has three.
    let command = std::env::var("ASSAY_TEST_ENGINE_COMMAND").unwrap_or_default();
    let words: Vec<_> = command.lines().collect();
    folders.extend(
        words
            .windows(2)
            .filter(|pair| ["--root", "--runroot", "--tmpdir"].contains(&pair[0]))
            .map(|pair| pair[1].into()),
    );
    folders
}

/// Returns the files below these folders that have the marker. Files that vanish meanwhile are passed over.
fn files_with(marker: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders = folders.to_vec();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            }
            let is_short = entry
                .metadata()
                .is_ok_and(|details| details.len() <= MAX_SEARCHED_BYTES);
            if kind.is_file()
                && is_short
                && fs::read(entry.path()).is_ok_and(|bytes| {
                    bytes
                        .windows(marker.len())
                        .any(|window| window == marker.as_bytes())
                })
            {
                found.push(entry.path());
            }
        }
    }
    found
}

fn json_of(image: &str, line: &str, marker: &str, secrets: &str) -> String {
    serde_json::json!({
        "image": image, "command": ["/bin/busybox", "sh", "-c", line, "name", marker], "env": { "TOKEN": marker },
    })
    .to_string()
    .replacen('{', &format!("{{{secrets}"), 1)
}

#[tokio::test]
async fn container_sees_what_was_sealed_and_no_disk_does() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(socket), Some(image)) = (variable("ASSAY_TEST_ENGINE_SOCKET"), variable("ASSAY_TEST_IMAGE"))
    else {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(DockerEngine::new(EngineEndpoint::resolve(Some(&socket))));
    let chain = FakeChain::default();
    let unique = blake3::hash(format!("sealed {}", std::process::id()).as_bytes());
    let (sealed_marker, open_marker) = (
        format!("sealed-{}", &unique.to_hex()[..20]),
        format!("open-{}", &unique.to_hex()[..20]),
    );
    let supervisor = supervisor_of(&chain, &engine, &folder, 0, unique.into(), Vec::new());
    let (delivery, launcher) = (
        supervisor.executor.delivery.clone(),
        supervisor.executor.launcher.clone(),
    );
    if let Err(error) = launcher.probe() {
        println!("nothing is tested: {error}");
        return;
    }
    let mut world = RealWorld {
        chain: chain.clone(),
        supervisor,
    };
    let digest = image.parse::<ImageReference>().unwrap().digest();

    // Says whether argument, environment and secret are there, and nothing of them. PATH is the image's.
    let line = r#"[ "$1" = "$TOKEN" ] && [ "$TOKEN" = "$(cat /run/secrets/token)" ] && [ ${#TOKEN} = 27 ] &&
        [ "$PATH" = /bin ] && ! echo x 2>/dev/null > /run/assay/launch && echo seen; sleep 6; exit 1"#;
    let secrets = format!(r#""secrets":{{"token":"{sealed_marker}"}},"#);
    let json = json_of(&image, line, &sealed_marker, &secrets);
    let plain = PlainManifest::new(&JobManifest::from_sealed_bytes(json.as_bytes()).unwrap()).unwrap();
    deploy_on(&chain, 7, JobKind::Service, "{}", digest);
    chain.change(|state| {
        state.jobs.get_mut(&7).unwrap().job.manifest = Manifest::Sealed {
            hash: plain.hash().into(),
        };
    });
    world
        .until("the wait for the manifest", |_, jobs| {
            jobs.iter().any(|job| job.problem.is_some())
        })
        .await;
    let sealing_key = assay_client::keys::sealing_public_key(&x25519_dalek::StaticSecret::from([7; 32]));
    let context = SealContext {
        genesis_hash: [4; 32],
        job: 7,
        machine: 0,
        sealing_key,
    };
    delivery.put(7, plain.seal(&context).unwrap().bytes()).unwrap();
    // A public job beside it shows that the search below finds data that an engine gets.
    deploy_on(
        &chain,
        8,
        JobKind::Service,
        &json_of(&image, "sleep 60", &open_marker, ""),
        digest,
    );
    let output = |job: u64| {
        let job_folder = folder.path().join(format!("jobs/{job}"));
        let (stdout, _) = crate::logs::beginnings(&job_folder).unwrap().unwrap_or_default();
        String::from_utf8(stdout).unwrap()
    };
    world
        .until("both starts, and the container's word", |calls, _| {
            starts(calls) == 2 && output(7) == "seen\n"
        })
        .await;

    let mut folders = folders_of_engine(&socket).await;
    folders.push(folder.path().join("jobs"));
    assert_eq!(files_with(&sealed_marker, &folders), Vec::<PathBuf>::new());
    assert!(
        !files_with(&open_marker, &folders).is_empty(),
        "the search finds what is there"
    );
    let worker = hex::encode(unique.as_bytes());
    for container in engine.list(&worker).await.unwrap() {
        let told = ask(&socket, &format!("/containers/{}/json", container.id)).await;
        assert!(!told.contains(&sealed_marker), "{told}");
        assert_eq!(told.contains(&open_marker), container.job == 8);
    }

    // The folder in memory goes, as with a restart of the host; the next start makes it again.
    let key = LeaseKey {
        job: 7,
        fingerprint: fingerprint(&[4; 32], 7, &chain.change(|state| state.jobs[&7].job.clone())),
    };
    launcher.remove(&key).unwrap();
    world
        .until("the restart", |_, _| output(7).starts_with("seen\nseen\n"))
        .await;
    assert!(launcher.is_ready(&key));

    chain.change(|state| state.jobs.clear());
    let store = JobStore::open(folder.path().join("jobs")).unwrap();
    world
        .until("the tidying", |_, _| {
            [7, 8].iter().all(|job| {
                let notes = store.stored_notes(*job).unwrap();
                notes.is_some_and(|notes| notes.closed)
            })
        })
        .await;
    assert!(!launcher.is_ready(&key), "the folder in memory is gone");
    assert!(!folder.path().join("jobs/7/delivery.json").exists());
}
