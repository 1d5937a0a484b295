//! Division of payments, and payments that cannot arrive.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{
        assert_ok,
        traits::{LockIdentifier, LockableCurrency, WithdrawReasons},
    },
    frame_system,
    sp_runtime::{Permill, Rounding},
};
use proptest::prelude::*;

use crate::{Diversion, Event, JobId, escrow::PaymentSplit, mock::*, types::cost};

const LOCK: LockIdentifier = *b"a vote  ";

/// Runs a service for so long, closes it, and lets its epochs be closed.
fn run_for(duration_ms: u64) -> JobId {
    let job = run(SERVICE);
    advance(duration_ms);
    assert_ok!(JobEscrow::close(signed(CONSUMER), job));
    advance(2 * MILLIS_PER_HOUR);
    take_events();
    job
}

fn settle(job: JobId) {
    assert_ok!(JobEscrow::settle(signed(CONSUMER), job, MACHINE));
    assert!(is_gone(job));
}

fn diversions() -> Vec<(AccountId, Balance, Diversion)> {
    take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::PaymentDiverted {
                recipient,
                amount,
                destination,
                ..
            } => Some((recipient, amount, destination)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_payment_is_divided_to_the_last_planck() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(
            JobEscrow::split(10_000),
            PaymentSplit {
                provider: 9_500,
                fee: 500,
                burned: 250,
                treasury: 125,
                author: 125
            }
        );
        // Odd fees: the burn is rounded up, then the treasury.
        assert_eq!(
            JobEscrow::split(60),
            PaymentSplit {
                provider: 57,
                fee: 3,
                burned: 2,
                treasury: 1,
                author: 0
            }
        );
        assert_eq!(
            JobEscrow::split(19),
            PaymentSplit {
                provider: 19,
                fee: 0,
                burned: 0,
                treasury: 0,
                author: 0
            }
        );
        Fee::set(&Permill::one());
        assert_eq!(
            JobEscrow::split(Balance::MAX),
            PaymentSplit {
                provider: 0,
                fee: Balance::MAX,
                burned: 1 << 127,
                treasury: 1 << 126,
                author: (1 << 126) - 1,
            }
        );
    });
}

#[test]
fn a_payment_reaches_everybody() {
    ExtBuilder::default().build_and_execute(|| {
        let issuance = Balances::total_issuance();
        settle(run_for(2 * MILLIS_PER_HOUR));

        let fee = 2 * ASY * 5 / 100;
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + 2 * ASY - fee);
        assert_eq!(free(TREASURY), ASY + fee / 4);
        assert_eq!(free(AUTHOR), ASY + fee / 4);
        assert_eq!(Balances::total_issuance(), issuance - fee / 2);
        assert_eq!((FeesNoted::get(), BurnsNoted::get()), (fee, fee / 2));
    });
}

#[test]
fn the_treasury_gets_the_share_of_a_missing_author() {
    ExtBuilder::default().build_and_execute(|| {
        Author::set(&None);
        settle(run_for(MILLIS_PER_HOUR));
        assert_eq!(free(TREASURY), ASY + 2 * ASY * 5 / 200);
        assert_eq!(diversions(), []);
    });
}

#[test]
fn the_treasury_gets_what_a_dead_author_cannot_receive() {
    ExtBuilder::default().without_author().build_and_execute(|| {
        // So short that the author's share is below the existential deposit.
        settle(run_for(MILLIS_PER_HOUR / 1_000));
        let fee = 2 * ASY / 1_000 * 5 / 100;
        assert_eq!(diversions(), [(AUTHOR, fee / 4, Diversion::Treasury)]);
        assert_eq!(free(TREASURY), ASY + fee / 2);
        assert_eq!(free(AUTHOR), 0);
    });
}

#[test]
fn the_treasury_gets_what_a_dead_provider_cannot_receive() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_for(1);
        kill(PROVIDER);
        settle(job);
        let paid = 2 * ASY / Balance::from(MILLIS_PER_HOUR);
        let fee = paid * 5 / 100;
        assert_eq!(diversions(), [(PROVIDER, paid - fee, Diversion::Treasury)]);
        assert_eq!(free(CONSUMER), ENDOWMENT - paid);
    });
}

#[test]
fn what_nobody_can_receive_is_burned() {
    ExtBuilder::default()
        .without_treasury()
        .without_author()
        .build_and_execute(|| {
            let issuance = Balances::total_issuance();
            let job = run_for(1);
            kill(PROVIDER);
            settle(job);
            let paid = 2 * ASY / Balance::from(MILLIS_PER_HOUR);
            assert!(
                diversions()
                    .iter()
                    .all(|(_, _, destination)| *destination == Diversion::Burned)
            );
            assert_eq!(Balances::total_issuance(), issuance - ENDOWMENT - paid);
        });
}

