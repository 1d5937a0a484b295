# shellcheck shell=bash
# Debian's packages of another suite than the machine's own, unpacked into a folder.
#
# apt works on a copy of the machine's own sources list with the suite's name changed, and with its lists and its
# state in a folder of their own: the machine's configuration stays as it is, and nothing is installed.
#
# Sourced after common.sh.

# fetch_debian_packages SUITE FOLDER NAME…: downloads packages of a suite to FOLDER/package.
fetch_debian_packages() {
    local suite="$1" folder="$2"
    shift 2
    if ! have apt-get || ! have dpkg-deb; then
        warn "$* would come from Debian's packages, and there is no apt-get here"
        return 1
    fi
    mkdir -p "$folder"/{lists/partial,cache/archives/partial,sources,package}
    debian_sources_list "$suite" "$folder/sources" || return 1
    local -a options=(
        -o "Dir::Etc::sourcelist=/dev/null"
        -o "Dir::Etc::sourceparts=$folder/sources"
        -o "Dir::State::lists=$folder/lists"
        -o "Dir::Cache=$folder/cache"
        -o "APT::Get::List-Cleanup=0"
        -o "APT::Sandbox::User="
        -o "Acquire::Languages=none"
    )
    # One suite that carries the package is enough; on an older machine others may lack or refuse it.
    apt-get "${options[@]}" update || true
    (cd "$folder/package" && apt-get "${options[@]}" download "$@")
}

# debian_sources_list SUITE FOLDER: copies the machine's entry for Debian with another suite.
debian_sources_list() {
    local suite="$1" folder="$2" source
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
