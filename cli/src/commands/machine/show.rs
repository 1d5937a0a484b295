//! `assay machine show`

use anyhow::Context;
use assay_client::{
    json,
    types::{Bond, Debt, Machine, Remedy, Slash, SlashId},
    units::{format_asy, format_ppm},
    worker_api::signed_status,
};
use serde_json::{Value, json};

use super::{class_name, debts, existing, object};
use crate::{connection::Connection, output::Output};

pub(super) async fn run(
    id: u64,
    ask_worker: bool,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let machine = existing(&client, id).await?;
    let classes = client.hardware_classes().await?;
    let class = class_name(&classes, machine.class);
    let bond = client.bond(id).await?;
    let minimum = client.minimum_bond_of(&machine).await?;
    let jobs = client.jobs_of_machine(id).await?;
    let now_ms = client.clock().await?.active_time_ms;
    let initial_uptime_ppm = client.initial_uptime_ppm().await?;
    let slashes = match &bond {
        Some(bond) if bond.pending_slashes > 0 => client.pending_slashes(id).await?,
        _ => Vec::new(),
    };
    let debts = match &bond {
        Some(bond) if bond.debt > 0 => client.debts(id).await?,
        _ => Vec::new(),
    };

    let facts = Facts {
        bond,
        minimum,
        slashes,
        debts,
        jobs,
    };
    let mut object = object_of(id, &machine, &class, &facts)?;
    let Facts {
        bond,
        slashes,
        debts,
        jobs,
        ..
    } = &facts;
    let mut worker = String::new();
    if ask_worker {
        let status = signed_status(&machine.endpoint.to_string(), &machine.worker_key.0)
            .await
            .with_context(|| format!("the worker of machine {id} was asked for its status"))?;
        worker = format!("\n{}", describe_worker(&status));
        object["worker"] = status;
    }

    let mut text = format!("machine      {id}, {}\n", machine.status);
    if let Some(remedy) = machine.status.remedy(id) {
        text.push_str(&format!("             {remedy}\n"));
    }
    text.push_str(&format!(
        "provider     {}\n\
         worker key   {}\n\
         class        {class}, {} of {} slots free\n\
         host         {} cores, {} MiB RAM, {} GiB disk, {} Mbit/s up, {} Mbit/s down\n\
         region       {} ({:.4}, {:.4})\n\
         endpoint     {}\n\
         ask          {}\n\
         uptime       {}\n\
         leases       {}\n\
         bond         {}\n\
         slashes      {}\n\
         debts        {}\n\
         strikes      {}\n\
         jobs         {}{worker}",
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
        describe_ask(&machine, now_ms),
        describe_uptime(machine.uptime_ppm, initial_uptime_ppm),
        machine.service,
        describe_bond(bond.as_ref(), minimum),
        listed(
            slashes
                .iter()
                .map(|(slash, record)| describe_slash(*slash, record))
        ),
        describe_debts(id, debts),
        describe_strikes(bond.as_ref()),
        listed(jobs.iter().map(u64::to_string)),
    ));
    output.print(&object, text)
}

/// Records of a machine besides its own.
struct Facts {
    bond: Option<Bond>,
    /// Minimum bond in plancks.
    minimum: u128,
    slashes: Vec<(SlashId, Slash)>,
    debts: Vec<(SlashId, Debt)>,
    jobs: Vec<u64>,
}

/// Returns a machine and its records, for programs.
fn object_of(id: u64, machine: &Machine, gpu_type: &str, facts: &Facts) -> anyhow::Result<Value> {
    let mut object = object(id, machine, gpu_type)?;
    object["bond"] = json::to_value(&facts.bond)?;
    object["minimum_bond"] = facts.minimum.to_string().into();
    object["pending_slashes"] = facts
        .slashes
        .iter()
        .map(|(slash, record)| slash_object(*slash, record))
        .collect::<anyhow::Result<Value>>()?;
    object["debts"] = facts
        .debts
        .iter()
        .map(|(slash, debt)| debts::object(id, *slash, debt))
        .collect::<anyhow::Result<Value>>()?;
    object["jobs"] = json!(facts.jobs);
    Ok(object)
}

/// Describes the worker by its own status: version, engine, runtimes.
fn describe_worker(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let runtimes = status["engine"]["runtimes"].as_array();
    format!(
        "worker       version {}, {} of {} open jobs running\n\
         engine       {}\n\
         runtimes     {}",
        text(&status["version"]),
        status["jobs"]["running"],
        status["jobs"]["open"],
        text(&status["engine"]["version"]),
        listed(runtimes.into_iter().flatten().map(text)),
    )
}

/// Returns a pending slash as JSON.
fn slash_object(slash: SlashId, record: &Slash) -> anyhow::Result<Value> {
    let mut object = json::to_value(record)?;
    object["slash"] = json::to_value(&slash)?;
    Ok(object)
}

