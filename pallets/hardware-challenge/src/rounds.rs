//! Rounds: their randomness, when they open, and when their openings are drawn. Nothing else writes their
//! records.

use assay_primitives::{
    challenge::{RoundId, RoundKind},
    clock::{ActiveClock, Millis},
    finality::FinalityLag,
    machine::HardwareClassId,
};
use assay_proof::{ChallengeParams, Hash};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, Randomness},
    },
    sp_io::hashing::blake2_256,
};

use crate::{
    Audits, AuditsDrawnUntilMs, ClassVersion, Classes, Config, CurrentSchedule, DrawnOpenings, Entropy,
    Error, Event, LastAuditMs, LastNewcomersMs, LastServedMs, LastStalledMs, MAX_LIVE_AUDITS,
    MAX_LIVE_ROUNDS, MAX_PROOF_BYTES, MIN_PASSES, NextDraw, NextRound, OldestRound, Pallet, RoundOutcome,
    RoundRecord, Rounds, Schedule, Tally,
};

/// Domain separator for the parent block's randomness.
const ENTROPY_CONTEXT: &[u8; 26] = b"assay/challenge-entropy/v1";

/// Domain separator for a round's randomness.
const ROUND_CONTEXT: &[u8; 24] = b"assay/challenge-round/v1";

/// Domain separator for the randomness of a round's openings.
const OPENINGS_CONTEXT: &[u8; 23] = b"assay/challenge-open/v1";

/// Domain separator for the draw that opens an audit.
const AUDIT_CONTEXT: &[u8; 24] = b"assay/challenge-audit/v1";

/// Inputs of everything that one block draws: openings, and whether a round opens.
pub(crate) struct DrawInputs {
    /// Mixed randomness of all blocks up to the parent.
    pub(crate) entropy: Hash,
    /// Active time at this block.
    pub(crate) now_ms: Millis,
    /// Active time at the last block whose author's randomness is mixed in, or at a block before it.
    pub(crate) mixed_at_ms: Millis,
}

impl DrawInputs {
    /// Derives the randomness of one purpose, on this chain, for one round.
    fn randomness<T: Config>(&self, context: &[u8], round: RoundId) -> Hash {
        (context, Pallet::<T>::genesis_hash(), self.entropy, round).using_encoded(blake2_256)
    }
}

impl<T: Config> Pallet<T> {
    /// Mixes the parent block's randomness into the chain's. Returns `None` where the parent has none.
    pub(crate) fn begin_draws() -> Option<DrawInputs> {
        let now_ms = T::Clock::now_ms();
        let mixed_at_ms = LastServedMs::<T>::get();
        LastServedMs::<T>::put(now_ms);
        let (random, _) = T::Randomness::random(ENTROPY_CONTEXT);
        Some(DrawInputs {
            entropy: Self::mix(random?),
            now_ms,
            mixed_at_ms,
        })
    }

    /// Mixes an author's randomness into the chain's.
    pub(crate) fn mix(random: T::Hash) -> Hash {
        let entropy = (ENTROPY_CONTEXT, Entropy::<T>::get(), random).using_encoded(blake2_256);
        Entropy::<T>::put(entropy);
        entropy
    }

    /// Returns the round whose openings can be drawn in this block: the oldest undrawn one, once the mix
    /// contains the randomness of a block that was too late for commits of the round.
    pub(crate) fn next_to_draw(inputs: &DrawInputs) -> Option<RoundId> {
        let round = NextDraw::<T>::get();
        let record = Rounds::<T>::get(round)?;
        (inputs.mixed_at_ms > record.draws_after_ms).then_some(round)
    }

