use assay_primitives::{
    clock::{ActiveClock, Millis},
    machine::{
        HardwareProofs, MachineId,
        MachineStatus::{Active, Unproven},
    },
};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, weights::Weight},
    sp_runtime::transaction_validity::InvalidTransaction,
};

use super::answers::assert_refused;
use crate::{
    Call, Error, Event, Expiries, NOT_EXPIRED, NextExpiryEpoch, ProofRecord, ProofStep, Proofs, mock::*,
};

/// Returns the time at which the machine's next proof expires.
fn expiry_ms(machine: MachineId) -> Millis {
    Proofs::<Test>::get(machine).unwrap().next_expiry_ms().unwrap()
}

/// Lets time pass until this active time, without audits.
fn pass_until(time_ms: Millis) {
    crate::LastAuditMs::<Test>::put(time_ms);
    crate::AuditsDrawnUntilMs::<Test>::put(time_ms);
    block_after(time_ms - now_ms());
    // A block passes no more epochs than it has the weight for.
    while NextExpiryEpoch::<Test>::get() <= MockClock::current_epoch() {
        block_after(0);
    }
}

#[test]
fn a_proof_counts_from_the_opening_of_its_round() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        answer(round, &[machine]);
        let opened_at_ms = round_record(round).opened_at_ms;
        assert_eq!(expiry_ms(machine), opened_at_ms + SCHEDULE.max_proof_age_ms);
    });
}

#[test]
fn a_proof_expires_to_the_millisecond_for_who_asks() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        pass_until(expiry_ms(machine));
        assert!(HardwareChallenge::is_proven(machine));
        block_after(1);
        assert!(!HardwareChallenge::is_proven(machine));
        assert_eq!(HardwareChallenge::proven_slots(machine, 4), 0);
        // The registry does not know yet.
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn a_proof_expires_by_itself_when_an_epoch_begins() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        let epoch_end_ms = expiry_ms(machine).div_ceil(EPOCH_MS) * EPOCH_MS;
        pass_until(epoch_end_ms - 1);
        assert_eq!(status(machine), Active);
        take_events();
        block_after(1);
        assert_eq!(status(machine), Unproven);
        assert_eq!(ProofChanges::get(), [(machine, 0)]);
        assert!(take_events().contains(&Event::ProofExpired {
            machine,
            proven_slots: 0
        }));
        assert_eq!(Expiries::<Test>::iter().count(), 0);
    });
}

#[test]
fn report_expired_works() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let call = Call::report_expired { machine };
        pass_until(expiry_ms(machine));
        let refused = InvalidTransaction::Custom(NOT_EXPIRED);
        assert_refused(call.clone(), refused, Error::NotExpired);
        block_after(1);
        take_events();
        let valid = authorize(call.clone()).unwrap();
        assert_eq!(
            valid.provides,
            [("AssayChallenge", ("expired", machine)).encode()]
        );
        send(call.clone());
        assert_eq!(status(machine), Unproven);
        assert_eq!(
            take_events(),
            [Event::ProofExpired {
                machine,
                proven_slots: 0
            }]
        );
        assert_refused(call, refused, Error::NotExpired);
        assert_eq!(Expiries::<Test>::iter().count(), 0);
    });
}

#[test]
fn report_expired_works_for_anybody_that_signs() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let report = || HardwareChallenge::report_expired(RuntimeOrigin::signed(STRANGER), machine);
        assert_noop!(report(), Error::<Test>::NotExpired);
        pass_until(expiry_ms(machine) + 1);
        assert_ok!(report());
        assert_noop!(
            HardwareChallenge::report_expired(RuntimeOrigin::signed(STRANGER), 99),
            Error::<Test>::NotExpired
        );
    });
}

#[test]
fn an_audit_renews_the_proof() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        let first_ms = expiry_ms(machine);
        let round = audit();
        answer(round, &[machine]);
        let record = Proofs::<Test>::get(machine).unwrap();
        assert_eq!(
            record.steps.into_inner(),
            [ProofStep {
                slots: 2,
                expires_at_ms: round_record(round).opened_at_ms + SCHEDULE.max_proof_age_ms
            }]
        );
        assert_eq!(Expiries::<Test>::iter().count(), 1);
        pass_until(first_ms + 1);
        assert!(HardwareChallenge::is_proven(machine));
    });
}

