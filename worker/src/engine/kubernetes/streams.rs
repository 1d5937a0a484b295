//! The attached streams of a container, and what its `assay-init` says of them.
//!
//! The streams are the log's source only. Standard output's hash is that of `assay-init`'s report, which
//! comes with the pod's end: see [`assay_init::watch()`] for the way of the bytes. What was received is
//! compared with it; the log tells where bytes are missing.

use std::io;

use assay_init::{Frame, Greeting, KEY_BYTES, MarkReader, Report, greeting_end};
use assay_primitives::job::{MAX_RESULT_STDOUT_BYTES, StdoutResult};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, SimplexStream, WriteHalf},
    sync::oneshot,
    time::Duration,
};

use super::{KubernetesEngine, launch, objects::POD};
use crate::engine::{Capture, EngineError, OutputStream};

/// Time in which `assay-init` answers a greeting, which tries addresses for two seconds.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum number of bytes of greetings on a stream.
const MAX_GREETING_BYTES: usize = 64 * 1_024;

/// Size of the buffer of each attached stream.
pub(super) const STREAM_BUFFER: usize = 64 * 1_024;

/// Pause before attaching again to a container whose streams broke.
const ATTACH_PAUSE: Duration = Duration::from_secs(5);

/// Timeout of the word that releases a container.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// A container's streams, attached.
pub(super) struct Attached {
    /// Ends the connection when it is dropped.
    pub(super) process: AttachedProcess,
    /// Dropping it may end the connection, too.
    pub(super) stdin: Option<WriteHalf<SimplexStream>>,
    pub(super) stdout: ReadHalf<SimplexStream>,
    pub(super) stderr: ReadHalf<SimplexStream>,
}

impl Attached {
    pub(super) fn of(mut process: AttachedProcess) -> io::Result<Self> {
        let lacking = || io::Error::other("a stream is not attached");
        Ok(Self {
            stdin: process.stdin(),
            stdout: process.stdout().ok_or_else(lacking)?,
            stderr: process.stderr().ok_or_else(lacking)?,
            process,
        })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stdin = self
            .stdin
            .as_mut()
            .ok_or_else(|| io::Error::other("standard input is not attached"))?;
        stdin.write_all(bytes).await?;
        stdin.flush().await
    }

    /// Asks for a greeting, and waits for it on both streams.
    pub(super) async fn greet(&mut self, number: u32, targets: &[String]) -> io::Result<Greeting> {
        let hello = Frame::Hello {
            number,
            targets: targets.to_vec(),
        };
        self.send(&hello.encode()?).await?;
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let reading = async { tokio::try_join!(greeting(stdout, number), greeting(stderr, number)) };
        let (greeting, other) = tokio::time::timeout(GREETING_TIMEOUT, reading)
            .await
            .map_err(|_| io::Error::other("assay-init does not answer"))??;
        if greeting != other {
            return Err(io::Error::other("assay-init's answers differ"));
        }
        Ok(greeting)
    }
}

