//! `assay-worker gpu self-test`: runs a small workload on each free slot's GPU, in a container like a job's.
//!
//! # The image
//!
//! The image's own entrypoint does the test, and writes one line of JSON to standard output:
//!
//! ```json
//! {"driver_version":"550.90.07","devices":[{"uuid":"GPU-…","memory_mib":81559}],
//!  "product_sha256":"<hexadecimal>"}
//! ```
//!
//! - `devices`: every GPU that the container sees. `uuid` may be `null` where the interface has none.
//! - `product_sha256`: SHA-256 of the product of two n × n matrices, computed on the GPU, as text: a line for
//!   each row, its numbers in decimal and separated by a space, each line with a newline. With n of the
//!   variable `ASSAY_SELF_TEST_SIZE` and s of `ASSAY_SELF_TEST_SEED`, and rows and columns counted from zero,
//!   A[i][j] = (s + 31·i + 17·j) mod 251 and B[i][j] = (s + 13·i + 29·j) mod 241. The sums stay below 2²⁴, so
//!   32-bit floating-point numbers are exact.
//!
//! The exit code is 0. Any image for the GPU's vendor can do this: the worker has none of its own, because a
//! right answer needs the vendor's libraries.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use assay_client::manifest::{ImageReference, Profile};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Device, DeviceId, DeviceLedger, GpuSurvey, Holding, HostPaths, Machine, SlotState, access::access_to,
};
use crate::{
    config::Config,
    engine::{
        CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec, DockerEngine,
        EngineEndpoint, Exit,
    },
    logs::{LiveLogs, beginnings},
    state::{StateError, StateFolder},
};

/// Number of rows of the matrices: the most whose sums 32-bit floating-point numbers hold exactly is 279.
const SIZE: u32 = 256;

/// Timeout of one slot's container.
const PATIENCE: Duration = Duration::from_secs(300);

/// Part of the reported memory that the container must see, in per cent: the driver keeps some of it.
const LEAST_MEMORY_PERCENT: u64 = 90;

/// Maximum length of the answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Image and format of the self-test.
#[derive(Clone, Debug, Args)]
pub struct SelfTestArguments {
    /// Image of the test by digest, such as registry/assay-gpu-test@sha256:<64 hex digits>. Its entrypoint
    /// prints one line of JSON: `driver_version`, `devices` with `uuid` and `memory_mib`, and
    /// `product_sha256`, as the documentation of `devices::self_test` says.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageReference>,

    /// Output format.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Format of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// A line for each slot.
    Text,
    /// One JSON object.
    Json,
}

/// Reason why nothing was tested.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// No image is given.
    #[error(
        "no image is given; name one by digest with `--image`: its entrypoint multiplies two matrices on the GPU and prints \
         the result as `assay-worker gpu self-test --help` says"
    )]
    NoImage,
    /// The engine is a cluster.
    #[error("a cluster's device plugin gives GPUs to pods by itself; test them with a pod of the cluster")]
    NoDocker,
    /// The state folder cannot be used; a worker that runs already has it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The report cannot be written.
    #[error("the report cannot be printed: {0}")]
    Output(#[from] io::Error),
    /// A task panicked or was cancelled.
    #[error("the self-test failed: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
}

/// Result for one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// Number of the slot.
    pub slot: u8,
    /// Identity of the slot's GPU.
    pub device: Option<DeviceId>,
    /// True if the test was left out, because a job has the GPU.
    pub is_leased: bool,
    /// True if the container sees the slot's GPU, and no other.
    pub driver_visible: bool,
    /// Version of the driver that the container sees.
    pub driver_version: Option<String>,
    /// Memory in MiB that the container sees.
    pub memory_mib: u64,
    /// True if that is the memory that the driver reports on the host.
    pub memory_as_claimed: bool,
    /// True if the product is right.
    pub matrix_product_right: bool,
    /// Reason why the slot failed.
    pub problem: Option<String>,
}

impl SlotReport {
    fn failed(slot: u8, device: Option<DeviceId>, problem: String) -> Self {
        Self {
            slot,
            device,
            is_leased: false,
            driver_visible: false,
            driver_version: None,
            memory_mib: 0,
            memory_as_claimed: false,
            matrix_product_right: false,
            problem: Some(problem),
        }
    }
}

/// Report of the self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// True if every slot's GPU was tested and is right.
    pub passed: bool,
    /// Results by slot.
    pub slots: Vec<SlotReport>,
    /// Parts that the host is missing, each with its remedy.
    pub missing: Vec<String>,
}

/// Answer of the image.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Answer {
    driver_version: String,
    devices: Vec<SeenDevice>,
    product_sha256: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct SeenDevice {
    uuid: Option<String>,
    memory_mib: u64,
}

