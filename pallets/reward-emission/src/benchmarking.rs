//! Benchmarks of the calls and of the end of an epoch, each in the branch that costs most.

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, Millis, OnEpochEnd},
    emission::{EpochUptime, RewardWeight},
    machine::{MachineId, MachineInspect},
    money::{ASY, Balance},
    stake::BondInspect,
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        BoundedVec,
        traits::{
            Get,
            fungible::{Inspect, Mutate},
        },
    },
    frame_system::{self, RawOrigin},
};

use crate::*;

/// Pool of each epoch of the benchmarks.
const POOL: Balance = 1_000 * ASY;

/// Weight that the machine of the benchmarks starts with; it grows by one in each segment.
const FIRST_WEIGHT: u64 = 1_000;

/// Sets the clock to the beginning of an epoch.
fn begin_epoch<T: Config>(epoch: EpochIndex) {
    T::Clock::benchmark_set_now_ms(T::Clock::epoch_duration_ms().saturating_mul(Millis::from(epoch)));
}

/// A bonded machine of a provider who lacks nothing.
fn machine_of<T: Config>(provider: &T::AccountId) -> MachineId {
    T::Currency::set_balance(provider, 1_000_000 * ASY);
    let worker = account("worker", 0, 0);
    T::Machines::benchmark_machine(provider, &worker, 1)
}

/// Does what [`assay_primitives::emission::EpochWeights::benchmark_weigh`] says, with a record as large as
/// can be.
pub(crate) fn weigh<T: Config>(machine: MachineId, epoch: EpochIndex, weight: RewardWeight, total: u128) {
    let provider = T::Machines::provider_of(machine).unwrap_or_else(|| account("provider", 0, 0));
    let mut segments = BoundedVec::new();
    segments.force_push(WeightSegment {
        from_epoch: epoch,
        weight,
    });
    for step in 1..MAX_WEIGHT_SEGMENTS {
        segments.force_push(WeightSegment {
            from_epoch: epoch.saturating_add(step),
            weight: weight.saturating_add(step.into()),
        });
    }
    MachineWeights::<T>::insert(
        machine,
        MachineWeightRecord {
            provider,
            segments,
            next_unpaid_epoch: epoch,
        },
    );
    EpochRecords::<T>::mutate(epoch, |record| record.total_weight = total);
}

/// Accounts of an ended epoch.
fn ended_epoch() -> EpochRecord {
    EpochRecord {
        pool: POOL,
        withheld: POOL,
        total_weight: 1_000_000,
        minted: 0,
        fees: 20 * ASY,
        burned: 10 * ASY,
    }
}

#[benchmarks]
mod benches {
    use super::*;

    /// Pays `e` epochs into the bond of a machine whose record is as large as can be.
    #[benchmark]
    fn payout(e: Linear<1, { T::MaxEpochsPerPayout::get() }>) {
        let caller: T::AccountId = whitelisted_caller();
        let provider: T::AccountId = account("provider", 0, 0);
        let machine = machine_of::<T>(&provider);
        T::BondRewards::benchmark_bond(machine);
        RewardDestinations::<T>::insert(machine, RewardDestination::Bond);

        let first = T::Clock::current_epoch();
        let mut segments = BoundedVec::new();
        for step in 0..MAX_WEIGHT_SEGMENTS {
            segments.force_push(WeightSegment {
                from_epoch: first + step,
                weight: FIRST_WEIGHT + u64::from(step),
            });
        }
        MachineWeights::<T>::insert(
            machine,
            MachineWeightRecord {
                provider,
                segments,
                next_unpaid_epoch: first,
            },
        );
        for epoch in first..first + e {
            EpochRecords::<T>::insert(epoch, ended_epoch());
            T::Uptime::benchmark_watch(machine, epoch);
        }
        // The uptime of an epoch is final when the one after it has ended too.
        begin_epoch::<T>(first + e + 1);
        let issuance = T::Currency::total_issuance();

        #[extrinsic_call]
        _(RawOrigin::Signed(caller), machine, e);

        let minted = T::Currency::total_issuance() - issuance;
        let at_least = POOL * u128::from(FIRST_WEIGHT) / 1_000_000 * u128::from(e);
        assert!(minted >= at_least, "every epoch was paid");
        let accounts: Balance = (first..first + e)
            .map(|epoch| EpochRecords::<T>::get(epoch).minted)
            .sum();
        assert_eq!(accounts, minted);
    }

    /// Replaces a destination by one of the longest encoding.
    #[benchmark]
    fn set_reward_destination() {
        let provider: T::AccountId = account("provider", 0, 0);
        let machine = machine_of::<T>(&provider);
        RewardDestinations::<T>::insert(machine, RewardDestination::Bond);
        let destination = RewardDestination::Account(account("destination", 0, 0));

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, destination.clone());

        assert_eq!(RewardDestinations::<T>::get(machine), destination);
    }

    /// Closes an epoch in which fees were taken, with weight to come and an epoch to forget.
    #[benchmark]
    fn on_epoch_end() {
        let ended = T::HistoryEpochs::get() + 1;
        EpochRecords::<T>::insert(1, ended_epoch());
        EpochRecords::<T>::insert(
            ended,
            EpochRecord {
                fees: ASY,
                burned: ASY / 2,
                ..Default::default()
            },
        );
        RemainingEmission::<T>::put(DEFAULT_EMISSION_CAP);
        let cap = T::CapPerWeight::get();
        TotalWeight::<T>::put(1_000);
        PendingWeight::<T>::put(500);

        #[block]
        {
            Pallet::<T>::on_epoch_end(ended);
        }

        let record = EpochRecords::<T>::get(ended);
        let decayed = DEFAULT_EMISSION_CAP / T::EmissionDivisor::get();
        let pool = decayed.min(cap.saturating_mul(1_000));
        let withheld = decayed - pool;
        assert_eq!(
            (record.pool, record.withheld, record.total_weight, record.fees),
            (pool, withheld, 1_000, ASY)
        );
        assert_eq!((TotalWeight::<T>::get(), PendingWeight::<T>::get()), (1_500, 0));
        assert_eq!(RemainingEmission::<T>::get(), DEFAULT_EMISSION_CAP - pool);
        assert!(!EpochRecords::<T>::contains_key(1));
        frame_system::Pallet::<T>::assert_last_event(
            Event::<T>::EpochClosed {
                epoch: ended,
                pool,
                total_weight: 1_000,
                withheld,
            }
            .into(),
        );
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test
    );
}
