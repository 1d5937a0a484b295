//! `assay machine explain`: the reasons for passing over a machine.

use anyhow::Context;
use assay_client::{
    consumer::describe_mismatch,
    json,
    market::{Mismatch, Requirements},
};
use clap::Args;
use serde_json::{Value, json};

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
    output.print(&object(id, &mismatches)?, text)
}

/// Returns a machine and the requirements that it does not meet, for programs.
fn object(machine: u64, mismatches: &[Mismatch]) -> anyhow::Result<Value> {
    Ok(json!({ "machine": machine, "mismatches": json::to_value(mismatches)? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn mismatch(json: serde_json::Value) -> Mismatch {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn mismatches_are_printed_as_the_schema_says() {
        let found = [
            mismatch(json!({ "requirement": "minVramMib", "wanted": 2, "found": 1 })),
            mismatch(json!({ "requirement": "gpuType", "found": "NVIDIA_A100" })),
            mismatch(json!({ "requirement": "status", "found": { "suspended": "inDebt" } })),
        ];
        crate::schema::assert_is("mismatches", &object(7, &found).unwrap());
    }
}
