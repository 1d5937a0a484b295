//! Random jobs, machines, liars, outages and clocks, held against a model: no planck appears or is lost,
//! everybody is paid what the model says, and nobody is stuck.

mod acts;

use std::{cell::RefCell, collections::BTreeMap};

use acts::{Step, happen, open_jobs, parts, steps};
use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    emission::EpochUptime,
    machine::MachineId,
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        assert_ok, hypothetically,
        traits::{QueryPreimage, fungible::Mutate},
    },
    sp_core::H256,
};
use proptest::{
    prelude::{ProptestConfig, prop},
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};

use super::storage_use::Metered;
use crate::{Assignments, Diversion, Event, JobId, Jobs, ManifestRef, Outcome, mock::*};

/// Sequences that each of four tests tries, and most steps of each: 100,000 steps on average.
const CASES: u32 = 250;
const STEPS: usize = 200;

/// Maximum number of attempts to shrink a failure.
const MAX_SHRINK_ITERATIONS: u32 = 2_000;

const CONSUMERS: [AccountId; 3] = [CONSUMER, OTHER_CONSUMER, OTHER_CONSUMER + 1];
const DEAD_AUTHOR: AccountId = AUTHOR + 1;
const TRUTH: H256 = H256::repeat_byte(1);

/// Model of a machine's assignment.
#[derive(Clone, Default)]
struct Run {
    price: Balance,
    slots: u8,
    is_service: bool,
    assigned_at_ms: Millis,
    /// Amount that was held for it at the last look.
    held: Balance,
    started_at_ms: Option<Millis>,
    /// Time at which a result was given or committed to.
    result_at_ms: Option<Millis>,
    ended: Option<(Outcome, Millis)>,
}

impl Run {
    /// Returns the price of the time from the start on, by definition.
    fn worth(&self, until_ms: Millis) -> Balance {
        let elapsed_ms = until_ms - self.started_at_ms.expect("it was started");
        self.price * Balance::from(self.slots) * Balance::from(elapsed_ms) / Balance::from(MILLIS_PER_HOUR)
    }

    /// Returns the total that it has to be paid.
    fn expected(&self, machine: MachineId) -> Balance {
        let Some((outcome, ended_at_ms)) = self.ended else {
            return 0;
        };
        let mut from_ms = self.started_at_ms.expect("it was started");
        let mut earned = 0;
        while from_ms < ended_at_ms {
            let epoch = from_ms / MILLIS_PER_HOUR;
            let to_ms = ended_at_ms.min((epoch + 1) * MILLIS_PER_HOUR);
            let uptime_ppm = Balance::from(MockUptime::uptime_ppm(machine, epoch as u32));
            earned += (self.worth(to_ms) - self.worth(from_ms)) * uptime_ppm / 1_000_000;
            from_ms = to_ms;
        }
        if !self.loses_hold_back(machine) {
            return earned;
        }
        // A tenth is lost, rounded up, and no more than a day's pay.
        let day = self.price * Balance::from(self.slots) * 24;
        match outcome {
            Outcome::Completed => earned,
            _ => earned - earned.div_ceil(10).min(day),
        }
    }

    /// Returns true if the hold-back is lost: by giving up, by a dispute, or by an outage in the last epoch.
    fn loses_hold_back(&self, machine: MachineId) -> bool {
        let (outcome, ended_at_ms) = self.ended.expect("it ended");
        let ran = ended_at_ms > self.started_at_ms.expect("it was started");
        let last_epoch = (ended_at_ms.max(1) - 1) / MILLIS_PER_HOUR;
        let was_down = ran && MockUptime::uptime_ppm(machine, last_epoch as u32) < 500_000;
        self.is_service && (matches!(outcome, Outcome::Abandoned | Outcome::Disputed) || was_down)
    }

    /// Returns the price of its reservation until now, without the first `free_ms`: no more than is held.
    fn reserved(&self, now_ms: Millis, free_ms: Millis) -> Balance {
        let reserved_ms = (now_ms - self.assigned_at_ms)
            .min(START_WINDOW_MS)
            .saturating_sub(free_ms);
        let worth = self.price * Balance::from(self.slots) * Balance::from(reserved_ms);
        (worth / Balance::from(MILLIS_PER_HOUR)).min(self.held)
    }
}

