//! GPU reports: SPDM 1.1 `GET_MEASUREMENTS`, the request and the response one behind the other.
//!
//! Sources: DMTF, *Security Protocol and Data Model* (DSP0274) 1.1, and NVIDIA's `nv-local-gpu-verifier` for
//! the opaque data.

use crate::{
    attestation::VersionText,
    bytes::Bytes,
    error::{EvidenceError, Part},
};

/// Maximum length of a report in bytes; an H100's has 4,117.
pub const MAX_REPORT_BYTES: usize = 16 * 1_024;

const SPDM_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
/// Request attribute: the response must be signed.
const SIGNATURE_WANTED: u8 = 1;
/// Request operation: all measurements.
const ALL_MEASUREMENTS: u8 = 0xff;
/// Measurement specification: DMTF's.
const DMTF: u8 = 1;
const SIGNATURE_BYTES: usize = 96;

const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::GpuReport);

/// Kinds of the opaque fields that are read here.
mod field {
    pub(super) const DRIVER_VERSION: u16 = 3;
    pub(super) const VBIOS_VERSION: u16 = 6;
    pub(super) const CHIP_SKU: u16 = 15;
    pub(super) const PROJECT: u16 = 17;
    pub(super) const PROJECT_SKU: u16 = 18;
    pub(super) const FIRMWARE_ID: u16 = 20;
}

/// Field of the opaque data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpaqueField<'a> {
    /// Kind of the field, in NVIDIA's numbering.
    pub kind: u16,
    /// Value of the field.
    pub value: &'a [u8],
}

/// Report as slices of its bytes. Nothing is verified yet.
#[derive(Clone, Copy)]
pub struct GpuReport<'a> {
    /// Everything but the signature.
    pub(super) signed: &'a [u8],
    /// Signature: the numbers `r ‖ s`, big-endian.
    pub(super) signature: &'a [u8; SIGNATURE_BYTES],
    /// Nonce of the request.
    pub(super) nonce: &'a [u8; 32],
    measurements: &'a [u8],
    opaque: &'a [u8],
}

