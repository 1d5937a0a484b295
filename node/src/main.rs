//! Assay's validator and full node.

// The SDK's errors are large, and its runner and services pass them through every closure.
#![allow(clippy::result_large_err)]

mod chain_spec;
mod cli;
mod command;
mod compiled_runtimes;
mod executor;
mod finality;
mod missed;
mod prober;
mod rpc;
mod service;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