/// Reads a stream up to the end of a greeting. Nothing comes behind it: the launch was not sent.
async fn greeting(stream: &mut ReadHalf<SimplexStream>, number: u32) -> io::Result<Greeting> {
    let mut bytes = Vec::new();
    loop {
        if let Some((greeting, end)) = greeting_end(&bytes, number) {
            return if end == bytes.len() {
                Ok(greeting)
            } else {
                Err(io::Error::other("the container wrote before it was started"))
            };
        }
        if bytes.len() >= MAX_GREETING_BYTES {
            return Err(io::Error::other("the container's first words are no greeting"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::other("assay-init ended before its greeting"));
        }
    }
}

/// Output that came over the attached streams.
pub(super) struct Received {
    capture: Capture,
    stdout_bytes: u64,
    stderr_bytes: u64,
    /// Reason why the streams ended early, if they did.
    pub(super) fault: Option<String>,
}

impl Received {
    /// Closes the log, and returns the result's entry for standard output: that of the report. The log tells
    /// if it lacks something.
    pub(super) fn finish(mut self, report: &Report) -> StdoutResult {
        let is_whole = self.stdout_bytes >= report.stdout_bytes && self.stderr_bytes >= report.stderr_bytes;
        if !is_whole {
            self.capture.note_late();
        }
        let (reported, seen) = (of_report(report), self.capture.finish());
        if seen != reported {
            tracing::info!(
                received = self.stdout_bytes,
                written = report.stdout_bytes,
                "a container's log lacks a part of its standard output; the hash in its result is whole"
            );
        }
        reported
    }
}

/// Returns the result's entry for standard output by a report.
pub(super) fn of_report(report: &Report) -> StdoutResult {
    if report.stdout_bytes > MAX_RESULT_STDOUT_BYTES {
        StdoutResult::LongerThanLimit(report.stdout_hash)
    } else {
        StdoutResult::Whole(report.stdout_hash)
    }
}

/// Reads both streams to their ends. `marked` is told once both have come to their marks: all of the job's
/// processes have ended. Without that it is dropped.
pub(super) async fn read_output(
    process: AttachedProcess,
    stdout: ReadHalf<SimplexStream>,
    stderr: ReadHalf<SimplexStream>,
    capture: Capture,
    key: [u8; KEY_BYTES],
    marked: oneshot::Sender<()>,
) -> Received {
    let mut received = Received {
        capture,
        stdout_bytes: 0,
        stderr_bytes: 0,
        fault: None,
    };
    received.fault = read_to_end(process, stdout, stderr, &mut received, key, marked)
        .await
        .err()
        .map(|error| error.to_string());
    received
}

async fn read_to_end(
    mut process: AttachedProcess,
    mut stdout: ReadHalf<SimplexStream>,
    mut stderr: ReadHalf<SimplexStream>,
    received: &mut Received,
    key: [u8; KEY_BYTES],
    marked: oneshot::Sender<()>,
) -> io::Result<()> {
    let mut marked = Some(marked);
    let status = process.take_status();
    let mut status = std::pin::pin!(async move {
        match status {
            Some(status) => status.await,
            None => None,
        }
    });
    let (mut out_marks, mut err_marks) = (MarkReader::new(&key), MarkReader::new(&key));
    let (mut out, mut err) = (vec![0; STREAM_BUFFER], vec![0; STREAM_BUFFER]);
    let (mut out_ends, mut err_ends, mut ended) = (false, false, false);
    while !(out_ends && err_ends) {
        tokio::select! {
            read = stdout.read(&mut out), if !out_ends => {
                let read = read?;
                out_ends = read == 0;
                let bytes = piece(&mut out_marks, out.get(..read).unwrap_or_default());
                received.stdout_bytes = received.stdout_bytes.saturating_add(bytes.len() as u64);
                received.capture.take(OutputStream::Stdout, &bytes);
            },
            read = stderr.read(&mut err), if !err_ends => {
                let read = read?;
                err_ends = read == 0;
                let bytes = piece(&mut err_marks, err.get(..read).unwrap_or_default());
                received.stderr_bytes = received.stderr_bytes.saturating_add(bytes.len() as u64);
                received.capture.take(OutputStream::Stderr, &bytes);
            },
            status = &mut status, if !ended => {
                ended = true;
                // The connection broke: its streams do not end any more.
                is_success(status)?;
            },
        }
        if out_marks.has_ended()
            && err_marks.has_ended()
            && let Some(marked) = marked.take()
        {
            // Nobody waits for it once the container's end was seen.
            let _ = marked.send(());
        }
    }
    if ended { Ok(()) } else { is_success(status.await) }
}

/// Returns what of a stream's bytes is output. No bytes are its end.
fn piece(marks: &mut MarkReader, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        marks.rest()
    } else {
        marks.take(bytes)
    }
}

fn is_success(status: Option<Status>) -> io::Result<()> {
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
        Some(status) => Err(io::Error::other(
            status
                .message
                .unwrap_or_else(|| "the node gives no reason".to_owned()),
        )),
        None => Err(io::Error::other("the connection to the container broke")),
    }
}

impl KubernetesEngine {
    /// Attaches to the output of a container, and to its input if it is to get its launch.
    pub(super) async fn attach(&self, pods: &Api<Pod>, with_input: bool) -> Result<Attached, EngineError> {
        let action = "attach to the container";
        let process = self
            .connection
            .call(action, pods.attach(POD, &stream_options(with_input)))
            .await?;
        Attached::of(process).map_err(|error| EngineError::Failed {
            action: action.into(),
            reason: error.to_string(),
        })
    }

    /// Starts a second `assay-init` in a container, which waits for frames.
    pub(super) async fn attach_helper(&self, pods: &Api<Pod>) -> Result<Attached, EngineError> {
        let action = "run assay-init in the container";
        let failed = |error: io::Error| EngineError::Failed {
            action: action.into(),
            reason: error.to_string(),
        };
        let command = [assay_init::PROGRAM, assay_init::ATTACHED];
        let process = self
            .connection
            .call(action, pods.exec(POD, command, &stream_options(true)))
            .await?;
        let mut attached = Attached::of(process).map_err(failed)?;
        attached
            .send(&launch::program().map_err(failed)?)
            .await
            .map_err(failed)?;
        Ok(attached)
    }

