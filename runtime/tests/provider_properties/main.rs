//! Property test: after any sequence of acts of providers, consumers and governance the pallets are
//! consistent, a slash takes no more than there is, nothing owed leaves, and in the end everybody has left
//! without a trace.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod model;
mod steps;
mod strategies;

use std::{cell::RefCell, collections::BTreeSet};

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    machine::{
        MachineInspect,
        MachineStatus::{Active, Retired},
    },
    market::Requirements,
    offence::Beneficiaries,
};
use assay_runtime::{ChainClock, ProviderRegistry, Runtime, RuntimeCall, System};
use common::*;
use model::{Model, bond_of, debts, machines, parts, slashes};
use pallet_job_escrow::{AssignmentState, Assignments, JobKind, Jobs};
use pallet_provider_registry::{Machines, MachinesByProvider, Offers, Providers, WorkerKeys};
use pallet_provider_staking::{Agenda, Bonds, Debts};
use polkadot_sdk::{
    frame_support::assert_ok,
    sp_keyring::Sr25519Keyring::{Alice, Bob, Charlie, Dave, Eve, Ferdie, One},
    sp_runtime::{DispatchResult, Permill},
};
use proptest::{
    prelude::ProptestConfig,
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};
use serde_json::json;
use steps::{MANIFEST, Step, act, deploy_job};
use strategies::{PROVIDERS, steps};

type Registry = pallet_provider_registry::Call<Runtime>;
type Staking = pallet_provider_staking::Call<Runtime>;
type Escrow = pallet_job_escrow::Call<Runtime>;

/// Number of sequences, and their maximum length.
const CASES: u32 = 14;
const MAX_STEPS: usize = 300;

/// Maximum number of attempts to shrink a failure.
const MAX_SHRINK_ITERATIONS: u32 = 600;

/// Length of an epoch: two of the clock's longest steps, the shortest possible.
const EPOCH_MS: u64 = 24_000;

/// Number of epochs after which every task of these tests is over.
const LONGEST_TASK_EPOCHS: EpochIndex = 4;

/// Checks that the market shows all available offers and no others.
fn check_offers() {
    let on_offer: BTreeSet<_> = Machines::<Runtime>::iter()
        .filter(|(_, record)| record.status == Active && record.free_slots > 0)
        .map(|(machine, _)| machine)
        .collect();
    let page = ProviderRegistry::find_machines(&Requirements::default(), 100, None).unwrap();
    assert_eq!(page.next, None);
    let shown: BTreeSet<_> = page.offers.iter().map(|offer| offer.machine).collect();
    assert_eq!(shown, on_offer);
}

/// Checks that no machine is in the market without anything to lose.
fn check_bonds() {
    for (machine, record) in Machines::<Runtime>::iter() {
        let (_, bonded) = bond_of(machine);
        assert!(
            record.status != Active || bonded > 0,
            "machine {machine} works without a bond"
        );
        if record.is_leased() {
            assert!(
                ProviderRegistry::is_watched(machine),
                "machine {machine} is leased and not watched"
            );
            assert!(ProviderRegistry::is_accountable(machine));
        }
    }
}

/// Prepares a chain with short times, and with providers whose machines are active.
fn prepare() {
    for parameter in [
        staking_parameter!(SlashDeferEpochs, 2),
        staking_parameter!(UnbondingEpochs, 3),
        staking_parameter!(StrikeMemoryEpochs, 10),
        job_terms!(start_window_ms: 60_000, reveal_window_ms: 60_000),
    ] {
        set_parameter(parameter);
    }
    assert_ok!(call_as(
        &account(Alice),
        polkadot_sdk::pallet_preimage::Call::<Runtime>::note_preimage {
            bytes: MANIFEST.to_vec()
        }
    ));
    for (provider, worker, slots) in [(Bob, Dave, 2), (Bob, Eve, 1), (Charlie, One, 3)] {
        let machine = active_machine(provider, worker, slots);
        assert_ok!(deploy_job(Ferdie, machine, 1, JobKind::Service, 600_000));
        let (job, _) = *parts().last().unwrap();
        assert_ok!(call_as(&account(worker), Escrow::start { job }));
    }
}

