//! A runtime of balances and availability, with machines, a clock and a randomness that the tests set by
//! hand.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{
    availability::{AvailabilityId, AvailabilityPair, AvailabilitySignature, report_message},
    clock::{ActiveClock, EpochIndex, OnEpochEnd},
    emission::{EpochWeights, RewardWeight},
    machine::{MachineId, MachineInspect, MachineStatus, OnUptimeChange},
    money::{ASY, Balance, MILLI_ASY},
};
use assay_test_support::MockClock;
use polkadot_sdk::{
    frame_support::{
        construct_runtime, derive_impl, parameter_types,
        traits::{Authorize, ConstU32, ConstU128, Hooks, OneSessionHandler, Randomness},
        weights::{Weight, WeightMeter},
    },
    frame_system::{self, mocking::MockBlock},
    pallet_balances,
    sp_core::{H256, Pair},
    sp_io::{TestExternalities, hashing::blake2_256},
    sp_keystore::{KeystoreExt, testing::MemoryKeystore},
    sp_runtime::{
        BuildStorage, DispatchResult,
        traits::Dispatchable,
        transaction_validity::{TransactionSource, TransactionValidityError, ValidTransaction},
    },
};

use crate as pallet_availability;

pub(crate) type AccountId = u64;

/// Account without any role, for calls that anybody may make.
pub(crate) const STRANGER: AccountId = 1;
/// Pays for reports.
pub(crate) const POT: AccountId = 2;
/// The account of the first validator; the others follow.
pub(crate) const FIRST_VALIDATOR: AccountId = 100;

/// Machines that the mock's registry has, all active.
pub(crate) const MACHINES: MachineId = 40;

pub(crate) const EXISTENTIAL_DEPOSIT: Balance = MILLI_ASY;
pub(crate) const POT_BALANCE: Balance = 1_000 * ASY;
pub(crate) const REWARD: Balance = 3 * ASY;
pub(crate) const PER_MACHINE: u32 = 3;
pub(crate) const MAX_VALIDATORS: u32 = 20;
pub(crate) const MAX_FAILURES: u32 = 16;
pub(crate) const HISTORY: EpochIndex = 6;
pub(crate) const MAX_EPOCHS: u32 = 4;
pub(crate) const MEMORY: u32 = 10;
pub(crate) const INITIAL_PPM: u32 = 950_000;
/// Enough for some dozens of units.
pub(crate) const SERVICE_WEIGHT: Weight = Weight::from_parts(20_000_000_000, u64::MAX);

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Availability: pallet_availability,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = MockBlock<Test>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
}

parameter_types! {
    /// Seed of the mock's randomness.
    pub static Entropy: u64 = 0;
    /// Machines that are not active; `None`: there is no such machine.
    pub static ChangedStatus: BTreeMap<MachineId, Option<MachineStatus>> = BTreeMap::new();
    /// Machines that are watched whatever their status, as while a slot of them is leased.
    pub static Engaged: BTreeSet<MachineId> = BTreeSet::new();
    /// Weights of the machines that do not weigh one, in every epoch. All machines together weigh forty.
    pub static Weighty: BTreeMap<MachineId, RewardWeight> = BTreeMap::new();
    /// Since when machines have rewards to come, where they have any.
    pub static FirstUnpaid: BTreeMap<MachineId, EpochIndex> = BTreeMap::new();
    /// Averages that were reported to the registry, in order.
    pub static UptimeChanges: Vec<(MachineId, u32)> = Vec::new();
    /// Plancks that a report earns.
    pub static RewardPerReport: Balance = REWARD;
    /// Validators that watch a machine.
    pub static ValidatorsPerMachine: u32 = PER_MACHINE;
    pub const RewardPot: AccountId = POT;
    /// Most weight that the hook takes.
    pub const ServiceWeight: Weight = SERVICE_WEIGHT;
}

/// A randomness that the test chooses.
pub struct MockRandomness;

