//! Weights of `pallet_finality_view`.
//!
//! Not measured yet: twice what the clock's step takes, which reads and writes more. `scripts/benchmark` replaces this file.

#![allow(clippy::all)]
#![allow(missing_docs)]
#![allow(unused_parens)]
#![allow(unused_imports)]

use core::marker::PhantomData;

use polkadot_sdk::{
    frame_support::{
        traits::Get,
        weights::{Weight, constants::ParityDbWeight},
    },
    frame_system,
};

/// What the pallet's calls and hooks cost.
pub trait WeightInfo {
    fn state_finalized() -> Weight;
}

/// The measured weights, with the database of the runtime `T`.
pub struct SubstrateWeight<T>(PhantomData<T>);

#[rustfmt::skip]
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `FinalityView::Recent` (r:1 w:1)
    fn state_finalized() -> Weight {
        Weight::from_parts(65_000_000, 1_700)
            .saturating_add(T::DbWeight::get().reads(1_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
}

/// The same times with ParityDB's constants, for mocks.
#[rustfmt::skip]
impl WeightInfo for () {
    fn state_finalized() -> Weight {
        Weight::from_parts(65_000_000, 1_700)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
}
