//! The command line.

use std::path::PathBuf;

#[cfg(feature = "runtime-benchmarks")]
use polkadot_sdk::frame_benchmarking_cli;
use polkadot_sdk::sc_cli;

/// Assay's validator and full node. Runs the node if no subcommand is given.
#[derive(Debug, clap::Parser)]
#[command(version = env!("SUBSTRATE_CLI_IMPL_VERSION"))]
pub(crate) struct Cli {
    /// Subcommand to execute instead of running the node.
    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommand>,

    /// Options of the running node.
    #[clap(flatten)]
    pub(crate) run: sc_cli::RunCmd,

    /// Cache compiled runtimes in this folder, so that the next start need not compile them again.
    ///
    /// The node creates the folder if it is missing. It executes the contents: it does not start unless the
    /// folder, everything in it and every folder above it belong to the node's user or to root, and no other
    /// user can write there. Folders above it may be sticky, as /tmp is.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) compiled_runtimes: Option<PathBuf>,
}

/// Subcommands of the node's binary.
#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Subcommand {
    /// Generate, show and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write a chain's specification, under the name that network launchers call.
    #[allow(deprecated)]
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Write a chain's specification.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Execute and verify a block again.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Write blocks to a file.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Write the state of a block into a chain specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Read blocks from a file.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Delete the chain's database.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Remove the newest blocks; final ones stay.
    Revert(sc_cli::RevertCmd),

    /// Show the contents of the database.
    ChainInfo(sc_cli::ChainInfoCmd),

    /// Measure weights.
    #[cfg(feature = "runtime-benchmarks")]
    #[command(subcommand)]
    Benchmark(frame_benchmarking_cli::BenchmarkCmd),
}
