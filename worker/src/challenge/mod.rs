//! Answers the hardware challenge: commits and proves whenever something is due.
//!
//! What is due is asked of the best block, at every block that is told and every few seconds without one,
//! since a stall of finality stops no deadline. Nothing is remembered that could not be had again: roots and
//! proofs follow from the round, so a worker that restarts goes on where it was. The work itself is done
//! beside the loop, one answer at a time, by the GPUs of the free slots or by as many threads as those have
//! of the host. It stops as soon as the chain does not want it any more: a deadline is the chain's, and
//! stands still with it.
//!
//! The best block may be replaced, and the node may lie. An answer is therefore known by all that it depends
//! on ([`AnswerSubject`]), is made anew where any of that changed, and is signed together with it, so that a
//! chain that has it otherwise refuses it. Proofs are verified before they are signed. Where the chain has a
//! root that this machine cannot prove, it says nothing: silence costs less than a wrong answer.
//!
//! | module | is |
//! |---|---|
//! | [`devices`] | which devices answer |
//! | [`slots`] | a prover for each slot |
//! | [`progress`] | how far an answer is, and stopping it |
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
        progress::{AnswerWatch, Tell},
        slots::{AnswerError, SlotProvers},
    },
    metrics::Metrics,
};

/// Longest time between two looks at what is due: about a block's.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Looks after which an answer that is in no block is sent again.
const RESEND_AFTER_LOOKS: u32 = 3;

/// Attempts at an answer of which the machine can say nothing true.
const TRIES: u32 = 2;

/// What is asked and told of the challenge.
pub trait ChallengeChain: Clone + Send + Sync + 'static {
    /// What the machine owes or may answer now, the oldest round first.
    fn challenge_due(&self, machine: u64) -> impl Future<Output = Result<Vec<ChallengeDue>, Error>> + Send;

    /// Commits roots.
    fn commit(
        &self,
        subject: &AnswerSubject,
        roots: &[Hash],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Proves slots from one on, against the openings and the committed roots.
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

/// One answer, which is the same however often it is made: all that it follows from.
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
    /// The answer to what is due; `None` while there is nothing to do but to wait.
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

    /// What is to be answered next: what was committed before anything else, then what is owed, the most urgent first,
    /// and at last what may be answered. A newcomer begins no second round before the first one is over.
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
            // The one that leaves the most time.
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

    /// Returns true where the chain would still take it.
    fn is_wanted(&self, machine: u64, due: &[ChallengeDue]) -> bool {
        due.iter()
            .any(|due| Self::to(machine, due).as_ref() == Some(self))
    }
}

