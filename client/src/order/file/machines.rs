//! The machines: requirements, numbers, price, time and verification.

use assay_primitives::{job::MAX_REPLICAS, machine::MAX_SLOTS};

use super::values;
use crate::{
    market::{MAX_NODES, Near, Requirements, TeeKind, parse_class_name, parse_region},
    order::{
        DEFAULT_WINDOW_MS, MAX_ATTEMPTS, MAX_DURATION_MS, MAX_VERIFICATION_MS, MIN_DURATION_MS, OrderSpec,
        Retry, Spread,
    },
    types::{JobKind, Location, Verification},
    units::{format_milliseconds, parse_asy, parse_duration, parse_percent},
    yaml::{Place, Reader, ScalarKind, Section, parse_microdegrees},
};

/// Keys of `requirements`.
pub(crate) const REQUIREMENT_KEYS: [&str; 13] = [
    "gpu_type",
    "min_vram_gib",
    "min_cuda_cores",
    "min_compute_score",
    "min_cpu_cores",
    "min_ram_gib",
    "min_disk_gib",
    "min_upload_mbps",
    "min_download_mbps",
    "region",
    "near",
    "tee",
    "min_uptime_percent",
];

/// Keys of `requirements.near`.
pub(crate) const NEAR_KEYS: [&str; 3] = ["latitude", "longitude", "within"];

/// Keys of `verification`.
pub(crate) const VERIFICATION_KEYS: [&str; 4] = ["by", "window", "replicas", "threshold"];

/// Keys of `spread`.
pub(crate) const SPREAD_KEYS: [&str; 2] = ["providers", "regions"];

/// Keys of `retry`.
pub(crate) const RETRY_KEYS: [&str; 1] = ["attempts"];

const MIB_PER_GIB: u32 = 1_024;

/// Length of a mile.
const MILLIMETRES_PER_MILE: u64 = 1_609_344;

const MILLIMETRES_PER_KM: u64 = 1_000_000;

/// Half of the way around the earth, in kilometres: no machine is further away.
const MAX_DISTANCE_KM: u64 = 20_040;

/// Judge of a task's result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judge {
    Consumer,
    Quorum,
    Attested,
}

/// Reads all keys of the machines into the order.
pub(super) fn read(reader: &mut Reader, section: &Section<'_>, spec: &mut OrderSpec) {
    let nodes = values::integer(reader, section, "nodes", 1..=MAX_NODES);
    spec.nodes = nodes.unwrap_or(spec.nodes);
    spec.slots = values::integer(reader, section, "slots", 1..=MAX_SLOTS).unwrap_or(spec.slots);
    spec.requirements = requirements(reader, section);
    spec.max_price_per_slot_hour = price(reader, section, spec.slots);
    let bounds = MIN_DURATION_MS..=MAX_DURATION_MS;
    spec.max_duration_ms =
        time(reader, section, "time_limit", bounds, "60s to 365d").unwrap_or(spec.max_duration_ms);
    kind(reader, section, spec, nodes);
    spec.spread = spread(reader, section, spec);
    spec.retry = retry(reader, section);
}

