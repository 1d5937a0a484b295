//! `assay-worker challenge bench`: measures how fast this machine answers, and which classes it can hold.

use std::{
    cell::Cell,
    fmt,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use assay_client::ChainClient;
use assay_proof::{
    ChallengeParams,
    prover::{Cancel, Progress, Prover, WatchWith, self_test},
};
use assay_provers::{
    BackEnd, DetectOptions, FoundDevice,
    bench::{BadClass, DEFAULT_MARGIN_PERCENT, HardwareClass, Judgement, Measurement, Verdict, measure},
};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{chain::bounded, config::Config};

/// Measurements to make, and classes to judge.
#[derive(Clone, Debug, Args)]
pub struct BenchArguments {
    /// Measure only this back end: cpu, wgpu or cuda. May be given several times. Default: all.
    #[arg(long = "prover", value_name = "BACK_END")]
    pub back_ends: Vec<BackEnd>,

    /// Approximate duration of filling and of walking, in seconds each.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,

    /// Also answer and time the full challenge of every class that fits into the memory.
    #[arg(long)]
    pub full: bool,

    /// A class to judge: its name in the chain's catalogue, or
    /// NAME:ITEMS:FILL_DOUBLE_ROUNDS:LANES_LOG2:STEPS:DEADLINE_MS, which needs no chain. May be given several
    /// times. Default: every class of the catalogue.
    #[arg(long = "class", value_name = "CLASS")]
    pub classes: Vec<String>,

    /// WebSocket URL of a node of the chain whose catalogue is used. Default: the URL in the configuration
    /// file, if there is one.
    #[arg(long, value_name = "URL")]
    pub chain: Option<String>,

    /// Output format.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Format of the figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// A table for people.
    Text,
    /// One JSON object; times in milliseconds, rates per second.
    Json,
}

/// Reason why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A class is neither a name nor a list of parameters.
    #[error(transparent)]
    BadClass(#[from] BadClass),
    /// The chain's catalogue cannot be read.
    #[error("the chain's catalogue cannot be read: {0}")]
    Chain(#[from] assay_client::Error),
    /// The catalogue does not have the class.
    #[error("the chain challenges no class '{name}'; it challenges {known}")]
    UnknownClass {
        /// The requested name.
        name: String,
        /// The names in the catalogue.
        known: String,
    },
    /// A class is given by name, and there is no chain whose catalogue has it.
    #[error(
        "no chain is configured to look up the class '{name}'; give `--chain URL`, a configuration \
         file with `--config`, or the class as NAME:ITEMS:FILL_DOUBLE_ROUNDS:LANES_LOG2:STEPS:DEADLINE_MS"
    )]
    NoChain {
        /// The requested name.
        name: String,
    },
    /// No device could be measured.
    #[error("no device could be measured")]
    NothingMeasured,
    /// The figures cannot be written.
    #[error("the figures cannot be printed: {0}")]
    Output(#[from] io::Error),
    /// The task of the measurement panicked or was cancelled.
    #[error("the measurement failed: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
}

/// Measures every device and prints the classes that it can sustain.
pub async fn run(
    arguments: BenchArguments,
    config: Option<&Config>,
    output: &mut impl Write,
) -> Result<(), BenchError> {
    let classes = classes(&arguments, config).await?;
    let back_ends = match arguments.back_ends.as_slice() {
        [] => BackEnd::ALL.to_vec(),
        chosen => chosen.to_vec(),
    };
    let mut report = Vec::new();
    for back_end in back_ends {
        let bench = Bench {
            stage_time: Duration::from_secs(arguments.seconds),
            full: arguments.full,
            classes: classes.clone(),
        };
        let measured = tokio::task::spawn_blocking(move || bench.back_end(back_end)).await?;
        if arguments.output == Output::Text {
            write!(output, "{measured}")?;
            output.flush()?;
        }
        report.push(measured);
    }
    match arguments.output {
        Output::Text => writeln!(output, "{}", summary(&report, &classes))?,
        Output::Json => {
            let back_ends: Vec<Value> = report.iter().map(MeasuredBackEnd::json).collect();
            writeln!(output, "{:#}", json!({ "back_ends": back_ends }))?;
        }
    }
    if report.iter().any(|back_end| back_end.measured().next().is_some()) {
        Ok(())
    } else {
        Err(BenchError::NothingMeasured)
    }
}

/// Returns the named classes, or else all classes that the chain challenges; none if no chain is configured.
async fn classes(
    arguments: &BenchArguments,
    config: Option<&Config>,
) -> Result<Vec<HardwareClass>, BenchError> {
    let (specified, names): (Vec<_>, Vec<_>) =
        arguments.classes.iter().partition(|class| class.contains(':'));
    let mut classes = specified
        .into_iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<HardwareClass>, BadClass>>()?;
    if names.is_empty() && !classes.is_empty() {
        return Ok(classes);
    }
    let url = match (&arguments.chain, config) {
        (Some(url), _) => url,
        (None, Some(config)) => &config.assay.chain_url,
        (None, None) => {
            return match names.first() {
                Some(name) => Err(BenchError::NoChain {
                    name: (*name).clone(),
                }),
                None => Ok(classes),
            };
        }
    };
    let client = ChainClient::connect(url).await?;
    let catalogue = bounded(client.challenged_classes()).await?;
    let of_catalogue = |(name, params): &(String, ChallengeParams)| HardwareClass {
        name: name.clone(),
        params: *params,
    };
    if names.is_empty() {
        classes.extend(catalogue.iter().map(of_catalogue));
        return Ok(classes);
    }
    for name in names {
        let found = catalogue.iter().find(|(known, _)| known == name);
        classes.push(of_catalogue(found.ok_or_else(|| {
            BenchError::UnknownClass {
                name: name.clone(),
                known: match catalogue.as_slice() {
                    [] => "none".to_owned(),
                    known => known
                        .iter()
                        .map(|(name, _)| name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                },
            }
        })?));
    }
    Ok(classes)
}

/// Measurements to make on every device.
struct Bench {
    stage_time: Duration,
    full: bool,
    classes: Vec<HardwareClass>,
}

impl Bench {
    fn back_end(&self, back_end: BackEnd) -> MeasuredBackEnd {
        let devices = FoundDevice::all_of(back_end)
            .map(|devices| devices.iter().map(|device| self.device(device)).collect())
            .map_err(|absent| absent.to_string());
        MeasuredBackEnd { back_end, devices }
    }

    /// Measures one device; an error of one device does not keep the others from being measured.
    fn device(&self, device: &FoundDevice) -> Result<MeasuredDevice, String> {
        let mut prover = device
            .start(&DetectOptions::default())
            .map_err(|error| error.to_string())?;
        let name = prover.name();
        let failed = |error: &dyn fmt::Display| format!("{name}: {error}");
        self_test(&mut prover).map_err(|error| failed(&error))?;
        let watch = progress_line(format!("measuring {name}"));
        let measurement = measure(&mut prover, self.stage_time, &watch).map_err(|error| failed(&error))?;
        let mut judgements = self
            .classes
            .iter()
            .map(|class| measurement.judge_class(&prover, class))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(&error))?;
        if self.full {
            for judgement in &mut judgements {
                let watch = progress_line(format!("answering {}", judgement.class.name));
                judgement
                    .answer_in_full(&mut prover, &watch)
                    .map_err(|error| failed(&error))?;
            }
        }
        Ok(MeasuredDevice {
            measurement,
            judgements,
        })
    }
}

/// Returns a watch that shows a prover's progress in one terminal line.
fn progress_line(what: String) -> WatchWith<impl Fn(Progress)> {
    let is_terminal = io::stderr().is_terminal();
    let shown = Cell::new(None);
    WatchWith {
        on_progress: move |progress: Progress| {
            let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
            let now = Some((progress.stage, percent));
            if is_terminal && shown.replace(now) != now {
                // The line is for display only: an error of writing it is ignored.
                let _ = write!(io::stderr(), "\r\x1b[2K{what}: {:?} {percent} %", progress.stage);
                if progress.done == progress.total {
                    let _ = write!(io::stderr(), "\r\x1b[2K");
                }
            }
        },
        cancel: Cancel::default(),
    }
}

/// A back end with its devices, or the reason why it has none.
struct MeasuredBackEnd {
    back_end: BackEnd,
    /// Each device, or its problem.
    devices: Result<Vec<Result<MeasuredDevice, String>>, String>,
}

struct MeasuredDevice {
    measurement: Measurement,
    judgements: Vec<Judgement>,
}

impl MeasuredBackEnd {
    fn measured(&self) -> impl Iterator<Item = &MeasuredDevice> {
        self.devices.iter().flatten().flatten()
    }

    fn json(&self) -> Value {
        let back_end = self.back_end.to_string().to_lowercase();
        match &self.devices {
            Err(absent) => json!({ "back_end": back_end, "absent": absent, "devices": [] }),
            Ok(devices) => {
                let devices: Vec<Value> = devices
                    .iter()
                    .map(|device| match device {
                        Ok(device) => device.json(),
                        Err(problem) => json!({ "problem": problem }),
                    })
                    .collect();
                json!({ "back_end": back_end, "devices": devices })
            }
        }
    }
}

impl fmt::Display for MeasuredBackEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = match &self.devices {
            Ok(devices) => devices,
            Err(absent) => return writeln!(formatter, "{} is absent: {absent}\n", self.back_end),
        };
        for device in devices {
            match device {
                Ok(device) => writeln!(formatter, "{device}")?,
                Err(problem) => writeln!(formatter, "{}: {problem}\n", self.back_end)?,
            }
        }
        Ok(())
    }
}

