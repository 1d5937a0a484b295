//! Tests across pallets: a job from order to payment, with the flow of money and time around it.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineId, MachineStatus, SuspensionReason},
    money::Balance,
};
use assay_runtime::{
    ChainClock, JobEscrow, ProviderRegistry, ProviderStaking, RewardEmission, Runtime, RuntimeEvent,
};
use common::*;
use pallet_job_escrow::{AuctionTerms, JobKind, Outcome, Verification};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::Get},
    sp_core::H256,
    sp_keyring::Sr25519Keyring::{Alice, Bob, Charlie, Dave, Eve, Ferdie, One},
};

const HOUR_MS: u64 = 3_600_000;

type Escrow = pallet_job_escrow::Call<Runtime>;

/// Makes blocks until the uptime of the current epoch is final.
fn until_closed(chain: &mut Chain) {
    chain.until_epoch(ChainClock::current_epoch() + 2);
}

fn free_slots(machine: MachineId) -> u8 {
    pallet_provider_registry::Machines::<Runtime>::get(machine)
        .unwrap()
        .free_slots
}

/// Returns true if an assignment ended with this outcome in the last block.
fn closed_as(wanted: Outcome) -> bool {
    happened(|event| {
        matches!(
            event,
            RuntimeEvent::JobEscrow(pallet_job_escrow::Event::AssignmentClosed { outcome, .. })
                if *outcome == wanted
        )
    })
}

#[test]
fn a_task_is_run_accepted_and_paid_to_the_planck() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let (provider, consumer) = (account(Bob), account(Charlie));
        let job = deploy(Charlie, machine, TASK, HOUR_MS);
        let (provider_before, consumer_before, treasury_before, issuance_before) = (
            wealth(&provider),
            wealth(&consumer),
            wealth(&treasury()),
            issuance(),
        );

        assert_ok!(call_as(&account(Dave), Escrow::start { job }));
        chain.pass(60_000);
        assert_ok!(call_as(
            &account(Dave),
            Escrow::submit_result {
                job,
                result_hash: H256::repeat_byte(9)
            }
        ));
        assert_ok!(call_as(&consumer, Escrow::accept { job, machine }));
        assert_noop!(
            call_as(&provider, Escrow::settle { job, machine }),
            pallet_job_escrow::Error::<Runtime>::NothingDue
        );
        assert_eq!(
            wealth(&provider),
            provider_before,
            "nothing is paid before it is known whether the machine was up"
        );
        until_closed(chain);
        assert_ok!(call_as(&provider, Escrow::settle { job, machine }));

        // One minute of one slot; the protocol keeps 5 % and burns half of that.
        let paid: Balance = ASK * 60_000 / 3_600_000;
        let fee = paid * 5 / 100;
        let burned = fee.div_ceil(2);
        assert_eq!(wealth(&provider) - provider_before, paid - fee);
        assert_eq!(consumer_before - wealth(&consumer), paid);
        assert_eq!(issuance_before - issuance(), burned);
        assert!(wealth(&treasury()) > treasury_before);
        assert!(closed_as(Outcome::Completed));
        assert!(pallet_job_escrow::Jobs::<Runtime>::get(job).is_none());
    });
}

#[test]
fn a_service_is_paid_for_active_time_only() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let job = deploy(Charlie, machine, JobKind::Service, 24 * HOUR_MS);
        assert_ok!(call_as(&account(Dave), Escrow::start { job }));
        let started_ms = ChainClock::now_ms();
        let before = wealth(&account(Charlie));

        chain.pass(30_000);
        chain.next_block_after(24 * HOUR_MS);
        let charged_ms = ChainClock::now_ms() - started_ms;
        assert_eq!(
            charged_ms,
            30_000 + assay_runtime::configs::market::MAX_ADVANCE_MS
        );

        assert_ok!(call_as(&account(Charlie), Escrow::close { job }));
        until_closed(chain);
        assert_ok!(call_as(&account(Charlie), Escrow::settle { job, machine }));
        assert_eq!(
            before - wealth(&account(Charlie)),
            ASK * Balance::from(charged_ms) / 3_600_000
        );
        assert!(!pallet_job_escrow::Jobs::<Runtime>::contains_key(job));
    });
}

#[test]
fn a_standstill_of_a_day_expires_and_charges_nothing() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let job = deploy(Charlie, machine, TASK, HOUR_MS);
        chain.next_block_after(24 * HOUR_MS);

        assert_noop!(
            call_as(&account(Eve), Escrow::expire { job, machine }),
            pallet_job_escrow::Error::<Runtime>::TooEarly
        );
        assert_ok!(call_as(&account(Dave), Escrow::start { job }));
        assert_eq!(pallet_provider_staking::Agenda::<Runtime>::iter().count(), 0);
    });
}

