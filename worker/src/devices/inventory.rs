//! The GPUs that the host's drivers report.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use assay_primitives::machine::MAX_SLOTS;
use assay_provers::normal_pci_address;
use nvml_wrapper::Nvml;

use super::{Device, DeviceId, DeviceKind};
use crate::{attestation::load_nvml, config::Gpus};

/// PCI vendor of AMD, as sysfs spells it.
const AMD: &str = "0x1002";

/// Maximum length of a file of sysfs, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 256;

/// Number of bytes in a MiB.
const MIB: u64 = 1024 * 1024;

/// Places where the host's devices are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPaths {
    /// NVIDIA's management library: a name that the loader looks up, or a path.
    pub nvml: PathBuf,
    /// Root of sysfs.
    pub sysfs: PathBuf,
    /// Folders with specifications of the Container Device Interface.
    pub cdi: Vec<PathBuf>,
    /// Folders in which programs are looked for.
    pub programs: Vec<PathBuf>,
    /// Folder of the devices' locks, the same for all workers of this user; `None` if there is no place for
    /// it.
    pub locks: Option<PathBuf>,
}

/// Returns the folder of the devices' locks. It is no setting: workers with other folders would not see each
/// other.
fn lock_folder() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/run/assay-worker/devices".into());
    }
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|folder| !folder.is_empty())
        .map(|folder| PathBuf::from(folder).join("assay-worker/devices"))
}

impl HostPaths {
    /// Returns the paths of a Linux host.
    pub fn of_linux() -> Self {
        Self {
            nvml: "libnvidia-ml.so.1".into(),
            sysfs: "/sys".into(),
            cdi: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            programs: std::env::var_os("PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
            locks: lock_folder(),
        }
    }

    /// Returns paths below a folder, for tests.
    pub fn below(folder: &Path) -> Self {
        Self {
            nvml: folder.join("libnvidia-ml.so.1"),
            sysfs: folder.join("sys"),
            cdi: vec![folder.join("cdi")],
            programs: vec![folder.join("bin")],
            locks: Some(folder.join("locks")),
        }
    }
}

/// GPUs of the host, ordered by PCI address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The GPUs.
    pub devices: Vec<Device>,
    /// Reasons why a vendor's GPUs, or one of them, cannot be listed, with the remedy.
    pub problems: Vec<String>,
    /// Version of NVIDIA's driver, if it answers.
    pub nvidia_driver: Option<String>,
}

impl Inventory {
    /// Asks the drivers. Blocks, for up to seconds.
    pub fn of(paths: &HostPaths) -> Self {
        let mut inventory = Self::default();
        inventory.add_nvidia(&paths.nvml);
        inventory.add_amd(&paths.sysfs);
        inventory
            .devices
            .sort_by(|a, b| (&a.pci_address, &a.id).cmp(&(&b.pci_address, &b.id)));
        inventory.devices.truncate(MAX_SLOTS.into());
        inventory
    }

    /// Asks the drivers, and leaves out the GPUs that are not of the offered model; none if no GPU is
    /// offered.
    ///
    /// Where no GPU has the model's name, all GPUs of one vendor count: drivers and providers may name a
    /// product differently.
    pub fn of_offered(paths: &HostPaths, offered: Option<&Gpus>) -> Self {
        let Some(offered) = offered else {
            return Self::default();
        };
        let mut inventory = Self::of(paths);
        let is_named = |device: &Device| has_name(device, &offered.model);
        if inventory.devices.iter().any(is_named) {
            inventory.devices.retain(is_named);
        } else {
            let is_nvidia = |device: &Device| device.kind == DeviceKind::Nvidia;
            let wants_nvidia = match words(&offered.model).first().map(String::as_str) {
                Some("NVIDIA") => true,
                Some("AMD") => false,
                _ => inventory.devices.iter().any(is_nvidia),
            };
            inventory
                .devices
                .retain(|device| is_nvidia(device) == wants_nvidia);
        }
        inventory
    }

    fn add_nvidia(&mut self, library: &Path) {
        let nvml = match load_nvml(library) {
            Ok(nvml) => nvml,
            Err(missing) => {
                self.problems.push(format!("NVIDIA: {}", missing.reason));
                return;
            }
        };
        self.nvidia_driver = nvml.sys_driver_version().ok();
        let count = match nvml.device_count() {
            Ok(count) => count,
            Err(error) => {
                self.problems
                    .push(format!("NVIDIA: the driver does not list its GPUs: {error}"));
                return;
            }
        };
        for index in 0..count.min(MAX_SLOTS.into()) {
            match nvidia_device(&nvml, index) {
                Ok(device) => self.devices.push(device),
                Err(reason) => self.problems.push(format!(
                    "NVIDIA: GPU {index} does not answer: {reason}; look at `dmesg` for its Xid, and reset or reseat it"
                )),
            }
        }
    }

