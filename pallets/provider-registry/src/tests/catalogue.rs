use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Active, Suspended},
        SuspensionReason::BondTooLow,
    },
    money::{ASY, Balance},
    stake::BondStanding::{Sufficient, TooLow},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::{DispatchResult, traits::BadOrigin},
};

use crate::{
    Error, Event, HardwareClassIds, HardwareClassRecord, HardwareClasses, MAX_HARDWARE_CLASSES, mock::*,
};

fn set_class(compute_score: u32) -> DispatchResult {
    ProviderRegistry::set_hardware_class(
        RuntimeOrigin::root(),
        H100,
        class_record(b"NVIDIA_H100", compute_score),
    )
}

fn refresh(machine: u64) -> DispatchResult {
    ProviderRegistry::refresh_machine(RuntimeOrigin::signed(STRANGER), machine)
}

#[test]
fn genesis_fills_the_catalogue() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(
            HardwareClasses::<Test>::get(H100),
            Some(class_record(b"NVIDIA_H100", 989))
        );
        assert_eq!(HardwareClasses::<Test>::get(CPU), Some(class_record(b"CPU", 1)));
        assert_eq!(HardwareClasses::<Test>::iter().count(), 2);
    });
}

#[test]
#[should_panic(expected = "hardware class 1 is there twice")]
fn genesis_fails_when_a_class_repeats() {
    ExtBuilder::default()
        .hardware_classes(vec![genesis_class(1, "A", 1), genesis_class(1, "B", 1)])
        .build();
}

#[test]
#[should_panic(expected = "a hardware class has a bad name")]
fn genesis_fails_when_a_name_is_bad() {
    ExtBuilder::default()
        .hardware_classes(vec![genesis_class(1, "Nvidia H100", 1)])
        .build();
}

#[test]
fn set_hardware_class_works() {
    ExtBuilder::default().build_and_execute(|| {
        let record = class_record(b"AMD_MI300X", 1_307);
        assert_ok!(ProviderRegistry::set_hardware_class(
            RuntimeOrigin::root(),
            50,
            record.clone()
        ));

        assert_eq!(HardwareClasses::<Test>::get(50), Some(record));
        assert_eq!(take_events(), [Event::HardwareClassSet { class: 50 }]);
    });
}

#[test]
fn set_hardware_class_fails_when_not_allowed() {
    ExtBuilder::default().build_and_execute(|| {
        let set = |origin, name| ProviderRegistry::set_hardware_class(origin, 50, class_record(name, 1));
        assert_noop!(set(RuntimeOrigin::signed(PROVIDER), b"A"), BadOrigin);
        assert_noop!(set(RuntimeOrigin::root(), b""), Error::<Test>::BadClassName);
        assert_noop!(set(RuntimeOrigin::root(), b"a"), Error::<Test>::BadClassName);
    });
}

#[test]
fn set_hardware_class_fails_when_weight_would_be_cheaper_than_anywhere() {
    ExtBuilder::default().build_and_execute(|| {
        PointBond::set(3 * ASY);
        let set = |stake_per_slot| {
            let record = HardwareClassRecord {
                stake_per_slot,
                ..class_record(b"TOY", 100)
            };
            ProviderRegistry::set_hardware_class(RuntimeOrigin::root(), 50, record)
        };
        assert_noop!(set(300 * ASY - 1), Error::<Test>::StakeTooLow);
        assert_noop!(set(0), Error::<Test>::StakeTooLow);
        assert_ok!(set(300 * ASY));
    });
}

#[test]
fn slots_ask_for_no_less_than_their_weight() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let slots = Balance::from(SLOTS);
        assert_eq!(ProviderRegistry::class_stake(machine), Some(999 * ASY * slots));
        // A raise counts for everybody at once, whatever the class says.
        PointBond::set(2 * ASY);
        assert_eq!(
            ProviderRegistry::class_stake(machine),
            Some(2 * 989 * ASY * slots)
        );
        PointBond::set(0);
        assert_eq!(ProviderRegistry::class_stake(machine), Some(999 * ASY * slots));
        PointBond::set(Balance::MAX);
        assert_eq!(ProviderRegistry::class_stake(machine), Some(Balance::MAX));
    });
}

