//! `assay job deploy`: an order, its machines and its price.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assay_client::{
    ChainClient, calls,
    events::{AssayEvent, EscrowEvent},
    manifest::ImageReference,
    market::MAX_NODES,
    order::{self, OrderSpec, file},
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
use crate::{
    commands::machine::requirements::MachineOptions, connection::Connection, duration::parse_duration,
    output::Output,
};

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

    /// Take everything but the machines from a compute-manifest.yaml, instead of options;
    /// `assay manifest check` tells what it means
    #[arg(
        long,
        short,
        value_name = "FILE",
        group = "opener",
        conflicts_with_all = [
            "quorum", "verification", "window", "slots", "kind", "max_duration", "max_price", "sealed", "secrets",
            "secret_environment", "registry_user", "SettingsOptions", "MachineOptions"
        ]
    )]
    file: Option<PathBuf>,

    /// Instead of naming machines: so many, whichever first take the price that is offered
    #[arg(
        long,
        value_name = "COUNT",
        group = "opener",
        conflicts_with = "machines",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES))
    )]
    nodes: Option<u8>,

    /// Price offered at first in ASY per slot-hour; it rises to the maximum
    // Without hyphens, the hint of a negative price would be to write it as an argument of the container.
    #[arg(
        long,
        value_name = "ASY",
        requires = "opener",
        conflicts_with = "machines",
        default_value = "0",
        value_parser = parse_asy,
        allow_hyphen_values = true
    )]
    floor_price: u128,

    /// Time in which the offer rises to its maximum
    #[arg(
        long,
        value_name = "TIME",
        requires = "opener",
        conflicts_with = "machines",
        default_value = "10m",
        value_parser = parse_duration
    )]
    rise: Duration,

    /// Time for which machines may take it
    #[arg(
        long,
        value_name = "TIME",
        requires = "opener",
        conflicts_with = "machines",
        default_value = "20m",
        value_parser = parse_duration
    )]
    open: Duration,

    /// Have every machine run the task, and pay those whose result so many of them agree on
    #[arg(long, value_name = "THRESHOLD")]
    quorum: Option<u8>,

    /// Judge of a task's result, where no --quorum is; the consumer when left out
    #[arg(long, value_enum, conflicts_with = "quorum")]
    verification: Option<Verifier>,

    /// Time to look at a task's result before silence accepts it; 1h when left out
    #[arg(long, value_name = "TIME", conflicts_with = "quorum", value_parser = parse_duration)]
    window: Option<Duration>,

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
    #[arg(long, value_name = "ASY", value_parser = parse_asy, allow_hyphen_values = true)]
    max_price: Option<u128>,

    #[command(flatten)]
    seal: SealOptions,

    #[command(flatten)]
    settings: SettingsOptions,

    // Last, because its heading would cover what follows.
    #[command(flatten)]
    wanted: MachineOptions,
}

/// Kind of a job on so many machines. Options that say nothing to it are errors.
fn kind_of(options: &DeployOptions, nodes: u8) -> anyhow::Result<JobKind> {
    let given = [
        ("--quorum", options.quorum.is_some()),
        ("--verification", options.verification.is_some()),
        ("--window", options.window.is_some()),
    ];
    if let (Kind::Service, Some((option, _))) = (options.kind, given.iter().find(|(_, is_given)| *is_given)) {
        bail!(
            "{option} says how a task's result is verified, and a service has none: order a task, or leave out {option}"
        );
    }
    let verification = match (options.quorum, options.verification, options.window) {
        (Some(threshold), ..) => Verification::Quorum {
            replicas: nodes,
            threshold,
        },
        (None, Some(Verifier::Attested), Some(_)) => bail!(
            "--window is the consumer's time to look at a result, and an attested one stands at once: leave out --window"
        ),
        (None, Some(Verifier::Attested), None) => Verification::Attested,
        (None, Some(Verifier::Consumer) | None, window) => Verification::Consumer {
            window_ms: window.map_or(order::DEFAULT_WINDOW_MS, milliseconds),
        },
    };
    match options.kind {
        Kind::Task => Ok(JobKind::Task { verification }),
        Kind::Service => Ok(JobKind::Service),
    }
}