/// Contents of the events, to compare balances and records with.
#[derive(Clone, Default)]
struct Model {
    issuance: Balance,
    burned: Balance,
    consumers: BTreeMap<JobId, (AccountId, u8, bool)>,
    runs: BTreeMap<(JobId, MachineId), Run>,
    /// Amount that each consumer spent, without payments of open jobs.
    spent: BTreeMap<AccountId, Balance>,
    committed: BTreeMap<(JobId, MachineId), H256>,
    manifests: Vec<ManifestRef>,
    outcomes: BTreeMap<u8, u32>,
    /// Results that machines vouched for, and those for which their evidence had ended.
    attested: [u32; 2],
    quorums: [u32; 2],
    failures: usize,
    /// Number of payments to the treasury for reserved time, and for hold-backs that were lost.
    forfeits: [u32; 2],
    bounties: u32,
    /// Bounties that consumers earned with the jobs of others.
    gained: BTreeMap<AccountId, Balance>,
}

impl Model {
    /// Sets up machines, accounts and manifests.
    fn open() -> Self {
        add_others();
        assert_ok!(<Balances as Mutate<AccountId>>::mint_into(
            &CONSUMERS[2],
            ENDOWMENT
        ));
        for (machine, ..) in ALL {
            attest(machine, 4 * MILLIS_PER_HOUR);
        }
        Self {
            issuance: Balances::total_issuance(),
            manifests: vec![
                note_manifest_by(STRANGER, b"{}"),
                note_manifest_by(STRANGER, b"{\"network\":true}"),
            ],
            ..Default::default()
        }
    }

    fn spend(&mut self, job: JobId, amount: Balance) {
        let (consumer, ..) = self.consumers[&job];
        *self.spent.entry(consumer).or_default() += amount;
    }

    fn run(&mut self, job: JobId, machine: MachineId) -> &mut Run {
        self.runs.get_mut(&(job, machine)).expect("it was assigned")
    }

    /// Reads the events since the last check.
    fn hear(&mut self) {
        let now_ms = NowMs::get();
        let events = take_events();
        // An order is announced after the machines that it was deployed to.
        for event in &events {
            if let Event::JobOrdered {
                job,
                consumer,
                slots,
                kind,
                ..
            } = event
            {
                self.consumers.insert(*job, (*consumer, *slots, *kind == SERVICE));
            }
        }
        for event in events {
            match event {
                Event::MachineAssigned {
                    job,
                    machine,
                    price_per_slot_hour,
                    ..
                } => {
                    let (_, slots, is_service) = self.consumers[&job];
                    let run = Run {
                        price: price_per_slot_hour,
                        slots,
                        is_service,
                        assigned_at_ms: now_ms,
                        ..Default::default()
                    };
                    assert!(
                        self.runs.insert((job, machine), run).is_none(),
                        "assigned twice at the same time"
                    );
                }
                Event::JobStarted { job, machine, .. } => {
                    self.run(job, machine).started_at_ms = Some(now_ms);
                }
                Event::ResultSubmitted { job, machine, .. } | Event::ResultCommitted { job, machine, .. } => {
                    self.run(job, machine).result_at_ms = Some(now_ms);
                }
                Event::ResultAttested { job, machine, .. } => {
                    self.run(job, machine).result_at_ms = Some(now_ms);
                    self.attested[0] += 1;
                }
                Event::QuorumResolved { result_hash, .. } => {
                    self.quorums[usize::from(result_hash.is_some())] += 1;
                }
                Event::AssignmentEnded {
                    job,
                    machine,
                    outcome,
                    ended_at_ms,
                } => {
                    let run = self.run(job, machine);
                    run.ended = Some((outcome, ended_at_ms));
                    // No task is paid until another moment than that of its result.
                    assert!(outcome != Outcome::Completed || run.result_at_ms == Some(ended_at_ms));
                }
                Event::EndDisputed { job, machine } => {
                    let ended = &mut self.run(job, machine).ended;
                    *ended = ended.map(|(_, ended_at_ms)| (Outcome::Disputed, ended_at_ms));
                }
                Event::EarningsForfeited { job, machine, amount } => {
                    let run = self.run(job, machine).clone();
                    match (run.result_at_ms, run.started_at_ms) {
                        (Some(until_ms), _) => assert_eq!(amount, run.worth(until_ms)),
                        (None, None) => {
                            assert_eq!(amount, run.reserved(now_ms, START_WINDOW_MS / 5));
                            self.forfeits[0] += 1;
                        }
                        (None, Some(_)) => {
                            assert!(run.loses_hold_back(machine));
                            let lost = run.expected(machine) + amount;
                            assert_eq!(lost - lost.div_ceil(10), run.expected(machine));
                            self.forfeits[1] += 1;
                        }
                    }
                    self.spend(job, amount);
                }
                Event::AssignmentClosed {
                    job,
                    machine,
                    outcome,
                    paid,
                } => {
                    let run = self.runs.remove(&(job, machine)).expect("it was assigned");
                    let expected = match outcome {
                        Outcome::Cancelled => run.reserved(now_ms, 0),
                        _ => run.expected(machine),
                    };
                    assert_eq!(paid, expected, "{outcome:?} of {job} on {machine}");
                    if run.is_service && run.ended.is_some() {
                        assert_eq!(outcome.loses_hold_back(), run.loses_hold_back(machine));
                    }
                    *self.outcomes.entry(outcome as u8).or_default() += 1;
                    self.spend(job, paid);
                }
                Event::PlaceReopened { job, machine, .. } => {
                    self.runs.remove(&(job, machine)).expect("it was assigned");
                }
                Event::PaymentSettled { burned, .. } => self.burned += burned,
                Event::BountyPaid {
                    job,
                    recipient,
                    amount,
                } => {
                    assert_eq!(amount, BOUNTY);
                    self.bounties += 1;
                    *self.gained.entry(recipient).or_default() += amount;
                    self.spend(job, amount);
                }
                Event::PaymentDiverted {
                    amount, destination, ..
                } => {
                    assert!(amount < EXISTENTIAL_DEPOSIT, "only dust can fail to arrive");
                    if destination == Diversion::Burned {
                        self.burned += amount;
                    }
                }
                _ => {}
            }
        }
        self.failures = FailuresCounted::get().len();
        for ((job, machine), run) in &mut self.runs {
            run.held = part(*job, *machine).escrowed;
        }
    }

