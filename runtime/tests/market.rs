//! Stories across pallets: a job from order to payment, and what happens to money and time around it.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{clock::ActiveClock, money::Balance};
use assay_runtime::{
    ChainClock, JobEscrow, ProviderRegistry, ProviderStaking, RewardEmission, Runtime, RuntimeEvent,
};
use common::*;
use pallet_job_escrow::{JobKind, JobOutcome};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
    sp_keyring::Sr25519Keyring::{Bob, Charlie, Dave, Eve},
};

const HOUR_MS: u64 = 3_600_000;

#[test]
fn a_task_is_run_accepted_and_paid_to_the_planck() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let (provider, consumer) = (account(Bob), account(Charlie));
        let job = deploy(Charlie, machine, JobKind::Task, HOUR_MS);
        let (provider_before, consumer_before, treasury_before, issuance_before) = (
            wealth(&provider),
            wealth(&consumer),
            wealth(&treasury()),
            issuance(),
        );

        assert_ok!(call_as(&account(Dave), pallet_job_escrow::Call::start { job }));
        chain.pass(60_000);
        assert_ok!(call_as(
            &account(Dave),
            pallet_job_escrow::Call::submit_result {
                job,
                result_hash: H256::repeat_byte(9)
            }
        ));
        assert_eq!(
            wealth(&provider),
            provider_before,
            "a task is paid for when its result is accepted"
        );
        assert_ok!(call_as(&consumer, pallet_job_escrow::Call::accept { job }));

        // One minute of one slot, of which the protocol keeps 5 % and burns half of that.
        let paid: Balance = ASK * 60_000 / 3_600_000;
        let fee = paid * 5 / 100;
        let burned = fee.div_ceil(2);
        assert_eq!(wealth(&provider) - provider_before, paid - fee);
        assert_eq!(consumer_before - wealth(&consumer), paid);
        assert_eq!(issuance_before - issuance(), burned);
        assert!(wealth(&treasury()) > treasury_before);
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::JobEscrow(pallet_job_escrow::Event::JobClosed {
                outcome: JobOutcome::Completed,
                ..
            })
        )));
        assert!(pallet_job_escrow::Jobs::<Runtime>::get(job).is_none());
    });
}

#[test]
fn a_service_is_paid_for_active_time_only() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let job = deploy(Charlie, machine, JobKind::Service, 24 * HOUR_MS);
        assert_ok!(call_as(&account(Dave), pallet_job_escrow::Call::start { job }));
        let started_ms = ChainClock::now_ms();
        let before = wealth(&account(Charlie));

        chain.pass(30_000);
        chain.next_block_after(24 * HOUR_MS);
        let charged_ms = ChainClock::now_ms() - started_ms;
        assert_eq!(
            charged_ms,
            30_000 + assay_runtime::configs::market::MAX_ADVANCE_MS
        );

        assert_ok!(call_as(&account(Charlie), pallet_job_escrow::Call::close { job }));
        assert_eq!(
            before - wealth(&account(Charlie)),
            ASK * Balance::from(charged_ms) / 3_600_000
        );
    });
}

#[test]
fn a_standstill_of_a_day_expires_nothing() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let job = deploy(Charlie, machine, JobKind::Task, HOUR_MS);
        chain.next_block_after(24 * HOUR_MS);

        assert_noop!(
            call_as(&account(Eve), pallet_job_escrow::Call::expire { job }),
            pallet_job_escrow::Error::<Runtime>::TooEarly
        );
        assert_ok!(call_as(&account(Dave), pallet_job_escrow::Call::start { job }));
    });
}

#[test]
fn a_machine_that_never_starts_costs_its_consumer_nothing() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 2);
        let before = wealth(&account(Charlie));
        let job = deploy(Charlie, machine, JobKind::Task, HOUR_MS);
        assert_eq!(
            pallet_provider_registry::Machines::<Runtime>::get(machine)
                .unwrap()
                .free_slots,
            1
        );

        chain.pass(10 * 60_000 + SLOT_MS);
        assert_ok!(call_as(&account(Eve), pallet_job_escrow::Call::expire { job }));
        assert_eq!(wealth(&account(Charlie)), before);
        assert_eq!(
            pallet_provider_registry::Machines::<Runtime>::get(machine)
                .unwrap()
                .free_slots,
            2
        );
    });
}

