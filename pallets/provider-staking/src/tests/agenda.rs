use assay_primitives::{
    clock::EpochIndex,
    offence::{Offence::ChallengeUnanswered, SlashId},
};
use polkadot_sdk::frame_support::assert_ok;

use crate::{Agenda, AgendaCounts, LastAgendaEpoch, NextSlash, mock::*};

/// Queues slashes of one percent each.
fn queue(slashes: u32) -> Vec<SlashId> {
    (0..slashes).map(|_| slash(MACHINE, 1)).collect()
}

fn places(epoch: EpochIndex, count: u32) -> Vec<SlashId> {
    (0..count).map(|index| place(epoch, index)).collect()
}

#[test]
fn full_epoch_moves_slashes_to_the_next_one() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let expected = [
            places(DEFER_EPOCHS, PLACES_PER_EPOCH),
            places(DEFER_EPOCHS + 1, PLACES_PER_EPOCH),
            places(DEFER_EPOCHS + 2, 1),
        ]
        .concat();
        assert_eq!(queue(2 * PLACES_PER_EPOCH + 1), expected);
        assert_eq!(LastAgendaEpoch::<Test>::get(), DEFER_EPOCHS + 2);
        assert_eq!(record(MACHINE).pending_slashes, 2 * PLACES_PER_EPOCH + 1);

        // The next epoch's own slashes come behind those that were moved there.
        MockClock::set_epoch(1);
        assert_eq!(queue(1), [place(DEFER_EPOCHS + 2, 1)]);
        MockClock::set_epoch(2);
        assert_eq!(queue(1), [place(DEFER_EPOCHS + 2, 2)]);
        assert_eq!(queue(1), [place(DEFER_EPOCHS + 3, 0)]);

        // Nothing is dropped, and nothing applied before its epoch.
        for (epoch, left) in [(2, 7), (3, 4), (4, 1), (5, 0)] {
            MockClock::set_epoch(epoch);
            poll();
            assert_eq!(Agenda::<Test>::iter().count(), left);
        }
        assert_eq!(held(PROVIDER), MINIMUM - 10 * (MINIMUM / 100));
    });
}

#[test]
fn offence_moves_with_a_full_epoch_too() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        queue(PLACES_PER_EPOCH);
        assert_eq!(report(MACHINE, ChallengeUnanswered), place(DEFER_EPOCHS + 1, 0));
    });
}

#[test]
fn shorter_wait_queues_behind_the_longer_one_when_full() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        WaitEpochs::set(20);
        assert_eq!(queue(1), [place(20, 0)]);
        WaitEpochs::set(DEFER_EPOCHS);
        let expected = [
            places(DEFER_EPOCHS, PLACES_PER_EPOCH),
            vec![place(20, 1), place(20, 2), place(21, 0)],
        ]
        .concat();
        assert_eq!(queue(PLACES_PER_EPOCH + 3), expected);
    });
}

#[test]
fn place_is_not_given_again() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let ids = queue(PLACES_PER_EPOCH);
        for id in &ids {
            assert_ok!(cancel_slash(*id));
        }
        assert_eq!(queue(1), [place(DEFER_EPOCHS + 1, 0)]);
        assert_eq!(AgendaCounts::<Test>::get(DEFER_EPOCHS), PLACES_PER_EPOCH);
    });
}

#[test]
fn slash_without_a_wait_is_never_behind_the_cursor() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        WaitEpochs::set(0);
        MockClock::set_epoch(4);
        poll();
        // The cursor waits in the current epoch, where places are still given out.
        assert_eq!(NextSlash::<Test>::get(), place(4, 0));
        assert_eq!(queue(1), [place(4, 0)]);
        poll();
        assert_eq!(NextSlash::<Test>::get(), place(4, 1));
        assert_eq!(
            queue(PLACES_PER_EPOCH),
            [places(4, PLACES_PER_EPOCH)[1..].to_vec(), places(5, 1)].concat()
        );
        ProviderStaking::do_try_state().unwrap();
        poll();
        // What was moved is due one epoch later, however empty the blocks are.
        assert_eq!(NextSlash::<Test>::get(), place(4, PLACES_PER_EPOCH));
        assert_eq!(record(MACHINE).pending_slashes, 1);

        MockClock::set_epoch(5);
        poll();
        assert_eq!(NextSlash::<Test>::get(), place(5, 1));
        assert_eq!(record(MACHINE).pending_slashes, 0);
        assert_eq!(AgendaCounts::<Test>::iter_keys().collect::<Vec<_>>(), [5]);
    });
}
