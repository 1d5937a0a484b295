//! Tests by what they look at.

mod closing;
mod deploy;
mod money;
mod properties;
mod quorum;
mod request;
mod results;
mod running;
mod settling;
