//! Heat and health of the machine: temperatures, clocks and errors of its GPUs and processors, and the
//! consequences for its place in the market.
//!
//! ```text
//! NVML, sysfs ─▶ Readings ─▶ Judge ─▶ Verdict ─┬─▶ status, metrics, log
//!  a thread each,            levels with       ├─▶ jobs, orders, comeback: nothing new from NoNewJobs on
//!  with a time limit         hysteresis        └─▶ suspension: suspends the machine on chain, and resumes it
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `reading` | the values that are read, and their plausible ranges |
//! | `nvidia`, `sysfs` | sources of readings |
//! | `probe` | threads that ask the sources, with a time limit |
//! | `thresholds` | temperatures at which the level rises |
//! | `xid` | meaning of NVIDIA's Xids |
//! | `judge` | levels by the readings of some time |
//! | `board` | the last verdict, shared by all parts |
//! | `monitor` | reads, judges, and shows the verdict |
//! | `metrics` | values for each GPU and job |
//! | `suspension` | suspends and resumes the machine on chain |
//! | `survey` | one reading, for `assay-worker check` |
//!
//! A job cannot suspend the machine that runs it: errors that programs cause are ignored, see `xid`. It can
//! make a GPU as hot as its cooling lets it, which is the provider's to judge.

mod board;
mod judge;
pub mod metrics;
mod monitor;
mod nvidia;
mod probe;
pub mod reading;
mod survey;
pub mod suspension;
mod sysfs;
mod thresholds;
mod xid;

#[cfg(test)]
pub(crate) use board::tests::verdict;
pub use board::{HealthBoard, HealthStatus};
pub use judge::{DeviceHealth, FALL_S, FAULT_CLEAN_S, Judge, Level, RISE_READINGS, SuspendCause, Verdict};
pub use monitor::{HealthMonitor, READING_INTERVAL, VerdictCallback};
pub use survey::{HealthSurvey, look};
pub(crate) use thresholds::ALLOWED_C;
pub use thresholds::{HealthSettings, Thresholds};
