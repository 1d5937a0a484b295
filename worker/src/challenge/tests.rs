//! A worker and a chain that challenges it.

#![allow(clippy::unwrap_used)]

use std::{num::NonZeroUsize, time::Duration};

use assay_client::challenge::RoundRef;
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
        roots: Vec::new(),
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

/// Makes a round in which the machine has committed these roots and must prove them from `next_slot` on.
fn to_prove(round: u32, roots: &[Hash], next_slot: u8) -> ChallengeDue {
    ChallengeDue {
        roots: roots.to_vec(),
        ..due(round, true, prove_from(next_slot))
    }
}

#[test]
fn most_urgent_answer_comes_first() {
    let next = |due: &[ChallengeDue]| {
        Answer::next(MACHINE, due).map(|(answer, _)| (answer.round(), matches!(answer, Answer::Roots { .. })))
    };
    let roots = |round| Some((round, true));
    let late = due(1, true, commit_until(90));
    let early = due(2, true, commit_until(50));
    let welcome = due(3, false, commit_until(10));
    let longer = due(4, false, commit_until(20));
    assert_eq!(next(&[]), None);
    assert_eq!(next(&[welcome.clone(), longer.clone()]), roots(4));
    assert_eq!(next(&[welcome.clone(), late.clone(), early.clone()]), roots(2));
    let proving = due(5, true, prove_from(1));
    assert_eq!(next(&[early.clone(), proving]), Some((5, false)));
    // A machine that waits for its openings starts no answer that it does not owe.
    let waiting = due(6, true, AWAIT);
    assert_eq!(next(&[waiting.clone(), welcome]), None);
    assert_eq!(next(&[waiting, early]), roots(2));
}

#[derive(Default)]
struct State {
    due: Vec<ChallengeDue>,
    commits: Vec<(AnswerSubject, Vec<Hash>)>,
    proofs: Vec<SentProofs>,
    refuses: bool,
    lost: bool,
    /// Number of reads of the due answers so far.
    looks: u32,
}

/// Proofs with all inputs that were signed together with them.
#[derive(Clone)]
struct SentProofs {
    subject: AnswerSubject,
    opening_randomness: Hash,
    roots: Vec<Hash>,
    first_slot: u8,
    proofs: Vec<SlotProof>,
}

