//! What other pallets tell the emission of rewards.

use crate::{machine::MachineId, money::Balance};

/// Weight of a machine in the sharing of an epoch's emission.
///
/// The compute score of its class times its proven slots; at most 2^32 × 64, so sums of 2^26 machines fit.
pub type RewardWeight = u64;

/// Hears what a machine may earn. Implemented by `pallet-reward-emission`, called by
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

/// Keeps the accounts of the flywheel: fees and burns by epoch. Implemented by `pallet-reward-emission`,
/// called by `pallet-job-escrow`.
pub trait FlywheelLedger {
    /// A protocol fee was taken, of which `burned` left the total issuance.
    fn note_fee(fee: Balance, burned: Balance);
}

impl FlywheelLedger for () {
    fn note_fee(_: Balance, _: Balance) {}
}

/// How much of an epoch a machine was seen up. Implemented by the availability reports.
pub trait EpochUptime {
    /// The machine's uptime in an ended epoch, in parts per million.
    fn uptime_ppm(machine: MachineId, epoch: crate::clock::EpochIndex) -> u32;
}

/// Every machine was up all the time: what a chain without availability reports knows.
impl EpochUptime for () {
    fn uptime_ppm(_: MachineId, _: crate::clock::EpochIndex) -> u32 {
        1_000_000
    }
}
