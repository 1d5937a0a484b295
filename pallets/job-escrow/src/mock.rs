//! A runtime of balances, preimages and a small registry whose machines the tests set up by hand.

#![allow(clippy::unwrap_used)]

use assay_primitives::{
    attestation::{AttestedKeys, AttestedSigners},
    clock::{ActiveClock, EpochIndex, MILLIS_PER_HOUR, Millis},
    emission::{EpochUptime, FlywheelLedger},
    job::ResultStatement,
    machine::{LeaseEnd, LeaseTerms, MachineId, MachineInspect, MachineLease, MachineStatus},
    market::{FindError, MachineMatching, MatchingLease, Requirements},
    money::{ASY, Balance, MICRO_ASY, MILLI_ASY},
};
pub(crate) use assay_test_support::MockClock;
use codec::{Decode, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{
        Twox64Concat, assert_ok, construct_runtime, derive_impl, parameter_types, storage_alias,
        traits::{
            ConstU32, ConstU64, ConstU128, Get, LinearStoragePrice, StorePreimage,
            fungible::{HoldConsideration, Inspect, InspectHold, Mutate},
        },
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances, pallet_preimage,
    sp_core::H256,
    sp_io::TestExternalities,
    sp_runtime::{
        BuildStorage, DispatchError, DispatchResult, Permill,
        testing::TestSignature,
        traits::{BlakeTwo256, Hash},
    },
};
use scale_info::TypeInfo;

use crate::{
    self as pallet_job_escrow, AssignmentRecord, AuctionTerms, ChosenMachines, HoldReason, JobId, JobKind,
    JobOrder, JobRecord, JobTerms, Manifest, ManifestRef, Verification,
};

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
/// The only class that the registry knows, and that of every machine.
pub(crate) const GPU_TYPE: &[u8] = b"NVIDIA_H100";
/// The memory of every machine.
pub(crate) const RAM_MIB: u32 = 1_024;
/// Its ask: one ASY per slot and hour.
pub(crate) const ASK: Balance = ASY;

/// Balance that every consumer, provider, worker and stranger starts with.
pub(crate) const ENDOWMENT: Balance = 10_000 * ASY;

pub(crate) const EXISTENTIAL_DEPOSIT: Balance = MILLI_ASY;
pub(crate) const MINUTE_MS: Millis = 60_000;
pub(crate) const START_WINDOW_MS: Millis = 10 * MINUTE_MS;
pub(crate) const REVEAL_WINDOW_MS: Millis = 20 * MINUTE_MS;
pub(crate) const CONSUMER_WINDOW_MS: Millis = 30 * MINUTE_MS;
pub(crate) const MAX_VERIFICATION_MS: Millis = 24 * MILLIS_PER_HOUR;
pub(crate) const MAX_OPEN_MS: Millis = 7 * 24 * MILLIS_PER_HOUR;
pub(crate) const MAX_EPOCHS_PER_SETTLE: u32 = 4;
pub(crate) const BOUNTY: Balance = 50 * MILLI_ASY;
pub(crate) const JOB_DEPOSIT: Balance = 500 * MILLI_ASY;
pub(crate) const REQUEST_DEPOSIT: Balance = 200 * MILLI_ASY;
pub(crate) const ASSIGNMENT_DEPOSIT: Balance = 300 * MILLI_ASY;
pub(crate) const MANIFEST_BYTE_DEPOSIT: Balance = MICRO_ASY;
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
    pub storage Author: Option<AccountId> = Some(AUTHOR);
    pub storage Fee: Permill = Permill::from_percent(5);
    pub(crate) storage FeesNoted: Balance = 0;
    pub(crate) storage BurnsNoted: Balance = 0;
    pub(crate) storage LeasesEnded: Vec<(MachineId, LeaseEnd)> = Vec::new();
    pub(crate) storage FailuresCounted: Vec<MachineId> = Vec::new();
    pub(crate) storage Outages: Vec<(MachineId, EpochIndex, u32)> = Vec::new();
    pub(crate) storage EvidenceKept: Vec<MockEvidence> = Vec::new();
    pub storage HoldBack: Permill = Permill::from_percent(10);
    pub const Treasury: AccountId = TREASURY;
}

