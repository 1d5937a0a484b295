//! Verbs about jobs that were ordered.

use std::time::Duration;

use assay_client::{
    consumer::{AssignmentEnd, ConsumerError},
    json,
};
use pyo3::{PyErr, PyResult, Python, pyfunction};
use serde_json::{Value, json};

use crate::{client::Client, errors::Raise, runtime::wait as wait_for};

/// Returns the account's open jobs, as JSON.
#[pyfunction]
pub(crate) fn jobs(py: Python<'_>, client: &Client) -> PyResult<String> {
    let jobs = wait_for(py, client.consumer.jobs())?;
    let objects: serde_json::Result<Vec<Value>> = jobs
        .iter()
        .map(|(id, job)| {
            let mut object = json::to_value(job)?;
            object["job"] = (*id).into();
            Ok(object)
        })
        .collect();
    Ok(Value::from(objects.map_err(Raise::raise)?).to_string())
}

/// Waits until a job's containers have ended on these machines, and returns what became of them, as JSON.
#[pyfunction]
#[pyo3(signature = (client, job, machines, timeout_ms=None))]
pub(crate) fn wait(
    py: Python<'_>,
    client: &Client,
    job: u64,
    machines: Vec<u64>,
    timeout_ms: Option<u64>,
) -> PyResult<String> {
    let within = timeout_ms.map(Duration::from_millis);
    let end = wait_for(py, client.consumer.wait(job, &machines, within))?;
    let ends: Vec<Value> = end
        .assignments
        .iter()
        .map(|(machine, end)| {
            let (end, hash) = match end {
                AssignmentEnd::Result { hash } => {
                    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                    ("result".to_owned(), Some(format!("0x{digits}")))
                }
                AssignmentEnd::Committed => ("committed".to_owned(), None),
                AssignmentEnd::Ended { outcome } => (outcome.to_string(), None),
                _ => ("closed".to_owned(), None),
            };
            json!({ "machine": machine, "end": end, "result_hash": hash })
        })
        .collect();
    Ok(Value::from(ends).to_string())
}

/// Ends a job, and returns the number of the block.
#[pyfunction]
pub(crate) fn close(py: Python<'_>, client: &Client, job: u64) -> PyResult<u64> {
    Ok(wait_for(py, client.consumer.close(job))?.block_number)
}

/// Lets a job run longer, and returns the number of the block.
#[pyfunction]
pub(crate) fn extend(py: Python<'_>, client: &Client, job: u64, by_ms: u64) -> PyResult<u64> {
    let by = Duration::from_millis(by_ms);
    Ok(wait_for(py, client.consumer.extend(job, by))?.block_number)
}

/// Accepts a task's result of these machines, and returns the number of the block.
#[pyfunction]
pub(crate) fn accept(py: Python<'_>, client: &Client, job: u64, machines: Vec<u64>) -> PyResult<u64> {
    Ok(wait_for(py, client.consumer.accept(job, &machines))?.block_number)
}

/// Returns a job's status as its worker signs it, as JSON.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None))]
pub(crate) fn status(py: Python<'_>, client: &Client, job: u64, machine: Option<u64>) -> PyResult<String> {
    wait_for(py, async {
        let access = client.consumer.access(job, machine).await?;
        let session = access.log_in().await?;
        let status = session.status().await;
        access.log_out(session).await;
        Ok::<_, ConsumerError>(status?.to_string())
    })
}

/// Returns a finished task's result as its worker has it, as JSON.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None))]
pub(crate) fn result(py: Python<'_>, client: &Client, job: u64, machine: Option<u64>) -> PyResult<String> {
    wait_for(py, async {
        let access = client.consumer.access(job, machine).await.map_err(Raise::raise)?;
        let session = access.log_in().await.map_err(Raise::raise)?;
        let result = session.result().await;
        access.log_out(session).await;
        let result = result.map_err(Raise::raise)?;
        let document: Value = serde_json::from_slice(&result.document).map_err(Raise::raise)?;
        let is_checked = result.checked().is_some();
        Ok::<_, PyErr>(json!({ "document": document, "is_checked": is_checked }).to_string())
    })
}
