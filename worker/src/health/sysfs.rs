//! AMD's GPUs and the host's processors, through the kernel's sysfs.
//!
//! The files are those of the kernel's documents "sysfs interface of hwmon", "GPU power/thermal controls and
//! monitoring" of amdgpu, and "Generic thermal sysfs driver".

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc,
};

use super::{
    probe::Request,
    reading::{Driver, GpuReading, Readings, ZoneReading},
};
use crate::devices::{Device, DeviceKind};

/// Maximum length of a file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4_096;

/// Maximum number of sensors of one kind that are read.
const MAX_SENSORS: usize = 32;

/// Maximum number of trip points of a thermal zone.
const MAX_TRIP_POINTS: usize = 12;

/// Value of a fan's control at which it runs at full speed.
const FULL_SPEED: u64 = 255;

/// Names of the hwmon drivers of processors.
const CPU_DRIVERS: [&str; 4] = ["coretemp", "cpu_thermal", "k10temp", "zenpower"];

/// Beginnings of the types of thermal zones that are processors. Zones of ACPI are left out: many boards
/// report a constant or the temperature of something else there.
const CPU_ZONES: [&str; 3] = ["x86_pkg_temp", "cpu", "soc"];

/// Answers questions about AMD's GPUs until the channel is closed.
pub(super) fn serve_amd(sysfs: &Path, requests: &mpsc::Receiver<Request>) {
    for request in requests {
        let gpus = request
            .devices
            .iter()
            .filter_map(|device| amd_reading(sysfs, device))
            .collect();
        request.answer(Readings {
            gpus,
            ..Readings::default()
        });
    }
}

/// Answers questions about the host's processors until the channel is closed.
pub(super) fn serve_cpu(sysfs: &Path, requests: &mpsc::Receiver<Request>) {
    for request in requests {
        let mut zones = hwmon_zones(sysfs);
        zones.extend(thermal_zones(sysfs));
        request.answer(Readings {
            zones,
            ..Readings::default()
        });
    }
}

/// Returns a reading of an AMD GPU; `None` for another vendor's.
fn amd_reading(sysfs: &Path, device: &Device) -> Option<GpuReading> {
    let DeviceKind::Amd { render_node } = &device.kind else {
        return None;
    };
    let (id, name) = (&*device.id.0, &*device.name);
    let folder = render_node
        .file_name()
        .map(|node| sysfs.join("class/drm").join(node).join("device"));
    // A GPU that fell off the bus, or was taken off it, has no folder any more.
    let Some(folder) = folder.filter(|folder| folder.join("vendor").is_file()) else {
        let reason = "it is not in sysfs any more";
        return Some(GpuReading::lost(id, Driver::Amd, name, reason));
    };
    let mut reading = GpuReading {
        overdrive_percent: [number(&folder, "pp_sclk_od"), number(&folder, "pp_mclk_od")]
            .into_iter()
            .flatten()
            .filter_map(|percent| u64::try_from(percent).ok())
            .max(),
        graphics_offset_mhz: text(&folder, "pp_od_clk_voltage").and_then(|table| clock_offset(&table)),
        uncorrected_ecc: text(&folder, "ras/umc_err_count").and_then(|counts| uncorrected(&counts)),
        ..GpuReading::empty(id, Driver::Amd, name)
    };
    let hwmon = entries(&folder.join("hwmon"), "hwmon");
    if let Some(hwmon) = hwmon.iter().find(|hwmon| is_named(hwmon, &["amdgpu"])) {
        read_amd_sensors(hwmon, &mut reading);
    }
    Some(reading)
}