fn requirements(reader: &mut Reader, section: &Section<'_>) -> Requirements {
    let Some(section) = section
        .get(reader, "requirements")
        .and_then(|node| Section::read(reader, "requirements", node, &REQUIREMENT_KEYS))
    else {
        return Requirements::default();
    };
    let number =
        |reader: &mut Reader, key| values::integer(reader, &section, key, 0..=u32::MAX).unwrap_or_default();
    let mib = |reader: &mut Reader, key| {
        values::integer(reader, &section, key, 0..=u32::MAX / MIB_PER_GIB)
            .unwrap_or_default()
            .saturating_mul(MIB_PER_GIB)
    };
    let class = "the name of a hardware class, such as NVIDIA_H100";
    let tees = [
        ("sgx", TeeKind::Sgx),
        ("tdx", TeeKind::Tdx),
        ("sev_snp", TeeKind::SevSnp),
        ("nvidia_gpu", TeeKind::NvidiaGpu),
    ];
    Requirements {
        gpu_type: values::parsed(reader, &section, "gpu_type", class, parse_class_name),
        min_vram_mib: mib(reader, "min_vram_gib"),
        min_cuda_cores: number(reader, "min_cuda_cores"),
        min_compute_score: number(reader, "min_compute_score"),
        min_cpu_cores: number(reader, "min_cpu_cores"),
        min_ram_mib: mib(reader, "min_ram_gib"),
        min_disk_gib: number(reader, "min_disk_gib"),
        min_upload_mbps: number(reader, "min_upload_mbps"),
        min_download_mbps: number(reader, "min_download_mbps"),
        region: values::parsed(
            reader,
            &section,
            "region",
            "a region code, such as us-east",
            parse_region,
        ),
        near: near(reader, &section),
        tee: values::word(reader, &section, "tee", &tees),
        min_uptime_ppm: percent(reader, &section, "min_uptime_percent").unwrap_or_default(),
        // Of the order itself.
        max_price_per_slot_hour: None,
        min_free_slots: 0,
        min_nodes: 0,
    }
}

fn percent(reader: &mut Reader, section: &Section<'_>, key: &str) -> Option<u32> {
    let form = "a percentage from 0 to 100 with at most 4 decimals, such as 99.5";
    let (text, kind) = values::scalar(reader, section, key, form)?;
    let is_number = matches!(kind, ScalarKind::Integer | ScalarKind::Decimal);
    let ppm = parse_percent(&text.value).ok().filter(|_| is_number);
    if ppm.is_none() {
        reader.bad(&section.key(key), &text, form);
    }
    ppm
}

fn near(reader: &mut Reader, section: &Section<'_>) -> Option<Near> {
    let node = section.get(reader, "near")?;
    let section = Section::read(reader, "requirements.near", node, &NEAR_KEYS)?;
    for key in NEAR_KEYS {
        super::missing_in(reader, &section, key);
    }
    let degrees = |reader: &mut Reader, key: &str, limit: u32| {
        let form = format!("degrees from -{limit} to {limit} with at most 6 decimals");
        let (text, kind) = values::scalar(reader, &section, key, &form)?;
        let is_number = matches!(kind, ScalarKind::Integer | ScalarKind::Decimal);
        let degrees = parse_microdegrees(&text.value, limit).ok().filter(|_| is_number);
        if degrees.is_none() {
            reader.bad(&section.key(key), &text, form);
        }
        degrees
    };
    let latitude = degrees(reader, "latitude", 90);
    let longitude = degrees(reader, "longitude", 180);
    let within = values::amount(
        reader,
        &section,
        "within",
        "a distance, such as 50 km or 30 mi",
        parse_distance_km,
    );
    Some(Near {
        center: Location {
            latitude_microdegrees: latitude?,
            longitude_microdegrees: longitude?,
        },
        within_km: within?,
    })
}

/// Reads a distance as whole kilometres. Miles are rounded down, so that no machine is further away than
/// was said.
fn parse_distance_km(text: &str) -> Result<u32, String> {
    let bad = || {
        format!(
            "{text:?} is not a distance: write a whole number and km or mi, such as 50 km or 30 mi, from 1 km to \
             {MAX_DISTANCE_KM} km"
        )
    };
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let km = match unit.trim_start() {
        "km" => number,
        "mi" | "mile" | "miles" => number.saturating_mul(MILLIMETRES_PER_MILE) / MILLIMETRES_PER_KM,
        _ => return Err(bad()),
    };
    u32::try_from(km)
        .ok()
        .filter(|_| (1..=MAX_DISTANCE_KM).contains(&km))
        .ok_or_else(bad)
}