    /// Draws the openings of a round.
    pub(crate) fn draw_openings(inputs: &DrawInputs, round: RoundId) {
        let Some(mut record) = Rounds::<T>::get(round) else {
            return;
        };
        let openings = DrawnOpenings {
            randomness: inputs.randomness::<T>(OPENINGS_CONTEXT, round),
            drawn_at_ms: inputs.now_ms,
        };
        record.openings = Some(openings);
        Rounds::<T>::insert(round, record);
        NextDraw::<T>::put(round.saturating_add(1));
        Self::deposit_event(Event::OpeningsDrawn {
            round,
            randomness: openings.randomness,
            prove_until_ms: openings.drawn_at_ms.saturating_add(record.prove_window_ms),
        });
    }

    /// Returns the kind of the round that opens in this block, if one does.
    ///
    /// The probability of an audit is proportional to the active time since the last draw, so audits are
    /// equally likely at all times, however late blocks are.
    pub(crate) fn round_to_open(inputs: &DrawInputs) -> Option<RoundKind> {
        let schedule = CurrentSchedule::<T>::get();
        let drawn_until_ms = AuditsDrawnUntilMs::<T>::get();
        // Time in which no audit could open must not make one likelier afterwards.
        AuditsDrawnUntilMs::<T>::put(inputs.now_ms);
        if T::Finality::is_stalled() {
            return None;
        }
        let next = NextRound::<T>::get();
        if next.saturating_sub(OldestRound::<T>::get()) >= MAX_LIVE_ROUNDS || next == RoundId::MAX {
            return None;
        }
        let passed_ms = inputs.now_ms.saturating_sub(drawn_until_ms);
        let is_drawn = is_audit(&inputs.randomness::<T>(AUDIT_CONTEXT, next), passed_ms, &schedule);
        let is_overdue =
            inputs.now_ms.saturating_sub(LastAuditMs::<T>::get()) >= schedule.max_audit_interval_ms;
        let has_room = Audits::<T>::decode_len().unwrap_or(0) < MAX_LIVE_AUDITS as usize;
        if (is_drawn || is_overdue) && has_room {
            return Some(RoundKind::Audit);
        }
        LastNewcomersMs::<T>::get()
            .is_none_or(|last| inputs.now_ms.saturating_sub(last) >= schedule.newcomer_interval_ms)
            .then_some(RoundKind::Newcomers)
    }

    /// Opens a round.
    pub(crate) fn open_round(inputs: &DrawInputs, kind: RoundKind) {
        let schedule = CurrentSchedule::<T>::get();
        let round = NextRound::<T>::get();
        let commits_until_ms = inputs.now_ms.saturating_add(schedule.commit_window_ms);
        let record = RoundRecord {
            kind,
            randomness: inputs.randomness::<T>(ROUND_CONTEXT, round),
            opened_at_ms: inputs.now_ms,
            commits_until_ms,
            draws_after_ms: commits_until_ms.saturating_add(schedule.opening_delay_ms),
            prove_window_ms: schedule.prove_window_ms,
            report_window_ms: schedule.report_window_ms,
            openings: None,
            tally: Tally::default(),
            outcome: None,
        };
        match kind {
            RoundKind::Audit => {
                LastAuditMs::<T>::put(inputs.now_ms);
                // `round_to_open` checked that there is room.
                Audits::<T>::mutate(|audits| {
                    let _ = audits.try_push(round);
                });
            }
            RoundKind::Newcomers => LastNewcomersMs::<T>::put(inputs.now_ms),
        }
        Rounds::<T>::insert(round, record);
        NextRound::<T>::put(round.saturating_add(1));
        Self::deposit_event(Event::RoundOpened {
            round,
            kind,
            randomness: record.randomness,
            commits_until_ms: record.commits_until_ms,
        });
    }

    /// Records that finality is stalled, for the rounds that are under way.
    pub(crate) fn note_stall() {
        if T::Finality::is_stalled() {
            LastStalledMs::<T>::put(T::Clock::now_ms());
        }
    }

    /// Returns true if finality was seen stalled since the round opened.
    ///
    /// A stall after the last proof was due counts too: it is seen some blocks after it began.
    pub(crate) fn has_stalled(record: &RoundRecord) -> bool {
        T::Finality::is_stalled()
            || LastStalledMs::<T>::get().is_some_and(|last_ms| last_ms >= record.opened_at_ms)
    }