#[test]
fn an_epoch_is_shared_by_weight_and_paid_once() {
    with_chain("development", |chain| {
        let one = active_machine(Bob, Dave, 1);
        let three = active_machine(Charlie, Eve, 3);
        // Machines count from the next epoch on: let that one pass whole, and the one in which it is reported on.
        let joined = ChainClock::current_epoch();
        while ChainClock::current_epoch() < joined + 3 {
            chain.next_block();
        }
        let (bob, charlie, before) = (wealth(&account(Bob)), wealth(&account(Charlie)), issuance());
        for machine in [one, three] {
            assert_ok!(call_as(
                &account(Bob),
                pallet_reward_emission::Call::payout {
                    machine,
                    max_epochs: 32
                }
            ));
        }
        let (bob, charlie) = (wealth(&account(Bob)) - bob, wealth(&account(Charlie)) - charlie);
        assert!(bob > 0);
        assert!(
            charlie.abs_diff(3 * bob) <= 3,
            "{charlie} is three times {bob}, but for rounding"
        );
        assert_eq!(issuance() - before, bob + charlie);

        for machine in [one, three] {
            assert_noop!(
                call_as(
                    &account(Bob),
                    pallet_reward_emission::Call::payout {
                        machine,
                        max_epochs: 32
                    }
                ),
                pallet_reward_emission::Error::<Runtime>::NothingToPay
            );
        }
    });
}

#[test]
fn a_retired_machine_leaves_nothing_behind() {
    with_chain("development", |chain| {
        // Governance shortens the unbonding time, so that the test need not make a week of blocks.
        set_parameter(staking_parameter!(UnbondingEpochs, 2));

        let before = wealth(&account(Bob));
        let machine = active_machine(Bob, Dave, 1);
        assert_ok!(call_as(
            &account(Bob),
            pallet_provider_registry::Call::retire { machine }
        ));
        let bonded = pallet_provider_staking::Bonds::<Runtime>::get(machine)
            .unwrap()
            .bonded;
        assert_ok!(call_as(
            &account(Bob),
            pallet_provider_staking::Call::unbond {
                machine,
                amount: bonded
            }
        ));
        assert_noop!(
            call_as(&account(Eve), pallet_provider_staking::Call::withdraw { machine }),
            pallet_provider_staking::Error::<Runtime>::NothingDue
        );
        chain.until_epoch(ChainClock::current_epoch() + 2);
        assert_ok!(call_as(
            &account(Eve),
            pallet_provider_staking::Call::withdraw { machine }
        ));
        assert_ok!(call_as(
            &account(Bob),
            pallet_provider_registry::Call::deregister_provider {}
        ));
        assert!(pallet_provider_registry::Machines::<Runtime>::get(machine).is_none());
        assert_eq!(wealth(&account(Bob)), before);
        assert!(!is_anything_held(&account(Bob)));
    });
}

#[test]
fn blocks_stay_far_below_their_weight_limit_when_an_epoch_ends() {
    with_chain("development", |chain| {
        active_machine(Bob, Dave, 1);
        let limit = assay_runtime::configs::system::BlockWeights::get()
            .max_block
            .ref_time();
        let epoch = ChainClock::current_epoch();
        while ChainClock::current_epoch() == epoch {
            chain.next_block();
            let used = polkadot_sdk::frame_system::Pallet::<Runtime>::block_weight()
                .total()
                .ref_time();
            assert!(
                used < limit / 10,
                "an empty block used {used} of {limit} picoseconds"
            );
        }
    });
}

#[test]
fn the_pallets_know_each_other() {
    with_chain("development", |_| {
        use assay_primitives::{
            emission::RewardWeights,
            machine::MachineInspect,
            stake::{BondInspect, BondStanding},
        };
        let machine = active_machine(Bob, Dave, 2);
        assert_eq!(
            <ProviderRegistry as MachineInspect<_>>::provider_of(machine),
            Some(account(Bob))
        );
        assert_eq!(
            <ProviderStaking as BondInspect>::standing(machine),
            BondStanding::Sufficient
        );
        assert!(JobEscrow::do_try_state().is_ok());
        <RewardEmission as RewardWeights>::set_weight(machine, 2);
    });
}
