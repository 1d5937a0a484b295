//! Tests of providers: a machine's life from its registration to the last planck of its bond, and the costs
//! of an offence.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    clock::ActiveClock,
    machine::{
        MachineId, MachineInspect,
        MachineStatus::{Active, Draining, Retired, Suspended, Unproven},
        OnProofChange,
        SuspensionCause::Maintenance,
        SuspensionReason::{BondTooLow, Condemned, InDebt, Offence as ForOffence, OwnRequest},
    },
    market::{FindError, Gap, Mismatch, Near, Requirements},
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, ReportOffence, SlashId},
};
use assay_runtime::{
    AccountId, ChainClock, ProviderRegistry, ProviderStaking, Runtime, RuntimeEvent, hardware_classes,
};
use common::*;
use pallet_job_escrow::{DeclineReason, JobKind};
use pallet_provider_staking::{Event, SlashReason};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    pallet_balances,
    sp_keyring::Sr25519Keyring::{self, Bob, Charlie, Dave, Eve, Ferdie},
    sp_runtime::Permill,
};

type Registry = pallet_provider_registry::Call<Runtime>;
type Staking = pallet_provider_staking::Call<Runtime>;
type Escrow = pallet_job_escrow::Call<Runtime>;
type RegistryError = pallet_provider_registry::Error<Runtime>;
type StakingError = pallet_provider_staking::Error<Runtime>;

const HOUR_MS: u64 = 3_600_000;

/// Returns the machines that the market offers for these requirements, in their order.
fn found(requirements: &Requirements) -> Vec<MachineId> {
    let page = ProviderRegistry::find_machines(requirements, 100, None).unwrap();
    assert_eq!(page.next, None);
    page.offers.into_iter().map(|offer| offer.machine).collect()
}

/// Requires an NVIDIA H100.
fn an_h100() -> Requirements {
    Requirements {
        gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
        ..Default::default()
    }
}

/// Returns the plancks held for the machine.
fn bond_of(machine: MachineId) -> Balance {
    pallet_provider_staking::Bonds::<Runtime>::get(machine).map_or(0, |record| record.total_held())
}

/// Sets one epoch between an offence and its slash.
fn slashes_fall_due_in_the_next_epoch() {
    set_parameter(staking_parameter!(SlashDeferEpochs, 1));
}

/// Returns the last slash queued in this block, and its amount.
fn queued() -> (SlashId, Balance) {
    let last = staking_events().into_iter().rev().find_map(|event| match event {
        Event::SlashQueued { id, owed, .. } => Some((id, owed)),
        _ => None,
    });
    last.expect("a slash was queued")
}

/// Reports an offence as the pallets that detect it do.
fn report(
    machine: MachineId,
    offence: Offence,
    beneficiaries: Beneficiaries<AccountId>,
) -> (SlashId, Balance) {
    assert_ok!(ProviderStaking::report_offence(machine, offence, beneficiaries));
    queued()
}

/// Slashes the machine as governance.
fn slash(
    machine: MachineId,
    fraction: Permill,
    beneficiaries: Beneficiaries<AccountId>,
) -> (SlashId, Balance) {
    assert_ok!(sudo(Staking::slash {
        machine,
        fraction,
        beneficiaries
    }));
    queued()
}

/// Starts a job of Ferdie's on the machine, whose worker key is Dave's.
fn running_job(machine: MachineId, kind: JobKind) -> u64 {
    let job = deploy(Ferdie, machine, kind, HOUR_MS);
    assert_ok!(call_as(&account(Dave), Escrow::start { job }));
    job
}

/// Sends all of an account's free money to Eve, except what keeps the account alive.
fn give_all_away(who: Sr25519Keyring) {
    assert_ok!(call_as(
        &account(who),
        pallet_balances::Call::<Runtime>::transfer_all {
            dest: account(Eve).into(),
            keep_alive: true
        }
    ));
}

fn bond_extra(machine: MachineId, amount: Balance) {
    assert_ok!(call_as(&account(Bob), Staking::bond_extra { machine, amount }));
}

/// Waits until a retired machine can no longer be reported, and has a stranger remove its record.
fn forget_retired(chain: &mut Chain, machine: MachineId) {
    chain.until_epoch(ChainClock::current_epoch() + 2);
    assert_ok!(call_as(&account(Eve), Registry::refresh_machine { machine }));
    assert_eq!(status(machine), None);
}

fn resume(machine: MachineId) {
    assert_ok!(call_as(&account(Bob), Registry::resume { machine }));
}

