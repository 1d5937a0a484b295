//! A runtime of balances and attestation, with machines, a time of day and block hashes that the tests set by
//! hand, and the tests' own vendors.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::OnceLock};

use assay_evidence::Binding;
use assay_primitives::{
    attestation::{Attestations, MachineIdentities, MachineIdentity, OnAttestationChange},
    clock::WallClock,
    machine::MachineId,
    money::{ASY, Balance, MICRO_ASY, MILLI_ASY},
    offence::{Beneficiaries, Offence, ReportOffence, SlashId},
};
pub(crate) use assay_test_support::MockClock;
use codec::Encode;
use polkadot_sdk::{
    frame_support::{
        construct_runtime, derive_impl, parameter_types,
        traits::{ConstU64, ConstU128, Hooks},
        weights::{Weight, WeightMeter},
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances,
    sp_core::{Bytes, H256},
    sp_io::{TestExternalities, hashing::blake2_256},
    sp_runtime::{AccountId32, BuildStorage, DispatchError, DispatchResult, traits::IdentityLookup},
};

use crate::{
    self as pallet_attestation, EXPIRY_SLOT_S, Evidence, EvidenceId, GenesisRoot, GenesisWorkload, KeySource,
    test_vendors::{
        self, VENDORS_NOW_S, amd_chain, gpu_chain, gpu_evidence, intel::Kind, quote_evidence, snp_evidence,
    },
};

pub(crate) type AccountId = AccountId32;

/// Owns the machines with even numbers.
pub(crate) const ALICE: AccountId = AccountId::new([1; 32]);
/// Owns the machines with odd numbers.
pub(crate) const BOB: AccountId = AccountId::new([2; 32]);
/// Owns nothing but money.
pub(crate) const CHARLIE: AccountId = AccountId::new([3; 32]);

/// Machines that there are.
pub(crate) const MACHINES: MachineId = 6;

pub(crate) const WEALTH: Balance = 1_000 * ASY;
/// Blocks that an anchor may be behind.
pub(crate) const ANCHOR_AGE: u64 = 8;
/// A day.
pub(crate) const LIFETIME_S: u64 = 86_400;
/// Enough for some hundred units: more than a day has slots.
pub(crate) const SERVICE_WEIGHT: Weight = Weight::from_parts(200_000_000_000, u64::MAX);
/// The block in which tests begin.
pub(crate) const FIRST_BLOCK: u64 = 100;

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
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
    /// Machines that are not as the mock has them by default; `None`: there is no such machine.
    pub static ChangedMachines: BTreeMap<MachineId, Option<MachineIdentity<AccountId>>> = BTreeMap::new();
    /// Changes that were reported to the market, with true if the machine earned the premium then.
    pub static Told: Vec<(MachineId, bool)> = Vec::new();
    /// Machines that were reported, with their offences.
    pub static Reported: Vec<(MachineId, Offence)> = Vec::new();
    pub const ServiceWeight: Weight = SERVICE_WEIGHT;
}

/// Machines without GPUs, owned by Alice and Bob in turns.
pub struct MockMachines;

