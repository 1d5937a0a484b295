//! Temperatures at which the level rises: by the settings, else by the device itself, else by a table.

use std::ops::RangeInclusive;

use super::reading::{Driver, GpuReading, ZoneReading};

/// Thresholds that a device may tell and the settings may have, in °C. Outside, a device's own are not
/// believed.
pub(crate) const ALLOWED_C: RangeInclusive<i64> = 40..=125;

/// Distance between the temperature up to which a chip keeps its clocks and the one that is worth a warning.
const WARNING_MARGIN_C: i64 = 5;

/// Distances below a critical temperature at which jobs stop and which is worth a warning.
const CRITICAL_MARGINS_C: (i64, i64) = (5, 10);

/// Distances below the memory's maximum temperature at which jobs stop and which is worth a warning.
const MEMORY_MARGINS_C: (i64, i64) = (3, 8);

/// Names of NVIDIA's products for consumers and workstations; all others are for data centres.
const CONSUMER_NAMES: [&str; 5] = ["GEFORCE", "TITAN", "RTX", "GTX", "QUADRO"];

/// Ascending temperatures, in °C, at which the level rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Warning.
    pub warn_c: i64,
    /// No new jobs.
    pub stop_c: i64,
    /// Suspension on chain.
    pub suspend_c: i64,
}

/// Chips of NVIDIA for data centres: A100, H100 and their relatives.
const DATA_CENTRE: Thresholds = Thresholds::new(80, 85, 89);

/// Memory of these chips (HBM).
const DATA_CENTRE_MEMORY: Thresholds = Thresholds::new(90, 95, 100);

/// Chips of NVIDIA for consumers, which keep to a target of 83 to 84 °C by themselves.
const CONSUMER: Thresholds = Thresholds::new(87, 90, 95);

/// Memory of these chips (GDDR6X and GDDR7), which slows down at 110 °C.
const CONSUMER_MEMORY: Thresholds = Thresholds::new(100, 105, 109);

/// Chips of AMD.
const AMD: Thresholds = Thresholds::new(90, 95, 100);

/// Memory of AMD's GPUs.
const AMD_MEMORY: Thresholds = Thresholds::new(96, 102, 107);

/// Processors.
const CPU: Thresholds = Thresholds::new(85, 92, 97);

impl Thresholds {
    /// Creates thresholds; the caller names them in ascending order.
    pub const fn new(warn_c: i64, stop_c: i64, suspend_c: i64) -> Self {
        Self {
            warn_c,
            stop_c,
            suspend_c,
        }
    }

    /// Returns true if the thresholds ascend and are in the allowed range.
    pub fn are_sound(&self) -> bool {
        self.warn_c < self.stop_c
            && self.stop_c < self.suspend_c
            && [self.warn_c, self.stop_c, self.suspend_c]
                .iter()
                .all(|threshold| ALLOWED_C.contains(threshold))
    }
}

/// `assay.health`: temperatures at which the level rises. A group of three is given whole or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthSettings {
    /// `gpu_warn_c`, `gpu_stop_c`, `gpu_suspend_c`: of GPUs' chips, 40 to 125 °C, ascending. Default: what
    /// the device tells, else a table by kind.
    pub gpu: Option<Thresholds>,
    /// `gpu_memory_warn_c`, `gpu_memory_stop_c`, `gpu_memory_suspend_c`: of GPUs' memory, as above.
    pub gpu_memory: Option<Thresholds>,
    /// `cpu_warn_c`, `cpu_stop_c`, `cpu_suspend_c`: of processors, as above.
    pub cpu: Option<Thresholds>,
}

impl HealthSettings {
    /// Returns the thresholds of a GPU's chip.
    pub fn of_gpu(&self, reading: &GpuReading) -> Thresholds {
        let told = reading.slowdown_c.and_then(|slowdown_c| {
            let stop_c = reading
                .maximum_c
                .unwrap_or_else(|| slowdown_c.saturating_sub(CRITICAL_MARGINS_C.0));
            sound(Thresholds::new(
                stop_c.saturating_sub(WARNING_MARGIN_C),
                stop_c,
                slowdown_c,
            ))
        });
        self.gpu.or(told).unwrap_or(match reading.driver {
            Driver::Amd => AMD,
            _ if is_consumer(&reading.name) => CONSUMER,
            _ => DATA_CENTRE,
        })
    }

    /// Returns the thresholds of a GPU's memory.
    pub fn of_gpu_memory(&self, reading: &GpuReading) -> Thresholds {
        let told = reading
            .memory_maximum_c
            .and_then(|maximum_c| below(maximum_c, MEMORY_MARGINS_C));
        self.gpu_memory.or(told).unwrap_or(match reading.driver {
            Driver::Amd => AMD_MEMORY,
            _ if is_consumer(&reading.name) => CONSUMER_MEMORY,
            _ => DATA_CENTRE_MEMORY,
        })
    }

