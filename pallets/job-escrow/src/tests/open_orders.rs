//! The list of open orders that a machine can take.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    job::{MAX_ORDERS_LOOKED_AT, MAX_PAGE_ORDERS, OpenOrder},
    machine::MachineId,
    market::Requirements,
};
use polkadot_sdk::{
    frame_support::{assert_ok, traits::fungible::Mutate},
    sp_core::H256,
};

use crate::{DeclineReason, JobId, JobOrder, Manifest, mock::*};

const NOTHING: [JobId; 0] = [];
const NO_ORDERS: [OpenOrder; 0] = [];

fn listed(machine: MachineId) -> Vec<JobId> {
    let page = JobEscrow::open_orders(machine, None, MAX_PAGE_ORDERS);
    assert_eq!(page.next, None);
    let mut jobs: Vec<_> = page.orders.iter().map(|order| order.job).collect();
    jobs.sort_unstable();
    jobs
}

fn request_order(order: JobOrder) -> JobId {
    let job = crate::NextJobId::<Test>::get();
    assert_ok!(JobEscrow::request(signed(CONSUMER), order, 1, auction()));
    job
}

#[test]
fn order_is_listed_from_the_machine_s_ask_on_and_as_long_as_it_can_be_taken() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(SERVICE, 1);
        assert_eq!(listed(MACHINE), NOTHING, "a tenth of the ask is offered");
        advance(MILLIS_PER_HOUR - 1);
        assert_eq!(listed(MACHINE), NOTHING, "not quite the ask");
        advance(1);
        let page = JobEscrow::open_orders(MACHINE, None, 1);
        assert_eq!(
            page.orders,
            [OpenOrder {
                job,
                price_per_slot_hour: ASK,
                slots: 2,
                max_duration_ms: MILLIS_PER_HOUR,
                closes_at_ms: NowMs::get() + MILLIS_PER_HOUR,
                is_sealed: false,
            }]
        );
        // What is listed can be had.
        advance(MILLIS_PER_HOUR);
        assert_eq!(listed(MACHINE), [job]);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_eq!(listed(MACHINE), NOTHING, "it has no open place");
    });
}

#[test]
fn order_is_not_listed_when_it_is_closed() {
    ExtBuilder::default().build_and_execute(|| {
        request(SERVICE, 1);
        advance(2 * MILLIS_PER_HOUR);
        assert_eq!(listed(MACHINE).len(), 1);
        advance(1);
        assert_eq!(listed(MACHINE), NOTHING);
    });
}

#[test]
fn order_is_listed_for_machines_that_meet_it() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let requirements = Requirements {
            min_ram_mib: RAM_MIB + 1,
            ..Requirements::default()
        };
        let too_much = request_order(JobOrder {
            requirements,
            ..order(SERVICE)
        });
        let any = request(SERVICE, 2);
        advance(MILLIS_PER_HOUR);
        assert_eq!(listed(MACHINE), [any]);
        Machines::mutate(OTHERS[0].0, |record| record.as_mut().unwrap().ram_mib += 1);
        assert_eq!(listed(OTHERS[0].0), [too_much, any]);
        // Not for one that is not there, is not active, has no room, or has the job.
        assert_eq!(listed(99), NOTHING);
        Machines::mutate(OTHERS[0].0, |record| record.as_mut().unwrap().active = false);
        assert_eq!(listed(OTHERS[0].0), NOTHING);
        Machines::mutate(OTHERS[1].0, |record| record.as_mut().unwrap().free_slots = 1);
        assert_eq!(listed(OTHERS[1].0), NOTHING);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), any, MACHINE));
        assert_eq!(listed(MACHINE), NOTHING);
        // One that gave it back does not get it again.
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            any,
            MACHINE,
            DeclineReason::CannotRun
        ));
        assert_eq!(listed(MACHINE), NOTHING);
    });
}

#[test]
fn quorum_is_listed_for_other_providers_only() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        add_machine(12, PROVIDER, WORKER + 5, SLOTS, ASK);
        let job = request(QUORUM, 3);
        advance(MILLIS_PER_HOUR);
        assert_eq!(listed(12), [job]);
        assert_ok!(JobEscrow::accept_request(signed(WORKER), job, MACHINE));
        assert_eq!(listed(12), NOTHING, "its provider has a replica");
        assert_eq!(listed(OTHERS[0].0), [job]);
    });
}

#[test]
fn sealed_order_says_so() {
    ExtBuilder::default().build_and_execute(|| {
        request_order(JobOrder {
            manifest: Manifest::Sealed {
                hash: H256::repeat_byte(3),
            },
            ..order(SERVICE)
        });
        advance(MILLIS_PER_HOUR);
        assert!(JobEscrow::open_orders(MACHINE, None, 1).orders[0].is_sealed);
    });
}

#[test]
fn pages_are_bounded_and_show_every_order_once() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(<Balances as Mutate<AccountId>>::mint_into(
            &CONSUMER,
            100 * ENDOWMENT
        ));
        let orders = MAX_ORDERS_LOOKED_AT + 20;
        for _ in 0..orders {
            request(SERVICE, 1);
        }
        // Nothing can be taken yet, and no more is looked at than may be.
        let page = JobEscrow::open_orders(MACHINE, None, MAX_PAGE_ORDERS);
        assert_eq!(page.orders, NO_ORDERS);
        let rest = JobEscrow::open_orders(MACHINE, page.next, MAX_PAGE_ORDERS);
        assert_eq!((page.next.is_some(), rest.next), (true, None));

        advance(MILLIS_PER_HOUR);
        for limit in [0, 7, MAX_PAGE_ORDERS, u32::MAX] {
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = JobEscrow::open_orders(MACHINE, cursor, limit);
                assert!(page.orders.len() as u32 <= limit.clamp(1, MAX_PAGE_ORDERS));
                seen.extend(page.orders.iter().map(|order| order.job));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..orders.into()).collect::<Vec<JobId>>());
        }
        // A cursor holds though its order is gone.
        let page = JobEscrow::open_orders(MACHINE, None, 7);
        let before: Vec<_> = page.orders.iter().map(|order| order.job).collect();
        assert_ok!(JobEscrow::close(signed(CONSUMER), page.next.unwrap()));
        let next = JobEscrow::open_orders(MACHINE, page.next, 7);
        assert!(next.orders.iter().all(|order| !before.contains(&order.job)));
        assert_eq!(next.orders.len(), 7);
    });
}
