//! The call `payout`.

use assay_primitives::money::{ASY, Balance};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::DispatchError,
};

use super::*;
use crate::{EpochRecord, EpochRecords, Error, Event, RewardDue, WeightInfo};

fn pool(epoch: EpochIndex) -> Balance {
    EpochRecords::<Test>::get(epoch).pool
}

#[test]
fn payout_works() {
    ExtBuilder::default().build_and_execute(|| {
        // GIVEN machines that share an epoch three to one
        set_weight(0, 300);
        set_weight(1, 100);
        end_epochs(2);
        let (alice, bob) = (Balances::balance(&ALICE), Balances::balance(&BOB));
        let _ = take_events();

        // WHEN both are paid
        assert_ok!(payout(0, 1));
        assert_ok!(payout(1, 1));

        // THEN each provider has its share, newly minted,
        let (three_quarters, quarter) = (pool(1) * 3 / 4, pool(1) / 4);
        assert_eq!(Balances::balance(&ALICE), alice + three_quarters);
        assert_eq!(Balances::balance(&BOB), bob + quarter);
        assert_eq!(EpochRecords::<Test>::get(1).minted, three_quarters + quarter);
        assert_eq!(issuance(), alice + bob + three_quarters + quarter);
        // AND the events say so.
        let paid = |machine, amount, destination| Event::RewardPaid {
            machine,
            first_epoch: 1,
            last_epoch: 1,
            amount,
            destination,
            bonded: false,
        };
        assert_eq!(
            take_events(),
            vec![paid(0, three_quarters, ALICE), paid(1, quarter, BOB)]
        );
    });
}

#[test]
fn payout_pays_the_oldest_epochs_first_and_no_more_than_asked() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 1);
        end_epochs(6);
        let _ = take_events();
        assert_ok!(payout(0, 2));
        assert_ok!(payout(0, MAX_EPOCHS));
        let paid = |first_epoch, last_epoch, amount| Event::RewardPaid {
            machine: 0,
            first_epoch,
            last_epoch,
            amount,
            destination: ALICE,
            bonded: false,
        };
        assert_eq!(
            take_events(),
            vec![
                paid(1, 2, pool(1) + pool(2)),
                paid(3, 5, pool(3) + pool(4) + pool(5))
            ]
        );
        assert_eq!(MachineWeights::<Test>::get(0).unwrap().next_unpaid_epoch, 6);
    });
}

#[test]
fn payout_charges_the_epochs_that_it_paid() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 1);
        end_epochs(4);
        let charged = RewardEmission::payout(RuntimeOrigin::signed(CHARLIE), 0, MAX_EPOCHS).unwrap();
        assert_eq!(charged.actual_weight, Some(<() as WeightInfo>::payout(3)));
    });
}

#[test]
fn payout_follows_the_weight_of_each_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(1, 100);
        set_weight(0, 100);
        end_epochs(2);
        // Half of epoch 1; nothing of 2, in which it leaves; nothing of 3; a quarter of 4.
        set_weight(0, 0);
        end_epochs(1);
        set_weight(1, 300);
        set_weight(0, 100);
        end_epochs(2);
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_eq!(EpochRecords::<Test>::get(1).minted, pool(1) / 2);
        assert_eq!(EpochRecords::<Test>::get(2).minted, 0);
        assert_eq!(EpochRecords::<Test>::get(3).minted, 0);
        assert_eq!(EpochRecords::<Test>::get(4).minted, pool(4) / 4);
        // The other machine had all of the epoch that this one left.
        assert_ok!(payout(1, MAX_EPOCHS));
        assert_eq!(EpochRecords::<Test>::get(2).minted, pool(2));
    });
}

#[test]
fn payout_does_not_mint_what_uptime_forfeits() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(4);
        Uptimes::set([((0, 1), 750_000), ((0, 2), 0), ((0, 3), 2_000_000)].into());
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_eq!(EpochRecords::<Test>::get(1).minted, pool(1) * 3 / 4);
        assert_eq!(EpochRecords::<Test>::get(2).minted, 0);
        // More than whole counts as whole.
        assert_eq!(EpochRecords::<Test>::get(3).minted, pool(3));
    });
}

#[test]
fn payout_has_the_average_uptime_brought_up_to_date() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(4);
        assert_ok!(payout(0, 2));
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_noop!(payout(0, MAX_EPOCHS), Error::<Test>::NothingToPay);
        assert_eq!(Counted::get(), [(0, 2), (0, 1)]);
    });
}

#[test]
fn payout_waits_until_the_uptime_of_an_epoch_is_final() {
    ExtBuilder::default().build_and_execute(|| {
        OpenEpochs::set(1);
        set_weight(0, 1);
        end_epochs(2);
        // Epoch 1 has ended, but what was seen in it may still change.
        assert_eq!(RewardEmission::due(0, MAX_EPOCHS), None);
        assert_noop!(payout(0, MAX_EPOCHS), Error::<Test>::NothingToPay);
        Uptimes::set([((0, 1), 500_000)].into());
        end_epochs(1);
        let _ = take_events();
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_eq!(
            take_events(),
            vec![Event::RewardPaid {
                machine: 0,
                first_epoch: 1,
                last_epoch: 1,
                amount: pool(1) / 2,
                destination: ALICE,
                bonded: false,
            }]
        );
        assert_noop!(payout(0, MAX_EPOCHS), Error::<Test>::NothingToPay);
    });
}

