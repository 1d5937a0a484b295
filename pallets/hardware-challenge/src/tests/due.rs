use assay_primitives::{
    challenge::RoundKind::{Audit, Newcomers},
    machine::{
        MachineId,
        MachineStatus::{Active, Draining, Retired, Suspended, Unproven},
        SuspensionReason::OwnRequest,
    },
    stake::BondStanding::{InDebt, TooLow},
};
use polkadot_sdk::sp_runtime::DispatchError;

use crate::{Error, Exposures, mock::*};

/// Returns the machine's task in a round: true if it owes an answer, and its number of slots.
fn due(round: u32, machine: MachineId) -> Option<(bool, u8)> {
    due_in(round, machine).map(|due| (due.is_owed, due.slots))
}

/// Returns the reason for which a machine may not commit in a round.
fn refusal(round: u32, machine: MachineId) -> DispatchError {
    HardwareChallenge::check_commit(subject_of(round, machine).round, machine, 1)
        .map(|_| ())
        .unwrap_err()
        .into()
}

#[test]
fn newcomers_may_answer_newcomer_rounds_and_audits() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 3);
        next_block();
        let round = newcomer_round();
        assert_eq!(round_record(round).kind, Newcomers);
        assert_eq!(due(round, machine), Some((false, 3)));
        let round = audit();
        assert_eq!(round_record(round).kind, Audit);
        assert_eq!(due(round, machine), Some((false, 3)));
    });
}

#[test]
fn active_machines_must_answer_audits_and_nothing_else() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 3);
        let round = newcomer_round();
        assert_eq!(due(round, machine), None);
        assert_eq!(refusal(round, machine), Error::<Test>::NotDue.into());
        let round = audit();
        assert_eq!(due(round, machine), Some((true, 3)));
    });
}

#[test]
fn machines_that_come_with_a_round_or_after_it_are_not_due() {
    ExtBuilder::default().build_and_execute(|| {
        let round = newcomer_round();
        let machine = register(1, 1);
        assert_eq!(
            Machines::get()[&machine].registered_at_ms,
            round_record(round).opened_at_ms
        );
        assert_eq!(refusal(round, machine), Error::<Test>::NotDue.into());
        next_block();
        let later = register(2, 1);
        assert_eq!(refusal(round, later), Error::<Test>::NotDue.into());
        let next = newcomer_round();
        assert_eq!(due(next, machine), Some((false, 1)));
        assert_eq!(due(next, later), Some((false, 1)));
    });
}

#[test]
fn machines_without_a_sufficient_bond_may_not_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        for round in [newcomer_round(), audit()] {
            for standing in [TooLow, InDebt] {
                change(machine, |record| record.standing = standing);
                assert_eq!(due(round, machine), None);
                assert_eq!(refusal(round, machine), Error::<Test>::BondInsufficient.into());
            }
        }
    });
}

#[test]
fn machines_of_a_class_without_parameters_are_not_due() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        change(machine, |record| {
            record.class = UNKNOWN_CLASS;
            record.status = Active;
        });
        next_block();
        for round in [newcomer_round(), audit()] {
            assert_eq!(refusal(round, machine), Error::<Test>::NotDue.into());
            until_proofs_are_late(round);
            assert_eq!(
                report_missed(round, machine),
                Err(Error::<Test>::NotMissed.into())
            );
        }
    });
}

#[test]
fn machines_that_are_not_active_may_answer_audits() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        for status in [Suspended(OwnRequest), Draining, Unproven] {
            set_status(machine, status);
            let round = audit();
            assert_eq!(due(round, machine), Some((false, 2)), "{status:?}");
            set_status(machine, Active);
            // It came back with the audit running, and still owes nothing.
            assert_eq!(due(round, machine), Some((false, 2)), "{status:?}");
        }
        set_status(machine, Retired);
        assert_eq!(refusal(audit(), machine), Error::<Test>::NotDue.into());
    });
}

#[test]
fn only_free_slots_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 4);
        lease(machine, 3);
        let round = audit();
        assert_eq!(due(round, machine), Some((true, 1)));
        answer(round, &[machine]);
        assert_eq!(
            Reported::get(),
            [],
            "one slot that answers is all that was asked for"
        );
        lease(machine, 1);
        assert_eq!(refusal(audit(), machine), Error::<Test>::NotDue.into());
    });
}

#[test]
fn nobody_leases_itself_out_of_an_audit() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 4);
        lease(machine, 1);
        let round = audit();
        // The registry says what there was before it changes …
        lease(machine, 3);
        assert_eq!(due(round, machine), Some((true, 3)));
        // … once for each audit, whatever changes afterwards.
        lease(machine, -2);
        set_status(machine, Suspended(OwnRequest));
        assert_eq!(due(round, machine), Some((true, 3)));
        assert_eq!(Exposures::<Test>::iter().count(), 1);
        answer(round, &[machine]);
        assert_eq!(proven_slots(machine), 4, "the first proof still counts");
    });
}

#[test]
fn slots_that_come_free_after_the_audit_opened_do_not_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 4);
        lease(machine, 4);
        let round = audit();
        lease(machine, -4);
        assert_eq!(refusal(round, machine), Error::<Test>::NotDue.into());
        until_proofs_are_late(round);
        assert_eq!(
            report_missed(round, machine),
            Err(Error::<Test>::NotMissed.into())
        );
    });
}

#[test]
fn each_audit_knows_what_was_free_when_it_opened() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 8);
        let still = active_machine(2, 8);
        let first = audit();
        let second = audit();
        lease(machine, 1);
        let third = audit();
        lease(machine, 2);
        lease(machine, 3);
        let of = |machine| [first, second, third].map(|round| due(round, machine).unwrap().1);
        // The first one finds what the second one noted.
        assert_eq!(of(machine), [8, 8, 7]);
        assert_eq!(of(still), [8, 8, 8]);
        assert_eq!(Exposures::<Test>::iter().count(), 2);
        HardwareChallenge::do_try_state().unwrap();
    });
}

#[test]
fn exposures_are_noted_for_audits_only() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 4);
        lease(machine, 1);
        let round = newcomer_round();
        lease(machine, 1);
        assert_eq!(Exposures::<Test>::iter().count(), 0);
        blocks_until(|| !crate::Rounds::<Test>::contains_key(round));
        let round = audit();
        lease(machine, 1);
        assert_eq!(Exposures::<Test>::iter().count(), 1);
        // They go with their round.
        blocks_until(|| !crate::Rounds::<Test>::contains_key(round));
        assert_eq!(Exposures::<Test>::iter().count(), 0);
    });
}

#[test]
fn a_machine_that_leaves_the_market_still_owes_its_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        set_status(machine, Retired);
        assert_eq!(due(round, machine), Some((true, 1)));
        until_proofs_are_late(round);
        assert_eq!(report_missed(round, machine), Ok(()));
    });
}

#[test]
fn challenge_due_lists_every_round() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let rounds = [audit(), audit(), audit()];
        let due: Vec<u32> = HardwareChallenge::challenge_due(machine)
            .into_iter()
            .map(|due| due.round)
            .collect();
        assert_eq!(due, rounds);
        assert_eq!(HardwareChallenge::challenge_due(machine + 1), []);
    });
}
