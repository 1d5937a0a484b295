//! Invariants of evidence, devices, keys and collateral between any two calls.

use alloc::collections::{BTreeMap, BTreeSet};

use assay_primitives::money::Balance;
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    sp_core::H256,
    sp_runtime::TryRuntimeError,
};

use crate::{
    Attested, BannedDevices, Config, Devices, Expiries, HoldReason, NextExpirySlot, Pallet, QeIdentities,
    References, RevocationLists, TcbInfos, VerifiedKeys,
};

/// Plancks that each account must have on hold.
type Held<T> = BTreeMap<<T as polkadot_sdk::frame_system::Config>::AccountId, Balance>;

fn add<T: Config>(held: &mut Held<T>, who: &T::AccountId, amount: Balance) {
    let sum = held.entry(who.clone()).or_default();
    *sum = sum.saturating_add(amount);
}

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. A machine with an entry has at least one piece of evidence, all of different devices or kinds, and
    ///    of one processor at most.
    /// 2. A device belongs to the one machine that has its evidence, and is not banned.
    /// 3. The agenda has every piece of evidence at its end, and nothing else; no piece ends before the
    ///    agenda's present slot.
    /// 4. Keys, references and collateral are stored under their own identifiers.
    /// 5. The held plancks are those of the records, for every account and reason.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let mut held = Held::<T>::new();
        let next_slot = NextExpirySlot::<T>::get().unwrap_or(0);
        let mut pieces = 0_usize;
        let mut devices = BTreeSet::new();
        for (machine, entry) in Attested::<T>::iter() {
            // 1
            ensure!(!entry.records.is_empty(), "1: a machine is kept without evidence");
            let mut processors = BTreeSet::new();
            for (place, record) in entry.records.iter().enumerate() {
                let twice = entry
                    .records
                    .iter()
                    .take(place)
                    .any(|other| other.id == record.id);
                ensure!(!twice, "1: a machine has the same evidence twice");
                if record.id.is_of_processor() {
                    processors.insert(record.id.device);
                }
                // 2
                ensure!(
                    Devices::<T>::get(record.id.device) == Some(machine),
                    "2: a device is not its machine's"
                );
                ensure!(
                    !BannedDevices::<T>::contains_key(record.id.device),
                    "2: a banned device has evidence"
                );
                devices.insert(record.id.device);
                // 3
                ensure!(
                    Expiries::<T>::contains_key(record.expires, (machine, record.id)),
                    "3: evidence is not in the agenda"
                );
                ensure!(
                    record.expires >= next_slot,
                    "3: the agenda has passed by evidence"
                );
                pieces += 1;
                add::<T>(&mut held, &entry.provider, record.deposit);
            }
            ensure!(processors.len() <= 1, "1: a machine has two processors");
        }
        ensure!(
            Devices::<T>::iter_keys().all(|device| devices.contains(&device)),
            "2: a device is kept without evidence"
        );
        ensure!(
            Expiries::<T>::iter_keys().count() == pieces,
            "3: the agenda has something that is no evidence"
        );
        Self::try_state_of_holds(HoldReason::Evidence, &held)?;

        let mut held = Held::<T>::new();
        for (id, record) in VerifiedKeys::<T>::iter() {
            // 4
            ensure!(record.key.id() == id, "4: a key has another name");
            add::<T>(&mut held, &record.owner, record.deposit);
        }
        Self::try_state_of_holds(HoldReason::Key, &held)?;

        let mut held = Held::<T>::new();
        let mut add_collateral =
            |depositor: Option<T::AccountId>, deposit: Balance| -> Result<(), TryRuntimeError> {
                match depositor {
                    Some(depositor) => add::<T>(&mut held, &depositor, deposit),
                    None => ensure!(deposit == 0, "5: nobody has paid a deposit"),
                }
                Ok(())
            };
        for (id, record) in TcbInfos::<T>::iter() {
            ensure!(id == record.content.id(), "4: a TCB info has another name");
            add_collateral(record.depositor, record.deposit)?;
        }
        for (tee, record) in QeIdentities::<T>::iter() {
            ensure!(tee == record.content.tee, "4: a QE identity has another name");
            add_collateral(record.depositor, record.deposit)?;
        }
        for (issuer, record) in RevocationLists::<T>::iter() {
            ensure!(
                issuer == H256::from(record.content.issuer),
                "4: a list has another name"
            );
            add_collateral(record.depositor, record.deposit)?;
        }
        for (key, reference) in References::<T>::iter() {
            ensure!(
                key == H256::from(reference.key()) && !reference.measurements.is_empty(),
                "4: a reference has another name, or lets everything pass"
            );
        }
        Self::try_state_of_holds(HoldReason::Collateral, &held)
    }

    /// Checks invariant 5 for one reason.
    fn try_state_of_holds(reason: HoldReason, held: &Held<T>) -> Result<(), TryRuntimeError> {
        let reason = T::RuntimeHoldReason::from(reason);
        for (who, amount) in held {
            ensure!(
                T::Currency::balance_on_hold(&reason, who) == *amount,
                "5: another amount is held than the records say"
            );
        }
        Ok(())
    }
}
