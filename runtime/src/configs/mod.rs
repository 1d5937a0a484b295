//! The pallets' configurations, grouped by domain.

pub mod consensus;
pub mod election;
pub mod governance;
pub mod market;
pub mod proofs;
pub mod proxies;
pub mod staking;
pub mod system;
