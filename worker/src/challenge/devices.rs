//! The devices that answer for the machine's slots.

use assay_proof::prover::{Prover, self_test};
use assay_provers::{AnyProver, BackEnd, DetectOptions, FoundDevice};

use crate::devices::Device;

/// Choice of the back end that answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProverChoice {
    /// CUDA, then wgpu, then the CPU on a machine with GPUs; the CPU on a machine without.
    #[default]
    Auto,
    /// This back end only.
    Only(BackEnd),
}

impl ProverChoice {
    fn candidates(self, has_gpus: bool) -> Vec<BackEnd> {
        match (self, has_gpus) {
            (Self::Only(back_end), _) => vec![back_end],
            (Self::Auto, true) => vec![BackEnd::Cuda, BackEnd::Wgpu, BackEnd::Cpu],
            (Self::Auto, false) => vec![BackEnd::Cpu],
        }
    }
}

/// A device that passed the self-test, or that a job had when the others were tested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestedDevice {
    device: FoundDevice,
    /// False for a device that a job had: it is tested when it first answers.
    is_tested: bool,
    /// Name of the device and its back end, for people.
    pub name: String,
}

impl TestedDevice {
    /// Starts the device and compares its answers with known ones.
    fn test(device: FoundDevice) -> Result<Self, String> {
        let mut prover = device
            .start(&DetectOptions::default())
            .map_err(|error| error.to_string())?;
        self_test(&mut prover).map_err(|error| format!("{}: {error}", prover.name()))?;
        Ok(Self {
            device,
            is_tested: true,
            name: prover.name(),
        })
    }

    /// Names a device without opening it.
    fn untested(device: FoundDevice) -> Self {
        let identity = &device.identity;
        let id = identity.uuid.as_ref().or(identity.pci_address.as_ref());
        Self {
            name: format!(
                "{}, GPU {}, which a job has",
                device.back_end,
                id.map_or("without a name", String::as_str)
            ),
            is_tested: false,
            device,
        }
    }

    /// Starts a prover on the device; one that was not tested yet is tested first.
    pub(super) fn start(&self, options: &DetectOptions) -> Result<AnyProver, assay_provers::Absent> {
        let mut prover = self.device.start(options)?;
        if !self.is_tested {
            self_test(&mut prover).map_err(|error| assay_provers::Absent::Untrue(error.to_string()))?;
        }
        Ok(prover)
    }

    fn has_identity(&self) -> bool {
        let identity = &self.device.identity;
        identity.uuid.is_some() || identity.pci_address.is_some()
    }
}

/// The devices that answer, all of one back end, and the problems met in the search.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// The devices, best first; empty if none can answer.
    pub usable: Vec<TestedDevice>,
    /// Back ends and devices that were tried and cannot be used, with the remedy.
    pub problems: Vec<String>,
}

impl Devices {
    /// Finds the first back end that has devices, and tests these. Blocks, for up to seconds with GPUs.
    ///
    /// Those that jobs have (`held`) are listed and not opened.
    pub fn find(choice: ProverChoice, has_gpus: bool, held: &[Device]) -> Self {
        let mut problems = Vec::new();
        for back_end in choice.candidates(has_gpus) {
            let found = match FoundDevice::all_of(back_end) {
                Ok(found) => found,
                Err(absent) => {
                    problems.push(format!("{back_end}: {absent}"));
                    continue;
                }
            };
            let mut usable = Vec::new();
            for device in found {
                // The CPU's own prover is faster than a GPU emulated by the CPU.
                if device.is_software && choice == ProverChoice::Auto {
                    problems.push(format!("{back_end}: its GPU {} is software", device.index));
                    continue;
                }
                if held.iter().any(|held| held.is(&device.identity)) {
                    usable.push(TestedDevice::untested(device));
                    continue;
                }
                match TestedDevice::test(device) {
                    Ok(tested) => usable.push(tested),
                    Err(problem) => problems.push(format!("{back_end}: {problem}")),
                }
            }
            if !usable.is_empty() {
                return Self { usable, problems };
            }
        }
        Self {
            usable: Vec::new(),
            problems,
        }
    }

    /// Returns true if the host's CPU answers.
    pub fn are_cpu(&self) -> bool {
        self.usable
            .iter()
            .any(|tested| tested.device.back_end == BackEnd::Cpu)
    }

    /// Returns true if a machine that offers `gpus` GPUs has fewer devices to answer with: some slots then
    /// wait for each other, and will hardly be in time.
    pub fn are_fewer_than(&self, gpus: u8) -> bool {
        !self.are_cpu() && self.usable.len() < gpus.into()
    }

    /// Returns true if the devices are GPUs that the ledger knows: then each free slot answers with its own.
    pub fn are_of_ledger(&self) -> bool {
        !self.are_cpu() && self.usable.iter().any(TestedDevice::has_identity)
    }

    /// Returns the slots of each device: one each while there are enough devices.
    pub(super) fn for_slots(&self, slots: u8) -> Vec<(&TestedDevice, Vec<u8>)> {
        spread(self.usable.iter().collect(), slots)
    }

    /// Returns the slots of each device among those that are lent, which are in the order of their slots. The
    /// challenge numbers the free slots from zero on.
    pub(super) fn for_lent(&self, lent: &[Device], slots: u8) -> Vec<(&TestedDevice, Vec<u8>)> {
        let of = |device: &Device| {
            self.usable
                .iter()
                .find(|tested| device.is(&tested.device.identity))
        };
        spread(lent.iter().filter_map(of).collect(), slots)
    }
}

