//! Genesis presets: the states from which chains start.

use alloc::{string::ToString, vec, vec::Vec};

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    money::{ASY, Balance},
};
use pallet_hardware_challenge::Schedule;
use polkadot_sdk::{
    frame_support::build_struct_json_patch,
    pallet_staking::StakerStatus,
    sp_genesis_builder::{self, PresetId},
    sp_keyring::{Ed25519Keyring, Sr25519Keyring},
    sp_runtime::Perbill,
};
use serde_json::Value;

use crate::{
    AccountId, BabeConfig, BalancesConfig, ChainClockConfig, HardwareChallengeConfig, ProviderRegistryConfig,
    RewardEmissionConfig, RuntimeGenesisConfig, SessionConfig, SessionKeys, StakingConfig, SudoConfig,
    configs::{
        consensus::BABE_GENESIS_EPOCH_CONFIG,
        election::{MAX_CANDIDATES, MIN_NOMINATOR_BOND, MIN_VALIDATOR_BOND},
        market::{AvailabilityPot, EMISSION_CAP},
        system::TreasuryAccount,
    },
    hardware_classes,
};

/// Name of the preset with three validators; the one with a single validator has the SDK's name,
/// `development`.
pub const LOCAL_PRESET: &str = "local";

/// Endowment of each well-known account on the development presets, and of the pot that pays validators'
/// reports.
const ENDOWMENT: Balance = 1_000_000 * ASY;

/// Stake of each validator of the development presets.
const VALIDATOR_STAKE: Balance = 100_000 * ASY;

/// Length of an epoch of Assay on the development presets.
const DEVELOPMENT_EPOCH_MS: Millis = MILLIS_PER_HOUR / 60;

/// Schedule of challenges on the development presets: a bonded machine is active within half a minute, and
/// audits come every five minutes. Other chains start with the schedule's default.
const DEVELOPMENT_SCHEDULE: Schedule = Schedule {
    newcomer_interval_ms: 9_000,
    mean_audit_interval_ms: 5 * DEVELOPMENT_EPOCH_MS,
    max_audit_interval_ms: 10 * DEVELOPMENT_EPOCH_MS,
    commit_window_ms: 12_000,
    // The single validator makes all blocks anyway.
    opening_delay_ms: 0,
    prove_window_ms: DEVELOPMENT_EPOCH_MS,
    report_window_ms: 2 * DEVELOPMENT_EPOCH_MS,
    max_proof_age_ms: 30 * DEVELOPMENT_EPOCH_MS,
};

/// Returns the preset with one validator, Alice.
fn development() -> Value {
    genesis(&[(
        Sr25519Keyring::Alice,
        Ed25519Keyring::Alice,
        Sr25519Keyring::AliceStash,
    )])
}

/// Returns the preset with three validators: Alice, Bob and Charlie.
fn local() -> Value {
    genesis(&[
        (
            Sr25519Keyring::Alice,
            Ed25519Keyring::Alice,
            Sr25519Keyring::AliceStash,
        ),
        (Sr25519Keyring::Bob, Ed25519Keyring::Bob, Sr25519Keyring::BobStash),
        (
            Sr25519Keyring::Charlie,
            Ed25519Keyring::Charlie,
            Sr25519Keyring::CharlieStash,
        ),
    ])
}

/// Well-known validator: its key for blocks and availability, its key for finality, and its stash account.
type WellKnownValidator = (Sr25519Keyring, Ed25519Keyring, Sr25519Keyring);

/// Returns the genesis of a chain whose accounts are all well known: never use it for a chain of value.
fn genesis(validators: &[WellKnownValidator]) -> Value {
    let validators: Vec<(AccountId, SessionKeys)> = validators
        .iter()
        .map(|(sr25519, ed25519, stash)| {
            // The keys that `--alice` and similar options put into the node's keystore.
            let keys = SessionKeys {
                babe: sr25519.public().into(),
                grandpa: ed25519.public().into(),
                availability: sr25519.public().into(),
            };
            (stash.to_account_id(), keys)
        })
        .collect();
    let endowed = Sr25519Keyring::well_known().map(|account| (account.to_account_id(), ENDOWMENT));
    // The treasury exists from the start, so that no first payment is too small for it, and the pot for
    // validators' reports is filled.
    let treasury = (TreasuryAccount::get(), ASY);
    let availability_pot = (AvailabilityPot::get(), ENDOWMENT);

    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig {
            balances: endowed.chain([treasury, availability_pot]).collect()
        },
        babe: BabeConfig {
            epoch_config: BABE_GENESIS_EPOCH_CONFIG
        },
        session: SessionConfig {
            keys: validators
                .iter()
                .map(|(stash, keys)| (stash.clone(), stash.clone(), keys.clone()))
                .collect(),
        },
        staking: StakingConfig {
            validator_count: validators.len() as u32,
            minimum_validator_count: 1,
            min_validator_bond: MIN_VALIDATOR_BOND,
            min_nominator_bond: MIN_NOMINATOR_BOND,
            max_validator_count: Some(MAX_CANDIDATES),
            slash_reward_fraction: Perbill::from_percent(10),
            stakers: validators
                .iter()
                .map(|(stash, _)| {
                    (
                        stash.clone(),
                        stash.clone(),
                        VALIDATOR_STAKE,
                        StakerStatus::<AccountId>::Validator,
                    )
                })
                .collect(),
        },
        sudo: SudoConfig {
            key: Some(Sr25519Keyring::Alice.to_account_id())
        },
        chain_clock: ChainClockConfig {
            epoch_duration_ms: DEVELOPMENT_EPOCH_MS
        },
        provider_registry: ProviderRegistryConfig {
            hardware_classes: hardware_classes::catalogue()
        },
        hardware_challenge: HardwareChallengeConfig {
            schedule: DEVELOPMENT_SCHEDULE,
            classes: hardware_classes::development_challenges()
        },
        reward_emission: RewardEmissionConfig {
            remaining_emission: EMISSION_CAP
        },
    })
}

/// Returns the preset of that name, as a patch of the default genesis.
pub fn get_preset(id: &PresetId) -> Option<Vec<u8>> {
    let patch = match id.as_ref() {
        sp_genesis_builder::DEV_RUNTIME_PRESET => development(),
        LOCAL_PRESET => local(),
        _ => return None,
    };
    Some(patch.to_string().into_bytes())
}

/// Returns the names of all presets.
pub fn preset_names() -> Vec<PresetId> {
    vec![
        PresetId::from(sp_genesis_builder::DEV_RUNTIME_PRESET),
        PresetId::from(LOCAL_PRESET),
    ]
}
