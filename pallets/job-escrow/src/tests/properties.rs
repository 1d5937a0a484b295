//! Random jobs, clocks and conditions: no planck appears or is lost, and nobody is stuck.

use std::collections::BTreeMap;

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    machine::MachineId,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{
        assert_ok, hypothetically,
        traits::{
            LockableCurrency, QueryPreimage, WithdrawReasons,
            fungible::{Inspect, Mutate},
        },
    },
    sp_core::H256,
    sp_runtime::Permill,
};
use proptest::{collection::vec, prelude::*};

use crate::{Diversion, Event, JobId, JobKind, JobOrder, JobRecord, JobState, Jobs, ManifestRef, mock::*};

const CONSUMERS: [AccountId; 3] = [CONSUMER, OTHER_CONSUMER, OTHER_CONSUMER + 1];

/// Machine, its provider and its worker.
const MACHINES: [(MachineId, AccountId, AccountId); 3] = [
    (MACHINE, PROVIDER, WORKER),
    (MACHINE + 1, PROVIDER, WORKER + 1),
    (MACHINE + 2, PROVIDER + 1, WORKER + 2),
];

const DEAD_AUTHOR: AccountId = AUTHOR + 1;

/// One thing that may happen. Jobs are picked among those that are open.
#[derive(Clone, Debug)]
enum Step {
    Deploy {
        consumer: usize,
        machine: usize,
        slots: u8,
        kind: JobKind,
        duration_ms: Millis,
        manifest: usize,
    },
    Advance(Millis),
    Start(usize),
    SubmitResult(usize),
    Accept(usize),
    Close(usize),
    Settle(usize),
    Expire(usize),
    Abandon {
        job: usize,
        by_worker: bool,
    },
    SetAsk {
        machine: usize,
        ask: Balance,
    },
    SetFee(u32),
    SetAuthor(Option<AccountId>),
    Lock(usize),
    Unlock(usize),
    EmptyProvider(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(JobKind::Service), Just(JobKind::Task)];
    let duration_ms = prop_oneof![1_000..10_000_u64, 1_000..2 * MILLIS_PER_HOUR];
    prop_oneof![
        6 => (0..3_usize, 0..3_usize, 1..4_u8, kind, duration_ms, 0..2_usize).prop_map(
            |(consumer, machine, slots, kind, duration_ms, manifest)| Step::Deploy {
                consumer, machine, slots, kind, duration_ms, manifest,
            }
        ),
        6 => prop_oneof![0..10_000_u64, 0..40 * MINUTE_MS].prop_map(Step::Advance),
        6 => any::<usize>().prop_map(Step::Start),
        4 => any::<usize>().prop_map(Step::SubmitResult),
        2 => any::<usize>().prop_map(Step::Accept),
        2 => any::<usize>().prop_map(Step::Close),
        4 => any::<usize>().prop_map(Step::Settle),
        2 => any::<usize>().prop_map(Step::Expire),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(job, by_worker)| Step::Abandon { job, by_worker }),
        1 => (0..3_usize, prop_oneof![1..1_000_u128, 1..100 * ASY])
            .prop_map(|(machine, ask)| Step::SetAsk { machine, ask }),
        1 => (0..=1_000_000_u32).prop_map(Step::SetFee),
        1 => prop_oneof![Just(None), Just(Some(AUTHOR)), Just(Some(DEAD_AUTHOR))].prop_map(Step::SetAuthor),
        1 => (0..3_usize).prop_map(Step::Lock),
        1 => (0..3_usize).prop_map(Step::Unlock),
        1 => (0..3_usize).prop_map(Step::EmptyProvider),
    ]
}

/// What the events said, to hold the balances against.
#[derive(Clone, Default)]
struct Ledger {
    issuance: Balance,
    burned: Balance,
    /// Consumer and escrow of every job there ever was.
    deployed: BTreeMap<JobId, (AccountId, Balance)>,
    /// Paid for jobs that closed, by consumer.
    paid: BTreeMap<AccountId, Balance>,
    manifests: Vec<ManifestRef>,
}

impl Ledger {
    /// Sets up machines, accounts and manifests.
    fn open() -> Self {
        for account in [CONSUMERS[2], PROVIDER + 1] {
            assert_ok!(<Balances as Mutate<AccountId>>::mint_into(&account, ENDOWMENT));
        }
        for (machine, provider, worker) in MACHINES {
            add_machine(machine, provider, worker, SLOTS, ASK);
        }
        Self {
            issuance: Balances::total_issuance(),
            manifests: vec![
                note_manifest_by(CONSUMER, b"{}"),
                note_manifest_by(OTHER_CONSUMER, b"{\"network\":true}"),
            ],
            ..Default::default()
        }
    }