    /// Waits until the marks come on streams that are attached anew, however often they break.
    pub(super) async fn await_mark(&self, pods: &Api<Pod>, key: [u8; KEY_BYTES]) {
        loop {
            tokio::time::sleep(ATTACH_PAUSE).await;
            let Ok(mut attached) = self.attach(pods, false).await else {
                continue;
            };
            let mut marks = MarkReader::new(&key);
            let mut bytes = vec![0; STREAM_BUFFER];
            // Both streams are marked by turns; both must be read, or the container stalls.
            let mut rest = vec![0; STREAM_BUFFER];
            while !marks.has_ended() {
                let read = tokio::select! {
                    read = attached.stdout.read(&mut bytes) => read,
                    read = attached.stderr.read(&mut rest) => match read {
                        Ok(1..) => continue,
                        other => other,
                    },
                };
                match read {
                    Ok(0) | Err(_) => break,
                    Ok(read) => drop(marks.take(bytes.get(..read).unwrap_or_default())),
                }
            }
            if marks.has_ended() {
                return;
            }
        }
    }

    /// Lets a container end whose job has ended: over its standard input if that is attached, otherwise by
    /// another program in it. Where both fail, it ends when its patience is over.
    pub(super) async fn release(&self, pods: &Api<Pod>, stdin: Option<&mut WriteHalf<SimplexStream>>) {
        let Ok(frame) = Frame::Release.encode() else {
            return;
        };
        if let Some(stdin) = stdin {
            let sending = async {
                stdin.write_all(&frame).await?;
                stdin.flush().await
            };
            if let Ok(Ok(())) = tokio::time::timeout(RELEASE_TIMEOUT, sending).await {
                return;
            }
        }
        let releasing = async {
            let mut helper = self.attach_helper(pods).await?;
            helper.send(&frame).await.map_err(|error| EngineError::Failed {
                action: "release the container".into(),
                reason: error.to_string(),
            })?;
            // Its streams end with it.
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(RELEASE_TIMEOUT, helper.stdout.read_to_end(&mut rest)).await;
            Ok::<_, EngineError>(())
        };
        if let Err(error) = releasing.await {
            tracing::info!(%error, "a container whose job has ended waits until its patience is over");
        }
    }
}

fn stream_options(with_input: bool) -> AttachParams {
    AttachParams::default()
        .container(POD)
        .stdin(with_input)
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(STREAM_BUFFER)
        .max_stdout_buf_size(STREAM_BUFFER)
        .max_stderr_buf_size(STREAM_BUFFER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        engine::CaptureTarget,
        logs::{self, LiveLogs},
    };

    fn report(stdout: &[u8], stderr: &[u8]) -> Report {
        let mut hasher = assay_init::Blake3::default();
        hasher.update(stdout);
        Report {
            stdout_bytes: stdout.len() as u64,
            stdout_hash: hasher.finish(),
            stderr_bytes: stderr.len() as u64,
        }
    }

    fn received(folder: &std::path::Path, stdout: &[u8]) -> Received {
        let mut capture = Capture::new(&CaptureTarget {
            folder: folder.to_owned(),
            append: false,
            logs: LiveLogs::default(),
        });
        capture.take(OutputStream::Stdout, stdout);
        Received {
            capture,
            stdout_bytes: stdout.len() as u64,
            stderr_bytes: 0,
            fault: None,
        }
    }

    #[test]
    fn hash_is_that_of_what_the_job_wrote_not_of_what_came() {
        let folder = tempfile::tempdir().unwrap();
        let whole = StdoutResult::Whole(blake3::hash(b"one two").into());
        for (name, came) in [
            ("all", &b"one two"[..]),
            ("less", b"one"),
            ("nothing", b""),
            ("other", b"one tws"),
        ] {
            let place = folder.path().join(name);
            assert_eq!(
                received(&place, came).finish(&report(b"one two", b"")),
                whole,
                "{name}"
            );
            assert_eq!(logs::beginnings(&place).unwrap().unwrap().0, came);
        }
    }

    #[test]
    fn output_beyond_the_limit_says_so() {
        let long = Report {
            stdout_bytes: MAX_RESULT_STDOUT_BYTES + 1,
            ..report(b"x", b"")
        };
        assert!(matches!(of_report(&long), StdoutResult::LongerThanLimit(_)));
    }

    #[test]
    fn hash_of_assay_init_is_that_of_the_worker() {
        let bytes: Vec<u8> = (0..100_000u32).map(|index| (index % 249) as u8).collect();
        for length in [0, 1, 64, 1_024, 1_025, 8_193, 100_000] {
            let expected: [u8; 32] = blake3::hash(&bytes[..length]).into();
            assert_eq!(report(&bytes[..length], b"").stdout_hash, expected, "{length}");
            let mut keyed = assay_init::Blake3::keyed(&[7; 32]);
            keyed.update(&bytes[..length]);
            let expected: [u8; 32] = blake3::keyed_hash(&[7; 32], &bytes[..length]).into();
            assert_eq!(keyed.finish(), expected, "{length}");
        }
    }
}
