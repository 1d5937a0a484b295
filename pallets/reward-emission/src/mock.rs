//! A runtime of balances and the emission. What the pallet asks others for stands in thread-local variables.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, OnEpochEnd},
    emission::{EpochUptime, RewardWeight, RewardWeights},
    machine::{MachineId, MachineInspect, MachineStatus},
    money::{ASY, Balance, MILLI_ASY},
    stake::{BondInspect, BondRewards, BondStanding},
};
pub(crate) use assay_test_support::MockClock;
use polkadot_sdk::{
    frame_support::{self, derive_impl, parameter_types, storage::unhashed, traits::fungible::Inspect},
    frame_system, pallet_balances, sp_io,
    sp_runtime::{AccountId32, BuildStorage, DispatchError, DispatchResult, traits::IdentityLookup},
};

use crate as pallet_reward_emission;

pub(crate) type AccountId = AccountId32;

/// Owns the machines with even numbers.
pub(crate) const ALICE: AccountId = AccountId::new([1; 32]);
/// Owns the machines with odd numbers.
pub(crate) const BOB: AccountId = AccountId::new([2; 32]);
/// Owns nothing, and does not exist until somebody pays.
pub(crate) const CHARLIE: AccountId = AccountId::new([3; 32]);

/// Emission of all epochs in most tests.
pub(crate) const CAP: Balance = 1_000_000 * ASY;
/// Each epoch of the mock releases a hundredth of what is left.
pub(crate) const DIVISOR: u128 = 100;
/// The pool of the first epoch.
pub(crate) const FIRST_POOL: Balance = CAP / DIVISOR;
/// Ended epochs that the mock keeps.
pub(crate) const HISTORY: EpochIndex = 40;
/// Most epochs that one payout of the mock pays.
pub(crate) const MAX_EPOCHS: u32 = 32;

/// Where the mock's bond writes before it fails.
const BOND_SCRATCH_KEY: &[u8] = b"written by a bond that failed";

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Test;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;

    #[runtime::pallet_index(1)]
    pub type Balances = pallet_balances;

    #[runtime::pallet_index(2)]
    pub type RewardEmission = pallet_reward_emission;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlock<Test>;
    type AccountId = AccountId;
    type Lookup = IdentityLookup<AccountId>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
    type Balance = Balance;
    type ExistentialDeposit = ExistentialDeposit;
}

parameter_types! {
    pub const ExistentialDeposit: Balance = MILLI_ASY;
    pub const EmissionDivisor: u128 = DIVISOR;
    /// More than there is for the least weight, unless the test says otherwise.
    pub static CapPerWeight: Balance = CAP;
    pub const HistoryEpochs: EpochIndex = HISTORY;
    pub const MaxEpochsPerPayout: u32 = MAX_EPOCHS;
    /// Machines that are not as [`Machines`] has them by default; `None`: removed.
    pub static ChangedStatus: BTreeMap<MachineId, Option<MachineStatus>> = BTreeMap::new();
    /// Machines that neither Alice nor Bob owns.
    pub static ChangedOwner: BTreeMap<MachineId, AccountId> = BTreeMap::new();
    /// Machines whose average uptime was to be updated, with the numbers of epochs.
    pub static Counted: Vec<(MachineId, u32)> = Vec::new();

    /// Uptimes that are not whole.
    pub static Uptimes: BTreeMap<(MachineId, EpochIndex), u32> = BTreeMap::new();
    /// Ended epochs whose uptime is not final.
    pub static OpenEpochs: EpochIndex = 0;
    /// Machines whose rewards are bonded automatically.
    pub static AutoStaked: BTreeSet<MachineId> = BTreeSet::new();
    /// True if bonds refuse rewards.
    pub static BondsFail: bool = false;
    /// The rewards that were bonded.
    pub static Bonded: Vec<(MachineId, Balance)> = Vec::new();
}

/// Ten active machines, owned by Alice and Bob in turns.
pub struct Machines;

impl MachineInspect<AccountId> for Machines {
    fn provider_of(machine: MachineId) -> Option<AccountId> {
        Self::status(machine)?;
        let default = if machine.is_multiple_of(2) { ALICE } else { BOB };
        Some(ChangedOwner::get().get(&machine).cloned().unwrap_or(default))
    }

    fn machine_of_worker(_: &AccountId) -> Option<MachineId> {
        None
    }

    fn status(machine: MachineId) -> Option<MachineStatus> {
        let default = (machine < 10).then_some(MachineStatus::Active);
        ChangedStatus::get().get(&machine).copied().unwrap_or(default)
    }

    fn class_stake(_: MachineId) -> Option<Balance> {
        None
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(provider: &AccountId, _: &AccountId, _: u8) -> MachineId {
        const MACHINE: MachineId = 0;
        ChangedOwner::mutate(|owners| owners.insert(MACHINE, provider.clone()));
        MACHINE
    }
}

/// Bonds that take any reward, unless the test says otherwise.
pub struct Bonds;

impl BondRewards for Bonds {
    fn bond_reward(machine: MachineId, amount: Balance) -> DispatchResult {
        unhashed::put(BOND_SCRATCH_KEY, &amount);
        if BondsFail::get() {
            return Err(DispatchError::Other("no bond"));
        }
        Bonded::mutate(|bonded| bonded.push((machine, amount)));
        Ok(())
    }

