//! One reading of all devices, for `assay-worker check`.

use super::{
    monitor::{READING_LIMIT, Sources},
    reading::{GpuReading, ZoneReading},
    thresholds::{HealthSettings, Thresholds},
};
use crate::devices::Machine;

/// Facts of one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSurvey {
    /// Readings that are in order.
    pub good: Vec<String>,
    /// Facts that deserve attention: heat, and values that cannot be read.
    pub notes: Vec<String>,
}

/// Reads the devices that a machine offers, and the host's processors, once.
pub async fn look(machine: Machine, settings: HealthSettings) -> HealthSurvey {
    let paths = machine.paths.clone();
    let mut survey = HealthSurvey::default();
    // Drivers may block for any time.
    let listed = tokio::task::spawn_blocking(move || machine.inventory());
    let devices = match tokio::time::timeout(READING_LIMIT, listed).await {
        Ok(Ok(inventory)) => inventory.devices,
        Ok(Err(error)) => {
            survey.notes.push(format!("listing the GPUs failed: {error}"));
            Vec::new()
        }
        Err(_) => {
            survey
                .notes
                .push("the drivers do not list the GPUs in time; restart the host".to_owned());
            Vec::new()
        }
    };
    let readings = Sources::of(&paths).read(&devices, false, READING_LIMIT).await;
    for silence in readings.silent {
        survey
            .notes
            .push(format!("{} does not answer: {}", silence.driver, silence.reason));
    }
    for gpu in readings.gpus {
        survey.add_gpu(gpu, &settings);
    }
    if readings.zones.is_empty() {
        survey.notes.push(
            "no sensor of a processor is in /sys/class/hwmon or /sys/class/thermal; load its module (coretemp, k10temp), \
             or nobody sees it overheat"
                .to_owned(),
        );
    }
    for zone in readings.zones {
        survey.add_zone(zone, &settings);
    }
    survey
}

impl HealthSurvey {
    fn add_gpu(&mut self, reading: GpuReading, settings: &HealthSettings) {
        let (reading, ignored) = reading.plausible();
        let who = format!("{} {}", reading.name, reading.device);
        let who = who.trim();
        if let Some(reason) = &reading.lost {
            self.notes.push(format!("{who} does not answer: {reason}"));
            return;
        }
        let values = [
            reading
                .memory_temperature_c
                .map(|value| format!("memory {value} °C")),
            reading.power_mw.map(|value| format!("{} W", value / 1_000)),
            reading.fan_percent.map(|value| format!("fan {value} %")),
            reading.graphics_clock_mhz.map(|value| format!("{value} MHz")),
        ];
        let values: Vec<String> = values.into_iter().flatten().collect();
        let thresholds = settings.of_gpu(&reading);
        self.add_temperature(who, reading.temperature_c, &thresholds, &values);
        let missing: Vec<&str> = [
            ("power", reading.power_mw.is_none()),
            ("clocks", reading.graphics_clock_mhz.is_none()),
            ("memory temperature", reading.memory_temperature_c.is_none()),
            ("memory errors", reading.uncorrected_ecc.is_none()),
            ("fan", reading.fan_percent.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            self.notes
                .push(format!("{who} does not report: {}", missing.join(", ")));
        }
        self.notes
            .extend(ignored.into_iter().map(|reason| format!("{who}: {reason}")));
    }

    fn add_zone(&mut self, reading: ZoneReading, settings: &HealthSettings) {
        let (reading, ignored) = reading.plausible();
        let thresholds = settings.of_zone(&reading);
        let who = format!("processor, {}", reading.zone);
        self.add_temperature(&who, reading.temperature_c, &thresholds, &[]);
        self.notes
            .extend(ignored.into_iter().map(|reason| format!("{who}: {reason}")));
    }

    fn add_temperature(
        &mut self,
        who: &str,
        temperature_c: Option<i64>,
        thresholds: &Thresholds,
        more: &[String],
    ) {
        let Some(temperature_c) = temperature_c else {
            self.notes.push(format!(
                "{who} reports no temperature, so nobody sees it overheat"
            ));
            return;
        };
        let mut text = format!("{who} is at {temperature_c} °C");
        for value in more {
            text.push_str(", ");
            text.push_str(value);
        }
        text.push_str(&format!(
            "; warning from {} °C, no new jobs from {} °C, suspended from {} °C",
            thresholds.warn_c, thresholds.stop_c, thresholds.suspend_c
        ));
        if temperature_c >= thresholds.warn_c {
            self.notes.push(text);
        } else {
            self.good.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        config::Gpus,
        health::{nvidia::tests::install, sysfs::tests::add_cpu},
    };

    #[tokio::test]
    async fn readings_and_what_cannot_be_read_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let paths = install(folder.path(), 1, -1);
        let machine = Machine {
            slots: 1,
            gpus: Some(Gpus {
                model: "RTX_4090".into(),
                count: 1,
                allow_overclock: false,
            }),
            paths: paths.clone(),
        };
        let survey = look(machine.clone(), HealthSettings::default()).await;
        assert_eq!(
            survey.good,
            [
                "NVIDIA GeForce RTX 4090 GPU-00000000-0000-0000-0000-000000000000 is at 45 °C, memory 51 °C, 310 W, 1755 MHz; \
                 warning from 82 °C, no new jobs from 87 °C, suspended from 92 °C"
            ]
        );
        assert!(survey.notes[0].ends_with("does not report: fan"), "{survey:?}");
        assert!(survey.notes[1].contains("load its module"), "{survey:?}");

        add_cpu(&paths.sysfs, 91_000);
        let survey = look(machine, HealthSettings::default()).await;
        assert_eq!(
            survey.notes[1],
            "processor, coretemp Package id 0 (hwmon2) is at 91 °C; warning from 90 °C, no new jobs from 95 °C, suspended \
             from 100 °C"
        );
    }
}
