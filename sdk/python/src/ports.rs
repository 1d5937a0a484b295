//! Published ports of a job.

use assay_client::consumer::ConsumerError;
use pyo3::{PyResult, Python, pyfunction};
use serde_json::{Value, json};

use crate::{client::Client, runtime::wait};

/// Returns a job's published ports and where they are reached, as JSON.
#[pyfunction]
#[pyo3(signature = (client, job, machine=None))]
pub(crate) fn ports(py: Python<'_>, client: &Client, job: u64, machine: Option<u64>) -> PyResult<String> {
    let ports = wait(py, async {
        let access = client.consumer.access(job, machine).await?;
        let ports = access.ports().await?;
        Ok::<_, ConsumerError>(ports)
    })?;
    let objects: Vec<Value> = ports
        .iter()
        .map(|address| {
            json!({
                "name": address.port.name,
                "protocol": address.port.protocol.name(),
                "container_port": address.port.container_port,
                "address": address.address,
                "public": address.port.public,
            })
        })
        .collect();
    Ok(Value::from(objects).to_string())
}
