//! Connection of the commands to the chain, and their signer.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assay_client::{ChainClient, Included, Keypair, calls::Call, keys};
use clap::Args;

use crate::{duration::parse_duration, output::GLOBAL};

/// Address of the chain, and the signer.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// WebSocket URL of a node of the chain
    #[arg(long, global = true, env = "ASSAY_URL", default_value = "ws://127.0.0.1:9944", help_heading = GLOBAL)]
    pub(crate) url: String,

    /// File with the signer's secret seed or phrase; must be readable by its owner alone
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_uri", help_heading = GLOBAL)]
    key_file: Option<PathBuf>,

    /// Secret URI of the signer, such as //Charlie; for development chains: others can see it in the process
    /// list
    #[arg(long, global = true, value_name = "URI", help_heading = GLOBAL)]
    key_uri: Option<String>,

    /// Longest wait until a transaction is final, such as 90s or 10m; it may still be included afterwards
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        default_value = "3m",
        value_parser = parse_duration,
        help_heading = GLOBAL
    )]
    finality_timeout: Duration,
}

impl Connection {
    /// Connects to the chain.
    pub(crate) async fn client(&self) -> anyhow::Result<ChainClient> {
        Ok(ChainClient::connect(&self.url).await?)
    }

    /// Returns the signer's key.
    pub(crate) fn signer(&self) -> anyhow::Result<Keypair> {
        match (&self.key_file, &self.key_uri) {
            (Some(path), _) => Ok(keys::load_key_file(path)?),
            (None, Some(uri)) => Ok(keys::keypair_from_uri(uri)?),
            (None, None) => {
                bail!(
                    "this command signs a transaction: name the signer with --key-file FILE, or on a development \
                     chain with --key-uri //Charlie"
                )
            }
        }
    }

    /// Connects, signs and submits a call and waits until it is finalized.
    pub(crate) async fn submit(&self, call: Call) -> anyhow::Result<Included> {
        let signer = self.signer()?;
        let client = self.client().await?;
        let name = format!("{}.{}", call.pallet(), call.name());
        self.submit_to(&client, call, &signer)
            .await
            .with_context(|| format!("{name} did not go through"))
    }

    /// Signs and submits a call and waits until it is finalized, at most for `--finality-timeout`.
    pub(crate) async fn submit_to(
        &self,
        client: &ChainClient,
        call: Call,
        signer: &Keypair,
    ) -> anyhow::Result<Included> {
        let mut submitted = client.submit_and_watch(call, signer).await?;
        Ok(submitted.finalized(self.finality_timeout).await?)
    }
}
