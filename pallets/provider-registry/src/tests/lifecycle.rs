use assay_primitives::{
    attestation::OnAttestationChange,
    machine::{
        LeaseEnd::Fulfilled,
        MachineInspect, MachineLease,
        MachineStatus::{self, Active, Draining, Retired, Suspended, Unproven},
        OnUptimeChange,
        SuspensionCause::{self, Fault, Heat, Maintenance},
        SuspensionReason::{self, BondTooLow, Condemned, Faulty, Offence, Overheated, OwnRequest},
    },
    market::{TeeKind, TeeKinds},
    money::ASY,
    offence::MachineDiscipline,
    stake::{
        BondStanding::{InDebt, Sufficient, TooLow},
        OnBondChange,
    },
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::CheckIfFeeless},
    sp_runtime::DispatchResult,
};

use crate::{
    Call, Error, Event, HoldReason, Machines, MachinesByProvider, Providers, WorkerKeys,
    lifecycle::status_after, mock::*,
};

/// Compute score of an H100 times the slots, in quarters.
const FULL_WEIGHT: u64 = 989 * SLOTS as u64 * 4;

fn suspend(who: AccountId, machine: u64) -> DispatchResult {
    suspend_for(who, machine, Maintenance)
}

fn suspend_for(who: AccountId, machine: u64, cause: SuspensionCause) -> DispatchResult {
    ProviderRegistry::suspend_self(RuntimeOrigin::signed(who), machine, cause)
}

fn resume(who: AccountId, machine: u64) -> DispatchResult {
    ProviderRegistry::resume(RuntimeOrigin::signed(who), machine)
}

fn drain(who: AccountId, machine: u64) -> DispatchResult {
    ProviderRegistry::drain(RuntimeOrigin::signed(who), machine)
}

fn retire(who: AccountId, machine: u64) -> DispatchResult {
    ProviderRegistry::retire(RuntimeOrigin::signed(who), machine)
}

/// Checks the one step of status that is the pallet's only event, and what the emission heard of it.
fn assert_step(machine: u64, from: MachineStatus, to: MachineStatus, weight: u64) {
    assert_eq!(status(machine), Some(to));
    assert_eq!(take_events(), [Event::MachineStatusChanged { machine, from, to }]);
    assert_eq!(WeightsHeard::take(), [(machine, weight)]);
}

#[test]
fn status_follows_from_bond_and_proof() {
    let [own, bond, debt, offence, condemned] = [
        OwnRequest,
        BondTooLow,
        SuspensionReason::InDebt,
        Offence,
        Condemned,
    ]
    .map(Suspended);
    // Status, then what it becomes when: bonded and proven, bonded only, bond too low, in debt.
    for (status, expected) in [
        (Unproven, [Active, Unproven, Unproven, Unproven]),
        // A proof that grew too old takes no status away.
        (Active, [Active, Active, bond, debt]),
        (own, [own; 4]),
        (bond, [Active, Unproven, bond, debt]),
        (debt, [Active, Unproven, bond, debt]),
        (offence, [offence; 4]),
        (condemned, [condemned; 4]),
        (Draining, [Draining; 4]),
        (Retired, [Retired; 4]),
    ] {
        let got = [
            (Sufficient, true),
            (Sufficient, false),
            (TooLow, true),
            (InDebt, true),
        ]
        .map(|(standing, proven)| status_after(status, standing, proven));
        assert_eq!(got, expected, "from {status:?}");
    }
}

#[test]
fn on_bond_change_activates_and_suspends() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        take_events();

        change_bond(machine, 1, TooLow);
        assert_eq!(status(machine), Some(Unproven));
        assert_eq!(take_events(), []);

        change_bond(machine, ASY, Sufficient);
        assert_step(machine, Unproven, Active, FULL_WEIGHT);

        // More of the same changes nothing and tells nobody.
        change_bond(machine, 2 * ASY, Sufficient);
        assert_eq!(take_events(), []);
        assert_eq!(WeightsHeard::take(), []);

        change_bond(machine, 1, TooLow);
        assert_step(machine, Active, Suspended(BondTooLow), 0);

        change_bond(machine, ASY, Sufficient);
        assert_step(machine, Suspended(BondTooLow), Active, FULL_WEIGHT);
    });
}