impl pallet_job_escrow::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Machines = MockRegistry;
    type Matching = MockRegistry;
    type AttestedSigners = MockAttestation;
    type StatementSignature = TestSignature;
    type Uptime = MockUptime;
    type Clock = MockClock;
    type Preimages = Preimage;
    type Flywheel = MockFlywheel;
    type BlockAuthor = Author;
    type TreasuryAccount = Treasury;
    type Terms = MockTerms;
    type MaxVerificationMs = ConstU64<MAX_VERIFICATION_MS>;
    type MaxOpenMs = ConstU64<MAX_OPEN_MS>;
    type MinDurationMs = ConstU64<1_000>;
    type MaxDurationMs = ConstU64<MAX_DURATION_MS>;
    type MaxManifestBytes = ConstU32<MAX_MANIFEST_BYTES>;
    type MaxEpochsPerSettle = ConstU32<MAX_EPOCHS_PER_SETTLE>;
    type JobDeposit = ConstU128<JOB_DEPOSIT>;
    type RequestDeposit = ConstU128<REQUEST_DEPOSIT>;
    type AssignmentDeposit = ConstU128<ASSIGNMENT_DEPOSIT>;
    type ManifestByteDeposit = ConstU128<MANIFEST_BYTE_DEPOSIT>;
    #[cfg(feature = "runtime-benchmarks")]
    type BenchmarkHelper = MockSigner;
    type WeightInfo = ();
}

/// Terms whose fee and hold-back the tests set.
pub struct MockTerms;

impl Get<JobTerms> for MockTerms {
    fn get() -> JobTerms {
        JobTerms {
            protocol_fee: Fee::get(),
            hold_back: HoldBack::get(),
            bounty: BOUNTY,
            start_window_ms: START_WINDOW_MS,
            reveal_window_ms: REVEAL_WINDOW_MS,
        }
    }
}

/// Active time, as [`MockClock`] tells it.
pub(crate) struct NowMs;

impl NowMs {
    pub(crate) fn get() -> Millis {
        MockClock::now_ms()
    }
}

/// Knows the outages that [`Outages`] lists, and closes an epoch when the next one has ended.
pub struct MockUptime;

impl EpochUptime for MockUptime {
    fn uptime_ppm(machine: MachineId, epoch: EpochIndex) -> u32 {
        Outages::get()
            .into_iter()
            .find(|(down, at, _)| (*down, *at) == (machine, epoch))
            .map_or(1_000_000, |(_, _, uptime_ppm)| uptime_ppm)
    }

    fn first_open_epoch() -> EpochIndex {
        MockClock::current_epoch().saturating_sub(1)
    }

    fn count_failure(machine: MachineId) {
        FailuresCounted::set(&[FailuresCounted::get(), vec![machine]].concat());
    }
}

/// Evidence of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct MockEvidence {
    pub(crate) machine: MachineId,
    /// The key that it is bound to.
    pub(crate) worker: AccountId,
    /// The first active time at which it counts no more.
    pub(crate) ends_ms: Millis,
    /// True for evidence of a processor, false for that of a GPU.
    pub(crate) is_of_processor: bool,
}

/// Knows the evidence that [`EvidenceKept`] lists. As on a chain, it counts until its end, for the machine's
/// present key.
pub struct MockAttestation;

impl AttestedSigners<AccountId> for MockAttestation {
    fn attested_keys(machine: MachineId) -> Option<AttestedKeys<AccountId>> {
        let worker = Machines::get(machine)?.worker;
        let ends_ms = EvidenceKept::get()
            .into_iter()
            .filter(|evidence| evidence.machine == machine && evidence.worker == worker)
            .filter(|evidence| evidence.is_of_processor && NowMs::get() < evidence.ends_ms)
            .map(|evidence| evidence.ends_ms)
            .max()?;
        Some(AttestedKeys {
            worker_key: worker,
            sealing_key: [7; 32],
            until_s: ends_ms / 1_000,
        })
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_attest(machine: MachineId) {
        attest(machine, MAX_DURATION_MS);
    }
}

/// Makes keys whose signatures are those of [`sign`].
#[cfg(feature = "runtime-benchmarks")]
pub struct MockSigner;

#[cfg(feature = "runtime-benchmarks")]
impl crate::BenchmarkHelper<AccountId, TestSignature> for MockSigner {
    fn worker() -> AccountId {
        WORKER + 9
    }

