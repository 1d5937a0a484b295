//! The worker's command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{challenge::bench::BenchArguments, devices::self_test::SelfTestArguments};

/// Offers this machine on Assay: registers it, runs consumers' containers, reports results, collects rewards.
///
/// Containers outlive the worker: stopping it (SIGINT, SIGTERM) leaves jobs running, and the next start
/// continues them.
#[derive(Debug, Parser)]
#[command(name = "assay-worker", version)]
pub struct CommandLine {
    /// Path of the configuration file.
    #[arg(long, value_name = "PATH", default_value = "worker.yaml", global = true)]
    pub config: PathBuf,

    /// Format of log lines, of errors and of the results of `check`. The variable RUST_LOG sets the log level
    /// (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,

    /// Command to run.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// Command of the worker.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Run until stopped; the default.
    Run,
    /// Check configuration, keys, engine, GPUs, provers and chain, and print each problem with its remedy.
    /// Changes nothing on chain and creates no keys.
    Check,
    /// Commands for the hardware challenge.
    #[command(subcommand)]
    Challenge(ChallengeAction),
    /// Commands for the machine's GPUs.
    #[command(subcommand)]
    Gpu(GpuAction),
}

/// Command for the machine's GPUs.
#[derive(Clone, Debug, Subcommand)]
pub enum GpuAction {
    /// Run a small workload on the GPU of every free slot, in a container like a job's: the driver is
    /// visible, the memory is as claimed, and a product of matrices is right. Needs the state folder, so stop
    /// the worker first.
    SelfTest(SelfTestArguments),
}

/// Command for the hardware challenge.
#[derive(Clone, Debug, Subcommand)]
pub enum ChallengeAction {
    /// Measure how fast each device of this machine fills and walks its memory, compare it with the
    /// hardware's limits, and list the hardware classes that it can hold in time. Needs no configuration
    /// file. Uses the whole machine: jobs are slower meanwhile.
    Bench(BenchArguments),
}

/// Format of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event, for people.
    Text,
    /// One JSON object for each event, for machines.
    Json,
}

/// Starts logging to standard error.
pub fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            log.with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => log.json().init(),
    }
}