/// Reads the ceiling of the price, in plancks per slot-hour.
fn price(reader: &mut Reader, section: &Section<'_>, slots: u8) -> Option<u128> {
    const PER_SLOT: &str = "max_price_per_slot_hour";
    const PER_MACHINE: &str = "max_price_per_machine_hour";
    let form = "an amount of ASY, such as 2.50";
    let per_slot = values::amount(reader, section, PER_SLOT, form, parse_asy);
    let per_machine = values::amount(reader, section, PER_MACHINE, form, parse_asy);
    if let (Some(_), Some(place)) = (section.place_of(PER_SLOT), section.place_of(PER_MACHINE)) {
        let message = format!("`{PER_MACHINE}` and `{PER_SLOT}` are one price; keep one of them");
        reader.problem(place, message);
    }
    // Rounded down: never above the ceiling.
    per_slot.or_else(|| per_machine.and_then(|price| price.checked_div(u128::from(slots))))
}

/// Reads a length of time in milliseconds.
fn time(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<u64>,
    allowed: &str,
) -> Option<u64> {
    let form = format!("a length of time from {allowed}, such as 90s, 10m or 2h");
    let (text, _) = values::scalar(reader, section, key, &form)?;
    let milliseconds = parse_duration(&text.value)
        .ok()
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .filter(|milliseconds| bounds.contains(milliseconds));
    if milliseconds.is_none() {
        reader.bad(&section.key(key), &text, form);
    }
    milliseconds
}

/// Reads the kind and its verification. `nodes` is the number in the file.
fn kind(reader: &mut Reader, section: &Section<'_>, spec: &mut OrderSpec, nodes: Option<u8>) {
    let is_service =
        values::word(reader, section, "kind", &[("task", false), ("service", true)]).unwrap_or_default();
    if is_service {
        spec.kind = JobKind::Service;
        if let Some(place) = section.place_of("verification") {
            let message = "a service has no result to verify; remove `verification`, or write `kind: task`";
            reader.problem(place, message.to_owned());
        }
        return;
    }
    let Some(section) = section
        .get(reader, "verification")
        .and_then(|node| Section::read(reader, "verification", node, &VERIFICATION_KEYS))
    else {
        return;
    };
    let judges = [
        ("consumer", Judge::Consumer),
        ("quorum", Judge::Quorum),
        ("attested", Judge::Attested),
    ];
    super::missing_in(reader, &section, "by");
    let Some(judge) = values::word(reader, &section, "by", &judges) else {
        return;
    };
    let window = time(reader, &section, "window", 0..=MAX_VERIFICATION_MS, "0s to 1d");
    let replicas = values::integer(reader, &section, "replicas", 2..=MAX_REPLICAS);
    let threshold = values::integer(reader, &section, "threshold", 2..=MAX_REPLICAS);
    let foreign: &[(&str, &str)] = match judge {
        Judge::Consumer => &[("replicas", "quorum"), ("threshold", "quorum")],
        Judge::Quorum => &[("window", "consumer")],
        Judge::Attested => &[
            ("window", "consumer"),
            ("replicas", "quorum"),
            ("threshold", "quorum"),
        ],
    };
    for (key, judge) in foreign {
        if let Some(place) = section.place_of(key) {
            let message = format!("`verification.{key}` is for `by: {judge}`; remove one of them");
            reader.problem(place, message);
        }
    }
    let verification = match judge {
        Judge::Attested => Verification::Attested,
        Judge::Consumer => Verification::Consumer {
            window_ms: window.unwrap_or(DEFAULT_WINDOW_MS),
        },
        Judge::Quorum => {
            super::missing_in(reader, &section, "threshold");
            let Some(replicas) = quorum(reader, &section, replicas, nodes) else {
                return;
            };
            spec.nodes = replicas;
            let Some(threshold) = threshold else {
                return;
            };
            check_quorum(reader, &section, spec.max_duration_ms, replicas, threshold);
            Verification::Quorum { replicas, threshold }
        }
    };
    spec.kind = JobKind::Task { verification };
}

