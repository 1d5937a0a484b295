use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::PathBuf,
};

use serde_json::json;

use super::*;
use crate::artifacts::{KeptContent, KeptOutput, OutputFolder};

/// Output folder of [`JOB`].
struct OneFolder(PathBuf);

impl OutputFolders for OneFolder {
    fn output(&self, job: u64, fingerprint: &str) -> Result<Output, MissingOutput> {
        assert_eq!((job, fingerprint), (JOB, "aa"));
        Ok(Output::Folder(OutputFolder::new(&self.0, "out")))
    }
}

async fn with_output() -> (Server, tempfile::TempDir) {
    let disk = tempfile::tempdir().unwrap();
    let out = disk.path().join("out");
    fs::create_dir_all(out.join("sub")).unwrap();
    fs::write(
        out.join("sub/data"),
        (0..200_000_u32).map(|n| n as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(out.join("a b"), b"spaced").unwrap();
    fs::write(out.join(std::ffi::OsStr::from_bytes(b"\xff")), b"odd").unwrap();
    fs::write(disk.path().join("secret"), b"secret").unwrap();
    symlink("../secret", out.join("escape")).unwrap();
    let server = Server::with((), OneFolder(disk.path().to_owned()), StreamLimits::default()).await;
    server.note(|_| ());
    (server, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_with_their_hashes() {
    let (server, _disk) = with_output().await;
    let (code, body) = server.get("artifacts").await;
    assert_eq!(code, StatusCode::OK);
    let listing: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let entries = listing["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0]["path"], "a b");
    assert_eq!(entries[0]["blake3"], hash(b"spaced"));
    assert_eq!(
        entries[1],
        json!({ "path": "escape", "kind": "link", "mode": "0000", "size": 9, "blake3": hash(b"../secret") })
    );
    assert_eq!(entries[2]["path"], "sub/data");
    assert_eq!(entries[3]["path_base64"], "/w==");
    assert_eq!(listing["skipped"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_is_put_together_from_ranges() {
    let (server, disk) = with_output().await;
    let whole = server.ask("artifacts/archive", &[TOKEN]).await;
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.headers()["content-type"], "application/x-tar");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let archive = whole.into_body().collect().await.unwrap().to_bytes();
    let listing: serde_json::Value = serde_json::from_slice(&server.get("artifacts").await.1).unwrap();
    assert_eq!(tag, format!("\"{}\"", listing["root"].as_str().unwrap()));
    assert_eq!(listing["archive_bytes"], archive.len());

    let mut together = Vec::new();
    while together.len() < archive.len() {
        let range = format!("bytes={}-{}", together.len(), together.len() + 70_000);
        let headers = [TOKEN, ("range", &range), ("if-range", &tag)];
        let part = server.ask("artifacts/archive", &headers).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        let told = part.headers()["content-range"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("bytes {}-", together.len())), "{told}");
        assert!(told.ends_with(&format!("/{}", archive.len())), "{told}");
        together.extend(part.into_body().collect().await.unwrap().to_bytes());
    }
    assert_eq!(together, archive);

    let known = server
        .get_with("artifacts/archive", &[("if-none-match", &tag)])
        .await;
    assert_eq!(known, (StatusCode::NOT_MODIFIED, Vec::new()));
    let beyond = format!("bytes={}-", archive.len());
    let beyond = server
        .ask("artifacts/archive", &[TOKEN, ("range", &beyond)])
        .await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        beyond.headers()["content-range"],
        format!("bytes */{}", archive.len())
    );

    // Another content: the client gets all of it instead of a part that does not fit.
    fs::write(disk.path().join("out/more"), b"more").unwrap();
    let headers = [("range", "bytes=0-9"), ("if-range", tag.as_str())];
    let (code, changed) = server.get_with("artifacts/archive", &headers).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(changed.len(), archive.len() + 1_024);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_are_served_and_links_are_not() {
    let (server, _disk) = with_output().await;
    let file = server.ask("artifacts/files/a%20b", &[TOKEN]).await;
    assert_eq!(
        file.headers()["etag"],
        format!("\"{}\"", blake3::hash(b"spaced").to_hex())
    );
    assert_eq!(file.headers()["content-length"], "6");
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    assert_eq!(file.into_body().collect().await.unwrap().to_bytes(), "spaced");
    let part = server
        .get_with("artifacts/files/sub/data", &[("range", "bytes=-3")])
        .await;
    assert_eq!(part, (StatusCode::PARTIAL_CONTENT, vec![61, 62, 63]));
    for path in [
        "escape",
        "sub",
        "none",
        "..%2fsecret",
        "sub%2f..%2f..%2fsecret",
        "%2fetc%2fhostname",
        "%zz",
    ] {
        let (code, _) = server.get(&format!("artifacts/files/{path}")).await;
        assert_eq!(code, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_becomes_shorter_cuts_the_response_off() {
    let (server, disk) = with_output().await;
    let path = disk.path().join("out/big");
    fs::write(&path, vec![1; 24 * 1024 * 1024]).unwrap();
    let response = server.ask("artifacts/files/big", &[TOKEN]).await;
    assert_eq!(response.status(), StatusCode::OK);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10)
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_the_jobs_alone_and_secret_where_they_must_be() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|_| ());
    let (code, body) = server.get("artifacts").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    assert!(String::from_utf8(body).unwrap().contains("no output folder"));

    let (server, _disk) = with_output().await;
    server.note(|notes| notes.replica = true);
    for path in ["artifacts", "artifacts/archive", "artifacts/files/a%20b"] {
        assert_eq!(server.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
}

/// No output, for this reason.
struct NotKept;

impl OutputFolders for NotKept {
    fn output(&self, _: u64, _: &str) -> Result<Output, MissingOutput> {
        Err(MissingOutput::NotKept("fetch it before you accept".into()))
    }
}

/// The output of [`JOB`] after its disk.
struct Kept(PathBuf);

impl OutputFolders for Kept {
    fn output(&self, _: u64, _: &str) -> Result<Output, MissingOutput> {
        Ok(Output::Kept(KeptOutput::new(self.0.clone())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_output_is_served_as_its_folder_was() {
    let (server, disk) = with_output().await;
    let listed = server.get("artifacts").await;
    let archive = server.get("artifacts/archive").await;
    let path = disk.path().join("kept");
    let content = KeptContent::of(OutputFolder::new(disk.path(), "out")).unwrap();
    content.write(&fs::File::create(&path).unwrap()).unwrap();
    fs::remove_dir_all(disk.path().join("out")).unwrap();

    let server = Server::with((), Kept(path.clone()), StreamLimits::default()).await;
    server.note(|notes| notes.closed = true);
    assert_eq!(server.get("artifacts").await, listed);
    assert_eq!(server.get("artifacts/archive").await, archive);
    let (code, part) = server
        .get_with("artifacts/archive", &[("range", "bytes=1000-70000")])
        .await;
    assert_eq!(code, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part, archive.1[1_000..=70_000]);
    let part = server
        .get_with("artifacts/files/sub/data", &[("range", "bytes=-3")])
        .await;
    assert_eq!(part, (StatusCode::PARTIAL_CONTENT, vec![61, 62, 63]));
    assert_eq!(
        server.get("artifacts/files/a%20b").await,
        (StatusCode::OK, b"spaced".to_vec())
    );
    assert_eq!(
        server.get("artifacts/files/escape").await.0,
        StatusCode::NOT_FOUND
    );
    fs::remove_file(path).unwrap();
    assert_eq!(server.get("artifacts/archive").await.0, StatusCode::GONE);

    let server = Server::with((), NotKept, StreamLimits::default()).await;
    server.note(|notes| notes.closed = true);
    let (code, body) = server.get("artifacts").await;
    assert_eq!(code, StatusCode::GONE);
    assert!(String::from_utf8(body).unwrap().contains("before you accept"));
}
