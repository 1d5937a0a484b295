//! The ledger's rules, without any input or output.
//!
//! 1. A slot keeps its device while the device is there.
//! 2. A leased slot's device neither moves nor goes to another job, even if it fell off the bus: the slot is
//!    *lost* then, until its job is gone or the device answers again.
//! 3. A free slot drops a device that is gone; a device without a slot takes the first free place.
//! 4. A device that a prover has is lent: no job gets it meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};

use assay_primitives::machine::MAX_SLOTS;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceId};
use crate::lease::LeaseKey;

/// Version of the ledger's file.
const VERSION: u32 = 1;

/// Maximum length of a device's identity, in bytes.
const MAX_ID_BYTES: usize = 96;

/// Maximum number of slots in the file: those offered, and those of jobs from before the offer shrank.
const MAX_KEPT_SLOTS: usize = 2 * MAX_SLOTS as usize;

/// Number of a machine's slots, and kind of them: with or without a device each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of slots that the machine offers.
    pub slots: u8,
    /// True if each slot has a device of its own.
    pub has_devices: bool,
}

/// A slot in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    device: Option<Device>,
    job: Option<LeaseKey>,
    /// True if the device was there at the last look.
    #[serde(skip)]
    is_present: bool,
    /// True while a prover has the device.
    #[serde(skip)]
    is_lent: bool,
}

/// The ledger as its file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerFile {
    version: u32,
    slots: Vec<Slot>,
}

/// Reason why a ledger's file is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerError {
    /// The file has another version.
    #[error("it has version {0}, and this worker reads version {VERSION}")]
    Version(u32),
    /// The file has more slots than a machine can have.
    #[error("it has more than {MAX_KEPT_SLOTS} slots")]
    TooLong,
    /// Two slots have one device.
    #[error("two slots have the device {0}")]
    Twice(DeviceId),
}

/// Table of slots with their devices and jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LedgerFile", into = "LedgerFile")]
pub struct Ledger {
    slots: Vec<Slot>,
    /// Number of slots that are offered now.
    offered: usize,
    has_devices: bool,
    /// True until the engine's containers were seen, after the ledger's file was lost.
    is_unsure: bool,
}

impl TryFrom<LedgerFile> for Ledger {
    type Error = LedgerError;

    fn try_from(file: LedgerFile) -> Result<Self, LedgerError> {
        if file.version != VERSION {
            return Err(LedgerError::Version(file.version));
        }
        if file.slots.len() > MAX_KEPT_SLOTS {
            return Err(LedgerError::TooLong);
        }
        let mut seen = HashSet::new();
        for device in file.slots.iter().filter_map(|slot| slot.device.as_ref()) {
            if !seen.insert(&device.id) {
                return Err(LedgerError::Twice(device.id.clone()));
            }
        }
        Ok(Self {
            offered: 0,
            has_devices: false,
            is_unsure: false,
            slots: file.slots,
        })
    }
}

impl From<Ledger> for LedgerFile {
    fn from(ledger: Ledger) -> Self {
        Self {
            version: VERSION,
            slots: ledger.slots,
        }
    }
}

/// A slot of a job, with its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Number of the slot.
    pub slot: u8,
    /// Device of the slot; `None` on a machine without GPUs.
    pub device: Option<Device>,
}

/// Slots and devices of a job's container, as its labels state them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Numbers of the slots.
    pub slots: Vec<u8>,
    /// Devices, in the order of the slots; empty without GPUs.
    pub devices: Vec<DeviceId>,
}

impl Holding {
    /// Returns the slots as a label has them.
    pub fn slots_text(&self) -> String {
        let numbers: Vec<String> = self.slots.iter().map(ToString::to_string).collect();
        numbers.join(",")
    }

    /// Returns the devices as a label has them.
    pub fn devices_text(&self) -> String {
        let ids: Vec<&str> = self.devices.iter().map(|id| id.0.as_str()).collect();
        ids.join(",")
    }

    /// Reads the texts of labels, and leaves out invalid slot numbers and device names.
    pub fn of_texts(slots: &str, devices: &str) -> Self {
        let is_name = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len());
        Self {
            slots: slots
                .split(',')
                .filter_map(|number| number.parse().ok())
                .take(MAX_SLOTS.into())
                .collect(),
            devices: devices
                .split(',')
                .filter(is_name)
                .take(MAX_SLOTS.into())
                .map(|id| DeviceId(id.to_owned()))
                .collect(),
        }
    }
}

