//! Real evidence, and test vendors that issue any other.

pub(crate) mod allocation;
pub(crate) mod amd;
pub(crate) mod der;
pub(crate) mod intel;
pub(crate) mod keys;
pub(crate) mod nvidia;
pub(crate) mod real;
pub(crate) mod samples;
