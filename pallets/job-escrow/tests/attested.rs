//! Attested tasks with the real registry, the real records of evidence and real signatures.

#![allow(clippy::unwrap_used, missing_docs)]

use assay_primitives::{
    attestation::{AttestedSigners, MachineIdentities},
    clock::{MILLIS_PER_HOUR, WallClock},
    job::{JobId, ResultStatement},
    machine::{HardwareClassId, MachineId},
    market::{Requirements, TeeKind},
    money::{ASY, Balance, MICRO_ASY, MILLI_ASY},
};
use assay_test_support::{MockClock, SufficientBonds, market, worker_account, worker_pair};
use pallet_attestation::{EXPIRY_SLOT_S, EvidenceId, EvidenceRecord, MachineEvidence, keys_digest};
use pallet_job_escrow::{
    AssignmentState, AuctionTerms, Error, JobKind, JobOrder, JobTerms, Manifest, Outcome, Verification,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok, construct_runtime, derive_impl, parameter_types,
        traits::{ConstU32, ConstU64, ConstU128, fungible::Inspect},
        weights::Weight,
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances, pallet_preimage,
    sp_core::{H256, Pair, ed25519},
    sp_io::TestExternalities,
    sp_runtime::{
        AccountId32, BuildStorage, DispatchResult, MultiSignature, Permill, traits::IdentityLookup,
    },
};

type AccountId = AccountId32;

const PROVIDER: AccountId = AccountId::new([1; 32]);
const CONSUMER: AccountId = AccountId::new([2; 32]);
const TREASURY: AccountId = AccountId::new([3; 32]);
const CLASS: HardwareClassId = 0;
const NOW_S: u64 = 1_800_000_000;
const IMAGE_DIGEST: [u8; 32] = [0xab; 32];
const MANIFEST_HASH: [u8; 32] = [0x5e; 32];
const RESULT: H256 = H256::repeat_byte(0xcd);

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Preimage: pallet_preimage,
        Registry: pallet_provider_registry,
        Attestation: pallet_attestation,
        JobEscrow: pallet_job_escrow,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = MockBlock<Test>;
    type AccountId = AccountId;
    type Lookup = IdentityLookup<AccountId>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<MILLI_ASY>;
}

parameter_types! {
    pub const ServiceWeight: Weight = Weight::from_parts(200_000_000_000, u64::MAX);
    pub const Terms: JobTerms = JobTerms {
        protocol_fee: Permill::from_percent(5),
        hold_back: Permill::from_percent(10),
        bounty: MILLI_ASY,
        start_window_ms: 600_000,
        reveal_window_ms: 60_000,
    };
    pub const Treasury: AccountId = TREASURY;
}

impl pallet_preimage::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type Currency = Balances;
    type ManagerOrigin = EnsureRoot<AccountId>;
    type Consideration = ();
}

impl pallet_provider_registry::Config for Test {
    type AdminOrigin = EnsureRoot<AccountId>;
    type Attestations = Attestation;
    type Bonds = SufficientBonds;
    type Clock = MockClock;
    type Currency = Balances;
    type HardwareProofs = ();
    type MachineDeposit = ConstU128<ASY>;
    type AskRaiseDelayMs = ConstU64<60_000>;
    type BondPerPoint = ConstU128<0>;
    type OnMachineRemoved = ();
    type ProviderDeposit = ConstU128<ASY>;
    type RewardWeights = ();
    type RuntimeHoldReason = RuntimeHoldReason;
    type WeightInfo = ();
}

impl pallet_attestation::Config for Test {
    type AdminOrigin = EnsureRoot<AccountId>;
    type ByteDeposit = ConstU128<MICRO_ASY>;
    type Currency = Balances;
    type EvidenceLifetimeS = ConstU64<86_400>;
    type ItemDeposit = ConstU128<MILLI_ASY>;
    type Machines = Registry;
    type MaxAnchorAge = ConstU64<8>;
    type MaxServiceWeight = ServiceWeight;
    type Offences = ();
    type OnAttestationChange = Registry;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WallClock = MockClock;
    type WeightInfo = ();
}

