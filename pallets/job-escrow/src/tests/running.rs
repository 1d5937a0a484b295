//! `start`, `abandon` and `expire`: a machine's part in a job.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    machine::LeaseEnd,
    money::{ASY, MILLI_ASY},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{AssignmentState, Error, Event, MachineJobs, Outcome, mock::*};

#[test]
fn start_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(SERVICE);
        // The last moment counts.
        advance(START_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::start(signed(WORKER), job));

        let now_ms = NowMs::get();
        assert_eq!(
            part(job, MACHINE).state,
            AssignmentState::Running {
                started_at_ms: now_ms,
                judged_until_ms: now_ms
            }
        );
        assert_eq!(
            take_events(),
            vec![Event::JobStarted {
                job,
                machine: MACHINE,
                started_at_ms: now_ms
            }]
        );
    });
}

#[test]
fn start_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = deploy(SERVICE);
        for account in [CONSUMER, PROVIDER, STRANGER] {
            assert_noop!(JobEscrow::start(signed(account), job), Error::<Test>::NotWorker);
        }
        assert_noop!(
            JobEscrow::start(signed(WORKER + 1), job),
            Error::<Test>::NoSuchAssignment
        );
        assert_noop!(JobEscrow::start(signed(WORKER), 99), Error::<Test>::NoSuchJob);
    });
}

#[test]
fn start_fails_when_it_is_too_late_or_done() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(SERVICE);
        advance(START_WINDOW_MS + 1);
        assert_noop!(JobEscrow::start(signed(WORKER), job), Error::<Test>::TooLate);
        let job = run(SERVICE);
        assert_noop!(JobEscrow::start(signed(WORKER), job), Error::<Test>::WrongState);
    });
}

#[test]
fn expire_refunds_and_counts_a_deployed_machine_that_did_not_start() {
    ExtBuilder::default().build_and_execute(|| {
        for kind in [SERVICE, TASK] {
            let failures = failures_of(MACHINE);
            let (before, stranger) = (free(CONSUMER), free(STRANGER));
            let job = deploy(kind);
            advance(START_WINDOW_MS + 1);
            take_events();
            assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
            assert_eq!(
                take_events(),
                vec![
                    Event::EscrowReturned { job, amount: 2 * ASY },
                    Event::AssignmentClosed {
                        job,
                        machine: MACHINE,
                        outcome: Outcome::NotStarted,
                        paid: 0
                    },
                    Event::BountyPaid {
                        job,
                        recipient: STRANGER,
                        amount: BOUNTY
                    },
                    Event::JobClosed {
                        job,
                        paid: 0,
                        deposit_returned: 800 * MILLI_ASY + 3 * BOUNTY + MANIFEST_DEPOSIT
                    },
                ]
            );
            assert!(is_gone(job));
            assert!(!MachineJobs::<Test>::contains_key(MACHINE, job));
            assert_eq!(free(CONSUMER), before - BOUNTY);
            assert_eq!(free(STRANGER), stranger + BOUNTY);
            assert_eq!(free_slots(MACHINE), SLOTS);
            // Nobody is slashed; the market counts it, and takes the machine out of it.
            assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::NotStarted));
            assert_eq!(failures_of(MACHINE), failures + 1);
        }
    });
}

#[test]
fn expire_ends_a_service_whose_time_is_over() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(signed(STRANGER), job, MACHINE),
            Error::<Test>::TooEarly
        );
        advance(1);
        let run_ends_ms = NowMs::get() - 1;
        take_events();
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert_eq!(
            take_events(),
            vec![
                Event::AssignmentEnded {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::Expired,
                    ended_at_ms: run_ends_ms
                },
                Event::BountyPaid {
                    job,
                    recipient: STRANGER,
                    amount: BOUNTY
                },
            ]
        );
        assert_eq!(free_slots(MACHINE), SLOTS);
        assert_noop!(
            JobEscrow::expire(signed(STRANGER), job, MACHINE),
            Error::<Test>::WrongState
        );
        settle_all(job, MACHINE);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(2 * ASY));
        assert_eq!(wealth(CONSUMER), ENDOWMENT - 2 * ASY - BOUNTY);
    });
}

