//! Execution of the command line.

use std::sync::Arc;

use polkadot_sdk::{sc_cli::SubstrateCli, sc_consensus_babe, sc_consensus_grandpa, sc_network, sc_service};

use crate::{
    chain_spec,
    cli::{Cli, Subcommand},
    service,
};

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "Assay Node".into()
    }

    fn impl_version() -> String {
        env!("SUBSTRATE_CLI_IMPL_VERSION").into()
    }

    fn description() -> String {
        env!("CARGO_PKG_DESCRIPTION").into()
    }

    fn author() -> String {
        "Assay's developers".into()
    }

    fn support_url() -> String {
        "the repository's issue tracker".into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn sc_service::ChainSpec>, String> {
        Ok(Box::new(chain_spec::load(id)?))
    }
}

/// Parses the command line and executes it.
pub(crate) fn run() -> polkadot_sdk::sc_cli::Result<()> {
    let cli = Cli::from_args();

    match &cli.subcommand {
        None => {
            let runner = cli.create_runner(&cli.run)?;
            let compiled_runtimes = cli.compiled_runtimes.as_deref();
            runner.run_node_until_exit(|config| async move {
                match config.network.network_backend {
                    sc_network::config::NetworkBackendType::Libp2p => {
                        service::new_full::<sc_network::NetworkWorker<_, _>>(config, compiled_runtimes)
                    }
                    sc_network::config::NetworkBackendType::Litep2p => {
                        service::new_full::<sc_network::Litep2pNetworkBackend>(config, compiled_runtimes)
                    }
                }
                .map_err(polkadot_sdk::sc_cli::Error::Service)
            })
        }
        Some(Subcommand::Key(command)) => command.run(&cli),
        #[allow(deprecated)]
        Some(Subcommand::BuildSpec(command)) => {
            let runner = cli.create_runner(command)?;
            runner.sync_run(|config| command.run(config.chain_spec, config.network))
        }
        Some(Subcommand::ExportChainSpec(command)) => command.run(cli.load_spec(&command.chain)?),
        Some(Subcommand::CheckBlock(command)) => {
            let runner = cli.create_runner(command)?;
            runner.async_run(|config| {
                let parts = service::new_partial(&config, None)?;
                Ok((command.run(parts.client, parts.import_queue), parts.task_manager))
            })
        }
        Some(Subcommand::ExportBlocks(command)) => {
            let runner = cli.create_runner(command)?;
            runner.async_run(|config| {
                let parts = service::new_partial(&config, None)?;
                Ok((command.run(parts.client, config.database), parts.task_manager))
            })
        }
        Some(Subcommand::ExportState(command)) => {
            let runner = cli.create_runner(command)?;
            runner.async_run(|config| {
                let parts = service::new_partial(&config, None)?;
                Ok((command.run(parts.client, config.chain_spec), parts.task_manager))
            })
        }
        Some(Subcommand::ImportBlocks(command)) => {
            let runner = cli.create_runner(command)?;
            runner.async_run(|config| {
                let parts = service::new_partial(&config, None)?;
                Ok((command.run(parts.client, parts.import_queue), parts.task_manager))
            })
        }
        Some(Subcommand::PurgeChain(command)) => {
            let runner = cli.create_runner(command)?;
            runner.sync_run(|config| command.run(config.database))
        }
        Some(Subcommand::Revert(command)) => {
            let runner = cli.create_runner(command)?;
            runner.async_run(|config| {
                let parts = service::new_partial(&config, None)?;
                let revert_consensus = Box::new(|client: Arc<service::FullClient>, backend, blocks| {
                    sc_consensus_babe::revert(client.clone(), backend, blocks)?;
                    sc_consensus_grandpa::revert(client, blocks)?;
                    Ok(())
                });
                Ok((
                    command.run(parts.client, parts.backend, Some(revert_consensus)),
                    parts.task_manager,
                ))
            })
        }
        Some(Subcommand::ChainInfo(command)) => {
            let runner = cli.create_runner(command)?;
            runner.sync_run(|config| command.run::<assay_runtime::OpaqueBlock>(&config))
        }
        #[cfg(feature = "runtime-benchmarks")]
        Some(Subcommand::Benchmark(command)) => benchmark(&cli, command),
    }
}

/// Measures the pallets' weights; the other benchmarks need no code of this node.
#[cfg(feature = "runtime-benchmarks")]
fn benchmark(
    cli: &Cli,
    command: &polkadot_sdk::frame_benchmarking_cli::BenchmarkCmd,
) -> polkadot_sdk::sc_cli::Result<()> {
    use polkadot_sdk::{
        frame_benchmarking_cli::{BenchmarkCmd, SUBSTRATE_REFERENCE_HARDWARE},
        sp_io::SubstrateHostFunctions,
        sp_runtime::traits::HashingFor,
    };

    let runner = cli.create_runner(command)?;
    runner.sync_run(|config| match command {
        BenchmarkCmd::Pallet(command) => command
            .run_with_spec::<HashingFor<assay_runtime::OpaqueBlock>, SubstrateHostFunctions>(Some(
                config.chain_spec,
            )),
        BenchmarkCmd::Machine(command) => command.run(&config, SUBSTRATE_REFERENCE_HARDWARE.clone()),
        _ => Err("only `benchmark pallet` and `benchmark machine` are supported".into()),
    })
}
