//! Reference values for the measurements of GPUs.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::report::GpuReport;
use crate::{Hash, attestation::VersionText, error::EvidenceError, hash::blake2_256};

/// Maximum number of measurements in a reference; NVIDIA's files have 64.
pub const MAX_MEASUREMENTS: u32 = 64;

/// Maximum number of good values of one measurement.
pub const MAX_ALTERNATIVES: u32 = 8;

/// Measurement: a SHA-384 hash.
pub type Measurement = [u8; 48];

/// Component that a reference is for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Component {
    /// Driver, on any board.
    #[codec(index = 0)]
    Driver,
    /// VBIOS of a board.
    #[codec(index = 1)]
    Vbios,
}

/// Reference values of one measurement.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ReferenceMeasurement {
    /// Index in reports, counted from one. NVIDIA's files count from zero.
    pub index: u8,
    /// Good values.
    pub alternatives: BoundedVec<Measurement, ConstU32<MAX_ALTERNATIVES>>,
}

/// Reference values for one version of a driver or VBIOS: the active measurements of NVIDIA's file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Reference {
    /// Component that the reference is for.
    pub component: Component,
    /// Chip, such as `GH100`.
    pub chip: VersionText,
    /// Board, such as `1010_0200_882`; empty for a driver.
    pub board: VersionText,
    /// Version, such as `550.90.07` or `96.00.9F.00.01`.
    pub version: VersionText,
    /// Measurements.
    pub measurements: BoundedVec<ReferenceMeasurement, ConstU32<MAX_MEASUREMENTS>>,
}

impl Reference {
    /// Returns the lookup key: a hash of component, chip, board and version.
    pub fn key(&self) -> Hash {
        key(self.component, &self.chip, &self.board, &self.version)
    }

    pub(super) fn check(&self, report: &GpuReport<'_>) -> Result<(), EvidenceError> {
        if self.measurements.is_empty() {
            // A reference without measurements must not pass a report.
            return Err(EvidenceError::NoReference);
        }
        for ReferenceMeasurement { index, alternatives } in &self.measurements {
            let index = *index;
            let fits = report
                .measurement(index)
                .is_some_and(|measured| alternatives.iter().any(|good| good == measured));
            if !fits {
                return Err(EvidenceError::MeasurementMismatch { index });
            }
        }
        Ok(())
    }
}

/// Keys of the references that a report needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct References {
    /// [`Reference::key`] for its driver.
    pub driver: Hash,
    /// [`Reference::key`] for its VBIOS.
    pub vbios: Hash,
}

impl References {
    /// Returns the keys for a report of this chip; `None` if the report does not name its versions.
    pub fn of(report: &GpuReport<'_>, chip: &[u8]) -> Option<Self> {
        Some(Self {
            driver: key(Component::Driver, chip, &[], &report.driver_version()?),
            vbios: key(Component::Vbios, chip, &report.board()?, &report.vbios_version()?),
        })
    }
}

fn key(component: Component, chip: &[u8], board: &[u8], version: &[u8]) -> Hash {
    // The SCALE encoding is injective: no two lists of parts give the same bytes.
    let parts = (component, chip, board, version).encode();
    blake2_256(&[b"assay/evidence/reference/v1", &parts])
}
