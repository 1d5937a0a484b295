//! The machine's status in the market, in words, and the check that this worker still serves it.
//!
//! No decision on jobs depends on it: running jobs go on in every status.

use assay_client::{
    AccountId,
    types::{Machine, MachineStatus, Remedy, SuspensionReason},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A machine's status in the market, with the remedy for what keeps it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MarketStatus {
    /// Status on chain, such as `active` or `suspended (in debt)`.
    pub status: String,
    /// True if the machine takes new jobs.
    pub takes_jobs: bool,
    /// Reason why it takes no new jobs, or another problem, with the remedy.
    pub problem: Option<String>,
}

impl MarketStatus {
    /// Returns the status by the machine's record; `record` is `None` if the chain has none (any more).
    pub fn of(machine: u64, record: Option<&Machine>, sealing_public: &[u8; 32]) -> Self {
        let Some(record) = record else {
            return Self {
                status: "gone".to_owned(),
                takes_jobs: false,
                problem: Some(
                    "it was retired and its record is gone from the chain; to register again, give the worker another \
                     `assay.state_dir`"
                        .to_owned(),
                ),
            };
        };
        let other_sealing_key =
            (record.status != MachineStatus::Retired && record.sealing_key != *sealing_public).then(|| {
                format!(
                    "consumers seal to the key 0x{}, and this worker has 0x{}: put the right key into \
                     `assay.sealing_key_file` and start the worker anew, or rotate the machine's keys to this one's \
                     (`assay machine rotate-keys {machine}`)",
                    hex::encode(record.sealing_key),
                    hex::encode(sealing_public)
                )
            });
        let comes_back = (record.status == MachineStatus::Suspended(SuspensionReason::MissedStart)).then(|| {
            "this worker does so by itself, and for free, once the container engine answers, its disk can be written and \
             enough is bonded"
                .to_owned()
        });
        let is_unwell = matches!(
            record.status,
            MachineStatus::Suspended(SuspensionReason::Overheated | SuspensionReason::Faulty)
        );
        let is_watched = is_unwell.then(|| {
            "`health` in this worker's status names the device; resuming costs the worker key a fee"
                .to_owned()
        });
        let problems: Vec<_> = record
            .status
            .remedy(machine)
            .into_iter()
            .chain(comes_back)
            .chain(is_watched)
            .chain(other_sealing_key)
            .collect();
        Self {
            status: record.status.to_string(),
            takes_jobs: record.status.takes_jobs(),
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
        }
    }

    /// Logs the status.
    pub fn log(&self, machine: u64) {
        match &self.problem {
            None => tracing::info!(machine, status = self.status, "the machine takes jobs"),
            Some(problem) if self.takes_jobs => {
                tracing::warn!(
                    machine,
                    status = self.status,
                    problem,
                    "the machine takes jobs, but not all is well"
                );
            }
            Some(problem) => tracing::warn!(
                machine,
                status = self.status,
                problem,
                "the machine takes no new jobs; those that run go on"
            ),
        }
    }
}

/// Returns true if another worker key acts for the machine. A retired machine has none.
pub fn has_other_worker(record: &Machine, worker: &AccountId) -> bool {
    record.status != MachineStatus::Retired && record.worker_key != *worker
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::types::{ClassTerms, Location, ServiceRecord};

    use super::*;

    pub(crate) fn machine(status: MachineStatus) -> Machine {
        Machine {
            provider: AccountId::from([1; 32]),
            worker_key: AccountId::from([2; 32]),
            sealing_key: [3; 32],
            class: 0,
            terms: ClassTerms::default(),
            slots: 4,
            free_slots: 4,
            cpu_cores: 8,
            ram_mib: 8_192,
            disk_gib: 100,
            upload_mbps: 100,
            download_mbps: 100,
            location: Location::default(),
            region: "us-east".into(),
            endpoint: "http://127.0.0.1:4001".into(),
            ask: 1,
            raise: None,
            uptime_ppm: 950_000,
            service: ServiceRecord::default(),
            status,
            last_duty_epoch: None,
            registered_at_ms: 0,
            deposit: 0,
        }
    }

    #[test]
    fn active_machine_has_no_problem() {
        let market_status = MarketStatus::of(7, Some(&machine(MachineStatus::Active)), &[3; 32]);
        let expected = MarketStatus {
            status: "active".into(),
            takes_jobs: true,
            problem: None,
        };
        assert_eq!(market_status, expected);
    }

    #[test]
    fn every_suspension_is_said_with_its_remedy() {
        for (reason, status, remedy) in [
            (SuspensionReason::InDebt, "suspended (in debt)", "pay-debt 7"),
            (SuspensionReason::Offence, "suspended (offence)", "resume 7"),
            (
                SuspensionReason::Condemned,
                "suspended (condemned)",
                "nothing brings it back",
            ),
            (
                SuspensionReason::MissedStart,
                "suspended (missed a start)",
                "this worker does so by itself",
            ),
            (
                SuspensionReason::Overheated,
                "suspended (overheated)",
                "`health` in this worker's status",
            ),
            (
                SuspensionReason::Faulty,
                "suspended (faulty)",
                "`health` in this worker's status",
            ),
            (
                SuspensionReason::BondTooLow,
                "suspended (bond too low)",
                "machine bond 7",
            ),
        ] {
            let record = machine(MachineStatus::Suspended(reason));
            let market_status = MarketStatus::of(7, Some(&record), &[3; 32]);
            assert_eq!(
                (market_status.status.as_str(), market_status.takes_jobs),
                (status, false)
            );
            assert!(market_status.problem.unwrap().contains(remedy), "{status}");
        }
        assert_eq!(MarketStatus::of(7, None, &[3; 32]).status, "gone");
    }

    #[test]
    fn another_sealing_key_is_a_problem_even_of_an_active_machine() {
        let market_status = MarketStatus::of(7, Some(&machine(MachineStatus::Active)), &[4; 32]);
        assert!(market_status.takes_jobs);
        assert!(market_status.problem.unwrap().contains("assay.sealing_key_file"));
    }

    #[test]
    fn another_worker_key_is_noticed_unless_the_machine_is_retired() {
        let (ours, other) = (AccountId::from([2; 32]), AccountId::from([9; 32]));
        let record = machine(MachineStatus::Draining);
        assert!(!has_other_worker(&record, &ours) && has_other_worker(&record, &other));
        assert!(!has_other_worker(&machine(MachineStatus::Retired), &other));
    }
}
