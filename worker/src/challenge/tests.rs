//! A worker and a chain that challenges it.

#![allow(clippy::unwrap_used)]

use std::{num::NonZeroUsize, time::Duration};

use assay_proof::{ChallengeParams, SlotClaim, seed, verify_slots};

use super::*;
use crate::challenge::{
    devices::{Devices, ProverChoice},
    progress::AnswerProgress,
    slots::ProverShare,
};

const MACHINE: u64 = 3;
const PARAMS: ChallengeParams = ChallengeParams {
    items: 1 << 10,
    fill_double_rounds: 8,
    lanes_log2: 4,
    steps: 4,
    openings: 2,
    deadline_ms: 1_000,
};

fn due(round: u32, is_owed: bool, phase: ChallengePhase) -> ChallengeDue {
    ChallengeDue {
        round,
        kind: RoundKind::Audit,
        is_owed,
        randomness: [round as u8; 32],
        worker_key: [2; 32],
        params: PARAMS,
        slots: 2,
        phase,
        max_slots_per_proof: 8,
        now_ms: 0,
    }
}

fn commit_until(deadline_ms: u64) -> ChallengePhase {
    ChallengePhase::Commit { deadline_ms }
}

fn prove_from(next_slot: u8) -> ChallengePhase {
    ChallengePhase::Prove {
        opening_randomness: [9; 32],
        next_slot,
        deadline_ms: 9,
    }
}

const AWAIT: ChallengePhase = ChallengePhase::AwaitOpenings { not_before_ms: 0 };

#[test]
fn most_urgent_answer_comes_first() {
    let next = |due: &[ChallengeDue]| Answer::next(due).map(|(answer, _)| answer);
    let roots = |round| Some(Answer::Roots { round });
    let late = due(1, true, commit_until(90));
    let early = due(2, true, commit_until(50));
    let welcome = due(3, false, commit_until(10));
    let longer = due(4, false, commit_until(20));
    assert_eq!(next(&[]), None);
    assert_eq!(next(&[welcome.clone(), longer.clone()]), roots(4));
    assert_eq!(next(&[welcome.clone(), late.clone(), early.clone()]), roots(2));
    let proving = due(5, true, prove_from(1));
    assert_eq!(
        next(&[early.clone(), proving]),
        Some(Answer::Proofs {
            round: 5,
            first_slot: 1
        })
    );
    // One that waits for its openings begins nothing that it does not owe.
    let waiting = due(6, true, AWAIT);
    assert_eq!(next(&[waiting.clone(), welcome]), None);
    assert_eq!(next(&[waiting, early]), roots(2));
}

#[derive(Default)]
struct State {
    due: Vec<ChallengeDue>,
    commits: Vec<(u32, Vec<Hash>)>,
    proofs: Vec<(u32, u8, Vec<SlotProof>)>,
    refuses: bool,
    lost: bool,
}

#[derive(Clone, Default)]
struct FakeChain(Arc<Mutex<State>>);

impl FakeChain {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn outcome(&self) -> Result<(), Error> {
        if self.change(|state| state.refuses) {
            return Err(Error::Rejected {
                reason: "busy".into(),
            });
        }
        Ok(())
    }
}

impl ChallengeChain for FakeChain {
    async fn challenge_due(&self, machine: u64) -> Result<Vec<ChallengeDue>, Error> {
        assert_eq!(machine, MACHINE);
        self.change(|state| {
            if state.lost {
                return Err(Error::ConnectionLost {
                    reason: "unplugged".into(),
                });
            }
            Ok(state.due.clone())
        })
    }

    async fn commit(&self, round: u32, _: u64, roots: &[Hash]) -> Result<(), Error> {
        self.change(|state| state.commits.push((round, roots.to_vec())));
        self.outcome()
    }

    async fn prove(&self, round: u32, _: u64, first_slot: u8, proofs: &[SlotProof]) -> Result<(), Error> {
        self.change(|state| state.proofs.push((round, first_slot, proofs.to_vec())));
        self.outcome()
    }
}

struct World {
    chain: FakeChain,
    blocks: watch::Sender<u64>,
    task: JoinHandle<Result<(), Error>>,
    metrics: Metrics,
    told: Arc<Mutex<Vec<Option<AnswerProgress>>>>,
}

impl World {
    fn new() -> Self {
        let chain = FakeChain::default();
        let (blocks, new_blocks) = watch::channel(0);
        let share = ProverShare {
            slots: 2,
            threads: NonZeroUsize::MIN,
        };
        let metrics = Metrics::new().unwrap();
        let devices = Arc::new(Devices::find(ProverChoice::Auto, false));
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: Tell = {
            let told = told.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| told.lock().unwrap().push(progress.cloned()))
        };
        let task = tokio::spawn(answer_challenges(
            chain.clone(),
            MACHINE,
            Arc::new(Mutex::new(SlotProvers::new(share, devices))),
            new_blocks,
            metrics.clone(),
            tell,
        ));
        Self {
            chain,
            blocks,
            task,
            metrics,
            told,
        }
    }

    fn block(&self) {
        self.blocks.send_modify(|block| *block += 1);
    }

    /// Waits until something is so; provers work on threads of their own.
    async fn until(&self, mut is_so: impl FnMut(&mut State) -> bool) {
        for _ in 0..2_000 {
            if self.chain.change(&mut is_so) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never was so");
    }
}

