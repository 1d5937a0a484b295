//! A runtime of balances, preimages and a small registry whose machines the tests set up by hand.

#![allow(clippy::unwrap_used)]

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, MILLIS_PER_HOUR, Millis},
    emission::FlywheelLedger,
    machine::{LeaseTerms, MachineId, MachineInspect, MachineLease, MachineStatus},
    money::{ASY, Balance, MICRO_ASY, MILLI_ASY},
    offence::{Beneficiaries, Offence, ReportOffence, SlashId},
};
use codec::{Decode, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{
        Twox64Concat, assert_ok, construct_runtime, derive_impl, parameter_types, storage_alias,
        traits::{
            ConstU32, ConstU64, ConstU128, LinearStoragePrice, StorePreimage,
            fungible::{HoldConsideration, InspectHold, Mutate},
        },
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances, pallet_preimage,
    sp_core::H256,
    sp_io::TestExternalities,
    sp_runtime::{
        BuildStorage, DispatchError, DispatchResult, Permill,
        traits::{BlakeTwo256, Hash},
    },
};
use scale_info::TypeInfo;

use crate::{self as pallet_job_escrow, HoldReason, JobId, JobKind, JobOrder, ManifestRef};

pub(crate) type AccountId = u64;

pub(crate) const TREASURY: AccountId = 1;
pub(crate) const AUTHOR: AccountId = 2;
pub(crate) const CONSUMER: AccountId = 10;
pub(crate) const OTHER_CONSUMER: AccountId = 11;
pub(crate) const PROVIDER: AccountId = 20;
pub(crate) const WORKER: AccountId = 30;
pub(crate) const STRANGER: AccountId = 40;

/// The machine that most tests use: of [`PROVIDER`], with [`WORKER`]'s key.
pub(crate) const MACHINE: MachineId = 7;
/// Its slots.
pub(crate) const SLOTS: u8 = 4;
/// Its ask: one ASY per slot and hour.
pub(crate) const ASK: Balance = ASY;

/// What every consumer, provider, worker and stranger starts with.
pub(crate) const ENDOWMENT: Balance = 10_000 * ASY;

pub(crate) const EXISTENTIAL_DEPOSIT: Balance = MILLI_ASY;
pub(crate) const MINUTE_MS: Millis = 60_000;
pub(crate) const START_WINDOW_MS: Millis = 10 * MINUTE_MS;
pub(crate) const CONSUMER_WINDOW_MS: Millis = 30 * MINUTE_MS;
pub(crate) const MAX_DURATION_MS: Millis = 365 * 24 * MILLIS_PER_HOUR;
pub(crate) const MAX_MANIFEST_BYTES: u32 = 16 * 1_024;

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Preimage: pallet_preimage,
        JobEscrow: pallet_job_escrow,
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
    pub const PreimageDeposit: RuntimeHoldReason =
        RuntimeHoldReason::Preimage(pallet_preimage::HoldReason::Preimage);
}

impl pallet_preimage::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type Currency = Balances;
    type ManagerOrigin = EnsureRoot<AccountId>;
    type Consideration = HoldConsideration<
        AccountId,
        Balances,
        PreimageDeposit,
        LinearStoragePrice<ConstU128<MILLI_ASY>, ConstU128<MICRO_ASY>, Balance>,
    >;
}

// Kept in storage, so that a failing call takes its changes back as it does on a chain.
parameter_types! {
    pub(crate) storage NowMs: Millis = 1_000_000;
    pub storage Author: Option<AccountId> = Some(AUTHOR);
    pub storage Fee: Permill = Permill::from_percent(5);
    pub(crate) storage FeesNoted: Balance = 0;
    pub(crate) storage BurnsNoted: Balance = 0;
    pub(crate) storage OffencesHeard: Vec<(MachineId, Offence)> = Vec::new();
    pub const Treasury: AccountId = TREASURY;
}

impl pallet_job_escrow::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Machines = MockRegistry;
    type Clock = MockClock;
    type Preimages = Preimage;
    type Flywheel = MockFlywheel;
    type Offences = MockStakes;
    type BlockAuthor = Author;
    type TreasuryAccount = Treasury;
    type ProtocolFee = Fee;
    type StartWindowMs = ConstU64<START_WINDOW_MS>;
    type ConsumerWindowMs = ConstU64<CONSUMER_WINDOW_MS>;
    type MinDurationMs = ConstU64<1_000>;
    type MaxDurationMs = ConstU64<MAX_DURATION_MS>;
    type MaxManifestBytes = ConstU32<MAX_MANIFEST_BYTES>;
    type WeightInfo = ();
}

