# shellcheck shell=bash
# Shared by every script: paths, output for a person, and clean-up.
#
# Sourced, never run. A script that sources this runs under `set -euo pipefail`.

set -euo pipefail

# The repository's root, whatever the current directory of the caller is.
ASSAY_ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)"
export ASSAY_ROOT

# The target folder lies outside the clone, so that a fresh clone reuses what an earlier one built.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/assay/target}"

# A rustup that was installed a moment ago is not yet in the caller's PATH.
case ":$PATH:" in
    *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
    *) PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" && export PATH ;;
esac

# Colours only for a person at a terminal: a CI log stays plain.
if [[ -t 1 && -z "${NO_COLOR:-}" && -z "${CI:-}" ]]; then
    COLOUR_BOLD=$'\e[1m' COLOUR_GREEN=$'\e[32m' COLOUR_RED=$'\e[31m' COLOUR_DIM=$'\e[2m' COLOUR_OFF=$'\e[0m'
else
    COLOUR_BOLD='' COLOUR_GREEN='' COLOUR_RED='' COLOUR_DIM='' COLOUR_OFF=''
fi
export COLOUR_BOLD COLOUR_GREEN COLOUR_RED COLOUR_DIM COLOUR_OFF

# say TEXT…: one line for the person.
say() {
    printf '%s\n' "$*"
}

# heading TEXT…: starts a new part of the output.
heading() {
    printf '\n%s== %s ==%s\n' "$COLOUR_BOLD" "$*" "$COLOUR_OFF"
}

# warn TEXT…: something is not as wished, and the script goes on.
warn() {
    printf '%swarning:%s %s\n' "$COLOUR_RED" "$COLOUR_OFF" "$*" >&2
}

# die TEXT…: ends the script with one clear sentence.
die() {
    printf '\n%serror:%s %s\n' "$COLOUR_RED" "$COLOUR_OFF" "$*" >&2
    exit 1
}

# have COMMAND: succeeds if the command can be run.
have() {
    command -v "$1" >/dev/null 2>&1
}

# as_root COMMAND…: runs the command as root, through sudo when we are not root.
as_root() {
    if [[ "$(id -u)" -eq 0 ]]; then
        "$@"
    elif have sudo; then
        sudo -- "$@"
    else
        die "'$*' needs root, and there is no sudo: run it as root, then start this script again."
    fi
}

# quietly LOG COMMAND…: runs the command with its output in LOG, which is shown only when the command fails.
quietly() {
    local log="$1"
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        printf -- '--- last lines of %s ---\n' "$log" >&2
        tail -n 40 "$log" >&2
        return 1
    fi
}

# show_tail FILE [LINES]: the end of a log, indented, for a failure message.
show_tail() {
    local file="$1" lines="${2:-30}"
    if [[ -s "$file" ]]; then
        printf '\n%s--- last %s lines of %s ---%s\n' "$COLOUR_DIM" "$lines" "$file" "$COLOUR_OFF" >&2
        tail -n "$lines" "$file" | sed 's/^/    /' >&2
    fi
}

# seconds_since START: whole seconds since a value of $SECONDS.
seconds_since() {
    printf '%s' "$((SECONDS - $1))"
}

# free_port: a TCP port of 127.0.0.1 without a listener at the moment.
#
# The kernel's ephemeral range is avoided: an outgoing connection could take the port before its owner does.
free_port() {
    local port attempt
    for ((attempt = 0; attempt < 200; attempt++)); do
        port=$((10240 + (RANDOM * 32768 + RANDOM) % 20000))
        if [[ " ${ASSAY_PORTS_GIVEN:-} " != *" $port "* ]] && ! port_answers "$port"; then
            printf '%s' "$port"
            return 0
        fi
    done
    die "found no free port on 127.0.0.1 in 200 attempts."
}

