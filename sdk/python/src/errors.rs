//! Exceptions: one base class, and a class for each thing that a program may do about it. The text says what
//! was wrong and what to do.

use assay_client::{
    Error,
    consumer::{ConsumerError, WishError},
    keys::KeyError,
    order::OrderError,
    worker_api::WorkerApiError,
};
use pyo3::{PyErr, create_exception, exceptions::PyException};

create_exception!(
    depin_compute_lib,
    AssayError,
    PyException,
    "Base class of all errors of this package."
);
create_exception!(
    depin_compute_lib,
    ConnectError,
    AssayError,
    "The node does not answer, is of another chain, or broke off."
);
create_exception!(
    depin_compute_lib,
    InvalidKeyError,
    AssayError,
    "The private key is none, or not one for this chain."
);
create_exception!(
    depin_compute_lib,
    InvalidOrderError,
    AssayError,
    "Requirements or an order have a value that is not allowed."
);
create_exception!(
    depin_compute_lib,
    NoProviderError,
    AssayError,
    "No provider has machines for the order."
);
create_exception!(
    depin_compute_lib,
    PaymentError,
    AssayError,
    "The account cannot pay for it."
);
create_exception!(
    depin_compute_lib,
    ImageError,
    AssayError,
    "The image's tag could not be resolved to a digest."
);
create_exception!(
    depin_compute_lib,
    DeploymentError,
    AssayError,
    "The job was ordered, and its containers did not start."
);
create_exception!(
    depin_compute_lib,
    JobError,
    AssayError,
    "The chain has no such job, or refused a call about it."
);
create_exception!(
    depin_compute_lib,
    WorkerError,
    AssayError,
    "The worker of a job refused a request, or does not answer."
);
create_exception!(
    depin_compute_lib,
    WaitTimeoutError,
    AssayError,
    "Something did not happen in the time that was given; it may still happen."
);

/// Conversion into an exception.
pub(crate) trait Raise {
    /// Returns the exception of the class that fits, with the error's text.
    fn raise(self) -> PyErr;
}

impl Raise for Error {
    fn raise(self) -> PyErr {
        let text = self.to_string();
        match &self {
            Self::InsufficientFunds { .. } => PaymentError::new_err(text),
            Self::SearchRefused { .. } => InvalidOrderError::new_err(text),
            Self::Undecided { .. } => WaitTimeoutError::new_err(text),
            Self::Dispatch { .. } | Self::Rejected { .. } => JobError::new_err(text),
            Self::BadUrl { .. }
            | Self::NotAssay { .. }
            | Self::WrongGenesis { .. }
            | Self::Incompatible { .. }
            | Self::IncompatibleNode { .. } => ConnectError::new_err(text),
            error if error.is_connection_lost() => ConnectError::new_err(text),
            _ => AssayError::new_err(text),
        }
    }
}

impl Raise for ConsumerError {
    fn raise(self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Chain(error) => error.raise(),
            Self::Worker(error) => error.raise(),
            Self::Order(_) | Self::Unfit { .. } | Self::OtherManifest { .. } => {
                InvalidOrderError::new_err(text)
            }
            Self::Image(_) => ImageError::new_err(text),
            Self::NothingFits { .. } => NoProviderError::new_err(text),
            Self::TooDear | Self::Short { .. } => PaymentError::new_err(text),
            Self::NotStarted { .. } | Self::NotDelivered { .. } | Self::NoJob { .. } | Self::Delivery(_) => {
                DeploymentError::new_err(text)
            }
            Self::NoSuchJob { .. }
            | Self::NoSuchMachine { .. }
            | Self::NoMachine { .. }
            | Self::SeveralMachines { .. } => JobError::new_err(text),
            Self::OtherResult { .. } | Self::Archive(_) => WorkerError::new_err(text),
            Self::TooSlow { .. } => WaitTimeoutError::new_err(text),
            _ => AssayError::new_err(text),
        }
    }
}

impl Raise for WorkerApiError {
    fn raise(self) -> PyErr {
        WorkerError::new_err(self.to_string())
    }
}

impl Raise for WishError {
    fn raise(self) -> PyErr {
        InvalidOrderError::new_err(self.to_string())
    }
}

impl Raise for OrderError {
    fn raise(self) -> PyErr {
        InvalidOrderError::new_err(self.to_string())
    }
}

impl Raise for KeyError {
    fn raise(self) -> PyErr {
        InvalidKeyError::new_err(self.to_string())
    }
}

impl Raise for serde_json::Error {
    fn raise(self) -> PyErr {
        AssayError::new_err(format!("a value cannot be written as JSON: {self}"))
    }
}

impl Raise for PyErr {
    fn raise(self) -> PyErr {
        self
    }
}
