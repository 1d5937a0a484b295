//! Compiles the runtime to WebAssembly and embeds the metadata hash.

fn main() {
    #[cfg(feature = "std")]
    {
        // The target folder may lie outside the workspace; without the hint the builder searches for the
        // workspace's lock file only above the target folder.
        let manifest_dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        let workspace = std::path::Path::new(&manifest_dir)
            .parent()
            .expect("the runtime lies in a workspace");
        // SAFETY: this build script has one thread.
        unsafe { std::env::set_var("WASM_BUILD_WORKSPACE_HINT", workspace) };

        substrate_wasm_builder::WasmBuilder::init_with_defaults()
            .enable_metadata_hash("ASY", 12)
            // Big integers with 32-bit limbs: WebAssembly has no product of two 64-bit words and calls a
            // function for it. RSA and P-384 take 20 to 45 % less time this way, P-256 10 % more
            // (`evidence/wasm-bench`, without link-time optimisation).
            .append_to_rust_flags("--cfg cpubits=\"32\"")
            .build();
    }
}
