# shellcheck shell=bash
# A real Kubernetes of one node on the loopback address, for the tests of the worker's engine.
#
# No registry that the project may use has the programs of the control plane, so they are compiled once: from the last
# source package of Debian that has all of Kubernetes with its vendored dependencies, by Debian's Go of the same suite.
# Both are unpacked into a folder and nothing is installed. The programs are kept in the cache folder.
#
# The node (containerd and the kubelet) has namespaces of its own for mounts and processes: what it mounts and whatever
# it runs ends with it, and its fixed folders below /var are in the temp folder of engine.sh. Its pods have a bridge
# without a way out, as if network policies that allow nothing were enforced: no plugin that enforces policies can be
# had. All of it listens on the loopback address, and takes requests only from who has its keys, which root has.
#
# Sourced after common.sh, debian-suite.sh, engine.sh and packages.sh. `start_kubernetes` is called after
# `push_small_image`; it sets
#   KUBERNETES_KUBECONFIG   file for the worker, with the rights of packaging/kubernetes/worker.yaml
#   KUBERNETES_ADMIN        file with all rights
#   KUBERNETES_NODE         name of the node
# All are empty where the cluster cannot be had.

# shellcheck disable=SC2034 # read by the scripts that source this file
KUBERNETES_KUBECONFIG='' KUBERNETES_ADMIN='' KUBERNETES_NODE=''

# URL of the API server, tokens of its users, and image of pods' own process.
KUBERNETES_URL='' KUBERNETES_ADMIN_TOKEN='' KUBERNETES_WORKER_TOKEN='' PAUSE_IMAGE=''

# Suite of Debian with the sources, the compiler, etcd and a containerd that this kubelet understands.
KUBERNETES_SUITE=bookworm

# Version that the programs tell; the sources are those of this release.
KUBERNETES_VERSION=1.20.2

# Packages that are unpacked: the compiler, and the repaired version of a vendored library that it needs.
KUBERNETES_COMPILER=(golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev)

# Programs of Kubernetes that are compiled.
KUBERNETES_PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet)

# kubernetes_folder: where the programs are kept.
kubernetes_folder() {
    printf '%s/assay/kubernetes-%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$KUBERNETES_VERSION"
}

# have_kubernetes FOLDER: succeeds if every program is there.
have_kubernetes() {
    local program
    for program in "${KUBERNETES_PROGRAMS[@]}" etcd containerd containerd-shim-runc-v2; do
        [[ -x "$1/$program" ]] || return 1
    done
}

