//! `assay machine rotate-keys`

use std::path::PathBuf;

use anyhow::ensure;
use assay_client::{
    AccountId,
    calls::{self, Call},
    keys,
    units::parse_asy,
};
use clap::Args;

use super::existing;
use crate::{connection::Connection, numbers::parse_hex};

/// A machine's new keys: files of the worker, or the public parts that a waiting worker prints.
#[derive(Debug, Args)]
pub(crate) struct RotateOptions {
    /// The machine
    id: u64,

    /// File with the new worker key, as the worker keeps it (`assay.worker_key_file`); may hold the present
    /// key
    #[arg(long, value_name = "FILE", required_unless_present = "worker_account")]
    worker_key: Option<PathBuf>,

    /// Instead of its file: the account of the new worker key
    #[arg(
        long,
        value_name = "ACCOUNT",
        value_parser = keys::parse_account,
        conflicts_with = "worker_key",
        requires = "worker_signature"
    )]
    worker_account: Option<AccountId>,

    /// Instead of its file: the new worker key's signature, by which it agrees to serve the provider
    #[arg(long, value_name = "HEX", value_parser = parse_hex::<64>, requires = "worker_account")]
    worker_signature: Option<[u8; 64]>,

    /// File with the new sealing key, as the worker keeps it (`assay.sealing_key_file`)
    #[arg(long, value_name = "FILE", required_unless_present = "sealing_public_key")]
    sealing_key: Option<PathBuf>,

    /// Instead of its file: the public part of the new sealing key. Never the content of the file: this goes
    /// on chain
    #[arg(long, value_name = "HEX", value_parser = parse_hex::<32>, conflicts_with = "sealing_key")]
    sealing_public_key: Option<[u8; 32]>,

    /// Send the new worker key this amount for fees in the same transaction
    #[arg(long, value_name = "ASY", value_parser = parse_asy)]
    endow: Option<u128>,
}

/// Returns the call that gives the machine its new keys.
pub(super) async fn rotate(options: RotateOptions, connection: &Connection) -> anyhow::Result<Call> {
    let id = options.id;
    let provider = keys::account_of(&connection.signer()?);
    let worker_key = options
        .worker_key
        .map(|path| keys::load_key_file(&path))
        .transpose()?;
    let sealing_key = match (options.sealing_key, options.sealing_public_key) {
        (Some(path), _) => keys::sealing_public_key(&keys::load_sealing_key_file(&path)?),
        (None, public) => public.unwrap_or_default(),
    };
    let client = connection.client().await?;
    let owner = existing(&client, id).await?.provider;
    ensure!(
        owner == provider,
        "machine {id} belongs to {owner}, and the signer is {provider}; sign with the owner's key (--key-file)"
    );
    let (worker, signature) = match (worker_key, options.worker_account, options.worker_signature) {
        (None, Some(account), Some(signature)) => (account, signature),
        (Some(worker), ..) => (
            keys::account_of(&worker),
            keys::sign_worker_key(&worker, &client.genesis_hash(), &provider.0),
        ),
        // The options require one or the other.
        (None, ..) => anyhow::bail!("name the new worker key with --worker-key FILE"),
    };
    if let Some(serves) = client.machine_of_worker(&worker.0).await? {
        ensure!(
            serves == id,
            "the worker key {worker} serves machine {serves}, and a key serves one machine only; make a new one: the \
             worker does so when `assay.worker_key_file` names a file that is not there"
        );
    }
    let rotation = calls::rotate_keys(id, &worker, sealing_key, signature);
    Ok(match options.endow {
        Some(amount) => calls::batch_all(vec![rotation, calls::transfer_keep_alive(&worker, amount)]),
        None => rotation,
    })
}
