//! `assay rewards`

use assay_client::calls::{self, MAX_EPOCHS_PER_PAYOUT};
use clap::Subcommand;

use crate::{connection::Connection, output::Output};

/// Commands about rewards.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Mint a machine's rewards of its oldest unpaid epochs; any account may sign
    Payout {
        /// The machine
        machine: u64,

        /// Maximum number of epochs to pay at once
        #[arg(
            long,
            default_value_t = MAX_EPOCHS_PER_PAYOUT,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_EPOCHS_PER_PAYOUT))
        )]
        max_epochs: u32,
    },
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match options {
        Options::Payout { machine, max_epochs } => {
            output.included(&connection.submit(calls::payout(machine, max_epochs)).await?)
        }
    }
}
