//! Tests by topic. Each ends by checking the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod answers;
mod cheats;
mod due;
mod forks;
mod governance;
mod hook;
mod missed;
mod proofs;
mod properties;
mod randomness;
mod rounds;
mod stalls;
