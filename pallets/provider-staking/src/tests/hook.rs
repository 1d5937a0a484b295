use polkadot_sdk::frame_support::{assert_ok, traits::Hooks, weights::Weight};

use crate::{Agenda, AgendaCounts, NextSlash, WeightInfo, mock::*};

type Weights = ();

fn overhead() -> Weight {
    <Weights as WeightInfo>::hook_overhead()
}

fn step() -> Weight {
    <Weights as WeightInfo>::hook_step_over_hole().max(<Weights as WeightInfo>::hook_step_to_next_epoch())
}

fn apply() -> Weight {
    <Weights as WeightInfo>::hook_apply()
}

fn one_less(weight: Weight) -> Weight {
    weight.saturating_sub(Weight::from_parts(1, 0))
}

fn slashes_left() -> usize {
    Agenda::<Test>::iter().count()
}

/// Queues so many slashes and lets them fall due; the cursor stands before the first.
fn due(slashes: u32) {
    for _ in 0..slashes {
        slash(MACHINE, 1);
    }
    MockClock::set_epoch(DEFER_EPOCHS);
    poll_with(overhead() + step() * u64::from(DEFER_EPOCHS));
    assert_eq!(NextSlash::<Test>::get(), place(DEFER_EPOCHS, 0));
}

#[test]
fn hook_does_nothing_when_overhead_does_not_fit() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(1);
        assert_eq!(poll_with(Weight::zero()), Weight::zero());
        assert_eq!(poll_with(one_less(overhead())), Weight::zero());
        assert_eq!(slashes_left(), 1);
    });
}

#[test]
fn hook_stops_when_a_step_does_not_fit() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(1);
        assert_eq!(poll_with(one_less(overhead() + step())), overhead());
        assert_eq!(slashes_left(), 1);
        assert_eq!(NextSlash::<Test>::get(), place(DEFER_EPOCHS, 0));
    });
}

#[test]
fn hook_stops_when_a_slash_does_not_fit() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(1);
        assert_eq!(
            poll_with(one_less(overhead() + step() + apply())),
            overhead() + step()
        );
        assert_eq!(slashes_left(), 1);
        assert_eq!(NextSlash::<Test>::get(), place(DEFER_EPOCHS, 0));
        assert_eq!(held(PROVIDER), MINIMUM);
    });
}

#[test]
fn hook_applies_as_many_slashes_as_fit() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(3);
        let one = ProviderStaking::one_unit_weight();
        assert_eq!(poll_with(one), one);
        assert_eq!(slashes_left(), 2);
        assert_eq!(NextSlash::<Test>::get(), place(DEFER_EPOCHS, 1));

        // The other two, and the look at what follows.
        let two = overhead() + (step() + apply()) * 2;
        assert_eq!(poll_with(Weight::MAX), two + step());
        assert_eq!(slashes_left(), 0);
        assert_eq!(held(PROVIDER), MINIMUM - 3 * (MINIMUM / 100));
        assert_eq!(NextSlash::<Test>::get(), place(DEFER_EPOCHS, 3));
    });
}

#[test]
fn hook_takes_no_more_than_its_share_of_a_block() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        // Far more epochs and slashes than one block's share is enough for.
        for _ in 0..40 * PLACES_PER_EPOCH {
            slash(MACHINE, 1);
        }
        MockClock::set_epoch(DEFER_EPOCHS + 40);
        let mut blocks = 0;
        while slashes_left() > 0 {
            let before = slashes_left();
            assert!(poll_with(Weight::MAX).all_lte(SERVICE_WEIGHT));
            assert!(slashes_left() < before);
            ProviderStaking::do_try_state().unwrap();
            blocks += 1;
        }
        assert!(blocks > 1);
        assert_eq!(held(PROVIDER), 0);
    });
}

#[test]
fn hook_does_nothing_before_an_epoch_is_due() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        slash(MACHINE, 1);
        for epoch in 0..DEFER_EPOCHS {
            MockClock::set_epoch(epoch);
            poll();
            assert_eq!(slashes_left(), 1);
        }
        MockClock::set_epoch(DEFER_EPOCHS);
        poll();
        assert_eq!(slashes_left(), 0);
    });
}

#[test]
fn hook_passes_empty_epochs_one_by_one() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        MockClock::set_epoch(5);
        assert_eq!(poll_with(overhead() + step() * 2), overhead() + step() * 2);
        assert_eq!(NextSlash::<Test>::get(), place(2, 0));
        // Three more epochs, and the look at the current one.
        assert_eq!(poll_with(Weight::MAX), overhead() + step() * 4);
        assert_eq!(NextSlash::<Test>::get(), place(5, 0));
    });
}

#[test]
fn hook_passes_holes_without_paying_for_slashes() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(3);
        assert_ok!(cancel_slash(place(DEFER_EPOCHS, 0)));
        assert_ok!(apply_slash(place(DEFER_EPOCHS, 1)));
        assert_eq!(poll_with(Weight::MAX), overhead() + step() * 4 + apply());
        assert_eq!(slashes_left(), 0);
        assert_eq!(held(PROVIDER), MINIMUM - 2 * (MINIMUM / 100));
    });
}

#[test]
fn hook_forgets_epochs_that_are_over() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        due(2);
        poll();
        assert_eq!(AgendaCounts::<Test>::get(DEFER_EPOCHS), 2);
        MockClock::set_epoch(DEFER_EPOCHS + 1);
        poll();
        assert_eq!(AgendaCounts::<Test>::iter().count(), 0);
    });
}

#[test]
fn integrity_test_works() {
    ExtBuilder::default().build_and_execute(|| {
        <ProviderStaking as Hooks<_>>::integrity_test();
        assert!(ProviderStaking::one_unit_weight().all_lte(SERVICE_WEIGHT));
    });
}
