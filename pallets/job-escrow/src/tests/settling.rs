//! `settle`: epochs are judged once they are closed, and paid.

use assay_primitives::{
    clock::{EpochIndex, MILLIS_PER_HOUR},
    money::{ASY, Balance, MILLI_ASY},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{AssignmentState, Error, Event, JobId, JobOrder, Outcome, mock::*};

/// The epoch that tests start in, at its first moment.
const FIRST: EpochIndex = 100;

/// A service of so many hours: 2 ASY each.
fn hours(hours: u64) -> JobOrder {
    let mut order = order(SERVICE);
    order.max_duration_ms = hours * MILLIS_PER_HOUR;
    order
}

fn settle(job: JobId) -> polkadot_sdk::sp_runtime::DispatchResult {
    JobEscrow::settle(signed(STRANGER), job, MACHINE)
        .map(|_| ())
        .map_err(|error| error.error)
}

#[test]
fn settle_pays_closed_epochs_but_for_the_hold_back() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        // An epoch that has ended may still be reported on.
        advance(MILLIS_PER_HOUR * 2 - 1);
        assert_eq!(JobEscrow::amount_due(job, MACHINE), Some(0));
        assert_noop!(settle(job), Error::<Test>::NothingDue);

        advance(1);
        let due = 2 * ASY * 9 / 10;
        assert_eq!(JobEscrow::amount_due(job, MACHINE), Some(due));
        take_events();
        assert_ok!(settle(job));
        assert_eq!(
            take_events(),
            vec![Event::PaymentSettled {
                job,
                machine: MACHINE,
                provider_amount: due * 95 / 100,
                fee: due * 5 / 100,
                burned: due * 5 / 200,
            }]
        );
        let record = part(job, MACHINE);
        assert_eq!(
            (record.earned, record.paid, record.escrowed),
            (2 * ASY, due, 8 * ASY - due)
        );
        assert_eq!(
            record.state,
            AssignmentState::Running {
                started_at_ms: 100 * MILLIS_PER_HOUR,
                judged_until_ms: 101 * MILLIS_PER_HOUR,
            }
        );
        assert_eq!(free(PROVIDER), ENDOWMENT + net(due));
        assert_eq!(job_record(job).paid, due);
        // Streaming pays its provider, and needs no bounty.
        assert_eq!(free(STRANGER), ENDOWMENT);
    });
}

#[test]
fn settling_twice_pays_once() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(settle(job));
        for _ in 0..3 {
            assert_noop!(settle(job), Error::<Test>::NothingDue);
            advance(MILLIS_PER_HOUR / 4);
        }
        advance(MILLIS_PER_HOUR / 4);
        assert_ok!(settle(job));
        assert_noop!(settle(job), Error::<Test>::NothingDue);
        assert_eq!(job_record(job).paid, 4 * ASY * 9 / 10);
    });
}

#[test]
fn an_epoch_in_which_the_machine_was_seen_down_is_not_paid() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        // Another machine's outage, and one before the job, are nobody's business here.
        Outages::set(&vec![
            (MACHINE, FIRST + 1, 0),
            (MACHINE, FIRST + 2, 250_000),
            (MACHINE + 1, FIRST, 0),
            (MACHINE, FIRST - 1, 0),
        ]);
        advance(3 * MILLIS_PER_HOUR);
        assert_ok!(settle(job));
        assert_eq!(part(job, MACHINE).earned, 2 * ASY, "nothing for the second epoch");
        advance(MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        // One whole, none, a quarter, one whole.
        let paid = 2 * ASY + ASY / 2 + 2 * ASY;
        assert_eq!(free(PROVIDER), ENDOWMENT + paid - paid * 5 / 100);
        assert_eq!(wealth(CONSUMER), ENDOWMENT - paid);
        assert!(is_gone(job));
    });
}

#[test]
fn an_epoch_is_judged_by_what_is_final_and_not_before() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        advance(MILLIS_PER_HOUR + MINUTE_MS);
        assert_noop!(settle(job), Error::<Test>::NothingDue);
        // The report comes late, and still in time.
        Outages::set(&vec![(MACHINE, FIRST, 0)]);
        advance(MILLIS_PER_HOUR);
        // Judged, though nothing is paid for it.
        assert_ok!(settle(job));
        assert_eq!((part(job, MACHINE).earned, free(PROVIDER)), (0, ENDOWMENT));
        assert_noop!(settle(job), Error::<Test>::NothingDue);
    });
}

#[test]
fn closing_at_the_last_moment_does_not_avoid_the_hold_back() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        advance(4 * MILLIS_PER_HOUR - 1);
        assert_ok!(settle(job));
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        // All but the last millisecond of four hours.
        let worth = 2 * ASY * Balance::from(4 * MILLIS_PER_HOUR - 1) / Balance::from(MILLIS_PER_HOUR);
        assert_eq!(wealth(CONSUMER), ENDOWMENT - worth);
        assert!(free(PROVIDER) >= ENDOWMENT + worth * 95 / 100);
    });
}

