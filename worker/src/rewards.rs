//! Has the machine's rewards paid at the end of every epoch.

use assay_client::Error;
use assay_primitives::emission::MAX_EPOCHS_PER_PAYOUT;
use tokio::sync::watch;

use crate::{
    chain::{CallSubmitter, WorkerCall},
    metrics::Metrics,
};

/// Pays at every new epoch from `epochs`. Ends when the connection is lost or the sender of `epochs` is
/// dropped. One payout covers the chain's maximum of epochs, so the payouts also work off the backlog of an
/// absence.
pub async fn pay_every_epoch<C: CallSubmitter>(
    chain: C,
    machine: u64,
    mut epochs: watch::Receiver<u32>,
    metrics: Metrics,
) -> Result<(), Error> {
    while epochs.changed().await.is_ok() {
        let call = WorkerCall::Payout {
            machine,
            max_epochs: MAX_EPOCHS_PER_PAYOUT,
        };
        match chain.send(call).await {
            Ok(_) => {
                metrics.payouts.inc();
                tracing::info!(machine, "paid the rewards of ended epochs");
            }
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) if error.is_dispatch("RewardEmission", "NothingToPay") => {
                tracing::debug!(machine, "no rewards are due");
            }
            Err(error @ Error::Undecided { .. }) => {
                tracing::warn!(machine, %error, "the payout of rewards is not finalized yet; the next epoch repeats it");
            }
            Err(error) => tracing::warn!(machine, %error, "paying rewards failed; they stay due"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use assay_client::events::AssayEvent;

    use super::*;

    /// A chain that answers calls with the errors of a test, and with success afterwards.
    #[derive(Clone, Default)]
    struct FakeChain {
        calls: Arc<Mutex<Vec<WorkerCall>>>,
        failures: Arc<Mutex<Vec<Error>>>,
    }

    impl CallSubmitter for FakeChain {
        async fn send(&self, call: WorkerCall) -> Result<Vec<AssayEvent>, Error> {
            self.calls.lock().unwrap().push(call);
            self.failures.lock().unwrap().pop().map_or(Ok(Vec::new()), Err)
        }
    }

    #[tokio::test]
    async fn every_new_epoch_is_paid_once_until_the_connection_is_lost() {
        let chain = FakeChain::default();
        let refused = Error::Dispatch {
            pallet: "RewardEmission".into(),
            error: "NothingToPay".into(),
            docs: String::new(),
        };
        let lost = Error::ConnectionLost {
            reason: "unplugged".into(),
        };
        // Taken from the end: a payout with nothing to pay, then a lost connection.
        *chain.failures.lock().unwrap() = vec![lost, refused];
        let (epochs, new_epochs) = watch::channel(7);
        let payouts = tokio::spawn(pay_every_epoch(
            chain.clone(),
            3,
            new_epochs,
            Metrics::new().unwrap(),
        ));
        tokio::task::yield_now().await;
        assert!(
            chain.calls.lock().unwrap().is_empty(),
            "the epoch that runs at the start is not over"
        );
        epochs.send(8).unwrap();
        while chain.calls.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        epochs.send(9).unwrap();
        assert!(payouts.await.unwrap().unwrap_err().is_connection_lost());
        let payout = WorkerCall::Payout {
            machine: 3,
            max_epochs: MAX_EPOCHS_PER_PAYOUT,
        };
        assert_eq!(*chain.calls.lock().unwrap(), [payout, payout]);
    }

    #[tokio::test]
    async fn payouts_end_with_the_session() {
        let (epochs, new_epochs) = watch::channel(7);
        drop(epochs);
        pay_every_epoch(FakeChain::default(), 3, new_epochs, Metrics::new().unwrap())
            .await
            .unwrap();
    }
}
