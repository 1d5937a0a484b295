use assay_primitives::{
    challenge::ChallengePhase,
    machine::MachineStatus::{Active, Unproven},
};
use assay_proof::SlotProof;
use codec::Encode;
use polkadot_sdk::{
    frame_support::{
        assert_noop,
        dispatch::{GetDispatchInfo, Pays},
        pallet_prelude::DispatchClass,
        traits::Authorize,
    },
    sp_core::{Pair, sr25519},
    sp_runtime::{
        DispatchError,
        traits::Dispatchable,
        transaction_validity::{InvalidTransaction, TransactionValidityError},
    },
};

use crate::{
    ALREADY_ANSWERED, Answer, Answers, Call, Error, Event, NOT_COMMITTED, NOT_DUE, WRONG_SLOTS, WeightInfo,
    mock::*,
};

/// Asserts that a call is refused by the pool, and would be by the block.
pub(super) fn assert_refused(call: Call<Test>, by_pool: InvalidTransaction, in_block: Error<Test>) {
    assert_eq!(
        authorize(call.clone()),
        Err(TransactionValidityError::Invalid(by_pool))
    );
    assert_noop!(dispatch_authorized(call), in_block);
}

/// A machine with so many slots, and a newcomer round in which it may answer.
fn newcomer(slots: u8) -> (u64, u32) {
    let machine = register(1, slots);
    next_block();
    (machine, newcomer_round())
}

#[test]
fn an_honest_machine_is_proven() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(2);
        assert_eq!(status(machine), Unproven);
        take_events();
        commit(round, machine);
        assert_eq!(
            take_events(),
            [Event::Committed {
                round,
                machine,
                slots: 2
            }]
        );
        assert_eq!(proven_slots(machine), 0);

        until_drawn(round);
        take_events();
        prove(round, machine);
        assert_eq!(
            take_events(),
            [Event::MachineProven {
                round,
                machine,
                slots: 2
            }]
        );
        assert_eq!(
            Answers::<Test>::get(round, machine),
            Some(Answer::Proven { slots: 2 })
        );
        assert_eq!(proven_slots(machine), 2);
        assert_eq!(status(machine), Active);
        assert_eq!(ProofChanges::get(), [(machine, 2)]);
        assert_eq!(Reported::get(), []);
    });
}

#[test]
fn slots_are_proven_in_parts() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(4);
        commit(round, machine);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        let proofs: Vec<SlotProof> = (0..4).map(|slot| honest_proof(&due, machine, slot)).collect();

        // Neither ahead of its turn, nor more than are left, nor none.
        let by_pool = InvalidTransaction::Custom(WRONG_SLOTS);
        for call in [
            signed_prove(round, machine, 1, &proofs[1..3]),
            signed_prove(round, machine, 0, &[]),
        ] {
            assert_refused(call, by_pool, Error::WrongSlots);
        }
        take_events();
        send(signed_prove(round, machine, 0, &proofs[..3]));
        assert_eq!(
            take_events(),
            [Event::SlotsProven {
                round,
                machine,
                proven: 3
            }]
        );
        assert_eq!(proven_slots(machine), 0);
        let ChallengePhase::Prove { next_slot, .. } = due_in(round, machine).unwrap().phase else {
            panic!("it has a slot to prove");
        };
        assert_eq!(next_slot, 3);
        for call in [
            signed_prove(round, machine, 0, &proofs[..1]),
            signed_prove(round, machine, 3, &proofs[2..4]),
        ] {
            assert_refused(call, by_pool, Error::WrongSlots);
        }
        HardwareChallenge::do_try_state().unwrap();
        send(signed_prove(round, machine, 3, &proofs[3..]));
        assert_eq!(proven_slots(machine), 4);
    });
}

#[test]
fn as_many_slots_as_a_machine_can_have_are_proven() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 64);
        assert_eq!(proven_slots(machine), 64);
    });
}

#[test]
fn classes_have_parameters_of_their_own() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 2);
        change(machine, |record| record.class = QUICK_CLASS);
        next_block();
        let round = newcomer_round();
        assert_eq!(due_in(round, machine).unwrap().params, QUICK_PARAMS);
        answer(round, &[machine]);
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn commit_fails_when_it_is_late() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        let quick = register(2, 1);
        change(quick, |record| record.class = QUICK_CLASS);
        next_block();
        let round = newcomer_round();
        let opened_at_ms = round_record(round).opened_at_ms;
        let late = |machine, deadline_ms: u64| {
            let due = due_in(round, machine).unwrap();
            assert_eq!(
                due.phase,
                ChallengePhase::Commit {
                    deadline_ms: opened_at_ms + deadline_ms
                }
            );
            signed_commit(round, machine, &honest_roots(&due, machine))
        };
        let calls = [late(quick, 6_000), late(machine, 12_000)];
        for (call, deadline_ms) in calls.into_iter().zip([6_000, 12_000]) {
            // In the last moment it is not …
            block_after(opened_at_ms + deadline_ms - now_ms());
            assert!(authorize(call.clone()).is_ok());
            // … and in the next one it is.
            block_after(1);
            assert_refused(call, InvalidTransaction::Stale, Error::TooLate);
        }
        assert_eq!(due_in(round, machine), None);
    });
}

