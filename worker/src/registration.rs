//! Brings the machine onto the chain, or tells the provider what to do.
//!
//! What is missing is read off the chain, so a registration that was cut off anywhere is taken up where it stands.
//! The machine is found by its worker key. The calls that need no machine number go in one transaction, the ones that
//! do in a second: the number is known only once the machine is registered. What the chain was last told of the reward
//! address is noted in the state folder, so that a changed file changes it.

use assay_client::{
    AccountId, ChainClient, Error,
    calls::{self, Call, MachineRegistration},
    keys,
    types::{Bond, HardwareClass, Location, Machine, MachineStatus, RewardDestination, SuspensionReason},
    units::format_asy,
};

use crate::{
    chain::bounded,
    config::{Config, RewardAddress},
    keys::Keys,
    state::{StateError, StateFolder},
};

/// What the provider gives the worker key for fees: enough for years of one transaction an hour.
pub const WORKER_ENDOWMENT: u128 = 10 * assay_primitives::money::ASY;

/// When the worker key has less, it is endowed again.
pub const LOW_WORKER_BALANCE: u128 = assay_primitives::money::ASY;

/// How a registration stands after it was looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The machine is on chain with everything that this worker can do for it.
    Ready {
        /// The machine's number.
        machine: u64,
    },
    /// The provider has to act; the text says how.
    WaitsForProvider(String),
}

/// Why a registration could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The chain refused, or is gone.
    #[error(transparent)]
    Chain(#[from] Error),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The catalogue has no such hardware.
    #[error(
        "the chain's catalogue has none of the hardware classes {}; its classes are {}. Correct \
         `shared_resources.gpus.model`, or name one with `assay.hardware_class`",
        wanted.join(", "), known.join(", ")
    )]
    UnknownClass {
        /// The names that were tried.
        wanted: Vec<String>,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The machine belongs to somebody else than the provider key.
    #[error(
        "machine {machine} of this worker key belongs to {owner}, and the provider key is of {provider}; use the owner's \
         key, or give this machine a new `assay.worker_key_file`"
    )]
    OtherProvider {
        /// The machine.
        machine: u64,
        /// Who owns it.
        owner: AccountId,
        /// Whose key is configured.
        provider: AccountId,
    },
    /// The chain has another sealing key than this worker.
    #[error(
        "machine {machine} is registered with the sealing key 0x{registered}, and this worker has 0x{held}; restore the \
         file `assay.sealing_key_file`, or retire the machine and register it with new keys"
    )]
    OtherSealingKey {
        /// The machine.
        machine: u64,
        /// The key on chain, hexadecimal.
        registered: String,
        /// The key of this worker, hexadecimal.
        held: String,
    },
}

/// Looks up what is missing on chain, and does it where the provider's key is here.
pub async fn ensure(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    state: &StateFolder,
) -> Result<Registration, RegistrationError> {
    let worker = keys.worker_account();
    let found = match bounded(client.machine_of_worker(&worker.0)).await? {
        Some(machine) => bounded(client.machine(machine))
            .await?
            .map(|record| (machine, record)),
        None => None,
    };
    if let Some((machine, record)) = found {
        state.note_machine(machine)?;
        return complete(client, config, keys, state, machine, &record).await;
    }
    // A machine that was there and is not: retired, or the node has not come so far yet. Neither is a reason to
    // register, and bond, once more.
    match state.registered_machine()? {
        Some(machine) => Ok(Registration::WaitsForProvider(format!(
            "the chain of the node at {} has no machine for the worker key {worker}, which served machine {machine}. \
             Either the node is still catching up, then the worker goes on by itself; or the machine was retired or the \
             chain started anew: to register again, give the worker another `assay.state_dir`",
            client.url()
        ))),
        None => register(client, config, keys, state).await,
    }
}

/// The entry of the catalogue that the configuration means.
pub async fn hardware_class(
    client: &ChainClient,
    config: &Config,
) -> Result<(u16, HardwareClass), RegistrationError> {
    let wanted = config.class_candidates();
    let catalogue = bounded(client.hardware_classes()).await?;
    for name in &wanted {
        if let Some(found) = catalogue
            .iter()
            .find(|(_, class)| class.name.as_bytes() == name.as_bytes())
        {
            return Ok(found.clone());
        }
    }
    let known = catalogue
        .iter()
        .map(|(_, class)| class.name.to_string())
        .collect();
    Err(RegistrationError::UnknownClass { wanted, known })
}

/// What to bond: what the chain asks for, or more where the provider wants to.
pub async fn wanted_bond(
    client: &ChainClient,
    config: &Config,
    class: u16,
    slots: u8,
) -> Result<u128, Error> {
    Ok(bounded(client.minimum_bond(class, slots))
        .await?
        .max(config.staking.min_stake))
}

