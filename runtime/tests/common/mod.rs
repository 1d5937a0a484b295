//! A chain in memory, from a genesis preset, whose blocks a test makes one by one.

#![allow(dead_code, reason = "each test file uses its own part")]

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, Millis},
    machine::{Location, MachineId, MachineStatus, OnProofChange, WORKER_KEY_CONTEXT},
    market::Requirements,
    money::{ASY, Balance},
};
use assay_runtime::{
    AccountId, Attestation, Availability, Babe, Balances, BlockNumber, ChainClock, Executive, FinalityView,
    HardwareChallenge, Header, JobEscrow, ProviderRegistry, ProviderStaking, RewardEmission, Runtime,
    RuntimeCall, RuntimeEvent, RuntimeGenesisConfig, RuntimeOrigin, Session, System, UncheckedExtrinsic,
    configs::{consensus::SESSION_SLOTS, market::MAX_ADVANCE_MS, staking::SESSIONS_PER_ERA},
    genesis_config_presets::get_preset,
    hardware_classes,
    parameters::RuntimeParameters,
};
use codec::Encode;
use pallet_job_escrow::{JobKind, JobOrder, Manifest, ManifestRef, Verification};
use pallet_provider_registry::{MachineRegistration, MachineRegistrationOf};
use polkadot_sdk::{
    frame_support::{assert_ok, traits::BuildGenesisConfig},
    pallet_balances, pallet_parameters, pallet_staking, pallet_sudo, pallet_timestamp,
    sp_consensus_babe::{
        BABE_ENGINE_ID,
        digests::{PreDigest, SecondaryPlainPreDigest},
    },
    sp_core::{H256, Pair, sr25519},
    sp_genesis_builder::PresetId,
    sp_io::TestExternalities,
    sp_keyring::Sr25519Keyring,
    sp_runtime::{Digest, DigestItem, DispatchError, DispatchResult, traits::Dispatchable},
    sp_staking::EraIndex,
};
use serde_json::{Value, json};

/// Duration of a slot in milliseconds.
pub(crate) const SLOT_MS: u64 = 3_000;

/// Time of the first block, in milliseconds; any multiple of a slot.
const GENESIS_MS: u64 = 1_700_000_001_000 / SLOT_MS * SLOT_MS;

/// Ask of the tests' machines for a slot-hour.
pub(crate) const ASK: Balance = 7 * ASY;

/// Builds a genesis from the preset as the node does, and runs the test in it.
pub(crate) fn with_chain(preset: &str, test: impl FnOnce(&mut Chain)) {
    with_patched_chain(preset, json!({}), test);
}

/// Does the same as [`with_chain`], with a patch of the test's own merged into the preset's.
pub(crate) fn with_patched_chain(preset: &str, patch: Value, test: impl FnOnce(&mut Chain)) {
    let of_preset = get_preset(&PresetId::from(preset)).expect("the preset exists");
    let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).expect("genesis is JSON");
    merge(
        &mut config,
        serde_json::from_slice(&of_preset).expect("a preset is JSON"),
    );
    merge(&mut config, patch);
    let config: RuntimeGenesisConfig = serde_json::from_value(config).expect("the preset fits the runtime");

    TestExternalities::default().execute_with(|| {
        config.build();
        let mut chain = Chain {
            height: 0,
            now_ms: GENESIS_MS,
        };
        chain.next_block();
        test(&mut chain);
        chain.check_invariants();
    });
}

/// Merges a patch into a JSON document.
fn merge(document: &mut Value, patch: Value) {
    match (document, patch) {
        (Value::Object(document), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(document.entry(key).or_insert(Value::Null), value);
            }
        }
        (document, patch) => *document = patch,
    }
}

/// Chain under test.
pub(crate) struct Chain {
    height: BlockNumber,
    now_ms: u64,
}

impl Chain {
    /// Makes the next block one slot later.
    pub(crate) fn next_block(&mut self) {
        self.next_block_after(SLOT_MS);
    }