#[test]
fn a_provider_lives_its_whole_life_and_has_everything_back() {
    with_chain("development", |chain| {
        set_parameter(staking_parameter!(UnbondingEpochs, 2));
        let (bob, stranger) = (account(Bob), account(Eve));
        let before = wealth(&bob);

        assert_ok!(register_provider(Bob));
        let mut registration = registration_of(Dave, 2);
        registration.class = hardware_classes::catalogue()
            .into_iter()
            .find(|class| class.name == "NVIDIA_H100")
            .unwrap()
            .class;
        let machine = register_machine(Bob, Dave, registration.clone()).unwrap();
        // A slot of an H100 requires one and a half ASY for each of its 989 points.
        assert_eq!(minimum_bond(machine), 2 * 989 * 3 * ASY / 2);
        assert!(found(&an_h100()).is_empty());
        assert_eq!(
            ProviderRegistry::explain(&an_h100(), machine),
            Ok(Some(vec![Mismatch::Status { found: Unproven }]))
        );

        assert_ok!(call_as(
            &bob,
            Staking::bond {
                machine,
                amount: minimum_bond(machine)
            }
        ));
        assert_eq!(found(&an_h100()), [machine]);
        let demanding = Requirements {
            min_vram_mib: 80 * 1_024,
            min_cuda_cores: 16_896,
            min_compute_score: 989,
            min_free_slots: 2,
            region: Some(registration.region.clone()),
            near: Some(Near {
                center: registration.location,
                within_km: 0,
            }),
            max_price_per_slot_hour: Some(ASK),
            ..an_h100()
        };
        assert_eq!(found(&demanding), [machine]);

        // Another provider's machine of the same class: the cheaper one comes first.
        assert_ok!(register_provider(Charlie));
        registration.worker_key = account(Eve);
        registration.ask = ASK - 1;
        let rival = register_machine(Charlie, Eve, registration).unwrap();
        assert_ok!(call_as(
            &account(Charlie),
            Staking::bond {
                machine: rival,
                amount: minimum_bond(rival)
            }
        ));
        assert_eq!(found(&an_h100()), [rival, machine]);
        let cheaper = ASK - 2;
        assert_ok!(call_as(
            &bob,
            Registry::update_ask {
                machine,
                ask: cheaper
            }
        ));
        assert_eq!(found(&an_h100()), [machine, rival]);
        let view = ProviderRegistry::machine_view(machine).unwrap();
        assert_eq!(view.price_per_tflops_hour, Some(cheaper.div_ceil(989)));

        // A job takes one of two slots, and the machine drains while it runs.
        let job = running_job(machine, JobKind::Service);
        assert_eq!(found(&an_h100()), [machine, rival]);
        assert_eq!(
            ProviderRegistry::explain(&demanding, machine),
            Ok(Some(vec![Mismatch::MinFreeSlots(Gap { wanted: 2, found: 1 })]))
        );
        assert_ok!(call_as(&bob, Registry::drain { machine }));
        assert_eq!(status(machine), Some(Draining));
        assert_eq!(found(&an_h100()), [rival]);
        assert_noop!(
            call_as(&bob, Registry::retire { machine }),
            RegistryError::SlotsLeased
        );
        chain.pass(60_000);
        assert_ok!(call_as(&account(Ferdie), Escrow::close { job }));
        let paid: Balance = cheaper * 60_000 / Balance::from(HOUR_MS);
        let income = paid - paid * 5 / 100;
        resume(machine);
        assert_eq!(found(&an_h100()), [machine, rival]);

        // The worker key moves to another device.
        assert_ok!(call_as(
            &bob,
            Registry::rotate_keys {
                machine,
                worker_key: account(Ferdie),
                sealing_key: [8; 32],
                worker_signature: consent(Ferdie, &bob),
            }
        ));
        assert_noop!(
            call_as(
                &account(Dave),
                Registry::suspend_self {
                    machine,
                    cause: Maintenance
                }
            ),
            RegistryError::NotProviderOrWorker
        );
        assert_ok!(call_as(
            &account(Ferdie),
            Registry::suspend_self {
                machine,
                cause: Maintenance
            }
        ));
        assert_eq!(status(machine), Some(Suspended(OwnRequest)));
        assert_ok!(call_as(&account(Ferdie), Registry::resume { machine }));

        // It leaves, step by step.
        assert_ok!(call_as(&bob, Registry::retire { machine }));
        assert_eq!(status(machine), Some(Retired));
        assert_eq!(found(&an_h100()), [rival]);
        assert_ok!(call_as(
            &bob,
            Staking::unbond {
                machine,
                amount: minimum_bond(machine)
            }
        ));
        assert_noop!(
            call_as(&stranger, Staking::withdraw { machine }),
            StakingError::NothingDue
        );
        assert_noop!(
            call_as(&bob, Registry::deregister_provider {}),
            RegistryError::HasMachines
        );
        chain.until_epoch(ChainClock::current_epoch() + 2);
        assert_ok!(call_as(&stranger, Staking::withdraw { machine }));
        assert_eq!(status(machine), None);
        assert_ok!(call_as(&bob, Registry::deregister_provider {}));
        assert!(!is_anything_held(&bob));
        // The earnings of its last job are paid although the machine is gone.
        assert_ok!(call_as(&stranger, Escrow::settle { job, machine }));
        assert_eq!(wealth(&bob), before + income);
    });
}

