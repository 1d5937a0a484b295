//! Effects of evidence in the market: the registry, the emission and this pallet together.

#![allow(clippy::unwrap_used, missing_docs)]

extern crate alloc;

use assay_evidence::Binding;
use assay_primitives::{
    attestation::{AttestedSigners, MachineIdentities},
    clock::{ActiveClock, MILLIS_PER_HOUR, Millis, OnEpochEnd},
    machine::{HardwareClassId, MachineId},
    market::{Mismatch, Requirements, TeeKind, TeeKinds},
    money::{ASY, Balance, MICRO_ASY, MILLI_ASY},
};
use assay_test_support::{MockClock, SufficientBonds, market, worker_account};
use codec::Encode;
pub(crate) use pallet_attestation::{CertificateChain, Collateral, Evidence, KeySource, SignedJson, Vendor};
use pallet_attestation::{GenesisRoot, GenesisWorkload};
use polkadot_sdk::{
    frame_support::{
        assert_ok, construct_runtime, derive_impl, parameter_types,
        traits::{ConstU32, ConstU64, ConstU128, Hooks},
        weights::{Weight, WeightMeter},
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances,
    sp_core::{Bytes, H256},
    sp_io::TestExternalities,
    sp_runtime::{AccountId32, BuildStorage, traits::IdentityLookup},
};
use test_vendors::{VENDORS_NOW_S, gpu_chain, gpu_evidence, intel::Kind, quote_evidence};

#[path = "../src/test_vendors/mod.rs"]
#[allow(unreachable_pub, reason = "it is a module of the pallet")]
mod test_vendors;

type AccountId = AccountId32;

const PROVIDER: AccountId = AccountId::new([1; 32]);
const CPU: HardwareClassId = 0;
const GPU: HardwareClassId = 1;
const SCORE: u32 = 1_000;
const LIFETIME_S: u64 = 86_400;

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Registry: pallet_provider_registry,
        Emission: pallet_reward_emission,
        Attestation: pallet_attestation,
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
    type RewardWeights = Emission;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WeightInfo = ();
}

impl pallet_reward_emission::Config for Test {
    type BondRewards = ();
    // So high that it never limits the pool of an epoch.
    type CapPerWeight = ConstU128<{ 1_000_000 * ASY }>;
    type Clock = MockClock;
    type Currency = Balances;
    type EmissionDivisor = ConstU128<100>;
    type HistoryEpochs = ConstU32<100>;
    type Machines = Registry;
    type MaxEpochsPerPayout = ConstU32<32>;
    type Uptime = ();
    type WeightInfo = ();
}

impl pallet_attestation::Config for Test {
    type AdminOrigin = EnsureRoot<AccountId>;
    type ByteDeposit = ConstU128<MICRO_ASY>;
    type Currency = Balances;
    type EvidenceLifetimeS = ConstU64<LIFETIME_S>;
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

fn run(test: impl FnOnce()) {
    MockClock::reset();
    MockClock::set_now_s(VENDORS_NOW_S);
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: vec![(PROVIDER, 1_000 * ASY)],
            ..Default::default()
        },
        registry: pallet_provider_registry::GenesisConfig {
            hardware_classes: vec![
                market::genesis_class(CPU, "CPU", 0, SCORE),
                market::genesis_class(GPU, "GPU", 81_920, SCORE),
            ],
            ..Default::default()
        },
        emission: pallet_reward_emission::GenesisConfig {
            remaining_emission: 1_000_000 * ASY,
            ..Default::default()
        },
        attestation: pallet_attestation::GenesisConfig {
            roots: test_vendors::test_roots()
                .map(|(vendor, certificate)| GenesisRoot {
                    vendor,
                    certificate: Bytes(certificate),
                })
                .to_vec(),
            workloads: test_vendors::test_workloads()
                .map(|digest| GenesisWorkload {
                    digest,
                    name: "assay-worker".into(),
                })
                .to_vec(),
            references: test_vendors::test_references()
                .iter()
                .map(|reference| Bytes(reference.encode()))
                .collect(),
            collateral: test_vendors::test_collateral()
                .iter()
                .map(|piece| Bytes(piece.encode()))
                .collect(),
            collateral_time_s: VENDORS_NOW_S,
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
        Emission::do_try_state().unwrap();
        Attestation::do_try_state().unwrap();
    });
}

fn machine_of(class: HardwareClassId, number: u8) -> MachineId {
    market::active_machine::<Test>(&PROVIDER, class, number)
}

/// Makes a block, and ends epochs that are over.
fn next_block(ms: Millis) {
    let block = System::block_number();
    frame_system::BlockHash::<Test>::insert(block, H256::repeat_byte(block as u8));
    System::set_block_number(block + 1);
    let before = MockClock::current_epoch();
    MockClock::advance_ms(ms);
    for ended in before..MockClock::current_epoch() {
        Emission::on_epoch_end(ended);
    }
    Attestation::on_poll(block + 1, &mut WeightMeter::new());
}

fn submit(machine: MachineId, evidence: impl FnOnce(&Binding) -> Evidence) {
    next_block(0);
    let anchor = System::block_number() - 1;
    let identity = Registry::identity_of(machine).unwrap();
    let hash = |block| System::block_hash(block).to_fixed_bytes();
    let binding = Binding {
        genesis_hash: hash(0),
        machine_id: machine,
        worker_key: identity.worker_key.clone().into(),
        sealing_key: identity.sealing_key,
        anchor_hash: hash(anchor),
    };
    assert_eq!(
        Attestation::binding_digest(machine, anchor)
            .unwrap()
            .to_fixed_bytes(),
        binding.digest()
    );
    assert_ok!(Attestation::submit_evidence(
        RuntimeOrigin::signed(identity.worker_key),
        machine,
        anchor,
        evidence(&binding)
    ));
}

