//! Acts of the model's consumers, machines, validators and strangers.

use assay_primitives::{
    clock::{ActiveClock, MILLIS_PER_HOUR, Millis},
    job::ResultStatement,
    machine::MachineId,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::traits::{LockableCurrency, WithdrawReasons},
    sp_core::H256,
    sp_runtime::{DispatchResult, Permill},
};
use proptest::{
    collection,
    prelude::{Just, Rng, Strategy, any, prop_oneof},
    test_runner::{RngAlgorithm, TestRng},
};

use super::{CONSUMERS, DEAD_AUTHOR, Model, TRUTH};
use crate::{
    AssignmentState, Assignments, AuctionTerms, DeclineReason, Error, JobId, JobKind, JobOrder, Jobs,
    Manifest, Verification, mock::*, tests::storage_use::Metered,
};

/// Kind of thing that happens to jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A consumer chooses machines for an order.
    Deploy,
    /// A consumer opens an auction.
    Request,
    /// Active time passes.
    LetTimePass,
    /// The chain stands still for a day.
    StandStill,
    /// A machine takes an open place.
    AcceptRequest,
    /// Some machines start.
    StartSome,
    /// A machine declines.
    Decline,
    /// Machines give results, or commit to them, or reveal them.
    GiveResults,
    /// Somebody counts replicas and ends an auction.
    CallDeadlines,
    /// A consumer accepts or rejects a result.
    JudgeResult,
    /// A consumer closes a job.
    Close,
    /// Somebody settles an assignment.
    Settle,
    /// Somebody expires an assignment.
    Expire,
    /// A machine gives up a job.
    Abandon,
    /// A consumer extends a job.
    TopUp,
    /// Validators report a machine's uptime in an epoch that is not closed.
    ReportUptime,
    /// A machine changes its ask, leaves the market or drains.
    ChangeMachine,
    /// All machines of a job start and give their results.
    GoOnTogether,
    /// A machine's evidence is renewed or gone, or its keys change.
    ChangeEvidence,
    /// A machine reports the end of a workload, which its consumer may dispute.
    EndWorkload,
    /// A machine declines late, which costs its consumer reserved time.
    DeclineLate,
    /// Replicas commit and reveal undisturbed, but for one liar.
    Vote,
    /// An account or a parameter changes.
    ChangeConditions,
}

/// One step of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) act: Act,
    /// Seed of its choices, which depend on the state that it meets.
    pub(super) seed: u64,
}

/// Choices that follow from a seed.
pub(super) struct Choices(TestRng);

impl Choices {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    pub(super) fn one_in(&mut self, end: u64) -> bool {
        self.below(end) == 0
    }

    pub(super) fn pick<Item: Copy>(&mut self, items: &[Item]) -> Option<Item> {
        if items.is_empty() {
            return None;
        }
        items.get(self.below(items.len() as u64) as usize).copied()
    }
}

/// Returns the strategy of sequences of so many steps. A failing sequence shrinks to the steps that it needs.
pub(super) fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let act = prop_oneof![
        3 => Just(Act::Deploy),
        3 => Just(Act::Request),
        5 => Just(Act::LetTimePass),
        1 => Just(Act::StandStill),
        3 => Just(Act::AcceptRequest),
        4 => Just(Act::StartSome),
        1 => Just(Act::Decline),
        3 => Just(Act::GiveResults),
        1 => Just(Act::CallDeadlines),
        1 => Just(Act::JudgeResult),
        1 => Just(Act::Close),
        2 => Just(Act::Settle),
        1 => Just(Act::Expire),
        1 => Just(Act::Abandon),
        1 => Just(Act::TopUp),
        1 => Just(Act::ReportUptime),
        1 => Just(Act::ChangeMachine),
        4 => Just(Act::GoOnTogether),
        2 => Just(Act::ChangeEvidence),
        1 => Just(Act::EndWorkload),
        1 => Just(Act::DeclineLate),
        1 => Just(Act::Vote),
        1 => Just(Act::ChangeConditions),
    ];
    let step = (act, any::<u64>()).prop_map(|(act, seed)| Step { act, seed });
    collection::vec(step, 0..=count)
}

pub(super) fn open_jobs() -> Vec<JobId> {
    let mut jobs: Vec<_> = Jobs::<Test>::iter_keys().collect();
    jobs.sort_unstable();
    jobs
}

