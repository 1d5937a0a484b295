//! Jobs, as far as more than their escrow knows of them: kinds, states and outcomes, open orders, and the
//! bytes behind a replica's commitment and an attested machine's signature.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    sp_core::H256,
    sp_crypto_hashing::blake2_256,
    sp_runtime::{Rounding, helpers_128bit::multiply_by_rational_with_rounding},
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{MILLIS_PER_HOUR, Millis},
    json,
    machine::{LeaseEnd, MachineId},
    money::Balance,
};

/// Identifies a job; given in order of creation and never used again.
pub type JobId = u64;

/// Part of the start window in which a decline costs a consumer nothing, as a divisor. Long enough for a
/// worker to look at the size, the platform and the address of an image.
const START_GRACE_DIVISOR: Millis = 5;

/// Returns for how long after its assignment a machine may decline at no cost to the job's consumer, in
/// milliseconds of active time: a fifth of the time in which it may start, rounded down.
pub fn start_grace_ms(assigned_at_ms: Millis, start_deadline_ms: Millis) -> Millis {
    start_deadline_ms.saturating_sub(assigned_at_ms) / START_GRACE_DIVISOR
}

/// Returns the price of `slots` slots for `duration_ms` of active time, in plancks; `None` for more than any
/// balance.
pub fn cost(
    price_per_slot_hour: Balance,
    slots: u8,
    duration_ms: Millis,
    rounding: Rounding,
) -> Option<Balance> {
    // A u8 times a u64 always fits.
    let slot_millis = u128::from(slots).saturating_mul(u128::from(duration_ms));
    multiply_by_rational_with_rounding(
        price_per_slot_hour,
        slot_millis,
        u128::from(MILLIS_PER_HOUR),
        rounding,
    )
}

/// Longest manifest of a job, in bytes. It is noted on chain whole, in one transaction.
pub const MAX_MANIFEST_BYTES: u32 = 16 * 1_024;

/// Most machines that a quorum may ask: each acceptance looks at those before it.
pub const MAX_REPLICAS: u8 = 16;

/// Verification of a task: the judge of its result.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum Verification {
    /// Its consumer, by accepting or rejecting it.
    ///
    /// Silence accepts. The earnings of a rejected result go to the treasury: the provider is not paid and
    /// the consumer does not get it back, so that neither gains by lying.
    #[codec(index = 0)]
    Consumer {
        /// Active time that the consumer has to look at a result, in milliseconds.
        window_ms: Millis,
    },
    /// Machines of different providers, by giving the same result.
    #[codec(index = 1)]
    Quorum {
        /// Number of machines that run the task: 2 to [`MAX_REPLICAS`], and as many as the order has nodes.
        replicas: u8,
        /// Number of them that have to agree: more than half of them, so that two results cannot both win.
        threshold: u8,
    },
    /// The machine itself, by a key that fresh evidence of a processor's TEE is bound to: only what is known
    /// to run in that TEE can sign with it.
    ///
    /// Only machines with such evidence get the task, and what they sign stands at once. A machine whose
    /// evidence has ended has to renew it before it gives its result.
    #[codec(index = 2)]
    Attested,
    /// A proof of the computation. Refused until the chain can check it.
    #[codec(index = 3)]
    Proof {
        /// Hash of the key that verifies the proof.
        verifying_key: H256,
    },
}

/// Kind of a job: its end, and the time that is paid.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum JobKind {
    /// Runs until it is closed or its time is over, and is paid for as it runs.
    #[codec(index = 0)]
    Service,
    /// Ends by itself with a result, and is paid for once the result stands.
    #[codec(index = 1)]
    Task {
        /// The judge of the result.
        verification: Verification,
    },
}

impl JobKind {
    /// Returns a task whose consumer has this much active time to verify its result, in milliseconds.
    pub const fn task(window_ms: Millis) -> Self {
        Self::Task {
            verification: Verification::Consumer { window_ms },
        }
    }

    /// Returns the number of replicas that have to agree, for a task that is verified by a quorum.
    pub fn quorum_threshold(&self) -> Option<u8> {
        match self {
            Self::Task {
                verification: Verification::Quorum { threshold, .. },
            } => Some(*threshold),
            _ => None,
        }
    }