impl SentProofs {
    /// Returns the verdict of a chain that has the signed inputs; any other chain refuses the signature.
    fn verifies(&self) -> bool {
        let AnswerSubject {
            round,
            machine,
            worker_key,
            params,
        } = self.subject;
        let claims: Vec<_> = (self.first_slot..)
            .zip(&self.roots[self.first_slot.into()..])
            .map(|(slot, root)| SlotClaim {
                params,
                seed: seed(&round.randomness, machine, &worker_key, slot),
                opening_randomness: self.opening_randomness,
                machine_id: machine,
                slot,
                root: *root,
            })
            .collect();
        verify_slots(&claims, &self.proofs).is_ok()
    }
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
            state.looks += 1;
            if state.lost {
                return Err(Error::ConnectionLost {
                    reason: "unplugged".into(),
                });
            }
            Ok(state.due.clone())
        })
    }

    async fn commit(&self, subject: &AnswerSubject, roots: &[Hash]) -> Result<(), Error> {
        self.change(|state| state.commits.push((*subject, roots.to_vec())));
        self.outcome()
    }

    async fn prove(
        &self,
        subject: &AnswerSubject,
        opening_randomness: &Hash,
        roots: &[Hash],
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> Result<(), Error> {
        let sent = SentProofs {
            subject: *subject,
            opening_randomness: *opening_randomness,
            roots: roots.to_vec(),
            first_slot,
            proofs: proofs.to_vec(),
        };
        self.change(|state| state.proofs.push(sent));
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
        let devices = Arc::new(Devices::find(ProverChoice::Auto, false, &[]));
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_progress: ProgressCallback = {
            let told = told.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| told.lock().unwrap().push(progress.cloned()))
        };
        let task = tokio::spawn(answer_challenges(
            chain.clone(),
            MACHINE,
            Arc::new(Mutex::new(SlotProvers::new(share, devices))),
            new_blocks,
            metrics.clone(),
            on_progress,
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

    /// Waits until a condition holds; provers run on threads of their own.
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

/// Makes the machine answer the round until it sends its roots, and returns them.
async fn committed(world: &World, due: ChallengeDue) -> Vec<Hash> {
    let count = world.chain.change(|state| {
        state.due = vec![due];
        state.commits.len()
    });
    world.block();
    world.until(|state| state.commits.len() > count).await;
    world.chain.change(|state| state.commits[count].1.clone())
}

#[tokio::test]
async fn challenge_is_committed_to_and_proven() {
    let world = World::new();
    let asked = due(7, true, commit_until(9));
    let roots = committed(&world, asked.clone()).await;
    assert_eq!(roots.len(), 2);
    world
        .chain
        .change(|state| assert_eq!(state.commits[0].0, asked.subject(MACHINE)));

    world.chain.change(|state| state.due = vec![due(7, true, AWAIT)]);
    world.block();
    world
        .chain
        .change(|state| state.due = vec![to_prove(7, &roots, 0)]);
    world.block();
    world.until(|state| !state.proofs.is_empty()).await;
    let sent = world.chain.change(|state| state.proofs[0].clone());
    assert_eq!((sent.subject, sent.first_slot), (asked.subject(MACHINE), 0));
    assert_eq!((sent.opening_randomness, &sent.roots), ([9; 32], &roots));
    assert!(sent.verifies());
    assert_eq!(world.metrics.challenge_answers.get(), 2);
    // The reports about the roots began with two waiting slots, and ended with `None`.
    let told = world.told.lock().unwrap().clone();
    let first = told[0].as_ref().unwrap();
    assert_eq!((first.round, first.kind, first.answer), (7, "audit", "roots"));
    assert_eq!(first.slots.len(), 2);
    assert!(told.contains(&None));

    // Slots proven by an earlier transaction are not proven again.
    world
        .chain
        .change(|state| state.due = vec![to_prove(7, &roots, 1)]);
    world.block();
    world.until(|state| state.proofs.len() == 2).await;
    let sent = world.chain.change(|state| state.proofs[1].clone());
    assert_eq!(sent.first_slot, 1);
    assert!(sent.verifies());
}

#[tokio::test]
async fn reorganisation_that_changes_the_randomness_is_answered_anew() {
    let world = World::new();
    let roots = committed(&world, due(7, true, commit_until(9))).await;
    // The same round on a fork with another randomness.
    let mut other = due(7, true, commit_until(9));
    other.randomness = [88; 32];
    let of_other = committed(&world, other.clone()).await;
    assert!(roots.iter().zip(&of_other).all(|(root, other)| root != other));
    world
        .chain
        .change(|state| assert_eq!(state.commits[1].0, other.subject(MACHINE)));
    // The fork's roots are proven on it.
    other.phase = prove_from(0);
    other.roots = of_other;
    world.chain.change(|state| state.due = vec![other]);
    world.block();
    world.until(|state| !state.proofs.is_empty()).await;
    let sent = world.chain.change(|state| state.proofs[0].clone());
    assert_eq!(sent.subject.round.randomness, [88; 32]);
    assert!(sent.verifies());
}

#[tokio::test]
async fn reorganisation_that_changes_the_openings_is_proven_anew() {
    let world = World::new();
    let roots = committed(&world, due(7, true, commit_until(9))).await;
    let mut proving = to_prove(7, &roots, 0);
    world.chain.change(|state| state.due = vec![proving.clone()]);
    world.block();
    world.until(|state| state.proofs.len() == 1).await;
    proving.phase = ChallengePhase::Prove {
        opening_randomness: [10; 32],
        next_slot: 0,
        deadline_ms: 9,
    };
    world.chain.change(|state| state.due = vec![proving]);
    world.block();
    world.until(|state| state.proofs.len() == 2).await;
    let sent = world.chain.change(|state| state.proofs.clone());
    assert_ne!(sent[0].proofs, sent[1].proofs);
    assert_eq!(sent[1].opening_randomness, [10; 32]);
    assert!(sent.iter().all(SentProofs::verifies));
}

/// A node lies about the round; the worker's signature covers the lie, and its answer is right for the lie.
#[tokio::test]
async fn what_a_lying_node_makes_the_worker_sign_is_true_of_the_lie_only() {
    let world = World::new();
    let truth = due(7, true, commit_until(9));
    let roots = committed(&world, truth.clone()).await;
    type Lie = fn(&mut ChallengeDue);
    let lies: [Lie; 3] = [
        |due| due.randomness = [66; 32],
        |due| due.worker_key = [66; 32],
        |due| due.params.steps += 1,
    ];
    for lie in lies {
        let mut told = truth.clone();
        lie(&mut told);
        // Consistent lie: the node also returns the roots that the machine would have committed for it.
        let of_lie = committed(&world, told.clone()).await;
        told.roots = of_lie;
        told.phase = prove_from(0);
        let count = world.chain.change(|state| {
            state.due = vec![told.clone()];
            state.proofs.len()
        });
        world.block();
        world.until(|state| state.proofs.len() > count).await;
        let sent = world.chain.change(|state| state.proofs[count].clone());
        assert!(sent.verifies());
        assert_eq!(sent.subject, told.subject(MACHINE));
        assert_ne!(
            sent.subject,
            truth.subject(MACHINE),
            "the true chain refuses the signature"
        );
        // A lie that does not match the machine's commitment: the machine stays silent.
        told.roots = roots.clone();
        let failures = world.metrics.challenge_failures.get();
        world.chain.change(|state| state.due = vec![told]);
        world.block();
        world
            .until(|_| world.metrics.challenge_failures.get() > failures)
            .await;
        world
            .chain
            .change(|state| assert_eq!(state.proofs.len(), count + 1));
    }
}

#[tokio::test]
async fn commitment_that_the_machine_cannot_prove_is_left_unproven_and_keeps_nothing_else_waiting() {
    let world = World::new();
    let roots = committed(&world, due(7, true, commit_until(9))).await;
    let mut foreign = to_prove(7, &roots, 0);
    foreign.roots[1] = [1; 32];
    let next = due(8, true, commit_until(9));
    world
        .chain
        .change(|state| state.due = vec![foreign.clone(), next.clone()]);
    // The machine tries as often as it may, and answers other rounds meanwhile.
    for tries in 1..=u64::from(TRIES) {
        world.block();
        world
            .until(|_| world.metrics.challenge_failures.get() >= tries)
            .await;
    }
    world.block();
    world.until(|state| state.commits.len() == 2).await;
    world.chain.change(|state| {
        assert_eq!(state.commits[1].0, next.subject(MACHINE));
        assert!(state.proofs.is_empty());
    });
    assert_eq!(world.metrics.challenge_failures.get(), u64::from(TRIES));
}

#[tokio::test]
async fn answers_do_not_wait_for_blocks_to_be_final() {
    let world = World::new();
    world.until(|state| state.looks > 0).await;
    // No further block is reported, but the best block goes on.
    world
        .chain
        .change(|state| state.due = vec![due(7, true, commit_until(9))]);
    world.until(|state| !state.commits.is_empty()).await;
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
    for _ in 0..RESEND_AFTER_LOOKS {
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
    let committing = [due(6, true, AWAIT), due(7, true, commit_until(9))];
    let proving = [due(7, true, prove_from(1))];
    let roots = Answer::to(MACHINE, &committing[1]).unwrap();
    let proofs = Answer::to(MACHINE, &proving[0]).unwrap();
    assert_eq!(Answer::to(MACHINE, &committing[0]), None);
    let is_wanted = |answer: &Answer, due: &[ChallengeDue]| answer.is_wanted(MACHINE, due);
    assert!(is_wanted(&roots, &committing) && !is_wanted(&proofs, &committing));
    assert!(is_wanted(&proofs, &proving) && !is_wanted(&roots, &proving));
    assert!(!is_wanted(&proofs, &[due(7, true, prove_from(2))]));
    assert!(!is_wanted(&proofs, &[to_prove(7, &[[1; 32]], 1)]));
    assert!(!is_wanted(
        &roots,
        &[due(7, true, AWAIT), due(8, true, commit_until(9))]
    ));
    assert!(!is_wanted(&roots, &[]));
    // Another fork gives the same number to a round with other inputs.
    let mut of_other_fork = due(7, true, commit_until(9));
    of_other_fork.randomness = [88; 32];
    assert!(!is_wanted(&roots, &[of_other_fork]));
}

#[tokio::test]
async fn work_that_the_chain_does_not_take_any_more_is_given_up() {
    let world = World::new();
    // A challenge longer than any test waits.
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
    // The next round is answered without waiting for the cancelled one.
    world
        .chain
        .change(|state| state.due = vec![due(8, true, commit_until(9))]);
    world.block();
    world.until(|state| !state.commits.is_empty()).await;
    world.chain.change(|state| {
        assert_eq!(
            state.commits[0].0.round,
            RoundRef {
                round: 8,
                randomness: [8; 32]
            }
        )
    });
}
