//! The initial catalogue of hardware classes and their challenges. Governance maintains both afterwards.
//!
//! Compute score: the vendor's published dense BF16 TFLOPS, sparsity off, rounded to integers. Memory: the
//! vendor's gigabytes, as GiB. The comments name the source for each vendor's block.

use alloc::vec::Vec;

use assay_primitives::{
    machine::HardwareClassId,
    money::{ASY, Balance},
};
use assay_proof::ChallengeParams;
use pallet_hardware_challenge::GenesisChallenge;
use pallet_provider_registry::GenesisHardwareClass;

/// Class of a machine that offers only its processors. Its score is one: a TFLOPS of dense BF16 is about what
/// a server's processor reaches.
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

    // NVIDIA GeForce: the architecture white papers of Ampere GA102, Ada and Blackwell, FP32 accumulation.
    (30, "NVIDIA_RTX_3090",      24, 10_496,    71),
    (31, "NVIDIA_RTX_4090",      24, 16_384,   165),
    (32, "NVIDIA_RTX_5090",      32, 21_760,   210),

    // AMD Instinct: the data sheets of the MI200 and MI300 series.
    (50, "AMD_MI300X",          192, 19_456, 1_307),
    (51, "AMD_MI250",           128, 13_312,   362),
    (52, "AMD_MI250X",          128, 14_080,   383),
];

/// Initial plancks to bond for each point of a slot's compute score, in any class: 1,483.5 ASY for an H100.
pub const BOND_PER_POINT: Balance = 3 * ASY / 2;

/// Plancks to bond for each slot of a machine without GPUs.
///
/// It equals the base bond, so that no two slots share one: a challenge of 4 MiB proves that a processor
/// exists, but not that it serves this slot alone. A point of weight costs 333 times as much to bond as a
/// GPU's.
pub const CPU_STAKE_PER_SLOT: Balance = 500 * ASY;

/// Returns the catalogue at genesis. The stake of a slot is in proportion to its compute score, so that a
/// provider's stake at risk grows with its earnings.
pub fn catalogue() -> Vec<GenesisHardwareClass> {
    ROWS.iter()
        .map(
            |(class, name, vram_gib, cuda_cores, compute_score)| GenesisHardwareClass {
                class: *class,
                name: (*name).into(),
                vram_mib: vram_gib * 1_024,
                cuda_cores: *cuda_cores,
                compute_score: *compute_score,
                stake_per_slot: match *class {
                    CPU => CPU_STAKE_PER_SLOT,
                    _ => Balance::from(*compute_score) * BOND_PER_POINT,
                },
            },
        )
        .collect()
}

/// Challenge of a machine without GPUs: 4 MiB, read over 32 times.
const CPU_CHALLENGE: ChallengeParams = ChallengeParams {
    items: 1 << 16,
    fill_double_rounds: 64,
    lanes_log2: 14,
    steps: 128,
    openings: 4,
    deadline_ms: 30_000,
};

/// Returns the challenge of a GPU: so many GiB of its memory in 2^`lanes_log2` lanes. Its verification takes
/// nearly all of a slot's allowed time.
const fn gpu_challenge(memory_gib: u32, lanes_log2: u8, deadline_ms: u64) -> ChallengeParams {
    ChallengeParams {
        items: memory_gib << 24,
        fill_double_rounds: 1_024,
        lanes_log2,
        steps: 192,
        openings: 4,
        deadline_ms,
    }
}

/// Challenges of the classes on a chain of value. A missing class waits for its calibration on real hardware;
/// until then its machines cannot be proven.
///
/// The memory is less than the vendor's by the share of the driver and the tree. Lanes read it over 38 times
/// (24 GiB), 21 times (80 GiB) and 24 times (141 GiB).
#[rustfmt::skip]
const CHALLENGES: [(HardwareClassId, ChallengeParams); 5] = [
    (CPU, CPU_CHALLENGE),
    (10, gpu_challenge(128, 28, 40_000)),
    (11, gpu_challenge( 72, 27, 30_000)),
    (12, gpu_challenge( 72, 27, 30_000)),
    (31, gpu_challenge( 20, 26, 30_000)),
];

/// Returns the challenges of the classes on a chain of value.
pub fn challenges() -> Vec<GenesisChallenge> {
    CHALLENGES
        .iter()
        .map(|(class, params)| GenesisChallenge {
            class: *class,
            params: *params,
        })
        .collect()
}

/// Returns the challenges of all classes on the development presets: scaled down, so that a laptop can answer
/// as any class within four slots.
pub fn development_challenges() -> Vec<GenesisChallenge> {
    ROWS.iter()
        .map(|(class, ..)| GenesisChallenge {
            class: *class,
            params: ChallengeParams {
                deadline_ms: 12_000,
                ..CPU_CHALLENGE
            },
        })
        .collect()
}
