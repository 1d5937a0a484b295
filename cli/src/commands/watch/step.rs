//! Steps of a machine's and a job's life that a watch can wait for.

use assay_client::{
    events::{AssayEvent, EmissionEvent, EscrowEvent, RegistryEvent, StakingEvent},
    types::MachineStatus,
};
use clap::ValueEnum;

/// Step that an event shows, in the order of a job's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Step {
    /// An account became a provider
    Provider,
    /// A machine was registered
    Registered,
    /// A machine's bond was paid
    Staked,
    /// A machine became active
    Active,
    /// A job was deployed and a machine assigned
    Assigned,
    /// A job's container runs
    Running,
    /// A task's result came in
    Result,
    /// A machine's part in a job ended; it is paid when its epochs are closed
    Ended,
    /// A job, or a part of it, was paid
    Paid,
    /// A part of the protocol fee was burned
    Burned,
    /// A job was closed
    Closed,
    /// An epoch was closed
    Epoch,
    /// A machine's rewards were minted
    Rewarded,
}

impl Step {
    /// Returns the steps that an event shows.
    pub(crate) fn of(event: &AssayEvent) -> Vec<Self> {
        match event {
            AssayEvent::ProviderRegistry(event) => match event {
                RegistryEvent::ProviderRegistered { .. } => vec![Self::Provider],
                RegistryEvent::MachineRegistered { .. } => vec![Self::Registered],
                RegistryEvent::MachineStatusChanged {
                    to: MachineStatus::Active,
                    ..
                } => vec![Self::Active],
                _ => Vec::new(),
            },
            AssayEvent::ProviderStaking(StakingEvent::Bonded { .. }) => vec![Self::Staked],
            AssayEvent::JobEscrow(event) => match event {
                EscrowEvent::MachineAssigned { .. } => vec![Self::Assigned],
                EscrowEvent::JobStarted { .. } => vec![Self::Running],
                EscrowEvent::ResultSubmitted { .. }
                | EscrowEvent::ResultAttested { .. }
                | EscrowEvent::ResultRevealed { .. } => vec![Self::Result],
                EscrowEvent::AssignmentEnded { .. } => vec![Self::Ended],
                EscrowEvent::JobClosed { .. } => vec![Self::Closed],
                EscrowEvent::PaymentSettled { burned: 0, .. } => vec![Self::Paid],
                EscrowEvent::PaymentSettled { .. } => vec![Self::Paid, Self::Burned],
                _ => Vec::new(),
            },
            AssayEvent::RewardEmission(EmissionEvent::EpochClosed { .. }) => vec![Self::Epoch],
            AssayEvent::RewardEmission(EmissionEvent::RewardPaid { amount, .. }) if *amount > 0 => {
                vec![Self::Rewarded]
            }
            _ => Vec::new(),
        }
    }

    /// Returns the name for `--until`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Registered => "registered",
            Self::Staked => "staked",
            Self::Active => "active",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Result => "result",
            Self::Ended => "ended",
            Self::Paid => "paid",
            Self::Burned => "burned",
            Self::Closed => "closed",
            Self::Epoch => "epoch",
            Self::Rewarded => "rewarded",
        }
    }

    /// Returns a sentence about a step that did not happen, with a hint.
    fn complaint(self) -> &'static str {
        match self {
            Self::Provider => "no provider was registered; see the worker's log",
            Self::Registered => "no machine was registered; see the worker's log",
            Self::Staked => "no bond was paid; see whether the provider has enough ASY",
            Self::Active => "no machine became active; see whether its bond reaches the minimum",
            Self::Assigned => "no job was deployed",
            Self::Running => {
                "no worker started the container; see whether the worker runs and can pull the image"
            }
            Self::Result => "no result came in; see the logs of the worker and of the container",
            Self::Ended => {
                "no machine was done with the job; a task waits for its consumer's `assay job accept`"
            }
            Self::Paid => "nothing was paid; a job is paid two epochs after the time it ran in",
            Self::Burned => "nothing was burned; that happens when a job is paid",
            Self::Closed => "the job was not closed; that happens when the last of it is paid",
            Self::Epoch => "no epoch ended; `assay chain` shows their length",
            Self::Rewarded => {
                "no reward was paid; it takes a whole epoch of an active machine and `assay rewards payout`"
            }
        }
    }
}

/// Awaited steps, each with true once it has happened.
#[derive(Debug)]
pub(crate) struct Checklist {
    steps: Vec<(Step, bool)>,
}

impl Checklist {
    pub(crate) fn new(mut steps: Vec<Step>) -> Self {
        steps.sort_unstable();
        steps.dedup();
        Self {
            steps: steps.into_iter().map(|step| (step, false)).collect(),
        }
    }

    pub(crate) fn note(&mut self, happened: &[Step]) {
        for (step, done) in &mut self.steps {
            *done |= happened.contains(step);
        }
    }

    pub(crate) fn names_nothing(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns true if steps are named and all of them have happened.
    pub(crate) fn is_done(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|(_, done)| *done)
    }

    /// Returns the number of steps that have happened, and of all steps.
    pub(crate) fn count(&self) -> (usize, usize) {
        (
            self.steps.iter().filter(|(_, done)| *done).count(),
            self.steps.len(),
        )
    }

    /// Returns the first step, in the order of a job's life, that has not happened.
    pub(crate) fn first_missing(&self) -> Option<Step> {
        self.steps.iter().find(|(_, done)| !done).map(|(step, _)| *step)
    }

    /// Returns the sentence about the steps that did not happen.
    pub(crate) fn complaint(&self, elapsed: &str) -> String {
        let names = |wanted: bool| {
            let names: Vec<_> = self
                .steps
                .iter()
                .filter(|(_, done)| *done == wanted)
                .map(|(step, _)| step.name())
                .collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let Some(first) = self.first_missing() else {
            return format!("every step happened within {elapsed}");
        };
        format!(
            "the step `{}` did not happen within {elapsed}: {} (happened: {}; missing: {})",
            first.name(),
            first.complaint(),
            names(true),
            names(false),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for step in Step::value_variants() {
            let value = step.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(value.as_deref(), Some(step.name()));
        }
    }

    #[test]
    fn a_payment_with_a_burn_is_two_steps() {
        let payment = |burned| {
            AssayEvent::from(EscrowEvent::PaymentSettled {
                job: 0,
                machine: 0,
                provider_amount: 95,
                fee: 5,
                burned,
            })
        };
        assert_eq!(Step::of(&payment(3)), [Step::Paid, Step::Burned]);
        assert_eq!(Step::of(&payment(0)), [Step::Paid]);
    }

    #[test]
    fn checklist_names_the_first_missing_step() {
        let mut checklist = Checklist::new(vec![Step::Paid, Step::Running, Step::Assigned, Step::Paid]);
        checklist.note(&[Step::Assigned]);
        assert_eq!(checklist.count(), (1, 3));
        assert_eq!(
            checklist.complaint("2 min"),
            "the step `running` did not happen within 2 min: no worker started the container; see whether the \
             worker runs and can pull the image (happened: assigned; missing: running, paid)"
        );
        checklist.note(&[Step::Running, Step::Closed]);
        checklist.note(&[Step::Paid, Step::Burned]);
        assert!(checklist.is_done());
    }

    #[test]
    fn a_checklist_without_steps_is_never_done() {
        let checklist = Checklist::new(Vec::new());
        assert!(checklist.names_nothing() && !checklist.is_done());
    }
}
