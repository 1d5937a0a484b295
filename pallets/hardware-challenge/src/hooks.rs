//! The work of the blocks: opening rounds, drawing openings, ending proofs, and forgetting rounds that are over.

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
    /// Does what is due, as far as the weight goes.
    ///
    /// Each unit is charged before it is done, and what was not done is the first thing of a later block.
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

    /// Draws openings and opens a round, where the parent block added to the randomness.
    fn serve_rounds(meter: &mut WeightMeter) {
        let Some(moment) = Self::begin_moment() else {
            return;
        };
        while let Some(round) = Self::next_to_draw(&moment) {
            if meter.try_consume(T::WeightInfo::hook_draw()).is_err() {
                break;
            }
            Self::draw_openings(&moment, round);
        }
        // Charged also where no round opens: that is known only when it was decided.
        if meter.try_consume(T::WeightInfo::hook_open()).is_ok()
            && let Some(kind) = Self::round_to_open(&moment)
        {
            Self::open_round(&moment, kind);
        }
    }

    /// Ends the proofs that expired before the current epoch began, machine by machine.
    fn end_proofs(meter: &mut WeightMeter) {
        let current = T::Clock::current_epoch();
        let first = NextExpiryEpoch::<T>::get();
        let mut epoch = first;
        // One walk for each epoch: starting anew would step over what this block removed, again and again.
        let mut expired = Expiries::<T>::drain_prefix(epoch);
        while epoch <= current && meter.try_consume(Self::expiry_weight()).is_ok() {
            match expired.next() {
                Some((machine, ())) => Self::expire(machine),
                // Whatever expires from now on does so for a later epoch.
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
    /// false where the weight did not suffice for all of it.
    fn forget_with_answers(round: RoundId, meter: &mut WeightMeter) -> bool {
        if meter.try_consume(T::WeightInfo::hook_conclude()).is_err() {
            return false;
        }
        let is_punished = Self::conclude(round) == Some(RoundOutcome::Punished);
        // One walk: starting anew would step over what this block removed, again and again.
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

    /// Whether nothing can happen in the round any more.
    pub(crate) fn is_over(round: RoundId) -> bool {
        Rounds::<T>::get(round)
            .and_then(|record| record.reports_until_ms())
            .is_some_and(|end| T::Clock::now_ms() > end)
    }

    /// Forgets a round of which nothing else is left.
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

    /// Least weight with which the hook does one unit, whatever it is.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead()
            .saturating_add(T::WeightInfo::hook_draw())
            .saturating_add(T::WeightInfo::hook_open())
            .saturating_add(Self::expiry_weight())
            .saturating_add(T::WeightInfo::hook_conclude())
            .saturating_add(Self::forget_weight())
            .saturating_add(T::WeightInfo::hook_punish())
    }

    /// The first epoch of which expiries may be left.
    pub(crate) fn next_expiry_epoch() -> EpochIndex {
        NextExpiryEpoch::<T>::get()
    }
}
