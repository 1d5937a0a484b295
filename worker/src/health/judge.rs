//! Levels of health: a state machine over readings with their times, without any input or output.
//!
//! Each cause has a latch of its own. A latch rises once its evidence held for some readings in a row, and
//! falls after a time without evidence; a value that is missing is no evidence of anything, and lets no latch
//! fall. A machine's level is the highest of its latches.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    reading::{Driver, GpuReading, Readings, Silence, ThrottleReason, ZoneReading},
    thresholds::{HealthSettings, Thresholds},
    xid::{XidMeaning, meaning},
};

/// Number of readings in a row after which a level rises.
pub const RISE_READINGS: u32 = 3;

/// Time without evidence after which a level falls, in seconds.
pub const FALL_S: u64 = 300;

/// Time after a reset, or without evidence, after which a fault is over, in seconds.
pub const FAULT_CLEAN_S: u64 = 600;

/// Distance below its threshold that a temperature needs to count as lower, in °C.
const FALL_MARGIN_C: i64 = 5;

/// Distance above the vendor's maximum that a clock may have: the steps in which clocks are set.
const CLOCK_TOLERANCE_MHZ: u64 = 15;

/// Number of readings after which a level counts as settled.
const SETTLED_READINGS: u32 = 6;

/// Maximum numbers of GPUs and sensors that are judged, and of reasons that are told.
const MAX_GPUS: usize = 128;
const MAX_ZONES: usize = 64;
const MAX_REASONS: usize = 32;

/// Remedy for heat.
const COOL: &str = "clean its cooler, and check its fans and the temperature of the room";

/// Cause of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspendCause {
    /// A device is too hot.
    Heat,
    /// A device is broken.
    Fault,
}

/// Level of a machine's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to say.
    #[default]
    Fine,
    /// Worth a look by the provider.
    Warning,
    /// Jobs that run go on, and no new one is taken.
    NoNewJobs,
    /// The machine leaves the market.
    Suspended(SuspendCause),
}

impl Level {
    /// Returns the name, as status and log show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::NoNewJobs => "no_new_jobs",
            Self::Suspended(_) => "suspended",
        }
    }

    /// Returns the level as a number from 0 to 3, as the metrics show it.
    pub fn rank(self) -> i64 {
        match self {
            Self::Fine => 0,
            Self::Warning => 1,
            Self::NoNewJobs => 2,
            Self::Suspended(_) => 3,
        }
    }

    /// Returns true if the machine takes new jobs.
    pub fn takes_jobs(self) -> bool {
        self < Self::NoNewJobs
    }
}

/// Judgement of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Level of the machine.
    pub level: Level,
    /// Reasons with their remedies, the gravest first; at most 32.
    pub reasons: Vec<String>,
    /// Those of the reasons for which the machine takes no new jobs.
    pub refusals: Vec<String>,
    /// The devices.
    pub devices: Vec<DeviceHealth>,
    /// True once the judge has watched long enough to see a heat that was there at its start.
    pub is_settled: bool,
}

/// Health of one device. The public status shows its level alone: from a GPU's values anybody could tell
/// how a job uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeviceHealth {
    /// Identity of the GPU, or name of the processor's sensor.
    pub device: String,
    /// Level: `fine`, `warning`, `no_new_jobs` or `suspended`.
    pub level: &'static str,
    /// Temperature in °C.
    #[serde(skip)]
    pub temperature_c: Option<i64>,
    /// Temperature of the memory in °C.
    #[serde(skip)]
    pub memory_temperature_c: Option<i64>,
    /// Power in mW.
    #[serde(skip)]
    pub power_mw: Option<u64>,
    /// Speed of the slowest fan in percent.
    #[serde(skip)]
    pub fan_percent: Option<u64>,
    /// Values that were ignored, with the reason.
    pub ignored: Vec<String>,
}

/// Evidence for a latch, by one reading.
struct Evidence {
    /// Level that the reading asks for.
    rise: Level,
    /// Level below which the reading allows no fall; at least `rise`.
    fall: Level,
    /// Number of readings in a row that a rise needs.
    needed: u32,
    /// Sentence with the remedy, without a full stop.
    reason: String,
}

