//! The end of an epoch, its accounts, and genesis.

use assay_primitives::{
    clock::OnEpochEnd,
    emission::FlywheelLedger,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{assert_ok, traits::Hooks, weights::Weight},
    sp_io,
    sp_runtime::BuildStorage,
};

use super::*;
use crate::{DEFAULT_EMISSION_CAP, EpochRecord, EpochRecords, Event, RemainingEmission, WeightInfo};

#[test]
fn epoch_end_releases_a_part_of_what_is_left() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(3);
        let second_pool = (CAP - FIRST_POOL) / DIVISOR;
        let closed = |epoch, pool, total_weight, withheld| Event::EpochClosed {
            epoch,
            pool,
            total_weight,
            withheld,
        };
        // Nobody can earn anything in the first one, which leaves it all to those that follow.
        assert_eq!(
            take_events(),
            vec![
                closed(0, 0, 0, FIRST_POOL),
                closed(1, FIRST_POOL, 100, 0),
                closed(2, second_pool, 100, 0)
            ]
        );
        assert_eq!(RemainingEmission::<Test>::get(), CAP - FIRST_POOL - second_pool);
        assert_eq!(
            EpochRecords::<Test>::get(2),
            EpochRecord {
                pool: second_pool,
                total_weight: 100,
                ..Default::default()
            }
        );
        // Releasing is not minting.
        assert_eq!(issuance(), 200 * ASY);
    });
}

#[test]
fn epoch_end_releases_nothing_when_less_is_left_than_can_be_divided() {
    ExtBuilder::default()
        .remaining_emission(DIVISOR - 1)
        .build_and_execute(|| {
            set_weight(0, 100);
            end_epochs(2);
            let EpochRecord { pool, withheld, .. } = EpochRecords::<Test>::get(1);
            assert_eq!((pool, withheld), (0, 0));
            assert_eq!(RemainingEmission::<Test>::get(), DIVISOR - 1);
        });
}

/// Plancks that a unit of weight earns at most, as on the real chain: half a thousandth of an ASY for each
/// point.
const REAL_CAP: Balance = ASY / 2_000 / 4;

/// Weight of the CPU's only slot: one point.
const CPU_SLOT: RewardWeight = 4;

/// Weight of an NVIDIA H100: 989 points.
const H100: RewardWeight = 989 * 4;

#[test]
fn first_slot_of_a_chain_earns_its_worth_and_not_the_pool() {
    ExtBuilder::default().build_and_execute(|| {
        CapPerWeight::set(REAL_CAP);
        set_weight(0, CPU_SLOT);
        end_epochs(2);
        let before = issuance();
        assert_ok!(payout(0, 1));
        assert_eq!(issuance() - before, ASY / 2_000);
        // The rest is there for those that come later.
        let EpochRecord { pool, withheld, .. } = EpochRecords::<Test>::get(1);
        assert_eq!((pool, withheld), (ASY / 2_000, FIRST_POOL - ASY / 2_000));
        assert_eq!(RemainingEmission::<Test>::get(), CAP - ASY / 2_000);
    });
}

#[test]
fn processors_take_nothing_from_gpus_below_the_cap() {
    let earned_beside = |cpus: RewardWeight| {
        let mut amounts = (0, 0);
        ExtBuilder::default().build_and_execute(|| {
            CapPerWeight::set(REAL_CAP);
            set_weight(0, 100 * H100);
            set_weight(1, cpus * 64 * CPU_SLOT);
            end_epochs(2);
            let due = |machine| RewardEmission::due(machine, 1).map_or(0, |due| due.amount);
            amounts = (due(0), due(1));
            let pool = EpochRecords::<Test>::get(1).pool;
            assert_eq!(pool, amounts.0 + amounts.1);
            assert!(pool < FIRST_POOL);
        });
        amounts
    };
    // A hundred H100 alone and beside a thousand processors of 64 slots, which would take 39 % of a shared
    // pool.
    let (alone, nothing) = earned_beside(0);
    let (beside, processors) = earned_beside(1_000);
    assert_eq!((alone, nothing), (98_900 * ASY / 2_000, 0));
    assert_eq!(beside, alone);
    assert_eq!(processors, 64_000 * ASY / 2_000);
    assert!(processors * 100 / FIRST_POOL < 1);
}

#[test]
fn pool_grows_with_the_network_until_it_is_all_there_is() {
    ExtBuilder::default().build_and_execute(|| {
        CapPerWeight::set(REAL_CAP);
        let full_at = u64::try_from(FIRST_POOL.div_ceil(REAL_CAP)).unwrap();
        for (weight, pool) in [
            (1, REAL_CAP),
            (full_at - 1, REAL_CAP * u128::from(full_at - 1)),
            (full_at, FIRST_POOL),
            (2 * full_at, FIRST_POOL),
        ] {
            set_weight(0, weight);
            // As if the epoch with that weight was the first one.
            TotalWeight::<Test>::put(u128::from(weight));
            RemainingEmission::<Test>::put(CAP);
            let outlook = RewardEmission::outlook();
            assert_eq!((outlook.pool, outlook.withheld), (pool, FIRST_POOL - pool));
            assert_eq!((outlook.remaining, outlook.cap_per_weight), (CAP, REAL_CAP));
            assert_eq!(outlook.total_weight, u128::from(weight));
            TotalWeight::<Test>::put(0);
        }
    });
}

