//! Tests by topic. Each ends by checking the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod bonding;
mod rewards;
mod sums;
mod unbonding;
