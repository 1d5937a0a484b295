# shellcheck shell=bash
# The runtime's compile target, wasm32v1-none, for the pinned toolchain.
#
# An ordinary machine gets it from rustup. Where rustup can download nothing but Debian's packages can be reached,
# the target's core libraries are built here from the sources of exactly the same compiler, which Debian carries.
#
# Sourced after common.sh.

# shellcheck source=debian-suite.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/debian-suite.sh"

# wasm_target_folder: where the toolchain keeps (or would keep) the target's libraries.
wasm_target_folder() {
    printf '%s/lib/rustlib/wasm32v1-none/lib' "$(cd "$ASSAY_ROOT" && rustc --print sysroot)"
}

# have_wasm_target: succeeds if all three libraries that a no_std crate links are there.
have_wasm_target() {
    local folder library
    folder="$(wasm_target_folder)"
    for library in core alloc compiler_builtins; do
        compgen -G "$folder/lib$library-*.rlib" >/dev/null || return 1
    done
}

# fetch_library_sources VERSION FOLDER: unpacks Debian's package of the standard library's sources into FOLDER.
fetch_library_sources() {
    local version="$1" folder="$2" package
    # The suite that carries newer compilers.
    fetch_debian_packages trixie-backports "$folder" "rust-src=$version*" || return 1
    package="$(compgen -G "$folder/package/rust-src_*.deb" | head -n 1)"
    [[ -n "$package" ]] || return 1
    mkdir -p "$folder/unpacked"
    # The package holds the whole compiler; only the library is needed.
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder/unpacked" --wildcards './usr/src/rustc-*/library'
}

# build_wasm_target VERSION FOLDER: compiles the target's libraries and copies them to where the compiler looks.
build_wasm_target() {
    local version="$1" folder="$2" sysroot destination unpacked library
    sysroot="$(cd "$ASSAY_ROOT" && rustc --print sysroot)"
    destination="$sysroot/lib/rustlib/src/rust"
    if [[ ! -f "$destination/library/Cargo.lock" ]]; then
        fetch_library_sources "$version" "$folder" || return 1
        # The package's folder carries the version in its name.
        unpacked="$(compgen -G "$folder/unpacked/usr/src/rustc-*/library" | head -n 1)"
        [[ -n "$unpacked" ]] || return 1
        mkdir -p "$destination"
        cp -R -- "$unpacked" "$destination/"
    fi
    mkdir -p "$folder/crate/src"
    printf '%s\n' '[package]' 'name = "wasm-target"' 'edition = "2021"' '[workspace]' >"$folder/crate/Cargo.toml"
    printf '#![no_std]\n' >"$folder/crate/src/lib.rs"
    cp "$ASSAY_ROOT/rust-toolchain.toml" "$folder/crate/"
    # Both variables stay inside this one command: exported, they would make every build script of the workspace run
    # again. Without the embedded bitcode the runtime's link-time optimisation fails.
    (
        cd "$folder/crate"
        env RUSTFLAGS=-Cembed-bitcode=yes RUSTC_BOOTSTRAP=1 \
            CARGO_TARGET_DIR="$folder/target" \
            cargo build --release --target wasm32v1-none -Zbuild-std=core,alloc
    ) || return 1
    mkdir -p "$(wasm_target_folder)"
    for library in core alloc compiler_builtins; do
        cp -- "$folder"/target/wasm32v1-none/release/deps/lib"$library"-*.rlib "$(wasm_target_folder)/" || return 1
    done
}

# ensure_wasm_target: the target is there afterwards, or the script ends with a sentence that names the missing part.
ensure_wasm_target() {
    have_wasm_target && return 0
    local folder version
    folder="$(mktemp -d "${TMPDIR:-/tmp}/assay-wasm-target.XXXXXX")"
    say "Adding the compile target wasm32v1-none to the toolchain."
    if have rustup && (cd "$ASSAY_ROOT" && rustup target add wasm32v1-none) >"$folder/rustup.log" 2>&1 </dev/null &&
        have_wasm_target; then
        rm -rf -- "$folder"
        return 0
    fi
    version="$(cd "$ASSAY_ROOT" && rustc --version | cut -d ' ' -f 2)"
    say "rustup cannot provide it here: building it from Debian's sources of the standard library $version."
    if build_wasm_target "$version" "$folder" >"$folder/build.log" 2>&1 </dev/null && have_wasm_target; then
        rm -rf -- "$folder"
        return 0
    fi
    show_tail "$folder/rustup.log" 5
    show_tail "$folder/build.log" 20
    die "the compile target wasm32v1-none of Rust $version is missing: 'rustup target add wasm32v1-none' failed, and" \
        "so did building it from Debian's package rust-src (logs in $folder)."
}
