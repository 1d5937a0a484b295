//! `submit_attested_result`: tasks whose machine vouches for its result.

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    machine::{LeaseEnd, MachineId},
    money::ASY,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo},
    sp_core::H256,
    sp_runtime::testing::TestSignature,
};

use crate::{
    AssignmentState, Assignments, Call, DeclineReason, Error, Event, JobId, Manifest, Outcome, WeightInfo,
    mock::*,
    types::{MAX_REPLICAS, PlaceCheck},
};

const RESULT: H256 = H256::repeat_byte(0xcd);
const DAY_MS: Millis = 24 * MILLIS_PER_HOUR;

/// Deploys an attested task to [`MACHINE`], which has evidence for a day, and starts it.
fn run_attested() -> JobId {
    attest(MACHINE, DAY_MS);
    run(ATTESTED)
}

/// Gives the machine another worker key.
fn rotate_keys(machine: MachineId, worker: AccountId) {
    Machines::mutate(machine, |record| record.as_mut().unwrap().worker = worker);
}

/// Gives [`MACHINE`] evidence of a GPU alone.
fn keep_gpu_evidence() {
    let evidence = MockEvidence {
        machine: MACHINE,
        worker: WORKER,
        ends_ms: NowMs::get() + DAY_MS,
        is_of_processor: false,
    };
    EvidenceKept::set(&[EvidenceKept::get(), vec![evidence]].concat());
}

fn listed(machine: MachineId) -> Vec<JobId> {
    let page = JobEscrow::open_orders(machine, None, 100);
    page.orders.iter().map(|order| order.job).collect()
}

#[test]
fn submit_attested_result_works() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_attested();
        let started_at_ms = NowMs::get();
        advance(MILLIS_PER_HOUR / 2);
        take_events();
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));

        let ended_at_ms = NowMs::get();
        assert_eq!(
            take_events(),
            vec![
                Event::ResultAttested {
                    job,
                    machine: MACHINE,
                    result_hash: RESULT,
                    worker_key: WORKER,
                    evidence_until_s: (started_at_ms + DAY_MS) / 1_000,
                },
                Event::EscrowReturned { job, amount: ASY },
                Event::AssignmentEnded {
                    job,
                    machine: MACHINE,
                    outcome: Outcome::Completed,
                    ended_at_ms
                },
            ]
        );
        assert_eq!(
            part(job, MACHINE).state,
            AssignmentState::Ended {
                started_at_ms,
                ended_at_ms,
                judged_until_ms: started_at_ms,
                outcome: Outcome::Completed
            }
        );
        assert_eq!(free_slots(MACHINE), SLOTS);
    });
}

#[test]
fn an_attested_result_is_paid_to_the_planck_though_its_consumer_never_comes_back() {
    ExtBuilder::default().build_and_execute(|| {
        let issuance = Balances::total_issuance();
        let job = run_attested();
        advance(1_234_567);
        // All that the consumer has left is what is held.
        assert_ok!(Balances::transfer_all(signed(CONSUMER), STRANGER, false));
        let (consumer, stranger) = (wealth(CONSUMER), wealth(STRANGER));
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));
        settle_all(job, MACHINE);

        // Two slots at one ASY an hour for 1,234.567 s, rounded down; 5 % of that, rounded down; half of it,
        // rounded up.
        let (earned, fee, burned) = (685_870_555_555, 34_293_527_777, 17_146_763_889);
        assert_eq!(free(PROVIDER), ENDOWMENT + earned - fee);
        assert_eq!(wealth(CONSUMER), consumer - earned);
        assert_eq!(wealth(STRANGER), stranger);
        assert_eq!(wealth(TREASURY) + wealth(AUTHOR), 2 * ASY + fee - burned);
        assert_eq!(Balances::total_issuance(), issuance - burned);
        assert_eq!((FeesNoted::get(), BurnsNoted::get()), (fee, burned));
        assert_eq!((escrow_of(CONSUMER), deposit_of(CONSUMER)), (0, 0));
        assert!(is_gone(job));
    });
}

#[test]
fn an_attested_task_is_not_paid_for_an_epoch_in_which_its_machine_was_seen_down() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_attested();
        advance(MILLIS_PER_HOUR / 2);
        Outages::set(&vec![(MACHINE, 100, 0)]);
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));
        settle_all(job, MACHINE);
        assert_eq!((free(CONSUMER), free(PROVIDER)), (ENDOWMENT, ENDOWMENT));
    });
}