/// Tests the GPU of every free slot, and prints the report; fails if any of them is not right.
pub async fn run(
    arguments: SelfTestArguments,
    config: &Config,
    output: &mut impl Write,
) -> Result<ExitCode, SelfTestError> {
    let machine = Machine::of(config);
    let looked_at = machine.clone();
    let survey = tokio::task::spawn_blocking(move || GpuSurvey::of(&looked_at)).await?;
    let mut report = Report {
        passed: false,
        slots: Vec::new(),
        missing: survey.bad,
    };
    if machine.gpus.is_none() {
        report
            .missing
            .push("`shared_resources.gpus` in the configuration offers no GPU".into());
    }
    if !survey.inventory.devices.is_empty() {
        let image = arguments.image.ok_or(SelfTestError::NoImage)?;
        if config.assay.kubernetes.is_some() {
            return Err(SelfTestError::NoDocker);
        }
        // Held to the end, so that no worker gives the devices to a job meanwhile.
        let state = StateFolder::open(&config.assay.state_dir)?;
        let (folder, disk) = (config.assay.state_dir.clone(), state.disk().clone());
        let ledger = tokio::task::spawn_blocking(move || DeviceLedger::open(&folder, disk, machine)).await?;
        let test = SlotTest {
            engine: DockerEngine::new(EngineEndpoint::resolve(config.assay.engine.as_deref())),
            image,
            command: Vec::new(),
            cdi: HostPaths::of_linux().cdi,
            folder: config.assay.state_dir.join("self-test"),
            config: config.clone(),
        };
        report.slots = test.all(&ledger).await?;
    }
    report.passed = report.missing.is_empty()
        && !report.slots.is_empty()
        && report.slots.iter().all(|slot| slot.problem.is_none());
    match arguments.output {
        Output::Text => print(&report, output)?,
        Output::Json => {
            let text = serde_json::to_string_pretty(&report).map_err(io::Error::other)?;
            writeln!(output, "{text}")?;
        }
    }
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report, output: &mut impl Write) -> io::Result<()> {
    for missing in &report.missing {
        writeln!(output, "BAD   {missing}")?;
    }
    for slot in &report.slots {
        let device = slot.device.as_ref().map_or("no GPU", |id| id.0.as_str());
        match &slot.problem {
            Some(problem) => writeln!(output, "BAD   slot {}: {device}: {problem}", slot.slot)?,
            None => writeln!(
                output,
                "ok    slot {}: {device}: {} MiB, the product is right",
                slot.slot, slot.memory_mib
            )?,
        }
    }
    writeln!(
        output,
        "{}",
        if report.passed {
            "All GPUs passed"
        } else {
            "Not all GPUs passed"
        }
    )
}

/// The test of one slot after the other.
struct SlotTest {
    engine: DockerEngine,
    image: ImageReference,
    /// Command in place of the image's own; empty for the image's own.
    command: Vec<String>,
    cdi: Vec<PathBuf>,
    folder: PathBuf,
    config: Config,
}

impl SlotTest {
    async fn all(&self, ledger: &DeviceLedger) -> Result<Vec<SlotReport>, SelfTestError> {
        let lender = ledger.clone();
        let loan = tokio::task::spawn_blocking(move || lender.lend(u8::MAX)).await?;
        let mut reports = Vec::new();
        for slot in ledger.view() {
            let lent = loan.as_ref().ok().and_then(|loan| {
                let mut devices = loan.devices.iter();
                devices.find(|device| Some(&device.id) == slot.device.as_ref())
            });
            reports.push(match (lent, &loan) {
                (Some(device), _) => self.one(slot.slot, device).await,
                (None, Err(error)) => SlotReport::failed(slot.slot, slot.device, error.to_string()),
                (None, Ok(_)) => SlotReport {
                    is_leased: matches!(slot.state, SlotState::Leased | SlotState::Lost),
                    ..SlotReport::failed(
                        slot.slot,
                        slot.device,
                        match slot.state {
                            SlotState::Leased => "a job has the GPU; test it when the job is over".into(),
                            SlotState::Lost => "a job has the GPU, and it does not answer".into(),
                            _ => "the slot has no GPU".into(),
                        },
                    )
                },
            });
        }
        Ok(reports)
    }

    async fn one(&self, slot: u8, device: &Device) -> SlotReport {
        let seed = u32::from(slot) + 7;
        match tokio::time::timeout(PATIENCE, self.answer(slot, device, seed)).await {
            Ok(Ok(answer)) => judge(slot, device, seed, &answer),
            Ok(Err(problem)) => SlotReport::failed(slot, Some(device.id.clone()), problem),
            Err(_) => SlotReport::failed(
                slot,
                Some(device.id.clone()),
                format!("the container did not end within {} s", PATIENCE.as_secs()),
            ),
        }
    }

