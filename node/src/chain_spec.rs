//! Built-in chains. Their state comes from the runtime's genesis presets.

use assay_primitives::money::{SS58_PREFIX, TOKEN_DECIMALS, TOKEN_SYMBOL};
use assay_runtime::{WASM_BINARY, genesis_config_presets::LOCAL_PRESET};
use polkadot_sdk::{
    sc_chain_spec::{ChainType, GenericChainSpec, Properties},
    sp_genesis_builder::DEV_RUNTIME_PRESET,
};

/// Specification of a chain, without extensions.
pub(crate) type ChainSpec = GenericChainSpec;

/// Loads the built-in specification with that name, or the one in that file.
pub(crate) fn load(name_or_path: &str) -> Result<ChainSpec, String> {
    match name_or_path {
        "dev" => from_preset(
            "Assay Development",
            "assay_dev",
            ChainType::Development,
            DEV_RUNTIME_PRESET,
        ),
        "local" => from_preset("Assay Local", "assay_local", ChainType::Local, LOCAL_PRESET),
        "" => Err(
            "no chain was given: use --dev, --chain local, or --chain FILE with a chain specification".into(),
        ),
        path if std::path::Path::new(path).exists() => ChainSpec::from_json_file(path.into())
            .map_err(|error| format!("{path} is not a chain specification of this node: {error}")),
        unknown => Err(format!(
            "unknown chain \"{unknown}\": it is neither a file nor one of the built-in chains, \"dev\" and \"local\""
        )),
    }
}

fn from_preset(name: &str, id: &str, chain_type: ChainType, preset: &str) -> Result<ChainSpec, String> {
    let wasm = WASM_BINARY.ok_or(
        "this node was built without its runtime (SKIP_WASM_BUILD was set): rebuild it, or use --chain FILE",
    )?;
    let mut properties = Properties::new();
    properties.insert("tokenSymbol".into(), TOKEN_SYMBOL.into());
    properties.insert("tokenDecimals".into(), TOKEN_DECIMALS.into());
    properties.insert("ss58Format".into(), SS58_PREFIX.into());

    Ok(ChainSpec::builder(wasm, None)
        .with_name(name)
        .with_id(id)
        .with_chain_type(chain_type)
        .with_genesis_config_preset_name(preset)
        .with_protocol_id("assay")
        .with_properties(properties)
        .build())
}
