//! Waiting: on threads of this package, while Python goes on.

use std::{future::Future, pin::pin, sync::OnceLock, time::Duration};

use pyo3::{PyResult, Python};
use tokio::{runtime::Runtime, time::timeout};

use crate::errors::{AssayError, Raise};

/// Pause between two looks for signals: the longest time for which Ctrl-C seems to do nothing.
const SIGNAL_PAUSE: Duration = Duration::from_millis(100);

/// Threads of the runtime, which is one for all clients of the process.
const THREADS: usize = 4;

fn runtime() -> PyResult<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .thread_name("assay")
        .build()
        .map_err(|error| {
            AssayError::new_err(format!("threads cannot be started: {error}; free some memory"))
        })?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Waits for a future without keeping other threads of Python from running. A signal, such as that of Ctrl-C,
/// ends the wait with the exception of its handler.
pub(crate) fn wait<T, E>(py: Python<'_>, future: impl Future<Output = Result<T, E>> + Send) -> PyResult<T>
where
    T: Send,
    E: Raise,
{
    let runtime = runtime()?;
    py.detach(|| {
        runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                if let Ok(outcome) = timeout(SIGNAL_PAUSE, future.as_mut()).await {
                    return outcome.map_err(Raise::raise);
                }
                // Signals are for Python's main thread; elsewhere this does nothing.
                Python::attach(|py| py.check_signals())?;
            }
        })
    })
}
