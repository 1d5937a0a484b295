//! Traits by which other pallets read machines' evidence.

use assay_primitives::{
    attestation::{Attestations, AttestedKeys, AttestedSigners, MachineIdentities, MachineIdentity},
    clock::WallClock,
    machine::MachineId,
    market::{TeeKind, TeeKinds},
};

use crate::{Attested, Config, EvidenceId, MachineEvidenceOf, Pallet, keys_digest};

impl<T: Config> Pallet<T> {
    /// Returns the machine's identity and its evidence, if it has any.
    fn attested_machine(machine: MachineId) -> Option<(MachineIdentity<T::AccountId>, MachineEvidenceOf<T>)> {
        // Most machines have no evidence, and cost one read.
        let evidence = Attested::<T>::get(machine)?;
        Some((T::Machines::identity_of(machine)?, evidence))
    }
}

impl<T: Config> Attestations for Pallet<T> {
    fn tee_kinds(machine: MachineId) -> TeeKinds {
        let Some((identity, evidence)) = Self::attested_machine(machine) else {
            return TeeKinds::NONE;
        };
        evidence
            .fresh(keys_digest::<T>(&identity), T::WallClock::now_s())
            .fold(TeeKinds::NONE, |kinds, record| kinds.with(record.id.kind))
    }

    fn earns_premium(machine: MachineId) -> bool {
        let Some((identity, evidence)) = Self::attested_machine(machine) else {
            return false;
        };
        let fresh = || evidence.fresh(keys_digest::<T>(&identity), T::WallClock::now_s());
        let gpus = fresh()
            .filter(|record| record.id.kind == TeeKind::NvidiaGpu)
            .count();
        fresh().any(|record| record.id.is_of_processor()) && gpus >= usize::from(identity.gpus)
    }
}

impl<T: Config> AttestedSigners<T::AccountId> for Pallet<T> {
    fn attested_keys(machine: MachineId) -> Option<AttestedKeys<T::AccountId>> {
        let (identity, evidence) = Self::attested_machine(machine)?;
        let until_s = evidence
            .fresh(keys_digest::<T>(&identity), T::WallClock::now_s())
            .filter(|record| EvidenceId::is_of_processor(&record.id))
            .map(|record| record.until_s())
            .max()?;
        Some(AttestedKeys {
            worker_key: identity.worker_key,
            sealing_key: identity.sealing_key,
            until_s,
        })
    }

    /// Attests a machine for benchmarks. Writes only the machine's entry, which is all that readers use: no
    /// deposit and no entry in the agenda.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_attest(machine: MachineId) {
        use polkadot_sdk::{frame_support::BoundedVec, sp_core::H256};

        use crate::{EvidenceRecord, ExpirySlot, MAX_EVIDENCE, MachineEvidence};

        let identity = T::Machines::identity_of(machine).expect("benchmarks attest machines that they made");
        let keys = keys_digest::<T>(&identity);
        let records = (0..MAX_EVIDENCE as u8).map(|number| EvidenceRecord {
            id: EvidenceId {
                device: H256::repeat_byte(number),
                kind: if number == 0 {
                    TeeKind::Tdx
                } else {
                    TeeKind::NvidiaGpu
                },
            },
            workload: H256::zero(),
            keys,
            anchor: Default::default(),
            expires: ExpirySlot::MAX,
            deposit: 0,
        });
        Attested::<T>::insert(
            machine,
            MachineEvidence {
                provider: identity.provider,
                records: BoundedVec::truncate_from(records.collect()),
            },
        );
    }
}
