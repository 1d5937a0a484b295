use assay_primitives::{
    availability::ReportDue,
    machine::{
        MachineId,
        MachineStatus::{Draining, Retired, Suspended, Unproven},
        SuspensionReason::OwnRequest,
    },
};
use codec::{Decode, Encode};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo, pallet_prelude::DispatchClass},
    sp_core::Pair,
    sp_runtime::{
        DispatchError,
        transaction_validity::{InvalidTransaction, TransactionValidityError},
    },
};

use crate::{
    ALREADY_REPORTED, AssignmentBits, Call, EpochRecords, Error, Event, FAILURES_NOT_SORTED, Failures,
    NOT_ASSIGNED, NOT_NEXT_PART, WeightInfo, mock::*,
};

/// Asserts that a report is refused by the pool, and would be by the block.
fn assert_refused(call: Call<Test>, by_pool: InvalidTransaction, in_block: Error<Test>) {
    assert_eq!(
        authorize(call.clone()),
        Err(TransactionValidityError::Invalid(by_pool))
    );
    assert_noop!(dispatch_authorized(call), in_block);
}

/// Two machines that validator 0 watches, and one that it does not.
fn own_and_foreign(epoch: u32) -> ([MachineId; 2], MachineId) {
    let own = machines_of(0, epoch);
    let foreign = (0..MACHINES).find(|machine| !own.contains(machine)).unwrap();
    ([own[0], own[1]], foreign)
}

#[test]
fn report_works() {
    ExtBuilder::default().build_and_execute(|| {
        let (own, _) = own_and_foreign(1);
        next_epoch();
        take_events();
        report(1, 0, &own);

        assert!(EpochRecords::<Test>::get(1).unwrap().reported.contains(0));
        for machine in own {
            let place = assigned(machine, 1).iter().position(|index| *index == 0).unwrap();
            assert_eq!(Failures::<Test>::get(1, machine), AssignmentBits(1 << place));
        }
        assert_eq!(Failures::<Test>::iter().count(), 2);
        assert_eq!(
            take_events(),
            [Event::ReportReceived {
                epoch: 1,
                validator_index: 0,
                failures: 2
            }]
        );
    });
}

#[test]
fn report_without_failures_works() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        report(1, 4, &[]);
        assert!(EpochRecords::<Test>::get(1).unwrap().reported.contains(4));
        assert_eq!(Failures::<Test>::iter().count(), 0);
    });
}

#[test]
fn report_is_told_apart_and_preferred_by_the_pool() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        let valid = authorize(signed_report(1, 2, &[])).unwrap();
        assert_eq!(
            valid.provides,
            [("AssayAvailability", (1u32, 2u32, None::<MachineId>)).encode()]
        );
        assert!(valid.requires.is_empty());
        assert!(valid.propagate);
        assert_eq!(valid.priority, u64::MAX / 2);
        assert_eq!(valid.longevity, 64);
    });
}

#[test]
fn report_is_operational_and_charges_its_authorization() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        let own = machines_of(0, 1);
        let info = RuntimeCall::from(signed_report(1, 0, &own[..3])).get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational);
        assert_eq!(info.call_weight, <() as WeightInfo>::report(3));
        use polkadot_sdk::frame_support::traits::Authorize;
        assert_eq!(
            RuntimeCall::from(signed_report(1, 0, &own[..3])).weight_of_authorize(),
            <() as WeightInfo>::authorize_report(3)
        );
    });
}

#[test]
fn report_fails_when_its_window_has_closed() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        next_epoch();
        assert_refused(
            signed_report(1, 0, &[]),
            InvalidTransaction::Stale,
            Error::EpochOver,
        );
        assert_refused(
            signed_report(0, 0, &[]),
            InvalidTransaction::Stale,
            Error::EpochOver,
        );
    });
}

#[test]
fn report_fails_when_the_epoch_has_not_ended() {
    ExtBuilder::default().build_and_execute(|| {
        for epoch in [1, 2, u32::MAX] {
            assert_refused(
                signed_report(epoch, 0, &[]),
                InvalidTransaction::Future,
                Error::EpochNotEnded,
            );
        }
    });
}

#[test]
fn report_fails_when_sent_twice() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        report(1, 0, &[]);
        for failures in [vec![], machines_of(0, 1)[..1].to_vec()] {
            assert_refused(
                signed_report(1, 0, &failures),
                InvalidTransaction::Custom(ALREADY_REPORTED),
                Error::AlreadyReported,
            );
        }
    });
}

