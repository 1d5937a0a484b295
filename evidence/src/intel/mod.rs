//! Intel SGX and TDX: DCAP quotes.
//!
//! # Chain of trust
//!
//! ```text
//! Intel's root ─┬─▶ PCK authority ─▶ PCK certificate ─▶ QE report ─▶ attestation key ─▶ quote
//!               ├─▶ TCB signer ─▶ TCB info     which firmware is good, by FMSPC
//!               │              └▶ QE identity  which quoting enclave is good
//!               └─▶ list of revoked authorities; each authority ─▶ list of revoked PCK certificates
//! ```
//!
//! Each arrow is a signature that is verified once. [`verify_pck_chain`] covers the first two and
//! [`verify_attestation_key`] the next; their results can be stored, and [`verify_quote`] then verifies a
//! single signature. [`verify_tcb_info`] and [`verify_qe_identity`] verify collateral, which can be stored
//! too.
//!
//! # Not checked
//!
//! The measurement of the TDX module and the processor's own report fields. As in Intel's own verifier, the
//! signer and version of the module and the security versions of the certificate decide.

mod collateral;
mod pck;
mod quote;
mod verify;

pub use collateral::{
    Advisories, Advisory, IntelTee, MAX_ADVISORIES, MAX_COLLATERAL_BYTES, MAX_TCB_LEVELS, ModuleIdentity,
    ModuleLevel, QeIdentity, QeLevel, SeamModule, TcbInfo, TcbInfoId, TcbLevel, verify_qe_identity,
    verify_tcb_info,
};
pub use pck::{PckKey, SgxTcb, platform_of_certificate, verify_pck_chain};
pub use quote::{MAX_QUOTE_BYTES, Quote};
pub use verify::{
    AttestationKey, Collateral, IntelPolicy, QuotingEnclave, verify_attestation_key, verify_quote,
};
