//! `assay job`

mod sealed;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assay_client::{
    ChainClient,
    calls::{self, JobOrder},
    events::{AssayEvent, EscrowEvent},
    json,
    manifest::{ImageReference, JobManifest, NetworkAccess},
    market::{MAX_NODES, Requirements},
    sealing::PlainManifest,
    types::{
        Assignment, AssignmentState, AuctionTerms, JobKind, MachineStatus, Manifest, ManifestRef,
        Verification,
    },
    units::{format_asy, parse_asy},
};

use clap::{Args, Subcommand, ValueEnum};
use sealed::SealOptions;
use serde_json::json;

use super::owner;
use crate::{
    connection::Connection,
    duration::{format_milliseconds, parse_duration},
    output::Output,
};

/// Commands about jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Run a container on machines; its highest cost is held in escrow
    ///
    /// Should a machine lose the container before it ends, it is started again from the beginning: what it
    /// does to the world outside must be safe to do twice.
    Deploy(Box<DeployOptions>),
    /// Deliver the sealed manifest of a job again, as after a machine's keys were rotated
    Deliver {
        /// The job
        id: u64,
        /// File that `assay job deploy --sealed --keep` wrote
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Show a job that is not closed
    Show {
        /// The job
        id: u64,
    },
    /// Ask the worker about a job of the signer's: state, container, ports
    Status(owner::Place),
    /// Print what the container of a job of the signer's wrote, as far as the worker keeps it
    Logs(owner::LogsOptions),
    /// Show the result of a task of the signer's, as its worker has it
    Result(owner::Place),
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

/// Kind of job to deploy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Ends with a result that the consumer accepts
    Task,
    /// Metered until closed
    Service,
}

/// Judge of a task's result, where no quorum is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Verifier {
    /// The consumer, in the time of --window
    Consumer,
    /// The machine, by a key that fresh evidence of its processor's TEE is bound to: only attested machines
    /// get the task
    Attested,
}

/// Job to deploy, and its machines.
#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    /// A machine to run it; may be repeated
    #[arg(long = "machine", value_name = "ID")]
    machines: Vec<u64>,

    /// Instead of naming machines: so many, whichever first take the price that is offered
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with = "machines",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES))
    )]
    nodes: Option<u8>,

    /// Price offered at first in ASY per slot-hour; it rises to --max-price
    #[arg(long, value_name = "ASY", requires = "nodes", default_value = "0", value_parser = parse_asy)]
    floor_price: u128,

    /// Time in which the offer rises to its maximum
    #[arg(long, value_name = "TIME", requires = "nodes", default_value = "10m", value_parser = parse_duration)]
    rise: Duration,

    /// Time for which machines may take it
    #[arg(long, value_name = "TIME", requires = "nodes", default_value = "20m", value_parser = parse_duration)]
    open: Duration,

    /// Have every machine run the task, and pay those whose result so many of them agree on
    #[arg(long, value_name = "THRESHOLD")]
    quorum: Option<u8>,

    /// Judge of a task's result, where no --quorum is
    #[arg(long, value_enum, default_value = "consumer", conflicts_with = "quorum")]
    verification: Verifier,

    /// Time to look at a task's result before silence accepts it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    window: Duration,

    /// The image by digest: [registry/]name[:tag]@sha256:<64 hex digits>
    #[arg(long, value_name = "REFERENCE")]
    image: ImageReference,

    /// Slots to lease
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    slots: u8,

    /// Task, which ends with a result, or service, which runs until closed
    #[arg(long, value_enum, default_value = "task")]
    kind: Kind,

    /// Longest run, such as 90s, 10m or 2h; its cost is held in escrow
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    max_duration: Duration,

    /// Most to pay in ASY per slot-hour; the machine's ask of now when left out
    #[arg(long, value_name = "ASY", value_parser = parse_asy)]
    max_price: Option<u128>,

    /// Environment variable of the container; may be repeated. No secrets: others can see them in the process
    /// list, and anybody can see a manifest that is not sealed
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,

    #[command(flatten)]
    seal: SealOptions,

    /// Let the container use the network
    #[arg(long)]
    network: bool,

    /// Leave standard output out of a task's result, as where it differs from run to run
    #[arg(long)]
    no_capture_stdout: bool,

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
        Options::Deliver { id, file } => {
            let client = connection.client().await?;
            return sealed::deliver_file(&client, id, &file, output).await;
        }
        Options::Show { id } => return show(id, connection, output).await,
        Options::Status(place) => return owner::status(place, connection, output).await,
        Options::Logs(options) => return owner::logs(options, connection).await,
        Options::Result(place) => return owner::result(place, connection, output).await,
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

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Kind of a job on so many machines.
fn kind_of(options: &DeployOptions, nodes: u8) -> anyhow::Result<JobKind> {
    let verification = match (options.quorum, options.verification) {
        (Some(threshold), _) => Verification::Quorum {
            replicas: nodes,
            threshold,
        },
        (None, Verifier::Attested) => Verification::Attested,
        (None, Verifier::Consumer) => Verification::Consumer {
            window_ms: milliseconds(options.window),
        },
    };
    match options.kind {
        Kind::Task => Ok(JobKind::Task { verification }),
        Kind::Service if options.verification == Verifier::Attested => bail!(
            "a service has no result that a machine could vouch for: order a task, or leave out --verification"
        ),
        Kind::Service => Ok(JobKind::Service),
    }
}

