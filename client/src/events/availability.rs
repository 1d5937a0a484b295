//! Events of `availability`: validators' reports on machines, and their rewards.

use std::fmt;

use assay_primitives::{clock::EpochIndex, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::text::count;
use crate::{
    types::{AccountId, JobId, as_decimal, as_hex},
    units::{format_asy, format_ppm},
};

/// Event of the validators' watch over the machines.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum AvailabilityEvent {
    /// The watch of an epoch began.
    EpochWatched {
        /// The epoch.
        epoch: EpochIndex,
        /// Seed that its assignments are drawn from.
        #[serde(serialize_with = "as_hex")]
        seed: [u8; 32],
        /// Number of validators that watch.
        validators: u32,
    },
    /// A validator reported on an epoch, or sent a part of its report.
    ReportReceived {
        /// The epoch.
        epoch: EpochIndex,
        /// The validator's place among the epoch's validators, from zero.
        validator_index: u32,
        /// Number of machines in this part that the validator reports as down and the registry knows.
        failures: u32,
    },
    /// A report contradicted a clear majority and earns nothing.
    ReportAgainstMajority {
        /// The epoch.
        epoch: EpochIndex,
        /// Validator that reported.
        validator: AccountId,
    },
    /// The chain credited the rewards of an epoch's reports.
    EpochSettled {
        /// The epoch.
        epoch: EpochIndex,
        /// Number of reports that earned.
        rewarded: u32,
        /// Number of reports that contradicted a clear majority.
        against_majority: u32,
        /// True for an outage, for which no report earns anything.
        is_outage: bool,
    },
    /// The chain begins to keep a machine's average uptime.
    UptimeTracked {
        /// The machine.
        machine: MachineId,
        /// The first epoch that will count.
        from_epoch: EpochIndex,
    },
    /// A machine's average uptime counted more epochs.
    UptimeUpdated {
        /// The machine.
        machine: MachineId,
        /// The first epoch that was counted.
        first_epoch: EpochIndex,
        /// The last epoch that was counted.
        last_epoch: EpochIndex,
        /// Average afterwards, in parts per million.
        average_ppm: u32,
    },
    /// A machine failed a consumer; its average counts that as one more epoch of downtime.
    FailureCounted {
        /// The machine.
        machine: MachineId,
        /// Average afterwards, in parts per million.
        average_ppm: u32,
    },
    /// A validator was paid for its reports.
    RewardClaimed {
        /// The validator.
        validator: AccountId,
        /// Plancks paid.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Plancks still owed, because the pot lacked them.
        #[serde(serialize_with = "as_decimal")]
        left: Balance,
    },
}

