//! A runtime of balances and the stakes, with a registry and a clock that the tests set by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use assay_primitives::{
    clock::EpochIndex,
    machine::{
        MachineId, MachineInspect,
        MachineStatus::{self, Active, Retired, Suspended, Unproven},
        OnMachineRemoved,
        SuspensionReason::{self, BondTooLow, Condemned, InDebt},
    },
    money::{ASY, Balance, MILLI_ASY},
    offence::{Beneficiaries, MachineDiscipline, Offence, ReportOffence, SlashId},
    stake::{BondInspect, BondStanding, OnBondChange},
};
pub(crate) use assay_test_support::MockClock;
use polkadot_sdk::{
    frame_support::{
        construct_runtime, derive_impl, parameter_types,
        traits::{
            ConstU32, ConstU128, Hooks,
            fungible::{Inspect, InspectHold},
        },
        weights::{Weight, WeightMeter},
    },
    frame_system::{self, EnsureRoot, mocking::MockBlock},
    pallet_balances,
    sp_io::TestExternalities,
    sp_runtime::{BuildStorage, DispatchError, DispatchResult, Permill},
};

use crate::{
    self as pallet_provider_staking, BondRecordOf, Bonds, DEFAULT_OFFENCE_TABLE, Debts, HoldReason,
    OffenceTable, Strikes,
};

pub(crate) type AccountId = u64;

pub(crate) const PROVIDER: AccountId = 1;
pub(crate) const OTHER_PROVIDER: AccountId = 2;
pub(crate) const STRANGER: AccountId = 3;
pub(crate) const CONSUMER: AccountId = 4;
/// An account that does not exist: it cannot receive less than [`EXISTENTIAL_DEPOSIT`].
pub(crate) const NEWCOMER: AccountId = 6;

/// Machines of [`PROVIDER`].
pub(crate) const MACHINE: MachineId = 10;
pub(crate) const SECOND_MACHINE: MachineId = 11;
/// A machine of [`OTHER_PROVIDER`].
pub(crate) const OTHER_MACHINE: MachineId = 20;

pub(crate) const ENDOWMENT: Balance = 10_000 * ASY;
pub(crate) const BASE_BOND: Balance = 500 * ASY;
pub(crate) const CLASS_STAKE: Balance = 600 * ASY;
pub(crate) const MINIMUM: Balance = CLASS_STAKE;
pub(crate) const UNBONDING_EPOCHS: EpochIndex = 3;
pub(crate) const DEFER_EPOCHS: EpochIndex = 2;
pub(crate) const MEMORY_EPOCHS: EpochIndex = 10;
pub(crate) const PLACES_PER_EPOCH: u32 = 3;
pub(crate) const EXISTENTIAL_DEPOSIT: Balance = MILLI_ASY;
/// Enough for some dozens of slashes.
pub(crate) const SERVICE_WEIGHT: Weight = Weight::from_parts(100_000_000_000, u64::MAX);

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        ProviderStaking: pallet_provider_staking,
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
    /// The registry's machines.
    pub(crate) static Machines: BTreeMap<MachineId, MockMachine> = BTreeMap::new();
    /// Machines that may still be found at fault for what they were leased for.
    pub static Accountable: Vec<MachineId> = Vec::new();
    /// Reports to the registry with the plancks held then, in order.
    pub static BondChanges: Vec<(MachineId, BondStanding, Balance)> = Vec::new();
    /// Measures that the registry was asked to take, in order.
    pub(crate) static Disciplined: Vec<Discipline> = Vec::new();
    /// Least bond of any machine, before its class asks for more.
    pub static LeastBond: Balance = BASE_BOND;
    /// Stake that every machine's class asks for.
    pub static StakeOfClass: Balance = CLASS_STAKE;
    /// Penalties of the offences.
    pub static Penalties: OffenceTable = DEFAULT_OFFENCE_TABLE;
    /// Epochs between a slash and its application.
    pub static WaitEpochs: EpochIndex = DEFER_EPOCHS;
    /// Most weight that the hook takes.
    pub const ServiceWeight: Weight = SERVICE_WEIGHT;
}

/// Measure that [`MockRegistry`] was asked to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discipline {
    Suspend(MachineId),
    Condemn(MachineId),
}

/// A machine of [`MockRegistry`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MockMachine {
    pub(crate) provider: AccountId,
    pub(crate) status: MachineStatus,
}

/// A registry that follows the bond as the real one does, for machines that are all proven.
pub struct MockRegistry;

impl MachineInspect<AccountId> for MockRegistry {
    fn provider_of(machine: MachineId) -> Option<AccountId> {
        Machines::get().get(&machine).map(|record| record.provider)
    }

    fn machine_of_worker(_: &AccountId) -> Option<MachineId> {
        None
    }

    fn status(machine: MachineId) -> Option<MachineStatus> {
        Machines::get().get(&machine).map(|record| record.status)
    }

    fn is_accountable(machine: MachineId) -> bool {
        Accountable::get().contains(&machine)
    }

