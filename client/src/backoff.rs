//! Backoff: the delays between attempts that fail.

use std::time::Duration;

/// Exponential backoff: the delay doubles with every failure in a row, up to a maximum. It has no jitter.
///
/// Callers count the failures, because each resets its count for its own reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub initial: Duration,
    /// Maximum delay.
    pub maximum: Duration,
}

impl Backoff {
    /// Factor between a delay and the next one.
    const GROWTH: u32 = 2;

    /// Returns the delay after a failure that follows this number of consecutive failures.
    pub fn delay(&self, preceding_failures: u32) -> Duration {
        self.initial
            .saturating_mul(Self::GROWTH.saturating_pow(preceding_failures))
            .min(self.maximum)
    }
}
