//! `close` and `top_up`: what a consumer does with a job it has.

use assay_primitives::{clock::MILLIS_PER_HOUR, money::ASY};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::QueryPreimage},
    sp_runtime::TokenError,
};

use crate::{ConsumerJobs, Error, Event, Manifest, Outcome, mock::*};

#[test]
fn close_cancels_what_has_not_started() {
    ExtBuilder::default().build_and_execute(|| {
        for kind in [SERVICE, TASK] {
            let job = deploy(kind);
            take_events();
            assert_ok!(JobEscrow::close(signed(CONSUMER), job));
            assert_eq!(
                take_events(),
                vec![
                    Event::EscrowReturned { job, amount: 2 * ASY },
                    Event::AssignmentClosed {
                        job,
                        machine: MACHINE,
                        outcome: Outcome::Cancelled,
                        paid: 0
                    },
                    Event::JobClosed {
                        job,
                        paid: 0,
                        deposit_returned: ASY + MANIFEST_DEPOSIT
                    },
                ]
            );
            assert!(is_gone(job));
            assert!(!ConsumerJobs::<Test>::contains_key(CONSUMER, job));
            assert_eq!(free(CONSUMER), ENDOWMENT);
            assert_eq!(free_slots(MACHINE), SLOTS);
        }
    });
}

#[test]
fn close_before_the_start_pays_for_the_time_for_which_machines_were_reserved() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(SERVICE);
        advance(START_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        let reserved = 2 * ASY / 6;
        assert_eq!(
            take_events()[0],
            Event::PaymentSettled {
                job,
                machine: MACHINE,
                provider_amount: net(reserved),
                fee: reserved - net(reserved),
                burned: (reserved - net(reserved)).div_ceil(2),
            }
        );
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - reserved);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(reserved));

        // Never more than was ordered, nor for time after the window: then the machine was silent.
        let mut short = order(SERVICE);
        short.max_duration_ms = MINUTE_MS;
        let job = deploy_order(short);
        advance(START_WINDOW_MS + MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        assert_eq!(free(CONSUMER), ENDOWMENT - reserved - (2 * ASY).div_ceil(60));
    });
}

#[test]
fn top_up_needs_the_ask_of_the_moment() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = ASK + 1);
        assert_noop!(
            JobEscrow::top_up(signed(CONSUMER), job, MILLIS_PER_HOUR),
            Error::<Test>::PriceTooLow
        );
        Machines::mutate(MACHINE, |machine| {
            let machine = machine.as_mut().unwrap();
            (machine.ask, machine.draining) = (ASK, true);
        });
        assert_noop!(
            JobEscrow::top_up(signed(CONSUMER), job, MILLIS_PER_HOUR),
            Error::<Test>::NotExtendable
        );
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().draining = false);
        assert_ok!(JobEscrow::top_up(signed(CONSUMER), job, MILLIS_PER_HOUR));
    });
}

#[test]
fn close_ends_everything_that_a_service_has() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(SERVICE, 3);
        // At the floor, a tenth of the maximum.
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 1), job, 8));
        advance(MILLIS_PER_HOUR / 2);
        take_events();
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        let events = take_events();
        assert_eq!(
            events[..2],
            [
                Event::PlacesCancelled { job, places: 1 },
                Event::EscrowReturned { job, amount: 2 * ASY }
            ]
        );
        // It was reserved for its start window, at the floor.
        let reserved = 2 * ASK / 10 / 6;
        assert!(events.contains(&Event::AssignmentClosed {
            job,
            machine: 8,
            outcome: Outcome::Cancelled,
            paid: reserved
        }));
        assert!(events.contains(&Event::AssignmentEnded {
            job,
            machine: MACHINE,
            outcome: Outcome::ClosedByConsumer,
            ended_at_ms: NowMs::get()
        }));
        assert_eq!(escrow_of(CONSUMER), ASY / 10);
        assert_noop!(JobEscrow::close(signed(CONSUMER), job), Error::<Test>::WrongState);
        settle_all(job, MACHINE);
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY / 10 - reserved);
    });
}

#[test]
fn close_never_pays_more_than_the_longest_run() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(100 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY);
    });
}

#[test]
fn close_fails_when_it_is_not_the_consumer_s_to_close() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        for account in [OTHER_CONSUMER, PROVIDER, WORKER] {
            assert_noop!(JobEscrow::close(signed(account), job), Error::<Test>::NotConsumer);
        }
        assert_noop!(JobEscrow::close(signed(CONSUMER), 99), Error::<Test>::NoSuchJob);
        let task = run(TASK);
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), task),
            Error::<Test>::TaskRunning
        );
    });
    ExtBuilder::default().build_and_execute(|| {
        let task = finish_task();
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), task),
            Error::<Test>::TaskRunning
        );
    });
}

