//! Steps of a deployment, as they happen.

use std::fmt;

use assay_primitives::money::Balance;
use serde::Serialize;

use crate::{
    manifest::ImageReference,
    sealing::Receipt,
    types::{JobId, as_decimal, as_hex},
    units::format_asy,
};

/// Receiver of a deployment's steps. It must not block.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Step of a deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// The image's name means this image now.
    Resolved {
        /// Reference with the digest that the order has.
        image: ImageReference,
    },
    /// Machines were chosen; nothing was signed yet.
    Chosen {
        /// The machines.
        machines: Vec<u64>,
        /// Plancks that are held for the price at most.
        #[serde(serialize_with = "as_decimal")]
        escrow: Balance,
    },
    /// The node has the transaction that orders the job. Who is interrupted from now on finds the job by it,
    /// or among the account's jobs.
    Submitted {
        /// Hash of the transaction.
        #[serde(serialize_with = "as_hex")]
        transaction: [u8; 32],
    },
    /// The order is final.
    Ordered {
        /// The job.
        job: JobId,
        /// Number of the block.
        block_number: u64,
    },
    /// A machine has the sealed manifest, and signed for it.
    Delivered {
        /// The job.
        job: JobId,
        /// The machine.
        machine: u64,
        /// Receipt of its worker, which is verified.
        receipt: Receipt,
    },
    /// The container runs on a machine, or has ended already.
    Started {
        /// The job.
        job: JobId,
        /// The machine.
        machine: u64,
        /// Machines on which it started so far.
        started: u8,
        /// Machines of the job.
        of: u8,
    },
    /// The job failed; it is being closed.
    Failed {
        /// The job.
        job: JobId,
        /// Reason.
        reason: String,
    },
    /// Other machines are tried.
    Retrying {
        /// Number of the attempt, from two on.
        attempt: u8,
        /// Attempts in all.
        of: u8,
        /// Reason why the one before failed.
        reason: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved { image } => write!(formatter, "image {image}"),
            Self::Chosen { machines, escrow } => {
                let machines: Vec<_> = machines.iter().map(u64::to_string).collect();
                let word = if machines.len() == 1 {
                    "machine"
                } else {
                    "machines"
                };
                write!(
                    formatter,
                    "{word} {}, at most {}",
                    machines.join(", "),
                    format_asy(*escrow)
                )
            }
            Self::Submitted { transaction } => {
                write!(formatter, "transaction 0x{}", hex::encode(transaction))
            }
            Self::Ordered { job, block_number } => {
                write!(formatter, "job {job}, ordered in block {block_number}")
            }
            Self::Delivered { machine, .. } => write!(formatter, "machine {machine} has the manifest"),
            Self::Started {
                machine, started, of, ..
            } => write!(formatter, "machine {machine} runs it ({started} of {of})"),
            Self::Failed { job, reason } => write!(formatter, "job {job} failed: {reason}"),
            Self::Retrying { attempt, of, reason } => {
                write!(formatter, "attempt {attempt} of {of} on other machines: {reason}")
            }
        }
    }
}
