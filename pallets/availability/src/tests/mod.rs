//! Tests by topic. Each ends by checking the pallet's invariants, and that money was neither made nor lost.

#![allow(clippy::unwrap_used)]

mod assignments;
mod epochs;
mod history;
mod hook;
mod properties;
mod reports;
mod rewards;
mod uptime;