impl Evidence {
    /// Returns evidence of nothing.
    fn none() -> Self {
        Self::of(Level::Fine, RISE_READINGS, String::new())
    }

    fn of(level: Level, needed: u32, reason: String) -> Self {
        Self {
            rise: level,
            fall: level,
            needed,
            reason,
        }
    }
}

/// Time without evidence for a latch's level.
#[derive(Clone, Copy, Debug)]
struct Calm {
    since_s: u64,
    /// Highest level that had evidence meanwhile.
    peak: Level,
}

/// Level by one cause.
#[derive(Debug)]
struct Latch {
    cause: SuspendCause,
    /// Time without evidence after which the level falls, in seconds.
    hold_s: u64,
    level: Level,
    /// Readings in a row that asked for each of the levels above [`Level::Fine`].
    asked: [u32; 3],
    calm: Option<Calm>,
    reason: String,
}

impl Latch {
    fn new(cause: SuspendCause, hold_s: u64) -> Self {
        Self {
            cause,
            hold_s,
            level: Level::Fine,
            asked: [0; 3],
            calm: None,
            reason: String::new(),
        }
    }

    fn heat() -> Self {
        Self::new(SuspendCause::Heat, FALL_S)
    }

    fn fault() -> Self {
        Self::new(SuspendCause::Fault, FAULT_CLEAN_S)
    }

    /// Records that the last reading says nothing.
    fn note_nothing(&mut self) {
        self.asked = [0; 3];
        self.calm = None;
    }

    /// Records the evidence of a reading.
    fn note(&mut self, now_s: u64, evidence: Evidence) {
        let steps = [Level::Warning, Level::NoNewJobs, Level::Suspended(self.cause)];
        let before = self.level;
        for (asked, step) in self.asked.iter_mut().zip(steps) {
            *asked = if evidence.rise >= step {
                asked.saturating_add(1)
            } else {
                0
            };
            if *asked >= evidence.needed && step > self.level {
                self.level = step;
            }
        }
        if evidence.fall >= self.level {
            self.calm = None;
            // The sentence is that of the level, so that it stays the same while the level does.
            if self.level > before || evidence.rise >= self.level {
                self.reason = evidence.reason;
            }
            return;
        }
        let calm = self.calm.get_or_insert(Calm {
            since_s: now_s,
            peak: evidence.fall,
        });
        calm.peak = calm.peak.max(evidence.fall);
        if now_s.saturating_sub(calm.since_s) >= self.hold_s {
            self.level = calm.peak;
            self.calm = None;
        }
    }

    /// Raises the level at once.
    fn raise(&mut self, level: Level, reason: String) {
        self.level = self.level.max(level);
        self.reason = reason;
        self.calm = None;
    }
}

/// Returns the evidence of a temperature.
fn heat_evidence(what: &str, temperature_c: i64, thresholds: Thresholds) -> Evidence {
    let level_at = |temperature_c: i64| {
        if temperature_c >= thresholds.suspend_c {
            Level::Suspended(SuspendCause::Heat)
        } else if temperature_c >= thresholds.stop_c {
            Level::NoNewJobs
        } else if temperature_c >= thresholds.warn_c {
            Level::Warning
        } else {
            Level::Fine
        }
    };
    let rise = level_at(temperature_c);
    let threshold_c = match rise {
        Level::Suspended(_) => thresholds.suspend_c,
        Level::NoNewJobs => thresholds.stop_c,
        _ => thresholds.warn_c,
    };
    Evidence {
        rise,
        fall: level_at(temperature_c.saturating_add(FALL_MARGIN_C)),
        needed: RISE_READINGS,
        reason: format!("{what} reached {threshold_c} °C; {COOL}"),
    }
}

/// Latches of one GPU.
struct GpuState {
    driver: Driver,
    name: String,
    heat: Latch,
    memory_heat: Latch,
    slowdown: Latch,
    overclock: Latch,
    spare_memory: Latch,
    lost: Latch,
    /// Errors that only a reset mends.
    error: Latch,
    /// Facts that are worth a look.
    notice: Latch,
    /// A temperature that was there and is not any more.
    blind: Latch,
    /// Readings in a row in which the driver did not reach the GPU.
    lost_readings: u32,
    awaits_reset: bool,
    has_reported_temperature: bool,
    uncorrected_ecc: Option<u64>,
    energy_mj: Option<u64>,
}

