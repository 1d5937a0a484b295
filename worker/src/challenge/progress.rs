//! How far an answer is, and stopping it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use assay_proof::prover::{Progress, Stage, Watch};
use serde::Serialize;

/// Pause between two lines in the log about one answer.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// An answer that is being made, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerProgress {
    /// The round.
    pub round: u32,
    /// Whom the round is for: `newcomers` or `audit`.
    pub kind: &'static str,
    /// What is made: `roots` or `proofs`.
    pub answer: &'static str,
    /// How far each slot is, by its number.
    pub slots: Vec<SlotProgress>,
}

/// How far a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SlotProgress {
    /// What its prover is doing.
    pub stage: SlotStage,
    /// How much of that is done.
    pub percent: u8,
}

/// What a slot's prover is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotStage {
    /// Nothing yet: another slot has the device.
    Waiting,
    /// Fills the memory.
    Fill,
    /// Walks the lanes.
    Walk,
    /// Makes paths for opened lanes.
    Open,
}

impl From<Stage> for SlotStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Fill => Self::Fill,
            Stage::Walk => Self::Walk,
            Stage::Open => Self::Open,
        }
    }
}

/// Who hears of progress; of nothing when an answer is done or given up.
pub type Tell = Arc<dyn Fn(Option<&AnswerProgress>) + Send + Sync>;

/// Watches the provers of one answer.
pub struct AnswerWatch {
    is_stopped: AtomicBool,
    shown: Mutex<Shown>,
    tell: Tell,
}

struct Shown {
    progress: AnswerProgress,
    logged_at: Instant,
}

impl AnswerWatch {
    /// Begins with all slots waiting.
    pub fn new(round: u32, kind: &'static str, answer: &'static str, slots: u8, tell: Tell) -> Self {
        let waiting = SlotProgress {
            stage: SlotStage::Waiting,
            percent: 0,
        };
        let progress = AnswerProgress {
            round,
            kind,
            answer,
            slots: vec![waiting; slots.into()],
        };
        tell(Some(&progress));
        Self {
            is_stopped: AtomicBool::new(false),
            shown: Mutex::new(Shown {
                progress,
                logged_at: Instant::now(),
            }),
            tell,
        }
    }

    /// Stops all provers of the answer; nothing more is told of it.
    pub fn stop(&self) {
        let _told_last = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// What watches the prover of a slot.
    pub fn slot(&self, slot: u8) -> SlotWatch<'_> {
        SlotWatch { answer: self, slot }
    }

    fn note(&self, slot: u8, progress: Progress) {
        let done = u128::from(progress.done) * 100;
        let now = SlotProgress {
            stage: progress.stage.into(),
            // More is never done than there is to do.
            percent: u8::try_from(done / u128::from(progress.total.max(1))).unwrap_or(100),
        };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        match shown.progress.slots.get_mut(usize::from(slot)) {
            Some(before) if *before != now => *before = now,
            _ => return,
        }
        if shown.logged_at.elapsed() >= LOG_EVERY {
            shown.logged_at = Instant::now();
            let (round, stage) = (shown.progress.round, now.stage);
            tracing::info!(round, slot, ?stage, percent = now.percent, "answering");
        }
        // Told in order: the lock is held meanwhile.
        (self.tell)(Some(&shown.progress));
    }
}

/// Watches the prover of one slot.
pub struct SlotWatch<'a> {
    answer: &'a AnswerWatch,
    slot: u8,
}

impl Watch for SlotWatch<'_> {
    fn progress(&self, progress: Progress) {
        self.answer.note(self.slot, progress);
    }

    fn is_cancelled(&self) -> bool {
        self.answer.is_stopped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_percent_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: Tell = {
            let told = told.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| {
                told.lock().unwrap().push(progress.cloned());
            })
        };
        let watch = AnswerWatch::new(7, "audit", "roots", 2, tell);
        let slot = watch.slot(1);
        for done in [0, 1, 2, 500, 1_000] {
            slot.progress(Progress {
                stage: Stage::Fill,
                done,
                total: 1_000,
            });
        }
        // A slot that there is not is nobody's.
        watch.slot(9).progress(Progress {
            stage: Stage::Fill,
            done: 1,
            total: 1,
        });
        let told: Vec<_> = told
            .lock()
            .unwrap()
            .iter()
            .map(|progress| {
                let slots = &progress.as_ref().unwrap().slots;
                assert_eq!((slots.len(), slots[0].stage), (2, SlotStage::Waiting));
                (slots[1].stage, slots[1].percent)
            })
            .collect();
        assert_eq!(
            told,
            [
                (SlotStage::Waiting, 0),
                (SlotStage::Fill, 0),
                (SlotStage::Fill, 50),
                (SlotStage::Fill, 100)
            ]
        );
    }

    #[test]
    fn stopping_an_answer_stops_every_slot_and_silences_it() {
        let told = Arc::new(AtomicBool::new(false));
        let tell: Tell = {
            let told = told.clone();
            Arc::new(move |_: Option<&AnswerProgress>| told.store(true, Ordering::Relaxed))
        };
        let watch = AnswerWatch::new(7, "audit", "roots", 2, tell);
        assert!(told.swap(false, Ordering::Relaxed) && !watch.slot(0).is_cancelled());
        watch.stop();
        assert!(watch.slot(0).is_cancelled() && watch.slot(1).is_cancelled());
        // The prover finds out at its next piece of work; by then somebody else may have told of the next answer.
        watch.slot(0).progress(Progress {
            stage: Stage::Fill,
            done: 1,
            total: 2,
        });
        assert!(!told.load(Ordering::Relaxed));
    }

    #[test]
    fn the_status_names_what_is_done() {
        let progress = AnswerProgress {
            round: 7,
            kind: "audit",
            answer: "roots",
            slots: vec![SlotProgress {
                stage: SlotStage::Walk,
                percent: 42,
            }],
        };
        assert_eq!(
            serde_json::to_string(&progress).unwrap(),
            r#"{"round":7,"kind":"audit","answer":"roots","slots":[{"stage":"walk","percent":42}]}"#
        );
    }
}
