//! Steps of a deployment, as `assay job deploy` and `deliver` print them.

use assay_client::{consumer::Progress, json};
use serde_json::json;

use crate::output::Output;

/// Prints a step. A step that cannot be printed does not end a deployment: what follows is paid for.
pub(super) fn show(output: &Output, step: &Progress) {
    let _ = print(output, step);
}

fn print(output: &Output, step: &Progress) -> anyhow::Result<()> {
    match step {
        Progress::Submitted { transaction } => output.sent(transaction),
        Progress::Ordered { job, block_number } => ordered(output, *job, *block_number),
        Progress::Delivered { machine, receipt, .. } => output.print(
            &json::to_value(receipt)?,
            format_args!(
                "machine {machine} has the manifest; receipt 0x{}",
                hex::encode(receipt.signature)
            ),
        ),
        step => output.print(&json::to_value(step)?, step),
    }
}

/// Prints the number of a job whose order is final.
pub(super) fn ordered(output: &Output, job: u64, block: u64) -> anyhow::Result<()> {
    output.print(
        &json!({ "job": job, "block": block }),
        format_args!("job {job}, ordered in block {block}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::schema::assert_is;

    #[test]
    fn steps_are_printed_as_the_schema_says() {
        for step in [
            Progress::Resolved {
                image: format!("busybox:1@sha256:{}", "ab".repeat(32)).parse().unwrap(),
            },
            Progress::Chosen {
                machines: vec![3, 4],
                escrow: 7,
            },
            Progress::Started {
                job: 7,
                machine: 3,
                started: 1,
                of: 2,
            },
            Progress::Failed {
                job: 7,
                reason: "declined".to_owned(),
            },
            Progress::Retrying {
                attempt: 2,
                of: 3,
                reason: "declined".to_owned(),
            },
        ] {
            assert_is("deployment_step", &json::to_value(&step).unwrap());
        }
    }
}