/// Reason why a job gets no slots.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TakeError {
    /// The machine has not as many devices at all.
    #[error(
        "the job has {wanted} slot(s), and this host has {present} GPU(s) for its slots; see `assay-worker check`"
    )]
    TooFew {
        /// Number of slots of the job.
        wanted: u8,
        /// Number of devices that are there.
        present: usize,
    },
    /// Another worker on this host has devices that the job would need.
    #[error(
        "the job has {wanted} slot(s), and {present} GPU(s) are this worker's, because {elsewhere} are used by another \
         worker on this host; offer fewer GPUs, or stop the other worker"
    )]
    Elsewhere {
        /// Number of slots of the job.
        wanted: u8,
        /// Number of devices that are this worker's.
        present: usize,
        /// Number of devices that another worker has.
        elsewhere: usize,
    },
    /// A device of the job fell off the bus.
    #[error(
        "the GPU {device} of the job's slot {slot} does not answer any more; look at `dmesg`, then reset it or restart the \
         host"
    )]
    Lost {
        /// Number of the slot.
        slot: u8,
        /// The device.
        device: DeviceId,
    },
    /// Earlier jobs still have the devices.
    #[error("the GPUs of {wanted} slot(s) are not free yet: earlier jobs are not cleared away")]
    Busy {
        /// Number of slots of the job.
        wanted: u8,
    },
    /// Provers have the devices.
    #[error("free GPUs are answering a hardware challenge; the job gets them right after")]
    Lent,
    /// The ledger was lost, and the engine has not yet listed the containers with devices.
    #[error("the ledger of devices was broken; the job waits until the engine lists its containers")]
    Unsure,
    /// The ledger cannot be written.
    #[error("{0}")]
    Disk(String),
}

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// No job has it.
    Free,
    /// No job has it, and a prover answers on its device.
    Lent,
    /// A job has it.
    Leased,
    /// A job has it, and its device does not answer.
    Lost,
    /// It has no device, and should have one.
    Empty,
}

/// A slot, as the status and `check` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SlotView {
    /// Number of the slot.
    pub slot: u8,
    /// State.
    pub state: SlotState,
    /// Number of the job that has it; not shown, since the status is public.
    #[serde(skip)]
    pub job: Option<u64>,
    /// Identity of its device.
    pub device: Option<DeviceId>,
    /// PCI address of its device.
    pub pci_address: Option<String>,
    /// Reason why it has no usable device, if that is known.
    pub problem: Option<String>,
}