#[test]
fn report_fails_when_its_signature_is_forged() {
    ExtBuilder::default().build_and_execute(|| {
        let (own, _) = own_and_foreign(1);
        next_epoch();
        let forged = |signature| Call::report {
            epoch: 1,
            validator_index: 0,
            after: None,
            failures: own.to_vec().try_into().unwrap(),
            signature,
        };
        let elsewhere = pair(0).sign(&assay_primitives::availability::report_message(
            &[9; 32], 1, 0, None, &own,
        ));
        for signature in [
            // By somebody else, for another epoch, another validator, other machines, and on another chain.
            sign(1, 1, 0, &own),
            sign(0, 2, 0, &own),
            sign(0, 1, 1, &own),
            sign(0, 1, 0, &own[..1]),
            sign(0, 1, 0, &[]),
            // As another part.
            sign_part(0, 1, 0, Some(own[0]), &own[1..]),
            sign_part(0, 1, 0, Some(0), &own),
            elsewhere,
        ] {
            assert_eq!(
                authorize(forged(signature)),
                Err(InvalidTransaction::BadProof.into())
            );
        }
        assert_ok!(authorize(forged(sign(0, 1, 0, &own))));
    });
}

#[test]
fn report_fails_when_its_validator_is_none_of_that_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        // Five more join, too late for epoch 1.
        new_session(0..10);
        next_epoch();
        assert_refused(
            signed_report(1, 5, &[]),
            InvalidTransaction::BadSigner,
            Error::NotValidator,
        );
        assert_refused(
            signed_report(1, u32::MAX, &[]),
            InvalidTransaction::BadSigner,
            Error::NotValidator,
        );
        next_epoch();
        report(2, 5, &[]);
    });
}

#[test]
fn report_fails_when_nobody_watched_the_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        EpochRecords::<Test>::remove(1);
        assert_refused(
            signed_report(1, 0, &[]),
            InvalidTransaction::BadSigner,
            Error::NotValidator,
        );
    });
}

#[test]
fn report_of_a_validator_that_left_works() {
    ExtBuilder::default().build_and_execute(|| {
        new_session(6..8);
        next_epoch();
        new_session(8..10);
        report(1, 0, &[]);
    });
}

#[test]
fn report_fails_when_a_machine_was_not_its_to_watch() {
    ExtBuilder::default().build_and_execute(|| {
        let (own, foreign) = own_and_foreign(1);
        next_epoch();
        let mut failures = vec![own[0], own[1], foreign];
        failures.sort_unstable();
        for failures in [vec![foreign], failures] {
            assert_refused(
                signed_report(1, 0, &failures),
                InvalidTransaction::Custom(NOT_ASSIGNED),
                Error::NotAssigned,
            );
        }
    });
}

#[test]
fn report_fails_when_its_failures_are_out_of_order_or_doubled() {
    ExtBuilder::default().build_and_execute(|| {
        let ([first, second], _) = own_and_foreign(1);
        next_epoch();
        for failures in [
            vec![second, first],
            vec![first, first],
            vec![first, second, second],
        ] {
            assert_refused(
                signed_report(1, 0, &failures),
                InvalidTransaction::Custom(FAILURES_NOT_SORTED),
                Error::FailuresNotSorted,
            );
        }
    });
}

#[test]
fn report_fails_when_it_is_too_long() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        // One validator watches all forty machines.
        let longest: Vec<MachineId> = (0..MachineId::from(MAX_FAILURES)).collect();
        report(1, 0, &longest);

        let too_long: Vec<MachineId> = (0..=MachineId::from(MAX_FAILURES)).collect();
        let signature = sign(0, 1, 0, &too_long);
        let after = None::<MachineId>;
        let fields = (2u8, 0u8, 1u32, 0u32, after, too_long, signature).encode();
        assert!(RuntimeCall::decode(&mut &fields[..]).is_err());
        let fitting = (
            2u8,
            0u8,
            1u32,
            0u32,
            after,
            longest.clone(),
            sign(0, 1, 0, &longest),
        )
            .encode();
        assert!(RuntimeCall::decode(&mut &fitting[..]).is_ok());
    });
}

#[test]
fn report_fails_when_its_origin_is_not_authorized() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        for origin in [
            RuntimeOrigin::signed(stash(0)),
            RuntimeOrigin::root(),
            RuntimeOrigin::none(),
        ] {
            assert_noop!(
                Availability::report(origin, 1, 0, None, Default::default(), sign(0, 1, 0, &[])),
                DispatchError::BadOrigin
            );
        }
    });
}

#[test]
fn report_counts_machines_whatever_they_have_become() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        // After the epoch in which they were down they retire, or lose their proof.
        set_status(1, Some(Suspended(OwnRequest)));
        set_status(2, Some(Draining));
        set_status(3, Some(Retired));
        set_status(4, Some(Unproven));
        set_status(5, None);
        take_events();
        // The last one was never registered.
        report(1, 0, &[0, 1, 2, 3, 4, 5, 1_000]);
        let mut kept: Vec<_> = Failures::<Test>::iter_key_prefix(1).collect();
        kept.sort_unstable();
        assert_eq!(kept, [0, 1, 2, 3, 4]);
        assert_eq!(
            take_events(),
            [Event::ReportReceived {
                epoch: 1,
                validator_index: 0,
                failures: 5
            }]
        );
        next_epoch();
        assert_eq!(
            (0..6)
                .map(|machine| Availability::uptime(machine, 1))
                .collect::<Vec<_>>(),
            [Some(0), Some(0), Some(0), Some(0), Some(0), Some(1_000_000)]
        );
    });
}

