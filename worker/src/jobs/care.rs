//! What the supervisor does by best blocks and what by final ones, and how it goes on with notes that are
//! lost.
//!
//! Decisions follow the best block, because deadlines go on whether or not anything becomes final. A best
//! block may be replaced, so nothing that cannot be undone follows from one: a job counts as gone, and a
//! result as revealed, when final blocks say so, and a call that was sent is not sent again while the chain
//! may still come to it.

use std::collections::HashMap;

use assay_client::types::AssignmentState;

use super::{AssignedJob, ContainerFact, Decision, JobNotes, Supervisor, fingerprint, steps::is_replica};
use crate::{chain::WorkerChain, engine::ContainerEngine};

/// Blocks after which a call is sent again that the state does not show. A transaction whose block was
/// replaced is in the next one or the one after, as the node's pool takes it back.
const RESEND_AFTER_BLOCKS: u64 = 3;

/// The jobs by the newest final block that was looked at.
#[derive(Default)]
pub(super) struct FinalView {
    /// Number of the final block by which the jobs were asked for.
    block: Option<u64>,
    /// States of this machine's parts, by the job and its fingerprint.
    states: HashMap<(u64, String), AssignmentState>,
}

impl FinalView {
    /// Whether there is a later final block than the one that this is of.
    pub(super) fn is_before(&self, finalized_block: u64) -> bool {
        self.block.is_none_or(|block| block < finalized_block)
    }

    /// The jobs by a final block, which is this one or a later one.
    pub(super) fn of(finalized_block: u64, genesis_hash: &[u8; 32], jobs: Vec<(u64, AssignedJob)>) -> Self {
        let state_of = |(id, assigned): (u64, AssignedJob)| {
            let fingerprint = fingerprint(genesis_hash, id, &assigned.job);
            ((id, fingerprint), assigned.part.state)
        };
        Self {
            block: Some(finalized_block),
            states: jobs.into_iter().map(state_of).collect(),
        }
    }

    /// Whether final blocks still have a part of this machine in the job that has not ended.
    pub(super) fn is_open(&self, job: u64, fingerprint: &str) -> bool {
        self.state(job, fingerprint)
            .is_some_and(|state| !matches!(state, AssignmentState::Ended { .. }))
    }

    fn state(&self, job: u64, fingerprint: &str) -> Option<&AssignmentState> {
        self.states.get(&(job, fingerprint.to_owned()))
    }
}

/// A call that is in a best block.
pub(super) struct SentCall {
    decision: Decision,
    at_block: u64,
}

impl SentCall {
    /// Whether the pool may still bring it into another block, should its block be replaced.
    pub(super) fn is_recent(&self, best_block: u64) -> bool {
        best_block < self.at_block.saturating_add(RESEND_AFTER_BLOCKS)
    }
}

/// A job's notes, and what is wrong with writing or reading them.
pub(super) struct NotesInHand {
    pub(super) notes: JobNotes,
    /// Why the notes cannot be read. They are made up then, and nothing is done that they would have to
    /// allow.
    pub(super) unreadable: Option<String>,
}

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// The notes by which a job is decided on.
    ///
    /// A job that has not begun is declined where its notes could not be written, which costs nothing, while
    /// silence until the deadline would.
    pub(super) fn notes_in_hand(
        &self,
        id: u64,
        assigned: &AssignedJob,
        fingerprint: &str,
        fact: ContainerFact,
    ) -> NotesInHand {
        let (mut notes, unreadable) = match self.workshop.store.notes(id, fingerprint) {
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
        if matches!(assigned.part.state, AssignmentState::Starting { .. }) && !has_begun {
            let refused = self.troubles.get(&id).and_then(|trouble| trouble.refused.clone());
            let obstacle = refused
                .or_else(|| unreadable.clone())
                .or_else(|| self.workshop.store.disk().problem());
            notes.refused = notes.refused.or(obstacle);
        }
        NotesInHand { notes, unreadable }
    }

    /// The notes with what the chain says of the job: whether others must not see its result yet.
    fn settled(&self, id: u64, assigned: &AssignedJob, notes: JobNotes) -> JobNotes {
        if !notes.replica || notes.revealed {
            return notes;
        }
        // Only final blocks: on another fork somebody may still commit to what was shown.
        let is_final = matches!(
            self.final_view.state(id, &notes.fingerprint),
            Some(AssignmentState::Revealed { .. } | AssignmentState::Ended { .. })
        );
        let told = JobNotes {
            replica: is_replica(&assigned.job),
            revealed: is_final,
            ..notes.clone()
        };
        if told == notes || self.workshop.store.disk().problem().is_some() {
            return notes;
        }
        match self.workshop.store.write_notes(id, &told) {
            Ok(()) => told,
            Err(error) => {
                tracing::warn!(job = id, %error, "it cannot be noted that the job's result may be shown");
                notes
            }
        }
    }

    /// The decision, as far as it may be carried out with these notes.
    pub(super) fn allowed(decision: Decision, in_hand: &NotesInHand) -> Decision {
        let needs_none = matches!(
            decision,
            Decision::ReportStart
                | Decision::Resolve
                | Decision::Settle
                | Decision::Expire
                | Decision::Decline(_)
        );
        if in_hand.unreadable.is_some() && !needs_none {
            Decision::Wait
        } else {
            decision
        }
    }

    /// Remembers that a call is in a best block.
    pub(super) fn note_sent(&mut self, job: u64, decision: &Decision) {
        let sent = SentCall {
            decision: decision.clone(),
            at_block: self.best_block,
        };
        self.sent.insert(job, sent);
    }

    /// Whether this very call was in a best block a moment ago: that block was replaced, and the node's pool
    /// brings the call into another one, or the state that was read is older. Sent again it would cost a fee
    /// for nothing.
    pub(super) fn was_just_sent(&self, job: u64, decision: &Decision) -> bool {
        self.sent
            .get(&job)
            .is_some_and(|sent| sent.decision == *decision && sent.is_recent(self.best_block))
    }
}
