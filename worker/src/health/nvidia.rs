//! NVIDIA's GPUs, through NVIDIA's management library.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    sync::mpsc,
};

use nvml_wrapper::{
    Device as NvmlDevice, EventSet, Nvml,
    bitmasks::{device::ThrottleReasons, event::EventTypes},
    enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold},
    enums::{device::SampleValue, event::XidError},
    error::NvmlError,
    structs::device::FieldId,
    sys_exports::field_id::{
        NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING,
    },
};

use super::{
    probe::Request,
    reading::{Driver, GpuReading, MAX_XIDS, Readings, ThrottleReason},
};
use crate::{
    attestation::load_nvml,
    devices::{Device, DeviceKind},
};

/// Maximum number of a GPU's fans that are asked.
const MAX_FANS: u32 = 8;

/// The library's reasons for lower clocks.
const REASONS: [(ThrottleReasons, ThrottleReason); 8] = [
    (ThrottleReasons::GPU_IDLE, ThrottleReason::Idle),
    (
        ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
        ThrottleReason::Setting,
    ),
    (ThrottleReasons::SW_POWER_CAP, ThrottleReason::PowerCap),
    (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HardwareSlowdown),
    (
        ThrottleReasons::HW_THERMAL_SLOWDOWN,
        ThrottleReason::HardwareThermal,
    ),
    (
        ThrottleReasons::SW_THERMAL_SLOWDOWN,
        ThrottleReason::SoftwareThermal,
    ),
    (
        ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
        ThrottleReason::PowerBrake,
    ),
    (ThrottleReasons::SYNC_BOOST, ThrottleReason::SyncBoost),
];

/// Answers questions about NVIDIA's GPUs until the channel is closed.
pub(super) fn serve(library: &Path, requests: &mpsc::Receiver<Request>) {
    while let Ok(request) = requests.recv() {
        match load_nvml(library) {
            Ok(nvml) => serve_open(&nvml, request, requests),
            Err(missing) => {
                let gpus = of_nvidia(&request.devices)
                    .map(|device| lost(device, &missing.reason))
                    .collect();
                request.answer(Readings {
                    gpus,
                    ..Readings::default()
                });
            }
        }
    }
}

/// Answers with the open library until a question wants it closed, or a GPU does not answer: a driver that
/// was loaded anew answers to a library that was opened anew only.
fn serve_open(nvml: &Nvml, first: Request, requests: &mpsc::Receiver<Request>) {
    let mut events = Events::default();
    let mut next = Some(first);
    while let Some(request) = next {
        let gpus: Vec<GpuReading> = of_nvidia(&request.devices)
            .map(|device| read_device(nvml, device, &mut events))
            .collect();
        let goes_on = request.keeps_open && gpus.iter().all(|gpu| gpu.lost.is_none());
        request.answer(Readings {
            gpus,
            ..Readings::default()
        });
        next = if goes_on { requests.recv().ok() } else { None };
    }
}

fn of_nvidia(devices: &[Device]) -> impl Iterator<Item = &Device> {
    devices.iter().filter(|device| device.kind == DeviceKind::Nvidia)
}

fn lost(device: &Device, reason: &str) -> GpuReading {
    GpuReading::lost(&*device.id.0, Driver::Nvidia, &*device.name, reason)
}

/// Sets of events that tell of Xids, one for each GPU: a set is lost with the first GPU that it cannot watch.
#[derive(Default)]
struct Events<'nvml> {
    /// `None` for a GPU that reports no events.
    sets: BTreeMap<String, Option<EventSet<'nvml>>>,
}

impl<'nvml> Events<'nvml> {
    /// Returns the Xids of a GPU since the last call; the first one begins to watch the GPU.
    fn of(&mut self, nvml: &'nvml Nvml, id: &str, gpu: &NvmlDevice<'nvml>) -> Vec<u64> {
        let set = match self.sets.entry(id.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(watch(nvml, gpu)),
        };
        let Some(set) = set else {
            return Vec::new();
        };
        let mut xids = Vec::new();
        // An error is mostly the timeout, which says that there are no more.
        while xids.len() < MAX_XIDS
            && let Ok(event) = set.wait(0)
        {
            if let Some(XidError::Value(xid)) = event.event_data {
                xids.push(xid);
            }
        }
        xids
    }
}

