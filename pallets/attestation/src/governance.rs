//! Logic of governance's calls: trusted roots, accepted workloads and references, bans and condemnations.

use assay_evidence::{AmdRoot, TrustRoot, nvidia::Reference};
use assay_primitives::{
    machine::MachineId,
    market::TeeKind,
    offence::{Beneficiaries, Offence, ReportOffence},
};
use polkadot_sdk::{frame_support::ensure, sp_core::H256, sp_runtime::DispatchResult};

use crate::{
    AllowedWorkloads, BannedDevices, CollateralId, Config, DeviceHash, Devices, Error, Event, EvidenceId,
    Pallet, QeIdentities, References, RevocationLists, Roots, TcbInfos, Vendor, WorkloadName,
    book::EvidenceBook, types::amd_product, verify::roots_of,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_add_root(vendor: Vendor, certificate: &[u8]) -> DispatchResult {
        let root = TrustRoot::new(certificate).map_err(Error::<T>::from)?;
        let fingerprint = H256::from(root.fingerprint());
        let mut roots = Roots::<T>::get();
        ensure!(
            !roots_of(roots.clone(), vendor).contains(&root),
            Error::<T>::RootKnown
        );
        let added = match amd_product(vendor) {
            Some(product) => roots.amd.try_push(AmdRoot { product, root }).is_ok(),
            None if vendor == Vendor::Intel => roots.intel.try_push(root).is_ok(),
            None => roots.nvidia.try_push(root).is_ok(),
        };
        ensure!(added, Error::<T>::TooManyRoots);
        Roots::<T>::put(roots);
        Self::deposit_event(Event::RootAdded { vendor, fingerprint });
        Ok(())
    }

    pub(crate) fn do_remove_root(vendor: Vendor, fingerprint: H256) -> DispatchResult {
        let mut roots = Roots::<T>::get();
        let is_other = |root: &TrustRoot| H256::from(root.fingerprint()) != fingerprint;
        let count =
            |roots: &assay_evidence::TrustRoots| roots.amd.len() + roots.intel.len() + roots.nvidia.len();
        let before = count(&roots);
        match amd_product(vendor) {
            Some(product) => roots
                .amd
                .retain(|amd| amd.product != product || is_other(&amd.root)),
            None if vendor == Vendor::Intel => roots.intel.retain(is_other),
            None => roots.nvidia.retain(is_other),
        }
        ensure!(count(&roots) < before, Error::<T>::NoSuchRoot);
        Roots::<T>::put(roots);
        Self::deposit_event(Event::RootRemoved { vendor, fingerprint });
        Ok(())
    }

    pub(crate) fn do_allow_workload(digest: H256, name: WorkloadName) {
        AllowedWorkloads::<T>::insert(digest, name);
        Self::deposit_event(Event::WorkloadAllowed { digest });
    }

    pub(crate) fn do_disallow_workload(digest: H256) -> DispatchResult {
        let name = AllowedWorkloads::<T>::take(digest);
        ensure!(name.is_some(), Error::<T>::NoSuchWorkload);
        Self::deposit_event(Event::WorkloadDisallowed { digest });
        Ok(())
    }

    pub(crate) fn do_set_reference(reference: Reference) -> DispatchResult {
        ensure!(!reference.measurements.is_empty(), Error::<T>::EmptyReference);
        let key = H256::from(reference.key());
        References::<T>::insert(key, reference);
        Self::deposit_event(Event::ReferenceSet { reference: key });
        Ok(())
    }

    pub(crate) fn do_remove_reference(reference: H256) -> DispatchResult {
        ensure!(
            References::<T>::take(reference).is_some(),
            Error::<T>::NoSuchReference
        );
        Self::deposit_event(Event::ReferenceRemoved { reference });
        Ok(())
    }

    pub(crate) fn do_remove_collateral(id: CollateralId) -> DispatchResult {
        let removed = match id {
            CollateralId::TcbInfo(id) => TcbInfos::<T>::take(id).map(|old| (old.depositor, old.deposit)),
            CollateralId::QeIdentity(tee) => {
                QeIdentities::<T>::take(tee).map(|old| (old.depositor, old.deposit))
            }
            CollateralId::RevocationList(issuer) => {
                RevocationLists::<T>::take(H256(issuer)).map(|old| (old.depositor, old.deposit))
            }
        };
        let (depositor, deposit) = removed.ok_or(Error::<T>::NoSuchCollateral)?;
        Self::release_collateral(depositor.as_ref(), deposit);
        Self::deposit_event(Event::CollateralRemoved { collateral: id });
        Ok(())
    }

    pub(crate) fn do_ban_device(device: DeviceHash) -> DispatchResult {
        ensure!(
            !BannedDevices::<T>::contains_key(device),
            Error::<T>::DeviceBanned
        );
        if let Some(machine) = Devices::<T>::get(device) {
            Self::drop_evidence(machine, device);
        }
        BannedDevices::<T>::insert(device, ());
        Self::deposit_event(Event::DeviceBanned { device });
        Ok(())
    }

    pub(crate) fn do_unban_device(device: DeviceHash) -> DispatchResult {
        ensure!(
            BannedDevices::<T>::take(device).is_some(),
            Error::<T>::DeviceNotBanned
        );
        Self::deposit_event(Event::DeviceUnbanned { device });
        Ok(())
    }

    pub(crate) fn do_condemn(machine: MachineId, device: DeviceHash) -> DispatchResult {
        if Devices::<T>::get(device) == Some(machine) {
            Self::drop_evidence(machine, device);
        }
        let slash = T::Offences::report_offence(machine, Offence::ForgedEvidence, Beneficiaries::nobody())?;
        Self::deposit_event(Event::MachineCondemned {
            machine,
            device,
            slash,
        });
        Ok(())
    }

    /// Removes all evidence that a device gave for a machine.
    fn drop_evidence(machine: MachineId, device: DeviceHash) {
        for kind in TeeKind::ALL {
            let id = EvidenceId { device, kind };
            if EvidenceBook::<T>::remove(machine, id) {
                Self::deposit_event(Event::EvidenceDropped { machine, id });
            }
        }
    }
}
