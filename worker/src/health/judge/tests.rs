//! Recorded sequences of readings, and any readings at all.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const FINE: Level = Level::Fine;
const WARNING: Level = Level::Warning;
const NO_NEW_JOBS: Level = Level::NoNewJobs;
const TOO_HOT: Level = Level::Suspended(SuspendCause::Heat);
const FAULTY: Level = Level::Suspended(SuspendCause::Fault);

/// A line of a recorded sequence. The fields are those of [`Readings`], which cannot be flattened into it:
/// serde would then let unknown keys pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_s: u64,
    #[serde(default)]
    gpus: Vec<GpuReading>,
    #[serde(default)]
    zones: Vec<ZoneReading>,
    #[serde(default)]
    silent: Vec<Silence>,
}

fn lines(text: &str) -> Vec<(u64, Readings)> {
    text.lines()
        .map(|line| {
            let line: Line = serde_json::from_str(line).unwrap();
            let readings = Readings {
                gpus: line.gpus,
                zones: line.zones,
                silent: line.silent,
            };
            (line.at_s, readings)
        })
        .collect()
}

/// Plays a sequence; returns the changes of the level with their times, and the first reason of each.
fn play_with(text: &str, mut judge: Judge) -> Vec<(u64, Level, String)> {
    let mut level = Level::Fine;
    let mut changes = Vec::new();
    for (at_s, readings) in lines(text) {
        let verdict = judge.note(at_s, &readings);
        if verdict.level != level {
            level = verdict.level;
            changes.push((at_s, level, verdict.reasons.first().cloned().unwrap_or_default()));
        }
    }
    changes
}

fn play(text: &str) -> Vec<(u64, Level, String)> {
    play_with(text, Judge::new(HealthSettings::default(), false))
}

/// Checks the changes of a sequence's level, and a part of the reason of its gravest one.
fn assert_changes(text: &str, expected: &[(u64, Level)], reason: &str) {
    let changes = play(text);
    let found: Vec<_> = changes.iter().map(|(at_s, level, _)| (*at_s, *level)).collect();
    assert_eq!(found, expected, "{changes:?}");
    let gravest = changes.iter().max_by_key(|(_, level, _)| *level).unwrap();
    assert!(gravest.2.contains(reason), "{changes:?}");
}

#[test]
fn failed_fans_suspend_and_cooling_brings_back() {
    assert_changes(
        include_str!("../recorded/fan_failure.jsonl"),
        &[
            (160, WARNING),
            (190, NO_NEW_JOBS),
            (210, TOO_HOT),
            (740, NO_NEW_JOBS),
            (1_050, FINE),
        ],
        "(NVIDIA H100 80GB HBM3) reached 89 °C; clean its cooler",
    );
}

#[test]
fn owner_sets_other_thresholds() {
    let settings = HealthSettings {
        gpu: Some(Thresholds::new(95, 100, 105)),
        ..HealthSettings::default()
    };
    let changes = play_with(
        include_str!("../recorded/fan_failure.jsonl"),
        Judge::new(settings, false),
    );
    let found: Vec<_> = changes.iter().map(|(at_s, level, _)| (*at_s, *level)).collect();
    // The memory is warm from 180 s on, and the hardware slows the GPU down from 190 to 400 s.
    assert_eq!(
        found,
        [(180, WARNING), (210, NO_NEW_JOBS), (710, WARNING), (760, FINE)],
        "{changes:?}"
    );
}

#[test]
fn sensor_that_flaps_around_a_threshold_does_not_reach_its_level() {
    assert_changes(
        include_str!("../recorded/flapping_sensor.jsonl"),
        &[(20, WARNING), (910, FINE)],
        "reached 8",
    );
}

