//! Checks of the chain that the worker serves, and of its machine's records.

use assay_client::{
    ChainClient,
    types::{Machine, MachineStatus, Remedy, SuspensionReason},
    units::format_asy,
};
use assay_primitives::money::Balance;

use super::finding::Finding;
use crate::{
    chain::bounded,
    config::Config,
    keys::FoundKeys,
    registration::{self, LOW_WORKER_BALANCE, RegistrationError, WORKER_ENDOWMENT},
    sealing_store::Custody,
    state::{self, NotedMachine},
};

/// Checks the chain, and the machine's records on it.
pub(super) async fn findings(config: &Config, found: &FoundKeys) -> Vec<Finding> {
    let client = match ChainClient::connect(&config.assay.chain_url).await {
        Ok(client) => client,
        // The worker waits for a node that is away, but not for one of another kind of chain.
        Err(error) if error.is_connection_lost() => return vec![Finding::bad("chain", error.to_string())],
        Err(error) => return vec![Finding::fatal("chain", error.to_string())],
    };
    if let Err(error) = state::ensure_of_chain(&config.assay.state_dir, client.genesis_hash()) {
        return vec![Finding::fatal("chain", error.to_string())];
    }
    let genesis = hex::encode(client.genesis_hash());
    let mut findings = vec![Finding::good(
        "chain",
        format!("{} with genesis 0x{genesis}", client.url()),
    )];
    match machine_findings(&client, config, found).await {
        Ok(more) => findings.extend(more),
        Err(RegistrationError::Chain(error)) => findings.push(Finding::bad("machine", error.to_string())),
        Err(error) => findings.push(Finding::fatal("machine", error.to_string())),
    }
    findings
}

/// Checks the machine's records, or what registering it takes.
async fn machine_findings(
    client: &ChainClient,
    config: &Config,
    found: &FoundKeys,
) -> Result<Vec<Finding>, RegistrationError> {
    let keys = &found.keys;
    let mut findings = Vec::new();
    let worker = keys.worker_account();
    let registered = bounded(client.machine_of_worker(&worker.0)).await?;
    if let Some(machine) = registered {
        if let Some(record) = bounded(client.machine(machine)).await? {
            registration::ensure_owner(keys, machine, &record)?;
            findings.push(status_finding(machine, record.status));
            findings.extend(sealing_finding(client, found, machine, &record));
        }
        findings.push(balance_finding(bounded(client.balance(&worker.0)).await?.free));
        return Ok(findings);
    }
    let lost = match state::noted_machine(&config.assay.state_dir) {
        NotedMachine::Known(machine) => Some(registration::lost_machine(client, keys, machine).await?),
        NotedMachine::Lost { kept_as } => Some(NotedMachine::remedy(&kept_as)),
        NotedMachine::None => None,
    };
    if let Some(lost) = lost {
        findings.push(Finding::bad("machine", lost));
        return Ok(findings);
    }
    // The catalogue binds those alone that register: a machine keeps its class.
    let (class, record) = registration::hardware_class(client, config).await?;
    findings.push(Finding::good("hardware class", record.name.to_string()));
    let bond = registration::wanted_bond(client, config, class, config.slots()).await?;
    match keys.provider_account() {
        Some(provider) => {
            let free = bounded(client.balance(&provider.0)).await?.free;
            let needed = bond.saturating_add(WORKER_ENDOWMENT);
            let text = format!(
                "{provider} has {}, and registering takes {} besides deposits and fees",
                format_asy(free),
                format_asy(needed)
            );
            findings.push(if free > needed {
                Finding::good("provider", text)
            } else {
                Finding::bad("provider", text).with_remedy("send it some ASY")
            });
        }
        None => findings.push(Finding::note(
            "provider",
            "no key is configured; the worker will print the data for the provider to sign, and wait",
        )),
    }
    Ok(findings)
}

/// Reports a sealing key that is not the one which consumers seal to.
fn sealing_finding(
    client: &ChainClient,
    found: &FoundKeys,
    machine: u64,
    record: &Machine,
) -> Option<Finding> {
    // A key in memory is new at every start, and so is this one, which is made for the look.
    if found.keys.sealing_custody == Custody::Memory {
        return None;
    }
    if found.sealing_is_new {
        return Some(
            Finding::bad(
                "keys",
                format!("machine {machine} has a sealing key on chain, and this worker has none"),
            )
            .with_remedy(
                "restore the file `assay.sealing_key_file` from a backup; otherwise the worker makes a new one and prints \
                 how the provider tells the chain of it",
            ),
        );
    }
    registration::sealing_key_problem(client, &found.keys, machine, record)
        .map(|problem| Finding::bad("keys", problem))
}

/// Returns the machine's status; bad if it is out of the market against the provider's will and needs a
/// remedy.
fn status_finding(machine: u64, status: MachineStatus) -> Finding {
    let text = format!("number {machine}, {status}");
    let Some(remedy) = status.remedy(machine) else {
        return Finding::good("machine", text);
    };
    let finding = match status {
        MachineStatus::Suspended(
            SuspensionReason::BondTooLow
            | SuspensionReason::InDebt
            | SuspensionReason::Offence
            | SuspensionReason::Condemned,
        )
        | MachineStatus::Retired => Finding::bad("machine", text),
        MachineStatus::Unproven
        | MachineStatus::Active
        | MachineStatus::Suspended(
            SuspensionReason::OwnRequest
            | SuspensionReason::MissedStart
            | SuspensionReason::Overheated
            | SuspensionReason::Faulty,
        )
        | MachineStatus::Draining => Finding::note("machine", text),
    };
    finding.with_remedy(remedy)
}

/// Reports the worker key's balance. A low one is a note: starting, finishing and giving up jobs, coming back
/// after a missed start and answering the hardware challenge are free.
fn balance_finding(free: Balance) -> Finding {
    let text = format!("the worker key has {}", format_asy(free));
    if free >= LOW_WORKER_BALANCE {
        return Finding::good("fees", text);
    }
    Finding::note(
        "fees",
        format!(
            "{text}; running assigned jobs is free, but the key pays the fees for taking open orders, settling jobs, paying \
             out rewards and submitting evidence"
        ),
    )
    .with_remedy(format!("send it {} for these", format_asy(WORKER_ENDOWMENT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::texts;

    #[test]
    fn poor_worker_key_is_a_note_about_what_costs_fees() {
        let found = texts(&[balance_finding(LOW_WORKER_BALANCE), balance_finding(0)]);
        assert_eq!(found[0], "ok fees: the worker key has 1 ASY");
        assert!(
            found[1].starts_with("note fees: the worker key has 0 ASY; "),
            "{found:?}"
        );
        for expected in ["open orders", "settling", "rewards", "evidence", "send it 10 ASY"] {
            assert!(found[1].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn status_against_the_provider_s_will_is_bad_with_its_remedy() {
        let active = status_finding(7, MachineStatus::Active);
        assert!(!active.is_bad() && active.remedy.is_none(), "{active}");
        let poor = status_finding(7, MachineStatus::Suspended(SuspensionReason::BondTooLow));
        assert!(poor.is_bad() && poor.remedy.is_some(), "{poor}");
    }
}
