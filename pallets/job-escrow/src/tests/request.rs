//! `request` and what becomes of open places.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    machine::LeaseEnd,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
};

use crate::{AuctionTerms, DeclineReason, Error, Event, JobId, Manifest, Outcome, mock::*};

/// Requests a service with a sealed manifest.
fn request_sealed() -> JobId {
    let job = crate::NextJobId::<Test>::get();
    let mut sealed = order(SERVICE);
    sealed.manifest = Manifest::Sealed {
        hash: H256::repeat_byte(3),
    };
    assert_ok!(JobEscrow::request(signed(CONSUMER), sealed, 1, auction()));
    job
}

#[test]
fn request_holds_the_most_it_can_cost() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(SERVICE);
        take_events();
        assert_ok!(JobEscrow::request(signed(CONSUMER), order, 3, auction()));
        let deposit = deposit_for(3, MILLIS_PER_HOUR, true);
        assert_eq!(
            take_events(),
            vec![Event::JobOrdered {
                job: 0,
                consumer: CONSUMER,
                kind: SERVICE,
                nodes: 3,
                slots: 2,
                escrowed: 6 * ASY,
                deposit,
                closes_at_ms: Some(NowMs::get() + 2 * MILLIS_PER_HOUR),
            }]
        );
        assert_eq!(escrow_of(CONSUMER), 6 * ASY);
        assert_eq!(deposit_of(CONSUMER), deposit);
        assert_eq!(job_record(0).open_places, 3);
    });
}

#[test]
fn the_price_rises_linearly_from_the_floor_to_the_maximum() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 1);
        let offered: Vec<_> = (0..=10)
            .map(|_| {
                let offered = JobEscrow::offered_price(job);
                advance(MILLIS_PER_HOUR / 4);
                offered
            })
            .collect();
        let expected = [100, 325, 550, 775, 1_000, 1_000, 1_000, 1_000, 1_000];
        let expected: Vec<Option<Balance>> = expected
            .into_iter()
            .map(|price| Some(price * ASK / 1_000))
            .chain([None, None])
            .collect();
        assert_eq!(offered, expected);
        // Rounded down.
        let third = crate::Auction {
            terms: AuctionTerms {
                floor_price_per_slot_hour: 1,
                rise_ms: 3,
                open_ms: 3,
            },
            opened_at_ms: 0,
            rising_since_ms: 0,
        };
        assert_eq!(
            (0..4).map(|now_ms| third.price_at(now_ms, 3)).collect::<Vec<_>>(),
            [1, 1, 2, 3]
        );
    });
}

#[test]
fn request_fails_when_the_auction_is_malformed() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(SERVICE);
        let request = |nodes, auction| JobEscrow::request(signed(CONSUMER), order.clone(), nodes, auction);
        for nodes in [0, 65] {
            assert_noop!(request(nodes, auction()), Error::<Test>::BadNodes);
        }
        for (rise_ms, open_ms) in [(0, 0), (2, 1), (0, MAX_OPEN_MS + 1)] {
            let bad = AuctionTerms {
                rise_ms,
                open_ms,
                ..auction()
            };
            assert_noop!(request(1, bad), Error::<Test>::BadOpenTime);
        }
        let bad = AuctionTerms {
            floor_price_per_slot_hour: ASK + 1,
            ..auction()
        };
        assert_noop!(request(1, bad), Error::<Test>::FloorAboveMaximum);
    });
}

#[test]
fn accept_request_fixes_the_price_of_the_moment() {
    ExtBuilder::default().build_and_execute(|| {
        // What a machine asks elsewhere is its own affair.
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 100 * ASK);
        let job = request(SERVICE, 1);
        advance(MILLIS_PER_HOUR / 2);
        take_events();
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        let price = ASK * 55 / 100;
        assert_eq!(
            take_events(),
            vec![Event::MachineAssigned {
                job,
                machine: MACHINE,
                provider: PROVIDER,
                price_per_slot_hour: price,
                start_deadline_ms: NowMs::get() + START_WINDOW_MS,
            }]
        );
        assert_eq!(free_slots(MACHINE), SLOTS - 2);
        assert_eq!(job_record(job).open_places, 0);
        assert_eq!(JobEscrow::offered_price(job), None);
        // Held until it starts, because its place may need another machine.
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);
        advance(START_WINDOW_MS);
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        assert_eq!(escrow_of(CONSUMER), 2 * price);
        assert_eq!(part(job, MACHINE).escrowed, 2 * price);
    });
}

