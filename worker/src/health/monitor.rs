//! Reads the sources at intervals, judges, and shows the verdict.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    board::HealthBoard,
    judge::{Judge, Level, SuspendCause, Verdict},
    nvidia,
    probe::Probe,
    reading::{Driver, GpuReading, Readings, Silence, ZoneReading},
    sysfs,
};
use crate::{
    devices::{Device, DeviceId, DeviceKind, DeviceLedger, HostPaths},
    metrics::Metrics,
};

/// Interval of readings.
pub const READING_INTERVAL: Duration = Duration::from_secs(10);

/// Time in which a source must answer. Opening a driver that keeps nothing in memory takes some seconds for
/// each GPU.
pub(super) const READING_LIMIT: Duration = Duration::from_secs(20);

/// Maximum number of devices that are read: those of all slots, and those that had a slot before.
const MAX_DEVICES: usize = 128;

/// The sources of a host.
pub(super) struct Sources {
    nvidia: Probe,
    amd: Probe,
    cpu: Probe,
}

impl Sources {
    /// Creates the sources of a host, which are asked with the first reading.
    pub(super) fn of(paths: &HostPaths) -> Self {
        let (library, of_amd, of_cpu) = (paths.nvml.clone(), paths.sysfs.clone(), paths.sysfs.clone());
        Self {
            nvidia: Probe::new(Driver::Nvidia, move |requests| {
                nvidia::serve(&library, requests);
            }),
            amd: Probe::new(Driver::Amd, move |requests| sysfs::serve_amd(&of_amd, requests)),
            cpu: Probe::new(Driver::Cpu, move |requests| sysfs::serve_cpu(&of_cpu, requests)),
        }
    }

    /// Reads all sources that have something to read. A source that does not answer within `limit` is named.
    pub(super) async fn read(&mut self, devices: &[Device], keeps_open: bool, limit: Duration) -> Readings {
        let of = |is_wanted: fn(&DeviceKind) -> bool| -> Vec<Device> {
            let devices = devices.iter().filter(|device| is_wanted(&device.kind));
            devices.cloned().collect()
        };
        let (nvidia, amd, cpu) = tokio::join!(
            read_some(
                &mut self.nvidia,
                of(|kind| *kind == DeviceKind::Nvidia),
                keeps_open,
                limit
            ),
            read_some(
                &mut self.amd,
                of(|kind| matches!(kind, DeviceKind::Amd { .. })),
                keeps_open,
                limit
            ),
            self.cpu.read(Vec::new(), keeps_open, limit),
        );
        let mut readings = Readings::default();
        for answer in [nvidia, amd, cpu] {
            match answer {
                Ok(more) => readings.extend(more),
                Err(silence) => readings.silent.push(silence),
            }
        }
        readings
    }
}

/// Reads a source of GPUs, unless it has none.
async fn read_some(
    probe: &mut Probe,
    devices: Vec<Device>,
    keeps_open: bool,
    limit: Duration,
) -> Result<Readings, Silence> {
    if devices.is_empty() {
        return Ok(Readings::default());
    }
    probe.read(devices, keeps_open, limit).await
}

/// Callback for each verdict.
pub type VerdictCallback = Box<dyn Fn(&Verdict) + Send>;

/// Watches the health of a machine.
pub struct HealthMonitor {
    ledger: DeviceLedger,
    sources: Sources,
    judge: Judge,
    board: HealthBoard,
    metrics: Metrics,
    on_verdict: VerdictCallback,
    /// Devices that are read: those of the slots, and those that were. A GPU that fell off the bus loses its
    /// slot, and is still missed.
    watched: BTreeMap<DeviceId, Device>,
    level: Level,
    begun: Instant,
}

impl HealthMonitor {
    /// Creates a monitor of the ledger's devices and of the host's processors. `on_verdict` is called with
    /// each verdict, which is on the board then.
    pub fn new(
        paths: &HostPaths,
        ledger: DeviceLedger,
        judge: Judge,
        board: HealthBoard,
        metrics: Metrics,
        on_verdict: VerdictCallback,
    ) -> Self {
        Self {
            ledger,
            sources: Sources::of(paths),
            judge,
            board,
            metrics,
            on_verdict,
            watched: BTreeMap::new(),
            level: Level::Fine,
            begun: Instant::now(),
        }
    }