    /// Returns true if only an attested machine may run it and vouches for its result.
    pub fn is_attested(&self) -> bool {
        matches!(
            self,
            Self::Task {
                verification: Verification::Attested,
            }
        )
    }
}

/// Names public bytes that the preimage store keeps; the chain never reads them.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct ManifestRef {
    /// Blake2-256 hash of the bytes.
    pub hash: H256,
    /// Number of bytes.
    pub length_bytes: u32,
}

impl ManifestRef {
    /// Names the bytes of a manifest as the chain does: by Blake2-256 hash and length.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            hash: blake2_256(bytes).into(),
            length_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Reference to the bytes of a job's settings for the worker.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum Manifest {
    /// Noted in the preimage store; anybody can read it.
    #[codec(index = 0)]
    Public(ManifestRef),
    /// Brought to each assigned worker by the consumer, sealed to its machine's key. The chain knows the hash
    /// alone.
    #[codec(index = 1)]
    Sealed {
        /// Blake2-256 hash of the bytes before they are sealed. They should hold something that cannot be
        /// guessed.
        hash: H256,
    },
}

impl Manifest {
    /// Blake2-256 hash of the bytes, before they are sealed.
    pub fn hash(&self) -> H256 {
        match self {
            Self::Public(manifest) => manifest.hash,
            Self::Sealed { hash } => *hash,
        }
    }

    /// Bytes that the preimage store keeps for a job with this manifest, by any account.
    pub fn kept_bytes(&self) -> u32 {
        match self {
            Self::Public(manifest) => manifest.length_bytes,
            Self::Sealed { .. } => 0,
        }
    }
}

/// Terms by which the price of an open order rises: linearly by active time, from a floor to the order's
/// maximum.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct AuctionTerms {
    /// First price offered, in plancks per slot and hour.
    #[cfg_attr(feature = "client", serde(serialize_with = "json::amount::serialize"))]
    pub floor_price_per_slot_hour: Balance,
    /// Active time in which the offer rises to the order's maximum, in milliseconds.
    pub rise_ms: Millis,
    /// Active time for which machines may accept, in milliseconds: at least `rise_ms`.
    pub open_ms: Millis,
}

/// The auction of an order.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct Auction {
    /// Terms by which the price rises.
    pub terms: AuctionTerms,
    /// Active time at which it began.
    pub opened_at_ms: Millis,
    /// Active time from which the price rises: its beginning, or later where places were given back.
    pub rising_since_ms: Millis,
}

impl Auction {
    /// Returns an auction that begins now.
    pub fn new(terms: AuctionTerms, now_ms: Millis) -> Self {
        Self {
            terms,
            opened_at_ms: now_ms,
            rising_since_ms: now_ms,
        }
    }

    /// The last active time at which a machine may accept.
    pub fn closes_at_ms(&self) -> Millis {
        self.opened_at_ms.saturating_add(self.terms.open_ms)
    }

    /// Time for which the price has risen.
    pub fn risen_ms(&self, now_ms: Millis) -> Millis {
        now_ms.saturating_sub(self.rising_since_ms)
    }

    /// Goes on from where the price was when it had risen for `risen_ms`, if it rose since: a machine that
    /// holds a place and gives it back cannot have it, or any other place, for more by that.
    pub fn resume_from(&mut self, risen_ms: Millis, now_ms: Millis) {
        let risen_ms = risen_ms.min(self.risen_ms(now_ms));
        self.rising_since_ms = now_ms.saturating_sub(risen_ms);
    }

    /// The price offered at `now_ms` if the order's maximum is `max_price`, in plancks per slot and hour:
    /// rounded down.
    pub fn price_at(&self, now_ms: Millis, max_price: Balance) -> Balance {
        let floor = self.terms.floor_price_per_slot_hour;
        let risen_ms = self.risen_ms(now_ms);
        if risen_ms >= self.terms.rise_ms {
            return max_price;
        }
        let rise = multiply_by_rational_with_rounding(
            max_price.saturating_sub(floor),
            risen_ms.into(),
            self.terms.rise_ms.into(),
            Rounding::Down,
        );
        // A part of the difference is less than it.
        floor.saturating_add(rise.unwrap_or(0)).min(max_price)
    }
}

