//! One suite of stories for every engine: see `worker/tests/support/engines.rs` for the environment, and
//! for how a story becomes a test at each engine.
//!
//! | stories | about |
//! |---|---|
//! | `runs` | containers and their runs: output, results, logs, commands inside, limits, a dying engine |
//! | `gpus` | devices by CDI, device requests and nodes; GPUs that a manifest asks for in vain |
//! | `leases` | disks and their limit, writable roots, output folders, secrets, profiles, ordinary images |
//! | `networks` | isolation of jobs' networks, allow-lists, published ports, bandwidth |
//! | `escapes` | attempts to get out of a container, and images made for that |
//! | `pulls` | pulls through the worker's registry proxy, or by a cluster's node |
//!
//! Every result is compared with the bytes that it must have, so it is the same at all engines.

#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "../support/engines.rs"]
mod support;

#[path = "../support/actor.rs"]
mod actor;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/own_service.rs"]
mod own_service;

mod escapes;
mod gpus;
mod leases;
mod networks;
mod pulls;
mod runs;

#[test]
#[ignore = "runs inside of the containers and network namespaces of the other tests"]
fn actor_in_a_container() {
    actor::act();
}
