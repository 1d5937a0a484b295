//! `GET /v1/jobs/{id}/logs`: the output of a job's container.
//!
//! | parameter | means |
//! |---|---|
//! | `stream` | `stdout`, `stderr` or `both`; default: `both` |
//! | `since` | only output from this time on, in milliseconds since the Unix epoch |
//! | `tail` | only the last lines, at most [`MAX_TAIL_LINES`] |
//! | `timestamps` | `true`: each line begins with the time at which the worker received it |
//! | `follow` | `true`: server-sent events until the job's last container has ended |
//!
//! Without `follow` the response is text as the container wrote it. A line in brackets marks missing output.
//!
//! With `follow` each event has an `id`. A client that connects again sends the last one in the header
//! `Last-Event-ID`, and gets each later event once. The data of an event are JSON:
//!
//! | event | data |
//! |---|---|
//! | `stdout`, `stderr` | `time` (Unix, in ms) and `text`, or `base64` for bytes that are no UTF-8 |
//! | `dropped` | `time`, and in `bytes` how much output is missing here; `null` if that is unknown |
//! | `end` | `time`; nothing follows |
//!
//! A response without an `end` was cut off: connect again. A client that takes nothing for
//! [`StreamLimits::patience`](super::streams::StreamLimits) is disconnected, and so is one whose token
//! has ended.

use std::{fmt::Write, io, path::PathBuf, sync::Arc, time::SystemTime};

use axum::{
    Extension, Router,
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use tokio::time::{Duration, Instant};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Owner,
    errors::{ApiError, Refusal},
    produced::{self, ClientGone, Sink},
    streams::JobStreams,
};
use crate::{
    engine::OutputStream,
    logs::{LogEntry, LogKind, LogReader, LogTip},
};

/// Maximum number of lines of `tail`.
pub const MAX_TAIL_LINES: usize = 100_000;

/// Number of bytes from which a piece of a response is handed to the client.
const PIECE_BYTES: usize = 64 * 1024;

/// Interval of checks that a silent job is over.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Time after which the client should connect again, in milliseconds.
const RETRY_MS: u32 = 2_000;

pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Owner: FromRequestParts<S>,
{
    Router::new().route("/v1/jobs/{id}/logs", get(logs))
}

#[derive(OpenApi)]
#[openapi(paths(logs))]
struct Description;

/// Returns the description of the routes in OpenAPI.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Streams whose output is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Streams {
    #[default]
    Both,
    Stdout,
    Stderr,
}

impl Streams {
    fn only(self) -> Option<OutputStream> {
        match self {
            Self::Both => None,
            Self::Stdout => Some(OutputStream::Stdout),
            Self::Stderr => Some(OutputStream::Stderr),
        }
    }
}

/// Latest time of `since`: the end of the year 9999, in milliseconds.
const MAX_SINCE_MS: u64 = 253_402_300_799_999;

/// A server-sent event of a log.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
struct LogEvent {
    /// Kind of the event.
    #[schema(pattern = "^(stdout|stderr|dropped|end)$")]
    event: String,
    /// JSON: `time`, and for output `text` or `base64`, for missing output `bytes`.
    data: String,
    /// Number of the event, to go on after it with `Last-Event-ID`.
    id: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// Streams whose output is shown.
    #[serde(default)]
    #[param(inline, required = false)]
    stream: Streams,
    /// Only output from this time on, in milliseconds since the Unix epoch.
    #[param(maximum = 253402300799999_i64)]
    since: Option<u64>,
    /// Only the last lines, as many as this.
    #[param(maximum = 100000)]
    tail: Option<usize>,
    /// `true`, or nothing at all as the value: each line begins with the time at which the worker received
    /// it.
    #[serde(default, deserialize_with = "flag")]
    #[param(value_type = Option<String>, required = false, pattern = "^(true|false)?$")]
    timestamps: bool,
    /// `true`, or nothing at all as the value: server-sent events until the job's last container has ended.
    #[serde(default, deserialize_with = "flag")]
    #[param(value_type = Option<String>, required = false, pattern = "^(true|false)?$")]
    follow: bool,
}

