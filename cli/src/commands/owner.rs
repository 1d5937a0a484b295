//! `assay job status`, `logs` and `result`: a job as its worker shows it to its owner.

use std::io::{self, Write};

use anyhow::{Context, bail};
use assay_client::worker_api::{OutputStream, OwnerSession, WorkerApi, WorkerIdentity};
use clap::Args;
use serde_json::{Value, json};

use crate::{connection::Connection, output::Output};

/// Job on one machine, as the signer's own.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The job
    id: u64,

    /// The machine; may be left out while the job is open and on one machine only
    #[arg(long, value_name = "ID")]
    machine: Option<u64>,
}

/// Container output to print.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    #[command(flatten)]
    place: Place,

    /// Print standard error instead of standard output
    #[arg(long)]
    stderr: bool,
}

/// Finds the job's worker, and gets a token from it.
async fn log_in(place: &Place, connection: &Connection) -> anyhow::Result<OwnerSession> {
    let signer = connection.signer()?;
    let client = connection.client().await?;
    let machine = match place.machine {
        Some(machine) => machine,
        None => {
            let assignments = client.assignments(place.id).await?;
            match &assignments[..] {
                [(machine, _)] => *machine,
                [] => bail!(
                    "no machine has the job {} now; if it is closed, name the machine that had it with --machine",
                    place.id
                ),
                several => {
                    let machines: Vec<_> = several.iter().map(|(machine, _)| machine.to_string()).collect();
                    bail!(
                        "the job is on the machines {}: name one with --machine",
                        machines.join(", ")
                    )
                }
            }
        }
    };
    let record = client.machine(machine).await?.with_context(|| {
        format!("there is no machine {machine} any more; its provider may still have the files of its jobs")
    })?;
    let identity = WorkerIdentity {
        worker_key: record.worker_key.0,
        machine,
        genesis_hash: client.genesis_hash(),
    };
    let api = WorkerApi::connect(&String::from_utf8_lossy(record.endpoint.as_bytes()), identity).await?;
    Ok(api.log_in(place.id, &signer).await?)
}

/// Prints the job's status.
pub(crate) async fn status(place: Place, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let owner = log_in(&place, connection).await?;
    let status = owner.status().await?;
    owner.log_out().await?;
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
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

/// Prints the beginning of the container's output, byte for byte.
pub(crate) async fn logs(options: LogsOptions, connection: &Connection) -> anyhow::Result<()> {
    let owner = log_in(&options.place, connection).await?;
    let stream = if options.stderr {
        OutputStream::Stderr
    } else {
        OutputStream::Stdout
    };
    let bytes = owner.logs(stream).await?;
    owner.log_out().await?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    Ok(stdout.flush()?)
}

/// Prints the finished task's result.
pub(crate) async fn result(place: Place, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let owner = log_in(&place, connection).await?;
    let result = owner.result().await?;
    owner.log_out().await?;
    let document: Value = serde_json::from_slice(&result.document)
        .context("the worker's result is not JSON; use programs of the same release as the worker")?;
    let hash = result.hash.map(|hash| format!("0x{}", hex::encode(hash)));
    let text = format!(
        "exit code    {}\nimage        {}\nhash         {}",
        document["exit_code"],
        document["image_digest"].as_str().unwrap_or("unknown"),
        hash.as_deref().unwrap_or("unknown")
    );
    output.print(&json!({ "hash": hash, "document": document }), text)
}