#[test]
fn on_bond_change_waits_for_proof() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        Proven::set(false);
        let machine = unproven_machine(PROVIDER, 1);
        change_bond(machine, ASY, Sufficient);
        assert_eq!(status(machine), Some(Unproven));

        Proven::set(true);
        ProviderRegistry::on_bond_change(machine, Sufficient);
        assert_eq!(status(machine), Some(Active));
    });
}

#[test]
fn on_bond_change_ignores_unknown_machines() {
    ExtBuilder::default().build_and_execute(|| {
        ProviderRegistry::on_bond_change(99, Sufficient);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn suspend_self_works_for_provider_and_worker() {
    for who in [PROVIDER, worker(1)] {
        ExtBuilder::default().with_providers().build_and_execute(|| {
            let machine = active_machine(PROVIDER, 1);
            assert_ok!(suspend(who.clone(), machine));
            assert_step(machine, Active, Suspended(OwnRequest), 0);
            assert_ok!(resume(who, machine));
            assert_step(machine, Suspended(OwnRequest), Active, FULL_WEIGHT);
        });
    }
}

#[test]
fn suspend_self_shows_its_cause_which_can_change() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        for (cause, reason) in [(Heat, Overheated), (Fault, Faulty), (Maintenance, OwnRequest)] {
            assert_ok!(suspend_for(worker(1), machine, cause));
            assert_eq!(status(machine), Some(Suspended(reason)));
            assert_noop!(
                suspend_for(worker(1), machine, cause),
                Error::<Test>::NotSuspendable
            );
        }
        ProviderRegistry::suspend_for_offence(machine);
        assert_noop!(
            suspend_for(worker(1), machine, Heat),
            Error::<Test>::NotSuspendable
        );
    });
}

#[test]
fn suspend_self_is_free_for_the_worker_key_of_an_active_machine() {
    let is_free = |origin, machine| {
        let cause = Heat;
        Call::<Test>::suspend_self { machine, cause }.is_feeless(&origin)
    };
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        active_machine(PROVIDER, 2);
        let signed = RuntimeOrigin::signed;
        assert!(is_free(signed(worker(1)), machine));
        for who in [PROVIDER, OTHER_PROVIDER, worker(2)] {
            assert!(!is_free(signed(who), machine));
        }
        assert!(!is_free(RuntimeOrigin::root(), machine));
        assert!(!is_free(signed(worker(1)), 99));
        // A suspended machine comes back for a fee before it can be suspended for none again.
        assert_ok!(suspend_for(worker(1), machine, Heat));
        assert!(!is_free(signed(worker(1)), machine));
        assert!(!Call::<Test>::resume { machine }.is_feeless(&signed(worker(1))));
    });
}

#[test]
fn suspend_self_outlasts_a_topped_up_bond() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        change_bond(machine, 1, TooLow);
        assert_ok!(suspend(worker(1), machine));
        change_bond(machine, ASY, Sufficient);
        assert_eq!(status(machine), Some(Suspended(OwnRequest)));
    });
}

#[test]
fn suspend_self_keeps_leases() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 3));
        assert_ok!(suspend(PROVIDER, machine));
        assert_eq!(record(machine).free_slots, SLOTS - 3);
        assert_ok!(ProviderRegistry::release(machine, 3, Fulfilled));
    });
}

