//! Events of `finality-view`: stalls of finality.

use std::fmt;

use assay_primitives::machine::MachineId;
use scale_decode::DecodeAsType;
use serde::Serialize;

use crate::types::JobId;

/// Event of the chain's view of its own finality.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum FinalityEvent {
    /// Finality began to count as stalled.
    FinalityStalled {
        /// Median lag, in blocks.
        lag_blocks: u32,
    },
    /// Finality no longer counts as stalled.
    FinalityResumed {
        /// Median lag, in blocks.
        lag_blocks: u32,
    },
}

impl FinalityEvent {
    /// Returns `None`: no event of this pallet is about a machine.
    pub fn machine(&self) -> Option<MachineId> {
        None
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for FinalityEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FinalityStalled { lag_blocks } => {
                write!(f, "finality is stalled, {lag_blocks} blocks behind")
            }
            Self::FinalityResumed { lag_blocks } => {
                write!(f, "finality resumed, {lag_blocks} blocks behind")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_says_how_far_finality_is_behind() {
        let event = FinalityEvent::FinalityStalled { lag_blocks: 11 };
        assert_eq!(event.to_string(), "finality is stalled, 11 blocks behind");
    }
}
