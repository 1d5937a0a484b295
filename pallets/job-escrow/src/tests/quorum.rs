//! `commit_result`, `reveal_result` and `resolve`: tasks that a quorum verifies.

use assay_primitives::{clock::MILLIS_PER_HOUR, machine::MachineId, money::ASY};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
};

use crate::{AuctionTerms, Error, Event, JobId, JobKind, Outcome, Verification, mock::*};

const TRUTH: H256 = H256::repeat_byte(1);
const LIE: H256 = H256::repeat_byte(2);
const OTHER_LIE: H256 = H256::repeat_byte(3);

fn worker_of(machine: MachineId) -> AccountId {
    Machines::get(machine).unwrap().worker
}

fn salt_of(machine: MachineId) -> [u8; 32] {
    [machine as u8; 32]
}

fn commit(job: JobId, machine: MachineId, result: H256) {
    let commitment = JobEscrow::commitment_to(job, machine, result, salt_of(machine));
    assert_ok!(JobEscrow::commit_result(
        signed(worker_of(machine)),
        job,
        commitment
    ));
}

fn reveal(job: JobId, machine: MachineId, result: H256) {
    assert_ok!(JobEscrow::reveal_result(
        signed(worker_of(machine)),
        job,
        result,
        salt_of(machine)
    ));
}

/// Three machines that run a task of which two must agree; half an hour later.
fn run_quorum() -> JobId {
    run_quorum_of(QUORUM)
}

fn run_quorum_of(kind: JobKind) -> JobId {
    add_others();
    let job = deploy_to(order(kind), &[MACHINE, 8, 9]);
    for (_, _, worker) in ALL {
        assert_ok!(JobEscrow::start(signed(worker), job));
    }
    advance(MILLIS_PER_HOUR / 2);
    job
}

/// Outcomes of the machines' assignments, from the events.
fn outcomes() -> Vec<(MachineId, Outcome)> {
    let mut outcomes: Vec<_> = take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::AssignmentEnded { machine, outcome, .. }
            | Event::AssignmentClosed { machine, outcome, .. } => Some((machine, outcome)),
            _ => None,
        })
        .collect();
    outcomes.sort_by_key(|(machine, _)| *machine);
    outcomes
}

#[test]
fn one_liar_of_three_is_outvoted_and_not_paid() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        commit(job, MACHINE, TRUTH);
        commit(job, 8, LIE);
        take_events();
        commit(job, 9, TRUTH);
        let reveal_ends_ms = NowMs::get() + REVEAL_WINDOW_MS;
        assert_eq!(take_events()[1], Event::RevealOpened { job, reveal_ends_ms });
        reveal(job, 8, LIE);
        reveal(job, MACHINE, TRUTH);
        assert_noop!(JobEscrow::resolve(signed(STRANGER), job), Error::<Test>::TooEarly);
        reveal(job, 9, TRUTH);
        take_events();
        assert_ok!(JobEscrow::resolve(signed(STRANGER), job));

        assert_eq!(
            outcomes(),
            [
                (MACHINE, Outcome::Completed),
                (8, Outcome::Outvoted),
                (9, Outcome::Completed)
            ]
        );
        assert_eq!(free(STRANGER), ENDOWMENT + BOUNTY);
        for (machine, ..) in ALL {
            assert_eq!(free_slots(machine), SLOTS);
        }
        settle_all(job, MACHINE);
        assert_ok!(JobEscrow::settle(signed(PROVIDER + 2), job, 9));
        assert!(is_gone(job));
        // The consumer pays for three, so that it has no replica's work for nothing by outvoting it with its
        // own.
        assert_eq!(free(CONSUMER), ENDOWMENT - 3 * ASY - BOUNTY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
        assert_eq!(free(PROVIDER + 1), ENDOWMENT);
        assert_eq!(free(PROVIDER + 2), ENDOWMENT + net(ASY));
    });
}

