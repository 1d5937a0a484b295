//! Stakes of machines: parts of a bond, strikes, and the interfaces to other pallets.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_runtime::DispatchResult;
use scale_info::TypeInfo;

use crate::{clock::EpochIndex, machine::MachineId, money::Balance};

/// A part of a bond on its way out; still held, and still to lose.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct UnlockChunk {
    /// Plancks.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub amount: Balance,
    /// The epoch from which on it may be withdrawn.
    pub due_epoch: EpochIndex,
}

/// Number of times that a machine committed one offence, as far as it is remembered.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct StrikeRecord {
    /// Number of times; stays at 255, where no penalty grows any more.
    pub count: u8,
    /// The epoch of the last time; zero where there was none.
    pub last_epoch: EpochIndex,
}

impl StrikeRecord {
    /// Counts one more strike and returns how many there were before it, without those of a time before the
    /// last `memory_epochs`.
    pub fn add(&mut self, epoch: EpochIndex, memory_epochs: EpochIndex) -> u8 {
        if epoch.saturating_sub(self.last_epoch) > memory_epochs {
            self.count = 0;
        }
        let before = self.count;
        self.count = before.saturating_add(1);
        self.last_epoch = epoch;
        before
    }

    /// Counts one strike less.
    pub fn take_back(&mut self) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            *self = Self::default();
        }
    }
}

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
    /// Returns the standing of the machine's bond.
    fn standing(machine: MachineId) -> BondStanding;

    /// Returns true if nothing is bonded, unlocking, owed or about to be slashed: nothing ties the provider
    /// to the machine any more.
    fn is_settled(machine: MachineId) -> bool;

    /// Returns true if a slash of the machine waits in the agenda.
    fn has_pending_slash(machine: MachineId) -> bool;

    /// Bonds the machine's minimum with money of its provider that is made for it; for benchmarks of other
    /// pallets.
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

/// Hears of the standing of a machine's bond. Implemented by `pallet-provider-registry`, called by
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

    /// Returns true if the provider asked for the machine's rewards to be bonded.
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