/// Returns the number of replicas, which are the machines of the order.
fn quorum(reader: &mut Reader, section: &Section<'_>, replicas: Option<u8>, nodes: Option<u8>) -> Option<u8> {
    let place = section.place_of("replicas").unwrap_or(section.place());
    match (replicas, nodes) {
        (Some(replicas), Some(nodes)) if replicas != nodes => {
            let message = format!(
                "`verification.replicas` is {replicas} and `nodes` is {nodes}; each machine runs one replica: leave \
                 out `nodes`"
            );
            reader.problem(place, message);
            None
        }
        (Some(replicas), _) => Some(replicas),
        (None, Some(nodes)) if (2..=MAX_REPLICAS).contains(&nodes) => Some(nodes),
        _ => {
            // A value that is there and bad was reported.
            if section.place_of("replicas").is_none() {
                let message = format!(
                    "a quorum needs `replicas`, the number of machines; allowed: 2 to {MAX_REPLICAS}"
                );
                reader.problem(place, message);
            }
            None
        }
    }
}

fn check_quorum(reader: &mut Reader, section: &Section<'_>, duration_ms: u64, replicas: u8, threshold: u8) {
    let place = section.place_of("threshold").unwrap_or(section.place());
    let majority = replicas / 2 + 1;
    if !(majority..=replicas).contains(&threshold) {
        reader.problem(
            place,
            format!(
                "`verification.threshold` is `{threshold}`; allowed: {majority} to {replicas}, a majority"
            ),
        );
    }
    if duration_ms > MAX_VERIFICATION_MS {
        reader.problem(
            section.place(),
            format!(
                "a quorum waits for its slowest replica, here up to {}; allowed: a `time_limit` of at most 1d",
                format_milliseconds(duration_ms)
            ),
        );
    }
}

fn spread(reader: &mut Reader, section: &Section<'_>, spec: &OrderSpec) -> Spread {
    let Some(section) = section
        .get(reader, "spread")
        .and_then(|node| Section::read(reader, "spread", node, &SPREAD_KEYS))
    else {
        return Spread::default();
    };
    let spread = Spread {
        providers: values::boolean(reader, &section, "providers").unwrap_or_default(),
        regions: values::boolean(reader, &section, "regions").unwrap_or_default(),
    };
    let is_spread = spread.providers || spread.regions;
    if is_spread && spec.nodes < 2 {
        let message = "one machine cannot be spread; write `nodes`, or remove `spread`".to_owned();
        reader.problem(section.place(), message);
    }
    if spread.regions && spec.nodes > 1 && spec.requirements.region.is_some() {
        let place = section.place_of("regions").unwrap_or(Place::UNKNOWN);
        let message =
            "`spread.regions` wants another region for each machine, and `requirements.region` one for all; remove one \
             of them"
                .to_owned();
        reader.problem(place, message);
    }
    spread
}

fn retry(reader: &mut Reader, section: &Section<'_>) -> Retry {
    let Some(section) = section
        .get(reader, "retry")
        .and_then(|node| Section::read(reader, "retry", node, &RETRY_KEYS))
    else {
        return Retry::default();
    };
    super::missing_in(reader, &section, "attempts");
    let attempts = values::integer(reader, &section, "attempts", 1..=MAX_ATTEMPTS);
    attempts.map_or_else(Retry::default, |attempts| Retry { attempts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_whole_kilometres_and_never_longer_than_said() {
        for (text, km) in [
            ("50 km", 50),
            ("50km", 50),
            ("1 mi", 1),
            ("30 mi", 48),
            ("100 miles", 160),
            ("20040 km", 20_040),
        ] {
            assert_eq!(parse_distance_km(text), Ok(km), "{text}");
        }
        for text in [
            "",
            "50",
            "km",
            "-1 km",
            "1.5 km",
            "0 km",
            "20041 km",
            "50 m",
            "99999999999999999999 km",
            "18446744073709551615 mi",
        ] {
            assert!(parse_distance_km(text).is_err(), "{text}");
        }
    }
}