impl Randomness<H256, u64> for MockRandomness {
    fn random(subject: &[u8]) -> (H256, u64) {
        let mut bytes = subject.to_vec();
        bytes.extend(Entropy::get().to_le_bytes());
        (blake2_256(&bytes).into(), 0)
    }
}

/// Active machines, unless the test says otherwise.
pub struct MockRegistry;

impl MachineInspect<AccountId> for MockRegistry {
    fn provider_of(machine: MachineId) -> Option<AccountId> {
        Self::status(machine).map(|_| STRANGER)
    }

    fn machine_of_worker(_: &AccountId) -> Option<MachineId> {
        None
    }

    fn status(machine: MachineId) -> Option<MachineStatus> {
        let default = (machine < MACHINES).then_some(MachineStatus::Active);
        ChangedStatus::get().get(&machine).copied().unwrap_or(default)
    }

    fn is_watched(machine: MachineId) -> bool {
        match Self::status(machine) {
            Some(MachineStatus::Unproven | MachineStatus::Retired) => Engaged::get().contains(&machine),
            status => status.is_some(),
        }
    }

    fn class_stake(_: MachineId) -> Option<Balance> {
        None
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(_: &AccountId, _: &AccountId, _: u8) -> MachineId {
        let machine = MACHINES + ChangedStatus::get().len() as MachineId;
        set_status(machine, Some(MachineStatus::Active));
        machine
    }
}

/// Weights that stand as the test put them.
pub struct MockWeights;

impl EpochWeights for MockWeights {
    fn weight_in(machine: MachineId, _: EpochIndex) -> RewardWeight {
        Weighty::get().get(&machine).copied().unwrap_or(1)
    }

    fn total_weight_in(_: EpochIndex) -> u128 {
        MACHINES.into()
    }

    fn first_unpaid_epoch(machine: MachineId) -> Option<EpochIndex> {
        FirstUnpaid::get().get(&machine).copied()
    }
}

impl OnUptimeChange for MockRegistry {
    fn on_uptime_change(machine: MachineId, uptime_ppm: u32) {
        UptimeChanges::mutate(|changes| changes.push((machine, uptime_ppm)));
    }
}

#[cfg(feature = "runtime-benchmarks")]
impl assay_primitives::machine::MachineLease<AccountId> for MockRegistry {
    fn lease(
        _: MachineId,
        _: u8,
    ) -> Result<assay_primitives::machine::LeaseTerms<AccountId>, polkadot_sdk::sp_runtime::DispatchError>
    {
        Err(polkadot_sdk::sp_runtime::DispatchError::Unavailable)
    }

    fn release(_: MachineId, _: u8, _: assay_primitives::machine::LeaseEnd) -> DispatchResult {
        Ok(())
    }

    fn extension_ask(_: MachineId) -> Option<Balance> {
        None
    }

    fn benchmark_activate(machine: MachineId) {
        set_status(machine, Some(MachineStatus::Active));
    }
}

impl pallet_availability::Config for Test {
    type Currency = Balances;
    type Machines = MockRegistry;
    type OnUptimeChange = MockRegistry;
    type Weights = MockWeights;
    type Clock = MockClock;
    type Randomness = MockRandomness;
    type MaxValidators = ConstU32<MAX_VALIDATORS>;
    type ValidatorsPerMachine = ValidatorsPerMachine;
    type MaxFailuresPerReport = ConstU32<MAX_FAILURES>;
    type HistoryEpochs = ConstU32<HISTORY>;
    type MaxEpochsPerUpdate = ConstU32<MAX_EPOCHS>;
    type UptimeMemoryEpochs = ConstU32<MEMORY>;
    type InitialUptimePpm = ConstU32<INITIAL_PPM>;
    type RewardPerReport = RewardPerReport;
    type RewardPot = RewardPot;
    type MaxServiceWeight = ServiceWeight;
    type WeightInfo = ();
}

/// Builds a chain at block 1, in epoch 1, which is the first one that is watched.
pub(crate) struct ExtBuilder {
    validators: u32,
    per_machine: u32,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        Self {
            validators: 5,
            per_machine: PER_MACHINE,
        }
    }
}

