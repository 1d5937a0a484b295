//! Records of classes, providers and machines.

use alloc::string::String;

use assay_primitives::{
    availability::REPORT_WINDOW_EPOCHS,
    clock::{EpochIndex, Millis},
    emission::{ATTESTED_WEIGHT_PARTS, RewardWeight, WEIGHT_PARTS},
    machine::{
        ClassName, Endpoint, Exposure, HardwareClassId, Location, MAX_PROVIDER_NAME_BYTES, MachineStatus,
        Region, ServiceRecord,
    },
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::BoundedVec, frame_system, sp_runtime::traits::ConstU32};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

pub use assay_primitives::machine::{AskRaise, ClassTerms};

/// Name that a provider gives itself; any bytes, so readers must not trust it to be text.
pub type ProviderName = BoundedVec<u8, ConstU32<MAX_PROVIDER_NAME_BYTES>>;

/// Maximum number of classes in the catalogue. A search that names no class reads all of them.
pub const MAX_HARDWARE_CLASSES: u32 = 256;

/// Initial average uptime of a machine that nobody has watched yet, in parts per million: better than that of
/// a machine known to fail, worse than that of one known not to, so that registering anew never pays.
pub const INITIAL_UPTIME_PPM: u32 = 950_000;

/// Minimum delay of a raised ask, in milliseconds of active time: the time from a consumer's look at the
/// market to its transaction in a block, when blocks are full for a while.
pub const MIN_ASK_RAISE_DELAY_MS: Millis = 30_000;

/// Maximum delay of a raised ask, in milliseconds of active time.
pub const MAX_ASK_RAISE_DELAY_MS: Millis = 60 * 60 * 1_000;

/// Record of a machine in a runtime.
pub type MachineRecordOf<T> = MachineRecord<<T as frame_system::Config>::AccountId>;

/// Registration of a machine in a runtime.
pub type MachineRegistrationOf<T> = MachineRegistration<<T as frame_system::Config>::AccountId>;

/// Entry of the hardware class catalogue.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct HardwareClassRecord {
    /// Name by which people know it.
    pub name: ClassName,
    /// Memory of one GPU, in MiB; zero without a GPU.
    pub vram_mib: u32,
    /// CUDA cores, or stream processors of GPUs that have no CUDA; zero without a GPU.
    pub cuda_cores: u32,
    /// Dense BF16 TFLOPS (sparsity off) as published by the vendor, rounded.
    pub compute_score: u32,
    /// Plancks to be bonded for each slot; at least [`Config::BondPerPoint`](crate::Config::BondPerPoint) for
    /// each point of the compute score. More where a proof shows little, so that one device could stand for
    /// many slots.
    pub stake_per_slot: Balance,
}

impl HardwareClassRecord {
    /// Returns the part that machines of the class keep a copy of.
    pub fn terms(&self) -> ClassTerms {
        ClassTerms {
            compute_score: self.compute_score,
            stake_per_slot: self.stake_per_slot,
        }
    }
}

/// Hardware class as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisHardwareClass {
    /// Its identifier.
    pub class: HardwareClassId,
    /// Name, see [`ClassName`].
    pub name: String,
    /// See [`HardwareClassRecord::vram_mib`].
    pub vram_mib: u32,
    /// See [`HardwareClassRecord::cuda_cores`].
    pub cuda_cores: u32,
    /// See [`HardwareClassRecord::compute_score`].
    pub compute_score: u32,
    /// See [`HardwareClassRecord::stake_per_slot`].
    pub stake_per_slot: Balance,
}

/// Account that owns machines.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ProviderRecord {
    /// Name that it gave itself.
    pub name: ProviderName,
    /// Number of its machine records, including those of retired machines.
    pub machines: u32,
    /// Plancks held for this record.
    pub deposit: Balance,
}

