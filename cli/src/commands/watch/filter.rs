//! Filter for the watched events.

use std::collections::BTreeSet;

use assay_client::{
    ChainClient, Error,
    events::{AssayEvent, EscrowEvent},
};

use super::step::Step;

/// Filter that passes events of one machine, of its jobs or of one job; beside a machine's, those of the
/// chain as a whole, and beside a job's, the steps that are waited for.
#[derive(Debug)]
pub(crate) struct Filter {
    machine: Option<u64>,
    job: Option<u64>,
    /// Steps that are waited for.
    awaited: Vec<Step>,
    /// Jobs of the machine: some events name only the job.
    jobs_of_machine: BTreeSet<u64>,
}

impl Filter {
    pub(crate) fn new(machine: Option<u64>, job: Option<u64>, awaited: Vec<Step>) -> Self {
        Self {
            machine,
            job,
            awaited,
            jobs_of_machine: BTreeSet::new(),
        }
    }

    /// Reads the machine's present jobs from the chain.
    pub(crate) async fn learn_jobs(&mut self, client: &ChainClient) -> Result<(), Error> {
        if let Some(machine) = self.machine {
            self.jobs_of_machine
                .extend(client.jobs_of_machine(machine).await?);
        }
        Ok(())
    }

    pub(crate) fn lets_through(&mut self, event: &AssayEvent) -> bool {
        if let AssayEvent::JobEscrow(EscrowEvent::MachineAssigned { job, machine, .. }) = event
            && self.machine == Some(*machine)
        {
            self.jobs_of_machine.insert(*job);
        }
        self.wants_machine(event.machine(), event.job()) && self.wants_job(event)
    }

    fn wants_machine(&self, machine: Option<u64>, job: Option<u64>) -> bool {
        match (self.machine, machine, job) {
            (None, _, _) => true,
            (Some(wanted), Some(machine), _) => machine == wanted,
            (Some(_), None, Some(job)) => self.job == Some(job) || self.jobs_of_machine.contains(&job),
            (Some(_), None, None) => true,
        }
    }

    fn wants_job(&self, event: &AssayEvent) -> bool {
        match (self.job, event.job()) {
            (Some(wanted), Some(job)) => job == wanted,
            // Such as the end of an epoch: shown if somebody waits for it, and noise otherwise.
            (Some(_), None) => Step::of(event).iter().any(|step| self.awaited.contains(step)),
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_client::{
        AccountId,
        events::{AttestationEvent, AvailabilityEvent, EmissionEvent, RegistryEvent},
        market::TeeKind,
        types::EvidenceId,
    };

    use super::*;

    fn deployed(job: u64, machine: u64) -> AssayEvent {
        AssayEvent::from(EscrowEvent::MachineAssigned {
            job,
            machine,
            provider: AccountId::from([1; 32]),
            price_per_slot_hour: 1,
            start_deadline_ms: 1,
        })
    }

    fn returned(job: u64) -> AssayEvent {
        AssayEvent::from(EscrowEvent::EscrowReturned { job, amount: 1 })
    }

    const EPOCH: AssayEvent = AssayEvent::RewardEmission(EmissionEvent::EpochClosed {
        epoch: 0,
        pool: 1,
        total_weight: 1,
        withheld: 0,
    });

    #[test]
    fn everything_passes_an_open_filter() {
        let mut filter = Filter::new(None, None, Vec::new());
        assert!(
            filter.lets_through(&deployed(0, 7))
                && filter.lets_through(&returned(9))
                && filter.lets_through(&EPOCH)
        );
    }

    #[test]
    fn a_machine_filter_follows_the_machine_s_jobs() {
        let mut filter = Filter::new(Some(7), None, Vec::new());
        assert!(!filter.lets_through(&returned(3)));
        assert!(filter.lets_through(&deployed(3, 7)));
        assert!(filter.lets_through(&returned(3)));
        assert!(!filter.lets_through(&deployed(4, 8)));
        assert!(!filter.lets_through(&returned(4)));
        assert!(filter.lets_through(&EPOCH));
    }

    #[test]
    fn a_machine_filter_shows_the_machine_s_evidence_and_what_evidence_is_judged_by() {
        let ended = |machine| {
            AssayEvent::from(AttestationEvent::EvidenceExpired {
                machine,
                id: EvidenceId {
                    device: [1; 32].into(),
                    kind: TeeKind::Tdx,
                },
            })
        };
        let averaged = |machine| {
            AssayEvent::from(AvailabilityEvent::UptimeUpdated {
                machine,
                first_epoch: 0,
                last_epoch: 1,
                average_ppm: 1_000_000,
            })
        };
        let mut filter = Filter::new(Some(7), None, Vec::new());
        assert!(filter.lets_through(&ended(7)) && filter.lets_through(&averaged(7)));
        assert!(!filter.lets_through(&ended(8)) && !filter.lets_through(&averaged(8)));
        assert!(filter.lets_through(&AttestationEvent::PoliciesSet.into()));
    }

    #[test]
    fn a_job_filter_shows_the_job_and_what_is_waited_for() {
        let mut filter = Filter::new(None, Some(3), Vec::new());
        assert!(filter.lets_through(&returned(3)) && !filter.lets_through(&returned(4)));
        let other = AssayEvent::from(RegistryEvent::EndpointUpdated { machine: 1 });
        assert!(!filter.lets_through(&other) && !filter.lets_through(&EPOCH));
        let mut filter = Filter::new(None, Some(3), vec![Step::Epoch]);
        assert!(filter.lets_through(&EPOCH) && !filter.lets_through(&other));
    }
}
