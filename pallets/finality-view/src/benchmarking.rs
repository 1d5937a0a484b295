//! Benchmark of the inherent.

use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::traits::Get,
    frame_system::{self, RawOrigin},
    sp_runtime::traits::One,
};

use crate::{Call, Config, Pallet, Recent, RecentViews, WINDOW_BLOCKS};

#[benchmarks]
mod benches {
    use super::*;

    /// Of a full window, in descending order, by which finality turns out to have stalled.
    #[benchmark]
    fn state_finalized() {
        let most = T::MaxLagBlocks::get();
        let mut recent = RecentViews::full(most);
        let middle = (WINDOW_BLOCKS / 2) as usize;
        for (place, lag) in recent.lags.iter_mut().enumerate() {
            let below = u32::from(place > middle);
            *lag = most
                .saturating_add(WINDOW_BLOCKS)
                .saturating_sub(place as u32)
                .saturating_sub(below.saturating_mul(most));
        }
        // The oldest is the smallest: its place is taken by one that is larger than the threshold.
        recent.lags[0] = 0;
        recent.lag_blocks = most;
        Recent::<T>::put(recent);
        frame_system::Pallet::<T>::set_block_number(1_000_000_u32.into());

        #[extrinsic_call]
        _(RawOrigin::None, One::one());

        let recent = Recent::<T>::get();
        assert_eq!(recent.lags.len(), WINDOW_BLOCKS as usize);
        assert_eq!(recent.lag_blocks, recent.median());
        assert!(recent.lag_blocks > most);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::ExtBuilder::build(), crate::mock::Test,);
}