    fn class_stake(machine: MachineId) -> Option<Balance> {
        Machines::get().get(&machine).map(|_| StakeOfClass::get())
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(provider: &AccountId, _: &AccountId, _: u8) -> MachineId {
        insert_machine(MachineId::MAX, *provider);
        MachineId::MAX
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_retire(machine: MachineId) {
        set_status(machine, Retired);
    }
}

impl OnBondChange for MockRegistry {
    fn on_bond_change(machine: MachineId, standing: BondStanding) {
        assert_eq!(ProviderStaking::standing(machine), standing);
        BondChanges::mutate(|changes| changes.push((machine, standing, held_for(machine))));
        match (MockRegistry::status(machine), standing) {
            (Some(Unproven | Suspended(BondTooLow | InDebt)), BondStanding::Sufficient) => {
                set_status(machine, Active)
            }
            (Some(Active | Suspended(InDebt)), BondStanding::TooLow) => {
                set_status(machine, Suspended(BondTooLow))
            }
            (Some(Active | Suspended(BondTooLow)), BondStanding::InDebt) => {
                set_status(machine, Suspended(InDebt))
            }
            (Some(Retired), _) => remove_if_settled(machine),
            _ => {}
        }
    }
}

impl MachineDiscipline for MockRegistry {
    fn suspend_for_offence(machine: MachineId) {
        assert!(ProviderStaking::has_pending_slash(machine));
        Disciplined::mutate(|disciplined| disciplined.push(Discipline::Suspend(machine)));
        match MockRegistry::status(machine) {
            None | Some(Retired | Suspended(Condemned)) => {}
            Some(_) => set_status(machine, Suspended(SuspensionReason::Offence)),
        }
    }

    fn condemn(machine: MachineId) {
        Disciplined::mutate(|disciplined| disciplined.push(Discipline::Condemn(machine)));
        retire(machine);
    }
}

/// The registry retires a machine; one that nothing ties to its provider goes at once.
pub(crate) fn retire(machine: MachineId) {
    if MockRegistry::status(machine).is_some() {
        set_status(machine, Retired);
        remove_if_settled(machine);
    }
}

fn remove_if_settled(machine: MachineId) {
    if ProviderStaking::is_settled(machine) {
        Machines::mutate(|machines| machines.remove(&machine));
        ProviderStaking::on_machine_removed(machine);
    }
}

impl pallet_provider_staking::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Machines = MockRegistry;
    type OnBondChange = MockRegistry;
    type Clock = MockClock;
    type BaseBond = LeastBond;
    type UnbondingEpochs = ConstU32<UNBONDING_EPOCHS>;
    type Discipline = MockRegistry;
    type AdminOrigin = EnsureRoot<AccountId>;
    type OffenceTable = Penalties;
    type SlashDeferEpochs = WaitEpochs;
    type StrikeMemoryEpochs = ConstU32<MEMORY_EPOCHS>;
    type MaxSlashesPerEpoch = ConstU32<PLACES_PER_EPOCH>;
    type MaxServiceWeight = ServiceWeight;
    type WeightInfo = ();
}

/// Builds a chain at block 1 with funded accounts and unproven machines.
#[derive(Default)]
pub(crate) struct ExtBuilder {
    bonded: bool,
}

impl ExtBuilder {
    /// [`MACHINE`] is bonded with its minimum, and active.
    pub(crate) fn with_bond(mut self) -> Self {
        self.bonded = true;
        self
    }

    pub(crate) fn build(self) -> TestExternalities {
        Machines::set(BTreeMap::new());
        Accountable::set(Vec::new());
        MockClock::reset();
        LeastBond::set(BASE_BOND);
        StakeOfClass::set(CLASS_STAKE);
        Penalties::set(DEFAULT_OFFENCE_TABLE);
        WaitEpochs::set(DEFER_EPOCHS);
        for (machine, provider) in [
            (MACHINE, PROVIDER),
            (SECOND_MACHINE, PROVIDER),
            (OTHER_MACHINE, OTHER_PROVIDER),
        ] {
            insert_machine(machine, provider);
        }
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: [PROVIDER, OTHER_PROVIDER, STRANGER, CONSUMER]
                    .map(|who| (who, ENDOWMENT))
                    .into(),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut externalities = TestExternalities::from(genesis.build_storage().unwrap());
        externalities.execute_with(|| {
            System::set_block_number(1);
            if self.bonded {
                bond(PROVIDER, MACHINE, MINIMUM).unwrap();
                assert_eq!(MockRegistry::status(MACHINE), Some(Active));
            }
            System::reset_events();
        });
        BondChanges::set(Vec::new());
        Disciplined::set(Vec::new());
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it, and that the issuance is all that there is.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            ProviderStaking::do_try_state().unwrap();
            assert_eq!(Balances::total_issuance(), sum_of_balances());
        });
    }
}

fn insert_machine(machine: MachineId, provider: AccountId) {
    Machines::mutate(|machines| {
        machines.insert(
            machine,
            MockMachine {
                provider,
                status: Unproven,
            },
        )
    });
}

/// The registry gives a machine a status.
pub(crate) fn set_status(machine: MachineId, status: MachineStatus) {
    Machines::mutate(|machines| machines.get_mut(&machine).unwrap().status = status);
}

