//! What the pallet keeps of rounds, of answers and of proofs, and what governance decides.

use assay_primitives::{
    challenge::{RoundId, RoundKind},
    clock::Millis,
    machine::{HardwareClassId, MAX_SLOTS},
};
use assay_proof::{ChallengeParams, Hash};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::BoundedVec, sp_runtime::traits::ConstU32};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

pub use assay_primitives::challenge::{MASS_SILENCE_PART, RoundOutcome, Tally};

/// Most rounds of which anything is kept at the same time; while there are so many, none opens.
pub const MAX_LIVE_ROUNDS: u32 = 64;

/// Most audits among them: what a change of a machine's free slots may have to look at.
pub const MAX_LIVE_AUDITS: u32 = 4;

/// Most versions of a class's parameters that are in force for some round at the same time.
pub const MAX_CLASS_VERSIONS: u32 = 4;

/// Longest encoded proof of one slot, in bytes: 4 KiB.
pub const MAX_PROOF_BYTES: u64 = 4 * 1_024;

/// Fewest times that the lanes of a slot read its memory over: who stores nothing must recompute more than filling
/// would have cost.
pub const MIN_PASSES: u64 = 1;

/// Double rounds of the unit that verifications are weighed in.
pub const DOUBLE_ROUNDS_PER_UNIT: u64 = 1_024;

/// The roots of a machine's slots, by their numbers.
pub type Roots = BoundedVec<Hash, ConstU32<{ MAX_SLOTS as u32 }>>;

/// The audits of which anything is kept, the oldest first.
pub type LiveAudits = BoundedVec<RoundId, ConstU32<MAX_LIVE_AUDITS>>;

/// When rounds open, and how long their parts last; all in milliseconds of active time.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// From one newcomer round to the next.
    pub newcomer_interval_ms: Millis,
    /// From one audit to the next, on average. An audit is as likely in each moment as in any other.
    pub mean_audit_interval_ms: Millis,
    /// After so long without an audit there is one in any case.
    pub max_audit_interval_ms: Millis,
    /// From a round's opening until no class may commit any more; no class has a later deadline.
    pub commit_window_ms: Millis,
    /// From then on until the openings are drawn, at least. Whoever makes all blocks of that time knows them while
    /// commits are still taken: a few slots make that unlikely.
    pub opening_delay_ms: Millis,
    /// From the drawing of the openings until the last proof must be in a block. The larger the network, the longer:
    /// blocks must have time to verify everybody.
    pub prove_window_ms: Millis,
    /// From then on until missing answers cannot be reported any more, and the round is forgotten.
    pub report_window_ms: Millis,
    /// For how long a proof counts, from the opening of its round.
    pub max_proof_age_ms: Millis,
}

/// A schedule for networks whose blocks come every few seconds.
impl Default for Schedule {
    fn default() -> Self {
        const MINUTE_MS: Millis = 60 * 1_000;
        Self {
            newcomer_interval_ms: 5 * MINUTE_MS,
            mean_audit_interval_ms: 180 * MINUTE_MS,
            max_audit_interval_ms: 360 * MINUTE_MS,
            commit_window_ms: MINUTE_MS,
            opening_delay_ms: MINUTE_MS / 5,
            prove_window_ms: 60 * MINUTE_MS,
            report_window_ms: 60 * MINUTE_MS,
            max_proof_age_ms: 720 * MINUTE_MS,
        }
    }
}

impl Schedule {
    /// Whether rounds can be held by it: no length but the delay is zero, and a machine that answers every audit stays proven.
    pub fn is_valid(&self) -> bool {
        let lengths = [
            self.newcomer_interval_ms,
            self.mean_audit_interval_ms,
            self.max_audit_interval_ms,
            self.commit_window_ms,
            self.prove_window_ms,
            self.report_window_ms,
        ];
        let until_proven_again_ms = self
            .max_audit_interval_ms
            .saturating_add(self.commit_window_ms)
            .saturating_add(self.opening_delay_ms)
            .saturating_add(self.prove_window_ms);
        lengths.iter().all(|length| *length > 0)
            && self.mean_audit_interval_ms <= self.max_audit_interval_ms
            && until_proven_again_ms < self.max_proof_age_ms
    }
}

/// A class and what it is challenged with, as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisChallenge {
    /// The class.
    pub class: HardwareClassId,
    /// Its parameters.
    pub params: ChallengeParams,
}

/// What a class is challenged with from some round on.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ClassVersion {
    /// The first round that it counts for.
    pub from_round: RoundId,
    /// The parameters; `None`: machines of the class cannot be challenged, and so not be proven.
    pub params: Option<ChallengeParams>,
}

/// Versions of a class's parameters, by the rounds that they count for, rising.
pub type ClassVersions = BoundedVec<ClassVersion, ConstU32<MAX_CLASS_VERSIONS>>;

