//! The keys by which a validator takes part in a session.

use alloc::vec::Vec;

use polkadot_sdk::sp_runtime::impl_opaque_keys;

use crate::{Availability, Babe, Grandpa};

impl_opaque_keys! {
    /// One public key for each duty of a validator.
    pub struct SessionKeys {
        /// Makes blocks.
        pub babe: Babe,
        /// Votes on finality.
        pub grandpa: Grandpa,
        /// Signs reports of which machines were seen up.
        pub availability: Availability,
    }
}

/// Session keys, and the proof that their owner holds them, as [`SessionKeys::generate`] makes them.
pub(crate) fn generate(
    owner: Vec<u8>,
    seed: Option<Vec<u8>>,
) -> polkadot_sdk::sp_session::OpaqueGeneratedSessionKeys {
    SessionKeys::generate(&owner, seed).into()
}
