use assay_primitives::{
    machine::{LeaseEnd::Fulfilled, MachineLease, OnUptimeChange},
    market::Cursor,
    money::ASY,
    stake::BondStanding::{Sufficient, TooLow},
};
use polkadot_sdk::frame_support::assert_ok;

use crate::{
    Machines, Offers,
    mock::*,
    offers::{OfferWalk, keys, parts, rank, uptime_bucket},
};

/// The machines under the H100's prefix in a region, or in the world, in their order.
fn walk(region: Option<&[u8]>) -> Vec<u64> {
    let mut walk = OfferWalk::new::<Test>(H100, region, None);
    let mut machines = Vec::new();
    while let Some(rank) = walk.head().copied() {
        machines.push(parts(&rank).2);
        walk.seek(&rank);
    }
    machines
}

fn world() -> Vec<u64> {
    walk(None)
}

#[test]
fn ranks_order_by_uptime_then_price_then_machine() {
    let ranks = [
        rank(0, 1, 0),
        rank(0, 1, 1),
        rank(0, 255, 0),
        rank(0, 256, 0),
        rank(0, u128::MAX, 0),
        rank(1, 1, 0),
        rank(1, 1, u64::MAX),
        rank(9, 1, 0),
    ];
    assert!(ranks.is_sorted());
    assert_eq!(parts(&rank(3, 5 * ASY, 7)), (3, 5 * ASY, 7));
}

#[test]
fn uptime_buckets_fall_with_uptime() {
    let buckets = [
        1_000_000, 999_900, 999_899, 999_000, 995_000, 990_000, 980_000, 950_000, 900_000, 750_000, 500_000,
        499_999, 0,
    ]
    .map(uptime_bucket);
    assert_eq!(buckets, [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]);
}

#[test]
fn offers_hold_what_can_be_had_and_nothing_else() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        assert_eq!(world(), [0_u64; 0]);
        change_bond(machine, ASY, Sufficient);
        assert_eq!(world(), [machine]);
        assert_eq!(walk(Some(b"eu-central")), [machine]);
        assert_eq!(walk(Some(b"eu")), [0_u64; 0]);
        assert_eq!(walk(Some(b"us-east")), [0_u64; 0]);

        // The last free slot decides.
        assert_ok!(ProviderRegistry::lease(machine, SLOTS - 1));
        assert_eq!(world(), [machine]);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        assert_eq!(world(), [0_u64; 0]);
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        assert_eq!(world(), [machine]);

        change_bond(machine, 1, TooLow);
        assert_eq!(world(), [0_u64; 0]);
        assert_eq!(Offers::<Test>::iter().count(), 0);
    });
}

#[test]
fn offers_follow_ask_and_uptime() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let [first, second, third] = [1, 2, 3].map(|number| active_machine(PROVIDER, number));
        assert_eq!(world(), [first, second, third]);

        let ask = |machine, ask| {
            assert_ok!(ProviderRegistry::update_ask(
                RuntimeOrigin::signed(PROVIDER),
                machine,
                ask
            ));
        };
        ask(third, ASK - 1);
        ask(first, ASK + 1);
        assert_eq!(world(), [third, second, first]);
        // Better seen beats cheaper.
        ProviderRegistry::on_uptime_change(first, 999_950);
        assert_eq!(world(), [first, third, second]);
        // Within a bucket the price decides, not the uptime.
        ProviderRegistry::on_uptime_change(second, 999_999);
        assert_eq!(world(), [second, first, third]);
        assert_eq!(walk(Some(b"eu-central")), world());
    });
}

#[test]
fn a_change_costs_four_writes_at_most_and_none_within_a_rank() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let before = keys::<Test>(machine, &record(machine)).unwrap();
        ProviderRegistry::on_uptime_change(machine, 960_000);
        assert_eq!(keys::<Test>(machine, &record(machine)), Some(before));

        ProviderRegistry::on_uptime_change(machine, 1_000_000);
        let after = keys::<Test>(machine, &record(machine)).unwrap();
        for (key, listed) in before
            .into_iter()
            .zip([false; 2])
            .chain(after.into_iter().zip([true; 2]))
        {
            assert_eq!(Offers::<Test>::contains_key(key), listed);
        }
        assert_eq!(Offers::<Test>::iter().count(), 2);
    });
}

#[test]
fn a_walk_goes_on_from_any_place() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let [first, second] = [1, 2].map(|number| active_machine(PROVIDER, number));
        let bucket = uptime_bucket(record(first).uptime_ppm);
        for (after, expected) in [
            (Cursor([0; 25]), Some(first)),
            (rank(bucket, ASK, first), Some(second)),
            (rank(bucket, ASK, second), None),
            (Cursor([u8::MAX; 25]), None),
        ] {
            let walk = OfferWalk::new::<Test>(H100, None, Some(&after));
            assert_eq!(walk.head().map(|rank| parts(rank).2), expected);
        }
        // The machine that a cursor names may be gone.
        Machines::<Test>::get(first).unwrap();
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), first));
        let walk = OfferWalk::new::<Test>(H100, None, Some(&rank(bucket, ASK, first)));
        assert_eq!(walk.head().map(|rank| parts(rank).2), Some(second));
    });
}
