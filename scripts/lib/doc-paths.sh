# shellcheck shell=bash
# Check of the paths that documents name.
#
# Sourced after common.sh. The working folder is the repository's.

# expand_braces PATH: writes the paths that one with lists in braces, such as `tests/{a,b}.rs`, stands for.
expand_braces() {
    local path="$1" head list tail choice
    local -a choices=()
    if [[ "$path" =~ ^([^{}]*)\{([^{}]*)\}(.*)$ ]]; then
        head="${BASH_REMATCH[1]}" list="${BASH_REMATCH[2]}" tail="${BASH_REMATCH[3]}"
        IFS=, read -r -a choices <<<"$list"
        for choice in "${choices[@]}"; do
            expand_braces "$head$choice$tail"
        done
    else
        printf '%s\n' "$path"
    fi
}

# named_paths DOCUMENT: writes the paths in a document's code spans: those below a top folder of the repository, and names
# of source files. Paths with placeholders such as `pallets/NAME/` are left out.
named_paths() {
    local folders path
    folders="$(git ls-files | sed -n 's|^\([^/]*\)/.*|\1|p' | sort -u | paste -sd '|')"
    # An octal escape stands for the backtick around a code span.
    tr '\140' '\n' <"$1" |
        grep --extended-regexp "^(\\./)?($folders)/[^ ]+$|^[a-z0-9_/-]+\\.(rs|js)$" |
        grep --invert-match --extended-regexp '[A-Z]{3,}/|<|…' |
        while IFS= read -r path; do expand_braces "$path"; done || true
}

# linked_paths DOCUMENT: writes the targets of a document's relative links, without the part after `#`.
linked_paths() {
    grep --only-matching --extended-regexp '\]\([^)# ]+' "$1" | sed 's/^](//' |
        grep --invert-match --extended-regexp '^[a-z]+:' || true
}

# exists_in_tree PATH: true if a file or folder matches; of `FILE::NAME`, the file must define the function; a name without a
# top folder may stand for the end of any path.
exists_in_tree() {
    local path="${1%%::*}" name='' tracked
    [[ "$1" != *::* ]] || name="${1##*::}"
    if [[ -n "$name" ]]; then
        grep --quiet --word-regexp "fn $name" -- "$path" 2>/dev/null
    else
        tracked="$(git ls-files)"
        compgen -G "$path" >/dev/null || [[ "$tracked" == *"/$path"* ]]
    fi
}

# check_document_paths DOCUMENT…: fails if a path or a relative link in a document leads nowhere.
check_document_paths() {
    local document path
    local -a missing=()
    for document in "$@"; do
        while IFS= read -r path; do
            exists_in_tree "$path" || missing+=("$document: $path")
        done < <(named_paths "$document")
        while IFS= read -r path; do
            [[ -e "$(dirname -- "$document")/$path" ]] || missing+=("$document: $path")
        done < <(linked_paths "$document")
    done
    ((${#missing[@]} == 0)) || {
        printf '%s\n' "${missing[@]}"
        die "documents name paths that do not exist: correct those listed above."
    }
}