#[test]
fn machines_are_watched_as_long_as_the_registry_says() {
    ExtBuilder::default().build_and_execute(|| {
        for (machine, status, is_watched) in [
            (1, Some(Suspended(OwnRequest)), true),
            (2, Some(Draining), true),
            (3, Some(Retired), false),
            (4, Some(Unproven), false),
            (5, None, false),
        ] {
            set_status(machine, status);
            assert_eq!(Availability::is_watched(machine), is_watched, "{status:?}");
            Engaged::mutate(|engaged| engaged.insert(machine));
            assert_eq!(Availability::is_watched(machine), status.is_some(), "{status:?}");
        }
    });
}

/// The forty machines of the mock, which one validator or three watch all of.
fn all_machines() -> Vec<MachineId> {
    (0..MACHINES).collect()
}

#[test]
fn report_in_parts_leaves_no_failure_out() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        let key = pair(0).public();
        next_epoch();
        let machines = all_machines();
        let due = |after| {
            Some(ReportDue {
                epoch: 1,
                validator_index: 0,
                after,
                max_failures: MAX_FAILURES,
            })
        };
        assert_eq!(Availability::report_due(&key), due(None));
        report(1, 0, &machines[..16]);
        assert_eq!(Availability::report_due(&key), due(Some(15)));
        report_part(1, 0, Some(15), &machines[16..32]);
        assert_eq!(Availability::report_due(&key), due(Some(31)));
        report_part(1, 0, Some(31), &machines[32..]);
        assert_eq!(Availability::report_due(&key), None);
        next_epoch();
        // More than fit one list, and all of them count as down.
        assert!(
            machines
                .iter()
                .all(|machine| Availability::uptime(*machine, 1) == Some(0))
        );
        assert_eq!(EpochRecords::<Test>::get(1).unwrap().down_machines, 40);
    });
}

#[test]
fn report_ends_with_a_part_that_is_not_full() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        report(1, 0, &all_machines()[..16]);
        // Of its first part nobody needs to hear again.
        assert_refused(
            signed_report(1, 0, &all_machines()[..16]),
            InvalidTransaction::Custom(ALREADY_REPORTED),
            Error::AlreadyReported,
        );
        report_part(1, 0, Some(15), &[]);
        for call in [
            signed_part(1, 0, Some(15), &[]),
            signed_part(1, 0, Some(15), &[20]),
            signed_report(1, 0, &[20]),
        ] {
            assert_refused(
                call,
                InvalidTransaction::Custom(ALREADY_REPORTED),
                Error::AlreadyReported,
            );
        }
    });
}

#[test]
fn report_fails_when_it_is_not_the_next_part() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        let not_next = |call| {
            assert_refused(
                call,
                InvalidTransaction::Custom(NOT_NEXT_PART),
                Error::NotNextPart,
            );
        };
        not_next(signed_part(1, 0, Some(15), &[16]));
        report(1, 0, &all_machines()[..16]);
        not_next(signed_part(1, 0, Some(14), &[16]));
        not_next(signed_part(1, 0, Some(16), &[17]));
        // It does not say again what it said.
        for failures in [vec![15], vec![3, 16], vec![17, 16]] {
            assert_refused(
                signed_part(1, 0, Some(15), &failures),
                InvalidTransaction::Custom(FAILURES_NOT_SORTED),
                Error::FailuresNotSorted,
            );
        }
    });
}

#[test]
fn report_has_so_many_parts_at_most() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        // Machines that do not exist, of which there are as many as a validator likes.
        let mut after = None;
        for part in 0..4 {
            let failures: Vec<MachineId> = (0..16).map(|number| 1_000 + part * 16 + number).collect();
            report_part(1, 0, after, &failures);
            after = failures.last().copied();
        }
        assert_eq!(Availability::report_due(&pair(0).public()), None);
        assert_refused(
            signed_part(1, 0, after, &[]),
            InvalidTransaction::Custom(ALREADY_REPORTED),
            Error::AlreadyReported,
        );
        assert_eq!(Failures::<Test>::iter().count(), 0);
    });
}

#[test]
fn report_due_tells_what_is_owed() {
    ExtBuilder::default().build_and_execute(|| {
        let key = pair(3).public();
        assert_eq!(Availability::report_due(&key), None);
        next_epoch();
        let due = ReportDue {
            epoch: 1,
            validator_index: 3,
            after: None,
            max_failures: MAX_FAILURES,
        };
        assert_eq!(Availability::report_due(&key), Some(due));
        assert_eq!(Availability::report_due(&pair(9).public()), None);
        report(1, 3, &[]);
        assert_eq!(Availability::report_due(&key), None);
    });
}
