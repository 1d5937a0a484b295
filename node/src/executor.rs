//! Executor of the runtime's WebAssembly, with an optional cache of the compiled machine code.

use std::path::Path;

use polkadot_sdk::{
    sc_executor::{DEFAULT_HEAP_ALLOC_STRATEGY, HeapAllocStrategy, WasmExecutor},
    sc_service::{config::ExecutorConfiguration, error::Error as ServiceError},
    sp_io,
};

use crate::compiled_runtimes::own_folder;

/// Host functions of the runtime.
#[cfg(not(feature = "runtime-benchmarks"))]
pub(crate) type HostFunctions = sp_io::SubstrateHostFunctions;

/// Host functions of the runtime under benchmark.
#[cfg(feature = "runtime-benchmarks")]
pub(crate) type HostFunctions = (
    sp_io::SubstrateHostFunctions,
    polkadot_sdk::frame_benchmarking::benchmarking::HostFunctions,
);

/// Creates an executor that caches machine code in the folder `compiled_runtimes`, if given.
///
/// Otherwise the same as `sc_service::new_wasm_executor`, which has no way to set a folder, before or after.
pub(crate) fn new_executor(
    config: &ExecutorConfiguration,
    compiled_runtimes: Option<&Path>,
) -> Result<WasmExecutor<HostFunctions>, ServiceError> {
    let heap = config
        .default_heap_pages
        .map_or(DEFAULT_HEAP_ALLOC_STRATEGY, |pages| HeapAllocStrategy::Static {
            // No memory has more than 2^32 pages of 64 KiB: the maximum is meant.
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
                "--compiled-runtimes {} cannot be used: {error}",
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
