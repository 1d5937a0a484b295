//! How payments are divided, and what happens where they cannot arrive.

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

use crate::{Diversion, Event, JobKind, JobOutcome, escrow::PaymentSplit, mock::*, types::cost};

const LOCK: LockIdentifier = *b"a vote  ";

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
        let job = run(JobKind::Service);
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::expire(RuntimeOrigin::signed(STRANGER), job));

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
        let job = run(JobKind::Service);
        advance(MILLIS_PER_HOUR);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        assert_eq!(free(TREASURY), ASY + 2 * ASY * 5 / 200);
        assert!(
            !take_events()
                .iter()
                .any(|event| matches!(event, Event::PaymentDiverted { .. }))
        );
    });
}

#[test]
fn the_treasury_gets_what_a_dead_author_cannot_receive() {
    ExtBuilder::default().without_author().build_and_execute(|| {
        let job = run(JobKind::Service);
        // So short that the author's share is below the existential deposit.
        advance(MILLIS_PER_HOUR / 1_000);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));

        let fee = 2 * ASY / 1_000 * 5 / 100;
        assert_eq!(
            take_events()[0],
            Event::PaymentDiverted {
                job,
                recipient: AUTHOR,
                amount: fee / 4,
                destination: Diversion::Treasury,
            }
        );
        assert_eq!(free(AUTHOR), 0);
        assert_eq!(free(TREASURY), ASY + fee / 2);
    });
}

#[test]
fn the_treasury_gets_what_a_dead_provider_cannot_receive() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        kill(PROVIDER);
        advance(36);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));

        let paid = 2 * ASY / 100_000;
        let fee = paid * 5 / 100;
        assert_eq!(
            take_events(),
            vec![
                Event::PaymentDiverted {
                    job,
                    recipient: PROVIDER,
                    amount: paid - fee,
                    destination: Diversion::Treasury,
                },
                Event::PaymentSettled {
                    job,
                    provider_amount: 0,
                    fee,
                    burned: fee / 2
                },
                Event::JobClosed {
                    job,
                    machine: MACHINE,
                    outcome: JobOutcome::ClosedByConsumer,
                    paid,
                    refunded: 2 * ASY - paid,
                },
            ]
        );
        assert_eq!(free(TREASURY), ASY + paid - fee + fee / 4);
        assert_eq!(free(PROVIDER), 0);
    });
}

#[test]
fn what_nobody_can_receive_is_burned() {
    ExtBuilder::default()
        .without_treasury()
        .without_author()
        .build_and_execute(|| {
            let issuance = Balances::total_issuance();
            let job = run(JobKind::Service);
            advance(36);
            take_events();
            assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));

            let fee = 2 * ASY / 100_000 * 5 / 100;
            let events = take_events();
            for (event, recipient) in events.iter().zip([TREASURY, AUTHOR]) {
                assert_eq!(
                    *event,
                    Event::PaymentDiverted {
                        job,
                        recipient,
                        amount: fee / 4,
                        destination: Diversion::Burned,
                    }
                );
            }
            assert_eq!(Balances::total_issuance(), issuance - fee);
            assert_eq!(BurnsNoted::get(), fee / 2);
            assert_eq!(escrow_of(CONSUMER), 0);
        });
}

#[test]
fn a_refund_that_cannot_arrive_does_not_block_closing() {
    ExtBuilder::default().build_and_execute(|| {
        // The consumer's account lives by another pallet's reference, and everything it has is in escrow.
        frame_system::Pallet::<Test>::inc_providers(&CONSUMER);
        let mut order = order(JobKind::Service);
        order.slots = 1;
        let job = deploy_order(order);
        assert_ok!(JobEscrow::start(RuntimeOrigin::signed(WORKER), job));
        assert_ok!(Balances::transfer_allow_death(
            RuntimeOrigin::signed(CONSUMER),
            STRANGER,
            free(CONSUMER)
        ));
        assert_eq!(free(CONSUMER), 0);

        // One millisecond before the end less than the existential deposit is left.
        advance(MILLIS_PER_HOUR - 1);
        take_events();
        assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
        let left = ASY / MILLIS_PER_HOUR as Balance + 1;
        let events = take_events();
        assert_eq!(
            events[1],
            Event::PaymentDiverted {
                job,
                recipient: CONSUMER,
                amount: left,
                destination: Diversion::Treasury,
            }
        );
        assert_eq!(
            events[2],
            Event::JobClosed {
                job,
                machine: MACHINE,
                outcome: JobOutcome::ClosedByConsumer,
                paid: ASY - left,
                refunded: 0,
            }
        );
        assert_eq!(escrow_of(CONSUMER), 0);
    });
}

#[test]
fn a_frozen_consumer_still_pays() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        // Locks and freezes overlap with holds: this covers the escrow, too.
        Balances::set_lock(LOCK, &CONSUMER, ENDOWMENT, WithdrawReasons::all());
        advance(MILLIS_PER_HOUR / 4);
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job));
        assert_eq!(free(PROVIDER), ENDOWMENT + ASY / 2 * 95 / 100);
        advance(MILLIS_PER_HOUR / 4);
        assert_ok!(JobEscrow::abandon(RuntimeOrigin::signed(PROVIDER), job));
        assert_eq!(free(PROVIDER), ENDOWMENT + ASY * 95 / 100);
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY);
    });
}

#[test]
fn a_provider_may_be_its_own_consumer() {
    ExtBuilder::default().build_and_execute(|| {
        add_machine(8, CONSUMER, WORKER + 1, 1, ASK);
        let mut order = order(JobKind::Service);
        order.machine = 8;
        order.slots = 1;
        let job = deploy_order(order);
        assert_ok!(JobEscrow::start(RuntimeOrigin::signed(WORKER + 1), job));
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(JobEscrow::expire(RuntimeOrigin::signed(CONSUMER), job));
        // It costs the fee.
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY * 5 / 100);
    });
}

#[test]
fn a_change_of_the_fee_holds_from_the_next_payment_on() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job));
        Fee::set(&Permill::from_percent(10));
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(PROVIDER), job));
        assert_eq!(free(PROVIDER), ENDOWMENT + ASY * 95 / 100 + ASY * 90 / 100);
    });
}

#[test]
fn cost_is_exact() {
    assert_eq!(cost(ASY, 1, MILLIS_PER_HOUR, Rounding::Down), Some(ASY));
    assert_eq!(cost(1, 1, MILLIS_PER_HOUR - 1, Rounding::Down), Some(0));
    assert_eq!(cost(1, 1, 1, Rounding::Up), Some(1));
    assert_eq!(
        cost(Balance::MAX, 1, MILLIS_PER_HOUR, Rounding::Up),
        Some(Balance::MAX)
    );
    assert_eq!(cost(Balance::MAX, 2, MILLIS_PER_HOUR, Rounding::Down), None);
}

proptest! {
    #[test]
    fn a_split_adds_up(amount: u128, fee_ppm in 0u32..=1_000_000) {
        ExtBuilder::default().build_and_execute(|| {
            Fee::set(&Permill::from_parts(fee_ppm));
            let split = JobEscrow::split(amount);
            assert_eq!(split.provider.checked_add(split.fee), Some(amount));
            assert_eq!(split.burned + split.treasury + split.author, split.fee);
            assert!(split.burned >= split.fee / 2 && split.treasury >= split.author);
        });
    }
}
