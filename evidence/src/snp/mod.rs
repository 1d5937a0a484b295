//! AMD SEV-SNP: attestation reports of Milan, Genoa and Turin.
//!
//! # What vouches for what
//!
//! ```text
//! ARK (a root for each product) ─▶ ASK  ─▶ VCEK (a chip's key at some firmware)      ─▶ report
//!                               └▶ ASVK ─▶ VLEK (a cloud's key, given to its chips)  ─▶ report
//! ```
//!
//! [`verify_chip_key`] takes all but the last arrow; what it returns can be kept, and then [`verify_report`] verifies
//! one signature.
//!
//! # What is not looked at
//!
//! Reserved fields, the platform's configuration bits (`PLATFORM_INFO`), the family and image id, and the mitigation
//! vectors of version 5: AMD says of none of them that a guest is unsafe by it. AMD publishes no revocation of VCEKs, so
//! only ASK and ASVK can be on a list; an outdated chip is refused by the floor of versions.

mod certificate;
mod report;

pub use certificate::{ChipKey, ChipKeyKind, verify_chip_key};
pub use report::{
    Product, REPORT_BYTES, ReportClaims, SnpFloor, SnpPolicy, SnpTcb, product_of_report, verify_report,
};