/// Every assignment: its job and its machine.
pub(super) fn parts() -> Vec<(JobId, MachineId)> {
    let mut parts: Vec<_> = Assignments::<Test>::iter_keys().collect();
    parts.sort_unstable();
    parts
}

fn worker_of(machine: MachineId) -> AccountId {
    Machines::get(machine).unwrap().worker
}

fn random_order(choices: &mut Choices, model: &Model) -> JobOrder {
    let kind = match choices.below(6) {
        0 => JobKind::Task {
            verification: Verification::Consumer {
                window_ms: choices.below(2 * MILLIS_PER_HOUR),
            },
        },
        1 | 2 => JobKind::Task {
            verification: Verification::Quorum {
                replicas: 3,
                threshold: 2 + choices.below(2) as u8,
            },
        },
        3 => ATTESTED,
        _ => SERVICE,
    };
    let manifest = match choices.pick(&model.manifests) {
        Some(manifest) if !choices.one_in(3) => Manifest::Public(manifest),
        _ => Manifest::Sealed { hash: TRUTH },
    };
    let longest_ms = choices
        .pick(&[10_000, MILLIS_PER_HOUR, 6 * MILLIS_PER_HOUR])
        .unwrap();
    // Plancks so few that every rounding shows, and sums as they are paid.
    let dearest = if choices.one_in(3) { 1_000 } else { 2 * ASY as u64 };
    JobOrder {
        manifest,
        slots: 1 + choices.below(2) as u8,
        max_duration_ms: 1_000 + choices.below(longest_ms),
        max_price_per_slot_hour: 1 + Balance::from(choices.below(dearest)),
        ..order(kind)
    }
}

