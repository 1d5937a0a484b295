//! Verdicts of vendors on a platform's trusted computing base (TCB).

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A vendor's verdict on the firmware and microcode of a platform.
///
/// The names are Intel's. AMD and NVIDIA publish no verdicts: for them the required versions and the
/// reference values decide, and a platform that passes is up to date.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    serde::Deserialize,
)]
pub enum TcbStatus {
    /// Nothing is known against the platform.
    #[codec(index = 0)]
    UpToDate,
    /// Software in the enclave has to work around a weakness.
    #[codec(index = 1)]
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The machine needs another configuration.
    #[codec(index = 2)]
    ConfigurationNeeded,
    /// `ConfigurationNeeded` and `SwHardeningNeeded` together.
    #[codec(index = 3)]
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// The platform needs an update.
    #[codec(index = 4)]
    OutOfDate,
    /// The platform needs an update and another configuration.
    #[codec(index = 5)]
    OutOfDateConfigurationNeeded,
    /// The TDX module was updated after the trust domain started: restart the domain.
    #[codec(index = 6)]
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// `TdRelaunchAdvised`, and the machine needs another configuration.
    #[codec(index = 7)]
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys have leaked: never accepted.
    #[codec(index = 8)]
    Revoked,
}

impl TcbStatus {
    /// Returns Intel's spelling of the verdict.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }
}

/// State of the platform's firmware and microcode.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Tcb {
    /// The verdict.
    pub status: TcbStatus,
    /// Date of the TCB level that the platform reaches, in seconds since 1970; `None` if the vendor gives
    /// none.
    pub date_s: Option<u64>,
}
