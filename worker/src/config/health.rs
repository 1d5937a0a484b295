//! `assay.health`: temperatures at which the machine warns, takes no new jobs, and is suspended.

use assay_client::yaml::{Reader, Text};
use serde::Deserialize;

use crate::health::{ALLOWED_C, HealthSettings, Thresholds};

/// `assay.health` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthSection {
    gpu_warn_c: Option<Text>,
    gpu_stop_c: Option<Text>,
    gpu_suspend_c: Option<Text>,
    gpu_memory_warn_c: Option<Text>,
    gpu_memory_stop_c: Option<Text>,
    gpu_memory_suspend_c: Option<Text>,
    cpu_warn_c: Option<Text>,
    cpu_stop_c: Option<Text>,
    cpu_suspend_c: Option<Text>,
}

/// Reads the section.
pub(super) fn resolve(reader: &mut Reader, section: &HealthSection) -> HealthSettings {
    HealthSettings {
        gpu: group(
            reader,
            "gpu",
            [&section.gpu_warn_c, &section.gpu_stop_c, &section.gpu_suspend_c],
        ),
        gpu_memory: group(
            reader,
            "gpu_memory",
            [
                &section.gpu_memory_warn_c,
                &section.gpu_memory_stop_c,
                &section.gpu_memory_suspend_c,
            ],
        ),
        cpu: group(
            reader,
            "cpu",
            [&section.cpu_warn_c, &section.cpu_stop_c, &section.cpu_suspend_c],
        ),
    }
}

/// Reads the three thresholds of a kind of device; `None` if none is given.
fn group(reader: &mut Reader, kind: &str, texts: [&Option<Text>; 3]) -> Option<Thresholds> {
    let key = |step: &str| format!("assay.health.{kind}_{step}_c");
    let [Some(warn), Some(stop), Some(suspend)] = texts else {
        if let Some(lone) = texts.into_iter().flatten().next() {
            let message = format!(
                "`{}`, `{}` and `{}` go together; give all three or none",
                key("warn"),
                key("stop"),
                key("suspend")
            );
            reader.problem(lone.place, message);
        }
        return None;
    };
    let thresholds = Thresholds::new(
        reader.number(&key("warn"), warn, ALLOWED_C),
        reader.number(&key("stop"), stop, ALLOWED_C),
        reader.number(&key("suspend"), suspend, ALLOWED_C),
    );
    // Zero is the placeholder of a value whose problem is already reported.
    let are_read = thresholds.warn_c != 0 && thresholds.stop_c != 0 && thresholds.suspend_c != 0;
    if are_read && !thresholds.are_sound() {
        let (step, text, below) = if thresholds.stop_c <= thresholds.warn_c {
            ("stop", stop, key("warn"))
        } else {
            ("suspend", suspend, key("stop"))
        };
        reader.bad(
            &key(step),
            text,
            format!(
                "a temperature above that of `{below}`, so that jobs stop before the machine is suspended"
            ),
        );
    }
    Some(thresholds)
}