/// Progress of a task's replicas.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct Ballot {
    /// Places that may still bring a commitment: open, starting or running.
    pub undecided: u8,
    /// Replicas that committed to a result.
    pub committed: u8,
    /// Those of them that revealed it.
    pub revealed: u8,
    /// The last active time at which a result may be revealed; `None` while a place is undecided.
    pub reveal_ends_ms: Option<Millis>,
    /// The last active time at which machines may take open places, from the first commitment on.
    pub fill_until_ms: Option<Millis>,
}

/// State of an assignment.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum AssignmentState {
    /// The machine has the job and has not started it.
    #[codec(index = 0)]
    Starting {
        /// Active time at which the machine got it.
        assigned_at_ms: Millis,
        /// The last active time at which the machine may start or decline it.
        deadline_ms: Millis,
        /// Time for which the price of its auction had risen then, in milliseconds; zero where its consumer
        /// chose it.
        risen_ms: Millis,
    },
    /// The machine runs the job.
    #[codec(index = 1)]
    Running {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time up to which a service's epochs were judged; the start, for a task.
        judged_until_ms: Millis,
    },
    /// The task gave its result, which the consumer may look at before it is paid.
    #[codec(index = 2)]
    Verifying {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time of the result and end of the time that is paid.
        ended_at_ms: Millis,
        /// The last active time of the consumer's window; later, silence counts as acceptance.
        window_ends_ms: Millis,
        /// Hash of the result, as the worker gave it.
        result_hash: H256,
    },
    /// The replica committed to a result and waits for the others.
    #[codec(index = 3)]
    Committed {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time of the commitment and end of the time that is paid.
        ended_at_ms: Millis,
        /// Hash that it committed to; see [`result_message`].
        commitment: H256,
    },
    /// The replica revealed its result.
    #[codec(index = 4)]
    Revealed {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time of the commitment and end of the time that is paid.
        ended_at_ms: Millis,
        /// Hash of the result.
        result_hash: H256,
    },
    /// The machine is free again; its earnings are paid as its epochs are closed.
    #[codec(index = 5)]
    Ended {
        /// Active time of the start.
        started_at_ms: Millis,
        /// End of the paid time, in active time.
        ended_at_ms: Millis,
        /// Active time up to which epochs were judged.
        judged_until_ms: Millis,
        /// Outcome of the assignment.
        outcome: Outcome,
    },
}

/// Outcome of an assignment.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum Outcome {
    /// The task's result stood, and is paid.
    #[codec(index = 0)]
    Completed,
    /// The consumer took the order back before the machine started.
    #[codec(index = 1)]
    Cancelled,
    /// The consumer ended the service.
    #[codec(index = 2)]
    ClosedByConsumer,
    /// The service's time was over.
    #[codec(index = 3)]
    Expired,
    /// The machine neither started nor declined in time. Nothing is paid; the machine is out of the market
    /// until it speaks.
    #[codec(index = 4)]
    NotStarted,
    /// The machine declined before it started, for no fault of the consumer's.
    #[codec(index = 5)]
    Declined,
    /// The machine declined because no sealed manifest had reached it.
    #[codec(index = 6)]
    NotDelivered,
    /// The task gave no result in its time; nothing was paid.
    #[codec(index = 7)]
    NoResult,
    /// The provider's side gave up a running job. A service is paid but for the hold-back, which its consumer
    /// gets; a task not at all.
    #[codec(index = 8)]
    Abandoned,
    /// The consumer rejected the result; the machine's earnings went to the treasury.
    #[codec(index = 9)]
    Rejected,
    /// The quorum agreed on another result; the replica's earnings went to the treasury.
    #[codec(index = 10)]
    Outvoted,
    /// The replica did not reveal its result; its earnings went to the treasury.
    #[codec(index = 11)]
    NotRevealed,
    /// The replicas' results differ and none had a quorum; the replica's earnings went to the treasury.
    #[codec(index = 12)]
    NoQuorum,
    /// The service's workload ended by itself, says the machine. It is paid for its time.
    #[codec(index = 13)]
    WorkloadEnded,
    /// The consumer disputed that the service's workload ended by itself: the hold-back went to the treasury.
    #[codec(index = 14)]
    Disputed,
    /// The machine was seen down in the epoch in which the service ended: the hold-back went to the treasury.
    #[codec(index = 15)]
    WentDown,
}