# unpack_kubernetes WORK TREE: fetches and unpacks the compiler to WORK/unpacked, and the sources to TREE.
unpack_kubernetes() {
    local work="$1" tree="$2" package archive library
    fetch_debian_packages "$KUBERNETES_SUITE" "$work/packages" "${KUBERNETES_COMPILER[@]}" etcd-server containerd &&
        fetch_debian_source "$KUBERNETES_SUITE" "$work/sources" kubernetes || return 1
    for package in "$work"/packages/package/*.deb; do
        dpkg-deb --extract "$package" "$work/unpacked" || return 1
    done
    archive="$(compgen -G "$work/sources/source/kubernetes_*.orig.tar.*" | head -n 1)" && mkdir -p "$tree" &&
        tar --extract --file "$archive" --directory "$tree" --strip-components=1 || return 1
    # The vendored version reads maps in a way that Go changed since.
    library="$tree/vendor/github.com/modern-go/reflect2"
    rm -f -- "$library"/* &&
        cp -- "$work"/unpacked/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$library/"
}

# compile_kubernetes WORK OUT: compiles the programs in the folder WORK, and puts them into OUT.
#
# Each step tells its failure itself: `set -e` does not hold in a function that is called as a condition.
compile_kubernetes() {
    local work="$1" out="$2" tree="$1/go/src/k8s.io/kubernetes"
    unpack_kubernetes "$work" "$tree" && mkdir -p "$out" && cd "$tree" || return 1
    # The sources have no go.mod that a newer Go takes, so they are compiled in the old way; settings of a Go that the
    # machine has of its own do not count.
    local -x GOROOT="$work/unpacked/usr/lib/go-1.19" GOPATH="$work/go" GOCACHE="$work/cache" GOTMPDIR="$work" \
        CGO_ENABLED=0 GO111MODULE=off GOFLAGS='' GOENV=off HOME="$work"
    local -x PATH="$GOROOT/bin:$PATH"
    unset GOOS GOARCH GOEXPERIMENT
    # Without the code for clouds, and for Docker as the kubelet's runtime.
    generate_kubernetes_openapi &&
        go build -o "$out/" -tags providerless,dockerless \
            -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$KUBERNETES_VERSION" \
            "${KUBERNETES_PROGRAMS[@]/#/./cmd/}" &&
        cp -- "$work"/unpacked/usr/bin/{etcd,containerd,containerd-shim-runc-v2} "$out/"
}

# generate_kubernetes_openapi: makes the one file that is generated with each build, in the sources' folder.
generate_kubernetes_openapi() {
    local -a packages=()
    go build -o "$GOPATH/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen || return 1
    mapfile -t packages < <(
        grep --recursive --files-with-matches --include='*.go' '+k8s:openapi-gen=' vendor/k8s.io/*/ pkg cmd plugin |
            grep --invert-match --extended-regexp \
                'code-generator|sample-apiserver|/gengo/|kube-openapi/(cmd|pkg/(generators|util))|_test[.]go' |
            xargs --no-run-if-empty --max-args=1 dirname | sort --unique | sed 's|^|k8s.io/kubernetes/|'
    )
    "$GOPATH/openapi-gen" --logtostderr --input-dirs "$(IFS=, && printf '%s' "${packages[*]}")" \
        --output-package k8s.io/kubernetes/pkg/generated/openapi --output-file-base zz_generated.openapi \
        --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt --report-filename "$GOPATH/report"
}

# remove_tree FOLDER: removes it with what Go makes unwritable in its cache.
remove_tree() {
    [[ -e "$1" ]] || return 0
    chmod -R u+w -- "$1" && rm -rf -- "$1"
}

# ensure_kubernetes FOLDER: puts the programs there unless they are there; fails where they cannot be had.
ensure_kubernetes() {
    local folder="$1" work
    have_kubernetes "$folder" && return 0
    say "Compiling Kubernetes $KUBERNETES_VERSION from Debian's sources into $folder (once, some minutes)."
    # Beside the result, which is then put into its place at once; the temp folder may be memory, and too small.
    mkdir -p "$(dirname "$folder")"
    work="$(mktemp -d "$folder.XXXXXX")"
    on_exit remove_tree "$work"
    if (compile_kubernetes "$work" "$work/out") >"$work/log" 2>&1 </dev/null && have_kubernetes "$work/out"; then
        rm -rf -- "$folder"
        mv -- "$work/out" "$folder"
    else
        show_tail "$work/log" 15
    fi
    remove_tree "$work"
    have_kubernetes "$folder"
}

# kubernetes_call TOKEN PATH [CURL ARGUMENTS…]: one request to the API server; prints the answer.
kubernetes_call() {
    local token="$1" path="$2"
    shift 2
    curl --silent --show-error --fail-with-body --max-time 30 --cacert "$ENGINE_FOLDER/kubernetes/ca.crt" \
        --header "Authorization: Bearer $token" "$@" "$KUBERNETES_URL$path"
}

# write_kubeconfig FILE TOKEN: a file by which a program finds the API server.
write_kubeconfig() {
    cat >"$1" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "$KUBERNETES_URL", certificate-authority: "$ENGINE_FOLDER/kubernetes/ca.crt"}}]
users: [{name: test, user: {token: "$2"}}]
KUBECONFIG
    chmod 600 "$1"
}

