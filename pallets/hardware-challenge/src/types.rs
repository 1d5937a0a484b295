//! Records of rounds, answers and proofs, and the settings that governance decides.

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

/// Maximum number of live rounds, of which a record is kept; at this number no further round opens.
pub const MAX_LIVE_ROUNDS: u32 = 64;

/// Maximum number of audits among the live rounds. A lookup of a machine's exposure reads one entry for each.
pub const MAX_LIVE_AUDITS: u32 = 4;

/// Maximum number of versions of a class's parameters that live rounds use at the same time.
pub const MAX_CLASS_VERSIONS: u32 = 4;

/// Maximum length of the encoded proof of one slot, in bytes: 4 KiB.
pub const MAX_PROOF_BYTES: u64 = 4 * 1_024;

/// Minimum number of times that the lanes of a slot read its whole memory: a machine that stores nothing must
/// then recompute more than filling the memory would have cost.
pub const MIN_PASSES: u64 = 1;

/// Double rounds in one unit of verification weight.
pub const DOUBLE_ROUNDS_PER_UNIT: u64 = 1_024;

/// Roots of a machine's slots, in the order of the slots' numbers.
pub type Roots = BoundedVec<Hash, ConstU32<{ MAX_SLOTS as u32 }>>;

/// Audits among the live rounds, the oldest first.
pub type LiveAudits = BoundedVec<RoundId, ConstU32<MAX_LIVE_AUDITS>>;

/// Times at which rounds open, and lengths of their parts; all in milliseconds of active time.
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
    /// Interval between newcomer rounds.
    pub newcomer_interval_ms: Millis,
    /// Mean interval between audits. An audit is equally likely at all times.
    pub mean_audit_interval_ms: Millis,
    /// Maximum interval between audits: after it one opens in any case.
    pub max_audit_interval_ms: Millis,
    /// Time from a round's opening to the end of commits; no class has a later deadline.
    pub commit_window_ms: Millis,
    /// Minimum time from the end of commits to the drawing of the openings. An author that makes all blocks
    /// of that time knows the openings while commits are still taken: a few slots make that unlikely.
    pub opening_delay_ms: Millis,
    /// Time from the drawing of the openings to the deadline of proofs. A larger network needs a longer one:
    /// blocks must have time to verify all machines.
    pub prove_window_ms: Millis,
    /// Time from the deadline of proofs to the end of reports of missing answers. Then the round is concluded
    /// and forgotten.
    pub report_window_ms: Millis,
    /// Validity of a proof, from the opening of its round.
    pub max_proof_age_ms: Millis,
}

/// Schedule for networks whose blocks come every few seconds.
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
    /// Returns true if no length except the opening delay is zero, the mean interval of audits is not above
    /// the maximum, and a machine that answers every audit stays proven.
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

/// Class and its parameters, as genesis configurations spell them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisChallenge {
    /// The class.
    pub class: HardwareClassId,
    /// Its parameters.
    pub params: ChallengeParams,
}

/// Parameters of a class from some round on.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ClassVersion {
    /// First round that uses them.
    pub from_round: RoundId,
    /// The parameters; `None`: machines of the class cannot be challenged, and so not be proven.
    pub params: Option<ChallengeParams>,
}

/// Versions of a class's parameters, in the rising order of their first rounds.
pub type ClassVersions = BoundedVec<ClassVersion, ConstU32<MAX_CLASS_VERSIONS>>;

/// Openings of a round: the randomness that selects the lanes to prove.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct DrawnOpenings {
    /// Randomness from which the opened lanes are derived.
    pub randomness: Hash,
    /// Time at which it was drawn.
    pub drawn_at_ms: Millis,
}

/// Round. Times are active times, and inclusive.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct RoundRecord {
    /// Kind of the round: which machines it is for.
    pub kind: RoundKind,
    /// Randomness from which the seeds are derived.
    pub randomness: Hash,
    /// Time at which it opened.
    pub opened_at_ms: Millis,
    /// Last time at which any class may commit.
    pub commits_until_ms: Millis,
    /// Time after which the openings are drawn: with the randomness of a later block.
    pub draws_after_ms: Millis,
    /// Time for proofs, from the drawing of the openings.
    pub prove_window_ms: Millis,
    /// Time for reports of missing answers, from the deadline of proofs.
    pub report_window_ms: Millis,
    /// Openings; `None` until they are drawn.
    pub openings: Option<DrawnOpenings>,
    /// Machines that owed an answer, counted by their result so far.
    pub tally: Tally,
    /// Consequence of the misses; `None` until it is decided, once, when no miss can be reported any more.
    pub outcome: Option<RoundOutcome>,
}

