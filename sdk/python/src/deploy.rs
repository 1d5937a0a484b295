//! From an order to running containers.

use std::{collections::BTreeMap, path::PathBuf};

use assay_client::{
    consumer::{DeployOptions, Deployment, MachineChoice, Progress, order_from_json},
    keys::parse_account,
    order::{OrderSpec, file},
};
use pyo3::{Py, PyAny, PyResult, Python, exceptions::PyKeyboardInterrupt, pyfunction, types::PyAnyMethods};
use serde_json::json;

use crate::{
    client::{Client, asy, parse},
    errors::{InvalidOrderError, Raise},
    runtime::wait,
};

/// Orders a job, delivers its manifest, and returns when its containers run, as JSON. `on_progress` gets each
/// step as JSON; what it raises is reported and does not end the deployment. `keep`: new file for a sealed
/// manifest, which [`deliver`](crate::deliver::deliver) reads.
#[pyfunction]
#[pyo3(signature = (client, order, on_progress=None, keep=None))]
pub(crate) fn deploy(
    py: Python<'_>,
    client: &Client,
    order: &str,
    on_progress: Option<Py<PyAny>>,
    keep: Option<PathBuf>,
) -> PyResult<String> {
    let (spec, options) = order_from_json(&parse(order)?).map_err(Raise::raise)?;
    let options = DeployOptions { keep, ..options };
    run(py, client, &spec, &options, on_progress)
}

/// Places the order of a `compute-manifest.yaml`, at a provider or at the best one; as [`deploy`].
#[pyfunction]
#[pyo3(signature = (client, path, provider_id=None, on_progress=None, keep=None))]
pub(crate) fn deploy_file(
    py: Python<'_>,
    client: &Client,
    path: PathBuf,
    provider_id: Option<&str>,
    on_progress: Option<Py<PyAny>>,
    keep: Option<PathBuf>,
) -> PyResult<String> {
    let spec = load(&path)?;
    let options = DeployOptions {
        machines: match provider_id {
            Some(provider) => MachineChoice::Provider(parse_account(provider).map_err(Raise::raise)?),
            None => MachineChoice::Anywhere,
        },
        keep,
        ..DeployOptions::default()
    };
    run(py, client, &spec, &options, on_progress)
}

/// Checks an order without any chain, and returns what it means, one fact a line.
#[pyfunction]
pub(crate) fn check_order(order: &str) -> PyResult<Vec<String>> {
    let (spec, _) = order_from_json(&parse(order)?).map_err(Raise::raise)?;
    spec.check().map_err(Raise::raise)?;
    Ok(spec.describe())
}

/// Checks a `compute-manifest.yaml` without any chain, and returns what it means, one fact a line.
#[pyfunction]
pub(crate) fn check_file(path: PathBuf) -> PyResult<Vec<String>> {
    Ok(load(&path)?.describe())
}

fn load(path: &std::path::Path) -> PyResult<OrderSpec> {
    file::load(path).map_err(|error| InvalidOrderError::new_err(error.to_string()))
}

fn run(
    py: Python<'_>,
    client: &Client,
    spec: &OrderSpec,
    options: &DeployOptions,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let on_step = |step: Progress| {
        if let Some(receiver) = &on_progress {
            Python::attach(|py| tell(py, receiver, &step));
        }
    };
    let deployed = wait(py, async {
        let deployment = client
            .consumer
            .deploy(spec, options, &on_step)
            .await
            .map_err(Raise::raise)?;
        let urls = status_urls(client, &deployment).await;
        Ok::<_, pyo3::PyErr>((deployment, urls))
    });
    let (deployment, urls) = deployed?;
    let transaction: String = deployment
        .transaction
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(json!({
        "job": deployment.job,
        "transaction": format!("0x{transaction}"),
        "image": deployment.image.to_string(),
        "escrow": asy(deployment.escrow),
        "machines": deployment.machine_ids(),
        "status_urls": urls,
    })
    .to_string())
}

/// Hands a step to Python, with its fields and its words.
fn tell(py: Python<'_>, receiver: &Py<PyAny>, step: &Progress) {
    let mut object = serde_json::to_value(step).unwrap_or_else(|_| json!({}));
    object["text"] = step.to_string().into();
    let Err(error) = receiver.call1(py, (object.to_string(),)) else {
        return;
    };
    if error.is_instance_of::<PyKeyboardInterrupt>(py)
        && py
            .import("_thread")
            .and_then(|module| module.call_method0("interrupt_main"))
            .is_ok()
    {
        // The wait for the deployment sees the signal again, and ends with it.
        return;
    }
    error.write_unraisable(py, None);
}

/// Returns the job's URL at each worker; that of the market where the worker does not answer.
async fn status_urls(client: &Client, deployment: &Deployment) -> BTreeMap<u64, String> {
    let mut urls = BTreeMap::new();
    for view in &deployment.machines {
        let access = client.consumer.access(deployment.job, Some(view.machine)).await;
        let url = match access {
            Ok(access) => access.job_url(),
            Err(_) => {
                let endpoint = String::from_utf8_lossy(&view.endpoint).into_owned();
                format!("{}/v1/jobs/{}", endpoint.trim_end_matches('/'), deployment.job)
            }
        };
        urls.insert(view.machine, url);
    }
    urls
}