impl ExtBuilder {
    pub(crate) fn validators(mut self, validators: u32) -> Self {
        self.validators = validators;
        self
    }

    pub(crate) fn per_machine(mut self, per_machine: u32) -> Self {
        self.per_machine = per_machine;
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        MockClock::reset();
        Entropy::set(0);
        ChangedStatus::set(BTreeMap::new());
        Engaged::set(BTreeSet::new());
        Weighty::set(BTreeMap::new());
        FirstUnpaid::set(BTreeMap::new());
        UptimeChanges::set(Vec::new());
        RewardPerReport::set(REWARD);
        ValidatorsPerMachine::set(self.per_machine);
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: vec![(STRANGER, ASY), (POT, POT_BALANCE)],
                ..Default::default()
            },
            ..Default::default()
        };
        let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
        externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
        externalities.execute_with(|| {
            System::set_block_number(1);
            let validators = validators(0..self.validators);
            Availability::on_genesis_session(validators.iter().map(|(who, key)| (who, key.clone())));
            next_epoch();
            System::reset_events();
        });
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it, and that money was neither made nor lost.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            Availability::do_try_state().unwrap();
            assert_eq!(Balances::total_issuance(), ASY + POT_BALANCE);
        });
    }
}

/// The key pair of a validator.
pub(crate) fn pair(validator: u32) -> AvailabilityPair {
    AvailabilityPair::from_seed(&blake2_256(&validator.to_le_bytes()))
}

/// The account of a validator.
pub(crate) fn stash(validator: u32) -> AccountId {
    FIRST_VALIDATOR + AccountId::from(validator)
}

/// Validators and their keys, as a session has them.
pub(crate) fn validators(of: impl IntoIterator<Item = u32>) -> Vec<(AccountId, AvailabilityId)> {
    of.into_iter()
        .map(|validator| (stash(validator), pair(validator).public()))
        .collect()
}

/// A session begins with these validators.
pub(crate) fn new_session(of: impl IntoIterator<Item = u32>) {
    let validators = validators(of);
    let session = || validators.iter().map(|(who, key)| (who, key.clone()));
    Availability::on_new_session(true, session(), session());
}

/// The clock's epoch.
pub(crate) fn current_epoch() -> EpochIndex {
    MockClock::current_epoch()
}

/// Ends the epoch, as the chain's clock does.
pub(crate) fn next_epoch() {
    let ended = current_epoch();
    MockClock::advance_epochs(1);
    Availability::on_epoch_end(ended);
}

/// Ends so many epochs, with blocks that have room for all of the hook's work.
pub(crate) fn pass_epochs(count: u32) {
    for _ in 0..count {
        next_epoch();
        poll();
    }
}

/// The registry gives a machine a status.
pub(crate) fn set_status(machine: MachineId, status: Option<MachineStatus>) {
    ChangedStatus::mutate(|changed| changed.insert(machine, status));
}

/// The validators that watch a machine, by their places.
pub(crate) fn assigned(machine: MachineId, epoch: EpochIndex) -> Vec<u32> {
    Availability::assigned(machine, epoch).unwrap().into_inner()
}

/// The machines that a validator watches, by its place.
pub(crate) fn machines_of(validator_index: u32, epoch: EpochIndex) -> Vec<MachineId> {
    (0..MACHINES)
        .filter(|machine| assigned(*machine, epoch).contains(&validator_index))
        .collect()
}

/// Signs a part of a report as its validator does.
pub(crate) fn sign_part(
    signer: u32,
    epoch: EpochIndex,
    validator_index: u32,
    after: Option<MachineId>,
    failures: &[MachineId],
) -> AvailabilitySignature {
    let genesis_hash = System::block_hash(0);
    pair(signer).sign(&report_message(
        genesis_hash.as_ref(),
        epoch,
        validator_index,
        after,
        failures,
    ))
}

