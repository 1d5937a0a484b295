//! Verifies evidence from trusted execution environments and confidential GPUs, down to the vendor's root.
//!
//! # Evidence
//!
//! | module | evidence | signatures the first time | and for a renewal |
//! |---|---|---|---|
//! | [`intel`] | SGX and TDX quotes, versions 3, 4 and 5 | 4 ECDSA P-256 | 1 |
//! | [`snp`] | SEV-SNP reports, versions 2 to 5, of Milan, Genoa and Turin | 2 RSA-4096, 1 ECDSA P-384 | 1 |
//! | [`nvidia`] | SPDM 1.1 measurements of GPUs | 5 ECDSA P-384 | 1 |
//!
//! Each kind is verified in two steps. The first verifies a chain of certificates and returns a key that can
//! be encoded and stored. The second verifies evidence with such a key and checks again everything that can
//! change: trusted roots, times, revocation lists, collateral. So a renewal costs one signature verification.
//!
//! The result is an [`Unbound`], which proves only that some genuine TEE signed the evidence.
//! [`Unbound::bound_to`] returns the [`Attestation`] after it has compared the evidence with a [`Binding`] to
//! one machine, chain, worker key, sealing key and recent block.
//!
//! # Arguments instead of state
//!
//! The crate has no clock, no network and no policy of its own: time, collateral, revocation lists, policies
//! and [`TrustRoots`] are arguments. [`vendor_roots`] holds the vendors' roots, but nothing in this crate
//! trusts a root by itself.
//!
//! # Hostile input
//!
//! Every length is compared with the remaining bytes before it is used. Collateral is parsed only after its
//! signature was verified. Nothing panics: the crate does not index, and the tests and the fuzz target feed
//! malformed input. The `MAX_…` constants bound allocations.
//!
//! # Choices
//!
//! - This crate parses certificates itself, on top of `der`: the chains have fixed shapes, and slices instead
//!   of owned trees cost nothing in the runtime.
//! - `p256` and `p384` for ECDSA, `rsa` (0.10, RustCrypto) for AMD's RSASSA-PSS: maintained, `no_std`,
//!   without C. The known weakness of `rsa` is in the timing of private keys; this crate uses public keys
//!   only.
//! - `dcap-qvl` (Intel quotes in pure Rust) verifies quote and collateral together, so no intermediate result
//!   can be stored. It takes SGX quotes of version 3 only, allocates by lengths before it compares them, and
//!   reports errors as text only. The tests compare this crate with it.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(unsafe_code)]
#![warn(clippy::indexing_slicing)]

extern crate alloc;

mod attestation;
mod binding;
mod bytes;
#[cfg(feature = "client")]
mod client;
mod collateral;
mod error;
mod hash;
pub mod intel;
pub mod nvidia;
pub mod snp;
mod tcb;
pub mod vendor_roots;
mod x509;

pub use attestation::{Attestation, Platform, Unbound, VersionText, Workload};
pub use binding::{BINDING_DOMAIN, Binding, REPORT_DATA_BYTES, report_data_of};
pub use collateral::CollateralId;
pub use error::{EvidenceError, Part};
pub use tcb::{Tcb, TcbStatus};
pub use vendor_roots::vendor_roots;
pub use x509::{
    AmdRoot, CertificateId, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_REVOKED, MAX_ROOTS, Path,
    RevocationList, Serial, TrustRoot, TrustRoots, certificates_of_pem, issuers_of_chain,
};

/// Hash of 32 bytes.
pub type Hash = [u8; 32];