impl GpuState {
    fn new(reading: &GpuReading) -> Self {
        Self {
            driver: reading.driver,
            name: reading.name.clone(),
            heat: Latch::heat(),
            memory_heat: Latch::heat(),
            slowdown: Latch::heat(),
            overclock: Latch::heat(),
            spare_memory: Latch::fault(),
            lost: Latch::fault(),
            error: Latch::fault(),
            notice: Latch::heat(),
            blind: Latch::heat(),
            lost_readings: 0,
            awaits_reset: false,
            has_reported_temperature: false,
            uncorrected_ecc: None,
            energy_mj: None,
        }
    }

    fn latches(&self) -> [&Latch; 9] {
        [
            &self.lost,
            &self.error,
            &self.spare_memory,
            &self.heat,
            &self.memory_heat,
            &self.slowdown,
            &self.overclock,
            &self.notice,
            &self.blind,
        ]
    }

    /// Records that there are no values.
    fn note_no_values(&mut self) {
        for latch in [
            &mut self.error,
            &mut self.spare_memory,
            &mut self.heat,
            &mut self.memory_heat,
            &mut self.slowdown,
            &mut self.overclock,
            &mut self.notice,
            &mut self.blind,
        ] {
            latch.note_nothing();
        }
    }

    /// Records a reading whose values are plausible.
    fn note(&mut self, now_s: u64, reading: &GpuReading, settings: &HealthSettings, allow_overclock: bool) {
        let who = if reading.name.is_empty() {
            format!("the GPU {}", reading.device)
        } else {
            format!("the GPU {} ({})", reading.device, reading.name)
        };
        if let Some(reason) = &reading.lost {
            self.note_no_values();
            let fault = Level::Suspended(SuspendCause::Fault);
            let text = format!(
                "{who} does not answer: {reason}; look at `dmesg` for its Xid, and reset it, reseat it or restart the host"
            );
            self.lost.note(now_s, Evidence::of(fault, RISE_READINGS, text));
            self.lost_readings = self.lost_readings.saturating_add(1);
            self.note_errors(now_s, &who, reading, false);
            return;
        }
        self.lost.note(now_s, Evidence::none());
        // One failed reading may be the driver's own trouble.
        let was_reset = std::mem::take(&mut self.lost_readings) >= RISE_READINGS
            || is_below(reading.energy_mj, self.energy_mj)
            || is_below(reading.uncorrected_ecc, self.uncorrected_ecc);
        self.energy_mj = reading.energy_mj.or(self.energy_mj);
        self.note_errors(now_s, &who, reading, was_reset);
        self.note_heat(now_s, &who, reading, settings);
        self.note_clocks(now_s, &who, reading, allow_overclock);
        self.note_spare_memory(now_s, &who, reading);
    }

    fn note_errors(&mut self, now_s: u64, who: &str, reading: &GpuReading, was_reset: bool) {
        self.awaits_reset &= !was_reset;
        let mut faults = Vec::new();
        let mut notice = Evidence::none();
        for xid in reading.xids.iter().copied() {
            match meaning(xid) {
                XidMeaning::Program => (),
                XidMeaning::Fault(what) => faults.push(format!("Xid {xid}: {what}")),
                XidMeaning::Other => {
                    let text = format!("{who} reported Xid {xid}; look it up in NVIDIA's catalogue of Xids");
                    notice = Evidence::of(Level::Warning, 1, text);
                }
            }
        }
        if let Some(count) = reading.uncorrected_ecc {
            match self.uncorrected_ecc {
                Some(before) if count > before => {
                    faults.push(format!("{} uncorrected memory error(s)", count - before));
                }
                // Errors from before this worker's start, or from before a fault that is over.
                _ if count > 0 => {
                    let text = format!(
                        "{who} has had {count} uncorrected memory error(s) since its driver was loaded; reset it when no job \
                         runs"
                    );
                    notice = Evidence::of(Level::Warning, 1, text);
                }
                _ => (),
            }
            self.uncorrected_ecc = Some(count);
        }
        self.notice.note(now_s, notice);
        if !faults.is_empty() {
            self.awaits_reset = true;
            let text = format!(
                "{who} is faulty ({}); reset it (`nvidia-smi --gpu-reset`), or restart the host, and have it repaired if it \
                 happens again",
                faults.join(", ")
            );
            self.error.raise(Level::Suspended(SuspendCause::Fault), text);
        } else if self.awaits_reset || reading.lost.is_some() {
            self.error.note_nothing();
        } else {
            self.error.note(now_s, Evidence::none());
        }
    }

