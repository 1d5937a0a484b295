//! The agenda of slashes: each epoch's places in order, and how far they were gone through.
//!
//! Nothing else touches its storage. The places of an epoch are given out in order and each only once: who leaves
//! the agenda early leaves a hole. So what the cursor passed stays passed, and every slash is met exactly once or
//! was taken out before.

use core::marker::PhantomData;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    offence::SlashId,
};
use polkadot_sdk::frame_support::traits::Get;

use crate::{Agenda, AgendaCounts, Config, LastAgendaEpoch, NextSlash, SlashRecordOf};

/// What the cursor meets at its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encounter {
    /// A slash that is due.
    Slash,
    /// A place whose slash was cancelled or applied before.
    Hole,
    /// The end of an epoch that is over, so that no place is given out in it any more.
    EpochEnd,
    /// The end of what is due.
    NothingDue,
}

/// The owner of the agenda's storage.
pub(crate) struct SlashAgenda<T>(PhantomData<T>);

impl<T: Config> SlashAgenda<T> {
    /// Gives a slash the next place that is free, and never fails.
    ///
    /// That is a place in the epoch after [`Config::SlashDeferEpochs`]; where it is full, in the agenda's last
    /// epoch, and where that is full too, in the one after it. (The epochs between the two are full as well,
    /// unless governance made the wait shorter meanwhile.) The current epoch is the earliest possible, and the
    /// cursor leaves no epoch before it is over: it has not passed the place.
    pub(crate) fn queue(slash: SlashRecordOf<T>) -> SlashId {
        let due_epoch = T::Clock::current_epoch().saturating_add(T::SlashDeferEpochs::get());
        let last_epoch = LastAgendaEpoch::<T>::get().max(due_epoch);
        let epoch = if Self::has_room(due_epoch) {
            due_epoch
        } else if Self::has_room(last_epoch) {
            last_epoch
        } else {
            // Nothing was ever queued after the last epoch. That it is the last one of all is millennia away.
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

    /// Takes a slash out, which leaves a hole.
    pub(crate) fn take(id: SlashId) -> Option<SlashRecordOf<T>> {
        Agenda::<T>::take(id.due_epoch, id.index)
    }

    /// Whether the agenda has this slash.
    pub(crate) fn contains(id: SlashId) -> bool {
        Agenda::<T>::contains_key(id.due_epoch, id.index)
    }

    /// Where the cursor stands.
    pub(crate) fn cursor() -> SlashId {
        NextSlash::<T>::get()
    }

    /// Leaves the cursor where [`Self::pass`] brought it.
    pub(crate) fn set_cursor(cursor: SlashId) {
        NextSlash::<T>::put(cursor);
    }

    /// What the cursor meets at its place.
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

    /// The place after the one where the cursor met something.
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
