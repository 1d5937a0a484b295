//! The values that are read from GPUs and processors, and their plausible ranges.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// Temperatures that a sensor of a running machine may report, in °C. Broken sensors tend to report 0 K, 255
/// or the largest number of their register.
const PLAUSIBLE_C: RangeInclusive<i64> = -20..=150;

/// Clocks that a GPU may report, in MHz. Memory of consumer GPUs reports 10,501 and more.
const PLAUSIBLE_MHZ: RangeInclusive<u64> = 0..=50_000;

/// Power that a GPU may report, in mW: ten kilowatts.
const PLAUSIBLE_MW: RangeInclusive<u64> = 0..=10_000_000;

/// Speed that a fan may report, in percent of the speed at which its noise is tolerable.
const PLAUSIBLE_PERCENT: RangeInclusive<u64> = 0..=200;

/// Offsets of clocks that a driver may report, in MHz.
const PLAUSIBLE_OFFSET_MHZ: RangeInclusive<i64> = -10_000..=10_000;

/// Maximum number of Xids that one reading of a GPU counts.
pub const MAX_XIDS: usize = 64;

/// Source of readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// NVIDIA's driver, through its management library.
    Nvidia,
    /// The kernel's amdgpu, through sysfs.
    Amd,
    /// The kernel's sensors of processors, through sysfs.
    Cpu,
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nvidia => "NVIDIA's driver",
            Self::Amd => "AMD's driver",
            Self::Cpu => "the kernel's sensors of processors",
        })
    }
}

/// Reason why a GPU runs below the clocks that it could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// Nothing to do.
    Idle,
    /// Clocks that somebody set.
    Setting,
    /// Power limit.
    PowerCap,
    /// The hardware slows down, for heat or for power.
    HardwareSlowdown,
    /// The hardware slows down for heat.
    HardwareThermal,
    /// The driver slows down for heat.
    SoftwareThermal,
    /// The power supply asks for less.
    PowerBrake,
    /// GPUs that boost together.
    SyncBoost,
}

/// Reading of one GPU. Every value is optional: GPUs and drivers differ in what they report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuReading {
    /// Identity: the UUID of an NVIDIA GPU, the PCI address of another one.
    pub device: String,
    /// Source of the reading.
    pub driver: Driver,
    /// Name of the product.
    #[serde(default)]
    pub name: String,
    /// Reason why the driver does not reach the GPU; no value is there then.
    #[serde(default)]
    pub lost: Option<String>,
    /// Temperature of the chip.
    #[serde(default)]
    pub temperature_c: Option<i64>,
    /// Temperature of the memory.
    #[serde(default)]
    pub memory_temperature_c: Option<i64>,
    /// Temperature up to which the chip keeps its clocks, by its vendor.
    #[serde(default)]
    pub maximum_c: Option<i64>,
    /// Temperature at which the hardware slows down, by its vendor.
    #[serde(default)]
    pub slowdown_c: Option<i64>,
    /// Temperature at which the hardware turns itself off, by its vendor.
    #[serde(default)]
    pub shutdown_c: Option<i64>,
    /// Temperature up to which the memory keeps its clocks, by its vendor.
    #[serde(default)]
    pub memory_maximum_c: Option<i64>,
    /// Power drawn, in mW.
    #[serde(default)]
    pub power_mw: Option<u64>,
    /// Power limit in force, in mW.
    #[serde(default)]
    pub power_limit_mw: Option<u64>,
    /// Speed of the fan, in percent; of the slowest one if there are several.
    #[serde(default)]
    pub fan_percent: Option<u64>,
    /// Clock of the graphics engine, in MHz.
    #[serde(default)]
    pub graphics_clock_mhz: Option<u64>,
    /// Clock of the memory, in MHz.
    #[serde(default)]
    pub memory_clock_mhz: Option<u64>,
    /// The vendor's maximum of [`Self::graphics_clock_mhz`].
    #[serde(default)]
    pub max_graphics_clock_mhz: Option<u64>,
    /// The vendor's maximum of [`Self::memory_clock_mhz`].
    #[serde(default)]
    pub max_memory_clock_mhz: Option<u64>,
    /// Offset by which somebody moved the clocks of the graphics engine, in MHz.
    #[serde(default)]
    pub graphics_offset_mhz: Option<i64>,
    /// Offset by which somebody moved the clocks of the memory, in MHz.
    #[serde(default)]
    pub memory_offset_mhz: Option<i64>,
    /// Overdrive of AMD's driver, in percent of the vendor's clocks.
    #[serde(default)]
    pub overdrive_percent: Option<u64>,
    /// Reasons why the clocks are below those that the GPU could have.
    #[serde(default)]
    pub throttled: Vec<ThrottleReason>,
    /// Number of uncorrected memory errors since the driver was loaded.
    #[serde(default)]
    pub uncorrected_ecc: Option<u64>,
    /// True if memory is to be replaced by spare memory at the next reset.
    #[serde(default)]
    pub remap_pending: Option<bool>,
    /// True if bad memory could not be replaced by spare memory.
    #[serde(default)]
    pub remap_failed: Option<bool>,
    /// Energy used since the driver was loaded, in mJ. A value below an earlier one tells of a reset.
    #[serde(default)]
    pub energy_mj: Option<u64>,
    /// Xids since the last reading, at most [`MAX_XIDS`].
    #[serde(default)]
    pub xids: Vec<u64>,
}

