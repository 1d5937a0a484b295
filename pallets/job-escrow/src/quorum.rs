//! Results that a quorum verifies: replicas commit to them and reveal them, and the chain counts them.
//!
//! Results are revealed when no replica can commit any more, and counted when all are revealed or the time
//! for it is over:
//!
//! - A result that enough replicas gave wins, and they are paid.
//! - Where the replicas that revealed agree, but are fewer than the threshold because others said nothing,
//!   they are paid too: the silence of one costs no other its pay. The event says that no result has a
//!   quorum.
//! - A replica that gave another result than the winning one, or committed and revealed nothing, is not paid.
//!   Its earnings go to the treasury. So do all earnings if results differ and none wins. The consumer pays
//!   as much as for a good result: it gets no replica's work for nothing by outvoting it with replicas of its
//!   own, and cannot buy a spoiled vote.
//! - A replica that never committed is not paid, and its escrow goes back.
//!
//! Nobody is slashed: a consumer may choose replicas that are its own, and results of one program may
//! honestly differ. A machine is free as soon as it committed. Once one has, places that are still open are
//! cancelled after the start window, so that it does not wait for replicas that nobody takes.

use alloc::collections::BTreeMap;

use assay_primitives::{
    clock::ActiveClock,
    job::result_message,
    machine::{LeaseEnd, MachineId, MachineInspect},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_core::H256,
    sp_runtime::{
        DispatchError, DispatchResult,
        traits::{BlakeTwo256, Hash, Zero},
    },
};

