use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::availability::MAX_VALIDATORS_PER_MACHINE;
use proptest::prelude::*;

use crate::{assignment::draw, mock::*};

#[test]
fn assignment_is_what_the_specification_says() {
    // Pinned: nodes of other versions draw the same.
    assert_eq!(draw(&[1; 32], 7, 200, 5).into_inner(), PINNED);
}

/// Drawn by another program: Floyd's algorithm over `blake2_256("assay/assignment/v1" ‖ seed ‖ machine ‖
/// count)`, read as little-endian words of 64 bits.
const PINNED: [u32; 5] = [151, 116, 131, 25, 104];

#[test]
fn every_machine_has_its_validators() {
    ExtBuilder::default().validators(20).build_and_execute(|| {
        for machine in 0..MACHINES {
            let assigned = assigned(machine, 1);
            assert_eq!(assigned.len(), PER_MACHINE as usize);
            assert!(assigned.iter().all(|index| *index < 20));
            assert_eq!(assigned.iter().collect::<BTreeSet<_>>().len(), assigned.len());
        }
    });
}

#[test]
fn all_validators_watch_where_they_are_few() {
    for validators in 1..=PER_MACHINE {
        ExtBuilder::default()
            .validators(validators)
            .build_and_execute(|| {
                for machine in 0..MACHINES {
                    let mut assigned = assigned(machine, 1);
                    assigned.sort_unstable();
                    assert_eq!(assigned, (0..validators).collect::<Vec<_>>());
                }
            });
    }
}

#[test]
fn nobody_watches_where_there_is_nobody() {
    ExtBuilder::default().validators(0).build_and_execute(|| {
        assert_eq!(assigned(0, 1), Vec::<u32>::new());
    });
}

#[test]
fn nobody_watched_before_the_first_epoch_that_began() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(Availability::assigned(0, 0), None);
        assert_eq!(Availability::assigned(0, 2), None);
    });
}

#[test]
fn assignments_change_with_every_epoch() {
    ExtBuilder::default().validators(20).build_and_execute(|| {
        next_epoch();
        let unchanged = (0..MACHINES)
            .filter(|machine| assigned(*machine, 1) == assigned(*machine, 2))
            .count();
        assert!(unchanged < MACHINES as usize / 4, "{unchanged}");
    });
}

#[test]
fn assignments_of_an_epoch_never_change() {
    ExtBuilder::default().validators(20).build_and_execute(|| {
        let before: Vec<_> = (0..MACHINES).map(|machine| assigned(machine, 1)).collect();
        // Neither what governance changes, nor a session, nor the entropy has a say any more.
        ValidatorsPerMachine::set(PER_MACHINE + 2);
        Entropy::set(99);
        new_session(3..9);
        next_epoch();
        let after: Vec<_> = (0..MACHINES).map(|machine| assigned(machine, 1)).collect();
        assert_eq!(before, after);
        assert_eq!(assigned(0, 2).len(), PER_MACHINE as usize + 2);
    });
}

#[test]
fn validators_have_like_shares() {
    // 20,000 machines with 5 of 50 validators: 2,000 for each, give or take 43.
    let mut shares = BTreeMap::<u32, u32>::new();
    for machine in 0..20_000 {
        for index in draw(&[3; 32], machine, 50, 5) {
            *shares.entry(index).or_default() += 1;
        }
    }
    assert_eq!(shares.len(), 50);
    assert!(
        shares.values().all(|share| share.abs_diff(2_000) < 6 * 43),
        "{shares:?}"
    );
}

proptest! {
    #[test]
    fn drawn_places_are_different_and_enough(
        seed: [u8; 32],
        machine: u64,
        validators in 0..300u32,
        per_machine in 0..40u32,
    ) {
        let assigned = draw(&seed, machine, validators, per_machine);
        let wanted = per_machine.min(validators).min(MAX_VALIDATORS_PER_MACHINE);
        prop_assert_eq!(assigned.len(), wanted as usize);
        prop_assert!(assigned.iter().all(|index| *index < validators));
        prop_assert_eq!(assigned.iter().collect::<BTreeSet<_>>().len(), assigned.len());
    }
}
