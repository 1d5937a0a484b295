//! Progress and cancellation of an answer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use assay_proof::prover::{Progress, Stage, Watch};
use serde::Serialize;
use utoipa::ToSchema;

/// Interval between two log lines about one answer.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// An answer that is being computed, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnswerProgress {
    /// Number of the round.
    pub round: u32,
    /// Kind of the round: `newcomers` or `audit`.
    pub kind: &'static str,
    /// Kind of the answer: `roots` or `proofs`.
    pub answer: &'static str,
    /// Progress of each slot, by its number.
    pub slots: Vec<SlotProgress>,
}

/// Progress of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SlotProgress {
    /// Stage of the slot's prover.
    pub stage: SlotStage,
    /// Progress within the stage, in percent.
    pub percent: u8,
}

/// Stage of a slot's prover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotStage {
    /// Not started: another slot uses the device.
    Waiting,
    /// Fills the memory.
    Fill,
    /// Walks the lanes.
    Walk,
    /// Makes the Merkle paths of opened lanes.
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

/// Callback for progress; called with `None` when an answer is finished or cancelled.
pub type ProgressCallback = Arc<dyn Fn(Option<&AnswerProgress>) + Send + Sync>;

/// Watch over the provers of one answer.
pub struct AnswerWatch {
    is_stopped: AtomicBool,
    shown: Mutex<Shown>,
    on_progress: ProgressCallback,
}

struct Shown {
    progress: AnswerProgress,
    logged_at: Instant,
}

impl AnswerWatch {
    /// Creates a watch with all slots waiting.
    pub fn new(
        round: u32,
        kind: &'static str,
        answer: &'static str,
        slots: u8,
        on_progress: ProgressCallback,
    ) -> Self {
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
        on_progress(Some(&progress));
        Self {
            is_stopped: AtomicBool::new(false),
            shown: Mutex::new(Shown {
                progress,
                logged_at: Instant::now(),
            }),
            on_progress,
        }
    }

    /// Stops all provers of the answer; no further progress is reported.
    pub fn stop(&self) {
        let _told_last = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Returns the watch for the prover of a slot.
    pub fn slot(&self, slot: u8) -> SlotWatch<'_> {
        SlotWatch { answer: self, slot }
    }

    fn note(&self, slot: u8, progress: Progress) {
        let done = u128::from(progress.done) * 100;
        let now = SlotProgress {
            stage: progress.stage.into(),
            // Never above 100.
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
        // Called under the lock, so that reports keep their order.
        (self.on_progress)(Some(&shown.progress));
    }
}

/// Watch over the prover of one slot.
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
        let on_progress: ProgressCallback = {
            let told = told.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| {
                told.lock().unwrap().push(progress.cloned());
            })
        };
        let watch = AnswerWatch::new(7, "audit", "roots", 2, on_progress);
        let slot = watch.slot(1);
        for done in [0, 1, 2, 500, 1_000] {
            slot.progress(Progress {
                stage: Stage::Fill,
                done,
                total: 1_000,
            });
        }
        // Progress of a slot that does not exist is ignored.
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
        let on_progress: ProgressCallback = {
            let told = told.clone();
            Arc::new(move |_: Option<&AnswerProgress>| told.store(true, Ordering::Relaxed))
        };
        let watch = AnswerWatch::new(7, "audit", "roots", 2, on_progress);
        assert!(told.swap(false, Ordering::Relaxed) && !watch.slot(0).is_cancelled());
        watch.stop();
        assert!(watch.slot(0).is_cancelled() && watch.slot(1).is_cancelled());
        // A prover stops only at its next unit of work; the next answer may have been reported by then.
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
