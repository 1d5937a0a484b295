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
mod unpack;
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
    /// Should a machine lose the container before it ends, it is started again from the beginning: what it
    /// does to the world outside must be safe to do twice.
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
    /// Ask the worker about a job of the signer's: state, container, ports
    Status(access::Place),
    /// Print what the container of a job of the signer's wrote, as far as the worker keeps it
    Logs(logs::LogsOptions),
    /// List or download the output folder of a job of the signer's
    Artifacts(artifacts::ArtifactsOptions),
    /// List the published ports of a job of the signer's that runs
    Ports(access::Place),
    /// Get a page from an HTTP port of a job of the signer's, through the worker's TLS, and print it
    Fetch(ports::FetchOptions),
    /// Show the result of a task of the signer's, as its worker has it
    Result(access::Place),
    /// Wait for the result of a task of the signer's, and end with the task's exit code
    ///
    /// The result is compared with its hash, and that with the chain's while the chain has it.
    Wait(wait::WaitOptions),
    /// Accept a task's result, so that it can be paid
    Accept(Part),
    /// Reject a task's result: what it earned goes to the treasury, and to nobody else
    Reject(Part),
    /// Cancel a job that has not started, or end a running service
    Close {
        /// The job
        id: u64,
    },
    /// Let a job run longer; its cost is held in escrow at once
    TopUp {
        /// The job
        id: u64,
        /// Additional time, such as 90s, 10m or 2h
        #[arg(value_name = "TIME", value_parser = parse_duration)]
        by: Duration,
    },
    /// Pay what is due of a job; anybody may do that for any job
    Settle(Part),
    /// End a job whose time is over; anybody may do that for any job
    Expire(Part),
    /// Count the replicas of a task; anybody may do that for any job
    Resolve {
        /// The job
        id: u64,
    },
}

/// One machine's part in a job, or every machine's.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// The job
    id: u64,

    /// The machine; every one that has the job when left out
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
        Options::Status(place) => return access::status(place, connection, output).await,
        Options::Logs(options) => return logs::run(options, connection, output).await,
        Options::Artifacts(options) => return artifacts::run(options, connection, output).await,
        Options::Ports(place) => return ports::list(place, connection, output).await,
        Options::Fetch(options) => return ports::fetch(options, connection).await,
        Options::Result(place) => return access::result(place, connection, output).await,
        Options::Wait(options) => return wait::run(options, connection, output).await,
        Options::Accept(part) => for_machines(part, connection, calls::accept).await?,
        Options::Reject(part) => for_machines(part, connection, calls::reject).await?,
        Options::Close { id } => calls::close(id),
        Options::TopUp { id, by } => calls::top_up(id, milliseconds(by)),
        Options::Settle(part) => for_machines(part, connection, calls::settle).await?,
        Options::Expire(part) => for_machines(part, connection, calls::expire).await?,
        Options::Resolve { id } => calls::resolve(id),
    };
    output.included(&connection.submit(call).await?)
}

/// The call for the machine that is named, or for every one that has the job.
async fn for_machines(
    part: Part,
    connection: &Connection,
    call: fn(u64, u64) -> calls::Call,
) -> anyhow::Result<calls::Call> {
    let id = part.id;
    if let Some(machine) = part.machine {
        return Ok(call(id, machine));
    }
    let assignments = connection.client().await?.assignments(id).await?;
    let mut every: Vec<_> = assignments
        .iter()
        .map(|(machine, _)| call(id, *machine))
        .collect();
    match every.len() {
        0 => bail!("no machine has a part in job {id}; `assay job show {id}` tells how it stands"),
        1 => Ok(every.remove(0)),
        _ => Ok(calls::batch_all(every)),
    }
}

/// Length of a time as the chain has it.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
