//! The cost of an order.

use assay_client::consumer::order_from_json;
use pyo3::{PyResult, Python, pyfunction};
use serde_json::{Value, json};

use crate::{
    client::{Client, asy, parse},
    errors::Raise,
    runtime::wait,
};

/// Returns the cost of an order on the machines that would be chosen now, in ASY, as JSON. Nothing is signed.
#[pyfunction]
pub(crate) fn quote(py: Python<'_>, client: &Client, order: &str) -> PyResult<String> {
    let (spec, options) = order_from_json(&parse(order)?).map_err(Raise::raise)?;
    let quote = wait(py, client.consumer.quote(&spec, &options))?;
    let machines: Vec<Value> = quote
        .machines
        .iter()
        .map(|machine| {
            json!({
                "machine": machine.machine,
                "price": asy(machine.price_per_slot_hour),
                "cost": asy(machine.cost),
            })
        })
        .collect();
    Ok(json!({
        "machines": machines,
        "escrow": asy(quote.escrow),
        "deposit": quote.deposit.map(asy),
        "fee": asy(quote.fee),
        "total": asy(quote.total()),
    })
    .to_string())
}