fn read_amd_sensors(hwmon: &Path, reading: &mut GpuReading) {
    let sensors = sensors_of(hwmon);
    let labelled = |label: &str| sensors.iter().find(|sensor| sensor.label == label);
    // Newer accelerators report no edge.
    if let Some(chip) = labelled("edge")
        .or_else(|| labelled("junction"))
        .or(sensors.first().filter(|sensor| sensor.label.is_empty()))
    {
        (reading.temperature_c, reading.slowdown_c) = (chip.temperature_c, chip.critical_c);
        reading.shutdown_c = chip.emergency_c;
    }
    if let Some(memory) = labelled("mem") {
        (reading.memory_temperature_c, reading.memory_maximum_c) = (memory.temperature_c, memory.critical_c);
    }
    let positive = |name: &str| number(hwmon, name).and_then(|value| u64::try_from(value).ok());
    // The kernel counts µW and Hz.
    let power_uw = positive("power1_average").or_else(|| positive("power1_input"));
    reading.power_mw = power_uw.map(|power_uw| power_uw / 1_000);
    reading.power_limit_mw = positive("power1_cap").map(|limit_uw| limit_uw / 1_000);
    reading.fan_percent = positive("pwm1").map(|speed| speed.saturating_mul(100) / FULL_SPEED);
    reading.graphics_clock_mhz = positive("freq1_input").map(|clock_hz| clock_hz / 1_000_000);
    reading.memory_clock_mhz = positive("freq2_input").map(|clock_hz| clock_hz / 1_000_000);
}

/// Returns the offset of the graphics clock in a table of overdrive, in MHz.
fn clock_offset(table: &str) -> Option<i64> {
    let mut lines = table.lines().map(str::trim);
    lines.find(|line| *line == "OD_SCLK_OFFSET:")?;
    let offset = lines.next()?.to_ascii_lowercase();
    offset.trim_end_matches("mhz").trim().parse().ok()
}

/// Returns the number of uncorrected errors in counts of the form `ue: 0`, `ce: 0`.
fn uncorrected(counts: &str) -> Option<u64> {
    let count = counts.lines().find_map(|line| line.trim().strip_prefix("ue:"))?;
    count.trim().parse().ok()
}

/// A temperature sensor of hwmon.
struct Sensor {
    label: String,
    temperature_c: Option<i64>,
    critical_c: Option<i64>,
    emergency_c: Option<i64>,
}

/// Returns the sensors of a hwmon folder, by their numbers.
fn sensors_of(hwmon: &Path) -> Vec<Sensor> {
    (1..=MAX_SENSORS)
        .filter(|index| hwmon.join(format!("temp{index}_input")).exists())
        .map(|index| Sensor {
            label: text(hwmon, &format!("temp{index}_label")).unwrap_or_default(),
            temperature_c: degrees(hwmon, &format!("temp{index}_input")),
            critical_c: degrees(hwmon, &format!("temp{index}_crit")),
            emergency_c: degrees(hwmon, &format!("temp{index}_emergency")),
        })
        .collect()
}

/// Reads the processors' sensors of hwmon: one for each package.
fn hwmon_zones(sysfs: &Path) -> Vec<ZoneReading> {
    let mut zones = Vec::new();
    for folder in entries(&sysfs.join("class/hwmon"), "hwmon") {
        if !is_named(&folder, &CPU_DRIVERS) {
            continue;
        }
        let sensors = sensors_of(&folder);
        let begins = |label: &'static str| {
            move |sensor: &&Sensor| sensor.label.starts_with(label) && sensor.temperature_c.is_some()
        };
        // A core is never hotter than its package. AMD's control value is the chip's own where there is one.
        let sensor = sensors
            .iter()
            .find(begins("Package"))
            .or_else(|| sensors.iter().find(begins("Tdie")))
            .or_else(|| sensors.iter().find(begins("Tctl")))
            .or_else(|| sensors.first());
        if let Some(sensor) = sensor {
            let driver = text(&folder, "name").unwrap_or_default();
            zones.push(ZoneReading {
                zone: zone_name(&format!("{driver} {}", sensor.label), &folder),
                temperature_c: sensor.temperature_c,
                critical_c: sensor.critical_c,
            });
        }
    }
    zones
}

/// Reads the thermal zones of processors.
fn thermal_zones(sysfs: &Path) -> Vec<ZoneReading> {
    entries(&sysfs.join("class/thermal"), "thermal_zone")
        .iter()
        .filter_map(|folder| {
            let kind = text(folder, "type")?;
            if !CPU_ZONES.iter().any(|start| kind.starts_with(start)) {
                return None;
            }
            let critical = (0..MAX_TRIP_POINTS).find(|index| {
                text(folder, &format!("trip_point_{index}_type")).as_deref() == Some("critical")
            });
            Some(ZoneReading {
                zone: zone_name(&kind, folder),
                temperature_c: degrees(folder, "temp"),
                critical_c: critical.and_then(|index| degrees(folder, &format!("trip_point_{index}_temp"))),
            })
        })
        .collect()
}

