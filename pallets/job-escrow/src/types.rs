//! Records of jobs and assignments, and the weights of work on them.

use assay_primitives::{
    clock::Millis,
    job::start_grace_ms,
    machine::MachineId,
    market::{MAX_NODES, Requirements},
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{BoundedVec, traits::Get, weights::Weight},
    frame_system,
    sp_core::H256,
    sp_runtime::{Permill, Rounding, traits::ConstU32},
};
use scale_info::TypeInfo;

use crate::{Config, WeightInfo};

pub use assay_primitives::job::{
    AssignmentState, Auction, AuctionTerms, Ballot, DeclineReason, Diversion, JobId, JobKind, MAX_REPLICAS,
    Manifest, ManifestRef, Outcome, Verification, cost,
};

/// Most machines of which an auction remembers that they gave a place back. Those that are more may take a
/// place again, at the price at which they gave it back: the price needs no memory of them.
pub const MAX_REFUSALS: u32 = 16;

/// Epochs whose pay is held back of a running service at most, however long it runs: a day of one-hour
/// epochs. Bounds a machine's loss by an outage that others caused.
pub const MAX_HOLD_BACK_EPOCHS: u64 = 24;

/// A job in a runtime.
pub type JobRecordOf<T> = JobRecord<<T as frame_system::Config>::AccountId>;

/// An assignment in a runtime.
pub type AssignmentRecordOf<T> = AssignmentRecord<<T as frame_system::Config>::AccountId>;

/// Machines that gave a place of an auction back.
pub type RefusedMachines = BoundedVec<MachineId, ConstU32<MAX_REFUSALS>>;

/// Machines that a job is deployed to, each once.
pub type ChosenMachines = BoundedVec<MachineId, ConstU32<{ MAX_NODES as u32 }>>;

/// Terms of jobs that governance may change.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct JobTerms {
    /// Part of every payment that the protocol keeps. A change holds from the next payment on, also for open
    /// jobs.
    pub protocol_fee: Permill,
    /// Part of what a running service earned that is held back until it ended. A change holds for later
    /// orders.
    pub hold_back: Permill,
    /// Plancks that a bounty pays. Worth calling for: above the fee of
    /// [`Pallet::settle`](crate::Pallet::settle). A change holds for later orders.
    pub bounty: Balance,
    /// Milliseconds that a machine has to start a job. Longer: slots are blocked longer by machines that are
    /// gone; shorter than an image takes to pull: no job starts. A change holds for later assignments.
    pub start_window_ms: Millis,
    /// Milliseconds in which replicas have to reveal their results. Shorter than a few blocks: a busy chain
    /// makes liars of honest machines. A change holds for later reveals.
    pub reveal_window_ms: Millis,
}

/// Order of a consumer.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct JobOrder {
    /// Service or task.
    pub kind: JobKind,
    /// Names the bytes that say what to run.
    pub manifest: Manifest,
    /// SHA-256 digest of the container image's manifest. The worker refuses any other image.
    pub image_digest: H256,
    /// Requirements that every machine must meet. Slots, price and nodes are those below instead.
    pub requirements: Requirements,
    /// Slots of each machine; at least one.
    pub slots: u8,
    /// Longest time that each machine may run the job, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// The most to be paid, in plancks per slot and hour.
    pub max_price_per_slot_hour: Balance,
}

impl JobOrder {
    /// Returns true if a machine's evidence decides whether it may have the job.
    pub fn needs_evidence(&self) -> bool {
        self.kind.is_attested() || self.requirements.tee.is_some()
    }
}

/// A job that is not closed: an order, its open places and its assignments. Closing removes it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct JobRecord<AccountId> {
    /// Account that pays.
    pub consumer: AccountId,
    /// Service or task.
    pub kind: JobKind,
    /// Names the bytes that say what to run.
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
    /// Auction by which machines are found, unless the consumer chose them.
    pub auction: Option<Auction>,
    /// Places for which a machine is sought. The most that each can cost is held.
    pub open_places: u8,
    /// Places that have an assignment.
    pub assignments: u8,
    /// Progress of the replicas, where a quorum verifies and has not decided.
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

    /// Returns true if machines may still accept the order.
    pub fn is_open_at(&self, now_ms: Millis) -> bool {
        self.closes_at_ms()
            .is_some_and(|closes_at_ms| now_ms <= closes_at_ms)
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
    /// Returns the part of `earned` that is held back, in plancks, rounded up.
    pub fn of(&self, earned: Balance) -> Balance {
        self.part.mul_ceil(earned).min(self.at_most)
    }
}