impl Outcome {
    /// Returns true if a service that ended so is not paid its hold-back.
    pub fn loses_hold_back(&self) -> bool {
        matches!(self, Self::Abandoned | Self::Disputed | Self::WentDown)
    }

    /// End of the lease, as the market counts it.
    pub fn lease_end(&self) -> LeaseEnd {
        match self {
            Self::Completed | Self::ClosedByConsumer | Self::Expired | Self::Rejected => LeaseEnd::Fulfilled,
            Self::Cancelled | Self::Declined | Self::NotDelivered => LeaseEnd::Cancelled,
            Self::NotStarted => LeaseEnd::NotStarted,
            Self::Abandoned => LeaseEnd::Abandoned,
            Self::NoResult
            | Self::Outvoted
            | Self::NotRevealed
            | Self::NoQuorum
            | Self::WorkloadEnded
            | Self::Disputed
            | Self::WentDown => LeaseEnd::Unresolved,
        }
    }
}

/// Reason of a machine that declines a job before it started.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum DeclineReason {
    /// It cannot or does not want to run it.
    #[codec(index = 0)]
    CannotRun,
    /// Its consumer brought no sealed manifest, or not the one that was ordered.
    #[codec(index = 1)]
    NotDelivered,
}

/// Destination of money whose recipient could not receive it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum Diversion {
    /// To the treasury.
    #[codec(index = 0)]
    Treasury,
    /// Out of existence, because the treasury could not receive it either.
    #[codec(index = 1)]
    Burned,
}

/// Most orders on a page of open orders.
pub const MAX_PAGE_ORDERS: u32 = 100;

/// Most orders that are looked at for one page.
pub const MAX_ORDERS_LOOKED_AT: u32 = 500;

/// An order that a machine can take now, at its ask or more.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrder {
    /// The job.
    pub job: JobId,
    /// Price offered now, in plancks per slot and hour; it never falls.
    #[serde(with = "json::amount")]
    pub price_per_slot_hour: Balance,
    /// Slots that it takes.
    pub slots: u8,
    /// Longest time that it may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// The last active time at which it can be taken.
    pub closes_at_ms: Millis,
    /// True if its consumer brings the manifest to the worker, instead of noting it on chain.
    pub is_sealed: bool,
}

/// A page of open orders, in no order that means anything.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrderPage {
    /// Orders that the machine can take.
    pub orders: Vec<OpenOrder>,
    /// Cursor of the next page. A page may be short, even empty, and still have a next one: so much is looked
    /// at for a page and no more. `None` after the last.
    pub next: Option<JobId>,
}

/// Domain separator of a replica's commitment.
pub const RESULT_CONTEXT: &[u8] = b"assay/result/v1";

/// The bytes whose Blake2-256 hash is a replica's commitment to its result:
/// `context ‖ genesis hash ‖ job ‖ machine ‖ result hash ‖ salt`, the numbers as SCALE encodes them.
///
/// The machine is part of it, so that a machine that copies another's commitment has committed to something
/// that it can never reveal. The salt must be random and kept until the reveal: without it, likely results
/// could be tried out.
pub fn result_message(
    genesis_hash: &[u8],
    job: JobId,
    machine: MachineId,
    result_hash: &[u8; 32],
    salt: &[u8; 32],
) -> Vec<u8> {
    let mut message = RESULT_CONTEXT.to_vec();
    message.extend_from_slice(genesis_hash);
    (job, machine, result_hash, salt).encode_to(&mut message);
    message
}

/// Domain separator of an attested machine's signature of a result.
pub const ATTESTED_RESULT_CONTEXT: &[u8] = b"assay/attested-result/v1";