#[test]
fn suspend_self_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        unproven_machine(PROVIDER, 2);
        assert_noop!(suspend(PROVIDER, 99), Error::<Test>::NoSuchMachine);
        assert_noop!(suspend(PROVIDER, machine), Error::<Test>::NotSuspendable);

        change_bond(machine, ASY, Sufficient);
        assert_noop!(
            suspend(OTHER_PROVIDER, machine),
            Error::<Test>::NotProviderOrWorker
        );
        // The key of another machine of the same provider.
        assert_noop!(suspend(worker(2), machine), Error::<Test>::NotProviderOrWorker);

        assert_ok!(suspend(PROVIDER, machine));
        assert_noop!(suspend(PROVIDER, machine), Error::<Test>::NotSuspendable);
    });
}

#[test]
fn resume_fails_when_not_suspended() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_noop!(resume(PROVIDER, 99), Error::<Test>::NoSuchMachine);
        assert_noop!(resume(STRANGER, machine), Error::<Test>::NotProviderOrWorker);
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::NotSuspended);
    });
}

#[test]
fn resume_fails_when_bond_is_too_low() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(suspend(PROVIDER, machine));
        change_bond(machine, 1, TooLow);
        assert_eq!(status(machine), Some(Suspended(OwnRequest)));
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::BondTooLow);

        change_bond(machine, ASY, Sufficient);
        assert_ok!(resume(PROVIDER, machine));
        assert_eq!(status(machine), Some(Active));
    });
}

#[test]
fn resume_leads_to_unproven_when_proof_is_gone() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(suspend(PROVIDER, machine));
        Proven::set(false);
        assert_ok!(resume(PROVIDER, machine));
        assert_eq!(status(machine), Some(Unproven));
    });
}

#[test]
fn retire_removes_when_nothing_is_bonded() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        take_events();
        assert_ok!(retire(PROVIDER, machine));

        assert!(!Machines::<Test>::contains_key(machine));
        assert!(!MachinesByProvider::<Test>::contains_key(PROVIDER, machine));
        assert_eq!(Providers::<Test>::get(PROVIDER).unwrap().machines, 0);
        assert_eq!(WorkerKeys::<Test>::get(worker(1)), None);
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), 0);
        assert_eq!(
            take_events(),
            [
                Event::MachineStatusChanged {
                    machine,
                    from: Unproven,
                    to: Retired
                },
                Event::MachineRemoved {
                    machine,
                    provider: PROVIDER
                },
            ]
        );
        assert_noop!(retire(PROVIDER, machine), Error::<Test>::NoSuchMachine);
    });
}

#[test]
fn retire_keeps_record_and_deposit_while_bonded() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(retire(PROVIDER, machine));

        assert_step(machine, Active, Retired, 0);
        assert_eq!(WorkerKeys::<Test>::get(worker(1)), None);
        assert_eq!(ProviderRegistry::machine_of_worker(&worker(1)), None);
        assert_eq!(ProviderRegistry::provider_of(machine), Some(PROVIDER));
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), MACHINE_DEPOSIT);
        assert_noop!(retire(PROVIDER, machine), Error::<Test>::MachineRetired);
        // Its key may serve again at once.
        unproven_machine(PROVIDER, 1);
        take_events();

        // A part is withdrawn, then the rest, when the last epoch in which it was in the market is closed.
        MockClock::set_epoch(2);
        change_bond(machine, 1, TooLow);
        assert_eq!(status(machine), Some(Retired));
        change_bond(machine, 0, TooLow);
        assert_eq!(status(machine), None);
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), MACHINE_DEPOSIT);
        assert_eq!(
            take_events(),
            [Event::MachineRemoved {
                machine,
                provider: PROVIDER
            }]
        );
    });
}

#[test]
fn retire_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_noop!(retire(PROVIDER, 99), Error::<Test>::NoSuchMachine);
        assert_noop!(retire(OTHER_PROVIDER, machine), Error::<Test>::NotProvider);
        assert_noop!(retire(worker(1), machine), Error::<Test>::NotProvider);

        assert_ok!(ProviderRegistry::lease(machine, 1));
        assert_noop!(retire(PROVIDER, machine), Error::<Test>::SlotsLeased);
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        assert_ok!(retire(PROVIDER, machine));
    });
}

