//! The provider's binary: registers a machine, runs consumers' containers, reports results, collects rewards.
//!
//! | module | contents |
//! |---|---|
//! | [`config`] | `worker.yaml`, strictly read |
//! | [`files`] | the files that the worker keeps, and their disk |
//! | [`keys`] | the machine's keys and their files |
//! | [`registration`] | registers the machine on chain |
//! | [`market_status`] | the machine's status on chain, in words |
//! | [`chain`] | the chain as the supervisor uses it |
//! | [`delivery`] | takes sealed manifests, and signs receipts |
//! | [`engine`] | containers, through the Docker Engine API or at a node of Kubernetes |
//! | [`devices`] | the host's GPUs, and the ledger of who has them |
//! | [`launch`] | starts sealed jobs without their secrets on a disk |
//! | [`lease`] | devices, disk, network and ports of a job |
//! | [`image_cache`] | images that are kept after their jobs |
//! | [`logs`] | the output of jobs, bounded on disk and readable while it is written |
//! | [`health`] | temperatures, clocks and errors of devices, and their consequences |
//! | [`preflight`] | checks images before they are pulled |
//! | [`registry`] | asks image registries, and is the registry that the engine pulls from |
//! | [`profit`] | a job's revenue and the chain's fees for it |
//! | [`jobs`] | the supervisor: decides on every job and carries out the steps |
//! | [`challenge`] | answers the hardware challenge |
//! | [`attestation`] | keeps the machine attested |
//! | [`sealing_store`] | storage of the key that consumers seal to |
//! | [`orders`] | takes open orders at the machine's ask |
//! | [`rewards`] | has rewards paid at the end of every epoch |
//! | `backoff` | the delays between failed attempts |
//! | [`tasks`] | runs the worker's parts independently of each other |
//! | [`artifacts`] | a job's output folder as a content-addressed archive |
//! | [`api`] | the HTTP interface |
//! | [`app`] | starts all parts and keeps them running |
//! | [`check`] | checks the configuration and the host |

pub mod address;
pub mod api;
pub mod app;
pub mod artifacts;
pub mod attestation;
mod backoff;
pub mod chain;
pub mod challenge;
pub mod check;
pub mod comeback;
pub mod command_line;
pub mod config;
pub mod delivery;
pub mod devices;
pub mod engine;
pub mod files;
pub mod health;
pub mod image_cache;
pub mod jobs;
pub mod keys;
pub mod launch;
pub mod lease;
pub mod logs;
pub mod market_status;
pub mod metrics;
pub mod orders;
pub mod preflight;
pub mod profit;
pub mod registration;
pub mod registry;
pub mod rewards;
pub mod sealing_store;
pub mod state;
pub mod status;
mod surroundings;
pub mod tasks;