#[test]
fn accept_request_fails_when_the_machine_may_not_have_it() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let accept = |who, job, machine| JobEscrow::accept_request(signed(who), job, machine).map(|_| ());
        let job = request(SERVICE, 2);
        for who in [STRANGER, CONSUMER, WORKER + 1, PROVIDER + 1] {
            assert_noop!(accept(who, job, MACHINE), Error::<Test>::NotProvider);
        }
        assert_noop!(accept(WORKER, job, 99), Error::<Test>::NotProvider);
        assert_noop!(accept(WORKER, 99, MACHINE), Error::<Test>::NoSuchJob);
        assert_ok!(accept(PROVIDER, job, MACHINE));
        assert_noop!(accept(WORKER, job, MACHINE), Error::<Test>::AlreadyAssigned);

        Machines::mutate(8, |machine| machine.as_mut().unwrap().free_slots = 1);
        assert_noop!(accept(WORKER + 1, job, 8), Error::<Test>::NotEligible);
        assert_ok!(accept(WORKER + 2, job, 9));
        Machines::mutate(8, |machine| machine.as_mut().unwrap().free_slots = SLOTS);
        assert_noop!(accept(WORKER + 1, job, 8), Error::<Test>::NoOpenPlace);
    });
}

#[test]
fn accept_request_checks_the_requirements() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(SERVICE);
        order.requirements.min_ram_mib = RAM_MIB + 1;
        assert_ok!(JobEscrow::request(signed(CONSUMER), order, 1, auction()));
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER), 0, MACHINE),
            Error::<Test>::NotEligible
        );
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ram_mib += 1);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), 0, MACHINE));
    });
}

#[test]
fn accept_request_fails_when_it_is_too_late() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(SERVICE, 2);
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        advance(1);
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER + 1), job, 8),
            Error::<Test>::TooLate
        );
    });
}

#[test]
fn accept_request_wants_distinct_providers_for_a_quorum() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        Machines::mutate(8, |machine| machine.as_mut().unwrap().provider = PROVIDER);
        let job = request(QUORUM, 3);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER + 1), job, 8),
            Error::<Test>::ProviderNotDistinct
        );
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 2), job, 9));
        // A service may have both.
        let job = request(SERVICE, 2);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 1), job, 8));
    });
}

#[test]
fn an_order_that_nobody_takes_returns_everything() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 3);
        advance(2 * MILLIS_PER_HOUR);
        assert_noop!(
            JobEscrow::expire_request(signed(STRANGER), job),
            Error::<Test>::TooEarly
        );
        advance(1);
        take_events();
        assert_ok!(JobEscrow::expire_request(signed(STRANGER), job));
        assert_eq!(
            take_events(),
            vec![
                Event::PlacesCancelled { job, places: 3 },
                Event::EscrowReturned { job, amount: 6 * ASY },
                Event::BountyPaid {
                    job,
                    recipient: STRANGER,
                    amount: BOUNTY
                },
                Event::JobClosed {
                    job,
                    paid: 0,
                    deposit_returned: deposit_for(3, MILLIS_PER_HOUR, true) - BOUNTY
                },
            ]
        );
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - BOUNTY);
        assert_eq!(free(STRANGER), ENDOWMENT + BOUNTY);

        // The consumer does it itself for nothing.
        let job = request(SERVICE, 3);
        advance(2 * MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire_request(signed(CONSUMER), job));
        assert_eq!(free(CONSUMER), ENDOWMENT - BOUNTY);
    });
}

