//! What a GPU's measurements should be.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::report::GpuReport;
use crate::{Hash, attestation::VersionText, error::EvidenceError, hash::blake2_256};

/// Most measurements of a reference; NVIDIA's files have 64.
pub const MAX_MEASUREMENTS: u32 = 64;

/// Most values that one measurement may have.
pub const MAX_ALTERNATIVES: u32 = 8;

/// A measurement: a SHA-384 hash.
pub type Measurement = [u8; 48];

/// What a reference is about.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Component {
    /// The driver, of whatever board.
    #[codec(index = 0)]
    Driver,
    /// The VBIOS of a board.
    #[codec(index = 1)]
    Vbios,
}

/// What one measurement should be.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ReferenceMeasurement {
    /// Its index in reports, counted from one. NVIDIA's files count from zero.
    pub index: u8,
    /// The values that are good.
    pub alternatives: BoundedVec<Measurement, ConstU32<MAX_ALTERNATIVES>>,
}

/// What the measurements of one version of a driver or VBIOS should be: the active ones of NVIDIA's file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Reference {
    /// What it is about.
    pub component: Component,
    /// The chip, such as `GH100`.
    pub chip: VersionText,
    /// The board, such as `1010_0200_882`; empty for a driver.
    pub board: VersionText,
    /// The version, such as `550.90.07` or `96.00.9F.00.01`.
    pub version: VersionText,
    /// The measurements.
    pub measurements: BoundedVec<ReferenceMeasurement, ConstU32<MAX_MEASUREMENTS>>,
}

impl Reference {
    /// What the reference is found by: component, chip, board and version.
    pub fn key(&self) -> Hash {
        key(self.component, &self.chip, &self.board, &self.version)
    }

    pub(super) fn check(&self, report: &GpuReport<'_>) -> Result<(), EvidenceError> {
        if self.measurements.is_empty() {
            // Nothing to compare with is no comparison.
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

/// Which references a report needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct References {
    /// [`Reference::key`] of its driver's.
    pub driver: Hash,
    /// [`Reference::key`] of its VBIOS's.
    pub vbios: Hash,
}

impl References {
    /// The references that a report of this chip needs; `None` where it does not say its versions.
    pub fn of(report: &GpuReport<'_>, chip: &[u8]) -> Option<Self> {
        Some(Self {
            driver: key(Component::Driver, chip, &[], &report.driver_version()?),
            vbios: key(Component::Vbios, chip, &report.board()?, &report.vbios_version()?),
        })
    }
}

fn key(component: Component, chip: &[u8], board: &[u8], version: &[u8]) -> Hash {
    // Encoded, so that no two different lists of parts are the same bytes.
    let parts = (component, chip, board, version).encode();
    blake2_256(&[b"assay/evidence/reference/v1", &parts])
}
