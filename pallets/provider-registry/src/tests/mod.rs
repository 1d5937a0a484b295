//! Tests by topic. Each ends by checking the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod catalogue;
mod deposits;
mod duty;
mod leases;
mod lifecycle;
mod machines;
mod market;
mod offers;
mod proofs;
mod providers;
mod search;
mod worker_keys;