#[test]
fn leasing_itself_keeps_no_machine_proven() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        lease(machine, 2);
        let expires_at_ms = expiry_ms(machine);
        // Audits come and ask nothing of it.
        for _ in 0..3 {
            let round = audit();
            assert_eq!(due_in(round, machine), None);
            until_proofs_are_late(round);
            assert!(report_missed(round, machine).is_err());
        }
        pass_until(expires_at_ms + EPOCH_MS);
        assert_eq!(status(machine), Unproven);
        // To come back it must free a slot before an audit opens, as all others have theirs; newcomer rounds
        // are closed to it.
        lease(machine, -2);
        let newcomers = newcomer_round();
        assert_eq!(due_in(newcomers, machine), None);
        let round = audit();
        lease(machine, 2);
        answer(round, &[machine]);
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn leased_slots_run_out_of_their_proof_alone() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 4);
        let first_ms = expiry_ms(machine);
        lease(machine, 3);
        // So that the two proofs do not expire in one epoch.
        pass_until(now_ms() + EPOCH_MS);
        let round = audit();
        answer(round, &[machine]);
        assert_eq!(proven_slots(machine), 4);
        take_events();
        ProofChanges::set(Vec::new());
        pass_until(first_ms.div_ceil(EPOCH_MS) * EPOCH_MS);
        assert_eq!(proven_slots(machine), 1);
        assert_eq!(ProofChanges::get(), [(machine, 1)]);
        assert_eq!(status(machine), Active);
        assert!(take_events().contains(&Event::ProofExpired {
            machine,
            proven_slots: 1
        }));
        assert_eq!(Expiries::<Test>::iter().count(), 1);
    });
}

#[test]
fn proofs_go_with_their_machine() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        remove(machine);
        assert_eq!(Proofs::<Test>::iter().count(), 0);
        assert_eq!(Expiries::<Test>::iter().count(), 0);
        // And one that has none.
        let machine = register(2, 1);
        remove(machine);
    });
}

#[test]
fn many_expiries_are_served_in_many_blocks() {
    ExtBuilder::default().build_and_execute(|| {
        let machines: Vec<MachineId> = (1..=6).map(|worker| register(worker, 1)).collect();
        next_block();
        let round = newcomer_round();
        answer(round, &machines);
        let epoch_end_ms = expiry_ms(machines[0]).div_ceil(EPOCH_MS) * EPOCH_MS;
        crate::LastAuditMs::<Test>::put(epoch_end_ms);
        let first_epoch = NextExpiryEpoch::<Test>::get();
        block_with(epoch_end_ms - now_ms(), Weight::zero());
        // The block's weight is spent on what is due, as far as it goes.
        let mut blocks = 0;
        while Expiries::<Test>::iter().count() > 0 {
            let weight = HardwareChallenge::one_unit_weight() + Weight::from_parts(2_000_000_000, 0);
            assert!(block_with(0, weight).all_lte(weight));
            HardwareChallenge::do_try_state().unwrap();
            blocks += 1;
            assert!(blocks < 1_000);
        }
        assert!(blocks > 1);
        assert!(NextExpiryEpoch::<Test>::get() > first_epoch);
        assert!(machines.iter().all(|machine| status(*machine) == Unproven));
    });
}

#[test]
fn proofs_are_steps() {
    let step = |slots, expires_at_ms| ProofStep { slots, expires_at_ms };
    let mut record = ProofRecord::default();
    let mut added = |new: ProofStep| {
        record.add(new);
        record.steps.clone().into_inner()
    };
    assert_eq!(added(step(4, 100)), [step(4, 100)]);
    // Fewer slots, later: beside it.
    assert_eq!(added(step(2, 200)), [step(4, 100), step(2, 200)]);
    assert_eq!(added(step(3, 150)), [step(4, 100), step(3, 150), step(2, 200)]);
    // As many or fewer slots, no later: nothing new.
    assert_eq!(added(step(1, 200)).len(), 3);
    assert_eq!(added(step(4, 99)).len(), 3);
    // As many or more slots, no sooner: instead of those.
    assert_eq!(added(step(3, 200)), [step(4, 100), step(3, 200)]);
    assert_eq!(added(step(8, 300)), [step(8, 300)]);

    let slots = |now_ms| record.proven_slots(now_ms);
    assert_eq!([slots(0), slots(300), slots(301)], [8, 8, 0]);
    record.add(step(5, 400));
    assert_eq!(
        [300, 301, 400, 401].map(|now_ms| record.proven_slots(now_ms)),
        [8, 5, 5, 0]
    );
    assert_eq!(record.next_expiry_ms(), Some(300));
    assert!(!record.drop_expired(300));
    assert!(record.drop_expired(301));
    assert_eq!(record.next_expiry_ms(), Some(400));
}

#[test]
fn there_is_room_for_a_step_of_every_number_of_slots() {
    let mut record = ProofRecord::default();
    for slots in (1..=64).rev() {
        record.add(ProofStep {
            slots,
            expires_at_ms: 1_000 - Millis::from(slots),
        });
    }
    assert_eq!(record.steps.len(), 64);
    for slots in (1..=64).rev() {
        assert_eq!(record.proven_slots(1_000 - Millis::from(slots)), slots);
    }
}