impl AvailabilityEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::UptimeTracked { machine, .. }
            | Self::UptimeUpdated { machine, .. }
            | Self::FailureCounted { machine, .. } => Some(*machine),
            Self::EpochWatched { .. }
            | Self::ReportReceived { .. }
            | Self::ReportAgainstMajority { .. }
            | Self::EpochSettled { .. }
            | Self::RewardClaimed { .. } => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for AvailabilityEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EpochWatched {
                epoch, validators, ..
            } => write!(
                f,
                "machines are watched in epoch {epoch} by {}",
                count(*validators, "validator")
            ),
            Self::ReportReceived {
                epoch,
                validator_index,
                failures: 0,
            } => write!(
                f,
                "validator {validator_index} of epoch {epoch} reported no machine that it did not see"
            ),
            Self::ReportReceived {
                epoch,
                validator_index,
                failures,
            } => write!(
                f,
                "validator {validator_index} of epoch {epoch} reported {} that it did not see",
                count(*failures, "machine")
            ),
            Self::ReportAgainstMajority { epoch, validator } => write!(
                f,
                "the report of {validator} on epoch {epoch} is against a clear majority and earns nothing"
            ),
            Self::EpochSettled {
                epoch,
                is_outage: true,
                ..
            } => write!(
                f,
                "the reports on epoch {epoch} are settled: an outage, for which none is rewarded"
            ),
            Self::EpochSettled {
                epoch,
                rewarded,
                against_majority,
                is_outage: false,
            } => write!(
                f,
                "the reports on epoch {epoch} are settled: {} rewarded, {against_majority} against a clear majority",
                count(*rewarded, "report")
            ),
            Self::UptimeTracked { machine, from_epoch } => write!(
                f,
                "the average uptime of machine {machine} is kept from epoch {from_epoch} on"
            ),
            Self::UptimeUpdated {
                machine,
                first_epoch,
                last_epoch,
                average_ppm,
            } => write!(
                f,
                "machine {machine} was up {} of the time on average, epochs {first_epoch} to {last_epoch} counted",
                format_ppm(*average_ppm)
            ),
            Self::FailureCounted { machine, average_ppm } => write!(
                f,
                "machine {machine} failed a consumer and counts as up {} of the time on average",
                format_ppm(*average_ppm)
            ),
            Self::RewardClaimed {
                validator,
                amount,
                left,
            } => {
                write!(f, "{} paid to {validator} for its reports", format_asy(*amount))?;
                if *left > 0 {
                    write!(f, "; it is owed {} more", format_asy(*left))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_primitives::money::ASY;

    use super::*;

    #[test]
    fn a_report_says_how_many_machines_were_not_seen() {
        let report = |failures| AvailabilityEvent::ReportReceived {
            epoch: 12,
            validator_index: 3,
            failures,
        };
        assert_eq!(
            report(0).to_string(),
            "validator 3 of epoch 12 reported no machine that it did not see"
        );
        assert_eq!(
            report(1).to_string(),
            "validator 3 of epoch 12 reported 1 machine that it did not see"
        );
        assert_eq!(
            report(70_000).to_string(),
            "validator 3 of epoch 12 reported 70000 machines that it did not see"
        );
        assert_eq!((report(1).machine(), report(1).job()), (None, None));
    }

    #[test]
    fn an_average_belongs_to_its_machine() {
        let updated = AvailabilityEvent::UptimeUpdated {
            machine: 7,
            first_epoch: 3,
            last_epoch: 5,
            average_ppm: 995_000,
        };
        assert_eq!(
            updated.to_string(),
            "machine 7 was up 99.5 % of the time on average, epochs 3 to 5 counted"
        );
        assert_eq!((updated.machine(), updated.job()), (Some(7), None));
    }

    #[test]
    fn an_outage_rewards_nobody() {
        let settled = |is_outage| AvailabilityEvent::EpochSettled {
            epoch: 9,
            rewarded: 0,
            against_majority: 1,
            is_outage,
        };
        assert_eq!(
            settled(false).to_string(),
            "the reports on epoch 9 are settled: 0 reports rewarded, 1 against a clear majority"
        );
        assert_eq!(
            settled(true).to_string(),
            "the reports on epoch 9 are settled: an outage, for which none is rewarded"
        );
    }

    #[test]
    fn a_counted_failure_tells_the_average() {
        let counted = AvailabilityEvent::FailureCounted {
            machine: 7,
            average_ppm: 944_500,
        };
        assert_eq!(
            counted.to_string(),
            "machine 7 failed a consumer and counts as up 94.45 % of the time on average"
        );
        assert_eq!(counted.machine(), Some(7));
    }

    #[test]
    fn what_the_pot_did_not_have_is_named() {
        let claimed = |left| AvailabilityEvent::RewardClaimed {
            validator: AccountId::from([1; 32]),
            amount: 2 * ASY,
            left,
        };
        let validator = AccountId::from([1; 32]);
        assert_eq!(
            claimed(0).to_string(),
            format!("2 ASY paid to {validator} for its reports")
        );
        assert_eq!(
            claimed(ASY / 2).to_string(),
            format!("2 ASY paid to {validator} for its reports; it is owed 0.5 ASY more")
        );
    }
}
