//! Benchmarks of the calls, of their authorization, of an epoch's end and of the hook's units, each with as
//! many validators as a session may have.

#![allow(clippy::unwrap_used)]

use alloc::vec::Vec;

use assay_primitives::{
    availability::{AvailabilityId, AvailabilitySignature, report_message},
    clock::{ActiveClock, EpochIndex, Millis, OnEpochEnd},
    emission::EpochWeights,
    machine::{MachineId, MachineInspect, MachineLease},
    money::{ASY, Balance},
};
use codec::Decode;
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        BoundedVec,
        traits::{
            Authorize, Get,
            fungible::{Inspect, Mutate},
        },
        weights::WeightMeter,
    },
    frame_system::{self, RawOrigin, pallet_prelude::BlockNumberFor},
    sp_application_crypto::RuntimeAppPublic,
    sp_runtime::{traits::Zero, transaction_validity::TransactionSource},
};

use crate::{
    AssignmentBits, Call, Config, CurrentSet, EpochRecord, EpochRecordOf, EpochRecords, Event, Failures,
    Pallet, Rewards, SettlementCursor, UnfinishedReport, UptimeRecord, Uptimes, ValidatorSetOf,
    ValidatorSets, WeightInfo, types::FULL_AVERAGE,
};

/// The epoch of the benchmarks.
const EPOCH: EpochIndex = 3;

/// Reward of a report in the benchmarks.
const REWARD: Balance = ASY;

fn set_epoch<T: Config>(epoch: EpochIndex) {
    T::Clock::benchmark_set_now_ms(T::Clock::epoch_duration_ms().saturating_mul(Millis::from(epoch)));
}

/// A validator's account; its number is its place.
fn validator<T: Config>(index: u32) -> T::AccountId {
    account("validator", index, 0)
}

/// As many validators as can be, of whom the one at `index` has the given key.
fn validator_set<T: Config>(index: u32, key: AvailabilityId) -> ValidatorSetOf<T> {
    let mut set = ValidatorSetOf::<T>::new();
    for place in 0..T::MaxValidators::get() {
        let mut bytes = [0xff; 32];
        bytes[..4].copy_from_slice(&place.to_le_bytes());
        let other = AvailabilityId::decode(&mut &bytes[..]).unwrap();
        let key = if place == index { key.clone() } else { other };
        set.try_push((validator::<T>(place), key)).unwrap();
    }
    set
}

/// An epoch with just so many validators that all of them watch every machine.
///
/// Everybody else had more failures than fit, so that the record is as large as can be.
fn epoch_record<T: Config>() -> EpochRecordOf<T> {
    let mut unfinished = BoundedVec::new();
    for validator_index in T::ValidatorsPerMachine::get()..T::MaxValidators::get() {
        unfinished.force_push(UnfinishedReport {
            validator_index,
            parts: 1,
            last: MachineId::MAX,
        });
    }
    EpochRecord {
        seed: [7; 32],
        set: 0,
        validators: T::ValidatorsPerMachine::get(),
        validators_per_machine: T::ValidatorsPerMachine::get(),
        reward_per_report: REWARD,
        reported: Default::default(),
        against_majority: Default::default(),
        unfinished,
        down_machines: 0,
        down_weight: 0,
        is_outage: false,
    }
}

/// Implements [`assay_primitives::emission::EpochUptime::benchmark_reliable`].
pub(crate) fn set_reliable<T: Config>(machine: MachineId) {
    let next_epoch = T::Clock::current_epoch().saturating_add(1);
    Uptimes::<T>::insert(
        machine,
        UptimeRecord {
            average: FULL_AVERAGE,
            next_epoch,
        },
    );
}

/// Implements [`assay_primitives::emission::EpochUptime::benchmark_watch`].
pub(crate) fn watch<T: Config>(machine: MachineId, epoch: EpochIndex) {
    let mut record = epoch_record::<T>();
    for index in 0..record.validators {
        record.reported.insert(index);
    }
    Failures::<T>::insert(epoch, machine, AssignmentBits(1));
    EpochRecords::<T>::insert(epoch, record);
    // The average rises from nothing, so that the machine moves among the offers.
    Uptimes::<T>::mutate(machine, |uptime| {
        uptime.get_or_insert(UptimeRecord {
            average: 0,
            next_epoch: epoch,
        });
    });
}

