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
    /// The worker key did not sign the answer.
    #[error(
        "the worker's answer to {path} is not signed by the worker key that the chain names; ask again, and if the error \
         stays, do not rely on this worker"
    )]
    NotSigned {
        /// Path of the request.
        path: String,
    },
    /// The content changed during a download.
    #[error(
        "the output folder changed while it was downloaded; begin again, best when the job's container has ended"
    )]
    Changed,
    /// The path of a request cannot be sent.
    #[error(
        "{path:?} is no path of a request: it begins with / and has visible ASCII characters without #; write others as %XX"
    )]
    BadPath {
        /// The path.
        path: String,
    },
    /// The name of a port is none.
    #[error(
        "{name:?} is no name of a port, which has a-z, 0-9 and -; `assay job ports` lists those of a job"
    )]
    BadPort {
        /// The name.
        name: String,
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

    /// Returns true if the token has ended: [`super::WorkerApi::log_in`] gives another.
    pub fn is_logged_out(&self) -> bool {
        self.is_refused_with(401)
    }

    /// Returns true if the same request may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            _ => false,
        }
    }
}
