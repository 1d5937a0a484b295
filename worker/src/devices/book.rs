//! The ledger with its file and the host's drivers.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Device, DeviceId, Grant, Holding, HostPaths, Inventory, Ledger, Shape, SlotState, SlotView, TakeError,
    locks::{DeviceLocks, Holder},
};
use crate::{
    config::{Config, Gpus},
    files::{Disk, Found, read_if_present},
    lease::LeaseKey,
};

/// File with the ledger, in the state folder.
pub const LEDGER_FILE: &str = "devices.json";

/// A machine's offer and its host, as far as devices are concerned.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Number of slots.
    pub slots: u8,
    /// GPUs that the machine offers; `None` for a machine without.
    pub gpus: Option<Gpus>,
    /// Places where the host's devices are looked for.
    pub paths: HostPaths,
}

impl Machine {
    /// Returns the machine of a configuration, on this host.
    pub fn of(config: &Config) -> Self {
        Self {
            slots: config.slots(),
            gpus: config.resources.gpus.clone(),
            paths: HostPaths::of_linux(),
        }
    }

    /// Asks the drivers for the offered GPUs. Blocks, for up to seconds.
    pub fn inventory(&self) -> Inventory {
        Inventory::of_offered(&self.paths, self.gpus.as_ref())
    }

    fn shape(&self) -> Shape {
        Shape {
            slots: self.slots,
            has_devices: self.gpus.is_some(),
        }
    }
}

struct State {
    ledger: Ledger,
    locks: DeviceLocks,
    /// Devices that the drivers report.
    found: Vec<Device>,
    /// Those of them that this worker has locked.
    present: Vec<Device>,
    /// Those that this worker wants, and that another worker has.
    elsewhere: Vec<(Device, Holder)>,
    /// Content of the file.
    written: Vec<u8>,
}

impl State {
    /// Enters the devices that the drivers report, as far as no other worker has them. Locks no more devices
    /// than the slots need: the others are for other workers.
    fn observe(&mut self, shape: Shape, found: &[Device]) {
        let before = std::mem::take(&mut self.elsewhere);
        self.found = found.to_vec();
        self.present.clear();
        let placed: HashSet<DeviceId> = self.ledger.placed().collect();
        // Before the containers are known, each device may be one of theirs.
        let may_have = |device: &&Device| self.ledger.is_unsure() || placed.contains(&device.id);
        let (own, others): (Vec<&Device>, Vec<&Device>) = found.iter().partition(may_have);
        for device in own {
            self.lock(device);
        }
        self.ledger.observe(shape, &self.present);
        for device in others {
            if self.ledger.open_places() == 0 {
                break;
            }
            if self.lock(device) {
                self.ledger.observe(shape, &self.present);
            }
        }
        self.unlock_unplaced();
        for (device, holder) in &self.elsewhere {
            if before.iter().all(|(known, _)| known.id != device.id) {
                tracing::warn!("{}", holder.describe(&device.id));
            }
        }
    }

    /// Locks a device; returns false if another worker has it.
    fn lock(&mut self, device: &Device) -> bool {
        match self.locks.take(&device.id) {
            Ok(()) => {
                self.present.push(device.clone());
                true
            }
            Err(holder) => {
                self.elsewhere.push((device.clone(), holder));
                false
            }
        }
    }

    /// Locks the devices that containers of this worker have.
    fn lock_held(&mut self, holdings: &[(LeaseKey, Holding)]) {
        let held: HashSet<&DeviceId> = holdings
            .iter()
            .flat_map(|(_, holding)| &holding.devices)
            .collect();
        let is_new = |device: &&Device| {
            held.contains(&device.id) && self.present.iter().all(|known| known.id != device.id)
        };
        let new: Vec<Device> = self.found.iter().filter(is_new).cloned().collect();
        for device in new {
            self.lock(&device);
        }
    }

    /// Ends the locks of devices that no slot has.
    fn unlock_unplaced(&mut self) {
        if self.ledger.is_unsure() {
            return;
        }
        let placed: HashSet<DeviceId> = self.ledger.placed().collect();
        self.locks.keep_only(&placed);
        self.present.retain(|device| placed.contains(&device.id));
    }

    fn elsewhere(&self) -> impl Iterator<Item = Device> {
        self.elsewhere.iter().map(|(device, _)| device.clone())
    }
}

struct Shared {
    machine: Machine,
    folder: PathBuf,
    disk: Disk,
    state: Mutex<State>,
}

/// The durable ledger of one machine; clones share it.
///
/// All methods block: they ask the drivers or write the file.
#[derive(Clone)]
pub struct DeviceLedger(Arc<Shared>);