#[test]
fn what_is_not_closed_stays_held_when_a_job_ends() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        advance(MILLIS_PER_HOUR * 5 / 2);
        take_events();
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        // The unused time goes back at once, and the slots too.
        assert_eq!(
            take_events(),
            vec![
                Event::EscrowReturned { job, amount: 3 * ASY },
                Event::AssignmentEnded {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::ClosedByConsumer,
                    ended_at_ms: NowMs::get()
                },
            ]
        );
        assert_eq!(escrow_of(CONSUMER), 5 * ASY);
        assert_eq!(free_slots(MACHINE), SLOTS);

        // One epoch is closed: it is paid but for the hold-back, until the last one is judged.
        assert_ok!(settle(job));
        assert_eq!(escrow_of(CONSUMER), 3 * ASY + ASY / 5);
        assert_noop!(settle(job), Error::<Test>::NothingDue);
        Outages::set(&vec![(MACHINE, FIRST + 2, 0)]);
        advance(3 * MILLIS_PER_HOUR);
        take_events();
        assert_ok!(settle(job));
        let deposit_returned = deposit_for(1, 4 * MILLIS_PER_HOUR, false) - BOUNTY;
        assert_eq!(
            take_events(),
            vec![
                Event::PaymentSettled {
                    job,
                    machine: MACHINE,
                    provider_amount: 1_800 * MILLI_ASY * 95 / 100,
                    fee: 1_800 * MILLI_ASY * 5 / 100,
                    burned: 1_800 * MILLI_ASY * 5 / 200,
                },
                // It was seen down in the epoch in which it ended: the hold-back is lost, and not to the
                // consumer.
                Event::EarningsForfeited {
                    job,
                    machine: MACHINE,
                    amount: 400 * MILLI_ASY
                },
                Event::EscrowReturned { job, amount: ASY },
                Event::AssignmentClosed {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::WentDown,
                    paid: 3_600 * MILLI_ASY
                },
                Event::BountyPaid {
                    job,
                    recipient: STRANGER,
                    amount: BOUNTY
                },
                Event::JobClosed {
                    job,
                    paid: 3_600 * MILLI_ASY,
                    deposit_returned
                },
            ]
        );
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - 4 * ASY - BOUNTY);
        assert_noop!(settle(job), Error::<Test>::NoSuchJob);
    });
}

#[test]
fn a_call_judges_so_many_epochs_and_is_paid_for_that() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(10));
        advance(12 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::expire(signed(CONSUMER), job, MACHINE));
        let mut earned = Vec::new();
        for _ in 0..3 {
            assert!(!is_gone(job));
            assert_ok!(settle(job));
            earned.push(free(STRANGER) - ENDOWMENT);
        }
        assert!(is_gone(job));
        // Four epochs, four epochs, and the last two.
        assert_eq!(earned, [BOUNTY, 2 * BOUNTY, 3 * BOUNTY]);
        assert_eq!(free(CONSUMER), ENDOWMENT - 20 * ASY - 3 * BOUNTY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(20 * ASY));
    });
}

#[test]
fn those_who_take_part_earn_no_bounty() {
    ExtBuilder::default().build_and_execute(|| {
        for who in [PROVIDER, WORKER, CONSUMER] {
            let (consumer, provider) = (wealth(CONSUMER), wealth(PROVIDER));
            let job = run_order(hours(1));
            advance(3 * MILLIS_PER_HOUR + 1);
            assert_ok!(JobEscrow::expire(signed(who), job, MACHINE));
            while !is_gone(job) {
                assert_ok!(JobEscrow::settle(signed(who), job, MACHINE));
            }
            assert_eq!(wealth(CONSUMER), consumer - 2 * ASY);
            assert_eq!(wealth(PROVIDER), provider + net(2 * ASY));
            assert_eq!(wealth(WORKER), ENDOWMENT);
        }
    });
}

#[test]
fn bounties_never_run_out() {
    ExtBuilder::default().build_and_execute(|| {
        // The most calls that strangers can be paid for: as many epochs as a run can touch, and each end.
        for hours_of_run in [1, 2, 5, 6, 7, 40] {
            advance(MILLIS_PER_HOUR / 2);
            let before = free(STRANGER);
            let job = run_order(hours(hours_of_run));
            let mut calls = 0;
            while !is_gone(job) {
                advance(MAX_EPOCHS_PER_SETTLE as u64 * MILLIS_PER_HOUR);
                let _ = JobEscrow::expire(signed(STRANGER), job, MACHINE);
                let _ = settle(job);
                calls += 1;
                assert!(calls < 100);
            }
            let bounties = (free(STRANGER) - before) / BOUNTY;
            let held =
                (deposit_for(1, hours_of_run * MILLIS_PER_HOUR, false) - JOB_DEPOSIT - ASSIGNMENT_DEPOSIT)
                    / BOUNTY;
            assert!(bounties >= 2, "the end and the last payment are paid for");
            assert!(bounties <= held, "{bounties} bounties of {held}");
        }
    });
}

