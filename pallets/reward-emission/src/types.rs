//! Accounts of epochs, and each machine's weight over time.

use assay_primitives::{
    clock::EpochIndex,
    emission::RewardWeight,
    money::{ASY, Balance},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;

pub use assay_primitives::emission::{EpochRecord, RewardDestination};

/// Default of the plancks that will ever be emitted: one thousand million ASY.
pub const DEFAULT_EMISSION_CAP: Balance = 1_000_000_000 * ASY;

/// Maximum number of weight segments of a machine since its last payout.
///
/// A change of weight adds two segments at most, and two of them may be those of the current and the next
/// epoch. So with at least four, merging changes only epochs that have ended.
pub const MAX_WEIGHT_SEGMENTS: u32 = 8;

/// Uptime of a whole epoch, in parts per million.
pub(crate) const FULL_UPTIME_PPM: u32 = 1_000_000;

/// Weight of a machine from one epoch on, until the next segment begins.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct WeightSegment {
    /// First epoch with this weight.
    pub from_epoch: EpochIndex,
    /// Weight.
    pub weight: RewardWeight,
}

/// Weight of a machine in its unpaid epochs, and from now on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct MachineWeightRecord<AccountId> {
    /// Account that owns the machine; kept here because rewards stay payable after the machine is removed.
    pub provider: AccountId,
    /// Steps of the weight, in the order of epochs, each different from the one before it. Before the first
    /// step the weight is zero.
    pub segments: BoundedVec<WeightSegment, ConstU32<MAX_WEIGHT_SEGMENTS>>,
    /// First epoch that is not paid.
    pub next_unpaid_epoch: EpochIndex,
}

/// Effect of a new weight on a machine's current and next weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WeightChange {
    /// Weight in the current epoch, before the change.
    pub(crate) current_before: RewardWeight,
    /// Weight in the current epoch, after the change; never more than before.
    pub(crate) current_after: RewardWeight,
    /// Weight from the next epoch on, before the change; never less than in the current epoch.
    pub(crate) next_before: RewardWeight,
    /// Weight from the next epoch on, after the change; never less than in the current epoch.
    pub(crate) next_after: RewardWeight,
}

impl<AccountId> MachineWeightRecord<AccountId> {
    /// Returns the record of a machine without weight, which can get its first one in the epoch after
    /// `current`.
    pub(crate) fn new(provider: AccountId, current: EpochIndex) -> Self {
        Self {
            provider,
            segments: BoundedVec::new(),
            next_unpaid_epoch: current.saturating_add(1),
        }
    }

    /// Returns the machine's weight in an epoch.
    ///
    /// Correct for unpaid epochs, the current one and later ones; weights of paid epochs are forgotten.
    pub fn weight_at(&self, epoch: EpochIndex) -> RewardWeight {
        self.segments
            .iter()
            .rev()
            .find(|segment| segment.from_epoch <= epoch)
            .map_or(0, |segment| segment.weight)
    }

    /// Returns the first unpaid epoch with a weight; `None` if there is none.
    pub(crate) fn first_unpaid_epoch(&self) -> Option<EpochIndex> {
        let first_weighed = self.segments.first()?.from_epoch;
        Some(self.next_unpaid_epoch.max(first_weighed))
    }

    /// Sets the weight from the epoch after `current` on; a decrease applies to `current` too.
    pub(crate) fn set(&mut self, current: EpochIndex, weight: RewardWeight) -> WeightChange {
        let next = current.saturating_add(1);
        let current_before = self.weight_at(current);
        let change = WeightChange {
            current_before,
            current_after: current_before.min(weight),
            next_before: self.weight_at(next),
            next_after: weight,
        };
        while self
            .segments
            .last()
            .is_some_and(|segment| segment.from_epoch >= current)
        {
            self.segments.pop();
        }
        self.push(WeightSegment {
            from_epoch: current,
            weight: change.current_after,
        });
        self.push(WeightSegment {
            from_epoch: next,
            weight: change.next_after,
        });
        change
    }

    /// Forgets the weights before `epoch`.
    pub(crate) fn forget_before(&mut self, epoch: EpochIndex) {
        while self
            .segments
            .get(1)
            .is_some_and(|second| second.from_epoch <= epoch)
        {
            self.segments.remove(0);
        }
        self.drop_leading_zero();
    }

    /// Returns true if the record has no weight left, neither unpaid nor future.
    pub(crate) fn is_spent(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends a step if the weight differs from the last one; merges the oldest steps first if the list is
    /// full.
    fn push(&mut self, segment: WeightSegment) {
        let last_weight = self.segments.last().map_or(0, |last| last.weight);
        if last_weight == segment.weight {
            return;
        }
        while self.segments.is_full() {
            self.merge_oldest();
        }
        let pushed = self.segments.try_push(segment);
        debug_assert!(pushed.is_ok(), "room was made");
    }

    /// Merges the two oldest segments, with the smaller of their weights: an estimate that can only reduce
    /// the rewards of a machine that was not paid in time, and never makes an epoch mint more than its pool.
    fn merge_oldest(&mut self) {
        if self.segments.len() < 2 {
            return;
        }
        let second = self.segments.remove(1);
        if let Some(first) = self.segments.get_mut(0) {
            first.weight = first.weight.min(second.weight);
        }
        let (first, next) = (self.segments.first(), self.segments.get(1));
        if next.is_some() && first.map(|first| first.weight) == next.map(|next| next.weight) {
            self.segments.remove(1);
        }
        self.drop_leading_zero();
    }

    /// Drops first segments of zero weight: without them the weight is zero too.
    fn drop_leading_zero(&mut self) {
        while self.segments.first().is_some_and(|first| first.weight == 0) {
            self.segments.remove(0);
        }
    }
}

/// Returns the account of an Ethereum-style address: its 20 bytes, padded with `0xEE`, as `pallet-revive`
/// maps it.
pub fn ethereum_account(address: [u8; 20]) -> [u8; 32] {
    let mut account = [0xEE; 32];
    account[..20].copy_from_slice(&address);
    account
}

/// State of the emission, as if the current epoch ended now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct EmissionOutlook {
    /// Plancks that no epoch has released yet.
    pub remaining: Balance,
    /// Sum of all machines' weights in the current epoch.
    pub total_weight: u128,
    /// Maximum plancks that an epoch releases for each unit of weight.
    pub cap_per_weight: Balance,
    /// Plancks that the epoch's machines would share.
    pub pool: Balance,
    /// Plancks that the cap would withhold for later epochs.
    pub withheld: Balance,
}

/// Result of a payout now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct RewardDue {
    /// First epoch that it pays.
    pub first_epoch: EpochIndex,
    /// Last epoch that it pays.
    pub last_epoch: EpochIndex,
    /// Plancks for all of these epochs.
    pub amount: Balance,
}
