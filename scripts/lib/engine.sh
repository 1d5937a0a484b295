# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is read by the scripts that source this file
# A container engine, a registry on the loopback address and a small image in it, for tests and for the demo.
#
# A Docker or Podman service that already runs on this machine is used if it really can pull the image and run it.
# Otherwise a Podman service of our own is started, with its socket, its storage and its settings in a temp folder.
# Nothing of the machine's configuration changes, and everything that was started ends with the script.
#
# Sourced after common.sh and together with packages.sh. `start_registry`, `push_small_image` and `start_engine` are
# called in this order; they set
#   REGISTRY        host:port of the registry
#   SMALL_IMAGE     the image's reference, pinned by its digest
#   ENGINE_SOCKET   path of the engine's socket
#   ENGINE_NAME     name of the engine, with its version

REGISTRY=''
SMALL_IMAGE=''
ENGINE_SOCKET=''
ENGINE_NAME=''
ENGINE_IS_OURS=no
ENGINE_FOLDER=''

# engine_folder: makes the temp folder of this file, once. Its path is short because socket paths have a limit.
engine_folder() {
    [[ -n "$ENGINE_FOLDER" ]] && return 0
    ENGINE_FOLDER="$(mktemp -d /tmp/assay-engine.XXXXXX)"
    on_exit remove_engine_folder
}

# processes_naming TEXT: ids of the processes with this text in their command line, one a line.
#
# Only ever asked for a temp folder's path, which nobody but the processes of this run can know.
processes_naming() {
    local file
    local -a words
    for file in /proc/[0-9]*/cmdline; do
        # A process may be gone between the listing and the reading.
        { mapfile -d '' -t words <"$file"; } 2>/dev/null || continue
        if [[ "${words[*]}" == *"$1"* ]]; then
            file="${file#/proc/}"
            printf '%s\n' "${file%/cmdline}"
        fi
    done
}

# no_process_names TEXT: whether no process has this text in its command line.
no_process_names() {
    [[ -z "$(processes_naming "$1")" ]]
}