#[test]
fn parts_of_epochs_add_up_to_the_whole() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 1_000_003);
        advance(MILLIS_PER_HOUR / 3);
        let job = run_order(hours(5));
        for _ in 0..9 {
            advance(MILLIS_PER_HOUR);
            let _ = settle(job);
        }
        assert_ok!(JobEscrow::expire(signed(PROVIDER), job, MACHINE));
        let _ = settle(job);
        assert!(is_gone(job));
        assert_eq!(wealth(CONSUMER), ENDOWMENT - 10 * 1_000_003 - BOUNTY);
    });
}

#[test]
fn a_stream_waits_for_a_dead_provider_and_the_end_does_not() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| {
            machine.as_mut().unwrap().ask = EXISTENTIAL_DEPOSIT / 4
        });
        let job = run_order(hours(4));
        kill(PROVIDER);
        advance(2 * MILLIS_PER_HOUR);
        // Half of the existential deposit cannot be received: judged, and not paid yet.
        assert_ok!(settle(job));
        assert_eq!(part(job, MACHINE).earned, EXISTENTIAL_DEPOSIT / 2);
        assert_eq!(part(job, MACHINE).paid, 0);
        assert_noop!(settle(job), Error::<Test>::NothingDue);
        advance(3 * MILLIS_PER_HOUR);
        assert_ok!(settle(job));
        assert_eq!(
            part(job, MACHINE).paid,
            EXISTENTIAL_DEPOSIT * 3 / 2 * 9 / 10,
            "enough came together"
        );
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert_ok!(settle(job));
        assert!(is_gone(job));
    });
}

#[test]
fn a_chain_that_stands_still_charges_nobody() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        System::set_block_number(1_000_000);
        assert_noop!(settle(job), Error::<Test>::NothingDue);
        assert_noop!(
            JobEscrow::expire(signed(STRANGER), job, MACHINE),
            Error::<Test>::TooEarly
        );
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn settle_fails_when_nothing_is_owed() {
    ExtBuilder::default().build_and_execute(|| {
        for job in [deploy(SERVICE), run(TASK)] {
            assert_noop!(settle(job), Error::<Test>::WrongState);
        }
        assert_noop!(settle(99), Error::<Test>::NoSuchJob);
        assert_noop!(
            JobEscrow::settle(signed(STRANGER), 0, 8),
            Error::<Test>::NoSuchAssignment
        );
        assert_eq!(JobEscrow::amount_due(99, MACHINE), None);
    });
}

#[test]
fn a_provider_that_switches_off_loses_its_hold_back_like_one_that_gives_up() {
    let gains = |leave: fn(JobId), outage: Option<EpochIndex>| {
        let mut gained = 0;
        ExtBuilder::default().build_and_execute(|| {
            let job = run_order(hours(8));
            advance(3 * MILLIS_PER_HOUR + MILLIS_PER_HOUR / 2);
            if let Some(epoch) = outage {
                Outages::set(&(epoch..epoch + 8).map(|epoch| (MACHINE, epoch, 0)).collect());
            }
            leave(job);
            settle_all(job, MACHINE);
            gained = free(PROVIDER) - ENDOWMENT;
        });
        gained
    };
    let gives_up = gains(
        |job| {
            assert_ok!(JobEscrow::abandon(signed(WORKER), job, MACHINE));
        },
        None,
    );
    // Its consumer closes when it notices, or nobody does until the time is over.
    let off_and_closed = gains(
        |job| {
            advance(MILLIS_PER_HOUR);
            assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        },
        Some(FIRST + 3),
    );
    let off_for_good = gains(
        |job| {
            for _ in 0..8 {
                advance(MILLIS_PER_HOUR);
                let _ = settle(job);
            }
            assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        },
        Some(FIRST + 3),
    );
    assert_eq!(off_and_closed, off_for_good);
    // Three epochs and a half against three: what was not seen is not paid, and a tenth of the rest is lost
    // by either.
    let net = |amount: Balance| amount * 95 / 100;
    assert_eq!(gives_up, net(7 * ASY * 9 / 10));
    assert_eq!(
        off_for_good,
        net(6 * ASY * 9 / 10),
        "silence is no cheaper than honesty"
    );
}

#[test]
fn an_outage_in_the_middle_costs_no_hold_back() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(4));
        Outages::set(&vec![(MACHINE, FIRST + 1, 0)]);
        advance(4 * MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(6 * ASY));
    });
}

#[test]
fn no_more_than_a_day_s_pay_is_held_back() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_order(hours(1_000));
        advance(300 * MILLIS_PER_HOUR);
        while settle(job).is_ok() {}
        let record = part(job, MACHINE);
        // A tenth of 299 hours would be more than 24 of them.
        assert_eq!(record.earned - record.paid, 2 * 24 * ASY);
    });
}