    /// Returns the thresholds of a processor.
    pub fn of_zone(&self, reading: &ZoneReading) -> Thresholds {
        let told = reading
            .critical_c
            .and_then(|critical_c| below(critical_c, CRITICAL_MARGINS_C));
        self.cpu.or(told).unwrap_or(CPU)
    }
}

/// Returns thresholds that end at a temperature.
fn below(suspend_c: i64, (stop_margin_c, warning_margin_c): (i64, i64)) -> Option<Thresholds> {
    sound(Thresholds::new(
        suspend_c.saturating_sub(warning_margin_c),
        suspend_c.saturating_sub(stop_margin_c),
        suspend_c,
    ))
}

fn sound(thresholds: Thresholds) -> Option<Thresholds> {
    thresholds.are_sound().then_some(thresholds)
}

fn is_consumer(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    CONSUMER_NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, driver: Driver) -> GpuReading {
        GpuReading::empty("GPU-1", driver, name)
    }

    #[test]
    fn devices_that_tell_their_limits_are_believed() {
        let settings = HealthSettings::default();
        let reading = GpuReading {
            maximum_c: Some(85),
            slowdown_c: Some(92),
            memory_maximum_c: Some(95),
            ..gpu("NVIDIA A100-SXM4-80GB", Driver::Nvidia)
        };
        assert_eq!(settings.of_gpu(&reading), Thresholds::new(80, 85, 92));
        assert_eq!(settings.of_gpu_memory(&reading), Thresholds::new(87, 92, 95));
        let reading = GpuReading {
            maximum_c: None,
            slowdown_c: Some(100),
            ..gpu("", Driver::Amd)
        };
        assert_eq!(settings.of_gpu(&reading), Thresholds::new(90, 95, 100));
        let zone = |critical_c| ZoneReading {
            zone: "coretemp".into(),
            temperature_c: None,
            critical_c,
        };
        assert_eq!(settings.of_zone(&zone(Some(105))), Thresholds::new(95, 100, 105));
        assert_eq!(settings.of_zone(&zone(None)), CPU);
    }

    #[test]
    fn limits_that_make_no_sense_give_way_to_the_table() {
        let settings = HealthSettings::default();
        for (maximum_c, slowdown_c) in [(Some(95), 90), (Some(0), 0), (None, 149), (None, i64::MIN)] {
            let reading = GpuReading {
                maximum_c,
                slowdown_c: Some(slowdown_c),
                ..gpu("NVIDIA H100 PCIe", Driver::Nvidia)
            };
            assert_eq!(
                settings.of_gpu(&reading),
                DATA_CENTRE,
                "{maximum_c:?} {slowdown_c}"
            );
        }
    }

    #[test]
    fn kinds_have_thresholds_of_their_own_and_settings_go_first() {
        let settings = HealthSettings::default();
        for (name, driver, expected, memory) in [
            (
                "NVIDIA H100 80GB HBM3",
                Driver::Nvidia,
                DATA_CENTRE,
                DATA_CENTRE_MEMORY,
            ),
            (
                "NVIDIA GeForce RTX 4090",
                Driver::Nvidia,
                CONSUMER,
                CONSUMER_MEMORY,
            ),
            ("AMD Instinct MI300X", Driver::Amd, AMD, AMD_MEMORY),
        ] {
            assert_eq!(settings.of_gpu(&gpu(name, driver)), expected, "{name}");
            assert_eq!(settings.of_gpu_memory(&gpu(name, driver)), memory, "{name}");
        }
        let own = Thresholds::new(60, 70, 80);
        let settings = HealthSettings {
            gpu: Some(own),
            ..settings
        };
        let reading = GpuReading {
            slowdown_c: Some(92),
            ..gpu("NVIDIA H100 PCIe", Driver::Nvidia)
        };
        assert_eq!(settings.of_gpu(&reading), own);
    }

    #[test]
    fn table_is_sound() {
        for thresholds in [
            DATA_CENTRE,
            DATA_CENTRE_MEMORY,
            CONSUMER,
            CONSUMER_MEMORY,
            AMD,
            AMD_MEMORY,
            CPU,
        ] {
            assert!(thresholds.are_sound(), "{thresholds:?}");
        }
        assert!(!Thresholds::new(80, 80, 90).are_sound());
        assert!(!Thresholds::new(39, 80, 90).are_sound());
    }
}