impl MachineIdentities<AccountId> for MockMachines {
    fn identity_of(machine: MachineId) -> Option<MachineIdentity<AccountId>> {
        let default = (machine < MACHINES).then(|| MachineIdentity {
            provider: if machine.is_multiple_of(2) { ALICE } else { BOB },
            worker_key: worker(machine),
            sealing_key: [200 + machine as u8; 32],
            gpus: 0,
            is_in_market: true,
        });
        ChangedMachines::get().get(&machine).cloned().unwrap_or(default)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine_with_gpus(provider: &AccountId, worker_key: &AccountId) -> MachineId {
        ChangedMachines::mutate(|machines| {
            let machine = MACHINES + machines.len() as MachineId;
            let identity = MachineIdentity {
                provider: provider.clone(),
                worker_key: worker_key.clone(),
                sealing_key: [9; 32],
                gpus: 8,
                is_in_market: true,
            };
            machines.insert(machine, Some(identity));
            machine
        })
    }
}

impl OnAttestationChange for MockMachines {
    fn on_attestation_change(machine: MachineId) {
        let premium = Attestation::earns_premium(machine);
        Told::mutate(|told| told.push((machine, premium)));
    }
}

/// Stakes that take note of what they are told.
pub struct MockStakes;

impl ReportOffence<AccountId> for MockStakes {
    fn report_offence(
        machine: MachineId,
        offence: Offence,
        beneficiaries: Beneficiaries<AccountId>,
    ) -> Result<SlashId, DispatchError> {
        if MockMachines::identity_of(machine).is_none() {
            return Err(DispatchError::Other("no such machine"));
        }
        assert_eq!(beneficiaries, Beneficiaries::nobody());
        Reported::mutate(|reported| reported.push((machine, offence)));
        Ok(SlashId {
            due_epoch: 24,
            index: 0,
        })
    }
}

impl pallet_attestation::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type AdminOrigin = EnsureRoot<AccountId>;
    type Machines = MockMachines;
    type OnAttestationChange = MockMachines;
    type Offences = MockStakes;
    type WallClock = MockClock;
    type MaxAnchorAge = ConstU64<ANCHOR_AGE>;
    type EvidenceLifetimeS = ConstU64<LIFETIME_S>;
    type ItemDeposit = ConstU128<{ 100 * MILLI_ASY }>;
    type ByteDeposit = ConstU128<{ 100 * MICRO_ASY }>;
    type MaxServiceWeight = ServiceWeight;
    type WeightInfo = ();
}

/// Builds a chain at [`FIRST_BLOCK`] that trusts the tests' vendors and has all they publish.
pub(crate) struct ExtBuilder {
    roots: Vec<GenesisRoot>,
    collateral: Vec<Bytes>,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        static PUBLISHED: OnceLock<(Vec<GenesisRoot>, Vec<Bytes>)> = OnceLock::new();
        // Signing takes longer than all else in most tests.
        let (roots, collateral) = PUBLISHED
            .get_or_init(|| {
                let roots = test_vendors::test_roots().map(|(vendor, certificate)| GenesisRoot {
                    vendor,
                    certificate: Bytes(certificate),
                });
                let collateral = test_vendors::test_collateral();
                let encoded = collateral.iter().map(|piece| Bytes(piece.encode()));
                (roots.to_vec(), encoded.collect())
            })
            .clone();
        Self { roots, collateral }
    }
}

impl ExtBuilder {
    /// A chain that was not told whom to trust.
    pub(crate) fn released() -> Self {
        Self {
            roots: pallet_attestation::GenesisConfig::<Test>::default().roots,
            collateral: Vec::new(),
        }
    }

    /// The roots of the tests' vendors.
    pub(crate) fn roots(self) -> Vec<GenesisRoot> {
        self.roots
    }

    pub(crate) fn without_collateral(mut self) -> Self {
        self.collateral = Vec::new();
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        MockClock::reset();
        MockClock::set_now_s(VENDORS_NOW_S);
        ChangedMachines::set(BTreeMap::new());
        Told::set(Vec::new());
        Reported::set(Vec::new());
        let workload = |digest: H256| GenesisWorkload {
            digest,
            name: "assay-worker".into(),
        };
        let references = test_vendors::test_references();
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: vec![(ALICE, WEALTH), (BOB, WEALTH), (CHARLIE, WEALTH)],
                ..Default::default()
            },
            attestation: pallet_attestation::GenesisConfig {
                roots: self.roots,
                workloads: test_vendors::test_workloads().map(workload).to_vec(),
                references: references
                    .iter()
                    .map(|reference| Bytes(reference.encode()))
                    .collect(),
                collateral: self.collateral,
                collateral_time_s: VENDORS_NOW_S,
                ..Default::default()
            },
            ..Default::default()
        };
        let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
        externalities.execute_with(|| {
            for block in FIRST_BLOCK - ANCHOR_AGE..FIRST_BLOCK {
                set_hash_of(block);
            }
            System::set_block_number(FIRST_BLOCK);
        });
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it, and that money was neither made nor lost.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            Attestation::do_try_state().unwrap();
            assert_eq!(Balances::total_issuance(), 3 * WEALTH);
        });
    }
}

