use assay_primitives::{
    machine::{LeaseEnd::Fulfilled, LeaseTerms, MachineInspect, MachineLease, MachineStatus},
    money::ASY,
    stake::BondStanding::TooLow,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, mock::*};

#[test]
fn inspect_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        assert_eq!(ProviderRegistry::status(machine), Some(MachineStatus::Unproven));
        assert_eq!(
            ProviderRegistry::class_stake(machine),
            Some(999 * ASY * u128::from(SLOTS))
        );

        assert_eq!(ProviderRegistry::provider_of(99), None);
        assert_eq!(ProviderRegistry::status(99), None);
        assert_eq!(ProviderRegistry::class_stake(99), None);
        assert_eq!(ProviderRegistry::machine_of_worker(&STRANGER), None);
    });
}

#[test]
fn lease_and_release_work() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);

        let terms = ProviderRegistry::lease(machine, 3).unwrap();
        assert_eq!(
            terms,
            LeaseTerms {
                provider: PROVIDER,
                price_per_slot_hour: ASK
            }
        );
        assert_eq!(record(machine).free_slots, 1);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        assert_ok!(ProviderRegistry::release(machine, 3, Fulfilled));
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));

        assert_eq!(record(machine).free_slots, SLOTS);
        assert_eq!(
            take_events(),
            [
                Event::SlotsLeased {
                    machine,
                    slots: 3,
                    free_slots: 1
                },
                Event::SlotsLeased {
                    machine,
                    slots: 1,
                    free_slots: 0
                },
                Event::SlotsReleased {
                    machine,
                    slots: 3,
                    free_slots: 3,
                    end: Fulfilled,
                },
                Event::SlotsReleased {
                    machine,
                    slots: 1,
                    free_slots: 4,
                    end: Fulfilled,
                },
            ]
        );
        // What is leased out still earns from the emission.
        assert_eq!(WeightsHeard::get(), []);
    });
}

#[test]
fn lease_fails_when_not_possible() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_noop!(ProviderRegistry::lease(99, 1), Error::<Test>::NoSuchMachine);
        assert_noop!(ProviderRegistry::lease(machine, 0), Error::<Test>::BadSlots);
        assert_noop!(
            ProviderRegistry::lease(machine, SLOTS + 1),
            Error::<Test>::TooFewFreeSlots
        );
        assert_ok!(ProviderRegistry::lease(machine, SLOTS));
        assert_noop!(
            ProviderRegistry::lease(machine, 1),
            Error::<Test>::TooFewFreeSlots
        );

        change_bond(machine, 1, TooLow);
        assert_noop!(ProviderRegistry::lease(machine, 1), Error::<Test>::NotActive);
        let unproven = unproven_machine(PROVIDER, 2);
        assert_noop!(ProviderRegistry::lease(unproven, 1), Error::<Test>::NotActive);
    });
}

#[test]
fn release_fails_when_not_leased() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_noop!(
            ProviderRegistry::release(99, 1, Fulfilled),
            Error::<Test>::NoSuchMachine
        );
        assert_noop!(
            ProviderRegistry::release(machine, 1, Fulfilled),
            Error::<Test>::SlotsNotLeased
        );
        assert_ok!(ProviderRegistry::lease(machine, 2));
        assert_noop!(
            ProviderRegistry::release(machine, 0, Fulfilled),
            Error::<Test>::BadSlots
        );
        assert_noop!(
            ProviderRegistry::release(machine, 3, Fulfilled),
            Error::<Test>::SlotsNotLeased
        );
        assert_noop!(
            ProviderRegistry::release(machine, u8::MAX, Fulfilled),
            Error::<Test>::SlotsNotLeased
        );
    });
}

/// The helpers that benchmarks of other pallets build on, in the order in which they use them.
#[cfg(feature = "runtime-benchmarks")]
#[test]
fn benchmark_machines_live_and_go() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = ProviderRegistry::benchmark_machine(&STRANGER, &worker(1), 8);
        assert_eq!(status(machine), Some(MachineStatus::Unproven));
        ProviderRegistry::benchmark_activate(machine);
        assert_ok!(ProviderRegistry::lease(machine, 8));
        assert_ok!(ProviderRegistry::release(machine, 8, Fulfilled));

        set_bond(machine, ASY, TooLow);
        ProviderRegistry::benchmark_retire(machine);
        assert_eq!(status(machine), Some(MachineStatus::Retired));
        MockClock::set_epoch(2);
        change_bond(machine, 0, TooLow);
        assert_eq!(status(machine), None);
    });
}
