//! Griefing of honest machines and consumers through orders, on the real runtime: no bond is lost, and a
//! machine without money can still act. `docs/ECONOMICS.md` has the rules.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{clock::ActiveClock, machine::MachineId, money::Balance};
use assay_runtime::{
    Balances, ChainClock, Executive, Runtime, RuntimeCall, System, TxExtension, UncheckedExtrinsic,
    parameters::bounded,
};
use codec::Encode;
use common::*;
use pallet_job_escrow::{DeclineReason, JobKind, Outcome, Verification};
use polkadot_sdk::{
    frame_metadata_hash_extension::CheckMetadataHash,
    frame_support::{
        assert_ok,
        traits::{Get, fungible::Mutate},
    },
    frame_system,
    pallet_skip_feeless_payment::SkipCheckIfFeeless,
    pallet_transaction_payment::ChargeTransactionPayment,
    sp_core::{H256, Pair},
    sp_keyring::Sr25519Keyring::{self, Alice, Bob, Charlie, Dave, Eve, Ferdie, One, Two},
    sp_runtime::{
        ApplyExtrinsicResult, MultiAddress,
        generic::{Era, SignedPayload},
        transaction_validity::{InvalidTransaction, TransactionValidityError},
    },
};

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

type Escrow = pallet_job_escrow::Call<Runtime>;

/// Returns the bond of a machine, and the number of all pending slashes.
fn stakes(machine: MachineId) -> (Balance, usize) {
    let bonded = pallet_provider_staking::Bonds::<Runtime>::get(machine)
        .unwrap()
        .bonded;
    (bonded, pallet_provider_staking::Agenda::<Runtime>::iter().count())
}

/// Includes a call as a transaction that `who` signs, and pays for if it costs a fee.
fn transact(who: Sr25519Keyring, call: impl Into<RuntimeCall>) -> ApplyExtrinsicResult {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(System::account_nonce(account(who))),
        frame_system::CheckWeight::new(),
        SkipCheckIfFeeless::from(ChargeTransactionPayment::from(0)),
        CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    let payload = SignedPayload::<RuntimeCall, TxExtension>::new(call.into(), extension.clone()).unwrap();
    let signature = payload.using_encoded(|bytes| who.pair().sign(bytes));
    let (call, extension, _) = payload.deconstruct();
    let address = MultiAddress::Id(account(who));
    Executive::apply_extrinsic(UncheckedExtrinsic::new_signed(
        call,
        address,
        signature.into(),
        extension,
    ))
}

/// Takes all money from an account.
fn impoverish(who: Sr25519Keyring) {
    Balances::set_balance(&account(who), 0);
    assert_eq!(wealth(&account(who)), 0);
}

fn is_open(job: u64) -> bool {
    pallet_job_escrow::Jobs::<Runtime>::contains_key(job)
}

#[test]
fn orders_that_cannot_be_started_cost_no_bond_and_no_reporter_earns() {
    with_chain("development", |chain| {
        // Before: 2 % of the bond for the first of them, doubling to 20 %; eight cost 110 % of it.
        let machine = active_machine(Bob, Dave, 8);
        let before = stakes(machine);
        for _ in 0..8 {
            let job = deploy(Charlie, machine, TASK, MINUTE_MS);
            chain.pass(10 * MINUTE_MS + SLOT_MS);
            let eve = wealth(&account(Eve));
            assert_ok!(call_as(&account(Eve), Escrow::expire { job, machine }));
            let bounty = bounded::JobTerms::get().bounty;
            assert_eq!(wealth(&account(Eve)), eve + bounty, "the consumer's own money");
            assert!(!is_open(job));
            // A machine that is back calls `resume`; one that is not gets no more orders.
            assert_ok!(call_as(
                &account(Dave),
                pallet_provider_registry::Call::resume { machine }
            ));
        }
        assert_eq!(stakes(machine), before);
        let record = pallet_provider_registry::Machines::<Runtime>::get(machine).unwrap();
        assert_eq!(record.service.not_started, 8);
    });
}

#[test]
fn a_workload_that_crashes_costs_no_bond() {
    with_chain("development", |chain| {
        // Before: 10.88 ASY for a service that had paid 0.2 ASY, and twice as much each further time.
        let machine = active_machine(Bob, Dave, 1);
        let before = stakes(machine);
        let provider = wealth(&account(Bob));
        for _ in 0..3 {
            let job = deploy(Charlie, machine, JobKind::Service, HOUR_MS);
            assert_ok!(call_as(&account(Dave), Escrow::start { job }));
            chain.pass(30_000);
            assert_ok!(call_as(&account(Dave), Escrow::report_workload_ended { job }));
            chain.until_epoch(ChainClock::current_epoch() + 2);
            assert_ok!(call_as(&account(Bob), Escrow::settle { job, machine }));
            assert!(!is_open(job));
        }
        assert_eq!(stakes(machine), before);
        assert!(wealth(&account(Bob)) > provider, "the time is paid");
    });
}

