//! GPUs that a container got, as they are seen from inside.

use std::{collections::BTreeMap, env, fs, path::Path};

/// Returns the UUIDs of NVIDIA's GPUs in this container, separated by commas; what the variable of the device
/// plugin says if they cannot be seen, or for parts of a GPU.
///
/// A plugin may tell the runtime its choice by the Container Device Interface and set no variable, so the
/// device nodes count, with the driver's word for whose they are.
pub fn devices_seen() -> String {
    let told = env::var("NVIDIA_VISIBLE_DEVICES").unwrap_or_default();
    if told.contains("MIG-") {
        return told;
    }
    seen_at(Path::new("/dev"), Path::new("/proc/driver/nvidia/gpus")).unwrap_or(told)
}

/// Returns the UUIDs of the device nodes; `None` if there are none, or the driver does not tell.
fn seen_at(nodes: &Path, driver: &Path) -> Option<String> {
    let minors: Vec<u32> = fs::read_dir(nodes)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("nvidia")?.parse().ok()
        })
        .collect();
    if minors.is_empty() {
        return None;
    }
    let known: BTreeMap<u32, String> = fs::read_dir(driver)
        .ok()?
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path().join("information")).ok()?;
            let minor = field(&text, "Device Minor")?.parse().ok()?;
            Some((minor, field(&text, "GPU UUID")?.to_owned()))
        })
        .collect();
    let mut seen = minors
        .iter()
        .map(|minor| known.get(minor).cloned())
        .collect::<Option<Vec<_>>>()?;
    seen.sort_unstable();
    Some(seen.join(","))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nodes_are_named_by_the_driver() {
        let root = env::temp_dir().join(format!("assay-init-devices-{}", std::process::id()));
        let (nodes, driver) = (root.join("dev"), root.join("gpus"));
        fs::create_dir_all(&nodes).unwrap();
        for (bus, minor) in [("0000:01:00.0", 0), ("0000:02:00.0", 1), ("0000:03:00.0", 2)] {
            fs::create_dir_all(driver.join(bus)).unwrap();
            let text = format!("Model: \t\t NVIDIA\nGPU UUID: \t GPU-{minor}a\nDevice Minor: \t {minor}\n");
            fs::write(driver.join(bus).join("information"), text).unwrap();
        }
        assert_eq!(seen_at(&nodes, &driver), None);
        for name in ["nvidia2", "nvidia0", "nvidiactl", "nvidia-uvm", "null"] {
            fs::write(nodes.join(name), "").unwrap();
        }
        assert_eq!(seen_at(&nodes, &driver).unwrap(), "GPU-0a,GPU-2a");
        // One that the driver does not name: nothing is said of any.
        fs::write(nodes.join("nvidia7"), "").unwrap();
        assert_eq!(seen_at(&nodes, &driver), None);
        fs::remove_dir_all(root).unwrap();
    }
}