fn watch<'nvml>(nvml: &'nvml Nvml, gpu: &NvmlDevice<'nvml>) -> Option<EventSet<'nvml>> {
    let supported = gpu.supported_event_types().ok()?;
    if !supported.contains(EventTypes::CRITICAL_XID_ERROR) {
        return None;
    }
    let set = nvml.create_event_set().ok()?;
    gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).ok()
}

/// Reads a GPU. One that answers to its name and then not to its temperature is lost as well.
fn read_device<'nvml>(nvml: &'nvml Nvml, device: &Device, events: &mut Events<'nvml>) -> GpuReading {
    let gpu = match nvml.device_by_uuid(device.id.0.as_str()) {
        Ok(gpu) => gpu,
        Err(error) => return lost(device, &error.to_string()),
    };
    // The event of a GPU that is lost tells why.
    let xids = events.of(nvml, &device.id.0, &gpu);
    let reading = match gpu.temperature(TemperatureSensor::Gpu) {
        Err(error) if is_lost(&error) => lost(device, &error.to_string()),
        temperature => values_of(&gpu, device, temperature.ok()),
    };
    GpuReading { xids, ..reading }
}

fn values_of(gpu: &NvmlDevice<'_>, device: &Device, temperature_c: Option<u32>) -> GpuReading {
    let threshold = |kind| gpu.temperature_threshold(kind).ok().map(i64::from);
    let clock = |kind| gpu.clock_info(kind).ok().map(u64::from);
    let max_clock = |kind| gpu.max_clock_info(kind).ok().map(u64::from);
    let [memory_temperature, pending, failed] = fields_of(
        gpu,
        [
            NVML_FI_DEV_MEMORY_TEMP,
            NVML_FI_DEV_REMAPPED_PENDING,
            NVML_FI_DEV_REMAPPED_FAILURE,
        ],
    );
    GpuReading {
        temperature_c: temperature_c.map(i64::from),
        // GPUs without such a sensor report zero.
        memory_temperature_c: memory_temperature.filter(|temperature| *temperature != 0),
        maximum_c: threshold(TemperatureThreshold::GpuMax),
        slowdown_c: threshold(TemperatureThreshold::Slowdown),
        shutdown_c: threshold(TemperatureThreshold::Shutdown),
        memory_maximum_c: threshold(TemperatureThreshold::MemoryMax),
        power_mw: gpu.power_usage().ok().map(u64::from),
        power_limit_mw: gpu.enforced_power_limit().ok().map(u64::from),
        fan_percent: slowest_fan(gpu),
        graphics_clock_mhz: clock(Clock::Graphics),
        memory_clock_mhz: clock(Clock::Memory),
        max_graphics_clock_mhz: max_clock(Clock::Graphics),
        max_memory_clock_mhz: max_clock(Clock::Memory),
        graphics_offset_mhz: gpu.gpc_clock_vf_offset().ok().map(i64::from),
        memory_offset_mhz: gpu.mem_clock_vf_offset().ok().map(i64::from),
        throttled: gpu.current_throttle_reasons().map(throttled).unwrap_or_default(),
        uncorrected_ecc: gpu
            .total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
            .ok(),
        // GPUs before Ampere retire pages instead of remapping rows.
        remap_pending: pending
            .map(|pending| pending != 0)
            .or_else(|| gpu.are_pages_pending_retired().ok()),
        remap_failed: failed.map(|failed| failed != 0),
        energy_mj: gpu.total_energy_consumption().ok(),
        ..GpuReading::empty(&*device.id.0, Driver::Nvidia, &*device.name)
    }
}

fn slowest_fan(gpu: &NvmlDevice<'_>) -> Option<u64> {
    // Old drivers do not tell the number.
    let fans = gpu.num_fans().unwrap_or(1).min(MAX_FANS);
    (0..fans)
        .filter_map(|fan| gpu.fan_speed(fan).ok())
        .min()
        .map(u64::from)
}

fn throttled(reasons: ThrottleReasons) -> Vec<ThrottleReason> {
    REASONS
        .iter()
        .filter(|(bits, _)| reasons.contains(*bits))
        .map(|(_, reason)| *reason)
        .collect()
}

