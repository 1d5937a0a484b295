//! Assembly of the node: client, pool, consensus, network, RPC.

use std::{path::Path, sync::Arc, time::Duration};

use assay_runtime::{OpaqueBlock as Block, RuntimeApi};
use futures::FutureExt;
use polkadot_sdk::{
    sc_basic_authorship,
    sc_client_api::{Backend, BlockBackend},
    sc_consensus,
    sc_consensus_babe::{self, SlotProportion},
    sc_consensus_grandpa::{self, FinalityProofProvider, SharedVoterState},
    sc_consensus_slots, sc_executor, sc_network,
    sc_network::service::traits::NetworkService,
    sc_offchain,
    sc_service::{
        self, Configuration, PartialComponents, TaskManager, WarpSyncConfig, error::Error as ServiceError,
    },
    sc_telemetry::{Telemetry, TelemetryWorker},
    sc_transaction_pool,
    sc_transaction_pool_api::OffchainTransactionPoolFactory,
    sp_consensus_babe::{SlotDuration, inherents::InherentDataProvider as SlotInherent},
    sp_inherents::CreateInherentDataProviders,
    sp_runtime::traits::Block as BlockT,
    sp_timestamp,
};

use crate::{
    executor::{HostFunctions, new_executor},
    finality, missed, prober, rpc,
};

/// Client with the runtime that it executes.
pub(crate) type FullClient =
    sc_service::TFullClient<Block, RuntimeApi, sc_executor::WasmExecutor<HostFunctions>>;

type FullBackend = sc_service::TFullBackend<Block>;
type FullSelectChain = sc_consensus::LongestChain<FullBackend, Block>;
type FullGrandpaImport =
    sc_consensus_grandpa::GrandpaBlockImport<FullBackend, Block, FullClient, FullSelectChain>;
type FullBabeImport = sc_consensus_babe::BabeBlockImport<
    Block,
    FullClient,
    FullGrandpaImport,
    InherentFactory,
    FullSelectChain,
>;
type Inherents = (
    SlotInherent,
    sp_timestamp::InherentDataProvider,
    finality::InherentDataProvider,
);
type InherentFactory = Arc<dyn CreateInherentDataProviders<Block, (), InherentDataProviders = Inherents>>;
type FullPool = sc_transaction_pool::TransactionPoolHandle<Block, FullClient>;

/// Maximum number of blocks between two stored justifications, which other chains and light clients need.
const GRANDPA_JUSTIFICATION_PERIOD: u32 = 512;

/// Minimum time between two repetitions of GRANDPA's messages to its peers.
const GRANDPA_GOSSIP_INTERVAL: Duration = Duration::from_millis(333);

/// NodeParts of consensus that [`new_partial`] passes to [`new_full`].
pub(crate) struct Consensus {
    block_import: FullBabeImport,
    babe_link: sc_consensus_babe::BabeLink<Block>,
    babe_worker: sc_consensus_babe::BabeWorkerHandle<Block>,
    grandpa_link: sc_consensus_grandpa::LinkHalf<Block, FullClient, FullSelectChain>,
    telemetry: Option<Telemetry>,
}

/// NodeParts of the node without a network, enough for the subcommands that work on the database.
pub(crate) type NodeParts = PartialComponents<
    FullClient,
    FullBackend,
    FullSelectChain,
    sc_consensus::DefaultImportQueue<Block>,
    FullPool,
    Consensus,
>;

/// Creates the inherents of a block: its slot and time, both by this machine's clock, and the block that this
/// node regards as final.
fn inherents(client: &FullClient, slot_duration: SlotDuration) -> Inherents {
    let timestamp = sp_timestamp::InherentDataProvider::from_system_time();
    (
        SlotInherent::from_timestamp_and_slot_duration(*timestamp, slot_duration),
        timestamp,
        finality::InherentDataProvider::from_client(client),
    )
}