    fn add_amd(&mut self, sysfs: &Path) {
        let class = sysfs.join("class/drm");
        let entries = match fs::read_dir(&class) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.problems
                    .push(format!("AMD: cannot read {}: {error}", class.display()));
                return;
            }
        };
        for entry in entries.flatten() {
            let node = entry.file_name().to_string_lossy().into_owned();
            if !node.starts_with("renderD") {
                continue;
            }
            let folder = entry.path().join("device");
            if attribute(&folder, "vendor").as_deref() != Some(AMD) {
                continue;
            }
            match amd_device(&folder, &node) {
                Some(device) => self.devices.push(device),
                None => self.problems.push(format!(
                    "AMD: the PCI address of {node} is not in {}",
                    folder.display()
                )),
            }
        }
    }
}

fn nvidia_device(nvml: &Nvml, index: u32) -> Result<Device, String> {
    let gpu = nvml.device_by_index(index).map_err(|error| error.to_string())?;
    let uuid = gpu.uuid().map_err(|error| error.to_string())?;
    // A comma or a space would split the lists that it goes into.
    if !uuid
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Err(format!("its UUID {uuid:?} is none"));
    }
    let pci = gpu.pci_info().map_err(|error| error.to_string())?;
    Ok(Device {
        id: DeviceId(uuid),
        pci_address: normal_pci_address(&pci.bus_id)
            .ok_or_else(|| format!("its PCI address {:?} is none", pci.bus_id))?,
        kind: DeviceKind::Nvidia,
        name: gpu.name().unwrap_or_default(),
        memory_mib: gpu.memory_info().map(|memory| memory.total / MIB).unwrap_or(0),
    })
}

fn amd_device(folder: &Path, node: &str) -> Option<Device> {
    // The link leads to the folder of the PCI device, whose name is its address.
    let target = fs::canonicalize(folder).ok()?;
    let pci_address = normal_pci_address(&target.file_name()?.to_string_lossy())?;
    let name = attribute(folder, "product_name").filter(|name| !name.is_empty());
    Some(Device {
        id: DeviceId(pci_address.clone()),
        pci_address,
        kind: DeviceKind::Amd {
            render_node: Path::new("/dev/dri").join(node),
        },
        name: name.unwrap_or_default(),
        memory_mib: attribute(folder, "mem_info_vram_total")
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
            / MIB,
    })
}

/// Returns an attribute of sysfs without its final newline.
fn attribute(folder: &Path, name: &str) -> Option<String> {
    let bytes = fs::read(folder.join(name)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (text.len() <= MAX_ATTRIBUTE_BYTES).then(|| text.trim().to_owned())
}

/// Splits a product's name into words of letters and digits, in capitals.
fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
        .collect()
}

/// Returns true if a device's name has every word of a model's name.
fn has_name(device: &Device, model: &str) -> bool {
    let has = words(&device.name);
    let vendor = match device.kind {
        DeviceKind::Nvidia => "NVIDIA",
        DeviceKind::Amd { .. } => "AMD",
    };
    let wanted = words(model);
    !wanted.is_empty() && wanted.iter().all(|word| word == vendor || has.contains(word))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    /// C source of a library in place of NVIDIA's.
    const LIBRARY: &str = r#"
#include <stdio.h>
#include <string.h>

typedef struct {
    char legacy[16];
    unsigned int domain, bus, device, pci_device, subsystem;
    char bus_id[32];
} Pci;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } Memory;

