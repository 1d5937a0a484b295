//! Ends of leases: their counts, and the machines that they suspend.

use assay_primitives::{
    machine::{
        LeaseEnd::{self, Abandoned, Cancelled, Fulfilled, NotStarted, Unresolved},
        MachineLease,
        MachineStatus::{self, Active, Draining, Retired, Suspended, Unproven},
        OnProofChange, ServiceRecord,
        SuspensionCause::Maintenance,
        SuspensionReason::{
            self, BondTooLow, Condemned, Faulty, InDebt, MissedStart, Offence, Overheated, OwnRequest,
        },
    },
    money::ASY,
    offence::MachineDiscipline,
    stake::BondStanding::{Sufficient, TooLow},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::CheckIfFeeless},
    sp_runtime::DispatchResult,
};

use crate::{Call, Error, Event, lifecycle::status_after_lease, mock::*};

const ALL_ENDS: [LeaseEnd; 5] = [Fulfilled, Cancelled, NotStarted, Abandoned, Unresolved];

const ALL_REASONS: [SuspensionReason; 8] = [
    OwnRequest,
    BondTooLow,
    InDebt,
    Offence,
    Condemned,
    MissedStart,
    Overheated,
    Faulty,
];

/// Leases a slot of the machine and gives it back with this end.
fn lease_that_ends(machine: u64, end: LeaseEnd) -> DispatchResult {
    ProviderRegistry::lease(machine, 1)?;
    ProviderRegistry::release(machine, 1, end)
}

fn resume(who: AccountId, machine: u64) -> DispatchResult {
    ProviderRegistry::resume(RuntimeOrigin::signed(who), machine)
}

/// Returns true where the call of `resume` is free.
fn is_free(who: AccountId, machine: u64) -> bool {
    Call::<Test>::resume { machine }.is_feeless(&RuntimeOrigin::signed(who))
}

#[test]
fn release_counts_how_leases_ended() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        for (times, end) in [
            (5, Fulfilled),
            (4, Cancelled),
            (3, Abandoned),
            (2, Unresolved),
            (1, NotStarted),
        ] {
            for _ in 0..times {
                assert_ok!(lease_that_ends(machine, end));
            }
        }
        let expected = ServiceRecord {
            fulfilled: 5,
            cancelled: 4,
            not_started: 1,
            abandoned: 3,
            unresolved: 2,
        };
        assert_eq!(record(machine).service, expected);
        assert_eq!(ProviderRegistry::machine_view(machine).unwrap().service, expected);
        // A lease of several slots is one.
        assert_ok!(resume(PROVIDER, machine));
        assert_ok!(ProviderRegistry::lease(machine, SLOTS));
        assert_ok!(ProviderRegistry::release(machine, SLOTS, Fulfilled));
        assert_eq!(record(machine).service.fulfilled, 6);
    });
}

#[test]
fn status_follows_from_the_end_of_a_lease() {
    for end in ALL_ENDS {
        for is_leased in [true, false] {
            let after = |status| status_after_lease(status, end, is_leased);
            let missed = |status: MachineStatus| match end {
                NotStarted => Suspended(MissedStart),
                _ => status,
            };
            assert_eq!(after(Active), missed(Active));
            assert_eq!(after(Unproven), missed(Unproven));
            assert_eq!(after(Draining), Draining);
            assert_eq!(after(Retired), Retired);
            for reason in ALL_REASONS {
                let expected = if reason == Condemned && !is_leased {
                    Retired
                } else {
                    Suspended(reason)
                };
                assert_eq!(after(Suspended(reason)), expected);
            }
        }
    }
}

