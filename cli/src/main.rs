//! `assay`: the person's command line.
//!
//! Looks at an Assay chain, registers providers, bonds machines, deploys jobs and shows what happens on chain
//! as it happens.

mod commands;
mod connection;
mod duration;
mod numbers;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::{commands::Command, connection::Connection, output::Output};

/// Looks at an Assay chain and acts on it.
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