/// Description of a machine, given by its provider at registration.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct MachineRegistration<AccountId> {
    /// Hot sr25519 key that will act for the machine, as an account; serves one machine only.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    pub sealing_key: [u8; 32],
    /// Entry of the hardware class catalogue.
    pub class: HardwareClassId,
    /// Slots the machine offers; 1 to [`assay_primitives::machine::MAX_SLOTS`].
    pub slots: u8,
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
    /// Location of the machine.
    pub location: Location,
    /// Region code.
    pub region: Region,
    /// URL of the worker's HTTP API.
    pub endpoint: Endpoint,
    /// Plancks per slot-hour of active time; above zero.
    pub ask: Balance,
}

/// Machine: one host of a provider.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct MachineRecord<AccountId> {
    /// Account that owns the machine.
    pub provider: AccountId,
    /// Hot sr25519 key that acts for the machine, as an account.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    pub sealing_key: [u8; 32],
    /// Entry of the hardware class catalogue.
    pub class: HardwareClassId,
    /// Copy of the class's terms.
    pub terms: ClassTerms,
    /// Number of all slots of the machine.
    pub slots: u8,
    /// Number of slots that no job has leased.
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
    /// Location of the machine.
    pub location: Location,
    /// Region code.
    pub region: Region,
    /// URL of the worker's HTTP API.
    pub endpoint: Endpoint,
    /// Plancks per slot-hour of active time, until a raise replaces it; see [`Self::ask_at`].
    pub ask: Balance,
    /// Raise that was announced last, even if it is already valid.
    pub raise: Option<AskRaise>,
    /// Average uptime by the validators' reports, in parts per million.
    pub uptime_ppm: u32,
    /// Number of leases that ended in each way.
    pub service: ServiceRecord,
    /// Status in the market.
    pub status: MachineStatus,
    /// Latest epoch in which a lease of it ended or it left the market; `None` if neither happened yet. Its
    /// failures in that epoch can be reported until the epoch is closed.
    pub last_duty_epoch: Option<EpochIndex>,
    /// Active time of its registration.
    pub registered_at_ms: Millis,
    /// Plancks held for this record and its index entries.
    pub deposit: Balance,
}

impl<AccountId> MachineRecord<AccountId> {
    /// Returns the record of a new machine: unproven, with all slots free, and watched by nobody yet.
    pub(crate) fn new(
        provider: AccountId,
        registration: MachineRegistration<AccountId>,
        terms: ClassTerms,
        registered_at_ms: Millis,
        deposit: Balance,
    ) -> Self {
        Self {
            provider,
            worker_key: registration.worker_key,
            sealing_key: registration.sealing_key,
            class: registration.class,
            terms,
            slots: registration.slots,
            free_slots: registration.slots,
            cpu_cores: registration.cpu_cores,
            ram_mib: registration.ram_mib,
            disk_gib: registration.disk_gib,
            upload_mbps: registration.upload_mbps,
            download_mbps: registration.download_mbps,
            location: registration.location,
            region: registration.region,
            endpoint: registration.endpoint,
            ask: registration.ask,
            raise: None,
            uptime_ppm: INITIAL_UPTIME_PPM,
            service: ServiceRecord::default(),
            status: MachineStatus::Unproven,
            last_duty_epoch: None,
            registered_at_ms,
            deposit,
        }
    }

    /// Returns the machine's weight in the emission: its compute score for every proven slot while it is
    /// active, a quarter more if it is attested, otherwise zero.
    pub fn reward_weight(&self, proven_slots: u8, attested: bool) -> RewardWeight {
        let parts = if attested {
            ATTESTED_WEIGHT_PARTS
        } else {
            WEIGHT_PARTS
        };
        match self.status {
            // At most 2^32 × 2^8 × 5: never saturates.
            MachineStatus::Active => RewardWeight::from(self.terms.compute_score)
                .saturating_mul(proven_slots.min(self.slots).into())
                .saturating_mul(parts),
            MachineStatus::Unproven
            | MachineStatus::Suspended(_)
            | MachineStatus::Draining
            | MachineStatus::Retired => 0,
        }
    }

