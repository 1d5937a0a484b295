//! Backoff: the delays between attempts that fail.

pub(crate) use assay_client::Backoff;

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
