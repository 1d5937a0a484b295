//! `assay job logs`: the output of a job's container.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_client::{
    consumer::JobAccess,
    worker_api::{LogEvent, LogQuery, OutputStream, OwnerSession},
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    access::{self, JobOnMachine},
    milliseconds,
};
use crate::{connection::Connection, duration::parse_duration, output::Output};

/// Longest silence of a worker in the middle of a log.
const SILENCE: Duration = Duration::from_secs(60);

/// Container output to print.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    #[command(flatten)]
    target: JobOnMachine,

    /// Follow the log until the job's last container has ended; the container's standard output and standard
    /// error are printed to the respective streams
    #[arg(long, short)]
    follow: bool,

    /// Print standard error instead of standard output; with --follow, nothing else
    #[arg(long)]
    stderr: bool,

    /// Only output of this last period, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,

    /// Only this number of last lines
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(..=100_000))]
    tail: Option<u32>,
}

impl LogsOptions {
    /// Returns the part of the log that is wanted, at this Unix time.
    fn query(&self, now_ms: u64) -> LogQuery {
        LogQuery {
            only: match (self.stderr, self.follow) {
                (true, _) => Some(OutputStream::Stderr),
                (false, true) => None,
                (false, false) => Some(OutputStream::Stdout),
            },
            since_ms: self.since.map(|since| now_ms.saturating_sub(milliseconds(since))),
            tail: self.tail,
        }
    }
}

/// Prints a job's log, byte for byte.
pub(super) async fn run(
    options: LogsOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let query = options.query(milliseconds(now));
    let access = access::open(&options.target, connection).await?;
    if options.follow {
        return follow(&access, query, output).await;
    }
    let session = access.log_in().await?;
    print(&session, query).await?;
    access.log_out(session).await;
    Ok(())
}

/// Prints the stored log.
async fn print(session: &OwnerSession, query: LogQuery) -> anyhow::Result<()> {
    let mut log = session.read_logs(query).await?;
    let mut stdout = io::stdout();
    while let Some(piece) = log.next_within(SILENCE).await? {
        stdout.write_all(&piece)?;
    }
    Ok(stdout.flush()?)
}

/// Prints the log as it is written, until its end.
async fn follow(access: &JobAccess, query: LogQuery, output: &Output) -> anyhow::Result<()> {
    let mut log = access.follow_logs(query).await?;
    while let Some(event) = log.next().await? {
        show(&event, output)?;
    }
    log.end().await;
    Ok(())
}

fn show(event: &LogEvent, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.line(object(event));
    }
    match event {
        LogEvent::Output {
            stream: OutputStream::Stdout,
            bytes,
            ..
        } => {
            let mut stdout = io::stdout();
            stdout.write_all(bytes)?;
            stdout.flush()?;
        }
        LogEvent::Output { bytes, .. } => io::stderr().write_all(bytes)?,
        LogEvent::Dropped { bytes, .. } => {
            let bytes = bytes.map_or_else(|| "an unknown number of".to_owned(), |bytes| bytes.to_string());
            writeln!(io::stderr(), "[{bytes} bytes of output are missing here]")?;
        }
    }
    Ok(())
}

/// Returns an event for programs: output as `text`, or as hexadecimal `bytes` if it is no text.
fn object(event: &LogEvent) -> Value {
    match event {
        LogEvent::Output {
            stream,
            time_ms,
            bytes,
        } => {
            let stream = match stream {
                OutputStream::Stdout => "stdout",
                OutputStream::Stderr => "stderr",
            };
            match std::str::from_utf8(bytes) {
                Ok(text) => json!({ "stream": stream, "time_ms": time_ms, "text": text }),
                Err(_) => json!({ "stream": stream, "time_ms": time_ms, "bytes": hex::encode(bytes) }),
            }
        }
        LogEvent::Dropped { time_ms, bytes } => json!({ "dropped": bytes, "time_ms": time_ms }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::testing::parsed;

    fn query(words: &[&str]) -> Result<LogQuery, String> {
        let options: LogsOptions =
            parsed(&[&["5"][..], words].concat()).map_err(|error| error.to_string())?;
        Ok(options.query(100_000))
    }

    #[test]
    fn options_name_the_part_of_the_log() {
        let only = |only| LogQuery {
            only,
            ..LogQuery::default()
        };
        assert_eq!(query(&[]), Ok(only(Some(OutputStream::Stdout))));
        assert_eq!(query(&["--stderr"]), Ok(only(Some(OutputStream::Stderr))));
        assert_eq!(query(&["--follow"]), Ok(only(None)));
        assert_eq!(query(&["-f", "--stderr"]), Ok(only(Some(OutputStream::Stderr))));
        let since = query(&["--since=90s", "--tail=3"]).unwrap();
        assert_eq!((since.since_ms, since.tail), (Some(10_000), Some(3)));
        assert_eq!(query(&["--since=1d"]).unwrap().since_ms, Some(0));
        assert!(query(&["--since=yesterday"]).is_err());
        assert!(query(&["--tail=100001"]).is_err());
    }

    #[test]
    fn events_for_programs_keep_every_byte() {
        let output = |bytes: &[u8]| {
            object(&LogEvent::Output {
                stream: OutputStream::Stderr,
                time_ms: 9,
                bytes: bytes.to_vec(),
            })
        };
        assert_eq!(
            output(b"a\n"),
            json!({ "stream": "stderr", "time_ms": 9, "text": "a\n" })
        );
        assert_eq!(
            output(b"\xff"),
            json!({ "stream": "stderr", "time_ms": 9, "bytes": "ff" })
        );
    }
}
