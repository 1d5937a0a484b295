//! Tests by what they look at.

#![allow(clippy::unwrap_used)]

mod attackers;
mod attested;
mod closing;
mod deploy;
mod money;
mod open_orders;
mod properties;
mod quorum;
mod request;
mod results;
mod running;
mod settling;
mod storage_use;
