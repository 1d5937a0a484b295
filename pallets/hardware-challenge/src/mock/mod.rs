//! A runtime of the hardware challenge alone, with machines, bonds, a clock and a randomness that the tests
//! set by hand, and workers that really prove.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use assay_primitives::{
    challenge::{RoundId, RoundKind},
    clock::{ActiveClock, MILLIS_PER_HOUR, Millis},
    finality::FinalityLag,
    machine::{
        Exposure, HardwareClaim, HardwareClaims, HardwareClassId, HardwareProofs, MachineId, MachineStatus,
        OnMachineRemoved, OnProofChange, SuspensionReason,
    },
    offence::{Beneficiaries, Offence, ReportOffence, SlashId},
    stake::{BondInspect, BondStanding},
};
use assay_proof::ChallengeParams;
pub(crate) use assay_test_support::MockClock;
use polkadot_sdk::{
    frame_support::{
        construct_runtime, derive_impl, parameter_types,
        traits::{Authorize, ConstU32, ConstU64, Hooks, Randomness},
        weights::{Weight, WeightMeter},
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    sp_core::{H256, Pair, sr25519},
    sp_io::{TestExternalities, hashing::blake2_256},
    sp_keystore::{KeystoreExt, testing::MemoryKeystore},
    sp_runtime::{
        AccountId32, BuildStorage, DispatchError, DispatchResult,
        traits::{Dispatchable, IdentityLookup},
        transaction_validity::{TransactionSource, TransactionValidityError, ValidTransaction},
    },
};

use crate::{self as pallet_hardware_challenge, GenesisChallenge, Schedule};

mod workers;

pub(crate) use workers::*;

pub(crate) type AccountId = AccountId32;

/// Account without any role, for calls that anybody may make.
pub(crate) const STRANGER: AccountId = AccountId::new([3; 32]);

/// The class of most machines.
pub(crate) const CLASS: HardwareClassId = 0;
/// A class with other parameters and a shorter deadline.
pub(crate) const QUICK_CLASS: HardwareClassId = 1;
/// A class without parameters.
pub(crate) const UNKNOWN_CLASS: HardwareClassId = 9;

/// Small enough to be answered by the hundred, and read over twice.
pub(crate) const PARAMS: ChallengeParams = ChallengeParams {
    items: 1 << 10,
    fill_double_rounds: 4,
    lanes_log2: 6,
    steps: 32,
    openings: 4,
    deadline_ms: 12_000,
};
pub(crate) const QUICK_PARAMS: ChallengeParams = ChallengeParams {
    lanes_log2: 5,
    steps: 64,
    openings: 2,
    deadline_ms: 6_000,
    ..PARAMS
};

pub(crate) const BLOCK_MS: Millis = 3_000;
pub(crate) const EPOCH_MS: Millis = 10 * MILLIS_PER_HOUR;
/// When tests begin: the end of an epoch is far, and so is the beginning of time.
pub(crate) const START_MS: Millis = 5_000 * MILLIS_PER_HOUR;
/// Audits hardly ever open by themselves.
pub(crate) const SCHEDULE: Schedule = Schedule {
    newcomer_interval_ms: 30_000,
    mean_audit_interval_ms: 1_000 * MILLIS_PER_HOUR,
    max_audit_interval_ms: 1_000 * MILLIS_PER_HOUR,
    commit_window_ms: 12_000,
    opening_delay_ms: 6_000,
    prove_window_ms: 30_000,
    report_window_ms: 60_000,
    max_proof_age_ms: 2_000 * MILLIS_PER_HOUR,
};
pub(crate) const MAX_DOUBLE_ROUNDS: u64 = 64 * 1_024;
pub(crate) const MAX_SLOTS_PER_PROOF: u32 = 3;
/// Enough for some dozens of units.
pub(crate) const SERVICE_WEIGHT: Weight = Weight::from_parts(20_000_000_000, u64::MAX);

construct_runtime!(
    pub enum Test {
        System: frame_system,
        HardwareChallenge: pallet_hardware_challenge,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = MockBlock<Test>;
    type AccountId = AccountId;
    type Lookup = IdentityLookup<AccountId>;
}

/// A machine of the mock's registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MockMachine {
    pub(crate) worker: u8,
    pub(crate) class: HardwareClassId,
    pub(crate) slots: u8,
    pub(crate) free_slots: u8,
    pub(crate) status: MachineStatus,
    pub(crate) standing: BondStanding,
    pub(crate) registered_at_ms: Millis,
}

parameter_types! {
    /// VRF outputs of blocks that are not what they would be by themselves; `None`: the author has none.
    pub static Vrf: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    /// The registry's machines.
    pub(crate) static Machines: BTreeMap<MachineId, MockMachine> = BTreeMap::new();
    /// Number of times that the registry was asked for a machine's claim.
    pub static ClaimsRead: u32 = 0;
    /// Offences that were reported, in order.
    pub static Reported: Vec<(MachineId, Offence)> = Vec::new();
    /// Machines whose proof changed, and how many slots they had proven then, in order.
    pub static ProofChanges: Vec<(MachineId, u8)> = Vec::new();
    /// Finality is far behind.
    pub static IsStalled: bool = false;
    /// Most weight that the hook takes.
    pub const ServiceWeight: Weight = SERVICE_WEIGHT;
}

pub struct MockFinality;

impl FinalityLag for MockFinality {
    fn lag_blocks() -> u32 {
        if IsStalled::get() { 100 } else { 2 }
    }

    fn is_stalled() -> bool {
        IsStalled::get()
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_stalled(is_stalled: bool) {
        IsStalled::set(is_stalled);
    }
}

/// Randomness of the parent block's author.
pub struct MockRandomness;

impl Randomness<Option<H256>, u64> for MockRandomness {
    fn random(subject: &[u8]) -> (Option<H256>, u64) {
        let parent = System::block_number() - 1;
        let drawn = Vrf::get().get(&parent).copied().unwrap_or(Some(parent));
        let random = drawn.map(|drawn| blake2_256(&[subject, &drawn.to_le_bytes()].concat()).into());
        (random, parent)
    }
}

pub struct MockRegistry;

impl MockRegistry {
    fn exposure(record: &MockMachine) -> Exposure {
        Exposure {
            free_slots: record.free_slots,
            is_active: record.status == MachineStatus::Active,
        }
    }
}

impl HardwareClaims<AccountId> for MockRegistry {
    fn hardware_claim(machine: MachineId) -> Option<HardwareClaim<AccountId>> {
        ClaimsRead::mutate(|read| *read += 1);
        Machines::get().get(&machine).map(|record| HardwareClaim {
            worker_key: worker_key(record.worker),
            class: record.class,
            status: record.status,
            exposure: Self::exposure(record),
            registered_at_ms: record.registered_at_ms,
        })
    }

    fn next_machine_id() -> MachineId {
        Machines::get()
            .last_key_value()
            .map_or(0, |(machine, _)| machine + 1)
    }
}

/// As the registry: active while bonded and proven.
impl OnProofChange for MockRegistry {
    fn on_proof_change(machine: MachineId) {
        let proven = HardwareChallenge::proven_slots(machine, u8::MAX);
        ProofChanges::mutate(|changes| changes.push((machine, proven)));
        let record = Machines::get()[&machine].clone();
        match record.status {
            MachineStatus::Active if proven == 0 => set_status(machine, MachineStatus::Unproven),
            MachineStatus::Unproven if proven > 0 && record.standing == BondStanding::Sufficient => {
                set_status(machine, MachineStatus::Active)
            }
            _ => {}
        }
    }
}

pub struct MockStakes;

impl BondInspect for MockStakes {
    fn standing(machine: MachineId) -> BondStanding {
        Machines::get()[&machine].standing
    }

    fn is_settled(_: MachineId) -> bool {
        false
    }

    fn has_pending_slash(_: MachineId) -> bool {
        false
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId) {
        change(machine, |record| record.standing = BondStanding::Sufficient);
    }
}

/// As the stakes: a wrong answer suspends.
impl ReportOffence<AccountId> for MockStakes {
    fn report_offence(
        machine: MachineId,
        offence: Offence,
        beneficiaries: Beneficiaries<AccountId>,
    ) -> Result<SlashId, DispatchError> {
        assert_eq!(beneficiaries.consumer, None);
        Machines::get().get(&machine).ok_or(DispatchError::CannotLookup)?;
        Reported::mutate(|reported| reported.push((machine, offence)));
        if offence == Offence::ChallengeWrong {
            set_status(machine, MachineStatus::Suspended(SuspensionReason::Offence));
        }
        Ok(slash_id(Reported::get().len()))
    }
}

/// The identifier of the slash for the n-th offence that was reported.
pub(crate) fn slash_id(number: usize) -> SlashId {
    SlashId {
        due_epoch: 7,
        index: number as u32,
    }
}

#[cfg(feature = "runtime-benchmarks")]
mod benchmarks {
    use assay_primitives::{
        machine::{LeaseEnd, LeaseTerms, MachineInspect, MachineLease},
        money::Balance,
    };

    use super::*;

    impl MachineInspect<AccountId> for MockRegistry {
        fn provider_of(machine: MachineId) -> Option<AccountId> {
            Machines::get().get(&machine).map(|_| STRANGER)
        }

        fn machine_of_worker(_: &AccountId) -> Option<MachineId> {
            None
        }

        fn status(machine: MachineId) -> Option<MachineStatus> {
            Machines::get().get(&machine).map(|record| record.status)
        }

        fn class_stake(_: MachineId) -> Option<Balance> {
            None
        }

        /// Benchmarks sign with keys of their own, which the mock finds by the last worker's number.
        fn benchmark_machine(_: &AccountId, worker_key: &AccountId, slots: u8) -> MachineId {
            BenchmarkKey::set(Some(worker_key.clone()));
            let machine = register(u8::MAX, slots);
            change(machine, |record| record.status = MachineStatus::Unproven);
            machine
        }
    }

    impl MachineLease<AccountId> for MockRegistry {
        fn lease(_: MachineId, _: u8) -> Result<LeaseTerms<AccountId>, DispatchError> {
            Err(DispatchError::Unavailable)
        }

        fn release(_: MachineId, _: u8, _: LeaseEnd) -> DispatchResult {
            Ok(())
        }

        fn extension_ask(_: MachineId) -> Option<Balance> {
            None
        }

        fn benchmark_activate(machine: MachineId) {
            change(machine, |record| record.status = MachineStatus::Active);
        }
    }
}

parameter_types! {
    /// The worker key with the number 255, where a benchmark brought its own.
    pub static BenchmarkKey: Option<AccountId> = None;
}

impl pallet_hardware_challenge::Config for Test {
    type Machines = MockRegistry;
    type Bonds = MockStakes;
    type Offences = MockStakes;
    type OnProofChange = MockRegistry;
    type Clock = MockClock;
    type Finality = MockFinality;
    type Randomness = MockRandomness;
    type AdminOrigin = EnsureRoot<AccountId>;
    type MaxDoubleRounds = ConstU64<MAX_DOUBLE_ROUNDS>;
    type MaxSlotsPerProof = ConstU32<MAX_SLOTS_PER_PROOF>;
    type MaxServiceWeight = ServiceWeight;
    type WeightInfo = ();
}

/// Builds a chain in the middle of its life, without machines, in whose next block a newcomer round opens.
pub(crate) struct ExtBuilder {
    schedule: Schedule,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        Self { schedule: SCHEDULE }
    }
}

impl ExtBuilder {
    pub(crate) fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        MockClock::reset();
        MockClock::set_epoch_duration_ms(EPOCH_MS);
        MockClock::set_now_ms(START_MS);
        Vrf::set(BTreeMap::new());
        IsStalled::set(false);
        Machines::set(BTreeMap::new());
        ClaimsRead::set(0);
        Reported::set(Vec::new());
        ProofChanges::set(Vec::new());
        BenchmarkKey::set(None);
        let genesis = RuntimeGenesisConfig {
            hardware_challenge: pallet_hardware_challenge::GenesisConfig {
                schedule: self.schedule,
                classes: vec![
                    GenesisChallenge {
                        class: CLASS,
                        params: PARAMS,
                    },
                    GenesisChallenge {
                        class: QUICK_CLASS,
                        params: QUICK_PARAMS,
                    },
                ],
                ..Default::default()
            },
            ..Default::default()
        };
        let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
        externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
        externalities.execute_with(|| {
            System::set_block_number(1_000);
            crate::LastServedMs::<Test>::put(START_MS);
            crate::AuditsDrawnUntilMs::<Test>::put(START_MS);
            crate::LastAuditMs::<Test>::put(START_MS);
            crate::NextExpiryEpoch::<Test>::put(MockClock::current_epoch());
        });
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            HardwareChallenge::do_try_state().unwrap();
        });
    }
}

