//! Identifiers of vendors' collateral.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{
    Hash,
    intel::{IntelTee, TcbInfoId},
};

/// Identifier of a piece of collateral: a newer one replaces an older one with the same identifier.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum CollateralId {
    /// TCB info of Intel.
    #[codec(index = 0)]
    TcbInfo(TcbInfoId),
    /// Identity of a TEE's quoting enclave.
    #[codec(index = 1)]
    QeIdentity(IntelTee),
    /// List of revoked certificates of an issuer, by the hash of the issuer's name and key.
    #[codec(index = 2)]
    RevocationList(#[cfg_attr(feature = "client", serde(serialize_with = "crate::client::as_hex"))] Hash),
}