#[test]
fn errors_of_programs_are_ignored() {
    let changes = play(include_str!("../recorded/application_xid.jsonl"));
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn fatal_xid_suspends_at_once_until_the_reset() {
    assert_changes(
        include_str!("../recorded/fatal_xid.jsonl"),
        &[(30, FAULTY), (900, FINE)],
        "Xid 79: it fell off the bus",
    );
}

#[test]
fn memory_errors_suspend_until_the_counter_went_back() {
    let text = include_str!("../recorded/memory_errors.jsonl");
    assert_changes(
        text,
        &[(60, FAULTY), (1_100, FINE)],
        "3 uncorrected memory error(s)",
    );
    // Without the reset it never ends.
    let until_reset: String = text.lines().take(50).map(|line| format!("{line}\n")).collect();
    let mut judge = Judge::new(HealthSettings::default(), false);
    let readings = lines(&until_reset);
    let (last_s, last) = readings.last().unwrap();
    for (at_s, readings) in &readings {
        judge.note(*at_s, readings);
    }
    let verdict = judge.note(last_s + 100 * FAULT_CLEAN_S, last);
    assert_eq!(verdict.level, FAULTY);

    // A restart of the worker does: the count is then from before its time, and worth a look.
    let mut judge = Judge::new(HealthSettings::default(), false);
    let calm = Readings {
        gpus: vec![GpuReading {
            remap_pending: Some(false),
            ..last.gpus[0].clone()
        }],
        ..Readings::default()
    };
    assert_eq!(judge.note(0, &calm).level, WARNING);
}

#[test]
fn overclocking_ends_new_jobs_unless_it_is_allowed() {
    let text = include_str!("../recorded/overclocked.jsonl");
    assert_changes(
        text,
        &[(120, NO_NEW_JOBS), (710, FINE)],
        "graphics clock raised by 200 MHz",
    );
    let changes = play_with(text, Judge::new(HealthSettings::default(), true));
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn sensors_that_vanish_are_a_warning() {
    assert_changes(
        include_str!("../recorded/vanished_sensors.jsonl"),
        &[(120, WARNING), (710, FINE)],
        "reports no temperature any more",
    );
}

#[test]
fn gpu_that_is_missing_is_a_fault() {
    assert_changes(
        include_str!("../recorded/missing_gpu.jsonl"),
        &[(120, FAULTY), (1_100, FINE)],
        "does not answer: its driver does not list it any more",
    );
}

#[test]
fn driver_that_does_not_answer_is_a_fault() {
    assert_changes(
        include_str!("../recorded/silent_driver.jsonl"),
        &[(120, FAULTY), (910, FINE)],
        "NVIDIA's driver does not answer",
    );
}

#[test]
fn hot_processor_suspends() {
    assert_changes(
        include_str!("../recorded/hot_cpu.jsonl"),
        &[
            (140, WARNING),
            (160, NO_NEW_JOBS),
            (170, TOO_HOT),
            (630, NO_NEW_JOBS),
            (940, FINE),
        ],
        "the processor at coretemp Package id 0 (hwmon2) reached 100 °C",
    );
}

#[test]
fn clocks_above_the_vendors_are_overclocked() {
    let clocks = |clock_mhz, max_mhz| GpuReading {
        memory_clock_mhz: Some(clock_mhz),
        max_memory_clock_mhz: max_mhz,
        ..GpuReading::empty("GPU-1", Driver::Nvidia, "")
    };
    assert_eq!(overclocked(&clocks(10_516, Some(10_501))), None);
    assert_eq!(
        overclocked(&clocks(10_517, Some(10_501))).unwrap(),
        "memory clock above the vendor's 10501 MHz"
    );
    assert_eq!(overclocked(&clocks(10_517, Some(0))), None);
    assert_eq!(overclocked(&clocks(10_517, None)), None);
    let overdrive = GpuReading {
        overdrive_percent: Some(3),
        graphics_offset_mhz: Some(-50),
        ..GpuReading::empty("0000:03:00.0", Driver::Amd, "")
    };
    assert_eq!(overclocked(&overdrive).unwrap(), "overdrive of 3 %");
}

#[test]
fn verdict_names_the_gravest_reason_first_and_what_it_ignored() {
    let mut judge = Judge::new(HealthSettings::default(), false);
    let readings = Readings {
        gpus: vec![
            GpuReading {
                temperature_c: Some(81),
                ..GpuReading::empty("GPU-1", Driver::Nvidia, "")
            },
            GpuReading {
                temperature_c: Some(-300),
                remap_failed: Some(true),
                ..GpuReading::empty("GPU-2", Driver::Nvidia, "")
            },
        ],
        ..Readings::default()
    };
    let verdicts: Vec<_> = (0..6).map(|index| judge.note(index * 10, &readings)).collect();
    let last = verdicts.last().unwrap();
    assert_eq!(last.level, FAULTY);
    assert!(last.reasons[0].contains("none to replace it"), "{last:?}");
    assert!(last.reasons[1].contains("reached 80 °C"), "{last:?}");
    assert_eq!(last.refusals, last.reasons[..1]);
    assert_eq!(last.devices[0].level, "warning");
    assert_eq!(last.devices[1].level, "suspended");
    assert_eq!(last.devices[1].temperature_c, None);
    assert_eq!(
        last.devices[1].ignored,
        ["it reports a temperature of -300 °C, which is ignored"]
    );
    let settled: Vec<_> = verdicts.iter().map(|verdict| verdict.is_settled).collect();
    assert_eq!(settled, [false, false, false, false, false, true]);
}

#[test]
fn short_absence_is_no_reset() {
    let mut judge = Judge::new(HealthSettings::default(), false);
    let mut note = |index: u64, xids: Vec<u64>, is_lost: bool| {
        let gpu = if is_lost {
            GpuReading::lost("GPU-1", Driver::Nvidia, "", "busy")
        } else {
            GpuReading {
                xids,
                ..GpuReading::empty("GPU-1", Driver::Nvidia, "")
            }
        };
        let readings = Readings {
            gpus: vec![gpu],
            ..Readings::default()
        };
        judge.note(index * 10, &readings).level
    };
    assert_eq!(note(0, vec![62], false), FAULTY);
    assert_eq!(note(1, Vec::new(), true), FAULTY);
    for index in 2..200 {
        assert_eq!(note(index, Vec::new(), false), FAULTY, "{index}");
    }
    for index in 200..203 {
        assert_eq!(note(index, Vec::new(), true), FAULTY, "{index}");
    }
    let levels: Vec<_> = (203..270).map(|index| note(index, Vec::new(), false)).collect();
    assert_eq!((levels[0], levels[59]), (FAULTY, FAULTY));
    assert_eq!((levels[60], levels[66]), (FINE, FINE));
}

#[test]
fn number_of_devices_is_bounded() {
    let mut judge = Judge::new(HealthSettings::default(), false);
    let readings = Readings {
        gpus: (0..1_000)
            .map(|index| GpuReading::lost(index.to_string(), Driver::Nvidia, "", "gone"))
            .collect(),
        zones: (0..1_000)
            .map(|index| ZoneReading {
                zone: index.to_string(),
                temperature_c: Some(120),
                critical_c: None,
            })
            .collect(),
        silent: Vec::new(),
    };
    let verdicts: Vec<_> = (0..4).map(|index| judge.note(index * 10, &readings)).collect();
    let last = verdicts.last().unwrap();
    assert_eq!(last.devices.len(), MAX_GPUS + MAX_ZONES);
    assert_eq!(
        (last.reasons.len(), last.refusals.len()),
        (MAX_REASONS, MAX_REASONS)
    );
}

/// Any temperature: mostly around the thresholds, sometimes nonsense or none.
fn any_temperature() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        6 => (60_i64..105).prop_map(Some),
        1 => any::<i64>().prop_map(Some),
        1 => Just(None),
    ]
}

