//! Machines and how they stand in the market.

use std::fmt;

use assay_primitives::{
    clock::{EpochIndex, Millis},
    machine::{self, HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::{AccountId, Text, as_decimal, as_hex};

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

impl From<Location> for machine::Location {
    fn from(location: Location) -> Self {
        Self {
            latitude_microdegrees: location.latitude_microdegrees,
            longitude_microdegrees: location.longitude_microdegrees,
        }
    }
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

impl MachineStatus {
    /// Whether the machine takes new jobs. Those that it has go on whatever its status.
    pub fn takes_jobs(self) -> bool {
        self == Self::Active
    }

    /// What keeps the machine from new jobs and what its provider can do about it, as a sentence without its full
    /// stop; nothing for a machine that takes some.
    pub fn remedy(self, machine: MachineId) -> Option<String> {
        use SuspensionReason::{BondTooLow, Condemned, InDebt, MissedStart, Offence, OwnRequest};
        let remedy = match self {
            Self::Active => return None,
            Self::Unproven => format!(
                "it takes jobs once its minimum is bonded (`assay machine bond {machine}`) and its hardware is proven"
            ),
            Self::Suspended(OwnRequest) => {
                format!("its provider or its worker asked for it; `assay machine resume {machine}` ends it")
            }
            Self::Suspended(BondTooLow) => format!(
                "less is bonded than its class and slots ask for; `assay machine bond {machine}` bonds what is missing"
            ),
            Self::Suspended(InDebt) => format!(
                "a slash took all that was bonded and the rest is owed; pay it with \
                 `assay machine pay-debt {machine}`, then bond anew with `assay machine bond {machine}`"
            ),
            Self::Suspended(Offence) => format!(
                "it committed an offence; once the slash is applied or cancelled and its bond suffices, \
                 `assay machine resume {machine}` brings it back (`assay machine show {machine}` tells how it stands)"
            ),
            Self::Suspended(Condemned) => {
                "it committed an offence that ends its life in the market; nothing brings it back, and it retires when \
                 its last job ends"
                    .to_owned()
            }
            Self::Suspended(MissedStart) => format!(
                "it neither started nor declined a job in time; once its worker runs again, \
                 `assay machine resume {machine}` brings it back"
            ),
            Self::Draining => format!(
                "it finishes the jobs it has; `assay machine resume {machine}` takes new ones again, \
                 `assay machine retire {machine}` ends it when the last is done"
            ),
            Self::Retired => format!(
                "it left the market for good; `assay machine unbond {machine}` and, when it is due, \
                 `assay machine withdraw {machine}` give back what is bonded; where nothing is, \
                 `assay machine refresh {machine}` gives back the deposit once its last epoch is closed"
            ),
        };
        Some(remedy)
    }
}

impl From<machine::MachineStatus> for MachineStatus {
    fn from(status: machine::MachineStatus) -> Self {
        match status {
            machine::MachineStatus::Unproven => Self::Unproven,
            machine::MachineStatus::Active => Self::Active,
            machine::MachineStatus::Suspended(reason) => Self::Suspended(reason.into()),
            machine::MachineStatus::Draining => Self::Draining,
            machine::MachineStatus::Retired => Self::Retired,
        }
    }
}

impl fmt::Display for MachineStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unproven => "unproven",
            Self::Active => "active",
            Self::Suspended(SuspensionReason::OwnRequest) => "suspended (own request)",
            Self::Suspended(SuspensionReason::BondTooLow) => "suspended (bond too low)",
            Self::Suspended(SuspensionReason::InDebt) => "suspended (in debt)",
            Self::Suspended(SuspensionReason::Offence) => "suspended (offence)",
            Self::Suspended(SuspensionReason::Condemned) => "suspended (condemned)",
            Self::Suspended(SuspensionReason::MissedStart) => "suspended (missed a start)",
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
    /// It owes a part of a slash.
    InDebt,
    /// It committed an offence that takes a machine out of the market; its provider may bring it back later.
    Offence,
    /// It committed an offence that ends its life in the market; it retires when its last job ends.
    Condemned,
    /// It neither started nor declined a job in time.
    MissedStart,
}

impl From<machine::SuspensionReason> for SuspensionReason {
    fn from(reason: machine::SuspensionReason) -> Self {
        match reason {
            machine::SuspensionReason::OwnRequest => Self::OwnRequest,
            machine::SuspensionReason::BondTooLow => Self::BondTooLow,
            machine::SuspensionReason::InDebt => Self::InDebt,
            machine::SuspensionReason::Offence => Self::Offence,
            machine::SuspensionReason::Condemned => Self::Condemned,
            machine::SuspensionReason::MissedStart => Self::MissedStart,
        }
    }
}

/// End of a lease of slots, as far as the chain can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum LeaseEnd {
    /// The machine kept its word.
    Fulfilled,
    /// The job was taken back or declined before it started.
    Cancelled,
    /// The machine neither started nor declined in its time.
    NotStarted,
    /// The machine gave up what it ran.
    Abandoned,
    /// The workload ended by itself, gave no result in its time or was outvoted.
    Unresolved,
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::NotStarted => "not started",
            Self::Abandoned => "abandoned",
            Self::Unresolved => "unresolved",
        })
    }
}

