//! Lag of finality, by the statements of the authors of recent blocks.
//!
//! A runtime cannot see finality: GRANDPA's votes are not on chain. So every block's author states, in an
//! inherent, the highest block that its own node holds for finalized. The distance from there to the block's
//! parent is the author's *lag*; the chain's lag is the median of the last [`WINDOW_BLOCKS`] lags. On a
//! healthy chain it is 2 or 3 blocks. Above [`Config::MaxLagBlocks`](pallet::Config::MaxLagBlocks) finality
//! counts as stalled.
//!
//! # Bias by authors
//!
//! A statement is not proven, and importers cannot refuse a low one: they know of other justifications than
//! the author did. A block states one lag. While fewer than half of the window's statements are false, the
//! median lies between two lags that honest authors stated: `k` false statements move it no further than `k`
//! ranks up or down among the honest ones. False statements that are half of the window or more set it at
//! will. Authors with a fixed share of all blocks have more than half of a window by luck once in 100,000
//! windows at a fifth, in 3,000 at a quarter, in 70 at a third. An attacker with a third of GRANDPA's votes
//! can stall finality in truth by not voting, so a false statement gains it nothing. To hide a stall it needs
//! most blocks of every window of that stall.
//!
//! Importers refuse a block without a statement, so no author withdraws its block from the window by silence.
//!
//! # Delay of the detection
//!
//! A stall that begins suddenly is detected when more than half of the window state a larger lag than the
//! threshold: `MaxLagBlocks + (WINDOW_BLOCKS + 1) / 2` blocks after the last finalized one, plus or minus the
//! usual lag. Its end is detected `(WINDOW_BLOCKS + 1) / 2` blocks after finality resumed. Shorter stalls are
//! not detected.
//!
//! Design goals, each held by a test:
//!
//! 1. The lag is a median: a minority of the window's authors can neither fake a stall nor hide one.
//! 2. A statement never names a block above the parent, and every block has exactly one.
//! 3. The work of a block is O([`WINDOW_BLOCKS`]), and a reader of the lag reads one value.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{RecentViews, WINDOW_BLOCKS};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::finality::{FinalityLag, INHERENT_IDENTIFIER, InherentType};
    use polkadot_sdk::{
        frame_support::{
            inherent::{InherentData, InherentIdentifier, IsFatalError, ProvideInherent},
            pallet_prelude::*,
            traits::StorageVersion,
        },
        frame_system::{self, pallet_prelude::*},
        sp_runtime::traits::{One, Saturating, UniqueSaturatedInto},
    };

    use crate::{RecentViews, WeightInfo};

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Maximum lag, in blocks, at which finality does not count as stalled. Several times the lag of a
        /// healthy chain: otherwise ordinary delays count as stalls. Well below the length of deadlines:
        /// otherwise a stall is detected too late. Not zero.
        #[pallet::constant]
        type MaxLagBlocks: Get<u32>;

        /// Weights of this pallet's call.
        type WeightInfo: WeightInfo;
    }

    /// Lags by the statements of recent blocks' authors, and their median.
    #[pallet::storage]
    pub type Recent<T: Config> = StorageValue<_, RecentViews<BlockNumberFor<T>>, ValueQuery>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// The median lag passed the threshold: finality counts as stalled.
        FinalityStalled {
            /// Median lag, in blocks.
            lag_blocks: u32,
        },
        /// The median lag is at or below the threshold again: finality does not count as stalled any more.
        FinalityResumed {
            /// Median lag, in blocks.
            lag_blocks: u32,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The stated block is not below this one.
        AboveParent,
        /// This block has a statement already.
        AlreadyStated,
    }

    /// Reason for which importers refuse a block's inherents.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
    pub enum InherentError {
        /// The block has no statement of the block that its author holds for finalized.
        Missing,
    }

    impl IsFatalError for InherentError {
        fn is_fatal_error(&self) -> bool {
            true
        }
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(
                T::MaxLagBlocks::get() > 0,
                "finality is always a block behind at least"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// States the highest block that the author of this block holds for finalized. An inherent: each
        /// block has one.
        ///
        /// # Origin
        /// None: the author puts it into its block, and nobody can send it.
        ///
        /// # Parameters
        /// - `finalized`: number of the block; at most the parent's.
        ///
        /// # Errors
        /// Each makes the block invalid.
        /// - [`Error::AboveParent`]
        /// - [`Error::AlreadyStated`]
        ///
        /// # Events
        /// - [`Event::FinalityStalled`] or [`Event::FinalityResumed`], if the median passes the threshold.
        #[pallet::call_index(0)]
        #[pallet::weight((T::WeightInfo::state_finalized(), DispatchClass::Mandatory))]
        pub fn state_finalized(origin: OriginFor<T>, finalized: BlockNumberFor<T>) -> DispatchResult {
            ensure_none(origin)?;
            let block = frame_system::Pallet::<T>::block_number();
            ensure!(finalized < block, Error::<T>::AboveParent);
            let mut recent = Recent::<T>::get();
            ensure!(recent.stated_at < block, Error::<T>::AlreadyStated);
            let parent = block.saturating_sub(One::one());
            let was_stalled = Self::is_stall(recent.lag_blocks);
            recent.state(block, parent.saturating_sub(finalized).unique_saturated_into());
            let lag_blocks = recent.lag_blocks;
            Recent::<T>::put(recent);
            match (was_stalled, Self::is_stall(lag_blocks)) {
                (false, true) => Self::deposit_event(Event::FinalityStalled { lag_blocks }),
                (true, false) => Self::deposit_event(Event::FinalityResumed { lag_blocks }),
                _ => {}
            }
            Ok(())
        }
    }

    #[pallet::inherent]
    impl<T: Config> ProvideInherent for Pallet<T> {
        type Call = Call<T>;
        type Error = InherentError;
        const INHERENT_IDENTIFIER: InherentIdentifier = INHERENT_IDENTIFIER;

        fn create_inherent(data: &InherentData) -> Option<Self::Call> {
            let finalized = stated(data)?;
            // A node may finalize a block above the parent between choosing the parent and making the block.
            let parent = frame_system::Pallet::<T>::block_number().saturating_sub(One::one());
            Some(Call::state_finalized {
                finalized: BlockNumberFor::<T>::from(finalized).min(parent),
            })
        }

        fn is_inherent(call: &Self::Call) -> bool {
            matches!(call, Call::state_finalized { .. })
        }

        fn is_inherent_required(data: &InherentData) -> Result<Option<Self::Error>, Self::Error> {
            Ok(stated(data).map(|_| InherentError::Missing))
        }
    }

    /// Returns the height that a node knows to be finalized; `None` for a tool that follows no chain.
    fn stated(data: &InherentData) -> Option<InherentType> {
        data.get_data(&INHERENT_IDENTIFIER).ok().flatten()
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Returns the number of blocks by which finality is behind: the median of recent authors'
        /// statements.
        pub fn finality_lag() -> u32 {
            Self::lag_blocks()
        }
    }

    impl<T: Config> Pallet<T> {
        fn is_stall(lag_blocks: u32) -> bool {
            lag_blocks > T::MaxLagBlocks::get()
        }

        /// Checks the pallet's invariants:
        ///
        /// 1. The lag is the median of those that are kept.
        /// 2. No statement is of a future block.
        pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            let recent = Recent::<T>::get();
            // 1
            ensure!(
                recent.lag_blocks == recent.median(),
                "1: the lag is not the median of what authors stated"
            );
            // 2
            ensure!(
                recent.stated_at <= frame_system::Pallet::<T>::block_number(),
                "2: a view was stated in a block that is still to come"
            );
            Ok(())
        }
    }

    impl<T: Config> FinalityLag for Pallet<T> {
        fn lag_blocks() -> u32 {
            Recent::<T>::get().lag_blocks
        }

        fn is_stalled() -> bool {
            Self::is_stall(Self::lag_blocks())
        }

        #[cfg(feature = "runtime-benchmarks")]
        fn benchmark_set_stalled(is_stalled: bool) {
            let lag_blocks = if is_stalled { u32::MAX } else { 0 };
            Recent::<T>::put(RecentViews::full(lag_blocks));
        }
    }
}