/// Returns the name of a sensor, which no other one on the host has.
fn zone_name(name: &str, folder: &Path) -> String {
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("{} ({folder})", name.trim())
}

/// Returns true for a hwmon folder of one of these drivers.
fn is_named(hwmon: &Path, names: &[&str]) -> bool {
    text(hwmon, "name").is_some_and(|name| names.contains(&name.as_str()))
}

/// Returns the entries of a folder whose names begin with `start`, in the order of their names.
fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.truncate(MAX_SENSORS);
    found
}

/// Returns the text of a file without its final newline.
fn text(folder: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(folder.join(name)).ok()?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

fn number(folder: &Path, name: &str) -> Option<i64> {
    text(folder, name)?.parse().ok()
}

/// Returns a temperature, which the kernel counts in thousandths.
fn degrees(folder: &Path, name: &str) -> Option<i64> {
    number(folder, name).map(|millidegrees| millidegrees / 1_000)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{os::unix::fs::symlink, time::Duration};

    use super::*;
    use crate::{
        devices::{DeviceId, HostPaths, Inventory},
        health::probe::Probe,
    };

    /// Writes files below a folder.
    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    /// Makes the sysfs of a host with a processor of Intel, one of AMD and an AMD GPU.
    fn host(folder: &Path) -> HostPaths {
        let paths = HostPaths::below(folder);
        add_cpu(&paths.sysfs, 48_000);
        write(
            &paths.sysfs.join("class/hwmon/hwmon7"),
            &[
                ("name", "k10temp"),
                ("temp1_input", "61500"),
                ("temp1_label", "Tctl"),
                ("temp3_input", "58000"),
                ("temp3_label", "Tccd1"),
            ],
        );
        write(
            &paths.sysfs.join("class/hwmon/hwmon8"),
            &[("name", "nvme"), ("temp1_input", "99000")],
        );
        write(
            &paths.sysfs.join("class/thermal/thermal_zone0"),
            &[("type", "acpitz"), ("temp", "27800")],
        );
        write(
            &paths.sysfs.join("class/thermal/thermal_zone1"),
            &[
                ("type", "x86_pkg_temp"),
                ("temp", "49000"),
                ("trip_point_0_type", "passive"),
                ("trip_point_0_temp", "0"),
                ("trip_point_1_type", "critical"),
                ("trip_point_1_temp", "105000"),
            ],
        );
        let device = paths.sysfs.join("devices/pci0000:00/0000:03:00.0");
        write(
            &device,
            &[
                ("vendor", "0x1002"),
                ("product_name", "AMD Radeon RX 7900 XTX"),
                ("pp_sclk_od", "0"),
                ("pp_mclk_od", "5"),
                ("ras/umc_err_count", "ue: 2\nce: 7"),
                (
                    "pp_od_clk_voltage",
                    "OD_SCLK_OFFSET:\n150Mhz\nOD_RANGE:\nSCLK_OFFSET:    -500Mhz    1000Mhz",
                ),
                ("hwmon/hwmon3/name", "amdgpu"),
                ("hwmon/hwmon3/temp1_input", "62000"),
                ("hwmon/hwmon3/temp1_label", "edge"),
                ("hwmon/hwmon3/temp1_crit", "100000"),
                ("hwmon/hwmon3/temp1_emergency", "105000"),
                ("hwmon/hwmon3/temp2_input", "79000"),
                ("hwmon/hwmon3/temp2_label", "junction"),
                ("hwmon/hwmon3/temp3_input", "84000"),
                ("hwmon/hwmon3/temp3_label", "mem"),
                ("hwmon/hwmon3/temp3_crit", "108000"),
                ("hwmon/hwmon3/power1_average", "287000000"),
                ("hwmon/hwmon3/power1_cap", "355000000"),
                ("hwmon/hwmon3/pwm1", "102"),
                ("hwmon/hwmon3/freq1_input", "2482000000"),
                ("hwmon/hwmon3/freq2_input", "1249000000"),
            ],
        );
        let class = paths.sysfs.join("class/drm/renderD128");
        fs::create_dir_all(&class).unwrap();
        symlink(&device, class.join("device")).unwrap();
        paths
    }

    /// Makes the sensors of a processor of Intel, or changes their temperature.
    pub(in crate::health) fn add_cpu(sysfs: &Path, millidegrees: i64) {
        let temperature = millidegrees.to_string();
        write(
            &sysfs.join("class/hwmon/hwmon2"),
            &[
                ("name", "coretemp"),
                ("temp1_input", temperature.as_str()),
                ("temp1_label", "Package id 0"),
                ("temp1_crit", "100000"),
                ("temp2_input", "40000"),
                ("temp2_label", "Core 0"),
            ],
        );
    }

    async fn read(
        devices: Vec<Device>,
        serve: impl Fn(&mpsc::Receiver<Request>) + Send + Sync + 'static,
    ) -> Readings {
        let mut probe = Probe::new(Driver::Amd, serve);
        let readings = probe.read(devices, true, Duration::from_secs(20)).await;
        readings.unwrap()
    }

    #[tokio::test]
    async fn gpus_of_amd_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = host(folder.path());
        let devices = Inventory::of(&paths).devices;
        assert_eq!(devices.len(), 1);
        let sysfs = paths.sysfs.clone();
        let readings = read(devices.clone(), move |requests| serve_amd(&sysfs, requests)).await;
        let expected = GpuReading {
            temperature_c: Some(62),
            slowdown_c: Some(100),
            shutdown_c: Some(105),
            memory_temperature_c: Some(84),
            memory_maximum_c: Some(108),
            power_mw: Some(287_000),
            power_limit_mw: Some(355_000),
            fan_percent: Some(40),
            graphics_clock_mhz: Some(2_482),
            memory_clock_mhz: Some(1_249),
            graphics_offset_mhz: Some(150),
            overdrive_percent: Some(5),
            uncorrected_ecc: Some(2),
            ..GpuReading::empty("0000:03:00.0", Driver::Amd, "AMD Radeon RX 7900 XTX")
        };
        assert_eq!(readings.gpus, [expected]);

        fs::remove_file(paths.sysfs.join("class/drm/renderD128/device")).unwrap();
        let sysfs = paths.sysfs.clone();
        let readings = read(devices, move |requests| serve_amd(&sysfs, requests)).await;
        let reason = readings.gpus[0].lost.as_deref().unwrap();
        assert_eq!(reason, "it is not in sysfs any more");
    }

    #[tokio::test]
    async fn processors_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let sysfs = host(folder.path()).sysfs;
        let zones = read(Vec::new(), move |requests| serve_cpu(&sysfs, requests))
            .await
            .zones;
        let found: Vec<_> = zones
            .iter()
            .map(|zone| (zone.zone.as_str(), zone.temperature_c, zone.critical_c))
            .collect();
        assert_eq!(
            found,
            [
                ("coretemp Package id 0 (hwmon2)", Some(48), Some(100)),
                ("k10temp Tctl (hwmon7)", Some(61), None),
                ("x86_pkg_temp (thermal_zone1)", Some(49), Some(105)),
            ]
        );
    }

    #[tokio::test]
    async fn host_without_sensors_has_no_values() {
        let folder = tempfile::tempdir().unwrap();
        let sysfs = folder.path().join("sys");
        let of_cpu = sysfs.clone();
        let readings = read(Vec::new(), move |requests| serve_cpu(&of_cpu, requests)).await;
        assert_eq!(readings, Readings::default());

        let class = sysfs.join("class/drm/renderD128/device");
        write(&class, &[("vendor", "0x1002")]);
        let device = Device {
            kind: DeviceKind::Amd {
                render_node: "/dev/dri/renderD128".into(),
            },
            ..Device::only_known_by(DeviceId("0000:03:00.0".into()))
        };
        let readings = read(vec![device], move |requests| serve_amd(&sysfs, requests)).await;
        assert_eq!(
            readings.gpus,
            [GpuReading::empty("0000:03:00.0", Driver::Amd, "")]
        );
    }
}
