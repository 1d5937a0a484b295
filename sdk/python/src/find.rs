//! The market's search.

use assay_client::{
    consumer::{Cluster, describe_mismatch, requirements_from_json},
    json,
    market::MachineView,
    units::format_ppm,
};
use pyo3::{PyResult, Python, pyfunction};
use serde_json::{Value, json};

use crate::{
    client::{Client, asy, parse},
    errors::Raise,
    runtime::wait,
};

/// Returns providers that have enough machines that meet the requirements, best first, as JSON.
#[pyfunction]
pub(crate) fn find(py: Python<'_>, client: &Client, requirements: &str) -> PyResult<String> {
    let requirements = requirements_from_json(&parse(requirements)?).map_err(Raise::raise)?;
    let clusters = wait(py, client.consumer.find(&requirements))?;
    let clusters: Result<Vec<Value>, _> = clusters.iter().map(cluster).collect();
    Ok(Value::from(clusters.map_err(Raise::raise)?).to_string())
}

/// Returns the machines that meet the requirements, and those that do not with the reasons, as JSON.
#[pyfunction]
pub(crate) fn explain(py: Python<'_>, client: &Client, requirements: &str) -> PyResult<String> {
    let requirements = requirements_from_json(&parse(requirements)?).map_err(Raise::raise)?;
    let explanation = wait(py, client.consumer.explain(&requirements))?;
    let passed_over: Vec<Value> = explanation
        .passed_over
        .iter()
        .map(|machine| {
            let reasons: Vec<_> = machine
                .mismatches
                .iter()
                .map(|mismatch| describe_mismatch(mismatch, &requirements))
                .collect();
            json!({ "machine": machine.machine, "reasons": reasons })
        })
        .collect();
    Ok(json!({
        "text": explanation.to_string(),
        "fitting": explanation.fitting,
        "passed_over": passed_over,
    })
    .to_string())
}

/// Checks requirements without any chain, and returns them as the chain has them, as JSON: prices in plancks.
#[pyfunction]
pub(crate) fn check_requirements(requirements: &str) -> PyResult<String> {
    let requirements = requirements_from_json(&parse(requirements)?).map_err(Raise::raise)?;
    Ok(json::to_value(&requirements).map_err(Raise::raise)?.to_string())
}

fn cluster(cluster: &Cluster) -> serde_json::Result<Value> {
    let machines: serde_json::Result<Vec<Value>> = cluster.machines.iter().map(machine).collect();
    Ok(json!({
        "id": cluster.provider.to_string(),
        "price": asy(cluster.price_per_slot_hour()),
        "uptime_percent": percent(cluster.uptime_ppm()),
        "regions": cluster.regions(),
        "machines": machines?,
    }))
}

fn machine(view: &MachineView) -> serde_json::Result<Value> {
    let price = view
        .next_price_per_slot_hour
        .map_or(view.price_per_slot_hour, |next| {
            next.max(view.price_per_slot_hour)
        });
    let mut object = json::to_value(view)?;
    object["price"] = asy(price).into();
    object["uptime_percent"] = percent(view.uptime_ppm).into();
    Ok(object)
}

/// Writes parts per million as a decimal number of percent.
fn percent(ppm: u32) -> String {
    format_ppm(ppm).trim_end_matches(" %").to_owned()
}