#[test]
fn expire_request_fails_when_no_place_is_open() {
    ExtBuilder::default().build_and_execute(|| {
        let deployed = deploy(SERVICE);
        let taken = request(SERVICE, 1);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), taken, MACHINE));
        advance(3 * MILLIS_PER_HOUR);
        for (job, error) in [
            (deployed, Error::<Test>::NoOpenPlace),
            (taken, Error::NoOpenPlace),
            (99, Error::NoSuchJob),
        ] {
            assert_noop!(JobEscrow::expire_request(signed(STRANGER), job), error);
        }
    });
}

#[test]
fn a_silent_machine_is_replaced_at_the_price_at_which_it_took_the_place() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(SERVICE, 1);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        advance(START_WINDOW_MS);
        assert_noop!(
            JobEscrow::expire(signed(STRANGER), job, MACHINE),
            Error::<Test>::TooEarly
        );
        advance(1);
        take_events();
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert_eq!(
            take_events(),
            vec![Event::PlaceReopened {
                job,
                machine: MACHINE,
                outcome: Outcome::NotStarted
            }]
        );
        assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::NotStarted));
        assert_eq!(failures_of(MACHINE), 1);
        assert_eq!(free_slots(MACHINE), SLOTS);
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);

        // It does not get the place again; another machine takes it, at a price that goes on from there.
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER), job, MACHINE),
            Error::<Test>::GaveItBack
        );
        advance(MINUTE_MS);
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 1), job, 8));
        assert_eq!(part(job, 8).price_per_slot_hour, ASK / 10 + ASK * 9 / 10 / 60);
        assert_ok!(JobEscrow::start(signed(WORKER + 1), job));
    });
}

#[test]
fn a_silent_machine_s_place_is_closed_when_the_order_is_not_open_any_more() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 1);
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        advance(START_WINDOW_MS + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - BOUNTY);
        assert_eq!(free(STRANGER), ENDOWMENT + BOUNTY);
    });
}

#[test]
fn who_takes_part_earns_no_bounty_by_its_own_silence() {
    ExtBuilder::default().build_and_execute(|| {
        let job = deploy(SERVICE);
        advance(START_WINDOW_MS + 1);
        assert_ok!(JobEscrow::expire(signed(PROVIDER), job, MACHINE));
        assert_eq!(free(PROVIDER), ENDOWMENT);
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn declining_opens_the_place_at_once_and_costs_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        for who in [WORKER, PROVIDER] {
            let job = request(SERVICE, 1);
            assert_ok!(JobEscrow::accept_request(signed(who), job, MACHINE));
            take_events();
            let info = JobEscrow::decline(signed(who), job, MACHINE, DeclineReason::CannotRun).unwrap();
            assert_eq!(info.pays_fee, polkadot_sdk::frame_support::dispatch::Pays::No);
            assert_eq!(
                take_events(),
                vec![Event::PlaceReopened {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::Declined
                }]
            );
            assert_eq!(job_record(job).open_places, 1);
        }

        // Where the consumer chose the machine, its part goes back.
        let job = deploy(SERVICE);
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::CannotRun
        ));
        assert!(is_gone(job));
        assert_eq!(failures_of(MACHINE), 0);
    });
}

#[test]
fn holding_a_place_makes_no_place_dearer() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(SERVICE, 1);
        advance(6 * MINUTE_MS);
        let taken_at = ASK / 10 + ASK * 9 / 100;
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_eq!(part(job, MACHINE).price_per_slot_hour, taken_at);
        // Kept for nearly as long as it may, while the price of a place that is open would rise.
        advance(START_WINDOW_MS);
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::CannotRun
        ));
        assert_noop!(
            JobEscrow::accept_request(signed(WORKER), job, MACHINE),
            Error::<Test>::GaveItBack
        );
        // Nor is it dearer for another machine of the same owner.
        assert_eq!(JobEscrow::offered_price(job), Some(taken_at));
        assert_ok!(JobEscrow::accept_request(signed(WORKER + 1), job, 8));
        assert_eq!(part(job, 8).price_per_slot_hour, taken_at);
    });
}

