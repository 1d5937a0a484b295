//! Results that a quorum verifies: committed to, revealed, and counted.
//!
//! Results are revealed when no replica can commit any more, and counted when all are revealed or the time for it is over:
//!
//! - A result that enough replicas gave wins, and they are paid.
//! - Who gave another one is charged for standing against the quorum, and its part goes back. So is who committed and
//!   revealed nothing: it must not get off more cheaply than a liar.
//! - Where no result wins (a tie, or too few commitments), nobody is shown to have lied. What was revealed goes unpaid to
//!   the treasury: neither a consumer whose own machine spoils the vote nor a machine that makes up a result gains by it.
//!   Who committed and revealed nothing is charged for giving up.
//! - A replica that never committed is not paid, and its part goes back.

use alloc::{collections::BTreeMap, vec::Vec};

use assay_primitives::{
    clock::ActiveClock,
    job::result_message,
    machine::{MachineId, MachineInspect},
    offence::Offence,
};
use polkadot_sdk::{
    frame_support::ensure,
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
        let (machine, mut record, mut assignment) = Self::assignment_of_worker(worker, job)?;
        Self::ensure_quorum(&record)?;
        let (started_at_ms, now_ms) = Self::running_task(&assignment)?;

        assignment.state = AssignmentState::Committed {
            started_at_ms,
            ended_at_ms: now_ms,
            commitment,
        };
        Assignments::<T>::insert(job, machine, assignment);
        Self::decide_places(&mut record, 1);
        if let Some(ballot) = &mut record.ballot {
            ballot.committed = ballot.committed.saturating_add(1);
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
        let (machine, mut record, mut assignment) = Self::assignment_of_worker(worker, job)?;
        let AssignmentState::Committed {
            started_at_ms,
            ended_at_ms,
            commitment,
        } = assignment.state
        else {
            return Err(Error::<T>::WrongState.into());
        };
        let ballot = record.ballot.as_mut().ok_or(Error::<T>::WrongState)?;
        let reveal_ends_ms = ballot.reveal_ends_ms.ok_or(Error::<T>::TooEarly)?;
        ensure!(T::Clock::now_ms() <= reveal_ends_ms, Error::<T>::TooLate);
        ensure!(
            Self::commitment_to(job, machine, result_hash, salt) == commitment,
            Error::<T>::CommitmentMismatch
        );

        assignment.state = AssignmentState::Revealed {
            started_at_ms,
            ended_at_ms,
            result_hash,
        };
        ballot.revealed = ballot.revealed.saturating_add(1);
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
        let winner = winner(replicas.iter().map(|(_, assignment)| assignment.state), threshold);
        Self::deposit_event(Event::QuorumResolved {
            job,
            result_hash: winner.map(|(result_hash, _)| result_hash),
            votes: winner.map_or(0, |(_, votes)| votes),
        });
        let machine_of_caller = T::Machines::machine_of_worker(caller);
        let mut takes_part = *caller == record.consumer;
        for (machine, assignment) in replicas {
            takes_part |= assignment.provider == *caller || machine_of_caller == Some(machine);
            let winning = winner.map(|(result_hash, _)| result_hash);
            Self::resolve_replica(job, &mut record, machine, assignment, winning)?;
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

    /// Pays, charges or forgets one replica.
    fn resolve_replica(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        mut assignment: AssignmentRecordOf<T>,
        winning: Option<H256>,
    ) -> DispatchResult {
        match (assignment.state, winning) {
            (
                AssignmentState::Revealed {
                    ended_at_ms,
                    result_hash,
                    ..
                },
                Some(winning),
            ) if result_hash == winning => {
                Self::end_run(job, record, machine, assignment, ended_at_ms, Outcome::Completed)
            }
            (AssignmentState::Revealed { .. }, Some(_)) => {
                Self::charge(machine, Offence::AgainstQuorum, None);
                Self::close_place(job, record, machine, assignment, Outcome::Outvoted)
            }
            (
                AssignmentState::Revealed {
                    started_at_ms,
                    ended_at_ms,
                    ..
                },
                None,
            ) => {
                let worth = assignment.worth(record.slots, started_at_ms, started_at_ms, ended_at_ms);
                Self::forfeit(job, record, machine, &mut assignment, worth)?;
                Self::close_place(job, record, machine, assignment, Outcome::NoQuorum)
            }
            (AssignmentState::Committed { .. }, winning) => {
                // Who sees that it will be outvoted must not get off more cheaply by saying nothing.
                let offence = match winning {
                    Some(_) => Offence::AgainstQuorum,
                    None => Offence::JobAbandoned,
                };
                Self::charge(machine, offence, None);
                Self::close_place(job, record, machine, assignment, Outcome::NotRevealed)
            }
            // Every other place was decided before anything could be revealed, and nothing is left of it.
            _ => Err(Error::<T>::WrongState.into()),
        }
    }
}

/// The result that at least `threshold` replicas gave, and how many did.
fn winner(states: impl Iterator<Item = AssignmentState>, threshold: u8) -> Option<(H256, u8)> {
    let mut votes: BTreeMap<H256, u8> = BTreeMap::new();
    for state in states {
        if let AssignmentState::Revealed { result_hash, .. } = state {
            let count = votes.entry(result_hash).or_default();
            *count = count.saturating_add(1);
        }
    }
    // More than half have to agree, so that no second result can.
    votes.into_iter().find(|(_, count)| *count >= threshold)
}
