//! Delivery of a sealed manifest that was kept.

use std::path::PathBuf;

use assay_client::sealing::PlainManifest;
use pyo3::{PyResult, Python, pyfunction};

use crate::{
    client::Client,
    errors::{InvalidOrderError, Raise},
    runtime::wait,
};

/// Delivers the manifest of a file that a deployment kept to all machines of a job, and returns their
/// numbers.
#[pyfunction]
pub(crate) fn deliver(py: Python<'_>, client: &Client, job: u64, path: PathBuf) -> PyResult<Vec<u64>> {
    let plain = PlainManifest::load(&path).map_err(|error| {
        InvalidOrderError::new_err(format!(
            "{} cannot be delivered: {error}; name a file of a deployment's keep",
            path.display()
        ))
    })?;
    let receipts = wait(py, async {
        let delivered = client.consumer.deliver(job, &plain, &|_| ()).await;
        delivered.map_err(Raise::raise)
    })?;
    Ok(receipts.iter().map(|receipt| receipt.machine).collect())
}
