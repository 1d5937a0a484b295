//! Answers the hardware challenge: commits and proves whenever an answer is due.
//!
//! The responder reads the due answers from the best block, at every new block and every few seconds without
//! one, because a stall of finality stops no deadline. It keeps no state that cannot be rebuilt: roots and
//! proofs follow from the round, so a restarted worker goes on where it was. Provers run beside the loop, one
//! answer at a time, on the GPUs of the free slots or on as many of the host's threads as belong to these
//! slots. They stop as soon as the chain no longer accepts the answer: the deadline is in the chain's time,
//! and stands still with the chain.
//!
//! The best block may be replaced, and the node may lie. So an answer is identified by all of its inputs
//! ([`AnswerSubject`]), is computed anew if any of them changes, and is signed together with them: a chain
//! with other inputs refuses it. Proofs are verified before they are signed. If the chain has a root that
//! this machine cannot prove, the worker stays silent: silence costs less than a wrong answer.
//!
//! | module | contents |
//! |---|---|
//! | [`devices`] | the devices that answer |
//! | [`slots`] | a prover for each slot |
//! | [`progress`] | progress and cancellation of an answer |
//! | [`bench`] | `assay-worker challenge bench` |

pub mod bench;
pub mod devices;
pub mod progress;
pub mod slots;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use assay_client::{
    Error,
    challenge::{AnswerSubject, ChallengeDue, ChallengePhase, RoundKind},
};
use assay_proof::{Hash, SlotProof};
use assay_provers::bench::DEFAULT_MARGIN_PERCENT;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    chain::{ConnectedChain, bounded},
    challenge::{
        progress::{AnswerWatch, ProgressCallback},
        slots::{AnswerError, SlotProvers},
    },
    metrics::Metrics,
};

/// Maximum time between two reads of the due answers: about one block.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Number of reads after which an answer that is in no block is sent again.
const RESEND_AFTER_LOOKS: u32 = 3;

/// Maximum number of attempts at an answer that the machine cannot give truthfully.
const TRIES: u32 = 2;