#[test]
fn deploy_works_for_attested_machines_only() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let order = order(ATTESTED);
        let deploy =
            |machines: &[MachineId]| JobEscrow::deploy(signed(CONSUMER), order.clone(), chosen(machines));
        assert_noop!(deploy(&[MACHINE]), Error::<Test>::NotAttested);
        // What a machine does not meet otherwise is said first.
        assert_noop!(deploy(&[99]), Error::<Test>::NotEligible);

        // A GPU signs whatever its host asks it to.
        keep_gpu_evidence();
        assert_noop!(deploy(&[MACHINE]), Error::<Test>::NotAttested);

        attest(MACHINE, MILLIS_PER_HOUR);
        assert_noop!(deploy(&[MACHINE, 8]), Error::<Test>::NotAttested);
        assert_eq!((free_slots(MACHINE), escrow_of(CONSUMER)), (SLOTS, 0));
        rotate_keys(MACHINE, WORKER + 7);
        assert_noop!(deploy(&[MACHINE]), Error::<Test>::NotAttested);
        rotate_keys(MACHINE, WORKER);
        advance(MILLIS_PER_HOUR - 1);
        assert_ok!(deploy(&[MACHINE]));
        advance(1);
        assert_noop!(deploy(&[MACHINE]), Error::<Test>::NotAttested);

        for (machine, ..) in ALL {
            attest(machine, MILLIS_PER_HOUR);
        }
        assert_ok!(deploy(&[MACHINE, 8, 9]));
    });
}

#[test]
fn accept_request_works_for_attested_machines_only() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = request(ATTESTED, 2);
        let service = request(SERVICE, 1);
        advance(MILLIS_PER_HOUR);
        let accept = |worker, machine| JobEscrow::accept_request(signed(worker), job, machine);
        assert_noop!(accept(WORKER, MACHINE), Error::<Test>::NotAttested);
        assert_eq!(
            listed(MACHINE),
            [service],
            "a worker is not shown what it cannot have"
        );

        attest(MACHINE, MINUTE_MS);
        let mut both = listed(MACHINE);
        both.sort_unstable();
        assert_eq!(both, [job, service]);
        advance(MINUTE_MS);
        assert_eq!(listed(MACHINE), [service]);
        assert_noop!(accept(WORKER, MACHINE), Error::<Test>::NotAttested);

        attest(MACHINE, MINUTE_MS);
        let taken = accept(WORKER, MACHINE).unwrap();
        assert_eq!(
            taken.actual_weight,
            Some(<() as WeightInfo>::accept_attested_request())
        );
        assert_noop!(accept(WORKER + 1, 8), Error::<Test>::NotAttested);
        // Who is not attested takes other orders as before.
        let taken = JobEscrow::accept_request(signed(WORKER + 1), service, 8).unwrap();
        assert_eq!(taken.actual_weight, Some(<() as WeightInfo>::accept_request(0)));
    });
}

#[test]
fn who_looks_at_evidence_weighs_what_that_costs() {
    ExtBuilder::default().build_and_execute(|| {
        let weight = |kind| {
            let deploy = Call::<Test>::deploy {
                order: order(kind),
                machines: chosen(&[MACHINE, 8]),
            };
            deploy.get_dispatch_info().call_weight
        };
        assert_eq!(weight(ATTESTED), <() as WeightInfo>::deploy_attested(2));
        for kind in [TASK, QUORUM, SERVICE] {
            assert_eq!(weight(kind), <() as WeightInfo>::deploy(2));
        }
        // What taking a place costs is known once the order was looked at.
        let most = PlaceCheck::max_weight::<()>();
        assert!(<() as WeightInfo>::accept_request(MAX_REPLICAS.into()).all_lte(most));
        assert!(<() as WeightInfo>::accept_attested_request().all_lte(most));
    });
}

