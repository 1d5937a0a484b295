//! JSON-RPC methods that the node adds to the SDK's (system, chain, state, author, chainHead, chainSpec,
//! ...).

mod market;

use std::sync::Arc;

use assay_primitives::api::{ComputeMarketApi, JobMarketApi};
use assay_runtime::{AccountId, Balance, BlockNumber, Hash, Nonce, OpaqueBlock as Block};
use jsonrpsee::RpcModule;
use polkadot_sdk::{
    pallet_transaction_payment_rpc, sc_client_api,
    sc_client_api::AuxStore,
    sc_consensus_babe::BabeWorkerHandle,
    sc_consensus_babe_rpc,
    sc_consensus_grandpa::{
        FinalityProofProvider, GrandpaJustificationStream, SharedAuthoritySet, SharedVoterState,
    },
    sc_consensus_grandpa_rpc,
    sc_rpc::SubscriptionTaskExecutor,
    sc_transaction_pool_api::TransactionPool,
    sp_api::ProvideRuntimeApi,
    sp_block_builder::BlockBuilder,
    sp_blockchain::{Error as BlockChainError, HeaderBackend, HeaderMetadata},
    sp_consensus::SelectChain,
    sp_consensus_babe::BabeApi,
    sp_keystore::KeystorePtr,
    substrate_frame_rpc_system,
};

/// RpcDependencies of [`methods`].
pub(crate) struct RpcDependencies<Client, Pool, Chain, Backend> {
    pub(crate) client: Arc<Client>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) select_chain: Chain,
    pub(crate) keystore: KeystorePtr,
    pub(crate) babe_worker: BabeWorkerHandle<Block>,
    pub(crate) grandpa: GrandpaDependencies<Backend>,
}

/// RpcDependencies of the methods about finality.
pub(crate) struct GrandpaDependencies<Backend> {
    pub(crate) voter_state: SharedVoterState,
    pub(crate) authority_set: SharedAuthoritySet<Hash, BlockNumber>,
    pub(crate) justifications: GrandpaJustificationStream<Block>,
    pub(crate) subscription_executor: SubscriptionTaskExecutor,
    pub(crate) finality_proofs: Arc<FinalityProofProvider<Backend, Block>>,
}

/// Returns all methods that the node adds.
pub(crate) fn methods<Client, Pool, Chain, Backend>(
    dependencies: RpcDependencies<Client, Pool, Chain, Backend>,
) -> Result<RpcModule<()>, Box<dyn std::error::Error + Send + Sync>>
where
    Client: ProvideRuntimeApi<Block>
        + HeaderBackend<Block>
        + AuxStore
        + HeaderMetadata<Block, Error = BlockChainError>
        + Send
        + Sync
        + 'static,
    Client::Api: substrate_frame_rpc_system::AccountNonceApi<Block, AccountId, Nonce>,
    Client::Api: pallet_transaction_payment_rpc::TransactionPaymentRuntimeApi<Block, Balance>,
    Client::Api: BabeApi<Block>,
    Client::Api: ComputeMarketApi<Block, AccountId> + JobMarketApi<Block>,
    Client::Api: BlockBuilder<Block>,
    Pool: TransactionPool + Sync + Send + 'static,
    Chain: SelectChain<Block> + 'static,
    Backend: sc_client_api::Backend<Block> + Send + Sync + 'static,
{
    use market::{Market, MarketApiServer};
    use pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer};
    use sc_consensus_babe_rpc::{Babe, BabeApiServer};
    use sc_consensus_grandpa_rpc::{Grandpa, GrandpaApiServer};
    use substrate_frame_rpc_system::{System, SystemApiServer};

    let RpcDependencies {
        client,
        pool,
        select_chain,
        keystore,
        babe_worker,
        grandpa,
    } = dependencies;

    let mut module = RpcModule::new(());
    module.merge(System::new(client.clone(), pool).into_rpc())?;
    module.merge(TransactionPayment::new(client.clone()).into_rpc())?;
    module.merge(MarketApiServer::<Hash, AccountId>::into_rpc(
        Market::<_, Block>::new(client.clone()),
    ))?;
    module.merge(Babe::new(client, babe_worker, keystore, select_chain).into_rpc())?;
    module.merge(
        Grandpa::new(
            grandpa.subscription_executor,
            grandpa.authority_set,
            grandpa.voter_state,
            grandpa.justifications,
            grandpa.finality_proofs,
        )
        .into_rpc(),
    )?;
    Ok(module)
}