    /// Checks every sum.
    fn check(&mut self) {
        self.hear();
        assert_eq!(Balances::total_issuance() + self.burned, self.issuance);
        let mut paid_by_open: BTreeMap<AccountId, Balance> = BTreeMap::new();
        for (job, _, record) in Assignments::<Test>::iter() {
            *paid_by_open.entry(self.consumers[&job].0).or_default() += record.paid;
        }
        for consumer in CONSUMERS {
            let spent = self.spent.get(&consumer).copied().unwrap_or_default();
            let paid = paid_by_open.get(&consumer).copied().unwrap_or_default();
            let gained = self.gained.get(&consumer).copied().unwrap_or_default();
            assert_eq!(wealth(consumer) + spent + paid, ENDOWMENT + gained);
        }
    }

    /// Checks that nothing of any job is left.
    fn assert_all_closed(&self) {
        assert_eq!(Jobs::<Test>::iter().count(), 0);
        assert_eq!(Assignments::<Test>::iter().count(), 0);
        for consumer in CONSUMERS {
            assert_eq!((escrow_of(consumer), deposit_of(consumer)), (0, 0));
        }
        for (machine, ..) in ALL {
            assert_eq!(free_slots(machine), SLOTS);
        }
        for manifest in &self.manifests {
            assert!(!Preimage::is_requested(&manifest.hash));
        }
    }
}

/// Everything ends though only `caller` is there.
fn close_all_as(caller: AccountId) {
    // No run, window, auction or reveal of these tests is longer in all than this.
    for _ in 0..60 {
        if open_jobs().is_empty() {
            break;
        }
        advance(2 * MILLIS_PER_HOUR);
        for job in open_jobs() {
            let _ = Metered::expire_request(signed(caller), job);
            let _ = Metered::resolve(signed(caller), job);
        }
        for (job, machine) in parts() {
            let _ = Metered::expire(signed(caller), job, machine);
            let _ = Metered::settle(signed(caller), job, machine);
        }
    }
}

