//! Work of the hook: opening rounds, drawing openings, ending proofs, and forgetting rounds that are over.

use assay_primitives::{
    challenge::RoundId,
    clock::{ActiveClock, EpochIndex},
};
use polkadot_sdk::frame_support::{
    traits::Get,
    weights::{Weight, WeightMeter},
};

use crate::{
    Answer, Answers, Audits, Config, Expiries, Exposures, NextExpiryEpoch, OldestRound, Pallet, RoundOutcome,
    Rounds, WeightInfo,
};

impl<T: Config> Pallet<T> {
    /// Does the work that is due, within the weight of the block and [`Config::MaxServiceWeight`].
    ///
    /// Each unit is charged before it is done. Units that do not fit come first in a later block.
    pub(crate) fn serve(block_meter: &mut WeightMeter) {
        let limit = block_meter.remaining().min(T::MaxServiceWeight::get());
        let mut meter = WeightMeter::with_limit(limit);
        if meter.try_consume(T::WeightInfo::hook_overhead()).is_ok() {
            Self::note_stall();
            Self::serve_rounds(&mut meter);
            Self::end_proofs(&mut meter);
            Self::forget_rounds(&mut meter);
        }
        block_meter.consume(meter.consumed());
    }

    /// Draws openings and opens a round, if the parent block has randomness.
    fn serve_rounds(meter: &mut WeightMeter) {
        let Some(inputs) = Self::begin_draws() else {
            return;
        };
        while let Some(round) = Self::next_to_draw(&inputs) {
            if meter.try_consume(T::WeightInfo::hook_draw()).is_err() {
                break;
            }
            Self::draw_openings(&inputs, round);
        }
        // Charged even if no round opens: that is known only after the draw.
        if meter.try_consume(T::WeightInfo::hook_open()).is_ok()
            && let Some(kind) = Self::round_to_open(&inputs)
        {
            Self::open_round(&inputs, kind);
        }
    }

    /// Ends the proofs that expired before the current epoch began, machine by machine.
    fn end_proofs(meter: &mut WeightMeter) {
        let current = T::Clock::current_epoch();
        let first = NextExpiryEpoch::<T>::get();
        let mut epoch = first;
        // One iterator for each epoch: a new one would step over the keys that this block removed, again and
        // again.
        let mut expired = Expiries::<T>::drain_prefix(epoch);
        while epoch <= current && meter.try_consume(Self::expiry_weight()).is_ok() {
            match expired.next() {
                Some((machine, ())) => Self::expire(machine),
                // Later expiries belong to later epochs.
                None => {
                    epoch = epoch.saturating_add(1);
                    expired = Expiries::<T>::drain_prefix(epoch);
                }
            }
        }
        if epoch > first {
            NextExpiryEpoch::<T>::put(epoch);
        }
    }

    /// Concludes and forgets rounds that are over, answer by answer.
    fn forget_rounds(meter: &mut WeightMeter) {
        let oldest = OldestRound::<T>::get();
        let mut round = oldest;
        while Self::is_over(round) && Self::forget_with_answers(round, meter) {
            round = round.saturating_add(1);
        }
        if round > oldest {
            OldestRound::<T>::put(round);
        }
    }

    /// Concludes a round that is over, slashes for its misses if they are offences, and forgets it. Returns
    /// false if the weight did not suffice for all of it.
    fn forget_with_answers(round: RoundId, meter: &mut WeightMeter) -> bool {
        if meter.try_consume(T::WeightInfo::hook_conclude()).is_err() {
            return false;
        }
        let is_punished = Self::conclude(round) == Some(RoundOutcome::Punished);
        // One iterator: a new one would step over the keys that this block removed, again and again.
        let mut answers = Answers::<T>::iter_prefix(round);
        loop {
            if meter.try_consume(Self::forget_weight()).is_err() {
                return false;
            }
            let Some((machine, answer)) = answers.next() else {
                break;
            };
            if is_punished && answer == Answer::Missed {
                if meter.try_consume(T::WeightInfo::hook_punish()).is_err() {
                    return false;
                }
                Self::punish_missed(round, machine);
            }
            Answers::<T>::remove(round, machine);
        }
        let mut exposures = Exposures::<T>::drain_prefix(round);
        while exposures.next().is_some() {
            if meter.try_consume(Self::forget_weight()).is_err() {
                return false;
            }
        }
        Self::forget(round);
        true
    }

    /// Returns true if the round's report window has ended, so that nothing can happen in it any more.
    pub(crate) fn is_over(round: RoundId) -> bool {
        Rounds::<T>::get(round)
            .and_then(|record| record.reports_until_ms())
            .is_some_and(|end| T::Clock::now_ms() > end)
    }

    /// Removes the record of a round whose answers and exposures are gone.
    pub(crate) fn forget(round: RoundId) {
        Rounds::<T>::remove(round);
        Audits::<T>::mutate(|audits| audits.retain(|audit| *audit != round));
    }

    fn expiry_weight() -> Weight {
        T::WeightInfo::hook_expire().max(T::WeightInfo::hook_pass_epoch())
    }

    fn forget_weight() -> Weight {
        T::WeightInfo::hook_forget_answer().max(T::WeightInfo::hook_forget_round())
    }

    /// Returns the least weight with which the hook does one unit of any kind.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead()
            .saturating_add(T::WeightInfo::hook_draw())
            .saturating_add(T::WeightInfo::hook_open())
            .saturating_add(Self::expiry_weight())
            .saturating_add(T::WeightInfo::hook_conclude())
            .saturating_add(Self::forget_weight())
            .saturating_add(T::WeightInfo::hook_punish())
    }

    /// Returns the first epoch of which expiries may be left.
    pub(crate) fn next_expiry_epoch() -> EpochIndex {
        NextExpiryEpoch::<T>::get()
    }
}
