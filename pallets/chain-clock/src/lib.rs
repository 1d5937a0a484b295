//! Active time: the chain's timestamp without its standstills, divided into epochs.
//!
//! Every block adds the advance of its timestamp to active time, but never more than
//! [`Config::MaxAdvanceMs`](pallet::Config::MaxAdvanceMs). A standstill of a day adds only a few seconds of
//! active time, so nobody is charged, late or slashed for it. Every price and deadline in Assay uses this
//! clock, and no other.
//!
//! Design goals, each held by a test:
//!
//! 1. Active time never runs backwards and never faster than the timestamp.
//! 2. A block ends at most one epoch. Genesis refuses an epoch shorter than
//!    [`MIN_ADVANCES_PER_EPOCH`] of the longest possible steps, so one step cannot cross two ends.
//! 3. Epochs end one by one and in order, each announced once.
//! 4. The work of a block is O(1) and charged in every block, even if no epoch ends in it.

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
pub mod weights;

pub use pallet::*;
pub use weights::WeightInfo;

/// Minimum length of an epoch that genesis accepts, in multiples of the clock's maximum advance.
///
/// With one, a block could end an epoch that the block before began; with two, every epoch has a block of its
/// own, however late the blocks are.
pub const MIN_ADVANCES_PER_EPOCH: u64 = 2;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::clock::{ActiveClock, EpochIndex, MILLIS_PER_HOUR, Millis, OnEpochEnd};
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{OnTimestampSet, StorageVersion},
        },
        frame_system::pallet_prelude::*,
    };

    use crate::{MIN_ADVANCES_PER_EPOCH, WeightInfo};

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Maximum advance of active time by one block, in milliseconds: a few slots.
        ///
        /// If it is below the usual time between blocks, active time falls behind the timestamp on a healthy
        /// chain; if it is very large, consumers with running jobs are charged for a standstill. Must not be
        /// zero.
        #[pallet::constant]
        type MaxAdvanceMs: Get<Millis>;

        /// Listener for each epoch's end.
        type OnEpochEnd: OnEpochEnd;

        /// Weights of this pallet's work.
        type WeightInfo: WeightInfo;
    }

    /// Default length of an epoch: one hour.
    #[pallet::type_value]
    pub fn DefaultEpochDurationMs() -> Millis {
        MILLIS_PER_HOUR
    }

    /// Active time since genesis, in milliseconds.
    #[pallet::storage]
    pub type ActiveTimeMs<T> = StorageValue<_, Millis, ValueQuery>;

    /// Timestamp of the newest block, in milliseconds since the Unix epoch; zero before the first block.
    #[pallet::storage]
    pub type LastTimestampMs<T> = StorageValue<_, Millis, ValueQuery>;

    /// Epoch that contains the present active time.
    #[pallet::storage]
    pub type CurrentEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Length of every epoch in milliseconds of active time; fixed at genesis, never zero.
    #[pallet::storage]
    pub type EpochDurationMs<T> = StorageValue<_, Millis, ValueQuery, DefaultEpochDurationMs>;

    /// Genesis state: the length of epochs.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// Length of every epoch in milliseconds of active time; at least [`MIN_ADVANCES_PER_EPOCH`] times
        /// [`Config::MaxAdvanceMs`].
        pub epoch_duration_ms: Millis,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                epoch_duration_ms: DefaultEpochDurationMs::get(),
                _config: PhantomData,
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.epoch_duration_ms > 0 && self.epoch_duration_ms >= Pallet::<T>::shortest_epoch_ms(),
                "epoch_duration_ms is {}, but an epoch lasts at least {} ms ({} times the longest advance)",
                self.epoch_duration_ms,
                Pallet::<T>::shortest_epoch_ms(),
                MIN_ADVANCES_PER_EPOCH,
            );
            EpochDurationMs::<T>::put(self.epoch_duration_ms);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An epoch ended in this block and the next one began.
        EpochStarted {
            /// The epoch that began.
            epoch: EpochIndex,
            /// Active time of this block, in milliseconds since genesis.
            active_time_ms: Millis,
        },
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        /// Charges the work that the block's timestamp causes, as for a block that ends an epoch: the weight
        /// of the inherent does not include this pallet's.
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            T::WeightInfo::advance().saturating_add(T::OnEpochEnd::weight())
        }

        fn integrity_test() {
            assert!(
                T::MaxAdvanceMs::get() > 0,
                "a clock that may not advance stands still"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns the minimum length of an epoch: [`MIN_ADVANCES_PER_EPOCH`] times the maximum advance.
        pub(crate) fn shortest_epoch_ms() -> Millis {
            T::MaxAdvanceMs::get().saturating_mul(MIN_ADVANCES_PER_EPOCH)
        }

        /// Advances the clock to the timestamp of a block. Returns the epoch that this ended.
        pub(crate) fn advance(timestamp_ms: Millis) -> Option<EpochIndex> {
            let last_ms = LastTimestampMs::<T>::get();
            LastTimestampMs::<T>::put(timestamp_ms);
            // Zero: the first block has no earlier timestamp to compare with.
            let advance_ms = if last_ms == 0 {
                0
            } else {
                timestamp_ms.saturating_sub(last_ms).min(T::MaxAdvanceMs::get())
            };
            let active_time_ms = ActiveTimeMs::<T>::get().saturating_add(advance_ms);
            ActiveTimeMs::<T>::put(active_time_ms);

            let ended = CurrentEpoch::<T>::get();
            // The index cannot overflow: 2^32 epochs of even one second are more than a century.
            let next = ended.checked_add(1)?;
            if active_time_ms < EpochDurationMs::<T>::get().saturating_mul(next.into()) {
                return None;
            }
            CurrentEpoch::<T>::put(next);
            Self::deposit_event(Event::EpochStarted {
                epoch: next,
                active_time_ms,
            });
            Some(ended)
        }

        /// Checks the pallet's invariants:
        ///
        /// 1. An epoch cannot end twice in one block.
        /// 2. The current epoch contains the active time.
        /// 3. Active time never ran faster than the timestamp.
        pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            let active_time_ms = ActiveTimeMs::<T>::get();
            let duration_ms = EpochDurationMs::<T>::get();
            // 1.
            ensure!(duration_ms > 0, "epochs have no length");
            ensure!(
                duration_ms >= Self::shortest_epoch_ms(),
                "a block may end two epochs"
            );
            // 2.
            ensure!(
                active_time_ms / duration_ms == Millis::from(CurrentEpoch::<T>::get()),
                "the current epoch is not the one of the active time"
            );
            // 3.
            ensure!(
                active_time_ms <= LastTimestampMs::<T>::get(),
                "active time is ahead of the timestamp"
            );
            Ok(())
        }
    }

    impl<T: Config> OnTimestampSet<Millis> for Pallet<T> {
        fn on_timestamp_set(timestamp_ms: Millis) {
            if let Some(ended) = Self::advance(timestamp_ms) {
                T::OnEpochEnd::on_epoch_end(ended);
            }
        }
    }

    impl<T: Config> ActiveClock for Pallet<T> {
        fn now_ms() -> Millis {
            ActiveTimeMs::<T>::get()
        }

        fn current_epoch() -> EpochIndex {
            CurrentEpoch::<T>::get()
        }

        fn epoch_duration_ms() -> Millis {
            EpochDurationMs::<T>::get()
        }

        #[cfg(feature = "runtime-benchmarks")]
        fn benchmark_set_now_ms(now: Millis) {
            let epoch = now / EpochDurationMs::<T>::get().max(1);
            ActiveTimeMs::<T>::put(now);
            CurrentEpoch::<T>::put(EpochIndex::try_from(epoch).unwrap_or(EpochIndex::MAX));
            // The timestamp of a block reads all three before the block's hooks and calls do.
            // [`Self::advance`] has its own benchmark, which counts them.
            let keys = [
                ActiveTimeMs::<T>::hashed_key(),
                CurrentEpoch::<T>::hashed_key(),
                EpochDurationMs::<T>::hashed_key(),
            ];
            for key in keys {
                polkadot_sdk::frame_benchmarking::benchmarking::add_to_whitelist(key.to_vec().into());
            }
        }
    }
}
