//! Tests by topic. Each ends by checking the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod catalogue;
mod deposits;
mod lifecycle;
mod machines;
mod market;
mod offers;
mod providers;
mod search;