#[test]
fn the_market_answers_by_the_names_of_the_catalogue() {
    with_chain("development", |_| {
        let machine = active_machine(Bob, Dave, 1);
        let named = |name: &str| Requirements {
            gpu_type: Some(name.as_bytes().to_vec().try_into().unwrap()),
            ..Default::default()
        };
        for class in hardware_classes::catalogue() {
            let machines = if class.name == "CPU" {
                vec![machine]
            } else {
                vec![]
            };
            assert_eq!(found(&named(&class.name)), machines, "{}", class.name);
        }
        assert_eq!(
            ProviderRegistry::find_machines(&named("NVIDIA_H1000"), 1, None),
            Err(FindError::UnknownGpuType)
        );
    });
}

#[test]
fn an_offence_counts_at_once_and_is_slashed_in_a_later_epoch() {
    with_chain("development", |chain| {
        set_parameter(staking_parameter!(SlashDeferEpochs, 2));
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);
        chain.next_block();
        let (id, owed) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
        assert_eq!(owed, minimum / 100);
        assert_eq!(id.due_epoch, ChainClock::current_epoch() + 2);
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::ProviderStaking(Event::SlashQueued {
                reason: SlashReason::Offence(Offence::ChallengeUnanswered),
                ..
            })
        )));
        // The pending amount is already lost: the machine is out of the market, and spending everything saves
        // nothing.
        assert_eq!(status(machine), Some(Suspended(BondTooLow)));
        assert_eq!(bond_of(machine), minimum);
        give_all_away(Bob);
        assert_noop!(
            call_as(&account(Eve), Staking::apply_slash { id }),
            StakingError::SlashNotDue
        );

        chain.until_epoch(id.due_epoch - 1);
        assert_eq!(bond_of(machine), minimum);
        let issuance_before = issuance();
        chain.until_epoch(id.due_epoch);
        assert_eq!(
            staking_events(),
            [Event::Slashed {
                id,
                machine,
                taken: owed,
                to_consumer: 0,
                burned: owed,
                debt: 0
            }]
        );
        assert_eq!(issuance_before - issuance(), owed);
        assert_eq!(bond_of(machine), minimum - owed);
        assert_eq!(status(machine), Some(Suspended(BondTooLow)));
        assert_noop!(
            call_as(&account(Bob), Registry::resume { machine }),
            RegistryError::BondTooLow
        );

        // After a top-up it works again; the second time costs twice as much, and a top-up is possible before
        // the slash.
        assert_ok!(call_as(
            &account(Eve),
            pallet_balances::Call::<Runtime>::transfer_keep_alive {
                dest: account(Bob).into(),
                value: 3 * owed
            }
        ));
        bond_extra(machine, owed);
        assert_eq!(status(machine), Some(Active));
        let (_, owed_again) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
        assert_eq!(owed_again, 2 * owed);
        assert_eq!(status(machine), Some(Suspended(BondTooLow)));
        bond_extra(machine, owed_again);
        assert_eq!(status(machine), Some(Active));
    });
}

#[test]
fn after_a_whole_bond_is_pending_no_offence_is_free() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);
        let (first, owed) = report(machine, Offence::ForgedEvidence, Beneficiaries::nobody());
        assert_eq!(owed, minimum);
        let further = [1, 2, 4].map(|percent| {
            let (id, owed) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
            assert_eq!(owed, minimum * percent / 100);
            (id, owed)
        });
        chain.until_epoch(first.due_epoch);
        for (id, owed) in further {
            let debt = pallet_provider_staking::Debts::<Runtime>::get(machine, id).unwrap();
            assert_eq!(debt.total(), owed);
        }
        // The deposit of its record stays with the chain until everything is paid.
        assert_eq!(status(machine), Some(Retired));
        assert_noop!(
            call_as(&account(Bob), Registry::deregister_provider {}),
            RegistryError::HasMachines
        );
    });
}

