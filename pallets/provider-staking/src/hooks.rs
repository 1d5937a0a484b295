//! The work of the blocks: applying the slashes that are due.

use polkadot_sdk::frame_support::{
    defensive,
    storage::with_storage_layer,
    traits::Get,
    weights::{Weight, WeightMeter},
};

use crate::{
    Config, Pallet, WeightInfo,
    agenda::{Encounter, SlashAgenda},
};

impl<T: Config> Pallet<T> {
    /// Moves the agenda's cursor on over whatever is due, as far as the weight goes.
    ///
    /// Each unit is charged before it is done, and what was not done is the first thing of a later block.
    pub(crate) fn apply_due_slashes(block_meter: &mut WeightMeter) {
        let limit = block_meter.remaining().min(T::MaxServiceWeight::get());
        let mut meter = WeightMeter::with_limit(limit);
        if meter.try_consume(T::WeightInfo::hook_overhead()).is_ok() {
            let mut cursor = SlashAgenda::<T>::cursor();
            while meter.try_consume(Self::step_weight()).is_ok() {
                let met = SlashAgenda::<T>::meet(cursor);
                match met {
                    Encounter::NothingDue => break,
                    Encounter::Hole | Encounter::EpochEnd => {}
                    Encounter::Slash => {
                        if meter.try_consume(T::WeightInfo::hook_apply()).is_err() {
                            break;
                        }
                        if with_storage_layer(|| Self::apply(cursor)).is_err() {
                            // It stays in the agenda, where `apply_slash` and `cancel_slash` find it, and keeps
                            // none of the others waiting.
                            defensive!("a slash that is due could not be applied");
                        }
                    }
                }
                cursor = SlashAgenda::<T>::pass(cursor, met);
            }
            SlashAgenda::<T>::set_cursor(cursor);
        }
        block_meter.consume(meter.consumed());
    }

    /// What looking at the cursor's place and passing it costs, but for applying the slash that may be there.
    fn step_weight() -> Weight {
        T::WeightInfo::hook_step_over_hole().max(T::WeightInfo::hook_step_to_next_epoch())
    }

    /// Least weight with which the hook does one unit, whatever it is.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead()
            .saturating_add(Self::step_weight())
            .saturating_add(T::WeightInfo::hook_apply())
    }
}