    /// Makes the next block after a standstill of that time (a multiple of a slot).
    pub(crate) fn next_block_after(&mut self, wait_ms: u64) {
        let parent = if self.height == 0 {
            H256::zero()
        } else {
            Executive::finalize_block().hash()
        };
        self.height += 1;
        self.now_ms += wait_ms;
        let pre_digest = PreDigest::SecondaryPlain(SecondaryPlainPreDigest {
            authority_index: 0,
            slot: (self.now_ms / SLOT_MS).into(),
        });
        let digest = Digest {
            logs: vec![DigestItem::PreRuntime(BABE_ENGINE_ID, pre_digest.encode())],
        };
        let header = Header {
            parent_hash: parent,
            number: self.height,
            state_root: H256::zero(),
            extrinsics_root: H256::zero(),
            digest,
        };
        Executive::initialize_block(&header);
        let timestamp = RuntimeCall::Timestamp(pallet_timestamp::Call::set { now: self.now_ms });
        Executive::apply_extrinsic(UncheckedExtrinsic::new_bare(timestamp))
            .expect("the timestamp is valid")
            .expect("the timestamp is set");
        // As before the first transaction of a block: the pallets' own work comes before the test's.
        Executive::inherents_applied();
    }

    /// Makes blocks until that much active time has passed.
    pub(crate) fn pass(&mut self, active_ms: u64) {
        for _ in 0..active_ms.div_ceil(SLOT_MS) {
            self.next_block();
        }
    }

    /// Makes blocks until the epoch has begun, each as late as the clock still counts in full.
    pub(crate) fn until_epoch(&mut self, epoch: EpochIndex) {
        while ChainClock::current_epoch() < epoch {
            self.next_block_after(MAX_ADVANCE_MS);
        }
    }

    /// Makes the block with which the next session begins: the first after a whole session of empty slots.
    pub(crate) fn next_session(&mut self) {
        let session = Session::current_index();
        self.next_block_after(u64::from(SESSION_SLOTS) * SLOT_MS);
        assert_eq!(Session::current_index(), session + 1);
    }

    /// Shortens eras to one session from now on, so that many of them pass in few blocks.
    pub(crate) fn shorten_eras(&self) {
        assert_ok!(sudo(pallet_staking::Call::<Runtime>::force_new_era_always {}));
    }

    /// Makes one block for each session until that era is active; panics if it takes longer than eras last.
    pub(crate) fn until_era(&mut self, era: EraIndex) {
        for _ in 0..era.saturating_sub(active_era()).saturating_add(1) * SESSIONS_PER_ERA {
            if active_era() >= era {
                return;
            }
            self.next_session();
        }
        assert!(active_era() >= era, "no era began: it is {} still", active_era());
    }

    /// Checks every pallet's invariants.
    pub(crate) fn check_invariants(&self) {
        ChainClock::do_try_state().expect("the clock is sound");
        ProviderRegistry::do_try_state().expect("the registry is sound");
        ProviderStaking::do_try_state().expect("the bonds are sound");
        JobEscrow::do_try_state().expect("the escrow is sound");
        RewardEmission::do_try_state().expect("the emission is sound");
        Availability::do_try_state().expect("the reports are sound");
        HardwareChallenge::do_try_state().expect("the challenges are sound");
        Attestation::do_try_state().expect("the evidence is sound");
        FinalityView::do_try_state().expect("the view of finality is sound");
    }
}

/// Returns a well-known account.
pub(crate) fn account(who: Sr25519Keyring) -> AccountId {
    who.to_account_id()
}

/// Dispatches a call as that account.
pub(crate) fn call_as(who: &AccountId, call: impl Into<RuntimeCall>) -> DispatchResult {
    call.into()
        .dispatch(RuntimeOrigin::signed(who.clone()))
        .map(|_| ())
        .map_err(|error| error.error)
}

/// Dispatches a call as governance, which is Alice.
pub(crate) fn sudo(call: impl Into<RuntimeCall>) -> DispatchResult {
    let call: Box<RuntimeCall> = Box::new(call.into());
    let sudo = pallet_sudo::Call::<Runtime>::sudo { call };
    call_as(&account(Sr25519Keyring::Alice), sudo)?;
    let result = System::read_events_for_pallet::<pallet_sudo::Event<Runtime>>()
        .into_iter()
        .rev()
        .find_map(|event| match event {
            pallet_sudo::Event::Sudid { sudo_result } => Some(sudo_result),
            _ => None,
        });
    result.expect("sudo tells what came of the call")
}

/// Changes a parameter as governance.
pub(crate) fn set_parameter(key_value: RuntimeParameters) {
    assert_ok!(sudo(pallet_parameters::Call::<Runtime>::set_parameter {
        key_value
    }));
}

