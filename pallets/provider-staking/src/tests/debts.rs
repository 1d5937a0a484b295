use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Active, Suspended},
        SuspensionReason::{BondTooLow, InDebt as Indebted},
    },
    money::ASY,
    offence::{Beneficiaries, Offence::ForgedEvidence, SlashId},
    stake::{
        BondInspect, BondRewards,
        BondStanding::{InDebt, TooLow},
    },
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::{DispatchError, TokenError},
};

use crate::{Bonds, Debts, Error, Event, mock::*};

/// [`MACHINE`] has nothing left and owes a slash of its minimum, of which the consumer lost 100 ASY.
fn in_debt() -> SlashId {
    slash(MACHINE, 100);
    let id = slash_now(MACHINE, 100, harmed(100 * ASY));
    assert_eq!(debt_of(MACHINE, id), MINIMUM);
    forget_traces();
    id
}

#[test]
fn pay_debt_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = in_debt();
        let issuance = Balances::total_issuance();
        assert_ok!(pay_debt(STRANGER, MACHINE, id));

        assert_eq!(free(STRANGER), ENDOWMENT - MINIMUM);
        assert_eq!(free(CONSUMER), ENDOWMENT + 100 * ASY);
        assert_eq!(Balances::total_issuance(), issuance - 500 * ASY);
        assert_eq!(
            take_events(),
            [Event::DebtPaid {
                id,
                machine: MACHINE,
                payer: STRANGER,
                to_consumer: 100 * ASY,
                burned: 500 * ASY,
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, TooLow, 0)]);
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        // Nothing is left to say of it.
        assert!(ProviderStaking::is_settled(MACHINE));
        assert!(!Bonds::<Test>::contains_key(MACHINE));
        assert_noop!(pay_debt(STRANGER, MACHINE, id), Error::<Test>::NoSuchDebt);
    });
}

#[test]
fn pay_debt_fails_when_there_is_none() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = in_debt();
        assert_noop!(pay_debt(STRANGER, 99, id), Error::<Test>::NoSuchDebt);
        assert_noop!(pay_debt(STRANGER, SECOND_MACHINE, id), Error::<Test>::NoSuchDebt);
        // The first slash was paid by the bond.
        assert_noop!(
            pay_debt(STRANGER, MACHINE, place(DEFER_EPOCHS, 0)),
            Error::<Test>::NoSuchDebt
        );
        assert_noop!(
            ProviderStaking::pay_debt(RuntimeOrigin::root(), MACHINE, id),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn pay_debt_fails_when_plancks_are_not_there() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = in_debt();
        let spend = |leave| {
            assert_ok!(Balances::force_set_balance(
                RuntimeOrigin::root(),
                STRANGER,
                leave
            ));
        };
        // For the consumer, for what is burned, and for the payer's account to live on.
        spend(100 * ASY);
        assert_noop!(pay_debt(STRANGER, MACHINE, id), TokenError::NotExpendable);
        spend(99 * ASY);
        assert_noop!(pay_debt(STRANGER, MACHINE, id), TokenError::FundsUnavailable);
        spend(MINIMUM - 1);
        assert_noop!(pay_debt(STRANGER, MACHINE, id), TokenError::FundsUnavailable);
        spend(MINIMUM + EXISTENTIAL_DEPOSIT - 1);
        assert_noop!(pay_debt(STRANGER, MACHINE, id), TokenError::FundsUnavailable);
        assert_noop!(pay_debt(NEWCOMER, MACHINE, id), TokenError::FundsUnavailable);
        spend(MINIMUM + EXISTENTIAL_DEPOSIT);
        assert_ok!(pay_debt(STRANGER, MACHINE, id));
        assert_eq!(free(STRANGER), EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn pay_debt_burns_what_cannot_be_received() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        slash(MACHINE, 100);
        let loss = EXISTENTIAL_DEPOSIT - 1;
        let id = slash_now(MACHINE, 1, Beneficiaries::consumer(NEWCOMER, loss));
        take_events();
        assert_ok!(pay_debt(PROVIDER, MACHINE, id));

        let owed = MINIMUM / 100;
        assert_eq!(
            take_events(),
            [
                Event::ShareBurned {
                    id,
                    recipient: NEWCOMER,
                    amount: loss,
                },
                Event::DebtPaid {
                    id,
                    machine: MACHINE,
                    payer: PROVIDER,
                    to_consumer: 0,
                    burned: owed,
                },
            ]
        );
    });
}

#[test]
fn pay_debt_works_when_the_payer_is_a_beneficiary() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = in_debt();
        assert_ok!(pay_debt(CONSUMER, MACHINE, id));
        assert_eq!(free(CONSUMER), ENDOWMENT - MINIMUM + 100 * ASY);
    });
}

#[test]
fn debts_add_up_and_are_paid_one_by_one() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let first = in_debt();
        // Who has nothing left can still owe more.
        let second = slash_now(MACHINE, 10, harmed(ASY));
        assert_eq!(record(MACHINE).debt, MINIMUM + MINIMUM / 10);
        forget_traces();

        assert_ok!(pay_debt(STRANGER, MACHINE, first));
        assert_eq!(ProviderStaking::standing(MACHINE), InDebt);
        assert_ok!(pay_debt(STRANGER, MACHINE, second));
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        assert_eq!(BondChanges::get(), [(MACHINE, InDebt, 0), (MACHINE, TooLow, 0)]);
        assert_eq!(Debts::<Test>::iter().count(), 0);
    });
}

#[test]
fn machine_in_debt_takes_no_bond() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = in_debt();
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(Indebted)));
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);
        assert_noop!(bond_extra(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);
        assert_noop!(unbond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
        assert_noop!(
            ProviderStaking::bond_reward(MACHINE, MINIMUM),
            Error::<Test>::InDebt
        );
        // The provider's other machines are not concerned.
        assert_ok!(bond(PROVIDER, SECOND_MACHINE, MINIMUM));

        assert_ok!(pay_debt(PROVIDER, MACHINE, id));
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
    });
}

#[test]
fn retired_machine_stays_until_its_debt_is_paid() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        slash(MACHINE, 50);
        let id = report(MACHINE, ForgedEvidence);
        MockClock::set_epoch(DEFER_EPOCHS);
        poll();
        assert_eq!(debt_of(MACHINE, id), MINIMUM / 2);
        assert!(MockRegistry::status(MACHINE).is_some());

        assert_ok!(pay_debt(STRANGER, MACHINE, id));
        assert_eq!(MockRegistry::status(MACHINE), None);
        assert!(!Bonds::<Test>::contains_key(MACHINE));
    });
}
