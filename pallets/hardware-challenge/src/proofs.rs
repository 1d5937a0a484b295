//! Proofs of machines, and their expiry. Nothing else writes the proofs and the agenda of expiries.

#[cfg(feature = "runtime-benchmarks")]
use assay_primitives::machine::MAX_SLOTS;
use assay_primitives::{
    challenge::RoundId,
    clock::{ActiveClock, EpochIndex, Millis},
    machine::{Exposure, HardwareProofs, MachineId, OnMachineRemoved, OnProofChange},
};

use crate::{
    Config, CurrentSchedule, Event, Expiries, NextRound, Pallet, ProofRecord, ProofStep, Proofs, Rounds,
};

impl<T: Config> Pallet<T> {
    /// Returns the number of slots of which a machine holds a valid proof now.
    pub(crate) fn slots_with_proof(machine: MachineId) -> u8 {
        Proofs::<T>::get(machine).map_or(0, |record| record.proven_slots(T::Clock::now_ms()))
    }

    /// Adds the proof of a machine that answered a round for this number of slots.
    ///
    /// The proof's age counts from the opening of the round: it shows the machine's memory of that time only.
    /// An answer to a round that opened before the machine lost its proof adds nothing.
    pub(crate) fn add_proof(round: RoundId, machine: MachineId, slots: u8) {
        let Some(opened_at_ms) = Rounds::<T>::get(round).map(|record| record.opened_at_ms) else {
            return;
        };
        let expires_at_ms = opened_at_ms.saturating_add(CurrentSchedule::<T>::get().max_proof_age_ms);
        let before = Proofs::<T>::get(machine).unwrap_or_default();
        if round < before.first_round || expires_at_ms < T::Clock::now_ms() {
            return;
        }
        let mut after = before.clone();
        // The list has room for one step of each number of slots, so valid steps always fit.
        after.drop_expired(T::Clock::now_ms());
        after.add(ProofStep { slots, expires_at_ms });
        Self::put_proof(machine, &before, after);
        T::OnProofChange::on_proof_change(machine);
    }

    /// Ends the proof of a machine that answered wrongly, or not at all. Only rounds that open from now on
    /// can prove it again.
    pub(crate) fn lose_proof(machine: MachineId) {
        let before = Proofs::<T>::get(machine).unwrap_or_default();
        let after = ProofRecord {
            first_round: NextRound::<T>::get(),
            ..ProofRecord::default()
        };
        Self::put_proof(machine, &before, after);
        T::OnProofChange::on_proof_change(machine);
    }

    /// Returns true if a proof of the machine has expired and is still on record.
    pub(crate) fn has_expired(machine: MachineId) -> bool {
        Proofs::<T>::get(machine)
            .and_then(|record| record.next_expiry_ms())
            .is_some_and(|expires_at_ms| expires_at_ms < T::Clock::now_ms())
    }

    /// Removes the expired proofs of a machine.
    pub(crate) fn expire(machine: MachineId) {
        let Some(before) = Proofs::<T>::get(machine) else {
            return;
        };
        let now_ms = T::Clock::now_ms();
        let mut after = before.clone();
        if !after.drop_expired(now_ms) {
            return;
        }
        let proven_slots = after.proven_slots(now_ms);
        Self::put_proof(machine, &before, after);
        Self::deposit_event(Event::ProofExpired {
            machine,
            proven_slots,
        });
        T::OnProofChange::on_proof_change(machine);
    }

    /// Writes a machine's record, and the epoch in which the hook visits it.
    fn put_proof(machine: MachineId, before: &ProofRecord, after: ProofRecord) {
        let due_before = before.next_expiry_ms().map(Self::expiry_epoch);
        let due_after = after.next_expiry_ms().map(Self::expiry_epoch);
        if due_before != due_after {
            if let Some(epoch) = due_before {
                Expiries::<T>::remove(epoch, machine);
            }
            if let Some(epoch) = due_after {
                Expiries::<T>::insert(epoch, machine, ());
            }
        }
        Proofs::<T>::insert(machine, after);
    }

    /// Returns the first epoch that begins after a proof has expired.
    pub(crate) fn expiry_epoch(expires_at_ms: Millis) -> EpochIndex {
        let epoch = expires_at_ms
            .checked_div(T::Clock::epoch_duration_ms())
            .unwrap_or(0)
            .saturating_add(1);
        EpochIndex::try_from(epoch).unwrap_or(EpochIndex::MAX)
    }
}

impl<T: Config> HardwareProofs for Pallet<T> {
    fn is_proven(machine: MachineId) -> bool {
        Self::slots_with_proof(machine) > 0
    }

    fn proven_slots(machine: MachineId, slots: u8) -> u8 {
        Self::slots_with_proof(machine).min(slots)
    }

    fn before_exposure_change(machine: MachineId, before: Exposure) {
        Self::note_exposure(machine, before);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_prove(machine: MachineId) {
        let before = Proofs::<T>::get(machine).unwrap_or_default();
        let mut after = before.clone();
        after.add(ProofStep {
            slots: MAX_SLOTS,
            expires_at_ms: Millis::MAX,
        });
        Self::put_proof(machine, &before, after);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_audit() {
        use crate::{Audits, LiveAudits, MAX_LIVE_AUDITS};

        let first = NextRound::<T>::get();
        let next = first + MAX_LIVE_AUDITS;
        Audits::<T>::put(LiveAudits::truncate_from((first..next).collect()));
        NextRound::<T>::put(next);
    }
}

impl<T: Config> OnMachineRemoved for Pallet<T> {
    fn on_machine_removed(machine: MachineId) {
        if let Some(record) = Proofs::<T>::take(machine)
            && let Some(expires_at_ms) = record.next_expiry_ms()
        {
            Expiries::<T>::remove(Self::expiry_epoch(expires_at_ms), machine);
        }
    }
}
