//! Products with SEV-SNP, and the security versions of their firmware and microcode.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Length in bytes of a chip's id in a report.
pub(super) const CHIP_ID_BYTES: usize = 64;

/// Family of processors with SEV-SNP.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum Product {
    /// EPYC 7003.
    #[codec(index = 0)]
    Milan,
    /// EPYC 9004 and 8004: Genoa, Bergamo and Siena.
    #[codec(index = 1)]
    Genoa,
    /// EPYC 9005.
    #[codec(index = 2)]
    Turin,
}

impl Product {
    /// Returns the product with a processor's family and model numbers.
    pub(super) fn of_cpu(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }
}

/// Security versions of a chip's firmware and microcode.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SnpTcb {
    /// First mutable code; zero before Turin, which has none.
    pub fmc: u8,
    /// Boot loader.
    pub boot_loader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl SnpTcb {
    /// Reads the versions. Turin orders them differently from the products before it.
    pub(super) fn read(bytes: [u8; 8], product: Product) -> Self {
        match (product, bytes) {
            (Product::Milan | Product::Genoa, [boot_loader, tee, _, _, _, _, snp, microcode]) => Self {
                fmc: 0,
                boot_loader,
                tee,
                snp,
                microcode,
            },
            (Product::Turin, [fmc, boot_loader, tee, snp, _, _, _, microcode]) => Self {
                fmc,
                boot_loader,
                tee,
                snp,
                microcode,
            },
        }
    }

    /// Returns true if every version is at least that of `floor`.
    pub fn is_at_least(&self, floor: &Self) -> bool {
        self.fmc >= floor.fmc
            && self.boot_loader >= floor.boot_loader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

/// Least security versions of each product.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SnpFloor {
    /// Floor for Milan.
    pub milan: SnpTcb,
    /// Floor for Genoa, Bergamo and Siena.
    pub genoa: SnpTcb,
    /// Floor for Turin.
    pub turin: SnpTcb,
}