impl pallet_job_escrow::Config for Test {
    type AssignmentDeposit = ConstU128<MILLI_ASY>;
    type AttestedSigners = Attestation;
    #[cfg(feature = "runtime-benchmarks")]
    type BenchmarkHelper = ();
    type BlockAuthor = ();
    type Clock = MockClock;
    type Currency = Balances;
    type Flywheel = ();
    type JobDeposit = ConstU128<MILLI_ASY>;
    type Machines = Registry;
    type Matching = Registry;
    type MaxDurationMs = ConstU64<{ 100 * MILLIS_PER_HOUR }>;
    type MaxEpochsPerSettle = ConstU32<32>;
    type MaxManifestBytes = ConstU32<1_024>;
    type MaxOpenMs = ConstU64<MILLIS_PER_HOUR>;
    type MaxVerificationMs = ConstU64<MILLIS_PER_HOUR>;
    type MinDurationMs = ConstU64<1_000>;
    type ManifestByteDeposit = ConstU128<0>;
    type Preimages = Preimage;
    type RequestDeposit = ConstU128<MILLI_ASY>;
    type RuntimeHoldReason = RuntimeHoldReason;
    type StatementSignature = MultiSignature;
    type Terms = Terms;
    type TreasuryAccount = Treasury;
    type Uptime = ();
    type WeightInfo = ();
}

fn run(test: impl FnOnce()) {
    MockClock::reset();
    MockClock::set_now_s(NOW_S);
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: [PROVIDER, CONSUMER, TREASURY]
                .map(|account| (account, 1_000 * ASY))
                .to_vec(),
            ..Default::default()
        },
        registry: pallet_provider_registry::GenesisConfig {
            hardware_classes: vec![market::genesis_class(CLASS, "CPU", 0, 1)],
            ..Default::default()
        },
        ..Default::default()
    };
    let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
    externalities.execute_with(|| {
        System::set_block_number(1);
        market::register_provider::<Test>(&PROVIDER);
        test();
        Registry::do_try_state().unwrap();
        JobEscrow::do_try_state().unwrap();
    });
}

fn machine_of(number: u8) -> MachineId {
    market::active_machine::<Test>(&PROVIDER, CLASS, number)
}

/// Gives the machine another worker key and another sealing key.
fn rotate_keys(machine: MachineId, number: u8, sealing_key: [u8; 32]) {
    market::rotate_keys::<Test>(&PROVIDER, machine, number, sealing_key);
}

/// Writes down evidence for so many hours as it is kept once it was verified, which the pallet's own tests
/// do.
fn write_evidence(machine: MachineId, kind: TeeKind, hours: u64) {
    let identity = Registry::identity_of(machine).unwrap();
    let record = EvidenceRecord {
        id: EvidenceId {
            device: H256::repeat_byte(machine as u8 + 1),
            kind,
        },
        workload: H256::zero(),
        keys: keys_digest::<Test>(&identity),
        anchor: 1,
        expires: ((MockClock::now_s() + hours * 3_600) / EXPIRY_SLOT_S) as u32,
        deposit: 0,
    };
    let evidence = MachineEvidence {
        provider: identity.provider,
        records: vec![record].try_into().unwrap(),
    };
    pallet_attestation::Attested::<Test>::insert(machine, evidence);
}

fn order() -> JobOrder {
    JobOrder {
        kind: JobKind::Task {
            verification: Verification::Attested,
        },
        manifest: Manifest::Sealed {
            hash: MANIFEST_HASH.into(),
        },
        image_digest: IMAGE_DIGEST.into(),
        requirements: Requirements::default(),
        slots: 1,
        max_duration_ms: 10 * MILLIS_PER_HOUR,
        max_price_per_slot_hour: ASY,
    }
}

fn deploy(machine: MachineId) -> DispatchResult {
    let machines = vec![machine].try_into().unwrap();
    JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order(), machines)
}

/// Deploys to the machine and starts.
fn run_on(machine: MachineId, number: u8) -> JobId {
    assert_ok!(deploy(machine));
    let job = pallet_job_escrow::NextJobId::<Test>::get() - 1;
    assert_ok!(JobEscrow::start(
        RuntimeOrigin::signed(worker_account(number)),
        job
    ));
    job
}

fn message(job: JobId, machine: MachineId) -> Vec<u8> {
    let statement = ResultStatement {
        job,
        machine,
        image_digest: IMAGE_DIGEST,
        manifest_hash: MANIFEST_HASH,
        result_hash: RESULT.0,
    };
    statement.message(System::block_hash(0).as_ref())
}

fn submit(number: u8, job: JobId, signature: impl Into<MultiSignature>) -> DispatchResult {
    let origin = RuntimeOrigin::signed(worker_account(number));
    JobEscrow::submit_attested_result(origin, job, RESULT, signature.into())
}

fn pass(hours: u64) {
    MockClock::advance_ms(hours * MILLIS_PER_HOUR);
}