impl fmt::Debug for DeviceLedger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeviceLedger")
            .field("folder", &self.0.folder)
            .finish_non_exhaustive()
    }
}

impl DeviceLedger {
    /// Reads the ledger of a state folder, and enters the devices that are there now.
    ///
    /// A broken file is put aside: then the ledger gives nothing until [`Self::note_holdings`].
    pub fn open(folder: &Path, disk: Disk, machine: Machine) -> Self {
        let found = disk.read_json(&folder.join(LEDGER_FILE)).unwrap_or_else(|error| {
            tracing::error!(%error, "reading the ledger of devices failed");
            Found::Broken
        });
        let ledger = match found {
            Found::Whole(ledger) => ledger,
            Found::Nothing => Ledger::new(),
            Found::Broken => Ledger::rebuilt(),
        };
        let locks = DeviceLocks::new(machine.paths.locks.as_deref(), folder);
        let opened = Self(Arc::new(Shared {
            machine,
            folder: folder.to_owned(),
            disk,
            state: Mutex::new(State {
                ledger,
                locks,
                found: Vec::new(),
                present: Vec::new(),
                elsewhere: Vec::new(),
                written: Vec::new(),
            }),
        }));
        opened.refresh();
        opened
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the drivers, and enters what changed. Returns the inventory.
    pub fn refresh(&self) -> Inventory {
        // Outside the lock: a driver may hang.
        let inventory = self.0.machine.inventory();
        let mut state = self.state();
        let before = state.ledger.view();
        state.observe(self.0.machine.shape(), &inventory.devices);
        log_changes(&before, &state.ledger.view());
        // The next change of a lease writes it in any case.
        if let Err(error) = self.write(&mut state) {
            tracing::error!(%error, "writing the ledger of devices failed");
        }
        inventory
    }

    /// Writes the ledger if it changed. One that is unsure is not written: after a restart it would count as
    /// sure.
    fn write(&self, state: &mut State) -> Result<(), TakeError> {
        if state.ledger.is_unsure() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&state.ledger).map_err(|error| TakeError::Disk(error.to_string()))?;
        if bytes == state.written {
            return Ok(());
        }
        self.0
            .disk
            .write_whole(&self.0.folder, LEDGER_FILE, &bytes)
            .map_err(|error| TakeError::Disk(error.to_string()))?;
        state.written = bytes;
        Ok(())
    }

    /// Changes the ledger and its file, or neither.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, TakeError>) -> Result<T, TakeError> {
        let mut state = self.state();
        let before = state.ledger.clone();
        let outcome = change(&mut state).and_then(|value| self.write(&mut state).map(|()| value));
        if outcome.is_err() {
            state.ledger = before;
        }
        outcome
    }

    /// Gives a job its slots, or returns those that it has.
    pub fn take(&self, key: &LeaseKey, slots: u8) -> Result<Vec<Grant>, TakeError> {
        if self.has_devices() {
            self.refresh();
        }
        self.change(|state| match state.ledger.take(key, slots) {
            Err(TakeError::TooFew { wanted, present }) if !state.elsewhere.is_empty() => {
                Err(TakeError::Elsewhere {
                    wanted,
                    present,
                    elsewhere: state.elsewhere.len(),
                })
            }
            outcome => outcome,
        })
    }

    /// Frees the slots of a job that is gone.
    pub fn release(&self, key: &LeaseKey) -> Result<(), TakeError> {
        self.change(|state| {
            state.ledger.release(key);
            let present = state.present.clone();
            state.ledger.observe(self.0.machine.shape(), &present);
            Ok(())
        })
    }

    /// Enters the slots and devices that the engine's containers have.
    pub fn note_holdings(&self, holdings: &[(LeaseKey, Holding)]) {
        let outcome = self.change(|state| {
            state.lock_held(holdings);
            let present = state.present.clone();
            state.ledger.note_holdings(holdings, &present);
            Ok(())
        });
        self.state().unlock_unplaced();
        if let Err(error) = outcome {
            tracing::error!(%error, "writing the ledger of devices failed");
        }
    }

    /// Lends the devices of the first `most` free slots to the provers, in the order of the slots.
    pub fn lend(&self, most: u8) -> Result<Loan, TakeError> {
        self.refresh();
        let devices = self.state().ledger.lend(most)?;
        Ok(Loan {
            ledger: self.clone(),
            devices,
        })
    }

    /// Returns true if each slot has a device of its own.
    pub fn has_devices(&self) -> bool {
        self.0.machine.gpus.is_some()
    }

    /// Returns the jobs that have slots.
    pub fn holders(&self) -> Vec<LeaseKey> {
        self.state().ledger.holders()
    }

    /// Returns the devices of jobs, all devices while it is not known which ones those are, and the devices
    /// that another worker has.
    pub fn held_devices(&self) -> Vec<Device> {
        let state = self.state();
        let mut held = if state.ledger.is_unsure() {
            state.present.clone()
        } else {
            state.ledger.leased_devices()
        };
        held.extend(state.elsewhere());
        held
    }

    /// Returns the devices of all slots, also those that do not answer.
    pub fn devices(&self) -> Vec<Device> {
        self.state().ledger.devices()
    }

    /// Returns all slots for display. The status is public: it does not name the other worker.
    pub fn view(&self) -> Vec<SlotView> {
        let state = self.state();
        let mut view = state.ledger.view();
        let used = |device: &Device| {
            format!(
                "{} is used by another worker on this host; see `assay-worker check`",
                device.id
            )
        };
        let mut elsewhere = state.elsewhere.iter().map(|(device, _)| device);
        for slot in &mut view {
            slot.problem = match slot.state {
                SlotState::Empty => elsewhere.next().map(used),
                SlotState::Lost => state
                    .elsewhere
                    .iter()
                    .find(|(device, _)| Some(&device.id) == slot.device.as_ref())
                    .map(|(device, _)| used(device)),
                SlotState::Free | SlotState::Lent | SlotState::Leased => None,
            };
        }
        view
    }
}

