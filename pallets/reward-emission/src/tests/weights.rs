//! Changes of a machine's weight.

use assay_primitives::machine::MachineStatus;
use polkadot_sdk::frame_support::assert_ok;

use super::*;
use crate::{MAX_WEIGHT_SEGMENTS, mock::retire};

#[test]
fn increase_counts_from_the_next_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        assert_eq!(sums(), (0, 100));
        assert_eq!(segments(0), vec![(1, 100)]);

        end_epochs(1);
        assert_eq!(sums(), (100, 0));

        // A second increase in the same epoch replaces the first.
        set_weight(0, 150);
        assert_eq!(sums(), (100, 50));
        set_weight(0, 170);
        assert_eq!(sums(), (100, 70));
        assert_eq!(segments(0), vec![(1, 100), (2, 170)]);
    });
}

#[test]
fn decrease_counts_at_once() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        set_weight(1, 10);
        end_epochs(1);
        set_weight(0, 40);
        assert_eq!(sums(), (50, 0));
        assert_eq!(segments(0), vec![(1, 40)]);

        end_epochs(1);
        assert_eq!(crate::EpochRecords::<Test>::get(1).total_weight, 50);
    });
}

#[test]
fn decrease_takes_back_an_increase_that_does_not_count_yet() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(1);
        set_weight(0, 300);
        assert_eq!(sums(), (100, 200));
        // Still above what counts now: only the increase gets smaller.
        set_weight(0, 120);
        assert_eq!(sums(), (100, 20));
        // Below it: the current epoch has less too.
        set_weight(0, 90);
        assert_eq!(sums(), (90, 0));
        // Going up again does not bring the current epoch back.
        set_weight(0, 100);
        assert_eq!(sums(), (90, 10));
        assert_eq!(segments(0), vec![(1, 90), (2, 100)]);
    });
}

#[test]
fn same_weight_again_changes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(3);
        set_weight(0, 100);
        assert_eq!(sums(), (100, 0));
        assert_eq!(segments(0), vec![(1, 100)]);
    });
}

#[test]
fn zero_weight_of_an_unknown_machine_is_ignored() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 0);
        assert_eq!(sums(), (0, 0));
        assert!(!MachineWeights::<Test>::contains_key(0));
    });
}

#[test]
#[cfg_attr(
    debug_assertions,
    should_panic(expected = "a machine without a provider cannot be paid")
)]
fn weight_of_a_machine_without_provider_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        ChangedStatus::mutate(|status| status.insert(0, None));
        set_weight(0, 100);
        assert_eq!(sums(), (0, 0));
    });
}

#[test]
fn record_is_removed_when_nothing_is_unpaid_and_no_weight_is_left() {
    ExtBuilder::default().build_and_execute(|| {
        // Taken back before it ever counted.
        set_weight(0, 100);
        set_weight(0, 0);
        assert!(!MachineWeights::<Test>::contains_key(0));
        assert_eq!(sums(), (0, 0));

        // Taken back in the first epoch in which it counted.
        set_weight(1, 100);
        end_epochs(1);
        set_weight(1, 0);
        assert!(!MachineWeights::<Test>::contains_key(1));

        // Earned something: the record stays until that is paid.
        set_weight(2, 100);
        end_epochs(2);
        set_weight(2, 0);
        assert_eq!(segments(2), vec![(2, 100), (3, 0)]);
        assert_ok!(payout(2, 1));
        assert!(!MachineWeights::<Test>::contains_key(2));
    });
}

#[test]
fn weight_can_come_back_after_the_record_was_removed() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(1);
        set_weight(0, 0);
        set_weight(0, 100);
        // The current epoch is lost, the next one is not.
        assert_eq!(sums(), (0, 100));
        assert_eq!(MachineWeights::<Test>::get(0).unwrap().next_unpaid_epoch, 2);
        assert_eq!(segments(0), vec![(2, 100)]);
    });
}

#[test]
fn too_many_steps_merge_the_oldest_with_the_smaller_weight() {
    ExtBuilder::default().build_and_execute(|| {
        // GIVEN as many steps as fit, each heavier than the one before
        for step in 1..=u64::from(MAX_WEIGHT_SEGMENTS) {
            set_weight(0, 100 * step);
            end_epochs(1);
        }
        assert_eq!(segments(0).len(), 8);
        // WHEN one more comes
        set_weight(0, 900);
        // THEN the two oldest are one, of the smaller weight,
        let expected: Vec<_> = [
            (1, 100),
            (3, 300),
            (4, 400),
            (5, 500),
            (6, 600),
            (7, 700),
            (8, 800),
            (9, 900),
        ]
        .into();
        assert_eq!(segments(0), expected);
        // AND what counts now is untouched.
        assert_eq!(sums(), (800, 100));
    });
}

#[test]
fn merging_keeps_records_in_their_shortest_form() {
    ExtBuilder::default().build_and_execute(|| {
        // Up, down, up, down …: merged steps have the weight of the step after them, or none.
        for round in 0..20u64 {
            set_weight(0, if round % 2 == 0 { 100 } else { 50 });
            set_weight(1, if round % 2 == 0 { 100 } else { 0 });
            end_epochs(1);
            RewardEmission::do_try_state().unwrap();
        }
        assert_eq!(sums(), (50, 0));
    });
}

#[test]
fn payout_makes_room_for_steps() {
    ExtBuilder::default().build_and_execute(|| {
        for step in 1..=u64::from(MAX_WEIGHT_SEGMENTS) {
            set_weight(0, 100 * step);
            end_epochs(1);
        }
        assert_ok!(payout(0, 4));
        assert_eq!(segments(0), vec![(5, 500), (6, 600), (7, 700), (8, 800)]);
        set_weight(0, 900);
        assert_eq!(segments(0).len(), 5);
    });
}

#[test]
fn retired_machine_leaves_the_sums() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        set_weight(1, 30);
        end_epochs(2);
        retire(0);
        assert_eq!(sums(), (30, 0));
        assert_eq!(ChangedStatus::get().get(&0), Some(&Some(MachineStatus::Retired)));
    });
}

#[test]
fn largest_weights_fit() {
    ExtBuilder::default().build_and_execute(|| {
        for machine in 0..10 {
            set_weight(machine, RewardWeight::MAX);
        }
        end_epochs(2);
        assert_eq!(sums(), (10 * u128::from(RewardWeight::MAX), 0));
        assert_ok!(payout(0, 1));
        assert_eq!(
            crate::EpochRecords::<Test>::get(1).minted,
            crate::EpochRecords::<Test>::get(1).pool / 10
        );
    });
}