    fn note_heat(&mut self, now_s: u64, who: &str, reading: &GpuReading, settings: &HealthSettings) {
        match reading.temperature_c {
            Some(temperature_c) => {
                let thresholds = settings.of_gpu(reading);
                self.heat
                    .note(now_s, heat_evidence(who, temperature_c, thresholds));
            }
            None => self.heat.note_nothing(),
        }
        match reading.memory_temperature_c {
            Some(temperature_c) => {
                let what = format!("the memory of {who}");
                let thresholds = settings.of_gpu_memory(reading);
                self.memory_heat
                    .note(now_s, heat_evidence(&what, temperature_c, thresholds));
            }
            None => self.memory_heat.note_nothing(),
        }
        self.has_reported_temperature |= reading.temperature_c.is_some();
        note_blindness(
            &mut self.blind,
            now_s,
            who,
            self.has_reported_temperature && reading.temperature_c.is_none(),
        );
        let is_throttled = |reason| reading.throttled.contains(&reason);
        self.slowdown.note(
            now_s,
            if is_throttled(ThrottleReason::HardwareThermal) {
                let text = format!("the hardware of {who} slows it down for heat; {COOL}");
                Evidence::of(Level::NoNewJobs, RISE_READINGS, text)
            } else if is_throttled(ThrottleReason::SoftwareThermal) {
                let text = format!("the driver of {who} slows it down for heat; {COOL}");
                Evidence::of(Level::Warning, RISE_READINGS, text)
            } else if is_throttled(ThrottleReason::PowerBrake) {
                let text = format!("the power supply slows {who} down; check its cables and its power");
                Evidence::of(Level::Warning, RISE_READINGS, text)
            } else {
                Evidence::none()
            },
        );
    }

    fn note_clocks(&mut self, now_s: u64, who: &str, reading: &GpuReading, allow_overclock: bool) {
        let evidence = match overclocked(reading).filter(|_| !allow_overclock) {
            Some(what) => {
                let text = format!(
                    "{who} is overclocked ({what}), and `shared_resources.gpus.allow_overclock` is false; set its clocks \
                     back, or allow it"
                );
                Evidence::of(Level::NoNewJobs, RISE_READINGS, text)
            }
            None => Evidence::none(),
        };
        self.overclock.note(now_s, evidence);
    }

    fn note_spare_memory(&mut self, now_s: u64, who: &str, reading: &GpuReading) {
        let evidence = match (reading.remap_failed, reading.remap_pending) {
            (None, None) => return self.spare_memory.note_nothing(),
            (Some(true), _) => {
                let text = format!("{who} has bad memory and none to replace it; have it repaired");
                Evidence::of(Level::Suspended(SuspendCause::Fault), 1, text)
            }
            (_, Some(true)) => {
                let text =
                    format!("{who} replaces bad memory at its next reset; reset it once its jobs are done");
                Evidence::of(Level::NoNewJobs, 1, text)
            }
            _ => Evidence::none(),
        };
        self.spare_memory.note(now_s, evidence);
    }
}

/// Returns true if a counter went back.
fn is_below(now: Option<u64>, before: Option<u64>) -> bool {
    now.zip(before).is_some_and(|(now, before)| now < before)
}