/// Number of a machine's leases that ended in each way; see [`LeaseEnd`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DecodeAsType, Serialize)]
pub struct ServiceRecord {
    /// Leases in which the machine kept its word.
    pub fulfilled: u32,
    /// Leases taken back or declined before the job started.
    pub cancelled: u32,
    /// Leases whose job the machine neither started nor declined in time.
    pub not_started: u32,
    /// Leases that the machine gave up.
    pub abandoned: u32,
    /// Leases of which nobody can tell whose fault their end was.
    pub unresolved: u32,
}

impl From<machine::ServiceRecord> for ServiceRecord {
    fn from(service: machine::ServiceRecord) -> Self {
        Self {
            fulfilled: service.fulfilled,
            cancelled: service.cancelled,
            not_started: service.not_started,
            abandoned: service.abandoned,
            unresolved: service.unresolved,
        }
    }
}

impl fmt::Display for ServiceRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} fulfilled, {} cancelled, {} not started, {} abandoned, {} unresolved",
            self.fulfilled, self.cancelled, self.not_started, self.abandoned, self.unresolved
        )
    }
}

/// A higher ask that was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct AskRaise {
    /// Plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub ask: Balance,
    /// Active time from which on it holds.
    pub from_ms: Millis,
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
    /// Plancks per slot-hour, until a raise takes its place.
    #[serde(serialize_with = "as_decimal")]
    pub ask: Balance,
    /// The raise that was announced last, also when it holds already.
    pub raise: Option<AskRaise>,
    /// Average uptime as the validators saw it, in parts per million.
    pub uptime_ppm: u32,
    /// Number of leases that ended in each way.
    pub service: ServiceRecord,
    /// What it is to the market.
    pub status: MachineStatus,
    /// Latest epoch in which a lease of it ended or it left the market.
    pub last_duty_epoch: Option<EpochIndex>,
    /// When it was registered, in active time.
    pub registered_at_ms: Millis,
    /// Plancks held for its record.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
}

impl Machine {
    /// Plancks per slot-hour at a moment of active time.
    pub fn ask_at(&self, now_ms: Millis) -> Balance {
        match self.raise {
            Some(raise) if raise.from_ms <= now_ms => raise.ask,
            _ => self.ask,
        }
    }

    /// Plancks per slot-hour once the announced raise holds.
    pub fn announced_ask(&self) -> Balance {
        self.raise.map_or(self.ask, |raise| raise.ask)
    }

    /// Whether jobs have slots of it.
    pub fn is_leased(&self) -> bool {
        self.free_slots != self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_takes_no_jobs_names_its_remedy() {
        use MachineStatus::{Active, Draining, Retired, Suspended, Unproven};
        use SuspensionReason::{BondTooLow, Condemned, InDebt, MissedStart, Offence, OwnRequest};

        assert_eq!(Active.remedy(7), None);
        for (status, command) in [
            (Unproven, "`assay machine bond 7`"),
            (Suspended(OwnRequest), "`assay machine resume 7`"),
            (Suspended(BondTooLow), "`assay machine bond 7`"),
            (Suspended(InDebt), "`assay machine pay-debt 7`"),
            (Suspended(Offence), "`assay machine resume 7`"),
            (Suspended(Condemned), "nothing brings it back"),
            (Suspended(MissedStart), "`assay machine resume 7`"),
            (Draining, "`assay machine retire 7`"),
            (Retired, "`assay machine withdraw 7`"),
        ] {
            assert!(!status.takes_jobs());
            let remedy = status.remedy(7).unwrap_or_default();
            assert!(remedy.contains(command), "{status}: {remedy}");
        }
    }

    #[test]
    fn a_service_record_reads_as_a_list() {
        let service = ServiceRecord {
            fulfilled: 5,
            not_started: 1,
            ..ServiceRecord::default()
        };
        assert_eq!(
            service.to_string(),
            "5 fulfilled, 0 cancelled, 1 not started, 0 abandoned, 0 unresolved"
        );
    }
}
