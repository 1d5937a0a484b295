use assay_primitives::finality::FinalityLag;
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::{DispatchClass, GetDispatchInfo},
        inherent::{InherentData, ProvideInherent},
        traits::Hooks,
    },
    sp_runtime::DispatchError,
};
use proptest::prelude::*;

use crate::{Call, Error, Event, InherentError, Recent, WINDOW_BLOCKS, mock::*};

/// Least part of a window that is more than half of it.
const MAJORITY: u64 = (WINDOW_BLOCKS as u64).div_ceil(2);

/// A window of a healthy chain.
fn healthy_window() {
    for _ in 0..WINDOW_BLOCKS {
        block_with_lag(2);
    }
}

#[test]
fn chain_without_statements_is_not_stalled() {
    ExtBuilder::build_and_execute(|| {
        assert_eq!(FinalityView::lag_blocks(), 0);
        assert!(!FinalityView::is_stalled());
    });
}

#[test]
fn lag_is_counted_from_the_parent() {
    ExtBuilder::build_and_execute(|| {
        // The parent itself is final.
        assert_ok!(state(999));
        assert_eq!(FinalityView::lag_blocks(), 0);
        System::set_block_number(1_001);
        assert_ok!(state(998));
        assert_eq!(Recent::<Test>::get().lags.into_inner(), [0, 2]);
        // The genesis block always is.
        System::set_block_number(1_002);
        assert_ok!(state(0));
        assert_eq!(FinalityView::lag_blocks(), 2);
    });
}

#[test]
fn statement_fails_when_it_is_of_no_block_below() {
    ExtBuilder::build_and_execute(|| {
        for finalized in [1_000, 1_001, u64::MAX] {
            assert_noop!(state(finalized), Error::<Test>::AboveParent);
        }
    });
}

#[test]
fn statement_fails_when_the_block_has_one() {
    ExtBuilder::build_and_execute(|| {
        assert_ok!(state(990));
        assert_noop!(state(990), Error::<Test>::AlreadyStated);
        System::set_block_number(1_001);
        assert_ok!(state(990));
    });
}

#[test]
fn statement_fails_when_somebody_sends_it() {
    ExtBuilder::build_and_execute(|| {
        for origin in [RuntimeOrigin::signed(1), RuntimeOrigin::root()] {
            assert_noop!(
                FinalityView::state_finalized(origin, 990),
                DispatchError::BadOrigin
            );
        }
    });
}

#[test]
fn stall_is_seen_with_more_than_half_of_the_window_and_over_likewise() {
    ExtBuilder::build_and_execute(|| {
        healthy_window();
        let stood_at = System::block_number() - 3;
        take_events();
        // Finality stands; every author sees it.
        let mut seen_after = 0;
        while !FinalityView::is_stalled() {
            let block = System::block_number() + 1;
            System::set_block_number(block);
            assert_ok!(state(stood_at));
            seen_after += 1;
            assert!(seen_after < 1_000);
        }
        let lag = FinalityView::lag_blocks();
        assert_eq!(lag, MAX_LAG_BLOCKS + 1);
        assert_eq!(take_events(), [Event::FinalityStalled { lag_blocks: lag }]);
        // As the crate's head says, of the last final block.
        let behind = System::block_number() - 1 - stood_at;
        assert_eq!(behind, u64::from(MAX_LAG_BLOCKS) + MAJORITY);

        // It resumes.
        let mut over_after = 0;
        while FinalityView::is_stalled() {
            block_with_lag(2);
            over_after += 1;
        }
        // Those of the window that saw small lags before the stall are dropped meanwhile.
        assert_eq!(over_after, MAJORITY);
        assert_eq!(take_events(), [Event::FinalityResumed { lag_blocks: 2 }]);
    });
}

#[test]
fn threshold_itself_is_no_stall() {
    ExtBuilder::build_and_execute(|| {
        for _ in 0..WINDOW_BLOCKS {
            block_with_lag(MAX_LAG_BLOCKS.into());
        }
        assert!(!FinalityView::is_stalled());
        for _ in 0..WINDOW_BLOCKS {
            block_with_lag(u64::from(MAX_LAG_BLOCKS) + 1);
        }
        assert!(FinalityView::is_stalled());
    });
}

