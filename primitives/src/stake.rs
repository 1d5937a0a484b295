//! What other pallets may ask of or tell the stakes of machines.

use polkadot_sdk::sp_runtime::DispatchResult;

use crate::{machine::MachineId, money::Balance};

/// Reads bonds. Implemented by `pallet-provider-staking`, used by `pallet-provider-registry`.
pub trait BondInspect {
    /// Whether the machine has at least its minimum bonded and is in no debt.
    fn is_sufficient(machine: MachineId) -> bool;

    /// Plancks held for the machine: bonded, unlocking and owed.
    fn total_held(machine: MachineId) -> Balance;

    /// Bonds the machine's minimum with money of its provider that is made for it; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId);
}

/// Nothing is bonded and nothing is asked for.
impl BondInspect for () {
    fn is_sufficient(_: MachineId) -> bool {
        true
    }

    fn total_held(_: MachineId) -> Balance {
        0
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(_: MachineId) {}
}

/// Puts rewards into a machine's bond. Implemented by `pallet-provider-staking`, used by
/// `pallet-reward-emission`.
pub trait BondRewards: BondInspect {
    /// Adds `amount`, which is already in the provider's free balance, to the machine's bond.
    fn bond_reward(machine: MachineId, amount: Balance) -> DispatchResult;

    /// Whether the provider asked for the machine's rewards to be bonded.
    fn auto_stake(machine: MachineId) -> bool;
}

/// Rewards are never bonded.
impl BondRewards for () {
    fn bond_reward(_: MachineId, _: Balance) -> DispatchResult {
        Ok(())
    }

    fn auto_stake(_: MachineId) -> bool {
        false
    }
}