fn submit_tdx(machine: MachineId, number: u8) {
    submit(machine, |binding| {
        let intel = test_vendors::intel(Kind::Td15, number, binding);
        quote_evidence(&intel, KeySource::Carried)
    });
}

fn submit_gpu(machine: MachineId, number: u8) {
    submit(machine, |binding| {
        let gpu = test_vendors::gpu(number, binding);
        gpu_evidence(&gpu, gpu_chain(&gpu))
    });
}

/// Pays a machine for an epoch. Returns the plancks that it earned.
fn earned(machine: MachineId) -> Balance {
    let before = Balances::total_issuance();
    assert_ok!(Emission::payout(RuntimeOrigin::signed(PROVIDER), machine, 1));
    Balances::total_issuance() - before
}

/// The first machine earned a quarter more in an epoch than the other, but for what is rounded away.
fn assert_premium(attested: MachineId, other: MachineId) {
    let (attested, other) = (earned(attested), earned(other));
    assert!(other > 0);
    assert!(
        (attested * 4).abs_diff(other * 5) < 10,
        "{attested} is not a quarter more than {other}"
    );
}

fn wanting(tee: TeeKind) -> Requirements {
    Requirements {
        tee: Some(tee),
        ..Default::default()
    }
}

fn found(tee: TeeKind) -> Vec<MachineId> {
    let page = Registry::find_machines(&wanting(tee), 10, None).unwrap();
    page.offers.iter().map(|offer| offer.machine).collect()
}

#[test]
fn the_market_finds_a_machine_by_the_tee_it_proved() {
    run(|| {
        let (attested, other) = (machine_of(CPU, 1), machine_of(CPU, 2));
        assert!(found(TeeKind::Tdx).is_empty());
        submit_tdx(attested, 1);
        assert_eq!(found(TeeKind::Tdx), [attested]);
        assert!(found(TeeKind::Sgx).is_empty());
        assert_eq!(
            Registry::explain(&wanting(TeeKind::Tdx), other).unwrap().unwrap(),
            [Mismatch::Tee {
                found: TeeKinds::NONE
            }]
        );
        let view = Registry::machine_view(attested).unwrap();
        assert_eq!(view.tee_kinds, TeeKinds::NONE.with(TeeKind::Tdx));
        // Until its end.
        next_block(LIFETIME_S * 1_000);
        assert!(found(TeeKind::Tdx).is_empty());
    });
}

#[test]
fn an_attested_machine_earns_a_quarter_more_and_only_as_long_as_its_evidence_counts() {
    run(|| {
        let (attested, other) = (machine_of(CPU, 1), machine_of(CPU, 2));
        submit_tdx(attested, 1);
        // Both weigh something from the next epoch on: five parts and four.
        next_block(MILLIS_PER_HOUR);
        assert_eq!(
            pallet_reward_emission::TotalWeight::<Test>::get(),
            u128::from(SCORE) * 9
        );
        next_block(MILLIS_PER_HOUR);
        assert_premium(attested, other);
        // The epoch in which evidence ends is one without a premium, whoever calls or does not.
        for _ in 2..24 {
            next_block(MILLIS_PER_HOUR);
            assert_premium(attested, other);
        }
        assert!(Attestation::attested_keys(attested).is_none());
        next_block(MILLIS_PER_HOUR);
        let (first, second) = (earned(attested), earned(other));
        assert_eq!(first, second);
    });
}

#[test]
fn a_renewal_in_time_leaves_no_gap() {
    run(|| {
        let (attested, other) = (machine_of(CPU, 1), machine_of(CPU, 2));
        submit_tdx(attested, 1);
        next_block(MILLIS_PER_HOUR);
        for hour in 1..60 {
            if hour % 20 == 0 {
                submit_tdx(attested, 1);
            }
            next_block(MILLIS_PER_HOUR);
            assert_premium(attested, other);
        }
    });
}

#[test]
fn a_machine_with_a_gpu_earns_more_for_both_or_nothing() {
    run(|| {
        let (machine, other) = (machine_of(GPU, 1), machine_of(GPU, 2));
        submit_tdx(machine, 1);
        next_block(2 * MILLIS_PER_HOUR);
        assert_eq!(earned(machine), earned(other));
        submit_gpu(machine, 1);
        next_block(2 * MILLIS_PER_HOUR);
        let _ = (earned(machine), earned(other));
        assert_premium(machine, other);
    });
}

#[test]
fn rotated_keys_lose_the_premium_until_there_is_new_evidence() {
    run(|| {
        let (machine, other) = (machine_of(CPU, 1), machine_of(CPU, 2));
        submit_tdx(machine, 1);
        next_block(MILLIS_PER_HOUR);
        market::rotate_keys::<Test>(&PROVIDER, machine, 3, [3; 32]);
        assert!(found(TeeKind::Tdx).is_empty());
        next_block(MILLIS_PER_HOUR);
        assert_eq!(earned(machine), earned(other));
        submit_tdx(machine, 1);
        assert_eq!(found(TeeKind::Tdx), [machine]);
        let keys = Attestation::attested_keys(machine).unwrap();
        assert_eq!(keys.worker_key, worker_account(3));
        next_block(2 * MILLIS_PER_HOUR);
        let _ = (earned(machine), earned(other));
        assert_premium(machine, other);
    });
}
