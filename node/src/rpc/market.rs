//! JSON-RPC methods of the market. `assay_primitives::market` defines the format of requirements and offers.

use std::{marker::PhantomData, sync::Arc};

use assay_primitives::{
    api::{ComputeMarketApi, JobMarketApi},
    job::{JobId, MAX_PAGE_ORDERS, OpenOrder, OpenOrderPage},
    machine::MachineId,
    market::{
        Cursor, FindError, MAX_NODES, MAX_PAGE_OFFERS, MachineView, Mismatch, OfferPage, PassedOver,
        Requirements,
    },
};
use jsonrpsee::{
    core::{RpcResult, async_trait},
    proc_macros::rpc,
    types::{
        ErrorObjectOwned,
        error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
    },
};
use polkadot_sdk::{
    sp_api::ProvideRuntimeApi, sp_blockchain::HeaderBackend, sp_runtime::traits::Block as BlockT,
};
use serde::{Deserialize, Serialize};

/// Default number of offers on a page.
const DEFAULT_PAGE_OFFERS: u32 = 20;

/// Options of a search.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    default,
    bound = "Hash: Deserialize<'de>"
)]
pub(crate) struct FindOptions<Hash> {
    /// Maximum number of offers: 20 by default, at most 100.
    limit: u32,
    /// Start of the page: `next` of the page before.
    cursor: Option<Cursor>,
    /// True to return the machines that were passed over, with reasons.
    explain: bool,
    /// Block whose state is searched; by default the best one. Pages of one block fit together exactly.
    at: Option<Hash>,
}

impl<Hash> Default for FindOptions<Hash> {
    fn default() -> Self {
        Self {
            limit: DEFAULT_PAGE_OFFERS,
            cursor: None,
            explain: false,
            at: None,
        }
    }
}

/// Page of offers, best first: by uptime, then by price.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundMachines<Hash, AccountId> {
    /// Block whose state was searched.
    at: Hash,
    /// Machines that meet every requirement.
    offers: Vec<MachineView<AccountId>>,
    /// Start of the next page; `null` after the last. A page may be short, even empty, and still have a next
    /// one.
    next: Option<Cursor>,
    /// Examined machines that are not offered, with reasons; only on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over: Option<Vec<PassedOver>>,
}

/// Options of a list of open orders.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    default,
    bound = "Hash: Deserialize<'de>"
)]
pub(crate) struct OrderOptions<Hash> {
    /// Maximum number of orders: 100 by default and at most.
    limit: u32,
    /// Start of the page: `next` of the page before.
    cursor: Option<JobId>,
    /// Block whose state is read; by default the best one.
    at: Option<Hash>,
}

impl<Hash> Default for OrderOptions<Hash> {
    fn default() -> Self {
        Self {
            limit: MAX_PAGE_ORDERS,
            cursor: None,
            at: None,
        }
    }
}

/// Page of open orders.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundOrders<Hash> {
    /// Block whose state was read.
    at: Hash,
    /// Orders that the machine can take, at its ask or more.
    orders: Vec<OpenOrder>,
    /// Start of the next page; `null` after the last. A page may be short, even empty, and still have a next
    /// one.
    next: Option<JobId>,
}

/// Methods of the market.
#[rpc(server)]
pub(crate) trait MarketApi<Hash, AccountId> {
    /// Returns machines that meet the requirements, best first.
    #[method(name = "assay_findMachines", blocking)]
    fn find_machines(
        &self,
        requirements: Requirements,
        options: Option<FindOptions<Hash>>,
    ) -> RpcResult<FoundMachines<Hash, AccountId>>;

    /// Returns a machine; `null` if it does not exist.
    #[method(name = "assay_machine", blocking)]
    fn machine(&self, machine: MachineId, at: Option<Hash>) -> RpcResult<Option<MachineView<AccountId>>>;

    /// Returns the requirements that a machine does not meet; `null` if it does not exist.
    #[method(name = "assay_explain", blocking)]
    fn explain(
        &self,
        requirements: Requirements,
        machine: MachineId,
        at: Option<Hash>,
    ) -> RpcResult<Option<Vec<Mismatch>>>;

    /// Returns open orders whose requirements a machine meets and whose price has reached its ask.
    #[method(name = "assay_openOrders", blocking)]
    fn open_orders(
        &self,
        machine: MachineId,
        options: Option<OrderOptions<Hash>>,
    ) -> RpcResult<FoundOrders<Hash>>;
}

