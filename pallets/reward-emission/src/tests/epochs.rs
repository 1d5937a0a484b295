//! The end of an epoch, its accounts, and genesis.

use assay_primitives::{
    clock::OnEpochEnd,
    emission::FlywheelLedger,
    money::{ASY, Balance},
};
use polkadot_sdk::{frame_support::weights::Weight, sp_io, sp_runtime::BuildStorage};

use super::*;
use crate::{DEFAULT_EMISSION_CAP, EpochRecord, EpochRecords, Event, RemainingEmission, WeightInfo};

#[test]
fn epoch_end_releases_a_part_of_what_is_left() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(2);
        let second_pool = (CAP - FIRST_POOL) / DIVISOR;
        assert_eq!(
            take_events(),
            vec![
                Event::EpochClosed {
                    epoch: 0,
                    pool: FIRST_POOL,
                    total_weight: 0
                },
                Event::EpochClosed {
                    epoch: 1,
                    pool: second_pool,
                    total_weight: 100
                },
            ]
        );
        assert_eq!(RemainingEmission::<Test>::get(), CAP - FIRST_POOL - second_pool);
        assert_eq!(
            EpochRecords::<Test>::get(1),
            EpochRecord {
                pool: second_pool,
                total_weight: 100,
                ..Default::default()
            }
        );
        // Releasing is not minting.
        assert_eq!(issuance(), 200 * ASY);
    });
}

#[test]
fn epoch_end_releases_nothing_when_less_is_left_than_can_be_divided() {
    ExtBuilder::default()
        .remaining_emission(DIVISOR - 1)
        .build_and_execute(|| {
            set_weight(0, 100);
            end_epochs(1);
            assert_eq!(EpochRecords::<Test>::get(0).pool, 0);
            assert_eq!(RemainingEmission::<Test>::get(), DIVISOR - 1);
        });
}

#[test]
fn epoch_end_forgets_what_falls_out_of_history() {
    ExtBuilder::default().build_and_execute(|| {
        end_epochs(HISTORY);
        assert!(EpochRecords::<Test>::contains_key(0));
        end_epochs(1);
        assert!(!EpochRecords::<Test>::contains_key(0));
        assert_eq!(EpochRecords::<Test>::iter().count(), HISTORY as usize);
    });
}

#[test]
fn all_pools_together_are_never_more_than_the_cap() {
    ExtBuilder::default().build_and_execute(|| {
        let mut released: Balance = 0;
        for epoch in 0..3_000 {
            end_epochs(1);
            released += EpochRecords::<Test>::get(epoch).pool;
        }
        assert_eq!(released + RemainingEmission::<Test>::get(), CAP);
    });
}

#[test]
fn epoch_end_has_the_weight_that_was_benchmarked() {
    assert_eq!(
        <RewardEmission as OnEpochEnd>::weight(),
        <() as WeightInfo>::on_epoch_end()
    );
    assert_ne!(<RewardEmission as OnEpochEnd>::weight(), Weight::zero());
}

#[test]
fn fees_are_noted_in_the_epoch_in_which_they_were_taken() {
    ExtBuilder::default().build_and_execute(|| {
        RewardEmission::note_fee(10, 5);
        RewardEmission::note_fee(3, 2);
        end_epochs(1);
        RewardEmission::note_fee(1, 1);
        assert_eq!(
            EpochRecords::<Test>::get(0),
            EpochRecord {
                pool: FIRST_POOL,
                fees: 13,
                burned: 7,
                ..Default::default()
            }
        );
        assert_eq!(
            EpochRecords::<Test>::get(1),
            EpochRecord {
                fees: 1,
                burned: 1,
                ..Default::default()
            }
        );
    });
}

#[test]
fn genesis_sets_the_cap() {
    ExtBuilder::default()
        .remaining_emission(7 * ASY)
        .build_and_execute(|| assert_eq!(RemainingEmission::<Test>::get(), 7 * ASY));
    let storage = RuntimeGenesisConfig::default().build_storage().unwrap();
    sp_io::TestExternalities::from(storage).execute_with(|| {
        assert_eq!(RemainingEmission::<Test>::get(), DEFAULT_EMISSION_CAP);
        assert_eq!(DEFAULT_EMISSION_CAP, 1_000_000_000 * ASY);
    });
}