#[test]
fn resolve_tells_what_won() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        for (machine, ..) in ALL {
            commit(job, machine, TRUTH);
        }
        for (machine, ..) in ALL {
            reveal(job, machine, TRUTH);
        }
        take_events();
        // A replica resolves it for nothing.
        assert_ok!(JobEscrow::resolve(signed(WORKER + 1), job));
        let events = take_events();
        assert_eq!(
            events[0],
            Event::QuorumResolved {
                job,
                result_hash: Some(TRUTH),
                votes: 3
            }
        );
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::BountyPaid { .. }))
        );
        assert_noop!(
            JobEscrow::resolve(signed(STRANGER), job),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn a_copied_commitment_cannot_be_revealed() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        let honest = JobEscrow::commitment_to(job, MACHINE, TRUTH, salt_of(MACHINE));
        commit(job, MACHINE, TRUTH);
        // The copycat sees it on chain, and later also what was behind it.
        assert_ok!(JobEscrow::commit_result(signed(WORKER + 1), job, honest));
        commit(job, 9, TRUTH);
        reveal(job, MACHINE, TRUTH);
        for salt in [salt_of(MACHINE), salt_of(8)] {
            assert_noop!(
                JobEscrow::reveal_result(signed(WORKER + 1), job, TRUTH, salt),
                Error::<Test>::CommitmentMismatch
            );
        }
        reveal(job, 9, TRUTH);
        advance(REVEAL_WINDOW_MS + 1);
        assert_ok!(JobEscrow::resolve(signed(STRANGER), job));
        take_events();
        assert_eq!(free(PROVIDER + 1), ENDOWMENT);
        assert_eq!(
            free(CONSUMER),
            ENDOWMENT - ASY - BOUNTY - escrow_of(CONSUMER) - deposit_of(CONSUMER)
        );
    });
}

#[test]
fn a_commitment_holds_for_one_job_and_one_machine() {
    ExtBuilder::default().build_and_execute(|| {
        let commitments = [
            JobEscrow::commitment_to(0, MACHINE, TRUTH, [0; 32]),
            JobEscrow::commitment_to(1, MACHINE, TRUTH, [0; 32]),
            JobEscrow::commitment_to(0, 8, TRUTH, [0; 32]),
            JobEscrow::commitment_to(0, MACHINE, LIE, [0; 32]),
            JobEscrow::commitment_to(0, MACHINE, TRUTH, [1; 32]),
        ];
        let distinct: std::collections::BTreeSet<_> = commitments.into_iter().collect();
        assert_eq!(distinct.len(), commitments.len());
    });
}

#[test]
fn nothing_is_revealed_while_somebody_may_commit() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        commit(job, MACHINE, TRUTH);
        commit(job, 8, TRUTH);
        assert_noop!(
            JobEscrow::reveal_result(signed(WORKER), job, TRUTH, salt_of(MACHINE)),
            Error::<Test>::TooEarly
        );
        assert_noop!(JobEscrow::resolve(signed(STRANGER), job), Error::<Test>::TooEarly);
        // The third never comes: its time runs out, and the others go on.
        advance(MILLIS_PER_HOUR / 2 + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, 9));
        reveal(job, MACHINE, TRUTH);
        reveal(job, 8, TRUTH);
        take_events();
        assert_ok!(JobEscrow::resolve(signed(CONSUMER), job));
        assert_eq!(
            outcomes(),
            [(MACHINE, Outcome::Completed), (8, Outcome::Completed)]
        );
        // Who never committed is not paid.
        settle_all(job, MACHINE);
        assert_ok!(JobEscrow::settle(signed(PROVIDER + 1), job, 8));
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY - BOUNTY);
    });
}

#[test]
fn a_missing_reveal_is_paid_like_a_lie_where_there_is_a_quorum() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        for (machine, result) in [(MACHINE, TRUTH), (8, TRUTH), (9, LIE)] {
            commit(job, machine, result);
        }
        reveal(job, MACHINE, TRUTH);
        reveal(job, 8, TRUTH);
        advance(REVEAL_WINDOW_MS);
        assert_noop!(JobEscrow::resolve(signed(STRANGER), job), Error::<Test>::TooEarly);
        advance(1);
        assert_noop!(
            JobEscrow::reveal_result(signed(WORKER + 2), job, LIE, salt_of(9)),
            Error::<Test>::TooLate
        );
        take_events();
        assert_ok!(JobEscrow::resolve(signed(STRANGER), job));
        assert_eq!(outcomes()[2], (9, Outcome::NotRevealed));
        assert_eq!(free(TREASURY), ASY + ASY);
    });
}