#[test]
fn a_machine_that_is_leased_for_longer_than_its_proof_lives_keeps_its_bond() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let amount = minimum_bond(machine);
        let job = running_job(machine, JobKind::Service);
        pallet_hardware_challenge::Proofs::<Runtime>::remove(machine);
        let _ = pallet_hardware_challenge::Expiries::<Runtime>::clear(u32::MAX, None);
        ProviderRegistry::on_proof_change(machine);
        assert_eq!(status(machine), Some(Unproven));

        let unbond = |amount| call_as(&account(Bob), Staking::unbond { machine, amount });
        for part in [1, amount] {
            assert_noop!(unbond(part), StakingError::BelowMinimum);
        }
        assert!(ProviderRegistry::is_watched(machine));
        assert_ok!(call_as(&account(Ferdie), Escrow::close { job }));
        // Offences of this epoch can be reported in the next one.
        let epoch = ChainClock::current_epoch();
        for later in [0, 1] {
            chain.until_epoch(epoch + later);
            assert!(ProviderRegistry::is_watched(machine));
            assert_noop!(unbond(amount), StakingError::BelowMinimum);
        }
        chain.until_epoch(epoch + 2);
        assert!(!ProviderRegistry::is_watched(machine));
        assert_ok!(unbond(amount));
    });
}

#[test]
fn a_bonded_reward_brings_a_machine_back_and_its_share_with_it() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let machine = active_machine(Bob, Dave, 1);
        assert_ok!(call_as(
            &account(Bob),
            Staking::set_auto_stake {
                machine,
                auto_stake: true
            }
        ));
        // Some epochs with earnings, then a slash of no more than these.
        chain.until_epoch(ChainClock::current_epoch() + 6);
        let (id, _) = slash(machine, Permill::from_parts(1), Beneficiaries::nobody());
        chain.until_epoch(id.due_epoch);
        assert_eq!(status(machine), Some(Suspended(BondTooLow)));

        let payout = || {
            call_as(
                &account(Eve),
                pallet_reward_emission::Call::<Runtime>::payout {
                    machine,
                    max_epochs: 32,
                },
            )
        };
        assert_ok!(payout());
        assert_eq!(status(machine), Some(Active));
        chain.check_invariants();

        // It earns again, from the next epoch on.
        let bonded = bond_of(machine);
        chain.until_epoch(ChainClock::current_epoch() + 3);
        assert_ok!(payout());
        assert!(bond_of(machine) > bonded);
    });
}

#[test]
fn a_job_that_was_not_started_is_given_up_without_a_slash() {
    with_chain("development", |_| {
        let machine = active_machine(Bob, Dave, 1);
        let job = deploy(Ferdie, machine, TASK, HOUR_MS);
        assert_ok!(call_as(
            &account(Dave),
            Escrow::decline {
                job,
                machine,
                reason: DeclineReason::CannotRun
            }
        ));
        assert_eq!(pallet_provider_staking::Agenda::<Runtime>::iter().count(), 0);
    });
}

#[test]
fn who_leaves_before_the_slash_falls_due_still_pays() {
    with_chain("development", |chain| {
        set_parameter(staking_parameter!(UnbondingEpochs, 2));
        set_parameter(staking_parameter!(SlashDeferEpochs, 3));
        let bob = account(Bob);
        let before = wealth(&bob);
        let machine = active_machine(Bob, Dave, 1);
        let bonded = bond_of(machine);
        let (id, owed) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());

        assert_ok!(call_as(&bob, Registry::retire { machine }));
        assert_ok!(call_as(
            &bob,
            Staking::unbond {
                machine,
                amount: bonded
            }
        ));
        chain.until_epoch(ChainClock::current_epoch() + 2);
        assert_ok!(call_as(&bob, Staking::withdraw { machine }));
        assert_eq!(bond_of(machine), owed);
        assert_noop!(
            call_as(&bob, Staking::withdraw { machine }),
            StakingError::SlashPending
        );
        assert_noop!(
            call_as(&bob, Registry::deregister_provider {}),
            RegistryError::HasMachines
        );

        chain.until_epoch(id.due_epoch);
        assert_eq!(status(machine), None, "with the last planck the record goes");
        assert_ok!(call_as(&bob, Registry::deregister_provider {}));
        assert!(!is_anything_held(&bob));
        assert_eq!(wealth(&bob), before - owed);
    });
}

