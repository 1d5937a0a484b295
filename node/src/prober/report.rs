//! Signs a report with the validator's session key and submits it to the pool.

use assay_primitives::{
    api::AvailabilityApi,
    availability::{AVAILABILITY_KEY_TYPE, AvailabilityId, ReportDue, report_message},
    machine::MachineId,
};
use assay_runtime::{AccountId, Hash, OpaqueBlock as Block};
use polkadot_sdk::{
    sc_transaction_pool_api::{TransactionPool, TransactionSource},
    sp_api::ProvideRuntimeApi,
    sp_blockchain::HeaderBackend,
    sp_keystore::{Keystore, KeystorePtr},
};

/// Reason why a report was not sent. It is sent again a few blocks later.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The keystore lost the key, or cannot use it.
    #[error("the keystore has no key to sign with: {0}")]
    Keystore(String),
    /// The call of the runtime failed.
    #[error("the call of the runtime failed: {0}")]
    Runtime(#[from] polkadot_sdk::sp_api::ApiError),
    /// The runtime does not accept so many failures.
    #[error("the runtime accepts no report with {0} failures")]
    TooLong(usize),
    /// The pool refused it.
    #[error("the pool refused it: {0}")]
    Pool(String),
}

/// ReportContext of the node that sending a report needs.
pub(super) struct ReportContext<'a, Client, Pool> {
    pub(super) client: &'a Client,
    pub(super) pool: &'a Pool,
    pub(super) keystore: &'a KeystorePtr,
}

/// Signs the report, or the part of it that is due, and submits it to the pool.
pub(super) async fn send<Client, Pool>(
    context: ReportContext<'_, Client, Pool>,
    at: Hash,
    key: &AvailabilityId,
    due: ReportDue,
    failures: &[MachineId],
) -> Result<(), ReportError>
where
    Client: ProvideRuntimeApi<Block> + HeaderBackend<Block>,
    Client::Api: AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block>,
{
    let genesis_hash = context.client.info().genesis_hash;
    let message = report_message(
        genesis_hash.as_ref(),
        due.epoch,
        due.validator_index,
        due.after,
        failures,
    );
    let signature = context
        .keystore
        .sr25519_sign(AVAILABILITY_KEY_TYPE, key.as_ref(), &message)
        .map_err(|error| ReportError::Keystore(error.to_string()))?
        .ok_or_else(|| ReportError::Keystore("it is gone".to_owned()))?;
    let transaction = context
        .client
        .runtime_api()
        .report_transaction(
            at,
            due.epoch,
            due.validator_index,
            due.after,
            failures.to_vec(),
            signature.into(),
        )?
        .ok_or(ReportError::TooLong(failures.len()))?;
    context
        .pool
        .submit_one(at, TransactionSource::Local, transaction)
        .await
        .map(|_| ())
        .map_err(|error| ReportError::Pool(error.to_string()))
}