/// Milliseconds of active time that are left for what is due.
fn left_ms(due: &ChallengeDue) -> u64 {
    match due.phase {
        ChallengePhase::Commit { deadline_ms } | ChallengePhase::Prove { deadline_ms, .. } => {
            deadline_ms.saturating_sub(due.now_ms)
        }
        ChallengePhase::AwaitOpenings { .. } => 0,
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
    task: JoinHandle<Result<Computed, AnswerError>>,
    watch: Arc<AnswerWatch>,
    begun: Instant,
    /// Milliseconds of active time that were left when it began.
    left_ms: u64,
}

impl Work {
    fn took_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Says how long a finished answer took, and warns where the next one may be late.
    fn report(&self) {
        let (round, took_ms, left_ms) = (self.answer.round(), self.took_ms(), self.left_ms);
        tracing::info!(round, took_ms, left_ms, "answered");
        let with_margin = took_ms.saturating_mul((100 + DEFAULT_MARGIN_PERCENT).into()) / 100;
        if with_margin > left_ms {
            tracing::warn!(
                round,
                took_ms,
                left_ms,
                "the answer was hardly in time; `assay-worker challenge bench` says which classes this machine can hold"
            );
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// An answer that was sent.
struct Sent {
    answer: Answer,
    computed: Computed,
    /// Looks at what is due since then.
    looks: u32,
}

/// An answer of which the machine could say nothing true.
struct Unsaid {
    answer: Answer,
    tries: u32,
}

/// Answers whatever is due, at every new block that `blocks` tells and every few seconds without one; ends
/// when the connection is lost or nobody tells blocks any more.
pub async fn answer_challenges<C: ChallengeChain>(
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    mut blocks: watch::Receiver<u64>,
    metrics: Metrics,
    tell: Tell,
) -> Result<(), Error> {
    let mut responder = Responder {
        chain,
        machine,
        provers,
        metrics,
        tell,
        work: None,
        sent: None,
        unsaid: None,
    };
    // What is due may not wait for the next block.
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

/// Reason for which nothing was computed.
struct Problem {
    text: String,
    is_untruth: bool,
}

async fn computed(work: &mut Option<Work>) -> Result<Computed, Problem> {
    let Some(work) = work else {
        return std::future::pending().await;
    };
    match (&mut work.task).await {
        Ok(computed) => computed.map_err(|error| Problem {
            text: error.to_string(),
            is_untruth: error.is_untruth(),
        }),
        Err(error) => Err(Problem {
            text: format!("the prover broke off: {error}"),
            is_untruth: false,
        }),
    }
}

struct Responder<C> {
    chain: C,
    machine: u64,
    provers: Arc<Mutex<SlotProvers>>,
    metrics: Metrics,
    tell: Tell,
    work: Option<Work>,
    sent: Option<Sent>,
    unsaid: Option<Unsaid>,
}

impl<C: ChallengeChain> Responder<C> {
    /// Asks what is due and sets the answer going, or sends it again.
    async fn look(&mut self) -> Result<(), Error> {
        let mut due = match self.chain.challenge_due(self.machine).await {
            Ok(due) => due,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the chain does not say what the machine has to prove");
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

    /// Returns true where the machine found again and again that it can say nothing true.
    fn is_given_up(&self, due: &ChallengeDue) -> bool {
        self.unsaid.as_ref().is_some_and(|unsaid| {
            unsaid.tries >= TRIES && Answer::to(self.machine, due).as_ref() == Some(&unsaid.answer)
        })
    }

    /// Stops work that the chain would not take any more.
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
            "a challenge is given up: the chain does not take its answer any more. Either the time was too short \
             (`assay-worker challenge bench` says which classes this machine can hold), or another fork became the \
             best one and asks for another answer"
        );
        (self.tell)(None);
    }

    /// Gives the memory back when nothing is committed that is not proven.
    fn rest(&mut self, due: &[ChallengeDue]) {
        if !due.is_empty() || self.work.is_some() {
            return;
        }
        self.sent = None;
        // A prover that was stopped may still be at it: then it is the next block that finds it done.
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
                tracing::info!(round, kind, first_slot, "proving what was committed");
                "proofs"
            }
        };
        // What is under way is stopped: something is more urgent.
        self.work = None;
        let watch = Arc::new(AnswerWatch::new(round, kind, what, due.slots, self.tell.clone()));
        let (machine, provers, left_ms) = (self.machine, self.provers.clone(), left_ms(&due));
        let watched = watch.clone();
        let task = tokio::task::spawn_blocking(move || {
            // What a prover that broke off left is made anew.
            let mut provers = provers.lock().unwrap_or_else(PoisonError::into_inner);
            if is_commit {
                provers.commit(machine, &due, &watched).map(Computed::Roots)
            } else {
                provers.open(machine, &due, &watched).map(Computed::Proofs)
            }
        });
        self.work = Some(Work {
            answer,
            task,
            watch,
            begun: Instant::now(),
            left_ms,
        });
    }

    /// Sends what was computed.
    async fn finish(&mut self, computed: Result<Computed, Problem>) -> Result<(), Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        (self.tell)(None);
        match computed {
            Ok(computed) => {
                work.report();
                self.sent = Some(Sent {
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
                    "the challenge cannot be answered; an active machine that does not loses a part of its bond"
                );
                if problem.is_untruth {
                    let before = self.unsaid.take_if(|unsaid| unsaid.answer == work.answer);
                    self.unsaid = Some(Unsaid {
                        answer: work.answer.clone(),
                        tries: before.map_or(0, |unsaid| unsaid.tries).saturating_add(1),
                    });
                }
                Ok(())
            }
        }
    }

    /// Gives the node what was computed last. What it refuses is sent again if it is still due.
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
                tracing::warn!(%error, "an answer to a challenge was not taken");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
