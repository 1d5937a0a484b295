//! Short names of values, as people read them. Sentences and remedies are the client's.

use alloc::format;
use core::fmt;

use crate::{
    attestation::{EvidenceId, Vendor},
    challenge::{RoundKind, RoundOutcome},
    emission::RewardDestination,
    job::{AssignmentState, Diversion, JobKind, Outcome},
    machine::{LeaseEnd, MachineStatus, ServiceRecord, SuspensionReason},
    market::TeeKind,
    offence::{Offence, SlashId, SlashReason},
};

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
            Self::Suspended(SuspensionReason::Overheated) => "suspended (overheated)",
            Self::Suspended(SuspensionReason::Faulty) => "suspended (faulty)",
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

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Service => "service",
            Self::Task { .. } => "task",
        })
    }
}

impl fmt::Display for AssignmentState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Verifying { .. } => "verifying",
            Self::Committed { .. } => "committed",
            Self::Revealed { .. } => "revealed",
            Self::Ended { .. } => "ended",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::ClosedByConsumer => "closed by its consumer",
            Self::Expired => "ran its full time",
            Self::NotStarted => "not started in time",
            Self::Declined => "declined",
            Self::NotDelivered => "its manifest was not delivered",
            Self::NoResult => "no result in time",
            Self::Abandoned => "abandoned",
            Self::Rejected => "its result was rejected",
            Self::Outvoted => "outvoted",
            Self::NotRevealed => "did not reveal its result",
            Self::NoQuorum => "no result had a quorum",
            Self::WorkloadEnded => "its workload ended by itself",
            Self::Disputed => "its end was disputed",
            Self::WentDown => "its machine was down at the end",
        })
    }
}

impl fmt::Display for Diversion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Treasury => "went to the treasury",
            Self::Burned => "was burned",
        })
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::ChallengeUnanswered => "a hardware challenge not answered",
            Self::ChallengeWrong => "a hardware challenge answered wrongly",
            Self::ForgedEvidence => "forged evidence of a TEE",
        })
    }
}

impl fmt::Display for SlashReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offence(offence) => fmt::Display::fmt(offence, formatter),
            Self::Governance => formatter.pad("a decision of governance"),
        }
    }
}

/// Displays as `EPOCH/INDEX`.
impl fmt::Display for SlashId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}/{}", self.due_epoch, self.index))
    }
}

impl fmt::Display for RoundKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Newcomers => "newcomers",
            Self::Audit => "an audit",
        })
    }
}

impl fmt::Display for RoundOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Punished => "silence is punished",
            Self::FinalityStalled => "nobody is punished for silence, since finality stalled",
            Self::MassSilence => "nobody is punished, since so many were silent at once",
        })
    }
}

impl<AccountId: fmt::Display> fmt::Display for RewardDestination<AccountId> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider => formatter.pad("to the provider"),
            Self::Account(account) => write!(formatter, "to {account}"),
            Self::Ethereum(address) => {
                formatter.write_str("to 0x")?;
                address
                    .iter()
                    .try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
            Self::Bond => formatter.pad("into the bond"),
        }
    }
}

impl TeeKind {
    /// Returns the name by which people know the TEE.
    pub const fn full_name(self) -> &'static str {
        match self {
            Self::Sgx => "Intel SGX",
            Self::Tdx => "Intel TDX",
            Self::SevSnp => "AMD SEV-SNP",
            Self::NvidiaGpu => "NVIDIA confidential computing",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Intel => "Intel",
            Self::AmdMilan => "AMD Milan",
            Self::AmdGenoa => "AMD Genoa",
            Self::AmdTurin => "AMD Turin",
            Self::Nvidia => "NVIDIA",
        })
    }
}

impl fmt::Display for EvidenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of device 0x{:x}",
            self.kind.full_name(),
            self.device
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