/// Registers the machine, and then completes what needs its number.
async fn register(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    state: &StateFolder,
) -> Result<Registration, RegistrationError> {
    let (class, class_record) = hardware_class(client, config).await?;
    let bond = wanted_bond(client, config, class, config.slots()).await?;
    let worker = keys.worker_account();
    let registration = registration_of(config, keys, class);
    let Some(provider_key) = &keys.provider else {
        let class_name = class_record.name.to_string();
        return Ok(Registration::WaitsForProvider(instructions(
            client,
            config,
            keys,
            &registration,
            &class_name,
            bond,
        )));
    };
    let provider = keys::account_of(provider_key);
    let free = bounded(client.balance(&provider.0)).await?.free;
    let needed = bond.saturating_add(WORKER_ENDOWMENT);
    if free <= needed {
        return Ok(Registration::WaitsForProvider(format!(
            "the provider {provider} has {} free, and registering this machine takes {} (bond and endowment of the \
             worker key) besides deposits and fees; send it some ASY",
            format_asy(free),
            format_asy(needed)
        )));
    }
    let mut batch = Vec::new();
    if bounded(client.provider(&provider.0)).await?.is_none() {
        batch.push(calls::register_provider(&config.node.node_name));
    }
    let signature = keys::sign_worker_key(&keys.worker, &client.genesis_hash(), &provider.0);
    batch.push(calls::register_machine(registration, signature));
    if bounded(client.balance(&worker.0)).await?.free < LOW_WORKER_BALANCE {
        batch.push(calls::transfer_keep_alive(&worker, WORKER_ENDOWMENT));
    }
    tracing::info!(%provider, %worker, class = %class_record.name, slots = config.slots(), "registering the machine");
    submit_batch(client, batch, provider_key).await?;

    let machine = bounded(client.machine_of_worker(&worker.0)).await?;
    let record = match machine {
        Some(machine) => bounded(client.machine(machine))
            .await?
            .map(|record| (machine, record)),
        None => None,
    };
    let Some((machine, record)) = record else {
        // The transaction was final a moment ago: the node has changed its mind about its best block.
        return Err(Error::ConnectionLost {
            reason: "the node lost the registration from sight".into(),
        }
        .into());
    };
    state.note_machine(machine)?;
    tracing::info!(machine, %provider, "the machine is registered");
    complete(client, config, keys, state, machine, &record).await
}

