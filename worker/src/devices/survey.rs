//! The host's means of giving GPUs to containers: driver, toolkit, and specifications of the Container Device
//! Interface (CDI).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Device, DeviceKind, HostPaths, Inventory, Machine, locks::holder_elsewhere};

/// Kind of NVIDIA's GPUs in CDI.
pub const CDI_GPU_KIND: &str = "nvidia.com/gpu";

/// Maximum length of a specification that is read, in bytes.
const MAX_SPECIFICATION_BYTES: u64 = 4 * 1024 * 1024;

/// Programs of NVIDIA's container toolkit, of which a host with it has one.
const TOOLKIT: [&str; 3] = [
    "nvidia-ctk",
    "nvidia-container-runtime",
    "nvidia-container-runtime-hook",
];

/// Command that makes NVIDIA's specification.
const GENERATE: &str = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml";

/// Device node through which AMD's GPUs are driven.
const KFD: &str = "/dev/kfd";

/// The parts of a CDI specification that name its devices.
#[derive(Deserialize)]
struct Specification {
    kind: String,
    #[serde(default)]
    devices: Vec<SpecifiedDevice>,
}

#[derive(Deserialize)]
struct SpecifiedDevice {
    name: String,
}

/// Returns the qualified names of all devices in CDI folders, such as `nvidia.com/gpu=GPU-…`. Unreadable
/// files count as empty: engines skip them, too.
pub fn cdi_devices(folders: &[PathBuf]) -> BTreeSet<String> {
    let files = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    files
        .filter_map(|path| read_specification(&path))
        .flat_map(|specification| {
            let Specification { kind, devices } = specification;
            devices
                .into_iter()
                .map(move |device| format!("{kind}={}", device.name))
        })
        .collect()
}

fn read_specification(path: &Path) -> Option<Specification> {
    let extension = path.extension()?.to_str()?;
    if fs::metadata(path).ok()?.len() > MAX_SPECIFICATION_BYTES {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    match extension {
        "json" => serde_json::from_str(&text).ok(),
        "yaml" | "yml" => serde_saphyr::from_str(&text).ok(),
        _ => None,
    }
}

/// Result of looking at the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSurvey {
    /// GPUs that the drivers report.
    pub inventory: Inventory,
    /// Facts that are in order.
    pub good: Vec<String>,
    /// Facts that deserve attention.
    pub notes: Vec<String>,
    /// Facts that keep jobs from their GPUs, with the remedy.
    pub bad: Vec<String>,
}

impl GpuSurvey {
    /// Looks at the host of a machine. Blocks, for up to seconds. Empty for a machine without GPUs.
    pub fn of(machine: &Machine) -> Self {
        let mut survey = Self {
            inventory: machine.inventory(),
            good: Vec::new(),
            notes: Vec::new(),
            bad: Vec::new(),
        };
        let Some(offered) = &machine.gpus else {
            return survey;
        };
        let found = survey.inventory.devices.clone();
        survey.count(found.len(), offered.count.into());
        let is_nvidia = |device: &&Device| device.kind == DeviceKind::Nvidia;
        let of_nvidia: Vec<&Device> = found.iter().filter(is_nvidia).collect();
        if let Some(version) = &survey.inventory.nvidia_driver
            && !of_nvidia.is_empty()
        {
            survey.good.push(format!("NVIDIA's driver {version}"));
        }
        for device in &found {
            survey.good.push(format!("{device}, {} MiB", device.memory_mib));
        }
        if !of_nvidia.is_empty() {
            survey.look_at_nvidia(&machine.paths, &of_nvidia);
        }
        if found.len() > of_nvidia.len() && !Path::new(KFD).exists() {
            survey.bad.push(format!(
                "{KFD} is missing, so no container can use AMD's GPUs; load the kernel module amdgpu"
            ));
        }
        survey
    }

    /// Compares the offer with the GPUs that other workers on this host have; `state_folder` is this
    /// worker's.
    pub fn compare_with_workers(&mut self, machine: &Machine, state_folder: &Path) {
        let (Some(offered), Some(locks)) = (&machine.gpus, &machine.paths.locks) else {
            return;
        };
        let devices = &self.inventory.devices;
        let elsewhere: Vec<String> = devices
            .iter()
            .filter_map(|device| {
                let holder = holder_elsewhere(locks, state_folder, &device.id)?;
                Some(holder.describe(&device.id))
            })
            .collect();
        let left = devices.len().saturating_sub(elsewhere.len());
        if elsewhere.is_empty() {
            return;
        }
        if left >= usize::from(offered.count) {
            self.notes.extend(elsewhere);
            return;
        }
        self.bad.push(format!(
            "{}: `shared_resources.gpus` offers {}, and {left} are left for this worker; offer no more, or stop the other \
             worker",
            elsewhere.join("; "),
            offered.count
        ));
    }

    fn count(&mut self, found: usize, offered: usize) {
        let problems = self.inventory.problems.join("; ");
        if found < offered {
            let because = if problems.is_empty() {
                String::new()
            } else {
                format!(" ({problems})")
            };
            self.bad.push(format!(
                "`shared_resources.gpus` offers {offered}, and the drivers report {found}{because}; jobs of slots without a \
                 GPU are declined: install the driver, or offer no more than there are"
            ));
        } else {
            self.notes.extend(self.inventory.problems.iter().cloned());
            if found > offered {
                self.notes.push(format!(
                    "`shared_resources.gpus` offers {offered}, and the drivers report {found}; the slots have the first by PCI \
                     address"
                ));
            }
        }
    }