#[test]
fn a_place_that_opens_again_is_for_attested_machines_too() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        attest(MACHINE, DAY_MS);
        let job = request(ATTESTED, 1);
        let accept = |worker, machine| JobEscrow::accept_request(signed(worker), job, machine);
        assert_ok!(accept(WORKER, MACHINE));
        assert_ok!(JobEscrow::decline(
            signed(WORKER),
            job,
            MACHINE,
            DeclineReason::CannotRun
        ));
        assert_noop!(accept(WORKER + 1, 8), Error::<Test>::NotAttested);
        attest(8, DAY_MS);
        assert_ok!(accept(WORKER + 1, 8));
        // One that does not start is replaced by an attested one as well.
        advance(START_WINDOW_MS + 1);
        assert_ok!(JobEscrow::expire(signed(STRANGER), job, 8));
        assert_noop!(accept(WORKER + 2, 9), Error::<Test>::NotAttested);
        attest(9, DAY_MS);
        assert_ok!(accept(WORKER + 2, 9));
        assert_ok!(JobEscrow::start(signed(WORKER + 2), job));
        assert_ok!(submit_attested(WORKER + 2, job, 9, RESULT));
        settle_all(job, 9);
        assert!(is_gone(job));
    });
}

#[test]
fn evidence_that_ended_is_renewed_before_the_result() {
    ExtBuilder::default().build_and_execute(|| {
        attest(MACHINE, MILLIS_PER_HOUR / 4);
        let job = run(ATTESTED);
        advance(MILLIS_PER_HOUR / 4);
        assert_noop!(
            submit_attested(WORKER, job, MACHINE, RESULT),
            Error::<Test>::EvidenceEnded
        );
        // Neither does a GPU's evidence do, nor that of another machine.
        add_others();
        attest(8, DAY_MS);
        keep_gpu_evidence();
        assert_noop!(
            submit_attested(WORKER, job, MACHINE, RESULT),
            Error::<Test>::EvidenceEnded
        );
        advance(MILLIS_PER_HOUR / 4);
        attest(MACHINE, 1);
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));
        // It is paid until the result, as it ran on meanwhile.
        settle_all(job, MACHINE);
        assert_eq!(free(CONSUMER), ENDOWMENT - ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
    });
}

#[test]
fn a_task_whose_evidence_is_not_renewed_expires_as_one_without_a_result() {
    let expire = |kind| {
        let mut seen = None;
        ExtBuilder::default().build_and_execute(|| {
            attest(MACHINE, MILLIS_PER_HOUR / 4);
            let job = run(kind);
            advance(MILLIS_PER_HOUR);
            if kind == ATTESTED {
                assert_noop!(
                    submit_attested(WORKER, job, MACHINE, RESULT),
                    Error::<Test>::EvidenceEnded
                );
            }
            advance(1);
            // Not even new evidence makes up for what is too late.
            attest(MACHINE, DAY_MS);
            if kind == ATTESTED {
                assert_noop!(
                    submit_attested(WORKER, job, MACHINE, RESULT),
                    Error::<Test>::TooLate
                );
            }
            take_events();
            assert_ok!(JobEscrow::expire(signed(STRANGER), job, MACHINE));
            assert!(is_gone(job));
            assert_eq!(free_slots(MACHINE), SLOTS);
            let parties = [CONSUMER, PROVIDER, WORKER, STRANGER, TREASURY].map(wealth);
            assert_eq!(parties[..2], [ENDOWMENT - BOUNTY, ENDOWMENT]);
            seen = Some((parties, take_events()));
        });
        seen.unwrap()
    };
    assert_eq!(expire(ATTESTED), expire(TASK));
}

#[test]
fn rotated_keys_need_evidence_of_their_own() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_attested();
        let new = WORKER + 7;
        rotate_keys(MACHINE, new);
        assert_noop!(
            submit_attested(WORKER, job, MACHINE, RESULT),
            Error::<Test>::NotWorker
        );
        assert_noop!(
            submit_attested(new, job, MACHINE, RESULT),
            Error::<Test>::EvidenceEnded
        );
        attest(MACHINE, DAY_MS);
        // What the old key signed does not count any more.
        let old = sign(WORKER, statement(job, MACHINE, RESULT));
        assert_noop!(
            JobEscrow::submit_attested_result(signed(new), job, RESULT, old),
            Error::<Test>::BadStatement
        );
        assert_ok!(submit_attested(new, job, MACHINE, RESULT));
    });
}