#[test]
fn a_frozen_consumer_still_pays() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        Balances::set_lock(LOCK, &CONSUMER, Balance::MAX, WithdrawReasons::all());
        advance(MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(2 * ASY));
        assert_eq!(free(STRANGER), ENDOWMENT + BOUNTY);
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY - BOUNTY);
    });
}

#[test]
fn a_refund_that_cannot_arrive_does_not_block_closing() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        // An account that lives by a reference of another pallet alone.
        frame_system::Pallet::<Test>::inc_providers(&CONSUMER);
        let everything = free(CONSUMER);
        let (escrow, deposit) = (escrow_of(CONSUMER), deposit_of(CONSUMER));
        assert_ok!(
            <Balances as polkadot_sdk::frame_support::traits::fungible::Mutate<_>>::burn_from(
                &CONSUMER,
                everything,
                polkadot_sdk::frame_support::traits::tokens::Preservation::Expendable,
                polkadot_sdk::frame_support::traits::tokens::Precision::BestEffort,
                polkadot_sdk::frame_support::traits::tokens::Fortitude::Force,
            )
        );
        assert_eq!((escrow_of(CONSUMER), deposit_of(CONSUMER)), (escrow, deposit));
        // All but less than the existential deposit is earned.
        advance(MILLIS_PER_HOUR - 1);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        assert!(is_gone(job));
        assert_eq!((escrow_of(CONSUMER), deposit_of(CONSUMER)), (0, 0));
    });
}

#[test]
fn a_provider_may_be_its_own_consumer() {
    ExtBuilder::default().build_and_execute(|| {
        let job = crate::NextJobId::<Test>::get();
        assert_ok!(JobEscrow::deploy(
            signed(PROVIDER),
            order(SERVICE),
            chosen(&[MACHINE])
        ));
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        advance(MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire(signed(PROVIDER), job, MACHINE));
        settle_all(job, MACHINE);
        assert_eq!(free(PROVIDER), ENDOWMENT - 2 * ASY * 5 / 100);
    });
}

#[test]
fn a_change_of_the_fee_holds_from_the_next_payment_on() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_for(MILLIS_PER_HOUR);
        Fee::set(&Permill::from_percent(50));
        settle(job);
        assert_eq!(free(PROVIDER), ENDOWMENT + ASY);
    });
}

#[test]
fn a_change_of_the_hold_back_touches_no_job() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(SERVICE);
        order.max_duration_ms = 4 * MILLIS_PER_HOUR;
        let job = run_order(order);
        HoldBack::set(&Permill::one());
        advance(2 * MILLIS_PER_HOUR);
        assert_eq!(JobEscrow::amount_due(job, MACHINE), Some(2 * ASY * 9 / 10));
    });
}

#[test]
fn a_bounty_that_cannot_arrive_stays_with_its_consumer() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_for(MILLIS_PER_HOUR);
        // Nobody without an account signs, but a bounty may be smaller than an account needs.
        crate::Jobs::<Test>::mutate(job, |record| {
            record.as_mut().unwrap().bounty = EXISTENTIAL_DEPOSIT - 1
        });
        kill(STRANGER);
        assert_ok!(JobEscrow::settle(signed(STRANGER), job, MACHINE));
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY);
    });
}

#[test]
fn cost_is_exact() {
    assert_eq!(cost(ASY, 2, MILLIS_PER_HOUR, Rounding::Up), Some(2 * ASY));
    assert_eq!(cost(1, 1, 1, Rounding::Up), Some(1));
    assert_eq!(cost(1, 1, 1, Rounding::Down), Some(0));
    assert_eq!(cost(0, 64, u64::MAX, Rounding::Up), Some(0));
    assert_eq!(cost(Balance::MAX, 1, MILLIS_PER_HOUR + 1, Rounding::Down), None);
}

proptest! {
    #[test]
    fn a_split_adds_up(amount: u128, fee_ppm in 0u32..=1_000_000) {
        ExtBuilder::default().build_and_execute(|| {
            Fee::set(&Permill::from_parts(fee_ppm));
            let split = JobEscrow::split(amount);
            assert_eq!(split.provider + split.fee, amount);
            assert_eq!(split.burned + split.treasury + split.author, split.fee);
            assert!(split.burned - split.fee / 2 <= 1);
        });
    }
}
