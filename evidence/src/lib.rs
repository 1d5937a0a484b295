//! Verifies what a trusted execution environment or a confidential GPU signs, down to its vendor's root.
//!
//! # What it does
//!
//! | module | evidence | signatures the first time | and for a renewal |
//! |---|---|---|---|
//! | [`intel`] | SGX and TDX quotes, versions 3, 4 and 5 | 4 ECDSA P-256 | 1 |
//! | [`snp`] | SEV-SNP reports, versions 2 to 5, of Milan, Genoa and Turin | 2 RSA-4096, 1 ECDSA P-384 | 1 |
//! | [`nvidia`] | SPDM 1.1 measurements of GPUs | 5 ECDSA P-384 | 1 |
//!
//! Each comes in two steps. The first verifies a chain of certificates and returns a key that can be encoded and kept;
//! the second verifies evidence with such a key, and looks again at all that may have changed since: trusted roots,
//! times, revocation lists, collateral. So a machine that renews its evidence costs one signature.
//!
//! What comes out is an [`Unbound`]: somebody's TEE signed something. Only [`Unbound::bound_to`] makes an
//! [`Attestation`] of it, by comparing what the evidence was made for with a [`Binding`] to one machine, chain, worker
//! key, sealing key and recent block.
//!
//! # What it does not do
//!
//! It has no clock, no network and no opinion: time, collateral, revocation lists, policies and [`TrustRoots`] are
//! arguments. [`vendor_roots`] holds the vendors' roots, and nothing in this crate trusts any root by itself.
//!
//! # Hostile input
//!
//! Every length is compared with the bytes that are there before it is used, and what was not signed is not parsed
//! where the signature can be verified first (collateral). Nothing panics: there is no indexing, and the tests and the
//! fuzz target feed what no vendor would write. Allocations are bounded by the `MAX_…` constants.
//!
//! # Choices
//!
//! - Certificates are read by this crate, on top of `der`: the chains have fixed shapes, and slices instead of owned
//!   trees cost nothing in the runtime.
//! - `p256` and `p384` for ECDSA, `rsa` (0.10, RustCrypto) for AMD's RSASSA-PSS: maintained, `no_std`, without C. The
//!   known weakness of `rsa` is in timing of private keys; here there are public ones only.
//! - `dcap-qvl`, Intel quotes in pure Rust, verifies quote and collateral in one go, so nothing of it can be kept; it
//!   takes SGX quotes of version 3 only, allocates by lengths before it compares them, and says why it refuses in text
//!   only. It is what the tests compare this crate with.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(unsafe_code)]
#![warn(clippy::indexing_slicing)]

extern crate alloc;

mod attestation;
mod binding;
mod bytes;
mod error;
mod hash;
pub mod intel;
pub mod nvidia;
pub mod snp;
pub mod vendor_roots;
mod x509;

pub use attestation::{Attestation, Platform, Tcb, TcbStatus, Unbound, VersionText, Workload};
pub use binding::{BINDING_DOMAIN, Binding, REPORT_DATA_BYTES, report_data_of};
pub use error::{EvidenceError, Part};
pub use vendor_roots::vendor_roots;
pub use x509::{
    AmdRoot, CertificateId, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_REVOKED, MAX_ROOTS, Path,
    RevocationList, Serial, TrustRoot, TrustRoots, certificates_of_pem, issuers_of_chain,
};

/// A hash of 32 bytes.
pub type Hash = [u8; 32];