#[test]
fn every_author_but_just_half_may_lie_to_no_effect() {
    for (truth, lie) in [(2, 900), (900, 0)] {
        ExtBuilder::build_and_execute(|| {
            for block in 0..WINDOW_BLOCKS {
                block_with_lag(if block < WINDOW_BLOCKS / 2 { lie } else { truth });
            }
            assert_eq!(u64::from(FinalityView::lag_blocks()), truth);
            // One more is a majority.
            for block in 0..WINDOW_BLOCKS {
                block_with_lag(if block <= WINDOW_BLOCKS / 2 { lie } else { truth });
            }
            assert_eq!(u64::from(FinalityView::lag_blocks()), lie);
        });
    }
}

#[test]
fn minority_has_most_of_a_window_as_seldom_as_is_said() {
    // Probability that an author with this share of all blocks makes more than half of a window.
    let by_luck = |share: f64| -> f64 {
        let window = WINDOW_BLOCKS as i32;
        (MAJORITY as i32..=window)
            .map(|own| {
                let ways: f64 = (0..own)
                    .map(|chosen| f64::from(window - chosen) / f64::from(chosen + 1))
                    .product();
                ways * share.powi(own) * (1.0 - share).powi(window - own)
            })
            .sum()
    };
    assert!(by_luck(0.2) < 1.0 / 100_000.0);
    assert!(by_luck(0.25) < 1.0 / 3_000.0);
    assert!(by_luck(1.0 / 3.0) < 1.0 / 70.0);
    // So that this is no calculation that always gives nothing.
    assert!((by_luck(0.5) - 0.5).abs() < 1e-9);
}

#[test]
fn inherent_says_what_the_node_says_and_never_more_than_the_parent() {
    ExtBuilder::build_and_execute(|| {
        let made = |finalized| FinalityView::create_inherent(&data_of(finalized));
        assert_eq!(made(990), Some(Call::state_finalized { finalized: 990 }));
        // A justification that arrived while the block was made.
        assert_eq!(made(1_005), Some(Call::state_finalized { finalized: 999 }));
        let call = RuntimeCall::from(made(990).expect("the node states one"));
        assert_eq!(call.get_dispatch_info().class, DispatchClass::Mandatory);
    });
}

#[test]
fn importers_refuse_a_block_without_a_statement() {
    ExtBuilder::build_and_execute(|| {
        assert_eq!(
            FinalityView::is_inherent_required(&data_of(990)),
            Ok(Some(InherentError::Missing))
        );
        assert!(FinalityView::is_inherent(&Call::state_finalized {
            finalized: 990
        }));
        // A tool that follows no chain makes blocks without one.
        let none = InherentData::new();
        assert_eq!(FinalityView::create_inherent(&none), None);
        assert_eq!(FinalityView::is_inherent_required(&none), Ok(None));
    });
}

#[test]
fn integrity_test_works() {
    ExtBuilder::build_and_execute(<FinalityView as Hooks<_>>::integrity_test);
}

proptest! {
    /// A minority never moves the lag out of what honest authors stated.
    #[test]
    fn lag_lies_between_what_honest_authors_stated(
        honest in prop::collection::vec(0..500_u64, MAJORITY as usize),
        lies in prop::collection::vec(0..900_u64, WINDOW_BLOCKS as usize - MAJORITY as usize),
        order in any::<u64>(),
    ) {
        ExtBuilder::build_and_execute(|| {
            let mut all: Vec<u64> = honest.iter().chain(&lies).copied().collect();
            // Any order will do: who makes which block is drawn.
            all.rotate_left(order as usize % WINDOW_BLOCKS as usize);
            for lag in all {
                block_with_lag(lag);
            }
            let lag = u64::from(FinalityView::lag_blocks());
            let (least, most) = (honest.iter().min().unwrap_or(&0), honest.iter().max().unwrap_or(&0));
            assert!((least..=most).contains(&&lag), "{lag}");
        });
    }
}
