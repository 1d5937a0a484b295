//! Figures of the emission, from the runtime's parameters: income by the size of the network, income by the
//! bond, and a cheat's gain. `docs/ECONOMICS.md` quotes them; a change of a parameter that makes it wrong
//! fails here.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    clock::{ActiveClock, MILLIS_PER_HOUR},
    emission::{ATTESTED_WEIGHT_PARTS, WEIGHT_PARTS},
    machine::{HardwareClassId, MachineId},
    money::{ASY, Balance},
    offence::Offence,
};
use assay_runtime::{
    ChainClock, RewardEmission, Runtime,
    configs::market::{EMISSION_CAP, EMISSION_CAP_PER_POINT, EMISSION_DIVISOR},
    hardware_classes::{CPU, catalogue},
    parameters::dynamic,
};
use common::*;
use pallet_reward_emission::{EpochRecords, RemainingEmission};
use polkadot_sdk::{
    frame_support::{assert_ok, traits::Get},
    sp_keyring::Sr25519Keyring::{Bob, Dave, Eve},
    sp_runtime::Permill,
};

/// Identifier of `NVIDIA_H100`.
const H100: HardwareClassId = 11;

/// Number of one-hour epochs in a year.
const EPOCHS_PER_YEAR: Balance = 8_766;

/// Returns the points of compute score of a class.
fn score_of(class: HardwareClassId) -> Balance {
    let of_class = catalogue().into_iter().find(|of_class| of_class.class == class);
    of_class.unwrap().compute_score.into()
}

/// Returns the required bond for a machine of that class with so many slots.
fn bond_of(class: HardwareClassId, slots: u8) -> Balance {
    let mut bond = 0;
    with_chain("development", |_| {
        assert_ok!(register_provider(Bob));
        let mut registration = registration_of(Dave, slots);
        registration.class = class;
        bond = minimum_bond(register_machine(Bob, Dave, registration).unwrap());
    });
    bond
}

fn payout(machine: MachineId, max_epochs: u32) {
    let call = pallet_reward_emission::Call::payout { machine, max_epochs };
    assert_ok!(call_as(&account(Eve), call));
}

#[test]
fn first_slot_of_a_chain_earns_its_cap_and_leaves_the_pool() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let first = ChainClock::current_epoch() + 1;
        chain.until_epoch(first + 2);
        let before = wealth(&account(Bob));
        payout(machine, 1);
        // Before, it took 19,768 ASY.
        assert_eq!(wealth(&account(Bob)) - before, EMISSION_CAP_PER_POINT);
        let record = EpochRecords::<Runtime>::get(first);
        assert_eq!(record.pool, EMISSION_CAP_PER_POINT);
        assert_eq!(
            record.withheld,
            EMISSION_CAP / EMISSION_DIVISOR - EMISSION_CAP_PER_POINT
        );
        // Two epochs of one point each; the rest of the emission is untouched.
        assert_eq!(
            RemainingEmission::<Runtime>::get(),
            EMISSION_CAP - 2 * EMISSION_CAP_PER_POINT
        );
        assert_eq!(RewardEmission::outlook().total_weight, WEIGHT_PARTS.into());
    });
}

#[test]
fn full_pool_is_shared_by_forty_thousand_h100() {
    let first_pool = EMISSION_CAP / EMISSION_DIVISOR;
    assert_eq!(first_pool / ASY, 19_768);
    let full_at_points = first_pool.div_ceil(EMISSION_CAP_PER_POINT);
    assert_eq!(full_at_points, 39_536_631);
    assert_eq!(full_at_points / score_of(H100), 39_976);
    // An H100 earns half an ASY an hour, and 4,334 ASY a year, as long as the network is below the cap.
    assert_eq!(score_of(H100) * EMISSION_CAP_PER_POINT, 4_945 * ASY / 10_000);
    assert_eq!(
        score_of(H100) * EMISSION_CAP_PER_POINT * EPOCHS_PER_YEAR / ASY,
        4_334
    );
    // A thousand processors of 64 slots earn 32 ASY an hour, a six-hundredth of the pool, at no other's
    // expense.
    let processors = 1_000 * 64 * score_of(CPU) * EMISSION_CAP_PER_POINT;
    assert_eq!((processors / ASY, first_pool / processors), (32, 617));
}

#[test]
fn no_identities_earn_more_for_what_they_bond_than_gpus_do() {
    // Plancks earned in a year for each million plancks bonded.
    let yearly = |class, slots: u8| {
        let earned = score_of(class) * Balance::from(slots) * EMISSION_CAP_PER_POINT * EPOCHS_PER_YEAR;
        earned * 1_000_000 / bond_of(class, slots)
    };
    let best_of_processors = yearly(CPU, 1).max(yearly(CPU, 64));
    for class in catalogue().into_iter().map(|of_class| of_class.class) {
        let (one, eight) = (yearly(class, 1), yearly(class, 8));
        // A machine that is split into many identities bonds as much for each slot, or more.
        assert!(
            one <= eight,
            "class {class} earns {one} alone and {eight} together"
        );
        // The classes that cost next to nothing earn least of all.
        assert!(
            class == CPU || best_of_processors < one,
            "class {class} earns {one}, and processors {best_of_processors}"
        );
    }
}

#[test]
fn hardware_that_leaves_after_an_audit_loses_more_than_it_earns() {
    // The next audit comes within so many epochs, and is missed.
    let schedule = pallet_hardware_challenge::Schedule::default();
    let epochs = Balance::from(schedule.max_audit_interval_ms / MILLIS_PER_HOUR);
    let mut first = Permill::zero();
    with_chain("development", |_| {
        let table = dynamic::provider_staking::Offences::get();
        first = table.penalty(Offence::ChallengeUnanswered).first;
    });
    for class in catalogue().into_iter().map(|of_class| of_class.class) {
        for slots in [1, 8, 64] {
            let at_cap = score_of(class) * Balance::from(slots) * EMISSION_CAP_PER_POINT;
            let gained = epochs * at_cap * Balance::from(ATTESTED_WEIGHT_PARTS) / Balance::from(WEIGHT_PARTS);
            let lost = first.mul_floor(bond_of(class, slots));
            assert!(
                gained < lost,
                "class {class} with {slots} slots gains {gained} and loses {lost}"
            );
        }
    }
}