    /// Watches for as long as the worker runs.
    ///
    /// # Errors
    /// None: it never returns.
    pub async fn run(&mut self) -> Result<Infallible, &'static str> {
        let mut ticks = interval(READING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// Reads and judges once.
    async fn look(&mut self) {
        for device in self.ledger.devices() {
            if self.watched.len() < MAX_DEVICES || self.watched.contains_key(&device.id) {
                self.watched.insert(device.id.clone(), device);
            }
        }
        let devices: Vec<Device> = self.watched.values().cloned().collect();
        // A GPU is not reset while somebody has its driver open.
        let keeps_open = self.level != Level::Suspended(SuspendCause::Fault);
        let readings = self.sources.read(&devices, keeps_open, READING_LIMIT).await;
        let verdict = self.judge.note(self.begun.elapsed().as_secs(), &readings);
        let readings = plausible(readings);
        self.metrics.health.show(&readings, &self.ledger.view(), &verdict);
        if verdict.level != self.level {
            log_change(self.level, &verdict);
            self.level = verdict.level;
        }
        self.board.publish(verdict.clone());
        (self.on_verdict)(&verdict);
    }
}

fn plausible(readings: Readings) -> Readings {
    Readings {
        gpus: readings
            .gpus
            .into_iter()
            .map(|gpu| GpuReading::plausible(gpu).0)
            .collect(),
        zones: readings
            .zones
            .into_iter()
            .map(|zone| ZoneReading::plausible(zone).0)
            .collect(),
        silent: readings.silent,
    }
}

fn log_change(before: Level, verdict: &Verdict) {
    let (level, reasons) = (verdict.level, verdict.reasons.join("; "));
    let was = before.name();
    match level {
        Level::Fine => tracing::info!(was, "the machine's health is fine again"),
        Level::Warning if before < level => tracing::warn!(was, reasons, "the machine's health needs a look"),
        Level::Warning => tracing::info!(was, reasons, "the machine's health is better and needs a look"),
        Level::NoNewJobs => tracing::warn!(
            was,
            reasons,
            "the machine takes no new jobs for its health; those that run go on"
        ),
        Level::Suspended(cause) => tracing::error!(
            was,
            ?cause,
            reasons,
            "the machine leaves the market for its health; jobs that run go on"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        config::Gpus,
        devices::Machine,
        files::Disk,
        health::{
            nvidia::tests::{COOL, install, write_values},
            sysfs::tests::add_cpu,
            thresholds::HealthSettings,
        },
    };

    fn monitor(paths: &HostPaths, state: &std::path::Path) -> (HealthMonitor, Arc<Mutex<Vec<Level>>>) {
        let machine = Machine {
            slots: 1,
            gpus: Some(Gpus {
                model: "RTX_4090".into(),
                count: 1,
                allow_overclock: false,
            }),
            paths: paths.clone(),
        };
        let levels = Arc::new(Mutex::new(Vec::new()));
        let shown = levels.clone();
        let monitor = HealthMonitor::new(
            paths,
            DeviceLedger::open(state, Disk::default(), machine),
            Judge::new(HealthSettings::default(), false),
            HealthBoard::default(),
            Metrics::new().unwrap(),
            Box::new(move |verdict| shown.lock().unwrap().push(verdict.level)),
        );
        (monitor, levels)
    }

    #[tokio::test]
    async fn readings_of_all_sources_are_judged_and_shown() {
        let (host, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = install(host.path(), 1, -1);
        add_cpu(&paths.sysfs, 55_000);
        let (mut monitor, levels) = monitor(&paths, state.path());
        monitor.look().await;
        let verdict = monitor.board.read().unwrap();
        assert_eq!((verdict.level, verdict.devices.len()), (Level::Fine, 2));
        assert_eq!(verdict.devices[0].temperature_c, Some(45));
        let text = String::from_utf8(monitor.metrics.render_all().unwrap()).unwrap();
        for expected in [
            r#"assay_worker_gpu_power_watts{device="GPU-00000000-0000-0000-0000-000000000000",slot="0"} 310"#,
            r#"assay_worker_cpu_temperature_celsius{zone="coretemp Package id 0 (hwmon2)"} 55"#,
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        write_values(host.path(), &COOL.replace("temperature 45\n", "temperature 93\n"));
        for _ in 0..3 {
            monitor.look().await;
        }
        assert_eq!(
            *levels.lock().unwrap(),
            [
                Level::Fine,
                Level::Fine,
                Level::Fine,
                Level::Suspended(SuspendCause::Heat)
            ]
        );
        assert!(monitor.board.refusal().unwrap().contains("reached 92 °C"));
    }

    #[tokio::test]
    async fn fatal_xid_is_a_fault_and_the_driver_is_closed_for_the_reset() {
        let (host, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = install(host.path(), 1, -1);
        let (mut monitor, _) = monitor(&paths, state.path());
        monitor.look().await;
        write_values(host.path(), &format!("{COOL}xid_1 31\nxid_2 119\n"));
        monitor.look().await;
        assert_eq!(monitor.level, Level::Suspended(SuspendCause::Fault));
        let refusal = monitor.board.refusal().unwrap();
        assert!(
            refusal.contains("Xid 119") && !refusal.contains("Xid 31"),
            "{refusal}"
        );
    }

    #[tokio::test]
    async fn gpu_that_loses_its_slot_is_still_missed() {
        let (host, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = install(host.path(), 1, -1);
        let (mut monitor, _) = monitor(&paths, state.path());
        monitor.look().await;
        // A lost GPU has the library closed, and nothing opens it any more.
        write_values(host.path(), "lost 1\n");
        monitor.look().await;
        std::fs::remove_file(&paths.nvml).unwrap();
        for _ in 0..500 {
            monitor.ledger.refresh();
            if monitor.ledger.devices().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(monitor.ledger.devices().is_empty());
        for _ in 0..2 {
            monitor.look().await;
        }
        assert_eq!(monitor.level, Level::Suspended(SuspendCause::Fault));
    }
}
