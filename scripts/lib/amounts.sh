# shellcheck shell=bash
# Amounts of ASY, exactly. An amount in plancks can be larger than the shell's numbers, so it is handled as its whole
# ASY and its remaining plancks, each of which fits.
#
# Sourced after common.sh.

# ASY has twelve decimal places.
ASY_DECIMALS=12

# whole_part PLANCKS, fraction_part PLANCKS: the two numbers that an amount consists of, without leading zeros.
whole_part() {
    local digits
    printf -v digits '%*s' "$((ASY_DECIMALS + 1))" "$1"
    digits="${digits// /0}"
    printf '%s' "$((10#${digits:0:${#digits}-ASY_DECIMALS}))"
}

fraction_part() {
    local digits
    printf -v digits '%*s' "$((ASY_DECIMALS + 1))" "$1"
    digits="${digits// /0}"
    printf '%s' "$((10#${digits: -ASY_DECIMALS}))"
}

# format_asy PLANCKS: the amount in ASY with all of its decimal places.
format_asy() {
    printf '%s.%0*d' "$(whole_part "$1")" "$ASY_DECIMALS" "$(fraction_part "$1")"
}

# format_change BEFORE AFTER: the signed difference of two amounts in plancks, in ASY.
format_change() {
    local whole fraction one=$((10 ** ASY_DECIMALS)) sign='+'
    whole=$(($(whole_part "$2") - $(whole_part "$1")))
    fraction=$(($(fraction_part "$2") - $(fraction_part "$1")))
    # Both parts get the sign of the whole difference.
    if ((whole < 0 || (whole == 0 && fraction < 0))); then
        sign='-' whole=$((-whole)) fraction=$((-fraction))
    fi
    if ((fraction < 0)); then
        whole=$((whole - 1)) fraction=$((fraction + one))
    fi
    printf '%s%s.%0*d' "$sign" "$whole" "$ASY_DECIMALS" "$fraction"
}