    fn look_at_nvidia(&mut self, paths: &HostPaths, devices: &[&Device]) {
        let toolkit = TOOLKIT.iter().find_map(|program| {
            let mut places = paths.programs.iter().map(|folder| folder.join(program));
            places.find(|path| path.is_file())
        });
        let named = cdi_devices(&paths.cdi);
        let without_entry: Vec<&str> = devices
            .iter()
            .filter(|device| !named.contains(&format!("{CDI_GPU_KIND}={}", device.id)))
            .map(|device| device.id.0.as_str())
            .collect();
        match (&toolkit, without_entry.as_slice()) {
            (_, []) => self.good.push("CDI names every GPU by its UUID".to_owned()),
            (Some(_), missing) => self.notes.push(format!(
                "CDI does not name {} by UUID: Docker uses NVIDIA's hook instead, and Podman gives no GPU; run `{GENERATE}`",
                missing.join(", ")
            )),
            (None, _) => (),
        }
        match toolkit {
            Some(path) => self
                .good
                .push(format!("NVIDIA's container toolkit: {}", path.display())),
            None if without_entry.is_empty() => (),
            None => self.bad.push(format!(
                "NVIDIA's container toolkit is missing, so no container can use the GPUs; install nvidia-container-toolkit, \
                 then run `{GENERATE}`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{super::inventory::tests::install_nvml, *};
    use crate::{config::Gpus, devices::DeviceLedger, files::Disk};

    fn machine(folder: &Path, count: u8) -> Machine {
        Machine {
            slots: count,
            gpus: Some(Gpus {
                model: "RTX_4090".into(),
                count,
                allow_overclock: false,
            }),
            paths: HostPaths::below(folder),
        }
    }

    #[test]
    fn specifications_are_read_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "nvidia.yaml",
            "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - \
             path: /dev/nvidia0\n- name: GPU-1\n  containerEdits: {}\ncontainerEdits:\n  env:\n  - A=b\n",
        );
        write(
            "other.json",
            r#"{"cdiVersion":"0.5.0","kind":"a.b/c","devices":[{"name":"x","containerEdits":{}}]}"#,
        );
        write("broken.json", "{");
        write("readme.txt", "kind: no");
        let found = cdi_devices(&[folder.path().to_owned(), "/nowhere".into()]);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["a.b/c=x", "nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1"]
        );
    }

    #[test]
    fn everything_that_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path(), 2);
        let survey = GpuSurvey::of(&machine);
        assert_eq!(survey.bad.len(), 1);
        for part in ["offers 2", "report 0", "install NVIDIA's driver"] {
            assert!(survey.bad[0].contains(part), "{part}: {survey:?}");
        }
        assert!(survey.good.is_empty());

        install_nvml(&machine.paths, 2, -1);
        let survey = GpuSurvey::of(&machine);
        assert_eq!(survey.bad.len(), 1);
        assert!(
            survey.bad[0].contains("install nvidia-container-toolkit"),
            "{survey:?}"
        );
        assert!(survey.good[0].contains("550.90.07"));
        assert!(survey.good[1].contains("24564 MiB"));

        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("nvidia-ctk"), "").unwrap();
        let survey = GpuSurvey::of(&machine);
        assert!(survey.bad.is_empty());
        assert!(survey.notes[0].contains("cdi generate"), "{survey:?}");

        let cdi = folder.path().join("cdi");
        fs::create_dir(&cdi).unwrap();
        let names: Vec<_> = survey
            .inventory
            .devices
            .iter()
            .map(|device| serde_json::json!({ "name": device.id, "containerEdits": {} }))
            .collect();
        let text = serde_json::json!({ "cdiVersion": "0.5.0", "kind": CDI_GPU_KIND, "devices": names });
        fs::write(cdi.join("nvidia.json"), text.to_string()).unwrap();
        let survey = GpuSurvey::of(&machine);
        assert!(survey.bad.is_empty() && survey.notes.is_empty(), "{survey:?}");
        assert!(survey.good.iter().any(|fact| fact.contains("every GPU")));
    }

    #[test]
    fn gpus_of_another_worker_are_told_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&other).unwrap();
        let one = machine(folder.path(), 1);
        install_nvml(&one.paths, 2, -1);
        let ledger = DeviceLedger::open(&other, Disk::default(), one.clone());
        let look = |offered: &Machine, state: &Path| {
            let mut survey = GpuSurvey {
                inventory: offered.inventory(),
                good: Vec::new(),
                notes: Vec::new(),
                bad: Vec::new(),
            };
            survey.compare_with_workers(offered, state);
            (survey.notes, survey.bad)
        };
        let (notes, bad) = look(&machine(folder.path(), 2), &own);
        assert_eq!((notes.len(), bad.len()), (0, 1));
        for part in [
            "another worker",
            other.to_str().unwrap(),
            "offers 2, and 1 are left",
        ] {
            assert!(bad[0].contains(part), "{part}: {bad:?}");
        }
        let (notes, bad) = look(&one, &own);
        assert_eq!((notes.len(), bad.len()), (1, 0), "one is enough");
        assert_eq!(
            look(&one, &other),
            (Vec::new(), Vec::new()),
            "the worker itself runs"
        );
        drop(ledger);
        assert_eq!(look(&one, &own), (Vec::new(), Vec::new()));
    }

    #[test]
    fn other_number_than_the_offered_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let three = machine(folder.path(), 3);
        install_nvml(&three.paths, 2, 1);
        let survey = GpuSurvey::of(&three);
        assert!(
            survey.bad[0].contains("report 1 (NVIDIA: GPU 1 does not answer"),
            "{survey:?}"
        );
        let without = Machine {
            gpus: None,
            ..machine(folder.path(), 3)
        };
        assert_eq!(GpuSurvey::of(&without).bad, [] as [String; 0]);
    }
}