/// The chain, as far as the challenge needs it.
pub trait ChallengeChain: Clone + Send + Sync + 'static {
    /// Returns the answers that the machine owes or may give now, the oldest round first.
    fn challenge_due(&self, machine: u64) -> impl Future<Output = Result<Vec<ChallengeDue>, Error>> + Send;

    /// Commits to roots.
    fn commit(
        &self,
        subject: &AnswerSubject,
        roots: &[Hash],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Proves slots from `first_slot` on, against the openings and the committed roots.
    fn prove(
        &self,
        subject: &AnswerSubject,
        opening_randomness: &Hash,
        roots: &[Hash],
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl ChallengeChain for ConnectedChain {
    async fn challenge_due(&self, machine: u64) -> Result<Vec<ChallengeDue>, Error> {
        bounded(self.client().challenge_due(machine)).await
    }

    async fn commit(&self, subject: &AnswerSubject, roots: &[Hash]) -> Result<(), Error> {
        bounded(self.client().commit_to_challenge(subject, roots, self.worker())).await
    }

    async fn prove(
        &self,
        subject: &AnswerSubject,
        opening_randomness: &Hash,
        roots: &[Hash],
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> Result<(), Error> {
        bounded(self.client().prove_challenge(
            subject,
            opening_randomness,
            roots,
            first_slot,
            proofs,
            self.worker(),
        ))
        .await
    }
}

/// An answer, identified by all of its inputs: it is the same however often it is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Roots {
        subject: AnswerSubject,
        slots: u8,
    },
    Proofs {
        subject: AnswerSubject,
        opening_randomness: Hash,
        roots: Vec<Hash>,
        first_slot: u8,
    },
}

impl Answer {
    /// Returns the answer that is due; `None` while the openings are awaited.
    fn to(machine: u64, due: &ChallengeDue) -> Option<Self> {
        let subject = due.subject(machine);
        match due.phase {
            ChallengePhase::Commit { .. } => Some(Self::Roots {
                subject,
                slots: due.slots,
            }),
            ChallengePhase::AwaitOpenings { .. } => None,
            ChallengePhase::Prove {
                opening_randomness,
                next_slot,
                ..
            } => Some(Self::Proofs {
                subject,
                opening_randomness,
                roots: due.roots.clone(),
                first_slot: next_slot,
            }),
        }
    }

    /// Returns the next answer: first a proof of committed roots, then a commit that is owed, the most urgent
    /// first, and last a commit that is optional. A newcomer begins no second round before the first one is
    /// over.
    fn next(machine: u64, due: &[ChallengeDue]) -> Option<(Self, &ChallengeDue)> {
        let proof = due
            .iter()
            .find(|due| matches!(due.phase, ChallengePhase::Prove { .. }));
        let commits = || {
            due.iter().filter_map(|due| match due.phase {
                ChallengePhase::Commit { deadline_ms } => Some((deadline_ms, due)),
                _ => None,
            })
        };
        let owed = || {
            commits()
                .filter(|(_, due)| due.is_owed)
                .min_by_key(|(deadline_ms, _)| *deadline_ms)
                .map(|(_, due)| due)
        };
        let is_under_way = due
            .iter()
            .any(|due| matches!(due.phase, ChallengePhase::AwaitOpenings { .. }));
        let welcome = || {
            // The round with the most time left.
            commits()
                .filter(|(_, due)| !due.is_owed && !is_under_way)
                .max_by_key(|(deadline_ms, _)| *deadline_ms)
                .map(|(_, due)| due)
        };
        let due = proof.or_else(owed).or_else(welcome)?;
        Some((Self::to(machine, due)?, due))
    }

    fn round(&self) -> u32 {
        match self {
            Self::Roots { subject, .. } | Self::Proofs { subject, .. } => subject.round.round,
        }
    }

    /// Returns true if the chain still accepts the answer.
    fn is_wanted(&self, machine: u64, due: &[ChallengeDue]) -> bool {
        due.iter()
            .any(|due| Self::to(machine, due).as_ref() == Some(self))
    }
}

/// Returns the time left for an answer, in milliseconds of active time.
fn left_ms(due: &ChallengeDue) -> u64 {
    match due.phase {
        ChallengePhase::Commit { deadline_ms } | ChallengePhase::Prove { deadline_ms, .. } => {
            deadline_ms.saturating_sub(due.now_ms)
        }
        ChallengePhase::AwaitOpenings { .. } => 0,
    }
}

/// Result of a computation.
enum Computed {
    Roots(Vec<Hash>),
    Proofs(Vec<SlotProof>),
}

/// An answer that is being computed; dropping it stops the provers.
struct AnswerTask {
    answer: Answer,
    task: JoinHandle<Result<Computed, AnswerError>>,
    watch: Arc<AnswerWatch>,
    begun: Instant,
    /// Time left when the computation began, in milliseconds of active time.
    left_ms: u64,
}

impl AnswerTask {
    fn took_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Logs the duration of a finished answer, with a warning if the next one may be late.
    fn report(&self) {
        let (round, took_ms, left_ms) = (self.answer.round(), self.took_ms(), self.left_ms);
        tracing::info!(round, took_ms, left_ms, "challenge answer computed");
        let with_margin = took_ms.saturating_mul((100 + DEFAULT_MARGIN_PERCENT).into()) / 100;
        if with_margin > left_ms {
            tracing::warn!(
                round,
                took_ms,
                left_ms,
                "the answer was almost late; `assay-worker challenge bench` lists the classes that this machine can hold"
            );
        }
    }
}

impl Drop for AnswerTask {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// An answer that was sent.
struct SentAnswer {
    answer: Answer,
    computed: Computed,
    /// Number of reads of the due answers since then.
    looks: u32,
}

/// An answer that the machine could not give truthfully.
struct FailedAnswer {
    answer: Answer,
    tries: u32,
}

/// Gives all due answers, at every new block from `blocks` and every few seconds without one. Ends when the
/// connection is lost or the sender of `blocks` is dropped.
pub async fn answer_challenges<C: ChallengeChain>(
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    mut blocks: watch::Receiver<u64>,
    metrics: Metrics,
    on_progress: ProgressCallback,
) -> Result<(), Error> {
    let mut responder = Responder {
        chain,
        machine,
        provers,
        metrics,
        on_progress,
        work: None,
        sent: None,
        failed: None,
    };
    // A due answer must not wait for the next block.
    blocks.mark_unchanged();
    responder.look().await?;
    loop {
        tokio::select! {
            changed = blocks.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                responder.look().await?;
            }
            () = tokio::time::sleep(LOOK_EVERY) => responder.look().await?,
            computed = computed(&mut responder.work), if responder.work.is_some() => {
                responder.finish(computed).await?;
            }
        }
    }
}

/// Reason why an answer was not computed.
struct ComputeError {
    text: String,
    is_untruth: bool,
}

async fn computed(work: &mut Option<AnswerTask>) -> Result<Computed, ComputeError> {
    let Some(work) = work else {
        return std::future::pending().await;
    };
    match (&mut work.task).await {
        Ok(computed) => computed.map_err(|error| ComputeError {
            text: error.to_string(),
            is_untruth: error.is_untruth(),
        }),
        Err(error) => Err(ComputeError {
            text: format!("the prover failed: {error}"),
            is_untruth: false,
        }),
    }
}

struct Responder<C> {
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    metrics: Metrics,
    on_progress: ProgressCallback,
    work: Option<AnswerTask>,
    sent: Option<SentAnswer>,
    failed: Option<FailedAnswer>,
}

impl<C: ChallengeChain> Responder<C> {
    /// Reads the due answers, and starts or resends the next one.
    async fn look(&mut self) -> Result<(), Error> {
        let mut due = match self.chain.challenge_due(self.machine).await {
            Ok(due) => due,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "reading the due challenge answers failed; trying again");
                return Ok(());
            }
        };
        self.give_up_what_is_late(&due);
        due.retain(|due| !self.is_given_up(due));
        let Some((answer, due)) = Answer::next(self.machine, &due) else {
            self.rest(&due);
            return Ok(());
        };
        if self.work.as_ref().is_some_and(|work| work.answer == answer) {
            return Ok(());
        }
        match &mut self.sent {
            Some(sent) if sent.answer == answer => {
                sent.looks = sent.looks.saturating_add(1);
                if sent.looks >= RESEND_AFTER_LOOKS {
                    sent.looks = 0;
                    self.send().await?;
                }
            }
            _ => self.begin(answer, due.clone()),
        }
        Ok(())
    }

    /// Returns true if the machine has repeatedly failed to give this answer truthfully.
    fn is_given_up(&self, due: &ChallengeDue) -> bool {
        self.failed.as_ref().is_some_and(|failed| {
            failed.tries >= TRIES && Answer::to(self.machine, due).as_ref() == Some(&failed.answer)
        })
    }

    /// Stops the computation of an answer that the chain no longer accepts.
    fn give_up_what_is_late(&mut self, due: &[ChallengeDue]) {
        let machine = self.machine;
        let Some(work) = self.work.take_if(|work| !work.answer.is_wanted(machine, due)) else {
            return;
        };
        work.watch.stop();
        self.metrics.challenge_failures.inc();
        tracing::error!(
            round = work.answer.round(),
            after_ms = work.took_ms(),
            left_ms = work.left_ms,
            "giving up a challenge: the chain no longer accepts its answer. Either the time was too short \
             (`assay-worker challenge bench` lists the classes that this machine can hold), or another fork became the \
             best one and asks for another answer"
        );
        (self.on_progress)(None);
    }

    /// Frees the provers' memory if no committed root waits for its proof.
    fn rest(&mut self, due: &[ChallengeDue]) {
        if !due.is_empty() || self.work.is_some() {
            return;
        }
        self.sent = None;
        // A cancelled prover may still be running: then its memory is freed at a later block.
        match self.provers.try_lock() {
            Ok(mut provers) => provers.release(),
            Err(TryLockError::Poisoned(provers)) => provers.into_inner().release(),
            Err(TryLockError::WouldBlock) => (),
        }
    }

    fn begin(&mut self, answer: Answer, due: ChallengeDue) {
        let kind = match due.kind {
            RoundKind::Newcomers => "newcomers",
            RoundKind::Audit => "audit",
        };
        let round = answer.round();
        let is_commit = matches!(answer, Answer::Roots { .. });
        let what = match answer {
            Answer::Roots { .. } => {
                tracing::info!(
                    round,
                    kind,
                    slots = due.slots,
                    owed = due.is_owed,
                    "answering a challenge"
                );
                "roots"
            }
            Answer::Proofs { first_slot, .. } => {
                tracing::info!(round, kind, first_slot, "proving the committed roots");
                "proofs"
            }
        };
        // Stops the answer under way: another one is more urgent.
        self.work = None;
        let watch = Arc::new(AnswerWatch::new(
            round,
            kind,
            what,
            due.slots,
            self.on_progress.clone(),
        ));
        let (machine, provers, left_ms) = (self.machine, self.provers.clone(), left_ms(&due));
        let watched = watch.clone();
        let task = tokio::task::spawn_blocking(move || {
            // State that a panicked prover left behind is rebuilt.
            let mut provers = provers.lock().unwrap_or_else(PoisonError::into_inner);
            if is_commit {
                provers.commit(machine, &due, &watched).map(Computed::Roots)
            } else {
                provers.open(machine, &due, &watched).map(Computed::Proofs)
            }
        });
        self.work = Some(AnswerTask {
            answer,
            task,
            watch,
            begun: Instant::now(),
            left_ms,
        });
    }

    /// Sends the computed answer.
    async fn finish(&mut self, computed: Result<Computed, ComputeError>) -> Result<(), Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        (self.on_progress)(None);
        match computed {
            Ok(computed) => {
                work.report();
                self.sent = Some(SentAnswer {
                    answer: work.answer.clone(),
                    computed,
                    looks: 0,
                });
                self.send().await
            }
            Err(problem) => {
                self.metrics.challenge_failures.inc();
                tracing::error!(
                    problem = problem.text,
                    "answering the challenge failed; an active machine that does not answer loses a part of its bond"
                );
                if problem.is_untruth {
                    let before = self.failed.take_if(|failed| failed.answer == work.answer);
                    self.failed = Some(FailedAnswer {
                        answer: work.answer.clone(),
                        tries: before.map_or(0, |failed| failed.tries).saturating_add(1),
                    });
                }
                Ok(())
            }
        }
    }

    /// Sends the last answer to the node. An answer that the node refuses is sent again if it is still due.
    async fn send(&mut self) -> Result<(), Error> {
        let Some(sent) = &self.sent else {
            return Ok(());
        };
        let outcome = match (&sent.answer, &sent.computed) {
            (Answer::Roots { subject, .. }, Computed::Roots(roots)) => {
                self.chain.commit(subject, roots).await
            }
            (
                Answer::Proofs {
                    subject,
                    opening_randomness,
                    roots,
                    first_slot,
                },
                Computed::Proofs(proofs),
            ) => {
                self.chain
                    .prove(subject, opening_randomness, roots, *first_slot, proofs)
                    .await
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
                tracing::warn!(%error, "the node refused an answer to a challenge");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