#[test]
fn closing_forgets_the_manifest() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(SERVICE);
        order.slots = 1;
        let manifest = note_manifest_by(CONSUMER, b"{}");
        order.manifest = Manifest::Public(manifest);
        let hash = manifest.hash;
        let jobs = [deploy_order(order.clone()), deploy_order(order)];

        // The consumer may have the deposit back, but the bytes stay as long as a job needs them, which holds
        // one of its own.
        assert_ok!(Preimage::unnote_preimage(signed(CONSUMER), hash));
        assert_eq!(
            deposit_of(CONSUMER),
            2 * JobEscrow::deposit_for(1, MILLIS_PER_HOUR, false, 2)
        );
        assert_eq!(
            JobEscrow::deposit_for(1, MILLIS_PER_HOUR, false, 2)
                - JobEscrow::deposit_for(1, MILLIS_PER_HOUR, false, 0),
            2 * MANIFEST_BYTE_DEPOSIT
        );
        assert_ok!(JobEscrow::close(signed(CONSUMER), jobs[0]));
        assert_eq!(<Preimage as QueryPreimage>::len(&hash), Some(2));
        assert_ok!(JobEscrow::close(signed(CONSUMER), jobs[1]));
        assert_eq!(<Preimage as QueryPreimage>::len(&hash), None);
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn closing_touches_no_other_job() {
    ExtBuilder::default().build_and_execute(|| {
        let (first, second) = (run(SERVICE), run(SERVICE));
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::close(signed(CONSUMER), first));
        assert_eq!(free_slots(MACHINE), SLOTS - 2);
        assert_eq!(part(second, MACHINE).escrowed, 2 * ASY);
        assert_eq!(escrow_of(CONSUMER), 3 * ASY);
    });
}

#[test]
fn top_up_extends_a_run_and_holds_its_price() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        advance(MILLIS_PER_HOUR / 2);
        take_events();
        assert_ok!(JobEscrow::top_up(signed(CONSUMER), job, 9 * MILLIS_PER_HOUR));
        // Ten hours and the two that a run may touch besides take three calls of four epochs; one hour takes
        // none.
        assert_eq!(
            take_events(),
            vec![Event::JobExtended {
                job,
                additional_ms: 9 * MILLIS_PER_HOUR,
                escrowed: 18 * ASY,
                deposit: 3 * BOUNTY
            }]
        );
        assert_eq!(escrow_of(CONSUMER), 20 * ASY);
        assert_eq!(deposit_of(CONSUMER), deposit_for(1, 10 * MILLIS_PER_HOUR, false));
        advance(9 * MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire(signed(PROVIDER), job, MACHINE),
            Error::<Test>::TooEarly
        );
        advance(MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::expire(signed(PROVIDER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT - 20 * ASY);
    });
}

#[test]
fn top_up_keeps_each_machine_s_price() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        for (machine, ..) in ALL {
            Machines::mutate(machine, |machine| machine.as_mut().unwrap().ask = ASK / 10);
        }
        let job = request(SERVICE, 3);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 1), job, 8));
        let before = escrow_of(CONSUMER);
        assert_ok!(JobEscrow::top_up(signed(CONSUMER), job, MILLIS_PER_HOUR));
        // The one that runs costs a tenth; the others may still be replaced by dearer ones.
        assert_eq!(escrow_of(CONSUMER) - before, 2 * ASY / 10 + 2 * 2 * ASY);
        assert_ok!(JobEscrow::start(signed(WORKER + 1), job));
        assert_eq!(part(job, 8).escrowed, 4 * ASY / 10);
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 2), job, 9));
        assert_eq!(part(job, 9).max_duration_ms, 2 * MILLIS_PER_HOUR);
    });
}

#[test]
fn top_up_fails_when_there_is_nothing_to_extend() {
    ExtBuilder::default().build_and_execute(|| {
        let top_up = |who, job, by| {
            JobEscrow::top_up(signed(who), job, by)
                .map(|_| ())
                .map_err(|error| error.error)
        };
        let job = run(SERVICE);
        assert_noop!(top_up(PROVIDER, job, 1), Error::<Test>::NotConsumer);
        assert_noop!(top_up(CONSUMER, 99, 1), Error::<Test>::NoSuchJob);
        for by in [0, MAX_DURATION_MS, u64::MAX] {
            assert_noop!(top_up(CONSUMER, job, by), Error::<Test>::BadDuration);
        }
        assert_noop!(
            top_up(CONSUMER, job, 8_000 * MILLIS_PER_HOUR),
            TokenError::FundsUnavailable
        );
        // Time that the machine did not run cannot be made up for.
        advance(MILLIS_PER_HOUR + 1);
        assert_noop!(top_up(CONSUMER, job, 1), Error::<Test>::TooLate);
    });
}
