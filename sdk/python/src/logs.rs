//! Logs of a job.

use assay_client::{
    consumer::{ConsumerError, LogStream},
    worker_api::{LogEvent, LogQuery, OutputStream},
};
use pyo3::{Bound, PyErr, PyResult, Python, pyclass, pyfunction, pymethods, types::PyBytes};
use tokio::sync::Mutex;

use crate::{
    client::Client,
    errors::{InvalidOrderError, Raise, WorkerError},
    runtime::wait,
};

/// Longest log that is read at once, in bytes; a longer one is followed.
const MAX_LOG_BYTES: usize = 256 * 1_024 * 1_024;

/// Longest silence of a worker in the middle of a log.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Piece of a log: stream, time in milliseconds since 1970, bytes.
type Piece<'py> = (&'static str, u64, Bound<'py, PyBytes>);

/// Log of a job's container, as it is written.
#[pyclass(frozen, module = "depin_compute_lib._core")]
pub(crate) struct Logs {
    stream: Mutex<Option<LogStream>>,
}

#[pymethods]
impl Logs {
    /// Waits for the next piece: its stream (`stdout`, `stderr`, or `dropped` where output is missing), its
    /// time in milliseconds since 1970, and its bytes. `None` at the end.
    fn next_piece<'py>(&self, py: Python<'py>) -> PyResult<Option<Piece<'py>>> {
        let event = wait(py, async {
            let mut stream = self.stream.lock().await;
            let Some(log) = stream.as_mut() else {
                return Ok::<_, ConsumerError>(None);
            };
            let event = log.next().await?;
            if event.is_none()
                && let Some(ended) = stream.take()
            {
                ended.end().await;
            }
            Ok(event)
        })?;
        Ok(event.map(|event| match event {
            LogEvent::Output {
                stream,
                time_ms,
                bytes,
            } => (name(stream), time_ms, PyBytes::new(py, &bytes)),
            LogEvent::Dropped { time_ms, .. } => ("dropped", time_ms, PyBytes::new(py, b"")),
        }))
    }

    /// Ends the worker's token for the log. A call that waits for a piece ends first.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        wait(py, async {
            if let Some(stream) = self.stream.lock().await.take() {
                stream.end().await;
            }
            Ok::<_, PyErr>(())
        })
    }
}

/// Begins to follow a job's log. `only`: `stdout`, `stderr`, or both if it is left out.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None, only=None, since_ms=None, tail=None))]
pub(crate) fn follow_logs(
    py: Python<'_>,
    client: &Client,
    job: u64,
    machine: Option<u64>,
    only: Option<&str>,
    since_ms: Option<u64>,
    tail: Option<u32>,
) -> PyResult<Logs> {
    let query = query(only, since_ms, tail)?;
    let stream = wait(py, async {
        let access = client.consumer.access(job, machine).await?;
        access.follow_logs(query).await
    })?;
    Ok(Logs {
        stream: Mutex::new(Some(stream)),
    })
}

/// Returns what the worker keeps of a job's log.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None, only=None, since_ms=None, tail=None))]
pub(crate) fn read_logs<'py>(
    py: Python<'py>,
    client: &Client,
    job: u64,
    machine: Option<u64>,
    only: Option<&str>,
    since_ms: Option<u64>,
    tail: Option<u32>,
) -> PyResult<Bound<'py, PyBytes>> {
    let query = query(only, since_ms, tail)?;
    let bytes = wait(py, async {
        let access = client.consumer.access(job, machine).await.map_err(Raise::raise)?;
        let session = access.log_in().await.map_err(Raise::raise)?;
        let mut bytes = Vec::new();
        let mut log = session.read_logs(query).await.map_err(Raise::raise)?;
        while let Some(piece) = log.next_within(SILENCE).await.map_err(Raise::raise)? {
            if bytes.len() + piece.len() > MAX_LOG_BYTES {
                return Err(WorkerError::new_err(format!(
                    "the log has more than {MAX_LOG_BYTES} bytes: read its end with tail=, or follow it"
                )));
            }
            bytes.extend_from_slice(&piece);
        }
        access.log_out(session).await;
        Ok::<_, PyErr>(bytes)
    })?;
    Ok(PyBytes::new(py, &bytes))
}

fn query(only: Option<&str>, since_ms: Option<u64>, tail: Option<u32>) -> PyResult<LogQuery> {
    let only = match only {
        None => None,
        Some("stdout") => Some(OutputStream::Stdout),
        Some("stderr") => Some(OutputStream::Stderr),
        Some(_) => {
            return Err(InvalidOrderError::new_err(
                "stream: allowed: \"stdout\", \"stderr\", or None for both",
            ));
        }
    };
    Ok(LogQuery { only, since_ms, tail })
}

fn name(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    }
}