fn wealth(account: AccountId) -> Balance {
    <Balances as Inspect<AccountId>>::total_balance(&account)
}

#[test]
fn an_attested_task_goes_from_order_to_payment() {
    run(|| {
        let machine = machine_of(7);
        assert_noop!(deploy(machine), Error::<Test>::NotAttested);
        // A GPU's evidence vouches for no key.
        write_evidence(machine, TeeKind::NvidiaGpu, 24);
        assert_noop!(deploy(machine), Error::<Test>::NotAttested);

        for kind in [TeeKind::Sgx, TeeKind::SevSnp, TeeKind::Tdx] {
            write_evidence(machine, kind, 24);
            let (provider, consumer) = (wealth(PROVIDER), wealth(CONSUMER));
            let job = run_on(machine, 7);
            pass(1);
            let message = message(job, machine);
            // With another key, of other bytes, and by another scheme.
            for signature in [
                MultiSignature::from(worker_pair(8).sign(&message)),
                worker_pair(7).sign(&message[1..]).into(),
                ed25519::Pair::from_seed(&[7; 32]).sign(&message).into(),
            ] {
                assert_noop!(submit(7, job, signature), Error::<Test>::BadStatement);
            }
            assert_ok!(submit(7, job, worker_pair(7).sign(&message)));
            let part = pallet_job_escrow::Assignments::<Test>::get(job, machine).unwrap();
            assert!(matches!(
                part.state,
                AssignmentState::Ended {
                    outcome: Outcome::Completed,
                    ..
                }
            ));
            pass(2);
            assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job, machine));
            assert_eq!(wealth(PROVIDER), provider + ASY - ASY / 20);
            assert_eq!(wealth(CONSUMER), consumer - ASY);
            assert!(!pallet_job_escrow::Jobs::<Test>::contains_key(job));
        }
    });
}

#[test]
fn evidence_ends_and_is_renewed() {
    run(|| {
        let machine = machine_of(7);
        write_evidence(machine, TeeKind::Tdx, 1);
        let job = run_on(machine, 7);
        let signature = worker_pair(7).sign(&message(job, machine));
        pass(1);
        assert_eq!(Attestation::attested_keys(machine), None);
        assert_noop!(submit(7, job, signature), Error::<Test>::EvidenceEnded);
        write_evidence(machine, TeeKind::Tdx, 1);
        assert_ok!(submit(7, job, signature));
        assert_ok!(deploy(machine));
    });
}

#[test]
fn rotated_keys_are_attested_anew() {
    run(|| {
        let machine = machine_of(7);
        write_evidence(machine, TeeKind::Tdx, 24);
        let job = run_on(machine, 7);
        rotate_keys(machine, 9, [9; 32]);
        let message = message(job, machine);
        let (by_old, by_new) = (worker_pair(7).sign(&message), worker_pair(9).sign(&message));
        assert_noop!(submit(7, job, by_old), Error::<Test>::NotWorker);
        assert_noop!(submit(9, job, by_new), Error::<Test>::EvidenceEnded);
        write_evidence(machine, TeeKind::Tdx, 24);
        assert_noop!(submit(9, job, by_old), Error::<Test>::BadStatement);
        assert_ok!(submit(9, job, by_new));

        // Evidence is of both keys: with another sealing key it is not the machine's any more.
        rotate_keys(machine, 9, [10; 32]);
        assert_noop!(deploy(machine), Error::<Test>::NotAttested);
    });
}

#[test]
fn an_order_is_shown_to_attested_machines_and_taken_by_them() {
    run(|| {
        let (attested, other) = (machine_of(7), machine_of(8));
        write_evidence(attested, TeeKind::Tdx, 24);
        let auction = AuctionTerms {
            floor_price_per_slot_hour: ASY,
            rise_ms: 0,
            open_ms: MILLIS_PER_HOUR,
        };
        assert_ok!(JobEscrow::request(
            RuntimeOrigin::signed(CONSUMER),
            order(),
            2,
            auction
        ));
        let accept = |number, machine| {
            JobEscrow::accept_request(RuntimeOrigin::signed(worker_account(number)), 0, machine)
        };
        assert!(JobEscrow::open_orders(other, None, 10).orders.is_empty());
        assert_noop!(accept(8, other), Error::<Test>::NotAttested);
        assert_eq!(JobEscrow::open_orders(attested, None, 10).orders.len(), 1);
        assert_ok!(accept(7, attested));
    });
}
