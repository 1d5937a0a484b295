use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::engine::OutputStream::{self, Stderr, Stdout};

/// Event of a stream of server-sent events.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: Option<u64>,
    kind: String,
    data: serde_json::Value,
}

impl Event {
    fn bytes(&self) -> Vec<u8> {
        use base64::{Engine, prelude::BASE64_STANDARD};
        match (self.data["text"].as_str(), self.data["base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(coded)) => BASE64_STANDARD.decode(coded).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads server-sent events as the HTML standard says, as far as they are used here.
struct Events {
    body: Incoming,
    text: String,
    ready: VecDeque<Event>,
    comments: usize,
}

impl Events {
    async fn follow(server: &Server, query: &str, last_id: Option<u64>) -> Self {
        let last_id = last_id.map(|id| id.to_string());
        let mut headers = vec![TOKEN];
        headers.extend(last_id.as_deref().map(|id| ("last-event-id", id)));
        let response = server.ask(&format!("logs?follow{query}"), &headers).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
            ready: VecDeque::new(),
            comments: 0,
        }
    }

    /// Returns the next event; `None` at the end, an error if the response was cut off.
    async fn next(&mut self) -> Result<Option<Event>, hyper::Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame())
                .await
                .expect("no event comes");
            let Some(frame) = frame.transpose()? else {
                assert_eq!(self.text, "", "an event is not whole");
                return Ok(None);
            };
            self.text
                .push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                self.take(&block);
            }
        }
    }

    fn take(&mut self, block: &str) {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        };
        self.comments += usize::from(block.starts_with(':'));
        if let Some(data) = field("data") {
            self.ready.push_back(Event {
                id: field("id").map(|id| id.parse().unwrap()),
                kind: field("event").unwrap().to_owned(),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }

    /// Returns the events up to the end.
    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            events.push(event);
        }
        events
    }
}

