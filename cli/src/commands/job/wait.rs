//! `assay job wait`: waits for a task's result, and ends with the task's exit code.

use std::time::Duration;

use anyhow::bail;
use assay_client::{
    ChainClient, calls,
    types::{Assignment, AssignmentState, JobKind, Outcome},
};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::access::{JobOnMachine, witness};
use crate::{
    connection::Connection,
    duration::{parse_duration, until},
    output::{ExitStatus, Output},
};

/// Pause between two looks at the chain: one block.
const PAUSE: Duration = Duration::from_secs(3);

/// Task to wait for, and the verdict on its result.
#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    #[command(flatten)]
    target: JobOnMachine,

    /// Longest time to wait, such as 10m; no limit when left out
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Accept the result if the exit code is 0, instead of leaving that to silence
    #[arg(long)]
    accept: bool,

    /// Reject the result if the exit code is not 0: what the machine earned goes to the treasury. For
    /// failures that are the machine's
    #[arg(long)]
    reject_failed: bool,
}

/// State of an assignment of a task, as the chain has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// It has no result yet.
    Unfinished,
    /// Its result is there; `may_judge`: the consumer may accept or reject it.
    Finished { hash: [u8; 32], may_judge: bool },
    /// The assignment is over, with or without a result.
    Over(Outcome),
}

fn progress(assignment: &Assignment) -> Progress {
    match assignment.state {
        AssignmentState::Starting { .. }
        | AssignmentState::Running { .. }
        | AssignmentState::Committed { .. } => Progress::Unfinished,
        AssignmentState::Verifying { result_hash, .. } => Progress::Finished {
            hash: result_hash.0,
            may_judge: true,
        },
        AssignmentState::Revealed { result_hash, .. } => Progress::Finished {
            hash: result_hash.0,
            may_judge: false,
        },
        AssignmentState::Ended { outcome, .. } => Progress::Over(outcome),
    }
}

/// Returns the exit code of a process for that of a task, which is 0 for success and for nothing else.
fn exit_status(exit_code: i32) -> u8 {
    match exit_code {
        0 => 0,
        code => u8::try_from(code).unwrap_or(u8::MAX),
    }
}

pub(super) async fn run(
    options: WaitOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let consumer = connection.consumer().await?;
    let client = consumer.client();
    let id = options.target.id;
    ensure_task(client, id).await?;
    let machine = consumer.machine_of(id, options.target.machine).await?;
    // A length of time that the clock cannot reach is no limit.
    let deadline = options
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let (hash, may_judge) = tokio::select! {
        finished = finished(client, id, machine) => finished?,
        () = until(deadline) => bail!(
            "job {id} has no result of machine {machine} yet: `assay job show {id}` tells how it stands"
        ),
    };
    let result = consumer.access(id, Some(machine)).await?.result().await?;
    let document = result.document;
    if hash.is_some_and(|hash| hash != document.hash()) {
        bail!(
            "the worker of machine {machine} gave a result with the hash 0x{}, and the chain has another one; reject it \
             with `assay job reject {id} --machine {machine}`",
            hex::encode(document.hash())
        );
    }
    let object = object(id, machine, document.exit_code, document.hash(), hash.is_some());
    output.print(
        &object,
        format_args!(
            "job {id} on machine {machine}: exit code {}, result 0x{} ({})",
            document.exit_code,
            hex::encode(document.hash()),
            witness(hash.is_some())
        ),
    )?;
    let verdict = match document.exit_code {
        0 if options.accept && may_judge => Some(calls::accept(id, machine)),
        0 => None,
        _ if options.reject_failed && may_judge => Some(calls::reject(id, machine)),
        _ => None,
    };
    if let Some(verdict) = verdict {
        output.included(&connection.submit_to(client, verdict, &signer).await?)?;
    }
    match exit_status(document.exit_code) {
        0 => Ok(()),
        status => Err(ExitStatus(status).into()),
    }
}

/// Returns a finished task, for programs.
fn object(job: u64, machine: u64, exit_code: i32, hash: [u8; 32], is_on_chain: bool) -> Value {
    json!({
        "job": job,
        "machine": machine,
        "exit_code": exit_code,
        "hash": format!("0x{}", hex::encode(hash)),
        "is_on_chain": is_on_chain,
    })
}

/// Fails for a service, which has no result.
async fn ensure_task(client: &ChainClient, id: u64) -> anyhow::Result<()> {
    let job = client.job(id).await?;
    if job.is_some_and(|job| job.kind == JobKind::Service) {
        bail!(
            "job {id} is a service, which has no result: `assay watch --job {id} --until ended` waits for its end"
        );
    }
    Ok(())
}

/// Waits until an assignment has a result. Returns its hash, if the chain has it, and whether the consumer
/// may judge it.
async fn finished(client: &ChainClient, id: u64, machine: u64) -> anyhow::Result<(Option<[u8; 32]>, bool)> {
    loop {
        let assignment = client.assignment(id, machine).await?;
        match assignment.as_ref().map(progress) {
            Some(Progress::Unfinished) => sleep(PAUSE).await,
            Some(Progress::Finished { hash, may_judge }) => return Ok((Some(hash), may_judge)),
            // The chain forgets the hash with the end, and the worker does not.
            Some(Progress::Over(Outcome::Completed)) => return Ok((None, false)),
            Some(Progress::Over(outcome)) => bail!(
                "job {id} ended on machine {machine} without a result that stands: {outcome}. Its worker has the \
                 reason for a while: `assay job status {id} --machine {machine}`"
            ),
            None => {
                if client.job(id).await?.is_none() {
                    return Ok((None, false));
                }
                bail!(
                    "machine {machine} has no assignment of job {id}: `assay job show {id}` lists those that have"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::job::list::tests::assignment;

    fn with(state: AssignmentState) -> Progress {
        progress(&Assignment {
            state,
            ..assignment()
        })
    }

    #[test]
    fn only_the_consumer_s_own_result_may_be_judged() {
        assert_eq!(progress(&assignment()), Progress::Unfinished);
        let verifying = AssignmentState::Verifying {
            started_at_ms: 1,
            ended_at_ms: 2,
            window_ends_ms: 3,
            result_hash: [7; 32].into(),
        };
        assert_eq!(
            with(verifying),
            Progress::Finished {
                hash: [7; 32],
                may_judge: true
            }
        );
        let revealed = AssignmentState::Revealed {
            started_at_ms: 1,
            ended_at_ms: 2,
            result_hash: [7; 32].into(),
        };
        assert_eq!(
            with(revealed),
            Progress::Finished {
                hash: [7; 32],
                may_judge: false
            }
        );
    }

    #[test]
    fn exit_status_is_zero_for_success_alone() {
        for (exit_code, status) in [(0, 0), (3, 3), (137, 137), (255, 255), (256, 255), (-1, 255)] {
            assert_eq!(exit_status(exit_code), status, "{exit_code}");
        }
    }

    #[test]
    fn finished_tasks_are_printed_as_the_schema_says() {
        crate::schema::assert_is("waited", &object(7, 3, 137, [1; 32], true));
    }
}