#[test]
fn nobody_gains_by_a_tie() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        for (machine, result) in [(MACHINE, TRUTH), (8, LIE), (9, OTHER_LIE)] {
            commit(job, machine, result);
        }
        reveal(job, MACHINE, TRUTH);
        reveal(job, 8, LIE);
        advance(REVEAL_WINDOW_MS + 1);
        take_events();
        assert_ok!(JobEscrow::resolve(signed(CONSUMER), job));
        assert_eq!(
            outcomes(),
            [
                (MACHINE, Outcome::NoQuorum),
                (8, Outcome::NoQuorum),
                (9, Outcome::NotRevealed)
            ]
        );
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - 3 * ASY);
        assert_eq!(free(TREASURY), ASY + 3 * ASY);
        for (_, provider, _) in ALL {
            assert_eq!(free(provider), ENDOWMENT);
        }
    });
}

#[test]
fn two_of_three_are_no_quorum_where_all_must_agree() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum_of(JobKind::Task {
            verification: Verification::Quorum {
                replicas: 3,
                threshold: 3,
            },
        });
        for (machine, result) in [(MACHINE, TRUTH), (8, TRUTH), (9, LIE)] {
            commit(job, machine, result);
        }
        for (machine, result) in [(MACHINE, TRUTH), (8, TRUTH), (9, LIE)] {
            reveal(job, machine, result);
        }
        take_events();
        assert_ok!(JobEscrow::resolve(signed(CONSUMER), job));
        // A consumer whose own machine spoils the vote has the work of the others for the same price.
        assert_eq!(free(CONSUMER), ENDOWMENT - 3 * ASY);
    });
}

#[test]
fn a_replica_that_declines_or_abandons_leaves_the_vote_to_the_others() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = deploy_to(order(QUORUM), &[MACHINE, 8, 9]);
        for worker in [WORKER, WORKER + 1] {
            assert_ok!(JobEscrow::start(signed(worker), job));
        }
        advance(MINUTE_MS);
        commit(job, MACHINE, TRUTH);
        assert_ok!(JobEscrow::decline(
            signed(WORKER + 2),
            job,
            9,
            crate::DeclineReason::CannotRun
        ));
        take_events();
        assert_ok!(JobEscrow::abandon(signed(WORKER + 1), job, 8));
        assert!(
            take_events()
                .iter()
                .any(|event| matches!(event, Event::RevealOpened { .. }))
        );
        assert_eq!(failures_of(8), 1);
        reveal(job, MACHINE, TRUTH);
        take_events();
        assert_ok!(JobEscrow::resolve(signed(STRANGER), job));
        assert_eq!(
            take_events()[0],
            Event::QuorumResolved {
                job,
                result_hash: None,
                votes: 0
            }
        );
        // It kept its word, and the silence of the others costs it nothing.
        settle_all(job, MACHINE);
        assert!(is_gone(job));
        assert_eq!(free(PROVIDER), ENDOWMENT + net(2 * ASY / 60));
    });
}

