use assay_primitives::clock::OnEpochEnd;
use polkadot_sdk::frame_support::{traits::OneSessionHandler, weights::Weight};

use crate::{CurrentSet, EpochRecords, Event, ValidatorSets, WeightInfo, mock::*};

/// The numbers of the sets that are kept.
fn sets() -> Vec<u32> {
    let mut sets: Vec<u32> = ValidatorSets::<Test>::iter_keys().collect();
    sets.sort_unstable();
    sets
}

#[test]
fn an_epoch_begins_with_a_seed_and_the_validators_of_the_session() {
    ExtBuilder::default().build_and_execute(|| {
        Entropy::set(5);
        next_epoch();
        let record = EpochRecords::<Test>::get(2).unwrap();
        assert_eq!((record.set, record.validators), (0, 5));
        assert_eq!(record.validators_per_machine, PER_MACHINE);
        assert_eq!(record.reward_per_report, REWARD);
        assert_eq!(record.reported.count(), 0);
        assert_ne!(record.seed, EpochRecords::<Test>::get(1).unwrap().seed);
        assert_eq!(
            take_events(),
            [Event::EpochWatched {
                epoch: 2,
                seed: record.seed,
                validators: 5
            }]
        );
        assert_eq!(ValidatorSets::<Test>::get(0).into_inner(), validators(0..5));
    });
}

#[test]
fn seeds_differ_although_the_randomness_stands_still() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        next_epoch();
        let seeds = [1, 2, 3].map(|epoch| EpochRecords::<Test>::get(epoch).unwrap().seed);
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != seeds[2]);
    });
}

#[test]
fn an_epoch_keeps_its_validators_while_sessions_pass() {
    ExtBuilder::default().build_and_execute(|| {
        new_session(2..4);
        assert_eq!(CurrentSet::<Test>::get(), 1);
        // Another session in the same epoch: the one between them is needed by no epoch.
        new_session(4..6);
        assert_eq!(CurrentSet::<Test>::get(), 1);
        assert_eq!(sets(), [0, 1]);
        assert_eq!(ValidatorSets::<Test>::get(0).into_inner(), validators(0..5));
        next_epoch();
        let record = EpochRecords::<Test>::get(2).unwrap();
        assert_eq!((record.set, record.validators), (1, 2));
        assert_eq!(ValidatorSets::<Test>::get(1).into_inner(), validators(4..6));
    });
}

#[test]
fn a_session_with_the_same_validators_changes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        new_session(0..5);
        assert_eq!(CurrentSet::<Test>::get(), 0);
        // Nor does one that says so.
        let other = validators(7..9);
        let session = || other.iter().map(|(who, key)| (who, key.clone()));
        Availability::on_new_session(false, session(), session());
        assert_eq!(ValidatorSets::<Test>::get(0).into_inner(), validators(0..5));
    });
}

#[test]
fn a_new_key_of_a_validator_counts_from_the_next_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        let rotated =
            [(stash(0), pair(50))].map(|(who, pair)| (who, polkadot_sdk::sp_core::Pair::public(&pair)));
        let session = || rotated.iter().map(|(who, key)| (who, key.clone()));
        Availability::on_new_session(true, session(), session());
        next_epoch();
        let old = polkadot_sdk::sp_core::Pair::public(&pair(0));
        let new = polkadot_sdk::sp_core::Pair::public(&pair(50));
        assert_eq!(Availability::validator_index(1, &old), Some(0));
        assert_eq!(Availability::validator_index(1, &new), None);
        assert_eq!(Availability::validator_index(2, &new), Some(0));
        assert_eq!(Availability::validator_index(2, &old), None);
    });
}

#[test]
fn sets_are_forgotten_when_their_last_epoch_was_settled() {
    ExtBuilder::default().build_and_execute(|| {
        new_session(5..10);
        next_epoch();
        new_session(10..15);
        next_epoch();
        assert_eq!(sets(), [0, 1, 2]);
        // Epoch 1 is closed, 2 is being reported on, and 3 watched.
        poll();
        assert_eq!(sets(), [1, 2]);
        next_epoch();
        poll();
        assert_eq!(sets(), [2]);
        pass_epochs(10);
        assert_eq!(sets(), [2]);
    });
}

#[test]
fn epoch_end_has_the_weight_that_was_benchmarked() {
    assert_eq!(
        <Availability as OnEpochEnd>::weight(),
        <() as WeightInfo>::on_epoch_end()
    );
    assert_ne!(<Availability as OnEpochEnd>::weight(), Weight::zero());
}
