//! Benchmarks of the clock's step; the pallet has no calls.

use assay_primitives::clock::{ActiveClock, Millis};
use polkadot_sdk::{frame_benchmarking::v2::*, frame_support::traits::Get, frame_system};

use crate::{ActiveTimeMs, Config, CurrentEpoch, Event, LastTimestampMs, Pallet};

/// A timestamp of an ordinary block: some time in 2026.
const TIMESTAMP_MS: Millis = 1_780_000_000_000;

#[benchmarks]
mod benches {
    use super::*;

    /// The step that ends an epoch. What [`Config::OnEpochEnd`] does is charged on its own.
    #[benchmark]
    fn advance() {
        let duration_ms = Pallet::<T>::epoch_duration_ms();
        ActiveTimeMs::<T>::put(duration_ms.saturating_sub(1));
        LastTimestampMs::<T>::put(TIMESTAMP_MS);

        let ended;
        #[block]
        {
            ended = Pallet::<T>::advance(TIMESTAMP_MS.saturating_add(T::MaxAdvanceMs::get()));
        }

        let active_time_ms = duration_ms
            .saturating_sub(1)
            .saturating_add(T::MaxAdvanceMs::get());
        assert_eq!(ended, Some(0));
        assert_eq!(CurrentEpoch::<T>::get(), 1);
        assert_eq!(ActiveTimeMs::<T>::get(), active_time_ms);
        frame_system::Pallet::<T>::assert_last_event(
            Event::<T>::EpochStarted {
                epoch: 1,
                active_time_ms,
            }
            .into(),
        );
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
    );
}
