//! The devices of the host, and the one ledger of the slots and jobs that have them.
//!
//! ```text
//! NVML, sysfs ─▶ Inventory ─▶ Ledger: slot ↔ device, slot ↔ job ─┬─▶ jobs: Grant ─▶ DeviceAccess
//!                               durable, in the state folder     └─▶ provers: Loan, of free slots only
//! ```
//!
//! A device is known by its UUID (NVIDIA) or its PCI address (AMD), never by its position in a driver's list,
//! which changes when a device is gone. A job's device is the job's alone until the job is gone; provers get
//! the devices of free slots, and give them back when their answer is over. A device in the ledger is locked
//! on the host (see `locks`), so that no other worker has it at the same time.

mod access;
mod book;
mod inventory;
mod ledger;
mod locks;
pub mod self_test;
mod survey;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use access::HOOK_VARIABLES;
pub use access::{JobDevices, JobGrant};
pub use book::{DeviceLedger, LEDGER_FILE, Loan, Machine, noted_holders};
#[cfg(test)]
pub(crate) use inventory::tests::install_nvml_with;
pub use inventory::{HostPaths, Inventory};
pub use ledger::{Grant, Holding, Ledger, LedgerError, Shape, SlotState, SlotView, TakeError};
pub use survey::{CDI_GPU_KIND, GpuSurvey, cdi_devices};

/// Identity of a device: an NVIDIA GPU's UUID, another GPU's PCI address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct DeviceId(pub String);

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Vendor of a device, with the parts by which it is given to a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// GPU of NVIDIA.
    Nvidia,
    /// GPU of AMD.
    Amd {
        /// Render node, such as `/dev/dri/renderD128`.
        render_node: PathBuf,
    },
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Identity.
    pub id: DeviceId,
    /// PCI address in the kernel's spelling, such as `0000:3b:00.0`; empty if unknown.
    pub pci_address: String,
    /// Vendor.
    pub kind: DeviceKind,
    /// Name of the product; empty if the driver reports none.
    pub name: String,
    /// Memory in MiB; zero if the driver reports none.
    pub memory_mib: u64,
}

impl Device {
    /// Describes a device of which only the identity is known.
    pub fn only_known_by(id: DeviceId) -> Self {
        let kind = if id.0.starts_with("GPU-") || id.0.starts_with("MIG-") {
            DeviceKind::Nvidia
        } else {
            DeviceKind::Amd {
                render_node: PathBuf::new(),
            }
        };
        Self {
            pci_address: assay_provers::normal_pci_address(&id.0).unwrap_or_default(),
            id,
            kind,
            name: String::new(),
            memory_mib: 0,
        }
    }

    /// Returns true if a back end's device is this one. The UUID decides where both have one.
    pub fn is(&self, identity: &assay_provers::DeviceIdentity) -> bool {
        match (&self.kind, &identity.uuid) {
            (DeviceKind::Nvidia, Some(uuid)) => *uuid == self.id.0,
            _ => identity
                .pci_address
                .as_ref()
                .is_some_and(|address| *address == self.pci_address),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "GPU" } else { &self.name };
        if self.id.0 == self.pci_address {
            write!(formatter, "{name} at {}", self.pci_address)
        } else {
            write!(formatter, "{name} {} at {}", self.id, self.pci_address)
        }
    }
}
