# shellcheck shell=bash
# Debian's packages of another suite than the machine's own, unpacked into a folder.
#
# apt works on a copy of the machine's own sources list with the suite's name changed, and with its lists and its
# state in a folder of their own: the machine's configuration stays as it is, and nothing is installed. Other
# distributions than Debian need the package with Debian's keys, which they carry.
#
# Sourced after common.sh, and together with packages.sh.

# Debian's archive and its keys, for machines of another distribution.
DEBIAN_ARCHIVE=http://deb.debian.org/debian
DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

# Options by which apt works in a folder of its own; set by prepare_debian_suite.
DEBIAN_OPTIONS=()

# fetch_debian_packages SUITE FOLDER NAME…: downloads packages of a suite to FOLDER/package.
fetch_debian_packages() {
    local suite="$1" folder="$2"
    shift 2
    prepare_debian_suite "$suite" "$folder" deb "$@" || return 1
    mkdir -p "$folder/package"
    (cd "$folder/package" && apt-get "${DEBIAN_OPTIONS[@]}" download "$@")
}

# fetch_debian_source SUITE FOLDER NAME…: downloads the files of source packages of a suite to FOLDER/source.
fetch_debian_source() {
    local suite="$1" folder="$2"
    shift 2
    prepare_debian_suite "$suite" "$folder" deb-src "$@" || return 1
    mkdir -p "$folder/source"
    # apt compares the files with the signed lists; unpacking them is the caller's, so dpkg-dev is not needed.
    (cd "$folder/source" && apt-get "${DEBIAN_OPTIONS[@]}" source --download-only "$@")
}

# prepare_debian_suite SUITE FOLDER TYPE NAME…: fetches a suite's lists of the type deb or deb-src into the folder, and sets
# DEBIAN_OPTIONS. The names only stand in the warning where there is no apt.
prepare_debian_suite() {
    local suite="$1" folder="$2" type="$3"
    shift 3
    if ! have apt-get || ! have dpkg-deb; then
        warn "$* would come from Debian's packages, and there is no apt-get here"
        return 1
    fi
    mkdir -p "$folder"/{lists/partial,cache/archives/partial,sources}
    debian_sources_list "$suite" "$folder/sources" || return 1
    sed -i -E -e "s/^Types:.*/Types: $type/" -e "s/^deb /$type /" "$folder"/sources/*
    DEBIAN_OPTIONS=(
        -o "Dir::Etc::sourcelist=/dev/null"
        -o "Dir::Etc::sourceparts=$folder/sources"
        -o "Dir::State::lists=$folder/lists"
        -o "Dir::Cache=$folder/cache"
        -o "APT::Get::List-Cleanup=0"
        -o "APT::Sandbox::User="
        -o "Acquire::Languages=none"
    )
    # One suite that carries the package is enough; on an older machine others may lack or refuse it.
    apt-get "${DEBIAN_OPTIONS[@]}" update || true
}

# distribution: the name of this machine's distribution, as its os-release file tells it.
distribution() {
    # shellcheck disable=SC1091 # every distribution has the file
    (. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}")
}

# debian_sources_list SUITE FOLDER: a list with Debian's archive and the suite: that of the machine's own entry, or, on
# another distribution, the one that everybody may use.
debian_sources_list() {
    local suite="$1" folder="$2" source
    if [[ "$(distribution)" != debian ]]; then
        # In a subshell: a machine without the package only lacks what would have been fetched.
        [[ -f "$DEBIAN_KEYS" ]] || (install_debian_packages --no-install-recommends debian-archive-keyring) || return 1
        printf 'deb [signed-by=%s] %s %s main\n' "$DEBIAN_KEYS" "$DEBIAN_ARCHIVE" "$suite" >"$folder/other.list"
        return 0
    fi
    for source in /etc/apt/sources.list.d/*.sources; do
        [[ -f "$source" ]] || continue
        # Stanzas are separated by empty lines; the first one is the archive, later ones are security and others.
        awk 'BEGIN { RS = ""; ORS = "\n\n" } /Types:[^\n]*deb/ && !/security/ { print; exit }' "$source" |
            sed -E -e '/^#/d' -e "s/^Suites:.*/Suites: $suite/" -e 's/^Components:.*/Components: main/' \
                >"$folder/other.sources"
        [[ -s "$folder/other.sources" ]] && return 0
    done
    if [[ -f /etc/apt/sources.list ]]; then
        # deb [options] address suite components…
        grep -E '^deb ' /etc/apt/sources.list | grep -v security | head -n 1 |
            sed -E "s/^(deb +(\[[^]]*\] +)?[^ ]+) .*/\1 $suite main/" >"$folder/other.list"
        [[ -s "$folder/other.list" ]] && return 0
    fi
    warn "found no Debian archive in this machine's apt sources"
    return 1
}