/// Reads a parameter that may stand without a value.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(D::Error::custom(format!("{other:?} is neither true nor false"))),
    }
}

/// Part of a log that a client asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Filter {
    only: Option<OutputStream>,
    since_ms: u64,
    /// Record, and number of its bytes to skip, with which the part begins.
    begin: (u64, usize),
}

impl Filter {
    /// Returns the part of an entry that the client wants, if any.
    fn apply(&self, mut entry: LogEntry) -> Option<LogEntry> {
        let (begin, skipped) = self.begin;
        if entry.id < begin || entry.time_ms < self.since_ms {
            return None;
        }
        if let LogKind::Output(stream) = entry.kind {
            if self.only.is_some_and(|only| only != stream) {
                return None;
            }
            if entry.id == begin {
                entry.bytes.drain(..skipped.min(entry.bytes.len()));
            }
            if entry.bytes.is_empty() {
                return None;
            }
        }
        Some(entry)
    }
}

/// Returns the output of a job's container: as text, or with `follow` as server-sent events.
///
/// The events are `stdout` and `stderr` (JSON with `time`, and `text` or `base64`), `dropped` (`time` and
/// `bytes`, where output is missing) and `end`. Each has an `id`.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/logs",
    params(
        ("id" = u64, Path, description = "Number of the job", example = 5),
        LogsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Event after which a client that follows goes on"),
    ),
    responses(
        (
            status = 200,
            description = "The output",
            content((String = "text/plain; charset=utf-8"), (LogEvent = "text/event-stream")),
        ),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
    ),
    security(("token" = [])),
)]
async fn logs(
    owner: Owner,
    Extension(streams): Extension<Arc<JobStreams>>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    if query.tail.is_some_and(|lines| lines > MAX_TAIL_LINES) {
        return Err(ApiError::bad_request(format!(
            "`tail` is at most {MAX_TAIL_LINES}; leave it out for everything"
        )));
    }
    if query.since.is_some_and(|time_ms| time_ms > MAX_SINCE_MS) {
        return Err(ApiError::bad_request(
            "`since` is a time before the year 10000, in milliseconds since 1970",
        ));
    }
    let last_event = match headers.get("last-event-id") {
        None => None,
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.trim().parse::<u64>().ok())
                .filter(|id| i64::try_from(*id).is_ok())
                .ok_or_else(|| ApiError::bad_request("`Last-Event-ID` is the number of an event"))?,
        ),
    };
    let job = owner.job;
    streams.readable(job)?;
    let seat = streams.readers.take(job).ok_or_else(|| {
        ApiError::too_many("too many clients read logs at once; close another one, or try again later")
    })?;

    let folder = streams.store.folder_of(job);
    // Subscribed before the survey, so that records written after it are reported.
    let tips = streams.store.logs().subscribe(&folder);
    let only = query.stream.only();
    let survey = {
        let folder = folder.clone();
        let lines = query.tail;
        blocking(move || LogReader::survey(&folder, lines, only)).await?
    };
    let filter = Filter {
        only,
        since_ms: query.since.unwrap_or(0),
        begin: survey.last_lines.unwrap_or((0, 0)),
    };
    let patience = streams.limits.patience;
    if !query.follow {
        let timestamps = query.timestamps;
        let body = produced::body(seat, owner.life, patience, move |sink| {
            text(folder, survey.next_id, filter, timestamps, sink)
        });
        return Ok((text_headers("text/plain; charset=utf-8"), body).into_response());
    }
    // A number beyond the end belongs to a log that was lost: everything is new to the client.
    let after = last_event.filter(|id| *id < survey.next_id);
    let follower = Follower {
        reader: LogReader::open(&folder, after),
        // A client that resumes has seen the beginning.
        filter: Filter {
            begin: if after.is_some() { (0, 0) } else { filter.begin },
            ..filter
        },
        idle_bound: survey.next_id,
        streams,
        job,
        has_started: false,
    };
    let body = produced::body(seat, owner.life, patience, move |sink| async move {
        // The client is gone, or notices the cut-off response.
        if follower.run(tips, &sink).await.is_ok() {
            sink.finish();
        }
    });
    Ok((text_headers("text/event-stream"), body).into_response())
}

