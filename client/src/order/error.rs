//! Errors of orders.

use assay_primitives::{job::MAX_REPLICAS, machine::MAX_SLOTS, market::MAX_NODES};

use super::{MAX_ATTEMPTS, MAX_DURATION_MS, MAX_VERIFICATION_MS, MIN_DURATION_MS};
use crate::manifest::ManifestError;

/// Reason why an order cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The number of machines is out of its range.
    #[error("{nodes} machines are wanted; allowed: 1 to {MAX_NODES}")]
    BadNodes {
        /// Machines wanted.
        nodes: u8,
    },
    /// The number of slots is out of its range.
    #[error("{slots} slots of each machine are wanted; allowed: 1 to {MAX_SLOTS}")]
    BadSlots {
        /// Slots wanted.
        slots: u8,
    },
    /// The time limit is out of its range.
    #[error("the time limit is {duration_ms} ms; allowed: {MIN_DURATION_MS} ms to {MAX_DURATION_MS} ms")]
    BadDuration {
        /// Time limit, in milliseconds.
        duration_ms: u64,
    },
    /// A result would wait for its verdict too long.
    #[error(
        "a result would wait {wait_ms} ms for its verdict; allowed: at most {MAX_VERIFICATION_MS} ms, as the consumer's \
         window or as the time limit of a task that a quorum verifies"
    )]
    BadVerification {
        /// Longest wait, in milliseconds.
        wait_ms: u64,
    },
    /// The replicas of a quorum are not the machines of the order, or out of their range.
    #[error(
        "a quorum of {replicas} replicas is wanted on {nodes} machines; allowed: 2 to {MAX_REPLICAS} replicas, each on a \
         machine of its own"
    )]
    BadReplicas {
        /// Replicas of the quorum.
        replicas: u8,
        /// Machines of the order.
        nodes: u8,
    },
    /// The threshold of a quorum is not a majority of its replicas.
    #[error(
        "{threshold} of {replicas} replicas shall agree; allowed: more than half of them, and at most all"
    )]
    BadThreshold {
        /// Replicas that have to agree.
        threshold: u8,
        /// Replicas.
        replicas: u8,
    },
    /// The chain cannot verify proofs yet.
    #[error("a proof of the computation cannot be verified yet; choose another verification")]
    ProofNotSupported,
    /// The number of attempts is out of its range.
    #[error("{attempts} attempts are wanted; allowed: 1 to {MAX_ATTEMPTS}")]
    BadAttempts {
        /// Attempts wanted.
        attempts: u8,
    },
    /// The point that machines shall be near is not on earth.
    #[error(
        "the point of `near` is not on earth; allowed: −90 to 90 degrees north, −180 to 180 degrees east"
    )]
    NotOnEarth,
    /// The reference is of another image than the order names.
    #[error("the order is for the image {wanted}, not for {found}; resolve the name of the order")]
    OtherImage {
        /// Image of the order.
        wanted: String,
        /// Reference that was given.
        found: String,
    },
    /// The settings of the container make no valid manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