/// A machine that is in the market.
fn active_machine<T: Config>(number: u32) -> MachineId
where
    T::Machines: MachineLease<T::AccountId>,
{
    let provider: T::AccountId = account("provider", 0, 0);
    let worker: T::AccountId = account("worker", number, 0);
    let machine = T::Machines::benchmark_machine(&provider, &worker, 1);
    T::Machines::benchmark_activate(machine);
    machine
}

/// The last validator's report, of so many machines, by each of which one more is down.
fn signed_report<T: Config>(
    failures: u32,
) -> (
    u32,
    BoundedVec<MachineId, T::MaxFailuresPerReport>,
    AvailabilitySignature,
)
where
    T::Machines: MachineLease<T::AccountId>,
{
    let mut record = epoch_record::<T>();
    let index = record.validators - 1;
    let key = AvailabilityId::generate_pair(None);
    ValidatorSets::<T>::insert(0, validator_set::<T>(index, key.clone()));
    set_epoch::<T>(EPOCH + 1);

    let failures: Vec<MachineId> = (0..failures).map(active_machine::<T>).collect();
    for machine in &failures {
        let mut failed = AssignmentBits::default();
        for (place, other) in (0..).zip(&record.assigned(*machine)) {
            if *other != index && failed.count() + 1 < record.needed_to_be_down() {
                failed.insert(place);
            }
        }
        Failures::<T>::insert(EPOCH, machine, failed);
        T::Weights::benchmark_weigh(*machine, EPOCH, 1, 1);
    }
    for other in 0..index {
        record.reported.insert(other);
    }
    EpochRecords::<T>::insert(EPOCH, record);
    let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
    let message = report_message(genesis_hash.as_ref(), EPOCH, index, None, &failures);
    let signature = key.sign(&message).unwrap();
    (index, failures.try_into().unwrap(), signature)
}

#[benchmarks(where T::Machines: MachineLease<T::AccountId>, <T as frame_system::Config>::RuntimeCall: From<Call<T>>)]
mod benches {
    use super::*;

    #[benchmark]
    fn report(f: Linear<0, { T::MaxFailuresPerReport::get() }>) {
        let (index, failures, signature) = signed_report::<T>(f);

        #[extrinsic_call]
        _(RawOrigin::Authorized, EPOCH, index, None, failures, signature);

        let record = EpochRecords::<T>::get(EPOCH).unwrap();
        assert!(record.reported.contains(index));
        assert_eq!(record.down_machines, f);
        assert_eq!(Failures::<T>::iter_prefix(EPOCH).count(), f as usize);
    }

    #[benchmark]
    fn authorize_report(f: Linear<0, { T::MaxFailuresPerReport::get() }>) {
        let (validator_index, failures, signature) = signed_report::<T>(f);
        let call: <T as frame_system::Config>::RuntimeCall = Call::report {
            epoch: EPOCH,
            validator_index,
            after: None,
            failures,
            signature,
        }
        .into();

        let validity;
        #[block]
        {
            validity = call.authorize(TransactionSource::InBlock);
        }

        assert!(validity.unwrap().is_ok());
    }

    /// Of a machine on offer, which moves to the best of the offers.
    #[benchmark]
    fn update_uptime(e: Linear<1, { T::MaxEpochsPerUpdate::get() }>) {
        let caller: T::AccountId = whitelisted_caller();
        let machine = active_machine::<T>(0);
        for epoch in 0..e {
            watch::<T>(machine, epoch);
        }
        // The epoch after the last one that counts is open.
        set_epoch::<T>(e + 1);
        Uptimes::<T>::insert(
            machine,
            UptimeRecord {
                average: FULL_AVERAGE,
                next_epoch: 0,
            },
        );

        #[extrinsic_call]
        _(RawOrigin::Signed(caller), machine, e);

        assert_eq!(Uptimes::<T>::get(machine).unwrap().next_epoch, e);
    }

