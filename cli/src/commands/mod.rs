//! The commands, one file each.

mod balance;
mod chain;
mod documentation;
mod job;
mod keys;
mod machine;
mod manifest;
mod provider;
mod rewards;
#[cfg(test)]
mod testing;
mod watch;

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::Shell;

use crate::{connection::Connection, output::Output};

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the chain: its name, its newest blocks and its clock
    Chain,
    /// Show the balances of accounts
    Balance(balance::Options),
    /// Find machines, look at them and handle their bonds, keys and status
    #[command(subcommand)]
    Machine(machine::Options),
    /// Become a provider
    #[command(subcommand)]
    Provider(provider::Options),
    /// Deploy and manage jobs
    #[command(subcommand)]
    Job(job::Options),
    /// Check orders in files
    #[command(subcommand)]
    Manifest(manifest::Options),
    /// Pay out machines' rewards
    #[command(subcommand)]
    Rewards(rewards::Options),
    /// Print events as blocks become final, and wait for steps of a job's life
    Watch(watch::Options),
    /// Make, import and list the accounts that sign, each in a file with a password
    #[command(subcommand)]
    Keys(keys::Options),
    /// Print what makes a shell complete this program's words
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Folder for this page and one of each command, instead of printing
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
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
            Self::Keys(options) => keys::run(options, connection, output),
            Self::Completions { shell } => documentation::completions(shell),
            Self::Man { to } => documentation::man(to.as_deref(), output),
        }
    }
}