/// Takes the steps of a sequence. Returns what was seen.
fn sequence(steps: &[Step], has_treasury: bool) -> Model {
    let builder = ExtBuilder::default();
    let builder = if has_treasury {
        builder
    } else {
        builder.without_treasury()
    };
    let mut seen = Model::default();
    builder.build_and_execute(|| {
        let mut model = Model::open();
        for (index, step) in steps.iter().enumerate() {
            happen(*step, &mut model);
            model.check();
            if index % 4 == 0 {
                JobEscrow::do_try_state().unwrap();
            }
        }
        for caller in [CONSUMER, PROVIDER] {
            // The clock is not in storage, so that it has to be set back by hand.
            let now_ms = NowMs::get();
            hypothetically!({
                let mut model = model.clone();
                close_all_as(caller);
                model.check();
                model.assert_all_closed();
                JobEscrow::do_try_state().unwrap();
            });
            MockClock::set_now_ms(now_ms);
        }
        close_all_as(STRANGER);
        model.check();
        model.assert_all_closed();
        seen = model;
    });
    seen
}

/// Runs so many sequences, and checks that they saw what they are for.
fn sequences(cases: u32, part: u8) {
    let config = ProptestConfig {
        cases,
        max_shrink_iters: MAX_SHRINK_ITERATIONS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // The same sequences in every run, so that their coverage is constant.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[part; 32]);
    let all_seen = RefCell::new(Vec::new());
    // A sequence in four has no treasury.
    let strategy = (steps(STEPS), prop::bool::weighted(0.75));
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(steps, has_treasury)| {
        all_seen.borrow_mut().push(sequence(&steps, has_treasury));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, (steps, has_treasury))) => {
            let steps: String = steps.iter().map(|step| format!("\n    {step:?}")).collect();
            panic!("{reason}, with a treasury: {has_treasury}, after:{steps}");
        }
    }

    let mut outcomes: BTreeMap<u8, u32> = BTreeMap::new();
    let (mut attested, mut quorums, mut failures, mut bounties) = ([0, 0], [0, 0], 0, 0);
    let mut forfeits = [0, 0];
    for seen in all_seen.into_inner() {
        for (outcome, count) in seen.outcomes {
            *outcomes.entry(outcome).or_default() += count;
        }
        attested[0] += seen.attested[0];
        attested[1] += seen.attested[1];
        quorums[0] += seen.quorums[0];
        quorums[1] += seen.quorums[1];
        failures += seen.failures;
        forfeits[0] += seen.forfeits[0];
        forfeits[1] += seen.forfeits[1];
        bounties += seen.bounties;
    }
    // Every outcome but that of a decline in time to be replaced, which closes no assignment, was seen often.
    for outcome in 0..=15_u8 {
        let count = outcomes.get(&outcome).copied().unwrap_or_default();
        assert!(count > 0, "outcome {outcome} was never seen: {outcomes:?}");
    }
    println!(
        "outcomes {outcomes:?}, attested {attested:?}, quorums {quorums:?}, {failures} failures, \
         forfeits {forfeits:?}, {bounties} bounties"
    );
    assert!(forfeits[0] > 0 && forfeits[1] > 0, "forfeits: {forfeits:?}");
    assert!(attested[0] >= 10, "attested: {attested:?}");
    assert!(quorums[0] > 0 && quorums[1] > 0, "quorums: {quorums:?}");
    assert!(
        failures >= 100 && bounties >= 100,
        "{failures} failures, {bounties} bounties"
    );
}

#[test]
fn no_planck_is_lost_and_nobody_is_stuck() {
    sequences(CASES, 0);
}

#[test]
fn no_planck_is_lost_and_nobody_is_stuck_second_quarter() {
    sequences(CASES, 1);
}

#[test]
fn no_planck_is_lost_and_nobody_is_stuck_third_quarter() {
    sequences(CASES, 2);
}

#[test]
fn no_planck_is_lost_and_nobody_is_stuck_fourth_quarter() {
    sequences(CASES, 3);
}

/// The same with other sequences, so many quarters as the environment's `ESCROW_ROUNDS` says.
#[test]
#[ignore = "runs for as long as it is told to"]
fn no_planck_is_lost_and_nobody_is_stuck_for_long() {
    let rounds: u32 = std::env::var("ESCROW_ROUNDS")
        .expect("ESCROW_ROUNDS says how long to run")
        .parse()
        .expect("ESCROW_ROUNDS is a number");
    // What one quarter does not happen to see, all of them do.
    sequences(rounds * CASES, 4);
}
