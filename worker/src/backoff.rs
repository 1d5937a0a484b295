//! Backoff: the delays between attempts that fail.

use std::time::Duration;

/// Exponential backoff: the delay doubles with every failure in a row, up to a maximum. It has no jitter.
///
/// Callers count the failures, because each resets its count for its own reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Delay after the first failure.
    pub(crate) initial: Duration,
    /// Longest delay.
    pub(crate) maximum: Duration,
}

impl Backoff {
    /// Factor between a delay and the next one.
    const GROWTH: u32 = 2;

    /// Returns the delay after a failure that follows this number of consecutive failures.
    pub(crate) fn delay(&self, preceding_failures: u32) -> Duration {
        self.initial
            .saturating_mul(Self::GROWTH.saturating_pow(preceding_failures))
            .min(self.maximum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::RECONNECT_BACKOFF, attestation::ATTEMPT_BACKOFF, jobs::STEP_BACKOFF, tasks::RESTART_BACKOFF,
    };

    /// Delays in seconds after the first eight failures in a row.
    fn first_delays(backoff: Backoff) -> Vec<u64> {
        (0..8).map(|failures| backoff.delay(failures).as_secs()).collect()
    }

    #[test]
    fn delays_double_up_to_their_maximum() {
        assert_eq!(first_delays(RECONNECT_BACKOFF), [1, 2, 4, 8, 15, 15, 15, 15]);
        assert_eq!(first_delays(RESTART_BACKOFF), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(first_delays(STEP_BACKOFF), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(
            first_delays(ATTEMPT_BACKOFF),
            [60, 120, 240, 480, 960, 1_920, 3_840, 7_200]
        );
    }

    #[test]
    fn any_number_of_failures_is_bounded() {
        for backoff in [RECONNECT_BACKOFF, RESTART_BACKOFF, STEP_BACKOFF, ATTEMPT_BACKOFF] {
            assert_eq!(backoff.delay(u32::MAX), backoff.maximum);
        }
    }
}
