//! A runtime of balances and the registry, with siblings that answer what a test tells them to.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use assay_primitives::{
    attestation::Attestations,
    clock::Millis,
    emission::{RewardWeight, RewardWeights},
    machine::{
        Exposure, HardwareClassId, HardwareProofs, Location, MachineId, MachineStatus, OnMachineRemoved,
    },
    market::TeeKinds,
    money::{ASY, Balance, MILLI_ASY},
    stake::{
        BondInspect,
        BondStanding::{self, Sufficient, TooLow},
        OnBondChange,
    },
};
pub(crate) use assay_test_support::MockClock;
use polkadot_sdk::{
    frame_support::{
        assert_ok, construct_runtime, derive_impl, parameter_types,
        traits::{ConstU64, ConstU128, fungible::InspectHold},
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances,
    sp_core::{Pair, sr25519},
    sp_io::TestExternalities,
    sp_keystore::{KeystoreExt, testing::MemoryKeystore},
    sp_runtime::{AccountId32, BuildStorage, DispatchResult, traits::IdentityLookup},
};

use crate::{
    self as pallet_provider_registry, GenesisHardwareClass, HardwareClassRecord, HoldReason, MachineRecordOf,
    MachineRegistration, Machines,
};

pub(crate) type AccountId = AccountId32;

pub(crate) const PROVIDER: AccountId = AccountId::new([1; 32]);
pub(crate) const OTHER_PROVIDER: AccountId = AccountId::new([2; 32]);
pub(crate) const STRANGER: AccountId = AccountId::new([3; 32]);
pub(crate) const PAUPER: AccountId = AccountId::new([4; 32]);

/// A class with a score of 989 and 999 ASY to be staked for a slot.
pub(crate) const H100: HardwareClassId = 11;
/// A class with a score of 1 and 11 ASY to be staked for a slot.
pub(crate) const CPU: HardwareClassId = 0;

pub(crate) const SLOTS: u8 = 4;
pub(crate) const ASK: Balance = 2 * ASY;
pub(crate) const ENDOWMENT: Balance = 1_000 * ASY;
pub(crate) const PROVIDER_DEPOSIT: Balance = 100 * MILLI_ASY;
pub(crate) const MACHINE_DEPOSIT: Balance = 500 * MILLI_ASY;
pub(crate) const NOW_MS: Millis = 12_345;
pub(crate) const ASK_RAISE_DELAY_MS: Millis = 60_000;

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        ProviderRegistry: pallet_provider_registry,
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
    /// Plancks held or owed for each machine, and the standing of its bond.
    pub static Bonds: BTreeMap<MachineId, (Balance, BondStanding)> = BTreeMap::new();
    /// Least plancks to be bonded for each point of a compute score.
    pub static PointBond: Balance = ASY;
    /// Machines of which a slash is pending.
    pub static PendingSlashes: Vec<MachineId> = Vec::new();
    /// TEEs of which each machine has evidence.
    pub static Evidence: BTreeMap<MachineId, TeeKinds> = BTreeMap::new();
    /// Machines that were reported to the stakes as removed, in order.
    pub static RemovalsHeard: Vec<MachineId> = Vec::new();
    /// True if every machine is proven.
    pub static Proven: bool = true;
    /// Most slots of any machine that are proven, if every machine is.
    pub static MostProvenSlots: u8 = u8::MAX;
    /// Exposures that the challenge was informed of before they changed, in order.
    pub static ExposuresHeard: Vec<(MachineId, Exposure)> = Vec::new();
    /// Weights that were reported to the emission, in order.
    pub static WeightsHeard: Vec<(MachineId, RewardWeight)> = Vec::new();
}

pub struct MockBonds;

impl BondInspect for MockBonds {
    fn standing(machine: MachineId) -> BondStanding {
        Bonds::get()
            .get(&machine)
            .map_or(TooLow, |(_, standing)| *standing)
    }

    fn is_settled(machine: MachineId) -> bool {
        Bonds::get().get(&machine).is_none_or(|(held, _)| *held == 0) && !Self::has_pending_slash(machine)
    }

    fn has_pending_slash(machine: MachineId) -> bool {
        PendingSlashes::get().contains(&machine)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId) {
        set_bond(machine, ASY, Sufficient);
    }
}

/// Stakes that record removed machines. The machine's record must be gone by then.
pub struct MockStakes;

impl OnMachineRemoved for MockStakes {
    fn on_machine_removed(machine: MachineId) {
        assert!(!Machines::<Test>::contains_key(machine));
        RemovalsHeard::mutate(|heard| heard.push(machine));
    }
}

pub struct MockAttestations;

