//! Records of machines, and what their providers can do about a status.

use assay_primitives::{
    clock::{EpochIndex, Millis},
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::DecodeAsType;
use serde::Serialize;

pub use assay_primitives::machine::{
    AskRaise, ClassTerms, LeaseEnd, Location, MachineStatus, ServiceRecord, SuspensionCause, SuspensionReason,
};

use super::{AccountId, Text, as_decimal, as_hex};

/// Remedy for a machine's status.
pub trait Remedy {
    /// Returns the reason why the machine takes no new jobs, and its provider's remedy, as a sentence without
    /// its full stop; `None` for a machine that takes jobs.
    fn remedy(self, machine: MachineId) -> Option<String>;
}

impl Remedy for MachineStatus {
    fn remedy(self, machine: MachineId) -> Option<String> {
        use SuspensionReason::{
            BondTooLow, Condemned, Faulty, InDebt, MissedStart, Offence, Overheated, OwnRequest,
        };
        let remedy = match self {
            Self::Active => return None,
            Self::Unproven => format!(
                "it takes jobs once its minimum is bonded (`assay machine bond {machine}`) and its hardware is proven"
            ),
            Self::Suspended(OwnRequest) => {
                format!("its provider or its worker asked for it; `assay machine resume {machine}` ends it")
            }
            Self::Suspended(Overheated) => format!(
                "it is too hot; its worker brings it back when it has cooled (its status names the device), or \
                 `assay machine resume {machine}` does"
            ),
            Self::Suspended(Faulty) => format!(
                "a device of it is broken or does not answer; its worker brings it back when that is mended (its status \
                 names the device), or `assay machine resume {machine}` does"
            ),
            Self::Suspended(BondTooLow) => format!(
                "less is bonded than its class and slots ask for; `assay machine bond {machine}` bonds what is missing"
            ),
            Self::Suspended(InDebt) => format!(
                "a slash took all that was bonded and the rest is owed; pay it with \
                 `assay machine pay-debt {machine}`, then bond anew with `assay machine bond {machine}`"
            ),
            Self::Suspended(Offence) => format!(
                "it committed an offence; once the slash is applied or cancelled and its bond suffices, \
                 `assay machine resume {machine}` brings it back (`assay machine show {machine}` shows the slash)"
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

/// Record of a machine.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Machine {
    /// Account that owns the machine.
    pub provider: AccountId,
    /// Worker key, which acts for the machine.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    #[serde(serialize_with = "as_hex")]
    pub sealing_key: [u8; 32],
    /// Entry of the hardware class catalogue.
    pub class: HardwareClassId,
    /// Machine's copy of its class's terms.
    pub terms: ClassTerms,
    /// Number of slots.
    pub slots: u8,
    /// Number of slots that no assignment has leased.
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
    /// Place on the map.
    pub location: Location,
    /// Region code, such as `us-east`.
    pub region: Text,
    /// URL of the worker's HTTP API.
    pub endpoint: Text,
    /// Ask in plancks per slot-hour, until [`Self::raise`] holds.
    #[serde(serialize_with = "as_decimal")]
    pub ask: Balance,
    /// Raise that was announced last, even if it holds already.
    pub raise: Option<AskRaise>,
    /// Average uptime as the validators saw it, in parts per million.
    pub uptime_ppm: u32,
    /// Number of leases that ended in each way.
    pub service: ServiceRecord,
    /// Status in the market.
    pub status: MachineStatus,
    /// Latest epoch in which a lease of it ended or it left the market.
    pub last_duty_epoch: Option<EpochIndex>,
    /// Active time of the registration.
    pub registered_at_ms: Millis,
    /// Plancks held for its record.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
}

impl Machine {
    /// Returns the ask at this active time, in plancks per slot-hour.
    pub fn ask_at(&self, now_ms: Millis) -> Balance {
        match self.raise {
            Some(raise) if raise.from_ms <= now_ms => raise.ask,
            _ => self.ask,
        }
    }

    /// Returns the announced ask, in plancks per slot-hour.
    pub fn announced_ask(&self) -> Balance {
        self.raise.map_or(self.ask, |raise| raise.ask)
    }

    /// Returns true if any slot is leased.
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
        use SuspensionReason::{
            BondTooLow, Condemned, Faulty, InDebt, MissedStart, Offence, Overheated, OwnRequest,
        };

        assert_eq!(Active.remedy(7), None);
        for (status, command) in [
            (Unproven, "`assay machine bond 7`"),
            (Suspended(OwnRequest), "`assay machine resume 7`"),
            (Suspended(BondTooLow), "`assay machine bond 7`"),
            (Suspended(InDebt), "`assay machine pay-debt 7`"),
            (Suspended(Offence), "`assay machine resume 7`"),
            (Suspended(Condemned), "nothing brings it back"),
            (Suspended(MissedStart), "`assay machine resume 7`"),
            (Suspended(Overheated), "`assay machine resume 7`"),
            (Suspended(Faulty), "`assay machine resume 7`"),
            (Draining, "`assay machine retire 7`"),
            (Retired, "`assay machine withdraw 7`"),
        ] {
            assert!(!status.takes_jobs());
            let remedy = status.remedy(7).unwrap_or_default();
            assert!(remedy.contains(command), "{status}: {remedy}");
        }
    }
}