/// Devices of free slots that provers use; dropping it gives them back.
#[derive(Debug)]
pub struct Loan {
    ledger: DeviceLedger,
    /// The devices, in the order of their slots.
    pub devices: Vec<Device>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let devices: Vec<DeviceId> = self.devices.iter().map(|device| device.id.clone()).collect();
        self.ledger.state().ledger.take_back(&devices);
    }
}

/// Logs the slots whose device or state is another one.
fn log_changes(before: &[SlotView], after: &[SlotView]) {
    for slot in after {
        let old = before.iter().find(|old| old.slot == slot.slot);
        let (number, device) = (slot.slot, slot.device.as_ref());
        match (old.map(|old| old.state), slot.state) {
            (Some(SlotState::Lost), SlotState::Lost) => (),
            (_, SlotState::Lost) => tracing::error!(
                slot = number,
                device = device.map(tracing::field::display),
                job = slot.job,
                "the GPU of a leased slot does not answer any more; the job keeps it"
            ),
            (Some(SlotState::Lost), _) => tracing::info!(
                slot = number,
                device = device.map(tracing::field::display),
                "the GPU of a slot answers again"
            ),
            _ if old.is_some_and(|old| old.device == slot.device) => (),
            (_, SlotState::Empty) => {
                tracing::error!(slot = number, "the slot has no GPU; no job gets it");
            }
            _ if device.is_some() => tracing::info!(
                slot = number,
                device = device.map(tracing::field::display),
                pci_address = slot.pci_address,
                "the slot has this GPU"
            ),
            _ => (),
        }
    }
}