fn any_counter() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        4 => Just(Some(0_u64)),
        1 => any::<u64>().prop_map(Some),
        1 => Just(None),
    ]
}

prop_compose! {
    fn any_gpu()(
        device in 0_u8..3,
        is_lost in prop::bool::weighted(0.1),
        temperature_c in any_temperature(),
        memory_temperature_c in any_temperature(),
        slowdown_c in any_temperature(),
        maximum_c in any_temperature(),
        power_mw in any_counter(),
        uncorrected_ecc in any_counter(),
        energy_mj in any_counter(),
        graphics_offset_mhz in prop_oneof![3 => Just(None::<i64>), 1 => any::<i64>().prop_map(Some)],
        is_throttled in prop::bool::weighted(0.2),
        xids in prop::collection::vec(0_u64..160, 0..2),
        remap in prop::option::weighted(0.2, any::<bool>()),
    ) -> GpuReading {
        GpuReading {
            lost: is_lost.then(|| "gone".to_owned()),
            temperature_c,
            memory_temperature_c,
            slowdown_c,
            maximum_c,
            power_mw,
            uncorrected_ecc,
            energy_mj,
            graphics_offset_mhz,
            throttled: is_throttled.then_some(ThrottleReason::HardwareThermal).into_iter().collect(),
            xids,
            remap_failed: remap,
            ..GpuReading::empty(device.to_string(), Driver::Nvidia, "")
        }
    }
}