#[test]
fn a_machine_that_never_starts_is_out_of_the_market_and_costs_its_consumer_a_bounty() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 2);
        let before = wealth(&account(Charlie));
        let job = deploy(Charlie, machine, TASK, HOUR_MS);
        assert_eq!(free_slots(machine), 1);

        chain.pass(10 * 60_000 + SLOT_MS);
        assert_ok!(call_as(&account(Eve), Escrow::expire { job, machine }));
        let bounty = assay_runtime::parameters::bounded::JobTerms::get().bounty;
        assert_eq!(wealth(&account(Charlie)), before - bounty);
        assert_eq!(free_slots(machine), 2);
        assert_eq!(pallet_provider_staking::Agenda::<Runtime>::iter().count(), 0);
        assert_eq!(
            status(machine),
            Some(MachineStatus::Suspended(SuspensionReason::MissedStart))
        );
        // Its worker calls `resume`.
        assert_ok!(call_as(
            &account(Dave),
            pallet_provider_registry::Call::resume { machine }
        ));
        assert_eq!(status(machine), Some(MachineStatus::Active));
    });
}

#[test]
fn a_request_is_taken_by_the_machine_that_meets_it() {
    with_chain("development", |chain| {
        let small = active_machine(Bob, Dave, 1);
        let large = active_machine(Charlie, Eve, 3);
        let mut order = order(Ferdie, JobKind::Service, HOUR_MS);
        order.slots = 2;
        order.requirements.region = Some(b"eu-central".to_vec().try_into().unwrap());
        let auction = AuctionTerms {
            floor_price_per_slot_hour: 0,
            rise_ms: 60_000,
            open_ms: 120_000,
        };
        let before = wealth(&account(Ferdie));
        let job = pallet_job_escrow::NextJobId::<Runtime>::get();
        assert_ok!(call_as(
            &account(Ferdie),
            Escrow::request {
                order,
                nodes: 1,
                auction
            }
        ));
        assert_noop!(
            call_as(&account(Dave), Escrow::accept_request { job, machine: small }),
            pallet_job_escrow::Error::<Runtime>::NotEligible
        );
        chain.pass(30_000);
        let machine = large;
        assert_ok!(call_as(&account(Eve), Escrow::accept_request { job, machine }));
        assert_ok!(call_as(&account(Eve), Escrow::start { job }));
        chain.pass(60_000);
        assert_ok!(call_as(&account(Ferdie), Escrow::close { job }));
        until_closed(chain);
        assert_ok!(call_as(&account(Charlie), Escrow::settle { job, machine }));
        // Half of the highest price, for two slots and a minute.
        assert_eq!(before - wealth(&account(Ferdie)), 2 * (ASK / 2) / 60);
    });
}

#[test]
fn one_liar_among_three_is_outvoted_and_not_paid() {
    with_chain("development", |chain| {
        let parties = [(Bob, Dave), (Charlie, Eve), (Alice, One)];
        let machines: Vec<_> = parties
            .iter()
            .map(|(provider, worker)| active_machine(*provider, *worker, 1))
            .collect();
        let before = wealth(&account(Ferdie));
        let kind = JobKind::Task {
            verification: Verification::Quorum {
                replicas: 3,
                threshold: 2,
            },
        };
        let job = deploy_to(Ferdie, &machines, kind, HOUR_MS);
        let results = [1, 2, 1].map(H256::repeat_byte);
        for (_, worker) in parties {
            assert_ok!(call_as(&account(worker), Escrow::start { job }));
        }
        chain.pass(60_000);
        for (index, (_, worker)) in parties.iter().enumerate() {
            let message = assay_primitives::job::result_message(
                polkadot_sdk::frame_system::Pallet::<Runtime>::block_hash(0).as_ref(),
                job,
                machines[index],
                &results[index].0,
                &[7; 32],
            );
            let commitment = polkadot_sdk::sp_io::hashing::blake2_256(&message).into();
            assert_ok!(call_as(
                &account(*worker),
                Escrow::commit_result { job, commitment }
            ));
        }
        for (index, (_, worker)) in parties.iter().enumerate() {
            assert_ok!(call_as(
                &account(*worker),
                Escrow::reveal_result {
                    job,
                    result_hash: results[index],
                    salt: [7; 32]
                }
            ));
        }
        assert_ok!(call_as(&account(Ferdie), Escrow::resolve { job }));
        assert!(closed_as(Outcome::Outvoted));
        until_closed(chain);
        for machine in [machines[0], machines[2]] {
            assert_ok!(call_as(&account(Ferdie), Escrow::settle { job, machine }));
        }
        // Two are paid for a minute, and the third one's earnings went to the treasury; its bond is not
        // touched.
        assert_eq!(before - wealth(&account(Ferdie)), 3 * (ASK * 60_000 / 3_600_000));
        assert_eq!(pallet_provider_staking::Agenda::<Runtime>::iter().count(), 0);
        assert!(!pallet_job_escrow::Jobs::<Runtime>::contains_key(job));
    });
}

#[test]
fn an_epoch_is_shared_by_weight_and_paid_once() {
    with_chain("development", |chain| {
        let one = active_machine(Bob, Dave, 1);
        let three = active_machine(Charlie, Eve, 3);
        // Machines count from the next epoch on: let that one pass, and the one in which it is reported on.
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
