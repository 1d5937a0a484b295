//! Amounts of ASY with all of their decimal places, so that they line up below each other.

use assay_primitives::money::{ASY, Balance, TOKEN_DECIMALS};

/// Writes plancks as ASY with all decimal places, such as `12.500000000000`.
pub(crate) fn format_asy(plancks: Balance) -> String {
    let places = usize::from(TOKEN_DECIMALS);
    format!("{}.{:0>places$}", plancks / ASY, plancks % ASY)
}

/// Writes the signed difference of two amounts in plancks, in ASY; no change is `+0`.
pub(crate) fn format_change(before: Balance, after: Balance) -> String {
    let sign = if after < before { '-' } else { '+' };
    format!("{sign}{}", format_asy(after.abs_diff(before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_asy_works() {
        for (plancks, text) in [
            (0, "0.000000000000"),
            (1, "0.000000000001"),
            (ASY + ASY / 2, "1.500000000000"),
            (Balance::MAX, "340282366920938463463374607.431768211455"),
        ] {
            assert_eq!(format_asy(plancks), text);
        }
    }

    #[test]
    fn format_change_works() {
        for (before, after, text) in [
            (ASY, ASY, "+0.000000000000"),
            (ASY - 1, ASY, "+0.000000000001"),
            (ASY, ASY - 1, "-0.000000000001"),
            (2 * ASY, ASY / 2, "-1.500000000000"),
            (ASY / 2, 2 * ASY, "+1.500000000000"),
            (0, Balance::MAX, "+340282366920938463463374607.431768211455"),
        ] {
            assert_eq!(format_change(before, after), text);
        }
    }
}