impl GpuReading {
    /// Creates a reading without values.
    pub fn empty(device: impl Into<String>, driver: Driver, name: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            driver,
            name: name.into(),
            lost: None,
            temperature_c: None,
            memory_temperature_c: None,
            maximum_c: None,
            slowdown_c: None,
            shutdown_c: None,
            memory_maximum_c: None,
            power_mw: None,
            power_limit_mw: None,
            fan_percent: None,
            graphics_clock_mhz: None,
            memory_clock_mhz: None,
            max_graphics_clock_mhz: None,
            max_memory_clock_mhz: None,
            graphics_offset_mhz: None,
            memory_offset_mhz: None,
            overdrive_percent: None,
            throttled: Vec::new(),
            uncorrected_ecc: None,
            remap_pending: None,
            remap_failed: None,
            energy_mj: None,
            xids: Vec::new(),
        }
    }

    /// Creates the reading of a GPU that its driver does not reach.
    pub fn lost(
        device: impl Into<String>,
        driver: Driver,
        name: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            lost: Some(reason.into()),
            ..Self::empty(device, driver, name)
        }
    }

    /// Returns the reading without the values that no GPU has, and a sentence for each of those.
    #[must_use]
    pub fn plausible(mut self) -> (Self, Vec<String>) {
        let mut ignored = Vec::new();
        let mut check = |name, unit, value: &mut Option<i64>, range| {
            keep_plausible(value, range, name, unit, &mut ignored);
        };
        check("temperature", "°C", &mut self.temperature_c, &PLAUSIBLE_C);
        check(
            "memory temperature",
            "°C",
            &mut self.memory_temperature_c,
            &PLAUSIBLE_C,
        );
        check("maximum temperature", "°C", &mut self.maximum_c, &PLAUSIBLE_C);
        check("slowdown temperature", "°C", &mut self.slowdown_c, &PLAUSIBLE_C);
        check("shutdown temperature", "°C", &mut self.shutdown_c, &PLAUSIBLE_C);
        check(
            "maximum memory temperature",
            "°C",
            &mut self.memory_maximum_c,
            &PLAUSIBLE_C,
        );
        check(
            "offset of the graphics clock",
            "MHz",
            &mut self.graphics_offset_mhz,
            &PLAUSIBLE_OFFSET_MHZ,
        );
        check(
            "offset of the memory clock",
            "MHz",
            &mut self.memory_offset_mhz,
            &PLAUSIBLE_OFFSET_MHZ,
        );
        let mut check = |name, unit, value: &mut Option<u64>, range| {
            keep_plausible(value, range, name, unit, &mut ignored);
        };
        check("power", "mW", &mut self.power_mw, &PLAUSIBLE_MW);
        check("power limit", "mW", &mut self.power_limit_mw, &PLAUSIBLE_MW);
        check("fan speed", "%", &mut self.fan_percent, &PLAUSIBLE_PERCENT);
        check(
            "graphics clock",
            "MHz",
            &mut self.graphics_clock_mhz,
            &PLAUSIBLE_MHZ,
        );
        check("memory clock", "MHz", &mut self.memory_clock_mhz, &PLAUSIBLE_MHZ);
        check(
            "maximum graphics clock",
            "MHz",
            &mut self.max_graphics_clock_mhz,
            &PLAUSIBLE_MHZ,
        );
        check(
            "maximum memory clock",
            "MHz",
            &mut self.max_memory_clock_mhz,
            &PLAUSIBLE_MHZ,
        );
        self.xids.truncate(MAX_XIDS);
        (self, ignored)
    }
}

