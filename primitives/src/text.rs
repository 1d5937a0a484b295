//! Short names of values, as people read them. Sentences and remedies are the client's.

use core::fmt;

use crate::machine::{LeaseEnd, MachineStatus, ServiceRecord, SuspensionReason};

impl fmt::Display for MachineStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unproven => "unproven",
            Self::Active => "active",
            Self::Suspended(SuspensionReason::OwnRequest) => "suspended (own request)",
            Self::Suspended(SuspensionReason::BondTooLow) => "suspended (bond too low)",
            Self::Suspended(SuspensionReason::InDebt) => "suspended (in debt)",
            Self::Suspended(SuspensionReason::Offence) => "suspended (offence)",
            Self::Suspended(SuspensionReason::Condemned) => "suspended (condemned)",
            Self::Suspended(SuspensionReason::MissedStart) => "suspended (missed a start)",
            Self::Draining => "draining",
            Self::Retired => "retired",
        })
    }
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::NotStarted => "not started",
            Self::Abandoned => "abandoned",
            Self::Unresolved => "unresolved",
        })
    }
}

impl fmt::Display for ServiceRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} fulfilled, {} cancelled, {} not started, {} abandoned, {} unresolved",
            self.fulfilled, self.cancelled, self.not_started, self.abandoned, self.unresolved
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_record_reads_as_a_list() {
        let service = ServiceRecord {
            fulfilled: 5,
            not_started: 1,
            ..ServiceRecord::default()
        };
        assert_eq!(
            service.to_string(),
            "5 fulfilled, 0 cancelled, 1 not started, 0 abandoned, 0 unresolved"
        );
    }
}