/// Returns the values of fields; `None` for those that the GPU or its driver does not have.
fn fields_of<const N: usize>(gpu: &NvmlDevice<'_>, ids: [u32; N]) -> [Option<i64>; N] {
    let samples = gpu.field_values_for(&ids.map(FieldId)).unwrap_or_default();
    let mut samples = samples.into_iter();
    ids.map(|_| match samples.next()?.ok()?.value.ok()? {
        SampleValue::U32(value) => Some(value.into()),
        SampleValue::U64(value) => i64::try_from(value).ok(),
        SampleValue::I64(value) => Some(value),
        SampleValue::F64(_) => None,
    })
}

/// Returns true for an error of a GPU that cannot be used before a reset or a repair.
fn is_lost(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::NotFound
            | NvmlError::DriverNotLoaded
            | NvmlError::Uninitialized
            | NvmlError::IrqIssue
            | NvmlError::InsufficientPower
    )
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, time::Duration};

    use super::*;
    use crate::{
        devices::{HostPaths, Inventory, install_nvml_with},
        health::probe::Probe,
    };

    /// C source of the functions for health. They answer with the values of a file with lines of a name and a
    /// number; a value that is not in it is not supported.
    const LIBRARY: &str = r#"
#include <stdlib.h>
#include <unistd.h>

typedef unsigned int U;
typedef unsigned long long UL;
typedef struct {
    U field, scope;
    long long timestamp, latency;
    U type, code;
    union { double d; U u; UL ul; } value;
} Field;
typedef struct { void *device; UL type, data; U instance, compute; } Event;

enum { NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, LOST = 15 };

