//! `assay provider`

use anyhow::ensure;
use assay_client::calls::{self, MAX_PROVIDER_NAME_BYTES};
use clap::Subcommand;

use crate::{connection::Connection, output::Output};

/// Commands of a provider.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Make the signer a provider; a deposit is held until it stops being one
    Register {
        /// Name of the provider, at most 64 bytes
        name: String,
    },
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match options {
        Options::Register { name } => {
            ensure!(!name.is_empty(), "the name is empty: give the provider one");
            ensure!(
                name.len() <= MAX_PROVIDER_NAME_BYTES as usize,
                "the name has {} bytes and may have {MAX_PROVIDER_NAME_BYTES}: shorten it",
                name.len()
            );
            output.included(&connection.submit(calls::register_provider(&name)).await?)
        }
    }
}
