//! `accept`, `close`, `expire`, `abandon`: the ends of a job.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    money::{ASY, Balance},
    offence::Offence,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::QueryPreimage},
    sp_runtime::Permill,
};

use crate::{ConsumerJobs, Error, Event, JobId, JobKind, JobOutcome, Jobs, MachineJobs, mock::*};

/// Checks that the job closed just now as told, and that nothing of it is left.
#[track_caller]
fn assert_closed(job: JobId, outcome: JobOutcome, paid: Balance, refunded: Balance) {
    let events = take_events();
    let fee = Fee::get().mul_floor(paid);
    let closed = Event::JobClosed {
        job,
        machine: MACHINE,
        outcome,
        paid,
        refunded,
    };
    let settled = Event::PaymentSettled {
        job,
        provider_amount: paid - fee,
        fee,
        burned: fee - fee / 2,
    };
    let expected = if paid > 0 {
        vec![settled, closed]
    } else {
        vec![closed]
    };
    assert_eq!(events, expected);

    assert_eq!(Jobs::<Test>::get(job), None);
    assert!(!MachineJobs::<Test>::contains_key(MACHINE, job));
    assert!(!ConsumerJobs::<Test>::contains_key(CONSUMER, job));
    assert_eq!(escrow_of(CONSUMER), 0);
    assert_eq!(free_slots(MACHINE), SLOTS);
    assert_eq!(free(CONSUMER), ENDOWMENT - paid);
    assert_eq!(free(PROVIDER), ENDOWMENT + paid - fee);
}

#[test]
fn accept_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        take_events();
        assert_ok!(JobEscrow::accept(RuntimeOrigin::signed(CONSUMER), job));
        assert_closed(job, JobOutcome::Completed, ASY, ASY);
    });
}

#[test]
fn accept_works_after_the_window() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(10 * CONSUMER_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::accept(RuntimeOrigin::signed(CONSUMER), job));
        // The window is not paid for.
        assert_closed(job, JobOutcome::Completed, ASY, ASY);
    });
}

#[test]
fn accept_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        for account in [OTHER_CONSUMER, PROVIDER, WORKER] {
            assert_noop!(
                JobEscrow::accept(RuntimeOrigin::signed(account), job),
                Error::<Test>::NotConsumer
            );
        }
    });
}

#[test]
fn accept_fails_when_there_is_no_result() {
    ExtBuilder::default().build_and_execute(|| {
        for job in [deploy(JobKind::Task), run(JobKind::Task)] {
            assert_noop!(
                JobEscrow::accept(RuntimeOrigin::signed(CONSUMER), job),
                Error::<Test>::WrongState
            );
        }
        assert_noop!(
            JobEscrow::accept(RuntimeOrigin::signed(CONSUMER), 99),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn close_cancels_what_has_not_started() {
    ExtBuilder::default().build_and_execute(|| {
        for kind in [JobKind::Service, JobKind::Task] {
            let job = deploy(kind);
            take_events();
            assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
            assert_closed(job, JobOutcome::Cancelled, 0, 2 * ASY);
        }
    });
}

#[test]
fn close_pays_a_service_up_to_now() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        advance(MILLIS_PER_HOUR / 4);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        assert_closed(job, JobOutcome::ClosedByConsumer, ASY / 2, ASY * 3 / 2);
    });
}

#[test]
fn close_never_pays_more_than_the_escrow() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        advance(100 * MILLIS_PER_HOUR);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        assert_closed(job, JobOutcome::ClosedByConsumer, 2 * ASY, 0);
    });
}

#[test]
fn close_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        for account in [OTHER_CONSUMER, PROVIDER, WORKER] {
            assert_noop!(
                JobEscrow::close(RuntimeOrigin::signed(account), job),
                Error::<Test>::NotConsumer
            );
        }
        assert_noop!(
            JobEscrow::close(RuntimeOrigin::signed(CONSUMER), 99),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn close_fails_when_a_task_runs() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        assert_noop!(
            JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job),
            Error::<Test>::TaskRunning
        );
    });
}

#[test]
fn close_fails_when_a_result_waits() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        assert_noop!(
            JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn expire_returns_everything_when_not_started() {
    ExtBuilder::default().build_and_execute(|| {
        for kind in [JobKind::Service, JobKind::Task] {
            let job = deploy(kind);
            advance(START_WINDOW_MS);
            assert_noop!(
                JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job),
                Error::<Test>::TooEarly
            );
            advance(1);
            take_events();
            assert_ok!(JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job));
            assert_closed(job, JobOutcome::NotStarted, 0, 2 * ASY);
        }
    });
}

