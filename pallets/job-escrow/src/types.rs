//! What a job and its assignments are, and what they cost.

use assay_primitives::{
    clock::Millis,
    job::start_grace_ms,
    machine::{LeaseEnd, MachineId},
    market::{MAX_NODES, Requirements},
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{BoundedVec, weights::Weight},
    frame_system,
    sp_core::H256,
    sp_runtime::{Permill, Rounding, helpers_128bit::multiply_by_rational_with_rounding, traits::ConstU32},
};
use scale_info::TypeInfo;

use crate::WeightInfo;

pub use assay_primitives::job::{JobId, cost};

/// Most machines that a quorum may ask: each acceptance looks at those before it.
pub const MAX_REPLICAS: u8 = 16;

/// Most machines of which an auction remembers that they gave a place back. Those that are more may take a place again, at
/// the price at which they gave it back: the price needs no memory of them.
pub const MAX_REFUSALS: u32 = 16;

/// Epochs whose pay is held back of a running service at most, however long it runs: a day of one-hour epochs. Bounds what
/// a machine can lose by an outage that somebody else brought about.
pub const MAX_HOLD_BACK_EPOCHS: u64 = 24;

/// A job in a runtime.
pub type JobRecordOf<T> = JobRecord<<T as frame_system::Config>::AccountId>;

/// An assignment in a runtime.
pub type AssignmentRecordOf<T> = AssignmentRecord<<T as frame_system::Config>::AccountId>;

/// Machines that gave a place of an auction back.
pub type RefusedMachines = BoundedVec<MachineId, ConstU32<MAX_REFUSALS>>;

/// Machines that a job is deployed to, each once.
pub type ChosenMachines = BoundedVec<MachineId, ConstU32<{ MAX_NODES as u32 }>>;

/// Who says whether a task's result stands.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Verification {
    /// Its consumer, by accepting or rejecting it.
    ///
    /// Silence accepts. What a rejected result earned goes to the treasury: the provider is not paid and the consumer
    /// does not get it back, so that neither gains by lying.
    #[codec(index = 0)]
    Consumer {
        /// Active time that the consumer has to look at a result, in milliseconds.
        window_ms: Millis,
    },
    /// Machines of different providers, by giving the same result.
    #[codec(index = 1)]
    Quorum {
        /// How many machines run the task: 2 to [`MAX_REPLICAS`], and as many as the order has nodes.
        replicas: u8,
        /// How many of them have to agree: more than half of them, so that two results cannot both win.
        threshold: u8,
    },
    /// The machine itself, by a key that fresh evidence of a processor's TEE is bound to: only what is known to run in that
    /// TEE can sign with it.
    ///
    /// Only machines with such evidence get the task, and what they sign stands at once. A machine whose evidence has
    /// ended has to renew it before it gives its result.
    #[codec(index = 2)]
    Attested,
    /// A proof of the computation. Refused until the chain can check it.
    #[codec(index = 3)]
    Proof {
        /// Hash of the key that verifies the proof.
        verifying_key: H256,
    },
}

/// How a job ends and what is paid for it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum JobKind {
    /// Runs until it is closed or its time is over, and is paid for as it runs.
    #[codec(index = 0)]
    Service,
    /// Ends by itself with a result, and is paid for once the result stands.
    #[codec(index = 1)]
    Task {
        /// Who says whether it stands.
        verification: Verification,
    },
}

impl JobKind {
    /// How many replicas have to agree, for a task that is verified by a quorum.
    pub fn quorum_threshold(&self) -> Option<u8> {
        match self {
            Self::Task {
                verification: Verification::Quorum { threshold, .. },
            } => Some(*threshold),
            _ => None,
        }
    }

