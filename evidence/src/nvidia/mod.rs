//! NVIDIA GPUs in confidential-computing mode: SPDM measurements.
//!
//! # Chain of trust
//!
//! ```text
//! NVIDIA's root ─▶ chip family ─▶ provisioner ─▶ GPU's identity key ─▶ GPU's attestation key ─▶ report
//! ```
//!
//! [`verify_device_key`] covers all but the last arrow. Its result can be stored, and [`verify_report`] then
//! verifies a single signature. The attestation key belongs to the running firmware: an update of that
//! firmware, or of the GPU's identity, brings a new certificate.
//!
//! # Reference values
//!
//! A GPU's measurements have a meaning only beside reference values. NVIDIA publishes these for every driver
//! and every VBIOS as a signed file (RIM). The keeper of the references takes them from there; this crate
//! does not verify the files' own signatures (XML). A report passes if there is a reference for exactly its
//! driver and one for exactly its VBIOS, and every measurement in either matches. So a GPU in development
//! mode, which measures differently, fails.
//!
//! # Not checked
//!
//! The OCSP answer of NVIDIA's service on the revocation of a single GPU's certificate: the chain has no such
//! answer. Lists of revoked authorities are checked. The opaque fields are signed, but only versions, board
//! and firmware id among them are evaluated.

mod certificate;
mod reference;
mod report;
mod verify;

pub use certificate::{DeviceIdentity, DeviceKey, verify_device_key};
pub use reference::{
    Component, MAX_ALTERNATIVES, MAX_MEASUREMENTS, Measurement, Reference, ReferenceMeasurement, References,
};
pub use report::{GpuReport, MAX_REPORT_BYTES, OpaqueField};
pub use verify::{NvidiaPolicy, verify_report};
