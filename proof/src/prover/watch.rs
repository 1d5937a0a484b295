//! Looking at a prover at work, and stopping it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What a prover is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Making items; counted in items.
    Fill,
    /// Walking lanes and hashing their ends; counted in lanes.
    Walk,
    /// Making paths for opened lanes; counted in openings.
    Open,
}

/// How far a prover is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do in this stage.
    pub total: u64,
}

/// Hears how far a prover is, and says when it shall stop.
///
/// Provers call it on the thread that called them, several times a second, between two pieces of work: progress
/// never goes back within a stage, and ends with `done == total` unless there was an error.
pub trait Watch {
    /// Some work is done.
    fn progress(&self, progress: Progress);

    /// Whether to stop now. Asked before every piece of work.
    fn is_cancelled(&self) -> bool;
}

/// Nobody looks and nobody stops it.
impl Watch for () {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A switch that stops a prover from another thread. Clones are the same switch; it stays on.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops whatever watches this switch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Silent, but can be stopped.
impl Watch for Cancel {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Calls a closure with the progress, and can be stopped.
#[derive(Clone, Debug)]
pub struct WatchWith<F> {
    /// Hears of every progress.
    pub on_progress: F,
    /// Stops the prover.
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
