//! The hardware challenge: how a machine shows that it has the memory and the bandwidth that its class claims.
//!
//! # What it shows
//!
//! A round gives every slot of every machine a seed that nobody could know before. The prover makes
//! [`items`](ChallengeParams::items) pseudo-random blocks of 64 bytes from it, each of which costs
//! [`fill_double_rounds`](ChallengeParams::fill_double_rounds) of slow integer work, and then walks
//! 2^[`lanes_log2`](ChallengeParams::lanes_log2) lanes: each reads
//! [`steps`](ChallengeParams::steps) blocks, and what it read decides where it reads next. The ends of the lanes
//! are the leaves of a Merkle tree, whose root is committed before the deadline; afterwards fresh randomness
//! chooses [`openings`](ChallengeParams::openings) lanes, which the verifier recomputes by itself, without memory.
//!
//! The lanes read every block about [`passes`](ChallengeParams::passes) times. Who stores a fraction *s* of the
//! blocks has to make the others again at each read, which costs *(1 − s) · passes* fillings more: with 30 passes,
//! a tenth of the memory left out makes the fill work four times as long. [`calibration`] measures that.
//!
//! # What it does not show
//!
//! - *Somebody* with that memory and bandwidth answered in time; not that the machine itself did.
//! - Lanes that are not opened are not checked: who leaves out a fraction *f* of all lanes passes with
//!   probability *(1 − f)^openings*. It saves a fraction *f* of the walk and risks the bond.
//! - The deadline has to be calibrated on the class's real hardware: too generous, and smaller or slower hardware
//!   passes as well.
//!
//! # How to choose the parameters of a class
//!
//! - `items` × 64 bytes is the memory that is claimed, less what the driver and the tree need beside it.
//! - `fill_double_rounds` makes recomputing dearer than reading. One filling shall take a good part of the
//!   deadline.
//! - `lanes_log2` and `steps` set the passes. Many lanes keep a GPU busy; long lanes make each of them depend on
//!   more of the memory.
//! - `openings`, `steps` and `fill_double_rounds` together are the chain's cost
//!   ([`verification_double_rounds`](ChallengeParams::verification_double_rounds)).
//!
//! `cargo run --release -p assay-proof --example proof_bench` prints what a CPU reaches, beside its plain memory copy.
//!
//! # Parts
//!
//! Without the feature `std` the crate is the verifier: [`SlotClaim::verify`] takes anybody's bytes, never panics,
//! and does no work before the shape of the proof is right. With `std`, which is on by default, come the
//! [`prover`] interface, which back ends for GPUs implement too, and the prover for CPUs.

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

pub use lane::{LANE_DOMAIN, STEP_DOUBLE_ROUNDS, item, item_index, lane};
pub use merkle::{leaf, node, root_of_path};
pub use params::{
    ChallengeParams, FILL_DOUBLE_ROUNDS, ITEM_BYTES, ITEMS, LANES_LOG2, OPENINGS, ParamsError, STEPS,
};
pub use permute::{Words, block, permute_add};
pub use proof::{MAX_OPENINGS, MAX_SIBLINGS, Siblings, SlotProof, WrongLength};
pub use seed::{OPENINGS_CONTEXT, SEED_CONTEXT, opened_lane, opened_lanes, seed};
pub use verify::{SlotClaim, SlotsError, VerifyError, verify_slots};

/// A 32-byte hash, seed, key or piece of randomness.
pub type Hash = [u8; 32];
