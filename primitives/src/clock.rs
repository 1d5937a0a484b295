//! The one clock of every deadline and price: active time.
//!
//! Active time is the chain's timestamp with its standstills taken out, in milliseconds. Nobody is charged,
//! late or slashed for a day in which the chain made no blocks.

/// A point in, or a length of, active time in milliseconds.
pub type Millis = u64;

/// Index of an accounting period ("epoch of Assay"), counted from zero at genesis.
///
/// Independent of the sessions of BABE, which the consensus calls epochs too.
pub type EpochIndex = u32;

/// Milliseconds of an hour, the period that prices are quoted for.
pub const MILLIS_PER_HOUR: Millis = 60 * 60 * 1_000;

/// Source of active time. Implemented by `pallet-chain-clock`.
pub trait ActiveClock {
    /// Active time at the current block; before the block's timestamp inherent ran, at its parent.
    fn now_ms() -> Millis;

    /// The epoch that [`Self::now_ms`] lies in.
    fn current_epoch() -> EpochIndex;

    /// Length of every epoch, fixed at genesis; never zero.
    fn epoch_duration_ms() -> Millis;

    /// Makes [`Self::now_ms`] answer `now`, without ending epochs; for benchmarks of other pallets. Reading
    /// the clock costs them no access to the database, because each block does so before its hooks and calls.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_ms(now: Millis);
}

/// A clock that always stands at zero with one-hour epochs.
impl ActiveClock for () {
    fn now_ms() -> Millis {
        0
    }

    fn current_epoch() -> EpochIndex {
        0
    }

    fn epoch_duration_ms() -> Millis {
        MILLIS_PER_HOUR
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_ms(_: Millis) {}
}

/// Source of the time of day, by which certificates are valid. Everything else goes by [`ActiveClock`].
pub trait WallClock {
    /// Seconds since 1970 at the current block; before the block's timestamp inherent ran, at its parent.
    /// Zero in genesis.
    fn now_s() -> u64;

    /// Makes [`Self::now_s`] answer `now_s`; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_s(now_s: u64);
}

/// Hears of each epoch's end, once, in the block that ends it. Called by `pallet-chain-clock`.
///
/// Epochs end one by one and in order: a block never ends two. The work must be O(1); its weight is what
/// [`Self::weight`] says, charged in every block.
pub trait OnEpochEnd {
    /// `ended` is over and `ended + 1` has begun.
    fn on_epoch_end(ended: EpochIndex);

    /// Upper bound of the weight of [`Self::on_epoch_end`].
    fn weight() -> polkadot_sdk::sp_weights::Weight;
}

impl OnEpochEnd for () {
    fn on_epoch_end(_: EpochIndex) {}

    fn weight() -> polkadot_sdk::sp_weights::Weight {
        polkadot_sdk::sp_weights::Weight::zero()
    }
}

/// Notifies both, the first one first.
impl<First: OnEpochEnd, Second: OnEpochEnd> OnEpochEnd for (First, Second) {
    fn on_epoch_end(ended: EpochIndex) {
        First::on_epoch_end(ended);
        Second::on_epoch_end(ended);
    }

    fn weight() -> polkadot_sdk::sp_weights::Weight {
        First::weight().saturating_add(Second::weight())
    }
}