#[test]
fn set_hardware_class_renames() {
    ExtBuilder::default().build_and_execute(|| {
        let set = |class, name: &[u8]| {
            ProviderRegistry::set_hardware_class(RuntimeOrigin::root(), class, class_record(name, 1))
        };
        assert_noop!(set(50, b"NVIDIA_H100"), Error::<Test>::ClassNameTaken);
        assert_ok!(set(H100, b"NVIDIA_H100_SXM"));
        assert_ok!(set(50, b"NVIDIA_H100"));

        let id = |name: &[u8]| HardwareClassIds::<Test>::get(&class_record(name, 1).name);
        assert_eq!(id(b"NVIDIA_H100_SXM"), Some(H100));
        assert_eq!(id(b"NVIDIA_H100"), Some(50));
    });
}

#[test]
fn set_hardware_class_fails_when_the_catalogue_is_full() {
    ExtBuilder::default().build_and_execute(|| {
        let set = |class: u32| {
            let name = format!("CLASS_{class}");
            ProviderRegistry::set_hardware_class(
                RuntimeOrigin::root(),
                class.try_into().unwrap(),
                class_record(name.as_bytes(), 1),
            )
        };
        // Two are there from genesis.
        for class in 100..100 + MAX_HARDWARE_CLASSES - 2 {
            assert_ok!(set(class));
        }
        assert_noop!(set(99), Error::<Test>::TooManyClasses);
        // What is there can still change.
        assert_ok!(set(100));
    });
}

#[test]
fn set_hardware_class_leaves_machines_as_they_are() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let before = record(machine);
        assert_ok!(set_class(2_000));

        assert_eq!(record(machine), before);
        assert_eq!(
            ProviderRegistry::class_stake(machine),
            Some(999 * ASY * u128::from(SLOTS))
        );
        assert_eq!(WeightsHeard::get(), []);
        // The next machine is registered on the new terms.
        let newer = unproven_machine(PROVIDER, 2);
        assert_eq!(
            ProviderRegistry::class_stake(newer),
            Some(2_010 * ASY * u128::from(SLOTS))
        );
    });
}

#[test]
fn refresh_machine_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(set_class(2_000));
        take_events();

        // The bond suffices for the new terms too.
        assert_ok!(refresh(machine));
        let terms_updated = Event::MachineTermsUpdated {
            machine,
            compute_score: 2_000,
            stake_per_slot: 2_010 * ASY,
        };
        assert_eq!(take_events(), [terms_updated]);
        assert_eq!(WeightsHeard::take(), [(machine, 2_000 * u64::from(SLOTS) * 4)]);
        assert_noop!(refresh(machine), Error::<Test>::NothingToRefresh);
    });
}

#[test]
fn refresh_machine_suspends_when_bond_does_not_suffice_any_more() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        // As after a change of the base bond, of which nobody told the registry.
        set_bond(machine, ASY, TooLow);
        assert_ok!(refresh(machine));
        let to = Suspended(BondTooLow);
        assert_eq!(
            take_events(),
            [Event::MachineStatusChanged {
                machine,
                from: Active,
                to
            }]
        );
        assert_eq!(WeightsHeard::take(), [(machine, 0)]);

        set_bond(machine, ASY, Sufficient);
        assert_ok!(refresh(machine));
        assert_eq!(status(machine), Some(Active));
    });
}

#[test]
fn refresh_machine_fails_when_there_is_none() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_noop!(refresh(99), Error::<Test>::NoSuchMachine);
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_noop!(refresh(machine), Error::<Test>::MachineRetired);
    });
}
