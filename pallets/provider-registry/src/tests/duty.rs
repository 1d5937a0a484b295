//! Watched and bonded for as long as anything is leased or can still be reported, in whatever state.

use assay_primitives::{
    machine::{
        LeaseEnd::{self, Fulfilled, NotStarted},
        MachineInspect, MachineLease,
        MachineStatus::{self, Active, Draining, Retired, Suspended, Unproven},
        OnProofChange,
        SuspensionCause::Maintenance,
        SuspensionReason::{BondTooLow, Condemned, InDebt, MissedStart, Offence, OwnRequest},
    },
    money::ASY,
    offence::MachineDiscipline,
    stake::BondStanding::{self, Sufficient, TooLow},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, HoldReason, mock::*};

/// Event in a machine's life; a call that fails changes nothing.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Nothing,
    ProofLost,
    ProofGained,
    BondLost,
    Indebted,
    BondBack,
    Offence,
    Condemned,
    Suspend,
    Resume,
    Drain,
    Retire,
    Refresh,
    Release(LeaseEnd),
}

const HAPPENINGS: [Happening; 15] = [
    Happening::Nothing,
    Happening::ProofLost,
    Happening::ProofGained,
    Happening::BondLost,
    Happening::Indebted,
    Happening::BondBack,
    Happening::Offence,
    Happening::Condemned,
    Happening::Suspend,
    Happening::Resume,
    Happening::Drain,
    Happening::Retire,
    Happening::Refresh,
    Happening::Release(Fulfilled),
    Happening::Release(NotStarted),
];

fn happen(machine: u64, happening: Happening) {
    let signed = || RuntimeOrigin::signed(PROVIDER);
    let prove = |proven| {
        Proven::set(proven);
        ProviderRegistry::on_proof_change(machine);
        Ok(())
    };
    let bond = |standing| {
        if status(machine).is_some() {
            change_bond(machine, ASY, standing);
        }
        Ok(())
    };
    let _ = match happening {
        Happening::Nothing => Ok(()),
        Happening::ProofLost => prove(false),
        Happening::ProofGained => prove(true),
        Happening::BondLost => bond(TooLow),
        Happening::Indebted => bond(BondStanding::InDebt),
        Happening::BondBack => bond(Sufficient),
        Happening::Offence => {
            ProviderRegistry::suspend_for_offence(machine);
            Ok(())
        }
        Happening::Condemned => {
            ProviderRegistry::condemn(machine);
            Ok(())
        }
        Happening::Suspend => ProviderRegistry::suspend_self(signed(), machine, Maintenance),
        Happening::Resume => ProviderRegistry::resume(signed(), machine),
        Happening::Drain => ProviderRegistry::drain(signed(), machine),
        Happening::Retire => ProviderRegistry::retire(signed(), machine),
        Happening::Refresh => ProviderRegistry::refresh_machine(signed(), machine),
        Happening::Release(end) => ProviderRegistry::release(machine, 1, end),
    };
}

/// Every status that a leased machine can have, and the steps that lead to it.
const LEASED: [(MachineStatus, &[Happening]); 9] = [
    (Active, &[]),
    (Unproven, &[Happening::ProofLost]),
    (Draining, &[Happening::Drain]),
    (Suspended(OwnRequest), &[Happening::Suspend]),
    (Suspended(BondTooLow), &[Happening::BondLost]),
    (Suspended(InDebt), &[Happening::Indebted]),
    (Suspended(Offence), &[Happening::Offence]),
    (Suspended(Condemned), &[Happening::Condemned]),
    (Suspended(MissedStart), &[Happening::Release(NotStarted)]),
];

/// Checks what holds of a machine that is there, in every state.
fn check(machine: u64, was_on_duty: bool, trace: &str) {
    let Some(now) = crate::Machines::<Test>::get(machine) else {
        // Gone: then nothing of it can be reported any more.
        assert!(!was_on_duty, "{trace}: removed while it can be reported");
        return;
    };
    let watched = ProviderRegistry::is_watched(machine);
    let accountable = ProviderRegistry::is_accountable(machine);
    if now.is_leased() {
        assert_ne!(now.status, Retired, "{trace}: leased and retired");
        assert!(watched, "{trace}: leased and not watched");
        assert!(accountable, "{trace}: leased and free to unbond");
    }
    if was_on_duty {
        assert!(watched, "{trace}: its last epoch cannot be reported");
    }
    assert!(
        watched || !accountable,
        "{trace}: accountable for what nobody reports"
    );
}