/// The clock that [`NowMs`] sets.
pub struct MockClock;

impl ActiveClock for MockClock {
    fn now_ms() -> Millis {
        NowMs::get()
    }

    fn current_epoch() -> EpochIndex {
        (NowMs::get() / MILLIS_PER_HOUR) as EpochIndex
    }

    fn epoch_duration_ms() -> Millis {
        MILLIS_PER_HOUR
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_ms(now: Millis) {
        NowMs::set(&now);
    }
}

/// Writes down the offences it hears of.
pub struct MockStakes;

impl ReportOffence<AccountId> for MockStakes {
    fn report_offence(
        machine: MachineId,
        offence: Offence,
        beneficiaries: Beneficiaries<AccountId>,
    ) -> Result<SlashId, DispatchError> {
        assert_eq!(beneficiaries, Beneficiaries::nobody());
        OffencesHeard::set(&[OffencesHeard::get(), vec![(machine, offence)]].concat());
        Ok(SlashId {
            due_epoch: 1,
            index: 0,
        })
    }
}

/// Adds up what it hears.
pub struct MockFlywheel;

impl FlywheelLedger for MockFlywheel {
    fn note_fee(fee: Balance, burned: Balance) {
        FeesNoted::set(&(FeesNoted::get() + fee));
        BurnsNoted::set(&(BurnsNoted::get() + burned));
    }
}

/// A machine of [`MockRegistry`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub(crate) struct MockMachine {
    pub(crate) provider: AccountId,
    pub(crate) worker: AccountId,
    pub(crate) slots: u8,
    pub(crate) free_slots: u8,
    pub(crate) ask: Balance,
    pub(crate) active: bool,
}

#[storage_alias]
pub(crate) type Machines = StorageMap<MockRegistry, Twox64Concat, MachineId, MockMachine>;

pub(crate) const NO_SUCH_MACHINE: DispatchError = DispatchError::Other("no such machine");
pub(crate) const NOT_ACTIVE: DispatchError = DispatchError::Other("machine is not active");
pub(crate) const TOO_FEW_SLOTS: DispatchError = DispatchError::Other("too few free slots");

/// A registry without rules of its own.
pub struct MockRegistry;

impl MachineInspect<AccountId> for MockRegistry {
    fn provider_of(machine: MachineId) -> Option<AccountId> {
        Machines::get(machine).map(|record| record.provider)
    }

    fn machine_of_worker(worker_key: &AccountId) -> Option<MachineId> {
        Machines::iter()
            .find(|(_, record)| record.worker == *worker_key)
            .map(|(machine, _)| machine)
    }

    fn status(machine: MachineId) -> Option<MachineStatus> {
        Machines::get(machine).map(|record| match record.active {
            true => MachineStatus::Active,
            false => MachineStatus::Unproven,
        })
    }

    fn class_stake(_: MachineId) -> Option<Balance> {
        None
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(provider: &AccountId, worker_key: &AccountId, slots: u8) -> MachineId {
        let machine = Machines::iter_keys().max().map_or(0, |last| last + 1);
        add_machine(machine, *provider, *worker_key, slots, ASK);
        Machines::mutate(machine, |record| record.as_mut().unwrap().active = false);
        machine
    }
}

impl MachineLease<AccountId> for MockRegistry {
    fn lease(machine: MachineId, slots: u8) -> Result<LeaseTerms<AccountId>, DispatchError> {
        Machines::try_mutate(machine, |record| {
            let record = record.as_mut().ok_or(NO_SUCH_MACHINE)?;
            if !record.active {
                return Err(NOT_ACTIVE);
            }
            record.free_slots = record.free_slots.checked_sub(slots).ok_or(TOO_FEW_SLOTS)?;
            Ok(LeaseTerms {
                provider: record.provider,
                price_per_slot_hour: record.ask,
            })
        })
    }

    fn release(machine: MachineId, slots: u8) -> DispatchResult {
        Machines::try_mutate(machine, |record| {
            let record = record.as_mut().ok_or(NO_SUCH_MACHINE)?;
            record.free_slots += slots;
            assert!(
                record.free_slots <= record.slots,
                "more slots given back than taken"
            );
            Ok(())
        })
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_activate(machine: MachineId) {
        Machines::mutate(machine, |record| record.as_mut().unwrap().active = true);
    }
}

/// Adds an active machine.
pub(crate) fn add_machine(
    machine: MachineId,
    provider: AccountId,
    worker: AccountId,
    slots: u8,
    ask: Balance,
) {
    Machines::insert(
        machine,
        MockMachine {
            provider,
            worker,
            slots,
            free_slots: slots,
            ask,
            active: true,
        },
    );
}

/// Builds the state that a test starts from.
pub(crate) struct ExtBuilder {
    treasury: Balance,
    author: Balance,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        Self {
            treasury: ASY,
            author: ASY,
        }
    }
}

impl ExtBuilder {
    /// The treasury's account does not exist.
    pub(crate) fn without_treasury(mut self) -> Self {
        self.treasury = 0;
        self
    }