impl<'a> GpuReport<'a> {
    /// Reads a report as the driver returns it: no bytes may precede or follow it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(EvidenceError::TooLong(Part::GpuReport));
        }
        let mut rest = Bytes(bytes);
        for code in [GET_MEASUREMENTS, MEASUREMENTS] {
            let mut header = rest;
            let version = header.byte().ok_or(MALFORMED)?;
            if version != SPDM_1_1 {
                return Err(EvidenceError::UnsupportedVersion {
                    part: Part::GpuReport,
                    version,
                });
            }
            if header.byte() != Some(code) {
                return Err(MALFORMED);
            }
            if code == GET_MEASUREMENTS {
                // The response begins after the request's header, nonce and slot.
                rest.skip(37).ok_or(MALFORMED)?;
            }
        }
        Self::read_parts(bytes).ok_or(MALFORMED)
    }

    fn read_parts(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        rest.skip(2)?;
        if rest.byte()? != SIGNATURE_WANTED || rest.byte()? != ALL_MEASUREMENTS {
            return None;
        }
        let nonce = rest.array()?;
        // Slot of the requested key, then the response's header with its two parameters.
        rest.skip(1 + 4)?;
        let blocks = rest.byte()?;
        let [low, middle, high] = *rest.array()?;
        let measurements = rest.take(u32::from_le_bytes([low, middle, high, 0]).try_into().ok()?)?;
        // Nonce of the GPU itself.
        rest.skip(32)?;
        let opaque = rest.counted_by_u16()?;
        let signature = rest.array()?;
        rest.end()?;
        let report = Self {
            signed: bytes.get(..bytes.len().checked_sub(SIGNATURE_BYTES)?)?,
            signature,
            nonce,
            measurements,
            opaque,
        };
        report.check_measurements(blocks)?;
        report.check_opaque()?;
        Some(report)
    }

    /// Checks that there are as many blocks as announced, each well formed and each index once.
    fn check_measurements(&self, blocks: u8) -> Option<()> {
        let mut seen = [false; 256];
        let mut rest = Bytes(self.measurements);
        for _ in 0..blocks {
            let (index, _) = read_block(&mut rest)?;
            let seen = seen.get_mut(usize::from(index))?;
            if index == 0 || core::mem::replace(seen, true) {
                return None;
            }
        }
        rest.end()
    }

    /// Checks that the fields are well formed, and that each kind that is read here occurs at most once.
    fn check_opaque(&self) -> Option<()> {
        let mut seen = [false; 256];
        let mut rest = Bytes(self.opaque);
        while rest.end().is_none() {
            let field = read_field(&mut rest)?;
            if let Some(seen) = seen.get_mut(usize::from(field.kind))
                && core::mem::replace(seen, true)
            {
                return None;
            }
        }
        Some(())
    }

    /// Returns the nonce of the request.
    pub fn nonce(&self) -> &'a [u8; 32] {
        self.nonce
    }

    /// Returns the measurement with this index, counted from one.
    pub fn measurement(&self, index: u8) -> Option<&'a [u8]> {
        self.measurements()
            .find(|(found, _)| *found == index)
            .map(|(_, value)| value)
    }

    /// Returns all measurements with their indices, in the report's order.
    pub fn measurements(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = Bytes(self.measurements);
        core::iter::from_fn(move || read_block(&mut rest))
    }

    /// Returns the fields of the opaque data, in the report's order.
    pub fn opaque_fields(&self) -> impl Iterator<Item = OpaqueField<'a>> {
        let mut rest = Bytes(self.opaque);
        core::iter::from_fn(move || read_field(&mut rest))
    }

    fn field(&self, kind: u16) -> Option<&'a [u8]> {
        self.opaque_fields()
            .find(|field| field.kind == kind)
            .map(|field| field.value)
    }

    /// Returns the driver's version, such as `550.90.07`.
    pub fn driver_version(&self) -> Option<VersionText> {
        text(self.field(field::DRIVER_VERSION)?)?.to_vec().try_into().ok()
    }

    /// Returns the VBIOS's version, such as `96.00.9F.00.01`.
    pub fn vbios_version(&self) -> Option<VersionText> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let [d, c, b, a, e, ..] = *<&[u8; 8]>::try_from(self.field(field::VBIOS_VERSION)?).ok()?;
        let mut version = VersionText::default();
        for (place, byte) in [a, b, c, d, e].into_iter().enumerate() {
            if place > 0 {
                version.try_push(b'.').ok()?;
            }
            for digit in [byte >> 4, byte & 0x0f] {
                version.try_push(*DIGITS.get(usize::from(digit))?).ok()?;
            }
        }
        Some(version)
    }

    /// Returns the VBIOS's board in the spelling of NVIDIA's reference files: project, its variant and the
    /// chip's variant, such as `1010_0200_882`.
    pub fn board(&self) -> Option<VersionText> {
        let mut board = VersionText::default();
        for (place, kind) in [field::PROJECT, field::PROJECT_SKU, field::CHIP_SKU]
            .into_iter()
            .enumerate()
        {
            if place > 0 {
                board.try_push(b'_').ok()?;
            }
            for byte in text(self.field(kind)?)? {
                board.try_push(*byte).ok()?;
            }
        }
        Some(board)
    }

    /// Returns the hash of the running firmware, if the report has it.
    pub fn firmware_id(&self) -> Option<&'a [u8]> {
        self.field(field::FIRMWARE_ID)
    }
}

/// Reads an index and the value after it.
fn read_block<'a>(rest: &mut Bytes<'a>) -> Option<(u8, &'a [u8])> {
    let index = rest.byte()?;
    if rest.byte()? != DMTF {
        return None;
    }
    let mut block = Bytes(rest.counted_by_u16()?);
    // Type of the measurement.
    block.skip(1)?;
    let value = block.counted_by_u16()?;
    block.end()?;
    Some((index, value))
}

fn read_field<'a>(rest: &mut Bytes<'a>) -> Option<OpaqueField<'a>> {
    let kind = rest.u16_le()?;
    let value = rest.counted_by_u16()?;
    Some(OpaqueField { kind, value })
}

/// Returns the printable characters before trailing zeros; `None` if there are none, or other bytes.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, zeros) = bytes.split_at_checked(length)?;
    let well_formed =
        !text.is_empty() && text.iter().all(u8::is_ascii_graphic) && zeros.iter().all(|byte| *byte == 0);
    well_formed.then_some(text)
}
