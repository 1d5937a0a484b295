//! Logic of the calls, after their origins were checked.

use alloc::vec::Vec;

use assay_primitives::{
    attestation::OnAttestationChange,
    clock::ActiveClock,
    machine::{
        Endpoint, HardwareClassId, HardwareProofs, MAX_SLOTS, MachineId, MachineStatus, SuspensionCause,
        SuspensionReason, WORKER_KEY_CONTEXT,
    },
    money::Balance,
    stake::{BondInspect, BondStanding},
};
use polkadot_sdk::{
    frame_support::{
        dispatch::DispatchResult,
        ensure,
        traits::{Get, fungible::MutateHold, tokens::Precision},
    },
    frame_system::{
        self, ensure_signed,
        pallet_prelude::{BlockNumberFor, OriginFor},
    },
    sp_core::sr25519,
    sp_io,
    sp_runtime::{ArithmeticError, DispatchError, traits::Zero},
};

use crate::{
    Config, Error, Event, HardwareClassIds, HardwareClassRecord, HardwareClasses, HoldReason,
    MAX_HARDWARE_CLASSES, MachineRecord, MachineRecordOf, MachineRegistrationOf, Machines,
    MachinesByProvider, NextMachineId, Pallet, ProviderName, ProviderRecord, Providers, WorkerKeys,
    lifecycle, offers::MachineBook, types, worker_keys::WorkerKeyBook,
};

impl<T: Config> Pallet<T> {
    /// Returns the message that a worker key signs to agree to serve a provider: [`WORKER_KEY_CONTEXT`], the
    /// chain's genesis hash and the 32 bytes of the provider's account, concatenated.
    ///
    /// The genesis hash makes a signature of a test network invalid on other chains.
    pub fn worker_key_message(provider: &T::AccountId) -> Vec<u8> {
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let provider: [u8; 32] = provider.clone().into();
        [WORKER_KEY_CONTEXT, genesis_hash.as_ref(), provider.as_slice()].concat()
    }

    pub(crate) fn do_register_provider(who: T::AccountId, name: ProviderName) -> DispatchResult {
        ensure!(!Providers::<T>::contains_key(&who), Error::<T>::AlreadyProvider);
        ensure!(!name.is_empty(), Error::<T>::EmptyName);

        let deposit = T::ProviderDeposit::get();
        T::Currency::hold(&HoldReason::ProviderDeposit.into(), &who, deposit)?;
        Providers::<T>::insert(
            &who,
            ProviderRecord {
                name,
                machines: 0,
                deposit,
            },
        );
        Self::deposit_event(Event::ProviderRegistered { provider: who });
        Ok(())
    }

    pub(crate) fn do_deregister_provider(who: T::AccountId) -> DispatchResult {
        let record = Providers::<T>::get(&who).ok_or(Error::<T>::NoSuchProvider)?;
        ensure!(record.machines == 0, Error::<T>::HasMachines);

        T::Currency::release(
            &HoldReason::ProviderDeposit.into(),
            &who,
            record.deposit,
            Precision::Exact,
        )?;
        Providers::<T>::remove(&who);
        Self::deposit_event(Event::ProviderDeregistered { provider: who });
        Ok(())
    }

    pub(crate) fn do_register_machine(
        who: T::AccountId,
        registration: MachineRegistrationOf<T>,
        worker_signature: &sr25519::Signature,
    ) -> DispatchResult {
        let mut provider = Providers::<T>::get(&who).ok_or(Error::<T>::NoSuchProvider)?;
        let class = HardwareClasses::<T>::get(registration.class).ok_or(Error::<T>::NoSuchClass)?;
        ensure!(
            (1..=MAX_SLOTS).contains(&registration.slots),
            Error::<T>::BadSlots
        );
        ensure!(registration.location.is_on_earth(), Error::<T>::NotOnEarth);
        ensure!(types::is_region(&registration.region), Error::<T>::BadRegion);
        ensure!(
            types::is_endpoint(&registration.endpoint),
            Error::<T>::BadEndpoint
        );
        ensure!(registration.ask > 0, Error::<T>::AskIsZero);
        ensure!(
            !WorkerKeys::<T>::contains_key(&registration.worker_key),
            Error::<T>::WorkerKeyInUse
        );
        // The last check, because it costs most.
        Self::ensure_agreed(&who, &registration.worker_key, worker_signature)?;

        provider.machines = provider
            .machines
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        let deposit = T::MachineDeposit::get();
        T::Currency::hold(&HoldReason::MachineDeposit.into(), &who, deposit)?;
        Self::insert_machine(who, provider, registration, &class, deposit)?;
        Ok(())
    }

