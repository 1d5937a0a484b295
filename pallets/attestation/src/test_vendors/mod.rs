//! Vendors of the tests, which sign the evidence and collateral that tests and benchmarks verify.
//!
//! Only chains of tests and measurements trust their roots: this module is in no other build, and changes
//! nothing in the verification.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the evidence crate's tests need more of it, and are tests"
)]

#[path = "../../../../evidence/tests/evidence/support/amd.rs"]
pub(crate) mod amd;
#[path = "../../../../evidence/tests/evidence/support/der.rs"]
pub(crate) mod der;
#[path = "../../../../evidence/tests/evidence/support/intel.rs"]
pub(crate) mod intel;
#[path = "../../../../evidence/tests/evidence/support/keys.rs"]
pub(crate) mod keys;
#[path = "../../../../evidence/tests/evidence/support/nvidia.rs"]
pub(crate) mod nvidia;

mod submissions;

pub(crate) use submissions::*;