/// The key pair of a worker.
pub(crate) fn worker_pair(number: u8) -> sr25519::Pair {
    sr25519::Pair::from_seed(&[number; 32])
}

/// The account of [`worker_pair`].
pub(crate) fn worker_key(number: u8) -> AccountId {
    match BenchmarkKey::get() {
        Some(key) if number == u8::MAX => key,
        _ => AccountId::new(worker_pair(number).public().0),
    }
}

/// A new machine of [`CLASS`], bonded and unproven.
pub(crate) fn register(worker: u8, slots: u8) -> MachineId {
    let machine = MockRegistry::next_machine_id();
    let record = MockMachine {
        worker,
        class: CLASS,
        slots,
        free_slots: slots,
        status: MachineStatus::Unproven,
        standing: BondStanding::Sufficient,
        registered_at_ms: now_ms(),
    };
    Machines::mutate(|machines| machines.insert(machine, record));
    machine
}

/// Changes a machine; the challenge hears of it first, as from the registry.
pub(crate) fn change(machine: MachineId, change: impl FnOnce(&mut MockMachine)) {
    let before = Machines::get()[&machine].clone();
    let mut after = before.clone();
    change(&mut after);
    if MockRegistry::exposure(&before) != MockRegistry::exposure(&after) {
        HardwareChallenge::before_exposure_change(machine, MockRegistry::exposure(&before));
    }
    Machines::mutate(|machines| machines.insert(machine, after));
}

