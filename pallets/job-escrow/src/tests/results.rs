//! `submit_result`, `accept` and `reject`: tasks that their consumer verifies.

use assay_primitives::{clock::MILLIS_PER_HOUR, money::ASY};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
};

use crate::{AssignmentState, Error, Event, Outcome, mock::*};

const RESULT: H256 = H256::repeat_byte(0xcd);

#[test]
fn submit_result_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(TASK);
        let started_at_ms = NowMs::get();
        // The last moment counts.
        advance(MILLIS_PER_HOUR);
        take_events();
        assert_ok!(JobEscrow::submit_result(signed(WORKER), job, RESULT));

        let ended_at_ms = NowMs::get();
        let window_ends_ms = ended_at_ms + CONSUMER_WINDOW_MS;
        assert_eq!(
            part(job, MACHINE).state,
            AssignmentState::Verifying {
                started_at_ms,
                ended_at_ms,
                window_ends_ms,
                result_hash: RESULT
            }
        );
        assert_eq!(
            take_events(),
            vec![Event::ResultSubmitted {
                job,
                machine: MACHINE,
                result_hash: RESULT,
                window_ends_ms
            }]
        );
        assert_eq!(free_slots(MACHINE), SLOTS);
    });
}

#[test]
fn submit_result_fails_when_it_is_not_the_worker_s_to_give() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let submit = |who, job| JobEscrow::submit_result(signed(who), job, RESULT);
        let job = run(TASK);
        for account in [CONSUMER, PROVIDER, STRANGER] {
            assert_noop!(submit(account, job), Error::<Test>::NotWorker);
        }
        assert_noop!(submit(WORKER + 1, job), Error::<Test>::NoSuchAssignment);
        assert_noop!(submit(WORKER, 99), Error::<Test>::NoSuchJob);
        let service = run(SERVICE);
        assert_noop!(submit(WORKER, service), Error::<Test>::NotTask);
        advance(MILLIS_PER_HOUR + 1);
        assert_noop!(submit(WORKER, job), Error::<Test>::TooLate);
    });
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let quorum = deploy_to(order(QUORUM), &[MACHINE, 8, 9]);
        assert_ok!(JobEscrow::start(signed(WORKER), quorum));
        assert_noop!(
            JobEscrow::submit_result(signed(WORKER), quorum, RESULT),
            Error::<Test>::OtherVerification
        );
        let unstarted = deploy(TASK);
        assert_noop!(
            JobEscrow::submit_result(signed(WORKER), unstarted, RESULT),
            Error::<Test>::WrongState
        );
    });
    ExtBuilder::default().build_and_execute(|| {
        let finished = finish_task();
        assert_noop!(
            JobEscrow::submit_result(signed(WORKER), finished, RESULT),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn an_accepted_result_is_paid_for_its_time() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        let ended_at_ms = NowMs::get();
        advance(CONSUMER_WINDOW_MS / 2);
        take_events();
        assert_ok!(JobEscrow::accept(signed(CONSUMER), job, MACHINE));
        assert_eq!(
            take_events(),
            vec![
                Event::EscrowReturned { job, amount: ASY },
                Event::AssignmentEnded {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::Completed,
                    ended_at_ms
                },
            ]
        );
        assert_eq!(free_slots(MACHINE), SLOTS);
        assert_noop!(
            JobEscrow::accept(signed(CONSUMER), job, MACHINE),
            Error::<Test>::WrongState
        );
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
    });
}

#[test]
fn a_task_is_not_paid_for_an_epoch_in_which_its_machine_was_seen_down() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        Outages::set(&vec![(MACHINE, 100, 0)]);
        assert_ok!(JobEscrow::accept(signed(CONSUMER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn silence_accepts() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(CONSUMER_WINDOW_MS);
        assert_noop!(
            JobEscrow::settle(signed(STRANGER), job, MACHINE),
            Error::<Test>::TooEarly
        );
        advance(1);
        assert_noop!(
            JobEscrow::reject(signed(CONSUMER), job, MACHINE),
            Error::<Test>::TooLate
        );
        assert_ok!(JobEscrow::settle(signed(STRANGER), job, MACHINE));
        assert_eq!(free(STRANGER), ENDOWMENT + BOUNTY);
        settle_all(job, MACHINE);
        // The window is not paid for.
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY - BOUNTY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
    });
}

#[test]
fn accept_works_after_the_window() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(10 * CONSUMER_WINDOW_MS);
        assert_ok!(JobEscrow::accept(signed(CONSUMER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY);
    });
}

#[test]
fn nobody_gains_by_a_rejection() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(CONSUMER_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::reject(signed(CONSUMER), job, MACHINE));
        assert_eq!(
            take_events()[..3],
            [
                Event::EarningsForfeited {
                    job,
                    machine: MACHINE,
                    amount: ASY
                },
                Event::EscrowReturned { job, amount: ASY },
                Event::AssignmentClosed {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::Rejected,
                    paid: 0
                },
            ]
        );
        assert!(is_gone(job));
        // The consumer pays as much as for a result that it accepts, and the provider has nothing.
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT);
        assert_eq!(free(TREASURY), 2 * ASY);
    });
}

#[test]
fn each_machine_has_its_own_result() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = deploy_to(order(TASK), &[MACHINE, 8, 9]);
        for (_, _, worker) in ALL {
            assert_ok!(JobEscrow::start(signed(worker), job));
        }
        advance(MILLIS_PER_HOUR / 2);
        for (_, _, worker) in ALL {
            assert_ok!(JobEscrow::submit_result(signed(worker), job, RESULT));
        }
        assert_ok!(JobEscrow::accept(signed(CONSUMER), job, MACHINE));
        assert_ok!(JobEscrow::reject(signed(CONSUMER), job, 8));
        settle_all(job, MACHINE);
        assert!(!is_gone(job));
        assert_ok!(JobEscrow::settle(signed(PROVIDER + 2), job, 9));
        assert_ok!(JobEscrow::settle(signed(PROVIDER + 2), job, 9));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - 3 * ASY);
        assert_eq!(free(PROVIDER + 1), ENDOWMENT);
        assert_eq!(free(PROVIDER + 2), ENDOWMENT + net(ASY));
    });
}

#[test]
fn accept_and_reject_fail_when_it_is_not_the_consumer_s_result() {
    ExtBuilder::default().build_and_execute(|| {
        let (running, finished) = (run(TASK), finish_task());
        for account in [OTHER_CONSUMER, PROVIDER, WORKER] {
            assert_noop!(
                JobEscrow::accept(signed(account), finished, MACHINE),
                Error::<Test>::NotConsumer
            );
            assert_noop!(
                JobEscrow::reject(signed(account), finished, MACHINE),
                Error::<Test>::NotConsumer
            );
        }
        for (job, machine, error) in [
            (running, MACHINE, Error::<Test>::WrongState),
            (finished, 8, Error::NoSuchAssignment),
            (99, MACHINE, Error::NoSuchJob),
        ] {
            assert_noop!(JobEscrow::accept(signed(CONSUMER), job, machine), error);
            assert_noop!(
                JobEscrow::reject(signed(CONSUMER), job, machine),
                match job {
                    99 => Error::<Test>::NoSuchJob,
                    _ if machine == 8 => Error::NoSuchAssignment,
                    _ => Error::WrongState,
                }
            );
        }
    });
}
