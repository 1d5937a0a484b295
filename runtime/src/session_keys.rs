//! The keys by which a validator takes part in a session.

use alloc::vec::Vec;

use assay_primitives::availability::AvailabilityId;
use polkadot_sdk::{
    frame_support::traits::OneSessionHandler,
    sp_runtime::{BoundToRuntimeAppPublic, impl_opaque_keys},
};

use crate::{AccountId, Babe, Grandpa};

impl_opaque_keys! {
    /// One public key for each duty of a validator.
    pub struct SessionKeys {
        /// Makes blocks.
        pub babe: Babe,
        /// Votes on finality.
        pub grandpa: Grandpa,
        /// Signs reports of which machines were seen up.
        pub availability: AvailabilityDuty,
    }
}

/// Binds the key type `aval` into the session keys.
///
/// The session pallet keeps who holds which key, which is all that checking a report's signature needs;
/// there is no state of this duty's own to rotate.
pub struct AvailabilityDuty;

impl BoundToRuntimeAppPublic for AvailabilityDuty {
    type Public = AvailabilityId;
}

impl OneSessionHandler<AccountId> for AvailabilityDuty {
    type Key = AvailabilityId;

    fn on_genesis_session<'a, I>(_: I)
    where
        I: Iterator<Item = (&'a AccountId, Self::Key)> + 'a,
    {
    }

    fn on_new_session<'a, I>(_: bool, _: I, _: I)
    where
        I: Iterator<Item = (&'a AccountId, Self::Key)> + 'a,
    {
    }

    fn on_disabled(_: u32) {}
}

/// Session keys, and the proof that their owner holds them, as [`SessionKeys::generate`] makes them.
pub(crate) fn generate(
    owner: Vec<u8>,
    seed: Option<Vec<u8>>,
) -> polkadot_sdk::sp_session::OpaqueGeneratedSessionKeys {
    SessionKeys::generate(&owner, seed).into()
}