/// A machine that has a job, on the terms of the moment at which it got it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct AssignmentRecord<AccountId> {
    /// Account that is paid.
    pub provider: AccountId,
    /// Agreed price, in plancks per slot and hour.
    pub price_per_slot_hour: Balance,
    /// Longest time that it may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// Plancks still held from the consumer for it.
    pub escrowed: Balance,
    /// Plancks earned in the epochs that were judged, protocol fee included.
    pub earned: Balance,
    /// Of those, what was paid.
    pub paid: Balance,
    /// State of its life.
    pub state: AssignmentState,
}

impl<AccountId> AssignmentRecord<AccountId> {
    /// The last active time at which an assignment started at `started_at_ms` may still run.
    pub fn run_ends_ms(&self, started_at_ms: Millis) -> Millis {
        started_at_ms.saturating_add(self.max_duration_ms)
    }

    /// Returns the price of running `slots` slots from `from_ms` to `to_ms`, for an assignment started at
    /// `started_at_ms`.
    ///
    /// Each moment has its running total, rounded down; a part is the difference of two of them. So parts add
    /// up to the whole, however the time is divided.
    pub fn worth(&self, slots: u8, started_at_ms: Millis, from_ms: Millis, to_ms: Millis) -> Balance {
        let total = |until_ms: Millis| {
            let elapsed_ms = until_ms.saturating_sub(started_at_ms).min(self.max_duration_ms);
            // The held amount covers the longest time.
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

    /// Returns the part of the earnings that may be paid by now, in plancks: all but the hold-back, as long
    /// as that is held back or where it was lost.
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

    /// Returns the price of the time for which the machine was reserved and did not start, in plancks,
    /// without the first `free_ms` of it.
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
        // The held amount covers the longest run; a start window may be longer than that.
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

    /// Returns true if every epoch of an assignment that has ended was judged.
    pub fn is_judged(&self) -> bool {
        matches!(
            self.state,
            AssignmentState::Ended { ended_at_ms, judged_until_ms, .. } if judged_until_ms >= ended_at_ms
        )
    }

    /// Returns true while the assignment occupies the machine's slots: until the machine is done.
    pub fn has_slots(&self) -> bool {
        matches!(
            self.state,
            AssignmentState::Starting { .. } | AssignmentState::Running { .. }
        )
    }
}

/// Records that were read to give a place to a machine, besides those of every acceptance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlaceCheck {
    /// Other replicas, because of their providers.
    pub(crate) replicas: u32,
    /// True if the machine's evidence was.
    pub(crate) evidence: bool,
}

impl PlaceCheck {
    /// Weight of taking the place.
    pub(crate) fn weight<W: WeightInfo>(self) -> Weight {
        let weight = W::accept_request(self.replicas);
        if !self.evidence {
            return weight;
        }
        let evidence = W::accept_attested_request().saturating_sub(W::accept_request(0));
        weight.saturating_add(evidence)
    }

    /// Weight of taking the dearest place.
    pub(crate) fn max_weight<W: WeightInfo>() -> Weight {
        Self {
            replicas: MAX_REPLICAS.into(),
            evidence: true,
        }
        .weight::<W>()
    }
}

/// Work that a settlement did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settled {
    /// Number of epochs that were judged.
    pub(crate) epochs: u32,
    /// True if it may have closed the job or paid a bounty: the last payment, an acceptance, or as many
    /// epochs as one call judges.
    pub(crate) is_whole: bool,
}

impl Settled {
    /// Weight of that work.
    pub(crate) fn weight<W: WeightInfo>(self) -> Weight {
        if self.is_whole {
            W::settle_last(self.epochs)
        } else {
            W::settle(self.epochs)
        }
    }

    /// Weight of the most work that one call does.
    pub(crate) fn max_weight<T: Config>() -> Weight {
        let most = |is_whole| {
            let epochs = T::MaxEpochsPerSettle::get();
            Self { epochs, is_whole }.weight::<T::WeightInfo>()
        };
        most(true).max(most(false))
    }
}