#[test]
fn governance_cancels_a_slash_before_it_falls_due() {
    with_chain("development", |chain| {
        set_parameter(staking_parameter!(SlashDeferEpochs, 2));
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);
        let (id, owed) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
        let issuance_before = issuance();

        chain.until_epoch(id.due_epoch - 1);
        assert_noop!(
            call_as(&account(Bob), Staking::cancel_slash { id }),
            polkadot_sdk::sp_runtime::DispatchError::BadOrigin
        );
        assert_ok!(sudo(Staking::cancel_slash { id }));
        assert_eq!(staking_events(), [Event::SlashCancelled { id, machine }]);
        chain.until_epoch(id.due_epoch + 1);
        assert_eq!(bond_of(machine), minimum);
        assert_eq!(issuance(), issuance_before);
        assert_noop!(
            call_as(&account(Eve), Staking::apply_slash { id }),
            StakingError::NoSuchSlash
        );

        // The cancellation also takes the strike back: the next offence is the first.
        assert_eq!(status(machine), Some(Active));
        let (_, owed_again) = report(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
        assert_eq!(owed_again, owed);
    });
}

#[test]
fn spoofed_hardware_is_suspended_the_first_time_and_retired_the_second() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let bob = account(Bob);
        let before = wealth(&bob);
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);

        let (id, owed) = report(machine, Offence::ChallengeWrong, Beneficiaries::nobody());
        assert_eq!(owed, minimum / 2);
        assert_eq!(status(machine), Some(Suspended(ForOffence)));
        assert_noop!(
            call_as(&bob, Registry::resume { machine }),
            RegistryError::SlashPending
        );
        chain.until_epoch(id.due_epoch);
        assert_eq!(bond_of(machine), minimum - owed);
        assert_noop!(
            call_as(&bob, Registry::resume { machine }),
            RegistryError::BondTooLow
        );
        bond_extra(machine, owed);
        assert_eq!(
            status(machine),
            Some(Suspended(ForOffence)),
            "money alone does not bring it back"
        );
        resume(machine);
        assert_eq!(status(machine), Some(Active));

        let (id, owed_again) = report(machine, Offence::ChallengeWrong, Beneficiaries::nobody());
        assert_eq!(owed_again, minimum);
        chain.until_epoch(id.due_epoch);
        assert_eq!(status(machine), Some(Retired));
        assert_eq!(
            pallet_provider_registry::WorkerKeys::<Runtime>::get(account(Dave)),
            None
        );
        forget_retired(chain, machine);
        assert_ok!(call_as(&bob, Registry::deregister_provider {}));
        assert!(!is_anything_held(&bob));
        assert_eq!(wealth(&bob), before - owed - owed_again);
    });
}

#[test]
fn a_debt_suspends_a_machine_until_somebody_pays_it() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let (bob, eve) = (account(Bob), account(Eve));
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);
        let (first, _) = slash(machine, Permill::one(), Beneficiaries::nobody());
        let (second, debt) = slash(machine, Permill::from_percent(10), Beneficiaries::nobody());
        assert_eq!(debt, minimum / 10);

        chain.until_epoch(first.due_epoch);
        assert_eq!(bond_of(machine), 0);
        assert_eq!(status(machine), Some(Suspended(InDebt)));
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::ProviderStaking(Event::Slashed { id, taken: 0, debt: owed, .. })
                if *id == second && *owed == debt
        )));
        for call in [
            Staking::bond {
                machine,
                amount: minimum,
            },
            Staking::bond_extra { machine, amount: ASY },
        ] {
            assert_noop!(call_as(&bob, call), StakingError::InDebt);
        }
        assert_noop!(call_as(&bob, Registry::resume { machine }), RegistryError::InDebt);

        let (eve_before, issuance_before) = (wealth(&eve), issuance());
        assert_ok!(call_as(&eve, Staking::pay_debt { machine, id: second }));
        assert_eq!(eve_before - wealth(&eve), debt);
        assert_eq!(issuance_before - issuance(), debt);
        assert_eq!(status(machine), Some(Suspended(BondTooLow)));
        assert_ok!(call_as(
            &bob,
            Staking::bond {
                machine,
                amount: minimum
            }
        ));
        assert_eq!(status(machine), Some(Active));
    });
}