impl Attestations for MockAttestations {
    fn tee_kinds(machine: MachineId) -> TeeKinds {
        Evidence::get().get(&machine).copied().unwrap_or_default()
    }

    fn earns_premium(machine: MachineId) -> bool {
        Self::tee_kinds(machine) != TeeKinds::NONE
    }
}

pub struct MockProofs;

impl HardwareProofs for MockProofs {
    fn is_proven(_: MachineId) -> bool {
        Proven::get()
    }

    fn proven_slots(machine: MachineId, slots: u8) -> u8 {
        if Self::is_proven(machine) {
            slots.min(MostProvenSlots::get())
        } else {
            0
        }
    }

    /// The record must not be written yet.
    fn before_exposure_change(machine: MachineId, before: Exposure) {
        assert_eq!(record(machine).exposure(), before);
        ExposuresHeard::mutate(|heard| heard.push((machine, before)));
    }
}

/// Emission that records weights. The machine's record must be written by then.
pub struct MockEmission;

impl RewardWeights for MockEmission {
    fn set_weight(machine: MachineId, weight: RewardWeight) {
        let record = record(machine);
        let proven_slots = MockProofs::proven_slots(machine, record.slots);
        let attested = MockAttestations::earns_premium(machine);
        assert_eq!(record.reward_weight(proven_slots, attested), weight);
        WeightsHeard::mutate(|heard| heard.push((machine, weight)));
    }
}

impl pallet_provider_registry::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type AdminOrigin = EnsureRoot<AccountId>;
    type Clock = MockClock;
    type Bonds = MockBonds;
    type HardwareProofs = MockProofs;
    type Attestations = MockAttestations;
    type OnMachineRemoved = MockStakes;
    type RewardWeights = MockEmission;
    type ProviderDeposit = ConstU128<PROVIDER_DEPOSIT>;
    type MachineDeposit = ConstU128<MACHINE_DEPOSIT>;
    type AskRaiseDelayMs = ConstU64<ASK_RAISE_DELAY_MS>;
    type BondPerPoint = PointBond;
    type WeightInfo = ();
}

/// Builds a chain at block 1 with a catalogue and funded accounts.
pub(crate) struct ExtBuilder {
    hardware_classes: Vec<GenesisHardwareClass>,
    provider: bool,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        let hardware_classes = vec![
            genesis_class(CPU, "CPU", 1),
            genesis_class(H100, "NVIDIA_H100", 989),
        ];
        Self {
            hardware_classes,
            provider: false,
        }
    }
}

impl ExtBuilder {
    /// [`PROVIDER`] and [`OTHER_PROVIDER`] are registered.
    pub(crate) fn with_providers(mut self) -> Self {
        self.provider = true;
        self
    }

    pub(crate) fn hardware_classes(mut self, hardware_classes: Vec<GenesisHardwareClass>) -> Self {
        self.hardware_classes = hardware_classes;
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        Bonds::set(BTreeMap::new());
        PointBond::set(ASY);
        MockClock::reset();
        MockClock::set_now_ms(NOW_MS);
        PendingSlashes::set(Vec::new());
        Evidence::set(BTreeMap::new());
        RemovalsHeard::set(Vec::new());
        Proven::set(true);
        MostProvenSlots::set(u8::MAX);
        ExposuresHeard::set(Vec::new());
        WeightsHeard::set(Vec::new());
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: vec![
                    (PROVIDER, ENDOWMENT),
                    (OTHER_PROVIDER, ENDOWMENT),
                    (STRANGER, ENDOWMENT),
                    (PAUPER, MILLI_ASY),
                ],
                ..Default::default()
            },
            provider_registry: pallet_provider_registry::GenesisConfig {
                hardware_classes: self.hardware_classes,
                ..Default::default()
            },
            ..Default::default()
        };
        let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
        externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
        externalities.execute_with(|| {
            System::set_block_number(1);
            if self.provider {
                assert_ok!(register_provider(PROVIDER));
                assert_ok!(register_provider(OTHER_PROVIDER));
                System::reset_events();
            }
        });
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            ProviderRegistry::do_try_state().unwrap();
        });
    }
}

pub(crate) fn genesis_class(class: HardwareClassId, name: &str, compute_score: u32) -> GenesisHardwareClass {
    GenesisHardwareClass {
        class,
        name: name.into(),
        vram_mib: 81_920,
        cuda_cores: 16_896,
        compute_score,
        stake_per_slot: Balance::from(10 + compute_score) * ASY,
    }
}

/// Entry of the catalogue for a class.
pub(crate) fn class_record(name: &[u8], compute_score: u32) -> HardwareClassRecord {
    HardwareClassRecord {
        name: name.to_vec().try_into().unwrap(),
        vram_mib: 81_920,
        cuda_cores: 16_896,
        compute_score,
        stake_per_slot: Balance::from(10 + compute_score) * ASY,
    }
}