/// Creates the node's parts without a network.
///
/// `compiled_runtimes` is the folder that caches compiled runtimes, if given.
pub(crate) fn new_partial(
    config: &Configuration,
    compiled_runtimes: Option<&Path>,
) -> Result<NodeParts, ServiceError> {
    let telemetry = config
        .telemetry_endpoints
        .clone()
        .filter(|endpoints| !endpoints.is_empty())
        .map(|endpoints| -> Result<_, polkadot_sdk::sc_telemetry::Error> {
            let worker = TelemetryWorker::new(16)?;
            let telemetry = worker.handle().new_telemetry(endpoints);
            Ok((worker, telemetry))
        })
        .transpose()?;

    let (client, backend, keystore_container, task_manager) =
        sc_service::new_full_parts::<Block, RuntimeApi, _>(
            config,
            telemetry.as_ref().map(|(_, telemetry)| telemetry.handle()),
            new_executor(&config.executor, compiled_runtimes)?,
            // Justified blocks stay, so that a pruned node can still serve warp sync.
            vec![Arc::new(sc_consensus_grandpa::GrandpaPruningFilter)],
        )?;
    let client = Arc::new(client);

    let telemetry = telemetry.map(|(worker, telemetry)| {
        task_manager.spawn_handle().spawn("telemetry", None, worker.run());
        telemetry
    });

    let select_chain = sc_consensus::LongestChain::new(backend.clone());
    let transaction_pool = Arc::from(
        sc_transaction_pool::Builder::new(
            task_manager.spawn_essential_handle(),
            client.clone(),
            config.role.is_authority().into(),
        )
        .with_options(config.transaction_pool.clone())
        .with_prometheus(config.prometheus_registry())
        .build(),
    );

    let (grandpa_import, grandpa_link) = sc_consensus_grandpa::block_import(
        client.clone(),
        GRANDPA_JUSTIFICATION_PERIOD,
        &client,
        select_chain.clone(),
        telemetry.as_ref().map(|telemetry| telemetry.handle()),
    )?;

    let babe_config = sc_consensus_babe::configuration(&*client)?;
    let slot_duration = babe_config.slot_duration();
    let importing = client.clone();
    let (block_import, babe_link) = sc_consensus_babe::block_import(
        babe_config,
        grandpa_import.clone(),
        client.clone(),
        Arc::new(move |_, ()| {
            let inherents = inherents(&importing, slot_duration);
            async move { Ok(inherents) }
        }) as InherentFactory,
        select_chain.clone(),
        OffchainTransactionPoolFactory::new(transaction_pool.clone()),
    )?;

    let (import_queue, babe_worker) =
        sc_consensus_babe::import_queue(sc_consensus_babe::ImportQueueParams {
            link: babe_link.clone(),
            block_import: block_import.clone(),
            justification_import: Some(Box::new(grandpa_import)),
            client: client.clone(),
            slot_duration,
            spawner: &task_manager.spawn_essential_handle(),
            registry: config.prometheus_registry(),
            telemetry: telemetry.as_ref().map(|telemetry| telemetry.handle()),
        })?;

    Ok(PartialComponents {
        client,
        backend,
        task_manager,
        keystore_container,
        select_chain,
        import_queue,
        transaction_pool,
        other: Consensus {
            block_import,
            babe_link,
            babe_worker,
            grandpa_link,
            telemetry,
        },
    })
}

