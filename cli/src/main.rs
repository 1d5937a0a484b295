//! `assay`: Assay's command line.
//!
//! Reads an Assay chain, registers providers, bonds machines, deploys jobs and follows events.

mod commands;
mod connection;
mod duration;
mod numbers;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::{commands::Command, connection::Connection, output::Output};

/// Reads an Assay chain and submits transactions to it.
#[derive(Debug, Parser)]
#[command(name = "assay", version, about, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments {
        connection,
        output,
        command,
    } = Arguments::parse();
    match command.run(&connection, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}
