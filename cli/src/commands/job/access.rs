//! Access of a job's owner to its worker, and `assay job status` and `result`.

use anyhow::Context;
use assay_client::consumer::JobAccess;
use clap::Args;
use serde_json::{Value, json};

use crate::{connection::Connection, output::Output};

/// Job on one machine, as the signer's own.
#[derive(Debug, Args)]
pub(crate) struct JobOnMachine {
    /// The job
    pub(super) id: u64,

    /// The machine; may be left out while the job is open and on one machine only
    #[arg(long, value_name = "ID")]
    pub(super) machine: Option<u64>,
}

/// Finds the worker of a job of the signer's by the chain, and checks its TLS key.
pub(super) async fn open(target: &JobOnMachine, connection: &Connection) -> anyhow::Result<JobAccess> {
    let consumer = connection.consumer().await?;
    Ok(consumer.access(target.id, target.machine).await?)
}

/// Returns untrusted text in a form that is safe on a terminal.
pub(super) fn shown(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    text.chars().map(shown).collect()
}

/// Prints the job's status.
pub(super) async fn status(
    target: JobOnMachine,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let access = open(&target, connection).await?;
    let session = access.log_in().await?;
    let status = session.status().await?;
    access.log_out(session).await;
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => shown(text),
        other => other.to_string(),
    };
    let (open, notes) = (&status["open"], &status["notes"]);
    let lines = [
        ("state", &open["state"]),
        ("container", &open["container"]),
        ("restarts", &notes["restarts"]),
        ("result hash", &notes["result_hash"]),
        ("problem", &open["problem"]),
        ("refused", &notes["refused"]),
    ];
    let lines: Vec<_> = lines
        .iter()
        .map(|(name, value)| format!("{name:12} {}", text(value)))
        .chain(
            Some(&notes["output_not_kept"])
                .filter(|reason| !reason.is_null())
                .map(|reason| format!("{:12} {}", "output", text(reason))),
        )
        .chain(status["ports"].as_array().into_iter().flatten().map(|port| {
            format!(
                "{:12} {} of the container at {}:{} ({})",
                "port",
                port["container_port"],
                text(&port["host_address"]),
                port["host_port"],
                text(&port["protocol"])
            )
        }))
        .collect();
    output.print(&status, lines.join("\n"))
}

/// Prints the finished task's result.
pub(super) async fn result(
    target: JobOnMachine,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let access = open(&target, connection).await?;
    let result = access.result().await?;
    let document: Value = serde_json::from_slice(&result.json)
        .context("the worker's result is not JSON; use programs of the same release as the worker")?;
    let hash = format!("0x{}", hex::encode(result.document.hash()));
    let mut text = format!(
        "exit code    {}\nimage        {}\nhash         {hash} ({})",
        result.document.exit_code,
        shown(document["image_digest"].as_str().unwrap_or("unknown")),
        witness(result.is_on_chain)
    );
    if let Some(root) = document["output"].as_str() {
        text.push_str(&format!("\noutput       {}", shown(root)));
    }
    let object = json!({ "hash": hash, "is_on_chain": result.is_on_chain, "document": document });
    output.print(&object, text)
}

/// Returns the witness of a result's hash.
pub(super) fn witness(is_on_chain: bool) -> &'static str {
    if is_on_chain {
        "the chain's"
    } else {
        "the worker's word"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(shown("grün"), "grün");
    }
}
