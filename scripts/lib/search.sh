# shellcheck shell=bash
# What the market's search costs, from what the benchmarks measured.
#
# Sourced, never run, after common.sh.

# print_search FILE: a table of the fastest and the mean time of each search in milliseconds, by the network's size, and of
# how many times as long the fastest took as in the smallest network. The file holds what `benchmark pallet --json-file`
# writes of the searches; fails where one of them was not measured at one of the three sizes.
print_search() {
    printf '%-20s %8s %10s %10s %8s\n' search machines 'least ms' 'mean ms' ratio
    # Times are nanoseconds.
    jq --raw-output '
        [.[] | .benchmark as $search | .time_results[] | {
            $search,
            machines: pow(10; .components | map({key: .[0], value: .[1]}) | from_entries.n),
            ms: (.extrinsic_time / 1e6)
        }]
        | group_by([.search, .machines])
        | if map([.[0].search, .[0].machines])
            == [("search_one_region", "search_world") as $search | (1e3, 1e4, 1e5) | [$search, .]]
          then . else error("not every search was measured at every size") end
        | group_by(.[0].search)[]
        | (.[0] | map(.ms) | min) as $smallest
        | .[]
        | [.[0].search, .[0].machines, (map(.ms) | min, add / length), (map(.ms) | min) / $smallest]
        | @tsv' "$1" |
        while IFS=$'\t' read -r search machines least mean ratio; do
            LC_ALL=C printf '%-20s %8d %10.2f %10.2f %8.2f\n' "$search" "$machines" "$least" "$mean" "$ratio"
        done
}
