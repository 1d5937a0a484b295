//! Bonds in proportion to weight: the price of weight in the emission, for every class and number of slots.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    machine::{HardwareClassId, MAX_SLOTS},
    money::{ASY, Balance},
};
use assay_runtime::{
    Runtime, hardware_classes,
    hardware_classes::{BOND_PER_POINT, CPU},
};
use common::*;
use pallet_provider_registry::{Error, HardwareClassRecord, HardwareClasses};
use polkadot_sdk::{
    frame_support::assert_ok,
    sp_keyring::Sr25519Keyring::{Bob, Dave},
};

type Registry = pallet_provider_registry::Call<Runtime>;

/// Least plancks bonded for a point of weight in any class: an H100's.
const LEAST_PER_POINT: Balance = 1_500_000_000_000;

/// Maximum price of a point of a GPU's weight, in multiples of the least: a single slot of the smallest GPU.
const DEAREST_GPU_FACTOR: Balance = 5;

/// Maximum price of a point in any class, in multiples of the least: a processor's, for which the challenge
/// proves least.
const DEAREST_FACTOR: Balance = 334;

/// Returns the bond that the chain requires for a registered machine of the class.
fn bond_of(class: HardwareClassId, slots: u8) -> Balance {
    let mut registration = registration_of(Dave, slots);
    registration.class = class;
    let machine = register_machine(Bob, Dave, registration).unwrap();
    let bond = minimum_bond(machine);
    assert_ok!(call_as(&account(Bob), Registry::retire { machine }));
    bond
}

#[test]
fn no_class_has_weight_cheaper_than_an_h100_and_none_much_dearer_but_processors() {
    with_chain("development", |_| {
        assert_eq!(BOND_PER_POINT, LEAST_PER_POINT);
        assert_ok!(register_provider(Bob));
        for class in hardware_classes::catalogue() {
            for slots in [1, 2, 8, MAX_SLOTS] {
                let points = Balance::from(class.compute_score) * Balance::from(slots);
                let bond = bond_of(class.class, slots);
                let of = format!("{slots} slots of {}", class.name);
                assert!(bond >= LEAST_PER_POINT * points, "{of}: {bond}");
                let factor = if class.class == CPU {
                    DEAREST_FACTOR
                } else {
                    DEAREST_GPU_FACTOR
                };
                assert!(bond <= factor * LEAST_PER_POINT * points, "{of}: {bond}");
            }
        }
    });
}

#[test]
fn slots_share_no_bond() {
    with_chain("development", |_| {
        assert_ok!(register_provider(Bob));
        // 500 ASY for a point, in one machine as in 64. Before, it was 511, and 18.8 for each of 64 together.
        assert_eq!(bond_of(CPU, 1), 500 * ASY);
        assert_eq!(bond_of(CPU, MAX_SLOTS), 32_000 * ASY);
        let h100 = 11;
        assert_eq!(bond_of(h100, 1), 1_483_500 * ASY / 1_000);
        assert_eq!(bond_of(h100, 8), 8 * bond_of(h100, 1));
        // The farm of 1,000 machines with 64 slots that took 39 % of the pool beside 100 H100s.
        assert_eq!(1_000 * bond_of(CPU, MAX_SLOTS), 32_000_000 * ASY);
        assert_eq!(100 * bond_of(h100, 1), 148_350 * ASY);
    });
}

#[test]
fn governance_adds_no_class_with_cheap_weight() {
    with_chain("development", |_| {
        let set = |stake_per_slot| {
            let record = HardwareClassRecord {
                name: b"TOY".to_vec().try_into().unwrap(),
                vram_mib: 1,
                cuda_cores: 1,
                compute_score: 1_000,
                stake_per_slot,
            };
            sudo(Registry::set_hardware_class { class: 99, record })
        };
        // The inner call fails, and the sudo call that dispatched it records the error.
        assert_eq!(set(1_500 * ASY - 1), Err(Error::<Runtime>::StakeTooLow.into()));
        assert!(!HardwareClasses::<Runtime>::contains_key(99));
        assert_ok!(set(1_500 * ASY));
    });
}