/// Creates and starts the whole node.
///
/// `compiled_runtimes` as for [`new_partial`].
pub(crate) fn new_full<Network>(
    config: Configuration,
    compiled_runtimes: Option<&Path>,
) -> Result<TaskManager, ServiceError>
where
    Network: sc_network::NetworkBackend<Block, <Block as BlockT>::Hash>,
{
    let PartialComponents {
        client,
        backend,
        mut task_manager,
        keystore_container,
        select_chain,
        import_queue,
        transaction_pool,
        other:
            Consensus {
                block_import,
                babe_link,
                babe_worker,
                grandpa_link,
                mut telemetry,
            },
    } = new_partial(&config, compiled_runtimes)?;

    let role = config.role;
    let chain_type = config.chain_spec.chain_type();
    let force_authoring = config.force_authoring;
    let name = config.network.node_name.clone();
    let enable_grandpa = !config.disable_grandpa;
    let prometheus_registry = config.prometheus_registry().cloned();
    let shared_voter_state = SharedVoterState::empty();

    let metrics = Network::register_notification_metrics(prometheus_registry.as_ref());
    let mut net_config = sc_network::config::FullNetworkConfiguration::<_, _, Network>::new(
        &config.network,
        prometheus_registry.clone(),
    );
    let genesis_hash = client
        .block_hash(0)?
        .ok_or("the database has no genesis block; purge the chain")?;
    let grandpa_protocol_name =
        sc_consensus_grandpa::protocol_standard_name(&genesis_hash, &config.chain_spec);
    let (grandpa_protocol, grandpa_notifications) =
        sc_consensus_grandpa::grandpa_peers_set_config::<_, Network>(
            grandpa_protocol_name.clone(),
            metrics.clone(),
            net_config.peer_store_handle(),
        );
    net_config.add_notification_protocol(grandpa_protocol);

    let warp_sync = Arc::new(sc_consensus_grandpa::warp_proof::NetworkProvider::new(
        backend.clone(),
        grandpa_link.shared_authority_set().clone(),
        Vec::new(),
    ));
    let (network, system_rpc_tx, tx_handler_controller, sync_service, _bitswap) =
        sc_service::build_network(sc_service::BuildNetworkParams {
            config: &config,
            net_config,
            client: client.clone(),
            transaction_pool: transaction_pool.clone(),
            spawn_handle: task_manager.spawn_handle(),
            spawn_essential_handle: task_manager.spawn_essential_handle(),
            import_queue,
            block_announce_validator_builder: None,
            warp_sync_config: Some(WarpSyncConfig::WithProvider(warp_sync)),
            block_relay: None,
            metrics,
            gap_sync_body_policy: None,
        })?;

    if config.offchain_worker.enabled {
        let network: Arc<dyn NetworkService> = network.clone();
        let workers = sc_offchain::OffchainWorkers::new(sc_offchain::OffchainWorkerOptions {
            runtime_api_provider: client.clone(),
            keystore: Some(keystore_container.keystore()),
            offchain_db: backend.offchain_storage(),
            transaction_pool: Some(OffchainTransactionPoolFactory::new(transaction_pool.clone())),
            network_provider: Arc::new(network),
            is_validator: role.is_authority(),
            // Nothing in the runtime requests URLs: `prober` probes machines, and restricts the targets.
            enable_http_requests: false,
            custom_extensions: |_| Vec::new(),
        })?;
        task_manager.spawn_handle().spawn(
            "offchain-workers-runner",
            "offchain-worker",
            workers.run(client.clone(), task_manager.spawn_handle()).boxed(),
        );
    }

    let rpc_builder = {
        let client = client.clone();
        let pool = transaction_pool.clone();
        let select_chain = select_chain.clone();
        let keystore = keystore_container.keystore();
        let voter_state = shared_voter_state.clone();
        let authority_set = grandpa_link.shared_authority_set().clone();
        let justifications = grandpa_link.justification_stream();
        let finality_proofs =
            FinalityProofProvider::new_for_service(backend.clone(), Some(authority_set.clone()));
        Box::new(move |subscription_executor| {
            rpc::methods(rpc::RpcDependencies {
                client: client.clone(),
                pool: pool.clone(),
                select_chain: select_chain.clone(),
                keystore: keystore.clone(),
                babe_worker: babe_worker.clone(),
                grandpa: rpc::GrandpaDependencies {
                    voter_state: voter_state.clone(),
                    authority_set: authority_set.clone(),
                    justifications: justifications.clone(),
                    subscription_executor,
                    finality_proofs: finality_proofs.clone(),
                },
            })
            .map_err(Into::into)
        })
    };

    sc_service::spawn_tasks(sc_service::SpawnTasksParams {
        config,
        client: client.clone(),
        backend,
        keystore: keystore_container.keystore(),
        network: network.clone(),
        sync_service: sync_service.clone(),
        rpc_builder,
        transaction_pool: transaction_pool.clone(),
        task_manager: &mut task_manager,
        system_rpc_tx,
        tx_handler_controller,
        telemetry: telemetry.as_mut(),
        tracing_execute_block: None,
    })?;

    if role.is_authority() {
        let proposer = sc_basic_authorship::ProposerFactory::new(
            task_manager.spawn_handle(),
            client.clone(),
            transaction_pool.clone(),
            prometheus_registry.as_ref(),
            telemetry.as_ref().map(|telemetry| telemetry.handle()),
        );
        let slot_duration = babe_link.config().slot_duration();
        let authoring = client.clone();
        let babe = sc_consensus_babe::start_babe(sc_consensus_babe::BabeParams {
            keystore: keystore_container.keystore(),
            client: client.clone(),
            select_chain,
            env: proposer,
            block_import,
            sync_oracle: sync_service.clone(),
            justification_sync_link: sync_service.clone(),
            create_inherent_data_providers: move |_, ()| {
                let inherents = inherents(&authoring, slot_duration);
                async move { Ok(inherents) }
            },
            force_authoring,
            // Without finality the chain slows down instead of running far ahead.
            backoff_authoring_blocks: Some(
                sc_consensus_slots::BackoffAuthoringOnFinalizedHeadLagging::default(),
            ),
            babe_link,
            block_proposal_slot_portion: SlotProportion::new(0.5),
            max_block_proposal_slot_portion: None,
            telemetry: telemetry.as_ref().map(|telemetry| telemetry.handle()),
        })?;
        task_manager
            .spawn_essential_handle()
            .spawn_blocking("babe-proposer", Some("block-authoring"), babe);
    }

    if role.is_authority() {
        let duty = prober::run(prober::ProberDependencies {
            client: client.clone(),
            pool: transaction_pool.clone(),
            sync: sync_service.clone(),
            keystore: keystore_container.keystore(),
            chain_type,
            prometheus: prometheus_registry.clone(),
        });
        task_manager
            .spawn_handle()
            .spawn("prober", Some("availability"), duty);
        let reports = missed::run(missed::MissedReportDependencies {
            client: client.clone(),
            pool: transaction_pool.clone(),
            sync: sync_service.clone(),
            keystore: keystore_container.keystore(),
        });
        task_manager
            .spawn_handle()
            .spawn("missed-answers", Some("challenge"), reports);
    }

    if enable_grandpa {
        // Full nodes run the voter too, without a key: they follow the votes and serve them to others.
        let grandpa = sc_consensus_grandpa::run_grandpa_voter(sc_consensus_grandpa::GrandpaParams {
            config: sc_consensus_grandpa::Config {
                gossip_duration: GRANDPA_GOSSIP_INTERVAL,
                justification_generation_period: GRANDPA_JUSTIFICATION_PERIOD,
                name: Some(name),
                observer_enabled: false,
                keystore: role.is_authority().then(|| keystore_container.keystore()),
                local_role: role,
                telemetry: telemetry.as_ref().map(|telemetry| telemetry.handle()),
                protocol_name: grandpa_protocol_name,
            },
            link: grandpa_link,
            network,
            sync: sync_service,
            notification_service: grandpa_notifications,
            voting_rule: sc_consensus_grandpa::VotingRulesBuilder::default().build(),
            prometheus_registry,
            shared_voter_state,
            telemetry: telemetry.as_ref().map(|telemetry| telemetry.handle()),
            offchain_tx_pool_factory: OffchainTransactionPoolFactory::new(transaction_pool),
        })?;
        task_manager
            .spawn_essential_handle()
            .spawn_blocking("grandpa-voter", None, grandpa);
    }

    Ok(task_manager)
}
