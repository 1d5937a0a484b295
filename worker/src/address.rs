//! Parses addresses that people copy, and refuses those with a visible copying error.

use assay_client::keys::{self, KeyError};

/// Reason why a text is not a valid address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an SS58 address with a correct checksum.
    #[error("an SS58 address of this chain (prefix 42, begins with 5) copied whole")]
    NotSs58,
    /// An SS58 address of another chain: perhaps only that chain's wallet has the key.
    #[error("an SS58 address of this chain (prefix 42, begins with 5); this one is of another chain")]
    OtherChain,
    /// Not `0x` and 40 hexadecimal digits.
    #[error("0x and 40 hexadecimal digits")]
    NotEthereum,
    /// Mixed upper and lower case that does not match the checksum.
    #[error("0x and 40 hexadecimal digits; the upper and lower case of this one says that a digit is wrong")]
    EthereumChecksum,
}

/// Parses an SS58 address of this chain into its 32 bytes.
pub fn parse_ss58(text: &str) -> Result<[u8; 32], AddressError> {
    keys::parse_ss58(text)
        .map(|account| account.0)
        .map_err(|error| match error {
            KeyError::OtherChain { .. } => AddressError::OtherChain,
            _ => AddressError::NotSs58,
        })
}

/// Parses an Ethereum-style address into its 20 bytes. An address in mixed case must satisfy the checksum of
/// EIP-55.
pub fn parse_ethereum(text: &str) -> Result<[u8; 20], AddressError> {
    let digits = text.strip_prefix("0x").ok_or(AddressError::NotEthereum)?;
    let mut address = [0; 20];
    hex::decode_to_slice(digits, &mut address).map_err(|_| AddressError::NotEthereum)?;
    let has = |test: fn(&char) -> bool| digits.chars().any(|c| test(&c));
    if has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && digits != with_checksum(&address) {
        return Err(AddressError::EthereumChecksum);
    }
    Ok(address)
}

/// Returns the digits of an address in EIP-55's upper and lower case.
fn with_checksum(address: &[u8; 20]) -> String {
    let digits = hex::encode(address);
    let hash = sp_crypto_hashing::keccak_256(digits.as_bytes());
    let nibble = |index: usize| {
        if index.is_multiple_of(2) {
            hash[index / 2] >> 4
        } else {
            hash[index / 2] & 15
        }
    };
    digits
        .char_indices()
        .map(|(index, digit)| {
            if nibble(index) >= 8 {
                digit.to_ascii_uppercase()
            } else {
                digit
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ss58_address_is_of_this_chain() {
        let alice = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        assert_eq!(
            hex::encode(parse_ss58(alice).unwrap()),
            "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"
        );
        // The same account with Polkadot's prefix.
        let polkadot = "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5";
        assert_eq!(parse_ss58(polkadot), Err(AddressError::OtherChain));
        let last_letter_wrong = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQX";
        assert_eq!(parse_ss58(last_letter_wrong), Err(AddressError::NotSs58));
        assert_eq!(parse_ss58(""), Err(AddressError::NotSs58));
    }

    #[test]
    fn ethereum_address_in_mixed_case_is_checked() {
        // Example of EIP-55.
        let right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        let address = parse_ethereum(right).unwrap();
        assert_eq!(parse_ethereum(&right.to_lowercase()).unwrap(), address);
        assert_eq!(
            parse_ethereum(&format!("0x{}", right[2..].to_uppercase())).unwrap(),
            address
        );
        let one_digit_wrong = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee";
        assert_eq!(
            parse_ethereum(one_digit_wrong),
            Err(AddressError::EthereumChecksum)
        );
        for text in [
            "",
            "0x",
            "0x12",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xzz",
        ] {
            assert_eq!(parse_ethereum(text), Err(AddressError::NotEthereum), "{text}");
        }
    }
}
