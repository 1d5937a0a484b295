//! The session key by which validators sign what they saw of machines.

use polkadot_sdk::sp_core;

/// Key type of availability reports in a validator's keystore.
pub const AVAILABILITY_KEY_TYPE: sp_core::crypto::KeyTypeId = sp_core::crypto::KeyTypeId(*b"aval");

mod app {
    use polkadot_sdk::sp_application_crypto::{self, sr25519};

    use super::AVAILABILITY_KEY_TYPE;

    sp_application_crypto::app_crypto!(sr25519, AVAILABILITY_KEY_TYPE);
}

/// Public part of a validator's availability key (sr25519).
pub type AvailabilityId = app::Public;

/// Signature of an availability report.
pub type AvailabilitySignature = app::Signature;

#[cfg(feature = "std")]
/// An availability key pair.
pub type AvailabilityPair = app::Pair;
