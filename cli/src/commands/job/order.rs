//! `assay job deploy`: an order, its machines and its price.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assay_client::{
    calls,
    consumer::{self, MachineChoice},
    events::{AssayEvent, EscrowEvent},
    keys,
    market::MAX_NODES,
    order::{self, OrderSpec, Retry, Spread, file},
    registry,
    types::{AuctionTerms, JobKind, Manifest, ManifestRef, Verification},
    units::parse_asy,
};
use clap::{Args, ValueEnum};

use super::{milliseconds, sealed::SealOptions, settings::SettingsOptions, steps};
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

    /// Take everything but the machines from a compute-manifest.yaml, instead of options;
    /// `assay manifest check` tells what it means. Without --machine, the best machines that fit are chosen
    #[arg(
        long,
        short,
        value_name = "FILE",
        conflicts_with_all = [
            "nodes", "quorum", "verification", "window", "slots", "kind", "max_duration", "max_price", "sealed", "secrets",
            "secret_environment", "registry_user", "SettingsOptions", "MachineOptions"
        ]
    )]
    file: Option<PathBuf>,

    /// Instead of --machine: number of machines, found by an auction
    #[arg(
        long,
        value_name = "COUNT",
        group = "opener",
        conflicts_with = "machines",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES))
    )]
    nodes: Option<u8>,

    /// With --file: hold an auction, instead of choosing machines
    #[arg(long, group = "opener", requires = "file", conflicts_with = "machines")]
    auction: bool,

    /// Return when the order is final and its manifest delivered, without waiting until the job runs
    #[arg(long, conflicts_with = "opener")]
    detach: bool,

    /// First price of the auction in ASY per slot-hour; it rises to --max-price
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

    /// Time in which the auction's price rises to its maximum
    #[arg(
        long,
        value_name = "TIME",
        requires = "opener",
        conflicts_with = "machines",
        default_value = "10m",
        value_parser = parse_duration
    )]
    rise: Duration,

    /// Time for which machines may accept the order
    #[arg(
        long,
        value_name = "TIME",
        requires = "opener",
        conflicts_with = "machines",
        default_value = "20m",
        value_parser = parse_duration
    )]
    open: Duration,

    /// Quorum: number of machines that must agree on the task's result; every machine runs the task
    #[arg(long, value_name = "THRESHOLD")]
    quorum: Option<u8>,

    /// Judge of a task's result without --quorum; the consumer when left out
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

    /// Maximum price in ASY per slot-hour; the machine's present ask when left out
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

/// Returns the kind of a job on this number of machines. Options that do not apply to it are errors.
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

impl DeployOptions {
    /// Returns true for an order that any machine may take.
    fn is_auction(&self) -> bool {
        self.nodes.is_some() || self.auction
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
        if options.auction && spec.sealed {
            bail!(
                "{} seals its manifest, so its machines have to be known: leave out --auction, or write `sealed: false`",
                path.display()
            );
        }
        if options.auction && (spec.spread != Spread::default() || spec.retry != Retry::default()) {
            bail!(
                "{} has `spread` or `retry`, which an auction cannot keep: leave out --auction, or remove them",
                path.display()
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
            "no machine is named; name one with --machine (`assay machine find`) or give their number with --nodes"
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

/// Orders a job, delivers its manifest where that is sealed, and waits until it runs.
pub(super) async fn deploy(
    options: DeployOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let spec = spec_of(&options)?;
    spec.check()?;
    if options.is_auction() {
        return auction(&options, &spec, connection, output).await;
    }
    let chosen = consumer::DeployOptions {
        machines: if options.machines.is_empty() {
            MachineChoice::Anywhere
        } else {
            MachineChoice::Machines(options.machines)
        },
        keep: options.seal.keep,
        is_detached: options.detach,
        ..consumer::DeployOptions::default()
    };
    let consumer = connection.consumer().await?;
    consumer
        .deploy(&spec, &chosen, &|step| steps::show(output, &step))
        .await
        .context("the job was not deployed")?;
    Ok(())
}

/// Orders a job that is open to any machine, at a price that rises until enough of them take it.
async fn auction(
    options: &DeployOptions,
    spec: &OrderSpec,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let max_price = spec.max_price_per_slot_hour.context(
        "an auction needs its highest price: --max-price, or `max_price_per_slot_hour` in the file",
    )?;
    let image = registry::resolve(&spec.image, spec.container.registry.as_ref()).await?;
    let bytes = spec.manifest(image.clone())?.to_bytes()?;
    let manifest = Manifest::Public(ManifestRef::of(&bytes));
    let terms = AuctionTerms {
        floor_price_per_slot_hour: options.floor_price,
        rise_ms: milliseconds(options.rise),
        open_ms: milliseconds(options.open),
    };
    let order = calls::request(spec.job_order(manifest, &image, max_price), spec.nodes, terms);
    let signer = connection.signer()?;
    let client = connection.client().await?;
    let call = client
        .order_of_public(order, &bytes, &keys::account_of(&signer))
        .await?;
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
    steps::ordered(output, job, included.block_number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::testing::parsed;

    fn options(more: &[&str]) -> Result<DeployOptions, String> {
        parsed(more).map_err(|error| error.to_string())
    }

    fn image() -> String {
        format!("--image=busybox@sha256:{}", "ab".repeat(32))
    }

    /// Returns the order of these options on three machines.
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
        assert_eq!(read(&public, &["--auction", "--rise=5m"]).unwrap().nodes, 2);
        assert_eq!(read(text, &["--detach"]).unwrap().nodes, 2);

        for (text, more, remedy) in [
            (text, &["--machine=1"][..], "name as many"),
            (text, &["--auction"], "leave out --auction"),
            (text, &["--nodes=2"], "cannot be used with"),
            (text, &["--rise=5m"], "--auction"),
            (
                &format!("{public}retry: {{attempts: 2}}\n"),
                &["--auction"],
                "leave out --auction",
            ),
            (&public, &["--auction", "--detach"], "cannot be used with"),
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