/// Describes an average uptime. Nobody has seen a machine whose average is still the initial one.
fn describe_uptime(uptime_ppm: u32, initial_ppm: u32) -> String {
    let uptime = format_ppm(uptime_ppm);
    if uptime_ppm == initial_ppm {
        format!("{uptime}, where every machine begins; each epoch in which validators watch it moves it")
    } else {
        uptime
    }
}

/// Joins texts with commas; `none` where there are none.
fn listed(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

fn describe_ask(machine: &Machine, now_ms: u64) -> String {
    let ask = format!("{} per slot-hour", format_asy(machine.ask_at(now_ms)));
    match machine.raise.filter(|raise| now_ms < raise.from_ms) {
        Some(raise) => format!(
            "{ask}, {} in {} s of active time",
            format_asy(raise.ask),
            (raise.from_ms - now_ms).div_ceil(1_000)
        ),
        None => ask,
    }
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
    if bond.pending > 0 {
        text.push_str(&format!(
            ", {} without its pending slashes",
            format_asy(bond.unencumbered())
        ));
    }
    if bond.auto_stake {
        text.push_str(", rewards are bonded");
    }
    text
}

fn describe_slash(slash: SlashId, record: &Slash) -> String {
    format!(
        "{slash} for {}: {} from epoch {} on{}",
        record.reason,
        format_asy(record.owed),
        slash.due_epoch,
        if record.ends_machine {
            ", which retires the machine"
        } else {
            ""
        }
    )
}

fn describe_debts(id: u64, debts: &[(SlashId, Debt)]) -> String {
    if debts.is_empty() {
        return "none".to_owned();
    }
    let total = debts
        .iter()
        .fold(0u128, |total, (_, debt)| total.saturating_add(debt.total()));
    format!(
        "{} of {}; `assay machine pay-debt {id}` pays it",
        format_asy(total),
        listed(debts.iter().map(|(slash, _)| format!("slash {slash}"))),
    )
}

fn describe_strikes(bond: Option<&Bond>) -> String {
    let strikes = bond.into_iter().flat_map(Bond::strikes_by_offence);
    listed(strikes.map(|(offence, strikes)| {
        format!(
            "{} × {offence} (last in epoch {})",
            strikes.count, strikes.last_epoch
        )
    }))
}

#[cfg(test)]
mod tests {
    use assay_client::{
        AccountId,
        types::{Beneficiaries, MachineStatus, Offence, SlashReason, Strikes},
    };

    use super::*;

    const SLASH: SlashId = SlashId {
        due_epoch: 12,
        index: 0,
    };

    #[test]
    fn a_machine_and_its_records_are_printed_as_the_schema_says() {
        let debt = Debt {
            consumer: None,
            burn: 5,
        };
        let facts = Facts {
            bond: None,
            minimum: 7,
            slashes: Vec::new(),
            debts: vec![(SLASH, debt)],
            jobs: vec![1, 2],
        };
        let machine = crate::commands::machine::tests::machine(MachineStatus::Active);
        let object = object_of(7, &machine, "CPU", &facts).expect("it is JSON");
        crate::schema::assert_is("machine_show", &object);
        let debt = debts::object(7, SLASH, &facts.debts[0].1).expect("it is JSON");
        crate::schema::assert_is("debt", &debt);
    }

    #[test]
    fn initial_uptime_is_told_from_a_measured_one() {
        assert!(describe_uptime(950_000, 950_000).contains("where every machine begins"));
        assert_eq!(describe_uptime(951_000, 950_000), format_ppm(951_000));
    }

    #[test]
    fn a_clean_machine_has_none_of_it() {
        assert_eq!(describe_debts(7, &[]), "none");
        assert_eq!(describe_strikes(None), "none");
        assert_eq!(listed(std::iter::empty()), "none");
    }

    #[test]
    fn what_is_lost_is_told_with_what_to_do() {
        let slash = Slash {
            machine: 7,
            reason: SlashReason::Offence(Offence::ForgedEvidence),
            owed: 1_500_000_000_000,
            beneficiaries: Beneficiaries { consumer: None },
            ends_machine: true,
        };
        assert_eq!(
            describe_slash(SLASH, &slash),
            "12/0 for forged evidence of a TEE: 1.5 ASY from epoch 12 on, which retires the machine"
        );
        let debt = Debt {
            consumer: None,
            burn: 1_500_000_000_000,
        };
        assert_eq!(
            describe_debts(7, &[(SLASH, debt)]),
            "1.5 ASY of slash 12/0; `assay machine pay-debt 7` pays it"
        );
        let bond = Bond {
            provider: AccountId::from([1; 32]),
            bonded: 0,
            unlocking: Vec::new(),
            auto_stake: false,
            debt: 0,
            pending: 0,
            pending_slashes: 0,
            strikes: vec![
                Strikes {
                    count: 2,
                    last_epoch: 5,
                },
                Strikes::default(),
            ],
        };
        assert_eq!(
            describe_strikes(Some(&bond)),
            "2 × a hardware challenge not answered (last in epoch 5)"
        );
    }
}
