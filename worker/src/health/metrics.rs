//! Metrics of health: the machine's level for everybody, and the values of each GPU, each processor and
//! each job for the provider.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{GaugeVec, IntGauge, Opts, Registry};

use super::{
    judge::Verdict,
    reading::{GpuReading, Readings, ThrottleReason},
};
use crate::devices::SlotView;

/// Gauges of one name whose labels come and go with the devices and jobs.
#[derive(Clone)]
struct Family {
    gauges: GaugeVec,
    /// Labels that are shown.
    shown: Arc<Mutex<BTreeSet<Vec<String>>>>,
}

impl Family {
    fn new(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Self {
            gauges,
            shown: Arc::default(),
        })
    }

    /// Shows these values, and no others any more.
    fn show(&self, values: impl IntoIterator<Item = (Vec<String>, f64)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        for (labels, value) in values {
            if let Ok(gauge) = self.gauges.get_metric_with_label_values(&texts(&labels)) {
                gauge.set(value);
                now.insert(labels);
            }
        }
        for gone in shown.difference(&now) {
            // It is there: it was shown.
            let _ = self.gauges.remove_label_values(&texts(gone));
        }
        *shown = now;
    }
}

fn texts(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}

/// Metrics of the machine's health.
#[derive(Clone)]
pub struct HealthMetrics {
    level: IntGauge,
    temperature: Family,
    memory_temperature: Family,
    power: Family,
    power_limit: Family,
    fan: Family,
    graphics_clock: Family,
    memory_clock: Family,
    throttled: Family,
    uncorrected_ecc: Family,
    cpu_temperature: Family,
    job_temperature: Family,
    job_power: Family,
    job_graphics_clock: Family,
}

/// Labels of a GPU's values.
const GPU: [&str; 2] = ["device", "slot"];

/// Labels of a job's values.
const JOB: [&str; 2] = ["job", "device"];

impl HealthMetrics {
    /// Creates the metrics: the level in the public registry, all others in the private one.
    pub fn new(public: &Registry, private: &Registry) -> Result<Self, prometheus::Error> {
        let level = IntGauge::new(
            "health_level",
            "0 fine, 1 warning, 2 no new jobs, 3 suspended on chain",
        )?;
        public.register(Box::new(level.clone()))?;
        let gpu = |name, help| Family::new(private, name, help, &GPU);
        let job = |name, help| Family::new(private, name, help, &JOB);
        Ok(Self {
            level,
            temperature: gpu("gpu_temperature_celsius", "Temperature of the GPU's chip")?,
            memory_temperature: gpu(
                "gpu_memory_temperature_celsius",
                "Temperature of the GPU's memory",
            )?,
            power: gpu("gpu_power_watts", "Power of the GPU")?,
            power_limit: gpu("gpu_power_limit_watts", "Power limit of the GPU")?,
            fan: gpu("gpu_fan_percent", "Speed of the GPU's slowest fan")?,
            graphics_clock: gpu("gpu_graphics_clock_mhz", "Clock of the GPU's graphics engine")?,
            memory_clock: gpu("gpu_memory_clock_mhz", "Clock of the GPU's memory")?,
            throttled: gpu(
                "gpu_throttled",
                "1 while the GPU is slowed down for heat or by its power supply",
            )?,
            uncorrected_ecc: gpu(
                "gpu_uncorrected_ecc_errors",
                "Uncorrected memory errors since the GPU's driver was loaded",
            )?,
            cpu_temperature: Family::new(
                private,
                "cpu_temperature_celsius",
                "Temperature of the processor, by sensor",
                &["zone"],
            )?,
            job_temperature: job("job_gpu_temperature_celsius", "Temperature of a job's GPU")?,
            job_power: job("job_gpu_power_watts", "Power of a job's GPU")?,
            job_graphics_clock: job("job_gpu_graphics_clock_mhz", "Clock of a job's GPU")?,
        })
    }

