//! Logic of the calls that are open to providers and everybody, after their origins were checked.

use assay_evidence::Binding;
use assay_primitives::{
    attestation::{MachineIdentities, MachineIdentity},
    clock::WallClock,
    machine::MachineId,
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_core::H256,
    sp_runtime::{
        DispatchError, DispatchResult,
        traits::{Saturating, Zero},
    },
};

use crate::{
    AllowedWorkloads, BannedDevices, Collateral, CollateralId, CollateralRecord, Config, EXPIRY_SLOT_S,
    Error, Event, Evidence, EvidenceId, EvidenceRecord, ExpirySlot, HoldReason, KeyId, KeyRecord, Pallet,
    QeIdentities, RevocationLists, Supersede, TcbInfos, VerifiedKey, VerifiedKeys,
    book::EvidenceBook,
    deposits, keys_digest,
    types::{digest_to_allow, evidence_id},
    verify::{Verified, verify_evidence, verify_list, verify_qe, verify_tcb},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_evidence(
        who: T::AccountId,
        machine: MachineId,
        anchor: BlockNumberFor<T>,
        evidence: &Evidence,
    ) -> DispatchResult {
        let identity = Self::machine_run_by(&who, machine)?;
        ensure!(identity.is_in_market, Error::<T>::MachineRetired);
        let binding = Self::binding_to(machine, &identity, anchor)?;
        let now_s = T::WallClock::now_s();
        let Verified { attestation, new_key } = verify_evidence::<T>(evidence, &binding, now_s)?;

        let id = evidence_id(&attestation);
        ensure!(
            !BannedDevices::<T>::contains_key(id.device),
            Error::<T>::DeviceBanned
        );
        if let Some(digest) = digest_to_allow(&attestation.workload) {
            ensure!(
                AllowedWorkloads::<T>::contains_key(digest),
                Error::<T>::WorkloadNotAllowed
            );
        }
        let until_s = attestation
            .expires_s
            .min(now_s.saturating_add(T::EvidenceLifetimeS::get()));
        let expires = Self::slot_of(until_s);
        ensure!(expires > Self::slot_of(now_s), Error::<T>::ExpiresTooSoon);

        if let Some(key) = new_key {
            Self::keep_key(&identity.provider, key)?;
        }
        let record = EvidenceRecord {
            id,
            workload: attestation.workload.digest().into(),
            keys: keys_digest::<T>(&identity),
            anchor,
            expires,
            deposit: 0,
        };
        EvidenceBook::<T>::put(machine, &identity, record)?;
        Self::deposit_event(Event::EvidenceAccepted {
            machine,
            id,
            workload: record.workload,
            until_s: record.until_s(),
        });
        Ok(())
    }

    /// Returns the binding of the machine's evidence, with this block as its anchor.
    pub(crate) fn binding_to(
        machine: MachineId,
        identity: &MachineIdentity<T::AccountId>,
        anchor: BlockNumberFor<T>,
    ) -> Result<Binding, Error<T>> {
        let now = frame_system::Pallet::<T>::block_number();
        let oldest = now.saturating_sub(T::MaxAnchorAge::get());
        ensure!(anchor >= oldest && anchor < now, Error::<T>::AnchorNotRecent);
        // The runtime may keep fewer hashes than the age allows.
        ensure!(
            frame_system::BlockHash::<T>::contains_key(anchor),
            Error::<T>::AnchorNotRecent
        );
        let hash = |number| -> [u8; 32] { frame_system::Pallet::<T>::block_hash(number).into() };
        Ok(Binding {
            genesis_hash: hash(Zero::zero()),
            machine_id: machine,
            worker_key: identity.worker_key.clone().into(),
            sealing_key: identity.sealing_key,
            anchor_hash: hash(anchor),
        })
    }

    /// Returns the machine's identity, if `who` is its provider or worker key.
    fn machine_run_by(
        who: &T::AccountId,
        machine: MachineId,
    ) -> Result<MachineIdentity<T::AccountId>, Error<T>> {
        let identity = T::Machines::identity_of(machine).ok_or(Error::NoSuchMachine)?;
        ensure!(
            *who == identity.provider || *who == identity.worker_key,
            Error::NotProvider
        );
        Ok(identity)
    }

    /// Returns the slot of the agenda that contains this time.
    pub(crate) fn slot_of(time_s: u64) -> ExpirySlot {
        ExpirySlot::try_from(time_s / EXPIRY_SLOT_S).unwrap_or(ExpirySlot::MAX)
    }

    /// Stores a key whose chain was verified. It replaces the same key with another chain: a platform has a
    /// new certificate after an update of its firmware.
    fn keep_key(owner: &T::AccountId, key: VerifiedKey) -> DispatchResult {
        let id = key.id();
        if let Some(old) = VerifiedKeys::<T>::get(id) {
            if old.key == key {
                return Ok(());
            }
            deposits::release::<T>(HoldReason::Key, &old.owner, old.deposit);
        }
        let mut record = KeyRecord {
            key,
            owner: owner.clone(),
            deposit: 0,
        };
        record.deposit = deposits::of_record::<T>(&id, &record);
        deposits::hold::<T>(HoldReason::Key, owner, record.deposit)?;
        let valid_until_s = record.key.valid_until_s();
        VerifiedKeys::<T>::insert(id, record);
        Self::deposit_event(Event::KeyKept {
            key: id,
            owner: owner.clone(),
            valid_until_s,
        });
        Ok(())
    }

    pub(crate) fn do_withdraw_evidence(
        who: T::AccountId,
        machine: MachineId,
        id: EvidenceId,
    ) -> DispatchResult {
        Self::machine_run_by(&who, machine)?;
        ensure!(EvidenceBook::<T>::remove(machine, id), Error::<T>::NoSuchEvidence);
        Self::deposit_event(Event::EvidenceWithdrawn { machine, id });
        Ok(())
    }

    pub(crate) fn do_remove_key(who: &T::AccountId, id: KeyId) -> DispatchResult {
        let record = VerifiedKeys::<T>::get(id).ok_or(Error::<T>::NoSuchKey)?;
        ensure!(
            *who == record.owner || record.key.valid_until_s() < T::WallClock::now_s(),
            Error::<T>::KeyInUse
        );
        VerifiedKeys::<T>::remove(id);
        deposits::release::<T>(HoldReason::Key, &record.owner, record.deposit);
        Self::deposit_event(Event::KeyRemoved { key: id });
        Ok(())
    }

    /// Stores collateral that is correctly signed and newer than the existing one. `depositor` pays the
    /// deposit; `None` in genesis.
    pub(crate) fn do_submit_collateral(
        depositor: Option<T::AccountId>,
        collateral: &Collateral,
        now_s: u64,
    ) -> DispatchResult {
        let id = match collateral {
            Collateral::TcbInfo(signed) => {
                let content = verify_tcb::<T>(signed, now_s)?;
                let id = content.id();
                let record = Self::superseding(&id, content, TcbInfos::<T>::get(id), depositor)?;
                TcbInfos::<T>::insert(id, record);
                CollateralId::TcbInfo(id)
            }
            Collateral::QeIdentity(signed) => {
                let content = verify_qe::<T>(signed, now_s)?;
                let tee = content.tee;
                let record = Self::superseding(&tee, content, QeIdentities::<T>::get(tee), depositor)?;
                QeIdentities::<T>::insert(tee, record);
                CollateralId::QeIdentity(tee)
            }
            Collateral::RevocationList { vendor, list, issuer } => {
                let issuer = issuer.as_ref().map(|der| der.as_slice());
                let content = verify_list::<T>(*vendor, list, issuer, now_s)?;
                let issuer = H256::from(content.issuer);
                let old = RevocationLists::<T>::get(issuer);
                let record = Self::superseding(&issuer, content, old, depositor)?;
                RevocationLists::<T>::insert(issuer, record);
                CollateralId::RevocationList(issuer.0)
            }
        };
        Self::deposit_event(Event::CollateralRenewed { collateral: id });
        Ok(())
    }

    /// Returns the record of collateral that replaces `old`, and releases the deposit of the latter.
    fn superseding<Content: Supersede>(
        key: &impl codec::Encode,
        content: Content,
        old: Option<CollateralRecord<Content, T::AccountId>>,
        depositor: Option<T::AccountId>,
    ) -> Result<CollateralRecord<Content, T::AccountId>, DispatchError> {
        if let Some(old) = old {
            ensure!(content.supersedes(&old.content), Error::<T>::CollateralNotNewer);
            Self::release_collateral(old.depositor.as_ref(), old.deposit);
        }
        let mut record = CollateralRecord {
            content,
            depositor,
            deposit: 0,
        };
        if let Some(depositor) = &record.depositor {
            let deposit = deposits::of_record::<T>(key, &record);
            deposits::hold::<T>(HoldReason::Collateral, depositor, deposit)?;
            record.deposit = deposit;
        }
        Ok(record)
    }

    pub(crate) fn release_collateral(
        depositor: Option<&T::AccountId>,
        deposit: assay_primitives::money::Balance,
    ) {
        if let Some(depositor) = depositor {
            deposits::release::<T>(HoldReason::Collateral, depositor, deposit);
        }
    }
}
