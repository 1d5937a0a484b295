//! Connection of the commands to the chain, and their signer.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assay_client::{ChainClient, Included, Keypair, calls::Call, keys};
use clap::Args;

use crate::{
    duration::parse_duration,
    output::{GLOBAL, Output},
};

/// A secret of the command line, which no message and no log repeats.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Address of the chain, and the signer.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// WebSocket URL of a node of the chain
    // The help shows no values of variables: a URL may hold a password.
    #[arg(
        long,
        global = true,
        env = "ASSAY_URL",
        hide_env_values = true,
        default_value = "ws://127.0.0.1:9944",
        help_heading = GLOBAL
    )]
    pub(crate) url: String,

    /// File with the signer's secret seed or phrase; must be readable by its owner alone
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_uri", help_heading = GLOBAL)]
    key_file: Option<PathBuf>,

    /// Secret URI of the signer, such as //Charlie; for development chains: others can see it in the process
    /// list
    #[arg(long, global = true, value_name = "URI", help_heading = GLOBAL)]
    key_uri: Option<Secret>,

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

    /// Where the hashes of transactions are printed.
    #[arg(skip)]
    output: Output,
}

impl Connection {
    /// Prints the hashes of transactions on this output.
    pub(crate) fn announcing_on(self, output: &Output) -> Self {
        Self {
            output: output.clone(),
            ..self
        }
    }

    /// Connects to the chain.
    pub(crate) async fn client(&self) -> anyhow::Result<ChainClient> {
        Ok(ChainClient::connect(&self.url).await?)
    }

    /// The signer's key.
    pub(crate) fn signer(&self) -> anyhow::Result<Keypair> {
        match (&self.key_file, &self.key_uri) {
            (Some(path), _) => Ok(keys::load_key_file(path)?),
            (None, Some(Secret(uri))) => Ok(keys::keypair_from_uri(uri)?),
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

    /// Signs and submits a call, prints the transaction's hash, and waits until it is finalized, for as long
    /// as `--finality-timeout` says.
    pub(crate) async fn submit_to(
        &self,
        client: &ChainClient,
        call: Call,
        signer: &Keypair,
    ) -> anyhow::Result<Included> {
        let mut submitted = client.submit_and_watch(call, signer).await?;
        self.output.sent(&submitted.hash())?;
        Ok(submitted.finalized(self.finality_timeout).await?)
    }
}