    /// Shows plausible readings and their verdict; the values of devices and jobs that are gone are removed.
    pub fn show(&self, readings: &Readings, slots: &[SlotView], verdict: &Verdict) {
        self.level.set(verdict.level.rank());
        let of_gpus = |family: &Family, value: fn(&GpuReading) -> Option<f64>| {
            family.show(readings.gpus.iter().filter_map(|reading| {
                let labels = vec![reading.device.clone(), slot_of(slots, &reading.device)];
                Some((labels, value(reading)?))
            }));
        };
        of_gpus(&self.temperature, |gpu| {
            gpu.temperature_c.map(|value| value as f64)
        });
        of_gpus(&self.memory_temperature, |gpu| {
            gpu.memory_temperature_c.map(|value| value as f64)
        });
        of_gpus(&self.power, |gpu| gpu.power_mw.map(watts));
        of_gpus(&self.power_limit, |gpu| gpu.power_limit_mw.map(watts));
        of_gpus(&self.fan, |gpu| gpu.fan_percent.map(|value| value as f64));
        of_gpus(&self.graphics_clock, |gpu| {
            gpu.graphics_clock_mhz.map(|value| value as f64)
        });
        of_gpus(&self.memory_clock, |gpu| {
            gpu.memory_clock_mhz.map(|value| value as f64)
        });
        of_gpus(&self.throttled, |gpu| {
            gpu.lost.is_none().then(|| f64::from(u8::from(is_throttled(gpu))))
        });
        of_gpus(&self.uncorrected_ecc, |gpu| {
            gpu.uncorrected_ecc.map(|value| value as f64)
        });
        self.cpu_temperature
            .show(readings.zones.iter().filter_map(|zone| {
                let temperature_c = zone.temperature_c?;
                Some((vec![zone.zone.clone()], temperature_c as f64))
            }));
        let of_jobs = |family: &Family, value: fn(&GpuReading) -> Option<f64>| {
            family.show(slots.iter().filter_map(|slot| {
                let (job, device) = (slot.job?, slot.device.as_ref()?);
                let reading = readings.gpus.iter().find(|reading| reading.device == device.0)?;
                Some((vec![job.to_string(), device.0.clone()], value(reading)?))
            }));
        };
        of_jobs(&self.job_temperature, |gpu| {
            gpu.temperature_c.map(|value| value as f64)
        });
        of_jobs(&self.job_power, |gpu| gpu.power_mw.map(watts));
        of_jobs(&self.job_graphics_clock, |gpu| {
            gpu.graphics_clock_mhz.map(|value| value as f64)
        });
    }
}

fn watts(milliwatts: u64) -> f64 {
    milliwatts as f64 / 1_000.0
}

fn is_throttled(reading: &GpuReading) -> bool {
    reading.throttled.iter().any(|reason| {
        matches!(
            reason,
            ThrottleReason::HardwareSlowdown
                | ThrottleReason::HardwareThermal
                | ThrottleReason::SoftwareThermal
                | ThrottleReason::PowerBrake
        )
    })
}

/// Returns the number of a device's slot; empty for a device without one.
fn slot_of(slots: &[SlotView], device: &str) -> String {
    let is_of = |slot: &&SlotView| slot.device.as_ref().is_some_and(|id| id.0 == device);
    slots
        .iter()
        .find(is_of)
        .map(|slot| slot.slot.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        devices::{DeviceId, SlotState},
        health::{board::tests::verdict, judge::Level, reading::Driver},
        metrics::Metrics,
    };

    fn slot(slot: u8, device: &str, job: Option<u64>) -> SlotView {
        SlotView {
            slot,
            state: SlotState::Leased,
            job,
            device: Some(DeviceId(device.into())),
            pci_address: None,
            problem: None,
        }
    }

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = String::from_utf8(metrics.render_all().unwrap()).unwrap();
        let start = format!("assay_worker_{name}");
        let found = text.lines().filter(|line| line.starts_with(&start));
        found.map(|line| line[start.len()..].to_owned()).collect()
    }

    #[test]
    fn values_are_there_for_each_device_and_job_and_go_with_them() {
        let metrics = Metrics::new().unwrap();
        let gpu = |device: &str| GpuReading {
            temperature_c: Some(61),
            power_mw: Some(305_500),
            throttled: vec![ThrottleReason::HardwareThermal],
            ..GpuReading::empty(device, Driver::Nvidia, "")
        };
        let mut readings = Readings {
            gpus: vec![gpu("GPU-1"), gpu("GPU-2")],
            ..Readings::default()
        };
        let slots = [slot(0, "GPU-1", Some(7)), slot(1, "GPU-2", None)];
        let verdict = verdict(Level::NoNewJobs);
        metrics.health.show(&readings, &slots, &verdict);
        assert_eq!(lines(&metrics, "health_level"), [" 2"]);
        assert_eq!(
            lines(&metrics, "gpu_power_watts"),
            [
                r#"{device="GPU-1",slot="0"} 305.5"#,
                r#"{device="GPU-2",slot="1"} 305.5"#
            ]
        );
        assert_eq!(lines(&metrics, "gpu_throttled").len(), 2);
        assert_eq!(
            lines(&metrics, "job_gpu_temperature_celsius"),
            [r#"{device="GPU-1",job="7"} 61"#]
        );
        assert!(lines(&metrics, "gpu_fan_percent").is_empty());

        readings.gpus.pop();
        metrics
            .health
            .show(&readings, &[slot(0, "GPU-1", Some(8))], &verdict);
        assert_eq!(lines(&metrics, "gpu_power_watts").len(), 1);
        assert_eq!(
            lines(&metrics, "job_gpu_power_watts"),
            [r#"{device="GPU-1",job="8"} 305.5"#]
        );
        metrics
            .health
            .show(&readings, &[slot(0, "GPU-1", None)], &verdict);
        assert!(lines(&metrics, "job_gpu_power_watts").is_empty());
        assert_eq!(lines(&metrics, "gpu_power_watts").len(), 1);
    }
}
