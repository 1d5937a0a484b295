//! Logs of a job, followed as they are written.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Download, OutputStream, OwnerSession, WorkerApiError,
    resuming::{Attempts, SILENCE},
    sse::{Event, EventReader},
};

/// Part of a job's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The only stream that is wanted; `None` for both.
    pub only: Option<OutputStream>,
    /// Time from which on output is wanted, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Number of last lines that are wanted of the existing log; `None` for all.
    pub tail: Option<u32>,
}

impl LogQuery {
    /// Returns the path below the job's.
    fn path(&self, follow: bool) -> String {
        let stream = match self.only {
            None => "both",
            Some(OutputStream::Stdout) => "stdout",
            Some(OutputStream::Stderr) => "stderr",
        };
        let mut path = format!("/logs?stream={stream}&follow={follow}");
        if let Some(since_ms) = self.since_ms {
            path.push_str(&format!("&since={since_ms}"));
        }
        if let Some(tail) = self.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        path
    }
}

/// Piece of a job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// Output of the container, which need not be whole lines nor text.
    Output {
        /// Stream.
        stream: OutputStream,
        /// Time at which the worker received it, in milliseconds since the Unix epoch.
        time_ms: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Output is missing here.
    Dropped {
        /// Time, in milliseconds since the Unix epoch.
        time_ms: u64,
        /// Number of bytes, if it is known.
        bytes: Option<u64>,
    },
}

/// Data of an event.
#[derive(Deserialize)]
struct EventData {
    time: u64,
    text: Option<String>,
    base64: Option<String>,
    bytes: Option<u64>,
}

/// Meaning of an event.
enum Meaning {
    Log(LogEvent),
    End,
    /// Kind of a later version.
    Unknown,
}

fn meaning(event: &Event) -> Result<Meaning, String> {
    let data = || serde_json::from_str::<EventData>(&event.data).map_err(|error| error.to_string());
    let output = |stream| {
        let EventData {
            time, text, base64, ..
        } = data()?;
        let bytes = match (text, base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(base64)) => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| format!("its base64: {error}"))?,
            (None, None) => return Err("an event of output has none".to_owned()),
        };
        Ok(Meaning::Log(LogEvent::Output {
            stream,
            time_ms: time,
            bytes,
        }))
    };
    match event.name.as_str() {
        "stdout" => output(OutputStream::Stdout),
        "stderr" => output(OutputStream::Stderr),
        "dropped" => {
            let EventData { time, bytes, .. } = data()?;
            Ok(Meaning::Log(LogEvent::Dropped { time_ms: time, bytes }))
        }
        "end" => Ok(Meaning::End),
        _ => Ok(Meaning::Unknown),
    }
}

/// A job's log from its beginning, or from a time on, until the job's last container has ended.
///
/// A connection that breaks is made again, and goes on after the last event that came. The token ends after
/// an hour: [`Self::next`] fails then with an error that [`WorkerApiError::is_logged_out`], and goes on after
/// [`Self::continue_with`].
pub struct LogFollower {
    session: OwnerSession,
    query: LogQuery,
    last_id: Option<u64>,
    connection: Option<Connection>,
    pending: VecDeque<Event>,
    attempts: Attempts,
    is_over: bool,
}

struct Connection {
    download: Download,
    reader: EventReader,
    began: Instant,
}

impl OwnerSession {
    /// Begins to follow the job's log.
    pub fn follow_logs(&self, query: LogQuery) -> LogFollower {
        LogFollower {
            session: self.clone(),
            query,
            last_id: None,
            connection: None,
            pending: VecDeque::new(),
            attempts: Attempts::default(),
            is_over: false,
        }
    }

    /// Begins to read the job's log as text, as far as the worker keeps it.
    pub async fn read_logs(&self, query: LogQuery) -> Result<Download, WorkerApiError> {
        self.stream(&query.path(false)).await
    }
}