/// Does for a registered machine what is still missing: bond, reward destination, current ask and endpoint, fees.
async fn complete(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    state: &StateFolder,
    machine: u64,
    record: &Machine,
) -> Result<Registration, RegistrationError> {
    if record.sealing_key != keys.sealing_public() {
        return Err(RegistrationError::OtherSealingKey {
            machine,
            registered: hex::encode(record.sealing_key),
            held: hex::encode(keys.sealing_public()),
        });
    }
    warn_of_differences(config, machine, record);
    let worker = keys.worker_account();
    let bond = bounded(client.bond(machine)).await?;
    let minimum = bounded(client.minimum_bond_of(record)).await?;
    let wanted = minimum.max(config.staking.min_stake);
    let worker_free = bounded(client.balance(&worker.0)).await?.free;
    let Some(provider_key) = &keys.provider else {
        let bonded = bond.map_or(0, |bond| bond.bonded);
        if bonded < minimum {
            let missing = format_asy(wanted.saturating_sub(bonded));
            return Ok(Registration::WaitsForProvider(format!(
                "machine {machine} is registered, and its provider {} has to bond {missing} more for it \
                 (ProviderStaking.bond)",
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
    let provider = keys::account_of(provider_key);
    if record.provider != provider {
        return Err(RegistrationError::OtherProvider {
            machine,
            owner: record.provider,
            provider,
        });
    }
    let mut batch = completing_calls(
        config,
        machine,
        record.ask,
        record.endpoint.as_bytes(),
        bond.as_ref(),
        wanted,
    );
    let (destination, spelled) = reward_destination(config);
    let destination_is_told = state
        .told_reward_address()?
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
            "bringing the machine's records up to date"
        );
        submit_batch(client, batch, provider_key).await?;
    }
    if !destination_is_told {
        state.note_reward_address(spelled.as_bytes())?;
    }
    Ok(Registration::Ready { machine })
}

/// Where rewards go, as the chain knows it and as people spell it.
fn reward_destination(config: &Config) -> (RewardDestination, String) {
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

/// The calls by which the machine's records come to agree with the configuration.
fn completing_calls(
    config: &Config,
    machine: u64,
    ask: u128,
    endpoint: &[u8],
    bond: Option<&Bond>,
    wanted: u128,
) -> Vec<Call> {
    let mut batch = Vec::new();
    let wanted_auto_stake = config.staking.auto_stake_rewards;
    match bond {
        None => {
            batch.push(calls::bond(machine, wanted));
            if wanted_auto_stake {
                batch.push(calls::set_auto_stake(machine, true));
            }
        }
        Some(bond) => {
            if bond.bonded < wanted {
                batch.push(calls::bond_extra(machine, wanted - bond.bonded));
            }
            if bond.auto_stake != wanted_auto_stake {
                batch.push(calls::set_auto_stake(machine, wanted_auto_stake));
            }
        }
    }
    if ask != config.assay.ask_per_slot_hour {
        batch.push(calls::update_ask(machine, config.assay.ask_per_slot_hour));
    }
    if endpoint != config.assay.endpoint.as_bytes() {
        batch.push(calls::update_endpoint(machine, &config.assay.endpoint));
    }
    batch
}

async fn submit_batch(
    client: &ChainClient,
    batch: Vec<Call>,
    signer: &assay_client::Keypair,
) -> Result<(), Error> {
    client.submit(calls::batch_all(batch), signer).await.map(|_| ())
}

fn registration_of(config: &Config, keys: &Keys, class: u16) -> MachineRegistration {
    MachineRegistration {
        worker_key: keys.worker_account(),
        sealing_key: keys.sealing_public(),
        class,
        slots: config.slots(),
        cpu_cores: config.resources.cpu_cores,
        ram_mib: config.resources.ram_mib,
        disk_gib: config.resources.disk_gib,
        upload_mbps: config.network.max_upload_mbps,
        download_mbps: config.network.max_download_mbps,
        location: Location {
            latitude_microdegrees: config.assay.latitude_microdegrees,
            longitude_microdegrees: config.assay.longitude_microdegrees,
        },
        region: config.assay.region.clone(),
        endpoint: config.assay.endpoint.clone(),
        ask: config.assay.ask_per_slot_hour,
    }
}

/// Says what of a registered machine differs from the file and cannot be changed on chain.
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
    match record.status {
        MachineStatus::Suspended(SuspensionReason::OwnRequest) => tracing::warn!(
            machine,
            "the machine is suspended on its own side and takes no new jobs until `resume` is called for it"
        ),
        MachineStatus::Retired => {
            tracing::warn!(
                machine,
                "the machine is retired; a new one needs a new `assay.worker_key_file`"
            );
        }
        _ => (),
    }
}

/// What a provider whose key is elsewhere has to sign.
fn instructions(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    registration: &MachineRegistration,
    class_name: &str,
    bond: u128,
) -> String {
    let worker = keys.worker_account();
    let Some(provider) = config.assay.provider_account else {
        return format!(
            "this machine is not registered and no provider is named. Name the provider's key with \
             `assay.provider_key_file`; or, to keep that key elsewhere, name its account with \
             `assay.provider_account`, so that the worker key {worker} can sign its agreement to serve it"
        );
    };
    let signature = keys::sign_worker_key(&keys.worker, &client.genesis_hash(), &provider);
    let MachineRegistration {
        class,
        slots,
        cpu_cores,
        ram_mib,
        disk_gib,
        upload_mbps,
        download_mbps,
        ..
    } = registration;
    let provider = AccountId::from(provider);
    format!(
        "this machine is not registered. Its provider {provider} has to sign these calls:\n\
         \x20 1. ProviderRegistry.register_provider(name: {:?}), unless it is a provider already\n\
         \x20 2. ProviderRegistry.register_machine(registration: {{ worker_key: {worker}, sealing_key: 0x{}, class: \
         {class} ({class_name}), slots: {slots}, cpu_cores: {cpu_cores}, ram_mib: {ram_mib}, disk_gib: {disk_gib}, \
         upload_mbps: {upload_mbps}, download_mbps: {download_mbps}, location: {{ latitude_microdegrees: {}, \
         longitude_microdegrees: {} }}, region: {:?}, endpoint: {:?}, ask: {} }}, worker_signature: 0x{})\n\
         \x20 3. ProviderStaking.bond(machine: the number from the event MachineRegistered, amount: {bond} plancks = {})\n\
         \x20 4. Balances.transfer_keep_alive(dest: {worker}, value: {WORKER_ENDOWMENT} plancks = {})\n\
         The worker looks again every half minute and goes on by itself",
        config.node.node_name,
        hex::encode(registration.sealing_key),
        registration.location.latitude_microdegrees,
        registration.location.longitude_microdegrees,
        registration.region,
        registration.endpoint,
        registration.ask,
        hex::encode(signature),
        format_asy(bond),
        format_asy(WORKER_ENDOWMENT),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use assay_primitives::money::ASY;

    use super::*;

    fn config(changes: &[(&str, &str)]) -> Config {
        let mut text = include_str!("../worker.example.yaml").to_owned();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text = text.replace(from, to);
        }
        Config::parse(&text, Path::new("worker.yaml")).unwrap()
    }

    /// The calls for a machine that is registered with this ask and endpoint.
    fn calls_for(config: &Config, bond: Option<Bond>, ask: u128, endpoint: &str) -> Vec<Call> {
        completing_calls(config, 5, ask, endpoint.as_bytes(), bond.as_ref(), 511 * ASY)
    }

    fn bond(bonded: u128, auto_stake: bool) -> Option<Bond> {
        Some(Bond {
            provider: AccountId::from([1; 32]),
            bonded,
            unlocking: Vec::new(),
            auto_stake,
        })
    }

    const ENDPOINT: &str = "http://127.0.0.1:4001";

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