/// Signs a report of one part as its validator does.
pub(crate) fn sign(
    signer: u32,
    epoch: EpochIndex,
    validator_index: u32,
    failures: &[MachineId],
) -> AvailabilitySignature {
    sign_part(signer, epoch, validator_index, None, failures)
}

/// A part of a report that its validator signed; validators have the places of their numbers.
pub(crate) fn signed_part(
    epoch: EpochIndex,
    validator: u32,
    after: Option<MachineId>,
    failures: &[MachineId],
) -> crate::Call<Test> {
    crate::Call::report {
        epoch,
        validator_index: validator,
        after,
        failures: failures.to_vec().try_into().unwrap(),
        signature: sign_part(validator, epoch, validator, after, failures),
    }
}

/// A report that its validator signed.
pub(crate) fn signed_report(epoch: EpochIndex, validator: u32, failures: &[MachineId]) -> crate::Call<Test> {
    signed_part(epoch, validator, None, failures)
}

/// Returns the transaction pool's verdict on a report.
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

/// Sends a part of a report through the pool into a block.
pub(crate) fn report_part(
    epoch: EpochIndex,
    validator: u32,
    after: Option<MachineId>,
    failures: &[MachineId],
) {
    let call = signed_part(epoch, validator, after, failures);
    authorize(call.clone()).unwrap();
    dispatch_authorized(call).unwrap();
}

/// Sends a report through the pool into a block.
pub(crate) fn report(epoch: EpochIndex, validator: u32, failures: &[MachineId]) {
    report_part(epoch, validator, None, failures);
}

/// Sends a report in as many parts as its failures take, the last of which is not full.
pub(crate) fn report_all(epoch: EpochIndex, validator: u32, failures: &[MachineId]) {
    let mut after = None;
    let mut rest = failures;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(MAX_FAILURES as usize));
        report_part(epoch, validator, after, part);
        if part.len() < MAX_FAILURES as usize {
            break;
        }
        (after, rest) = (part.last().copied(), behind);
    }
}

/// All of these validators report that they saw everything but `failures`, as far as those were theirs to
/// watch.
pub(crate) fn reports(epoch: EpochIndex, of: impl IntoIterator<Item = u32>, failures: &[MachineId]) {
    for validator in of {
        let own: Vec<MachineId> = failures
            .iter()
            .copied()
            .filter(|machine| assigned(*machine, epoch).contains(&validator))
            .collect();
        report_all(epoch, validator, &own);
    }
}

/// Updates a machine's average as somebody who has nothing to do with it.
pub(crate) fn update_uptime(machine: MachineId, max_epochs: u32) -> DispatchResult {
    Availability::update_uptime(RuntimeOrigin::signed(STRANGER), machine, max_epochs)
        .map(|_| ())
        .map_err(|error| error.error)
}

/// Claims for a validator as somebody else.
pub(crate) fn claim(validator: u32) -> DispatchResult {
    Availability::claim(RuntimeOrigin::signed(STRANGER), stash(validator))
}

/// Plancks that a validator is owed.
pub(crate) fn owed(validator: u32) -> Balance {
    crate::Rewards::<Test>::get(stash(validator))
}

/// Runs the hook with so much weight left in the block, and returns how much it took.
pub(crate) fn poll_with(weight: Weight) -> Weight {
    let mut meter = WeightMeter::with_limit(weight);
    Availability::on_poll(System::block_number(), &mut meter);
    meter.consumed()
}

/// Runs the hook in empty blocks until it has nothing to do.
pub(crate) fn poll() {
    loop {
        let before = (
            crate::Settlement::<Test>::get(),
            crate::OldestEpoch::<Test>::get(),
        );
        poll_with(Weight::MAX);
        if before
            == (
                crate::Settlement::<Test>::get(),
                crate::OldestEpoch::<Test>::get(),
            )
        {
            break;
        }
    }
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}