/// Returns how far a GPU's clocks are beyond the vendor's; `None` if they are not.
fn overclocked(reading: &GpuReading) -> Option<String> {
    let clocks = [
        (
            "graphics clock",
            reading.graphics_clock_mhz,
            reading.max_graphics_clock_mhz,
            reading.graphics_offset_mhz,
        ),
        (
            "memory clock",
            reading.memory_clock_mhz,
            reading.max_memory_clock_mhz,
            reading.memory_offset_mhz,
        ),
    ];
    for (name, clock_mhz, max_mhz, offset_mhz) in clocks {
        if let Some(offset_mhz) = offset_mhz.filter(|offset_mhz| *offset_mhz > 0) {
            return Some(format!("{name} raised by {offset_mhz} MHz"));
        }
        // A maximum of zero is a driver's word for none.
        let above = clock_mhz
            .zip(max_mhz.filter(|max_mhz| *max_mhz > 0))
            .filter(|(clock_mhz, max_mhz)| *clock_mhz > max_mhz.saturating_add(CLOCK_TOLERANCE_MHZ));
        if let Some((_, max_mhz)) = above {
            return Some(format!("{name} above the vendor's {max_mhz} MHz"));
        }
    }
    let percent = reading.overdrive_percent.filter(|percent| *percent > 0)?;
    Some(format!("overdrive of {percent} %"))
}

fn note_blindness(latch: &mut Latch, now_s: u64, who: &str, is_blind: bool) {
    let evidence = if is_blind {
        let text =
            format!("{who} reports no temperature any more, so nobody sees it overheat; restart the host");
        Evidence::of(Level::Warning, RISE_READINGS, text)
    } else {
        Evidence::none()
    };
    latch.note(now_s, evidence);
}

/// Latches of one processor's sensor.
struct ZoneState {
    heat: Latch,
    blind: Latch,
    has_reported: bool,
}

impl ZoneState {
    fn new() -> Self {
        Self {
            heat: Latch::heat(),
            blind: Latch::heat(),
            has_reported: false,
        }
    }

    fn note(&mut self, now_s: u64, reading: &ZoneReading, settings: &HealthSettings) {
        let who = format!("the processor at {}", reading.zone);
        match reading.temperature_c {
            Some(temperature_c) => {
                let thresholds = settings.of_zone(reading);
                self.heat
                    .note(now_s, heat_evidence(&who, temperature_c, thresholds));
            }
            None => self.heat.note_nothing(),
        }
        self.has_reported |= reading.temperature_c.is_some();
        let is_blind = self.has_reported && reading.temperature_c.is_none();
        note_blindness(&mut self.blind, now_s, &who, is_blind);
    }
}

/// Judges a machine by its readings.
pub struct Judge {
    settings: HealthSettings,
    allow_overclock: bool,
    readings: u32,
    gpus: BTreeMap<String, GpuState>,
    zones: BTreeMap<String, ZoneState>,
    drivers: [(Driver, Latch); 3],
}

impl Judge {
    /// Creates a judge that has seen nothing yet.
    pub fn new(settings: HealthSettings, allow_overclock: bool) -> Self {
        Self {
            settings,
            allow_overclock,
            readings: 0,
            gpus: BTreeMap::new(),
            zones: BTreeMap::new(),
            drivers: [
                (Driver::Nvidia, Latch::fault()),
                (Driver::Amd, Latch::fault()),
                (Driver::Cpu, Latch::fault()),
            ],
        }
    }

    /// Records the readings of a moment, in seconds since any fixed one, and judges the machine.
    pub fn note(&mut self, now_s: u64, readings: &Readings) -> Verdict {
        self.readings = self.readings.saturating_add(1);
        self.note_drivers(now_s, &readings.silent);
        let silent: BTreeSet<Driver> = readings.silent.iter().map(|silence| silence.driver).collect();
        let mut devices = self.note_gpus(now_s, &readings.gpus, &silent);
        devices.extend(self.note_zones(now_s, &readings.zones, silent.contains(&Driver::Cpu)));
        self.verdict(devices)
    }

    fn note_drivers(&mut self, now_s: u64, silent: &[Silence]) {
        for (driver, latch) in &mut self.drivers {
            let evidence = match silent.iter().find(|silence| silence.driver == *driver) {
                Some(silence) => {
                    let level = match driver {
                        Driver::Nvidia | Driver::Amd => Level::Suspended(SuspendCause::Fault),
                        Driver::Cpu => Level::Warning,
                    };
                    let text = format!("{driver} does not answer: {}; restart the host", silence.reason);
                    Evidence::of(level, RISE_READINGS, text)
                }
                None => Evidence::none(),
            };
            latch.note(now_s, evidence);
        }
    }