/// Tries an act, whether it is allowed or not.
pub(super) fn happen(step: Step, model: &mut Model) {
    let (act, choices) = (step.act, &mut Choices::new(step.seed));
    let part = choices.pick(&parts());
    let job = choices.pick(&open_jobs());
    match act {
        Act::Deploy => {
            let order = random_order(choices, model);
            let consumer = choices.pick(&CONSUMERS).unwrap();
            let machines: Vec<_> = match order.kind.quorum_threshold() {
                Some(_) => ALL.iter().map(|(machine, ..)| *machine).collect(),
                None => ALL
                    .iter()
                    .map(|(machine, ..)| *machine)
                    .filter(|_| choices.one_in(2))
                    .collect(),
            };
            let _ = Metered::deploy(signed(consumer), order, chosen(&machines));
        }
        Act::Request => {
            let order = random_order(choices, model);
            let consumer = choices.pick(&CONSUMERS).unwrap();
            let rise_ms = choices.below(MILLIS_PER_HOUR);
            let auction = AuctionTerms {
                floor_price_per_slot_hour: Balance::from(choices.below(u64::MAX))
                    % (order.max_price_per_slot_hour + 1),
                rise_ms,
                open_ms: 1 + rise_ms + choices.below(2 * MILLIS_PER_HOUR),
            };
            let nodes = match order.kind.quorum_threshold() {
                Some(_) => 3,
                None => 1 + choices.below(3) as u8,
            };
            let _ = Metered::request(signed(consumer), order, nodes, auction);
        }
        Act::LetTimePass => {
            let longest = choices
                .pick(&[10_000, 20 * MINUTE_MS, 3 * MILLIS_PER_HOUR])
                .unwrap();
            advance(choices.below(longest));
        }
        // The chain stands still for a day.
        Act::StandStill => System::set_block_number(System::block_number() + 28_800),
        Act::AcceptRequest => {
            let (machine, ..) = choices.pick(&ALL).unwrap();
            if let Some(job) = job {
                let _ = Metered::accept_request(signed(worker_of(machine)), job, machine);
            }
        }
        Act::StartSome => {
            for (job, machine) in parts() {
                if choices.one_in(2) {
                    let _ = Metered::start(signed(worker_of(machine)), job);
                }
            }
        }
        Act::Decline => {
            if let Some((job, machine)) = part {
                let reason = match choices.below(2) {
                    0 => DeclineReason::CannotRun,
                    _ => DeclineReason::NotDelivered,
                };
                let _ = Metered::decline(signed(worker_of(machine)), job, machine, reason);
            }
        }
        Act::GiveResults => {
            for (job, machine) in parts() {
                give_result(choices, model, job, machine);
            }
        }
        Act::CallDeadlines => {
            if let Some(job) = job {
                let caller = choices.pick(&[STRANGER, PROVIDER, CONSUMER]).unwrap();
                let _ = Metered::resolve(signed(caller), job);
                let _ = Metered::expire_request(signed(caller), job);
            }
        }
        Act::JudgeResult => {
            if let Some((job, machine)) = part {
                let consumer = signed(job_record(job).consumer);
                let _ = match choices.below(2) {
                    0 => Metered::accept(consumer, job, machine),
                    _ => Metered::reject(consumer, job, machine),
                };
            }
        }
        Act::Close => {
            if let Some(job) = job {
                let _ = Metered::close(signed(job_record(job).consumer), job);
            }
        }
        Act::Settle => {
            if let Some((job, machine)) = part {
                let caller = choices.pick(&[STRANGER, PROVIDER, CONSUMER, WORKER]).unwrap();
                let _ = Metered::settle(signed(caller), job, machine);
            }
        }
        Act::Expire => {
            if let Some((job, machine)) = part {
                let caller = choices.pick(&[STRANGER, PROVIDER, CONSUMER, WORKER]).unwrap();
                let _ = Metered::expire(signed(caller), job, machine);
            }
        }
        Act::Abandon => {
            if let Some((job, machine)) = part
                && choices.one_in(3)
            {
                let _ = Metered::abandon(signed(worker_of(machine)), job, machine);
            }
        }
        Act::TopUp => {
            if let Some(job) = job {
                let additional_ms = choices.below(3 * MILLIS_PER_HOUR);
                let _ = Metered::top_up(signed(job_record(job).consumer), job, additional_ms);
            }
        }
        Act::ReportUptime => {
            // Validators say what they like of epochs that are open.
            let (machine, ..) = choices.pick(&ALL).unwrap();
            let epoch = MockClock::current_epoch() - choices.below(2) as u32;
            let uptime_ppm = choices.pick(&[0, 1, 333_333, 999_999]).unwrap();
            let mut outages = Outages::get();
            outages.retain(|(down, at, _)| (*down, *at) != (machine, epoch));
            outages.push((machine, epoch, uptime_ppm));
            Outages::set(&outages);
        }
        Act::ChangeMachine => {
            let (machine, ..) = choices.pick(&ALL).unwrap();
            let ask = 1 + Balance::from(choices.below(3 * ASY as u64));
            Machines::mutate(machine, |record| {
                let record = record.as_mut().unwrap();
                record.ask = ask;
                record.active = !choices.one_in(8);
                record.draining = choices.one_in(8);
            });
        }
        // All machines of a job go on with it at the same time, as they do when nothing goes wrong.
        Act::GoOnTogether => {
            for (_, machine) in parts().into_iter().filter(|(of, _)| Some(*of) == job) {
                let job = job.expect("it has a part");
                let _ = Metered::start(signed(worker_of(machine)), job);
                give_result(choices, model, job, machine);
                give_result(choices, model, job, machine);
            }
        }
        Act::ChangeEvidence => change_evidence(choices),
        Act::EndWorkload => {
            if let Some((job, machine)) = part {
                let _ = Metered::report_workload_ended(signed(worker_of(machine)), job);
                if choices.one_in(2) {
                    let _ = Metered::reject(signed(job_record(job).consumer), job, machine);
                }
            }
        }
        Act::DeclineLate => {
            // Late declines, which cost their consumer reserved time.
            advance(choices.below(START_WINDOW_MS));
            if let Some((job, machine)) = part {
                let worker = signed(worker_of(machine));
                let _ = Metered::decline(worker, job, machine, DeclineReason::CannotRun);
            }
        }
        // A vote that nothing but one replica's result disturbs.
        Act::Vote => {
            let vote = open_jobs()
                .into_iter()
                .find(|job| job_record(*job).kind.quorum_threshold().is_some());
            if let Some(job) = vote {
                let replicas: Vec<_> = parts().into_iter().filter(|(of, _)| *of == job).collect();
                let liar = choices.below(6) as usize;
                for (index, (_, machine)) in replicas.iter().enumerate() {
                    let result = if index == liar {
                        H256::repeat_byte(2)
                    } else {
                        TRUTH
                    };
                    let worker = signed(worker_of(*machine));
                    let _ = Metered::start(worker.clone(), job);
                    let commitment = JobEscrow::commitment_to(job, *machine, result, [7; 32]);
                    if Metered::commit_result(worker, job, commitment).is_ok() {
                        model.committed.insert((job, *machine), result);
                    }
                }
                for (_, machine) in replicas {
                    if let Some(result) = model.committed.get(&(job, machine)) {
                        let worker = signed(worker_of(machine));
                        let _ = Metered::reveal_result(worker, job, *result, [7; 32]);
                    }
                }
            }
        }
        Act::ChangeConditions => change_conditions(choices),
    }
}

