//! The records that the chain keeps, as this client reads them.
//!
//! Names of types, fields and variants are those of the pallets; what a field means is documented there and
//! here alike. Amounts are plancks, times are milliseconds of active time. In JSON, amounts are decimal strings
//! and hashes are hex strings.

use std::fmt;

use assay_primitives::{
    clock::{EpochIndex, Millis},
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::DecodeAsType;
use serde::{Serialize, Serializer};

/// An account; displays and parses as an SS58 address, its 32 bytes are field `0`.
pub type AccountId = subxt::utils::AccountId32;

/// Identifies a job; given in order of deployment and never used again.
pub type JobId = u64;

/// Plancks as a decimal string: many readers of JSON keep no more than 53 bits of a number.
pub(crate) fn as_decimal<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Bytes as hex digits behind `0x`.
pub(crate) fn as_hex<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("0x{}", hex::encode(bytes)))
}

/// Text that the chain keeps as bounded bytes.
#[derive(Clone, PartialEq, Eq, Default, DecodeAsType)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes as the chain has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

/// Bytes that are not UTF-8 and control characters show as replacement characters: the text was written by
/// anybody, and terminals obey what they print.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = String::from_utf8_lossy(&self.0)
            .chars()
            .map(|character| {
                if character.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    character
                }
            })
            .collect();
        formatter.pad(&shown)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

/// An account that owns machines.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Provider {
    /// The name it gave itself.
    pub name: Text,
    /// How many machines it has.
    pub machines: u32,
    /// Plancks held for its record.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
}

/// An entry of the hardware class catalogue.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct HardwareClass {
    /// Name, such as `NVIDIA_H100`.
    pub name: Text,
    /// Memory of the GPU in MiB.
    pub vram_mib: u32,
    /// CUDA cores, or stream processors of GPUs that have no CUDA.
    pub cuda_cores: u32,
    /// The vendor's published dense BF16 TFLOPS.
    pub compute_score: u32,
    /// Plancks to be bonded for each slot.
    #[serde(serialize_with = "as_decimal")]
    pub stake_per_slot: Balance,
}

/// What a hardware class means for a machine: a copy that changes only when it is refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DecodeAsType, Serialize)]
pub struct ClassTerms {
    /// Compute score of one slot.
    pub compute_score: u32,
    /// Plancks to be bonded for each slot.
    #[serde(serialize_with = "as_decimal")]
    pub stake_per_slot: Balance,
}

/// Where a machine stands, in micro-degrees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DecodeAsType, Serialize)]
pub struct Location {
    /// North of the equator is positive; −90,000,000 to 90,000,000.
    pub latitude_microdegrees: i32,
    /// East of Greenwich is positive; −180,000,000 to 180,000,000.
    pub longitude_microdegrees: i32,
}

/// What a machine is to the market.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum MachineStatus {
    /// Registered, but not (or not yet) bonded and proven.
    Unproven,
    /// Bonded and proven: takes jobs and earns.
    Active,
    /// Takes no new jobs and earns nothing until the reason is gone.
    Suspended(SuspensionReason),
    /// Finishes the jobs it has and takes no new ones.
    Draining,
    /// Left the market for good.
    Retired,
}

impl fmt::Display for MachineStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unproven => "unproven",
            Self::Active => "active",
            Self::Suspended(SuspensionReason::OwnRequest) => "suspended (own request)",
            Self::Suspended(SuspensionReason::BondTooLow) => "suspended (bond too low)",
            Self::Draining => "draining",
            Self::Retired => "retired",
        })
    }
}

/// Why a machine is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum SuspensionReason {
    /// Its provider or its worker asked for it.
    OwnRequest,
    /// Less is bonded than its class and slots ask for.
    BondTooLow,
}

/// One host of a provider.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Machine {
    /// The account that owns the machine.
    pub provider: AccountId,
    /// The hot key that acts for the machine.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    #[serde(serialize_with = "as_hex")]
    pub sealing_key: [u8; 32],
    /// Entry of the hardware class catalogue.
    pub class: HardwareClassId,
    /// What the class meant when the machine last took a copy of it.
    pub terms: ClassTerms,
    /// Slots the machine offers in all.
    pub slots: u8,
    /// Slots that no job has leased.
    pub free_slots: u8,
    /// CPU cores.
    pub cpu_cores: u16,
    /// Main memory in MiB.
    pub ram_mib: u32,
    /// Disk space in GiB.
    pub disk_gib: u32,
    /// Upload bandwidth in Mbit/s.
    pub upload_mbps: u32,
    /// Download bandwidth in Mbit/s.
    pub download_mbps: u32,
    /// Where it stands.
    pub location: Location,
    /// Region code, such as `us-east`.
    pub region: Text,
    /// URL of the worker's HTTP API.
    pub endpoint: Text,
    /// Plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub ask: Balance,
    /// What it is to the market.
    pub status: MachineStatus,
    /// When it was registered, in active time.
    pub registered_at_ms: Millis,
    /// Plancks held for its record.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
}

/// What a provider stands to lose for one machine.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Bond {
    /// Whose plancks are held.
    pub provider: AccountId,
    /// Plancks bonded.
    #[serde(serialize_with = "as_decimal")]
    pub bonded: Balance,
    /// Plancks on their way out.
    pub unlocking: Vec<UnlockChunk>,
    /// Whether the machine's rewards are bonded.
    pub auto_stake: bool,
}