#[test]
fn an_auction_remembers_so_many_machines_and_its_price_needs_no_more() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 1);
        for index in 0..u64::from(crate::types::MAX_REFUSALS) + 4 {
            let (machine, worker) = (100 + index, 1_000 + index);
            add_machine(machine, PROVIDER, worker, SLOTS, ASK / 10);
            assert_ok!(JobEscrow::accept_request(signed(PROVIDER), job, machine));
            assert_eq!(part(job, machine).price_per_slot_hour, ASK / 10);
            advance(MINUTE_MS);
            assert_ok!(JobEscrow::decline(
                signed(PROVIDER),
                job,
                machine,
                DeclineReason::CannotRun
            ));
        }
        assert_eq!(
            crate::Refusals::<Test>::get(job).len() as u32,
            crate::types::MAX_REFUSALS
        );
        assert_eq!(JobEscrow::offered_price(job), Some(ASK / 10));
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        assert!(crate::Refusals::<Test>::get(job).is_empty());
    });
}

#[test]
fn a_machine_that_was_held_up_by_a_slow_image_gains_nothing_and_its_consumer_pays() {
    ExtBuilder::default().build_and_execute(|| {
        // A look at the image is free.
        let job = deploy(SERVICE);
        advance(START_WINDOW_MS / 5);
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::CannotRun
        ));
        assert_eq!(free(CONSUMER), ENDOWMENT);
        // Pulling it in vain for the rest of the window is not.
        let job = deploy(SERVICE);
        advance(START_WINDOW_MS);
        take_events();
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::CannotRun
        ));
        let reserved = 2 * ASY * 8 / 60;
        assert_eq!(
            take_events()[0],
            Event::EarningsForfeited {
                job,
                machine: MACHINE,
                amount: reserved
            }
        );
        assert_eq!(free(CONSUMER), ENDOWMENT - reserved);
        assert_eq!(free(TREASURY), ASY + reserved);
        assert_eq!(free(PROVIDER), ENDOWMENT);
    });
}

#[test]
fn an_undelivered_manifest_costs_its_consumer_a_bounty_that_no_machine_gains() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request_sealed();
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::NotDelivered
        ));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - BOUNTY);
        assert_eq!(free(TREASURY), ASY + BOUNTY);
        assert_eq!((free(WORKER), free(PROVIDER)), (ENDOWMENT, ENDOWMENT));
    });
}

#[test]
fn silence_is_counted_for_a_sealed_manifest_too() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request_sealed();
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        advance(START_WINDOW_MS + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::NotStarted));
    });
}

#[test]
fn decline_fails_when_it_is_not_the_machine_s_to_decline() {
    ExtBuilder::default().build_and_execute(|| {
        let decline = |who, job, reason| JobEscrow::decline(signed(who), job, MACHINE, reason).map(|_| ());
        let job = deploy(SERVICE);
        for who in [CONSUMER, STRANGER] {
            assert_noop!(
                decline(who, job, DeclineReason::CannotRun),
                Error::<Test>::NotProvider
            );
        }
        assert_noop!(
            decline(WORKER, job, DeclineReason::NotDelivered),
            Error::<Test>::ManifestIsPublic
        );
        assert_noop!(
            decline(WORKER, 99, DeclineReason::CannotRun),
            Error::<Test>::NoSuchJob
        );
        advance(START_WINDOW_MS + 1);
        assert_noop!(
            decline(WORKER, job, DeclineReason::CannotRun),
            Error::<Test>::TooLate
        );
        let job = run(SERVICE);
        assert_noop!(
            decline(WORKER, job, DeclineReason::CannotRun),
            Error::<Test>::WrongState
        );
    });
}

#[test]
fn a_standstill_raises_no_price_and_expires_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 1);
        let deployed = deploy(SERVICE);
        System::set_block_number(1_000_000);
        assert_eq!(JobEscrow::offered_price(job), Some(ASK / 10));
        assert_noop!(
            JobEscrow::expire_request(signed(STRANGER), job),
            Error::<Test>::TooEarly
        );
        assert_noop!(
            JobEscrow::expire(signed(STRANGER), deployed, MACHINE),
            Error::<Test>::TooEarly
        );
    });
}