impl RoundRecord {
    /// Returns the last time at which a machine with these parameters may commit.
    pub fn commit_deadline_ms(&self, params: &ChallengeParams) -> Millis {
        self.opened_at_ms
            .saturating_add(params.deadline_ms)
            .min(self.commits_until_ms)
    }

    /// Returns the last time at which slots can be proven; `None` before the openings are drawn.
    pub fn prove_deadline_ms(&self) -> Option<Millis> {
        self.openings
            .map(|openings| openings.drawn_at_ms.saturating_add(self.prove_window_ms))
    }

    /// Returns the last time at which missing answers can be reported; `None` before the openings are drawn.
    pub fn reports_until_ms(&self) -> Option<Millis> {
        self.prove_deadline_ms()
            .map(|deadline| deadline.saturating_add(self.report_window_ms))
    }
}

/// Commitment of a machine in a round, and the part of it that is proven.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Commitment {
    /// Worker key from which the seeds are derived.
    pub worker_key: Hash,
    /// Roots, one for each slot.
    pub roots: Roots,
    /// Number of proven slots: those with smaller numbers than this.
    pub proven: u8,
    /// True if the machine owed an answer before it committed.
    pub is_owed: bool,
}

/// Answer of a machine in a round, or its absence.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Answer {
    /// The machine committed and has slots left to prove.
    #[codec(index = 0)]
    Committed(Commitment),
    /// The machine proved every slot.
    #[codec(index = 1)]
    Proven {
        /// Number of slots.
        slots: u8,
    },
    /// The machine gave a wrong proof of a slot.
    #[codec(index = 2)]
    Wrong,
    /// The machine owed an answer, gave none in time, and was reported.
    #[codec(index = 3)]
    Missed,
}

/// Slots that were proven together.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ProofStep {
    /// Number of slots: those with smaller numbers than this.
    pub slots: u8,
    /// Last active time at which the proof is valid.
    pub expires_at_ms: Millis,
}

/// Proofs of a machine that was proven at least once, or lost the right to a newcomer round.
///
/// Free slots are those with the lowest numbers, so a slot is proven whenever one with a higher number is,
/// and the proofs are steps: the more slots, the older.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ProofRecord {
    /// Proofs that were valid when the record was last written, in falling numbers of slots and rising times
    /// of expiry.
    pub steps: BoundedVec<ProofStep, ConstU32<{ MAX_SLOTS as u32 }>>,
    /// First round whose answers count. Earlier ones do not: the machine gave a wrong answer, or none, when
    /// this round was the next to open.
    pub first_round: RoundId,
}

impl ProofRecord {
    /// Returns the number of slots with a valid proof at this active time.
    pub fn proven_slots(&self, now_ms: Millis) -> u8 {
        self.steps
            .iter()
            .find(|step| now_ms <= step.expires_at_ms)
            .map_or(0, |step| step.slots)
    }

    /// Returns the time at which the next proof expires.
    pub fn next_expiry_ms(&self) -> Option<Millis> {
        self.steps.first().map(|step| step.expires_at_ms)
    }

    /// Adds a proof, and drops those that it supersedes. Changes nothing if an existing proof supersedes it.
    pub(crate) fn add(&mut self, new: ProofStep) {
        let is_pointless = |step: &ProofStep, beside: &ProofStep| {
            step.slots <= beside.slots && step.expires_at_ms <= beside.expires_at_ms
        };
        if self.steps.iter().any(|step| is_pointless(&new, step)) {
            return;
        }
        self.steps.retain(|step| !is_pointless(step, &new));
        let place = self.steps.partition_point(|step| step.slots > new.slots);
        // Steps differ in their numbers of slots, and the list has room for every number: the insertion
        // succeeds.
        let _ = self.steps.try_insert(place, new);
    }

    /// Drops expired proofs. Returns true if there were any.
    pub(crate) fn drop_expired(&mut self, now_ms: Millis) -> bool {
        let before = self.steps.len();
        self.steps.retain(|step| now_ms <= step.expires_at_ms);
        self.steps.len() < before
    }
}