/// Implementation that calls the runtime.
pub(crate) struct Market<Client, Block> {
    client: Arc<Client>,
    _block: PhantomData<Block>,
}

impl<Client, Block> Market<Client, Block> {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            _block: PhantomData,
        }
    }
}

#[async_trait]
impl<Client, Block, AccountId> MarketApiServer<Block::Hash, AccountId> for Market<Client, Block>
where
    Block: BlockT,
    Client: ProvideRuntimeApi<Block> + HeaderBackend<Block> + Send + Sync + 'static,
    Client::Api: ComputeMarketApi<Block, AccountId> + JobMarketApi<Block>,
    AccountId: codec::Codec + Clone + Serialize + Send + Sync + 'static,
{
    fn find_machines(
        &self,
        requirements: Requirements,
        options: Option<FindOptions<Block::Hash>>,
    ) -> RpcResult<FoundMachines<Block::Hash, AccountId>> {
        let options = options.unwrap_or_default();
        let at = self.at(options.at);
        let OfferPage {
            offers,
            passed_over,
            next,
        } = self
            .client
            .runtime_api()
            .find_machines(at, requirements.clone(), options.limit, options.cursor)
            .map_err(internal)?
            .map_err(|error| refused(error, &requirements))?;
        Ok(FoundMachines {
            at,
            offers,
            next,
            passed_over: options.explain.then_some(passed_over),
        })
    }

    fn machine(
        &self,
        machine: MachineId,
        at: Option<Block::Hash>,
    ) -> RpcResult<Option<MachineView<AccountId>>> {
        self.client
            .runtime_api()
            .machine(self.at(at), machine)
            .map_err(internal)
    }

    fn explain(
        &self,
        requirements: Requirements,
        machine: MachineId,
        at: Option<Block::Hash>,
    ) -> RpcResult<Option<Vec<Mismatch>>> {
        self.client
            .runtime_api()
            .explain(self.at(at), requirements.clone(), machine)
            .map_err(internal)?
            .map_err(|error| refused(error, &requirements))
    }

    fn open_orders(
        &self,
        machine: MachineId,
        options: Option<OrderOptions<Block::Hash>>,
    ) -> RpcResult<FoundOrders<Block::Hash>> {
        let options = options.unwrap_or_default();
        if !(1..=MAX_PAGE_ORDERS).contains(&options.limit) {
            let message = format!("limit: 1 to {MAX_PAGE_ORDERS}");
            return Err(ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>));
        }
        let at = self.at(options.at);
        let OpenOrderPage { orders, next } = self
            .client
            .runtime_api()
            .open_orders(at, machine, options.cursor, options.limit)
            .map_err(internal)?;
        Ok(FoundOrders { at, orders, next })
    }
}

impl<Client: HeaderBackend<Block>, Block: BlockT> Market<Client, Block> {
    fn at(&self, at: Option<Block::Hash>) -> Block::Hash {
        at.unwrap_or_else(|| self.client.info().best_hash)
    }
}

/// Converts a failed call of the runtime: the block is unknown, or its state was pruned.
fn internal(error: polkadot_sdk::sp_api::ApiError) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INTERNAL_ERROR_CODE, error.to_string(), None::<()>)
}

/// Converts the refusal of a search; the text says what is wrong and what is valid.
fn refused(error: FindError, requirements: &Requirements) -> ErrorObjectOwned {
    let message = match error {
        FindError::UnknownGpuType => format!(
            "gpuType: the catalogue has no hardware class named '{}'; the chain's storage \
             ProviderRegistry.HardwareClasses lists those there are, such as NVIDIA_H100",
            requirements
                .gpu_type
                .as_ref()
                .map(|name| String::from_utf8_lossy(name))
                .unwrap_or_default()
        ),
        FindError::NotOnEarth => {
            "near.center: latitudes are -90000000 to 90000000 micro-degrees, longitudes \
                                  -180000000 to 180000000"
                .into()
        }
        FindError::BadLimit => format!("limit: 1 to {MAX_PAGE_OFFERS}"),
        FindError::TooManyNodes => format!("minNodes: at most {MAX_NODES}"),
    };
    ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>)
}