pub(crate) fn set_status(machine: MachineId, status: MachineStatus) {
    change(machine, |record| record.status = status);
}

/// Leases so many slots, or gives them back where it is less than nothing.
pub(crate) fn lease(machine: MachineId, slots: i8) {
    change(machine, |record| {
        record.free_slots = record.free_slots.checked_add_signed(-slots).unwrap();
        assert!(record.free_slots <= record.slots);
    });
}

/// The registry forgets a machine.
pub(crate) fn remove(machine: MachineId) {
    Machines::mutate(|machines| machines.remove(&machine));
    HardwareChallenge::on_machine_removed(machine);
}

pub(crate) fn status(machine: MachineId) -> MachineStatus {
    Machines::get()[&machine].status
}

pub(crate) fn proven_slots(machine: MachineId) -> u8 {
    HardwareChallenge::proven_slots(machine, u8::MAX)
}

/// A block, so long after the one before it, whose hook has so much weight. Returns how much it took.
pub(crate) fn block_with(after_ms: Millis, weight: Weight) -> Weight {
    System::set_block_number(System::block_number() + 1);
    MockClock::advance_ms(after_ms);
    let mut meter = WeightMeter::with_limit(weight);
    HardwareChallenge::on_poll(System::block_number(), &mut meter);
    meter.consumed()
}

