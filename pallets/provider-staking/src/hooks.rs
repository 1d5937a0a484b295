//! Work of the hook: applying due slashes.

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
    /// Applies due slashes and moves the agenda's cursor on, within the weight of the block and
    /// [`Config::MaxServiceWeight`].
    ///
    /// Each unit is charged before it is done. Units that do not fit come first in a later block.
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
                            // The slash stays in the agenda, where `apply_slash` and `cancel_slash` find it,
                            // and delays no other one.
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

    /// Returns the weight of reading the cursor's place and passing it, without applying a slash.
    fn step_weight() -> Weight {
        T::WeightInfo::hook_step_over_hole().max(T::WeightInfo::hook_step_to_next_epoch())
    }

    /// Returns the least weight with which the hook does one unit of any kind.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead()
            .saturating_add(Self::step_weight())
            .saturating_add(T::WeightInfo::hook_apply())
    }
}
