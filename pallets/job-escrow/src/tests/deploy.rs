//! `deploy`: what is checked, leased and held.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::QueryPreimage},
    sp_core::H256,
    sp_runtime::{ArithmeticError, DispatchError, TokenError},
};

use crate::{
    ConsumerJobs, Error, Event, JobKind, JobRecord, JobState, Jobs, MachineJobs, NextJobId, mock::*,
};

#[test]
fn deploy_works() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(JobKind::Service);
        take_events();
        assert_ok!(JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order));

        let start_deadline_ms = NowMs::get() + START_WINDOW_MS;
        assert_eq!(
            Jobs::<Test>::get(0),
            Some(JobRecord {
                consumer: CONSUMER,
                provider: PROVIDER,
                machine: MACHINE,
                slots: 2,
                kind: JobKind::Service,
                manifest: order.manifest,
                image_digest: order.image_digest,
                price_per_slot_hour: ASK,
                max_duration_ms: MILLIS_PER_HOUR,
                escrowed: 2 * ASY,
                paid: 0,
                state: JobState::Starting {
                    deadline_ms: start_deadline_ms
                },
                created_at_ms: NowMs::get(),
            })
        );
        assert_eq!(
            take_events(),
            vec![Event::JobDeployed {
                job: 0,
                consumer: CONSUMER,
                machine: MACHINE,
                slots: 2,
                kind: JobKind::Service,
                price_per_slot_hour: ASK,
                escrowed: 2 * ASY,
                start_deadline_ms,
            }]
        );
        assert!(MachineJobs::<Test>::contains_key(MACHINE, 0));
        assert!(ConsumerJobs::<Test>::contains_key(CONSUMER, 0));
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY);
        assert_eq!(free_slots(MACHINE), SLOTS - 2);
        assert!(Preimage::is_requested(&order.manifest.hash));
    });
}

#[test]
fn deploy_numbers_jobs_and_adds_up_their_escrows() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(deploy(JobKind::Service), 0);
        assert_eq!(deploy(JobKind::Task), 1);
        assert_eq!(NextJobId::<Test>::get(), 2);
        assert_eq!(escrow_of(CONSUMER), 4 * ASY);
        assert_eq!(free_slots(MACHINE), 0);
    });
}

#[test]
fn deploy_rounds_the_escrow_up() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 1);
        let mut order = order(JobKind::Service);
        order.slots = 1;
        order.max_duration_ms = 1_000;
        let job = deploy_order(order);
        assert_eq!(Jobs::<Test>::get(job).unwrap().escrowed, 1);
    });
}

#[test]
fn deploy_keeps_the_terms_when_the_ask_changes() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(JobKind::Service);
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 100 * ASK);
        advance(MILLIS_PER_HOUR / 2);
        assert_eq!(JobEscrow::amount_due(job), Some(ASY));
    });
}

#[test]
fn deploy_fails_when_unsigned() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(JobKind::Service);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::none(), order),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn deploy_fails_when_no_slot_is_ordered() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        order.slots = 0;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            Error::<Test>::NoSlots
        );
    });
}

#[test]
fn deploy_fails_when_the_duration_is_out_of_bounds() {
    ExtBuilder::default().build_and_execute(|| {
        for duration_ms in [0, 999, MAX_DURATION_MS + 1, u64::MAX] {
            let mut order = order(JobKind::Service);
            order.max_duration_ms = duration_ms;
            assert_noop!(
                JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
                Error::<Test>::BadDuration
            );
        }
    });
}

#[test]
fn deploy_fails_when_the_manifest_is_too_large() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        order.manifest = note_manifest(&vec![b'x'; MAX_MANIFEST_BYTES as usize + 1]);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            Error::<Test>::ManifestTooLarge
        );
        order.manifest = note_manifest(&vec![b'x'; MAX_MANIFEST_BYTES as usize]);
        assert_ok!(JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order));
    });
}

#[test]
fn deploy_fails_when_the_manifest_is_missing() {
    ExtBuilder::default().build_and_execute(|| {
        let noted = order(JobKind::Service);

        let mut unknown = noted;
        unknown.manifest.hash = H256::repeat_byte(9);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), unknown),
            Error::<Test>::ManifestMissing
        );

        let mut wrong_length = noted;
        wrong_length.manifest.length_bytes += 1;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), wrong_length),
            Error::<Test>::ManifestMissing
        );

        // Asked for by somebody, but never noted.
        let mut requested = noted;
        requested.manifest.hash = H256::repeat_byte(8);
        <Preimage as QueryPreimage>::request(&requested.manifest.hash);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), requested),
            Error::<Test>::ManifestMissing
        );
    });
}

#[test]
fn deploy_fails_when_the_machine_cannot_take_it() {
    ExtBuilder::default().build_and_execute(|| {
        let mut unknown = order(JobKind::Service);
        unknown.machine = 99;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), unknown),
            NO_SUCH_MACHINE
        );

        let mut large = order(JobKind::Service);
        large.slots = SLOTS + 1;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), large),
            TOO_FEW_SLOTS
        );

        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().active = false);
        let order = order(JobKind::Service);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            NOT_ACTIVE
        );
    });
}

#[test]
fn deploy_fails_when_the_ask_is_above_the_price() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        order.max_price_per_slot_hour = ASK - 1;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            Error::<Test>::PriceTooLow
        );
    });
}

#[test]
fn deploy_fails_when_the_consumer_has_too_little() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(JobKind::Service);
        // All that the consumer has: holding it would leave nothing to live on.
        order.slots = 1;
        order.max_duration_ms = MILLIS_PER_HOUR * 10_000 / 5;
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 5 * ASK);
        order.max_price_per_slot_hour = 5 * ASK;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            TokenError::FundsUnavailable
        );
    });
}

#[test]
fn deploy_fails_when_the_price_is_more_than_any_balance() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = Balance::MAX);
        let mut order = order(JobKind::Service);
        order.max_price_per_slot_hour = Balance::MAX;
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::signed(CONSUMER), order),
            ArithmeticError::Overflow
        );
    });
}

#[test]
fn escrow_for_tells_what_deploy_holds() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(JobEscrow::escrow_for(ASK, 2, MILLIS_PER_HOUR), Some(2 * ASY));
        assert_eq!(JobEscrow::escrow_for(1, 1, 1), Some(1));
        assert_eq!(JobEscrow::escrow_for(Balance::MAX, u8::MAX, u64::MAX), None);
    });
}