/// Returns the devices of jobs by a state folder's ledger, which may be in use; nothing in it is changed.
pub fn noted_holders(folder: &Path) -> Vec<Device> {
    let bytes = read_if_present(&folder.join(LEDGER_FILE)).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice::<Ledger>(&bytes).ok())
        .map(|ledger| ledger.leased_devices())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{super::inventory::tests::install_nvml, *};
    use crate::files::tests::SmallDisk;

    fn job(job: u64) -> LeaseKey {
        LeaseKey {
            job,
            fingerprint: "f".into(),
        }
    }

    fn machine(folder: &Path, gpus: Option<u8>) -> Machine {
        Machine {
            slots: gpus.unwrap_or(2),
            gpus: gpus.map(|count| Gpus {
                model: "RTX_4090".into(),
                count,
                allow_overclock: false,
            }),
            paths: HostPaths::below(folder),
        }
    }

    fn devices(ledger: &DeviceLedger) -> Vec<Option<String>> {
        let view = ledger.view();
        view.into_iter()
            .map(|slot| slot.device.map(|device| device.0[4..12].to_owned()))
            .collect()
    }

    #[test]
    fn leases_survive_restarts_and_lost_gpus() {
        let host = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let machine = machine(host.path(), Some(2));
        install_nvml(&machine.paths, 2, -1);
        let open = || DeviceLedger::open(state.path(), Disk::default(), machine.clone());
        let ledger = open();
        // Ordered by PCI address, which is not the driver's order.
        assert_eq!(
            devices(&ledger),
            [Some("00000001".into()), Some("00000000".into())]
        );
        let grants = ledger.take(&job(1), 1).unwrap();
        assert_eq!(grants[0].slot, 0);
        let loan = ledger.lend(2).unwrap();
        assert_eq!(loan.devices.len(), 1);
        assert_eq!(ledger.take(&job(2), 1), Err(TakeError::Lent));
        drop(loan);
        drop(ledger);

        let ledger = open();
        assert_eq!(ledger.holders(), [job(1)]);
        assert_eq!(noted_holders(state.path()).len(), 1);
        assert_eq!(ledger.take(&job(1), 1).unwrap(), grants);
        assert_eq!(ledger.take(&job(2), 1).unwrap()[0].slot, 1);
        ledger.release(&job(1)).unwrap();
        assert_eq!(open().holders(), [job(2)]);
    }

    #[test]
    fn two_workers_on_a_host_never_have_one_gpu() {
        let host = tempfile::tempdir().unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |count| machine(host.path(), Some(count));
        install_nvml(&of(1).paths, 3, -1);
        let first = DeviceLedger::open(one.path(), Disk::default(), of(2));
        let second = DeviceLedger::open(other.path(), Disk::default(), of(3));
        let (two, middle, zero) = (
            Some("00000002".to_owned()),
            Some("00000001".to_owned()),
            Some("00000000".to_owned()),
        );
        assert_eq!(devices(&first), [two.clone(), middle.clone()]);
        assert_eq!(devices(&second), [zero.clone(), None, None]);
        let view = second.view();
        assert_eq!(view[0].problem, None);
        let problem = view[1].problem.as_deref().unwrap();
        assert!(problem.contains("used by another worker"), "{problem}");
        assert!(!problem.contains(one.path().to_str().unwrap()), "{problem}");
        let refused = TakeError::Elsewhere {
            wanted: 2,
            present: 1,
            elsewhere: 2,
        };
        assert_eq!(second.take(&job(1), 2), Err(refused));
        assert_eq!(second.take(&job(1), 1).unwrap()[0].slot, 0);
        assert_eq!(second.held_devices().len(), 3, "no prover opens any");

        // A worker that is stopped keeps the GPU of its job, and no other.
        assert_eq!(first.take(&job(9), 1).unwrap()[0].slot, 0);
        drop(first);
        second.refresh();
        assert_eq!(devices(&second), [zero.clone(), middle.clone(), None]);
        let first = DeviceLedger::open(one.path(), Disk::default(), of(2));
        assert_eq!(devices(&first), [two.clone(), None]);
        assert_eq!(first.holders(), [job(9)]);
        first.release(&job(9)).unwrap();
        drop(first);
        second.refresh();
        assert_eq!(devices(&second), [zero, middle, two]);
        assert!(second.view().iter().all(|slot| slot.problem.is_none()));
    }

    #[test]
    fn broken_file_is_put_aside_and_the_containers_are_asked() {
        let host = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let machine = machine(host.path(), Some(2));
        install_nvml(&machine.paths, 2, -1);
        let disk = Disk::default();
        fs::write(state.path().join(LEDGER_FILE), r#"{"version":1,"slo"#).unwrap();
        let ledger = DeviceLedger::open(state.path(), disk.clone(), machine);
        assert_eq!(disk.status().broken_files.len(), 1);
        assert_eq!(ledger.take(&job(2), 1), Err(TakeError::Unsure));
        assert_eq!(ledger.lend(1).unwrap_err(), TakeError::Unsure);
        assert_eq!(ledger.held_devices().len(), 2, "no prover opens any");
        assert!(
            !state.path().join(LEDGER_FILE).exists(),
            "a restart would take it for the truth"
        );
        let holding = Holding {
            slots: vec![1],
            devices: vec![DeviceId("GPU-00000001-0000-0000-0000-000000000000".into())],
        };
        ledger.note_holdings(&[(job(1), holding)]);
        assert_eq!(
            devices(&ledger),
            [Some("00000000".into()), Some("00000001".into())]
        );
        assert_eq!(ledger.take(&job(2), 1).unwrap()[0].slot, 0);
        assert_eq!(ledger.holders(), [job(1), job(2)]);
        assert_eq!(noted_holders(state.path()).len(), 2);
    }

    #[test]
    fn lease_that_cannot_be_written_is_not_given() {
        let Some(small) = SmallDisk::mount() else { return };
        let host = tempfile::tempdir().unwrap();
        let ledger = DeviceLedger::open(small.path(), Disk::default(), machine(host.path(), None));
        let ballast = small.fill();
        small.make_read_only(true);
        assert!(matches!(ledger.take(&job(1), 1), Err(TakeError::Disk(_))));
        assert_eq!(ledger.holders(), []);
        small.make_read_only(false);
        fs::remove_file(ballast).unwrap();
        assert_eq!(ledger.take(&job(1), 1).unwrap()[0].slot, 0);
    }
}