# write_kubernetes_keys FOLDER: the authority, the certificate by which etcd, the API server and the kubelet know each
# other, the key of service accounts, and tokens.
write_kubernetes_keys() {
    local folder="$1"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=assay-test -keyout "$folder/ca.key" -out "$folder/ca.crt"
    openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout "$folder/server.key" -out "$folder/server.csr"
    printf 'subjectAltName=IP:127.0.0.1,IP:10.232.0.1,DNS:localhost,DNS:kubernetes.default.svc\n' >"$folder/server.ext"
    openssl x509 -req -days 30 -in "$folder/server.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile "$folder/server.ext" -out "$folder/server.crt"
    openssl genrsa -out "$folder/accounts.key" 2048
    openssl rsa -in "$folder/accounts.key" -pubout -out "$folder/accounts.pub"
    KUBERNETES_ADMIN_TOKEN="$(openssl rand -hex 16)"
    KUBERNETES_WORKER_TOKEN="$(openssl rand -hex 16)"
    cat >"$folder/tokens.csv" <<TOKENS
$KUBERNETES_ADMIN_TOKEN,admin,admin,system:masters
$KUBERNETES_WORKER_TOKEN,system:serviceaccount:assay-system:assay-worker,worker,"system:serviceaccounts"
TOKENS
    chmod 600 "$folder"/*.key "$folder/tokens.csv"
}

# start_control_plane PROGRAMS FOLDER: etcd, the API server, its controllers and the scheduler.
start_control_plane() {
    local programs="$1" folder="$2" etcd peers port manager scheduler
    etcd="$(free_port)" && peers="$(free_port)" && port="$(free_port)" && manager="$(free_port)" &&
        scheduler="$(free_port)"
    KUBERNETES_URL="https://127.0.0.1:$port"
    write_kubernetes_keys "$folder" >"$ENGINE_FOLDER/kubernetes-keys.log" 2>&1
    write_kubeconfig "$folder/admin.yaml" "$KUBERNETES_ADMIN_TOKEN"
    write_kubeconfig "$folder/worker.yaml" "$KUBERNETES_WORKER_TOKEN"
    # Nothing of it outlives the test, so nothing need reach the disk. Who writes into it has all rights at the node, so
    # it wants a certificate.
    "$programs/etcd" --data-dir "$folder/etcd" --unsafe-no-fsync \
        --listen-client-urls "https://127.0.0.1:$etcd" --advertise-client-urls "https://127.0.0.1:$etcd" \
        --client-cert-auth --trusted-ca-file "$folder/ca.crt" \
        --cert-file "$folder/server.crt" --key-file "$folder/server.key" \
        --listen-peer-urls "https://127.0.0.1:$peers" --initial-advertise-peer-urls "https://127.0.0.1:$peers" \
        --peer-client-cert-auth --peer-trusted-ca-file "$folder/ca.crt" \
        --peer-cert-file "$folder/server.crt" --peer-key-file "$folder/server.key" \
        --initial-cluster "default=https://127.0.0.1:$peers" >"$ENGINE_FOLDER/kubernetes-etcd.log" 2>&1 </dev/null &
    record_process "$!"
    "$programs/kube-apiserver" --etcd-servers "https://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$port" \
        --tls-cert-file "$folder/server.crt" --tls-private-key-file "$folder/server.key" \
        --etcd-cafile "$folder/ca.crt" --etcd-certfile "$folder/server.crt" --etcd-keyfile "$folder/server.key" \
        --kubelet-client-certificate "$folder/server.crt" --kubelet-client-key "$folder/server.key" \
        --token-auth-file "$folder/tokens.csv" --authorization-mode RBAC --anonymous-auth=false \
        --service-account-key-file "$folder/accounts.pub" --service-account-signing-key-file "$folder/accounts.key" \
        --service-account-issuer "$KUBERNETES_URL" --service-cluster-ip-range 10.232.0.0/24 --allow-privileged=false \
        --endpoint-reconciler-type none --kubelet-preferred-address-types Hostname \
        >"$ENGINE_FOLDER/kubernetes-api.log" 2>&1 </dev/null &
    record_process "$!"
    wait_until 90 kubernetes_call "$KUBERNETES_ADMIN_TOKEN" /readyz >/dev/null 2>&1 || return 1
    "$programs/kube-controller-manager" --kubeconfig "$folder/admin.yaml" --leader-elect=false --port 0 \
        --bind-address 127.0.0.1 --secure-port "$manager" --cert-dir "$folder/certificates" \
        --service-account-private-key-file "$folder/accounts.key" --root-ca-file "$folder/ca.crt" \
        >"$ENGINE_FOLDER/kubernetes-controllers.log" 2>&1 </dev/null &
    record_process "$!"
    "$programs/kube-scheduler" --kubeconfig "$folder/admin.yaml" --leader-elect=false --port 0 \
        --bind-address 127.0.0.1 --secure-port "$scheduler" --cert-dir "$folder/certificates" \
        >"$ENGINE_FOLDER/kubernetes-scheduler.log" 2>&1 </dev/null &
    record_process "$!"
}

# write_node_settings FOLDER BRIDGE SANDBOX: settings of containerd and of the pods' network.
write_node_settings() {
    local folder="$1" bridge="$2" sandbox="$3"
    mkdir -p "$folder/cni"
    jq --null-input --arg bridge "$bridge" --arg data "$folder/addresses" '{
        cniVersion: "0.4.0", name: "assay", plugins: [{
            type: "bridge", bridge: $bridge, isGateway: false, ipMasq: false,
            ipam: {type: "host-local", dataDir: $data, ranges: [[{subnet: "10.233.0.0/24"}]]}
        }]
    }' >"$folder/cni/10-assay.conflist"
    cat >"$folder/containerd.toml" <<CONTAINERD
version = 2
root = "$folder/containerd"
state = "$folder/containerd-run"
disabled_plugins = [
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.opt",
]
[grpc]
address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$sandbox"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$folder/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "$(command -v runc || printf /usr/sbin/runc)"
Root = "$folder/runc"
CONTAINERD
}

# start_node PROGRAMS FOLDER: containerd and the kubelet, in namespaces of their own for mounts and processes.
start_node() {
    local programs="$1" folder="$2" port health bridge
    port="$(free_port)" && health="$(free_port)"
    bridge="asyk$(printf '%05x' "$((RANDOM * 32768 + RANDOM & 0xfffff))")"
    write_node_settings "$folder" "$bridge" "$PAUSE_IMAGE"
    on_exit remove_bridge "$bridge"
    on_exit remove_node_groups "$folder"
    mkdir -p "$folder"/{var-lib,var-log-pods,var-log-containers,kubelet}
    # shellcheck disable=SC2016 # the inner shell expands them
    unshare --mount --propagation slave --pid --fork --kill-child --mount-proc -- bash -c '
        folder="$1" programs="$2" port="$3" health="$4"
        mkdir -p /var/lib/kubelet /var/log/pods /var/log/containers
        mount --bind "$folder/var-lib" /var/lib/kubelet
        mount --bind "$folder/var-log-pods" /var/log/pods
        mount --bind "$folder/var-log-containers" /var/log/containers
        export PATH="$programs:/usr/sbin:/sbin:$PATH"
        "$programs/containerd" --config "$folder/containerd.toml" >"$folder/../kubernetes-containerd.log" 2>&1 &
        for attempt in {1..100}; do [[ -S "$folder/containerd.sock" ]] && break; sleep 0.2; done
        # Without control groups for classes of pods, which the old layout without systemd does not give; those of
        # containers have the limits all the same.
        "$programs/kubelet" --kubeconfig "$folder/admin.yaml" --root-dir "$folder/kubelet" \
            --container-runtime remote --container-runtime-endpoint "unix://$folder/containerd.sock" \
            --hostname-override localhost --address 127.0.0.1 --port "$port" --read-only-port 0 \
            --healthz-bind-address 127.0.0.1 --healthz-port "$health" --cert-dir "$folder/certificates" \
            --anonymous-auth=false --client-ca-file "$folder/ca.crt" --authorization-mode AlwaysAllow --cgroup-driver cgroupfs --fail-swap-on=false \
            --cgroups-per-qos=false --enforce-node-allocatable= --eviction-hard= --image-gc-high-threshold 100 \
            --register-node --sync-frequency 10s &
        # The shell is the first process of its namespace, and takes in whatever lost its parent.
        wait "$!"
    ' node "$folder" "$programs" "$port" "$health" >"$ENGINE_FOLDER/kubernetes-node.log" 2>&1 </dev/null &
    # It ignores the signal by which record_process asks a process to end.
    on_exit stop_node "$!" "$(process_start "$!")"
    KUBERNETES_NODE=localhost
}

# stop_node PID START: ends the node with everything that runs in it.
stop_node() {
    is_ours "$1" "$2" && kill -KILL "$1"
    wait "$1" 2>/dev/null || true
}

# remove_node_groups FOLDER: removes the control groups of containers that ended with their node.
remove_node_groups() {
    local container
    for container in "$1"/containerd/io.containerd.grpc.v1.cri/{sandboxes,containers}/*; do
        find /sys/fs/cgroup -depth -type d -name "${container##*/}" -exec rmdir -- {} + 2>/dev/null || true
    done
}

