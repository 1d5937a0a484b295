//! Logs, artifacts and ports of a job through the client, over connections that break.

#![allow(clippy::unwrap_used)]

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use assay_client::{
    manifest::PortProtocol,
    worker_api::{
        ArchiveReader, ArchiveSink, LogEvent, LogQuery, OutputStream as LogStream, OwnerSession, WorkerApi,
        WorkerApiError,
    },
};
use assay_primitives::job::ResultDocument;
use assay_worker::{
    api::{
        JobStreams, MissingOutput, OutputFolders, StreamLimits,
        exec::{PROTOCOL, ShellError, Shells},
    },
    artifacts::{Output, OutputFolder},
    engine::{Capture, EngineError, ExecControl, ExecSession, ExecSpec, OutputStream, TerminalSize},
    jobs::{JobNotes, ResultFile},
    lease::PortStatus,
};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/served.rs"]
mod served;

use served::{Served, WIDE, account, key, make_healthy, open_job, request, serve_streams, tls_connection};

/// Output folder of job 5.
struct OneFolder(PathBuf);

impl OutputFolders for OneFolder {
    fn output(&self, job: u64, _: &str) -> Result<Output, MissingOutput> {
        if job == 5 {
            Ok(Output::Folder(OutputFolder::new(&self.0, "out")))
        } else {
            Err(MissingOutput::None)
        }
    }
}

/// A healthy worker with job 5 of `//Charlie`, whose owner part is reached over connections that break.
struct Fixture {
    served: Served,
    /// Folder with the output folder `out`.
    disk: tempfile::TempDir,
    /// Number of the worker's bytes after which a connection breaks.
    breaks_after: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
}

impl Fixture {
    async fn start() -> Self {
        Self::with_shells(()).await
    }

    async fn with_shells(shells: impl Shells) -> Self {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir(disk.path().join("out")).unwrap();
        let folder = OneFolder(disk.path().to_owned());
        let served = serve_streams(WIDE, |store, status| {
            let limits = StreamLimits::default();
            Arc::new(JobStreams::new(
                store.clone(),
                status.clone(),
                shells,
                folder,
                limits,
            ))
        })
        .await;
        make_healthy(&served.status);
        served.status.set_jobs(vec![open_job(5, "//Charlie")]);
        let fixture = Self {
            breaks_after: Arc::new(AtomicU64::new(u64::MAX)),
            connections: Arc::default(),
            served,
            disk,
        };
        fixture.note(|_| ());
        let relay = fixture.relay().await;
        fixture
            .served
            .status
            .update(|status| status.owner_part.url = format!("https://{relay}"));
        fixture
    }

    fn note(&self, change: impl FnOnce(&mut JobNotes)) {
        let mut notes = JobNotes {
            fingerprint: "job 5".into(),
            container_started: true,
            consumer: Some(account("//Charlie")),
            ..JobNotes::default()
        };
        change(&mut notes);
        self.served.store.write_notes(5, &notes).unwrap();
    }

    /// Passes connections on to the owner part.
    async fn relay(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (breaks_after, connections) = (self.breaks_after.clone(), self.connections.clone());
        let worker = self.served.owner;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let breaks_after = breaks_after.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    let server = TcpStream::connect(worker).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (from_server, mut to_server) = server.into_split();
                    let mut from_server = from_server.take(breaks_after);
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_server) => (),
                        _ = tokio::io::copy(&mut from_server, &mut to_client) => (),
                    }
                });
            }
        });
        address
    }

    async fn api(&self) -> WorkerApi {
        self.served.client().await
    }

    async fn log_in(&self) -> OwnerSession {
        self.api().await.log_in(5, &key("//Charlie")).await.unwrap()
    }
}

/// Ends a test that waits for what does not come.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("the worker or the client waits for ever")
}

