//! Tests of the clock, grouped by its design goals.

#![allow(clippy::unwrap_used)]

use assay_primitives::clock::{ActiveClock, MILLIS_PER_HOUR, Millis};
use polkadot_sdk::{
    frame_support::{traits::Hooks, weights::Weight},
    sp_io,
    sp_runtime::BuildStorage,
};
use proptest::prelude::*;

use crate::{Event, MIN_ADVANCES_PER_EPOCH, WeightInfo, mock::*};

/// Timestamp of the first block in these tests.
const START_MS: Millis = 1_780_000_000_000;

mod active_time {
    use super::*;

    #[test]
    fn first_block_does_not_advance() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            assert_eq!(ChainClock::now_ms(), 0);
            assert_eq!(crate::LastTimestampMs::<Test>::get(), START_MS);
            assert_eq!(ChainClock::current_epoch(), 0);
        });
    }

    #[test]
    fn advances_by_what_the_timestamp_advanced() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            block_at(START_MS + 3_000);
            assert_eq!(ChainClock::now_ms(), 3_000);
            block_at(START_MS + 3_001);
            assert_eq!(ChainClock::now_ms(), 3_001);
            block_at(START_MS + 3_001 + MAX_ADVANCE_MS);
            assert_eq!(ChainClock::now_ms(), 3_001 + MAX_ADVANCE_MS);
        });
    }

    #[test]
    fn standstill_counts_as_the_longest_advance() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            // GIVEN a chain that stood still for a day
            let resumed_ms = START_MS + 24 * MILLIS_PER_HOUR;
            // WHEN it makes a block again
            block_at(resumed_ms);
            // THEN it lost all but four slots of that day
            assert_eq!(ChainClock::now_ms(), MAX_ADVANCE_MS);
            // AND goes on from there.
            block_at(resumed_ms + 3_000);
            assert_eq!(ChainClock::now_ms(), MAX_ADVANCE_MS + 3_000);
        });
    }

    #[test]
    fn does_not_run_backwards() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            block_at(START_MS + 3_000);
            block_at(START_MS + 1_000);
            assert_eq!(ChainClock::now_ms(), 3_000);
        });
    }

    #[test]
    fn saturates_at_the_end_of_numbers() {
        ExtBuilder::default().build().execute_with(|| {
            crate::ActiveTimeMs::<Test>::put(Millis::MAX - 1);
            crate::LastTimestampMs::<Test>::put(Millis::MAX - 10);
            block_at(Millis::MAX);
            assert_eq!(ChainClock::now_ms(), Millis::MAX);
        });
    }
}

mod epochs {
    use super::*;

    /// Makes blocks three seconds apart until active time is `until_ms`, a multiple of three seconds.
    fn run_to(until_ms: Millis) {
        while ChainClock::now_ms() < until_ms {
            block_at(crate::LastTimestampMs::<Test>::get() + 3_000);
        }
    }

    #[test]
    fn end_at_their_exact_length() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            run_to(EPOCH_DURATION_MS - 3_000);
            assert_eq!(ChainClock::current_epoch(), 0);
            assert_eq!(take_events(), vec![]);

            // One millisecond short of the end …
            block_at(START_MS + EPOCH_DURATION_MS - 1);
            assert_eq!(ChainClock::current_epoch(), 0);
            assert_eq!(EndedEpochs::get(), Vec::<u32>::new());

