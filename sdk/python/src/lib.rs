//! Native part of the Python package `depin_compute_lib`: the consumer's verbs of `assay-client`, one
//! function each.
//!
//! Orders and answers are JSON texts here, which the package's Python part makes objects of; names, units and
//! bounds are those of `assay_client::consumer`. Every function that waits lets other threads of Python run,
//! and ends when Python has a signal to handle.

mod artifacts;
mod client;
mod deliver;
mod deploy;
mod errors;
mod exec;
mod find;
mod jobs;
mod logs;
mod ports;
mod quote;
mod runtime;

/// Functions and classes of the package's Python part.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use super::artifacts::{artifacts, download_artifacts};
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::deliver::deliver;
    #[pymodule_export]
    use super::deploy::{check_file, check_order, deploy, deploy_file};
    #[pymodule_export]
    use super::errors::{
        AssayError, ConnectError, DeploymentError, ImageError, InvalidKeyError, InvalidOrderError, JobError,
        NoProviderError, PaymentError, WaitTimeoutError, WorkerError,
    };
    #[pymodule_export]
    use super::exec::exec;
    #[pymodule_export]
    use super::find::{check_requirements, explain, find};
    #[pymodule_export]
    use super::jobs::{accept, close, extend, jobs, result, status, wait};
    #[pymodule_export]
    use super::logs::{Logs, follow_logs, read_logs};
    #[pymodule_export]
    use super::ports::ports;
    #[pymodule_export]
    use super::quote::quote;
}
