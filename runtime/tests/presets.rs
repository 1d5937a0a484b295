//! The genesis presets and the shape of the runtime.

#![allow(clippy::unwrap_used)]

mod common;

use assay_runtime::{
    Runtime,
    genesis_config_presets::{get_preset, preset_names},
};
use common::*;
use pallet_provider_registry::{HardwareClassIds, HardwareClasses};
use polkadot_sdk::{
    frame_support::assert_ok, pallet_session, pallet_staking, sp_genesis_builder::PresetId,
    sp_keyring::Sr25519Keyring,
};

#[test]
fn every_named_preset_builds_a_chain_that_makes_blocks() {
    for (preset, validators) in [("development", 1), ("local", 3)] {
        assert!(preset_names().contains(&PresetId::from(preset)));
        with_chain(preset, |chain| {
            assert_eq!(pallet_session::Validators::<Runtime>::get().len(), validators);
            assert_eq!(
                pallet_staking::ValidatorCount::<Runtime>::get() as usize,
                validators
            );
            for _ in 0..5 {
                chain.next_block();
            }
        });
    }
    assert_eq!(preset_names().len(), 2);
    assert_eq!(get_preset(&PresetId::from("mainnet")), None);
}

#[test]
fn well_known_accounts_are_funded_and_alice_is_sudo() {
    with_chain("development", |_| {
        for who in [Sr25519Keyring::Alice, Sr25519Keyring::Bob, Sr25519Keyring::Ferdie] {
            assert!(wealth(&account(who)) > 0);
        }
        assert_eq!(
            polkadot_sdk::pallet_sudo::Key::<Runtime>::get(),
            Some(account(Sr25519Keyring::Alice))
        );
    });
}

#[test]
fn every_preset_trusts_the_vendors_roots_and_no_others() {
    for preset in preset_names() {
        let name: &str = preset.as_ref();
        with_chain(name, |_| {
            assert_eq!(
                pallet_attestation::Roots::<Runtime>::get(),
                assay_evidence::vendor_roots().unwrap(),
                "{name}"
            );
            // No workload is accepted before governance allows it.
            assert_eq!(pallet_attestation::AllowedWorkloads::<Runtime>::iter().count(), 0);
            assert_eq!(pallet_attestation::References::<Runtime>::iter().count(), 0);
        });
    }
}

#[test]
fn the_catalogue_has_every_class_once() {
    with_chain("development", |_| {
        let classes: Vec<_> = HardwareClasses::<Runtime>::iter().collect();
        assert_eq!(classes.len(), assay_runtime::hardware_classes::catalogue().len());
        let names: std::collections::BTreeSet<_> =
            classes.iter().map(|(_, class)| class.name.clone()).collect();
        assert_eq!(names.len(), classes.len(), "names are unique");
        for (id, class) in &classes {
            assert_eq!(HardwareClassIds::<Runtime>::get(&class.name), Some(*id));
            assert!(class.compute_score > 0, "{class:?}");
            assert!(class.stake_per_slot > 0, "{class:?}");
            // Only a class with a GPU has memory and cores.
            let has_gpu = class.name.as_slice() != b"CPU";
            assert_eq!(class.vram_mib > 0, has_gpu, "{class:?}");
            assert_eq!(class.cuda_cores > 0, has_gpu, "{class:?}");
        }
        for wanted in [
            "CPU",
            "NVIDIA_H200",
            "NVIDIA_H100",
            "NVIDIA_H100_PCIE",
            "NVIDIA_A100_80GB",
            "NVIDIA_A100_40GB",
            "NVIDIA_L40S",
            "NVIDIA_L4",
            "NVIDIA_A10",
            "NVIDIA_RTX_3090",
            "NVIDIA_RTX_4090",
            "NVIDIA_RTX_5090",
            "AMD_MI300X",
            "AMD_MI250",
        ] {
            assert!(
                names.iter().any(|name| name.as_slice() == wanted.as_bytes()),
                "{wanted} is in the catalogue"
            );
        }
    });
}

#[test]
fn every_class_is_challenged_on_the_development_presets() {
    for preset in ["development", "local"] {
        with_chain(preset, |_| {
            let schedule = pallet_hardware_challenge::CurrentSchedule::<Runtime>::get();
            assert!(schedule.is_valid());
            for (class, _) in HardwareClasses::<Runtime>::iter() {
                let versions = pallet_hardware_challenge::Classes::<Runtime>::get(class);
                let params = versions[0].params.unwrap();
                assert!(params.deadline_ms <= schedule.commit_window_ms);
                // A laptop fills it at once, and leaving some of it out would not pay.
                assert_eq!(params.memory_bytes(), 4 << 20);
                assert_eq!(params.passes(), 32);
            }
        });
    }
}

#[test]
fn the_challenges_of_real_hardware_are_within_bounds() {
    with_chain("development", |_| {
        assert_ok!(sudo(pallet_hardware_challenge::Call::<Runtime>::set_schedule {
            schedule: Default::default()
        }));
        for challenge in assay_runtime::hardware_classes::challenges() {
            let class = challenge.class;
            let record = HardwareClasses::<Runtime>::get(class).unwrap();
            let params = challenge.params;
            assert!(params.passes() >= 20, "{params:?}");
            assert!(params.proof_bytes() <= 4_096, "{params:?}");
            // Most of the memory, but not all of it.
            if record.vram_mib > 0 {
                let claimed_mib = params.memory_bytes() >> 20;
                assert!(claimed_mib * 100 >= u64::from(record.vram_mib) * 80, "{params:?}");
                assert!(claimed_mib < u64::from(record.vram_mib), "{params:?}");
            }
            assert_ok!(sudo(pallet_hardware_challenge::Call::<Runtime>::set_class {
                class,
                params: Some(params)
            }));
        }
    });
}

#[test]
fn a_session_key_of_each_duty_is_set_for_every_validator() {
    with_chain("local", |_| {
        for validator in pallet_session::Validators::<Runtime>::get() {
            let keys = pallet_session::NextKeys::<Runtime>::get(&validator).expect("a validator has keys");
            let kinds: Vec<_> =
                assay_runtime::SessionKeys::decode_into_raw_public_keys(&codec::Encode::encode(&keys))
                    .unwrap()
                    .into_iter()
                    .map(|(_, kind)| kind.0)
                    .collect();
            assert_eq!(kinds, [*b"babe", *b"gran", *b"aval"]);
        }
    });
}
