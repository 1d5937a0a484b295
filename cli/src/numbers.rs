//! Decimal numbers, read exactly: without floating point.

/// Reads a decimal number with at most `places` decimal places, such as `-33.87`, in units of its last place.
pub(crate) fn parse_decimal(text: &str, places: usize) -> Result<i64, String> {
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
pub(crate) fn parse_percent(text: &str) -> Result<u32, String> {
    let number = parse_decimal(text.strip_suffix('%').unwrap_or(text).trim_end(), 4)?;
    u32::try_from(number)
        .ok()
        .filter(|ppm| *ppm <= 1_000_000)
        .ok_or_else(|| format!("{text:?} is not a percentage: write 0 to 100"))
}

/// Reads bytes that are written as hexadecimal digits behind `0x`.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
        .map(|()| bytes)
        .ok_or_else(|| format!("{text:?} is not 0x and {} hexadecimal digits", 2 * N))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn parse_hex_works() {
        assert_eq!(parse_hex("0x0aFF"), Ok([0x0a, 0xff]));
        for text in ["", "0x", "0aff", "0x0a", "0x0aff0a", "0x0a0g"] {
            assert!(parse_hex::<2>(text).is_err(), "{text}");
        }
    }
}
