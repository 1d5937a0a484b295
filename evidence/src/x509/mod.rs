//! As much of X.509 as the vendors' chains need, read without copying.
//!
//! Each vendor's chain has one shape: a known number of certificates, one signature algorithm, no name constraints, no
//! policies. So there is no path building and no choice: certificates come in order, and everything unusual is refused.

mod certificate;
pub(crate) mod key;
mod path;
mod pem;
pub(crate) mod reader;
mod revocation;
mod root;

pub(crate) use certificate::Certificate;
pub(crate) use path::verify_path;
pub use path::{CertificateId, Path, Serial, issuers_of_chain};
pub use pem::certificates_of_pem;
pub use revocation::{MAX_REVOKED, RevocationList};
pub use root::{AmdRoot, MAX_ROOTS, TrustRoot, TrustRoots};

/// Bytes of the longest certificate that is read. The longest genuine one is AMD's, of 1.7 kB.
pub const MAX_CERTIFICATE_BYTES: usize = 4_096;

/// Certificates of the longest chain, with its root: NVIDIA's.
pub const MAX_CHAIN_CERTIFICATES: usize = 6;

/// Which certificates of a chain must be covered by a revocation list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RevocationRule<'a> {
    /// The lists that are known, each verified.
    pub(crate) lists: &'a [RevocationList],
    /// From this place on, counted from the device's certificate, every certificate must be covered.
    pub(crate) required_from: usize,
}