static int look(const char *wanted, long long *value) {
    char name[64];
    long long found;
    FILE *file = fopen(FOLDER "/values", "r");
    int code = NOT_SUPPORTED;
    if (!file) return code;
    while (fscanf(file, "%63s %lld", name, &found) == 2)
        if (!strcmp(name, wanted)) { *value = found; code = 0; }
    fclose(file);
    return code;
}
static int get(const char *name, U *value) {
    long long found;
    int code = look(name, &found);
    if (!code) *value = (U)found;
    return code;
}
static int get_long(const char *name, UL *value) {
    long long found;
    int code = look(name, &found);
    if (!code) *value = (UL)found;
    return code;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    static int gpus[64];
    unsigned long index = strtoul(uuid + 4, NULL, 16);
    if (index >= COUNT) return NOT_FOUND;
    gpus[index] = (int)index;
    *device = &gpus[index];
    return gone(*device) ? LOST : 0;
}
int nvmlDeviceGetTemperature(void *device, U sensor, U *value) {
    long long found;
    (void)device; (void)sensor;
    if (!look("hang_ms", &found)) usleep((useconds_t)found * 1000);
    if (!look("lost", &found)) return LOST;
    return get("temperature", value);
}
int nvmlDeviceGetTemperatureThreshold(void *device, U kind, U *value) {
    static const char *names[] = {"shutdown", "slowdown", "memory_max", "gpu_max"};
    (void)device;
    return kind < 4 ? get(names[kind], value) : NOT_SUPPORTED;
}
int nvmlDeviceGetPowerUsage(void *device, U *value) { (void)device; return get("power", value); }
int nvmlDeviceGetEnforcedPowerLimit(void *device, U *value) { (void)device; return get("power_limit", value); }
int nvmlDeviceGetNumFans(void *device, U *value) { (void)device; *value = 2; return 0; }
int nvmlDeviceGetFanSpeed_v2(void *device, U fan, U *value) {
    (void)device;
    return get(fan ? "fan_1" : "fan_0", value);
}
int nvmlDeviceGetClockInfo(void *device, U kind, U *value) {
    (void)device;
    return get(kind == 2 ? "memory_clock" : "graphics_clock", value);
}
int nvmlDeviceGetMaxClockInfo(void *device, U kind, U *value) {
    (void)device;
    return get(kind == 2 ? "max_memory_clock" : "max_graphics_clock", value);
}
int nvmlDeviceGetGpcClkVfOffset(void *device, int *value) {
    (void)device;
    return get("graphics_offset", (U *)value);
}
int nvmlDeviceGetMemClkVfOffset(void *device, int *value) {
    (void)device;
    return get("memory_offset", (U *)value);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, UL *value) {
    (void)device;
    return get_long("throttle", value);
}
int nvmlDeviceGetTotalEccErrors(void *device, U kind, U counter, UL *value) {
    (void)device;
    return kind == 1 && counter == 0 ? get_long("ecc", value) : NOT_SUPPORTED;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, UL *value) {
    (void)device;
    return get_long("energy", value);
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *device, U *value) {
    (void)device;
    return get("pages_pending", value);
}
int nvmlDeviceGetFieldValues(void *device, int count, Field *fields) {
    (void)device;
    for (int i = 0; i < count; i++) {
        U id = fields[i].field;
        const char *name = id == 82 ? "memory_temperature" : id == 144 ? "remap_pending" : "remap_failed";
        fields[i].type = 1;
        fields[i].code = (U)get(name, &fields[i].value.u);
    }
    return 0;
}
int nvmlDeviceGetSupportedEventTypes(void *device, UL *types) { (void)device; *types = 8 | 2; return 0; }
int nvmlEventSetCreate(void **set) { *set = calloc(1, sizeof(long)); return 0; }
int nvmlEventSetFree(void *set) { free(set); return 0; }
int nvmlDeviceRegisterEvents(void *device, UL types, void *set) {
    (void)set;
    return types == 8 && *(int *)device == 0 ? 0 : NOT_SUPPORTED;
}
int nvmlEventSetWait_v2(void *set, Event *event, U timeout) {
    /* Each Xid of the file is told once: they have the names xid_1, xid_2 and so on. */
    char name[32];
    long long found;
    long *told = set;
    if (timeout) return 999;
    snprintf(name, sizeof name, "xid_%ld", *told + 1);
    if (look(name, &found)) return TIMEOUT;
    *told += 1;
    memset(event, 0, sizeof *event);
    event->type = 8;
    event->data = (UL)found;
    return 0;
}
"#;

    /// Values of a cool H100 at work.
    pub(in crate::health) const COOL: &str = "temperature 45\nmemory_temperature 51\ngpu_max 87\nslowdown 92\nshutdown 95\n\
        memory_max 105\npower 310000\npower_limit 700000\ngraphics_clock 1755\nmemory_clock 2619\nmax_graphics_clock 1980\n\
        max_memory_clock 2619\nthrottle 1\necc 0\nenergy 5000\nremap_pending 0\nremap_failed 0\n";

    /// Makes a host with GPUs that report these values, which [`write_values`] changes.
    pub(in crate::health) fn install(folder: &Path, count: u32, gone: i32) -> HostPaths {
        let paths = HostPaths::below(folder);
        let more = LIBRARY.replace("FOLDER", &format!("\"{}\"", folder.display()));
        install_nvml_with(&paths, count, gone, &more);
        write_values(folder, COOL);
        paths
    }

    /// Changes the values of all GPUs.
    pub(in crate::health) fn write_values(folder: &Path, values: &str) {
        // Whole at once: the library may be reading.
        fs::write(folder.join("values.new"), values).unwrap();
        fs::rename(folder.join("values.new"), folder.join("values")).unwrap();
    }

    fn probe_of(paths: &HostPaths) -> Probe {
        let library = paths.nvml.clone();
        Probe::new(Driver::Nvidia, move |requests| serve(&library, requests))
    }

    async fn read(probe: &mut Probe, devices: &[Device]) -> Vec<GpuReading> {
        let readings = probe.read(devices.to_vec(), true, Duration::from_secs(20)).await;
        readings.unwrap().gpus
    }

    #[tokio::test]
    async fn every_value_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = install(folder.path(), 1, -1);
        let devices = Inventory::of(&paths).devices;
        let mut probe = probe_of(&paths);
        let expected = GpuReading {
            temperature_c: Some(45),
            memory_temperature_c: Some(51),
            maximum_c: Some(87),
            slowdown_c: Some(92),
            shutdown_c: Some(95),
            memory_maximum_c: Some(105),
            power_mw: Some(310_000),
            power_limit_mw: Some(700_000),
            graphics_clock_mhz: Some(1_755),
            memory_clock_mhz: Some(2_619),
            max_graphics_clock_mhz: Some(1_980),
            max_memory_clock_mhz: Some(2_619),
            throttled: vec![ThrottleReason::Idle],
            uncorrected_ecc: Some(0),
            remap_pending: Some(false),
            remap_failed: Some(false),
            energy_mj: Some(5_000),
            ..GpuReading::empty(
                "GPU-00000000-0000-0000-0000-000000000000",
                Driver::Nvidia,
                "NVIDIA GeForce RTX 4090",
            )
        };
        assert_eq!(read(&mut probe, &devices).await, [expected]);

        write_values(
            folder.path(),
            "temperature 84\nfan_0 70\nfan_1 0\ngraphics_offset 150\nmemory_offset -200\nthrottle 104\npages_pending 1\n",
        );
        let reading = read(&mut probe, &devices).await.remove(0);
        assert_eq!(
            (reading.temperature_c, reading.memory_temperature_c),
            (Some(84), None)
        );
        assert_eq!((reading.fan_percent, reading.power_mw), (Some(0), None));
        assert_eq!(reading.graphics_offset_mhz, Some(150));
        assert_eq!(reading.memory_offset_mhz, Some(-200));
        assert_eq!(
            reading.throttled,
            [
                ThrottleReason::HardwareSlowdown,
                ThrottleReason::HardwareThermal,
                ThrottleReason::SoftwareThermal
            ]
        );
        assert_eq!((reading.remap_pending, reading.remap_failed), (Some(true), None));
    }

    #[tokio::test]
    async fn xids_are_told_once_and_of_their_gpu() {
        let folder = tempfile::tempdir().unwrap();
        let paths = install(folder.path(), 2, -1);
        let devices = Inventory::of(&paths).devices;
        let mut probe = probe_of(&paths);
        let xids = |readings: Vec<GpuReading>| -> Vec<Vec<u64>> {
            readings.into_iter().map(|reading| reading.xids).collect()
        };
        let none = [Vec::<u64>::new(), Vec::new()];
        assert_eq!(xids(read(&mut probe, &devices).await), none);
        write_values(folder.path(), &format!("{COOL}xid_1 31\nxid_2 79\n"));
        // The devices are ordered by PCI address: the driver's first is the last.
        let told = [Vec::<u64>::new(), vec![31, 79]];
        assert_eq!(xids(read(&mut probe, &devices).await), told);
        assert_eq!(xids(read(&mut probe, &devices).await), none);
    }

    #[tokio::test]
    async fn lost_gpus_and_a_missing_driver_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let paths = install(folder.path(), 2, -1);
        let devices = Inventory::of(&paths).devices;
        let mut probe = probe_of(&paths);
        write_values(folder.path(), "lost 1\nxid_1 79\n");
        let readings = read(&mut probe, &devices).await;
        assert_eq!(readings[1].xids, [79]);
        for reading in readings {
            let reason = reading.lost.unwrap();
            assert!(reason.contains("fell off the bus"), "{reason}");
        }
        write_values(folder.path(), COOL);
        assert_eq!(read(&mut probe, &devices).await[0].lost, None);

        let elsewhere = tempfile::tempdir().unwrap();
        let mut probe = probe_of(&HostPaths::below(elsewhere.path()));
        let reason = read(&mut probe, &devices).await.remove(0).lost.unwrap();
        assert!(reason.contains("install NVIDIA's driver"), "{reason}");
    }

    #[tokio::test]
    async fn driver_that_hangs_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let paths = install(folder.path(), 1, -1);
        let devices = Inventory::of(&paths).devices;
        let mut probe = probe_of(&paths);
        write_values(folder.path(), &format!("{COOL}hang_ms 2000\n"));
        let limit = Duration::from_millis(200);
        let silence = probe.read(devices.clone(), true, limit).await.unwrap_err();
        assert_eq!(silence.driver, Driver::Nvidia);
        write_values(folder.path(), COOL);
        assert_eq!(read(&mut probe, &devices).await[0].temperature_c, Some(45));
    }
}
