//! Requirements of consumers for machines, and the market's answers.
//!
//! The types travel twice: SCALE-encoded between node and runtime, and as JSON between node and people. In
//! JSON names are in camelCase, text is text, amounts in plancks are decimal strings, and keys are hex digits
//! behind `0x`. Unknown names are refused.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_runtime::DispatchError;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Millis,
    json,
    machine::{
        ClassName, Endpoint, HardwareClassId, LeaseTerms, Location, MachineId, MachineLease, MachineStatus,
        Region, ServiceRecord,
    },
    money::Balance,
};

/// Most machines on one page of offers.
pub const MAX_PAGE_OFFERS: u32 = 100;

/// Maximum number of passed-over machines in one page.
pub const MAX_PASSED_OVER: u32 = 100;

/// Most machines of one provider that can be asked for together.
pub const MAX_NODES: u8 = 64;

/// Bytes of a [`Cursor`].
pub const CURSOR_BYTES: usize = 25;

/// A hundred percent, in parts per million.
pub const FULL_PPM: u32 = 1_000_000;

/// A trusted execution environment whose evidence the chain can verify.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase")]
pub enum TeeKind {
    /// Intel SGX: an enclave.
    #[codec(index = 0)]
    Sgx,
    /// Intel TDX: a virtual machine.
    #[codec(index = 1)]
    Tdx,
    /// AMD SEV-SNP: a virtual machine.
    #[codec(index = 2)]
    SevSnp,
    /// NVIDIA confidential computing: a GPU.
    #[codec(index = 3)]
    NvidiaGpu,
}

impl TeeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Sgx, Self::Tdx, Self::SevSnp, Self::NvidiaGpu];
}

/// A set of [`TeeKind`]s, one bit for each.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct TeeKinds(u8);

impl TeeKinds {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with this kind too.
    #[must_use]
    pub const fn with(self, kind: TeeKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Returns true if the kind is in the set.
    pub const fn contains(self, kind: TeeKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Returns true if a processor's kind is in the set: such evidence vouches for the software that runs
    /// there and for its keys, and a GPU's does not.
    pub const fn has_processor(self) -> bool {
        self.contains(TeeKind::Sgx) || self.contains(TeeKind::Tdx) || self.contains(TeeKind::SevSnp)
    }
}

impl Serialize for TeeKinds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(TeeKind::ALL.into_iter().filter(|kind| self.contains(*kind)))
    }
}

impl<'de> Deserialize<'de> for TeeKinds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Vec::<TeeKind>::deserialize(deserializer)?;
        Ok(kinds.into_iter().fold(Self::NONE, Self::with))
    }
}

/// A circle on the map.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Near {
    /// Its middle.
    pub center: Location,
    /// Its radius along the ground, in kilometres.
    pub within_km: u32,
}

/// Requirements of a consumer for a machine. The default asks for one free slot of anything.
///
/// Minimums of zero and options without a value ask for nothing.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Requirements {
    /// Name of the hardware class, such as `NVIDIA_H100`.
    #[serde(with = "json::optional_text")]
    pub gpu_type: Option<ClassName>,
    /// Memory of one GPU, in MiB.
    pub min_vram_mib: u32,
    /// CUDA cores or stream processors of one GPU.
    pub min_cuda_cores: u32,
    /// Dense BF16 TFLOPS of one GPU.
    pub min_compute_score: u32,
    /// CPU cores that the wanted slots share: the host's cores in proportion to its slots, rounded down.
    pub min_cpu_cores: u32,
    /// Main memory that the wanted slots share, in MiB.
    pub min_ram_mib: u32,
    /// Disk space that the wanted slots share, in GiB.
    pub min_disk_gib: u32,
    /// Upload bandwidth of the host, in Mbit/s.
    pub min_upload_mbps: u32,
    /// Download bandwidth of the host, in Mbit/s.
    pub min_download_mbps: u32,
    /// Region code, such as `us-east`.
    #[serde(with = "json::optional_text")]
    pub region: Option<Region>,
    /// Circle on the map.
    pub near: Option<Near>,
    /// The most to be paid, in plancks per slot-hour.
    #[serde(with = "json::optional_amount")]
    pub max_price_per_slot_hour: Option<Balance>,
    /// The TEE of which the chain has fresh evidence.
    pub tee: Option<TeeKind>,
    /// Average uptime, in parts per million.
    pub min_uptime_ppm: u32,
    /// Slots wanted on the machine; zero asks for one.
    pub min_free_slots: u8,
    /// Machines of one provider that must meet all of this; zero asks for one; at most [`MAX_NODES`].
    pub min_nodes: u8,
}