/// Builds a parameter of the stakes with its new value.
#[macro_export]
macro_rules! staking_parameter {
    ($name:ident, $value:expr) => {
        assay_runtime::parameters::RuntimeParameters::ProviderStaking(
            assay_runtime::parameters::dynamic::provider_staking::Parameters::$name(
                assay_runtime::parameters::dynamic::provider_staking::$name,
                Some($value),
            ),
        )
    };
}

/// Builds the parameter with the terms of jobs, of which these are new and the others as governance set them.
#[macro_export]
macro_rules! job_terms {
    ($($term:ident: $value:expr),+) => {
        assay_runtime::parameters::RuntimeParameters::JobEscrow(
            assay_runtime::parameters::dynamic::job_escrow::Parameters::JobTerms(
                assay_runtime::parameters::dynamic::job_escrow::JobTerms,
                Some(pallet_job_escrow::JobTerms {
                    $($term: $value,)+
                    ..<assay_runtime::parameters::dynamic::job_escrow::JobTerms
                        as polkadot_sdk::frame_support::traits::Get<_>>::get()
                }),
            ),
        )
    };
}

/// Registers the account as a provider.
pub(crate) fn register_provider(provider: Sr25519Keyring) -> DispatchResult {
    let name = b"a provider".to_vec().try_into().expect("short");
    call_as(
        &account(provider),
        pallet_provider_registry::Call::register_provider { name },
    )
}

/// Returns the default registration of the tests' machines.
pub(crate) fn registration_of(worker: Sr25519Keyring, slots: u8) -> MachineRegistrationOf<Runtime> {
    MachineRegistration {
        worker_key: account(worker),
        sealing_key: [7; 32],
        class: hardware_classes::CPU,
        slots,
        cpu_cores: 8,
        ram_mib: 32 * 1_024,
        disk_gib: 500,
        upload_mbps: 1_000,
        download_mbps: 1_000,
        location: Location {
            latitude_microdegrees: 52_520_000,
            longitude_microdegrees: 13_405_000,
        },
        region: b"eu-central".to_vec().try_into().expect("short"),
        endpoint: b"http://127.0.0.1:4001".to_vec().try_into().expect("short"),
        ask: ASK,
    }
}

/// Registers a machine of the provider, with its worker key's consent, and a proof of its hardware that
/// outlasts any test.
pub(crate) fn register_machine(
    provider: Sr25519Keyring,
    worker: Sr25519Keyring,
    registration: MachineRegistrationOf<Runtime>,
) -> Result<MachineId, DispatchError> {
    let machine = pallet_provider_registry::NextMachineId::<Runtime>::get();
    let owner = account(provider);
    let worker_signature = consent(worker, &owner);
    call_as(
        &owner,
        pallet_provider_registry::Call::register_machine {
            registration,
            worker_signature,
        },
    )?;
    prove_by_fiat(machine);
    Ok(machine)
}

/// Sets all of a machine's slots as proven, without a proof. `hardware_challenge.rs` tests real proofs.
pub(crate) fn prove_by_fiat(machine: MachineId) {
    const FOREVER_MS: Millis = 100 * 365 * 24 * 3_600_000;
    let step = pallet_hardware_challenge::ProofStep {
        slots: assay_primitives::machine::MAX_SLOTS,
        expires_at_ms: FOREVER_MS,
    };
    let mut record = pallet_hardware_challenge::ProofRecord::default();
    record.steps.try_push(step).expect("there is room for many");
    pallet_hardware_challenge::Proofs::<Runtime>::insert(machine, record);
    let epoch = FOREVER_MS / ChainClock::epoch_duration_ms() + 1;
    pallet_hardware_challenge::Expiries::<Runtime>::insert(epoch as EpochIndex, machine, ());
    ProviderRegistry::on_proof_change(machine);
}

/// Returns the minimum bond of a machine.
pub(crate) fn minimum_bond(machine: MachineId) -> Balance {
    ProviderStaking::minimum_bond(machine).expect("the machine exists")
}

/// Registers `provider` and one of its machines, whose worker key is `worker`, and bonds the minimum.
pub(crate) fn active_machine(provider: Sr25519Keyring, worker: Sr25519Keyring, slots: u8) -> MachineId {
    let _ = register_provider(provider);
    let machine =
        register_machine(provider, worker, registration_of(worker, slots)).expect("the machine is new");
    assert_ok!(call_as(
        &account(provider),
        pallet_provider_staking::Call::bond {
            machine,
            amount: minimum_bond(machine)
        }
    ));
    machine
}

