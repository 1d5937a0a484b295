//! `assay job deploy`: an order, its machines and its price.

use std::time::Duration;

use anyhow::{Context, bail};
use assay_client::{
    ChainClient,
    calls::{self, JobOrder},
    events::{AssayEvent, EscrowEvent},
    market::{MAX_NODES, Requirements},
    sealing::PlainManifest,
    types::{AuctionTerms, JobKind, MachineStatus, Manifest, ManifestRef, Verification},
    units::parse_asy,
};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    milliseconds,
    sealed::{self, SealOptions},
    settings::SettingsOptions,
};
use crate::{connection::Connection, duration::parse_duration, output::Output};

/// Kind of job to deploy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Ends with a result that the consumer accepts
    Task,
    /// Metered until closed
    Service,
}

/// Judge of a task's result without a quorum.
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

    /// Instead of --machine: number of machines, found by an auction
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with = "machines",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES))
    )]
    nodes: Option<u8>,

    /// First price of the auction in ASY per slot-hour; it rises to --max-price
    #[arg(long, value_name = "ASY", requires = "nodes", default_value = "0", value_parser = parse_asy)]
    floor_price: u128,

    /// Time in which the auction's price rises to its maximum
    #[arg(long, value_name = "TIME", requires = "nodes", default_value = "10m", value_parser = parse_duration)]
    rise: Duration,

    /// Time for which machines may accept the order
    #[arg(long, value_name = "TIME", requires = "nodes", default_value = "20m", value_parser = parse_duration)]
    open: Duration,

    /// Quorum: number of machines that must agree on the task's result; every machine runs the task
    #[arg(long, value_name = "THRESHOLD")]
    quorum: Option<u8>,

    /// Judge of a task's result without --quorum
    #[arg(long, value_enum, default_value = "consumer", conflicts_with = "quorum")]
    verification: Verifier,

    /// Time to look at a task's result before silence accepts it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    window: Duration,

    /// Slots to lease
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    slots: u8,

    /// Task, which ends with a result, or service, which runs until closed
    #[arg(long, value_enum, default_value = "task")]
    kind: Kind,

    /// Longest run, such as 90s, 10m or 2h; its cost is held in escrow
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    max_duration: Duration,

    /// Maximum price in ASY per slot-hour; the machine's present ask when left out
    #[arg(long, value_name = "ASY", value_parser = parse_asy)]
    max_price: Option<u128>,

    #[command(flatten)]
    seal: SealOptions,

    #[command(flatten)]
    settings: SettingsOptions,
}

/// Returns the kind of a job on this number of machines.
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

/// Orders a job, and delivers its manifest where that is sealed.
pub(super) async fn deploy(
    options: DeployOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let nodes = options
        .nodes
        .unwrap_or(u8::try_from(options.machines.len()).unwrap_or(u8::MAX));
    if nodes == 0 {
        bail!(
            "no machine is named; name one with --machine (`assay machine find`) or give their number with --nodes"
        );
    }
    let kind = kind_of(&options, nodes)?;
    options.seal.ensure_sealed()?;
    let mut manifest = options.settings.manifest(options.seal.sealed)?;
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
        .context("--nodes needs --max-price: the highest price of the auction")?;
    // Drawn late, so that a file of --keep belongs to an order that was at least submitted.
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

/// Manifest in the form in which machines get it.
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

/// Returns the announced ask of a machine that can take a job of this number of slots: a raise may hold
/// before the order.
async fn ask_of(client: &ChainClient, id: u64, slots: u8) -> anyhow::Result<u128> {
    let machine = client
        .machine(id)
        .await?
        .with_context(|| format!("there is no machine {id}; `assay machine find` lists those on offer"))?;
    if machine.status != MachineStatus::Active {
        bail!(
            "machine {id} is {} and takes no jobs; choose one on offer (`assay machine find`)",
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::testing::parsed;

    /// Returns the kind of job that these options order on three machines.
    fn kind(options: &[&str]) -> Result<JobKind, String> {
        let image = format!("--image=busybox@sha256:{}", "ab".repeat(32));
        let words = [&["--machine=1", image.as_str()][..], options].concat();
        let options = parsed(&words).map_err(|error| error.to_string())?;
        kind_of(&options, 3).map_err(|error| error.to_string())
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
}
