//! AMD SEV-SNP: attestation reports of Milan, Genoa and Turin.
//!
//! # Chain of trust
//!
//! ```text
//! ARK (a root for each product) ─▶ ASK  ─▶ VCEK (a chip's key at some firmware)      ─▶ report
//!                               └▶ ASVK ─▶ VLEK (a cloud's key, given to its chips)  ─▶ report
//! ```
//!
//! [`verify_chip_key`] covers all but the last arrow. Its result can be stored, and [`verify_report`] then
//! verifies a single signature.
//!
//! # Not checked
//!
//! Reserved fields, the platform's configuration bits (`PLATFORM_INFO`), the family and image id, and the
//! mitigation vectors of version 5: AMD calls a guest unsafe by none of them. AMD publishes no revocation of
//! VCEKs, so only ASK and ASVK can be on a list; the floor of security versions refuses an outdated chip.

mod certificate;
mod product;
mod report;

pub use certificate::{ChipKey, ChipKeyKind, verify_chip_key};
pub use product::{Product, SnpFloor, SnpTcb};
pub use report::{REPORT_BYTES, ReportClaims, SnpPolicy, product_of_report, verify_report};