#[test]
fn a_statement_counts_for_exactly_what_it_says() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        attest(8, DAY_MS);
        let job = run_attested();
        let good = statement(job, MACHINE, RESULT);
        let refuse = |signature: TestSignature| {
            assert_noop!(
                JobEscrow::submit_attested_result(signed(WORKER), job, RESULT, signature),
                Error::<Test>::BadStatement
            );
        };
        let mut others = [good; 5];
        others[0].job += 1;
        others[1].machine = 8;
        // The host's node showed the TEE an order of another image, or of another manifest, under this job's
        // number.
        others[2].image_digest = [1; 32];
        others[3].manifest_hash = [1; 32];
        others[4].result_hash = [1; 32];
        for other in others {
            refuse(sign(WORKER, other));
        }
        // By another key, be it an attested one or the provider's.
        for account in [WORKER + 1, PROVIDER, STRANGER] {
            refuse(sign(account, good));
        }
        // Of another chain, and what replicas commit to.
        refuse(TestSignature(WORKER, good.message(&[0xee; 32])));
        refuse(TestSignature(
            WORKER,
            JobEscrow::commitment_to(job, MACHINE, RESULT, [0; 32]).0.to_vec(),
        ));
        assert_eq!(
            part(job, MACHINE).state,
            AssignmentState::Running {
                started_at_ms: NowMs::get(),
                judged_until_ms: NowMs::get()
            }
        );
        assert_ok!(JobEscrow::submit_attested_result(
            signed(WORKER),
            job,
            RESULT,
            sign(WORKER, good)
        ));
    });
}

#[test]
fn a_sealed_manifest_is_named_by_its_hash() {
    ExtBuilder::default().build_and_execute(|| {
        attest(MACHINE, DAY_MS);
        let mut sealed = order(ATTESTED);
        sealed.manifest = Manifest::Sealed {
            hash: H256::repeat_byte(0x5e),
        };
        let job = run_order(sealed);
        assert_noop!(
            submit_attested(WORKER, job, MACHINE, RESULT),
            Error::<Test>::BadStatement
        );
        let mut named = statement(job, MACHINE, RESULT);
        named.manifest_hash = [0x5e; 32];
        assert_ok!(JobEscrow::submit_attested_result(
            signed(WORKER),
            job,
            RESULT,
            sign(WORKER, named)
        ));
    });
}

#[test]
fn each_machine_vouches_for_itself() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        for (machine, ..) in ALL {
            attest(machine, DAY_MS);
        }
        let job = deploy_to(order(ATTESTED), &[MACHINE, 8]);
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        assert_ok!(JobEscrow::start(signed(WORKER + 1), job));
        advance(MILLIS_PER_HOUR / 2);
        assert_noop!(
            submit_attested(WORKER + 2, job, MACHINE, RESULT),
            Error::<Test>::NoSuchAssignment
        );
        // Another machine of the same job hands in this one's statement.
        let copied = sign(WORKER, statement(job, MACHINE, RESULT));
        assert_noop!(
            JobEscrow::submit_attested_result(signed(WORKER + 1), job, RESULT, copied),
            Error::<Test>::BadStatement
        );
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));
        drop_evidence(8);
        assert_noop!(
            submit_attested(WORKER + 1, job, 8, RESULT),
            Error::<Test>::EvidenceEnded
        );
        attest(8, DAY_MS);
        // They need not agree.
        assert_ok!(submit_attested(WORKER + 1, job, 8, H256::repeat_byte(0xce)));
        settle_all(job, MACHINE);
        assert_ok!(JobEscrow::settle(signed(PROVIDER + 1), job, 8));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
        assert_eq!(free(PROVIDER + 1), ENDOWMENT + net(ASY));
    });
}

#[test]
fn submit_attested_result_fails_when_signed_by_another() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let job = run_attested();
        let signature = sign(WORKER, statement(job, MACHINE, RESULT));
        let submit =
            |who, job| JobEscrow::submit_attested_result(signed(who), job, RESULT, signature.clone());
        for account in [CONSUMER, PROVIDER, STRANGER] {
            assert_noop!(submit(account, job), Error::<Test>::NotWorker);
        }
        assert_noop!(submit(WORKER + 1, job), Error::<Test>::NoSuchAssignment);
        assert_noop!(submit(WORKER, 99), Error::<Test>::NoSuchJob);
    });
}