    /// Whether only an attested machine may run it and vouches for its result.
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
pub struct ManifestRef {
    /// Blake2-256 hash of the bytes.
    pub hash: H256,
    /// Number of bytes.
    pub length_bytes: u32,
}

/// Names the bytes that tell a worker what to run.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Manifest {
    /// Noted in the preimage store; anybody can read it.
    #[codec(index = 0)]
    Public(ManifestRef),
    /// Brought to each assigned worker by the consumer, sealed to its machine's key. The chain knows the hash alone.
    #[codec(index = 1)]
    Sealed {
        /// Blake2-256 hash of the bytes before they are sealed. They should hold something that cannot be guessed.
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

    /// Bytes that the preimage store keeps for a job with this manifest, whoever noted them.
    pub fn kept_bytes(&self) -> u32 {
        match self {
            Self::Public(manifest) => manifest.length_bytes,
            Self::Sealed { .. } => 0,
        }
    }
}

/// What a consumer asks for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct JobOrder {
    /// How the job ends and what is paid for it.
    pub kind: JobKind,
    /// What to run.
    pub manifest: Manifest,
    /// SHA-256 digest of the container image's manifest. The worker refuses any other image.
    pub image_digest: H256,
    /// What every machine must be. Its slots, price and nodes are those below instead.
    pub requirements: Requirements,
    /// Slots of each machine; at least one.
    pub slots: u8,
    /// Longest time that each machine may run the job, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// The most to be paid, in plancks per slot and hour.
    pub max_price_per_slot_hour: Balance,
}

/// How the price of an open order rises: linearly by active time, from a floor to the order's maximum.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct AuctionTerms {
    /// What is offered at first, in plancks per slot and hour.
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
pub struct Auction {
    /// How the price rises.
    pub terms: AuctionTerms,
    /// Active time at which it began.
    pub opened_at_ms: Millis,
    /// Active time from which the price rises: its beginning, or later where places were given back.
    pub rising_since_ms: Millis,
}

impl Auction {
    /// An auction that begins now.
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

    /// Goes on from where the price was when it had risen for `risen_ms`, if it rose since: who holds a place and gives it
    /// back cannot have it, or any other place, for more by that.
    pub fn resume_from(&mut self, risen_ms: Millis, now_ms: Millis) {
        let risen_ms = risen_ms.min(self.risen_ms(now_ms));
        self.rising_since_ms = now_ms.saturating_sub(risen_ms);
    }

    /// The price offered at `now_ms` if the order's maximum is `max_price`, in plancks per slot and hour: rounded down.
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

/// How far the replicas of a task are.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Ballot {
    /// Places that may still bring a commitment: open, starting or running.
    pub undecided: u8,
    /// Replicas that committed to a result.
    pub committed: u8,
    /// Of those, how many revealed it.
    pub revealed: u8,
    /// The last active time at which a result may be revealed; `None` while a place is undecided.
    pub reveal_ends_ms: Option<Millis>,
    /// The last active time at which machines may take open places, from the first commitment on.
    pub fill_until_ms: Option<Millis>,
}

/// A job that is not closed: an order, its open places and its assignments. Closing removes it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct JobRecord<AccountId> {
    /// Who pays.
    pub consumer: AccountId,
    /// How the job ends and what is paid for it.
    pub kind: JobKind,
    /// What to run.
    pub manifest: Manifest,
    /// SHA-256 digest of the container image's manifest.
    pub image_digest: H256,
    /// Slots of each machine.
    pub slots: u8,
    /// Machines that were asked for.
    pub nodes: u8,
    /// The most to be paid, in plancks per slot and hour.
    pub max_price_per_slot_hour: Balance,
    /// Longest time that a machine assigned from now on may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// How machines are found, unless the consumer chose them.
    pub auction: Option<Auction>,
    /// Places for which a machine is sought. The most that each can cost is held.
    pub open_places: u8,
    /// Places that have an assignment.
    pub assignments: u8,
    /// How far the replicas are, where a quorum verifies and has not decided.
    pub ballot: Option<Ballot>,
    /// Part of what a running service earned that is held back until it ended.
    pub hold_back: Permill,
    /// Plancks held for the bytes that the chain keeps.
    pub deposit: Balance,
    /// Plancks held for bounties and not spent.
    pub bounties: Balance,
    /// One bounty, in plancks.
    pub bounty: Balance,
    /// Plancks paid so far, protocol fee included, without bounties.
    pub paid: Balance,
    /// Active time of the order.
    pub created_at_ms: Millis,
}

impl<AccountId> JobRecord<AccountId> {
    /// The most that an open place can cost, in plancks: what is held for it. `None`: more than any balance.
    pub fn open_place_price(&self) -> Option<Balance> {
        cost(
            self.max_price_per_slot_hour,
            self.slots,
            self.max_duration_ms,
            Rounding::Up,
        )
    }