/// Deals the slots to the devices in turn, and leaves out devices without one.
fn spread(devices: Vec<&TestedDevice>, slots: u8) -> Vec<(&TestedDevice, Vec<u8>)> {
    let count = devices.len().max(1);
    devices
        .into_iter()
        .enumerate()
        .map(|(index, device)| (device, (0..slots).skip(index).step_by(count).collect()))
        .filter(|(_, slots): &(_, Vec<u8>)| !slots.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use assay_provers::DeviceIdentity;

    use super::*;
    use crate::devices::{DeviceId, DeviceKind};

    fn device(index: u32) -> TestedDevice {
        TestedDevice {
            device: FoundDevice {
                back_end: BackEnd::Wgpu,
                index,
                is_software: false,
                identity: DeviceIdentity::default(),
            },
            is_tested: true,
            name: format!("device {index}"),
        }
    }

    fn devices(count: u32) -> Devices {
        Devices {
            usable: (0..count).map(device).collect(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn gpus_are_preferred_only_where_the_machine_offers_some() {
        let auto = ProverChoice::Auto;
        assert_eq!(auto.candidates(false), [BackEnd::Cpu]);
        assert_eq!(
            auto.candidates(true),
            [BackEnd::Cuda, BackEnd::Wgpu, BackEnd::Cpu]
        );
        let only = ProverChoice::Only(BackEnd::Wgpu);
        assert_eq!(only.candidates(false), [BackEnd::Wgpu]);
    }

    #[test]
    fn a_machine_without_gpus_answers_with_its_cpu() {
        let found = Devices::find(ProverChoice::Auto, false, &[]);
        assert_eq!((found.usable.len(), found.problems.len()), (1, 0));
        assert!(found.are_cpu());
        assert!(!found.are_fewer_than(4));
        assert!(found.usable[0].name.starts_with("CPU, "));
    }

    /// Makes a GPU that CUDA counts in another order than the bus.
    fn gpu(number: u8) -> (Device, TestedDevice) {
        let id = DeviceId(format!("GPU-{number}"));
        let address = format!("0000:{number:02x}:00.0");
        let tested = TestedDevice {
            device: FoundDevice {
                back_end: BackEnd::Cuda,
                index: 9 - u32::from(number),
                is_software: false,
                identity: DeviceIdentity {
                    uuid: Some(id.0.clone()),
                    pci_address: Some(address.clone()),
                },
            },
            is_tested: true,
            name: format!("gpu {number}"),
        };
        let device = Device {
            id,
            pci_address: address,
            kind: DeviceKind::Nvidia,
            name: String::new(),
            memory_mib: 1,
        };
        (device, tested)
    }

    #[test]
    fn free_slots_answer_with_their_own_devices() {
        let (known, tested): (Vec<_>, Vec<_>) = (0..4).map(gpu).unzip();
        let devices = Devices {
            usable: tested.into_iter().rev().collect(),
            problems: Vec::new(),
        };
        assert!(devices.are_of_ledger());
        let shares = |lent: &[Device], slots| -> Vec<(String, Vec<u8>)> {
            devices
                .for_lent(lent, slots)
                .into_iter()
                .map(|(tested, slots)| (tested.name.clone(), slots))
                .collect()
        };
        // A job has the devices 0 and 2.
        let lent = [known[1].clone(), known[3].clone()];
        assert_eq!(
            shares(&lent, 2),
            [("gpu 1".into(), vec![0]), ("gpu 3".into(), vec![1])]
        );
        // A job came after the round opened: what is free answers for all slots that are due.
        assert_eq!(shares(&lent[..1], 2), [("gpu 1".into(), vec![0, 1])]);
        assert_eq!(shares(&[], 2), []);
    }

    #[test]
    fn device_is_known_by_its_uuid_and_else_by_its_address() {
        let (device, tested) = gpu(1);
        let mut identity = tested.device.identity.clone();
        assert!(device.is(&identity));
        identity.pci_address = None;
        assert!(device.is(&identity));
        identity.uuid = Some("GPU-9".into());
        identity.pci_address = Some(device.pci_address.clone());
        assert!(!device.is(&identity), "another GPU now has the address");
        // wgpu tells no UUID.
        identity.uuid = None;
        assert!(device.is(&identity));
        assert!(!device.is(&DeviceIdentity::default()));
    }

    #[test]
    fn device_of_a_job_is_not_opened() {
        let held = Devices::find(ProverChoice::Only(BackEnd::Wgpu), true, &[]);
        let Some(tested) = held.usable.iter().find(|tested| tested.has_identity()) else {
            println!("no GPU with an address: nothing is tested");
            return;
        };
        let address = tested.device.identity.pci_address.clone().unwrap_or_default();
        let device = Device::only_known_by(DeviceId(address));
        let found = Devices::find(ProverChoice::Only(BackEnd::Wgpu), true, &[device]);
        assert!(found.usable.iter().any(|tested| !tested.is_tested));
    }

    #[test]
    fn slots_are_spread_over_the_devices() {
        let shares = |devices: &Devices, slots| -> Vec<(u32, Vec<u8>)> {
            devices
                .for_slots(slots)
                .into_iter()
                .map(|(tested, slots)| (tested.device.index, slots))
                .collect()
        };
        assert_eq!(shares(&devices(4), 2), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(shares(&devices(2), 5), [(0, vec![0, 2, 4]), (1, vec![1, 3])]);
        assert_eq!(shares(&devices(0), 5), []);
        assert_eq!(shares(&devices(1), 0), []);
        assert!(devices(1).are_fewer_than(2));
        assert!(!devices(2).are_fewer_than(2));
    }
}
