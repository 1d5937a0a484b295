//! Vocabulary of Assay's pallets, node and clients: types and small traits, no logic.
//!
//! A type that the chain shows outside is defined here once. With the feature `client`, it decodes by the
//! chain's metadata, writes itself as JSON and displays as a short name.
//!
//! A pallet never imports another pallet for a thing that a trait of this crate can say. Each trait is
//! named for the need it serves, names the pallet that implements it, and has a `()` implementation for
//! tests.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod api;
pub mod attestation;
pub mod availability;
pub mod challenge;
pub mod clock;
pub mod delivery;
pub mod emission;
pub mod finality;
pub mod job;
mod json;
pub mod machine;
pub mod market;
pub mod money;
pub mod network;
pub mod offence;
pub mod output;
pub mod stake;
#[cfg(feature = "client")]
mod text;
