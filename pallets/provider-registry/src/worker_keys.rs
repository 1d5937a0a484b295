//! Worker keys and the accounts that they speak by: two storages that always change together.
//!
//! A worker key needs no balance. While it serves a machine its account exists by a *sufficient* reference,
//! so that the account's nonce is kept, and calls of which the fee is waived can be signed by a key that owns
//! nothing. The machine's deposit pays for the storage item. An account that owns nothing goes when its key
//! stops serving, and the nonce with it: a provider that means to use a key again lets it sign mortal
//! transactions only.

use core::marker::PhantomData;

use assay_primitives::machine::MachineId;
use polkadot_sdk::frame_system;

use crate::{Config, WorkerKeys};

/// Owner of [`WorkerKeys`] and of the references to the accounts of these keys. Nothing else writes either.
pub(crate) struct WorkerKeyBook<T>(PhantomData<T>);

impl<T: Config> WorkerKeyBook<T> {
    /// Has a key serve a machine. The key must serve none.
    pub(crate) fn assign(worker_key: &T::AccountId, machine: MachineId) {
        WorkerKeys::<T>::insert(worker_key, machine);
        frame_system::Pallet::<T>::inc_sufficients(worker_key);
    }

    /// Frees a key that serves a machine.
    pub(crate) fn free(worker_key: &T::AccountId) {
        if WorkerKeys::<T>::take(worker_key).is_some() {
            frame_system::Pallet::<T>::dec_sufficients(worker_key);
        }
    }
}