impl Requirements {
    /// Slots wanted on the machine: at least one.
    pub fn slots(&self) -> u8 {
        self.min_free_slots.max(1)
    }

    /// Checks that the requirements are consistent, without the chain's state.
    pub fn check_form(&self) -> Result<(), FindError> {
        if self.near.is_some_and(|near| !near.center.is_on_earth()) {
            return Err(FindError::NotOnEarth);
        }
        if self.min_nodes > MAX_NODES {
            return Err(FindError::TooManyNodes);
        }
        Ok(())
    }
}

/// Gap between a requirement and the machine.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
pub struct Gap {
    /// The value asked for.
    pub wanted: u32,
    /// The value that the machine has.
    pub found: u32,
}

/// A requirement that a machine does not meet. Named for the field of [`Requirements`], in its unit.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(
    tag = "requirement",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Mismatch {
    /// The machine is not active.
    Status {
        /// Its status.
        found: MachineStatus,
    },
    /// Too few slots are free.
    MinFreeSlots(Gap),
    /// It is of another hardware class.
    GpuType {
        /// Its class.
        #[serde(with = "json::text")]
        found: ClassName,
    },
    /// Its GPU has too little memory.
    MinVramMib(Gap),
    /// Its GPU has too few cores.
    MinCudaCores(Gap),
    /// Its GPU computes too slowly.
    MinComputeScore(Gap),
    /// The slots share too few CPU cores.
    MinCpuCores(Gap),
    /// The slots share too little memory.
    MinRamMib(Gap),
    /// The slots share too little disk space.
    MinDiskGib(Gap),
    /// Its upload is too narrow.
    MinUploadMbps(Gap),
    /// Its download is too narrow.
    MinDownloadMbps(Gap),
    /// It stands in another region.
    Region {
        /// Its region.
        #[serde(with = "json::text")]
        found: Region,
    },
    /// It is too far away; kilometres, the distance rounded up.
    WithinKm(Gap),
    /// It asks for more.
    MaxPricePerSlotHour {
        /// Its ask, in plancks per slot-hour.
        #[serde(with = "json::amount")]
        found: Balance,
    },
    /// It has no fresh evidence of this TEE.
    Tee {
        /// Of which it has.
        found: TeeKinds,
    },
    /// It was seen up too rarely.
    MinUptimePpm(Gap),
    /// Its provider has too few machines that meet the other requirements.
    MinNodes(Gap),
}

/// A machine as the market shows it.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct MachineView<AccountId> {
    /// The machine.
    pub machine: MachineId,
    /// The account that owns it.
    pub provider: AccountId,
    /// The hot key that acts for it.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    #[serde(with = "json::key")]
    pub sealing_key: [u8; 32],
    /// Status in the market.
    pub status: MachineStatus,
    /// Its hardware class.
    pub class: HardwareClassId,
    /// Name of the class.
    #[serde(with = "json::text")]
    pub gpu_type: ClassName,
    /// Memory of one GPU, in MiB.
    pub vram_mib: u32,
    /// CUDA cores or stream processors of one GPU.
    pub cuda_cores: u32,
    /// Dense BF16 TFLOPS of one slot.
    pub compute_score: u32,
    /// Slots in all.
    pub slots: u8,
    /// Slots that no job has leased.
    pub free_slots: u8,
    /// CPU cores of the host.
    pub cpu_cores: u16,
    /// Main memory of the host, in MiB.
    pub ram_mib: u32,
    /// Disk space of the host, in GiB.
    pub disk_gib: u32,
    /// Upload bandwidth of the host, in Mbit/s.
    pub upload_mbps: u32,
    /// Download bandwidth of the host, in Mbit/s.
    pub download_mbps: u32,
    /// Region code.
    #[serde(with = "json::text")]
    pub region: Region,
    /// Place on the map.
    pub location: Location,
    /// Metres along the ground from the middle that the requirements name; `None` where they name none.
    pub distance_m: Option<u32>,
    /// URL of its worker.
    #[serde(with = "json::text")]
    pub endpoint: Endpoint,
    /// Plancks per slot-hour.
    #[serde(with = "json::amount")]
    pub price_per_slot_hour: Balance,
    /// Plancks per slot-hour from [`Self::next_price_from_ms`] on, where the provider announced a raise.
    /// Offers are in the order of this price until then.
    #[serde(with = "json::optional_amount", default)]
    pub next_price_per_slot_hour: Option<Balance>,
    /// Active time from which on the announced price holds.
    #[serde(default)]
    pub next_price_from_ms: Option<Millis>,
    /// Plancks per TFLOPS-hour: the price by the compute score, rounded up; `None` where the score is zero.
    #[serde(with = "json::optional_amount")]
    pub price_per_tflops_hour: Option<Balance>,
    /// Average uptime, in parts per million.
    pub uptime_ppm: u32,
    /// TEEs of which the chain has fresh evidence.
    pub tee_kinds: TeeKinds,
    /// Number of its leases that ended in each way.
    pub service: ServiceRecord,
}