/// Statement of an attested machine: it ran this image by this manifest, and this is the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode)]
pub struct ResultStatement {
    /// The job.
    pub job: JobId,
    /// The machine that ran it.
    pub machine: MachineId,
    /// SHA-256 digest of the image that was run.
    pub image_digest: [u8; 32],
    /// Blake2-256 hash of the manifest that it was run by, as it is before it is sealed.
    pub manifest_hash: [u8; 32],
    /// Hash of the result.
    pub result_hash: [u8; 32],
}

impl ResultStatement {
    /// The bytes that the machine's worker key signs:
    /// `context ‖ genesis hash ‖ job ‖ machine ‖ image digest ‖ manifest hash ‖ result hash`, the numbers as
    /// SCALE encodes them.
    ///
    /// They name the image and the manifest and not only the job, because a machine knows of jobs only what
    /// its host's node tells it.
    pub fn message(&self, genesis_hash: &[u8]) -> Vec<u8> {
        let mut message = ATTESTED_RESULT_CONTEXT.to_vec();
        message.extend_from_slice(genesis_hash);
        self.encode_to(&mut message);
        message
    }
}

/// Domain separator of a result's hash.
pub const RESULT_DOCUMENT_CONTEXT: &[u8] = b"assay/result/v2";

/// Most bytes of standard output that a result's hash covers: 16 GiB.
///
/// A task that writes more runs on, and its result says so by [`StdoutResult::LongerThanLimit`], which is the
/// same on every machine. Changing it gives other results for tasks that write more.
pub const MAX_RESULT_STDOUT_BYTES: u64 = 16 * 1_024 * 1_024 * 1_024;

/// The part of standard output in a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StdoutResult {
    /// The manifest says that it is no part of the result.
    NotCaptured,
    /// BLAKE3 hash of all bytes as they were written.
    Whole([u8; 32]),
    /// BLAKE3 hash of the first [`MAX_RESULT_STDOUT_BYTES`]; more followed.
    LongerThanLimit([u8; 32]),
}

/// End of a task: everything that honest replicas of one job agree on, and nothing else.
///
/// Nothing of standard error, of time, of the machine or of its engine is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultDocument {
    /// Exit code of the container's first process; 128 plus the signal's number for one that a signal ended.
    pub exit_code: i32,
    /// SHA-256 digest of the image that ran.
    pub image_digest: [u8; 32],
    /// Blake2-256 hash of the manifest that it ran by, as it is before it is sealed.
    pub manifest_hash: [u8; 32],
    /// Standard output.
    pub stdout: StdoutResult,
    /// Root hash of the output folder; `None` where the manifest names none.
    pub output: Option<[u8; 32]>,
}

impl ResultDocument {
    /// The bytes that [`Self::hash`] is taken of: `context ‖ exit code (4, little-endian) ‖ image digest (32)
    /// ‖ manifest hash (32) ‖ standard output ‖ output folder`.
    ///
    /// Standard output is one byte, 0 where it is not captured, 1 before the hash (32) of the whole, 2 before
    /// the hash (32) of the first [`MAX_RESULT_STDOUT_BYTES`] of more. The output folder is one byte, 0 where
    /// there is none, 1 before its root hash (32).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = RESULT_DOCUMENT_CONTEXT.to_vec();
        bytes.extend_from_slice(&self.exit_code.to_le_bytes());
        bytes.extend_from_slice(&self.image_digest);
        bytes.extend_from_slice(&self.manifest_hash);
        match &self.stdout {
            StdoutResult::NotCaptured => bytes.push(0),
            StdoutResult::Whole(hash) => {
                bytes.push(1);
                bytes.extend_from_slice(hash);
            }
            StdoutResult::LongerThanLimit(hash) => {
                bytes.push(2);
                bytes.extend_from_slice(hash);
            }
        }
        match &self.output {
            None => bytes.push(0),
            Some(root) => {
                bytes.push(1);
                bytes.extend_from_slice(root);
            }
        }
        bytes
    }

    /// The result's hash as the chain is given it: BLAKE3 of [`Self::to_bytes`].
    pub fn hash(&self) -> [u8; 32] {
        blake3::hash(&self.to_bytes()).into()
    }
}