/// Returns a machine's status; `None` if it does not exist.
pub(crate) fn status(machine: MachineId) -> Option<MachineStatus> {
    pallet_provider_registry::Machines::<Runtime>::get(machine).map(|record| record.status)
}

/// Returns the signature by which a worker key agrees to serve a provider.
pub(crate) fn consent(worker: Sr25519Keyring, provider: &AccountId) -> sr25519::Signature {
    let mut message = WORKER_KEY_CONTEXT.to_vec();
    message.extend_from_slice(System::block_hash(0).as_ref());
    message.extend_from_slice(provider.as_ref());
    worker.pair().sign(&message)
}

/// Returns a task whose consumer has so much time to judge its result.
pub(crate) const fn task(window_ms: u64) -> JobKind {
    JobKind::Task {
        verification: Verification::Consumer { window_ms },
    }
}

/// Task whose consumer has an hour to judge its result.
pub(crate) const TASK: JobKind = task(3_600_000);

/// Returns an order of one slot, with a manifest that the consumer notes.
pub(crate) fn order(consumer: Sr25519Keyring, kind: JobKind, max_duration_ms: u64) -> JobOrder {
    let manifest = br#"{"image":"localhost:5000/demo@sha256:00"}"#.to_vec();
    let reference = ManifestRef {
        hash: polkadot_sdk::sp_io::hashing::blake2_256(&manifest).into(),
        length_bytes: manifest.len() as u32,
    };
    let _ = call_as(
        &account(consumer),
        polkadot_sdk::pallet_preimage::Call::note_preimage { bytes: manifest },
    );
    JobOrder {
        kind,
        manifest: Manifest::Public(reference),
        image_digest: H256::repeat_byte(1),
        requirements: Requirements::default(),
        slots: 1,
        max_duration_ms,
        max_price_per_slot_hour: ASK,
    }
}

/// Notes a manifest and orders a job on the machine; returns its number.
pub(crate) fn deploy(
    consumer: Sr25519Keyring,
    machine: MachineId,
    kind: JobKind,
    max_duration_ms: u64,
) -> u64 {
    deploy_to(consumer, &[machine], kind, max_duration_ms)
}

/// Notes a manifest and orders a job on machines; returns its number.
pub(crate) fn deploy_to(
    consumer: Sr25519Keyring,
    machines: &[MachineId],
    kind: JobKind,
    max_duration_ms: u64,
) -> u64 {
    let order = order(consumer, kind, max_duration_ms);
    let job = pallet_job_escrow::NextJobId::<Runtime>::get();
    let machines = machines.to_vec().try_into().expect("few machines");
    assert_ok!(call_as(
        &account(consumer),
        pallet_job_escrow::Call::deploy { order, machines }
    ));
    job
}

/// Returns an account's total balance, held or not.
pub(crate) fn wealth(who: &AccountId) -> Balance {
    use polkadot_sdk::frame_support::traits::fungible::Inspect;
    Balances::total_balance(who)
}

/// Returns the total issuance.
pub(crate) fn issuance() -> Balance {
    use polkadot_sdk::frame_support::traits::fungible::Inspect;
    <Balances as Inspect<AccountId>>::total_issuance()
}

/// Returns true if some of the account's money is held.
pub(crate) fn is_anything_held(who: &AccountId) -> bool {
    !pallet_balances::Holds::<Runtime>::get(who).is_empty()
}

/// Returns the events of the stakes in the last block.
pub(crate) fn staking_events() -> Vec<pallet_provider_staking::Event<Runtime>> {
    System::read_events_for_pallet()
}

/// Returns true if the last block has such an event.
pub(crate) fn happened(wanted: impl Fn(&RuntimeEvent) -> bool) -> bool {
    System::events().iter().any(|record| wanted(&record.event))
}

/// Returns the treasury's account.
pub(crate) fn treasury() -> AccountId {
    assay_runtime::configs::system::TreasuryAccount::get()
}

/// Returns the active era.
pub(crate) fn active_era() -> EraIndex {
    pallet_staking::ActiveEra::<Runtime>::get().map_or(0, |era| era.index)
}

/// Mints the amount into an account.
pub(crate) fn endow(who: &AccountId, amount: Balance) {
    use polkadot_sdk::frame_support::traits::fungible::Mutate;
    assert_ok!(Balances::mint_into(who, amount));
}

/// Returns the slot of the current block.
pub(crate) fn current_slot() -> u64 {
    Babe::current_slot().into()
}
