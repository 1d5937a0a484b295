use assay_primitives::machine::MachineId;
use polkadot_sdk::frame_support::{traits::Hooks, weights::Weight};

use crate::{
    EpochRecords, Failures, OldestEpoch, Rewards, Settlement, SettlementCursor, WeightInfo, mock::*,
};

type Weights = ();

fn overhead() -> Weight {
    <Weights as WeightInfo>::hook_overhead()
}

fn judge() -> Weight {
    <Weights as WeightInfo>::hook_judge()
}

fn settle() -> Weight {
    <Weights as WeightInfo>::hook_settle(MAX_VALIDATORS)
}

fn forget() -> Weight {
    <Weights as WeightInfo>::hook_forget_failure().max(<Weights as WeightInfo>::hook_forget_epoch())
}

fn one_less(weight: Weight) -> Weight {
    weight.saturating_sub(Weight::from_parts(1, 0))
}

/// Epoch 1 is closed and has so many failures; the cursor stands before them.
fn closed_with(failures: MachineId) {
    next_epoch();
    poll();
    reports(1, 0..5, &(0..failures).collect::<Vec<_>>());
    next_epoch();
    assert_eq!(Failures::<Test>::iter_prefix(1).count(), failures as usize);
    assert_eq!(cursor(), (1, false));
}

/// The epoch that is being settled, and whether a machine of it was judged.
fn cursor() -> (u32, bool) {
    let SettlementCursor { epoch, judged } = Settlement::<Test>::get();
    (epoch, judged.is_some())
}

#[test]
fn hook_does_nothing_when_overhead_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(1);
        assert_eq!(poll_with(Weight::zero()), Weight::zero());
        assert_eq!(poll_with(one_less(overhead())), Weight::zero());
        assert_eq!(cursor(), (1, false));
    });
}

#[test]
fn hook_stops_when_a_judgement_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(1);
        assert_eq!(poll_with(one_less(overhead() + judge())), overhead());
        assert_eq!(cursor(), (1, false));
    });
}

#[test]
fn hook_judges_as_many_machines_as_fit() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(3);
        assert_eq!(poll_with(overhead() + judge() * 2), overhead() + judge() * 2);
        assert_eq!(cursor(), (1, true));
        assert_eq!(Rewards::<Test>::iter().count(), 0);
        // The third, and the look at what follows.
        let rest = overhead() + judge() * 2 + settle();
        assert_eq!(poll_with(rest), rest);
        assert_eq!(cursor(), (2, false));
        assert_eq!(Rewards::<Test>::iter().count(), 5);
        assert_eq!(poll_with(Weight::MAX), overhead());
    });
}

#[test]
fn hook_stops_when_settling_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(1);
        let rest = overhead() + judge() * 2 + settle();
        assert_eq!(poll_with(one_less(rest)), overhead() + judge() * 2);
        assert_eq!(cursor(), (1, true));
        assert_eq!(Rewards::<Test>::iter().count(), 0);
        // Judging again does no harm, but need not be.
        assert_eq!(poll_with(Weight::MAX), overhead() + judge() + settle());
        assert_eq!(cursor(), (2, false));
    });
}

#[test]
fn hook_passes_epochs_that_nobody_watched() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        assert_eq!(poll_with(Weight::MAX), overhead() + judge() + settle());
        assert_eq!(cursor(), (1, false));
        assert_eq!(take_events().len(), 1, "only that epoch 2 began");
    });
}

#[test]
fn hook_settles_nothing_that_is_open() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(poll_with(Weight::MAX), overhead());
        next_epoch();
        poll();
        report(1, 0, &[]);
        assert_eq!(poll_with(Weight::MAX), overhead());
        assert_eq!(cursor(), (1, false));
    });
}

#[test]
fn hook_catches_up_epoch_by_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        for epoch in 1..6 {
            next_epoch();
            reports(epoch, 0..5, &[0, 1]);
        }
        let mut last = cursor();
        while cursor().0 < 5 {
            assert!(poll_with(Weight::MAX).all_lte(SERVICE_WEIGHT));
            assert_ne!(cursor(), last, "it goes on");
            last = cursor();
            Availability::do_try_state().unwrap();
        }
        for validator in 0..5 {
            assert_eq!(owed(validator), 4 * REWARD);
        }
    });
}

#[test]
fn hook_forgets_failure_by_failure() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(3);
        pass_epochs(HISTORY - 2);
        // Epoch 1 is the oldest in history …
        assert_eq!(current_epoch(), HISTORY + 1);
        assert_eq!(OldestEpoch::<Test>::get(), 1);
        assert!(EpochRecords::<Test>::contains_key(1));
        // … and falls out of it.
        next_epoch();
        let settling = overhead() + judge() + settle();
        assert_eq!(poll_with(settling + forget() * 2), settling + forget() * 2);
        assert_eq!(Failures::<Test>::iter_prefix(1).count(), 1);
        assert!(EpochRecords::<Test>::contains_key(1));
        Availability::do_try_state().unwrap();
        assert_eq!(poll_with(Weight::MAX), overhead() + forget() * 2);
        assert_eq!(Failures::<Test>::iter().count(), 0);
        assert!(!EpochRecords::<Test>::contains_key(1));
        assert!(EpochRecords::<Test>::contains_key(2));
        assert_eq!(OldestEpoch::<Test>::get(), 2);
    });
}

#[test]
fn hook_stops_when_forgetting_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        closed_with(1);
        pass_epochs(HISTORY - 2);
        next_epoch();
        let settling = overhead() + judge() + settle();
        assert_eq!(poll_with(one_less(settling + forget())), settling);
        assert_eq!(OldestEpoch::<Test>::get(), 1);
    });
}

#[test]
fn hook_forgets_nothing_that_is_not_settled() {
    ExtBuilder::default().build_and_execute(|| {
        // No block has room for settling while history passes.
        for _ in 0..2 * HISTORY {
            next_epoch();
            poll_with(overhead() + judge());
        }
        assert_eq!(OldestEpoch::<Test>::get(), 0);
        assert!(EpochRecords::<Test>::contains_key(1));
        Availability::do_try_state().unwrap();
        poll();
        assert_eq!(OldestEpoch::<Test>::get(), current_epoch() - HISTORY);
    });
}

#[test]
fn integrity_test_works() {
    ExtBuilder::default().build_and_execute(|| {
        <Availability as Hooks<_>>::integrity_test();
        assert!(Availability::one_unit_weight().all_lte(SERVICE_WEIGHT));
    });
}

#[test]
#[should_panic(expected = "a machine is watched by 3 to 32 validators")]
fn integrity_test_fails_when_one_validator_could_decide() {
    ExtBuilder::default().build_and_execute(|| {
        ValidatorsPerMachine::set(2);
        <Availability as Hooks<_>>::integrity_test();
    });
}
