//! Test support that the pallets share: a settable clock, and fixtures of a market with the real registry.
//!
//! A dev-dependency only: no runtime contains it. It works with `std` only. A pallet whose mock uses it names
//! `assay-test-support/runtime-benchmarks` in its own feature `runtime-benchmarks`: with that feature the
//! traits of `assay-primitives` that the clock implements have more methods.

mod clock;
#[cfg(feature = "market")]
pub mod market;

use assay_primitives::{
    machine::MachineId,
    stake::{BondInspect, BondStanding},
};
use polkadot_sdk::{
    sp_core::{Pair, sr25519},
    sp_runtime::AccountId32,
};

pub use clock::MockClock;

/// Bonds of machines that are all sufficient and never settled.
pub struct SufficientBonds;

impl BondInspect for SufficientBonds {
    fn standing(_: MachineId) -> BondStanding {
        BondStanding::Sufficient
    }

    fn is_settled(_: MachineId) -> bool {
        false
    }

    fn has_pending_slash(_: MachineId) -> bool {
        false
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(_: MachineId) {}
}

/// Returns the key pair of the worker with this number.
pub fn worker_pair(number: u8) -> sr25519::Pair {
    sr25519::Pair::from_seed(&[number; 32])
}

/// Returns the account of [`worker_pair`].
pub fn worker_account(number: u8) -> AccountId32 {
    AccountId32::new(worker_pair(number).public().0)
}
