//! Results that a quorum verifies: committed to, revealed, and counted.
//!
//! Results are revealed when no replica can commit any more, and counted when all are revealed or the time for it is over:
//!
//! - A result that enough replicas gave wins, and they are paid.
//! - Where the replicas that revealed agree, but are fewer than the threshold because others said nothing, they are paid
//!   too: the silence of one costs no other its pay. The event says that no result has a quorum.
//! - Who gave another result than the one that won, or committed and revealed nothing, is not paid, and what it earned goes
//!   to the treasury. So does everything where results differ and none wins. The consumer pays as much as for a good result:
//!   it has the work of no replica for nothing by outvoting it with replicas of its own, and spoils no vote for its money.
//! - A replica that never committed is not paid, and its part goes back.
//!
//! Nobody is slashed: a consumer may choose replicas that are its own, and results of one program may honestly differ. A
//! machine is free as soon as it committed. Once one has, places that are still open are cancelled after the start window, so
//! that it does not wait for replicas that nobody takes.

use alloc::{collections::BTreeMap, vec::Vec};

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
    AssignmentRecordOf, AssignmentState, Assignments, Ballot, Config, Error, Event, JobId, JobKind,
    JobRecordOf, Outcome, Pallet,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_commit_result(worker: &T::AccountId, job: JobId, commitment: H256) -> DispatchResult {
        let (machine, mut record, mut assignment) = Self::check_commit(worker, job)?;
        let (started_at_ms, now_ms) = Self::running(&assignment)?;
        Self::give_slots_back(&record, machine, LeaseEnd::Fulfilled);

        assignment.state = AssignmentState::Committed {
            started_at_ms,
            ended_at_ms: now_ms,
            commitment,
        };
        Assignments::<T>::insert(job, machine, assignment);
        Self::decide_places(&mut record, 1);
        if let Some(ballot) = &mut record.ballot {
            ballot.committed = ballot.committed.saturating_add(1);
            ballot
                .fill_until_ms
                .get_or_insert(now_ms.saturating_add(T::StartWindowMs::get()));
        }
        Self::deposit_event(Event::ResultCommitted {
            job,
            machine,
            commitment,
        });
        Self::put_or_close(job, record)
    }

    pub(crate) fn do_reveal_result(
        worker: &T::AccountId,
        job: JobId,
        result_hash: H256,
        salt: [u8; 32],
    ) -> DispatchResult {
        let (machine, mut record, mut assignment) = Self::check_reveal(worker, job, result_hash, salt)?;
        let AssignmentState::Committed {
            started_at_ms,
            ended_at_ms,
            ..
        } = assignment.state
        else {
            return Err(Error::<T>::WrongState.into());
        };
        assignment.state = AssignmentState::Revealed {
            started_at_ms,
            ended_at_ms,
            result_hash,
        };
        if let Some(ballot) = &mut record.ballot {
            ballot.revealed = ballot.revealed.saturating_add(1);
        }
        Assignments::<T>::insert(job, machine, assignment);
        Self::deposit_event(Event::ResultRevealed {
            job,
            machine,
            result_hash,
        });
        Self::put_or_close(job, record)
    }

    /// Counts the replicas, and says how many they were.
    pub(crate) fn do_resolve(caller: &T::AccountId, job: JobId) -> Result<u32, DispatchError> {
        let mut record = Self::job(job)?;
        let Some((ballot, threshold)) = record.ballot.zip(record.kind.quorum_threshold()) else {
            return Err(Error::<T>::WrongState.into());
        };
        Self::ensure_revealed(&ballot)?;

        let replicas: Vec<_> = Assignments::<T>::iter_prefix(job).collect();
        let count = replicas.len() as u32;
        let votes = votes(replicas.iter().map(|(_, assignment)| assignment.state));
        // More than half have to agree, so that no second result can.
        let winner = votes.iter().find(|(_, count)| **count >= threshold);
        Self::deposit_event(Event::QuorumResolved {
            job,
            result_hash: winner.map(|(result_hash, _)| *result_hash),
            votes: winner.map_or(0, |(_, votes)| *votes),
        });
        let paid = match (winner, votes.len()) {
            (Some((result_hash, _)), _) => Some(*result_hash),
            (None, 1) => votes.keys().next().copied(),
            (None, _) => None,
        };
        let machine_of_caller = T::Machines::machine_of_worker(caller);
        let mut takes_part = *caller == record.consumer;
        for (machine, assignment) in replicas {
            takes_part |= assignment.provider == *caller || machine_of_caller == Some(machine);
            Self::resolve_replica(job, &mut record, machine, assignment, paid)?;
        }
        record.ballot = None;
        if !takes_part {
            Self::pay_bounty(job, &mut record, caller);
        }
        Self::put_or_close(job, record)?;
        Ok(count)
    }

    /// What a machine's worker commits to by a result and a salt.
    pub(crate) fn commitment_to(job: JobId, machine: MachineId, result_hash: H256, salt: [u8; 32]) -> H256 {
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let message = result_message(genesis_hash.as_ref(), job, machine, &result_hash.0, &salt);
        BlakeTwo256::hash(&message)
    }

    fn ensure_quorum(record: &JobRecordOf<T>) -> DispatchResult {
        ensure!(record.kind != JobKind::Service, Error::<T>::NotTask);
        ensure!(
            record.kind.quorum_threshold().is_some(),
            Error::<T>::OtherVerification
        );
        Ok(())
    }

    /// Whether nothing more will be revealed.
    fn ensure_revealed(ballot: &Ballot) -> DispatchResult {
        let reveal_ends_ms = ballot.reveal_ends_ms.ok_or(Error::<T>::TooEarly)?;
        ensure!(
            ballot.revealed >= ballot.committed || T::Clock::now_ms() > reveal_ends_ms,
            Error::<T>::TooEarly
        );
        Ok(())
    }

    /// Pays one replica, or sends what it earned to the treasury.
    fn resolve_replica(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        mut assignment: AssignmentRecordOf<T>,
        paid: Option<H256>,
    ) -> DispatchResult {
        let (started_at_ms, ended_at_ms, outcome) = match assignment.state {
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
            // Who sees that it will be outvoted must not get off more cheaply by saying nothing.
            AssignmentState::Committed {
                started_at_ms,
                ended_at_ms,
                ..
            } => (started_at_ms, ended_at_ms, Outcome::NotRevealed),
            // Every other place was decided before anything could be revealed, and nothing is left of it.
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if outcome == Outcome::Completed {
            return Self::end_run(job, record, machine, assignment, ended_at_ms, outcome);
        }
        let worth = assignment.worth(record.slots, started_at_ms, started_at_ms, ended_at_ms);
        Self::forfeit(job, record, machine, &mut assignment, worth)?;
        Self::close_place(job, record, machine, assignment, outcome)
    }

    /// Part of a worker in a task whose result it may commit to now.
    pub(crate) fn check_commit(
        worker: &T::AccountId,
        job: JobId,
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (machine, record, assignment) = Self::assignment_of_worker(worker, job)?;
        Self::ensure_quorum(&record)?;
        Self::running(&assignment)?;
        Ok((machine, record, assignment))
    }

    /// Part of a worker in a task of which it may reveal this result now.
    pub(crate) fn check_reveal(
        worker: &T::AccountId,
        job: JobId,
        result_hash: H256,
        salt: [u8; 32],
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (machine, record, assignment) = Self::assignment_of_worker(worker, job)?;
        let AssignmentState::Committed { commitment, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let ballot = record.ballot.ok_or(Error::<T>::WrongState)?;
        let reveal_ends_ms = ballot.reveal_ends_ms.ok_or(Error::<T>::TooEarly)?;
        ensure!(T::Clock::now_ms() <= reveal_ends_ms, Error::<T>::TooLate);
        ensure!(
            Self::commitment_to(job, machine, result_hash, salt) == commitment,
            Error::<T>::CommitmentMismatch
        );
        Ok((machine, record, assignment))
    }
}

/// How many replicas revealed each result.
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
