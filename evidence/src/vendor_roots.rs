//! Root certificates of the vendors, as published.
//!
//! | constant | subject | SHA-256 of the DER | source |
//! |---|---|---|---|
//! | [`INTEL_SGX_ROOT`] | Intel SGX Root CA | `44a0196b…fab674d3` | [Intel][sgx] |
//! | [`AMD_ARK_MILAN`] | ARK-Milan | `69d063b4…9a540bcd` | [AMD][milan] |
//! | [`AMD_ARK_GENOA`] | ARK-Genoa | `4c6598d1…103db2f1` | [AMD][genoa] |
//! | [`AMD_ARK_TURIN`] | ARK-Turin | `1f084161…73dd3f6a` | [AMD][turin] |
//! | [`NVIDIA_DEVICE_IDENTITY`] | NVIDIA Device Identity CA | `102bf659…0b167b48` | see below |
//!
//! NVIDIA's is in the package `nv-local-gpu-verifier`, file `verifier/certs/verifier_device_root.pem`.
//! The tests compare them with the full fingerprints and with the roots that independent packages ship.
//!
//! [sgx]: https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer
//! [milan]: https://kdsintf.amd.com/vcek/v1/Milan/cert_chain
//! [genoa]: https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain
//! [turin]: https://kdsintf.amd.com/vcek/v1/Turin/cert_chain

use bounded_collections::BoundedVec;

use crate::{
    error::EvidenceError,
    snp::Product,
    x509::{AmdRoot, TrustRoot, TrustRoots},
};

/// Intel's root for SGX and TDX, valid until the end of 2049.
pub const INTEL_SGX_ROOT: &[u8] = include_bytes!("../roots/intel-sgx-root.der");

/// AMD's root for Milan, valid until October 2045.
pub const AMD_ARK_MILAN: &[u8] = include_bytes!("../roots/amd-ark-milan.der");

/// AMD's root for Genoa, Bergamo and Siena, valid until January 2047.
pub const AMD_ARK_GENOA: &[u8] = include_bytes!("../roots/amd-ark-genoa.der");

/// AMD's root for Turin, valid until May 2048.
pub const AMD_ARK_TURIN: &[u8] = include_bytes!("../roots/amd-ark-turin.der");

/// NVIDIA's root of device identities, without an end of validity.
pub const NVIDIA_DEVICE_IDENTITY: &[u8] = include_bytes!("../roots/nvidia-device-identity.der");

/// Returns all vendors' roots, the initial set of a released chain.
pub fn vendor_roots() -> Result<TrustRoots, EvidenceError> {
    let amd = [
        (Product::Milan, AMD_ARK_MILAN),
        (Product::Genoa, AMD_ARK_GENOA),
        (Product::Turin, AMD_ARK_TURIN),
    ];
    let mut roots = TrustRoots {
        intel: BoundedVec::truncate_from([TrustRoot::new(INTEL_SGX_ROOT)?].into()),
        amd: BoundedVec::default(),
        nvidia: BoundedVec::truncate_from([TrustRoot::new(NVIDIA_DEVICE_IDENTITY)?].into()),
    };
    for (product, der) in amd {
        let root = TrustRoot::new(der)?;
        // The list has room for eight.
        let _ = roots.amd.try_push(AmdRoot { product, root });
    }
    Ok(roots)
}
