//! The subset of X.509 that the vendors' chains need, read without copying.
//!
//! Each vendor's chain has one shape: a known number of certificates, one signature algorithm, no name
//! constraints, no policies. So there is no path building: certificates come in order, and everything unusual
//! is refused.

mod certificate;
pub(crate) mod key;
mod path;
mod pem;
pub(crate) mod reader;
mod revocation;
mod root;
mod serial;

pub(crate) use certificate::Certificate;
pub(crate) use path::verify_path;
pub use path::{Path, issuers_of_chain};
pub use pem::certificates_of_pem;
pub use revocation::{MAX_REVOKED, RevocationList};
pub use root::{AmdRoot, MAX_ROOTS, TrustRoot, TrustRoots};
pub use serial::{CertificateId, Serial};

/// Maximum length of a certificate in bytes. The longest genuine one is AMD's, of 1.7 kB.
pub const MAX_CERTIFICATE_BYTES: usize = 4_096;

/// Number of certificates of the longest chain with its root, NVIDIA's.
pub const MAX_CHAIN_CERTIFICATES: usize = 6;

/// Rule that selects the certificates of a chain that a revocation list must cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RevocationRule<'a> {
    /// Known lists, each verified.
    pub(crate) lists: &'a [RevocationList],
    /// Position, counted from the device's certificate, from which on every certificate must be covered.
    pub(crate) required_from: usize,
}
