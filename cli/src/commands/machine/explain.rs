//! `assay machine explain`: the reasons for passing over a machine.

use anyhow::Context;
use assay_client::{consumer::describe_mismatch, json, market::Requirements};
use clap::Args;
use serde_json::json;

use super::{
    no_machine,
    requirements::{RequirementOptions, refusal},
};
use crate::{connection::Connection, output::Output};

/// Machine to compare with the requirements.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The machine
    id: u64,

    #[command(flatten)]
    requirements: RequirementOptions,
}

pub(super) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Options { id, requirements } = options;
    let wanted = Requirements::from(requirements);
    let client = connection.client().await?;
    let mismatches = match client.explain(&wanted, id).await {
        Ok(mismatches) => mismatches.with_context(|| no_machine(id))?,
        Err(error) => return Err(refusal(&client, &wanted, error).await),
    };
    let text = if mismatches.is_empty() {
        format!("machine {id} meets every requirement")
    } else {
        let reasons = mismatches
            .iter()
            .map(|mismatch| describe_mismatch(mismatch, &wanted));
        let lines: Vec<_> = reasons.map(|reason| format!("\n  {reason}")).collect();
        format!("machine {id} is passed over:{}", lines.concat())
    };
    output.print(
        &json!({ "machine": id, "mismatches": json::to_value(&mismatches)? }),
        text,
    )
}