#[test]
fn payout_of_nothing_moves_on() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(2);
        Uptimes::set([((0, 1), 0)].into());
        let before = issuance();
        let _ = take_events();
        assert_ok!(payout(0, 1));
        assert_eq!(issuance(), before);
        assert_eq!(
            take_events(),
            vec![Event::RewardPaid {
                machine: 0,
                first_epoch: 1,
                last_epoch: 1,
                amount: 0,
                destination: ALICE,
                bonded: false,
            }]
        );
        assert_noop!(payout(0, 1), Error::<Test>::NothingToPay);
    });
}

#[test]
fn payout_skips_what_fell_out_of_history() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(1 + HISTORY + 10);
        let _ = take_events();
        assert_ok!(payout(0, 1));
        let first_epoch = 11;
        assert_eq!(
            take_events(),
            vec![Event::RewardPaid {
                machine: 0,
                first_epoch,
                last_epoch: first_epoch,
                amount: pool(first_epoch),
                destination: ALICE,
                bonded: false,
            }]
        );
    });
}

#[test]
fn payout_tidies_up_after_a_machine_whose_rewards_fell_out_of_history() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(2);
        set_weight(0, 0);
        end_epochs(HISTORY + 1);
        let before = issuance();
        assert_ok!(payout(0, 1));
        assert_eq!(issuance(), before);
        assert!(!MachineWeights::<Test>::contains_key(0));
    });
}

#[test]
fn payout_works_when_the_machine_is_gone() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(2);
        retire(0);
        ChangedStatus::mutate(|status| status.insert(0, None));
        let before = Balances::balance(&ALICE);
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_eq!(Balances::balance(&ALICE), before + pool(1));
        assert!(!MachineWeights::<Test>::contains_key(0));
    });
}

#[test]
fn payout_fails_when_nothing_is_unpaid() {
    ExtBuilder::default().build_and_execute(|| {
        // Never had weight.
        assert_noop!(payout(0, 1), Error::<Test>::NothingToPay);
        // Its first epoch has not begun; has begun, but not ended.
        set_weight(0, 100);
        assert_noop!(payout(0, 1), Error::<Test>::NothingToPay);
        end_epochs(1);
        assert_noop!(payout(0, 1), Error::<Test>::NothingToPay);
        // Was paid.
        end_epochs(1);
        assert_ok!(payout(0, 1));
        assert_noop!(payout(0, 1), Error::<Test>::NothingToPay);
    });
}

#[test]
fn payout_fails_when_the_count_of_epochs_is_out_of_range() {
    ExtBuilder::default().build_and_execute(|| {
        set_weight(0, 100);
        end_epochs(2);
        assert_noop!(payout(0, 0), Error::<Test>::BadEpochCount);
        assert_noop!(payout(0, MAX_EPOCHS + 1), Error::<Test>::BadEpochCount);
    });
}

#[test]
fn payout_fails_when_unsigned() {
    ExtBuilder::default().build_and_execute(|| {
        let refused = RewardEmission::payout(RuntimeOrigin::none(), 0, 1).unwrap_err();
        assert_eq!(refused.error, DispatchError::BadOrigin);
    });
}

#[test]
fn sums_stay_exact_where_shares_do_not_divide() {
    // A pool of one planck per epoch for three machines: each share rounds to nothing.
    ExtBuilder::default()
        .remaining_emission(DIVISOR)
        .build_and_execute(|| {
            for machine in 0..3 {
                set_weight(machine, 1);
            }
            end_epochs(2);
            let before = issuance();
            for machine in 0..3 {
                assert_ok!(payout(machine, 1));
            }
            assert_eq!(issuance(), before);
        });
}

#[test]
fn reward_is_rounded_once_and_down() {
    let epoch = |pool, total_weight| EpochRecord {
        pool,
        total_weight,
        ..Default::default()
    };
    // 10 × 1/3 × 0.999999 = 3.33…
    assert_eq!(epoch(10, 3).reward(1, 999_999), 3);
    // 9 × 1/3 × 0.999999 = 2.99…, and not ⌊3 × 0.999999⌋ by luck of two roundings.
    assert_eq!(epoch(9, 3).reward(1, 999_999), 2);
    assert_eq!(epoch(0, 3).reward(1, 1_000_000), 0);
    assert_eq!(epoch(10, 0).reward(1, 1_000_000), 0);
    // The widest numbers there are.
    let widest = epoch(Balance::MAX, RewardWeight::MAX.into());
    assert_eq!(widest.reward(RewardWeight::MAX, 1_000_000), Balance::MAX);
    assert_eq!(epoch(Balance::MAX, u128::MAX).reward(1, 1_000_000), 1);
    // A weight that is not part of the total takes the pool and no more.
    assert_eq!(epoch(10, 1).reward(RewardWeight::MAX, 1_000_000), 10);
}

#[test]
fn due_tells_what_payout_pays() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(RewardEmission::due(0, 1), None);
        set_weight(0, 100);
        end_epochs(40);
        let due = RewardEmission::due(0, u32::MAX).unwrap();
        assert_eq!((due.first_epoch, due.last_epoch), (1, MAX_EPOCHS));
        let before = Balances::balance(&ALICE);
        assert_ok!(payout(0, MAX_EPOCHS));
        assert_eq!(Balances::balance(&ALICE), before + due.amount);
        assert_eq!(
            RewardEmission::due(0, 1),
            Some(RewardDue {
                first_epoch: 33,
                last_epoch: 33,
                amount: pool(33)
            })
        );
        assert_eq!(RewardEmission::due(0, 0), None);
        assert!(due.amount > ASY);
    });
}
