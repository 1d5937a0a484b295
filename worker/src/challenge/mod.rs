//! Answers the hardware challenge: commits and proves whenever something is due.
//!
//! What is due is asked of the chain at every new block, and nothing is remembered that could not be had again: roots
//! and proofs follow from the round, so a worker that restarts goes on where it was. The work itself is done beside
//! the loop, one answer at a time, by as many threads as the free slots have of the host.

mod slots;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use assay_client::{
    Error,
    challenge::{ChallengeDue, ChallengePhase, RoundKind},
};
use assay_proof::{
    Hash, SlotProof,
    prover::{Cancel, ProverError},
};
pub use slots::{ProverShare, SlotProvers};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    chain::{ConnectedChain, bounded},
    metrics::Metrics,
};

/// Blocks after which an answer that is in no block is sent again.
const RESEND_AFTER_BLOCKS: u64 = 3;

/// What is asked and told of the challenge.
pub trait ChallengeChain: Clone + Send + Sync + 'static {
    /// What the machine owes or may answer now, the oldest round first.
    fn challenge_due(&self, machine: u64) -> impl Future<Output = Result<Vec<ChallengeDue>, Error>> + Send;

    /// Commits roots.
    fn commit(
        &self,
        round: u32,
        machine: u64,
        roots: &[Hash],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Proves slots from one on.
    fn prove(
        &self,
        round: u32,
        machine: u64,
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl ChallengeChain for ConnectedChain {
    async fn challenge_due(&self, machine: u64) -> Result<Vec<ChallengeDue>, Error> {
        bounded(self.client().challenge_due(machine)).await
    }

    async fn commit(&self, round: u32, machine: u64, roots: &[Hash]) -> Result<(), Error> {
        bounded(
            self.client()
                .commit_to_challenge(round, machine, roots, self.worker()),
        )
        .await
    }

    async fn prove(
        &self,
        round: u32,
        machine: u64,
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> Result<(), Error> {
        bounded(
            self.client()
                .prove_challenge(round, machine, first_slot, proofs, self.worker()),
        )
        .await
    }
}

/// One answer, which is the same however often it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Roots { round: u32 },
    Proofs { round: u32, first_slot: u8 },
}

impl Answer {
    /// What is to be answered next: what was committed before anything else, then what is owed, the most urgent first,
    /// and at last what may be answered. A newcomer begins no second round before the first one is over.
    fn next(due: &[ChallengeDue]) -> Option<(Self, &ChallengeDue)> {
        let proof = due.iter().find_map(|due| match due.phase {
            ChallengePhase::Prove { next_slot, .. } => Some((
                Self::Proofs {
                    round: due.round,
                    first_slot: next_slot,
                },
                due,
            )),
            _ => None,
        });
        let commits = || {
            due.iter().filter_map(|due| match due.phase {
                ChallengePhase::Commit { deadline_ms } => Some((deadline_ms, due)),
                _ => None,
            })
        };
        let roots = |(_, due): (u64, _)| -> (Self, &ChallengeDue) {
            let due: &ChallengeDue = due;
            (Self::Roots { round: due.round }, due)
        };
        let owed = || {
            commits()
                .filter(|(_, due)| due.is_owed)
                .min_by_key(|(deadline_ms, _)| *deadline_ms)
                .map(roots)
        };
        let is_under_way = due
            .iter()
            .any(|due| matches!(due.phase, ChallengePhase::AwaitOpenings { .. }));
        let welcome = || {
            // The one that leaves the most time.
            commits()
                .filter(|(_, due)| !due.is_owed && !is_under_way)
                .max_by_key(|(deadline_ms, _)| *deadline_ms)
                .map(roots)
        };
        proof.or_else(owed).or_else(welcome)
    }
}

/// What was computed.
enum Computed {
    Roots(Vec<Hash>),
    Proofs(Vec<SlotProof>),
}

/// An answer that is being made; dropping it stops the work.
struct Work {
    answer: Answer,
    task: JoinHandle<Result<Computed, ProverError>>,
    cancel: Cancel,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// An answer that was sent.
struct Sent {
    answer: Answer,
    computed: Computed,
    at_block: u64,
}

/// Answers whatever is due at every new block that `blocks` tells; ends when the connection is lost or nobody tells
/// blocks any more.
pub async fn answer_challenges<C: ChallengeChain>(
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    mut blocks: watch::Receiver<u64>,
    metrics: Metrics,
) -> Result<(), Error> {
    let mut responder = Responder {
        chain,
        machine,
        provers,
        metrics,
        work: None,
        sent: None,
    };
    // What is due may not wait for the next block.
    let block = *blocks.borrow_and_update();
    responder.look(block).await?;
    loop {
        tokio::select! {
            changed = blocks.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let block = *blocks.borrow_and_update();
                responder.look(block).await?;
            }
            computed = computed(&mut responder.work), if responder.work.is_some() => {
                let block = *blocks.borrow();
                responder.finish(computed, block).await?;
            }
        }
    }
}

async fn computed(work: &mut Option<Work>) -> Result<Computed, String> {
    let Some(work) = work else {
        return std::future::pending().await;
    };
    match (&mut work.task).await {
        Ok(computed) => computed.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the prover broke off: {error}")),
    }
}

struct Responder<C> {
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    metrics: Metrics,
    work: Option<Work>,
    sent: Option<Sent>,
}

impl<C: ChallengeChain> Responder<C> {
    /// Asks what is due and sets the answer going, or sends it again.
    async fn look(&mut self, block: u64) -> Result<(), Error> {
        let due = match self.chain.challenge_due(self.machine).await {
            Ok(due) => due,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the chain does not say what the machine has to prove");
                return Ok(());
            }
        };
        let Some((answer, due)) = Answer::next(&due) else {
            self.rest(&due);
            return Ok(());
        };
        if self.work.as_ref().is_some_and(|work| work.answer == answer) {
            return Ok(());
        }
        match &mut self.sent {
            Some(sent) if sent.answer == answer => {
                if block >= sent.at_block.saturating_add(RESEND_AFTER_BLOCKS) {
                    sent.at_block = block;
                    self.send().await?;
                }
            }
            _ => self.begin(answer, due.clone()),
        }
        Ok(())
    }

    /// Gives the memory back when nothing is committed that is not proven.
    fn rest(&mut self, due: &[ChallengeDue]) {
        if due.is_empty() && self.work.is_none() && self.sent.take().is_some() {
            self.provers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .release();
        }
    }

    fn begin(&mut self, answer: Answer, due: ChallengeDue) {
        let kind = match due.kind {
            RoundKind::Newcomers => "newcomers",
            RoundKind::Audit => "audit",
        };
        match answer {
            Answer::Roots { round } => {
                tracing::info!(
                    round,
                    kind,
                    slots = due.slots,
                    owed = due.is_owed,
                    "answering a challenge"
                );
            }
            Answer::Proofs { round, first_slot } => {
                tracing::info!(round, kind, first_slot, "proving what was committed");
            }
        }
        let (machine, provers, cancel) = (self.machine, self.provers.clone(), Cancel::default());
        let watch = cancel.clone();
        let task = tokio::task::spawn_blocking(move || {
            // What a prover that broke off left is made anew.
            let mut provers = provers.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Answer::Roots { .. } => provers.commit(machine, &due, &watch).map(Computed::Roots),
                Answer::Proofs { .. } => provers.open(machine, &due, &watch).map(Computed::Proofs),
            }
        });
        // What was under way is stopped: something is more urgent.
        self.work = Some(Work { answer, task, cancel });
    }

    /// Sends what was computed.
    async fn finish(&mut self, computed: Result<Computed, String>, block: u64) -> Result<(), Error> {
        let Some(answer) = self.work.take().map(|work| work.answer) else {
            return Ok(());
        };
        match computed {
            Ok(computed) => {
                self.sent = Some(Sent {
                    answer,
                    computed,
                    at_block: block,
                });
                self.send().await
            }
            Err(problem) => {
                self.metrics.challenge_failures.inc();
                tracing::error!(
                    problem,
                    "the challenge cannot be answered; an active machine that does not loses a part of its bond"
                );
                Ok(())
            }
        }
    }

    /// Gives the node what was computed last. What it refuses is sent again if it is still due.
    async fn send(&mut self) -> Result<(), Error> {
        let Some(sent) = &self.sent else {
            return Ok(());
        };
        let outcome = match (sent.answer, &sent.computed) {
            (Answer::Roots { round }, Computed::Roots(roots)) => {
                self.chain.commit(round, self.machine, roots).await
            }
            (Answer::Proofs { round, first_slot }, Computed::Proofs(proofs)) => {
                self.chain.prove(round, self.machine, first_slot, proofs).await
            }
            _ => return Ok(()),
        };
        match outcome {
            Ok(()) => {
                self.metrics.challenge_answers.inc();
                Ok(())
            }
            Err(error) if error.is_connection_lost() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "an answer to a challenge was not taken");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