/// A machine's evidence is renewed or gone, or its keys are others, with which the evidence counts no more.
fn change_evidence(choices: &mut Choices) {
    let (machine, _, first_worker) = choices.pick(&ALL).unwrap();
    match choices.below(8) {
        0 => drop_evidence(machine),
        1 => {
            let second_worker = first_worker + 100;
            Machines::mutate(machine, |record| {
                let record = record.as_mut().unwrap();
                record.worker = if record.worker == first_worker {
                    second_worker
                } else {
                    first_worker
                };
            });
        }
        _ => {
            drop_evidence(machine);
            attest(machine, 1 + choices.below(6 * MILLIS_PER_HOUR));
        }
    }
}

/// A machine vouches for the result of an attested task that it runs, if it feels like it; sometimes another
/// key signs.
fn vouch(choices: &mut Choices, model: &mut Model, job: JobId, machine: MachineId, started_at_ms: Millis) {
    if choices.one_in(3) {
        return;
    }
    let worker = worker_of(machine);
    let signer = if choices.one_in(6) { STRANGER } else { worker };
    let statement = ResultStatement {
        manifest_hash: job_record(job).manifest.hash().0,
        ..statement(job, machine, TRUTH)
    };
    let given = Metered::submit_attested_result(signed(worker), job, TRUTH, sign(signer, statement));

    let now_ms = NowMs::get();
    let is_attested = EvidenceKept::get().iter().any(|evidence| {
        (evidence.machine, evidence.worker) == (machine, worker) && now_ms < evidence.ends_ms
    });
    let expected: DispatchResult = if now_ms > part(job, machine).run_ends_ms(started_at_ms) {
        Err(Error::<Test>::TooLate.into())
    } else if !is_attested {
        model.attested[1] += 1;
        Err(Error::<Test>::EvidenceEnded.into())
    } else if signer != worker {
        Err(Error::<Test>::BadStatement.into())
    } else {
        Ok(())
    };
    assert_eq!(given, expected);
}

/// A machine gives the result of a task, or commits to it, or reveals it, if it feels like it; not all are
/// the same.
fn give_result(choices: &mut Choices, model: &mut Model, job: JobId, machine: MachineId) {
    let worker = signed(worker_of(machine));
    match (part_state(job, machine), job_record(job).kind) {
        (AssignmentState::Running { started_at_ms, .. }, ATTESTED) => {
            vouch(choices, model, job, machine, started_at_ms);
        }
        (AssignmentState::Running { .. }, JobKind::Task { .. }) if !choices.one_in(3) => {
            let result = if choices.one_in(4) {
                H256::repeat_byte(2 + machine as u8 % 2)
            } else {
                TRUTH
            };
            let commitment = JobEscrow::commitment_to(job, machine, result, [7; 32]);
            if Metered::commit_result(worker.clone(), job, commitment).is_ok() {
                model.committed.insert((job, machine), result);
            } else {
                let _ = Metered::submit_result(worker, job, result);
            }
        }
        (AssignmentState::Committed { .. }, _) if !choices.one_in(6) => {
            let result = model.committed[&(job, machine)];
            let _ = Metered::reveal_result(worker, job, result, [7; 32]);
        }
        _ => {}
    }
}

fn part_state(job: JobId, machine: MachineId) -> AssignmentState {
    part(job, machine).state
}

/// Changes the condition of an account, or a parameter.
fn change_conditions(choices: &mut Choices) {
    let consumer = choices.pick(&CONSUMERS).unwrap();
    let (_, provider, _) = choices.pick(&ALL).unwrap();
    match choices.below(5) {
        0 => Fee::set(&Permill::from_parts(choices.below(1_000_001) as u32)),
        1 => Author::set(&choices.pick(&[None, Some(AUTHOR), Some(DEAD_AUTHOR)]).unwrap()),
        2 => Balances::set_lock(*b"a vote  ", &consumer, Balance::MAX, WithdrawReasons::all()),
        3 => Balances::remove_lock(*b"a vote  ", &consumer),
        _ => {
            let _ = Balances::transfer_all(signed(provider), STRANGER, false);
        }
    }
}