    fn sign(worker: &AccountId, message: &[u8]) -> TestSignature {
        TestSignature(*worker, message.to_vec())
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
    /// True if it takes nothing more and finishes the jobs that it has.
    pub(crate) draining: bool,
    pub(crate) ram_mib: u32,
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

    fn release(machine: MachineId, slots: u8, end: LeaseEnd) -> DispatchResult {
        LeasesEnded::set(&[LeasesEnded::get(), vec![(machine, end)]].concat());
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

    fn extension_ask(machine: MachineId) -> Option<Balance> {
        Machines::get(machine)
            .filter(|record| !record.draining)
            .map(|record| record.ask)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_activate(machine: MachineId) {
        Machines::mutate(machine, |record| record.as_mut().unwrap().active = true);
    }
}

impl MachineMatching for MockRegistry {
    fn check(requirements: &Requirements) -> Result<(), FindError> {
        match &requirements.gpu_type {
            Some(name) if name.as_slice() != GPU_TYPE => Err(FindError::UnknownGpuType),
            _ => requirements.check_form(),
        }
    }

    fn meets(requirements: &Requirements, machine: MachineId) -> bool {
        Machines::get(machine).is_some_and(|record| {
            record.active
                && requirements
                    .gpu_type
                    .as_ref()
                    .is_none_or(|name| name.as_slice() == GPU_TYPE)
                && record.free_slots >= requirements.slots()
                && record.ram_mib >= requirements.min_ram_mib
                && requirements
                    .max_price_per_slot_hour
                    .is_none_or(|price| record.ask <= price)
        })
    }
}

impl MatchingLease<AccountId> for MockRegistry {}

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
            draining: false,
            ram_mib: RAM_MIB,
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
        MockClock::reset();
        MockClock::set_now_ms(100 * MILLIS_PER_HOUR);
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
    MockClock::advance_ms(duration_ms);
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

/// A second and a third machine, of other providers, with their workers.
pub(crate) const OTHERS: [(MachineId, AccountId, AccountId); 2] =
    [(8, PROVIDER + 1, WORKER + 1), (9, PROVIDER + 2, WORKER + 2)];

/// Every machine with its provider and worker.
pub(crate) const ALL: [(MachineId, AccountId, AccountId); 3] =
    [(MACHINE, PROVIDER, WORKER), OTHERS[0], OTHERS[1]];

/// Adds [`OTHERS`].
pub(crate) fn add_others() {
    for (machine, provider, worker) in OTHERS {
        add_machine(machine, provider, worker, SLOTS, ASK);
        for account in [provider, worker] {
            assert_ok!(<Balances as Mutate<AccountId>>::mint_into(&account, ENDOWMENT));
        }
    }
}

pub(crate) const SERVICE: JobKind = JobKind::Service;

/// A task that its consumer verifies.
pub(crate) const TASK: JobKind = JobKind::Task {
    verification: Verification::Consumer {
        window_ms: CONSUMER_WINDOW_MS,
    },
};

/// A task that three replicas verify, of which two must agree.
pub(crate) const QUORUM: JobKind = JobKind::Task {
    verification: Verification::Quorum {
        replicas: 3,
        threshold: 2,
    },
};

/// A task whose machine vouches for its result.
pub(crate) const ATTESTED: JobKind = JobKind::Task {
    verification: Verification::Attested,
};

/// The manifest of [`order`].
pub(crate) const MANIFEST: &[u8] = b"{\"image\":\"localhost:5000/job@sha256:00\"}";

/// The digest of the image of [`order`].
pub(crate) const IMAGE_DIGEST: H256 = H256::repeat_byte(0xab);

/// An order of two slots for one hour, at no more than [`ASK`]: 2 ASY a machine.
pub(crate) fn order(kind: JobKind) -> JobOrder {
    JobOrder {
        kind,
        manifest: Manifest::Public(note_manifest(MANIFEST)),
        image_digest: IMAGE_DIGEST,
        requirements: Requirements::default(),
        slots: 2,
        max_duration_ms: MILLIS_PER_HOUR,
        max_price_per_slot_hour: ASK,
    }
}

/// An auction from a tenth of [`ASK`] to all of it in an hour, open for two.
pub(crate) fn auction() -> AuctionTerms {
    AuctionTerms {
        floor_price_per_slot_hour: ASK / 10,
        rise_ms: MILLIS_PER_HOUR,
        open_ms: 2 * MILLIS_PER_HOUR,
    }
}

/// Plancks held for the bytes of [`MANIFEST`].
pub(crate) const MANIFEST_DEPOSIT: Balance = MANIFEST_BYTE_DEPOSIT * MANIFEST.len() as Balance;

/// Plancks held besides the price of an order with [`MANIFEST`].
pub(crate) fn deposit_for(nodes: u8, max_duration_ms: Millis, is_request: bool) -> Balance {
    JobEscrow::deposit_for(nodes, max_duration_ms, is_request, MANIFEST.len() as u32)
}

pub(crate) fn signed(account: AccountId) -> RuntimeOrigin {
    RuntimeOrigin::signed(account)
}

/// Machines as a call takes them.
pub(crate) fn chosen(machines: &[MachineId]) -> ChosenMachines {
    machines.to_vec().try_into().unwrap()
}

/// Deploys [`order`] to [`MACHINE`] for [`CONSUMER`].
pub(crate) fn deploy(kind: JobKind) -> JobId {
    deploy_order(order(kind))
}

/// Deploys an order to [`MACHINE`] for [`CONSUMER`].
pub(crate) fn deploy_order(order: JobOrder) -> JobId {
    deploy_to(order, &[MACHINE])
}

/// Deploys an order to machines for [`CONSUMER`].
pub(crate) fn deploy_to(order: JobOrder, machines: &[MachineId]) -> JobId {
    let job = crate::NextJobId::<Test>::get();
    assert_ok!(JobEscrow::deploy(signed(CONSUMER), order, chosen(machines)));
    job
}

/// Requests [`order`] for [`CONSUMER`] by [`auction`].
pub(crate) fn request(kind: JobKind, nodes: u8) -> JobId {
    let job = crate::NextJobId::<Test>::get();
    assert_ok!(JobEscrow::request(
        signed(CONSUMER),
        order(kind),
        nodes,
        auction()
    ));
    job
}

/// Deploys and starts.
pub(crate) fn run(kind: JobKind) -> JobId {
    run_order(order(kind))
}

/// Deploys and starts an order.
pub(crate) fn run_order(order: JobOrder) -> JobId {
    let job = deploy_order(order);
    assert_ok!(JobEscrow::start(signed(WORKER), job));
    job
}

/// Deploys a task, runs it for half of its time and gives its result.
pub(crate) fn finish_task() -> JobId {
    let job = run(TASK);
    advance(MILLIS_PER_HOUR / 2);
    assert_ok!(JobEscrow::submit_result(
        signed(WORKER),
        job,
        H256::repeat_byte(1)
    ));
    job
}

/// Gives a machine evidence of its processor's TEE for its present key, for so long from now on.
pub(crate) fn attest(machine: MachineId, lifetime_ms: Millis) {
    let evidence = MockEvidence {
        machine,
        worker: Machines::get(machine).unwrap().worker,
        ends_ms: NowMs::get() + lifetime_ms,
        is_of_processor: true,
    };
    EvidenceKept::set(&[EvidenceKept::get(), vec![evidence]].concat());
}

/// Takes all of a machine's evidence.
pub(crate) fn drop_evidence(machine: MachineId) {
    let mut kept = EvidenceKept::get();
    kept.retain(|evidence| evidence.machine != machine);
    EvidenceKept::set(&kept);
}

/// Statement of a machine that ran [`order`] on a result.
pub(crate) fn statement(job: JobId, machine: MachineId, result_hash: H256) -> ResultStatement {
    ResultStatement {
        job,
        machine,
        image_digest: IMAGE_DIGEST.0,
        manifest_hash: BlakeTwo256::hash(MANIFEST).0,
        result_hash: result_hash.0,
    }
}

/// A statement, signed by a key for this chain.
pub(crate) fn sign(worker: AccountId, statement: ResultStatement) -> TestSignature {
    let genesis_hash = System::block_hash(0);
    TestSignature(worker, statement.message(genesis_hash.as_ref()))
}

/// Gives the result of an attested task that ran [`order`].
pub(crate) fn submit_attested(
    worker: AccountId,
    job: JobId,
    machine: MachineId,
    result_hash: H256,
) -> DispatchResult {
    let signature = sign(worker, statement(job, machine, result_hash));
    JobEscrow::submit_attested_result(signed(worker), job, result_hash, signature)
}

/// The record of a job that is open.
pub(crate) fn job_record(job: JobId) -> JobRecord<AccountId> {
    crate::Jobs::<Test>::get(job).unwrap()
}

/// A machine's part in a job.
pub(crate) fn part(job: JobId, machine: MachineId) -> AssignmentRecord<AccountId> {
    crate::Assignments::<Test>::get(job, machine).unwrap()
}

/// Returns true if nothing of a job is left.
pub(crate) fn is_gone(job: JobId) -> bool {
    !crate::Jobs::<Test>::contains_key(job)
        && !crate::Requests::<Test>::contains_key(job)
        && crate::Assignments::<Test>::iter_prefix(job).next().is_none()
}

/// Lets time pass until every epoch before now is closed, and settles until nothing of a machine's part is
/// left.
pub(crate) fn settle_all(job: JobId, machine: MachineId) {
    advance(2 * MILLIS_PER_HOUR);
    while crate::Assignments::<Test>::contains_key(job, machine) {
        assert_ok!(JobEscrow::settle(signed(PROVIDER), job, machine));
    }
}

/// Returns the provider's part of a payment, without the protocol fee.
pub(crate) fn net(amount: Balance) -> Balance {
    amount - Fee::get().mul_floor(amount)
}

/// Plancks in escrow of an account.
pub(crate) fn escrow_of(consumer: AccountId) -> Balance {
    held_of(consumer).0
}

/// Plancks of an account that are held for bytes and bounties.
pub(crate) fn deposit_of(consumer: AccountId) -> Balance {
    held_of(consumer).1
}

/// Escrow and deposits of an account by the records of its jobs. Together they are all that is held of it.
fn held_of(consumer: AccountId) -> (Balance, Balance) {
    let (mut escrow, mut deposit) = (0, 0);
    for (job, record) in crate::Jobs::<Test>::iter().filter(|(_, record)| record.consumer == consumer) {
        let assigned: Balance = crate::Assignments::<Test>::iter_prefix_values(job)
            .map(|assignment| assignment.escrowed)
            .sum();
        escrow += assigned + record.open_place_price().unwrap() * Balance::from(record.open_places);
        deposit += record.deposit + record.bounties;
    }
    let held = Balances::balance_on_hold(&HoldReason::Job.into(), &consumer);
    assert_eq!(held, escrow + deposit, "what is held is what the records say");
    (escrow, deposit)
}

/// Returns an account's balance, held or not.
pub(crate) fn wealth(account: AccountId) -> Balance {
    <Balances as Inspect<AccountId>>::total_balance(&account)
}

/// Free plancks of an account.
pub(crate) fn free(account: AccountId) -> Balance {
    Balances::free_balance(account)
}

/// Returns the number of failures of a machine that lower its place in the market.
pub(crate) fn failures_of(machine: MachineId) -> usize {
    FailuresCounted::get()
        .into_iter()
        .filter(|failed| *failed == machine)
        .count()
}

/// Returns the end of a machine's last lease.
pub(crate) fn last_lease_end(machine: MachineId) -> Option<LeaseEnd> {
    LeasesEnded::get()
        .into_iter()
        .rev()
        .find(|(of, _)| *of == machine)
        .map(|(_, end)| end)
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
