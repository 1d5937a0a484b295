//! Fees that the chain charges for a call.

use assay_primitives::money::Balance;
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt_signer::sr25519::Keypair;

use crate::{
    calls::Call,
    client::ChainClient,
    error::{Error, from_subxt},
};

impl ChainClient {
    /// Returns the present fee of a call by this signer, in plancks; zero for a call that the chain does not
    /// charge.
    ///
    /// An estimate: the chain charges more while blocks are fuller, and calls that do less
    /// than the most they might do are charged less.
    ///
    /// # Errors
    /// Fails as a submission does for a call that the chain does not know. Nothing is submitted, and the
    /// signer needs no balance.
    pub async fn fee(&self, call: Call, signer: &Keypair) -> Result<Balance, Error> {
        let parameters = DefaultExtrinsicParamsBuilder::new().build();
        self.at_best()
            .await?
            .tx()
            .create_signed(&call.into_payload(), signer, parameters)
            .await
            .map_err(from_subxt)?
            .partial_fee_estimate()
            .await
            .map_err(from_subxt)
    }
}
