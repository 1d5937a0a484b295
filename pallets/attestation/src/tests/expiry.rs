//! The hook: evidence that ends.

use polkadot_sdk::frame_support::{assert_ok, traits::Hooks, weights::Weight};

use crate::{Event, Expiries, NextExpirySlot, WeightInfo, mock::*, test_vendors::VENDORS_NOW_S};

/// Returns the hook's weight for this number of units.
fn weight_of(units: u64) -> Weight {
    let unit = <() as WeightInfo>::hook_expire().max(<() as WeightInfo>::hook_next_slot());
    <() as WeightInfo>::hook_overhead() + unit * units
}

#[test]
fn integrity_holds() {
    Attestation::integrity_test();
}

#[test]
fn evidence_that_ends_is_removed_and_its_deposit_given_back() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        assert_ok!(submit_gpu(1, 1));
        let ids = [only_evidence_of(0).id, only_evidence_of(1).id];
        let held_for_keys: Vec<_> = crate::VerifiedKeys::<Test>::iter_values()
            .map(|key| (key.owner, key.deposit))
            .collect();
        pass_s(LIFETIME_S - 1);
        take_events();
        pass_s(1);
        let mut events = take_events();
        events.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(
            events,
            [
                Event::EvidenceExpired {
                    machine: 0,
                    id: ids[0]
                },
                Event::EvidenceExpired {
                    machine: 1,
                    id: ids[1]
                },
            ]
        );
        for (owner, deposit) in held_for_keys {
            assert_eq!(held(&owner), deposit);
        }
        assert_eq!(Expiries::<Test>::iter_keys().count(), 0);
    });
}

#[test]
fn what_does_not_fit_a_block_is_done_in_the_next() {
    ExtBuilder::default().build_and_execute(|| {
        next_block();
        for machine in 0..4 {
            assert_ok!(submit_gpu(machine, machine as u8));
        }
        // The agenda comes to the slot before the end.
        pass_s(LIFETIME_S - 1);
        assert_eq!(
            NextExpirySlot::<Test>::get(),
            Some(slot(VENDORS_NOW_S + LIFETIME_S))
        );
        MockClock::stand_still_s(1);
        let left = || Expiries::<Test>::iter_keys().count();
        // Too little for anything, for nothing but the overhead, for one, and for two.
        for (weight, expected) in [
            (Weight::zero(), 4),
            (weight_of(0), 4),
            (weight_of(1), 3),
            (weight_of(2), 1),
            (weight_of(1), 0),
        ] {
            next_block_with(weight);
            assert_eq!(left(), expected);
            Attestation::do_try_state().unwrap();
        }
        // Seen to be empty only now.
        assert_eq!(
            NextExpirySlot::<Test>::get(),
            Some(slot(VENDORS_NOW_S + LIFETIME_S))
        );
        next_block();
        assert_eq!(
            NextExpirySlot::<Test>::get(),
            Some(slot(VENDORS_NOW_S + LIFETIME_S) + 1)
        );
    });
}

#[test]
fn the_hook_takes_no_more_than_its_share() {
    ExtBuilder::default().build_and_execute(|| {
        next_block();
        // A standstill of ten years.
        MockClock::stand_still_s(10 * 365 * 86_400);
        let before = NextExpirySlot::<Test>::get().unwrap();
        let mut meter = polkadot_sdk::frame_support::weights::WeightMeter::new();
        Attestation::on_poll(System::block_number(), &mut meter);
        assert!(meter.consumed().all_lte(SERVICE_WEIGHT));
        let after = NextExpirySlot::<Test>::get().unwrap();
        assert!(after > before && after < slot(now_s()), "some of it was done");
    });
}

#[test]
fn nothing_happens_before_the_first_time() {
    ExtBuilder::default().build_and_execute(|| {
        MockClock::set_now_s(0);
        next_block();
        assert_eq!(NextExpirySlot::<Test>::get(), None);
        MockClock::set_now_s(VENDORS_NOW_S);
        next_block();
        assert_eq!(NextExpirySlot::<Test>::get(), Some(slot(VENDORS_NOW_S) + 1));
    });
}

#[test]
fn a_removed_machine_leaves_nothing_behind() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_gpu(0, 1));
        ChangedMachines::mutate(|machines| machines.insert(0, None));
        pass_s(LIFETIME_S);
        assert!(evidence_of(0).is_empty());
        let key = crate::VerifiedKeys::<Test>::iter_values().next().unwrap();
        assert_eq!(held(&ALICE), key.deposit);
    });
}
