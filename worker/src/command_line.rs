//! What can be said to the worker when it is started.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::challenge::bench::BenchArguments;

/// Offers this machine on Assay: registers it, runs consumers' containers, reports results, collects rewards.
///
/// Containers outlive the worker: stopping it (SIGINT, SIGTERM) leaves jobs running, and the next start takes them up
/// where they are.
#[derive(Debug, Parser)]
#[command(name = "assay-worker", version)]
pub struct CommandLine {
    /// The configuration file.
    #[arg(long, value_name = "PATH", default_value = "worker.yaml", global = true)]
    pub config: PathBuf,

    /// How log lines look. What is logged is set by the variable RUST_LOG (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Run until stopped; the default.
    Run,
    /// Check configuration, keys, engine, provers and chain, print what is wrong with the remedy, and change nothing on
    /// chain.
    Check,
    /// The hardware challenge.
    #[command(subcommand)]
    Challenge(ChallengeAction),
}

/// What to do about the hardware challenge.
#[derive(Clone, Debug, Subcommand)]
pub enum ChallengeAction {
    /// Measure how fast each device of this machine fills and walks its memory, beside what the hardware can do, and say
    /// which hardware classes it can hold in time. Needs no configuration file, and takes all of the machine: jobs slow
    /// down meanwhile.
    Bench(BenchArguments),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One line of text each, for people.
    Text,
    /// One JSON object each, for machines.
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
