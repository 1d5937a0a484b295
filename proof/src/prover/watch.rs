//! Progress and cancellation of a prover.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Stage of a prover's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Making items; counted in items.
    Fill,
    /// Walking lanes and hashing their ends; counted in lanes.
    Walk,
    /// Making paths for opened lanes; counted in openings.
    Open,
}

/// Progress of a prover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Current stage.
    pub stage: Stage,
    /// Units done in this stage.
    pub done: u64,
    /// Units of this stage in total.
    pub total: u64,
}

/// Observer that receives a prover's progress and can cancel it.
///
/// Provers call it on their caller's thread, several times a second, between two pieces of work. Progress
/// never goes back within a stage, and ends with `done == total` unless there was an error.
pub trait Watch {
    /// Reports the progress after some work.
    fn progress(&self, progress: Progress);

    /// Returns true to stop the prover. Called before every piece of work.
    fn is_cancelled(&self) -> bool;
}

/// Ignores progress and never cancels.
impl Watch for () {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Switch that cancels a prover from another thread. Clones share one state; it cannot be reset.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Cancels every prover that watches this switch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ignores progress and can be cancelled.
impl Watch for Cancel {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watch that passes progress to a closure and can be cancelled.
#[derive(Clone, Debug)]
pub struct WatchWith<F> {
    /// Callback for every progress report.
    pub on_progress: F,
    /// Switch that stops the prover.
    pub cancel: Cancel,
}

impl<F: Fn(Progress)> Watch for WatchWith<F> {
    fn progress(&self, progress: Progress) {
        (self.on_progress)(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
