//! Typed client of the chain for Assay's own programs: the worker, the command line and the bindings.
//!
//! [`ChainClient`] connects to a node, reads the pallets' records and submits [`calls`]. The chain's own
//! metadata, fetched at every connection, says how each call, record and event is encoded; the types of this
//! crate say which fields are wanted. Fields are matched by name, so a chain that gained a field is
//! understood by an older client, and one that lost a field is reported instead of misread.
//!
//! ```no_run
//! use assay_client::{ChainClient, calls, keys, units};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = ChainClient::connect("ws://127.0.0.1:9944").await?;
//! let provider = keys::keypair_from_uri("//Bob")?;
//! let included = client.submit(calls::register_provider("Bob's machines"), &provider).await?;
//! println!("in block {}", included.block_number);
//! let balance = client.balance(&keys::account_of(&provider).0).await?;
//! println!("{} free", units::format_asy(balance.free));
//! # Ok(())
//! # }
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`accounts`] | what one account has: holds, open jobs, noted manifests |
//! | [`calls`] | constructors of every call that Assay's programs make |
//! | [`consumer`] | the verbs of a consumer: find, quote, deploy, wait, read, close |
//! | [`delivery`] | delivery of sealed manifests to workers |
//! | [`events`] | events of a block, typed, and in plain words |
//! | [`follow`] | the best and the finalized block, as they move |
//! | [`json`] | JSON as Assay's programs print it |
//! | [`market`] | the search for machines that meet a consumer's requirements |
//! | [`manifest`] | the manifest of a job and the image reference in it |
//! | [`order`] | a consumer's order in typed form, and `compute-manifest.yaml` |
//! | [`registry`] | the digest behind an image's tag |
//! | [`keys`] | key files, accounts and the worker key's agreement |
//! | [`redaction`] | texts of users as messages may repeat them |
//! | [`sealing`] | manifests sealed to one machine, and receipts of them |
//! | [`units`] | ASY, percentages and moments as people write them, exactly |
//! | [`worker_api`] | the owner's way to a job on a worker |
//! | [`types`] | views of the records that the chain keeps |
//! | [`yaml`] | YAML that people write, with the line of every mistake |

pub mod accounts;
mod attestation;
mod backoff;
pub mod calls;
pub mod challenge;
mod client;
pub mod consumer;
pub mod delivery;
mod error;
pub mod events;
mod fees;
pub mod follow;
pub mod json;
pub mod keys;
pub mod manifest;
pub mod market;
mod nonces;
pub mod order;
mod queries;
pub mod redaction;
pub mod registry;
#[cfg(test)]
mod runtime_tests;
pub mod sealing;
mod submission;
#[cfg(test)]
mod test_node;
pub mod types;
pub mod units;
pub mod worker_api;
pub mod yaml;

pub use backoff::Backoff;
pub use client::{BlockId, ChainClient, FinalizedBlocks};
pub use error::Error;
pub use submission::{Included, Submitted};
pub use subxt_signer::sr25519::Keypair;
pub use types::AccountId;
