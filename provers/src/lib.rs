//! Provers of the hardware challenge for GPUs, beside the one for CPUs in [`assay_proof::prover`].
//!
//! # Back ends
//!
//! | | drives | needs |
//! |---|---|---|
//! | [`BackEnd::Cpu`] | cores and memory of the computer | nothing |
//! | [`BackEnd::Wgpu`] | GPUs with Vulkan, Metal or Direct3D 12 | the GPU's driver |
//! | [`BackEnd::Cuda`] | NVIDIA's GPUs | libcuda (the driver) and libnvrtc, loaded at run time |
//!
//! All give the same roots and proofs, bit by bit. [`detect`] starts the available ones, and reports for each
//! of the others what is missing and the remedy. Run [`assay_proof::prover::self_test`] before a device
//! answers for a bond.
//!
//! # GPU provers
//!
//! The device only fills, walks and hashes; [`GpuProver`] does the rest for all GPUs:
//!
//! - Memory. [`Plan`] lays the challenge out in the free memory. The leaves are made in batches, which the
//!   device folds to the roots of subtrees of 2^10 lanes. So the leaves need not fit beside the items, and
//!   batches shrink when memory is short.
//! - Time. The device gets work in slices of a twentieth of a second, whose size adapts. Between slices the
//!   watch receives the progress and may cancel, other processes have their turn, and [`Pace::share_percent`]
//!   adds pauses for running jobs. CUDA's stream has the lowest priority.
//! - Openings. The device's memory is freed as soon as the commit is done. The tree above the subtrees stays
//!   in the host's memory; an opening walks the lanes of one subtree again and makes their items at every
//!   read. For the classes of real GPUs all openings together take less than a thousandth of the filling.
//!
//! [`bench`] measures a device, compares it with its hardware's limits, and lists the classes that it can
//! hold in time.
//!
//! # Unsafe code
//!
//! Only in the CUDA back end, which calls the driver and the compiler, and in one query of Vulkan's memory
//! heaps.

#![deny(unsafe_code)]

pub mod bench;
pub mod cuda;
mod detect;
mod device;
mod gpu;
mod identity;
mod pace;
mod sizing;
pub mod wgpu;

pub use detect::{Absent, AnyProver, BackEnd, DetectOptions, FoundDevice, NoBackEnd, detect};
pub use device::HardwareLimits;
pub use gpu::{GpuOptions, GpuProver};
pub use identity::{DeviceIdentity, normal_pci_address};
pub use pace::Pace;
pub use sizing::{Plan, RESERVE_BYTES, most_items};