fn text_headers(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ])
}

/// Runs work that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| ApiError::internal(&error))
}

/// Sends a log as text.
async fn text(folder: PathBuf, bound: u64, filter: Filter, timestamps: bool, sink: Sink) {
    let mut reader = LogReader::open(&folder, None);
    let mut at_line_start = true;
    loop {
        let read = blocking(move || {
            let mut piece = Vec::new();
            while piece.len() < PIECE_BYTES {
                let Some(entry) = reader.next(bound)? else { break };
                if let Some(entry) = filter.apply(entry) {
                    append_text(&mut piece, &entry, timestamps, &mut at_line_start);
                }
            }
            Ok((reader, piece, at_line_start))
        });
        let Ok((back, piece, line_start)) = read.await else {
            return;
        };
        (reader, at_line_start) = (back, line_start);
        if piece.is_empty() {
            return sink.finish();
        }
        if sink.send(piece).await.is_err() {
            return;
        }
    }
}

fn append_text(piece: &mut Vec<u8>, entry: &LogEntry, timestamps: bool, at_line_start: &mut bool) {
    if let LogKind::Dropped(bytes) = entry.kind {
        if !*at_line_start {
            piece.push(b'\n');
        }
        let bytes = bytes.map_or_else(|| "an unknown number of".to_owned(), |bytes| bytes.to_string());
        piece.extend_from_slice(format!("[{bytes} bytes of output were dropped here]\n").as_bytes());
        *at_line_start = true;
        return;
    }
    for line in entry.bytes.split_inclusive(|byte| *byte == b'\n') {
        if timestamps && *at_line_start {
            piece.extend_from_slice(time_text(entry.time_ms).as_bytes());
            piece.push(b' ');
        }
        piece.extend_from_slice(line);
        *at_line_start = line.ends_with(b"\n");
    }
}

/// Returns a time in RFC 3339, in UTC.
fn time_text(ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years of this count begin on 1 March, so that the leap day is the last of a year; 400 years have
    // 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    let year = era * 400 + year_of_era + next_year;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Data of an event.
#[derive(Debug, Default, Serialize)]
struct EventData<'a> {
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Present for missing output.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Option<u64>>,
}

/// Appends an event to a piece of a response. JSON has no line ends, so that one line of data suffices.
fn append_event(piece: &mut String, id: Option<u64>, event: &str, data: &EventData<'_>) {
    if let Some(id) = id {
        let _ = writeln!(piece, "id: {id}");
    }
    // Numbers and text always have a form in JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(piece, "event: {event}\ndata: {data}\n\n");
}

fn append_entry(piece: &mut String, entry: &LogEntry) {
    let text = std::str::from_utf8(&entry.bytes).ok();
    let (event, data) = match entry.kind {
        LogKind::Dropped(bytes) => (
            "dropped",
            EventData {
                bytes: Some(bytes),
                ..EventData::default()
            },
        ),
        LogKind::Output(stream) => (
            match stream {
                OutputStream::Stdout => "stdout",
                OutputStream::Stderr => "stderr",
            },
            EventData {
                text,
                base64: text.is_none().then(|| BASE64_STANDARD.encode(&entry.bytes)),
                ..EventData::default()
            },
        ),
    };
    let data = EventData {
        time: entry.time_ms,
        ..data
    };
    append_event(piece, Some(entry.id), event, &data);
}

/// A client that follows a log.
struct Follower {
    streams: Arc<JobStreams>,
    job: u64,
    reader: LogReader,
    filter: Filter,
    /// Bound of the readable records while this process has no writer of the log.
    idle_bound: u64,
    /// True once the job's container was started and its output is known to be no secret.
    has_started: bool,
}

