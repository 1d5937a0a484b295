//! Session keys of a validator.

use alloc::vec::Vec;

use polkadot_sdk::sp_runtime::impl_opaque_keys;

use crate::{Availability, Babe, Grandpa};

impl_opaque_keys! {
    /// Public keys of a validator, one for each duty.
    pub struct SessionKeys {
        /// Key for making blocks.
        pub babe: Babe,
        /// Key for votes on finality.
        pub grandpa: Grandpa,
        /// Key for reports on the uptime of machines.
        pub availability: Availability,
    }
}

/// Returns session keys with the proof that their owner holds them, as [`SessionKeys::generate`] makes them.
pub(crate) fn generate(
    owner: Vec<u8>,
    seed: Option<Vec<u8>>,
) -> polkadot_sdk::sp_session::OpaqueGeneratedSessionKeys {
    SessionKeys::generate(&owner, seed).into()
}