/// A part of a bond on its way out.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct UnlockChunk {
    /// Plancks.
    #[serde(serialize_with = "as_decimal")]
    pub amount: Balance,
    /// The epoch from which on it may be withdrawn.
    pub due_epoch: EpochIndex,
}

/// Whether a job is metered or ends with a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobKind {
    /// Metered until closed.
    Service,
    /// Ends with a result that is verified.
    Task,
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Service => "service",
            Self::Task => "task",
        })
    }
}

/// Names a manifest that was noted as a preimage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct ManifestRef {
    /// blake2-256 of the manifest's bytes.
    #[serde(serialize_with = "as_hex")]
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub length_bytes: u32,
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobState {
    /// Assigned; the worker has to start it.
    Starting {
        /// When the worker is late.
        deadline_ms: Millis,
    },
    /// The container runs.
    Running {
        /// When it started.
        started_at_ms: Millis,
        /// Up to when it is paid.
        settled_until_ms: Millis,
    },
    /// A task's result waits for the consumer's word.
    Verifying {
        /// When it started.
        started_at_ms: Millis,
        /// When the result came in.
        ended_at_ms: Millis,
        /// When silence accepts.
        window_ends_ms: Millis,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
    },
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Verifying { .. } => "verifying",
        })
    }
}

/// A container run that a consumer pays for. The chain forgets it when it is closed.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Job {
    /// Who pays.
    pub consumer: AccountId,
    /// Who is paid.
    pub provider: AccountId,
    /// Where it runs.
    pub machine: MachineId,
    /// Slots it has leased.
    pub slots: u8,
    /// Service or task.
    pub kind: JobKind,
    /// What it runs.
    pub manifest: ManifestRef,
    /// sha256 digest of the image's manifest.
    #[serde(serialize_with = "as_hex")]
    pub image_digest: [u8; 32],
    /// The machine's ask when the job was deployed.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// Longest run.
    pub max_duration_ms: Millis,
    /// Plancks still held of the consumer's.
    #[serde(serialize_with = "as_decimal")]
    pub escrowed: Balance,
    /// Plancks paid so far, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// How far it is.
    pub state: JobState,
    /// When it was deployed, in active time.
    pub created_at_ms: Millis,
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobOutcome {
    /// The task's result was accepted.
    Completed,
    /// The consumer cancelled before it started.
    Cancelled,
    /// The consumer closed the service.
    ClosedByConsumer,
    /// The service ran its full time.
    Expired,
    /// The worker did not start it in time.
    NotStarted,
    /// The task ran its full time without a result.
    NoResult,
    /// The worker or its provider gave it up.
    Abandoned,
}

impl fmt::Display for JobOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::ClosedByConsumer => "closed by its consumer",
            Self::Expired => "ran its full time",
            Self::NotStarted => "not started in time",
            Self::NoResult => "no result in time",
            Self::Abandoned => "abandoned",
        })
    }
}

/// Where money went whose recipient could not receive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Diversion {
    /// To the treasury.
    Treasury,
    /// Out of existence.
    Burned,
}

impl fmt::Display for Diversion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Treasury => "went to the treasury",
            Self::Burned => "was burned",
        })
    }
}

/// Where a machine's rewards go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum RewardDestination {
    /// To the provider's account.
    Provider,
    /// To an account.
    Account(AccountId),
    /// To the account that belongs to an Ethereum-style address.
    Ethereum([u8; 20]),
    /// Into the machine's bond.
    Bond,
}

impl fmt::Display for RewardDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider => formatter.pad("to the provider"),
            Self::Account(account) => write!(formatter, "to {account}"),
            Self::Ethereum(address) => write!(formatter, "to 0x{}", hex::encode(address)),
            Self::Bond => formatter.pad("into the bond"),
        }
    }
}

/// Accounts of one epoch.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct EpochRecord {
    /// Plancks that could be earned.
    #[serde(serialize_with = "as_decimal")]
    pub pool: Balance,
    /// Sum of the machines' weights.
    #[serde(serialize_with = "as_decimal")]
    pub total_weight: u128,
    /// Plancks minted so far.
    #[serde(serialize_with = "as_decimal")]
    pub minted: Balance,
    /// Protocol fees taken.
    #[serde(serialize_with = "as_decimal")]
    pub fees: Balance,
    /// Part of the fees that was burned.
    #[serde(serialize_with = "as_decimal")]
    pub burned: Balance,
}

/// What an account has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AccountBalance {
    /// Plancks it may spend or that are frozen.
    #[serde(serialize_with = "as_decimal")]
    pub free: Balance,
    /// Plancks held: bonds, escrow, deposits.
    #[serde(serialize_with = "as_decimal")]
    pub held: Balance,
    /// How much of `free` may not be spent.
    #[serde(serialize_with = "as_decimal")]
    pub frozen: Balance,
}

impl AccountBalance {
    /// Everything the account owns.
    pub fn total(&self) -> Balance {
        self.free.saturating_add(self.held)
    }
}

/// Active time and the epochs it is divided into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Clock {
    /// Active time since genesis.
    pub active_time_ms: Millis,
    /// The current epoch.
    pub epoch: EpochIndex,
    /// Length of every epoch.
    pub epoch_duration_ms: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_no_control_characters() {
        let text = Text(b"evil\x1b[31m\xff".to_vec());
        assert_eq!(text.to_string(), "evil\u{fffd}[31m\u{fffd}");
        assert_eq!(format!("{:>6}|", Text::from("abc")), "   abc|");
    }
}