    fn auto_stake(machine: MachineId) -> bool {
        AutoStaked::get().contains(&machine)
    }
}

impl BondInspect for Bonds {
    fn standing(_: MachineId) -> BondStanding {
        BondStanding::Sufficient
    }

    fn is_settled(_: MachineId) -> bool {
        true
    }

    fn has_pending_slash(_: MachineId) -> bool {
        false
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(_: MachineId) {}
}

/// Returns true if a write of the failed bond is left.
pub(crate) fn bond_left_traces() -> bool {
    unhashed::exists(BOND_SCRATCH_KEY)
}

/// Whole uptimes that are final when the epoch has ended, unless the test says otherwise.
pub struct Uptime;

impl EpochUptime for Uptime {
    fn uptime_ppm(machine: MachineId, epoch: EpochIndex) -> u32 {
        Uptimes::get()
            .get(&(machine, epoch))
            .copied()
            .unwrap_or(1_000_000)
    }

    fn first_open_epoch() -> EpochIndex {
        MockClock::current_epoch().saturating_sub(OpenEpochs::get())
    }

    fn count_epochs(machine: MachineId, max_epochs: u32) {
        Counted::mutate(|counted| counted.push((machine, max_epochs)));
    }
}

impl pallet_reward_emission::Config for Test {
    type Currency = Balances;
    type Machines = Machines;
    type BondRewards = Bonds;
    type Uptime = Uptime;
    type Clock = MockClock;
    type EmissionDivisor = EmissionDivisor;
    type CapPerWeight = CapPerWeight;
    type HistoryEpochs = HistoryEpochs;
    type MaxEpochsPerPayout = MaxEpochsPerPayout;
    type WeightInfo = ();
}

/// Builds a chain in epoch 0, in which Alice and Bob have 100 ASY each.
pub(crate) struct ExtBuilder {
    remaining_emission: Balance,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        Self {
            remaining_emission: CAP,
        }
    }
}

impl ExtBuilder {
    pub(crate) fn remaining_emission(mut self, remaining_emission: Balance) -> Self {
        self.remaining_emission = remaining_emission;
        self
    }

    pub(crate) fn build(self) -> sp_io::TestExternalities {
        MockClock::reset();
        CapPerWeight::set(CAP);
        ChangedStatus::set(BTreeMap::new());
        ChangedOwner::set(BTreeMap::new());
        Uptimes::set(BTreeMap::new());
        Counted::set(Vec::new());
        OpenEpochs::set(0);
        AutoStaked::set(BTreeSet::new());
        BondsFail::set(false);
        Bonded::set(Vec::new());
        let genesis = RuntimeGenesisConfig {
            balances: pallet_balances::GenesisConfig {
                balances: vec![(ALICE, 100 * ASY), (BOB, 100 * ASY)],
                ..Default::default()
            },
            reward_emission: pallet_reward_emission::GenesisConfig {
                remaining_emission: self.remaining_emission,
                ..Default::default()
            },
            ..Default::default()
        };
        let storage = genesis.build_storage().expect("the genesis of the mock is valid");
        let mut externalities = sp_io::TestExternalities::from(storage);
        // Events of the genesis block are not kept.
        externalities.execute_with(|| System::set_block_number(1));
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            RewardEmission::do_try_state().expect("the invariants hold");
        });
    }
}

/// Tells the pallet a machine's weight, as the registry does.
pub(crate) fn set_weight(machine: MachineId, weight: RewardWeight) {
    RewardEmission::set_weight(machine, weight);
}

/// Ends so many epochs, one by one, as the chain's clock does.
pub(crate) fn end_epochs(count: u32) {
    for _ in 0..count {
        let ended = MockClock::current_epoch();
        MockClock::advance_epochs(1);
        RewardEmission::on_epoch_end(ended);
    }
}

/// Makes a machine retired, as the registry does.
pub(crate) fn retire(machine: MachineId) {
    ChangedStatus::mutate(|status| status.insert(machine, Some(MachineStatus::Retired)));
    set_weight(machine, 0);
}

/// Pays a machine, signed by Charlie.
pub(crate) fn payout(machine: MachineId, max_epochs: u32) -> Result<(), DispatchError> {
    RewardEmission::payout(RuntimeOrigin::signed(CHARLIE), machine, max_epochs)
        .map(|_| ())
        .map_err(|error| error.error)
}

/// Total issuance.
pub(crate) fn issuance() -> Balance {
    <Balances as Inspect<AccountId>>::total_issuance()
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::RewardEmission(event) => Some(event),
            _ => None,
        })
        .collect();
    System::reset_events();
    events
}
