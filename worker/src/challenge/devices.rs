//! The devices that answer for the machine's slots.

use assay_proof::prover::{Prover, self_test};
use assay_provers::{AnyProver, BackEnd, DetectOptions, FoundDevice};

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

/// A device that passed the self-test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestedDevice {
    device: FoundDevice,
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
            name: prover.name(),
        })
    }

    pub(super) fn start(&self, options: &DetectOptions) -> Result<AnyProver, assay_provers::Absent> {
        self.device.start(options)
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
    pub fn find(choice: ProverChoice, has_gpus: bool) -> Self {
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

    /// Returns the slots of each device: one each while there are enough devices.
    pub(super) fn for_slots(&self, slots: u8) -> Vec<(&TestedDevice, Vec<u8>)> {
        let count = self.usable.len();
        self.usable
            .iter()
            .enumerate()
            .map(|(index, device)| (device, (0..slots).skip(index).step_by(count.max(1)).collect()))
            .filter(|(_, slots): &(_, Vec<u8>)| !slots.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32) -> TestedDevice {
        TestedDevice {
            device: FoundDevice {
                back_end: BackEnd::Wgpu,
                index,
                is_software: false,
                identity: assay_provers::DeviceIdentity::default(),
            },
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
        let found = Devices::find(ProverChoice::Auto, false);
        assert_eq!((found.usable.len(), found.problems.len()), (1, 0));
        assert!(found.are_cpu());
        assert!(!found.are_fewer_than(4));
        assert!(found.usable[0].name.starts_with("CPU, "));
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
