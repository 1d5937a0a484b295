//! `assay machine`

mod bond;
mod debts;
mod explain;
mod find;
mod keys;
mod list;
pub(super) mod requirements;
mod show;

use anyhow::Context;
use assay_client::{
    ChainClient, calls, json,
    types::{HardwareClass, Machine, SuspensionCause},
    units::parse_asy,
};
use clap::Subcommand;
use serde_json::Value;

use crate::{connection::Connection, output::Output};

/// Commands about machines.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Find machines on offer, best first: by uptime, then by price
    Find(Box<find::Options>),
    /// Explain why a machine does not meet these requirements
    Explain(Box<explain::Options>),
    /// List every machine
    List,
    /// Show a machine with its bond, pending slashes, debts and jobs
    Show {
        /// The machine
        id: u64,
        /// Ask its worker for its signed status, too: engine, stronger runtimes, jobs
        #[arg(long)]
        ask_worker: bool,
    },
    /// Bond ASY for a machine of the signer, in addition to its present bond
    Bond {
        /// The machine
        id: u64,

        /// ASY to bond; the amount missing to the minimum when left out
        #[arg(value_name = "ASY", value_parser = parse_asy)]
        amount: Option<u128>,
    },
    /// Unbond ASY of a machine's bond
    Unbond {
        /// The machine
        id: u64,

        /// ASY to unbond; all of it when left out, which the chain allows for retired machines
        #[arg(value_name = "ASY", value_parser = parse_asy)]
        amount: Option<u128>,
    },
    /// Withdraw unbonded ASY whose waiting time is over
    Withdraw {
        /// The machine
        id: u64,
    },
    /// Show a machine's debts: slashes that its bond did not cover
    Debts {
        /// The machine
        id: u64,
    },
    /// Pay a machine's debts; any account may sign
    PayDebt(debts::PayOptions),
    /// Suspend a machine; its jobs go on. Signed by its provider or its worker key
    Suspend {
        /// The machine
        id: u64,
    },
    /// Drain a machine: it finishes its jobs and takes no new ones. Signed by its provider or its worker key
    Drain {
        /// The machine
        id: u64,
    },
    /// Resume a suspended or draining machine. Signed by its provider or its worker key
    Resume {
        /// The machine
        id: u64,
    },
    /// Give a machine of the signer a new worker key and a new sealing key; its jobs go on
    RotateKeys(keys::RotateOptions),
    /// Retire a machine of the signer
    Retire {
        /// The machine
        id: u64,
    },
    /// Bring a machine up to the catalogue's terms, or remove the record of a retired machine that has ended
    /// its duties; any account may sign
    Refresh {
        /// The machine
        id: u64,
    },
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let call = match options {
        Options::Find(options) => return find::run(*options, connection, output).await,
        Options::Explain(options) => return explain::run(*options, connection, output).await,
        Options::List => return list::run(connection, output).await,
        Options::Show { id, ask_worker } => return show::run(id, ask_worker, connection, output).await,
        Options::Debts { id } => return debts::run(id, connection, output).await,
        Options::PayDebt(options) => debts::pay(options, connection, output).await?,
        Options::Bond { id, amount } => bond::bond(id, amount, connection).await?,
        Options::Unbond { id, amount } => bond::unbond(id, amount, connection).await?,
        Options::RotateKeys(options) => keys::rotate(options, connection).await?,
        Options::Withdraw { id } => calls::withdraw(id),
        Options::Suspend { id } => calls::suspend_self(id, SuspensionCause::Maintenance),
        Options::Drain { id } => calls::drain(id),
        Options::Resume { id } => calls::resume(id),
        Options::Retire { id } => calls::retire(id),
        Options::Refresh { id } => calls::refresh_machine(id),
    };
    output.included(&connection.submit(call).await?)
}

/// Returns the error text for an unknown machine.
fn no_machine(id: u64) -> String {
    format!("there is no machine {id}; `assay machine list` shows those there are")
}

async fn existing(client: &ChainClient, id: u64) -> anyhow::Result<Machine> {
    client.machine(id).await?.with_context(|| no_machine(id))
}

/// A machine's record for programs; the names are those of the market's search.
fn object(id: u64, machine: &Machine, gpu_type: &str) -> anyhow::Result<Value> {
    let mut object = json::to_value(machine)?;
    object["machine"] = id.into();
    object["gpu_type"] = gpu_type.into();
    Ok(object)
}

fn class_name(classes: &[(u16, HardwareClass)], class: u16) -> String {
    classes
        .iter()
        .find(|(id, _)| *id == class)
        .map_or_else(|| format!("class {class}"), |(_, record)| record.name.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::{
        AccountId,
        types::{AskRaise, ClassTerms, Location, MachineStatus, ServiceRecord, SuspensionReason},
    };

    use super::*;
    use crate::schema::assert_is;

    pub(super) fn machine(status: MachineStatus) -> Machine {
        Machine {
            provider: AccountId::from([1; 32]),
            worker_key: AccountId::from([2; 32]),
            sealing_key: [3; 32],
            class: 0,
            terms: ClassTerms::default(),
            slots: 4,
            free_slots: 4,
            cpu_cores: 8,
            ram_mib: 8_192,
            disk_gib: 100,
            upload_mbps: 100,
            download_mbps: 100,
            location: Location {
                latitude_microdegrees: -1,
                longitude_microdegrees: 1,
            },
            region: "us-east".into(),
            endpoint: "http://127.0.0.1:4001".into(),
            ask: 1,
            raise: Some(AskRaise { ask: 2, from_ms: 3 }),
            uptime_ppm: 950_000,
            service: ServiceRecord::default(),
            status,
            last_duty_epoch: Some(4),
            registered_at_ms: 0,
            deposit: 0,
        }
    }

    #[test]
    fn machines_are_printed_as_the_schema_says() {
        for status in [
            MachineStatus::Active,
            MachineStatus::Suspended(SuspensionReason::InDebt),
        ] {
            assert_is("machine", &object(7, &machine(status), "CPU").unwrap());
        }
    }
}