#[test]
fn commit_fails_when_sent_twice() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        let due = due_in(round, machine).unwrap();
        let roots = honest_roots(&due, machine);
        send(signed_commit(round, machine, &roots));
        for roots in [roots, vec![[7; 32]]] {
            assert_refused(
                signed_commit(round, machine, &roots),
                InvalidTransaction::Custom(ALREADY_ANSWERED),
                Error::AlreadyAnswered,
            );
        }
    });
}

#[test]
fn commit_fails_when_roots_are_not_those_of_the_slots() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(2);
        for roots in [vec![], vec![[1; 32]], vec![[1; 32]; 3], vec![[1; 32]; 64]] {
            assert_refused(
                signed_commit(round, machine, &roots),
                InvalidTransaction::Custom(WRONG_SLOTS),
                Error::WrongSlots,
            );
        }
    });
}

#[test]
fn commit_fails_when_the_round_is_none() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        for round in [round + 1, u32::MAX] {
            assert_refused(
                signed_commit(round, machine, &[[1; 32]]),
                InvalidTransaction::Future,
                Error::RoundNotOpen,
            );
        }
        blocks_until(|| !crate::Rounds::<Test>::contains_key(round));
        assert_refused(
            signed_commit(round, machine, &[[1; 32]]),
            InvalidTransaction::Stale,
            Error::RoundForgotten,
        );
    });
}

#[test]
fn commit_fails_when_there_is_no_such_machine() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        assert_refused(
            signed_commit(round, machine + 1, &[[1; 32]]),
            InvalidTransaction::BadSigner,
            Error::NoSuchMachine,
        );
    });
}

#[test]
fn commit_fails_when_its_signature_is_forged() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        let other = register(2, 1);
        let roots = [[1; 32]];
        let signature_of = |call: Call<Test>| match call {
            Call::commit { signature, .. } => signature,
            _ => panic!("no commit"),
        };
        let genesis_elsewhere = [9; 32];
        let elsewhere = worker_pair(1).sign(&assay_primitives::challenge::commit_message(
            &genesis_elsewhere,
            &subject_of(round, machine),
            &roots,
        ));
        for signature in [
            // By somebody else, for another round, machine, root, and on another chain; and of nothing.
            signature_of(commit_signed_by(2, round, machine, &roots)),
            signature_of(commit_signed_by(1, round + 1, machine, &roots)),
            signature_of(commit_signed_by(1, round, other, &roots)),
            signature_of(commit_signed_by(1, round, machine, &[[2; 32]])),
            elsewhere,
            sr25519::Signature::from_raw([0; 64]),
        ] {
            let call = Call::commit {
                round: subject_of(round, machine).round,
                machine,
                roots: roots.to_vec().try_into().unwrap(),
                signature,
            };
            assert_eq!(authorize(call), Err(InvalidTransaction::BadProof.into()));
        }
        assert!(authorize(signed_commit(round, machine, &roots)).is_ok());
    });
}

#[test]
fn answers_fail_when_not_authorized() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        for call in [
            signed_commit(round, machine, &[[1; 32]]),
            signed_prove(round, machine, 0, &[]),
        ] {
            for origin in [
                RuntimeOrigin::signed(worker_key(1)),
                RuntimeOrigin::root(),
                RuntimeOrigin::none(),
            ] {
                let result = RuntimeCall::from(call.clone()).dispatch(origin);
                assert_eq!(result.unwrap_err().error, DispatchError::BadOrigin);
            }
        }
        assert_eq!(Answers::<Test>::iter().count(), 0);
    });
}

#[test]
fn answers_are_told_apart_and_preferred_by_the_pool() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        let call = signed_commit(round, machine, &[[1; 32]]);
        let valid = authorize(call.clone()).unwrap();
        assert_eq!(
            valid.provides,
            [("AssayChallenge", ("commit", round, machine)).encode()]
        );
        assert!(valid.requires.is_empty());
        assert!(valid.propagate);
        assert_eq!(valid.priority, u64::MAX / 2);

        let info = RuntimeCall::from(call.clone()).get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational);
        assert_eq!(info.pays_fee, Pays::Yes, "an authorized origin has nobody to pay");
        assert_eq!(info.call_weight, <() as WeightInfo>::commit(1));
        assert_eq!(
            RuntimeCall::from(call).weight_of_authorize(),
            <() as WeightInfo>::authorize_commit(1)
        );
    });
}