impl Follower {
    /// Sends events until the job is over.
    ///
    /// # Errors
    /// The client is gone, or the log cannot be read.
    async fn run(
        mut self,
        mut tips: tokio::sync::watch::Receiver<LogTip>,
        sink: &Sink,
    ) -> Result<(), ClientGone> {
        let keep_alive = self.streams.limits.keep_alive;
        sink.send(format!("retry: {RETRY_MS}\n\n")).await?;
        let mut sent = Instant::now();
        loop {
            let tip = *tips.borrow_and_update();
            // Asked before the log is read to its end: output cannot come in between.
            let is_over = !tip.is_live && self.streams.is_over(self.job).map_err(|_| ClientGone)?;
            if self.may_read(is_over)? {
                let piece;
                (self, piece) = self.read(tip).await?;
                if !piece.is_empty() {
                    sink.send(piece).await?;
                    sent = Instant::now();
                    continue;
                }
                if is_over {
                    return sink.send(self.end(tip)).await;
                }
            }
            if sent.elapsed() >= keep_alive {
                sink.send(": still here\n\n").await?;
                sent = Instant::now();
            }
            tokio::select! {
                // The sender lives as long as this receiver is subscribed; if not, the pause goes on.
                Ok(()) = tips.changed() => (),
                () = tokio::time::sleep(LOOK_PAUSE.min(keep_alive)) => (),
                () = sink.gone() => return Err(ClientGone),
            }
        }
    }

    /// Returns true if the output may be read. A job that has not begun may turn out to be a replica, whose
    /// output is secret.
    fn may_read(&mut self, is_over: bool) -> Result<bool, ClientGone> {
        if !self.has_started {
            let notes = self.streams.readable(self.job).map_err(|_| ClientGone)?;
            self.has_started = notes.container_started || is_over;
        }
        Ok(self.has_started)
    }

    /// Reads the next events; none if nothing new is there.
    async fn read(mut self, tip: LogTip) -> Result<(Self, String), ClientGone> {
        let bound = if tip.next_id > 0 {
            tip.next_id
        } else {
            self.idle_bound
        };
        let read = blocking(move || {
            let mut piece = String::new();
            while piece.len() < PIECE_BYTES {
                let Some(entry) = self.reader.next(bound)? else {
                    break;
                };
                if let Some(entry) = self.filter.apply(entry) {
                    append_entry(&mut piece, &entry);
                }
            }
            Ok((self, piece))
        });
        read.await.map_err(|_| ClientGone)
    }

    /// Returns the last events.
    fn end(&self, tip: LogTip) -> String {
        let mut piece = String::new();
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        // Output after the last record that could be written.
        let missing = self
            .reader
            .expected_offset()
            .map(|offset| tip.offset.saturating_sub(offset))
            .filter(|missing| *missing > 0);
        if missing.is_some() {
            let data = EventData {
                time,
                bytes: Some(missing),
                ..EventData::default()
            };
            append_event(&mut piece, None, "dropped", &data);
        }
        let data = EventData {
            time,
            ..EventData::default()
        };
        append_event(&mut piece, None, "end", &data);
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time_text(ms), text);
        }
    }

    #[test]
    fn events_have_their_form() {
        let entry = |kind, bytes: &[u8]| LogEntry {
            id: 7,
            time_ms: 9,
            kind,
            bytes: bytes.to_vec(),
        };
        let text = |entry| {
            let mut piece = String::new();
            append_entry(&mut piece, &entry);
            piece
        };
        assert_eq!(
            text(entry(LogKind::Output(OutputStream::Stdout), b"a\nb\r\n")),
            "id: 7\nevent: stdout\ndata: {\"time\":9,\"text\":\"a\\nb\\r\\n\"}\n\n"
        );
        assert_eq!(
            text(entry(LogKind::Output(OutputStream::Stderr), b"\xff\n")),
            "id: 7\nevent: stderr\ndata: {\"time\":9,\"base64\":\"/wo=\"}\n\n"
        );
        assert_eq!(
            text(entry(LogKind::Dropped(Some(5)), b"")),
            "id: 7\nevent: dropped\ndata: {\"time\":9,\"bytes\":5}\n\n"
        );
        assert_eq!(
            text(entry(LogKind::Dropped(None), b"")),
            "id: 7\nevent: dropped\ndata: {\"time\":9,\"bytes\":null}\n\n"
        );
    }
}
