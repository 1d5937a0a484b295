use std::cell::Cell;

use assay_primitives::clock::{ActiveClock, EpochIndex, MILLIS_PER_HOUR, Millis, WallClock};

/// Clock that the test sets; it tells active time and the time of day.
///
/// Its state belongs to the thread, so tests that run at once do not disturb each other. Storage has no part
/// in it: a call that fails leaves the time as it is. A mock calls [`Self::reset`] when it builds its
/// externalities.
pub struct MockClock;

/// Times of a thread's [`MockClock`].
#[derive(Clone, Copy)]
struct Times {
    /// Active time in milliseconds.
    active_ms: Millis,
    /// Milliseconds since 1970.
    wall_ms: u64,
    /// Length of an epoch in milliseconds of active time; not zero.
    epoch_duration_ms: Millis,
}

impl Times {
    /// Both clocks at zero, epochs of one hour.
    const START: Self = Self {
        active_ms: 0,
        wall_ms: 0,
        epoch_duration_ms: MILLIS_PER_HOUR,
    };
}

thread_local! {
    static TIMES: Cell<Times> = const { Cell::new(Times::START) };
}

fn times() -> Times {
    TIMES.get()
}

fn change(change: impl FnOnce(&mut Times)) {
    let mut times = times();
    change(&mut times);
    TIMES.set(times);
}

impl MockClock {
    /// Sets both clocks to zero and the length of an epoch to one hour.
    pub fn reset() {
        TIMES.set(Times::START);
    }

    /// Sets the active time. The time of day stays.
    pub fn set_now_ms(now_ms: Millis) {
        change(|times| times.active_ms = now_ms);
    }

    /// Sets the time of day, in seconds since 1970. The active time stays.
    pub fn set_now_s(now_s: u64) {
        change(|times| times.wall_ms = now_s * 1_000);
    }

    /// Sets the length of an epoch; not zero. The active time stays, so the current epoch changes.
    pub fn set_epoch_duration_ms(epoch_duration_ms: Millis) {
        assert_ne!(epoch_duration_ms, 0, "an epoch has a length");
        change(|times| times.epoch_duration_ms = epoch_duration_ms);
    }

    /// Moves the active time to another epoch, as far into it as it was into the last one. The time of day
    /// stays.
    pub fn set_epoch(epoch: EpochIndex) {
        change(|times| {
            let into_epoch_ms = times.active_ms % times.epoch_duration_ms;
            times.active_ms = Millis::from(epoch) * times.epoch_duration_ms + into_epoch_ms;
        });
    }

    /// Lets time pass on both clocks.
    pub fn advance_ms(duration_ms: Millis) {
        change(|times| {
            times.active_ms += duration_ms;
            times.wall_ms += duration_ms;
        });
    }

    /// Lets whole epochs pass on both clocks.
    pub fn advance_epochs(epochs: u32) {
        Self::advance_ms(Millis::from(epochs) * times().epoch_duration_ms);
    }

    /// Lets time of day pass during which the chain makes no blocks. The active time stays.
    pub fn stand_still_s(duration_s: u64) {
        change(|times| times.wall_ms += duration_s * 1_000);
    }
}

impl ActiveClock for MockClock {
    fn now_ms() -> Millis {
        times().active_ms
    }

    fn current_epoch() -> EpochIndex {
        let Times {
            active_ms,
            epoch_duration_ms,
            ..
        } = times();
        EpochIndex::try_from(active_ms / epoch_duration_ms).unwrap_or(EpochIndex::MAX)
    }

    fn epoch_duration_ms() -> Millis {
        times().epoch_duration_ms
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_ms(now: Millis) {
        Self::set_now_ms(now);
    }
}

impl WallClock for MockClock {
    fn now_s() -> u64 {
        times().wall_ms / 1_000
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_s(now_s: u64) {
        Self::set_now_s(now_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_and_only_one_stands_still() {
        MockClock::reset();
        MockClock::set_now_s(1_000);
        MockClock::advance_ms(2_500);
        assert_eq!((MockClock::now_ms(), MockClock::now_s()), (2_500, 1_002));
        MockClock::stand_still_s(60);
        assert_eq!((MockClock::now_ms(), MockClock::now_s()), (2_500, 1_062));
    }

    #[test]
    fn set_epoch_keeps_the_time_within_the_epoch() {
        MockClock::reset();
        MockClock::set_epoch_duration_ms(60_000);
        MockClock::set_now_ms(61_234);
        assert_eq!(MockClock::current_epoch(), 1);
        MockClock::set_epoch(7);
        assert_eq!(MockClock::now_ms(), 7 * 60_000 + 1_234);
        MockClock::advance_epochs(2);
        assert_eq!((MockClock::current_epoch(), MockClock::now_s()), (9, 120));
    }
}
