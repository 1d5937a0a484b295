//! Rounds: the randomness they are made of, when they open, and when their openings are drawn. Nothing else writes
//! their records.

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

/// First bytes of what the parent block's randomness is asked for with.
const ENTROPY_CONTEXT: &[u8; 26] = b"assay/challenge-entropy/v1";

/// First bytes of what a round's randomness is the hash of.
const ROUND_CONTEXT: &[u8; 24] = b"assay/challenge-round/v1";

/// First bytes of what the randomness of a round's openings is the hash of.
const OPENINGS_CONTEXT: &[u8; 23] = b"assay/challenge-open/v1";

/// First bytes of what decides whether an audit opens.
const AUDIT_CONTEXT: &[u8; 24] = b"assay/challenge-audit/v1";

/// What a block knows when its turn to serve rounds comes.
pub(crate) struct Moment {
    /// All randomness so far, mixed.
    pub(crate) entropy: Hash,
    /// Active time at this block.
    pub(crate) now_ms: Millis,
    /// Active time at a block whose author added to the randomness, or at one before it.
    pub(crate) mixed_at_ms: Millis,
}

impl Moment {
    /// Randomness for one purpose, of this chain.
    fn randomness<T: Config>(&self, context: &[u8], round: RoundId) -> Hash {
        (context, Pallet::<T>::genesis_hash(), self.entropy, round).using_encoded(blake2_256)
    }
}

impl<T: Config> Pallet<T> {
    /// Mixes the parent block's randomness into the chain's; `None` where the parent has none.
    pub(crate) fn begin_moment() -> Option<Moment> {
        let now_ms = T::Clock::now_ms();
        let mixed_at_ms = LastServedMs::<T>::get();
        LastServedMs::<T>::put(now_ms);
        let (random, _) = T::Randomness::random(ENTROPY_CONTEXT);
        Some(Moment {
            entropy: Self::mix(random?),
            now_ms,
            mixed_at_ms,
        })
    }

    /// Mixes what an author drew into the chain's randomness.
    pub(crate) fn mix(random: T::Hash) -> Hash {
        let entropy = (ENTROPY_CONTEXT, Entropy::<T>::get(), random).using_encoded(blake2_256);
        Entropy::<T>::put(entropy);
        entropy
    }

    /// The round whose openings can be drawn in this block: the oldest whose are not, when a block added to the
    /// randomness that could not hold commits any more.
    pub(crate) fn next_to_draw(moment: &Moment) -> Option<RoundId> {
        let round = NextDraw::<T>::get();
        let record = Rounds::<T>::get(round)?;
        (moment.mixed_at_ms > record.draws_after_ms).then_some(round)
    }

    /// Draws the openings of a round.
    pub(crate) fn draw_openings(moment: &Moment, round: RoundId) {
        let Some(mut record) = Rounds::<T>::get(round) else {
            return;
        };
        let openings = DrawnOpenings {
            randomness: moment.randomness::<T>(OPENINGS_CONTEXT, round),
            drawn_at_ms: moment.now_ms,
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

    /// What kind of round opens in this block.
    ///
    /// An audit opens with a probability that follows from the time since this was decided last, so that audits are as
    /// likely in any moment, however late blocks are.
    pub(crate) fn round_to_open(moment: &Moment) -> Option<RoundKind> {
        let schedule = CurrentSchedule::<T>::get();
        let drawn_until_ms = AuditsDrawnUntilMs::<T>::get();
        // Time in which none could open makes none likelier afterwards.
        AuditsDrawnUntilMs::<T>::put(moment.now_ms);
        if T::Finality::is_stalled() {
            return None;
        }
        let next = NextRound::<T>::get();
        if next.saturating_sub(OldestRound::<T>::get()) >= MAX_LIVE_ROUNDS || next == RoundId::MAX {
            return None;
        }
        let passed_ms = moment.now_ms.saturating_sub(drawn_until_ms);
        let is_drawn = is_audit(&moment.randomness::<T>(AUDIT_CONTEXT, next), passed_ms, &schedule);
        let is_overdue =
            moment.now_ms.saturating_sub(LastAuditMs::<T>::get()) >= schedule.max_audit_interval_ms;
        let has_room = Audits::<T>::decode_len().unwrap_or(0) < MAX_LIVE_AUDITS as usize;
        if (is_drawn || is_overdue) && has_room {
            return Some(RoundKind::Audit);
        }
        LastNewcomersMs::<T>::get()
            .is_none_or(|last| moment.now_ms.saturating_sub(last) >= schedule.newcomer_interval_ms)
            .then_some(RoundKind::Newcomers)
    }

    /// Opens a round.
    pub(crate) fn open_round(moment: &Moment, kind: RoundKind) {
        let schedule = CurrentSchedule::<T>::get();
        let round = NextRound::<T>::get();
        let commits_until_ms = moment.now_ms.saturating_add(schedule.commit_window_ms);
        let record = RoundRecord {
            kind,
            randomness: moment.randomness::<T>(ROUND_CONTEXT, round),
            opened_at_ms: moment.now_ms,
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
                LastAuditMs::<T>::put(moment.now_ms);
                // `round_to_open` saw that there is room.
                Audits::<T>::mutate(|audits| {
                    let _ = audits.try_push(round);
                });
            }
            RoundKind::Newcomers => LastNewcomersMs::<T>::put(moment.now_ms),
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

    /// Notes that finality is stalled, for the rounds that are under way.
    pub(crate) fn note_stall() {
        if T::Finality::is_stalled() {
            LastStalledMs::<T>::put(T::Clock::now_ms());
        }
    }

    /// Returns true where finality was seen stalled since the round opened.
    ///
    /// Also where it stalled after the last proof was due: a stall is seen some blocks after it began.
    pub(crate) fn has_stalled(record: &RoundRecord) -> bool {
        T::Finality::is_stalled()
            || LastStalledMs::<T>::get().is_some_and(|last_ms| last_ms >= record.opened_at_ms)
    }

    /// Counts an answer or a miss of a machine, where it owed one.
    pub(crate) fn count(round: RoundId, is_owed: bool, count: impl FnOnce(&mut Tally)) {
        if is_owed {
            Rounds::<T>::mutate(round, |record| {
                if let Some(record) = record {
                    count(&mut record.tally);
                }
            });
        }
    }

    /// Decides, once, what misses of a round cost that is over.
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

    /// The record of a round.
    pub(crate) fn round(round: RoundId) -> Result<RoundRecord, Error<T>> {
        ensure!(round < NextRound::<T>::get(), Error::<T>::RoundNotOpen);
        Rounds::<T>::get(round).ok_or(Error::<T>::RoundForgotten)
    }

    /// What the machines of a class are challenged with in a round.
    pub(crate) fn params_of(class: HardwareClassId, round: RoundId) -> Option<ChallengeParams> {
        Classes::<T>::get(class)
            .iter()
            .rev()
            .find(|version| version.from_round <= round)
            .and_then(|version| version.params)
    }

    /// Writes what a class is challenged with from the next round on. Returns that round.
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
        // What no round that is kept goes by: those that were replaced before it, or before they counted.
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

    /// Whether machines can be challenged with these parameters.
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

/// Whether the randomness opens an audit, after so much time in which none could: with the probability of
/// `passed / mean`, off by less than one part in 2^32.
pub(crate) fn is_audit(randomness: &Hash, passed_ms: Millis, schedule: &Schedule) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *randomness;
    let drawn = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // 128 bits: no overflow.
    let left = u128::from(drawn).saturating_mul(schedule.mean_audit_interval_ms.into());
    let right = u128::from(passed_ms) << u64::BITS;
    left < right
}