#[test]
fn two_replicas_of_the_consumer_s_own_cost_a_third_no_bond_and_are_no_cheaper_than_one() {
    with_chain("development", |chain| {
        // Before: four jobs of three seconds took a bond of 544 ASY, for 0.0023 ASY.
        let parties = [(Bob, Dave), (Charlie, Eve), (Alice, One)];
        let machines: Vec<_> = parties
            .iter()
            .map(|(provider, worker)| active_machine(*provider, *worker, 1))
            .collect();
        let victim = machines[0];
        let before = stakes(victim);
        let kind = JobKind::Task {
            verification: Verification::Quorum {
                replicas: 3,
                threshold: 2,
            },
        };
        for _ in 0..4 {
            let consumer = wealth(&account(Ferdie));
            let job = deploy_to(Ferdie, &machines, kind, MINUTE_MS);
            for (_, worker) in parties {
                assert_ok!(call_as(&account(worker), Escrow::start { job }));
            }
            chain.pass(30_000);
            let results = [1, 2, 2].map(H256::repeat_byte);
            vote(job, &machines, &parties, &results);
            assert_ok!(call_as(&account(Ferdie), Escrow::resolve { job }));
            assert!(happened_outvoted(victim));
            chain.until_epoch(ChainClock::current_epoch() + 2);
            for machine in [machines[1], machines[2]] {
                assert_ok!(call_as(&account(Ferdie), Escrow::settle { job, machine }));
            }
            // The attacker pays for all three, and its own machines earn their pay back, less the fee.
            assert!(consumer - wealth(&account(Ferdie)) >= 3 * (ASK * 30_000 / 3_600_000));
        }
        assert_eq!(stakes(victim), before);
    });
}

/// Returns true if a machine was outvoted in the last block.
fn happened_outvoted(victim: MachineId) -> bool {
    happened(|event| {
        matches!(
            event,
            assay_runtime::RuntimeEvent::JobEscrow(pallet_job_escrow::Event::AssignmentClosed {
                machine,
                outcome: Outcome::Outvoted,
                ..
            }) if *machine == victim
        )
    })
}

/// Makes each machine commit to its result and reveal it.
fn vote(job: u64, machines: &[MachineId], parties: &[(Sr25519Keyring, Sr25519Keyring)], results: &[H256]) {
    let genesis_hash = System::block_hash(0);
    for ((machine, (_, worker)), result) in machines.iter().zip(parties).zip(results) {
        let message =
            assay_primitives::job::result_message(genesis_hash.as_ref(), job, *machine, &result.0, &[7; 32]);
        let commitment = polkadot_sdk::sp_io::hashing::blake2_256(&message).into();
        assert_ok!(call_as(
            &account(*worker),
            Escrow::commit_result { job, commitment }
        ));
    }
    for ((_, worker), result) in parties.iter().zip(results) {
        let (result_hash, salt) = (*result, [7; 32]);
        assert_ok!(call_as(
            &account(*worker),
            Escrow::reveal_result {
                job,
                result_hash,
                salt
            }
        ));
    }
}

#[test]
fn a_worker_key_that_owns_nothing_can_decline_start_and_give_results() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Two, 2);
        impoverish(Two);

        let declined = deploy(Charlie, machine, TASK, MINUTE_MS);
        let decline = Escrow::decline {
            job: declined,
            machine,
            reason: DeclineReason::CannotRun,
        };
        assert_ok!(transact(Two, decline).unwrap());
        assert!(!is_open(declined));

        let job = deploy(Charlie, machine, TASK, MINUTE_MS);
        assert_ok!(transact(Two, Escrow::start { job }).unwrap());
        chain.pass(30_000);
        let result_hash = H256::repeat_byte(9);
        assert_ok!(transact(Two, Escrow::submit_result { job, result_hash }).unwrap());

        let service = deploy(Charlie, machine, JobKind::Service, HOUR_MS);
        assert_ok!(transact(Two, Escrow::start { job: service }).unwrap());
        chain.pass(30_000);
        assert_ok!(transact(Two, Escrow::report_workload_ended { job: service }).unwrap());
        assert_eq!(wealth(&account(Two)), 0);
    });
}

#[test]
fn what_would_fail_or_was_said_before_is_not_free() {
    with_chain("development", |_| {
        let machine = active_machine(Bob, Two, 2);
        let refused = Err(TransactionValidityError::Invalid(InvalidTransaction::Payment));
        let job = deploy(Charlie, machine, TASK, MINUTE_MS);
        impoverish(Two);
        // No assignment to start, another machine's job, and an invalid reason: each has a fee that the
        // worker cannot pay.
        let decline = |job, reason| Escrow::decline { job, machine, reason };
        assert_eq!(transact(Two, Escrow::start { job: 99 }), refused);
        assert_eq!(transact(Two, decline(job, DeclineReason::NotDelivered)), refused);
        let result_hash = H256::repeat_byte(9);
        assert_eq!(transact(Two, Escrow::submit_result { job, result_hash }), refused);
        assert_ok!(transact(Two, Escrow::start { job }).unwrap());
        assert_eq!(transact(Two, Escrow::start { job }), refused);

        // An account that is no worker key pays a fee even if the call succeeds.
        let job = deploy(Charlie, machine, TASK, MINUTE_MS);
        let provider = wealth(&account(Bob));
        assert_ok!(transact(Bob, decline(job, DeclineReason::CannotRun)).unwrap());
        assert!(!is_open(job));
        assert!(wealth(&account(Bob)) <= provider);
    });
}

#[test]
fn machines_that_are_held_before_they_start_are_paid_for_it() {
    with_chain("development", |chain| {
        // Before: 64 machines for 0.04 ASY in fees per ten minutes.
        let machine = active_machine(Bob, Dave, 1);
        let (consumer, provider) = (wealth(&account(Charlie)), wealth(&account(Bob)));
        let job = deploy(Charlie, machine, JobKind::Service, HOUR_MS);
        chain.pass(9 * MINUTE_MS);
        assert_ok!(call_as(&account(Charlie), Escrow::close { job }));
        let reserved = ASK * 9 * Balance::from(MINUTE_MS) / Balance::from(HOUR_MS);
        assert_eq!(consumer - wealth(&account(Charlie)), reserved);
        assert_eq!(wealth(&account(Bob)) - provider, reserved - reserved * 5 / 100);
    });
}
