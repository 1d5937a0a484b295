//! Registers the machine on chain, or prints instructions for the provider.
//!
//! The state is read from the chain, so an interrupted registration is continued at any point. The machine is
//! found by its worker key. All calls go into one transaction, with the number that the next machine will
//! get; if another machine was faster, the calls that need the number follow in a second transaction. The
//! reward address last sent to the chain is noted in the state folder, so that a change in the file is sent.

mod completing;
mod instructions;

use std::time::Duration;

use assay_client::{
    AccountId, ChainClient, Error, Submitted,
    calls::{self, Call, MachineRegistration},
    keys,
    types::{HardwareClass, Location, Machine, MachineStatus},
    units::format_asy,
};

use crate::{
    chain::{INCLUSION_TIMEOUT, bounded},
    config::Config,
    keys::Keys,
    market_status::has_other_worker,
    state::{NotedMachine, StateFolder},
};
use completing::{complete, newcomer_calls, reward_destination};
use instructions::{registering, rotating, rotation_command};

/// Amount that the provider sends to the worker key for fees: enough for years of one transaction an hour.
pub const WORKER_ENDOWMENT: u128 = 10 * assay_primitives::money::ASY;

/// Balance of the worker key below which the provider sends the endowment again.
pub const LOW_WORKER_BALANCE: u128 = assay_primitives::money::ASY;

/// Maximum time for which the start of service waits for finality.
const FINALITY_PATIENCE: Duration = Duration::from_secs(60);

/// Outcome of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The machine is on chain with everything that this worker can do for it.
    Ready {
        /// The machine's number.
        machine: u64,
    },
    /// The provider must act; the text has the instructions.
    WaitsForProvider(String),
}

/// Reason why a registration failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The chain refused the call, or is unreachable.
    #[error(transparent)]
    Chain(#[from] Error),
    /// The catalogue does not have the hardware.
    #[error(
        "the chain's catalogue has none of the hardware classes {}; its classes are {}. Correct \
         `shared_resources.gpus.model`, or name one with `assay.hardware_class`",
        wanted.join(", "), known.join(", ")
    )]
    UnknownClass {
        /// The names that were tried.
        wanted: Vec<String>,
        /// The names in the catalogue.
        known: Vec<String>,
    },
    /// The machine belongs to another provider than the configured key.
    #[error(
        "machine {machine} of this worker key belongs to {owner}, and the provider key is of {provider}; use the owner's \
         key, or give this machine a new `assay.worker_key_file`"
    )]
    OtherProvider {
        /// Number of the machine.
        machine: u64,
        /// Owner of the machine.
        owner: AccountId,
        /// Account of the configured key.
        provider: AccountId,
    },
}

/// Registers the machine or completes its records, as far as the configured keys allow.
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
        note_when_final(client, keys, state, machine).await?;
        return complete(client, config, keys, state, machine, &record).await;
    }
    match state.registered_machine() {
        NotedMachine::Known(machine) => Ok(Registration::WaitsForProvider(
            lost_machine(client, keys, machine).await?,
        )),
        NotedMachine::Lost { kept_as } => Ok(Registration::WaitsForProvider(NotedMachine::remedy(&kept_as))),
        NotedMachine::None => register(client, config, keys, state).await,
    }
}

/// Notes the machine's number once finalized blocks have its registration, and returns true if they do. A
/// best block may be replaced: with a number from it, the worker would wait for ever for a machine that never
/// existed.
pub async fn note_when_final(
    client: &ChainClient,
    keys: &Keys,
    state: &StateFolder,
    machine: u64,
) -> Result<bool, Error> {
    let worker = keys.worker_account().0;
    let final_machine = bounded(async {
        let finalized = client.finalized_block().await?;
        client.at(&finalized).await?.machine_of_worker(&worker).await
    })
    .await?;
    let is_final = final_machine == Some(machine);
    if is_final {
        state.note_machine(machine);
    }
    Ok(is_final)
}

/// Explains why this worker no longer serves the machine that it once served, with the remedy.
///
/// None of the causes is a reason to register, and bond, once more.
pub async fn lost_machine(client: &ChainClient, keys: &Keys, machine: u64) -> Result<String, Error> {
    let worker = keys.worker_account();
    let record = bounded(client.machine(machine)).await?;
    Ok(match record {
        Some(record) if record.status == MachineStatus::Retired => format!(
            "machine {machine}, which this worker served, is retired. To register again, give the worker another \
             `assay.state_dir`"
        ),
        Some(record) if has_other_worker(&record, &worker) => {
            let free = bounded(client.balance(&worker.0)).await?.free;
            rotating(client, keys, machine, &record, free < LOW_WORKER_BALANCE)
        }
        _ => format!(
            "the chain of the node at {} has no machine for the worker key {worker}, which served machine {machine}. \
             Either the node is still catching up, then the worker goes on by itself; or the machine was retired or the \
             chain started anew: to register again, give the worker another `assay.state_dir`",
            client.url()
        ),
    })
}

