//! The provider's binary: registers a machine, runs consumers' containers, reports results, collects rewards.
//!
//! | module | is |
//! |---|---|
//! | [`config`] | `worker.yaml`, strictly read |
//! | [`files`] | the files that the worker keeps, and the disk that they are on |
//! | [`keys`] | the machine's keys and their files |
//! | [`registration`] | brings the machine onto the chain |
//! | [`market_status`] | how the machine stands on chain, in words |
//! | [`chain`] | the chain as the supervisor uses it |
//! | [`engine`] | containers, through the Docker Engine API |
//! | [`preflight`] | looks at images before they are pulled |
//! | [`profit`] | what a job brings in, and what the chain charges for it |
//! | [`jobs`] | the supervisor: decides for every job, and acts |
//! | [`challenge`] | answers the hardware challenge |
//! | [`attestation`] | keeps the machine attested |
//! | [`sealing_store`] | how the key that consumers seal to is kept |
//! | [`orders`] | takes open orders at the machine's ask |
//! | [`rewards`] | has rewards paid at every epoch's end |
//! | `backoff` | the delays between attempts that fail |
//! | [`tasks`] | keeps the parts going, each by itself |
//! | [`api`] | the HTTP interface |
//! | [`app`] | puts it all together and keeps it going |
//! | [`check`] | tells what would go wrong, before it does |

pub mod address;
pub mod api;
pub mod app;
pub mod attestation;
mod backoff;
pub mod chain;
pub mod challenge;
pub mod check;
pub mod comeback;
pub mod command_line;
pub mod config;
pub mod engine;
pub mod files;
pub mod jobs;
pub mod keys;
pub mod market_status;
pub mod metrics;
pub mod orders;
pub mod preflight;
pub mod profit;
pub mod registration;
pub mod rewards;
pub mod sealing_store;
pub mod state;
pub mod status;
mod surroundings;
pub mod tasks;