    /// Reads the events since the last check, and checks every sum.
    fn check(&mut self) {
        for event in take_events() {
            match event {
                Event::JobDeployed {
                    job,
                    consumer,
                    escrowed,
                    ..
                } => {
                    self.deployed.insert(job, (consumer, escrowed));
                }
                Event::PaymentSettled { burned, .. } => self.burned += burned,
                Event::PaymentDiverted {
                    amount, destination, ..
                } => {
                    assert!(amount < EXISTENTIAL_DEPOSIT, "only dust can fail to arrive");
                    if destination == Diversion::Burned {
                        self.burned += amount;
                    }
                }
                Event::JobClosed {
                    job, paid, refunded, ..
                } => {
                    let (consumer, escrowed) = self.deployed[&job];
                    assert_eq!(
                        paid + refunded,
                        escrowed,
                        "a closing job gives back what it did not pay"
                    );
                    *self.paid.entry(consumer).or_default() += paid;
                }
                _ => {}
            }
        }
        assert_eq!(Balances::total_issuance() + self.burned, self.issuance);
        for consumer in CONSUMERS {
            let (mut escrowed, mut paid) = (0, self.paid.get(&consumer).copied().unwrap_or_default());
            for record in Jobs::<Test>::iter_values().filter(|record| record.consumer == consumer) {
                escrowed += record.escrowed;
                paid += record.paid;
            }
            assert_eq!(escrow_of(consumer), escrowed);
            assert_eq!(
                <Balances as Inspect<AccountId>>::total_balance(&consumer) + paid,
                ENDOWMENT
            );
        }
        JobEscrow::do_try_state().unwrap();
    }

    /// Checks that nothing of any job is left.
    fn assert_all_closed(&self) {
        assert_eq!(Jobs::<Test>::iter().count(), 0);
        for consumer in CONSUMERS {
            assert_eq!(escrow_of(consumer), 0);
        }
        for (machine, ..) in MACHINES {
            assert_eq!(free_slots(machine), SLOTS);
        }
        for manifest in &self.manifests {
            assert!(!Preimage::is_requested(&manifest.hash));
        }
        assert_eq!(Balances::total_issuance() + self.burned, self.issuance);
    }
}

fn open_jobs() -> Vec<(JobId, JobRecord<AccountId>)> {
    let mut jobs: Vec<_> = Jobs::<Test>::iter().collect();
    jobs.sort_by_key(|(job, _)| *job);
    jobs
}

fn pick(index: usize) -> Option<(JobId, JobRecord<AccountId>)> {
    let jobs = open_jobs();
    (!jobs.is_empty()).then(|| jobs[index % jobs.len()])
}

fn worker_of(record: &JobRecord<AccountId>) -> AccountId {
    Machines::get(record.machine).unwrap().worker
}

/// Takes a step; most calls are made by who may make them, and whether they succeed is up to the job's state.
fn take(step: Step, ledger: &Ledger) {
    let signed = RuntimeOrigin::signed;
    match step {
        Step::Deploy {
            consumer,
            machine,
            slots,
            kind,
            duration_ms,
            manifest,
        } => {
            let _ = JobEscrow::deploy(
                signed(CONSUMERS[consumer]),
                JobOrder {
                    machine: MACHINES[machine].0,
                    slots,
                    kind,
                    manifest: ledger.manifests[manifest],
                    image_digest: H256::zero(),
                    max_duration_ms: duration_ms,
                    max_price_per_slot_hour: 90 * ASY,
                },
            );
        }
        Step::Advance(duration_ms) => advance(duration_ms),
        Step::Start(index) => {
            if let Some((job, record)) = pick(index) {
                let _ = JobEscrow::start(signed(worker_of(&record)), job);
            }
        }
        Step::SubmitResult(index) => {
            if let Some((job, record)) = pick(index) {
                let _ = JobEscrow::submit_result(signed(worker_of(&record)), job, H256::zero());
            }
        }
        Step::Accept(index) => {
            if let Some((job, record)) = pick(index) {
                let _ = JobEscrow::accept(signed(record.consumer), job);
            }
        }
        Step::Close(index) => {
            if let Some((job, record)) = pick(index) {
                let _ = JobEscrow::close(signed(record.consumer), job);
            }
        }
        Step::Settle(index) => {
            if let Some((job, _)) = pick(index) {
                let _ = JobEscrow::settle(signed(STRANGER), job);
            }
        }
        Step::Expire(index) => {
            if let Some((job, _)) = pick(index) {
                let _ = JobEscrow::expire(signed(STRANGER), job);
            }
        }
        Step::Abandon {
            job: index,
            by_worker,
        } => {
            if let Some((job, record)) = pick(index) {
                let who = if by_worker {
                    worker_of(&record)
                } else {
                    record.provider
                };
                let _ = JobEscrow::abandon(signed(who), job);
            }
        }
        Step::SetAsk { machine, ask } => {
            Machines::mutate(MACHINES[machine].0, |record| record.as_mut().unwrap().ask = ask);
        }
        Step::SetFee(ppm) => Fee::set(&Permill::from_parts(ppm)),
        Step::SetAuthor(author) => Author::set(&author),
        Step::Lock(consumer) => {
            Balances::set_lock(
                *b"a vote  ",
                &CONSUMERS[consumer],
                Balance::MAX,
                WithdrawReasons::all(),
            );
        }
        Step::Unlock(consumer) => Balances::remove_lock(*b"a vote  ", &CONSUMERS[consumer]),
        Step::EmptyProvider(machine) => {
            let _ = Balances::transfer_all(signed(MACHINES[machine].1), STRANGER, false);
        }
    }
}

