//! Has the chain pay the machine's rewards whenever an epoch has ended.

use assay_client::Error;
use tokio::sync::watch;

use crate::{
    chain::{WorkerCall, WorkerChain},
    metrics::Metrics,
};

/// Epochs that are asked to be paid at once; the chain's own limit.
///
/// One payout at each epoch's end also works off the backlog of an absence, 31 epochs at a time.
pub const MAX_EPOCHS_AT_ONCE: u32 = 32;

/// Pays at every new epoch that `epochs` tells; ends when the connection is lost or nobody tells epochs any more.
pub async fn pay_every_epoch<C: WorkerChain>(
    chain: C,
    machine: u64,
    mut epochs: watch::Receiver<u32>,
    metrics: Metrics,
) -> Result<(), Error> {
    while epochs.changed().await.is_ok() {
        let call = WorkerCall::Payout {
            machine,
            max_epochs: MAX_EPOCHS_AT_ONCE,
        };
        match chain.send(call).await {
            Ok(()) => {
                metrics.payouts.inc();
                tracing::info!(machine, "the rewards of ended epochs are paid");
            }
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) if error.is_dispatch("RewardEmission", "NothingToPay") => {
                tracing::debug!(machine, "no rewards are due");
            }
            Err(error) => tracing::warn!(machine, %error, "rewards could not be paid; they stay due"),
        }
    }
    Ok(())
}