#[test]
fn expire_pays_a_service_in_full() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        advance(MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job),
            Error::<Test>::TooEarly
        );
        advance(1);
        take_events();
        assert_ok!(JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job));
        assert_closed(job, JobOutcome::Expired, 2 * ASY, 0);
    });
}

#[test]
fn expire_pays_a_task_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        advance(MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job),
            Error::<Test>::TooEarly
        );
        advance(1);
        take_events();
        assert_ok!(JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job));
        assert_closed(job, JobOutcome::NoResult, 0, 2 * ASY);
    });
}

#[test]
fn expire_fails_when_a_result_waits() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        advance(100 * MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(RuntimeOrigin::signed(CONSUMER), job),
            Error::<Test>::WrongState
        );
        assert_noop!(
            JobEscrow::expire(RuntimeOrigin::signed(CONSUMER), 99),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn abandon_works_before_the_start() {
    ExtBuilder::default().build_and_execute(|| {
        for account in [WORKER, PROVIDER] {
            let job = deploy(JobKind::Task);
            take_events();
            assert_ok!(JobEscrow::abandon(RuntimeOrigin::signed(account), job));
            assert_closed(job, JobOutcome::Abandoned, 0, 2 * ASY);
        }
        // A consumer can order what no machine can start.
        assert_eq!(OffencesHeard::get(), []);
    });
}

#[test]
fn abandon_pays_a_service_up_to_now() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        advance(MILLIS_PER_HOUR / 4);
        take_events();
        assert_ok!(JobEscrow::abandon(RuntimeOrigin::signed(WORKER), job));
        assert_closed(job, JobOutcome::Abandoned, ASY / 2, ASY * 3 / 2);
        assert_eq!(OffencesHeard::get(), [(MACHINE, Offence::JobAbandoned)]);
    });
}

#[test]
fn abandon_pays_a_task_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        advance(MILLIS_PER_HOUR / 4);
        take_events();
        assert_ok!(JobEscrow::abandon(RuntimeOrigin::signed(PROVIDER), job));
        assert_closed(job, JobOutcome::Abandoned, 0, 2 * ASY);
        assert_eq!(OffencesHeard::get(), [(MACHINE, Offence::JobAbandoned)]);
    });
}

#[test]
fn abandon_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Task);
        for account in [CONSUMER, STRANGER] {
            assert_noop!(
                JobEscrow::abandon(RuntimeOrigin::signed(account), job),
                Error::<Test>::NotProvider
            );
        }
        assert_noop!(
            JobEscrow::abandon(RuntimeOrigin::signed(PROVIDER), 99),
            Error::<Test>::NoSuchJob
        );
    });
}

#[test]
fn abandon_fails_when_a_result_waits() {
    ExtBuilder::default().build_and_execute(|| {
        let job = finish_task();
        assert_noop!(
            JobEscrow::abandon(RuntimeOrigin::signed(PROVIDER), job),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn closing_forgets_the_manifest() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        order.slots = 1;
        order.manifest = note_manifest_by(CONSUMER, b"{}");
        let hash = order.manifest.hash;
        let jobs = [deploy_order(order), deploy_order(order)];

        // The consumer may have the deposit back, but the bytes stay as long as a job needs them.
        assert_ok!(Preimage::unnote_preimage(RuntimeOrigin::signed(CONSUMER), hash));
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), jobs[0]));
        assert_eq!(<Preimage as QueryPreimage>::len(&hash), Some(2));
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), jobs[1]));
        assert_eq!(<Preimage as QueryPreimage>::len(&hash), None);
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn closing_leaves_a_noted_manifest_to_its_owner() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        order.manifest = note_manifest_by(CONSUMER, b"{}");
        let job = deploy_order(order);
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        assert_ok!(Preimage::unnote_preimage(
            RuntimeOrigin::signed(CONSUMER),
            order.manifest.hash
        ));
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn closing_touches_no_other_job() {
    ExtBuilder::default().build_and_execute(|| {
        Fee::set(&Permill::zero());
        let (first, second) = (run(JobKind::Service), run(JobKind::Service));
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), first));
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);
        assert_eq!(free_slots(MACHINE), SLOTS - 2);
        assert_eq!(Jobs::<Test>::get(second).unwrap().escrowed, 2 * ASY);
        assert_eq!(JobEscrow::amount_due(second), Some(ASY));
    });
}

#[test]
fn a_chain_that_stands_still_charges_nobody() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        System::set_block_number(1_000_000);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        assert_closed(job, JobOutcome::ClosedByConsumer, 0, 2 * ASY);
    });
}
