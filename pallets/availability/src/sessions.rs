//! Sets of validators, as sessions bring them, and the epochs that begin with them.

use alloc::vec::Vec;

use assay_primitives::{
    availability::AvailabilityId,
    clock::{ActiveClock, EpochIndex, OnEpochEnd},
};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{
        defensive,
        traits::{Get, OneSessionHandler, Randomness},
        weights::Weight,
    },
    sp_io::hashing::blake2_256,
    sp_runtime::BoundToRuntimeAppPublic,
};

use crate::{
    Config, CurrentSet, EpochRecord, EpochRecords, Event, Pallet, ValidatorSetOf, ValidatorSets, WeightInfo,
};

/// Domain separator for the randomness of an epoch's seed.
const SEED_CONTEXT: &[u8; 26] = b"assay/availability-seed/v1";

impl<T: Config> Pallet<T> {
    /// Stores the validators of a new session.
    ///
    /// They replace the set before them if no epoch began with it; otherwise they become the next set. So at
    /// most one set is kept for each epoch, however many sessions an epoch has.
    fn set_validators(validators: Vec<(T::AccountId, AvailabilityId)>) {
        if validators.len() > T::MaxValidators::get() as usize {
            defensive!("a session has more validators than may watch");
        }
        let validators = ValidatorSetOf::<T>::truncate_from(validators);
        let current = CurrentSet::<T>::get();
        if ValidatorSets::<T>::get(current) == validators {
            return;
        }
        let newest_epoch = EpochRecords::<T>::get(T::Clock::current_epoch());
        let set = if newest_epoch.is_some_and(|record| record.set == current) {
            current.saturating_add(1)
        } else {
            current
        };
        ValidatorSets::<T>::insert(set, validators);
        CurrentSet::<T>::put(set);
    }
}

impl<T: Config> BoundToRuntimeAppPublic for Pallet<T> {
    type Public = AvailabilityId;
}

impl<T: Config> OneSessionHandler<T::AccountId> for Pallet<T> {
    type Key = AvailabilityId;

    fn on_genesis_session<'a, I>(validators: I)
    where
        I: Iterator<Item = (&'a T::AccountId, Self::Key)> + 'a,
    {
        Self::set_validators(validators.map(|(who, key)| (who.clone(), key)).collect());
    }

    fn on_new_session<'a, I>(changed: bool, validators: I, _: I)
    where
        I: Iterator<Item = (&'a T::AccountId, Self::Key)> + 'a,
    {
        if changed {
            Self::set_validators(validators.map(|(who, key)| (who.clone(), key)).collect());
        }
    }

    // A validator that is disabled for an offence against the consensus may still report.
    fn on_disabled(_: u32) {}
}

impl<T: Config> OnEpochEnd for Pallet<T> {
    fn on_epoch_end(ended: EpochIndex) {
        let epoch = ended.saturating_add(1);
        let (random, _) = T::Randomness::random(&(SEED_CONTEXT, epoch).encode());
        let set = CurrentSet::<T>::get();
        let validators = ValidatorSets::<T>::decode_len(set).unwrap_or(0) as u32;
        let record = EpochRecord {
            seed: random.using_encoded(blake2_256),
            set,
            validators,
            validators_per_machine: T::ValidatorsPerMachine::get(),
            reward_per_report: T::RewardPerReport::get(),
            reported: Default::default(),
            against_majority: Default::default(),
            unfinished: Default::default(),
            down_machines: 0,
            down_weight: 0,
            is_outage: false,
        };
        Self::deposit_event(Event::EpochWatched {
            epoch,
            seed: record.seed,
            validators,
        });
        EpochRecords::<T>::insert(epoch, record);
    }

    fn weight() -> Weight {
        T::WeightInfo::on_epoch_end()
    }
}