/// Executes a step and compares the results with the model's.
fn happen(chain: &mut Chain, model: &mut Model, step: Step) {
    let (shares, fraction) = match &step {
        Step::Slash(_, fraction, shares) => ((*shares).into(), *fraction),
        Step::Offence(_, _, shares) => ((*shares).into(), Permill::zero()),
        _ => (Beneficiaries::nobody(), Permill::zero()),
    };
    match step {
        Step::BlocksPass(blocks) => {
            for _ in 0..blocks {
                chain.next_block();
                model.follow(&shares, fraction);
            }
        }
        Step::EpochsPass(epochs) => pass_epochs(chain, model, epochs),
        step => {
            let _: DispatchResult = act(step);
            model.follow(&shares, fraction);
        }
    }
    chain.check_invariants();
    model.check();
    check_offers();
    check_bonds();
}

fn pass_epochs(chain: &mut Chain, model: &mut Model, epochs: EpochIndex) {
    let until = ChainClock::current_epoch() + epochs;
    while ChainClock::current_epoch() < until {
        chain.next_block_after(EPOCH_MS / 2);
        model.follow(&Beneficiaries::nobody(), Permill::zero());
    }
}

/// Ends every job, by its consumer or, for a running task, by its time; then has all of them paid.
fn end_jobs(chain: &mut Chain, model: &mut Model) {
    for (job, machine) in parts() {
        let record = Jobs::<Runtime>::get(job).unwrap();
        let state = Assignments::<Runtime>::get(job, machine).unwrap().state;
        let call = match (state, record.kind) {
            (AssignmentState::Running { .. }, JobKind::Task { .. }) | (AssignmentState::Ended { .. }, _) => {
                continue;
            }
            (AssignmentState::Starting { .. } | AssignmentState::Running { .. }, _) => Escrow::close { job },
            _ => Escrow::accept { job, machine },
        };
        assert_ok!(call_as(&record.consumer, call));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());
    let runs = |part: &(u64, u64)| {
        let record = Assignments::<Runtime>::get(part.0, part.1).unwrap();
        record.has_slots().then_some(record.max_duration_ms)
    };
    // The longest of the running ones is over then.
    let longest_ms = parts().iter().filter_map(runs).max().unwrap_or(0);
    pass_epochs(
        chain,
        model,
        LONGEST_TASK_EPOCHS.max((longest_ms / EPOCH_MS) as EpochIndex + 2),
    );
    for (job, machine) in parts().into_iter().filter(|part| runs(part).is_some()) {
        assert_ok!(call_as(&account(Alice), Escrow::expire { job, machine }));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());
    while let Some((job, machine)) = parts().first().copied() {
        assert_ok!(call_as(&account(Alice), Escrow::settle { job, machine }));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());
    assert_eq!(Jobs::<Runtime>::iter_keys().count(), 0);
}

