//! The hardware challenge: a machine proves that it has the memory and the bandwidth of its class.
//!
//! # Protocol
//!
//! A round gives every slot of every machine an unpredictable seed. From it the prover makes
//! [`items`](ChallengeParams::items) pseudo-random blocks of 64 bytes, each of which costs
//! [`fill_double_rounds`](ChallengeParams::fill_double_rounds) of slow integer work. It then walks
//! 2^[`lanes_log2`](ChallengeParams::lanes_log2) lanes: each lane reads [`steps`](ChallengeParams::steps)
//! blocks, and each block read decides the index of the next. The ends of the lanes are the leaves of a
//! Merkle tree, whose root is committed before the deadline. Afterwards fresh randomness chooses
//! [`openings`](ChallengeParams::openings) lanes, which the verifier recomputes by itself, without memory.
//!
//! The lanes read every block about [`passes`](ChallengeParams::passes) times. A prover that stores a
//! fraction *s* of the blocks must make the others again at each read, which costs *(1 − s) · passes*
//! additional fillings. With 30 passes, a tenth of the memory left out makes the fill work four times as
//! long. [`calibration`] measures this.
//!
//! # Limits of the proof
//!
//! - It shows that *some* device with that memory and bandwidth answered in time, not that the machine itself
//!   did.
//! - Lanes that are not opened are not checked: a prover that leaves out a fraction *f* of all lanes passes
//!   with probability *(1 − f)^openings*. It saves a fraction *f* of the walk and risks the bond.
//! - The deadline must be calibrated on the class's real hardware: if it is too generous, smaller or slower
//!   hardware passes as well.
//!
//! # Parameters of a class
//!
//! - `items` × 64 bytes is the claimed memory, less the share that the driver and the tree need beside it.
//! - `fill_double_rounds` makes recomputing dearer than reading. One filling should take a good part of the
//!   deadline.
//! - `lanes_log2` and `steps` set the passes. Many lanes keep a GPU busy; long lanes make each of them depend
//!   on more of the memory.
//! - `openings`, `steps` and `fill_double_rounds` together are the chain's cost
//!   ([`verification_double_rounds`](ChallengeParams::verification_double_rounds)).
//!
//! `cargo run --release -p assay-proof --example proof_bench` prints a CPU's figures beside its plain memory
//! copy.
//!
//! # Features
//!
//! Without the feature `std` the crate is the verifier: [`SlotClaim::verify`] takes arbitrary bytes, never
//! panics, and checks the shape of the proof before it computes anything. The feature `std`, on by default,
//! adds the [`prover`] interface, which back ends for GPUs implement too, and the prover for CPUs.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(unsafe_code)]

mod lane;
mod merkle;
mod params;
mod permute;
mod proof;
mod seed;
mod verify;

#[cfg(feature = "std")]
pub mod calibration;
#[cfg(feature = "std")]
pub mod prover;

pub use lane::{LANE_DOMAIN, item, item_index, lane};
pub use merkle::{leaf, node, root_of_path};
pub use params::{
    ChallengeParams, FILL_DOUBLE_ROUNDS, ITEM_BYTES, ITEMS, LANES_LOG2, OPENINGS, ParamsError,
    STEP_DOUBLE_ROUNDS, STEPS,
};
pub use permute::{Words, block, permute_add};
pub use proof::{MAX_OPENINGS, MAX_SIBLINGS, Siblings, SlotProof, WrongLength};
pub use seed::{OPENINGS_CONTEXT, SEED_CONTEXT, opened_lane, opened_lanes, seed};
pub use verify::{SlotClaim, SlotsError, VerifyError, verify_slots};

/// Hash, seed, key or randomness of 32 bytes.
pub type Hash = [u8; 32];