#[test]
fn prove_weighs_what_it_verified() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(2);
        commit(round, machine);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        let proofs: Vec<SlotProof> = (0..2).map(|slot| honest_proof(&due, machine, slot)).collect();
        let call = RuntimeCall::from(signed_prove(round, machine, 0, &proofs));
        let info = call.get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational);
        let verify = <() as WeightInfo>::verify_slot;
        let overhead = <() as WeightInfo>::prove(2).max(<() as WeightInfo>::prove_wrong(2));
        assert_eq!(info.call_weight, overhead + verify(64) * 2);
        let post = call
            .dispatch(polkadot_sdk::frame_system::RawOrigin::Authorized.into())
            .unwrap();
        // 4 openings of 32 steps of 8 double rounds: one unit.
        assert_eq!(post.actual_weight, Some(overhead + verify(1) * 2));
    });
}

#[test]
fn prove_fails_when_nothing_was_committed() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        until_drawn(round);
        assert_refused(
            signed_prove(round, machine, 0, &[SlotProof::default()]),
            InvalidTransaction::Custom(NOT_COMMITTED),
            Error::NotCommitted,
        );
    });
}

#[test]
fn prove_fails_before_the_openings_are_drawn() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        commit(round, machine);
        assert!(matches!(
            due_in(round, machine).unwrap().phase,
            ChallengePhase::AwaitOpenings { .. }
        ));
        assert_refused(
            signed_prove(round, machine, 0, &[SlotProof::default()]),
            InvalidTransaction::Future,
            Error::OpeningsNotDrawn,
        );
    });
}

#[test]
fn prove_fails_when_it_is_late() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        commit(round, machine);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        let call = signed_prove(round, machine, 0, &[honest_proof(&due, machine, 0)]);
        let deadline_ms = round_record(round).prove_deadline_ms().unwrap();
        block_after(deadline_ms - now_ms());
        assert!(authorize(call.clone()).is_ok());
        block_after(1);
        assert_eq!(due_in(round, machine), None);
        assert_refused(call, InvalidTransaction::Stale, Error::TooLate);
        assert_eq!(proven_slots(machine), 0);
    });
}

#[test]
fn prove_fails_when_it_was_done() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        commit(round, machine);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        let call = signed_prove(round, machine, 0, &[honest_proof(&due, machine, 0)]);
        send(call.clone());
        assert_refused(
            call,
            InvalidTransaction::Custom(ALREADY_ANSWERED),
            Error::AlreadyAnswered,
        );
    });
}

#[test]
fn prove_fails_when_its_signature_is_forged() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        commit(round, machine);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        let proofs = [honest_proof(&due, machine, 0)];
        // Nobody else can make the machine give a wrong answer, or its own in another place.
        let signature_of = |call: Call<Test>| match call {
            Call::prove { signature, .. } => signature,
            _ => panic!("no proof"),
        };
        for signature in [
            signature_of(prove_signed_by(2, round, machine, 0, &proofs)),
            signature_of(prove_signed_by(1, round + 1, machine, 0, &proofs)),
            signature_of(prove_signed_by(1, round, machine + 1, 0, &proofs)),
            signature_of(prove_signed_by(1, round, machine, 1, &proofs)),
            signature_of(prove_signed_by(1, round, machine, 0, &[SlotProof::default()])),
        ] {
            let call = Call::prove {
                round: subject_of(round, machine).round,
                opening_randomness: openings_of(round),
                machine,
                first_slot: 0,
                proofs: proofs.to_vec().try_into().unwrap(),
                signature,
            };
            assert_eq!(authorize(call), Err(InvalidTransaction::BadProof.into()));
        }
        prove(round, machine);
    });
}

#[test]
fn prove_wants_the_key_of_now_and_the_seed_of_then() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        commit(round, machine);
        change(machine, |record| record.worker = 5);
        until_drawn(round);
        let due = due_in(round, machine).unwrap();
        assert_eq!(due.worker_key, <[u8; 32]>::from(worker_key(1)));
        let proofs = [honest_proof(&due, machine, 0)];
        assert_eq!(
            authorize(prove_signed_by(1, round, machine, 0, &proofs)),
            Err(InvalidTransaction::BadProof.into())
        );
        send(prove_signed_by(5, round, machine, 0, &proofs));
        assert_eq!(proven_slots(machine), 1);
    });
}

#[test]
fn no_deadline_runs_while_the_chain_stands_still() {
    ExtBuilder::default().build_and_execute(|| {
        let (machine, round) = newcomer(1);
        let due = due_in(round, machine).unwrap();
        // Blocks without active time between them, as after a standstill.
        for _ in 0..100 {
            block_after(0);
        }
        send(signed_commit(round, machine, &honest_roots(&due, machine)));
        until_drawn(round);
        for _ in 0..100 {
            block_after(0);
        }
        prove(round, machine);
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn commit_fails_when_a_proven_machine_answers_newcomers() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = newcomer_round();
        assert_refused(
            signed_commit(round, machine, &[[1; 32]]),
            InvalidTransaction::Custom(NOT_DUE),
            Error::NotDue,
        );
    });
}