/// Share of every payment that is the protocol's, in parts per million, unless governance sets another.
pub const DEFAULT_PROTOCOL_FEE_PPM: u32 = 50_000;

/// Active time in which a machine must start or decline a job that it was given, in milliseconds, unless
/// governance sets another: ten minutes.
pub const DEFAULT_START_WINDOW_MS: Millis = MILLIS_PER_HOUR / 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::ASY;

    #[test]
    fn cost_is_rounded_as_asked_and_refuses_what_no_balance_holds() {
        assert_eq!(cost(ASY, 2, MILLIS_PER_HOUR, Rounding::Up), Some(2 * ASY));
        assert_eq!(cost(1, 1, 1, Rounding::Up), Some(1));
        assert_eq!(cost(1, 1, 1, Rounding::Down), Some(0));
        assert_eq!(cost(0, 64, u64::MAX, Rounding::Up), Some(0));
        assert_eq!(cost(Balance::MAX, 1, MILLIS_PER_HOUR + 1, Rounding::Down), None);
    }

    #[test]
    fn result_document_has_its_layout() {
        let with = |exit_code, stdout| ResultDocument {
            exit_code,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            stdout,
            output: None,
        };
        let layout = |exit_code: [u8; 4], stdout: &[&[u8]]| {
            let mut expected = b"assay/result/v2".to_vec();
            expected.extend(exit_code);
            expected.extend([0xbb; 32]);
            expected.extend([0xcc; 32]);
            expected.extend(stdout.concat());
            expected.push(0);
            expected
        };
        let hash = [0xdd; 32];
        assert_eq!(
            with(0x0102, StdoutResult::NotCaptured).to_bytes(),
            layout([2, 1, 0, 0], &[&[0]])
        );
        assert_eq!(
            with(137, StdoutResult::Whole(hash)).to_bytes(),
            layout([137, 0, 0, 0], &[&[1], &hash])
        );
        assert_eq!(
            with(-1, StdoutResult::LongerThanLimit(hash)).to_bytes(),
            layout([0xff; 4], &[&[2], &hash])
        );
        let with_output = ResultDocument {
            output: Some([0xee; 32]),
            ..with(0, StdoutResult::NotCaptured)
        };
        let mut expected = layout([0; 4], &[&[0]]);
        expected.pop();
        expected.push(1);
        expected.extend([0xee; 32]);
        assert_eq!(with_output.to_bytes(), expected);
    }

    #[test]
    fn result_hash_is_pinned() {
        let document = ResultDocument {
            exit_code: 3,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            // BLAKE3 of nothing, as everybody computes it.
            stdout: StdoutResult::Whole(*blake3::hash(b"").as_bytes()),
            output: None,
        };
        let bytes = document.to_bytes();
        let hex = |bytes: &[u8]| -> alloc::string::String {
            bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
        };
        let expected = [
            "61737361792f726573756c742f763203000000",
            &"bb".repeat(32),
            &"cc".repeat(32),
            "01af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f326200",
        ]
        .concat();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(
            hex(&document.hash()),
            "13121ac5149e42a4714975682113c77d4d397d1c80598a3675d4bcf178212947"
        );
    }

    #[test]
    fn result_message_has_its_layout() {
        let message = result_message(&[0xaa; 32], 0x0102, 3, &[0xbb; 32], &[0xcc; 32]);
        let mut expected = b"assay/result/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xbb; 32]);
        expected.extend([0xcc; 32]);
        assert_eq!(message, expected);
    }

    #[test]
    fn result_statement_has_its_layout() {
        let statement = ResultStatement {
            job: 0x0102,
            machine: 3,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            result_hash: [0xdd; 32],
        };
        let mut expected = b"assay/attested-result/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        for hash in [[0xbb; 32], [0xcc; 32], [0xdd; 32]] {
            expected.extend(hash);
        }
        assert_eq!(statement.message(&[0xaa; 32]), expected);
    }
}
