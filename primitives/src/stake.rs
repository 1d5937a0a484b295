//! What other pallets may ask of or tell the stakes of machines.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_runtime::DispatchResult;
use scale_info::TypeInfo;

use crate::{machine::MachineId, money::Balance};

/// Relation of a machine's bond to what is asked of it. What pending slashes will take of the bond counts as
/// taken.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum BondStanding {
    /// Something and at least the minimum is bonded, and nothing is owed.
    Sufficient,
    /// Nothing or less than the minimum is bonded, and nothing is owed.
    TooLow,
    /// An applied slash took more than there was; the rest is owed.
    InDebt,
}

/// Reads bonds. Implemented by `pallet-provider-staking`, used by `pallet-provider-registry`.
pub trait BondInspect {
    /// How the machine's bond stands.
    fn standing(machine: MachineId) -> BondStanding;

    /// Whether nothing is bonded, unlocking, owed or about to be slashed: nothing ties the provider to the
    /// machine any more.
    fn is_settled(machine: MachineId) -> bool;

    /// Whether a slash of the machine waits in the agenda.
    fn has_pending_slash(machine: MachineId) -> bool;

    /// Bonds the machine's minimum with money of its provider that is made for it; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId);
}

/// Nothing is bonded and nothing is asked for.
impl BondInspect for () {
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

/// Hears whether a machine's bond suffices. Implemented by `pallet-provider-registry`, called by
/// `pallet-provider-staking`.
pub trait OnBondChange {
    /// Called after every change of the machine's bond, of what is pending or of its debt, with how it stands
    /// now.
    fn on_bond_change(machine: MachineId, standing: BondStanding);
}

impl OnBondChange for () {
    fn on_bond_change(_: MachineId, _: BondStanding) {}
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
