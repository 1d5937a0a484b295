//! `start`, `submit_result` and `settle`: a job on its machine.

use assay_primitives::{clock::MILLIS_PER_HOUR, money::ASY};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
};

use crate::{Error, Event, JobKind, JobOutcome, JobState, Jobs, mock::*};

const RESULT: H256 = H256::repeat_byte(0xcd);

#[test]
fn start_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(JobKind::Service);
        // The last moment counts.
        advance(START_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::start(RuntimeOrigin::signed(WORKER), job));

        let now_ms = NowMs::get();
        assert_eq!(
            Jobs::<Test>::get(job).unwrap().state,
            JobState::Running {
                started_at_ms: now_ms,
                settled_until_ms: now_ms
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
fn start_fails_when_there_is_no_such_job() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            JobEscrow::start(RuntimeOrigin::signed(WORKER), 0),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn start_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        add_machine(8, PROVIDER, WORKER + 1, 1, ASK);
        let job = deploy(JobKind::Service);
        for account in [CONSUMER, PROVIDER, STRANGER, WORKER + 1] {
            assert_noop!(
                JobEscrow::start(RuntimeOrigin::signed(account), job),
                Error::<Test>::NotWorker
            );
        }
    });
}

#[test]
fn start_fails_when_the_deadline_has_passed() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(JobKind::Service);
        advance(START_WINDOW_MS + 1);
        assert_noop!(
            JobEscrow::start(RuntimeOrigin::signed(WORKER), job),
            Error::<Test>::TooLate
        );
    });
}

#[test]
fn start_fails_when_already_started() {
    ExtBuilder::default().build_and_execute(|| {
        for job in [run(JobKind::Service), finish_task()] {
            assert_noop!(
                JobEscrow::start(RuntimeOrigin::signed(WORKER), job),
                Error::<Test>::WrongState
            );
        }
    });
}

#[test]
fn submit_result_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        let started_at_ms = NowMs::get();
        // The last moment counts.
        advance(MILLIS_PER_HOUR);
        take_events();
        assert_ok!(JobEscrow::submit_result(
            RuntimeOrigin::signed(WORKER),
            job,
            RESULT
        ));

        let ended_at_ms = NowMs::get();
        let window_ends_ms = ended_at_ms + CONSUMER_WINDOW_MS;
        assert_eq!(
            Jobs::<Test>::get(job).unwrap().state,
            JobState::Verifying {
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
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);
        assert_eq!(JobEscrow::amount_due(job), Some(2 * ASY));
    });
}

#[test]
fn submit_result_fails_when_there_is_no_such_job() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            JobEscrow::submit_result(RuntimeOrigin::signed(WORKER), 0, RESULT),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn submit_result_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        for account in [CONSUMER, PROVIDER, STRANGER] {
            assert_noop!(
                JobEscrow::submit_result(RuntimeOrigin::signed(account), job, RESULT),
                Error::<Test>::NotWorker
            );
        }
    });
}

#[test]
fn submit_result_fails_when_the_job_is_a_service() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        assert_noop!(
            JobEscrow::submit_result(RuntimeOrigin::signed(WORKER), job, RESULT),
            Error::<Test>::NotTask
        );
    });
}

#[test]
fn submit_result_fails_when_not_running() {
    ExtBuilder::default().build_and_execute(|| {
        for job in [deploy(JobKind::Task), finish_task()] {
            assert_noop!(
                JobEscrow::submit_result(RuntimeOrigin::signed(WORKER), job, RESULT),
                Error::<Test>::WrongState
            );
        }
    });
}

#[test]
fn submit_result_fails_when_the_time_is_over() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        advance(MILLIS_PER_HOUR + 1);
        assert_noop!(
            JobEscrow::submit_result(RuntimeOrigin::signed(WORKER), job, RESULT),
            Error::<Test>::TooLate
        );
    });
}

#[test]
fn settle_streams_a_service() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        let started_at_ms = NowMs::get();
        take_events();
        advance(MILLIS_PER_HOUR / 4);
        assert_eq!(JobEscrow::amount_due(job), Some(ASY / 2));
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job));

        assert_eq!(
            take_events(),
            vec![Event::PaymentSettled {
                job,
                provider_amount: ASY / 2 * 95 / 100,
                fee: ASY / 2 * 5 / 100,
                burned: ASY / 2 * 5 / 200,
            }]
        );
        let record = Jobs::<Test>::get(job).unwrap();
        assert_eq!(
            record.state,
            JobState::Running {
                started_at_ms,
                settled_until_ms: NowMs::get()
            }
        );
        assert_eq!((record.paid, record.escrowed), (ASY / 2, ASY * 3 / 2));
        assert_eq!(JobEscrow::amount_due(job), Some(0));

        // Long after the end: the rest, and no more than that; the job stays open until it is expired.
        advance(10 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job));
        let record = Jobs::<Test>::get(job).unwrap();
        assert_eq!(
            record.state,
            JobState::Running {
                started_at_ms,
                settled_until_ms: started_at_ms + MILLIS_PER_HOUR
            }
        );
        assert_eq!((record.paid, record.escrowed), (2 * ASY, 0));
        assert_eq!(free(PROVIDER), ENDOWMENT + 2 * ASY * 95 / 100);
    });
}

#[test]
fn settle_pays_a_task_after_the_window() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(CONSUMER_WINDOW_MS + 1);
        take_events();
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job));
        assert_eq!(
            take_events().last(),
            Some(&Event::JobClosed {
                job,
                machine: MACHINE,
                outcome: JobOutcome::Completed,
                paid: ASY,
                refunded: ASY,
            })
        );
        assert_eq!(free(PROVIDER), ENDOWMENT + ASY * 95 / 100);
    });
}

#[test]
fn settle_fails_when_the_window_is_open() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(CONSUMER_WINDOW_MS);
        assert_noop!(
            JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job),
            Error::<Test>::TooEarly
        );
    });
}

#[test]
fn settle_fails_when_nothing_is_due() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        assert_noop!(
            JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job),
            Error::<Test>::NothingDue
        );
    });
}

#[test]
fn settle_fails_when_the_job_is_not_owed_for() {
    ExtBuilder::default().build_and_execute(|| {
        for job in [deploy(JobKind::Service), run(JobKind::Task)] {
            assert_eq!(JobEscrow::amount_due(job), Some(0));
            assert_noop!(
                JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job),
                Error::<Test>::WrongState
            );
        }
        assert_noop!(
            JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), 99),
            Error::<Test>::NoSuchJob
        );
        assert_eq!(JobEscrow::amount_due(99), None);
    });
}

#[test]
fn settle_fails_when_the_provider_cannot_receive() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        kill(PROVIDER);
        // One millisecond earns less than the existential deposit.
        advance(1);
        assert_noop!(
            JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job),
            Error::<Test>::ProviderCannotReceive
        );
        // Nothing is lost: once enough has come together it brings the account to life.
        advance(MILLIS_PER_HOUR / 2 - 1);
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job));
        assert_eq!(free(PROVIDER), ASY * 95 / 100);
    });
}