    /// The price that a machine can have now, in plancks per slot and hour; `None` where it can have none.
    pub fn offered_price_at(&self, now_ms: Millis) -> Option<Balance> {
        self.auction
            .filter(|_| self.open_places > 0 && self.is_open_at(now_ms))
            .map(|auction| auction.price_at(now_ms, self.max_price_per_slot_hour))
    }

    /// The last active time at which machines may accept the order; `None` where its consumer chose them.
    ///
    /// Once a replica is done the others have to be found soon: it waits for them.
    pub fn closes_at_ms(&self) -> Option<Millis> {
        let closes_at_ms = self.auction?.closes_at_ms();
        let fill_until_ms = self.ballot.and_then(|ballot| ballot.fill_until_ms);
        Some(fill_until_ms.map_or(closes_at_ms, |fill_until_ms| fill_until_ms.min(closes_at_ms)))
    }

    /// Whether machines may still accept the order.
    pub fn is_open_at(&self, now_ms: Millis) -> bool {
        self.closes_at_ms()
            .is_some_and(|closes_at_ms| now_ms <= closes_at_ms)
    }
}

/// Where in its life an assignment is.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum AssignmentState {
    /// The machine has the job and has not started it.
    #[codec(index = 0)]
    Starting {
        /// Active time at which the machine got it.
        assigned_at_ms: Millis,
        /// The last active time at which the machine may start or decline it.
        deadline_ms: Millis,
        /// Time for which the price of its auction had risen then, in milliseconds; zero where its consumer chose it.
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
        /// Active time of the result; what is paid ends here.
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
        /// Active time of the commitment; what is paid ends here.
        ended_at_ms: Millis,
        /// What it committed to; see [`assay_primitives::job::result_message`].
        commitment: H256,
    },
    /// The replica revealed its result.
    #[codec(index = 4)]
    Revealed {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time of the commitment; what is paid ends here.
        ended_at_ms: Millis,
        /// Hash of the result.
        result_hash: H256,
    },
    /// The machine is free again; what it earned is paid as its epochs are closed.
    #[codec(index = 5)]
    Ended {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time at which what is paid ends.
        ended_at_ms: Millis,
        /// Active time up to which epochs were judged.
        judged_until_ms: Millis,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How an assignment ended.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
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
    /// The machine neither started nor declined in time. Nothing is paid; the machine is out of the market until it speaks.
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
    /// The provider's side gave up a running job. A service is paid but for the hold-back, which its consumer gets; a task
    /// not at all.
    #[codec(index = 8)]
    Abandoned,
    /// The consumer rejected the result; what it earned went to the treasury.
    #[codec(index = 9)]
    Rejected,
    /// The quorum agreed on another result; what the replica earned went to the treasury.
    #[codec(index = 10)]
    Outvoted,
    /// The replica did not reveal what it had committed to; what it earned went to the treasury.
    #[codec(index = 11)]
    NotRevealed,
    /// The replicas' results differ and none had a quorum; what the replica earned went to the treasury.
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
    /// Whether a service that ended so is not paid its hold-back.
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

/// Part of what a running service earned that is held back until it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldBack {
    /// The part.
    pub part: Permill,
    /// Most that is held back, in plancks: [`MAX_HOLD_BACK_EPOCHS`] of the machine's time.
    pub at_most: Balance,
}

impl HoldBack {
    /// What is held back of `earned`, in plancks, rounded up.
    pub fn of(&self, earned: Balance) -> Balance {
        self.part.mul_ceil(earned).min(self.at_most)
    }
}

/// Why a machine declines a job before it started.
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

/// Where money went whose recipient could not receive it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Diversion {
    /// To the treasury.
    #[codec(index = 0)]
    Treasury,
    /// Out of existence, because the treasury could not receive it either.
    #[codec(index = 1)]
    Burned,
}

/// A machine that has a job, on the terms of the moment at which it got it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct AssignmentRecord<AccountId> {
    /// Who is paid.
    pub provider: AccountId,
    /// Its price, in plancks per slot and hour.
    pub price_per_slot_hour: Balance,
    /// Longest time that it may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// Plancks still held from the consumer for it.
    pub escrowed: Balance,
    /// Plancks earned in the epochs that were judged, protocol fee included.
    pub earned: Balance,
    /// Of those, what was paid.
    pub paid: Balance,
    /// Where in its life it is.
    pub state: AssignmentState,
}