    /// To an account that does not exist yet.
    #[benchmark]
    fn claim() {
        let caller: T::AccountId = whitelisted_caller();
        let validator = validator::<T>(0);
        T::Currency::mint_into(&T::RewardPot::get(), 10 * REWARD).unwrap();
        Rewards::<T>::insert(&validator, REWARD);

        #[extrinsic_call]
        _(RawOrigin::Signed(caller), validator.clone());

        assert_eq!(T::Currency::balance(&validator), REWARD);
        assert!(!Rewards::<T>::contains_key(&validator));
    }

    #[benchmark]
    fn on_epoch_end() {
        let set = CurrentSet::<T>::get();
        let key = AvailabilityId::generate_pair(None);
        ValidatorSets::<T>::insert(set, validator_set::<T>(0, key));

        #[block]
        {
            Pallet::<T>::on_epoch_end(EPOCH);
        }

        let record = EpochRecords::<T>::get(EPOCH + 1).unwrap();
        assert_eq!(record.validators, T::MaxValidators::get());
    }

    /// The hook in a block that has no room for a unit.
    #[benchmark]
    fn hook_overhead() {
        set_epoch::<T>(EPOCH);
        let mut meter = WeightMeter::with_limit(T::WeightInfo::hook_overhead());

        #[block]
        {
            Pallet::<T>::serve_epochs(&mut meter);
        }

        assert_eq!(meter.consumed(), T::WeightInfo::hook_overhead());
    }

    /// Of a machine that one validator did not see, against the majority of all others.
    #[benchmark]
    fn hook_judge() {
        let before = active_machine::<T>(0);
        let machine = active_machine::<T>(1);
        watch::<T>(before, EPOCH);
        watch::<T>(machine, EPOCH);
        let first = SettlementCursor {
            epoch: EPOCH,
            judged: None,
        };
        let (judged, _) = Pallet::<T>::next_to_judge(first).unwrap();
        let cursor = SettlementCursor {
            epoch: EPOCH,
            judged: Some(judged),
        };

        #[block]
        {
            let (machine, failed) = Pallet::<T>::next_to_judge(cursor).unwrap();
            Pallet::<T>::judge(EPOCH, machine, failed);
        }

        let is_clear = T::ValidatorsPerMachine::get() >= crate::MIN_CLEAR_REPORTS;
        let against_majority = EpochRecords::<T>::get(EPOCH).unwrap().against_majority;
        assert_eq!(against_majority.count(), u32::from(is_clear));
    }

    /// Of `v` validators that all reported and are owed nothing yet, and whose set no later epoch has.
    #[benchmark]
    fn hook_settle(v: Linear<1, { T::MaxValidators::get() }>) {
        let key = AvailabilityId::generate_pair(None);
        let mut set = validator_set::<T>(0, key);
        set.truncate(v as usize);
        ValidatorSets::<T>::insert(0, set);
        let mut record = epoch_record::<T>();
        record.validators = v;
        for index in 0..v {
            record.reported.insert(index);
        }
        let next = EpochRecord {
            set: 1,
            ..record.clone()
        };
        EpochRecords::<T>::insert(EPOCH, record);
        EpochRecords::<T>::insert(EPOCH + 1, next);

        #[block]
        {
            Pallet::<T>::settle(EPOCH);
        }

        assert_eq!(Rewards::<T>::get(validator::<T>(v - 1)), REWARD);
        assert!(!ValidatorSets::<T>::contains_key(0));
        frame_system::Pallet::<T>::assert_last_event(
            Event::<T>::EpochSettled {
                epoch: EPOCH,
                rewarded: v,
                against_majority: 0,
                is_outage: false,
            }
            .into(),
        );
    }

    #[benchmark]
    fn hook_forget_failure() {
        watch::<T>(0, EPOCH);
        watch::<T>(1, EPOCH);

        #[block]
        {
            Failures::<T>::drain_prefix(EPOCH).next();
        }

        assert_eq!(Failures::<T>::iter_prefix(EPOCH).count(), 1);
    }

    #[benchmark]
    fn hook_forget_epoch() {
        EpochRecords::<T>::insert(EPOCH, epoch_record::<T>());

        #[block]
        {
            if Failures::<T>::drain_prefix(EPOCH).next().is_none() {
                EpochRecords::<T>::remove(EPOCH);
            }
        }

        assert!(!EpochRecords::<T>::contains_key(EPOCH));
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
    );
}
