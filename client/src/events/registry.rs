//! Events of `provider-registry`: providers, their machines, and the catalogue of hardware classes.

use std::fmt;

use assay_primitives::{
    clock::Millis,
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::text::count;
use crate::{
    types::{AccountId, JobId, LeaseEnd, MachineStatus, as_decimal, as_hex},
    units::{format_asy, format_ppm},
};

/// Event of the registry.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum RegistryEvent {
    /// An account became a provider.
    ProviderRegistered {
        /// The account.
        provider: AccountId,
    },
    /// An account ceased to be a provider.
    ProviderDeregistered {
        /// The account.
        provider: AccountId,
    },
    /// A machine was registered.
    MachineRegistered {
        /// The machine.
        machine: MachineId,
        /// Its owner.
        provider: AccountId,
        /// Its hardware class.
        class: HardwareClassId,
        /// Number of slots.
        slots: u8,
    },
    /// A machine's ask changed.
    AskUpdated {
        /// The machine.
        machine: MachineId,
        /// Plancks per slot-hour.
        #[serde(serialize_with = "as_decimal")]
        ask: Balance,
        /// Active time from which it holds.
        from_ms: Millis,
    },
    /// The URL of a machine's worker changed.
    EndpointUpdated {
        /// The machine.
        machine: MachineId,
    },
    /// A machine's keys were rotated.
    KeysRotated {
        /// The machine.
        machine: MachineId,
        /// New worker key.
        worker_key: AccountId,
        /// New sealing key (X25519).
        #[serde(serialize_with = "as_hex")]
        sealing_key: [u8; 32],
    },
    /// A machine's average uptime changed.
    UptimeUpdated {
        /// The machine.
        machine: MachineId,
        /// Its average uptime, in parts per million.
        uptime_ppm: u32,
    },
    /// A machine's status changed.
    MachineStatusChanged {
        /// The machine.
        machine: MachineId,
        /// Status before.
        from: MachineStatus,
        /// Status from now on.
        to: MachineStatus,
    },
    /// The registry removed the record of a retired machine.
    MachineRemoved {
        /// The machine.
        machine: MachineId,
        /// Its owner.
        provider: AccountId,
    },
    /// A machine was brought up to its class's present terms.
    MachineTermsUpdated {
        /// The machine.
        machine: MachineId,
        /// Compute score of one slot.
        compute_score: u32,
        /// Plancks to be bonded for each slot.
        #[serde(serialize_with = "as_decimal")]
        stake_per_slot: Balance,
    },
    /// Slots of a machine were leased.
    SlotsLeased {
        /// The machine.
        machine: MachineId,
        /// Number of slots leased.
        slots: u8,
        /// Number of slots still free.
        free_slots: u8,
    },
    /// Slots of a machine were released.
    SlotsReleased {
        /// The machine.
        machine: MachineId,
        /// Number of slots released.
        slots: u8,
        /// Number of free slots afterwards.
        free_slots: u8,
        /// The way in which the lease ended.
        end: LeaseEnd,
    },
    /// The catalogue of hardware classes changed.
    HardwareClassSet {
        /// The class.
        class: HardwareClassId,
    },
}

impl RegistryEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::MachineRegistered { machine, .. }
            | Self::AskUpdated { machine, .. }
            | Self::EndpointUpdated { machine }
            | Self::KeysRotated { machine, .. }
            | Self::UptimeUpdated { machine, .. }
            | Self::MachineStatusChanged { machine, .. }
            | Self::MachineRemoved { machine, .. }
            | Self::MachineTermsUpdated { machine, .. }
            | Self::SlotsLeased { machine, .. }
            | Self::SlotsReleased { machine, .. } => Some(*machine),
            Self::ProviderRegistered { .. }
            | Self::ProviderDeregistered { .. }
            | Self::HardwareClassSet { .. } => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for RegistryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProviderRegistered { provider } => write!(f, "{provider} became a provider"),
            Self::ProviderDeregistered { provider } => write!(f, "{provider} is no provider any more"),
            Self::MachineRegistered {
                machine,
                provider,
                class,
                slots,
            } => write!(
                f,
                "machine {machine} of {provider} registered with {} of class {class}",
                count(*slots, "slot")
            ),
            Self::AskUpdated {
                machine,
                ask,
                from_ms,
            } => write!(
                f,
                "machine {machine} asks {} per slot-hour from active time {from_ms} ms on",
                format_asy(*ask)
            ),
            Self::EndpointUpdated { machine } => write!(f, "machine {machine} has a new endpoint"),
            Self::KeysRotated {
                machine, worker_key, ..
            } => write!(
                f,
                "machine {machine} has new keys; the worker key {worker_key} acts for it from now on"
            ),
            Self::UptimeUpdated { machine, uptime_ppm } => {
                write!(
                    f,
                    "machine {machine} was up {} of the time",
                    format_ppm(*uptime_ppm)
                )
            }
            Self::MachineStatusChanged { machine, from, to } => {
                write!(f, "machine {machine} was {from} and is {to}")
            }
            Self::MachineRemoved { machine, .. } => write!(f, "the record of machine {machine} is gone"),
            Self::MachineTermsUpdated {
                machine,
                compute_score,
                stake_per_slot,
            } => write!(
                f,
                "a slot of machine {machine} scores {compute_score} and needs {} bonded",
                format_asy(*stake_per_slot)
            ),
            Self::SlotsLeased {
                machine,
                slots,
                free_slots,
            } => {
                write!(
                    f,
                    "{} of machine {machine} leased, {free_slots} free",
                    count(*slots, "slot")
                )
            }
            Self::SlotsReleased {
                machine,
                slots,
                free_slots,
                end,
            } => {
                write!(
                    f,
                    "{} of machine {machine} given back ({end}), {free_slots} free",
                    count(*slots, "slot")
                )
            }
            Self::HardwareClassSet { class } => write!(f, "hardware class {class} was set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_status_reads_as_a_sentence() {
        let event = RegistryEvent::MachineStatusChanged {
            machine: 7,
            from: MachineStatus::Unproven,
            to: MachineStatus::Active,
        };
        assert_eq!(event.to_string(), "machine 7 was unproven and is active");
        assert_eq!((event.job(), event.machine()), (None, Some(7)));
    }
}