#[test]
fn a_condemned_machine_retires_when_its_last_job_ends() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let bob = account(Bob);
        let machine = active_machine(Bob, Dave, 2);
        let [first, second] = [(); 2].map(|()| running_job(machine, JobKind::Service));
        let (id, owed) = report(machine, Offence::ForgedEvidence, Beneficiaries::nobody());
        assert_eq!(owed, minimum_bond(machine));
        assert_eq!(status(machine), Some(Suspended(ForOffence)));

        chain.until_epoch(id.due_epoch);
        assert_eq!(status(machine), Some(Suspended(Condemned)));
        assert_noop!(
            call_as(&bob, Registry::resume { machine }),
            RegistryError::MachineCondemned
        );
        assert_noop!(
            call_as(&bob, Registry::retire { machine }),
            RegistryError::SlotsLeased
        );

        // The consumer decides when to leave, and pays until then.
        assert_ok!(call_as(&account(Ferdie), Escrow::close { job: first }));
        assert_eq!(status(machine), Some(Suspended(Condemned)));
        assert_ok!(call_as(&account(Ferdie), Escrow::close { job: second }));
        assert_eq!(status(machine), Some(Retired));
        forget_retired(chain, machine);
        assert_ok!(call_as(&bob, Registry::deregister_provider {}));
        assert!(!is_anything_held(&bob));
    });
}

#[test]
fn the_last_job_of_a_condemned_machine_can_be_abandoned() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let machine = active_machine(Bob, Dave, 1);
        let job = running_job(machine, JobKind::Service);
        let (id, _) = report(machine, Offence::ForgedEvidence, Beneficiaries::nobody());
        chain.until_epoch(id.due_epoch);
        assert_eq!(status(machine), Some(Suspended(Condemned)));

        assert_ok!(call_as(&account(Bob), Escrow::abandon { job, machine }));
        assert_eq!(status(machine), Some(Retired));
        forget_retired(chain, machine);
        assert_ok!(call_as(&account(Bob), Registry::deregister_provider {}));
        assert!(!is_anything_held(&account(Bob)));
    });
}

#[test]
fn the_consumers_loss_is_paid_first_and_the_rest_is_burned() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let consumer = account(Charlie);
        let machine = active_machine(Bob, Dave, 1);
        bond_extra(machine, 12_345_678_901);
        let fraction = Permill::from_parts(333_333);

        // A loss that leaves something to burn, and one that leaves nothing.
        for loss in [7 * ASY + 1, 150 * ASY, 10_000 * ASY] {
            let bonded = bond_of(machine);
            let before = wealth(&consumer);
            let issuance_before = issuance();
            let (id, owed) = slash(machine, fraction, Beneficiaries::consumer(consumer.clone(), loss));
            assert_eq!(owed, bonded * 333_333 / 1_000_000);
            chain.until_epoch(id.due_epoch);

            let to_consumer = loss.min(owed);
            let burned = owed - to_consumer;
            assert_eq!(
                staking_events(),
                [Event::Slashed {
                    id,
                    machine,
                    taken: owed,
                    to_consumer,
                    burned,
                    debt: 0
                }]
            );
            assert_eq!(wealth(&consumer) - before, to_consumer);
            assert_eq!(issuance_before - issuance(), burned);
            assert_eq!(bond_of(machine), bonded - owed);
            bond_extra(machine, owed);
        }
    });
}

#[test]
fn a_debt_is_divided_as_its_slash_would_have_been() {
    with_chain("development", |chain| {
        slashes_fall_due_in_the_next_epoch();
        let consumer = account(Charlie);
        let machine = active_machine(Bob, Dave, 1);
        let minimum = minimum_bond(machine);
        let (first, _) = slash(machine, Permill::from_percent(95), Beneficiaries::nobody());
        let loss = minimum / 10;
        let (second, owed) = slash(
            machine,
            Permill::from_percent(20),
            Beneficiaries::consumer(consumer.clone(), loss),
        );
        assert_eq!(owed, minimum / 5);
        let before = wealth(&consumer);
        chain.until_epoch(first.due_epoch);
        let there = minimum - minimum * 95 / 100;
        assert_eq!(wealth(&consumer) - before, there);

        let issuance_before = issuance();
        assert_ok!(call_as(&account(Eve), Staking::pay_debt { machine, id: second }));
        assert_eq!(wealth(&consumer) - before, loss);
        assert_eq!(issuance_before - issuance(), owed - loss);
    });
}