/// A block, so long after the one before it.
pub(crate) fn block_after(after_ms: Millis) {
    block_with(after_ms, Weight::MAX);
}

pub(crate) fn next_block() {
    block_after(BLOCK_MS);
}

/// Blocks as they are on a healthy chain, until `is_enough` says so.
pub(crate) fn blocks_until(mut is_enough: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_enough() {
            return;
        }
        next_block();
    }
    panic!("it never was enough");
}

/// Active time.
pub(crate) fn now_ms() -> Millis {
    MockClock::now_ms()
}

pub(crate) fn round_record(round: RoundId) -> crate::RoundRecord {
    crate::Rounds::<Test>::get(round).unwrap()
}

/// The next round of that kind that opens by itself.
pub(crate) fn next_round(kind: RoundKind) -> RoundId {
    let first = crate::NextRound::<Test>::get();
    let of_kind = || {
        (first..crate::NextRound::<Test>::get())
            .find(|round| crate::Rounds::<Test>::get(round).is_some_and(|record| record.kind == kind))
    };
    blocks_until(|| of_kind().is_some());
    of_kind().unwrap()
}

/// Waits for a newcomer round.
pub(crate) fn newcomer_round() -> RoundId {
    next_round(RoundKind::Newcomers)
}

/// Waits for an audit, which is overdue.
pub(crate) fn audit() -> RoundId {
    crate::LastAuditMs::<Test>::put(0);
    next_round(RoundKind::Audit)
}

