//! Agenda of slashes: the places of each epoch in order, and the cursor of the hook.
//!
//! Nothing else writes its storage. The places of an epoch are given out in order and each only once: a slash
//! that leaves the agenda early leaves a hole. So the cursor never has to go back, and it meets every slash
//! exactly once, unless the slash was taken out before.

use core::marker::PhantomData;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    offence::SlashId,
};
use polkadot_sdk::frame_support::traits::Get;

use crate::{Agenda, AgendaCounts, Config, LastAgendaEpoch, NextSlash, SlashRecordOf};

/// Content of the place at the cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encounter {
    /// Slash that is due.
    Slash,
    /// Place whose slash was cancelled or applied before.
    Hole,
    /// End of an epoch that is over: no further place is given out in it.
    EpochEnd,
    /// End of the due places.
    NothingDue,
}

/// Owner of the agenda's storage.
pub(crate) struct SlashAgenda<T>(PhantomData<T>);

impl<T: Config> SlashAgenda<T> {
    /// Queues a slash in the next free place. Never fails.
    ///
    /// The place is in the epoch [`Config::SlashDeferEpochs`] from now; if that is full, in the agenda's last
    /// epoch, and if that is full too, in the one after it. (The epochs between the two are full as well,
    /// unless governance made the wait shorter meanwhile.) The place is in the current epoch at the earliest,
    /// and the cursor leaves no epoch before it is over: it has not passed the place.
    pub(crate) fn queue(slash: SlashRecordOf<T>) -> SlashId {
        let due_epoch = T::Clock::current_epoch().saturating_add(T::SlashDeferEpochs::get());
        let last_epoch = LastAgendaEpoch::<T>::get().max(due_epoch);
        let epoch = if Self::has_room(due_epoch) {
            due_epoch
        } else if Self::has_room(last_epoch) {
            last_epoch
        } else {
            // Nothing was ever queued after the last epoch. The addition saturates only in millennia.
            last_epoch.saturating_add(1)
        };
        LastAgendaEpoch::<T>::put(last_epoch.max(epoch));

        let index = AgendaCounts::<T>::get(epoch);
        AgendaCounts::<T>::insert(epoch, index.saturating_add(1));
        Agenda::<T>::insert(epoch, index, slash);
        SlashId {
            due_epoch: epoch,
            index,
        }
    }

    /// Removes a slash, which leaves a hole.
    pub(crate) fn take(id: SlashId) -> Option<SlashRecordOf<T>> {
        Agenda::<T>::take(id.due_epoch, id.index)
    }

    /// Returns true if the agenda has this slash.
    pub(crate) fn contains(id: SlashId) -> bool {
        Agenda::<T>::contains_key(id.due_epoch, id.index)
    }

    /// Returns the cursor.
    pub(crate) fn cursor() -> SlashId {
        NextSlash::<T>::get()
    }

    /// Stores the cursor.
    pub(crate) fn set_cursor(cursor: SlashId) {
        NextSlash::<T>::put(cursor);
    }

    /// Returns the content of the place at the cursor.
    pub(crate) fn meet(cursor: SlashId) -> Encounter {
        let current = T::Clock::current_epoch();
        if cursor.due_epoch > current {
            return Encounter::NothingDue;
        }
        if cursor.index < AgendaCounts::<T>::get(cursor.due_epoch) {
            return if Self::contains(cursor) {
                Encounter::Slash
            } else {
                Encounter::Hole
            };
        }
        if cursor.due_epoch < current {
            Encounter::EpochEnd
        } else {
            Encounter::NothingDue
        }
    }

    /// Returns the place after the cursor, given the content of the present one.
    pub(crate) fn pass(cursor: SlashId, met: Encounter) -> SlashId {
        match met {
            Encounter::Slash | Encounter::Hole => SlashId {
                index: cursor.index.saturating_add(1),
                ..cursor
            },
            Encounter::EpochEnd => {
                AgendaCounts::<T>::remove(cursor.due_epoch);
                SlashId {
                    due_epoch: cursor.due_epoch.saturating_add(1),
                    index: 0,
                }
            }
            Encounter::NothingDue => cursor,
        }
    }

    fn has_room(epoch: EpochIndex) -> bool {
        AgendaCounts::<T>::get(epoch) < T::MaxSlashesPerEpoch::get()
    }
}