/// A place in the order of offers; offers after it stay when others come or go.
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
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Cursor(#[serde(with = "json::key")] pub [u8; CURSOR_BYTES]);

/// A machine that the search looked at and did not offer, with the reasons.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// The machine.
    pub machine: MachineId,
    /// Requirements that it does not meet.
    pub mismatches: Vec<Mismatch>,
}

/// A page of offers, best first: by uptime, then by price.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct OfferPage<AccountId> {
    /// Machines that meet every requirement.
    pub offers: Vec<MachineView<AccountId>>,
    /// Machines that were looked at for this page and do not; the first [`MAX_PASSED_OVER`].
    pub passed_over: Vec<PassedOver>,
    /// Cursor of the next page. A page may be short, even empty, and still have a next one: so much is looked
    /// at for a page and no more. `None` after the last.
    pub next: Option<Cursor>,
}

/// Reason why a search could not be made.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum FindError {
    /// The catalogue has no hardware class of that name.
    UnknownGpuType,
    /// The middle of the circle is not on earth.
    NotOnEarth,
    /// The limit is zero or above [`MAX_PAGE_OFFERS`].
    BadLimit,
    /// More nodes are wanted than [`MAX_NODES`].
    TooManyNodes,
}

/// Matches machines with requirements. Implemented by `pallet-provider-registry`, used by
/// `pallet-job-escrow`.
pub trait MachineMatching {
    /// Checks that the requirements are consistent, independent of any machine: [`Requirements::check_form`],
    /// and that there is such a class.
    fn check(requirements: &Requirements) -> Result<(), FindError>;

    /// Returns true if the machine is active and meets every requirement but [`Requirements::min_nodes`],
    /// which asks for something of its provider.
    ///
    /// Answers the same as [`explain`](crate::api::ComputeMarketApi), which also says why.
    fn meets(requirements: &Requirements, machine: MachineId) -> bool;

    /// Requirements that the machine meets, with everything set that costs something to check but a TEE; for
    /// benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_requirements(_machine: MachineId) -> Requirements {
        Requirements::default()
    }
}

/// Leases machines that meet requirements. Implemented by `pallet-provider-registry`, used by
/// `pallet-job-escrow`.
pub trait MatchingLease<AccountId>: MachineLease<AccountId> + MachineMatching {
    /// Takes `slots` free slots of a machine that meets requirements which [`Requirements::check_form`]
    /// accepted. Returns `None`, and changes nothing, where the machine does not meet them.
    ///
    /// A registry that has both in one record reads it once.
    fn lease_matching(
        machine: MachineId,
        slots: u8,
        requirements: &Requirements,
    ) -> Result<Option<LeaseTerms<AccountId>>, DispatchError> {
        if !Self::meets(requirements, machine) {
            return Ok(None);
        }
        Self::lease(machine, slots).map(Some)
    }
}

/// Every machine meets everything; for tests.
impl MachineMatching for () {
    fn check(_: &Requirements) -> Result<(), FindError> {
        Ok(())
    }

    fn meets(_: &Requirements, _: MachineId) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processors_vouch_for_keys() {
        assert!(!TeeKinds::NONE.has_processor());
        let all_but_gpus = [TeeKind::Sgx, TeeKind::Tdx, TeeKind::SevSnp];
        for kind in TeeKind::ALL {
            let alone = TeeKinds::NONE.with(kind);
            assert_eq!(alone.has_processor(), all_but_gpus.contains(&kind));
            assert_eq!(
                alone.with(TeeKind::NvidiaGpu).has_processor(),
                alone.has_processor()
            );
        }
    }
}