/// Returns the remedy if consumers seal to a key that this worker does not have.
pub fn sealing_key_problem(
    client: &ChainClient,
    keys: &Keys,
    machine: u64,
    record: &Machine,
) -> Option<String> {
    let held = keys.sealing_public();
    (record.sealing_key != held).then(|| {
        // A key that never left a TEE cannot be restored.
        let remedy = if keys.sealing_custody.is_inside() {
            "it was made in a TEE: have"
        } else {
            "restore the file `assay.sealing_key_file`, or have"
        };
        format!(
            "machine {machine} is registered with the sealing key 0x{}, and this worker has 0x{}; {remedy} the provider \
             tell the chain of this one:\n\x20 {}",
            hex::encode(record.sealing_key),
            hex::encode(held),
            rotation_command(client, keys, machine, &record.provider, false)
        )
    })
}

/// Checks that the provider key, if the worker has one, is that of the machine's owner.
pub fn ensure_owner(keys: &Keys, machine: u64, record: &Machine) -> Result<(), RegistrationError> {
    match keys.provider_account() {
        Some(provider) if provider != record.provider => Err(RegistrationError::OtherProvider {
            machine,
            owner: record.provider,
            provider,
        }),
        _ => Ok(()),
    }
}

/// Returns the catalogue's entry of the configured hardware.
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

/// Returns the amount to bond: the chain's minimum, or more if the provider wants it.
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

/// Registers the machine, and then completes the records that need its number.
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
        return Ok(Registration::WaitsForProvider(registering(
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
    let signature = keys.agreement(client.genesis_hash(), provider.0);
    batch.push(calls::register_machine(registration, signature));
    if bounded(client.balance(&worker.0)).await?.free < LOW_WORKER_BALANCE {
        batch.push(calls::transfer_keep_alive(&worker, WORKER_ENDOWMENT));
    }
    tracing::info!(%provider, %worker, class = %class_record.name, slots = config.slots(), "registering the machine");
    // One transaction if the machine gets the next number: it is in the market sooner.
    let next = bounded(client.next_machine_id()).await?;
    let whole = [batch.clone(), newcomer_calls(config, next, bond)].concat();
    match submit_batch(client, whole, provider_key).await {
        Ok(mut submitted) => {
            let (_, spelled) = reward_destination(config);
            note_told_address(&mut submitted, state, &spelled).await;
        }
        // Another machine took the number, or there is another fault, which the separate calls will report.
        Err(Error::Dispatch { .. }) => drop(submit_batch(client, batch, provider_key).await?),
        Err(error) => return Err(error.into()),
    }

    let machine = bounded(client.machine_of_worker(&worker.0)).await?;
    let record = match machine {
        Some(machine) => bounded(client.machine(machine))
            .await?
            .map(|record| (machine, record)),
        None => None,
    };
    let Some((machine, record)) = record else {
        // The transaction was in a block a moment ago: the node's best block was replaced.
        return Err(Error::ConnectionLost {
            reason: "the node's best block no longer has the registration".into(),
        }
        .into());
    };
    note_when_final(client, keys, state, machine).await?;
    tracing::info!(machine, %provider, "the machine is registered");
    complete(client, config, keys, state, machine, &record).await
}

/// Submits calls, all of them or none, and waits until a best block includes them.
async fn submit_batch(
    client: &ChainClient,
    batch: Vec<Call>,
    signer: &assay_client::Keypair,
) -> Result<Submitted, Error> {
    let mut submitted = bounded(client.submit_and_watch(calls::batch_all(batch), signer)).await?;
    submitted.in_best_block(INCLUSION_TIMEOUT).await?;
    Ok(submitted)
}

/// Notes the reward address once the transaction that sets it is finalized. While finality stalls the worker
/// goes on, and its next start sets the address again.
async fn note_told_address(submitted: &mut Submitted, state: &StateFolder, spelled: &str) {
    match submitted.finalized(FINALITY_PATIENCE).await {
        Ok(_) => state.note_reward_address(spelled.as_bytes()),
        Err(error) => {
            tracing::warn!(%error, "setting the reward address is not finalized yet; the next start sets it again")
        }
    }
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