#[test]
fn what_the_cap_withholds_is_emitted_later() {
    ExtBuilder::default().build_and_execute(|| {
        CapPerWeight::set(1);
        set_weight(0, 100);
        end_epochs(101);
        // A hundred epochs of a hundred plancks; nothing is lost.
        assert_eq!(RemainingEmission::<Test>::get(), CAP - 100 * 100);
        CapPerWeight::set(CAP);
        end_epochs(1);
        assert_eq!(EpochRecords::<Test>::get(101).pool, (CAP - 10_000) / DIVISOR);
    });
}

#[test]
fn epoch_end_forgets_what_falls_out_of_history() {
    ExtBuilder::default().build_and_execute(|| {
        end_epochs(HISTORY);
        assert!(EpochRecords::<Test>::contains_key(0));
        end_epochs(1);
        assert!(!EpochRecords::<Test>::contains_key(0));
        assert_eq!(EpochRecords::<Test>::iter().count(), HISTORY as usize);
    });
}

#[test]
fn all_pools_together_are_never_more_than_the_cap() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 1);
        let mut released: Balance = 0;
        for epoch in 0..3_000 {
            end_epochs(1);
            released += EpochRecords::<Test>::get(epoch).pool;
        }
        assert_eq!(released + RemainingEmission::<Test>::get(), CAP);
    });
}

#[test]
fn epoch_end_has_the_weight_that_was_benchmarked() {
    assert_eq!(
        <RewardEmission as OnEpochEnd>::weight(),
        <() as WeightInfo>::on_epoch_end()
    );
    assert_ne!(<RewardEmission as OnEpochEnd>::weight(), Weight::zero());
}

#[test]
fn fees_are_noted_in_the_epoch_in_which_they_were_taken() {
    ExtBuilder::default().build_and_execute(|| {
        RewardEmission::note_fee(10, 5);
        RewardEmission::note_fee(3, 2);
        end_epochs(1);
        RewardEmission::note_fee(1, 1);
        assert_eq!(
            EpochRecords::<Test>::get(0),
            EpochRecord {
                withheld: FIRST_POOL,
                fees: 13,
                burned: 7,
                ..Default::default()
            }
        );
        assert_eq!(
            EpochRecords::<Test>::get(1),
            EpochRecord {
                fees: 1,
                burned: 1,
                ..Default::default()
            }
        );
    });
}

#[test]
fn genesis_sets_the_cap() {
    ExtBuilder::default()
        .remaining_emission(7 * ASY)
        .build_and_execute(|| assert_eq!(RemainingEmission::<Test>::get(), 7 * ASY));
    let storage = RuntimeGenesisConfig::default().build_storage().unwrap();
    sp_io::TestExternalities::from(storage).execute_with(|| {
        assert_eq!(RemainingEmission::<Test>::get(), DEFAULT_EMISSION_CAP);
        assert_eq!(DEFAULT_EMISSION_CAP, 1_000_000_000 * ASY);
    });
}

#[test]
fn epochs_tell_what_machines_weighed_until_they_are_paid() {
    use assay_primitives::emission::EpochWeights;

    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 300);
        set_weight(1, 100);
        end_epochs(2);
        set_weight(0, 0);
        end_epochs(1);
        // The machine that left still weighed something in the epoch that is being reported on.
        let weighed = |epoch| [0, 1, 2].map(|machine| RewardEmission::weight_in(machine, epoch));
        assert_eq!(weighed(1), [300, 100, 0]);
        assert_eq!(weighed(2), [0, 100, 0]);
        assert_eq!([1, 2, 9].map(RewardEmission::total_weight_in), [400, 100, 0]);
        // What is unpaid begins with the first weight, moves with the payouts, and ends with the last weight.
        let unpaid = || [0, 1, 2].map(RewardEmission::first_unpaid_epoch);
        assert_eq!(unpaid(), [Some(1), Some(1), None]);
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_ok!(payout(1, 1));
        assert_eq!(unpaid(), [None, Some(2), None]);
        set_weight(2, 5);
        assert_eq!(RewardEmission::first_unpaid_epoch(2), Some(4));
    });
}

#[test]
fn integrity_test_works() {
    ExtBuilder::default().build_and_execute(<RewardEmission as Hooks<_>>::integrity_test);
}

#[test]
#[should_panic(expected = "nothing would ever be emitted")]
fn integrity_test_fails_when_the_cap_is_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        CapPerWeight::set(0);
        <RewardEmission as Hooks<_>>::integrity_test();
    });
}
