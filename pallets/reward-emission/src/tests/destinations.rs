//! The call `set_reward_destination`, and the destinations of rewards.

use assay_primitives::money::{ASY, Balance};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::DispatchError,
};

use super::*;
use crate::{EpochRecords, Error, Event, RewardDestination, RewardDestinations};

fn set_destination(
    who: AccountId,
    machine: MachineId,
    destination: RewardDestination<AccountId>,
) -> Result<(), DispatchError> {
    RewardEmission::set_reward_destination(RuntimeOrigin::signed(who), machine, destination)
}

/// Machine 0, alone, with one unpaid epoch; returns what it earned.
fn earn() -> Balance {
    set_weight(0, 100);
    end_epochs(2);
    let _ = take_events();
    EpochRecords::<Test>::get(1).pool
}

/// The event of the payout of [`earn`].
fn paid(amount: Balance, destination: AccountId, bonded: bool) -> Event<Test> {
    Event::RewardPaid {
        machine: 0,
        first_epoch: 1,
        last_epoch: 1,
        amount,
        destination,
        bonded,
    }
}

#[test]
fn set_reward_destination_works() {
    ExtBuilder::default().build_and_execute(|| {
        for destination in [
            RewardDestination::Account(CHARLIE),
            RewardDestination::Ethereum([7; 20]),
            RewardDestination::Bond,
            RewardDestination::Provider,
        ] {
            assert_ok!(set_destination(ALICE, 0, destination.clone()));
            assert_eq!(RewardDestinations::<Test>::get(0), destination);
            assert_eq!(
                take_events(),
                vec![Event::RewardDestinationSet {
                    machine: 0,
                    destination
                }]
            );
        }
        // The default takes no storage.
        assert!(!RewardDestinations::<Test>::contains_key(0));
    });
}

#[test]
fn set_reward_destination_fails_when_not_provider() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            set_destination(BOB, 0, RewardDestination::Bond),
            Error::<Test>::NotProvider
        );
        let _ = earn();
        assert_noop!(
            set_destination(BOB, 0, RewardDestination::Bond),
            Error::<Test>::NotProvider
        );
    });
}

#[test]
fn set_reward_destination_fails_when_there_is_no_machine() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            set_destination(ALICE, 10, RewardDestination::Bond),
            Error::<Test>::NoSuchMachine
        );
        // Retired with nothing to come counts as gone.
        retire(0);
        assert_noop!(
            set_destination(ALICE, 0, RewardDestination::Bond),
            Error::<Test>::NoSuchMachine
        );
    });
}

#[test]
fn set_reward_destination_fails_when_unsigned() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            RewardEmission::set_reward_destination(RuntimeOrigin::none(), 0, RewardDestination::Bond),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn set_reward_destination_works_for_a_retired_machine_with_rewards_to_come() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        retire(0);
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Account(CHARLIE)));
        assert_ok!(payout(0, 1));
        assert_eq!(Balances::balance(&CHARLIE), amount);
        // With the last reward the destination went too.
        assert!(!RewardDestinations::<Test>::contains_key(0));
    });
}

#[test]
fn destination_is_forgotten_when_a_machine_without_rewards_retires() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Bond));
        retire(0);
        assert!(!RewardDestinations::<Test>::contains_key(0));
    });
}

#[test]
fn destination_survives_a_time_without_weight() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Bond));
        set_weight(0, 100);
        set_weight(0, 0);
        assert!(!MachineWeights::<Test>::contains_key(0));
        assert_eq!(RewardDestinations::<Test>::get(0), RewardDestination::Bond);
    });
}

#[test]
fn rewards_go_to_another_account() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Account(CHARLIE)));
        let _ = take_events();
        assert_ok!(payout(0, 1));
        assert_eq!(Balances::balance(&CHARLIE), amount);
        assert_eq!(take_events(), vec![paid(amount, CHARLIE, false)]);
    });
}

#[test]
fn rewards_go_to_an_ethereum_style_address() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Ethereum([0xAB; 20])));
        let _ = take_events();
        assert_ok!(payout(0, 1));
        let mut bytes = [0xEE; 32];
        bytes[..20].fill(0xAB);
        assert_eq!(Balances::balance(&bytes.into()), amount);
        assert_eq!(take_events(), vec![paid(amount, bytes.into(), false)]);
    });
}

#[test]
fn rewards_go_into_the_bond() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Bond));
        let _ = take_events();
        let before = Balances::balance(&ALICE);
        assert_ok!(payout(0, 1));
        // The bond takes them out of the provider's free balance; this one takes nothing.
        assert_eq!(Balances::balance(&ALICE), before + amount);
        assert_eq!(Bonded::get(), vec![(0, amount)]);
        assert_eq!(take_events(), vec![paid(amount, ALICE, true)]);
    });
}

#[test]
fn automatic_bonding_goes_before_the_destination() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Account(CHARLIE)));
        AutoStaked::mutate(|machines| machines.insert(0));
        let _ = take_events();
        assert_ok!(payout(0, 1));
        assert_eq!(Bonded::get(), vec![(0, amount)]);
        assert_eq!(Balances::balance(&CHARLIE), 0);
        assert_eq!(take_events(), vec![paid(amount, ALICE, true)]);
    });
}

#[test]
fn rewards_stay_with_the_provider_when_the_bond_takes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let amount = earn();
        AutoStaked::mutate(|machines| machines.insert(0));
        BondsFail::set(true);
        let before = Balances::balance(&ALICE);
        assert_ok!(payout(0, 1));
        assert_eq!(Balances::balance(&ALICE), before + amount);
        assert_eq!(Bonded::get(), vec![]);
        assert!(!bond_left_traces(), "what the failed bond wrote was rolled back");
        assert_eq!(take_events(), vec![paid(amount, ALICE, false)]);
    });
}

#[test]
fn nothing_is_bonded_when_nothing_was_earned() {
    ExtBuilder::default().build_and_execute(|| {
        let _ = earn();
        Uptimes::set([((0, 1), 0)].into());
        assert_ok!(set_destination(ALICE, 0, RewardDestination::Bond));
        assert_ok!(payout(0, 1));
        assert_eq!(Bonded::get(), vec![]);
    });
}

#[test]
fn payout_fails_when_the_destination_cannot_receive() {
    // An epoch's reward is below the existential deposit …
    ExtBuilder::default()
        .remaining_emission(ASY / 20)
        .build_and_execute(|| {
            set_weight(0, 100);
            end_epochs(4);
            assert_ok!(set_destination(ALICE, 0, RewardDestination::Account(CHARLIE)));
            assert_noop!(payout(0, 1), Error::<Test>::DestinationCannotReceive);
            // … but three of them are not.
            assert_ok!(payout(0, 3));
            let minted: Balance = (1..4).map(|epoch| EpochRecords::<Test>::get(epoch).minted).sum();
            assert_eq!(Balances::balance(&CHARLIE), minted);
        });
}