#[test]
fn a_debt_suspends_until_it_is_paid() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let debt = Suspended(SuspensionReason::InDebt);
        change_bond(machine, 1, InDebt);
        assert_step(machine, Active, debt, 0);
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::InDebt);

        // It is paid, and the bond is gone.
        change_bond(machine, 1, TooLow);
        assert_step(machine, debt, Suspended(BondTooLow), 0);
        change_bond(machine, 1, InDebt);
        assert_step(machine, Suspended(BondTooLow), debt, 0);
        change_bond(machine, ASY, Sufficient);
        assert_step(machine, debt, Active, FULL_WEIGHT);
    });
}

#[test]
fn drain_works_for_provider_and_worker_and_keeps_jobs() {
    for who in [PROVIDER, worker(1)] {
        ExtBuilder::default().with_providers().build_and_execute(|| {
            let machine = active_machine(PROVIDER, 1);
            assert_ok!(ProviderRegistry::lease(machine, 1));
            take_events();
            assert_ok!(drain(who.clone(), machine));
            assert_step(machine, Active, Draining, 0);
            assert_noop!(ProviderRegistry::lease(machine, 1), Error::<Test>::NotActive);
            assert_noop!(retire(PROVIDER, machine), Error::<Test>::SlotsLeased);

            assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
            take_events();
            assert_ok!(resume(who, machine));
            assert_step(machine, Draining, Active, FULL_WEIGHT);
            assert_ok!(drain(PROVIDER, machine));
            assert_ok!(retire(PROVIDER, machine));
        });
    }
}

#[test]
fn drain_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        assert_noop!(drain(PROVIDER, 99), Error::<Test>::NoSuchMachine);
        assert_noop!(drain(PROVIDER, machine), Error::<Test>::NotActive);
        change_bond(machine, ASY, Sufficient);
        assert_noop!(drain(STRANGER, machine), Error::<Test>::NotProviderOrWorker);
        assert_ok!(suspend(PROVIDER, machine));
        assert_noop!(drain(PROVIDER, machine), Error::<Test>::NotActive);
    });
}

#[test]
fn an_offence_suspends_until_the_slash_is_over() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        PendingSlashes::set(vec![machine]);
        ProviderRegistry::suspend_for_offence(machine);
        assert_step(machine, Active, Suspended(Offence), 0);
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::SlashPending);
        assert_noop!(suspend(PROVIDER, machine), Error::<Test>::NotSuspendable);
        assert_noop!(drain(PROVIDER, machine), Error::<Test>::NotActive);
        // Paying in does not bring it back by itself.
        change_bond(machine, 2 * ASY, Sufficient);
        assert_eq!(status(machine), Some(Suspended(Offence)));

        PendingSlashes::set(Vec::new());
        set_bond(machine, ASY, TooLow);
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::BondTooLow);
        set_bond(machine, ASY, Sufficient);
        assert_ok!(resume(PROVIDER, machine));
        assert_step(machine, Suspended(Offence), Active, FULL_WEIGHT);
    });
}

