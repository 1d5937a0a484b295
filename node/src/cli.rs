//! The command line.

use std::path::PathBuf;

#[cfg(feature = "runtime-benchmarks")]
use polkadot_sdk::frame_benchmarking_cli;
use polkadot_sdk::sc_cli;

/// Assay's validator and full node. Without a subcommand it runs.
#[derive(Debug, clap::Parser)]
#[command(version = env!("SUBSTRATE_CLI_IMPL_VERSION"))]
pub(crate) struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommand>,

    /// How to run.
    #[clap(flatten)]
    pub(crate) run: sc_cli::RunCmd,

    /// Keep what runtimes compile to in this folder, so that the next start need not compile them again.
    ///
    /// It is made if it is not there. What is in it is executed: the node does not start unless the folder, all that is
    /// in it and every folder above it belong to the node's user or to root, and nobody else can write there. Folders
    /// above it may be sticky, as /tmp is.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) compiled_runtimes: Option<PathBuf>,
}

/// What the node's binary does besides running.
#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Subcommand {
    /// Make, show and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write a chain's specification. Network launchers call it by this name.
    #[allow(deprecated)]
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Write a chain's specification.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Check a block once more.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Write blocks to a file.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Write the state of a block into a chain specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Read blocks from a file.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Delete the chain's database.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Take the newest blocks back, none that are final.
    Revert(sc_cli::RevertCmd),

    /// Show what the database holds.
    ChainInfo(sc_cli::ChainInfoCmd),

    /// Measure weights.
    #[cfg(feature = "runtime-benchmarks")]
    #[command(subcommand)]
    Benchmark(frame_benchmarking_cli::BenchmarkCmd),
}