static int gone(void *device) { return *(int *)device == GONE; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the fake"; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "550.90.07");
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    static int gpus[64];
    gpus[index] = (int)index;
    *device = &gpus[index];
    return gone(*device) ? 15 : 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "GPU-%08x-0000-0000-0000-000000000000", *(int *)device);
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    (void)device;
    snprintf(name, length, "NVIDIA GeForce RTX 4090");
    return 0;
}
int nvmlDeviceGetPciInfo_v3(void *device, Pci *pci) {
    memset(pci, 0, sizeof *pci);
    /* The driver's order is not that of the bus. */
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", 0xF0 - *(int *)device);
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *memory) {
    (void)device;
    memory->total = 24564ULL << 20;
    return 0;
}
"#;

    /// Compiles a library that reports `count` GPUs, of which number `gone` does not answer.
    pub(in crate::devices) fn install_nvml(paths: &HostPaths, count: u32, gone: i32) {
        install_nvml_with(paths, count, gone, "");
    }

    /// Compiles such a library with more functions, whose C source follows that of the others.
    pub(crate) fn install_nvml_with(paths: &HostPaths, count: u32, gone: i32, more: &str) {
        let source = paths.nvml.with_extension("c");
        fs::write(&source, format!("{LIBRARY}{more}")).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&paths.nvml)
            .arg(&source)
            .arg(format!("-DCOUNT={count}"))
            .arg(format!("-DGONE={gone}"))
            .status()
            .unwrap();
        assert!(built.success());
    }

    /// Makes the sysfs entries of a GPU.
    fn add_sysfs(paths: &HostPaths, node: &str, pci: &str, vendor: &str) {
        let device = paths.sysfs.join("devices/pci0000:00").join(pci);
        let class = paths.sysfs.join("class/drm").join(node);
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(&class).unwrap();
        fs::write(device.join("vendor"), format!("{vendor}\n")).unwrap();
        fs::write(device.join("mem_info_vram_total"), "17163091968\n").unwrap();
        symlink(&device, class.join("device")).unwrap();
    }

    fn gpus(model: &str) -> Gpus {
        Gpus {
            model: model.into(),
            count: 2,
            allow_overclock: false,
        }
    }

    #[test]
    fn host_without_drivers_has_none_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::of(&HostPaths::below(folder.path()));
        assert_eq!(inventory.devices, []);
        assert_eq!(inventory.problems.len(), 1);
        assert!(
            inventory.problems[0].contains("install NVIDIA's driver"),
            "{inventory:?}"
        );
        assert_eq!(
            Inventory::of_offered(&HostPaths::below(folder.path()), None),
            Inventory::default()
        );
    }

    #[test]
    fn gpus_of_nvidia_are_ordered_by_their_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let paths = HostPaths::below(folder.path());
        install_nvml(&paths, 3, 1);
        let inventory = Inventory::of(&paths);
        let found: Vec<_> = inventory
            .devices
            .iter()
            .map(|device| (device.id.0.as_str(), device.pci_address.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("GPU-00000002-0000-0000-0000-000000000000", "0000:ee:00.0"),
                ("GPU-00000000-0000-0000-0000-000000000000", "0000:f0:00.0"),
            ]
        );
        assert_eq!(inventory.devices[0].memory_mib, 24_564);
        assert_eq!(inventory.nvidia_driver.as_deref(), Some("550.90.07"));
        assert_eq!(inventory.problems.len(), 1);
        assert!(
            inventory.problems[0].contains("GPU 1 does not answer"),
            "{inventory:?}"
        );
    }

    #[test]
    fn gpus_of_amd_are_found_in_sysfs() {
        let folder = tempfile::tempdir().unwrap();
        let paths = HostPaths::below(folder.path());
        add_sysfs(&paths, "renderD129", "0000:03:00.0", AMD);
        add_sysfs(&paths, "renderD128", "0000:00:02.0", "0x8086");
        add_sysfs(&paths, "card1", "0000:04:00.0", AMD);
        let found = Inventory::of(&paths).devices;
        assert_eq!(
            found,
            [Device {
                id: DeviceId("0000:03:00.0".into()),
                pci_address: "0000:03:00.0".into(),
                kind: DeviceKind::Amd {
                    render_node: "/dev/dri/renderD129".into()
                },
                name: String::new(),
                memory_mib: 16_368,
            }]
        );
    }

    #[test]
    fn other_models_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let paths = HostPaths::below(folder.path());
        install_nvml(&paths, 2, -1);
        add_sysfs(&paths, "renderD129", "0000:03:00.0", AMD);
        let kinds = |model: &str| -> Vec<bool> {
            Inventory::of_offered(&paths, Some(&gpus(model)))
                .devices
                .iter()
                .map(|device| device.kind == DeviceKind::Nvidia)
                .collect()
        };
        assert_eq!(Inventory::of(&paths).devices.len(), 3);
        assert_eq!(kinds("RTX_4090"), [true, true]);
        assert_eq!(kinds("nvidia_rtx_4090"), [true, true]);
        // Names that no device has.
        assert_eq!(kinds("H100"), [true, true]);
        assert_eq!(kinds("AMD_RX_7900"), [false]);
    }
}