async fn deploy(options: DeployOptions, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let nodes = options
        .nodes
        .unwrap_or(u8::try_from(options.machines.len()).unwrap_or(u8::MAX));
    if nodes == 0 {
        bail!(
            "no machine is named; name one with --machine (`assay machine find`) or say how many with --nodes"
        );
    }
    let kind = kind_of(&options, nodes)?;
    let mut manifest = JobManifest::new(options.image);
    manifest.command = [options.command, options.arguments].concat();
    if options.network {
        manifest.network = NetworkAccess::On;
    }
    manifest.capture_stdout = !options.no_capture_stdout;
    manifest.env = collect_environment(options.environment)?;
    options.seal.complete(&mut manifest)?;
    let public = (!options.seal.sealed).then(|| manifest.to_bytes()).transpose()?;

    let client = connection.client().await?;
    let mut highest_ask = None;
    for id in &options.machines {
        let ask = ask_of(&client, *id, options.slots).await?;
        if options.verification == Verifier::Attested {
            ensure_attested(&client, *id).await?;
        }
        highest_ask = highest_ask.max(Some(ask));
    }
    let max_price = options
        .max_price
        .or(highest_ask)
        .context("--nodes needs --max-price: up to which price machines may take the job")?;
    // Drawn late: a file of --keep should be of an order that is at least tried.
    let settings = match public {
        Some(bytes) => Settings::Public(bytes),
        None => Settings::Sealed(options.seal.seal(&manifest)?),
    };
    let order = JobOrder {
        kind,
        manifest: settings.on_chain(),
        image_digest: manifest.image.digest(),
        requirements: Requirements::default(),
        slots: options.slots,
        max_duration_ms: milliseconds(options.max_duration),
        max_price_per_slot_hour: max_price,
    };
    let order = match options.nodes {
        Some(nodes) => calls::request(
            order,
            nodes,
            AuctionTerms {
                floor_price_per_slot_hour: options.floor_price,
                rise_ms: milliseconds(options.rise),
                open_ms: milliseconds(options.open),
            },
        ),
        None => calls::deploy(order, options.machines),
    };
    // A manifest that is on chain already, as when the same job is deployed again, must not be noted twice.
    let call = match &settings {
        Settings::Public(bytes) if client.manifest_bytes(&ManifestRef::of(bytes)).await?.is_none() => {
            calls::batch_all(vec![calls::note_preimage(bytes), order])
        }
        _ => order,
    };
    let included = connection
        .submit_to(&client, call, &signer)
        .await
        .context("the order did not go through")?;
    output.included(&included)?;
    let job = included.events.iter().find_map(|event| match event {
        AssayEvent::JobEscrow(EscrowEvent::JobOrdered { job, .. }) => Some(*job),
        _ => None,
    });
    let job = job.context("the transaction went through, but no job was ordered")?;
    output.print(&json!({ "job": job }), format_args!("job {job}"))?;
    match settings {
        Settings::Public(_) => Ok(()),
        Settings::Sealed(plain) => sealed::deliver_to_all(&client, job, &plain, output).await,
    }
}

/// A manifest in the form in which machines get it.
enum Settings {
    /// Bytes to note on chain.
    Public(Vec<u8>),
    /// Bytes to seal to each machine.
    Sealed(PlainManifest),
}

impl Settings {
    fn on_chain(&self) -> Manifest {
        match self {
            Self::Public(bytes) => Manifest::Public(ManifestRef::of(bytes)),
            Self::Sealed(plain) => Manifest::Sealed {
                hash: plain.hash().into(),
            },
        }
    }
}

/// Returns what a machine that can take a job of so many slots asks for; where a raise is announced, that,
/// since it may come to hold first.
async fn ask_of(client: &ChainClient, id: u64, slots: u8) -> anyhow::Result<u128> {
    let machine = client.machine(id).await?.with_context(|| {
        format!("there is no machine {id}; `assay machine find` shows those that can be had")
    })?;
    if machine.status != MachineStatus::Active {
        bail!(
            "machine {id} is {} and takes no jobs; choose one that can be had (`assay machine find`)",
            machine.status
        );
    }
    if machine.free_slots < slots {
        bail!(
            "machine {id} has {} of {} slots free, {slots} are wanted; choose another machine \
             (`assay machine find --slots {slots}`) or wait",
            machine.free_slots,
            machine.slots,
        );
    }
    Ok(machine.announced_ask())
}