impl MeasuredDevice {
    fn json(&self) -> Value {
        let Measurement {
            device,
            commitment,
            open_time,
            limits,
            copy_bytes_per_second,
        } = &self.measurement;
        json!({
            "device": device,
            "sample": assay_client::json::to_value(&commitment.params).unwrap_or_default(),
            "fill_ms": commitment.fill_time.as_millis(),
            "walk_ms": commitment.walk_time.as_millis(),
            "open_ms": open_time.as_secs_f64() * 1e3,
            "fill_integer_operations_per_second": self.measurement.fill_operations_per_second(),
            "walk_bytes_per_second": commitment.bytes_per_second(),
            "walk_integer_operations_per_second": self.measurement.walk_operations_per_second(),
            "copy_bytes_per_second": copy_bytes_per_second,
            "limits": {
                "memory_bytes": limits.memory_bytes,
                "integer_operations_per_second": limits.integer_operations_per_second,
                "memory_bytes_per_second": limits.memory_bytes_per_second,
            },
            "classes": self.judgements.iter().map(judgement_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for MeasuredDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.measurement)?;
        for judgement in &self.judgements {
            writeln!(formatter, "{judgement}")?;
        }
        Ok(())
    }
}

/// Converts a class's judgement to JSON.
fn judgement_json(judgement: &Judgement) -> Value {
    let mut value = json!({
        "class": judgement.class.name,
        "deadline_ms": judgement.class.params.deadline_ms,
        "memory_bytes": judgement.class.params.memory_bytes(),
    });
    let (verdict, more) = match &judgement.verdict {
        Verdict::Holds(forecast) | Verdict::TooSlow(forecast) => (
            if matches!(judgement.verdict, Verdict::Holds(_)) {
                "holds"
            } else {
                "too_slow"
            },
            json!({
                "forecast_fill_ms": forecast.fill_time.as_millis(),
                "forecast_walk_ms": forecast.walk_time.as_millis(),
            }),
        ),
        Verdict::MemoryShort {
            needed_bytes,
            free_bytes,
        } => (
            "memory_short",
            json!({ "needed_bytes": needed_bytes, "free_bytes": free_bytes }),
        ),
    };
    value["verdict"] = verdict.into();
    value["figures"] = more;
    if let Some(commitment) = &judgement.in_full {
        value["in_full"] = json!({
            "fill_ms": commitment.fill_time.as_millis(),
            "walk_ms": commitment.walk_time.as_millis(),
        });
    }
    value
}

/// Sums up in a sentence the classes that some device can hold.
fn summary(report: &[MeasuredBackEnd], classes: &[HardwareClass]) -> String {
    if classes.is_empty() {
        return "No class was judged: name a chain with `--chain` or `--config`, or a class with `--class`."
            .to_owned();
    }
    let is_held = |class: &&HardwareClass| {
        report
            .iter()
            .flat_map(MeasuredBackEnd::measured)
            .flat_map(|device| &device.judgements)
            .any(|judgement| judgement.class == **class && matches!(judgement.verdict, Verdict::Holds(_)))
    };
    let held: Vec<&str> = classes
        .iter()
        .filter(is_held)
        .map(|class| class.name.as_str())
        .collect();
    match held.as_slice() {
        [] => format!(
            "A slot of this machine can hold none of the {} classes with {DEFAULT_MARGIN_PERCENT} % of the time to \
             spare.",
            classes.len()
        ),
        held => format!(
            "A slot of this machine can hold, with {DEFAULT_MARGIN_PERCENT} % of the time to spare: {}.",
            held.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// One class that every machine holds, and one that none holds within a millisecond.
    const SMALL: &str = "SMALL:1024:4:4:1:600000";
    const LARGE: &str = "LARGE:4294967295:4:4:1:1";

    fn arguments(classes: &[&str], output: Output) -> BenchArguments {
        BenchArguments {
            back_ends: vec![BackEnd::Cpu],
            seconds: 1,
            full: true,
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            chain: None,
            output,
        }
    }

    async fn printed(classes: &[&str], output: Output) -> Result<String, BenchError> {
        let mut text = Vec::new();
        run(arguments(classes, output), None, &mut text).await?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[tokio::test]
    async fn table_shows_rates_and_what_can_be_held() {
        let text = printed(&[SMALL], Output::Text).await.unwrap();
        for part in [
            "CPU, ",
            "billion integer operations/s",
            "GB/s",
            "SMALL                deadline 600.0 s: can be held",
            "answered in full: filling 0.",
            "can hold, with 25 % of the time to spare: SMALL.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[tokio::test]
    async fn json_says_the_same() {
        let text = printed(&[SMALL, LARGE], Output::Json).await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let device = &value["back_ends"][0]["devices"][0];
        assert!(device["fill_integer_operations_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(device["classes"][0]["verdict"], "holds");
        assert!(device["classes"][0]["in_full"]["fill_ms"].is_u64());
        let verdict = device["classes"][1]["verdict"].as_str().unwrap();
        assert!(["memory_short", "too_slow"].contains(&verdict), "{verdict}");
        assert_eq!(device["classes"][1]["in_full"], Value::Null);
        assert_eq!(device["classes"][1]["memory_bytes"], 64 * u64::from(u32::MAX));
    }

    #[tokio::test]
    async fn without_a_chain_names_are_refused_and_nothing_is_judged() {
        let error = classes(&arguments(&["NVIDIA_H100"], Output::Text), None).await;
        assert!(matches!(error, Err(BenchError::NoChain { name }) if name == "NVIDIA_H100"));
        let error = classes(&arguments(&["A:1"], Output::Text), None).await;
        assert!(matches!(error, Err(BenchError::BadClass(_))));
        assert_eq!(classes(&arguments(&[], Output::Text), None).await.unwrap(), []);
        assert!(summary(&[], &[]).contains("--chain"));
        let class: HardwareClass = SMALL.parse().unwrap();
        assert!(summary(&[], &[class]).contains("none of the 1 classes"));
    }
}
