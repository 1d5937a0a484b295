//! Events of `provider-staking`: bonds, slashes and debts.

use std::fmt;

use assay_primitives::{clock::EpochIndex, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::text::Parts;
use crate::{
    types::{AccountId, JobId, SlashId, SlashReason, as_decimal},
    units::format_asy,
};

/// Event of the providers' stakes.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum StakingEvent {
    /// Plancks were bonded for a machine.
    Bonded {
        /// The machine.
        machine: MachineId,
        /// Plancks added.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Plancks bonded now.
        #[serde(serialize_with = "as_decimal")]
        total: Balance,
    },
    /// Plancks of a bond began to unbond.
    Unbonded {
        /// The machine.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// First epoch in which they may be withdrawn.
        due_epoch: EpochIndex,
    },
    /// Plancks of a bond came back to the provider.
    Withdrawn {
        /// The machine.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// A provider set whether a machine's rewards are bonded.
    AutoStakeSet {
        /// The machine.
        machine: MachineId,
        /// True if they are bonded.
        auto_stake: bool,
    },
    /// A slash is pending.
    SlashQueued {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Reason for the slash.
        reason: SlashReason,
        /// Amount, in plancks.
        #[serde(serialize_with = "as_decimal")]
        owed: Balance,
    },
    /// Governance cancelled a pending slash.
    SlashCancelled {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
    },
    /// A slash was applied.
    Slashed {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Plancks taken of its bond.
        #[serde(serialize_with = "as_decimal")]
        taken: Balance,
        /// Plancks that the harmed consumer received.
        #[serde(serialize_with = "as_decimal")]
        to_consumer: Balance,
        /// Plancks that were burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
        /// Plancks of the new debt.
        #[serde(serialize_with = "as_decimal")]
        debt: Balance,
    },
    /// The outstanding part of a slash was paid.
    DebtPaid {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Account that paid.
        payer: AccountId,
        /// Plancks that the harmed consumer received.
        #[serde(serialize_with = "as_decimal")]
        to_consumer: Balance,
        /// Plancks that were burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
    },
    /// A share of a slash was burned because its recipient cannot receive it.
    ShareBurned {
        /// The slash.
        id: SlashId,
        /// Account that the share was for.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
}

impl StakingEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::Bonded { machine, .. }
            | Self::Unbonded { machine, .. }
            | Self::Withdrawn { machine, .. }
            | Self::AutoStakeSet { machine, .. }
            | Self::SlashQueued { machine, .. }
            | Self::SlashCancelled { machine, .. }
            | Self::Slashed { machine, .. }
            | Self::DebtPaid { machine, .. } => Some(*machine),
            Self::ShareBurned { .. } => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for StakingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bonded {
                machine,
                amount,
                total,
            } => write!(
                f,
                "{} bonded for machine {machine}, {} in all",
                format_asy(*amount),
                format_asy(*total)
            ),
            Self::Unbonded {
                machine,
                amount,
                due_epoch,
            } => write!(
                f,
                "{} of machine {machine}'s bond may be withdrawn from epoch {due_epoch} on",
                format_asy(*amount)
            ),
            Self::Withdrawn { machine, amount } => {
                write!(f, "{} of machine {machine}'s bond withdrawn", format_asy(*amount))
            }
            Self::AutoStakeSet {
                machine,
                auto_stake: true,
            } => {
                write!(f, "rewards of machine {machine} are bonded from now on")
            }
            Self::AutoStakeSet {
                machine,
                auto_stake: false,
            } => {
                write!(f, "rewards of machine {machine} are not bonded any more")
            }
            Self::SlashQueued {
                id,
                machine,
                reason,
                owed,
            } => write!(
                f,
                "slash {id} of machine {machine} for {reason}: {} from epoch {} on, unless it is cancelled",
                format_asy(*owed),
                id.due_epoch
            ),
            Self::SlashCancelled { id, machine } => {
                write!(f, "slash {id} of machine {machine} was cancelled")
            }
            Self::Slashed {
                id,
                machine,
                taken,
                to_consumer,
                burned,
                debt,
            } => {
                write!(
                    f,
                    "machine {machine} lost {} to slash {id}{}",
                    format_asy(*taken),
                    Parts(*to_consumer, *burned)
                )?;
                if *debt > 0 {
                    write!(f, "; it owes {} more", format_asy(*debt))?;
                }
                Ok(())
            }
            Self::DebtPaid {
                id,
                machine,
                payer,
                to_consumer,
                burned,
            } => write!(
                f,
                "{payer} paid what machine {machine} owed of slash {id}{}",
                Parts(*to_consumer, *burned)
            ),
            Self::ShareBurned {
                id,
                recipient,
                amount,
            } => write!(
                f,
                "{recipient} could not receive {} of slash {id}, which was burned",
                format_asy(*amount)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_slash_says_where_its_money_went() {
        let event = StakingEvent::Slashed {
            id: SlashId {
                due_epoch: 30,
                index: 1,
            },
            machine: 7,
            taken: 12_000_000_000_000,
            to_consumer: 4_000_000_000_000,
            burned: 8_000_000_000_000,
            debt: 500_000_000_000,
        };
        assert_eq!(
            event.to_string(),
            "machine 7 lost 12 ASY to slash 30/1: 4 ASY to the consumer, 8 ASY burned; it owes 0.5 ASY more"
        );
        assert_eq!(
            crate::json::to_value(&event).unwrap()["id"],
            serde_json::json!({ "due_epoch": 30, "index": 1 })
        );
    }
}
