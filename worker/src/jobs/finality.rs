//! Decisions by best blocks and by finalized ones, and recovery from lost notes.
//!
//! Decisions follow the best block, because deadlines pass whether or not blocks are finalized. A best block
//! may be replaced, so no irreversible act follows from one: a job counts as gone, and a result as revealed,
//! once finalized blocks say so, and a call is not sent again while the node's pool may still include it.

use std::collections::HashMap;

use assay_client::types::AssignmentState;

use super::{AssignedJob, ContainerFact, Decision, JobNotes, Supervisor, fingerprint, steps::is_replica};
use crate::{chain::WorkerChain, engine::ContainerEngine};

/// Number of blocks after which a call that the state does not show is sent again. The node's pool takes back
/// a transaction whose block was replaced, and includes it in the next block or the one after.
const RESEND_AFTER_BLOCKS: u64 = 3;

/// This machine's jobs at the newest finalized block that was read.
#[derive(Default)]
pub(super) struct FinalView {
    /// Number of the finalized block at which the jobs were read.
    block: Option<u64>,
    /// States of this machine's assignments, by the job's number and fingerprint.
    states: HashMap<(u64, String), AssignmentState>,
}

impl FinalView {
    /// Returns true if `finalized_block` is later than the block of this view.
    pub(super) fn is_before(&self, finalized_block: u64) -> bool {
        self.block.is_none_or(|block| block < finalized_block)
    }

    /// Creates the view from jobs that were read at `finalized_block` or a later finalized block.
    pub(super) fn of(finalized_block: u64, genesis_hash: &[u8; 32], jobs: Vec<(u64, AssignedJob)>) -> Self {
        let state_of = |(id, assigned): (u64, AssignedJob)| {
            let fingerprint = fingerprint(genesis_hash, id, &assigned.job);
            ((id, fingerprint), assigned.assignment.state)
        };
        Self {
            block: Some(finalized_block),
            states: jobs.into_iter().map(state_of).collect(),
        }
    }

    /// Returns true if finalized blocks have an assignment of the job to this machine that has not ended.
    pub(super) fn is_open(&self, job: u64, fingerprint: &str) -> bool {
        self.state(job, fingerprint)
            .is_some_and(|state| !matches!(state, AssignmentState::Ended { .. }))
    }

    fn state(&self, job: u64, fingerprint: &str) -> Option<&AssignmentState> {
        self.states.get(&(job, fingerprint.to_owned()))
    }
}

/// A call that was included in a best block.
pub(super) struct SentCall {
    decision: Decision,
    at_block: u64,
}

impl SentCall {
    /// Returns true while the pool may still include the call in another block, should its block be replaced.
    pub(super) fn is_recent(&self, best_block: u64) -> bool {
        best_block < self.at_block.saturating_add(RESEND_AFTER_BLOCKS)
    }
}

/// A job's notes, together with the error of reading them.
pub(super) struct LoadedNotes {
    pub(super) notes: JobNotes,
    /// Error of reading the notes. `notes` are then made up, and no decision is carried out that depends on
    /// them.
    pub(super) unreadable: Option<String>,
}

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// Returns the notes on which the decision about a job is based.
    ///
    /// A job that has not begun and whose notes cannot be written is declined: a decline costs nothing,
    /// silence until the deadline does.
    pub(super) fn load_notes(
        &self,
        id: u64,
        assigned: &AssignedJob,
        fingerprint: &str,
        fact: ContainerFact,
    ) -> LoadedNotes {
        let (mut notes, unreadable) = match self.executor.store.notes(id, fingerprint) {
            Ok(notes) => (self.settled(id, assigned, notes), None),
            Err(error) => (
                JobNotes {
                    fingerprint: fingerprint.to_owned(),
                    ..JobNotes::made_up()
                },
                Some(error.to_string()),
            ),
        };
        let has_begun = notes.container_started || fact.has_begun();
        if matches!(assigned.assignment.state, AssignmentState::Starting { .. }) && !has_begun {
            let refused = self.retries.get(&id).and_then(|retry| retry.refused.clone());
            let obstacle = refused
                .or_else(|| unreadable.clone())
                .or_else(|| self.executor.store.disk().problem());
            notes.refused = notes.refused.or(obstacle);
        }
        LoadedNotes { notes, unreadable }
    }

    /// Updates the notes from the chain's state: whether the job's result must still be kept from others.
    fn settled(&self, id: u64, assigned: &AssignedJob, notes: JobNotes) -> JobNotes {
        if !notes.replica || notes.revealed {
            return notes;
        }
        // Finalized blocks only: on another fork, a replica could still copy and commit to a result that was
        // shown.
        let is_final = matches!(
            self.final_view.state(id, &notes.fingerprint),
            Some(AssignmentState::Revealed { .. } | AssignmentState::Ended { .. })
        );
        let told = JobNotes {
            replica: is_replica(&assigned.job),
            revealed: is_final,
            ..notes.clone()
        };
        if told == notes || self.executor.store.disk().problem().is_some() {
            return notes;
        }
        match self.executor.store.write_notes(id, &told) {
            Ok(()) => told,
            Err(error) => {
                tracing::warn!(job = id, %error, "noting that the job's result may be shown failed; it stays secret for now");
                notes
            }
        }
    }

    /// Returns the decision if it may be carried out with these notes, otherwise [`Decision::Wait`].
    pub(super) fn allowed(decision: Decision, loaded: &LoadedNotes) -> Decision {
        let needs_none = matches!(
            decision,
            Decision::ReportStart
                | Decision::Resolve
                | Decision::Settle
                | Decision::Expire
                | Decision::Decline(_)
        );
        if loaded.unreadable.is_some() && !needs_none {
            Decision::Wait
        } else {
            decision
        }
    }

    /// Records that a call is in a best block.
    pub(super) fn note_sent(&mut self, job: u64, decision: &Decision) {
        let sent = SentCall {
            decision: decision.clone(),
            at_block: self.best_block,
        };
        self.sent.insert(job, sent);
    }

    /// Returns true if the same call was in a best block a moment ago. Either that block was replaced and the
    /// node's pool includes the call in another one, or the state was read at an older block. Sending the
    /// call again would cost a fee for nothing.
    pub(super) fn was_just_sent(&self, job: u64, decision: &Decision) -> bool {
        self.sent
            .get(&job)
            .is_some_and(|sent| sent.decision == *decision && sent.is_recent(self.best_block))
    }
}