#[test]
fn a_machine_is_watched_and_accountable_in_every_state_in_which_it_is_leased() {
    for (start, steps) in LEASED {
        for first in HAPPENINGS {
            for second in HAPPENINGS {
                ExtBuilder::default().with_providers().build_and_execute(|| {
                    MockClock::set_epoch(7);
                    let machine = active_machine(PROVIDER, 1);
                    assert_ok!(ProviderRegistry::lease(machine, 1));
                    assert_ok!(ProviderRegistry::lease(machine, 1));
                    steps.iter().for_each(|step| happen(machine, *step));
                    assert_eq!(status(machine), Some(start));
                    // One slot is leased still, whatever brought the machine here.
                    if record(machine).free_slots == SLOTS - 2 {
                        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
                    }
                    let trace = format!("{start:?}, {first:?}, {second:?}");
                    check(machine, true, &trace);
                    // It worked in this epoch, whose reports are taken in the next one.
                    MockClock::set_epoch(8);
                    for happening in [first, second] {
                        happen(machine, happening);
                        check(machine, true, &trace);
                    }
                    // With two epochs more there is nothing left of it, unless it is still on duty.
                    MockClock::set_epoch(10);
                    if status(machine).is_some() {
                        let on_duty = record(machine).is_on_duty();
                        assert_eq!(ProviderRegistry::is_watched(machine), on_duty, "{trace}");
                        assert_eq!(
                            ProviderRegistry::is_accountable(machine),
                            record(machine).is_leased(),
                            "{trace}"
                        );
                    }
                });
            }
        }
    }
}

#[test]
fn an_unproven_newcomer_is_neither_watched_nor_accountable() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        Proven::set(false);
        let machine = unproven_machine(PROVIDER, 1);
        change_bond(machine, ASY, Sufficient);
        assert!(!ProviderRegistry::is_watched(machine));
        assert!(!ProviderRegistry::is_accountable(machine));
        assert!(!ProviderRegistry::is_watched(99) && !ProviderRegistry::is_accountable(99));
    });
}

#[test]
fn a_lease_that_outlives_the_proof_is_watched_to_its_end_and_an_audit_brings_the_machine_back() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        MockClock::set_epoch(12);
        happen(machine, Happening::ProofLost);
        assert_eq!(status(machine), Some(Unproven));
        MockClock::set_epoch(30);
        assert!(ProviderRegistry::is_watched(machine) && ProviderRegistry::is_accountable(machine));

        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        for (epoch, open) in [(30, true), (31, true), (32, false)] {
            MockClock::set_epoch(epoch);
            assert_eq!(ProviderRegistry::is_watched(machine), open, "in epoch {epoch}");
            assert_eq!(
                ProviderRegistry::is_accountable(machine),
                open,
                "in epoch {epoch}"
            );
        }
        happen(machine, Happening::ProofGained);
        assert_eq!(status(machine), Some(Active));
        assert!(ProviderRegistry::is_watched(machine));
        assert!(!ProviderRegistry::is_accountable(machine));
    });
}

#[test]
fn a_machine_that_leaves_can_be_reported_for_its_last_epoch() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        MockClock::set_epoch(5);
        // Nothing is bonded any more: only its last epoch keeps the record.
        set_bond(machine, 0, TooLow);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_eq!(status(machine), Some(Retired));
        let refresh = || ProviderRegistry::refresh_machine(RuntimeOrigin::signed(STRANGER), machine);
        for epoch in [5, 6] {
            MockClock::set_epoch(epoch);
            assert!(ProviderRegistry::is_watched(machine));
            assert_noop!(refresh(), Error::<Test>::MachineRetired);
            assert!(RemovalsHeard::get().is_empty());
        }
        MockClock::set_epoch(7);
        assert!(!ProviderRegistry::is_watched(machine));
        take_events();
        assert_ok!(refresh());
        assert_eq!(
            take_events(),
            [Event::MachineRemoved {
                machine,
                provider: PROVIDER
            }]
        );
        assert_eq!(RemovalsHeard::get(), [machine]);
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), 0);
        assert_noop!(refresh(), Error::<Test>::NoSuchMachine);
    });
}
