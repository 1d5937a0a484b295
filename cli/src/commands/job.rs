//! `assay job`

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use assay_client::{
    calls::{self, JobOrder},
    events::AssayEvent,
    manifest::{ImageReference, JobManifest},
    types::{Job, JobKind, JobState, MachineStatus, ManifestRef},
    units::{format_asy, parse_asy},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    connection::Connection,
    duration::{format_milliseconds, parse_duration},
    output::Output,
};

/// What to do about jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Run a container on a machine; its highest cost is held in escrow
    ///
    /// Should the machine lose the container before it ends, it is started again from the beginning: what it does to the
    /// world outside must be safe to do twice.
    Deploy(Box<DeployOptions>),
    /// Show a job that is not closed
    Show {
        /// The job
        id: u64,
    },
    /// Accept a task's result, which pays for it
    Accept {
        /// The job
        id: u64,
    },
    /// Cancel a job that has not started, or end a running service
    Close {
        /// The job
        id: u64,
    },
    /// Pay what is due of a job; anybody may do that for any job
    Settle {
        /// The job
        id: u64,
    },
    /// End a job whose time is over; anybody may do that for any job
    Expire {
        /// The job
        id: u64,
    },
}

/// What kind of job to deploy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Ends with a result that the consumer accepts
    Task,
    /// Metered until closed
    Service,
}

/// What to deploy, and where.
#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    /// The machine to run it
    #[arg(long, value_name = "ID")]
    machine: u64,

    /// The image by digest: [registry/]name[:tag]@sha256:<64 hex digits>
    #[arg(long, value_name = "REFERENCE")]
    image: ImageReference,

    /// Slots to lease
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    slots: u8,

    /// Whether it ends with a result or runs until closed
    #[arg(long, value_enum, default_value = "task")]
    kind: Kind,

    /// Longest run, such as 90s, 10m or 2h; its cost is held in escrow
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    max_duration: Duration,

    /// Most to pay in ASY per slot-hour; the machine's ask of now when left out
    #[arg(long, value_name = "ASY", value_parser = parse_asy)]
    max_price: Option<u128>,

    /// Environment variable of the container; may be repeated. The manifest is public: no secrets
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,

    /// Let the container use the network
    #[arg(long)]
    network: bool,

    /// Command to run instead of the image's own
    #[arg(long, num_args = 1.., value_name = "PART")]
    command: Vec<String>,

    /// More arguments of the command, which may begin with a dash
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!(
            "{text:?} is not an environment variable: write NAME=VALUE"
        )),
    }
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let call = match options {
        Options::Deploy(options) => return deploy(*options, connection, output).await,
        Options::Show { id } => return show(id, connection, output).await,
        Options::Accept { id } => calls::accept(id),
        Options::Close { id } => calls::close(id),
        Options::Settle { id } => calls::settle(id),
        Options::Expire { id } => calls::expire(id),
    };
    output.included(&connection.submit(call).await?)
}

