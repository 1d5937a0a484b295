//! Events of `chain-clock`: the epochs.

use std::fmt;

use assay_primitives::{
    clock::{EpochIndex, Millis},
    machine::MachineId,
};
use scale_decode::DecodeAsType;
use serde::Serialize;

use crate::types::JobId;

/// Event of the chain's clock.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum ClockEvent {
    /// An epoch began.
    EpochStarted {
        /// The epoch that began.
        epoch: EpochIndex,
        /// Active time of the block.
        active_time_ms: Millis,
    },
}

impl ClockEvent {
    /// Returns `None`: no event of the clock is about a machine.
    pub fn machine(&self) -> Option<MachineId> {
        None
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for ClockEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EpochStarted { epoch, .. } => write!(f, "epoch {epoch} began"),
        }
    }
}
