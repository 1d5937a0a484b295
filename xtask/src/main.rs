//! `xtask`: helper of the scripts in `scripts/`.
//!
//! The scripts start processes and clean up after them. This program reads the JSON that those processes
//! write, waits for steps in it, and prints tables for people.

mod amounts;
mod balances;
mod events;
mod search;
mod steps;

use std::process::ExitCode;

use clap::Parser;

/// Helper of the scripts: reads JSON of Assay's programs and prints it for people
#[derive(Debug, Parser)]
#[command(name = "xtask", version, about)]
enum Command {
    /// Wait until a step has happened, and print every step that happens meanwhile
    AwaitStep(steps::AwaitOptions),
    /// Print one field of the first event that shows a step
    EventField(steps::FieldOptions),
    /// Print the payments of a job and the first reward of its machine
    Payments(balances::PaymentOptions),
    /// Print balances before and after, with their changes
    Balances(balances::BalanceOptions),
    /// Print the measured times of the market's search
    SearchTable(search::Options),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::AwaitStep(options) => return steps::await_step(&options),
            Self::EventField(options) => println!("{}", steps::event_field(&options)?),
            Self::Payments(options) => print!("{}", balances::payments(&options)?),
            Self::Balances(options) => print!("{}", balances::balances(&options)?),
            Self::SearchTable(options) => print!("{}", search::table_of_file(&options)?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn main() -> ExitCode {
    Command::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