fn any_readings() -> impl Strategy<Value = Readings> {
    let zone =
        (0_u8..3, any_temperature(), any_temperature()).prop_map(|(zone, temperature_c, critical_c)| {
            ZoneReading {
                zone: zone.to_string(),
                temperature_c,
                critical_c,
            }
        });
    let silent = prop::option::weighted(0.1, prop_oneof![Just(Driver::Nvidia), Just(Driver::Cpu)]);
    (
        prop::collection::vec(any_gpu(), 0..4),
        prop::collection::vec(zone, 0..3),
        silent,
    )
        .prop_map(|(gpus, zones, silent)| Readings {
            gpus,
            zones,
            silent: silent
                .map(|driver| Silence {
                    driver,
                    reason: "no answer".into(),
                })
                .into_iter()
                .collect(),
        })
}

/// Rounds of any readings, and calm ones after them, so that levels fall as well.
fn any_sequence() -> impl Strategy<Value = Vec<Readings>> {
    let calm = Readings {
        gpus: (0..3)
            .map(|index| GpuReading {
                temperature_c: Some(40),
                memory_temperature_c: Some(40),
                remap_failed: Some(false),
                ..GpuReading::empty(index.to_string(), Driver::Nvidia, "")
            })
            .collect(),
        zones: (0..3)
            .map(|index| ZoneReading {
                zone: index.to_string(),
                temperature_c: Some(40),
                critical_c: None,
            })
            .collect(),
        silent: Vec::new(),
    };
    let round = (prop::collection::vec(any_readings(), 1..12), 0_usize..100);
    prop::collection::vec(round, 1..4).prop_map(move |rounds| {
        let mut all = Vec::new();
        for (readings, rest) in rounds {
            all.extend(readings);
            all.extend(std::iter::repeat_n(calm.clone(), rest));
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A level that was reached is kept for the hold time at least, whatever is read.
    #[test]
    fn no_level_falls_before_its_time(sequence in any_sequence(), allow_overclock in any::<bool>()) {
        let mut judge = Judge::new(HealthSettings::default(), allow_overclock);
        let levels = [WARNING, NO_NEW_JOBS, TOO_HOT];
        let mut reached_at_s = [None; 3];
        for (index, readings) in (0_u64..).zip(&sequence) {
            let now_s = index * 10;
            let verdict = judge.note(now_s, readings);
            prop_assert_eq!(verdict.level == FINE, verdict.reasons.is_empty());
            prop_assert_eq!(verdict.level.takes_jobs(), verdict.refusals.is_empty());
            for (level, reached) in levels.into_iter().zip(&mut reached_at_s) {
                match *reached {
                    None if verdict.level >= level => *reached = Some(now_s),
                    Some(since_s) if verdict.level < level => {
                        prop_assert!(now_s - since_s >= FALL_S, "{level:?} from {since_s} s to {now_s} s");
                        *reached = None;
                    }
                    _ => (),
                }
            }
        }
    }

    /// Values that no device has never change a level, and times that go back do no harm.
    #[test]
    fn nonsense_changes_no_level(temperature_c in any::<i64>(), times in prop::collection::vec(any::<u64>(), 1..20)) {
        prop_assume!(!(-20..=150).contains(&temperature_c));
        let mut judge = Judge::new(HealthSettings::default(), false);
        let readings = Readings {
            gpus: vec![GpuReading {
                temperature_c: Some(temperature_c),
                memory_temperature_c: Some(temperature_c),
                power_mw: Some(u64::MAX),
                graphics_clock_mhz: Some(u64::MAX),
                max_graphics_clock_mhz: Some(1_000),
                ..GpuReading::empty("GPU-1", Driver::Nvidia, "")
            }],
            ..Readings::default()
        };
        for now_s in times {
            let verdict = judge.note(now_s, &readings);
            prop_assert_eq!(verdict.level, FINE);
            prop_assert_eq!(verdict.devices[0].ignored.len(), 4);
        }
    }
}
