//! Events of `reward-emission`: the epochs' accounts and the machines' rewards.

use std::fmt;

use assay_primitives::{clock::EpochIndex, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use crate::{
    types::{AccountId, JobId, RewardDestination, as_decimal},
    units::format_asy,
};

/// Event of the emission.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum EmissionEvent {
    /// The chain closed an epoch's accounts.
    EpochClosed {
        /// The epoch.
        epoch: EpochIndex,
        /// Plancks of the epoch's pool.
        #[serde(serialize_with = "as_decimal")]
        pool: Balance,
        /// Sum of the machines' weights.
        #[serde(serialize_with = "as_decimal")]
        total_weight: u128,
        /// Plancks that the cap kept for later epochs.
        #[serde(serialize_with = "as_decimal")]
        withheld: Balance,
    },
    /// A machine's rewards were minted.
    RewardPaid {
        /// The machine.
        machine: MachineId,
        /// First epoch paid for.
        first_epoch: EpochIndex,
        /// Last epoch paid for.
        last_epoch: EpochIndex,
        /// Plancks minted.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Account that received them.
        destination: AccountId,
        /// True if they went into the machine's bond.
        bonded: bool,
    },
    /// A provider decided where a machine's rewards go.
    RewardDestinationSet {
        /// The machine.
        machine: MachineId,
        /// Their destination from now on.
        destination: RewardDestination,
    },
}

impl EmissionEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::RewardPaid { machine, .. } | Self::RewardDestinationSet { machine, .. } => Some(*machine),
            Self::EpochClosed { .. } => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for EmissionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EpochClosed {
                epoch,
                pool,
                total_weight,
                withheld,
            } => {
                write!(
                    f,
                    "epoch {epoch} closed: {} for weight {total_weight}",
                    format_asy(*pool)
                )?;
                if *withheld > 0 {
                    write!(f, "; the cap keeps {} for later epochs", format_asy(*withheld))?;
                }
                Ok(())
            }
            Self::RewardPaid {
                machine,
                first_epoch,
                last_epoch,
                amount,
                destination,
                bonded,
            } => write!(
                f,
                "{} minted to {destination} for machine {machine}, epochs {first_epoch} to {last_epoch}{}",
                format_asy(*amount),
                if *bonded { ", and bonded" } else { "" }
            ),
            Self::RewardDestinationSet { machine, destination } => {
                write!(f, "rewards of machine {machine} go {destination} from now on")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_primitives::money::ASY;

    use super::*;

    #[test]
    fn a_closed_epoch_tells_what_the_cap_kept() {
        let closed = |withheld| EmissionEvent::EpochClosed {
            epoch: 4,
            pool: 2 * ASY,
            total_weight: 12,
            withheld,
        };
        assert_eq!(closed(0).to_string(), "epoch 4 closed: 2 ASY for weight 12");
        assert_eq!(
            closed(ASY / 2).to_string(),
            "epoch 4 closed: 2 ASY for weight 12; the cap keeps 0.5 ASY for later epochs"
        );
    }
}