fn verifies(roots: &[Hash], round: u32, first_slot: u8, proofs: &[SlotProof]) -> bool {
    let claims: Vec<_> = (first_slot..2)
        .map(|slot| SlotClaim {
            params: PARAMS,
            seed: seed(&[round as u8; 32], MACHINE, &[2; 32], slot),
            opening_randomness: [9; 32],
            machine_id: MACHINE,
            slot,
            root: roots[usize::from(slot)],
        })
        .collect();
    verify_slots(&claims, proofs).is_ok()
}

#[tokio::test]
async fn challenge_is_committed_to_and_proven() {
    let world = World::new();
    world
        .chain
        .change(|state| state.due = vec![due(7, true, commit_until(9))]);
    world.block();
    world.until(|state| !state.commits.is_empty()).await;
    let (round, roots) = world.chain.change(|state| state.commits[0].clone());
    assert_eq!((round, roots.len()), (7, 2));

    world.chain.change(|state| state.due = vec![due(7, true, AWAIT)]);
    world.block();
    world
        .chain
        .change(|state| state.due = vec![due(7, true, prove_from(0))]);
    world.block();
    world.until(|state| !state.proofs.is_empty()).await;
    let (round, first_slot, proofs) = world.chain.change(|state| state.proofs[0].clone());
    assert_eq!((round, first_slot), (7, 0));
    assert!(verifies(&roots, 7, 0, &proofs));
    assert_eq!(world.metrics.challenge_answers.get(), 2);
    // What was told of the roots began with two slots that wait, and ended.
    let told = world.told.lock().unwrap().clone();
    let first = told[0].as_ref().unwrap();
    assert_eq!((first.round, first.kind, first.answer), (7, "audit", "roots"));
    assert_eq!(first.slots.len(), 2);
    assert!(told.contains(&None));

    // What was proven by an earlier transaction is not proven again.
    world
        .chain
        .change(|state| state.due = vec![due(7, true, prove_from(1))]);
    world.block();
    world.until(|state| state.proofs.len() == 2).await;
    let (_, first_slot, proofs) = world.chain.change(|state| state.proofs[1].clone());
    assert_eq!(first_slot, 1);
    assert!(verifies(&roots, 7, 1, &proofs));
}

#[tokio::test]
async fn answer_that_is_in_no_block_is_sent_again_and_computed_once() {
    let world = World::new();
    world.chain.change(|state| {
        state.due = vec![due(7, true, commit_until(9))];
        state.refuses = true;
    });
    world.block();
    world.until(|state| state.commits.len() == 1).await;
    for _ in 0..RESEND_AFTER_BLOCKS {
        world.block();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.until(|state| state.commits.len() == 2).await;
    let commits = world.chain.change(|state| state.commits.clone());
    assert_eq!(commits[0], commits[1]);
}

#[tokio::test]
async fn lost_connection_ends_it() {
    let world = World::new();
    world.chain.change(|state| state.lost = true);
    world.block();
    assert!(world.task.await.unwrap().unwrap_err().is_connection_lost());
}

#[test]
fn answers_are_wanted_as_long_as_the_chain_takes_them() {
    let roots = Answer::Roots { round: 7 };
    let proofs = Answer::Proofs {
        round: 7,
        first_slot: 1,
    };
    let committing = [due(6, true, AWAIT), due(7, true, commit_until(9))];
    assert!(roots.is_wanted(&committing) && !proofs.is_wanted(&committing));
    let proving = [due(7, true, prove_from(1))];
    assert!(proofs.is_wanted(&proving) && !roots.is_wanted(&proving));
    assert!(!proofs.is_wanted(&[due(7, true, prove_from(2))]));
    assert!(!roots.is_wanted(&[due(7, true, AWAIT), due(8, true, commit_until(9))]));
    assert!(!roots.is_wanted(&[]));
}

#[tokio::test]
async fn work_that_the_chain_does_not_take_any_more_is_given_up() {
    let world = World::new();
    // More than any test waits for.
    let mut endless = due(7, true, commit_until(9));
    endless.params.items = 1 << 18;
    endless.params.fill_double_rounds = 2_048;
    world.chain.change(|state| state.due = vec![endless]);
    world.block();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.chain.change(|state| state.due.clear());
    world.block();
    let given_up = async {
        while world.metrics.challenge_failures.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), given_up)
        .await
        .unwrap();
    assert_eq!(world.told.lock().unwrap().last(), Some(&None));
    // The next round is answered, and not behind what was given up.
    world
        .chain
        .change(|state| state.due = vec![due(8, true, commit_until(9))]);
    world.block();
    world.until(|state| !state.commits.is_empty()).await;
    world.chain.change(|state| assert_eq!(state.commits[0].0, 8));
}
