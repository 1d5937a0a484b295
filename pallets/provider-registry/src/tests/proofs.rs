use assay_primitives::{
    machine::{
        Exposure, HardwareClaim, HardwareClaims,
        LeaseEnd::Fulfilled,
        MachineLease,
        MachineStatus::{self, Active, Draining, Retired, Suspended, Unproven},
        OnProofChange,
        SuspensionCause::Maintenance,
        SuspensionReason::{BondTooLow, Condemned, InDebt, Offence, OwnRequest},
    },
    money::ASY,
    stake::BondStanding::{self, Sufficient, TooLow},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, lifecycle::status_after_proof, mock::*};

/// Weight of a slot of an H100: its compute score, in quarters.
const SLOT_WEIGHT: u64 = 4 * 989;

#[test]
fn status_follows_from_the_proof() {
    let kept = [
        Suspended(OwnRequest),
        Suspended(BondTooLow),
        Suspended(InDebt),
        Suspended(Offence),
        Suspended(Condemned),
        Draining,
        Retired,
    ];
    for standing in [Sufficient, TooLow, BondStanding::InDebt] {
        for status in kept {
            for proven in [true, false] {
                assert_eq!(status_after_proof(status, standing, proven), status);
            }
        }
        assert_eq!(status_after_proof(Active, standing, true), Active);
        assert_eq!(status_after_proof(Active, standing, false), Unproven);
        assert_eq!(status_after_proof(Unproven, standing, false), Unproven);
        let proven = if standing == Sufficient { Active } else { Unproven };
        assert_eq!(status_after_proof(Unproven, standing, true), proven);
    }
}

#[test]
fn on_proof_change_activates_who_is_bonded() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        Proven::set(false);
        let machine = unproven_machine(PROVIDER, 1);
        let change = |proven| {
            Proven::set(proven);
            ProviderRegistry::on_proof_change(machine);
            status(machine)
        };
        // The bond is missing.
        assert_eq!(change(true), Some(Unproven));
        Proven::set(false);
        change_bond(machine, ASY, Sufficient);
        assert_eq!(change(false), Some(Unproven));
        take_events();
        assert_eq!(change(true), Some(Active));
        assert_eq!(WeightsHeard::take(), [(machine, SLOT_WEIGHT * u64::from(SLOTS))]);
        assert_eq!(change(false), Some(Unproven));
        assert_eq!(WeightsHeard::take(), [(machine, 0)]);
        let step = |from: MachineStatus, to: MachineStatus| Event::MachineStatusChanged { machine, from, to };
        assert_eq!(take_events(), [step(Unproven, Active), step(Active, Unproven)]);
        ProviderRegistry::on_proof_change(99);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn a_machine_weighs_as_much_as_it_has_proven() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        for (most, slots) in [(2, 2), (1, 1), (200, SLOTS)] {
            MostProvenSlots::set(most);
            ProviderRegistry::on_proof_change(machine);
            assert_eq!(WeightsHeard::take(), [(machine, SLOT_WEIGHT * u64::from(slots))]);
        }
        assert_eq!(take_events(), [], "its status stays");
    });
}

#[test]
fn an_expired_machine_keeps_its_jobs() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 3));
        Proven::set(false);
        ProviderRegistry::on_proof_change(machine);
        assert_eq!(status(machine), Some(Unproven));
        assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
        assert_eq!(record(machine).free_slots, 2);
        assert_noop!(ProviderRegistry::lease(machine, 1), Error::<Test>::NotActive);
    });
}

#[test]
fn lease_fails_when_the_proof_is_too_old() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        // Nobody took note of it yet.
        Proven::set(false);
        assert_eq!(status(machine), Some(Active));
        assert_noop!(ProviderRegistry::lease(machine, 1), Error::<Test>::ProofTooOld);
    });
}

#[test]
fn hardware_claims_are_what_was_registered() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        assert_eq!(
            ProviderRegistry::hardware_claim(machine),
            Some(HardwareClaim {
                worker_key: worker(1),
                class: H100,
                status: Unproven,
                exposure: Exposure {
                    free_slots: SLOTS,
                    is_active: false
                },
                registered_at_ms: NOW_MS,
            })
        );
        assert_eq!(ProviderRegistry::next_machine_id(), machine + 1);
        assert_eq!(ProviderRegistry::hardware_claim(machine + 1), None);
    });
}

#[test]
fn the_challenge_hears_of_exposures_before_they_change() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let exposure = |free_slots, is_active| Exposure {
            free_slots,
            is_active,
        };
        // It was unproven.
        assert_eq!(ExposuresHeard::take(), [(machine, exposure(SLOTS, false))]);

        assert_ok!(ProviderRegistry::lease(machine, 3));
        assert_ok!(ProviderRegistry::release(machine, 2, Fulfilled));
        assert_ok!(ProviderRegistry::suspend_self(
            RuntimeOrigin::signed(PROVIDER),
            machine,
            Maintenance,
        ));
        assert_eq!(
            ExposuresHeard::take(),
            [
                (machine, exposure(SLOTS, true)),
                (machine, exposure(SLOTS - 3, true)),
                (machine, exposure(SLOTS - 1, true))
            ]
        );
        // What changes nothing of it is not told.
        assert_ok!(ProviderRegistry::update_ask(
            RuntimeOrigin::signed(PROVIDER),
            machine,
            3 * ASY
        ));
        set_bond(machine, ASY, Sufficient);
        assert_eq!(ExposuresHeard::take(), []);
        assert_ok!(ProviderRegistry::resume(RuntimeOrigin::signed(PROVIDER), machine));
        assert_eq!(ExposuresHeard::take(), [(machine, exposure(SLOTS - 1, false))]);
    });
}