# port_answers PORT: succeeds if this port of 127.0.0.1 has a listener.
port_answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# wait_until SECONDS COMMAND…: polls the command five times a second until it succeeds or the time is over.
wait_until() {
    local limit="$1" started=$SECONDS
    shift
    until "$@"; do
        if ((SECONDS - started >= limit)); then
            return 1
        fi
        sleep 0.2
    done
}

# --- Processes and clean-up -------------------------------------------------------------------------------------
#
# Processes are recorded by id with the moment they started: an id that the kernel gave to another process in the
# meantime is left alone. Nothing is ever ended by name.

# One stack for processes and other things to clean up: what came last goes first.
ASSAY_CLEANUPS=()

# process_start PID: the process's start time in clock ticks, which tells two owners of one id apart.
process_start() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
    # The command's name stands in parentheses and may hold spaces; fields count after its end.
    stat="${stat##*) }"
    # shellcheck disable=SC2086
    set -- $stat
    printf '%s' "${20}"
}

# record_process PID: this process is ours and ends with us.
record_process() {
    local started
    started="$(process_start "$1")" || return 0
    on_exit end_process "$1" "$started"
}

# is_running PID: succeeds if the process lives (a zombie does not).
is_running() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
    [[ "${stat##*) }" != Z* ]]
}

# is_ours PID START: succeeds if the id still belongs to the process that we recorded, and it lives.
is_ours() {
    [[ "$(process_start "$1" 2>/dev/null)" == "$2" ]] && is_running "$1"
}

# end_process PID START: asks the process to end, and after ten seconds makes it.
end_process() {
    local pid="$1" started="$2" waited
    is_ours "$pid" "$started" || return 0
    kill -TERM "$pid" 2>/dev/null || true
    for ((waited = 0; waited < 100; waited++)); do
        is_ours "$pid" "$started" || break
        sleep 0.1
    done
    if is_ours "$pid" "$started"; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
    wait "$pid" 2>/dev/null || true
}

# on_exit COMMAND…: runs the command when the script ends; the last one registered runs first.
on_exit() {
    ASSAY_CLEANUPS+=("$(printf '%q ' "$@")")
}

# run_cleanups: the trap's work. Keeps the script's own exit status.
run_cleanups() {
    local status=$? index
    trap - EXIT INT TERM HUP
    set +e
    for ((index = ${#ASSAY_CLEANUPS[@]} - 1; index >= 0; index--)); do
        eval "${ASSAY_CLEANUPS[index]}"
    done
    exit "$status"
}

# clean_up_on_exit: arms the trap; every script that starts something calls it first, and so does every subshell that
# does: it inherits the list of its parent, whose processes and files are not its own to end.
clean_up_on_exit() {
    ASSAY_CLEANUPS=()
    trap run_cleanups EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

# work_folder NAME: makes a temp folder and puts its path into ASSAY_WORK. It is removed when the script succeeds,
# and kept, with its path printed, when it fails: the logs are in it.
work_folder() {
    ASSAY_WORK="$(mktemp -d "${TMPDIR:-/tmp}/assay-$1.XXXXXX")"
    export ASSAY_WORK
    # Registered first, so run last: by then nothing writes into it any more.
    ASSAY_CLEANUPS=(finish_work_folder "${ASSAY_CLEANUPS[@]}")
}

# unmount_below FOLDER: unmounts whatever is mounted below it, deepest first.
unmount_below() {
    local mounted
    while read -r mounted; do
        as_root umount -l -- "$mounted" 2>/dev/null || true
    done < <(awk -v prefix="$1/" 'index($2, prefix) == 1 { print $2 }' /proc/mounts | sort -r)
}

# finish_work_folder: unmounts what is left in the temp folder, and removes it after success; `status` is the one of
# run_cleanups.
finish_work_folder() {
    unmount_below "$ASSAY_WORK"
    if [[ "${status:-1}" -eq 0 ]]; then
        rm -rf -- "$ASSAY_WORK"
    else
        printf 'Log files: %s\n' "$ASSAY_WORK" >&2
    fi
}