#[test]
fn missed_start_takes_a_machine_out_of_the_market() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        assert_ok!(ProviderRegistry::lease(machine, 2));
        take_events();
        WeightsHeard::take();
        assert_ok!(ProviderRegistry::release(machine, 1, NotStarted));

        assert_eq!(
            take_events(),
            [
                Event::SlotsReleased {
                    machine,
                    slots: 1,
                    free_slots: SLOTS - 2,
                    end: NotStarted,
                },
                Event::MachineStatusChanged {
                    machine,
                    from: Active,
                    to: Suspended(MissedStart),
                },
            ]
        );
        assert_eq!(WeightsHeard::take(), [(machine, 0)]);
        assert_noop!(ProviderRegistry::lease(machine, 1), Error::<Test>::NotActive);
        // Neither money nor a proof brings it back: only its provider's or its worker's word that it is
        // there.
        change_bond(machine, 2 * ASY, Sufficient);
        ProviderRegistry::on_proof_change(machine);
        assert_eq!(status(machine), Some(Suspended(MissedStart)));
        // The other job runs on, and one more missed start changes nothing but the count.
        assert_ok!(ProviderRegistry::release(machine, 2, NotStarted));
        assert_eq!(record(machine).service.not_started, 2);
        assert_eq!(status(machine), Some(Suspended(MissedStart)));

        assert_ok!(resume(worker(1), machine));
        assert_eq!(status(machine), Some(Active));
        assert_ok!(lease_that_ends(machine, Fulfilled));
    });
}

#[test]
fn missed_start_changes_no_machine_that_takes_no_orders() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let bring: [(MachineStatus, fn(u64)); 4] = [
            (Draining, |machine| {
                ProviderRegistry::drain(RuntimeOrigin::signed(PROVIDER), machine).unwrap();
            }),
            (Suspended(OwnRequest), |machine| {
                ProviderRegistry::suspend_self(RuntimeOrigin::signed(PROVIDER), machine, Maintenance)
                    .unwrap();
            }),
            (Suspended(BondTooLow), |machine| change_bond(machine, 1, TooLow)),
            (Suspended(Offence), ProviderRegistry::suspend_for_offence),
        ];
        for (number, (expected, bring)) in (1..).zip(bring) {
            let machine = active_machine(PROVIDER, number);
            assert_ok!(ProviderRegistry::lease(machine, 1));
            bring(machine);
            assert_ok!(ProviderRegistry::release(machine, 1, NotStarted));
            assert_eq!(status(machine), Some(expected));
            assert_eq!(record(machine).service.not_started, 1);
        }
    });
}

#[test]
fn resume_after_a_missed_start_is_free_for_the_worker_key_where_it_succeeds() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let other = active_machine(PROVIDER, 2);
        assert!(!is_free(worker(1), machine), "it is active");
        assert!(!is_free(worker(1), 99));
        for machine in [machine, other] {
            assert_ok!(lease_that_ends(machine, NotStarted));
        }
        assert!(is_free(worker(1), machine));
        // The provider has a balance, and a stranger or another machine's worker key would fail.
        for who in [PROVIDER, STRANGER, worker(2)] {
            assert!(!is_free(who, machine));
        }
        assert!(!Call::<Test>::resume { machine }.is_feeless(&RuntimeOrigin::root()));

        change_bond(machine, 1, TooLow);
        assert_eq!(status(machine), Some(Suspended(MissedStart)));
        assert!(!is_free(worker(1), machine));
        assert_noop!(resume(worker(1), machine), Error::<Test>::BondTooLow);

        change_bond(machine, ASY, Sufficient);
        // Where its proof grew too old meanwhile it comes back as unproven, which is a success too.
        Proven::set(false);
        assert!(is_free(worker(1), machine));
        assert_ok!(resume(worker(1), machine));
        assert_eq!(status(machine), Some(Unproven));
        assert!(!is_free(worker(1), machine));
    });
}

#[test]
fn extension_ask_is_the_ask_of_a_machine_that_may_go_on() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        assert_eq!(ProviderRegistry::extension_ask(machine), Some(ASK));
        assert_eq!(ProviderRegistry::extension_ask(99), None);
        // Leased for longer than its proof lives.
        Proven::set(false);
        ProviderRegistry::on_proof_change(machine);
        assert_eq!(status(machine), Some(Unproven));
        assert_eq!(ProviderRegistry::extension_ask(machine), Some(ASK));

        Proven::set(true);
        ProviderRegistry::on_proof_change(machine);
        assert_ok!(ProviderRegistry::drain(RuntimeOrigin::signed(PROVIDER), machine));
        assert_eq!(ProviderRegistry::extension_ask(machine), None);
        ProviderRegistry::suspend_for_offence(machine);
        assert_eq!(ProviderRegistry::extension_ask(machine), None);
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_eq!(ProviderRegistry::extension_ask(machine), None);
    });
}
