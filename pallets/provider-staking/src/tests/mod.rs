//! Tests by topic. Each ends by checking the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod agenda;
mod bonding;
mod cancelling;
mod debts;
mod dodging;
mod hook;
mod rewards;
mod slashing;
mod strikes;
mod sums;
mod unbonding;