/// Blocks until the openings of the round are drawn.
pub(crate) fn until_drawn(round: RoundId) {
    blocks_until(|| round_record(round).openings.is_some());
}

/// Blocks until the last proof of the round is late.
pub(crate) fn until_proofs_are_late(round: RoundId) {
    until_drawn(round);
    let deadline = round_record(round).prove_deadline_ms().unwrap();
    blocks_until(|| now_ms() > deadline);
}

/// Returns the transaction pool's verdict on a call.
pub(crate) fn authorize(call: crate::Call<Test>) -> Result<ValidTransaction, TransactionValidityError> {
    RuntimeCall::from(call)
        .authorize(TransactionSource::External)
        .unwrap()
        .map(|(valid, unspent)| {
            assert_eq!(unspent, Weight::zero());
            valid
        })
}

/// Dispatches a call as one that was authorized.
pub(crate) fn dispatch_authorized(call: crate::Call<Test>) -> DispatchResult {
    RuntimeCall::from(call)
        .dispatch(frame_system::RawOrigin::Authorized.into())
        .map(|_| ())
        .map_err(|error| error.error)
}

/// Sends a call through the pool into a block.
pub(crate) fn send(call: crate::Call<Test>) {
    authorize(call.clone()).unwrap();
    dispatch_authorized(call).unwrap();
}

/// A machine that answered its first newcomer round and is active. Forgets events and traces so far.
pub(crate) fn active_machine(worker: u8, slots: u8) -> MachineId {
    let machine = register(worker, slots);
    next_block();
    let round = newcomer_round();
    answer(round, &[machine]);
    assert_eq!(status(machine), MachineStatus::Active);
    take_events();
    ProofChanges::set(Vec::new());
    machine
}

/// Somebody reports that a machine missed its answer.
pub(crate) fn report_missed(round: RoundId, machine: MachineId) -> DispatchResult {
    HardwareChallenge::report_missed(RuntimeOrigin::signed(STRANGER), round, machine)
}

/// So many machines that are active, and answer one audit beside the machine under test: enough that those
/// that are silent are no third of the network.
pub(crate) fn honest_crowd(count: u8) -> Vec<MachineId> {
    (0..count).map(|number| active_machine(200 + number, 1)).collect()
}

/// Blocks until the round was concluded and forgotten.
pub(crate) fn until_concluded(round: RoundId) {
    blocks_until(|| !crate::Rounds::<Test>::contains_key(round));
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}
