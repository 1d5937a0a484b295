//! Text and JSON of identifiers, for clients of a chain.

use core::fmt;

use serde::Serializer;

use crate::{
    CollateralId,
    intel::{IntelTee, TcbInfoId},
};

/// Bytes that display as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Serializes bytes as hexadecimal digits behind `0x`.
pub(crate) fn as_hex<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("0x{}", Hex(bytes)))
}

impl fmt::Display for IntelTee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Sgx => "Intel SGX",
            Self::Tdx => "Intel TDX",
        })
    }
}

impl fmt::Display for CollateralId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo(TcbInfoId { tee, fmspc, pce_id }) => write!(
                formatter,
                "the TCB info of {tee} on processors {} with PCE {}",
                Hex(fmspc),
                Hex(pce_id)
            ),
            Self::QeIdentity(tee) => write!(formatter, "the identity of the quoting enclave of {tee}"),
            Self::RevocationList(issuer) => write!(
                formatter,
                "the list of certificates that issuer 0x{} revoked",
                Hex(issuer)
            ),
        }
    }
}
