//! NVIDIA GPUs in confidential-computing mode: SPDM measurements.
//!
//! # What vouches for what
//!
//! ```text
//! NVIDIA's root ─▶ chip family ─▶ provisioner ─▶ GPU's identity key ─▶ GPU's attestation key ─▶ report
//! ```
//!
//! [`verify_device_key`] takes all but the last arrow; what it returns can be kept, and then [`verify_report`] verifies
//! one signature. The attestation key belongs to the firmware that runs: after an update of that firmware, or of the
//! GPU's identity, there is a new certificate.
//!
//! # Reference values
//!
//! What a GPU measures means something only beside what it should be. NVIDIA publishes that for every driver and every
//! VBIOS as a signed file (RIM). Whoever keeps the references takes them from there; the files' own signatures (XML) are
//! not verified here. A report passes if there is a reference for exactly its driver and one for exactly its VBIOS, and
//! every measurement in either is as it says. So a GPU in its development mode, which measures otherwise, does not pass.
//!
//! # What is not looked at
//!
//! NVIDIA's service that tells by OCSP whether one GPU's certificate was revoked: the chain has no answer from it. Lists
//! of revoked authorities are. The opaque fields beyond versions, board and firmware id are signed but judged by
//! nobody.

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
