//! Worker keys and their accounts: two storages that always change together.
//!
//! A worker key needs no balance. While it serves a machine its account exists by a *sufficient* reference,
//! so that the account's nonce is kept, and a key that owns nothing can sign calls whose fee is waived. The
//! machine's deposit pays for the storage item. An account that owns nothing is removed with its nonce when
//! its key stops serving: a provider that means to use a key again must let it sign mortal transactions only.

use core::marker::PhantomData;

use assay_primitives::machine::MachineId;
use polkadot_sdk::frame_system;

use crate::{Config, WorkerKeys};

/// Owner of [`WorkerKeys`] and of the references to the accounts of these keys. Nothing else writes either.
pub(crate) struct WorkerKeyBook<T>(PhantomData<T>);

impl<T: Config> WorkerKeyBook<T> {
    /// Assigns a key to a machine. The key must serve none.
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