    /// Writes a new machine, unproven and with all slots free, and all index entries of it.
    ///
    /// `provider` already counts it, and `deposit` is already held.
    pub(crate) fn insert_machine(
        who: T::AccountId,
        provider: ProviderRecord,
        registration: MachineRegistrationOf<T>,
        class: &HardwareClassRecord,
        deposit: Balance,
    ) -> Result<MachineId, DispatchError> {
        let machine = NextMachineId::<T>::get();
        NextMachineId::<T>::put(machine.checked_add(1).ok_or(ArithmeticError::Overflow)?);

        WorkerKeyBook::<T>::assign(&registration.worker_key, machine);
        MachinesByProvider::<T>::insert(&who, machine, ());
        Providers::<T>::insert(&who, provider);
        let (class_id, slots) = (registration.class, registration.slots);
        let mut record = MachineRecord::new(
            who.clone(),
            registration,
            class.terms(),
            T::Clock::now_ms(),
            deposit,
        );
        MachineBook::<T>::put(machine, &mut record);
        Self::deposit_event(Event::MachineRegistered {
            machine,
            provider: who,
            class: class_id,
            slots,
        });
        Ok(machine)
    }

    pub(crate) fn do_update_ask(who: T::AccountId, machine: MachineId, ask: Balance) -> DispatchResult {
        ensure!(ask > 0, Error::<T>::AskIsZero);
        let mut from_ms = 0;
        Self::update_offer(&who, machine, |record| {
            from_ms = record.change_ask(ask, T::Clock::now_ms(), T::AskRaiseDelayMs::get());
        })?;
        Self::deposit_event(Event::AskUpdated {
            machine,
            ask,
            from_ms,
        });
        Ok(())
    }

    pub(crate) fn do_update_endpoint(
        who: T::AccountId,
        machine: MachineId,
        endpoint: Endpoint,
    ) -> DispatchResult {
        ensure!(types::is_endpoint(&endpoint), Error::<T>::BadEndpoint);
        Self::update_offer(&who, machine, |record| record.endpoint = endpoint)?;
        Self::deposit_event(Event::EndpointUpdated { machine });
        Ok(())
    }

    pub(crate) fn do_rotate_keys(
        who: T::AccountId,
        machine: MachineId,
        worker_key: T::AccountId,
        sealing_key: [u8; 32],
        worker_signature: &sr25519::Signature,
    ) -> DispatchResult {
        let mut record = Self::machine_of(&who, machine)?;
        ensure!(
            record.status != MachineStatus::Retired,
            Error::<T>::MachineRetired
        );
        ensure!(
            WorkerKeys::<T>::get(&worker_key).is_none_or(|serves| serves == machine),
            Error::<T>::WorkerKeyInUse
        );
        Self::ensure_agreed(&who, &worker_key, worker_signature)?;

        // A key that stays must keep its account, and with it its nonce.
        if worker_key != record.worker_key {
            WorkerKeyBook::<T>::free(&record.worker_key);
            WorkerKeyBook::<T>::assign(&worker_key, machine);
            record.worker_key = worker_key.clone();
        }
        record.sealing_key = sealing_key;
        MachineBook::<T>::put(machine, &mut record);
        // Evidence for the old keys is not valid any more.
        Self::on_attestation_change(machine);
        Self::deposit_event(Event::KeysRotated {
            machine,
            worker_key,
            sealing_key,
        });
        Ok(())
    }

