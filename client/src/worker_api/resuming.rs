//! Attempts of long answers, which go on after a break.

use std::time::Duration;

use super::WorkerApiError;
use crate::Backoff;

/// Longest silence of a worker that still answers: four of the pauses between its signs of life.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Number of attempts without progress after which the error is returned.
const MAX_ATTEMPTS: u32 = 6;

/// Delays before attempts.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(15),
};

/// Count of attempts since the last progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Begins to count anew.
    pub(super) fn succeeded(&mut self) {
        self.0 = 0;
    }

    /// Returns the pause before the next attempt.
    fn pause(self) -> Duration {
        BACKOFF.delay(self.0.saturating_sub(1))
    }

    /// Waits before the next attempt, or returns the error if another attempt is of no use.
    pub(super) async fn pause_after(&mut self, error: WorkerApiError) -> Result<(), WorkerApiError> {
        if !error.may_pass() || self.0 >= MAX_ATTEMPTS {
            return Err(error);
        }
        self.0 = self.0.saturating_add(1);
        tokio::time::sleep(self.pause()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses = [1, 2, 3, 4, 5, 6].map(|count| Attempts(count).pause().as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
        assert_eq!(Attempts(u32::MAX).pause(), BACKOFF.maximum);
    }

    #[tokio::test]
    async fn refusals_are_not_tried_again() {
        let refused = |status| WorkerApiError::Refused {
            path: "/".to_owned(),
            status,
            reason: String::new(),
        };
        for status in [400, 401, 403, 404, 409] {
            assert!(Attempts::default().pause_after(refused(status)).await.is_err());
        }
        let mut worn_out = Attempts(MAX_ATTEMPTS);
        assert!(worn_out.pause_after(refused(503)).await.is_err());
        worn_out.succeeded();
        assert_eq!(worn_out, Attempts::default());
    }
}