/// The worker key with this number.
pub(crate) fn worker_pair(number: u8) -> sr25519::Pair {
    sr25519::Pair::from_seed(&[number; 32])
}

/// The account of [`worker_pair`].
pub(crate) fn worker(number: u8) -> AccountId {
    AccountId::new(worker_pair(number).public().0)
}

pub(crate) fn registration(worker_number: u8) -> MachineRegistration<AccountId> {
    MachineRegistration {
        worker_key: worker(worker_number),
        sealing_key: [9; 32],
        class: H100,
        slots: SLOTS,
        cpu_cores: 64,
        ram_mib: 524_288,
        disk_gib: 4_096,
        upload_mbps: 1_000,
        download_mbps: 2_000,
        location: Location {
            latitude_microdegrees: 52_520_008,
            longitude_microdegrees: 13_404_954,
        },
        region: b"eu-central".to_vec().try_into().unwrap(),
        endpoint: b"http://192.0.2.1:4001".to_vec().try_into().unwrap(),
        ask: ASK,
    }
}

/// The worker's agreement to serve the provider.
pub(crate) fn agreement(worker_number: u8, provider: &AccountId) -> sr25519::Signature {
    worker_pair(worker_number).sign(&ProviderRegistry::worker_key_message(provider))
}

pub(crate) fn register_provider(who: AccountId) -> DispatchResult {
    ProviderRegistry::register_provider(RuntimeOrigin::signed(who), b"Acme".to_vec().try_into().unwrap())
}

/// Registers a machine as told, with the worker's agreement.
pub(crate) fn register(
    provider: AccountId,
    worker_number: u8,
    registration: MachineRegistration<AccountId>,
) -> DispatchResult {
    let agreement = agreement(worker_number, &provider);
    ProviderRegistry::register_machine(RuntimeOrigin::signed(provider), registration, agreement)
}

/// A machine of the provider that is unproven.
pub(crate) fn unproven_machine(provider: AccountId, worker_number: u8) -> MachineId {
    let machine = crate::NextMachineId::<Test>::get();
    assert_ok!(register(provider, worker_number, registration(worker_number)));
    machine
}

/// A machine of the provider that is bonded, proven and active. Forgets events and weights so far.
pub(crate) fn active_machine(provider: AccountId, worker_number: u8) -> MachineId {
    let machine = unproven_machine(provider, worker_number);
    change_bond(machine, ASY, Sufficient);
    assert_eq!(status(machine), Some(MachineStatus::Active));
    System::reset_events();
    WeightsHeard::take();
    machine
}

/// The stakes hold so much for a machine, and say nothing about it.
pub(crate) fn set_bond(machine: MachineId, held: Balance, standing: BondStanding) {
    Bonds::mutate(|bonds| bonds.insert(machine, (held, standing)));
}

/// The stakes hold so much for a machine, and say so.
pub(crate) fn change_bond(machine: MachineId, held: Balance, standing: BondStanding) {
    set_bond(machine, held, standing);
    ProviderRegistry::on_bond_change(machine, standing);
}

pub(crate) fn record(machine: MachineId) -> MachineRecordOf<Test> {
    Machines::<Test>::get(machine).unwrap()
}

pub(crate) fn status(machine: MachineId) -> Option<MachineStatus> {
    Machines::<Test>::get(machine).map(|record| record.status)
}

pub(crate) fn held(reason: HoldReason, who: &AccountId) -> Balance {
    Balances::balance_on_hold(&reason.into(), who)
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}

/// An active machine of [`PROVIDER`] whose worker key never agreed to anything; quicker than registering one.
pub(crate) fn insert_offer(
    number: u64,
    change: impl FnOnce(&mut MachineRegistration<AccountId>),
) -> MachineId {
    insert_offer_of(PROVIDER, number, change)
}

/// As [`insert_offer`], of a provider that is registered.
pub(crate) fn insert_offer_of(
    who: AccountId,
    number: u64,
    change: impl FnOnce(&mut MachineRegistration<AccountId>),
) -> MachineId {
    let mut registration = registration(1);
    let mut key = [0xEE; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    registration.worker_key = AccountId::new(key);
    change(&mut registration);
    let class = crate::HardwareClasses::<Test>::get(registration.class).unwrap();
    let mut provider = crate::Providers::<Test>::get(&who).unwrap();
    provider.machines += 1;
    let machine = ProviderRegistry::insert_machine(who, provider, registration, &class, 0).unwrap();
    change_bond(machine, ASY, Sufficient);
    machine
}