impl Ledger {
    /// Creates a ledger of a machine that never had one.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            offered: 0,
            has_devices: false,
            is_unsure: false,
        }
    }

    /// Creates a ledger in place of one that was lost. It gives nothing before [`Self::note_holdings`].
    pub fn rebuilt() -> Self {
        Self {
            is_unsure: true,
            ..Self::new()
        }
    }

    /// Returns true while it is not known which containers have devices.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Takes over the devices that are there now.
    pub fn observe(&mut self, shape: Shape, present: &[Device]) {
        self.offered = shape.slots.into();
        self.has_devices = shape.has_devices;
        // Numbers without devices can be given anew.
        self.is_unsure &= shape.has_devices;
        if self.slots.len() < self.offered {
            self.slots.resize_with(self.offered, Slot::default);
        }
        let by_id: HashMap<&DeviceId, &Device> = present.iter().map(|device| (&device.id, device)).collect();
        for slot in &mut self.slots {
            let found = slot.device.as_ref().and_then(|device| by_id.get(&device.id));
            slot.is_present = found.is_some();
            match found {
                // Nodes and addresses may change at a restart of the host.
                Some(found) => slot.device = Some((*found).clone()),
                None if slot.job.is_none() && !slot.is_lent => slot.device = None,
                None => (),
            }
        }
        self.drop_past_the_offer();
        // Before the containers are known, a device without a slot may be one of theirs.
        if shape.has_devices && !self.is_unsure {
            self.fill(present);
        }
    }

    /// Gives devices without a slot to free slots without a device.
    fn fill(&mut self, present: &[Device]) {
        let placed: HashSet<DeviceId> = self.placed().collect();
        let mut waiting = present.iter().filter(|device| !placed.contains(&device.id));
        let places = self.slots.iter_mut().take(self.offered);
        for slot in places.filter(|slot| slot.device.is_none() && slot.job.is_none()) {
            let Some(device) = waiting.next() else { break };
            slot.device = Some(device.clone());
            slot.is_present = true;
        }
    }

    /// Returns the devices that slots have.
    pub(super) fn placed(&self) -> impl Iterator<Item = DeviceId> {
        self.slots
            .iter()
            .filter_map(|slot| Some(slot.device.as_ref()?.id.clone()))
    }

    /// Returns the number of offered slots that wait for a device.
    pub(super) fn open_places(&self) -> usize {
        if !self.has_devices || self.is_unsure {
            return 0;
        }
        let offered = self.slots.iter().take(self.offered);
        offered
            .filter(|slot| slot.device.is_none() && slot.job.is_none())
            .count()
    }

    /// Removes free slots that are not offered any more.
    fn drop_past_the_offer(&mut self) {
        while self.slots.len() > self.offered
            && self
                .slots
                .last()
                .is_some_and(|slot| slot.job.is_none() && !slot.is_lent)
        {
            self.slots.pop();
        }
        // In the middle a place stays, without a device of its own.
        for slot in self.slots.iter_mut().skip(self.offered) {
            if slot.job.is_none() && !slot.is_lent {
                slot.device = None;
            }
        }
    }

    /// Enters the slots and devices that containers have, and ends the time of being unsure.
    ///
    /// An existing container has precedence: a ledger that does not know it is older.
    pub fn note_holdings(&mut self, holdings: &[(LeaseKey, Holding)], present: &[Device]) {
        for (key, holding) in holdings {
            if holding.devices.is_empty() {
                self.note_slots(key, &holding.slots);
            }
            for (index, id) in holding.devices.iter().enumerate() {
                self.note_device(key, holding.slots.get(index).copied(), id, present);
            }
        }
        if self.is_unsure {
            self.is_unsure = false;
            if self.has_devices {
                self.fill(present);
            }
        }
    }

    fn note_slots(&mut self, key: &LeaseKey, slots: &[u8]) {
        for slot in slots {
            if let Some(slot) = self.slots.get_mut(usize::from(*slot))
                && slot.job.is_none()
                && slot.device.is_none()
            {
                slot.job = Some(key.clone());
            }
        }
    }

    fn note_device(&mut self, key: &LeaseKey, number: Option<u8>, id: &DeviceId, present: &[Device]) {
        let has_device = |slot: &&mut Slot| slot.device.as_ref().is_some_and(|device| device.id == *id);
        if let Some(slot) = self.slots.iter_mut().find(has_device) {
            match &slot.job {
                None => slot.job = Some(key.clone()),
                Some(holder) if holder == key => (),
                Some(holder) => tracing::error!(
                    device = %id, job = key.job, holder = holder.job,
                    "a container has a device that the ledger gave to another job; it stays with that one"
                ),
            }
            return;
        }
        let found = present.iter().find(|device| device.id == *id);
        let is_place = |slot: &Slot| slot.device.is_none() && slot.job.is_none();
        let index = number
            .map(usize::from)
            .filter(|index| self.slots.get(*index).is_some_and(is_place))
            .or_else(|| self.slots.iter().position(is_place));
        let entry = Slot {
            device: Some(
                found
                    .cloned()
                    .unwrap_or_else(|| Device::only_known_by(id.clone())),
            ),
            job: Some(key.clone()),
            is_present: found.is_some(),
            is_lent: false,
        };
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            *slot = entry;
        } else if self.slots.len() < MAX_KEPT_SLOTS {
            self.slots.push(entry);
        } else {
            tracing::error!(device = %id, job = key.job, "the ledger has no place for a container's device");
        }
    }

    /// Gives a job its slots, or returns those that it has.
    ///
    /// A machine without GPUs may give fewer than asked, while the slots of jobs that ended wait for
    /// finality: nothing of the host stands behind their numbers.
    pub fn take(&mut self, key: &LeaseKey, wanted: u8) -> Result<Vec<Grant>, TakeError> {
        let held = self.held_by(key);
        if !held.is_empty() {
            return self.check_present(held);
        }
        if !self.has_devices {
            return Ok(self.give(key, wanted, |slot| slot.job.is_none()));
        }
        if self.is_unsure {
            return Err(TakeError::Unsure);
        }
        let count = |is_counted: fn(&Slot) -> bool| {
            let offered = self.slots.iter().take(self.offered);
            offered.filter(|slot| is_counted(slot)).count()
        };
        let present = count(|slot| slot.is_present);
        let unleased = count(|slot| slot.is_present && slot.job.is_none());
        let free = count(Slot::is_free);
        let needed = usize::from(wanted);
        if present < needed {
            Err(TakeError::TooFew { wanted, present })
        } else if unleased < needed {
            Err(TakeError::Busy { wanted })
        } else if free < needed {
            Err(TakeError::Lent)
        } else {
            Ok(self.give(key, wanted, Slot::is_free))
        }
    }

    fn give(&mut self, key: &LeaseKey, wanted: u8, may_have: fn(&Slot) -> bool) -> Vec<Grant> {
        let offered = self.slots.iter_mut().take(self.offered);
        for slot in offered.filter(|slot| may_have(slot)).take(wanted.into()) {
            slot.job = Some(key.clone());
        }
        self.held_by(key)
    }

    fn check_present(&self, held: Vec<Grant>) -> Result<Vec<Grant>, TakeError> {
        let lost = held.iter().find_map(|grant| {
            let device = grant.device.as_ref()?;
            let is_present = self.slots.get(usize::from(grant.slot))?.is_present;
            (!is_present).then(|| TakeError::Lost {
                slot: grant.slot,
                device: device.id.clone(),
            })
        });
        lost.map_or(Ok(held), Err)
    }

    /// Returns the slots of a job.
    pub fn held_by(&self, key: &LeaseKey) -> Vec<Grant> {
        self.numbered()
            .filter(|(_, slot)| slot.job.as_ref() == Some(key))
            .map(|(number, slot)| Grant {
                slot: number,
                device: slot.device.clone(),
            })
            .collect()
    }

    /// Frees the slots of a job that is gone.
    pub fn release(&mut self, key: &LeaseKey) {
        for slot in &mut self.slots {
            if slot.job.as_ref() == Some(key) {
                slot.job = None;
                // A device that fell off the bus belongs to no slot now.
                if !slot.is_present {
                    slot.device = None;
                }
            }
        }
        self.drop_past_the_offer();
    }

    /// Returns the jobs that have slots.
    pub fn holders(&self) -> Vec<LeaseKey> {
        let keys: BTreeSet<LeaseKey> = self.slots.iter().filter_map(|slot| slot.job.clone()).collect();
        keys.into_iter().collect()
    }

    /// Lends the devices of the first `most` free slots to the provers, in the order of the slots.
    pub fn lend(&mut self, most: u8) -> Result<Vec<Device>, TakeError> {
        if self.is_unsure {
            return Err(TakeError::Unsure);
        }
        let offered = self.slots.iter_mut().take(self.offered);
        Ok(offered
            .filter(|slot| slot.is_free())
            .take(most.into())
            .filter_map(|slot| {
                slot.is_lent = true;
                slot.device.clone()
            })
            .collect())
    }

    /// Takes back devices from the provers.
    pub fn take_back(&mut self, devices: &[DeviceId]) {
        for slot in &mut self.slots {
            if slot
                .device
                .as_ref()
                .is_some_and(|device| devices.contains(&device.id))
            {
                slot.is_lent = false;
            }
        }
    }

    /// Returns the devices of jobs.
    pub fn leased_devices(&self) -> Vec<Device> {
        let leased = self.slots.iter().filter(|slot| slot.job.is_some());
        leased.filter_map(|slot| slot.device.clone()).collect()
    }

    /// Returns the devices of all slots, also those that do not answer.
    pub fn devices(&self) -> Vec<Device> {
        self.slots.iter().filter_map(|slot| slot.device.clone()).collect()
    }

    /// Returns all slots for display.
    pub fn view(&self) -> Vec<SlotView> {
        self.numbered()
            .map(|(number, slot)| SlotView {
                slot: number,
                state: match (&slot.job, &slot.device) {
                    (Some(_), Some(_)) if !slot.is_present => SlotState::Lost,
                    (Some(_), _) => SlotState::Leased,
                    (None, None) if self.has_devices => SlotState::Empty,
                    (None, _) if slot.is_lent => SlotState::Lent,
                    (None, _) => SlotState::Free,
                },
                job: slot.job.as_ref().map(|key| key.job),
                device: slot.device.as_ref().map(|device| device.id.clone()),
                pci_address: slot.device.as_ref().map(|device| device.pci_address.clone()),
                problem: None,
            })
            .collect()
    }

    fn numbered(&self) -> impl Iterator<Item = (u8, &Slot)> {
        (0..).zip(&self.slots)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    /// Returns true if the slot has a device that is there and not in use.
    fn is_free(&self) -> bool {
        self.is_present && self.job.is_none() && !self.is_lent
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