    /// Counts an answer or a miss of a machine that owed an answer.
    pub(crate) fn count(round: RoundId, is_owed: bool, count: impl FnOnce(&mut Tally)) {
        if is_owed {
            Rounds::<T>::mutate(round, |record| {
                if let Some(record) = record {
                    count(&mut record.tally);
                }
            });
        }
    }

    /// Decides the outcome of a round that is over, once. Returns it.
    pub(crate) fn conclude(round: RoundId) -> Option<RoundOutcome> {
        let mut record = Rounds::<T>::get(round)?;
        if record.outcome.is_some() {
            return record.outcome;
        }
        let outcome = if Self::has_stalled(&record) {
            RoundOutcome::FinalityStalled
        } else if record.tally.is_mass_silence() {
            RoundOutcome::MassSilence
        } else {
            RoundOutcome::Punished
        };
        record.outcome = Some(outcome);
        Rounds::<T>::insert(round, record);
        Self::deposit_event(Event::RoundConcluded {
            round,
            tally: record.tally,
            outcome,
        });
        Some(outcome)
    }

    /// Returns the record of a round.
    pub(crate) fn round(round: RoundId) -> Result<RoundRecord, Error<T>> {
        ensure!(round < NextRound::<T>::get(), Error::<T>::RoundNotOpen);
        Rounds::<T>::get(round).ok_or(Error::<T>::RoundForgotten)
    }

    /// Returns the parameters by which the machines of a class are challenged in a round.
    pub(crate) fn params_of(class: HardwareClassId, round: RoundId) -> Option<ChallengeParams> {
        Classes::<T>::get(class)
            .iter()
            .rev()
            .find(|version| version.from_round <= round)
            .and_then(|version| version.params)
    }

    /// Sets a class's parameters from the next round on. Returns that round.
    pub(crate) fn put_class(
        class: HardwareClassId,
        params: Option<ChallengeParams>,
    ) -> Result<RoundId, Error<T>> {
        if let Some(params) = &params {
            Self::check_params(params)?;
        }
        let from_round = NextRound::<T>::get();
        let oldest_round = OldestRound::<T>::get();
        let mut versions = Classes::<T>::get(class);
        // Drops parameter versions that no live round uses: replaced before the oldest live round, or before
        // they applied to any round.
        while versions
            .get(1)
            .is_some_and(|second| second.from_round <= oldest_round)
        {
            versions.remove(0);
        }
        versions.retain(|version| version.from_round < from_round);
        versions
            .try_push(ClassVersion { from_round, params })
            .map_err(|_| Error::<T>::TooManyVersions)?;
        Classes::<T>::insert(class, versions);
        Ok(from_round)
    }

    /// Checks that machines can be challenged with these parameters.
    fn check_params(params: &ChallengeParams) -> Result<(), Error<T>> {
        ensure!(params.is_valid(), Error::<T>::BadParams);
        ensure!(
            params.deadline_ms <= CurrentSchedule::<T>::get().commit_window_ms,
            Error::<T>::DeadlineTooLong
        );
        ensure!(
            params.verification_double_rounds() <= T::MaxDoubleRounds::get(),
            Error::<T>::VerificationTooLong
        );
        ensure!(params.proof_bytes() <= MAX_PROOF_BYTES, Error::<T>::ProofTooLarge);
        ensure!(params.passes() >= MIN_PASSES, Error::<T>::TooFewPasses);
        Ok(())
    }
}

/// Returns true if the randomness opens an audit when `passed_ms` of active time went by since the last draw:
/// with a probability of `passed / mean`, off by less than one part in 2^32.
pub(crate) fn is_audit(randomness: &Hash, passed_ms: Millis, schedule: &Schedule) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *randomness;
    let drawn = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // 128 bits: no overflow.
    let left = u128::from(drawn).saturating_mul(schedule.mean_audit_interval_ms.into());
    let right = u128::from(passed_ms) << u64::BITS;
    left < right
}