# remove_engine_folder: runs last of this file's cleanups, when nothing uses the folder any more.
remove_engine_folder() {
    local pid pause
    if [[ "${status:-0}" -ne 0 && -n "${ASSAY_WORK:-}" && -d "$ASSAY_WORK" ]]; then
        cp -- "$ENGINE_FOLDER"/*.log "$ASSAY_WORK/" 2>/dev/null || true
    fi
    if [[ "$ENGINE_IS_OURS" == yes && "$(id -u)" -ne 0 ]]; then
        # A rootless engine's files belong to ids of its user namespace, so they are removed from inside of it;
        # and it leaves a process behind that keeps that namespace.
        "${OWN_PODMAN[@]}" unshare rm -rf -- "$ENGINE_FOLDER/storage" >/dev/null 2>&1 || true
        if pause="$(cat "$ENGINE_FOLDER/tmp/pause.pid" 2>/dev/null)"; then
            end_process "$pause" "$(process_start "$pause")"
        fi
    fi
    # The watchers of our containers (conmon) and what they call end by themselves a moment after the container.
    wait_until 5 no_process_names "$ENGINE_FOLDER"
    while read -r pid; do
        end_process "$pid" "$(process_start "$pid")"
    done < <(processes_naming "$ENGINE_FOLDER")
    # Storage of a container that was cut off may still be mounted.
    unmount_below "$ENGINE_FOLDER"
    rm -rf -- "$ENGINE_FOLDER"
}

# --- Registry ---------------------------------------------------------------------------------------------------

# registry_binary: the program that serves the registry; Debian and others name it differently.
registry_binary() {
    command -v docker-registry || command -v registry
}

# start_registry: serves a registry on a free port of 127.0.0.1, storing into the temp folder.
start_registry() {
    local binary port
    engine_folder
    binary="$(registry_binary)" ||
        die "there is no docker-registry program: run scripts/setup, or install the Debian package docker-registry."
    port="$(free_port)"
    cat >"$ENGINE_FOLDER/registry.yml" <<REGISTRY_CONFIGURATION
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $ENGINE_FOLDER/registry}
http: {addr: "127.0.0.1:$port"}
REGISTRY_CONFIGURATION
    "$binary" serve "$ENGINE_FOLDER/registry.yml" >"$ENGINE_FOLDER/registry.log" 2>&1 </dev/null &
    record_process "$!"
    REGISTRY="127.0.0.1:$port"
    if ! wait_until 20 curl --silent --fail --output /dev/null "http://$REGISTRY/v2/"; then
        show_tail "$ENGINE_FOLDER/registry.log"
        die "the registry did not answer on $REGISTRY within 20 seconds."
    fi
}

# --- Image ------------------------------------------------------------------------------------------------------

# static_busybox: path of a busybox that needs no shared library, which is all that the image consists of.
static_busybox() {
    local candidate
    for candidate in /bin/busybox /usr/bin/busybox; do
        # ldd fails for a program that needs no loader.
        if [[ -x "$candidate" ]] && ! ldd "$candidate" >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    return 1
}

# push_blob REPOSITORY FILE: uploads one blob; prints its digest.
push_blob() {
    local repository="$1" file="$2" digest location separator='?'
    digest="sha256:$(sha256sum "$file" | cut -d ' ' -f 1)"
    location="$(curl --silent --fail --show-error --request POST --dump-header - --output /dev/null \
        "http://$REGISTRY/v2/$repository/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: *//p')" || return 1
    [[ "$location" == /* ]] && location="http://$REGISTRY$location"
    [[ "$location" == *'?'* ]] && separator='&'
    curl --silent --fail --show-error --output /dev/null --request PUT \
        --header 'Content-Type: application/octet-stream' --data-binary "@$file" \
        "$location${separator}digest=$digest" || return 1
    printf '%s' "$digest"
}

# push_small_image REPOSITORY [COMMAND…]: builds `FROM scratch` plus a static busybox and pushes it; sets SMALL_IMAGE.
#
# The image is written by hand rather than by an engine: so it needs none, and the same busybox gives the same
# digest on every machine and in every run.
push_small_image() {
    local repository="$1" folder busybox layer layer_digest diff_digest configuration_digest digest
    local media='application/vnd.docker'
    local -a command=("${@:2}")
    ((${#command[@]})) || command=(/bin/echo 'hello from the small image')
    engine_folder
    folder="$ENGINE_FOLDER/image-$repository"
    busybox="$(static_busybox)" ||
        die "there is no static busybox: run scripts/setup, or install the Debian package busybox-static."
    mkdir -p "$folder/root/bin" "$folder/root/tmp"
    chmod 1777 "$folder/root/tmp"
    install -m 755 "$busybox" "$folder/root/bin/busybox"
    for applet in sh cat date echo env head id ls nproc seq sha256sum sleep sort true false uname wc; do
        ln -sf busybox "$folder/root/bin/$applet"
    done
    layer="$folder/layer.tar"
    tar --sort=name --mtime='@0' --owner=0 --group=0 --numeric-owner --format=gnu -C "$folder/root" -cf "$layer" bin tmp
    diff_digest="sha256:$(sha256sum "$layer" | cut -d ' ' -f 1)"
    gzip --no-name --force "$layer"
    layer="$layer.gz"
    jq --null-input --compact-output --arg diff "$diff_digest" --arg machine "$(uname -m)" \
        --args '{
        architecture: ({x86_64: "amd64", aarch64: "arm64"}[$machine] // $machine),
        os: "linux",
        created: "1970-01-01T00:00:00Z",
        config: {Env: ["PATH=/bin"], Cmd: $ARGS.positional},
        rootfs: {type: "layers", diff_ids: [$diff]},
        history: [{created: "1970-01-01T00:00:00Z", created_by: "assay"}]
    }' "${command[@]}" >"$folder/configuration.json"
    if ! layer_digest="$(push_blob "$repository" "$layer")" ||
        ! configuration_digest="$(push_blob "$repository" "$folder/configuration.json")"; then
        die "the registry on $REGISTRY refused a part of the image '$repository'."
    fi
    jq --null-input --compact-output --arg media "$media" \
        --arg configuration "$configuration_digest" --arg layer "$layer_digest" \
        --argjson configuration_size "$(stat -c %s "$folder/configuration.json")" \
        --argjson layer_size "$(stat -c %s "$layer")" '{
        schemaVersion: 2,
        mediaType: ($media + ".distribution.manifest.v2+json"),
        config: {
            mediaType: ($media + ".container.image.v1+json"), size: $configuration_size, digest: $configuration
        },
        layers: [{
            mediaType: ($media + ".image.rootfs.diff.tar.gzip"), size: $layer_size, digest: $layer
        }]
    }' | tr -d '\n' >"$folder/manifest.json"
    digest="sha256:$(sha256sum "$folder/manifest.json" | cut -d ' ' -f 1)"
    curl --silent --fail --show-error --output /dev/null --request PUT \
        --header "Content-Type: $media.distribution.manifest.v2+json" \
        --data-binary "@$folder/manifest.json" "http://$REGISTRY/v2/$repository/manifests/latest" ||
        die "the registry on $REGISTRY refused the manifest of the image '$repository'."
    SMALL_IMAGE="$REGISTRY/$repository@$digest"
}

# --- Engine -----------------------------------------------------------------------------------------------------

# engine_call SOCKET METHOD PATH [CURL ARGUMENTS…]: one request to a Docker Engine API; prints the answer.
engine_call() {
    local socket="$1" method="$2" path="$3"
    shift 3
    curl --silent --show-error --fail-with-body --max-time 60 --unix-socket "$socket" --request "$method" "$@" \
        "http://engine/v1.40$path"
}

# engine_works SOCKET: succeeds if the engine pulls the small image from the registry and runs it to its end.
#
# A service that merely answers is not enough: one whose runtime cannot start containers on this machine does too.
# The limits are of the kind that the worker sets for every job.
engine_works() {
    local socket="$1" container answer worked=no
    [[ -S "$socket" && -r "$socket" && -w "$socket" ]] || return 1
    engine_call "$socket" GET /_ping >/dev/null || return 1
    # The answer streams progress; an error is a line of it, with the status still 200.
    answer="$(engine_call "$socket" POST "/images/create?fromImage=$SMALL_IMAGE")" || {
        printf '%s\n' "$answer" >&2
        return 1
    }
    container="$(engine_call "$socket" POST /containers/create --header 'Content-Type: application/json' \
        --data "$(jq --null-input --arg image "$SMALL_IMAGE" '{
            Image: $image, Cmd: ["/bin/sh", "-c", "exit 42"],
            HostConfig: {
                NetworkMode: "none", Memory: 67108864, MemorySwap: 67108864, NanoCpus: 100000000, PidsLimit: 16,
                CapDrop: ["ALL"], SecurityOpt: ["no-new-privileges"], ReadonlyRootfs: true
            }
        }')")" || {
        printf '%s\n%s\n' "$answer" "$container" >&2
        return 1
    }
    container="$(jq --raw-output .Id <<<"$container")"
    if engine_call "$socket" POST "/containers/$container/start" >&2; then
        answer="$(engine_call "$socket" POST "/containers/$container/wait")"
        [[ "$(jq --raw-output .StatusCode <<<"$answer")" == 42 ]] && worked=yes
    fi
    engine_call "$socket" DELETE "/containers/$container?force=1" >/dev/null || true
    [[ "$worked" == yes ]]
}

# running_engine_sockets: the sockets on which an engine of this machine would listen, one a line.
running_engine_sockets() {
    local socket own="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
    [[ "${DOCKER_HOST:-}" == unix://* ]] && printf '%s\n' "${DOCKER_HOST#unix://}"
    for socket in /run/docker.sock /run/podman/podman.sock "$own"/docker.sock "$own"/podman/podman.sock; do
        printf '%s\n' "$socket"
    done
}

# have_capability BIT: succeeds if this process may use the kernel capability with this number.
have_capability() {
    local effective
    effective="$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)"
    (((16#$effective >> $1) & 1))
}

# may_raise_limits: succeeds if this process may raise resource limits, as engines do for their containers.
#
# A rootless engine does not try, so for it the answer is yes.
may_raise_limits() {
    local capability_of_resource_limits=24
    [[ "$(id -u)" -ne 0 ]] || have_capability "$capability_of_resource_limits"
}

# engine_needs_runc: succeeds if Podman's usual runtime, crun, fails on this machine and runc does not.
engine_needs_runc() {
    # crun insists on limits that may not be raised here,
    ! may_raise_limits ||
        # and does not handle the old layout of control groups without systemd.
        [[ ! -d /run/systemd/system && ! -f /sys/fs/cgroup/cgroup.controllers ]]
}

# write_engine_settings: settings for our own Podman, where this machine needs others than Podman's defaults.
write_engine_settings() {
    local containers='' engine=''
    may_raise_limits || containers=$'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
    if engine_needs_runc && have runc; then
        engine+=$'runtime = "runc"\n'
    fi
    # Without systemd there is nobody to ask for a control group, and no journal.
    [[ -d /run/systemd/system ]] || engine+=$'cgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    if [[ -n "$containers$engine" ]]; then
        printf '[containers]\n%s\n[engine]\n%s' "$containers" "$engine" >"$ENGINE_FOLDER/containers.conf"
    fi
    # The registry on the loopback address speaks plain HTTP.
    printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$REGISTRY" >"$ENGINE_FOLDER/registries.conf"
}

# prepare_own_podman: puts into OWN_PODMAN the command that is Podman with our settings and our storage.
#
# An array rather than a function: started in the background, the command's own id is the one that bash tells.
# It runs in the temp folder: conmon, which inherits its current directory, creates an empty file `oom` there when the
# kernel kills a container for its memory.
prepare_own_podman() {
    OWN_PODMAN=(
        env "--chdir=$ENGINE_FOLDER" -u DOCKER_HOST -u CONTAINER_HOST
        "CONTAINERS_REGISTRIES_CONF=$ENGINE_FOLDER/registries.conf"
    )
    if [[ -f "$ENGINE_FOLDER/containers.conf" ]]; then
        OWN_PODMAN+=("CONTAINERS_CONF=$ENGINE_FOLDER/containers.conf")
    fi
    OWN_PODMAN+=(
        podman --root "$ENGINE_FOLDER/storage" --runroot "$ENGINE_FOLDER/run" --tmpdir "$ENGINE_FOLDER/tmp"
    )
}

# start_own_engine: starts a Podman service of our own and waits for it to answer; sets ENGINE_SOCKET.
start_own_engine() {
    ENGINE_SOCKET="$ENGINE_FOLDER/engine.sock"
    write_engine_settings
    prepare_own_podman
    "${OWN_PODMAN[@]}" system service --time=0 "unix://$ENGINE_SOCKET" >"$ENGINE_FOLDER/engine.log" 2>&1 </dev/null &
    record_process "$!"
    ENGINE_IS_OURS=yes
    on_exit stop_containers
    wait_until 20 engine_call "$ENGINE_SOCKET" GET /_ping >/dev/null 2>&1
}

# stop_containers: removes the containers of our image, and of our own engine all; runs before the engine ends.
stop_containers() {
    local container
    [[ -n "$ENGINE_SOCKET" ]] || return 0
    if [[ "$ENGINE_IS_OURS" == yes ]]; then
        "${OWN_PODMAN[@]}" rm --all --force --time 0 >/dev/null 2>&1
        return 0
    fi
    # The registry's port is part of the image's name, so only containers of this run carry it.
    engine_call "$ENGINE_SOCKET" GET /containers/json --get --data 'all=1' --data-urlencode \
        "filters=$(jq --null-input --compact-output --arg image "$SMALL_IMAGE" '{ancestor: [$image]}')" 2>/dev/null |
        jq --raw-output '.[].Id' |
        while read -r container; do
            engine_call "$ENGINE_SOCKET" DELETE "/containers/$container?force=1" >/dev/null 2>&1
        done
    engine_call "$ENGINE_SOCKET" DELETE "/images/$SMALL_IMAGE" >/dev/null 2>&1
}

# start_engine: finds or starts an engine that runs the small image; sets ENGINE_SOCKET and ENGINE_NAME.
start_engine() {
    local socket probe
    [[ -n "$SMALL_IMAGE" ]] || die "start_engine needs the small image: call push_small_image first."
    probe="$ENGINE_FOLDER/probe.log"
    while read -r socket; do
        if [[ -S "$socket" ]] && engine_works "$socket" >"$probe" 2>&1; then
            ENGINE_SOCKET="$socket"
            on_exit stop_containers
            break
        fi
    done < <(running_engine_sockets)
    if [[ -z "$ENGINE_SOCKET" ]]; then
        ensure_podman
        if ! start_own_engine || ! engine_works "$ENGINE_SOCKET" >"$probe" 2>&1; then
            show_tail "$probe"
            show_tail "$ENGINE_FOLDER/engine.log"
            die "Podman was started, but it could not run a container on this machine."
        fi
    fi
    ENGINE_NAME="$(engine_call "$ENGINE_SOCKET" GET /version |
        jq --raw-output '(.Components[0].Name // .Platform.Name // "Docker Engine") + " " + .Version')"
}