    /// The author's account does not exist.
    pub(crate) fn without_author(mut self) -> Self {
        self.author = 0;
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        let mut balances: Vec<_> = [CONSUMER, OTHER_CONSUMER, PROVIDER, WORKER, STRANGER]
            .into_iter()
            .map(|account| (account, ENDOWMENT))
            .collect();
        balances.extend(
            [(TREASURY, self.treasury), (AUTHOR, self.author)]
                .into_iter()
                .filter(|(_, amount)| *amount > 0),
        );
        let storage = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances,
                ..Default::default()
            },
            ..Default::default()
        }
        .build_storage()
        .unwrap();
        let mut ext = TestExternalities::new(storage);
        ext.execute_with(|| {
            System::set_block_number(1);
            add_machine(MACHINE, PROVIDER, WORKER, SLOTS, ASK);
        });
        ext
    }

    /// Runs a test and checks the invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            JobEscrow::do_try_state().unwrap();
        });
    }
}

#[cfg(feature = "runtime-benchmarks")]
pub(crate) fn new_test_ext() -> TestExternalities {
    ExtBuilder::default().build()
}

/// Lets active time pass.
pub(crate) fn advance(duration_ms: Millis) {
    NowMs::set(&(NowMs::get() + duration_ms));
}

/// Notes a manifest and tells its reference.
pub(crate) fn note_manifest(bytes: &[u8]) -> ManifestRef {
    let hash = <Preimage as StorePreimage>::note(bytes.to_vec().into()).unwrap();
    ManifestRef {
        hash,
        length_bytes: bytes.len() as u32,
    }
}

/// Notes a manifest as a consumer does, against a deposit.
pub(crate) fn note_manifest_by(consumer: AccountId, bytes: &[u8]) -> ManifestRef {
    assert_ok!(Preimage::note_preimage(
        RuntimeOrigin::signed(consumer),
        bytes.to_vec()
    ));
    ManifestRef {
        hash: BlakeTwo256::hash(bytes),
        length_bytes: bytes.len() as u32,
    }
}

/// An order of two slots of [`MACHINE`] for one hour: 2 ASY.
pub(crate) fn order(kind: JobKind) -> JobOrder {
    JobOrder {
        machine: MACHINE,
        slots: 2,
        kind,
        manifest: note_manifest(b"{\"image\":\"localhost:5000/job@sha256:00\"}"),
        image_digest: H256::repeat_byte(0xab),
        max_duration_ms: MILLIS_PER_HOUR,
        max_price_per_slot_hour: ASK,
    }
}

/// Deploys [`order`] for [`CONSUMER`].
pub(crate) fn deploy(kind: JobKind) -> JobId {
    deploy_order(order(kind))
}

/// Deploys an order for [`CONSUMER`].
pub(crate) fn deploy_order(order: JobOrder) -> JobId {
    let job = crate::NextJobId::<Test>::get();
    assert_ok!(JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order));
    job
}

/// Deploys and starts.
pub(crate) fn run(kind: JobKind) -> JobId {
    let job = deploy(kind);
    assert_ok!(JobEscrow::start(RuntimeOrigin::signed(WORKER), job));
    job
}

/// Deploys a task, runs it for half of its time and gives its result.
pub(crate) fn finish_task() -> JobId {
    let job = run(JobKind::Task);
    advance(MILLIS_PER_HOUR / 2);
    assert_ok!(JobEscrow::submit_result(
        RuntimeOrigin::signed(WORKER),
        job,
        H256::repeat_byte(1)
    ));
    job
}

/// Plancks in escrow of an account.
pub(crate) fn escrow_of(consumer: AccountId) -> Balance {
    Balances::balance_on_hold(&HoldReason::Escrow.into(), &consumer)
}

/// Free plancks of an account.
pub(crate) fn free(account: AccountId) -> Balance {
    Balances::free_balance(account)
}

/// Free slots of a machine.
pub(crate) fn free_slots(machine: MachineId) -> u8 {
    Machines::get(machine).unwrap().free_slots
}

/// Makes an account disappear.
pub(crate) fn kill(account: AccountId) {
    <Balances as Mutate<AccountId>>::set_balance(&account, 0);
}

/// This pallet's events since the last call, oldest first.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}
