//! What runs the runtime's WebAssembly, and where the machine code that it compiles to is kept.

use std::path::Path;

use polkadot_sdk::{
    sc_executor::{DEFAULT_HEAP_ALLOC_STRATEGY, HeapAllocStrategy, WasmExecutor},
    sc_service::{config::ExecutorConfiguration, error::Error as ServiceError},
    sp_io,
};

use crate::compiled_runtimes::own_folder;

/// What the runtime may call of its host.
#[cfg(not(feature = "runtime-benchmarks"))]
pub(crate) type HostFunctions = sp_io::SubstrateHostFunctions;

/// What the runtime may call of its host while it is measured.
#[cfg(feature = "runtime-benchmarks")]
pub(crate) type HostFunctions = (
    sp_io::SubstrateHostFunctions,
    polkadot_sdk::frame_benchmarking::benchmarking::HostFunctions,
);

/// An executor that keeps machine code in the folder `compiled_runtimes`, if there is one.
///
/// Otherwise that of `sc_service::new_wasm_executor`, which cannot be told of a folder, neither before nor after.
pub(crate) fn new_executor(
    config: &ExecutorConfiguration,
    compiled_runtimes: Option<&Path>,
) -> Result<WasmExecutor<HostFunctions>, ServiceError> {
    let heap = config
        .default_heap_pages
        .map_or(DEFAULT_HEAP_ALLOC_STRATEGY, |pages| HeapAllocStrategy::Static {
            // More than 2^32 pages of 64 KiB are no size of a memory: as many as there can be are meant.
            extra_pages: u32::try_from(pages).unwrap_or(u32::MAX),
        });
    let mut builder = WasmExecutor::builder()
        .with_execution_method(config.wasm_method)
        .with_onchain_heap_alloc_strategy(heap)
        .with_offchain_heap_alloc_strategy(heap)
        .with_max_runtime_instances(config.max_runtime_instances)
        .with_runtime_cache_size(config.runtime_cache_size);
    if let Some(folder) = compiled_runtimes {
        let folder = own_folder(folder).map_err(|error| {
            ServiceError::Other(format!(
                "nothing can be kept in the folder of --compiled-runtimes, {}: {error}",
                folder.display()
            ))
        })?;
        builder = builder.with_cache_path(folder);
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn new_executor_keeps_nothing_in_a_folder_that_others_can_write_into() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("compiled");
        assert!(new_executor(&ExecutorConfiguration::default(), Some(&folder)).is_ok());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = new_executor(&ExecutorConfiguration::default(), Some(&folder))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("--compiled-runtimes") && error.contains("chmod go-w"),
            "{error}"
        );
    }
}
