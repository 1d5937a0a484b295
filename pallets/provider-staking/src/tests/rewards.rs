use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Retired, Unproven},
    },
    money::ASY,
    offence::Beneficiaries,
    stake::{BondRewards, BondStanding::Sufficient},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::TokenError,
};

use crate::{Error, Event, mock::*};

#[test]
fn set_auto_stake_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert!(!ProviderStaking::auto_stake(MACHINE));
        assert_ok!(set_auto_stake(PROVIDER, MACHINE, true));
        assert!(ProviderStaking::auto_stake(MACHINE));
        assert_ok!(set_auto_stake(PROVIDER, MACHINE, false));
        assert!(!ProviderStaking::auto_stake(MACHINE));

        let set = |auto_stake| Event::AutoStakeSet {
            machine: MACHINE,
            auto_stake,
        };
        assert_eq!(take_events(), [set(true), set(false)]);
        assert_eq!(BondChanges::get(), []);
    });
}

#[test]
fn set_auto_stake_fails_when_not_allowed() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_noop!(
            set_auto_stake(PROVIDER, SECOND_MACHINE, true),
            Error::<Test>::NotBonded
        );
        assert_noop!(
            set_auto_stake(STRANGER, MACHINE, true),
            Error::<Test>::NotProvider
        );
    });
}

#[test]
fn auto_stake_ends_with_retirement() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(set_auto_stake(PROVIDER, MACHINE, true));
        set_status(MACHINE, Retired);
        assert!(!ProviderStaking::auto_stake(MACHINE));
        assert!(!ProviderStaking::auto_stake(99));
    });
}

#[test]
fn bond_reward_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(ProviderStaking::bond_reward(MACHINE, 5));
        assert_eq!(held(PROVIDER), MINIMUM + 5);
        assert_eq!(
            take_events(),
            [Event::Bonded {
                machine: MACHINE,
                amount: 5,
                total: MINIMUM + 5
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, Sufficient, MINIMUM + 5)]);

        // Nothing is nothing.
        assert_ok!(ProviderStaking::bond_reward(MACHINE, 0));
        assert_eq!(take_events(), []);
    });
}

#[test]
fn bond_reward_fails_when_not_possible() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_noop!(
            ProviderStaking::bond_reward(SECOND_MACHINE, 5),
            Error::<Test>::NotBonded
        );
        assert_noop!(
            ProviderStaking::bond_reward(MACHINE, ENDOWMENT + ASY),
            TokenError::FundsUnavailable
        );
        set_status(MACHINE, Retired);
        assert_noop!(
            ProviderStaking::bond_reward(MACHINE, 5),
            Error::<Test>::MachineRetired
        );
        assert_eq!(MockRegistry::status(MACHINE), Some(Retired));
    });
}

#[test]
fn rewards_stay_out_of_the_bond_when_in_debt() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(set_auto_stake(PROVIDER, MACHINE, true));
        let first = slash(MACHINE, 100);
        slash_now(MACHINE, 100, Beneficiaries::nobody());

        assert!(!ProviderStaking::auto_stake(MACHINE));
        assert_noop!(ProviderStaking::bond_reward(MACHINE, 5), Error::<Test>::InDebt);
        assert_noop!(set_auto_stake(PROVIDER, MACHINE, false), Error::<Test>::InDebt);
        assert_eq!(debt_of(MACHINE, first), 0);
    });
}

#[test]
fn rewards_stay_out_of_a_bond_on_its_way_out() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(set_auto_stake(PROVIDER, MACHINE, true));
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));

        assert!(!ProviderStaking::auto_stake(MACHINE));
        assert_noop!(ProviderStaking::bond_reward(MACHINE, 5), Error::<Test>::NotBonded);
    });
}