    fn note_gpus(
        &mut self,
        now_s: u64,
        readings: &[GpuReading],
        silent: &BTreeSet<Driver>,
    ) -> Vec<DeviceHealth> {
        let mut read = BTreeMap::new();
        for reading in readings {
            if !self.gpus.contains_key(&reading.device) && self.gpus.len() < MAX_GPUS {
                self.gpus.insert(reading.device.clone(), GpuState::new(reading));
            }
            read.entry(reading.device.as_str()).or_insert(reading);
        }
        let mut devices = Vec::with_capacity(self.gpus.len());
        for (id, state) in &mut self.gpus {
            let (reading, ignored) = match read.get(id.as_str()) {
                Some(reading) => GpuReading::clone(reading).plausible(),
                None if silent.contains(&state.driver) => {
                    state.lost.note_nothing();
                    state.note_no_values();
                    let reading = GpuReading::empty(id.as_str(), state.driver, state.name.as_str());
                    devices.push(gpu_health(state, &reading, Vec::new()));
                    continue;
                }
                None => {
                    let reason = "its driver does not list it any more";
                    let reading = GpuReading::lost(id.as_str(), state.driver, state.name.as_str(), reason);
                    (reading, Vec::new())
                }
            };
            state.note(now_s, &reading, &self.settings, self.allow_overclock);
            devices.push(gpu_health(state, &reading, ignored));
        }
        devices
    }

    fn note_zones(&mut self, now_s: u64, readings: &[ZoneReading], is_silent: bool) -> Vec<DeviceHealth> {
        let mut read = BTreeMap::new();
        for reading in readings {
            if self.zones.contains_key(&reading.zone) || self.zones.len() < MAX_ZONES {
                self.zones
                    .entry(reading.zone.clone())
                    .or_insert_with(ZoneState::new);
            }
            read.entry(reading.zone.as_str()).or_insert(reading);
        }
        let mut devices = Vec::with_capacity(self.zones.len());
        for (zone, state) in &mut self.zones {
            let found = read.get(zone.as_str()).copied().cloned();
            let (reading, ignored) = found
                .unwrap_or_else(|| ZoneReading {
                    zone: zone.clone(),
                    temperature_c: None,
                    critical_c: None,
                })
                .plausible();
            if is_silent && reading.temperature_c.is_none() {
                state.heat.note_nothing();
                state.blind.note_nothing();
            } else {
                state.note(now_s, &reading, &self.settings);
            }
            devices.push(DeviceHealth {
                device: zone.clone(),
                level: state.heat.level.max(state.blind.level).name(),
                temperature_c: reading.temperature_c,
                memory_temperature_c: None,
                power_mw: None,
                fan_percent: None,
                ignored,
            });
        }
        devices
    }

    fn verdict(&self, devices: Vec<DeviceHealth>) -> Verdict {
        let of_gpus = self.gpus.values().flat_map(GpuState::latches);
        let of_zones = self.zones.values().flat_map(|zone| [&zone.heat, &zone.blind]);
        let mut raised: Vec<&Latch> = self
            .drivers
            .iter()
            .map(|(_, latch)| latch)
            .chain(of_gpus)
            .chain(of_zones)
            .filter(|latch| latch.level > Level::Fine)
            .collect();
        // Equal levels keep their order.
        raised.sort_by_key(|latch| Reverse(latch.level));
        let texts = |is_told: fn(Level) -> bool| -> Vec<String> {
            raised
                .iter()
                .filter(|latch| is_told(latch.level))
                .map(|latch| latch.reason.clone())
                .take(MAX_REASONS)
                .collect()
        };
        Verdict {
            level: raised.first().map_or(Level::Fine, |latch| latch.level),
            reasons: texts(|_| true),
            refusals: texts(|level| !level.takes_jobs()),
            devices,
            is_settled: self.readings >= SETTLED_READINGS,
        }
    }
}

fn gpu_health(state: &GpuState, reading: &GpuReading, ignored: Vec<String>) -> DeviceHealth {
    let levels = state.latches().map(|latch| latch.level);
    DeviceHealth {
        device: reading.device.clone(),
        level: levels.into_iter().max().unwrap_or_default().name(),
        temperature_c: reading.temperature_c,
        memory_temperature_c: reading.memory_temperature_c,
        power_mw: reading.power_mw,
        fan_percent: reading.fan_percent,
        ignored,
    }
}

#[cfg(test)]
mod tests;
