//! Vendors of the tests' own, who sign what tests and benchmarks verify.
//!
//! No chain trusts their roots that is not made for a test or a measurement: this module is in no other build, and touches
//! nothing of the verification.

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
