//! The pallets' configurations, grouped by domain.

pub mod consensus;
pub mod governance;
pub mod market;
pub mod staking;
pub mod system;
