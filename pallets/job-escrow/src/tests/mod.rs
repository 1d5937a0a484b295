//! Tests by topic; each ends with the pallet's invariants.

#![allow(clippy::unwrap_used)]

mod closing;
mod deploy;
mod money;
mod properties;
mod running;
