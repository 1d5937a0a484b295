//! Book of evidence: the only writer of the evidence of machines, the machines of devices, and the agenda of
//! ends, so that the three always agree.

use core::marker::PhantomData;

use assay_primitives::{
    attestation::{MachineIdentity, OnAttestationChange},
    clock::WallClock,
    machine::MachineId,
};
use polkadot_sdk::{
    frame_support::{BoundedVec, defensive, ensure},
    sp_runtime::DispatchResult,
};

use crate::{
    Attested, Config, Devices, Error, EvidenceId, EvidenceRecord, Expiries, ExpirySlot, HoldReason,
    MachineEvidence, MachineEvidenceOf, NextExpirySlot, Pallet, deposits,
};
use polkadot_sdk::frame_system::pallet_prelude::BlockNumberFor;

/// Owner of [`Attested`], [`Devices`] and [`Expiries`].
pub(crate) struct EvidenceBook<T>(PhantomData<T>);

impl<T: Config> EvidenceBook<T> {
    /// Writes a piece of evidence: replaces the one that it renews, or adds it and holds the deposit.
    ///
    /// Refuses a device that another machine has, a second processor, and evidence that is not newer.
    pub(crate) fn put(
        machine: MachineId,
        identity: &MachineIdentity<T::AccountId>,
        mut record: EvidenceRecord<BlockNumberFor<T>>,
    ) -> DispatchResult {
        let id = record.id;
        let holder = Devices::<T>::get(id.device);
        ensure!(
            holder.is_none_or(|holder| holder == machine),
            Error::<T>::DeviceTaken
        );
        let mut entry = Attested::<T>::get(machine).unwrap_or_else(|| MachineEvidence {
            provider: identity.provider.clone(),
            records: BoundedVec::default(),
        });
        match entry.records.iter_mut().find(|known| known.id == id) {
            Some(known) => {
                ensure!(record.anchor > known.anchor, Error::<T>::NotNewer);
                Expiries::<T>::remove(known.expires, (machine, id));
                record.deposit = known.deposit;
                *known = record;
            }
            None => {
                let has_other_processor = entry
                    .records
                    .iter()
                    .any(|known| known.id.is_of_processor() && known.id.device != id.device);
                ensure!(
                    !id.is_of_processor() || !has_other_processor,
                    Error::<T>::OtherProcessor
                );
                record.deposit = deposits::of_evidence::<T>();
                deposits::hold::<T>(HoldReason::Evidence, &entry.provider, record.deposit)?;
                entry
                    .records
                    .try_push(record)
                    .map_err(|_| Error::<T>::TooMuchEvidence)?;
            }
        }
        Self::begin_agenda();
        Devices::<T>::insert(id.device, machine);
        Expiries::<T>::insert(record.expires, (machine, id), ());
        Attested::<T>::insert(machine, entry);
        T::OnAttestationChange::on_attestation_change(machine);
        Ok(())
    }

    /// Begins the agenda if the hook has not yet done so. The hook normally does in the first block; but no
    /// entry may lie before its beginning, even if a runtime's first blocks leave no weight for hooks.
    fn begin_agenda() {
        if !NextExpirySlot::<T>::exists() {
            NextExpirySlot::<T>::put(Pallet::<T>::slot_of(T::WallClock::now_s()));
        }
    }

    /// Removes a piece of evidence and releases its deposit. Returns false if there is none.
    pub(crate) fn remove(machine: MachineId, id: EvidenceId) -> bool {
        let Some(mut entry) = Attested::<T>::get(machine) else {
            return false;
        };
        let Some(place) = entry.records.iter().position(|record| record.id == id) else {
            return false;
        };
        let record = entry.records.swap_remove(place);
        Expiries::<T>::remove(record.expires, (machine, id));
        if entry.records.iter().all(|other| other.id.device != id.device) {
            Devices::<T>::remove(id.device);
        }
        deposits::release::<T>(HoldReason::Evidence, &entry.provider, record.deposit);
        Self::keep(machine, entry);
        T::OnAttestationChange::on_attestation_change(machine);
        true
    }

    /// Removes evidence that ends in this slot, for an entry that was already taken from [`Expiries`].
    pub(crate) fn expire(slot: ExpirySlot, machine: MachineId, id: EvidenceId) {
        let ends = |record: &EvidenceRecord<_>| record.id == id && record.expires == slot;
        let has = Attested::<T>::get(machine).is_some_and(|entry| entry.records.iter().any(ends));
        if !has || !Self::remove(machine, id) {
            defensive!("an entry of the agenda has no evidence");
        }
    }

    fn keep(machine: MachineId, entry: MachineEvidenceOf<T>) {
        if entry.records.is_empty() {
            Attested::<T>::remove(machine);
        } else {
            Attested::<T>::insert(machine, entry);
        }
    }
}
