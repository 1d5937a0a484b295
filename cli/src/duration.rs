//! Lengths of time in text: `90s`, `10m`, `2h`, `1d`.

use std::time::Duration;

/// Reads a length of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
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
pub(crate) fn format_milliseconds(milliseconds: u64) -> String {
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
    use super::*;

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
}
