//! ASY and percentages as people write them, exactly: no floating point anywhere.

use assay_primitives::money::{ASY, Balance, TOKEN_DECIMALS, TOKEN_SYMBOL};

/// A hundredth, in parts per million.
const PPM_PER_PERCENT: u32 = 10_000;

/// A text that is no amount of ASY.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not an amount of ASY: {cause}; write it like 12.5 or \"0.000000000001 ASY\"")]
pub struct AmountError {
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub cause: AmountErrorCause,
}

/// What is wrong with an amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AmountErrorCause {
    /// There is no digit.
    #[error("it has no digits")]
    NoDigits,
    /// There is a character that is neither a digit nor the one decimal point.
    #[error("only digits and one decimal point are allowed")]
    NotDecimal,
    /// It is finer than a planck.
    #[error("ASY has {TOKEN_DECIMALS} decimal places and no more")]
    TooFine,
    /// It does not fit into 128 bits.
    #[error("it is too large")]
    TooLarge,
}

/// Reads an amount of ASY, such as `12.5`, `12.5 ASY` or `.001`, as plancks.
///
/// # Errors
/// Anything that is not exactly a number of plancks is refused, not rounded.
pub fn parse_asy(text: &str) -> Result<Balance, AmountError> {
    let fail = |cause| AmountError {
        text: text.to_owned(),
        cause,
    };
    let trimmed = text.trim();
    let number = trimmed.strip_suffix(TOKEN_SYMBOL).map_or(trimmed, str::trim_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(fail(AmountErrorCause::NoDigits));
    }
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit())
    {
        return Err(fail(AmountErrorCause::NotDecimal));
    }
    // Zeros behind the last place say nothing more.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > usize::from(TOKEN_DECIMALS) {
        return Err(fail(AmountErrorCause::TooFine));
    }
    let digits = format!(
        "{whole}{fraction:0<places$}",
        places = usize::from(TOKEN_DECIMALS)
    );
    digits.parse().map_err(|_| fail(AmountErrorCause::TooLarge))
}

/// Writes plancks as ASY with as many decimal places as it takes, such as `12.5 ASY`.
pub fn format_asy(plancks: Balance) -> String {
    let whole = plancks / ASY;
    let fraction = plancks % ASY;
    if fraction == 0 {
        return format!("{whole} {TOKEN_SYMBOL}");
    }
    let places = format!("{fraction:0>places$}", places = usize::from(TOKEN_DECIMALS));
    format!("{whole}.{} {TOKEN_SYMBOL}", places.trim_end_matches('0'))
}

/// Writes parts per million as a percentage with as many decimal places as it takes, such as `99.5 %`.
pub fn format_ppm(ppm: u32) -> String {
    let (whole, fraction) = (ppm / PPM_PER_PERCENT, ppm % PPM_PER_PERCENT);
    if fraction == 0 {
        return format!("{whole} %");
    }
    let places = format!("{fraction:04}");
    format!("{whole}.{} %", places.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_asy_works() {
        for (text, plancks) in [
            ("0", 0),
            ("1", ASY),
            ("12.5 ASY", 12 * ASY + ASY / 2),
            (" .001", ASY / 1_000),
            ("7.", 7 * ASY),
            ("0.000000000001", 1),
            ("1.50000000000000000000", ASY + ASY / 2),
        ] {
            assert_eq!(parse_asy(text), Ok(plancks), "{text}");
        }
    }

    #[test]
    fn parse_asy_fails_when_the_text_is_no_exact_amount() {
        for (text, cause) in [
            ("", AmountErrorCause::NoDigits),
            (".", AmountErrorCause::NoDigits),
            ("ASY", AmountErrorCause::NoDigits),
            ("-1", AmountErrorCause::NotDecimal),
            ("1,5", AmountErrorCause::NotDecimal),
            ("1.2.3", AmountErrorCause::NotDecimal),
            ("1e3", AmountErrorCause::NotDecimal),
            ("0.0000000000001", AmountErrorCause::TooFine),
            ("340282366920938463463374608", AmountErrorCause::TooLarge),
        ] {
            assert_eq!(parse_asy(text).unwrap_err().cause, cause, "{text}");
        }
    }

    #[test]
    fn format_asy_works() {
        assert_eq!(format_asy(0), "0 ASY");
        assert_eq!(format_asy(1), "0.000000000001 ASY");
        assert_eq!(format_asy(12 * ASY + ASY / 2), "12.5 ASY");
    }

    #[test]
    fn format_ppm_works() {
        for (ppm, text) in [
            (0, "0 %"),
            (1, "0.0001 %"),
            (995_000, "99.5 %"),
            (1_000_000, "100 %"),
        ] {
            assert_eq!(format_ppm(ppm), text);
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_formatting(plancks: u128) {
            prop_assert_eq!(parse_asy(&format_asy(plancks)), Ok(plancks));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = parse_asy(&text);
        }
    }
}
