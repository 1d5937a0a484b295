//! Numbers as people write them.

pub(crate) use assay_client::units::{parse_decimal, parse_percent};

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
    fn parse_hex_works() {
        assert_eq!(parse_hex("0x0aFF"), Ok([0x0a, 0xff]));
        for text in ["", "0x", "0aff", "0x0a", "0x0aff0a", "0x0a0g"] {
            assert!(parse_hex::<2>(text).is_err(), "{text}");
        }
    }
}