/// What opens the lanes of a round.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct DrawnOpenings {
    /// What the lanes follow from.
    pub randomness: Hash,
    /// When it was drawn.
    pub drawn_at_ms: Millis,
}

/// A round. Times are active times, and inclusive.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct RoundRecord {
    /// Whom it is for.
    pub kind: RoundKind,
    /// What the seeds follow from.
    pub randomness: Hash,
    /// When it opened.
    pub opened_at_ms: Millis,
    /// Until when some class may commit.
    pub commits_until_ms: Millis,
    /// The openings are drawn with the randomness of a later block.
    pub draws_after_ms: Millis,
    /// How long the openings can be proven once they are drawn.
    pub prove_window_ms: Millis,
    /// How long missing answers can be reported after that.
    pub report_window_ms: Millis,
    /// The openings, once they are drawn.
    pub openings: Option<DrawnOpenings>,
    /// Machines that owed an answer, by what became of them so far.
    pub tally: Tally,
    /// Consequence of the misses; decided once, when none can be reported any more.
    pub outcome: Option<RoundOutcome>,
}

impl RoundRecord {
    /// Until when a machine with these parameters may commit.
    pub fn commit_deadline_ms(&self, params: &ChallengeParams) -> Millis {
        self.opened_at_ms
            .saturating_add(params.deadline_ms)
            .min(self.commits_until_ms)
    }

    /// Until when slots can be proven; `None` before the openings are drawn.
    pub fn prove_deadline_ms(&self) -> Option<Millis> {
        self.openings
            .map(|openings| openings.drawn_at_ms.saturating_add(self.prove_window_ms))
    }

    /// Until when missing answers can be reported; `None` before the openings are drawn.
    pub fn reports_until_ms(&self) -> Option<Millis> {
        self.prove_deadline_ms()
            .map(|deadline| deadline.saturating_add(self.report_window_ms))
    }
}

/// What a machine committed, and how much of it is proven.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Commitment {
    /// The worker key that the seeds follow from.
    pub worker_key: Hash,
    /// One root for each slot.
    pub roots: Roots,
    /// Slots that are proven: those with the numbers below.
    pub proven: u8,
    /// The machine owed an answer before it committed.
    pub is_owed: bool,
}

/// What became of a machine in a round.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Answer {
    /// It committed and has slots to prove.
    #[codec(index = 0)]
    Committed(Commitment),
    /// It proved every slot.
    #[codec(index = 1)]
    Proven {
        /// How many.
        slots: u8,
    },
    /// It proved a slot wrongly.
    #[codec(index = 2)]
    Wrong,
    /// It owed an answer, gave none in time, and was reported.
    #[codec(index = 3)]
    Missed,
}

/// Some slots that were proven together.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ProofStep {
    /// How many: those with the numbers below.
    pub slots: u8,
    /// When the proof counts no more, in active time.
    pub expires_at_ms: Millis,
}

/// What is known of a machine that was proven at least once.
///
/// Free slots are those with the lowest numbers, so a slot is proven whenever one with a higher number is, and the
/// proofs are steps: of the more slots, the older.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ProofRecord {
    /// Proofs that count or did when the record was last tidied: of falling numbers of slots, and expiring later and
    /// later.
    pub steps: BoundedVec<ProofStep, ConstU32<{ MAX_SLOTS as u32 }>>,
    /// Answers in earlier rounds prove nothing: it gave a wrong answer, or none, when this was the next one to open.
    pub first_round: RoundId,
}

impl ProofRecord {
    /// Of how many slots there is a proof that counts at this moment.
    pub fn proven_slots(&self, now_ms: Millis) -> u8 {
        self.steps
            .iter()
            .find(|step| now_ms <= step.expires_at_ms)
            .map_or(0, |step| step.slots)
    }

    /// When the next proof expires.
    pub fn next_expiry_ms(&self) -> Option<Millis> {
        self.steps.first().map(|step| step.expires_at_ms)
    }

    /// Adds a proof, and drops those that it makes pointless. Nothing happens where there is a better one.
    pub(crate) fn add(&mut self, new: ProofStep) {
        let is_pointless = |step: &ProofStep, beside: &ProofStep| {
            step.slots <= beside.slots && step.expires_at_ms <= beside.expires_at_ms
        };
        if self.steps.iter().any(|step| is_pointless(&new, step)) {
            return;
        }
        self.steps.retain(|step| !is_pointless(step, &new));
        let place = self.steps.partition_point(|step| step.slots > new.slots);
        // Steps have different numbers of slots, of which there are as many as places: there is always one.
        let _ = self.steps.try_insert(place, new);
    }

    /// Drops the proofs that count no more. Says whether there were any.
    pub(crate) fn drop_expired(&mut self, now_ms: Millis) -> bool {
        let before = self.steps.len();
        self.steps.retain(|step| now_ms <= step.expires_at_ms);
        self.steps.len() < before
    }
}
