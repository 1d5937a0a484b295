//! `assay machine`

use anyhow::{Context, bail};
use assay_client::{
    ChainClient, calls,
    types::{Bond, HardwareClass, Machine},
    units::{format_asy, parse_asy},
};
use clap::Subcommand;
use serde_json::json;

use crate::{connection::Connection, output::Output};

/// What to do about machines.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// List every machine
    List,
    /// Show a machine, its bond and its jobs
    Show {
        /// The machine
        id: u64,
    },
    /// Bond ASY for a machine of the signer; more than what is bonded already
    Bond {
        /// The machine
        id: u64,

        /// ASY to bond; what is missing of the minimum when left out
        #[arg(value_name = "ASY", value_parser = parse_asy)]
        amount: Option<u128>,
    },
    /// Send ASY of a machine's bond on their way out
    Unbond {
        /// The machine
        id: u64,

        /// ASY to unbond; all of it when left out, which the chain allows for retired machines
        #[arg(value_name = "ASY", value_parser = parse_asy)]
        amount: Option<u128>,
    },
    /// Release what is due of a machine's bond
    Withdraw {
        /// The machine
        id: u64,
    },
    /// Take a machine of the signer out of the market for good
    Retire {
        /// The machine
        id: u64,
    },
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let call = match options {
        Options::List => return list(connection, output).await,
        Options::Show { id } => return show(id, connection, output).await,
        Options::Bond { id, amount } => {
            let client = connection.client().await?;
            let bonded = client.bond(id).await?.map(|bond| bond.bonded);
            let amount = match amount {
                Some(amount) => amount,
                None => missing_bond(&client, id, bonded.unwrap_or_default()).await?,
            };
            if bonded.is_some() {
                calls::bond_extra(id, amount)
            } else {
                calls::bond(id, amount)
            }
        }
        Options::Unbond { id, amount } => {
            let amount = match amount {
                Some(amount) => amount,
                None => {
                    let bond = connection.client().await?.bond(id).await?;
                    bond.with_context(|| format!("nothing is bonded for machine {id}"))?
                        .bonded
                }
            };
            calls::unbond(id, amount)
        }
        Options::Withdraw { id } => calls::withdraw(id),
        Options::Retire { id } => calls::retire(id),
    };
    output.included(&connection.submit(call).await?)
}

async fn existing(client: &ChainClient, id: u64) -> anyhow::Result<Machine> {
    client
        .machine(id)
        .await?
        .with_context(|| format!("there is no machine {id}; `assay machine list` shows those there are"))
}

/// What has to be bonded to reach the machine's minimum.
async fn missing_bond(client: &ChainClient, id: u64, bonded: u128) -> anyhow::Result<u128> {
    let machine = existing(client, id).await?;
    let minimum = client.minimum_bond_of(&machine).await?;
    let missing = minimum.saturating_sub(bonded);
    if missing == 0 {
        bail!(
            "machine {id} has its minimum of {} bonded; say how much to add",
            format_asy(minimum)
        );
    }
    Ok(missing)
}

fn class_name(classes: &[(u16, HardwareClass)], class: u16) -> String {
    classes
        .iter()
        .find(|(id, _)| *id == class)
        .map_or_else(|| format!("class {class}"), |(_, record)| record.name.to_string())
}

async fn list(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let machines = client.machines().await?;
    if !output.is_json() {
        if machines.is_empty() {
            return output.line("no machine is registered");
        }
        output.line(format_args!(
            "{:>6}  {:<24}  {:<16}  {:>7}  {:<16}  ask per slot-hour",
            "id", "status", "class", "free", "region"
        ))?;
    }
    let classes = client.hardware_classes().await?;
    for (id, machine) in machines {
        let class = class_name(&classes, machine.class);
        let mut object = serde_json::to_value(&machine)?;
        object["id"] = id.into();
        object["class_name"] = class.as_str().into();
        let text = format!(
            "{id:>6}  {:<24}  {class:<16}  {:>3}/{:<3}  {:<16}  {}",
            machine.status.to_string(),
            machine.free_slots,
            machine.slots,
            machine.region,
            format_asy(machine.ask),
        );
        output.print(&object, text)?;
    }
    Ok(())
}

async fn show(id: u64, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let machine = existing(&client, id).await?;
    let classes = client.hardware_classes().await?;
    let class = class_name(&classes, machine.class);
    let bond = client.bond(id).await?;
    let minimum = client.minimum_bond_of(&machine).await?;
    let jobs = client.jobs_of_machine(id).await?;

    let mut object = serde_json::to_value(&machine)?;
    object["id"] = id.into();
    object["class_name"] = class.as_str().into();
    object["bond"] = json!(bond);
    object["minimum_bond"] = minimum.to_string().into();
    object["jobs"] = json!(jobs);

    let text = format!(
        "machine      {id}, {}\n\
         provider     {}\n\
         worker key   {}\n\
         class        {class}, {} of {} slots free\n\
         host         {} cores, {} MiB RAM, {} GiB disk, {} Mbit/s up, {} Mbit/s down\n\
         region       {} ({:.4}, {:.4})\n\
         endpoint     {}\n\
         ask          {} per slot-hour\n\
         bond         {}\n\
         jobs         {}",
        machine.status,
        machine.provider,
        machine.worker_key,
        machine.free_slots,
        machine.slots,
        machine.cpu_cores,
        machine.ram_mib,
        machine.disk_gib,
        machine.upload_mbps,
        machine.download_mbps,
        machine.region,
        f64::from(machine.location.latitude_microdegrees) / 1e6,
        f64::from(machine.location.longitude_microdegrees) / 1e6,
        machine.endpoint,
        format_asy(machine.ask),
        describe_bond(bond.as_ref(), minimum),
        if jobs.is_empty() {
            "none".to_owned()
        } else {
            jobs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
        },
    );
    output.print(&object, text)
}

fn describe_bond(bond: Option<&Bond>, minimum: u128) -> String {
    let Some(bond) = bond else {
        return format!("none; at least {} must be bonded", format_asy(minimum));
    };
    let mut text = format!("{} of at least {}", format_asy(bond.bonded), format_asy(minimum));
    for chunk in &bond.unlocking {
        text.push_str(&format!(
            ", {} free from epoch {} on",
            format_asy(chunk.amount),
            chunk.due_epoch
        ));
    }
    if bond.auto_stake {
        text.push_str(", rewards are bonded");
    }
    text
}