pub(crate) fn bond(who: AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
    ProviderStaking::bond(RuntimeOrigin::signed(who), machine, amount)
}

pub(crate) fn bond_extra(who: AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
    ProviderStaking::bond_extra(RuntimeOrigin::signed(who), machine, amount)
}

pub(crate) fn unbond(who: AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
    ProviderStaking::unbond(RuntimeOrigin::signed(who), machine, amount)
}

/// Withdraws as somebody who has nothing to do with the machine.
pub(crate) fn withdraw(machine: MachineId) -> DispatchResult {
    ProviderStaking::withdraw(RuntimeOrigin::signed(STRANGER), machine)
}

pub(crate) fn set_auto_stake(who: AccountId, machine: MachineId, auto_stake: bool) -> DispatchResult {
    ProviderStaking::set_auto_stake(RuntimeOrigin::signed(who), machine, auto_stake)
}

/// Reports an offence that harmed nobody.
pub(crate) fn report(machine: MachineId, offence: Offence) -> SlashId {
    ProviderStaking::report_offence(machine, offence, Beneficiaries::nobody()).unwrap()
}

/// Slashes as governance, for what harmed nobody.
pub(crate) fn slash(machine: MachineId, percent: u32) -> SlashId {
    slash_for(machine, percent, Beneficiaries::nobody()).unwrap()
}

/// Slashes as governance and returns the slash, which must be the last one queued.
pub(crate) fn slash_for(
    machine: MachineId,
    percent: u32,
    beneficiaries: Beneficiaries<AccountId>,
) -> Result<SlashId, DispatchError> {
    ProviderStaking::slash(
        RuntimeOrigin::root(),
        machine,
        Permill::from_percent(percent),
        beneficiaries,
    )?;
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    match events.last() {
        Some(crate::Event::SlashQueued { id, .. }) => Ok(*id),
        other => panic!("the last event is {other:?}"),
    }
}

/// [`CONSUMER`] lost so much.
pub(crate) fn harmed(loss: Balance) -> Beneficiaries<AccountId> {
    Beneficiaries::consumer(CONSUMER, loss)
}

pub(crate) fn cancel_slash(id: SlashId) -> DispatchResult {
    ProviderStaking::cancel_slash(RuntimeOrigin::root(), id)
}

/// Applies a slash as somebody who has nothing to do with it.
pub(crate) fn apply_slash(id: SlashId) -> DispatchResult {
    ProviderStaking::apply_slash(RuntimeOrigin::signed(STRANGER), id)
}

pub(crate) fn pay_debt(who: AccountId, machine: MachineId, id: SlashId) -> DispatchResult {
    ProviderStaking::pay_debt(RuntimeOrigin::signed(who), machine, id)
}

/// Runs the hook with so much weight left in the block, and returns how much it took.
pub(crate) fn poll_with(weight: Weight) -> Weight {
    let mut meter = WeightMeter::with_limit(weight);
    ProviderStaking::on_poll(System::block_number(), &mut meter);
    meter.consumed()
}

/// Runs the hook in an empty block.
pub(crate) fn poll() {
    poll_with(Weight::MAX);
}

/// Queues a slash, lets it fall due and applies it by the hook.
pub(crate) fn slash_now(
    machine: MachineId,
    percent: u32,
    beneficiaries: Beneficiaries<AccountId>,
) -> SlashId {
    let id = slash_for(machine, percent, beneficiaries).unwrap();
    MockClock::set_epoch(id.due_epoch);
    poll();
    id
}

/// Forgets events and what the registry was told.
pub(crate) fn forget_traces() {
    take_events();
    BondChanges::set(Vec::new());
    Disciplined::set(Vec::new());
}

pub(crate) fn place(due_epoch: EpochIndex, index: u32) -> SlashId {
    SlashId { due_epoch, index }
}

pub(crate) fn free(who: AccountId) -> Balance {
    Balances::free_balance(who)
}

/// Plancks held for a machine, by its record.
pub(crate) fn held_for(machine: MachineId) -> Balance {
    Bonds::<Test>::get(machine).map_or(0, |record| record.total_held())
}

/// Plancks that a slash of a machine left outstanding.
pub(crate) fn debt_of(machine: MachineId, id: SlashId) -> Balance {
    Debts::<Test>::get(machine, id).map_or(0, |debt| debt.total())
}

/// Returns a machine's strikes for each offence.
pub(crate) fn strikes_of(machine: MachineId) -> Strikes {
    Bonds::<Test>::get(machine).map_or(Strikes::default(), |record| record.strikes)
}

/// Plancks of an account, held ones included.
pub(crate) fn total_balance(who: AccountId) -> Balance {
    Balances::total_balance(&who)
}

pub(crate) fn sum_of_balances() -> Balance {
    frame_system::Account::<Test>::iter_values()
        .map(|account| account.data.free + account.data.reserved)
        .sum()
}

pub(crate) fn record(machine: MachineId) -> BondRecordOf<Test> {
    Bonds::<Test>::get(machine).unwrap()
}

pub(crate) fn held(who: AccountId) -> Balance {
    Balances::balance_on_hold(&HoldReason::MachineBond.into(), &who)
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}