fn output(events: &[Event], kind: &str) -> Vec<u8> {
    events
        .iter()
        .filter(|event| event.kind == kind)
        .flat_map(Event::bytes)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_sees_everything_once_and_resumes_where_it_was() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|_| ());
    let mut capture = server.capture();
    let first = Events::follow(&server, "", None).await;
    let writing = tokio::task::spawn_blocking(move || {
        for number in 0..200 {
            capture.take(Stdout, format!("line {number}\n").as_bytes());
            if number % 10 == 0 {
                capture.take(Stderr, b"\xff problem\n");
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    });
    let mut seen = Vec::new();
    let mut connection = first;
    // The connection breaks every few events.
    while seen.len() < 28 {
        for _ in 0..7 {
            seen.push(connection.next().await.unwrap().unwrap());
        }
        let last: &Event = seen.last().unwrap();
        connection = Events::follow(&server, "", last.id).await;
    }
    writing.await.unwrap();
    server.note(|notes| notes.result_hash = Some([1; 32]));
    seen.extend(connection.rest().await);

    let end = seen.pop().unwrap();
    assert_eq!((end.kind.as_str(), end.id), ("end", None));
    let ids: Vec<u64> = seen.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let expected: String = (0..200).map(|number| format!("line {number}\n")).collect();
    assert_eq!(output(&seen, "stdout"), expected.as_bytes());
    assert_eq!(output(&seen, "stderr"), b"\xff problem\n".repeat(20));
    let times: Vec<_> = seen
        .iter()
        .map(|event| event.data["time"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000, "{times:?}");

    // Whoever comes after the end gets all of it, then the end.
    let again = Events::follow(&server, "", None).await.rest().await;
    assert_eq!(&again[..again.len() - 1], &seen[..]);
    let nothing = Events::follow(&server, "", Some(ids.len() as u64))
        .await
        .rest()
        .await;
    assert_eq!(nothing.len(), 1);
    // An identifier of a log that was lost.
    let all = Events::follow(&server, "", Some(1_000_000)).await.rest().await;
    assert_eq!(all.len(), again.len());
}

/// Lets a job write pieces, each in a record of its own.
fn write(server: &Server, pieces: &[(OutputStream, &str)]) {
    let mut capture = server.capture();
    for (stream, text) in pieces {
        capture.take(*stream, text.as_bytes());
        std::thread::sleep(Duration::from_millis(40));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_log_can_be_asked_for() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|notes| notes.result_hash = Some([1; 32]));
    write(
        &server,
        &[
            (Stdout, "one\ntwo\nth"),
            (Stderr, "problem\n"),
            (Stdout, "ree\nfour"),
        ],
    );
    let text = |query: &'static str| {
        let server = &server;
        async move {
            let (code, body) = server.get(&format!("logs{query}")).await;
            assert_eq!(code, StatusCode::OK, "{query}");
            String::from_utf8(body).unwrap()
        }
    };
    assert_eq!(text("").await, "one\ntwo\nthproblem\nree\nfour");
    assert_eq!(text("?stream=stdout").await, "one\ntwo\nthree\nfour");
    assert_eq!(text("?stream=stderr&follow=false").await, "problem\n");
    assert_eq!(text("?stream=stdout&tail=2").await, "three\nfour");
    assert_eq!(text("?tail=0").await, "");
    assert_eq!(text("?tail=99").await, "one\ntwo\nthproblem\nree\nfour");
    let stamped = text("?stream=stdout&timestamps").await;
    let lines: Vec<_> = stamped
        .lines()
        .map(|line| {
            let (time, line) = line.split_once(' ').unwrap();
            assert!(
                time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
                "{time}"
            );
            (time, line)
        })
        .collect();
    assert_eq!(
        lines.iter().map(|(_, line)| *line).collect::<Vec<_>>(),
        ["one", "two", "three", "four"]
    );
    assert!(lines[0].0 < lines[3].0, "the last line came later");

    let events = Events::follow(&server, "", None).await.rest().await;
    assert_eq!(events.len(), 4);
    let since = events[1].data["time"].as_u64().unwrap();
    let later = Events::follow(&server, &format!("&since={since}"), None)
        .await
        .rest()
        .await;
    assert_eq!(later[..2], events[1..3]);
    assert_eq!(later.len(), 3);
    let tail = Events::follow(&server, "&stream=stdout&tail=2", None)
        .await
        .rest()
        .await;
    assert_eq!(output(&tail, "stdout"), b"three\nfour");

    for wrong in [
        "?stream=other",
        "?follow=maybe",
        "?tail=-1",
        "?tail=100001",
        "?since=yesterday",
        "?lines=3",
    ] {
        let (code, body) = server.get(&format!("logs{wrong}")).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{wrong}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }
    let bad_id = server.get_with("logs?follow", &[("last-event-id", "x")]).await;
    assert_eq!(bad_id.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_output_is_told() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|notes| notes.result_hash = Some([1; 32]));
    let mut capture = server.capture();
    let line = format!("{}\n", "x".repeat(1_023));
    let lines = 20 * 1_024;
    for number in 0..lines {
        capture.take(Stdout, line.as_bytes());
        if number % 512 == 0 {
            // The disk shall not be what drops it.
            std::thread::sleep(Duration::from_millis(15));
        }
    }
    drop(capture);
    let events = Events::follow(&server, "", None).await.rest().await;
    let dropped: Vec<_> = events.iter().filter(|event| event.kind == "dropped").collect();
    let kept = output(&events, "stdout").len() as u64;
    let missing: u64 = dropped
        .iter()
        .map(|event| event.data["bytes"].as_u64().unwrap())
        .sum();
    assert!(!dropped.is_empty() && kept > 10 * 1_024 * 1_024, "{kept}");
    assert_eq!(kept + missing, lines * 1_024);
    let (_, text) = server.get("logs").await;
    let told = format!(
        "[{} bytes of output were dropped here]\n",
        dropped[0].data["bytes"]
    );
    assert!(String::from_utf8(text).unwrap().contains(&told), "{told}");
    // Whoever resumes after the gap is not told again.
    let resumed = Events::follow(&server, "", dropped[0].id).await.rest().await;
    assert_eq!(
        resumed.iter().filter(|event| event.kind == "dropped").count(),
        dropped.len() - 1
    );
}

#[tokio::test]
async fn jobs_are_known_and_secrets_stay() {
    let server = Server::start(StreamLimits::default()).await;
    assert_eq!(server.get("logs").await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get("logs?follow").await.0, StatusCode::NOT_FOUND);
    server.note(|notes| notes.replica = true);
    drop(server.capture());
    assert_eq!(server.get("logs").await.0, StatusCode::FORBIDDEN);
    assert_eq!(server.get("logs?follow").await.0, StatusCode::FORBIDDEN);
    server.note(|notes| notes.revealed = true);
    assert_eq!(server.get("logs").await, (StatusCode::OK, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_of_a_job_that_turns_out_to_be_a_replica_sees_nothing() {
    let server = Server::start(StreamLimits::default()).await;
    server.note(|notes| notes.container_started = false);
    let mut events = Events::follow(&server, "", None).await;
    server.note(|notes| notes.replica = true);
    let mut capture = server.capture();
    capture.take(Stdout, b"secret");
    let cut_off = events.next().await;
    assert!(cut_off.is_err(), "{cut_off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_stream_shows_signs_of_life_and_seats_are_bounded() {
    let limits = StreamLimits {
        readers_per_job: 2,
        keep_alive: Duration::from_millis(50),
        ..StreamLimits::default()
    };
    let server = Server::start(limits).await;
    server.note(|_| ());
    let mut capture = server.capture();
    let mut first = Events::follow(&server, "", None).await;
    let second = Events::follow(&server, "", None).await;
    assert_eq!(server.get("logs").await.0, StatusCode::TOO_MANY_REQUESTS);
    drop(second);
    until(async || server.get("logs").await.0 == StatusCode::OK).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    capture.take(Stdout, b"at last");
    assert_eq!(first.next().await.unwrap().unwrap().bytes(), b"at last");
    assert!(first.comments > 2, "{}", first.comments);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_is_disconnected_and_nothing_is_buffered_for_it() {
    let limits = StreamLimits {
        readers_per_job: 1,
        patience: Duration::from_millis(300),
        ..StreamLimits::default()
    };
    let server = Server::start(limits).await;
    server.note(|notes| notes.result_hash = Some([1; 32]));
    let mut capture = server.capture();
    for _ in 0..200 {
        capture.take(Stdout, &[b'x'; 64 * 1024]);
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(capture);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /v1/jobs/{JOB}/logs?follow HTTP/1.1\r\nhost: worker\r\n{}: {}\r\n\r\n",
        TOKEN.0, TOKEN.1
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // Its seat is free again although it is still connected.
    tokio::time::sleep(Duration::from_millis(100)).await;
    until(async || server.streams.readers.take(JOB).is_some()).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
        .await
        .expect("the connection stays open");
    let text = String::from_utf8_lossy(&rest);
    assert!(
        text.contains("event: stdout") && !text.contains("event: end"),
        "cut off"
    );
    assert!(rest.len() < 12 * 1_024 * 1_024, "{}", rest.len());
}