fn set_hash_of(block: u64) {
    let hash = H256::from(blake2_256(&block.to_le_bytes()));
    frame_system::BlockHash::<Test>::insert(block, hash);
}

/// The worker key of a machine.
pub(crate) fn worker(machine: MachineId) -> AccountId {
    AccountId::new([100 + machine as u8; 32])
}

/// Owner of a machine.
pub(crate) fn provider(machine: MachineId) -> AccountId {
    MockMachines::identity_of(machine).unwrap().provider
}

/// Changes a machine in the registry.
pub(crate) fn change_machine(machine: MachineId, change: impl FnOnce(&mut MachineIdentity<AccountId>)) {
    let mut identity = MockMachines::identity_of(machine).unwrap();
    change(&mut identity);
    ChangedMachines::mutate(|machines| machines.insert(machine, Some(identity)));
}

/// Makes a block, in which the hook has so much weight.
pub(crate) fn next_block_with(weight: Weight) {
    let block = System::block_number();
    set_hash_of(block);
    System::set_block_number(block + 1);
    let mut meter = WeightMeter::with_limit(weight);
    Attestation::on_poll(block + 1, &mut meter);
}

/// Makes a block.
pub(crate) fn next_block() {
    next_block_with(Weight::MAX);
}

/// The time of day, in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    MockClock::now_s()
}

/// Lets so many seconds pass, and makes a block.
pub(crate) fn pass_s(seconds: u64) {
    MockClock::advance_ms(seconds * 1_000);
    next_block();
}

/// The last block that evidence can be bound to.
pub(crate) fn anchor() -> u64 {
    System::block_number() - 1
}

/// Binding of a machine's evidence.
pub(crate) fn binding(machine: MachineId) -> Binding {
    let identity = MockMachines::identity_of(machine).unwrap();
    Attestation::binding_to(machine, &identity, anchor()).unwrap()
}

/// Submits as the machine's provider, with the last block as anchor.
pub(crate) fn submit(machine: MachineId, evidence: Evidence) -> DispatchResult {
    Attestation::submit_evidence(
        RuntimeOrigin::signed(provider(machine)),
        machine,
        anchor(),
        evidence,
    )
}

/// Submits a TDX quote of the platform with this number.
pub(crate) fn submit_tdx(machine: MachineId, number: u8) -> DispatchResult {
    let intel = test_vendors::intel(Kind::Td15, number, &binding(machine));
    submit(machine, quote_evidence(&intel, KeySource::Carried))
}

/// Submits a SEV-SNP report of the chip with this number.
pub(crate) fn submit_snp(machine: MachineId, number: u8) -> DispatchResult {
    let amd = test_vendors::amd(number, &binding(machine));
    submit(machine, snp_evidence(&amd, amd_chain(&amd)))
}

/// Submits a report of the GPU with this number.
pub(crate) fn submit_gpu(machine: MachineId, number: u8) -> DispatchResult {
    let gpu = test_vendors::gpu(number, &binding(machine));
    submit(machine, gpu_evidence(&gpu, gpu_chain(&gpu)))
}

/// The evidence of a machine.
pub(crate) fn evidence_of(machine: MachineId) -> Vec<crate::EvidenceRecord<u64>> {
    crate::Attested::<Test>::get(machine)
        .map(|entry| entry.records.into_inner())
        .unwrap_or_default()
}

/// The only evidence of a machine.
pub(crate) fn only_evidence_of(machine: MachineId) -> crate::EvidenceRecord<u64> {
    let records = evidence_of(machine);
    assert_eq!(records.len(), 1);
    records[0]
}

/// Takes evidence back as the machine's provider.
pub(crate) fn withdraw(machine: MachineId, id: EvidenceId) -> DispatchResult {
    Attestation::withdraw_evidence(RuntimeOrigin::signed(provider(machine)), machine, id)
}

/// Plancks of an account that are on hold.
pub(crate) fn held(who: &AccountId) -> Balance {
    System::account(who).data.reserved
}

/// Slot of the agenda at this time.
pub(crate) fn slot(time_s: u64) -> u32 {
    (time_s / EXPIRY_SLOT_S) as u32
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}
