//! Commands in a job's container.

use assay_client::consumer::ConsumerError;
use pyo3::{Bound, PyResult, Python, pyfunction, types::PyBytes};

use crate::{client::Client, runtime::wait};

/// Runs a command in a job's container until it ends; returns its exit code, standard output and standard
/// error.
#[pyfunction]
#[pyo3(signature = (client, job, command, input, machine=None))]
pub(crate) fn exec<'py>(
    py: Python<'py>,
    client: &Client,
    job: u64,
    command: Vec<String>,
    input: Vec<u8>,
    machine: Option<u64>,
) -> PyResult<(i64, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let output = wait(py, async {
        let access = client.consumer.access(job, machine).await?;
        let output = access.exec(&command, &input).await?;
        Ok::<_, ConsumerError>(output)
    })?;
    Ok((
        output.exit_code,
        PyBytes::new(py, &output.stdout),
        PyBytes::new(py, &output.stderr),
    ))
}