    pub(crate) fn do_suspend_self(
        who: T::AccountId,
        machine: MachineId,
        cause: SuspensionCause,
    ) -> DispatchResult {
        let record = Self::machine_run_by(&who, machine)?;
        let reason = cause.into();
        let is_suspendable = match record.status {
            MachineStatus::Active => true,
            MachineStatus::Suspended(SuspensionReason::BondTooLow | SuspensionReason::InDebt) => true,
            MachineStatus::Suspended(present) => present.is_own() && present != reason,
            MachineStatus::Unproven | MachineStatus::Draining | MachineStatus::Retired => false,
        };
        ensure!(is_suspendable, Error::<T>::NotSuspendable);
        Self::set_status(machine, record, MachineStatus::Suspended(reason));
        Ok(())
    }

    /// Returns true if the worker key signed `suspend_self` for an active machine: then the call succeeds.
    ///
    /// Each of these calls takes a machine out of the market, and bringing it back costs a fee: so their
    /// number is limited without one.
    pub(crate) fn is_worker_of_active(origin: &OriginFor<T>, machine: MachineId) -> bool {
        ensure_signed(origin.clone()).is_ok_and(|who| {
            Machines::<T>::get(machine)
                .is_some_and(|record| record.status == MachineStatus::Active && record.worker_key == who)
        })
    }

    pub(crate) fn do_resume(who: T::AccountId, machine: MachineId) -> DispatchResult {
        let record = Self::machine_run_by(&who, machine)?;
        match record.status {
            MachineStatus::Suspended(SuspensionReason::Condemned) => {
                return Err(Error::<T>::MachineCondemned.into());
            }
            MachineStatus::Suspended(SuspensionReason::Offence) => {
                ensure!(!T::Bonds::has_pending_slash(machine), Error::<T>::SlashPending);
            }
            MachineStatus::Suspended(_) | MachineStatus::Draining => {}
            MachineStatus::Unproven | MachineStatus::Active | MachineStatus::Retired => {
                return Err(Error::<T>::NotSuspended.into());
            }
        }
        match T::Bonds::standing(machine) {
            BondStanding::Sufficient => {}
            BondStanding::TooLow => return Err(Error::<T>::BondTooLow.into()),
            BondStanding::InDebt => return Err(Error::<T>::InDebt.into()),
        }
        let to = lifecycle::status_of_bonded(T::HardwareProofs::is_proven(machine));
        Self::set_status(machine, record, to);
        Ok(())
    }

    /// Returns true if the worker key signed `resume` for a machine that missed a start, and the call would
    /// succeed.
    ///
    /// Each of these calls undoes one missed start, and a missed start needs an order that a consumer paid
    /// for: so their number is limited without a fee.
    pub(crate) fn is_return_after_missed_start(origin: &OriginFor<T>, machine: MachineId) -> bool {
        ensure_signed(origin.clone()).is_ok_and(|who| {
            Machines::<T>::get(machine).is_some_and(|record| {
                record.status == MachineStatus::Suspended(SuspensionReason::MissedStart)
                    && record.worker_key == who
            })
        }) && T::Bonds::standing(machine) == BondStanding::Sufficient
    }

    pub(crate) fn do_drain(who: T::AccountId, machine: MachineId) -> DispatchResult {
        let record = Self::machine_run_by(&who, machine)?;
        ensure!(record.status == MachineStatus::Active, Error::<T>::NotActive);
        Self::set_status(machine, record, MachineStatus::Draining);
        Ok(())
    }

    pub(crate) fn do_retire(who: T::AccountId, machine: MachineId) -> DispatchResult {
        let record = Self::machine_of(&who, machine)?;
        ensure!(
            record.status != MachineStatus::Retired,
            Error::<T>::MachineRetired
        );
        ensure!(!record.is_leased(), Error::<T>::SlotsLeased);
        Self::leave_market(machine, record);
        Ok(())
    }