#[test]
fn committed_replicas_are_free_and_do_not_wait_for_places_that_nobody_takes() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let mut order = order(QUORUM);
        order.max_duration_ms = MILLIS_PER_HOUR;
        let terms = AuctionTerms {
            open_ms: MAX_OPEN_MS,
            ..auction()
        };
        assert_ok!(JobEscrow::request(signed(CONSUMER), order, 3, terms));
        let job = 0;
        for (machine, worker) in [(MACHINE, WORKER), (8, WORKER + 1)] {
            assert_ok!(JobEscrow::accept_request(signed(worker), job, machine));
            assert_ok!(JobEscrow::start(signed(worker), job));
        }
        advance(MILLIS_PER_HOUR / 2);
        commit(job, MACHINE, TRUTH);
        assert_eq!(free_slots(MACHINE), SLOTS);
        advance(START_WINDOW_MS / 2);
        commit(job, 8, TRUTH);
        assert!(JobEscrow::offered_price(job).is_some());
        assert_noop!(
            JobEscrow::expire_request(signed(STRANGER), job),
            Error::<Test>::TooEarly
        );
        // From the first commitment on machines have a start window to take the third place.
        advance(START_WINDOW_MS / 2 + 1);
        assert_eq!(JobEscrow::offered_price(job), None);
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER + 2), job, 9),
            Error::<Test>::TooLate
        );
        assert_ok!(JobEscrow::expire_request(signed(STRANGER), job));
        reveal(job, MACHINE, TRUTH);
        reveal(job, 8, TRUTH);
        assert_ok!(JobEscrow::resolve(signed(STRANGER), job));
        settle_all(job, MACHINE);
        settle_all(job, 8);
        assert!(is_gone(job));
        assert!(free(PROVIDER) > ENDOWMENT && free(PROVIDER + 1) > ENDOWMENT);
    });
}

#[test]
fn a_consumer_ends_the_search_for_replicas_at_any_time() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(QUORUM, 3);
        for (machine, worker) in [(MACHINE, WORKER), (8, WORKER + 1)] {
            assert_ok!(JobEscrow::accept_request(signed(worker), job, machine));
            assert_ok!(JobEscrow::start(signed(worker), job));
        }
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        assert_eq!(job_record(job).open_places, 0);
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), job),
            Error::<Test>::TaskRunning
        );
        for (machine, ..) in [ALL[0], ALL[1]] {
            commit(job, machine, TRUTH);
        }
        for (machine, ..) in [ALL[0], ALL[1]] {
            reveal(job, machine, TRUTH);
        }
        assert_ok!(JobEscrow::resolve(signed(CONSUMER), job));
    });
}

#[test]
fn a_quorum_that_nobody_commits_to_ends_with_its_last_place() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(QUORUM, 3);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        advance(2 * MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire_request(signed(STRANGER), job));
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * BOUNTY);
    });
}

#[test]
fn a_quorum_cannot_be_closed_by_its_consumer_once_it_runs() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), job),
            Error::<Test>::TaskRunning
        );
        for (machine, ..) in ALL {
            commit(job, machine, TRUTH);
        }
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), job),
            Error::<Test>::TaskRunning
        );
        for call in [
            JobEscrow::abandon(signed(WORKER), job, MACHINE),
            JobEscrow::expire(signed(STRANGER), job, MACHINE),
        ] {
            assert_eq!(call, Err(Error::<Test>::WrongState.into()));
        }
    });
}

#[test]
fn commit_and_reveal_fail_when_it_is_not_the_worker_s_vote() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_quorum();
        let commit_as = |who, job| JobEscrow::commit_result(signed(who), job, TRUTH);
        for account in [CONSUMER, PROVIDER, STRANGER] {
            assert_noop!(commit_as(account, job), Error::<Test>::NotWorker);
        }
        assert_noop!(commit_as(WORKER, 99), Error::<Test>::NoSuchJob);
        assert_noop!(
            JobEscrow::reveal_result(signed(WORKER), job, TRUTH, [0; 32]),
            Error::<Test>::WrongState
        );
        advance(MILLIS_PER_HOUR / 2 + 1);
        assert_noop!(commit_as(WORKER, job), Error::<Test>::TooLate);
    });
    ExtBuilder::default().build_and_execute(|| {
        let commit_as = |who, job| JobEscrow::commit_result(signed(who), job, TRUTH);
        let (service, task) = (run(SERVICE), run(TASK));
        assert_noop!(commit_as(WORKER, service), Error::<Test>::NotTask);
        assert_noop!(commit_as(WORKER, task), Error::<Test>::OtherVerification);
    });
}
