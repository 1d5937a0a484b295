//! Connection of the commands to the chain, and their signer.

use std::{fmt, path::PathBuf, sync::OnceLock, time::Duration};

use anyhow::Context;
use assay_client::{ChainClient, Included, Keypair, calls::Call, consumer::Consumer, keys};
use clap::Args;

use crate::{
    duration::parse_duration,
    key_store::{KeyStore, Password},
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

    /// Account that signs, one of `assay keys list`; the default one when left out
    #[arg(long, global = true, env = "ASSAY_KEY", hide_env_values = true, value_name = "NAME", help_heading = GLOBAL)]
    key: Option<String>,

    /// File with the password of the account, in its first line; must be readable by its owner alone. It is
    /// asked for when left out
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    password_file: Option<PathBuf>,

    /// Instead of an account: file with the signer's secret seed or phrase; must be readable by its owner
    /// alone
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

    /// The signer's key once it is known: its password is asked for once.
    #[arg(skip)]
    known: OnceLock<Keypair>,

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

    /// Returns the signer's key: of --key-file or --key-uri, else of the named account, else of the default
    /// one.
    pub(crate) fn signer(&self) -> anyhow::Result<Keypair> {
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        let key = match (&self.key_file, &self.key_uri) {
            (Some(path), _) => keys::load_key_file(path)?,
            (None, Some(Secret(uri))) => keys::keypair_from_uri(uri)?,
            (None, None) => KeyStore::of_user()?
                .load(self.key.as_deref(), |name| self.password(name))?
                .context(
                    "this command signs a transaction, and no account is there to sign: make one with `assay keys create \
                     NAME`, name a key file with --key-file FILE, or on a development chain use --key-uri //Charlie",
                )?,
        };
        Ok(self.known.get_or_init(|| key).clone())
    }

    /// Connects to the chain as the signer.
    pub(crate) async fn consumer(&self) -> anyhow::Result<Consumer> {
        let signer = self.signer()?;
        Ok(Consumer::new(self.client().await?, signer).with_finality_timeout(self.finality_timeout))
    }

    /// Returns the password of an account: of --password-file, or asked for.
    pub(crate) fn password(&self, name: &str) -> anyhow::Result<Password> {
        match &self.password_file {
            Some(path) => Password::from_file(path),
            None => Password::ask(name),
        }
    }

    /// Returns the password of a new account: of --password-file, or asked for twice.
    pub(crate) fn new_password(&self, name: &str) -> anyhow::Result<Password> {
        match &self.password_file {
            Some(path) => Password::from_file(path),
            None => Password::ask_new(name),
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

    /// Signs and submits a call, prints the transaction's hash, and waits until it is finalized, at most for
    /// `--finality-timeout`.
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
