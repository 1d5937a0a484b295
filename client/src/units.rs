//! ASY, percentages, moments and lengths of time as people write them, exactly: no floating point anywhere.

use std::time::Duration;

use assay_primitives::money::{ASY, Balance, TOKEN_DECIMALS, TOKEN_SYMBOL};

/// A hundredth, in parts per million.
const PPM_PER_PERCENT: u32 = 10_000;

/// Seconds of a day.
const SECONDS_PER_DAY: u64 = 86_400;

/// Days of four hundred years, after which the calendar repeats.
const DAYS_PER_CYCLE: u64 = 146_097;

/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;

/// A text that is no amount of ASY.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not an amount of ASY: {cause}; write it like 12.5 or \"0.000000000001 ASY\"")]
pub struct AmountError {
    /// The text as it was given.
    pub text: String,
    /// Fault of the text.
    pub cause: AmountErrorCause,
}

/// Fault of a text that is no amount.
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

/// Writes a moment, in seconds since 1970, as date and time to the minute, such as `2026-11-25 16:45 UTC`.
pub fn format_time(seconds: u64) -> String {
    let (days, second_of_day) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    // Years begin with March here: so the leap day is the last of its year, and months have the same days in
    // all years.
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days / DAYS_PER_CYCLE, days % DAYS_PER_CYCLE);
    // Of each leap day (every 1,461 days), less those of the centuries, plus that of the fourth century.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Five months from March or August on have 153 days.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{}-{month:02}-{day_of_month:02} {:02}:{:02} UTC",
        cycle * 400 + year + carry,
        second_of_day / 3_600,
        second_of_day / 60 % 60
    )
}

/// Reads a decimal number with at most `places` decimal places, such as `-33.87`, in units of its last place.
pub fn parse_decimal(text: &str, places: usize) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit());
    if !are_digits || (whole.is_empty() && fraction.is_empty()) {
        return Err(format!("{text:?} is not a decimal number: write it like 12.5"));
    }
    if fraction.len() > places {
        return Err(format!(
            "{text:?} has more than {places} decimal places: round it"
        ));
    }
    format!("{whole}{fraction:0<places$}")
        .parse()
        .map(|number: i64| sign * number)
        .map_err(|_| format!("{text:?} is too large"))
}

/// Reads a percentage, such as `99.5` or `99.5%`, as parts per million.
pub fn parse_percent(text: &str) -> Result<u32, String> {
    let number = parse_decimal(text.strip_suffix('%').unwrap_or(text).trim_end(), 4)?;
    u32::try_from(number)
        .ok()
        .filter(|ppm| *ppm <= 1_000_000)
        .ok_or_else(|| format!("{text:?} is not a percentage: write 0 to 100"))
}

/// Reads a length of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!("{text:?} is not a length of time: write a whole number and a unit, such as 90s, 10m or 2h")
    };
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(bad)?;
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(bad)
}

/// Writes milliseconds in the two largest units that are not zero.
pub fn format_milliseconds(milliseconds: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let mut rest = milliseconds;
    let mut parts = Vec::new();
    for (unit, length) in units {
        if rest / length > 0 {
            parts.push(format!("{} {unit}", rest / length));
        }
        rest %= length;
    }
    parts.truncate(2);
    if parts.is_empty() {
        format!("{milliseconds} ms")
    } else {
        parts.join(" ")
    }
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

    #[test]
    fn moments_are_written_to_the_minute() {
        for (seconds, written) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_764_175_259, "2025-11-26 16:40 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
        ] {
            assert_eq!(format_time(seconds), written, "{seconds}");
        }
        // Whatever a chain says.
        assert!(format_time(u64::MAX).ends_with(" UTC"));
    }

    #[test]
    fn every_day_of_a_cycle_is_the_next_one_of_the_calendar() {
        let (mut year, mut month, mut day) = (1_970, 1, 1);
        for days in 0..=DAYS_PER_CYCLE {
            assert_eq!(
                format_time(days * SECONDS_PER_DAY),
                format!("{year}-{month:02}-{day:02} 00:00 UTC")
            );
            let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if is_leap_year => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!((year, month, day), (2_370, 1, 2));
    }

    #[test]
    fn parse_decimal_works() {
        for (text, number) in [
            ("0", 0),
            ("52.52", 52_520_000),
            ("-33.8688", -33_868_800),
            (".000001", 1),
            ("7.", 7_000_000),
            ("-0.5", -500_000),
        ] {
            assert_eq!(parse_decimal(text, 6), Ok(number), "{text}");
        }
    }

    #[test]
    fn parse_decimal_fails_when_the_text_is_none() {
        for text in [
            "",
            "-",
            ".",
            "1e3",
            "1,5",
            "--1",
            "+1",
            "0.0000001",
            "99999999999999",
        ] {
            assert!(parse_decimal(text, 6).is_err(), "{text}");
        }
    }

    #[test]
    fn parse_percent_works() {
        for (text, ppm) in [
            ("0", 0),
            ("99.5", 995_000),
            ("99.5%", 995_000),
            ("100 %", 1_000_000),
        ] {
            assert_eq!(parse_percent(text), Ok(ppm), "{text}");
        }
        for text in ["", "%", "100.1", "-1", "99.55555"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parse_duration_works() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn parse_duration_fails_when_the_text_is_none() {
        for text in [
            "",
            "10",
            "m",
            "-1s",
            "1.5h",
            "10 m",
            "10x",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn format_milliseconds_works() {
        assert_eq!(format_milliseconds(999), "999 ms");
        assert_eq!(format_milliseconds(90_000), "1 min 30 s");
        assert_eq!(format_milliseconds(90_061_000), "1 d 1 h");
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