    /// Runs the image with the slot's device alone, and returns its answer.
    async fn answer(&self, slot: u8, device: &Device, seed: u32) -> Result<Answer, String> {
        let text = |error: crate::engine::EngineError| error.to_string();
        let reference = self.image.pull_reference();
        self.engine
            .pull(&reference, self.image.digest(), None)
            .await
            .map_err(text)?;
        let (access, guard) = access_to(device, &self.engine, &self.cdi).await?;
        let own = [
            format!("ASSAY_SELF_TEST_SIZE={SIZE}"),
            format!("ASSAY_SELF_TEST_SEED={seed}"),
        ];
        let share = self.config.slot_share();
        let spec = ContainerSpec {
            identity: ContainerIdentity {
                job: slot.into(),
                machine: 0,
                // No worker's: a worker leaves it alone.
                worker: format!("self-test-{}", std::process::id()),
                fingerprint: "self-test".into(),
            },
            image: reference,
            entrypoint: Vec::new(),
            command: self.command.clone(),
            environment: own.into_iter().chain(guard).collect(),
            share,
            shm_mib: share.memory_mib.min(64),
            profile: Profile::Batch,
            capabilities: Vec::new(),
            writable_root: false,
            runtime: None,
            network: ContainerNetwork::None,
            ports: Vec::new(),
            devices: access,
            holding: Holding::default(),
            disk: None,
            mounts: Vec::new(),
        };
        let id = self.engine.create(&spec).await.map_err(text)?;
        let target = CaptureTarget {
            folder: self.folder.join(slot.to_string()),
            append: false,
            logs: LiveLogs::default(),
        };
        let outcome = async {
            self.engine.start(&id, target.clone()).await.map_err(text)?;
            let end = self.engine.run_end(&id).await;
            let (stdout, stderr) = beginnings(&target.folder)
                .map_err(|error| error.to_string())?
                .unwrap_or_default();
            let read = |mut bytes: Vec<u8>| {
                bytes.truncate(MAX_ANSWER_BYTES);
                String::from_utf8_lossy(&bytes).into_owned()
            };
            if end.exit != Exit::Clean(0) {
                return Err(format!(
                    "the test ended with {:?}: {}",
                    end.exit,
                    last_line(&read(stderr))
                ));
            }
            let stdout = read(stdout);
            serde_json::from_str(last_line(&stdout)).map_err(|error| {
                format!(
                    "the image's answer cannot be read: {error}: {}",
                    last_line(&stdout)
                )
            })
        };
        let outcome = outcome.await;
        let _ = self.engine.remove(&id).await;
        let _ = std::fs::remove_dir_all(&self.folder);
        outcome
    }
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
}

/// Compares an answer with the host's view of the slot's device.
fn judge(slot: u8, device: &Device, seed: u32, answer: &Answer) -> SlotReport {
    let seen: Vec<&str> = answer
        .devices
        .iter()
        .map(|seen| seen.uuid.as_deref().unwrap_or("a GPU without UUID"))
        .collect();
    let is_own = |seen: &SeenDevice| seen.uuid.as_ref().is_none_or(|uuid| *uuid == device.id.0);
    let driver_visible = matches!(answer.devices.as_slice(), [one] if is_own(one));
    let memory_mib = answer.devices.first().map_or(0, |seen| seen.memory_mib);
    let least_mib = device.memory_mib.saturating_mul(LEAST_MEMORY_PERCENT) / 100;
    let memory_as_claimed = memory_mib >= least_mib.max(1);
    let matrix_product_right = answer
        .product_sha256
        .eq_ignore_ascii_case(&product_hash(SIZE, seed));
    let problem = if !driver_visible {
        Some(format!(
            "the container sees [{}] instead of this GPU alone",
            seen.join(", ")
        ))
    } else if !memory_as_claimed {
        Some(format!(
            "the container sees {memory_mib} MiB, and the GPU has {} MiB",
            device.memory_mib
        ))
    } else if !matrix_product_right {
        Some("the product of the matrices is wrong: the GPU or the image computes wrongly".to_owned())
    } else {
        None
    };
    SlotReport {
        slot,
        device: Some(device.id.clone()),
        is_leased: false,
        driver_visible,
        driver_version: Some(answer.driver_version.clone()),
        memory_mib,
        memory_as_claimed,
        matrix_product_right,
        problem,
    }
}

/// Returns the SHA-256 of the product of the two matrices, as the image computes it.
fn product_hash(size: u32, seed: u32) -> String {
    let a = |i: u32, j: u32| u64::from((seed + 31 * i + 17 * j) % 251);
    let b = |i: u32, j: u32| u64::from((seed + 13 * i + 29 * j) % 241);
    let mut hash = Sha256::new();
    for i in 0..size {
        let row: Vec<String> = (0..size)
            .map(|j| (0..size).map(|k| a(i, k) * b(k, j)).sum::<u64>().to_string())
            .collect();
        hash.update(row.join(" "));
        hash.update("\n");
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
#[path = "self_test_tests.rs"]
mod tests;
