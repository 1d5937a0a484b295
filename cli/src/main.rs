//! `assay`: Assay's command line.
//!
//! Reads an Assay chain, registers providers, bonds machines, deploys jobs and follows events.

mod commands;
mod connection;
mod duration;
#[cfg(test)]
mod help;
mod key_store;
mod numbers;
mod output;
#[cfg(test)]
mod schema;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{
    commands::Command,
    connection::Connection,
    output::{ExitStatus, Output},
};

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
    let words: Vec<OsString> = std::env::args_os().collect();
    let Arguments {
        connection,
        output,
        command,
    } = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error, &words),
    };
    let connection = connection.announcing_on(&output);
    match command.run(&connection, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output, such as `head`, has read enough.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<ExitStatus>() {
            Some(ExitStatus(code)) => ExitCode::from(*code),
            None => {
                output.error(&error);
                ExitCode::FAILURE
            }
        },
    }
}