impl<AccountId> AssignmentRecord<AccountId> {
    /// The last active time at which an assignment started at `started_at_ms` may still run.
    pub fn run_ends_ms(&self, started_at_ms: Millis) -> Millis {
        started_at_ms.saturating_add(self.max_duration_ms)
    }

    /// What running `slots` slots from `from_ms` to `to_ms` is worth, for an assignment started at `started_at_ms`.
    ///
    /// Each moment has its running total, rounded down; a part is the difference of two of them. So parts add up to
    /// the whole, however the time is divided.
    pub fn worth(&self, slots: u8, started_at_ms: Millis, from_ms: Millis, to_ms: Millis) -> Balance {
        let total = |until_ms: Millis| {
            let elapsed_ms = until_ms.saturating_sub(started_at_ms).min(self.max_duration_ms);
            // What was held covers the longest time.
            cost(self.price_per_slot_hour, slots, elapsed_ms, Rounding::Down).unwrap_or(Balance::MAX)
        };
        total(to_ms).saturating_sub(total(from_ms))
    }

    /// The most that may still have to be paid, in plancks, for an assignment that has ended.
    pub fn may_still_earn(&self, slots: u8) -> Balance {
        match self.state {
            AssignmentState::Ended {
                started_at_ms,
                ended_at_ms,
                judged_until_ms,
                ..
            } => self.earned.saturating_sub(self.paid).saturating_add(self.worth(
                slots,
                started_at_ms,
                judged_until_ms,
                ended_at_ms,
            )),
            _ => 0,
        }
    }

    /// What of the earnings may be paid by now, in plancks: all but the hold-back, as long as that is held back or where it
    /// was lost.
    pub fn payable(&self, hold_back: HoldBack) -> Balance {
        match self.state {
            AssignmentState::Ended { outcome, .. } if self.is_judged() && !outcome.loses_hold_back() => {
                self.earned
            }
            AssignmentState::Running { .. } | AssignmentState::Ended { .. } => {
                self.earned.saturating_sub(hold_back.of(self.earned))
            }
            _ => 0,
        }
    }

    /// What the time is worth for which the machine was reserved and did not start, in plancks, without the first
    /// `free_ms` of it.
    pub fn reserved_worth(&self, slots: u8, now_ms: Millis, free_ms: Millis) -> Balance {
        let AssignmentState::Starting {
            assigned_at_ms,
            deadline_ms,
            ..
        } = self.state
        else {
            return 0;
        };
        let reserved_ms = now_ms.min(deadline_ms).saturating_sub(assigned_at_ms);
        let paid_ms = reserved_ms.saturating_sub(free_ms);
        // What is held covers the longest run; a start window may be longer than that.
        cost(self.price_per_slot_hour, slots, paid_ms, Rounding::Down)
            .unwrap_or(Balance::MAX)
            .min(self.escrowed)
    }

    /// Time after which a decline costs its consumer the rest of the time for which the machine was reserved.
    pub fn start_grace_ms(&self) -> Millis {
        match self.state {
            AssignmentState::Starting {
                assigned_at_ms,
                deadline_ms,
                ..
            } => start_grace_ms(assigned_at_ms, deadline_ms),
            _ => 0,
        }
    }

    /// Whether every epoch of an assignment that has ended was judged.
    pub fn is_judged(&self) -> bool {
        matches!(
            self.state,
            AssignmentState::Ended { ended_at_ms, judged_until_ms, .. } if judged_until_ms >= ended_at_ms
        )
    }

    /// Whether the machine's slots are taken by it: until it is done.
    pub fn has_slots(&self) -> bool {
        matches!(
            self.state,
            AssignmentState::Starting { .. } | AssignmentState::Running { .. }
        )
    }
}

/// What was looked at to give a place to a machine, besides the machine itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PlaceCheck {
    /// So many other replicas, because of their providers.
    Replicas(u32),
    /// The machine's evidence.
    Evidence,
}

impl PlaceCheck {
    /// What it costs to take the place.
    pub(crate) fn weight<W: WeightInfo>(self) -> Weight {
        match self {
            Self::Replicas(replicas) => W::accept_request(replicas),
            Self::Evidence => W::accept_attested_request(),
        }
    }

    /// The most that it can cost.
    pub(crate) fn max_weight<W: WeightInfo>() -> Weight {
        Self::Replicas(MAX_REPLICAS.into())
            .weight::<W>()
            .max(Self::Evidence.weight::<W>())
    }
}