/// Fails for a machine that could not vouch for its result now.
async fn ensure_attested(client: &ChainClient, id: u64) -> anyhow::Result<()> {
    let view = client.machine_view(id).await?;
    if view.is_none_or(|view| !view.tee_kinds.has_processor()) {
        bail!(
            "machine {id} has no fresh evidence of its processor's TEE, so it gets no attested tasks; choose one that has \
             (`assay machine find --tee tdx`, `sgx` or `sev-snp`)"
        );
    }
    Ok(())
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
    let assignments = client.assignments(id).await?;
    let manifest = match &job.manifest {
        Manifest::Public(manifest) => client.manifest_bytes(manifest).await?,
        Manifest::Sealed { .. } => None,
    };
    let manifest = manifest.map(|bytes| JobManifest::from_bytes(&bytes));

    let mut object = json::to_value(&job)?;
    object["id"] = id.into();
    object["manifest_content"] = match &manifest {
        Some(Ok(manifest)) => json!(manifest),
        _ => json!(null),
    };
    let parts: Vec<_> = assignments
        .iter()
        .map(|(machine, assignment)| {
            let mut part = json::to_value(assignment)?;
            part["machine"] = (*machine).into();
            Ok(part)
        })
        .collect::<serde_json::Result<_>>()?;
    object["machines"] = json!(parts);
    let mut text = format!(
        "job          {id}, a {} on {} {} of {}\n\
         image        {}\n\
         consumer     {}\n\
         price        at most {} per slot-hour, for at most {}\n\
         money        {} paid, {} deposited for bytes and bounties",
        job.kind,
        job.slots,
        if job.slots == 1 { "slot" } else { "slots" },
        match job.nodes {
            1 => "one machine".to_owned(),
            nodes => format!("each of {nodes} machines"),
        },
        match (manifest, &job.manifest) {
            (Some(Ok(manifest)), _) => manifest.image.to_string(),
            (Some(Err(error)), _) => format!("unknown: {error}"),
            (None, Manifest::Sealed { .. }) => "sealed".to_owned(),
            (None, Manifest::Public(_)) => "unknown: its manifest is not on chain".to_owned(),
        },
        job.consumer,
        format_asy(job.max_price_per_slot_hour),
        format_milliseconds(job.max_duration_ms),
        format_asy(job.paid),
        format_asy(job.deposit.saturating_add(job.bounties)),
    );
    if job.open_places > 0 {
        text.push_str(&format!(
            "\nopen         {} of {} places",
            job.open_places, job.nodes
        ));
    }
    for (machine, part) in &assignments {
        text.push_str(&format!(
            "\nmachine {machine:<4} {}; {} per slot-hour, {} paid, {} in escrow",
            describe_state(part, now_ms),
            format_asy(part.price_per_slot_hour),
            format_asy(part.paid),
            format_asy(part.escrowed),
        ));
    }
    output.print(&object, text)
}

fn describe_state(part: &Assignment, now_ms: u64) -> String {
    let left = |then_ms: u64| format_milliseconds(then_ms.saturating_sub(now_ms));
    match part.state {
        AssignmentState::Starting { deadline_ms, .. } => format!("starting, {} left", left(deadline_ms)),
        AssignmentState::Running { started_at_ms, .. } => {
            format!(
                "running for {}",
                format_milliseconds(now_ms.saturating_sub(started_at_ms))
            )
        }
        AssignmentState::Verifying {
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
        AssignmentState::Committed { .. } => "committed to its result".to_owned(),
        AssignmentState::Revealed { result_hash, .. } => {
            format!("result 0x{}, to be counted", hex::encode(result_hash))
        }
        AssignmentState::Ended { outcome, .. } => {
            format!("{outcome}; its last epochs are still to be judged")
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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: DeployOptions,
    }

    /// Kind of job that these options order on three machines.
    fn kind(options: &[&str]) -> Result<JobKind, String> {
        let image = format!("--image=busybox@sha256:{}", "ab".repeat(32));
        let words = ["deploy", "--machine=1", image.as_str()]
            .into_iter()
            .chain(options.iter().copied());
        let line = <Line as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        kind_of(&line.options, 3).map_err(|error| error.to_string())
    }

    #[test]
    fn verification_is_what_the_options_say() {
        let task = |verification| Ok(JobKind::Task { verification });
        let window_ms = 60_000;
        assert_eq!(kind(&[]), Ok(JobKind::task(3_600_000)));
        assert_eq!(
            kind(&["--verification=consumer", "--window=1m"]),
            task(Verification::Consumer { window_ms })
        );
        assert_eq!(kind(&["--verification=attested"]), task(Verification::Attested));
        assert_eq!(
            kind(&["--quorum=2"]),
            task(Verification::Quorum {
                replicas: 3,
                threshold: 2
            })
        );
        assert_eq!(kind(&["--kind=service"]), Ok(JobKind::Service));
    }

    #[test]
    fn verification_is_refused_where_it_means_nothing() {
        let error = kind(&["--verification=attested", "--quorum=2"]).unwrap_err();
        assert!(error.contains("cannot be used with"), "{error}");
        let error = kind(&["--verification=attested", "--kind=service"]).unwrap_err();
        assert!(error.contains("order a task"), "{error}");
        assert!(kind(&["--verification=proof"]).is_err());
    }

    #[test]
    fn collect_environment_fails_when_a_name_is_given_twice() {
        let twice = vec![("A".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())];
        assert!(collect_environment(twice).is_err());
    }
}
