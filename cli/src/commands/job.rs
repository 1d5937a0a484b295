//! `assay job`

mod access;
mod artifacts;
mod closed;
mod list;
mod logs;
mod order;
mod ports;
mod sealed;
mod settings;
mod show;
mod steps;
mod wait;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use assay_client::calls;
use clap::{Args, Subcommand};

use crate::{connection::Connection, duration::parse_duration, output::Output};

/// Commands about jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Run a container on machines; its highest cost is held in escrow
    ///
    /// A machine that loses the container before its end starts another one from the beginning, so the job's
    /// effects outside the container must be safe to repeat.
    Deploy(Box<order::DeployOptions>),
    /// Deliver the sealed manifest of a job again, as after a machine's keys were rotated
    Deliver {
        /// The job
        id: u64,
        /// File that `assay job deploy --sealed --keep` wrote
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List the open jobs of a consumer, the newest first
    List(list::ListOptions),
    /// Take back the deposits of public manifests that the signer noted with its orders
    Reclaim,
    /// Show a job; of a closed one the last events, as far as the node has them
    Show {
        /// The job
        id: u64,
    },
    /// Show a job of the signer's as its worker has it: state, container, ports
    Status(access::JobOnMachine),
    /// Print the log of a job of the signer's, as far as the worker keeps it
    Logs(logs::LogsOptions),
    /// List or download the output folder of a job of the signer's
    Artifacts(artifacts::ArtifactsOptions),
    /// List the published ports of a running job of the signer's
    Ports(access::JobOnMachine),
    /// Get a page from an HTTP port of a job of the signer's, through the worker's TLS, and print it
    Fetch(ports::FetchOptions),
    /// Show the result of a task of the signer's, as its worker has it
    Result(access::JobOnMachine),
    /// Wait for the result of a task of the signer's, and end with the task's exit code
    ///
    /// The result is compared with its hash, and that with the chain's while the chain has it.
    Wait(wait::WaitOptions),
    /// Accept a task's result, so that it can be paid
    Accept(AssignmentChoice),
    /// Reject a task's result: its earnings go to the treasury
    Reject(AssignmentChoice),
    /// Cancel a job that has not started, or end a running service
    Close {
        /// The job
        id: u64,
    },
    /// Extend the longest run of a job; its cost is held in escrow at once
    TopUp {
        /// The job
        id: u64,
        /// Additional time, such as 90s, 10m or 2h
        #[arg(value_name = "TIME", value_parser = parse_duration)]
        by: Duration,
    },
    /// Settle a job: pay the amount due; any account may sign
    Settle(AssignmentChoice),
    /// End a job whose time is over; any account may sign
    Expire(AssignmentChoice),
    /// Count the results of a task's replicas; any account may sign
    Resolve {
        /// The job
        id: u64,
    },
}

/// One assignment of a job, or all of them.
#[derive(Debug, Args)]
pub(crate) struct AssignmentChoice {
    /// The job
    id: u64,

    /// The machine; all assignments of the job when left out
    #[arg(long, value_name = "ID")]
    machine: Option<u64>,
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let call = match options {
        Options::Deploy(options) => return order::deploy(*options, connection, output).await,
        Options::Deliver { id, file } => {
            let client = connection.client().await?;
            return sealed::deliver_file(&client, id, &file, output).await;
        }
        Options::List(options) => return list::list(options, connection, output).await,
        Options::Reclaim => return list::reclaim(connection, output).await,
        Options::Show { id } => return show::show(id, connection, output).await,
        Options::Status(target) => return access::status(target, connection, output).await,
        Options::Logs(options) => return logs::run(options, connection, output).await,
        Options::Artifacts(options) => return artifacts::run(options, connection, output).await,
        Options::Ports(target) => return ports::list(target, connection, output).await,
        Options::Fetch(options) => return ports::fetch(options, connection).await,
        Options::Result(target) => return access::result(target, connection, output).await,
        Options::Wait(options) => return wait::run(options, connection, output).await,
        Options::Accept(choice) => for_machines(choice, connection, calls::accept).await?,
        Options::Reject(choice) => for_machines(choice, connection, calls::reject).await?,
        Options::Close { id } => calls::close(id),
        Options::TopUp { id, by } => calls::top_up(id, milliseconds(by)),
        Options::Settle(choice) => for_machines(choice, connection, calls::settle).await?,
        Options::Expire(choice) => for_machines(choice, connection, calls::expire).await?,
        Options::Resolve { id } => calls::resolve(id),
    };
    output.included(&connection.submit(call).await?)
}

/// Returns the call for the named machine, or a batch for all assignments of the job.
async fn for_machines(
    choice: AssignmentChoice,
    connection: &Connection,
    call: fn(u64, u64) -> calls::Call,
) -> anyhow::Result<calls::Call> {
    let id = choice.id;
    if let Some(machine) = choice.machine {
        return Ok(call(id, machine));
    }
    let assignments = connection.client().await?.assignments(id).await?;
    let mut every: Vec<_> = assignments
        .iter()
        .map(|(machine, _)| call(id, *machine))
        .collect();
    match every.len() {
        0 => bail!("job {id} has no assignment; `assay job show {id}` shows its state"),
        1 => Ok(every.remove(0)),
        _ => Ok(calls::batch_all(every)),
    }
}

/// Returns a length of time in milliseconds.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