/// Makes everybody leave, after which everything must be gone.
fn leave(chain: &mut Chain, model: &mut Model) {
    end_jobs(chain, model);
    // Longer than the delay of any slash and the unlocking of any bond.
    pass_epochs(chain, model, 5);
    assert_eq!(slashes(), []);
    for (machine, id) in debts() {
        assert_ok!(call_as(&account(Alice), Staking::pay_debt { machine, id }));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());

    for machine in machines() {
        let record = Machines::<Runtime>::get(machine).unwrap();
        if record.status != Retired {
            assert_ok!(call_as(&record.provider, Registry::retire { machine }));
        }
        if Bonds::<Runtime>::get(machine).is_some_and(|bond| bond.unlocking.is_full()) {
            assert_ok!(call_as(&account(Alice), Staking::withdraw { machine }));
        }
        let (_, amount) = bond_of(machine);
        if amount > 0 {
            assert_ok!(call_as(&record.provider, Staking::unbond { machine, amount }));
        }
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());
    pass_epochs(chain, model, 5);
    for machine in machines() {
        // A retired machine without a bond stayed only for its last epoch.
        let call: RuntimeCall = match bond_of(machine).0 > 0 {
            true => Staking::withdraw { machine }.into(),
            false => Registry::refresh_machine { machine }.into(),
        };
        assert_ok!(call_as(&account(Alice), call));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());
    for provider in PROVIDERS.map(account) {
        if Providers::<Runtime>::contains_key(&provider) {
            assert_ok!(call_as(&provider, Registry::deregister_provider {}));
        }
        assert!(!is_anything_held(&provider));
    }
    model.follow(&Beneficiaries::nobody(), Permill::zero());

    assert_eq!(Providers::<Runtime>::iter().count(), 0);
    assert_eq!(Machines::<Runtime>::iter().count(), 0);
    assert_eq!(MachinesByProvider::<Runtime>::iter_keys().count(), 0);
    assert_eq!(WorkerKeys::<Runtime>::iter().count(), 0);
    assert_eq!(Offers::<Runtime>::iter().count(), 0);
    assert_eq!(Bonds::<Runtime>::iter().count(), 0);
    assert_eq!(Agenda::<Runtime>::iter().count(), 0);
    assert_eq!(Debts::<Runtime>::iter().count(), 0);
    chain.check_invariants();
    model.check();
}

/// Kinds of events that the sequences must cover.
const SEEN: [&str; 28] = [
    // Events of the registry.
    "ProviderRegistered",
    "ProviderDeregistered",
    "MachineRegistered",
    "AskUpdated",
    "EndpointUpdated",
    "KeysRotated",
    "UptimeUpdated",
    "MachineStatusChanged",
    "MachineRemoved",
    "MachineTermsUpdated",
    "SlotsLeased",
    "SlotsReleased",
    "HardwareClassSet",
    // Events of the stakes.
    "Bonded",
    "Unbonded",
    "Withdrawn",
    "AutoStakeSet",
    "SlashQueued",
    "SlashCancelled",
    "Slashed",
    "DebtPaid",
    "ShareBurned",
    // Outcomes of jobs.
    "Completed",
    "Cancelled",
    "ClosedByConsumer",
    "NotStarted",
    "NoResult",
    "Abandoned",
];

/// Executes the steps one by one on a new chain, lets everybody leave, and returns the kinds of events seen.
fn take(steps: &[Step]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let patch = json!({ "chainClock": { "epochDurationMs": EPOCH_MS } });
    with_patched_chain("development", patch, |chain| {
        System::reset_events();
        let mut model = Model::of_the_chain();
        prepare();
        model.follow(&Beneficiaries::nobody(), Permill::zero());
        model.check();

        for step in steps {
            happen(chain, &mut model, step.clone());
        }
        leave(chain, &mut model);
        seen = model.seen;
    });
    seen
}

#[test]
fn money_is_where_the_model_says_and_everybody_can_leave() {
    let config = ProptestConfig {
        cases: CASES,
        max_shrink_iters: MAX_SHRINK_ITERATIONS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // The same sequences in every run, so that their coverage is constant.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seen = RefCell::new(BTreeSet::new());
    let outcome = TestRunner::new_with_rng(config, rng).run(&steps(MAX_STEPS), |steps| {
        seen.borrow_mut().extend(take(&steps));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, steps)) => {
            let steps: String = steps.iter().map(|step| format!("\n    {step:?}")).collect();
            panic!("{reason}, after:{steps}");
        }
    }
    let seen = seen.into_inner();
    let missing: Vec<_> = SEEN.into_iter().filter(|kind| !seen.contains(*kind)).collect();
    assert!(missing.is_empty(), "{missing:?} never happened");
}
