use std::sync::Mutex;

use axum::body::Bytes as Body;
use futures::{
    FutureExt, SinkExt, StreamExt,
    future::{self, BoxFuture},
};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use super::*;
use crate::{
    api::exec::*,
    config::SlotShare,
    devices::Holding,
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess,
        DockerEngine, EngineEndpoint, EngineError, ExecControl, ExecSession, ExecSpec, OutputStream,
        TerminalSize,
    },
    logs::LiveLogs,
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(server: &Server, query: &str) -> Result<Socket, tungstenite::Error> {
    let url = format!("ws://{}/v1/jobs/{JOB}/exec{query}", server.address);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, TOKEN.1.parse().unwrap());
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn refused(server: &Server, query: &str) -> StatusCode {
    match open(server, query).await {
        Err(tungstenite::Error::Http(response)) => response.status(),
        other => panic!("{other:?}"),
    }
}

async fn send(socket: &mut Socket, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::Binary(message.into())).await.unwrap();
}

/// Reads until the end; returns what came on the channels 1 and 2, and the last message.
async fn rest(socket: &mut Socket) -> (Vec<u8>, Vec<u8>, Option<serde_json::Value>) {
    let (mut stdout, mut stderr, mut end) = (Vec::new(), Vec::new(), None);
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(message) = message else {
                continue;
            };
            assert!(message.len() <= MAX_MESSAGE_BYTES);
            assert_eq!(end, None, "something follows the end");
            match (message[0], &message[1..]) {
                (1, bytes) => stdout.extend_from_slice(bytes),
                (2, bytes) => stderr.extend_from_slice(bytes),
                (4, json) => end = Some(serde_json::from_slice(json).unwrap()),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the session does not end");
    (stdout, stderr, end)
}

/// Commands of which the tests hold the other ends.
#[derive(Clone, Default)]
struct Commands(Arc<Mutex<Vec<Command>>>);

struct Command {
    spec: ExecSpec,
    input: DuplexStream,
    output: Option<DuplexStream>,
    sizes: Arc<Mutex<Vec<TerminalSize>>>,
    is_killed: Arc<Mutex<bool>>,
}

struct Control {
    sizes: Arc<Mutex<Vec<TerminalSize>>>,
    is_killed: Arc<Mutex<bool>>,
}

impl ExecControl for Control {
    fn resize(&self, size: TerminalSize) -> BoxFuture<'_, Result<(), EngineError>> {
        self.sizes.lock().unwrap().push(size);
        future::ready(Ok(())).boxed()
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, EngineError>> {
        future::ready(Ok(Some(7))).boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        *self.is_killed.lock().unwrap() = true;
        future::ready(Ok(true)).boxed()
    }
}

impl Shells for Commands {
    fn open<'a>(
        &'a self,
        job: u64,
        fingerprint: &'a str,
        spec: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<ExecSession, ShellError>> {
        assert_eq!((job, fingerprint), (JOB, "aa"));
        let (input, their_input) = tokio::io::duplex(1_024);
        let (output, their_output) = tokio::io::duplex(16 * 1_024);
        let (sizes, is_killed) = <(Arc<_>, Arc<_>)>::default();
        self.0.lock().unwrap().push(Command {
            spec: spec.clone(),
            input: their_input,
            output: Some(their_output),
            sizes: Arc::clone(&sizes),
            is_killed: Arc::clone(&is_killed),
        });
        let output = futures::stream::try_unfold(output, |mut output| async move {
            let mut bytes = vec![0; 4_096];
            let read = output.read(&mut bytes).await?;
            let piece = Body::copy_from_slice(&bytes[..read]);
            Ok((read > 0).then_some(((OutputStream::Stdout, piece), output)))
        });
        let session = ExecSession {
            input: Box::pin(input),
            output: output.boxed(),
            control: Box::new(Control { sizes, is_killed }),
        };
        future::ready(Ok(session)).boxed()
    }
}

async fn with_commands(limits: StreamLimits) -> (Server, Commands) {
    let commands = Commands::default();
    let server = Server::with(commands.clone(), (), limits).await;
    server.note(|notes| notes.interactive = true);
    (server, commands)
}

impl Commands {
    async fn first(&self) -> Command {
        until(async || !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_the_command_and_its_end_the_client() {
    let (server, commands) = with_commands(StreamLimits::default()).await;
    let mut socket = open(&server, "?command=top&command=-d&command=1&tty=true")
        .await
        .unwrap();
    let mut command = commands.first().await;
    assert_eq!(command.spec.command, ["top", "-d", "1"]);
    assert!(command.spec.tty);
    send(&mut socket, 3, br#"{"columns":132,"rows":50}"#).await;
    send(&mut socket, 0, b"typed").await;
    send(&mut socket, 0, b"").await;
    let mut typed = Vec::new();
    command.input.read_to_end(&mut typed).await.unwrap();
    assert_eq!(typed, b"typed");
    assert_eq!(
        *command.sizes.lock().unwrap(),
        [TerminalSize {
            columns: 132,
            rows: 50
        }]
    );
    let shown = vec![b'x'; 100_000];
    let mut output = command.output.take().unwrap();
    tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut output, &[b'x'; 100_000]).await });
    let (stdout, stderr, end) = rest(&mut socket).await;
    assert_eq!((stdout, stderr), (shown, Vec::new()));
    assert_eq!(end, Some(serde_json::json!({ "exit_code": 7 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_arrives_whole_at_a_client_that_types_after_the_end() {
    let (server, commands) = with_commands(StreamLimits::default()).await;
    let mut socket = open(&server, "").await.unwrap();
    let mut command = commands.first().await;
    let mut output = command.output.take().unwrap();
    // More than a client's host takes before the client does.
    let shown = vec![b'x'; 400_000];
    tokio::io::AsyncWriteExt::write_all(&mut output, &shown)
        .await
        .unwrap();
    drop(output);
    until(async || *command.is_killed.lock().unwrap()).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        send(&mut socket, 0, b"typed").await;
    }
    let (stdout, _, end) = rest(&mut socket).await;
    assert!(stdout == shown, "{} bytes came", stdout.len());
    assert_eq!(end, Some(serde_json::json!({ "exit_code": 7 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_is_killed_when_its_client_goes_or_misbehaves() {
    let (server, commands) = with_commands(StreamLimits::default()).await;
    let gone = open(&server, "").await.unwrap();
    let command = commands.first().await;
    assert_eq!(command.spec.command, ["/bin/sh"]);
    drop(gone);
    until(async || *command.is_killed.lock().unwrap()).await;

    for (message, reason) in [
        (Message::text("hello"), "binary"),
        (Message::binary(vec![1, 2]), "channels"),
        (Message::binary(vec![]), "channels"),
        (Message::binary(b"\x03{}".to_vec()), "columns"),
    ] {
        let mut socket = open(&server, "").await.unwrap();
        let command = commands.first().await;
        socket.send(message).await.unwrap();
        let (.., end) = rest(&mut socket).await;
        let end = end.unwrap()["error"].to_string();
        assert!(end.contains(reason), "{end}");
        assert!(*command.is_killed.lock().unwrap());
    }
    // A message that is too long is not read.
    let mut socket = open(&server, "").await.unwrap();
    let command = commands.first().await;
    let _ = socket.send(Message::binary(vec![0; MAX_MESSAGE_BYTES + 1])).await;
    until(async || *command.is_killed.lock().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_session_ends_and_sessions_are_bounded() {
    let limits = StreamLimits {
        shells_per_job: 1,
        shell_idle: Duration::from_millis(400),
        ..StreamLimits::default()
    };
    let (server, commands) = with_commands(limits).await;
    let mut socket = open(&server, "").await.unwrap();
    let command = commands.first().await;
    assert_eq!(refused(&server, "").await, StatusCode::TOO_MANY_REQUESTS);
    let (.., end) = rest(&mut socket).await;
    assert!(end.unwrap()["error"].to_string().contains("nothing happened"));
    assert!(*command.is_killed.lock().unwrap());
    until(async || open(&server, "").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_takes_nothing_loses_its_command() {
    let limits = StreamLimits {
        patience: Duration::from_millis(300),
        ..StreamLimits::default()
    };
    let (server, commands) = with_commands(limits).await;
    let _socket = open(&server, "").await.unwrap();
    let mut command = commands.first().await;
    let mut output = command.output.take().unwrap();
    tokio::spawn(async move {
        while tokio::io::AsyncWriteExt::write_all(&mut output, &[b'x'; 4_096])
            .await
            .is_ok()
        {}
    });
    until(async || *command.is_killed.lock().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_interactive_jobs_without_replicas_have_commands() {
    let server = Server::start(StreamLimits::default()).await;
    assert_eq!(refused(&server, "").await, StatusCode::NOT_FOUND);
    server.note(|_| ());
    assert_eq!(refused(&server, "").await, StatusCode::FORBIDDEN);
    server.note(|notes| {
        notes.interactive = true;
        notes.replica = true;
        notes.revealed = true;
    });
    assert_eq!(refused(&server, "").await, StatusCode::FORBIDDEN);
    server.note(|notes| notes.replica = false);
    assert_eq!(refused(&server, "?user=root").await, StatusCode::BAD_REQUEST);
    let (.., end) = rest(&mut open(&server, "").await.unwrap()).await;
    assert!(end.unwrap()["error"].to_string().contains("does not run"));
    // Not a WebSocket at all.
    assert!(server.get("exec").await.0.is_client_error());
}

/// Starts a container of the job at a real engine, which runs this shell line.
async fn real_container(line: &str) -> Option<(Server, Arc<DockerEngine>, String)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(socket), Some(image)) = (variable("ASSAY_TEST_ENGINE_SOCKET"), variable("ASSAY_TEST_IMAGE"))
    else {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE");
        return None;
    };
    let image: assay_client::manifest::ImageReference = image.parse().unwrap();
    let engine = Arc::new(DockerEngine::new(EngineEndpoint::resolve(Some(&socket))));
    engine
        .pull(&image.pull_reference(), image.digest(), None)
        .await
        .unwrap();
    let worker = format!("w{}", std::process::id());
    let spec = ContainerSpec {
        identity: ContainerIdentity {
            job: JOB,
            machine: 0,
            worker: worker.clone(),
            fingerprint: "aa".into(),
        },
        image: image.pull_reference(),
        entrypoint: Vec::new(),
        command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
        environment: Vec::new(),
        share: SlotShare {
            memory_mib: 64,
            cpu_millis: 500,
            processes: 32,
        },
        shm_mib: 32,
        profile: assay_client::manifest::Profile::Interactive,
        capabilities: Vec::new(),
        writable_root: true,
        runtime: None,
        network: ContainerNetwork::None,
        ports: Vec::new(),
        devices: DeviceAccess::None,
        holding: Holding::default(),
        disk: None,
        mounts: Vec::new(),
    };
    let id = engine.create(&spec).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = CaptureTarget {
        folder: folder.path().to_owned(),
        append: false,
        logs: LiveLogs::default(),
    };
    engine.start(&id, target).await.unwrap();
    let shells = EngineShells::new(engine.clone(), move || vec!["other".to_owned(), worker.clone()]);
    let limits = StreamLimits {
        shells_per_job: 16,
        ..StreamLimits::default()
    };
    let server = Server::with(shells, (), limits).await;
    server.note(|notes| notes.interactive = true);
    Some((server, engine, id))
}

const SHELL: &str = "?command=/bin/busybox&command=sh";

#[tokio::test(flavor = "multi_thread")]
async fn command_runs_in_a_real_container() {
    let Some((server, engine, id)) = real_container("exec sleep 600").await else {
        return;
    };
    let mut socket = open(&server, SHELL).await.unwrap();
    send(&mut socket, 0, b"printf 'a\\377\\000\\001'; echo problem >&2\n").await;
    send(&mut socket, 0, b"cat; exit 5\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    send(&mut socket, 0, b"typed").await;
    send(&mut socket, 0, b"").await;
    let (stdout, stderr, end) = rest(&mut socket).await;
    // `sh` reads its script from the same input as `cat`, which takes what follows its own line.
    assert!(stdout.starts_with(b"a\xff\0\x01"), "{stdout:?}");
    assert!(stdout.ends_with(b"typed"), "{stdout:?}");
    assert_eq!(stderr, b"problem\n");
    assert_eq!(end, Some(serde_json::json!({ "exit_code": 5 })));

    let mut socket = open(&server, "?command=/bin/missing").await.unwrap();
    let (.., end) = rest(&mut socket).await;
    let end = end.unwrap();
    assert!(
        end["error"].is_string() || [126, 127].contains(&end["exit_code"].as_i64().unwrap()),
        "{end}"
    );

    // Large input and output at once: neither direction waits for the other.
    let socket = open(&server, "?command=/bin/busybox&command=cat").await.unwrap();
    let sent = b"0123456789abcdef".repeat(64 * 1_024);
    let (mut to, mut from) = socket.split();
    let sending = async {
        for part in sent.chunks(32 * 1_024) {
            to.send(Message::binary([&[0], part].concat())).await.unwrap();
        }
        to.send(Message::binary(vec![0])).await.unwrap();
    };
    let mut received = Vec::new();
    let receiving = async {
        while let Some(Ok(message)) = from.next().await {
            if let Message::Binary(message) = message
                && message[0] == 1
            {
                received.extend_from_slice(&message[1..]);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), future::join(sending, receiving))
        .await
        .unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    engine.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_has_the_size_that_the_client_says_and_ends_with_it() {
    let Some((server, engine, id)) = real_container("exec sleep 600").await else {
        return;
    };
    let mut socket = open(&server, &format!("{SHELL}&tty=true")).await.unwrap();
    send(&mut socket, 3, br#"{"columns":117,"rows":41}"#).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    send(&mut socket, 0, b"busybox stty size; busybox tty; exit 3\n").await;
    let (shown, stderr, end) = rest(&mut socket).await;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("41 117") && shown.contains("/dev/pts/"), "{shown}");
    assert_eq!(stderr, b"");
    assert_eq!(end, Some(serde_json::json!({ "exit_code": 3 })));

    // A client that goes takes its command with it.
    let mut socket = open(&server, &format!("{SHELL}&tty=true")).await.unwrap();
    send(&mut socket, 0, b"exec busybox sleep 555\n").await;
    let count = async || {
        let list = "?command=/bin/busybox&command=ps&command=-o&command=args";
        let (list, ..) = rest(&mut open(&server, list).await.unwrap()).await;
        String::from_utf8(list).unwrap().matches("sleep 555").count()
    };
    until(async || count().await > 0).await;
    drop(socket);
    until(async || count().await == 0).await;
    engine.remove(&id).await.unwrap();
    let (.., end) = rest(&mut open(&server, "").await.unwrap()).await;
    assert!(end.unwrap()["error"].to_string().contains("does not run"));
}

#[tokio::test(flavor = "multi_thread")]
async fn session_that_ends_leaves_no_process_of_its_own_and_takes_no_other() {
    let line = "busybox sleep 701 & exec busybox sleep 700";
    let Some((server, engine, id)) = real_container(line).await else {
        return;
    };
    let count = async |wanted: &str| {
        let list = "?command=/bin/busybox&command=ps&command=-o&command=args";
        let (list, ..) = rest(&mut open(&server, list).await.unwrap()).await;
        String::from_utf8(list).unwrap().matches(wanted).count()
    };
    let mut other = open(&server, SHELL).await.unwrap();
    send(&mut other, 0, b"busybox setsid busybox sleep 702 &\n").await;
    for tty in ["", "&tty=true"] {
        // In a session of its own with a child of nobody's; in the background; without its environment.
        let mut socket = open(&server, &format!("{SHELL}{tty}")).await.unwrap();
        send(
            &mut socket,
            0,
            b"busybox setsid busybox sh -c 'busybox sleep 801 &'\nbusybox sleep 802 &\n\
              busybox env -i /bin/busybox sleep 803 &\n",
        )
        .await;
        for own in ["sleep 801", "sleep 802", "sleep 803", "sleep 702"] {
            until(async || count(own).await > 0).await;
        }
        drop(socket);
        for own in ["sleep 801", "sleep 802", "sleep 803"] {
            until(async || count(own).await == 0).await;
        }
        for others in ["sleep 700", "sleep 701", "sleep 702"] {
            assert_eq!(count(others).await, 1, "{others}");
        }
    }

    // A first process that ends by itself takes those with it that it left behind.
    let mut socket = open(&server, SHELL).await.unwrap();
    let line = b"busybox setsid busybox sleep 804 >/dev/null 2>&1 </dev/null &\nbusybox sleep 1; exit 4\n";
    send(&mut socket, 0, line).await;
    let (.., end) = rest(&mut socket).await;
    assert_eq!(end, Some(serde_json::json!({ "exit_code": 4 })));
    assert_eq!(count("sleep 804").await, 0);
    drop(other);
    until(async || count("sleep 702").await == 0).await;
    assert_eq!(count("sleep 701").await, 1);
    engine.remove(&id).await.unwrap();
}