use crate::{
    AssignmentState, Ballot, Config, Error, Event, JobId, JobKind, JobRecordOf, Outcome, Pallet,
    book::{OpenAssignment, OpenJob},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_commit_result(worker: &T::AccountId, job_id: JobId, commitment: H256) -> DispatchResult {
        let mut open = Self::check_commit(worker, job_id)?;
        let (started_at_ms, now_ms) = open.running()?;
        open.release_machine(LeaseEnd::Fulfilled);
        open.assignment.state = AssignmentState::Committed {
            started_at_ms,
            ended_at_ms: now_ms,
            commitment,
        };
        if let Some(ballot) = &mut open.job.ballot {
            ballot.committed = ballot.committed.saturating_add(1);
            ballot
                .fill_until_ms
                .get_or_insert_with(|| now_ms.saturating_add(T::Terms::get().start_window_ms));
        }
        Self::deposit_event(Event::ResultCommitted {
            job: job_id,
            machine: open.machine,
            commitment,
        });
        let mut open = open.keep();
        open.decide_places(1);
        open.save()
    }

    pub(crate) fn do_reveal_result(
        worker: &T::AccountId,
        job_id: JobId,
        result_hash: H256,
        salt: [u8; 32],
    ) -> DispatchResult {
        let mut open = Self::check_reveal(worker, job_id, result_hash, salt)?;
        let AssignmentState::Committed {
            started_at_ms,
            ended_at_ms,
            ..
        } = open.assignment.state
        else {
            return Err(Error::<T>::WrongState.into());
        };
        open.assignment.state = AssignmentState::Revealed {
            started_at_ms,
            ended_at_ms,
            result_hash,
        };
        if let Some(ballot) = &mut open.job.ballot {
            ballot.revealed = ballot.revealed.saturating_add(1);
        }
        Self::deposit_event(Event::ResultRevealed {
            job: job_id,
            machine: open.machine,
            result_hash,
        });
        open.keep().save()
    }

    /// Counts the replicas. Returns their number.
    pub(crate) fn do_resolve(caller: &T::AccountId, job_id: JobId) -> Result<u32, DispatchError> {
        let mut open = OpenJob::<T>::load(job_id)?;
        let Some((ballot, threshold)) = open.job.ballot.zip(open.job.kind.quorum_threshold()) else {
            return Err(Error::<T>::WrongState.into());
        };
        Self::ensure_revealed(&ballot)?;

        let replicas = open.assignments();
        let count = replicas.len() as u32;
        let votes = votes(replicas.iter().map(|(_, assignment)| assignment.state));
        // More than half have to agree, so that no second result can.
        let winner = votes.iter().find(|(_, count)| **count >= threshold);
        Self::deposit_event(Event::QuorumResolved {
            job: job_id,
            result_hash: winner.map(|(result_hash, _)| *result_hash),
            votes: winner.map_or(0, |(_, votes)| *votes),
        });
        let paid = match (winner, votes.len()) {
            (Some((result_hash, _)), _) => Some(*result_hash),
            (None, 1) => votes.keys().next().copied(),
            (None, _) => None,
        };
        let machine_of_caller = T::Machines::machine_of_worker(caller);
        let mut takes_part = *caller == open.job.consumer;
        for (machine, assignment) in replicas {
            takes_part |= assignment.provider == *caller || machine_of_caller == Some(machine);
            open = Self::resolve_replica(open.with(machine, assignment), paid)?;
        }
        open.job.ballot = None;
        if !takes_part {
            open.pay_bounty(caller);
        }
        open.save()?;
        Ok(count)
    }

    /// Returns the commitment of a machine's worker to a result by a salt.
    pub(crate) fn commitment_to(job: JobId, machine: MachineId, result_hash: H256, salt: [u8; 32]) -> H256 {
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let message = result_message(genesis_hash.as_ref(), job, machine, &result_hash.0, &salt);
        BlakeTwo256::hash(&message)
    }

    /// Fails for a job that no quorum verifies.
    fn ensure_quorum(job: &JobRecordOf<T>) -> DispatchResult {
        ensure!(job.kind != JobKind::Service, Error::<T>::NotTask);
        ensure!(
            job.kind.quorum_threshold().is_some(),
            Error::<T>::OtherVerification
        );
        Ok(())
    }

    /// Fails as long as a result may still be revealed.
    fn ensure_revealed(ballot: &Ballot) -> DispatchResult {
        let reveal_ends_ms = ballot.reveal_ends_ms.ok_or(Error::<T>::TooEarly)?;
        ensure!(
            ballot.revealed >= ballot.committed || T::Clock::now_ms() > reveal_ends_ms,
            Error::<T>::TooEarly
        );
        Ok(())
    }

    /// Ends the run of a replica that is paid, or sends its earnings to the treasury.
    fn resolve_replica(mut open: OpenAssignment<T>, paid: Option<H256>) -> Result<OpenJob<T>, DispatchError> {
        let (started_at_ms, ended_at_ms, outcome) = match open.assignment.state {
            AssignmentState::Revealed {
                started_at_ms,
                ended_at_ms,
                result_hash,
            } => {
                let outcome = match paid {
                    Some(paid) if result_hash == paid => Outcome::Completed,
                    Some(_) => Outcome::Outvoted,
                    None => Outcome::NoQuorum,
                };
                (started_at_ms, ended_at_ms, outcome)
            }
            // A replica that sees that it will be outvoted must not get off more cheaply by saying nothing.
            AssignmentState::Committed {
                started_at_ms,
                ended_at_ms,
                ..
            } => (started_at_ms, ended_at_ms, Outcome::NotRevealed),
            // Every other place was decided before anything could be revealed, and nothing is left of it.
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if outcome == Outcome::Completed {
            return open.end_run(ended_at_ms, outcome);
        }
        let worth = open
            .assignment
            .worth(open.job.slots, started_at_ms, started_at_ms, ended_at_ms);
        open.forfeit(worth)?;
        open.close(outcome)
    }

    /// Returns the assignment of a worker's machine if it may commit to the result of its task now.
    pub(crate) fn check_commit(
        worker: &T::AccountId,
        job_id: JobId,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        Self::ensure_quorum(&open.job)?;
        open.running()?;
        Ok(open)
    }

    /// Returns the assignment of a worker's machine if it may reveal this result of its task now.
    pub(crate) fn check_reveal(
        worker: &T::AccountId,
        job_id: JobId,
        result_hash: H256,
        salt: [u8; 32],
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        let AssignmentState::Committed { commitment, .. } = open.assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let ballot = open.job.ballot.ok_or(Error::<T>::WrongState)?;
        let reveal_ends_ms = ballot.reveal_ends_ms.ok_or(Error::<T>::TooEarly)?;
        ensure!(T::Clock::now_ms() <= reveal_ends_ms, Error::<T>::TooLate);
        ensure!(
            Self::commitment_to(job_id, open.machine, result_hash, salt) == commitment,
            Error::<T>::CommitmentMismatch
        );
        Ok(open)
    }
}

/// Counts the replicas that revealed each result.
fn votes(states: impl Iterator<Item = AssignmentState>) -> BTreeMap<H256, u8> {
    let mut votes: BTreeMap<H256, u8> = BTreeMap::new();
    for state in states {
        if let AssignmentState::Revealed { result_hash, .. } = state {
            let count = votes.entry(result_hash).or_default();
            *count = count.saturating_add(1);
        }
    }
    votes
}