    pub(crate) fn do_set_hardware_class(
        class: HardwareClassId,
        record: HardwareClassRecord,
    ) -> DispatchResult {
        let terms = record.terms();
        ensure!(
            terms.stake_per_slot >= terms.least_stake(T::BondPerPoint::get()),
            Error::<T>::StakeTooLow
        );
        Self::put_class(class, record)?;
        Self::deposit_event(Event::HardwareClassSet { class });
        Ok(())
    }

    pub(crate) fn do_refresh_machine(machine: MachineId) -> DispatchResult {
        let mut record = Machines::<T>::get(machine).ok_or(Error::<T>::NoSuchMachine)?;
        if record.status == MachineStatus::Retired {
            ensure!(Self::remove_if_settled(machine), Error::<T>::MachineRetired);
            return Ok(());
        }
        let terms = HardwareClasses::<T>::get(record.class)
            .ok_or(Error::<T>::NoSuchClass)?
            .terms();

        let new_terms = terms != record.terms;
        if new_terms {
            record.terms = terms;
            // Written first: the stakes read the class's stake from the record below.
            MachineBook::<T>::put(machine, &mut record);
            Self::deposit_event(Event::MachineTermsUpdated {
                machine,
                compute_score: terms.compute_score,
                stake_per_slot: terms.stake_per_slot,
            });
        }
        let to = Self::status_now(machine, record.status, T::Bonds::standing(machine));
        ensure!(new_terms || to != record.status, Error::<T>::NothingToRefresh);
        Self::set_status(machine, record, to);
        Ok(())
    }

    /// Writes an entry of the catalogue and the index entry of its name.
    pub(crate) fn put_class(class: HardwareClassId, record: HardwareClassRecord) -> Result<(), Error<T>> {
        ensure!(types::is_class_name(&record.name), Error::<T>::BadClassName);
        ensure!(
            HardwareClassIds::<T>::get(&record.name).is_none_or(|named| named == class),
            Error::<T>::ClassNameTaken
        );
        match HardwareClasses::<T>::get(class) {
            Some(before) => HardwareClassIds::<T>::remove(before.name),
            None => ensure!(
                HardwareClasses::<T>::count() < MAX_HARDWARE_CLASSES,
                Error::<T>::TooManyClasses
            ),
        }
        HardwareClassIds::<T>::insert(&record.name, class);
        HardwareClasses::<T>::insert(class, record);
        Ok(())
    }

    /// Verifies that a worker key signed its agreement to serve the provider.
    fn ensure_agreed(
        provider: &T::AccountId,
        worker_key: &T::AccountId,
        signature: &sr25519::Signature,
    ) -> Result<(), Error<T>> {
        let public = sr25519::Public::from_raw(worker_key.clone().into());
        ensure!(
            sp_io::crypto::sr25519_verify(signature, &Self::worker_key_message(provider), &public),
            Error::<T>::BadWorkerSignature
        );
        Ok(())
    }

    /// Changes the offer of a machine that belongs to `who`; its status stays.
    fn update_offer(
        who: &T::AccountId,
        machine: MachineId,
        update: impl FnOnce(&mut MachineRecordOf<T>),
    ) -> DispatchResult {
        let mut record = Self::machine_of(who, machine)?;
        ensure!(
            record.status != MachineStatus::Retired,
            Error::<T>::MachineRetired
        );
        update(&mut record);
        MachineBook::<T>::put(machine, &mut record);
        Ok(())
    }

    /// Returns the record of a machine that belongs to `who`.
    fn machine_of(who: &T::AccountId, machine: MachineId) -> Result<MachineRecordOf<T>, Error<T>> {
        let record = Machines::<T>::get(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(record.provider == *who, Error::<T>::NotProvider);
        Ok(record)
    }

    /// Returns the record of a machine whose provider or worker key is `who`.
    fn machine_run_by(who: &T::AccountId, machine: MachineId) -> Result<MachineRecordOf<T>, Error<T>> {
        let record = Machines::<T>::get(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(
            record.provider == *who || record.worker_key == *who,
            Error::<T>::NotProviderOrWorker
        );
        Ok(record)
    }
}