#[test]
fn submit_attested_result_fails_when_the_task_does_not_run() {
    ExtBuilder::default().build_and_execute(|| {
        attest(MACHINE, DAY_MS);
        let job = deploy(ATTESTED);
        let submit = || submit_attested(WORKER, job, MACHINE, RESULT);
        assert_noop!(submit(), Error::<Test>::WrongState);
        assert_ok!(JobEscrow::start(signed(WORKER), job));
        // The last moment counts, of the time that the consumer added too.
        assert_ok!(JobEscrow::top_up(signed(CONSUMER), job, MILLIS_PER_HOUR));
        advance(2 * MILLIS_PER_HOUR);
        assert_ok!(submit());

        assert_noop!(submit(), Error::<Test>::WrongState);
        assert_noop!(
            submit_attested(WORKER, job, MACHINE, H256::repeat_byte(1)),
            Error::<Test>::WrongState
        );
        settle_all(job, MACHINE);
        assert_noop!(submit(), Error::<Test>::NoSuchJob);
        assert_eq!(free(CONSUMER), ENDOWMENT - 4 * ASY);
    });
}

#[test]
fn attested_results_are_of_attested_tasks_and_of_no_others() {
    ExtBuilder::default().build_and_execute(|| {
        attest(MACHINE, DAY_MS);
        let (task, service) = (run(TASK), run(SERVICE));
        assert_noop!(
            submit_attested(WORKER, task, MACHINE, RESULT),
            Error::<Test>::OtherVerification
        );
        assert_noop!(
            submit_attested(WORKER, service, MACHINE, RESULT),
            Error::<Test>::NotTask
        );
    });
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        attest(MACHINE, DAY_MS);
        let quorum = deploy_to(order(QUORUM), &[MACHINE, 8, 9]);
        assert_ok!(JobEscrow::start(signed(WORKER), quorum));
        assert_noop!(
            submit_attested(WORKER, quorum, MACHINE, RESULT),
            Error::<Test>::OtherVerification
        );
        let job = run(ATTESTED);
        assert_noop!(
            JobEscrow::submit_result(signed(WORKER), job, RESULT),
            Error::<Test>::OtherVerification
        );
        assert_noop!(
            JobEscrow::commit_result(signed(WORKER), job, RESULT),
            Error::<Test>::OtherVerification
        );
        assert_noop!(
            JobEscrow::reveal_result(signed(WORKER), job, RESULT, [7; 32]),
            Error::<Test>::WrongState
        );
        assert_noop!(
            JobEscrow::resolve(signed(STRANGER), job),
            Error::<Test>::WrongState
        );
        assert_noop!(
            JobEscrow::close(signed(CONSUMER), job),
            Error::<Test>::TaskRunning
        );
        // Nobody has a say in the result, before it came or after.
        let nobody_else_can_judge = || {
            assert_noop!(
                JobEscrow::accept(signed(CONSUMER), job, MACHINE),
                Error::<Test>::WrongState
            );
            assert_noop!(
                JobEscrow::reject(signed(CONSUMER), job, MACHINE),
                Error::<Test>::WrongState
            );
        };
        nobody_else_can_judge();
        assert_ok!(submit_attested(WORKER, job, MACHINE, RESULT));
        nobody_else_can_judge();
    });
}

#[test]
fn an_order_that_no_attested_machine_takes_ends_as_any_other() {
    ExtBuilder::default().build_and_execute(|| {
        let job = request(ATTESTED, 1);
        advance(2 * MILLIS_PER_HOUR + 1);
        assert_ok!(JobEscrow::expire_request(signed(STRANGER), job));
        assert!(is_gone(job));
        assert_eq!(free(CONSUMER), ENDOWMENT - BOUNTY);
    });
}

#[test]
fn giving_up_an_attested_task_costs_what_giving_up_costs() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run_attested();
        assert_ok!(JobEscrow::abandon(signed(WORKER), job, MACHINE));
        assert_eq!(last_lease_end(MACHINE), Some(LeaseEnd::Abandoned));
        assert_eq!(free(CONSUMER), ENDOWMENT);
    });
}

#[test]
fn an_attested_result_that_waits_to_be_verified_breaks_an_invariant() {
    ExtBuilder::default().build().execute_with(|| {
        let job = run_attested();
        assert_ok!(JobEscrow::do_try_state());
        let now_ms = NowMs::get();
        Assignments::<Test>::mutate(job, MACHINE, |part| {
            part.as_mut().unwrap().state = AssignmentState::Verifying {
                started_at_ms: now_ms,
                ended_at_ms: now_ms,
                window_ends_ms: now_ms,
                result_hash: RESULT,
            };
        });
        // Its slots are given back as a consumer's are, so that nothing else is wrong.
        Machines::mutate(MACHINE, |record| record.as_mut().unwrap().free_slots = SLOTS);
        assert!(JobEscrow::do_try_state().is_err());
    });
}