#[test]
fn an_offence_suspends_whatever_the_machine_does_but_one_that_left() {
    let bring = |machine: u64, to: MachineStatus| match to {
        Draining => drain(PROVIDER, machine),
        Suspended(OwnRequest) => suspend(PROVIDER, machine),
        Retired => retire(PROVIDER, machine),
        _ => {
            change_bond(machine, 1, TooLow);
            Ok(())
        }
    };
    for (before, after) in [
        (Draining, Suspended(Offence)),
        (Suspended(OwnRequest), Suspended(Offence)),
        (Suspended(BondTooLow), Suspended(Offence)),
        (Retired, Retired),
    ] {
        ExtBuilder::default().with_providers().build_and_execute(|| {
            let machine = active_machine(PROVIDER, 1);
            assert_ok!(bring(machine, before));
            assert_eq!(status(machine), Some(before));
            ProviderRegistry::suspend_for_offence(machine);
            assert_eq!(status(machine), Some(after));
        });
    }
    ExtBuilder::default().build_and_execute(|| {
        ProviderRegistry::suspend_for_offence(99);
        ProviderRegistry::condemn(99);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn condemn_retires_at_once_when_nothing_is_leased() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        ProviderRegistry::condemn(machine);
        assert_step(machine, Active, Retired, 0);
        assert_eq!(WorkerKeys::<Test>::get(worker(1)), None);
        ProviderRegistry::condemn(machine);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn condemn_retires_with_the_end_of_the_last_job() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 3));
        take_events();
        ProviderRegistry::condemn(machine);
        assert_step(machine, Active, Suspended(Condemned), 0);
        // Nothing brings it back.
        assert_noop!(resume(PROVIDER, machine), Error::<Test>::MachineCondemned);
        ProviderRegistry::suspend_for_offence(machine);
        change_bond(machine, ASY, Sufficient);
        assert_eq!(status(machine), Some(Suspended(Condemned)));

        assert_ok!(ProviderRegistry::release(machine, 2, Fulfilled));
        assert_eq!(status(machine), Some(Suspended(Condemned)));
        // Its bond was taken whole in the meantime, but what it did in its last epoch can still be reported.
        set_bond(machine, 0, TooLow);
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        assert_eq!(status(machine), Some(Retired));
        MockClock::set_epoch(2);
        assert_ok!(ProviderRegistry::refresh_machine(
            RuntimeOrigin::signed(STRANGER),
            machine
        ));
        assert_eq!(status(machine), None);
        assert_eq!(RemovalsHeard::get(), [machine]);
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), 0);
    });
}

#[test]
fn a_pending_slash_keeps_the_record_of_a_retired_machine() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        PendingSlashes::set(vec![machine]);
        assert_ok!(retire(PROVIDER, machine));
        assert_eq!(status(machine), Some(Retired));
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), MACHINE_DEPOSIT);

        PendingSlashes::set(Vec::new());
        change_bond(machine, 0, TooLow);
        assert_eq!(status(machine), None);
        assert_eq!(RemovalsHeard::get(), [machine]);
    });
}

#[test]
fn uptime_is_kept_and_bounded() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_eq!(record(machine).uptime_ppm, crate::INITIAL_UPTIME_PPM);
        ProviderRegistry::on_uptime_change(machine, 1_234_567);
        assert_eq!(record(machine).uptime_ppm, 1_000_000);
        // The same again changes nothing and tells nobody.
        ProviderRegistry::on_uptime_change(machine, 1_000_000);
        ProviderRegistry::on_uptime_change(99, 5);
        assert_eq!(
            take_events(),
            [Event::UptimeUpdated {
                machine,
                uptime_ppm: 1_000_000
            }]
        );
    });
}

#[test]
fn an_attested_machine_weighs_a_quarter_more() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let attest = |kinds: TeeKinds| {
            Evidence::mutate(|all| all.insert(machine, kinds));
            ProviderRegistry::on_attestation_change(machine);
        };
        attest(TeeKinds::NONE.with(TeeKind::Tdx));
        assert_eq!(WeightsHeard::take(), [(machine, FULL_WEIGHT / 4 * 5)]);
        // Attested or not, it weighs nothing while it is suspended, and nobody hears of its evidence.
        assert_ok!(suspend(PROVIDER, machine));
        assert_eq!(WeightsHeard::take(), [(machine, 0)]);
        attest(TeeKinds::NONE.with(TeeKind::Tdx));
        assert_eq!(WeightsHeard::take(), []);
        assert_ok!(resume(PROVIDER, machine));
        assert_eq!(WeightsHeard::take(), [(machine, FULL_WEIGHT / 4 * 5)]);
        attest(TeeKinds::NONE);
        assert_eq!(WeightsHeard::take(), [(machine, FULL_WEIGHT)]);
    });
}
