//! The verbs of a consumer: what every front end does with an order, from the search to the last byte of its
//! output.
//!
//! | verb | does |
//! |---|---|
//! | [`Consumer::find`], [`Consumer::explain`] | search the market; say why machines are passed over |
//! | [`Consumer::quote`] | computes the exact cost of an order before anything is signed |
//! | [`Consumer::deploy`] | orders, delivers the manifest, and returns when all containers run |
//! | [`Consumer::deliver`] | delivers a sealed manifest again |
//! | [`Consumer::wait`] | waits until a job's containers have ended |
//! | [`Consumer::access`] | opens the way to a job's worker: logs, commands, artifacts, ports |
//! | [`Consumer::extend`], [`Consumer::close`] | let a job run longer, end it |
//!
//! ```no_run
//! use assay_client::{
//!     ChainClient,
//!     consumer::{Consumer, DeployOptions},
//!     keys,
//!     order::OrderSpec,
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = ChainClient::connect("ws://127.0.0.1:9944").await?;
//! let consumer = Consumer::new(client, keys::keypair_from_uri("//Charlie")?);
//! let spec = OrderSpec::new("registry.example/team/finetune:v2.4".parse()?);
//! let deployment = consumer
//!     .deploy(&spec, &DeployOptions::default(), &|step| println!("{step}"))
//!     .await?;
//! println!("job {} runs", deployment.job);
//! # Ok(())
//! # }
//! ```

mod access;
mod artifacts;
mod choice;
mod deliver;
mod deploy;
mod error;
mod find;
mod jobs;
mod logs;
mod mismatch;
mod progress;
mod quote;
mod result;
#[cfg(test)]
mod tests;
mod unpack;
mod wishes;

use std::time::Duration;

use subxt_signer::sr25519::Keypair;

pub use access::{JobAccess, PortAddress};
pub use artifacts::{DownloadedArtifacts, RootWitness};
pub use choice::MachineChoice;
pub use deliver::deliver_manifest;
pub use deploy::{DeployOptions, Deployment};
pub use error::ConsumerError;
pub use find::{Cluster, Explanation};
pub use jobs::{AssignmentEnd, JobEnd, MAX_JOBS};
pub use logs::LogStream;
pub use mismatch::describe_mismatch;
pub use progress::{OnProgress, Progress};
pub use quote::{Quote, QuotedMachine};
pub use result::CheckedResult;
pub use wishes::{WishError, order_from_json, requirements_from_json};

use crate::{ChainClient, keys, types::AccountId};

/// Longest wait until a transaction is final, where the caller sets none.
const FINALITY_TIMEOUT: Duration = Duration::from_secs(180);

/// A consumer: an account with its key, at one chain. Clones share the connection.
#[derive(Clone)]
pub struct Consumer {
    client: ChainClient,
    keypair: Keypair,
    finality_timeout: Duration,
}

impl Consumer {
    /// Creates a consumer that signs with this key.
    pub fn new(client: ChainClient, keypair: Keypair) -> Self {
        Self {
            client,
            keypair,
            finality_timeout: FINALITY_TIMEOUT,
        }
    }

    /// Sets the longest wait until a transaction is final; it may still be included afterwards.
    pub fn with_finality_timeout(self, finality_timeout: Duration) -> Self {
        Self {
            finality_timeout,
            ..self
        }
    }

    /// Returns the connection.
    pub fn client(&self) -> &ChainClient {
        &self.client
    }

    /// Returns the account that pays.
    pub fn account(&self) -> AccountId {
        keys::account_of(&self.keypair)
    }
}
