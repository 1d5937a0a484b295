//! A runtime of balances and the stakes, with a registry and a clock that the tests set by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, MILLIS_PER_HOUR, Millis},
    machine::{
        MachineId, MachineInspect,
        MachineStatus::{self, Active, Retired, Suspended, Unproven},
        OnBondChange,
        SuspensionReason::BondTooLow,
    },
    money::{ASY, Balance, MILLI_ASY},
    stake::BondInspect,
};
use polkadot_sdk::{
    frame_support::{
        construct_runtime, derive_impl, parameter_types,
        traits::{ConstU32, ConstU128, fungible::InspectHold},
    },
    frame_system::{self, mocking::MockBlock},
    pallet_balances,
    sp_io::TestExternalities,
    sp_runtime::{BuildStorage, DispatchResult},
};

use crate::{self as pallet_provider_staking, BondRecordOf, Bonds, HoldReason};

pub(crate) type AccountId = u64;

pub(crate) const PROVIDER: AccountId = 1;
pub(crate) const OTHER_PROVIDER: AccountId = 2;
pub(crate) const STRANGER: AccountId = 3;

/// Machines of [`PROVIDER`].
pub(crate) const MACHINE: MachineId = 10;
pub(crate) const SECOND_MACHINE: MachineId = 11;
/// A machine of [`OTHER_PROVIDER`].
pub(crate) const OTHER_MACHINE: MachineId = 20;

pub(crate) const ENDOWMENT: Balance = 10_000 * ASY;
pub(crate) const BASE_BOND: Balance = 500 * ASY;
pub(crate) const CLASS_STAKE: Balance = 100 * ASY;
pub(crate) const MINIMUM: Balance = BASE_BOND + CLASS_STAKE;
pub(crate) const UNBONDING_EPOCHS: EpochIndex = 3;

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
    type ExistentialDeposit = ConstU128<MILLI_ASY>;
}

parameter_types! {
    /// The registry's machines.
    pub(crate) static Machines: BTreeMap<MachineId, MockMachine> = BTreeMap::new();
    /// What the registry was told and what was held then, in order.
    pub static BondChanges: Vec<(MachineId, bool, Balance)> = Vec::new();
    /// The clock's epoch.
    pub static CurrentEpoch: EpochIndex = 0;
    /// Least bond of any machine, before its class asks for more.
    pub static LeastBond: Balance = BASE_BOND;
    /// What every machine's class asks.
    pub static StakeOfClass: Balance = CLASS_STAKE;
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
    fn on_bond_change(machine: MachineId, sufficient: bool) {
        let held = ProviderStaking::total_held(machine);
        assert_eq!(ProviderStaking::is_sufficient(machine), sufficient);
        BondChanges::mutate(|changes| changes.push((machine, sufficient, held)));
        match (MockRegistry::status(machine), sufficient) {
            (Some(Unproven | Suspended(BondTooLow)), true) => set_status(machine, Active),
            (Some(Active), false) => set_status(machine, Suspended(BondTooLow)),
            (Some(Retired), _) if held == 0 => Machines::mutate(|machines| {
                machines.remove(&machine);
            }),
            _ => {}
        }
    }
}

pub struct MockClock;

impl ActiveClock for MockClock {
    fn now_ms() -> Millis {
        Millis::from(CurrentEpoch::get()) * MILLIS_PER_HOUR
    }

    fn current_epoch() -> EpochIndex {
        CurrentEpoch::get()
    }

    fn epoch_duration_ms() -> Millis {
        MILLIS_PER_HOUR
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_ms(_: Millis) {}
}

impl pallet_provider_staking::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Machines = MockRegistry;
    type OnBondChange = MockRegistry;
    type Clock = MockClock;
    type BaseBond = LeastBond;
    type UnbondingEpochs = ConstU32<UNBONDING_EPOCHS>;
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
        CurrentEpoch::set(0);
        LeastBond::set(BASE_BOND);
        StakeOfClass::set(CLASS_STAKE);
        for (machine, provider) in [
            (MACHINE, PROVIDER),
            (SECOND_MACHINE, PROVIDER),
            (OTHER_MACHINE, OTHER_PROVIDER),
        ] {
            insert_machine(machine, provider);
        }
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: [PROVIDER, OTHER_PROVIDER, STRANGER]
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
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            ProviderStaking::do_try_state().unwrap();
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