#[test]
fn expire_pays_a_task_without_a_result_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(TASK);
        advance(MILLIS_PER_HOUR + 1);
        take_events();
        assert_ok!(JobEscrow::expire(signed(CONSUMER), job, MACHINE));
        assert_eq!(
            take_events()[1],
            Event::AssignmentClosed {
                job,
                machine: MACHINE,
                outcome: Outcome::NoResult,
                paid: 0
            }
        );
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn expire_fails_when_there_is_nothing_to_expire() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(100 * MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(signed(CONSUMER), job, MACHINE),
            Error::<Test>::WrongState
        );
        assert_noop!(
            JobEscrow::expire(signed(CONSUMER), job, 8),
            Error::<Test>::NoSuchAssignment
        );
        assert_noop!(
            JobEscrow::expire(signed(CONSUMER), 99, MACHINE),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn abandoning_a_service_forfeits_the_hold_back() {
    ExtBuilder::default().build_and_execute(|| {
        for who in [WORKER, PROVIDER] {
            let (before, provider) = (wealth(CONSUMER), free(PROVIDER));
            let job = run(SERVICE);
            advance(MILLIS_PER_HOUR / 2);
            assert_ok!(JobEscrow::abandon(signed(who), job, MACHINE));
            assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::Abandoned));
            assert_eq!(free_slots(MACHINE), SLOTS);
            settle_all(job, MACHINE);
            assert_eq!(wealth(CONSUMER), before - ASY * 9 / 10);
            assert_eq!(free(PROVIDER), provider + net(ASY * 9 / 10));
        }
    });
}

#[test]
fn abandoning_a_task_pays_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(TASK);
        advance(MILLIS_PER_HOUR / 4);
        assert_ok!(JobEscrow::abandon(signed(PROVIDER), job, MACHINE));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT);
        assert_eq!(failures_of(MACHINE), 1);
    });
}

#[test]
fn abandon_fails_when_there_is_nothing_to_abandon() {
    ExtBuilder::default().build_and_execute(|| {
        let abandon = |who, job| JobEscrow::abandon(signed(who), job, MACHINE);
        let job = run(TASK);
        for account in [CONSUMER, STRANGER] {
            assert_noop!(abandon(account, job), Error::<Test>::NotProvider);
        }
        assert_noop!(abandon(PROVIDER, 99), Error::<Test>::NoSuchJob);
        let unstarted = deploy(TASK);
        assert_noop!(abandon(PROVIDER, unstarted), Error::<Test>::WrongState);
        // What is over is not given up.
        advance(MILLIS_PER_HOUR + 1);
        assert_noop!(abandon(PROVIDER, job), Error::<Test>::TooLate);
    });
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        assert_noop!(
            JobEscrow::abandon(signed(PROVIDER), job, MACHINE),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn a_workload_that_ended_by_itself_is_paid_for_its_time_and_costs_nobody_more() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(MILLIS_PER_HOUR / 2);
        take_events();
        assert_ok!(JobEscrow::report_workload_ended(signed(WORKER), job));
        assert_eq!(
            take_events(),
            vec![
                Event::EscrowReturned { job, amount: ASY },
                Event::AssignmentEnded {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::WorkloadEnded,
                    ended_at_ms: NowMs::get()
                },
            ]
        );
        assert_eq!(free_slots(MACHINE), SLOTS);
        assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::Unresolved));
        // Its consumer can bring it about, so it does not tell in the machine's place in the market.
        assert_eq!(failures_of(MACHINE), 0);
        settle_all(job, MACHINE);
        assert_eq!(wealth(CONSUMER), ENDOWMENT - ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
    });
}

#[test]
fn report_workload_ended_fails_when_no_service_runs() {
    ExtBuilder::default().build_and_execute(|| {
        let report = |who, job| JobEscrow::report_workload_ended(signed(who), job);
        let job = run(SERVICE);
        for account in [PROVIDER, CONSUMER, STRANGER] {
            assert_noop!(report(account, job), Error::<Test>::NotWorker);
        }
        assert_noop!(report(WORKER, 99), Error::<Test>::NoSuchJob);
        let task = run(TASK);
        assert_noop!(report(WORKER, task), Error::<Test>::NotService);
        advance(MILLIS_PER_HOUR + 1);
        assert_noop!(report(WORKER, job), Error::<Test>::TooLate);
    });
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(SERVICE);
        assert_noop!(
            JobEscrow::report_workload_ended(signed(WORKER), job),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn a_disputed_end_costs_the_machine_its_hold_back_and_gains_its_consumer_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::report_workload_ended(signed(WORKER), job));
        for account in [OTHER_CONSUMER, PROVIDER] {
            assert_noop!(
                JobEscrow::reject(signed(account), job, MACHINE),
                Error::<Test>::NotConsumer
            );
        }
        take_events();
        assert_ok!(JobEscrow::reject(signed(CONSUMER), job, MACHINE));
        assert_eq!(
            take_events(),
            vec![Event::EndDisputed {
                job,
                machine: MACHINE
            }]
        );
        assert_noop!(
            JobEscrow::reject(signed(CONSUMER), job, MACHINE),
            Error::<Test>::WrongState
        );
        settle_all(job, MACHINE);
        assert_eq!(
            wealth(CONSUMER),
            ENDOWMENT - ASY,
            "as much as without the dispute"
        );
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY * 9 / 10));
        assert!(free(TREASURY) > ASY + ASY / 10);
    });
    // Other ends cannot be disputed.
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(MINUTE_MS);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        assert_noop!(
            JobEscrow::reject(signed(CONSUMER), job, MACHINE),
            Error::<Test>::WrongState
        );
    });
}