# remove_bridge NAME: removes the pods' bridge, if there is one.
remove_bridge() {
    ip link delete dev "$1" 2>/dev/null || true
}

# push_pause_image: the image of the process that holds a pod's namespaces; sets PAUSE_IMAGE.
push_pause_image() {
    local small="$SMALL_IMAGE"
    push_small_image assay-pause /bin/sleep 1000000000
    PAUSE_IMAGE="$SMALL_IMAGE" SMALL_IMAGE="$small"
}

# grant_worker_rights: applies the manifest that providers apply, so that the tests run with its rights and no others.
grant_worker_rights() {
    local kind path object
    while IFS= read -r -d '' object; do
        kind="$(sed -n 's/^kind: //p' <<<"$object" | head -n 1)"
        case "$kind" in
            Namespace) path=/api/v1/namespaces ;;
            ServiceAccount) path=/api/v1/namespaces/assay-system/serviceaccounts ;;
            ClusterRole) path=/apis/rbac.authorization.k8s.io/v1/clusterroles ;;
            ClusterRoleBinding) path=/apis/rbac.authorization.k8s.io/v1/clusterrolebindings ;;
            *) continue ;;
        esac
        kubernetes_call "$KUBERNETES_ADMIN_TOKEN" "$path" --header 'Content-Type: application/yaml' \
            --data-binary "$object" >/dev/null || return 1
    done < <(awk 'BEGIN { RS = "---\n"; ORS = "\0" } { print }' "$ASSAY_ROOT/packaging/kubernetes/worker.yaml")
}

