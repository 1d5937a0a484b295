//! Output folder of a job.

use std::path::PathBuf;

use assay_client::{
    consumer::{ConsumerError, RootWitness},
    json,
};
use pyo3::{Py, PyAny, PyResult, Python, pyfunction};
use serde_json::json;

use crate::{client::Client, errors::Raise, runtime::wait};

/// Returns the list of a job's output folder, as JSON.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None))]
pub(crate) fn artifacts(py: Python<'_>, client: &Client, job: u64, machine: Option<u64>) -> PyResult<String> {
    let list = wait(py, async {
        let access = client.consumer.access(job, machine).await?;
        let list = access.artifacts().await?;
        Ok::<_, ConsumerError>(list)
    })?;
    Ok(json::to_value(&list).map_err(Raise::raise)?.to_string())
}

/// Downloads a job's output folder to a new folder, checked by the result's hashes; returns what came, as
/// JSON. `on_progress` gets the number of bytes that came and that of all.
#[pyfunction]
#[pyo3(signature = (client, job, folder, max_bytes, machine=None, on_progress=None))]
pub(crate) fn download_artifacts(
    py: Python<'_>,
    client: &Client,
    job: u64,
    folder: PathBuf,
    max_bytes: u64,
    machine: Option<u64>,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let tell = |position: u64, length: u64| {
        if let Some(receiver) = &on_progress {
            Python::attach(|py| {
                if let Err(error) = receiver.call1(py, (position, length)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    };
    let downloaded = wait(py, async {
        let access = client.consumer.access(job, machine).await?;
        let downloaded = access.download_artifacts(&folder, max_bytes, tell).await?;
        Ok::<_, ConsumerError>(downloaded)
    })?;
    let summary = downloaded.summary;
    let root: String = summary
        .root_hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(json!({
        "root": format!("0x{root}"),
        "compared_with": match downloaded.witness {
            RootWitness::Chain => "chain",
            RootWitness::Worker => "worker",
            RootWitness::None => "none",
        },
        "files": summary.files,
        "links": summary.links.saturating_sub(downloaded.links_left_out),
        "links_left_out": downloaded.links_left_out,
        "bytes": summary.bytes,
    })
    .to_string())
}
