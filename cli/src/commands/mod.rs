//! The commands, one file each.

mod balance;
mod chain;
mod job;
mod machine;
mod manifest;
mod provider;
mod rewards;
mod watch;

use clap::Subcommand;

use crate::{connection::Connection, output::Output};

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the chain: its name, its newest blocks and its clock
    Chain,
    /// Show what accounts have
    Balance(balance::Options),
    /// Find machines, look at them and handle their bonds, keys and status
    #[command(subcommand)]
    Machine(machine::Options),
    /// Become a provider
    #[command(subcommand)]
    Provider(provider::Options),
    /// Deploy jobs and see them through
    #[command(subcommand)]
    Job(job::Options),
    /// Check orders in files
    #[command(subcommand)]
    Manifest(manifest::Options),
    /// Collect what machines earned
    #[command(subcommand)]
    Rewards(rewards::Options),
    /// Print what happens on chain as it happens, and wait for steps of a job's life
    Watch(watch::Options),
}

impl Command {
    pub(crate) async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Chain => chain::run(connection, output).await,
            Self::Balance(options) => balance::run(options, connection, output).await,
            Self::Machine(options) => machine::run(options, connection, output).await,
            Self::Provider(options) => provider::run(options, connection, output).await,
            Self::Job(options) => job::run(options, connection, output).await,
            Self::Manifest(options) => manifest::run(&options, output),
            Self::Rewards(options) => rewards::run(options, connection, output).await,
            Self::Watch(options) => watch::run(options, connection, output).await,
        }
    }
}
