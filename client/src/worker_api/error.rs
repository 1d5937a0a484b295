//! Errors between an owner and a worker.

/// Request to a worker that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerApiError {
    /// The URL is none at which a worker could be reached.
    #[error("{url:?} is not the URL of a worker: it begins with http:// or https:// and has a host")]
    BadUrl {
        /// The URL as it was given.
        url: String,
    },
    /// No worker answers at the URL.
    #[error(
        "the worker at {url} does not answer ({reason}); try again, and if that does not help, ask its provider or take \
         another machine"
    )]
    Unreachable {
        /// Base URL.
        url: String,
        /// Reason that the connection gave.
        reason: String,
    },
    /// The worker key does not vouch for the TLS key.
    #[error(
        "the worker does not prove the key of its TLS certificate: {reason}; nothing was sent to it. Read the machine's \
         record from the chain again; if the error stays, somebody else answers at its endpoint"
    )]
    NotVouched {
        /// Fault of the statement.
        reason: String,
    },
    /// The certificate has another key than the one that the worker key vouches for.
    #[error(
        "{url} has another TLS key than the machine's worker vouches for; nothing was sent to it. The worker may just have \
         changed its key: connect again; if the error stays, somebody listens in between"
    )]
    OtherKey {
        /// Base URL.
        url: String,
    },
    /// The worker key did not sign the status.
    #[error(
        "the status at {url} is not signed by the worker key that the chain names for the machine. Read the machine's \
         record again; if the error stays, somebody else answers at its endpoint"
    )]
    OtherSigner {
        /// Base URL.
        url: String,
    },
    /// The worker refused the request.
    #[error("the worker refused {path} with status {status}: {reason}")]
    Refused {
        /// Path of the request.
        path: String,
        /// HTTP status.
        status: u16,
        /// Reason that the worker gave.
        reason: String,
    },
    /// The worker's answer is not what this program expects.
    #[error(
        "the worker's answer to {path} is not understood ({reason}); use programs of the same release as the worker"
    )]
    NotUnderstood {
        /// Path of the request.
        path: String,
        /// Fault of the answer.
        reason: String,
    },
    /// TLS cannot be set up on this host.
    #[error("TLS cannot be set up: {0}; please report it")]
    Tls(#[from] rustls::Error),
}

impl WorkerApiError {
    /// Returns true if the worker refused the request with a status.
    pub fn is_refused_with(&self, code: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == code)
    }
}
