//! Pacing: the amount of work that a device gets at once.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Sharing of a device between the prover and other users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Target duration of the device's work without a pause. Between two slices the machine's jobs and
    /// display have their turn, and the watch is called. Much below a millisecond most of the time goes into
    /// starting slices; above two seconds drivers take the device for hung.
    pub slice: Duration,
    /// Percentage of the time in which the device works for the challenge, from 1 to 100; the rest are
    /// pauses.
    pub share_percent: u8,
}

/// Slices of a twentieth of a second, and no pauses.
impl Default for Pace {
    fn default() -> Self {
        Self {
            slice: Duration::from_millis(50),
            share_percent: 100,
        }
    }
}

impl Pace {
    /// Returns the pause after a slice of this duration.
    fn pause_after(&self, slice: Duration) -> Duration {
        let share = u32::from(self.share_percent.clamp(1, 100));
        slice * (100 - share) / share
    }
}

/// Slice sizes, adapted to the target duration.
#[derive(Debug)]
pub(crate) struct Slices {
    pace: Pace,
    most: u64,
    next: u64,
}

impl Slices {
    /// Starts with a slice of `first` units; no slice exceeds `most`. Neither is zero.
    pub(crate) fn new(pace: Pace, first: u64, most: u64) -> Self {
        Self {
            pace,
            most,
            next: first.min(most),
        }
    }

    /// Returns the units of the next slice, at least one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Returns the largest power of two within the next slice.
    pub(crate) fn next_power_of_two(&self) -> u64 {
        1 << self.next.ilog2()
    }

    /// Runs a slice of so many units, adapts to its duration, and pauses.
    pub(crate) fn run<R, E>(&mut self, units: u64, slice: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let start = Instant::now();
        let result = slice()?;
        let took = start.elapsed();
        self.learn(units, took);
        let pause = self.pace.pause_after(took);
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        Ok(result)
    }

    /// Adapts by a factor of four at most: one odd measurement must not make a slice of seconds.
    fn learn(&mut self, units: u64, took: Duration) {
        let factor = self.pace.slice.as_secs_f64() / took.as_secs_f64().max(1e-9);
        let wanted = units as f64 * factor.clamp(0.25, 4.0);
        self.next = (wanted as u64).clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_grow_and_shrink_to_the_wanted_length() {
        let mut slices = Slices::new(Pace::default(), 1 << 10, 1 << 20);
        slices.learn(1 << 10, Duration::from_millis(1));
        assert_eq!(slices.next(), 1 << 12);
        slices.learn(1 << 12, Duration::from_millis(100));
        assert_eq!(slices.next(), 1 << 11);
        slices.learn(1 << 11, Duration::from_secs(100));
        assert_eq!(slices.next(), 1 << 9);
        slices.learn(1 << 19, Duration::ZERO);
        assert_eq!(slices.next(), 1 << 20);
        slices.learn(1, Duration::from_secs(1));
        assert_eq!(slices.next(), 1);
    }

    #[test]
    fn next_power_of_two_is_never_more_than_next() {
        for (next, power) in [(1, 1), (3, 2), (1024, 1024), (1025, 1024)] {
            assert_eq!(
                Slices::new(Pace::default(), next, 1 << 20).next_power_of_two(),
                power
            );
        }
    }

    #[test]
    fn pauses_leave_the_share_that_was_asked_for() {
        let pause = |share_percent| {
            let pace = Pace {
                share_percent,
                ..Pace::default()
            };
            pace.pause_after(Duration::from_millis(10))
        };
        assert_eq!(pause(100), Duration::ZERO);
        assert_eq!(pause(50), Duration::from_millis(10));
        assert_eq!(pause(20), Duration::from_millis(40));
        assert_eq!(pause(0), pause(1));
        assert_eq!(pause(200), Duration::ZERO);
    }
}
