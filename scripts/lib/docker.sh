# shellcheck shell=bash
# A Docker of our own with the Container Device Interface (CDI), for tests of GPUs.
#
# Docker knows CDI since version 25. A daemon of the machine that is as new is taken; else Debian's packages are
# unpacked into the cache folder, and nothing is installed. Sockets, storage and settings are in the temp folder of
# engine.sh, and the machine's network is left alone.
#
# Sourced after common.sh, debian-suite.sh, engine.sh and packages.sh. `start_docker` is called after
# `push_small_image`; it sets
#   DOCKER_SOCKET   path of the socket; empty where no such Docker can be had
#   DOCKER_RUNTIME  name of a stronger runtime of this Docker; empty where there is none

# shellcheck disable=SC2034 # read by the scripts that source this file
DOCKER_SOCKET='' DOCKER_RUNTIME=''

# Oldest version with CDI.
DOCKER_OLDEST=25

# Suite of Debian with such a version.
DOCKER_SUITE=trixie

# docker_folder: where the unpacked packages are kept.
docker_folder() {
    printf '%s/assay/docker-%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$DOCKER_SUITE"
}

# docker_is_new_enough: succeeds if dockerd can be run, in a version with CDI, and with containerd.
docker_is_new_enough() {
    local version
    have dockerd && have containerd && version="$(dockerd --version 2>/dev/null)" || return 1
    version="${version#*version }"
    [[ "${version%%.*}" =~ ^[0-9]+$ ]] && ((${version%%.*} >= DOCKER_OLDEST))
}

# ensure_docker: such a Docker is in PATH afterwards; fails where there is none to be had.
ensure_docker() {
    local folder work package
    docker_is_new_enough && return 0
    folder="$(docker_folder)"
    if [[ ! -x "$folder/usr/sbin/dockerd" ]]; then
        say "Fetching Docker $DOCKER_OLDEST or later from Debian's $DOCKER_SUITE into $folder (not installed)."
        work="$(mktemp -d "${TMPDIR:-/tmp}/assay-docker.XXXXXX")"
        if fetch_debian_packages "$DOCKER_SUITE" "$work" docker.io containerd >"$work/log" 2>&1; then
            mkdir -p "$work/unpacked"
            for package in "$work"/package/*.deb; do
                dpkg-deb --extract "$package" "$work/unpacked"
            done
            mkdir -p "$(dirname "$folder")"
            rm -rf -- "$folder"
            mv -- "$work/unpacked" "$folder"
        else
            show_tail "$work/log" 5
        fi
        rm -rf -- "$work"
    fi
    PATH="$folder/usr/sbin:$folder/usr/bin:$PATH" && export PATH
    docker_is_new_enough
}

# ensure_runsc: prints the path of gVisor's runtime, Debian's package of which is unpacked beside Docker's; fails where
# there is none to be had.
ensure_runsc() {
    local folder work
    if have runsc; then
        command -v runsc
        return 0
    fi
    folder="${XDG_CACHE_HOME:-$HOME/.cache}/assay/runsc-$DOCKER_SUITE"
    if [[ ! -x "$folder/usr/bin/runsc" ]]; then
        work="$(mktemp -d "${TMPDIR:-/tmp}/assay-runsc.XXXXXX")"
        if fetch_debian_packages "$DOCKER_SUITE" "$work" runsc >"$work/log" 2>&1 &&
            dpkg-deb --extract "$work"/package/runsc_*.deb "$work/unpacked"; then
            mkdir -p "$(dirname "$folder")"
            rm -rf -- "$folder"
            mv -- "$work/unpacked" "$folder"
        else
            show_tail "$work/log" 5 >&2
        fi
        rm -rf -- "$work"
    fi
    [[ -x "$folder/usr/bin/runsc" ]] && printf '%s\n' "$folder/usr/bin/runsc"
}

# start_docker: starts the daemon and waits for it; sets DOCKER_SOCKET where it runs the small image.
start_docker() {
    local socket log runsc runtimes='{}'
    local -a options=(--bridge none --iptables=false --ip6tables=false)
    if [[ "$(id -u)" -ne 0 ]]; then
        warn "Docker is not tested: its daemon needs root."
        return 0
    fi
    if ! ensure_docker; then
        warn "Docker is not tested: there is none of version $DOCKER_OLDEST or later."
        return 0
    fi
    engine_folder
    log="$ENGINE_FOLDER/docker.log"
    socket="$ENGINE_FOLDER/docker.sock"
    mkdir -p "$ENGINE_FOLDER/docker-cdi"
    if runsc="$(ensure_runsc)" && "$runsc" --version >/dev/null 2>&1; then
        # Without virtualization and without rights over cgroups, and with the network of jobs that have none: so it runs
        # wherever the tests do.
        runtimes="$(jq --null-input --arg path "$runsc" \
            '{runsc: {path: $path, runtimeArgs: ["--platform=ptrace", "--ignore-cgroups", "--network=none"]}}')"
        DOCKER_RUNTIME=runsc
    else
        warn "No stronger runtime is tested: gVisor's runsc cannot be had."
    fi
    jq --null-input --arg folder "$ENGINE_FOLDER/docker-cdi" --argjson runtimes "$runtimes" \
        '{features: {cdi: true}, "cdi-spec-dirs": [$folder], runtimes: $runtimes}' >"$ENGINE_FOLDER/docker.json"
    may_raise_limits ||
        options+=(--default-ulimit nofile=1024:1024 --default-ulimit nproc=4096:4096)
    dockerd --config-file "$ENGINE_FOLDER/docker.json" --host "unix://$socket" --pidfile "$ENGINE_FOLDER/docker.pid" \
        --data-root "$ENGINE_FOLDER/docker-data" --exec-root "$ENGINE_FOLDER/docker-run" "${options[@]}" \
        >"$log" 2>&1 </dev/null &
    record_process "$!"
    if wait_until 60 engine_call "$socket" GET /_ping >/dev/null 2>&1 &&
        engine_works "$socket" >"$ENGINE_FOLDER/docker-probe.log" 2>&1; then
        DOCKER_SOCKET="$socket"
        return 0
    fi
    show_tail "$log"
    warn "Docker is not tested: it was started, and could not run a container on this machine."
}
