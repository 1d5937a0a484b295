//! Work of the hook: removing expired evidence.

use assay_primitives::clock::WallClock;
use polkadot_sdk::frame_support::{
    traits::Get,
    weights::{Weight, WeightMeter},
};

use crate::{Config, Event, Expiries, NextExpirySlot, Pallet, WeightInfo, book::EvidenceBook};

impl<T: Config> Pallet<T> {
    /// Removes expired evidence in the order of its ends, within the weight of the block and
    /// [`Config::MaxServiceWeight`].
    ///
    /// Each unit is charged before it is done. Units that do not fit come first in a later block.
    pub(crate) fn serve_expiries(block_meter: &mut WeightMeter) {
        let limit = block_meter.remaining().min(T::MaxServiceWeight::get());
        let mut meter = WeightMeter::with_limit(limit);
        if meter.try_consume(T::WeightInfo::hook_overhead()).is_ok() {
            Self::expire_what_is_due(&mut meter);
        }
        block_meter.consume(meter.consumed());
    }

    fn expire_what_is_due(meter: &mut WeightMeter) {
        let now = Self::slot_of(T::WallClock::now_s());
        if now == 0 {
            // No block has a timestamp yet.
            return;
        }
        // Expired evidence is never accepted, so no entry lies before the first block.
        let first = NextExpirySlot::<T>::get().unwrap_or(now);
        let mut slot = first;
        // One iterator for each slot: a new one would step over the keys that this block removed, again and
        // again.
        let mut ending = Expiries::<T>::drain_prefix(slot);
        while slot <= now && meter.try_consume(Self::unit_weight()).is_ok() {
            match ending.next() {
                Some(((machine, id), ())) => {
                    EvidenceBook::<T>::expire(slot, machine, id);
                    Self::deposit_event(Event::EvidenceExpired { machine, id });
                }
                None => {
                    slot = slot.saturating_add(1);
                    ending = Expiries::<T>::drain_prefix(slot);
                }
            }
        }
        if NextExpirySlot::<T>::get() != Some(slot) {
            NextExpirySlot::<T>::put(slot);
        }
    }

    fn unit_weight() -> Weight {
        T::WeightInfo::hook_expire().max(T::WeightInfo::hook_next_slot())
    }

    /// Returns the least weight with which the hook does one unit of any kind.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead().saturating_add(Self::unit_weight())
    }
}