/// Every job ends though no consumer ever comes back.
fn close_without_consumers() {
    for (job, record) in open_jobs() {
        if let JobState::Verifying { .. } = record.state {
            advance(CONSUMER_WINDOW_MS + 1);
            assert_ok!(JobEscrow::settle(RuntimeOrigin::signed(STRANGER), job));
        } else {
            assert_ok!(JobEscrow::abandon(RuntimeOrigin::signed(worker_of(&record)), job));
        }
    }
}

/// Every job ends though no provider or worker ever comes back.
fn close_without_providers() {
    for (job, record) in open_jobs() {
        let consumer = RuntimeOrigin::signed(record.consumer);
        match (record.state, record.kind) {
            (JobState::Verifying { .. }, _) => {
                assert_ok!(JobEscrow::accept(consumer, job));
            }
            (JobState::Running { .. }, JobKind::Task) => {
                advance(record.max_duration_ms + 1);
                assert_ok!(JobEscrow::expire(consumer, job));
            }
            _ => {
                assert_ok!(JobEscrow::close(consumer, job));
            }
        }
    }
}

/// Every job ends though both sides are gone.
fn close_by_strangers() {
    advance(2 * MILLIS_PER_HOUR + CONSUMER_WINDOW_MS + 1);
    for (job, record) in open_jobs() {
        let stranger = RuntimeOrigin::signed(STRANGER);
        if let JobState::Verifying { .. } = record.state {
            assert_ok!(JobEscrow::settle(stranger, job));
        } else {
            assert_ok!(JobEscrow::expire(stranger, job));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sums_hold_and_nobody_is_stuck(
        steps in vec(step(), 1..80),
        with_treasury: bool,
    ) {
        let builder = ExtBuilder::default();
        let builder = if with_treasury { builder } else { builder.without_treasury() };
        builder.build_and_execute(|| {
            let mut ledger = Ledger::open();
            for step in steps {
                take(step, &ledger);
                ledger.check();
            }
            for close_all in [close_without_consumers, close_without_providers, close_by_strangers] {
                hypothetically!({
                    let mut ledger = ledger.clone();
                    close_all();
                    ledger.check();
                    ledger.assert_all_closed();
                });
            }
        });
    }

    /// However often a service is settled, its consumer pays the same.
    #[test]
    fn settling_often_costs_the_same_as_seldom(
        ask in prop_oneof![1..1_000_u128, 1..100 * ASY],
        pauses_ms in vec(1..20 * MINUTE_MS, 0..20),
    ) {
        ExtBuilder::default().build_and_execute(|| {
            Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = ask);
            let mut order = order(JobKind::Service);
            order.max_price_per_slot_hour = ask;
            let (often, seldom) = (deploy_order(order), deploy_order(order));
            for job in [often, seldom] {
                assert_ok!(JobEscrow::start(RuntimeOrigin::signed(WORKER), job));
            }
            for pause_ms in pauses_ms {
                advance(pause_ms);
                let _ = JobEscrow::settle(RuntimeOrigin::signed(STRANGER), often);
            }
            take_events();
            for job in [often, seldom] {
                assert_ok!(JobEscrow::close(RuntimeOrigin::signed(CONSUMER), job));
            }
            let sums: Vec<_> = take_events()
                .into_iter()
                .filter_map(|event| match event {
                    Event::JobClosed { paid, refunded, .. } => Some((paid, refunded)),
                    _ => None,
                })
                .collect();
            assert_eq!(sums.len(), 2);
            assert_eq!(sums[0], sums[1]);
        });
    }
}