    /// Returns the plancks to be bonded for all slots, see [`ClassTerms::class_stake`].
    pub fn class_stake(&self, bond_per_point: Balance) -> Balance {
        self.terms.class_stake(self.slots, bond_per_point)
    }

    /// Returns true if a job could be deployed to the machine now: it is active and has a free slot.
    pub fn is_on_offer(&self) -> bool {
        self.status == MachineStatus::Active && self.free_slots > 0
    }

    /// Returns the machine's exposure to hardware challenges.
    pub(crate) fn exposure(&self) -> Exposure {
        Exposure {
            free_slots: self.free_slots,
            is_active: self.status == MachineStatus::Active,
        }
    }

    /// Returns the ask that is valid at an active time.
    pub fn ask_at(&self, now_ms: Millis) -> Balance {
        match self.raise {
            Some(raise) if raise.from_ms <= now_ms => raise.ask,
            _ => self.ask,
        }
    }

    /// Returns the raise that is not valid yet.
    pub fn raise_after(&self, now_ms: Millis) -> Option<AskRaise> {
        self.raise.filter(|raise| now_ms < raise.from_ms)
    }

    /// Returns the ask after the announced raise. The machine is ranked by it, so that its rank changes only
    /// when its provider changes something.
    pub fn announced_ask(&self) -> Balance {
        self.raise.map_or(self.ask, |raise| raise.ask)
    }

    /// Changes the ask: a cut at once, a raise `delay_ms` later. Returns the active time from which on it is
    /// valid.
    ///
    /// An announced raise that is not valid yet is dropped.
    pub(crate) fn change_ask(&mut self, ask: Balance, now_ms: Millis, delay_ms: Millis) -> Millis {
        let before = self.ask_at(now_ms);
        if ask <= before {
            (self.ask, self.raise) = (ask, None);
            return now_ms;
        }
        let from_ms = now_ms.saturating_add(delay_ms);
        (self.ask, self.raise) = (before, Some(AskRaise { ask, from_ms }));
        from_ms
    }

    /// Returns true while the machine is in the market, even if it takes no jobs now, or has a leased slot.
    pub fn is_on_duty(&self) -> bool {
        match self.status {
            MachineStatus::Active | MachineStatus::Suspended(_) | MachineStatus::Draining => true,
            MachineStatus::Unproven | MachineStatus::Retired => self.is_leased(),
        }
    }

    /// Returns true while the latest epoch in which a lease ended or the machine left the market is open to
    /// reports.
    pub fn has_open_epoch(&self, current_epoch: EpochIndex) -> bool {
        self.last_duty_epoch
            .is_some_and(|last| last.saturating_add(REPORT_WINDOW_EPOCHS) >= current_epoch)
    }

    /// Returns true if a lease ended or the machine left the market since the record `before`.
    pub(crate) fn gave_up_duty(&self, before: &Self) -> bool {
        let lease_ended = self.free_slots > before.free_slots;
        lease_ended || (before.is_on_duty() && !self.is_on_duty())
    }

    /// Returns true if a slot is leased.
    pub fn is_leased(&self) -> bool {
        self.free_slots != self.slots
    }
}

/// Returns true for a valid class name: not empty, and only `A` to `Z`, digits and `_`.
pub(crate) fn is_class_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// Returns true for a valid region code: not empty, and only `a` to `z`, digits and `-`.
pub(crate) fn is_region(region: &[u8]) -> bool {
    !region.is_empty()
        && region
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// Returns true for an HTTP URL of printable ASCII with something after the scheme.
///
/// Nothing more is checked: the validators find out if the worker answers there.
pub(crate) fn is_endpoint(endpoint: &[u8]) -> bool {
    let rest = endpoint
        .strip_prefix(b"https://")
        .or_else(|| endpoint.strip_prefix(b"http://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_graphic))
}