/// Returns the order of the options, or of their file.
fn spec_of(options: &DeployOptions) -> anyhow::Result<OrderSpec> {
    let named = u8::try_from(options.machines.len()).unwrap_or(u8::MAX);
    if let Some(path) = &options.file {
        let spec = file::load(path)?;
        if named > 0 && named != spec.nodes {
            bail!(
                "{} machines are named with --machine, and {} asks for {}: name as many",
                options.machines.len(),
                path.display(),
                spec.nodes
            );
        }
        if named == 0 && spec.sealed {
            bail!(
                "{} seals its manifest, so its machines have to be known: name {} with --machine (`assay machine \
                 find`), or write `sealed: false` to open the order to any",
                path.display(),
                spec.nodes
            );
        }
        if options.seal.keep.is_some() && !spec.sealed {
            bail!(
                "--keep needs a sealed manifest, and {} says `sealed: false`",
                path.display()
            );
        }
        return Ok(spec);
    }
    let nodes = options.nodes.unwrap_or(named);
    if nodes == 0 {
        bail!(
            "no machine is named; name one with --machine (`assay machine find`) or say how many with --nodes"
        );
    }
    options.seal.ensure_sealed()?;
    if options.seal.keep.is_some() && !options.seal.sealed {
        bail!("--keep needs --sealed: a public manifest is on chain, and nothing has to be kept");
    }
    let kind = kind_of(options, nodes)?;
    let mut spec = options.settings.order(options.seal.sealed)?;
    options.seal.complete(&mut spec.container)?;
    spec.kind = kind;
    spec.nodes = nodes;
    spec.slots = options.slots;
    spec.requirements = options.wanted.requirements();
    spec.max_duration_ms = milliseconds(options.max_duration);
    spec.max_price_per_slot_hour = options.max_price;
    Ok(spec)
}

