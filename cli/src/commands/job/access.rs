//! Access of a job's owner to its worker, and `assay job status` and `result`.

use anyhow::{Context, bail};
use assay_client::{
    ChainClient, Keypair,
    types::AssignmentState,
    worker_api::{OwnerSession, WorkerApi, WorkerIdentity},
};
use clap::Args;
use serde_json::{Value, json};

use crate::{connection::Connection, output::Output};

/// Job on one machine, as the signer's own.
#[derive(Debug, Args)]
pub(crate) struct JobOnMachine {
    /// The job
    id: u64,

    /// The machine; may be left out while the job is open and on one machine only
    #[arg(long, value_name = "ID")]
    machine: Option<u64>,
}

/// Access to a job's worker, with the means to get new tokens.
pub(super) struct Access {
    client: ChainClient,
    api: WorkerApi,
    signer: Keypair,
    job: u64,
    machine: u64,
}

impl Access {
    /// Finds the job's worker by the chain, and checks its TLS key.
    pub(super) async fn open(target: &JobOnMachine, connection: &Connection) -> anyhow::Result<Self> {
        let signer = connection.signer()?;
        let client = connection.client().await?;
        let machine = match target.machine {
            Some(machine) => machine,
            None => only_machine(&client, target.id).await?,
        };
        let record = client.machine(machine).await?.with_context(|| {
            format!(
                "there is no machine {machine} any more; its provider may still have the files of its jobs"
            )
        })?;
        let identity = WorkerIdentity {
            worker_key: record.worker_key.0,
            machine,
            genesis_hash: client.genesis_hash(),
        };
        let endpoint = String::from_utf8_lossy(record.endpoint.as_bytes());
        Ok(Self {
            api: WorkerApi::connect(&endpoint, identity).await?,
            client,
            signer,
            job: target.id,
            machine,
        })
    }

    /// Gets a token.
    pub(super) async fn log_in(&self) -> anyhow::Result<OwnerSession> {
        Ok(self.api.log_in(self.job, &self.signer).await?)
    }

    /// Returns the number of the job.
    pub(super) fn job(&self) -> u64 {
        self.job
    }

    /// Returns the hash of the machine's result, if the chain has it at present.
    pub(super) async fn result_on_chain(&self) -> anyhow::Result<Option<[u8; 32]>> {
        let assignment = self.client.assignment(self.job, self.machine).await?;
        Ok(assignment.and_then(|assignment| match assignment.state {
            AssignmentState::Verifying { result_hash, .. }
            | AssignmentState::Revealed { result_hash, .. } => Some(result_hash.0),
            _ => None,
        }))
    }
}

/// Returns the machine that has the job, if it is one.
async fn only_machine(client: &ChainClient, job: u64) -> anyhow::Result<u64> {
    match &client.assignments(job).await?[..] {
        [(machine, _)] => Ok(*machine),
        [] => bail!(
            "no machine has the job {job} now; if it is closed, name the machine that had it with --machine"
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

/// Ends a token. One that cannot be ended ends by itself within an hour.
pub(super) async fn log_out(session: OwnerSession) {
    let _ = session.log_out().await;
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
    let session = Access::open(&target, connection).await?.log_in().await?;
    let status = session.status().await?;
    log_out(session).await;
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
    let session = Access::open(&target, connection).await?.log_in().await?;
    let result = session.result().await?;
    log_out(session).await;
    let document: Value = serde_json::from_slice(&result.document)
        .context("the worker's result is not JSON; use programs of the same release as the worker")?;
    let hash = result.hash.map(|hash| format!("0x{}", hex::encode(hash)));
    let mut text = format!(
        "exit code    {}\nimage        {}\nhash         {}",
        document["exit_code"],
        shown(document["image_digest"].as_str().unwrap_or("unknown")),
        hash.as_deref().unwrap_or("unknown")
    );
    if let Some(root) = document["output"].as_str() {
        text.push_str(&format!("\noutput       {}", shown(root)));
    }
    output.print(&json!({ "hash": hash, "document": document }), text)
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
