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
//! All give the same roots and proofs, bit by bit. [`detect`] starts what is there, and says of what is not what is
//! missing and what to do about it. Run [`assay_proof::prover::self_test`] before a device answers for a bond.
//!
//! # How a GPU answers
//!
//! The device only fills, walks and hashes; [`GpuProver`] does the rest for all GPUs:
//!
//! - Memory. [`Plan`] lays the challenge out in what is free. The leaves are made in batches, which are folded on the
//!   device to the tops of subtrees of 2^10 lanes; so they need not fit beside the items, and batches become smaller
//!   where memory is short.
//! - Time. Work goes to the device in slices of a twentieth of a second, whose size adapts. Between them the watch hears
//!   the progress and may cancel, other processes have their turn, and [`Pace::share_percent`] leaves pauses for running
//!   jobs. CUDA's stream has the least priority.
//! - Openings. The device's memory is given back as soon as the commit is done. What remains is the tree above the
//!   subtrees, in the host's memory; an opening walks the lanes of one subtree again and makes their items at every
//!   read. For the classes of real GPUs all openings together are less than a thousandth of the filling.
//!
//! [`bench`] measures a device, compares it with what its hardware can do, and says which classes it can hold in time.
//!
//! # Unsafe code
//!
//! It is in the CUDA back end, where the driver and the compiler are called, and in one look at Vulkan's memory heaps.

#![deny(unsafe_code)]

pub mod bench;
pub mod cuda;
mod detect;
mod device;
mod gpu;
mod pace;
mod sizing;
pub mod wgpu;

pub use detect::{Absent, AnyProver, BackEnd, DetectOptions, FoundDevice, NoBackEnd, detect};
pub use device::HardwareLimits;
pub use gpu::{GpuOptions, GpuProver};
pub use pace::Pace;
pub use sizing::{Plan, RESERVE_BYTES, most_items};
