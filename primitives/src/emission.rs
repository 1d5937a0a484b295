//! Emission of rewards: weights, and the interfaces to other pallets.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_core::U256;
use scale_info::TypeInfo;

use crate::{clock::EpochIndex, machine::MachineId, market::FULL_PPM, money::Balance};

/// Weight of a machine in the sharing of an epoch's emission.
///
/// The compute score of its class times its proven slots, in parts of [`WEIGHT_PARTS`] or
/// [`ATTESTED_WEIGHT_PARTS`]; at most 2^32 × 64 × 5, so sums of 2^23 machines fit 64 bits.
pub type RewardWeight = u64;

/// Most epochs that one payout of a machine's rewards pays.
pub const MAX_EPOCHS_PER_PAYOUT: u32 = 32;

/// Weight of a slot for each point of its compute score.
pub const WEIGHT_PARTS: RewardWeight = 4;

/// Weight of an attested machine's slot for each point: a quarter more, exactly.
pub const ATTESTED_WEIGHT_PARTS: RewardWeight = 5;

/// The accounts of one epoch.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct EpochRecord {
    /// Plancks that the epoch's machines may share; zero until the epoch has ended. At most the cap for each
    /// unit of the total weight.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub pool: Balance,
    /// Plancks that the cap kept out of the pool. They are still to be emitted, by later epochs.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub withheld: Balance,
    /// Sum of the weights that share the pool; zero until the epoch has ended.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub total_weight: u128,
    /// Plancks minted so far for work in this epoch; never more than the pool.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub minted: Balance,
    /// Plancks taken as protocol fees while the epoch was running, burned ones included.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub fees: Balance,
    /// Plancks of those fees that left the total issuance.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::json::amount::serialize"))]
    pub burned: Balance,
}

impl EpochRecord {
    /// Returns the plancks that a machine of `weight` earned that was up for `uptime_ppm` of the epoch.
    ///
    /// Rounded down once, at the end, so that the shares of all machines never sum up to more than the pool.
    pub fn reward(&self, weight: RewardWeight, uptime_ppm: u32) -> Balance {
        let uptime_ppm = uptime_ppm.min(FULL_PPM);
        // 128 + 64 + 20 bits above and 128 + 20 below: neither product can overflow 256.
        let earned = U256::from(self.pool) * U256::from(weight) * U256::from(uptime_ppm);
        let shared_by = U256::from(self.total_weight) * U256::from(FULL_PPM);
        // A machine's weight is part of the total, so the cap is a second lock on the same door.
        earned
            .checked_div(shared_by)
            .unwrap_or_default()
            .min(self.pool.into())
            .low_u128()
    }
}

/// Destination of a machine's rewards.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum RewardDestination<AccountId> {
    /// To the account that owns the machine.
    #[default]
    Provider,
    /// To another account.
    Account(AccountId),
    /// To the account that `pallet-revive` maps this Ethereum-style address to.
    Ethereum(#[cfg_attr(feature = "client", serde(serialize_with = "crate::json::key::serialize"))] [u8; 20]),
    /// Into the machine's bond.
    Bond,
}

/// Receiver of machines' reward weights. Implemented by `pallet-reward-emission`, called by
/// `pallet-provider-registry` at every change of status or slots.
pub trait RewardWeights {
    /// The machine weighs `weight` from now on; zero: it earns nothing.
    ///
    /// An increase counts from the next epoch, a decrease at once, for the whole of the current epoch.
    fn set_weight(machine: MachineId, weight: RewardWeight);
}

impl RewardWeights for () {
    fn set_weight(_: MachineId, _: RewardWeight) {}
}

/// Source of machines' reward weights in ended epochs. Implemented by `pallet-reward-emission`, used by
/// `pallet-availability` to distinguish an outage of the network from one of a provider.
pub trait EpochWeights {
    /// Weight of the machine in an epoch that has ended and is not closed; zero where it had none.
    fn weight_in(machine: MachineId, epoch: EpochIndex) -> RewardWeight;

    /// Sum of the weights of all machines in an epoch that has ended; zero once it fell out of history.
    fn total_weight_in(epoch: EpochIndex) -> u128;

    /// First epoch in which the machine weighed something, or will, and that it was not paid for; `None`
    /// where there is none.
    fn first_unpaid_epoch(_machine: MachineId) -> Option<EpochIndex> {
        None
    }

    /// Gives the machine a weight in the epoch, as a part of a total of `total`; for benchmarks of other
    /// pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_weigh(_machine: MachineId, _epoch: EpochIndex, _weight: RewardWeight, _total: u128) {}
}

/// Nothing weighs anything, as on a chain without an emission.
impl EpochWeights for () {
    fn weight_in(_: MachineId, _: EpochIndex) -> RewardWeight {
        0
    }

    fn total_weight_in(_: EpochIndex) -> u128 {
        0
    }
}

/// Keeps the accounts of the flywheel: fees and burns by epoch. Implemented by `pallet-reward-emission`,
/// called by `pallet-job-escrow`.
pub trait FlywheelLedger {
    /// A protocol fee was taken, of which `burned` left the total issuance.
    fn note_fee(fee: Balance, burned: Balance);
}

impl FlywheelLedger for () {
    fn note_fee(_: Balance, _: Balance) {}
}

/// Source of a machine's uptime in an epoch. Implemented by `pallet-availability`.
pub trait EpochUptime {
    /// The machine's uptime in a closed epoch, in parts per million.
    ///
    /// Whole where nobody watched, which is not the provider's fault; nothing for an epoch that fell out of
    /// history, so that nobody gains by asking late. For an epoch that is not closed the answer may still
    /// change.
    fn uptime_ppm(machine: MachineId, epoch: EpochIndex) -> u32;

    /// The oldest epoch that is not closed: reports of it, and of every later one, may still come.
    fn first_open_epoch() -> EpochIndex;

    /// Returns true if the reports of the epoch are final. Only closed epochs may be paid for.
    fn is_closed(epoch: EpochIndex) -> bool {
        epoch < Self::first_open_epoch()
    }

    /// The machine was paid for so many closed epochs: brings its average uptime up to date by as many at
    /// most. So a provider cannot have its rewards without the market learning how reliable its machine is.
    fn count_epochs(_machine: MachineId, _max_epochs: u32) {}

    /// The machine failed a consumer in a way that no consumer can bring about: lowers its average uptime by
    /// as much as one epoch in which it was down. What it is paid for does not change.
    fn count_failure(_machine: MachineId) {}

    /// Gives the machine the best average uptime, so that [`Self::count_failure`] costs its most; for
    /// benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_reliable(_machine: MachineId) {}

    /// Makes the epoch one in which as many as can be watched the machine, and saw it up but for one, so that
    /// [`Self::uptime_ppm`] and [`Self::count_epochs`] cost their most; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_watch(_machine: MachineId, _epoch: EpochIndex) {}
}

/// Every machine was up all the time, and every epoch is closed as soon as it has ended, as on a chain
/// without availability reports.
impl EpochUptime for () {
    fn uptime_ppm(_: MachineId, _: EpochIndex) -> u32 {
        1_000_000
    }

    fn first_open_epoch() -> EpochIndex {
        EpochIndex::MAX
    }
}