#[tokio::test(flavor = "multi_thread")]
async fn log_is_followed_to_its_end_over_connections_that_break() {
    let fixture = Fixture::start().await;
    let owner = fixture.log_in().await;
    // An event has 16 KiB at most, so that each connection brings some.
    fixture.breaks_after.store(40_000, Ordering::Relaxed);
    let before = fixture.connections.load(Ordering::Relaxed);
    let mut capture = Capture::new(&fixture.served.store.output_target(5, true));
    let line = |number: usize| format!("{number:03} {}\n", "x".repeat(1_000));
    let writing = tokio::task::spawn_blocking(move || {
        for number in 0..120 {
            capture.take(OutputStream::Stdout, line(number).as_bytes());
            if number % 40 == 0 {
                capture.take(OutputStream::Stderr, b"\xff problem\n");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        capture.finish();
    });
    let mut follower = owner.follow_logs(LogQuery::default());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let expected: String = (0..120).map(line).collect();
    let reading = async {
        loop {
            match follower.next().await.unwrap() {
                Some(LogEvent::Output { stream, bytes, .. }) => match stream {
                    LogStream::Stdout => stdout.extend(bytes),
                    LogStream::Stderr => stderr.extend(bytes),
                },
                Some(LogEvent::Dropped { .. }) => panic!("output is missing"),
                None => break,
            }
            if stdout.len() == expected.len() && stderr.len() == 3 * 10 {
                fixture.note(|notes| notes.result_hash = Some([1; 32]));
            }
        }
    };
    in_time(reading).await;
    writing.await.unwrap();
    assert_eq!(stdout, expected.as_bytes());
    assert_eq!(stderr, b"\xff problem\n".repeat(3));
    let connections = fixture.connections.load(Ordering::Relaxed) - before;
    assert!(connections >= 3, "{connections} connections");

    let only = LogQuery {
        only: Some(LogStream::Stderr),
        tail: Some(1),
        ..LogQuery::default()
    };
    let mut log = owner.read_logs(only).await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = log.next().await.unwrap() {
        text.extend(piece);
    }
    assert_eq!(text, b"\xff problem\n");
}

/// Entries of an archive: files with their content, links with their target.
#[derive(Default)]
struct Collected(Vec<(Vec<u8>, Vec<u8>)>);

impl ArchiveSink for Collected {
    fn begin_file(&mut self, path: &[u8], _mode: u32, _size: u64) -> io::Result<()> {
        self.0.push((path.to_vec(), Vec::new()));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.last_mut().unwrap().1.extend(bytes);
        Ok(())
    }

    fn end_file(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.0.push((path.to_vec(), target.to_vec()));
        Ok(())
    }
}

/// Fills the output folder; returns the content of its large file.
fn fill(fixture: &Fixture) -> Vec<u8> {
    let out = fixture.disk.path().join("out");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    fs::create_dir(out.join("sub")).unwrap();
    fs::write(out.join("sub/large"), &content).unwrap();
    fs::set_permissions(out.join("sub/large"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(out.join("a"), b"first").unwrap();
    fs::write(out.join("l".repeat(150)), b"long name").unwrap();
    symlink("../elsewhere", out.join("link")).unwrap();
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_of_a_worker_is_read_over_connections_that_break_and_has_its_root_hash() {
    let fixture = Fixture::start().await;
    let content = fill(&fixture);
    let owner = fixture.log_in().await;
    let list = owner.artifacts().await.unwrap();
    assert_eq!(list.entries.len(), 4);
    assert_eq!(list.entries[0].path.as_deref(), Some("a"));
    assert_eq!(
        list.entries[0].blake3,
        blake3::hash(b"first").to_hex().to_string()
    );

    fixture.breaks_after.store(1_200_000, Ordering::Relaxed);
    let before = fixture.connections.load(Ordering::Relaxed);
    let mut download = owner.download_artifacts().await.unwrap();
    assert_eq!(hex::encode(download.root_hash()), list.root);
    assert_eq!(download.length(), list.archive_bytes);
    let (mut reader, mut collected) = (ArchiveReader::new(10_000_000), Collected::default());
    let reading = async {
        let mut owner = Some(owner);
        let mut refusals = 0;
        loop {
            match download.next().await {
                Ok(Some(bytes)) => reader.push(&bytes, &mut collected).unwrap(),
                Ok(None) => return refusals,
                // The token that ended below is replaced by another one.
                Err(error) if error.is_logged_out() => {
                    refusals += 1;
                    download.continue_with(fixture.log_in().await);
                }
                Err(error) => panic!("{error}"),
            }
            if let Some(owner) = owner.take() {
                owner.log_out().await.unwrap();
            }
        }
    };
    assert_eq!(in_time(reading).await, 1);
    let connections = fixture.connections.load(Ordering::Relaxed) - before;
    assert!(connections >= 3, "{connections} connections");
    let summary = reader.finish().unwrap();
    assert_eq!(hex::encode(summary.root_hash), list.root);
    assert_eq!((summary.files, summary.links), (3, 1));
    assert_eq!(
        collected.0,
        [
            (b"a".to_vec(), b"first".to_vec()),
            (b"link".to_vec(), b"../elsewhere".to_vec()),
            (vec![b'l'; 150], b"long name".to_vec()),
            (b"sub/large".to_vec(), content),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn download_of_a_folder_that_changes_is_given_up() {
    let fixture = Fixture::start().await;
    fill(&fixture);
    let owner = fixture.log_in().await;
    fixture.breaks_after.store(1_200_000, Ordering::Relaxed);
    let mut download = owner.download_artifacts().await.unwrap();
    assert!(download.next().await.unwrap().is_some());
    fs::write(fixture.disk.path().join("out/more"), b"more").unwrap();
    let reading = async {
        loop {
            match download.next().await {
                Ok(Some(_)) => (),
                Ok(None) => panic!("the whole archive came"),
                Err(error) => return error,
            }
        }
    };
    let error = in_time(reading).await;
    assert!(matches!(error, WorkerApiError::Changed), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_and_result_come_with_their_proofs() {
    let fixture = Fixture::start().await;
    let owner = fixture.log_in().await;
    assert!(owner.ports().await.unwrap().is_empty());
    let mut job = open_job(5, "//Charlie");
    job.ports = vec![PortStatus {
        name: "web".into(),
        protocol: PortProtocol::Http,
        container_port: 8_080,
        host_port: None,
        path: Some("/v1/jobs/5/ports/web/".into()),
        public: false,
    }];
    fixture.served.status.set_jobs(vec![job.clone()]);
    let ports = owner.ports().await.unwrap();
    assert_eq!((ports[0].name.as_str(), ports[0].container_port), ("web", 8_080));
    assert!(owner.port_url("web").ends_with("/v1/jobs/5/ports/web/"));
    // Text for a terminal.
    job.ports[0].name = "\u{1b}[2J".into();
    fixture.served.status.set_jobs(vec![job]);
    assert!(matches!(
        owner.ports().await.unwrap_err(),
        WorkerApiError::NotUnderstood { .. }
    ));

    let error = owner.fetch("web", "/").await.err().unwrap();
    assert!(error.is_refused_with(404), "{error}");
    let error = owner.fetch("../..", "/").await.err().unwrap();
    assert!(matches!(error, WorkerApiError::BadPort { .. }), "{error}");
    let error = owner.fetch("web", "no slash").await.err().unwrap();
    assert!(matches!(error, WorkerApiError::BadPath { .. }), "{error}");

    let capture = Capture::new(&fixture.served.store.output_target(5, false));
    let document = ResultDocument {
        exit_code: 3,
        image_digest: [1; 32],
        manifest_hash: [2; 32],
        stdout: capture.finish(),
        output: Some([4; 32]),
    };
    let file = serde_json::to_vec(&ResultFile::from(&document)).unwrap();
    fixture.served.store.write_result(5, &file).unwrap();
    let mut result = owner.result().await.unwrap();
    assert_eq!(result.checked(), Some(document));
    result.hash = Some([9; 32]);
    assert_eq!(result.checked(), None);
}

/// A command that writes nothing and goes on until it is killed.
#[derive(Clone, Default)]
struct Endless {
    is_killed: Arc<AtomicBool>,
}

impl ExecControl for Endless {
    fn resize(&self, _: TerminalSize) -> BoxFuture<'_, Result<(), EngineError>> {
        future::ready(Ok(())).boxed()
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, EngineError>> {
        future::ready(Ok(None)).boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        self.is_killed.store(true, Ordering::Relaxed);
        future::ready(Ok(true)).boxed()
    }
}

impl Shells for Endless {
    fn open<'a>(
        &'a self,
        _: u64,
        _: &'a str,
        _: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<ExecSession, ShellError>> {
        let session = ExecSession {
            input: Box::pin(tokio::io::sink()),
            output: stream::pending().boxed(),
            control: Box::new(self.clone()),
        };
        future::ready(Ok(session)).boxed()
    }
}

/// A log that is followed and a shell, opened by one token.
struct Opened {
    log: TlsStream<TcpStream>,
    /// Bytes of the log's response so far.
    read: Vec<u8>,
    shell: WebSocketStream<TlsStream<TcpStream>>,
}

impl Opened {
    async fn by(token: &str, fixture: &Fixture) -> Self {
        let bearer = format!("Authorization: Bearer {token}");
        let mut log = tls_connection(fixture.served.owner).await.unwrap();
        let asked = request("GET", "/v1/jobs/5/logs?follow=true", &[&bearer], "");
        log.write_all(&asked).await.unwrap();
        log.flush().await.unwrap();

        let stream = tls_connection(fixture.served.owner).await.unwrap();
        let url = format!("ws://{}/v1/jobs/5/exec", fixture.served.owner);
        let mut asked = url.into_client_request().unwrap();
        let headers = asked.headers_mut();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers.insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
        let (shell, _) = client_async(asked, stream).await.unwrap();
        Self {
            log,
            read: Vec::new(),
            shell,
        }
    }

    /// Returns true if both stay open for a while.
    async fn is_open(&mut self) -> bool {
        let shell_ended = async {
            // The worker asks if the client is there.
            while let Some(Ok(Message::Ping(_))) = self.shell.next().await {}
        };
        let ended = async {
            tokio::select! {
                _ = self.log.read_to_end(&mut self.read) => (),
                () = shell_ended => (),
            }
        };
        let waited = tokio::time::timeout(Duration::from_millis(500), ended).await;
        waited.is_err() && self.read.starts_with(b"HTTP/1.1 200")
    }

    /// Waits for the end of both; returns the log's response, and the last message of the shell.
    async fn ended(mut self) -> (String, String) {
        // The worker may close the connection without a word of TLS.
        let _ = self.log.read_to_end(&mut self.read).await;
        let mut last = String::new();
        while let Some(Ok(message)) = self.shell.next().await {
            if let Message::Binary(message) = message {
                last = String::from_utf8_lossy(&message).into_owned();
            }
        }
        (String::from_utf8_lossy(&self.read).into_owned(), last)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_logs_and_shells_end_with_their_token_and_no_others_do() {
    let command = Endless::default();
    let fixture = Fixture::with_shells(command.clone()).await;
    fixture.note(|notes| notes.interactive = true);
    // Its log stays open, as that of a job that runs.
    let _capture = Capture::new(&fixture.served.store.output_target(5, true));
    let token = async |life_s: u64| {
        let answer = fixture
            .served
            .token(5, "//Charlie", |parts| parts.expires_at_s -= 600 - life_s)
            .await;
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let other = token(600).await;
    let mut stays = Opened::by(&other, &fixture).await;
    for is_revoked in [true, false] {
        command.is_killed.store(false, Ordering::Relaxed);
        let token = token(if is_revoked { 600 } else { 4 }).await;
        let mut opened = Opened::by(&token, &fixture).await;
        assert!(opened.is_open().await, "revoked: {is_revoked}");
        if is_revoked {
            let bearer = format!("Authorization: Bearer {token}");
            let answer = fixture.served.ask("DELETE", "/v1/token", &[&bearer], "").await;
            assert_eq!(answer.code, 204);
        }
        let (log, last) = in_time(opened.ended()).await;
        assert!(!log.contains("event: end"), "the job has not ended: {log}");
        assert!(last.contains("the token has ended"), "{last}");
        assert!(command.is_killed.load(Ordering::Relaxed));
    }
    assert!(stays.is_open().await, "it has a token of its own");
}