            // … and on it.
            block_at(START_MS + EPOCH_DURATION_MS);
            assert_eq!(ChainClock::current_epoch(), 1);
            assert_eq!(EndedEpochs::get(), vec![0]);
            assert_eq!(
                take_events(),
                vec![Event::EpochStarted {
                    epoch: 1,
                    active_time_ms: EPOCH_DURATION_MS
                }]
            );
        });
    }

    #[test]
    fn are_announced_once_and_in_order() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            run_to(3 * EPOCH_DURATION_MS + 9_000);
            assert_eq!(ChainClock::current_epoch(), 3);
            assert_eq!(EndedEpochs::get(), vec![0, 1, 2]);
            assert_eq!(
                take_events(),
                (1..=3u32)
                    .map(|epoch| Event::EpochStarted {
                        epoch,
                        active_time_ms: Millis::from(epoch) * EPOCH_DURATION_MS,
                    })
                    .collect::<Vec<_>>()
            );
        });
    }

    #[test]
    fn do_not_pass_while_the_chain_stands_still() {
        ExtBuilder::default().build_and_execute(|| {
            block_at(START_MS);
            block_at(START_MS + 1_000 * EPOCH_DURATION_MS);
            assert_eq!(ChainClock::current_epoch(), 0);
            assert_eq!(EndedEpochs::get(), Vec::<u32>::new());
        });
    }

    #[test]
    fn duration_is_what_genesis_said() {
        ExtBuilder::default()
            .epoch_duration_ms(MILLIS_PER_HOUR)
            .build_and_execute(|| assert_eq!(ChainClock::epoch_duration_ms(), MILLIS_PER_HOUR));
    }
}

mod genesis {
    use super::*;

    #[test]
    fn default_has_epochs_of_one_hour() {
        let storage = RuntimeGenesisConfig::default().build_storage().unwrap();
        sp_io::TestExternalities::from(storage).execute_with(|| {
            assert_eq!(ChainClock::epoch_duration_ms(), MILLIS_PER_HOUR);
            ChainClock::do_try_state().unwrap();
        });
    }

    #[test]
    fn duration_is_never_zero_even_without_genesis() {
        sp_io::TestExternalities::default().execute_with(|| {
            assert_eq!(ChainClock::epoch_duration_ms(), MILLIS_PER_HOUR);
            ChainClock::do_try_state().unwrap();
        });
    }

    #[test]
    #[should_panic(expected = "but an epoch lasts at least")]
    fn fails_when_an_epoch_is_too_short() {
        ExtBuilder::default()
            .epoch_duration_ms(MIN_ADVANCES_PER_EPOCH * MAX_ADVANCE_MS - 1)
            .build();
    }

    #[test]
    fn accepts_the_shortest_epoch() {
        ExtBuilder::default()
            .epoch_duration_ms(MIN_ADVANCES_PER_EPOCH * MAX_ADVANCE_MS)
            .build_and_execute(|| {});
    }

    #[test]
    #[should_panic(expected = "epoch_duration_ms is 0")]
    fn fails_when_epochs_have_no_length() {
        ExtBuilder::default().epoch_duration_ms(0).build();
    }
}

mod hooks {
    use super::*;

    #[test]
    fn on_initialize_charges_the_step_and_the_listener() {
        ExtBuilder::default().build_and_execute(|| {
            let expected = <() as WeightInfo>::advance() + LISTENER_WEIGHT;
            assert_eq!(ChainClock::on_initialize(1), expected);
            assert_ne!(expected, Weight::zero());
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the timestamps: time goes forward, no faster than the wall clock and no faster than the
    /// longest advance per block, and every epoch is announced once, in order.
    #[test]
    fn clock_keeps_its_promises(
        gaps_ms in prop::collection::vec(prop_oneof![0..30_000u64, 0..100_000_000u64], 1..300),
    ) {
        ExtBuilder::default().build_and_execute(|| {
            let mut timestamp_ms = START_MS;
            block_at(timestamp_ms);
            for gap_ms in gaps_ms {
                let before_ms = ChainClock::now_ms();
                let epoch_before = ChainClock::current_epoch();
                timestamp_ms += gap_ms;
                block_at(timestamp_ms);
                assert_eq!(ChainClock::now_ms() - before_ms, gap_ms.min(MAX_ADVANCE_MS));
                assert!(ChainClock::current_epoch() - epoch_before <= 1);
                ChainClock::do_try_state().unwrap();
            }
            let announced: Vec<u32> = (0..ChainClock::current_epoch()).collect();
            assert_eq!(EndedEpochs::get(), announced);
        });
    }
}
