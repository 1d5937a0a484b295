//! The hardware classes that the catalogue starts with. Governance keeps it from then on.
//!
//! Compute score: the vendor's published dense BF16 TFLOPS, sparsity off, rounded to whole ones. Memory: the
//! vendor's gigabytes, as GiB. Sources are named beside each vendor's block.

use alloc::vec::Vec;

use assay_primitives::{machine::HardwareClassId, money::ASY};
use pallet_provider_registry::GenesisHardwareClass;

/// Class of a machine that offers its processors only. A TFLOPS of dense BF16 is about what a server's processor
/// reaches, so its score is one.
pub const CPU: HardwareClassId = 0;

/// Identifier, name, memory in GiB, CUDA cores or stream processors, dense BF16 TFLOPS.
type Row = (HardwareClassId, &'static str, u32, u32, u32);

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    (CPU, "CPU", 0, 0, 1),

    // NVIDIA data-centre GPUs: the data sheets of each product halve their sparse figures to these.
    (10, "NVIDIA_H200",         141, 16_896,   989),
    (11, "NVIDIA_H100",          80, 16_896,   989),
    (12, "NVIDIA_H100_PCIE",     80, 14_592,   756),
    (13, "NVIDIA_A100_80GB",     80,  6_912,   312),
    (14, "NVIDIA_A100_40GB",     40,  6_912,   312),
    (15, "NVIDIA_L40S",          48, 18_176,   362),
    (16, "NVIDIA_L4",            24,  7_424,   121),
    (17, "NVIDIA_A10",           24,  9_216,   125),

    // NVIDIA GeForce: the architecture white papers of Ampere GA102, Ada and Blackwell, with FP32 accumulation.
    (30, "NVIDIA_RTX_3090",      24, 10_496,    71),
    (31, "NVIDIA_RTX_4090",      24, 16_384,   165),
    (32, "NVIDIA_RTX_5090",      32, 21_760,   210),

    // AMD Instinct: the data sheets of the MI200 and MI300 series.
    (50, "AMD_MI300X",          192, 19_456, 1_307),
    (51, "AMD_MI250",           128, 13_312,   362),
    (52, "AMD_MI250X",          128, 14_080,   383),
];

/// The catalogue at genesis. A slot's stake is one ASY for each point of its compute score and ten more, so that
/// what a provider stands to lose grows with what it earns.
pub fn catalogue() -> Vec<GenesisHardwareClass> {
    ROWS.iter()
        .map(
            |(class, name, vram_gib, cuda_cores, compute_score)| GenesisHardwareClass {
                class: *class,
                name: (*name).into(),
                vram_mib: vram_gib * 1_024,
                cuda_cores: *cuda_cores,
                compute_score: *compute_score,
                stake_per_slot: (10 + u128::from(*compute_score)) * ASY,
            },
        )
        .collect()
}
