//! Tests of the emission: what each call and each hook does, then what no sequence of them can break.

#![allow(clippy::unwrap_used)]

mod destinations;
mod epochs;
mod payouts;
mod properties;
mod weights;

use assay_primitives::{clock::EpochIndex, emission::RewardWeight, machine::MachineId};

use crate::{MachineWeights, PendingWeight, TotalWeight, mock::*};

/// The steps of a machine's weight; none where it has no record.
fn segments(machine: MachineId) -> Vec<(EpochIndex, RewardWeight)> {
    MachineWeights::<Test>::get(machine)
        .map(|record| {
            record
                .segments
                .iter()
                .map(|segment| (segment.from_epoch, segment.weight))
                .collect()
        })
        .unwrap_or_default()
}

/// Total and pending weight.
fn sums() -> (u128, u128) {
    (TotalWeight::<Test>::get(), PendingWeight::<Test>::get())
}
