//! Errors of a consumer's verbs.

use std::{io, time::Duration};

use crate::{
    Error,
    delivery::DeliveryError,
    order::OrderError,
    registry::ResolveError,
    sealing::SealError,
    types::JobId,
    units::format_asy,
    worker_api::{ArchiveError, WorkerApiError},
};

/// A verb of a consumer that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The chain, or the way to it.
    #[error(transparent)]
    Chain(#[from] Error),
    /// The order cannot be made.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The image's tag has no digest.
    #[error(transparent)]
    Image(#[from] ResolveError),
    /// The manifest cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A worker did not do what it was asked.
    #[error(transparent)]
    Worker(#[from] WorkerApiError),
    /// A manifest did not reach its machine.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// An archive of artifacts is not accepted.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file or folder of this host cannot be used.
    #[error("{0}")]
    Files(#[from] io::Error),
    /// No machine is found for an order.
    #[error("{reason}; ask for less, or see why machines are passed over: explain the requirements")]
    NothingFits {
        /// Reason, with the number of machines that were found.
        reason: String,
    },
    /// A machine that was named cannot have the order.
    #[error("machine {machine} cannot have the order: {reason}; choose another one")]
    Unfit {
        /// The machine.
        machine: u64,
        /// Reason.
        reason: String,
    },
    /// The price of an order is no amount.
    #[error("the price of the order is more than any account has; ask for fewer slots or less time")]
    TooDear,
    /// The order would cost more than the account has.
    #[error(
        "the order holds {} and costs fees, and the account {account} has {}; send it some ASY, or ask for less",
        format_asy(*needed),
        format_asy(*free)
    )]
    Short {
        /// The consumer's account.
        account: crate::AccountId,
        /// Plancks that the order holds at most, and its fee.
        needed: u128,
        /// Plancks that the account may spend.
        free: u128,
    },
    /// A transaction went through, but did not do what it was for.
    #[error("the transaction 0x{transaction} went through, but no job was ordered; report this")]
    NoJob {
        /// Hash of the transaction, in hex.
        transaction: String,
    },
    /// There is no such job, or not any more.
    #[error(
        "there is no open job {job}: it was closed and paid, or never ordered on this chain; its worker still has its \
         output for a while: name the machine that had it"
    )]
    NoSuchJob {
        /// The job.
        job: JobId,
    },
    /// There is no such machine, or not any more.
    #[error("there is no machine {machine} any more; its provider may still have the files of its jobs")]
    NoSuchMachine {
        /// The machine.
        machine: u64,
    },
    /// No machine has an assignment of the job.
    #[error("no machine has the job {job} now; if it is closed, name the machine that had it with --machine")]
    NoMachine {
        /// The job.
        job: JobId,
    },
    /// Several machines have an assignment of the job.
    #[error("the job is on the machines {machines}: name one with --machine")]
    SeveralMachines {
        /// The machines.
        machines: String,
    },
    /// The manifest is not that of the job.
    #[error("the manifest is not that of job {job}: {reason}")]
    OtherManifest {
        /// The job.
        job: JobId,
        /// Difference.
        reason: String,
    },
    /// The manifest did not reach every machine of the job.
    #[error("the manifest of job {job} was not delivered everywhere: {reason}")]
    NotDelivered {
        /// The job.
        job: JobId,
        /// Reason, for each machine that did not take it.
        reason: String,
    },
    /// The containers of a job did not all start.
    #[error("job {job} did not start on every machine: {reason}{}", closing(*is_closed, *job))]
    NotStarted {
        /// The job.
        job: JobId,
        /// Reason, for each machine that is to blame.
        reason: String,
        /// True if the job was closed, so that nothing more is paid for it.
        is_closed: bool,
    },
    /// Something did not happen in the time that the caller gave.
    #[error("{what} did not happen within {} seconds; it may still happen: wait longer", within.as_secs())]
    TooSlow {
        /// Event that was waited for.
        what: String,
        /// Time that was waited.
        within: Duration,
    },
    /// The worker shows another result than the chain has, or other files than the result names.
    #[error("{reason}; do not rely on what this worker shows, and reject the result")]
    OtherResult {
        /// Difference.
        reason: String,
    },
}

/// Returns the state of a failed job as the end of a sentence.
fn closing(is_closed: bool, job: JobId) -> String {
    if is_closed {
        "; the job was closed, and nothing more is paid for it: try again, on other machines".to_owned()
    } else {
        format!("; the job could not be closed: an assignment of it runs, and is paid for; look at job {job}")
    }
}

impl ConsumerError {
    /// Returns true if another machine may succeed where these failed.
    pub(super) fn may_succeed_elsewhere(&self) -> bool {
        match self {
            Self::NotStarted { is_closed, .. } => *is_closed,
            // The machine was taken, or changed, since the market was asked.
            Self::Chain(error) => ["NoSlots", "NotEligible", "PriceTooLow", "NotAttested"]
                .iter()
                .any(|cause| error.is_dispatch("JobEscrow", cause)),
            _ => false,
        }
    }
}
