//! Completes the records of a registered machine.

use assay_client::{
    AccountId, ChainClient,
    calls::{self, Call},
    types::{Bond, Machine, MachineStatus, RewardDestination, SuspensionReason},
    units::format_asy,
};

use super::{
    LOW_WORKER_BALANCE, Registration, RegistrationError, WORKER_ENDOWMENT, ensure_owner, note_told_address,
    sealing_key_problem, submit_batch,
};
use crate::{
    chain::bounded,
    config::{Config, RewardAddress},
    keys::Keys,
    state::StateFolder,
};

/// Completes a registered machine: keys made in a TEE, bond, reward destination, current ask and endpoint,
/// fees.
pub(super) async fn complete(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    state: &StateFolder,
    machine: u64,
    record: &Machine,
) -> Result<Registration, RegistrationError> {
    let sealing_problem = sealing_key_problem(client, keys, machine, record);
    // A key from a file may be the wrong file; a key just made in a TEE cannot be, so it is rotated to.
    let rotates = sealing_problem.is_some() && rotates_by_itself(keys);
    if let Some(problem) = sealing_problem.filter(|_| !rotates) {
        if is_newcomer(record) {
            return Ok(Registration::WaitsForProvider(problem));
        }
        tracing::error!("{problem}");
    }
    warn_of_differences(config, machine, record);
    let worker = keys.worker_account();
    let bond = bounded(client.bond(machine)).await?;
    let minimum = bounded(client.minimum_bond_of(record)).await?;
    let wanted = minimum.max(config.staking.min_stake);
    let worker_free = bounded(client.balance(&worker.0)).await?.free;
    let Some(provider_key) = &keys.provider else {
        let (bonded, debt) = bond.as_ref().map_or((0, 0), |bond| (bond.bonded, bond.debt));
        // A machine that was in the market may have jobs to finish: it is served, and its missing bond is
        // reported meanwhile.
        if bonded < minimum && is_newcomer(record) {
            let missing = format_asy(wanted.saturating_sub(bonded));
            let first = match debt {
                0 => String::new(),
                _ => format!(
                    "to pay the {} that it owes (`assay machine pay-debt {machine}`) and ",
                    format_asy(debt)
                ),
            };
            return Ok(Registration::WaitsForProvider(format!(
                "machine {machine} is registered, and its provider {} has {first}to bond {missing} more for it \
                 (`assay machine bond {machine}`)",
                record.provider
            )));
        }
        if worker_free < LOW_WORKER_BALANCE {
            tracing::warn!(
                %worker, balance = format_asy(worker_free),
                "the worker key has little left for fees; its provider should send it some ASY"
            );
        }
        return Ok(Registration::Ready { machine });
    };
    ensure_owner(keys, machine, record)?;
    let mut batch = staking_calls(config, machine, record.status, bond.as_ref(), wanted);
    batch.extend(offer_calls(
        config,
        machine,
        // Announcing a pending raise again would postpone it.
        record.announced_ask(),
        record.endpoint.as_bytes(),
    ));
    if rotates {
        tracing::warn!(
            machine,
            sealing_key = hex::encode(keys.sealing_public()),
            "the machine gets a new sealing key, made in the TEE: data sealed to the earlier key cannot \
             be opened any more"
        );
        let agreement = keys.agreement(client.genesis_hash(), record.provider.0);
        batch.push(calls::rotate_keys(
            machine,
            &worker,
            keys.sealing_public(),
            agreement,
        ));
    }
    let (destination, spelled) = reward_destination(config);
    let destination_is_told = state
        .told_reward_address()
        .is_some_and(|told| told == spelled.as_bytes());
    if !destination_is_told {
        batch.push(calls::set_reward_destination(machine, destination));
    }
    if worker_free < LOW_WORKER_BALANCE {
        batch.push(calls::transfer_keep_alive(&worker, WORKER_ENDOWMENT));
    }
    if !batch.is_empty() {
        let names: Vec<_> = batch
            .iter()
            .map(|call| format!("{}.{}", call.pallet(), call.name()))
            .collect();
        tracing::info!(
            machine,
            calls = names.join(", "),
            "updating the machine's records"
        );
        match submit_batch(client, batch, provider_key).await {
            Ok(mut submitted) if !destination_is_told => {
                note_told_address(&mut submitted, state, &spelled).await;
            }
            Ok(_) => (),
            // The next start tries again. Until then the jobs are served rather than kept waiting.
            Err(error) if !error.is_connection_lost() && !is_newcomer(record) => {
                tracing::error!(
                    machine,
                    %error,
                    "updating the machine's records failed; its jobs go on"
                );
                return Ok(Registration::Ready { machine });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Registration::Ready { machine })
}

/// Returns the calls that a new machine needs besides its registration: its bond and its reward destination.
pub(super) fn newcomer_calls(config: &Config, machine: u64, bond: u128) -> Vec<Call> {
    let mut batch = staking_calls(config, machine, MachineStatus::Unproven, None, bond);
    batch.push(calls::set_reward_destination(
        machine,
        reward_destination(config).0,
    ));
    batch
}

/// Returns the reward destination, as the chain encodes it and as text.
pub(super) fn reward_destination(config: &Config) -> (RewardDestination, String) {
    match config.node.reward_address {
        RewardAddress::Account(account) => {
            let account = AccountId::from(account);
            (RewardDestination::Account(account), account.to_string())
        }
        RewardAddress::Ethereum(address) => (
            RewardDestination::Ethereum(address),
            format!("0x{}", hex::encode(address)),
        ),
    }
}

/// Returns true if this worker rotates to a new sealing key by itself: it was made in a TEE, and the
/// provider's key is here.
fn rotates_by_itself(keys: &Keys) -> bool {
    keys.sealing_custody.is_inside() && keys.provider.is_some()
}

/// Returns true if the machine was in no market yet, so that no job can wait for it.
fn is_newcomer(record: &Machine) -> bool {
    record.status == MachineStatus::Unproven && !record.is_leased()
}

/// Returns the calls that adjust a machine's bond to the configuration.
///
/// None while the machine has a debt, because the chain refuses them, and none after an offence: the provider
/// decides whether to stake more on the machine.
fn staking_calls(
    config: &Config,
    machine: u64,
    status: MachineStatus,
    bond: Option<&Bond>,
    wanted: u128,
) -> Vec<Call> {
    let is_in_disgrace = matches!(
        status,
        MachineStatus::Suspended(SuspensionReason::Offence | SuspensionReason::Condemned)
    );
    if is_in_disgrace || bond.is_some_and(|bond| bond.debt > 0) {
        return Vec::new();
    }
    let (bonded, counting, auto_stake) = bond.map_or((0, 0, false), |bond| {
        (bond.bonded, bond.unencumbered(), bond.auto_stake)
    });
    let mut batch = Vec::new();
    if bonded == 0 {
        batch.push(calls::bond(machine, wanted));
    } else if counting < wanted {
        batch.push(calls::bond_extra(machine, wanted - counting));
    }
    let wanted_auto_stake = config.staking.auto_stake_rewards;
    if auto_stake != wanted_auto_stake {
        batch.push(calls::set_auto_stake(machine, wanted_auto_stake));
    }
    batch
}

/// Returns the calls that adjust a machine's offer to the configuration.
fn offer_calls(config: &Config, machine: u64, ask: u128, endpoint: &[u8]) -> Vec<Call> {
    let mut batch = Vec::new();
    if ask != config.assay.ask_per_slot_hour {
        batch.push(calls::update_ask(machine, config.assay.ask_per_slot_hour));
    }
    if endpoint != config.assay.endpoint.as_bytes() {
        batch.push(calls::update_endpoint(machine, &config.assay.endpoint));
    }
    batch
}

/// Logs the values of a registered machine that differ from the file and cannot be changed on chain.
fn warn_of_differences(config: &Config, machine: u64, record: &Machine) {
    let numbers = [
        ("slots", u64::from(record.slots), u64::from(config.slots())),
        (
            "shared_resources.cpu_cores",
            record.cpu_cores.into(),
            config.resources.cpu_cores.into(),
        ),
        (
            "shared_resources.ram_gb (in MiB)",
            record.ram_mib.into(),
            config.resources.ram_mib.into(),
        ),
        (
            "shared_resources.storage_gb",
            record.disk_gib.into(),
            config.resources.disk_gib.into(),
        ),
    ];
    for (key, on_chain, in_file) in numbers
        .into_iter()
        .filter(|(_, on_chain, in_file)| on_chain != in_file)
    {
        tracing::warn!(
            machine,
            key,
            on_chain,
            in_file,
            "the file differs from the registration, which stands; retire the machine and register it anew to change it"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use assay_client::{keys, types::Strikes};
    use assay_primitives::money::ASY;

    use super::*;
    use crate::market_status::tests::machine;

    fn config(changes: &[(&str, &str)]) -> Config {
        let mut text = include_str!("../../worker.example.yaml").to_owned();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text = text.replace(from, to);
        }
        Config::parse(&text, Path::new("worker.yaml")).unwrap()
    }

    /// Returns the calls for an active machine that is registered with this ask and endpoint.
    fn calls_for(config: &Config, bond: Option<Bond>, ask: u128, endpoint: &str) -> Vec<Call> {
        let mut batch = staking_calls(config, 5, MachineStatus::Active, bond.as_ref(), 511 * ASY);
        batch.extend(offer_calls(config, 5, ask, endpoint.as_bytes()));
        batch
    }

    fn bond(bonded: u128, auto_stake: bool) -> Option<Bond> {
        Some(Bond {
            provider: AccountId::from([1; 32]),
            bonded,
            unlocking: Vec::new(),
            auto_stake,
            debt: 0,
            pending: 0,
            pending_slashes: 0,
            strikes: vec![Strikes::default(); 5],
        })
    }

    const ENDPOINT: &str = "http://127.0.0.1:4001";

    #[test]
    fn only_a_key_of_a_tee_is_rotated_to_and_only_by_the_provider() {
        use crate::sealing_store::Custody;

        let key = |name: &str| keys::keypair_from_uri(name).unwrap();
        for (custody, provider, expected) in [
            (Custody::File, Some("//Bob"), false),
            (Custody::Memory, None, false),
            (Custody::Memory, Some("//Bob"), true),
            (Custody::Sealed, Some("//Bob"), true),
        ] {
            let sealing = x25519_dalek::StaticSecret::from([7; 32]);
            let mut keys = Keys::new(key("//Eve"), sealing, provider.map(key));
            keys.sealing_custody = custody;
            assert_eq!(rotates_by_itself(&keys), expected, "{custody:?}");
        }
    }

    #[test]
    fn complete_machine_needs_no_calls() {
        assert_eq!(calls_for(&config(&[]), bond(600 * ASY, false), ASY, ENDPOINT), []);
    }

    #[test]
    fn missing_bond_is_bonded_whole_and_a_small_one_topped_up() {
        let plain = config(&[]);
        assert_eq!(
            calls_for(&plain, None, ASY, ENDPOINT),
            [calls::bond(5, 511 * ASY)]
        );
        let topped_up = calls_for(&plain, bond(500 * ASY, false), ASY, ENDPOINT);
        assert_eq!(topped_up, [calls::bond_extra(5, 11 * ASY)]);
    }

    #[test]
    fn record_without_a_bond_is_bonded_anew() {
        let remembered = calls_for(&config(&[]), bond(0, false), ASY, ENDPOINT);
        assert_eq!(remembered, [calls::bond(5, 511 * ASY)]);
    }

    #[test]
    fn nothing_is_bonded_for_a_machine_in_debt_or_in_disgrace() {
        use SuspensionReason::{BondTooLow, Condemned, InDebt, Offence};

        let config = config(&[("auto_stake_rewards: false", "auto_stake_rewards: true")]);
        let short = bond(100 * ASY, false);
        let owing = bond(0, false).map(|bond| Bond { debt: ASY, ..bond });
        let calls_when = |reason, bond: &Option<Bond>| {
            staking_calls(
                &config,
                5,
                MachineStatus::Suspended(reason),
                bond.as_ref(),
                511 * ASY,
            )
            .len()
        };
        assert_eq!(calls_when(BondTooLow, &short), 2);
        assert_eq!(calls_when(InDebt, &owing), 0);
        assert_eq!(calls_when(Offence, &short), 0);
        assert_eq!(calls_when(Condemned, &None), 0);
    }

    #[test]
    fn only_a_machine_that_has_seen_no_market_keeps_its_worker_waiting() {
        assert!(is_newcomer(&machine(MachineStatus::Unproven)));
        let mut leased = machine(MachineStatus::Unproven);
        leased.free_slots = 3;
        assert!(!is_newcomer(&leased));
        assert!(!is_newcomer(&machine(MachineStatus::Suspended(
            SuspensionReason::BondTooLow
        ))));
    }

    #[test]
    fn changed_file_changes_ask_endpoint_and_auto_stake() {
        let changed = config(&[
            ("ask: \"1\"", "ask: \"2\""),
            ("p2p_port: 4001", "p2p_port: 4002"),
            ("auto_stake_rewards: false", "auto_stake_rewards: true"),
        ]);
        assert_eq!(
            calls_for(&changed, bond(511 * ASY, false), ASY, ENDPOINT),
            [
                calls::set_auto_stake(5, true),
                calls::update_ask(5, 2 * ASY),
                calls::update_endpoint(5, "http://127.0.0.1:4002"),
            ]
        );
    }

    #[test]
    fn reward_address_is_spelled_as_it_is_known_on_chain() {
        let (destination, spelled) = reward_destination(&config(&[]));
        assert!(matches!(destination, RewardDestination::Account(account) if account.to_string() == spelled));
        let ethereum = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
        let account = "reward_address: \"5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty\"";
        let changed = config(&[(account, &format!("reward_address: \"{ethereum}\""))]);
        let (destination, spelled) = reward_destination(&changed);
        assert!(matches!(destination, RewardDestination::Ethereum([0x5a, ..])));
        assert_eq!(spelled, ethereum);
    }
}