async fn deploy(options: DeployOptions, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let mut manifest = JobManifest::new(options.image);
    manifest.command = [options.command, options.arguments].concat();
    manifest.network = options.network;
    manifest.env = collect_environment(options.environment)?;
    let bytes = manifest.to_bytes()?;

    let client = connection.client().await?;
    let id = options.machine;
    let machine = client.machine(id).await?.with_context(|| {
        format!("there is no machine {id}; `assay machine find` shows those that can be had")
    })?;
    if machine.status != MachineStatus::Active {
        bail!(
            "machine {id} is {} and takes no jobs; choose one that can be had (`assay machine find`)",
            machine.status
        );
    }
    if machine.free_slots < options.slots {
        bail!(
            "machine {id} has {} of {} slots free, {} are wanted; choose another machine \
             (`assay machine find --slots {}`) or wait",
            machine.free_slots,
            machine.slots,
            options.slots,
            options.slots
        );
    }
    let order = JobOrder {
        machine: id,
        slots: options.slots,
        kind: match options.kind {
            Kind::Task => JobKind::Task,
            Kind::Service => JobKind::Service,
        },
        manifest: ManifestRef::of(&bytes),
        image_digest: manifest.image.digest(),
        max_duration_ms: u64::try_from(options.max_duration.as_millis()).unwrap_or(u64::MAX),
        max_price_per_slot_hour: options.max_price.unwrap_or(machine.ask),
    };
    // A manifest that is on chain already, as when the same job is deployed again, must not be noted twice.
    let deploy = calls::deploy(order.clone());
    let call = match client.manifest_bytes(&order.manifest).await? {
        Some(_) => deploy,
        None => calls::batch_all(vec![calls::note_preimage(&bytes), deploy]),
    };
    let included = client
        .submit(call, &signer)
        .await
        .context("the job was not deployed")?;
    output.included(&included)?;
    let job = included.events.iter().find_map(|event| match event {
        AssayEvent::JobDeployed { job, .. } => Some(*job),
        _ => None,
    });
    let job = job.context("the transaction went through, but no job was deployed")?;
    output.print(&json!({ "job": job }), format_args!("job {job}"))
}

fn collect_environment(variables: Vec<(String, String)>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for (name, value) in variables {
        if environment.insert(name.clone(), value).is_some() {
            bail!("the environment variable {name} is given twice: keep one");
        }
    }
    Ok(environment)
}

async fn show(id: u64, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let job = client.job(id).await?.with_context(|| {
        format!(
            "there is no open job {id}; if it was closed, `assay watch --job {id} --from-block N` shows how"
        )
    })?;
    let now_ms = client.clock().await?.active_time_ms;
    let manifest = client.manifest_bytes(&job.manifest).await?;
    let manifest = manifest.map(|bytes| JobManifest::from_bytes(&bytes));

    let mut object = serde_json::to_value(&job)?;
    object["id"] = id.into();
    object["manifest_content"] = match &manifest {
        Some(Ok(manifest)) => json!(manifest),
        _ => json!(null),
    };
    let text = format!(
        "job          {id}, a {} on {} {} of machine {}\n\
         state        {}\n\
         image        {}\n\
         consumer     {}\n\
         provider     {}\n\
         price        {} per slot-hour, at most {}\n\
         money        {} paid, {} in escrow",
        job.kind,
        job.slots,
        if job.slots == 1 { "slot" } else { "slots" },
        job.machine,
        describe_state(&job, now_ms),
        match manifest {
            Some(Ok(manifest)) => manifest.image.to_string(),
            Some(Err(error)) => format!("unknown: {error}"),
            None => "unknown: its manifest is not on chain".to_owned(),
        },
        job.consumer,
        job.provider,
        format_asy(job.price_per_slot_hour),
        format_milliseconds(job.max_duration_ms),
        format_asy(job.paid),
        format_asy(job.escrowed),
    );
    output.print(&object, text)
}

fn describe_state(job: &Job, now_ms: u64) -> String {
    let left = |then_ms: u64| format_milliseconds(then_ms.saturating_sub(now_ms));
    match job.state {
        JobState::Starting { deadline_ms } => format!("starting, {} left", left(deadline_ms)),
        JobState::Running { started_at_ms, .. } => {
            format!(
                "running for {}",
                format_milliseconds(now_ms.saturating_sub(started_at_ms))
            )
        }
        JobState::Verifying {
            result_hash,
            window_ends_ms,
            ..
        } => {
            format!(
                "result 0x{}, accepted by silence in {}",
                hex::encode(result_hash),
                left(window_ends_ms)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parse_variable_works() {
        assert_eq!(parse_variable("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(parse_variable("A=").unwrap(), ("A".into(), String::new()));
        assert!(parse_variable("A").is_err());
        assert!(parse_variable("=b").is_err());
    }

    #[test]
    fn collect_environment_fails_when_a_name_is_given_twice() {
        let twice = vec![("A".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())];
        assert!(collect_environment(twice).is_err());
    }
}