/// Reading of one processor's sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneReading {
    /// Name of the sensor, such as `coretemp Package id 0`.
    pub zone: String,
    /// Temperature.
    #[serde(default)]
    pub temperature_c: Option<i64>,
    /// Temperature at which the processor protects itself.
    #[serde(default)]
    pub critical_c: Option<i64>,
}

impl ZoneReading {
    /// Returns the reading without the values that no processor has, and a sentence for each of those.
    #[must_use]
    pub fn plausible(mut self) -> (Self, Vec<String>) {
        let mut ignored = Vec::new();
        keep_plausible(
            &mut self.temperature_c,
            &PLAUSIBLE_C,
            "temperature",
            "°C",
            &mut ignored,
        );
        keep_plausible(
            &mut self.critical_c,
            &PLAUSIBLE_C,
            "critical temperature",
            "°C",
            &mut ignored,
        );
        (self, ignored)
    }
}

fn keep_plausible<T: PartialOrd + fmt::Display>(
    value: &mut Option<T>,
    range: &RangeInclusive<T>,
    name: &str,
    unit: &str,
    ignored: &mut Vec<String>,
) {
    if let Some(found) = value.take_if(|found| !range.contains(&*found)) {
        ignored.push(format!("it reports a {name} of {found} {unit}, which is ignored"));
    }
}

/// A source that did not answer within its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// The source.
    pub driver: Driver,
    /// Reason, without a full stop.
    pub reason: String,
}

/// Readings of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readings {
    /// The GPUs.
    #[serde(default)]
    pub gpus: Vec<GpuReading>,
    /// The processors.
    #[serde(default)]
    pub zones: Vec<ZoneReading>,
    /// Sources that did not answer, whose devices are missing above.
    #[serde(default)]
    pub silent: Vec<Silence>,
}

impl Readings {
    /// Adds the readings of another source.
    pub fn extend(&mut self, more: Self) {
        self.gpus.extend(more.gpus);
        self.zones.extend(more.zones);
        self.silent.extend(more.silent);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nonsense_is_ignored_with_a_reason() {
        let reading = GpuReading {
            temperature_c: Some(255),
            memory_temperature_c: Some(-273),
            power_mw: Some(u64::MAX),
            graphics_clock_mhz: Some(2_520),
            graphics_offset_mhz: Some(i64::MIN),
            xids: vec![31; 2 * MAX_XIDS],
            ..GpuReading::empty("GPU-1", Driver::Nvidia, "")
        };
        let (reading, ignored) = reading.plausible();
        assert_eq!(
            (reading.temperature_c, reading.memory_temperature_c),
            (None, None)
        );
        assert_eq!((reading.power_mw, reading.graphics_offset_mhz), (None, None));
        assert_eq!(reading.graphics_clock_mhz, Some(2_520));
        assert_eq!(reading.xids.len(), MAX_XIDS);
        assert_eq!(ignored.len(), 4);
        assert_eq!(ignored[0], "it reports a temperature of 255 °C, which is ignored");
    }

    #[test]
    fn readings_are_read_with_what_they_have() {
        let text = r#"{"gpus":[{"device":"GPU-1","driver":"nvidia","temperature_c":40,"throttled":["hardware_thermal"]}]}"#;
        let readings: Readings = serde_json::from_str(text).unwrap();
        assert_eq!(readings.gpus[0].temperature_c, Some(40));
        assert_eq!(readings.gpus[0].throttled, [ThrottleReason::HardwareThermal]);
        assert_eq!(readings.gpus[0].power_mw, None);
        let unknown = text.replace("temperature_c", "temperature_f");
        assert!(serde_json::from_str::<Readings>(&unknown).is_err());
    }
}
