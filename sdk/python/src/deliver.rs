//! Delivery of a sealed manifest that was kept.

use std::{fs::File, io::Read, path::PathBuf};

use assay_client::{manifest::MAX_SEALED_MANIFEST_BYTES, sealing::PlainManifest};
use pyo3::{PyResult, Python, pyfunction};

use crate::{
    client::Client,
    errors::{InvalidOrderError, Raise},
    runtime::wait,
};

/// Maximum length of nonce and manifest in a file, in bytes.
const MAX_KEPT_BYTES: u64 = MAX_SEALED_MANIFEST_BYTES as u64 + 32;

/// Delivers the manifest of a file that a deployment kept to all machines of a job, and returns their
/// numbers.
#[pyfunction]
pub(crate) fn deliver(py: Python<'_>, client: &Client, job: u64, path: PathBuf) -> PyResult<Vec<u64>> {
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| {
            file.take(MAX_KEPT_BYTES.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|error| InvalidOrderError::new_err(format!("{} cannot be read: {error}", path.display())))?;
    // Its bounds are those of a manifest.
    let plain = PlainManifest::from_bytes(bytes).map_err(|_| {
        InvalidOrderError::new_err(format!("{} is no file of a deployment's `keep`", path.display()))
    })?;
    let receipts = wait(py, async {
        let delivered = client.consumer.deliver(job, &plain, &|_| ()).await;
        delivered.map_err(Raise::raise)
    })?;
    Ok(receipts.iter().map(|receipt| receipt.machine).collect())
}