/// Orders a job, and delivers its manifest where that is sealed.
pub(super) async fn deploy(
    options: DeployOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let spec = spec_of(&options)?;
    spec.check()?;
    // A tag would be another image tomorrow; the reason says how to resolve it.
    let image: ImageReference = spec.image.to_string().parse()?;
    let manifest = spec.manifest(image.clone())?;
    let public = (!spec.sealed).then(|| manifest.to_bytes()).transpose()?;

    let client = connection.client().await?;
    let mut highest_ask = None;
    for id in &options.machines {
        let ask = ask_of(&client, *id, spec.slots).await?;
        if spec.kind.is_attested() {
            ensure_attested(&client, *id).await?;
        }
        highest_ask = highest_ask.max(Some(ask));
    }
    let max_price = spec.max_price_per_slot_hour.or(highest_ask).context(
        "an order that is open to any machine needs a highest price: --max-price, or \
         `max_price_per_slot_hour` in the file",
    )?;
    // Drawn late: a file of --keep should be of an order that is at least tried.
    let settings = match public {
        Some(bytes) => Settings::Public(bytes),
        None => Settings::Sealed(options.seal.seal(&manifest)?),
    };
    let order = spec.job_order(settings.on_chain(), &image, max_price);
    let order = if options.machines.is_empty() {
        let terms = AuctionTerms {
            floor_price_per_slot_hour: options.floor_price,
            rise_ms: milliseconds(options.rise),
            open_ms: milliseconds(options.open),
        };
        calls::request(order, spec.nodes, terms)
    } else {
        calls::deploy(order, options.machines)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: DeployOptions,
    }

    fn options(more: &[&str]) -> Result<DeployOptions, String> {
        let words = ["deploy"].into_iter().chain(more.iter().copied());
        let line = <Line as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.options)
    }

    fn image() -> String {
        format!("--image=busybox@sha256:{}", "ab".repeat(32))
    }

    /// Order of these options on three machines.
    fn spec(more: &[&str]) -> Result<OrderSpec, String> {
        let image = image();
        let words = ["--machine=1", "--machine=2", "--machine=3", image.as_str()];
        let options = options(&[&words[..], more].concat())?;
        let spec = spec_of(&options).map_err(|error| format!("{error:#}"))?;
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }

    fn kind(more: &[&str]) -> Result<JobKind, String> {
        spec(more).map(|spec| spec.kind)
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
        assert_eq!(kind(&["--window=1m"]), task(Verification::Consumer { window_ms }));
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
        for (more, remedy) in [
            (
                &["--verification=attested", "--quorum=2"][..],
                "cannot be used with",
            ),
            (&["--quorum=2", "--window=5m"], "cannot be used with"),
            (&["--kind=service", "--quorum=2"], "leave out --quorum"),
            (&["--kind=service", "--window=5m"], "leave out --window"),
            (&["--kind=service", "--verification=attested"], "order a task"),
            (&["--verification=attested", "--window=5m"], "leave out --window"),
            (&["--quorum=1"], "more than half"),
            (&["--verification=proof"], "possible values"),
            (&["--max-duration=59s"], "60000 ms"),
            (&["--rise=5m"], "cannot be used with"),
            (&["--keep=a"], "--keep needs --sealed"),
            (&["--max-price", "-5"], "only digits and one decimal point"),
        ] {
            let error = kind(more).unwrap_err();
            assert!(error.contains(remedy), "{more:?}: {error}");
            assert!(!error.contains("-- -5"), "{error}");
        }
    }

    #[test]
    fn requirements_are_those_of_the_options() {
        let spec = spec(&[
            "--gpu=nvidia_h100",
            "--min-vram-gib=80",
            "--slots=2",
            "--max-price=2.5",
        ])
        .unwrap();
        let wanted = spec.search();
        assert_eq!(
            wanted.gpu_type.as_deref().map(|name| name.as_slice()),
            Some(&b"NVIDIA_H100"[..])
        );
        assert_eq!((wanted.min_vram_mib, wanted.min_free_slots), (81_920, 2));
        assert_eq!(wanted.max_price_per_slot_hour, Some(2_500_000_000_000));
        assert_eq!((spec.nodes, spec.sealed), (3, false));
    }

    #[test]
    fn order_of_a_file_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compute-manifest.yaml");
        let file = format!("--file={}", path.display());
        let read = |text: &str, more: &[&str]| {
            std::fs::write(&path, text).unwrap();
            let options = options(&[&[file.as_str()][..], more].concat())?;
            spec_of(&options).map_err(|error| format!("{error:#}"))
        };
        let text = "version: 1\nimage: busybox:1\nnodes: 2\nrequirements: {min_vram_gib: 80}\n";
        let spec = read(text, &["--machine=1", "--machine=2", "--keep=a"]).unwrap();
        assert_eq!(
            (spec.nodes, spec.requirements.min_vram_mib, spec.sealed),
            (2, 81_920, true)
        );
        let public = format!("{text}sealed: false\n");
        assert_eq!(read(&public, &["--rise=5m"]).unwrap().nodes, 2);

        for (text, more, remedy) in [
            (text, &["--machine=1"][..], "name as many"),
            (text, &[], "name 2 with --machine"),
            (&public, &["--keep=a"], "`sealed: false`"),
            (
                &public,
                &["--machine=1", "--machine=2", "--rise=5m"],
                "cannot be used with",
            ),
            (
                "version: 1\nimage: busybox\nnods: 2\n",
                &[],
                "did you mean `nodes`?",
            ),
        ] {
            let error = read(text, more).unwrap_err();
            assert!(error.contains(remedy), "{more:?}: {error}");
        }
        for more in [
            "--nodes=2",
            "--slots=2",
            "--kind=task",
            "--quorum=2",
            "--window=5m",
            "--max-price=1",
            "--max-duration=5m",
            "--image=busybox",
            "--env=A=b",
            "--network",
            "--command=sh",
            "--sealed",
            "--secret=a=b",
            "--gpu=NVIDIA_H100",
            "--region=us-east",
        ] {
            let error = read(text, &[more]).unwrap_err();
            assert!(
                error.contains("cannot be used with") || error.contains("--image"),
                "{more}: {error}"
            );
        }
    }
}
