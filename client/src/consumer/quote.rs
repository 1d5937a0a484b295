//! The cost of an order, before anything is signed.

use assay_primitives::{
    job::cost,
    money::{Balance, Rounding},
};
use serde::Serialize;

use super::{Consumer, ConsumerError, DeployOptions, find::asked_price};
use crate::{
    ChainClient, Error,
    calls::{self, Call},
    error::from_subxt,
    manifest::ImageReference,
    market::MachineView,
    order::OrderSpec,
    types::{Manifest, ManifestRef, as_decimal},
};

/// Cost of an order on machines that were chosen, in plancks.
///
/// The cost of a machine is what the chain holds for it: the price per slot-hour by the slots and the longest
/// time, rounded up. A job that ends earlier costs less, and the rest comes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Quote {
    /// Machines, with their prices.
    pub machines: Vec<QuotedMachine>,
    /// Sum of their costs: the most that is paid to providers, the protocol's fee included.
    #[serde(serialize_with = "as_decimal")]
    pub escrow: Balance,
    /// Held besides, for the bytes that the chain keeps and for bounties, and returned where it is not spent;
    /// `None` from a node that does not say.
    #[serde(serialize_with = "as_optional_decimal")]
    pub deposit: Option<Balance>,
    /// Estimated fee of the transaction.
    #[serde(serialize_with = "as_decimal")]
    pub fee: Balance,
}

impl Quote {
    /// Returns all that the account must have, in plancks.
    pub fn total(&self) -> Balance {
        self.escrow
            .saturating_add(self.deposit.unwrap_or_default())
            .saturating_add(self.fee)
    }
}

/// Cost of an order on one machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct QuotedMachine {
    /// The machine.
    pub machine: u64,
    /// Price in plancks per slot-hour. Where the provider announced a raise, that.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// The most that it can cost, in plancks.
    #[serde(serialize_with = "as_decimal")]
    pub cost: Balance,
}

fn as_optional_decimal<S: serde::Serializer>(
    amount: &Option<Balance>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match amount {
        Some(amount) => as_decimal(amount, serializer),
        None => serializer.serialize_none(),
    }
}

/// Returns the cost of an order on each machine, and their sum.
pub(super) fn machine_costs(
    spec: &OrderSpec,
    machines: &[MachineView],
) -> Result<(Vec<QuotedMachine>, Balance), ConsumerError> {
    let mut escrow: Balance = 0;
    let mut costs = Vec::new();
    for machine in machines {
        let price = asked_price(machine);
        let cost = cost(price, spec.slots, spec.max_duration_ms, Rounding::Up);
        let sum = cost.and_then(|cost| Some((cost, escrow.checked_add(cost)?)));
        let (cost, sum) = sum.ok_or(ConsumerError::TooDear)?;
        escrow = sum;
        costs.push(QuotedMachine {
            machine: machine.machine,
            price_per_slot_hour: price,
            cost,
        });
    }
    Ok((costs, escrow))
}

impl Consumer {
    /// Returns the cost of an order on the machines that [`Self::deploy`] would choose now. Nothing is
    /// signed, and no registry is asked: a tag is no part of the price.
    ///
    /// # Errors
    /// The order cannot be made, no machine fits, or the node does not answer.
    pub async fn quote(&self, spec: &OrderSpec, options: &DeployOptions) -> Result<Quote, ConsumerError> {
        spec.check()?;
        let machines = self.choose(spec, &options.machines, &Default::default()).await?;
        self.quote_on(spec, &machines).await
    }

    /// Returns the cost of an order on machines.
    pub(super) async fn quote_on(
        &self,
        spec: &OrderSpec,
        machines: &[MachineView],
    ) -> Result<Quote, ConsumerError> {
        let (costs, escrow) = machine_costs(spec, machines)?;
        // Every digest has one length, which is all that the fee depends on.
        let image = spec.image.reference();
        let image = image.unwrap_or_else(|| spec.image.with_digest([0; 32]));
        let public = public_bytes(spec, &image)?;
        let length_bytes = public
            .as_ref()
            .map_or(0, |bytes| ManifestRef::of(bytes).length_bytes);
        let manifest = match &public {
            Some(bytes) => Manifest::Public(ManifestRef::of(bytes)),
            None => Manifest::Sealed { hash: [0; 32].into() },
        };
        let order = order_call(spec, manifest, &image, machines);
        let call = match &public {
            Some(bytes) => self.client.order_of_public(order, bytes, &self.account()).await?,
            None => order,
        };
        let fee = self.client.fee(call, &self.keypair).await?;
        let deposit = self
            .client
            .order_deposit(spec.nodes, spec.max_duration_ms, length_bytes)
            .await;
        let deposit = match deposit {
            Ok(deposit) => Some(deposit),
            Err(error) if error.is_connection_lost() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "the node does not say what an order deposits");
                None
            }
        };
        Ok(Quote {
            machines: costs,
            escrow,
            deposit,
            fee,
        })
    }
}

/// Returns the bytes of a public manifest; `None` for a sealed one.
pub(super) fn public_bytes(
    spec: &OrderSpec,
    image: &ImageReference,
) -> Result<Option<Vec<u8>>, ConsumerError> {
    let manifest = spec.manifest(image.clone())?;
    if spec.sealed {
        return Ok(None);
    }
    let bytes = manifest.to_bytes().map_err(crate::order::OrderError::from)?;
    Ok(Some(bytes))
}

/// Returns the call that orders the job on these machines.
pub(super) fn order_call(
    spec: &OrderSpec,
    manifest: Manifest,
    image: &ImageReference,
    machines: &[MachineView],
) -> Call {
    let highest_ask = machines.iter().map(asked_price).max().unwrap_or_default();
    let order = spec.job_order(manifest, image, highest_ask);
    let chosen = machines.iter().map(|machine| machine.machine).collect();
    calls::deploy(order, chosen)
}

impl ChainClient {
    /// Returns what the chain holds besides the price of an order on machines that its consumer chose, in
    /// plancks: for the bytes that it keeps, and for bounties. `manifest_bytes`: length of a public manifest,
    /// zero for a sealed one.
    pub async fn order_deposit(
        &self,
        nodes: u8,
        max_duration_ms: u64,
        manifest_bytes: u32,
    ) -> Result<Balance, Error> {
        let call = subxt::dynamic::view_function_call::<_, Balance>(
            "JobEscrow",
            "deposit_for",
            (nodes, max_duration_ms, false, manifest_bytes),
        );
        self.at_best()
            .await?
            .view_functions()
            .call(call)
            .await
            .map_err(from_subxt)
    }
}
