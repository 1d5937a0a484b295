//! What runs the runtime's WebAssembly, and where the machine code that it compiles to is kept.

use std::{
    fs,
    io::{Error, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use polkadot_sdk::{
    sc_executor::{DEFAULT_HEAP_ALLOC_STRATEGY, HeapAllocStrategy, WasmExecutor},
    sc_service::{config::ExecutorConfiguration, error::Error as ServiceError},
    sp_io,
};

/// What the runtime may call of its host.
#[cfg(not(feature = "runtime-benchmarks"))]
pub(crate) type HostFunctions = sp_io::SubstrateHostFunctions;

/// What the runtime may call of its host while it is measured.
#[cfg(feature = "runtime-benchmarks")]
pub(crate) type HostFunctions = (
    sp_io::SubstrateHostFunctions,
    polkadot_sdk::frame_benchmarking::benchmarking::HostFunctions,
);

/// The mode bits with which others than a folder's owner can write into it.
const OTHERS_WRITE: u32 = 0o022;

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
                "compiled runtimes cannot be kept in {}: {error}",
                folder.display()
            ))
        })?;
        builder = builder.with_cache_path(folder);
    }
    Ok(builder.build())
}

/// The folder's whole path, made if it is not there. Refused if others can write into it: what is in it is executed.
fn own_folder(folder: &Path) -> Result<PathBuf, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let folder = folder.canonicalize()?;
    if folder.metadata()?.mode() & OTHERS_WRITE != 0 {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            "others can write into it, and what is in it is executed; `chmod go-w` it, and empty it if you do not know \
             who did",
        ));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folder_is_made_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let whole = own_folder(&folder).unwrap();
        assert_eq!(whole, folder.canonicalize().unwrap());
        assert_eq!(whole.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(own_folder(&folder).unwrap(), whole, "it may be there already");
    }

    #[test]
    fn folder_that_others_can_write_into_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for mode in [0o720, 0o702] {
            fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = new_executor(&ExecutorConfiguration::default(), Some(home.path()))
                .err()
                .unwrap();
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(own_folder(home.path()).is_ok(), "others may read it");
    }

    #[test]
    fn file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(own_folder(file.path()).is_err());
    }
}