impl LogFollower {
    /// Waits for the next piece of the log; `None` when nothing follows.
    ///
    /// # Errors
    /// The worker refuses, sends an invalid answer, or cannot be reached in several attempts.
    pub async fn next(&mut self) -> Result<Option<LogEvent>, WorkerApiError> {
        loop {
            while let Some(event) = self.pending.pop_front() {
                self.last_id = event.id.or(self.last_id);
                match meaning(&event).map_err(|reason| self.not_understood(reason))? {
                    Meaning::Log(event) => return Ok(Some(event)),
                    Meaning::End => self.is_over = true,
                    Meaning::Unknown => (),
                }
            }
            if self.is_over {
                self.connection = None;
                return Ok(None);
            }
            if let Err(error) = self.advance().await {
                self.connection = None;
                self.attempts.pause_after(error).await?;
            }
        }
    }

    /// Replaces the session, whose token has ended, by another of the same job.
    pub fn continue_with(&mut self, session: OwnerSession) {
        self.session = session;
    }

    /// Waits for the next piece of the stream.
    async fn advance(&mut self) -> Result<(), WorkerApiError> {
        if self.connection.is_none() {
            let download = self
                .session
                .stream_after(&self.query.path(true), self.last_id)
                .await?;
            self.connection = Some(Connection {
                download,
                reader: EventReader::default(),
                began: Instant::now(),
            });
        }
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let Some(piece) = connection.download.next_within(SILENCE).await? else {
            return Err(WorkerApiError::Unreachable {
                url: self.session.api.url().to_owned(),
                reason: "it ended the log before its end".to_owned(),
            });
        };
        let read = connection.reader.push(&piece);
        if connection.began.elapsed() > Duration::from_secs(30) {
            self.attempts.succeeded();
        }
        let events = read.map_err(|error| self.not_understood(error.to_string()))?;
        if !events.is_empty() {
            self.attempts.succeeded();
        }
        self.pending.extend(events);
        Ok(())
    }

    fn not_understood(&self, reason: String) -> WorkerApiError {
        WorkerApiError::NotUnderstood {
            path: format!("/v1/jobs/{}/logs", self.session.job),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(name: &str, data: &str) -> Result<Option<LogEvent>, String> {
        let event = Event {
            id: Some(1),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        meaning(&event).map(|meaning| match meaning {
            Meaning::Log(event) => Some(event),
            Meaning::End | Meaning::Unknown => None,
        })
    }

    #[test]
    fn events_of_workers_are_understood() {
        let output = |stream, bytes: &[u8]| {
            Ok(Some(LogEvent::Output {
                stream,
                time_ms: 9,
                bytes: bytes.to_vec(),
            }))
        };
        assert_eq!(
            read("stdout", r#"{"time":9,"text":"a\n"}"#),
            output(OutputStream::Stdout, b"a\n")
        );
        assert_eq!(
            read("stderr", r#"{"time":9,"base64":"/wo="}"#),
            output(OutputStream::Stderr, b"\xff\n")
        );
        for (json, bytes) in [("5", Some(5)), ("null", None)] {
            let event = read("dropped", &format!("{{\"time\":9,\"bytes\":{json}}}"));
            assert_eq!(event, Ok(Some(LogEvent::Dropped { time_ms: 9, bytes })));
        }
        assert_eq!(read("end", r#"{"time":9}"#), Ok(None));
        assert_eq!(read("later", "anything"), Ok(None));
    }

    #[test]
    fn events_of_others_are_refused() {
        for (name, data) in [
            ("stdout", ""),
            ("stdout", "{}"),
            ("stdout", r#"{"time":9}"#),
            ("stderr", r#"{"time":9,"base64":"?"}"#),
            ("dropped", r#"{"time":-1,"bytes":1}"#),
        ] {
            assert!(read(name, data).is_err(), "{name} {data}");
        }
    }

    #[test]
    fn query_names_the_part_of_the_log() {
        let all = LogQuery::default();
        assert_eq!(all.path(true), "/logs?stream=both&follow=true");
        let some = LogQuery {
            only: Some(OutputStream::Stderr),
            since_ms: Some(7),
            tail: Some(3),
        };
        assert_eq!(
            some.path(false),
            "/logs?stream=stderr&follow=false&since=7&tail=3"
        );
    }
}