# node_is_ready: succeeds if the node takes pods.
node_is_ready() {
    kubernetes_call "$KUBERNETES_ADMIN_TOKEN" "/api/v1/nodes/$KUBERNETES_NODE" 2>/dev/null |
        jq --exit-status '.status.conditions | any(.type == "Ready" and .status == "True")' >/dev/null 2>&1
}

# ensure_node_packages: what a node needs besides its own programs.
ensure_node_packages() {
    local -a missing=()
    [[ -x /usr/lib/cni/bridge ]] || missing+=(containernetworking-plugins)
    { have runc || [[ -x /usr/sbin/runc ]]; } || missing+=(runc)
    have openssl || missing+=(openssl)
    if ((${#missing[@]})); then
        install_debian_packages --no-install-recommends "${missing[@]}"
    fi
}

# start_kubernetes: starts the cluster and waits for its node; sets KUBERNETES_KUBECONFIG where pods can run.
start_kubernetes() {
    local programs folder
    if [[ "$(id -u)" -ne 0 ]]; then
        warn "Kubernetes is not tested: its node needs root."
        return 0
    fi
    # In a subshell: a machine that cannot install them only lacks these tests.
    if ! (ensure_node_packages); then
        warn "Kubernetes is not tested: the packages that its node needs could not be installed."
        return 0
    fi
    programs="$(kubernetes_folder)"
    if ! ensure_kubernetes "$programs"; then
        warn "Kubernetes is not tested: it could not be compiled on this machine."
        return 0
    fi
    engine_folder
    folder="$ENGINE_FOLDER/kubernetes"
    mkdir -p "$folder"
    push_pause_image
    if start_control_plane "$programs" "$folder" && start_node "$programs" "$folder" && wait_until 120 node_is_ready &&
        grant_worker_rights; then
        KUBERNETES_KUBECONFIG="$folder/worker.yaml"
        KUBERNETES_ADMIN="$folder/admin.yaml"
        return 0
    fi
    show_tail "$ENGINE_FOLDER/kubernetes-api.log" 10
    show_tail "$ENGINE_FOLDER/kubernetes-node.log" 10
    KUBERNETES_NODE=''
    warn "Kubernetes is not tested: it was started, and its node did not become ready on this machine."
}
