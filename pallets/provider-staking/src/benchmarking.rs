//! Benchmarks of the calls, each where its change of the bond changes the machine's status too, and the bond
//! that benchmarks of other pallets start from.

#![allow(clippy::unwrap_used)]

use alloc::vec;

use assay_primitives::{
    machine::{MachineId, MachineInspect},
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::traits::{
        fungible::{Inspect, MutateHold, Unbalanced},
        tokens::Precision,
    },
    frame_system::{self, RawOrigin},
};

use crate::{
    BondRecord, Bonds, Call, Config, Event, HoldReason, MAX_UNLOCK_CHUNKS, Pallet, UnlockChunk, UnlockChunks,
};

/// Slots of the machines that are bonded.
const SLOTS: u8 = 8;

/// Makes money for an account, counted in the total issuance.
fn fund<T: Config>(who: &T::AccountId, amount: Balance) {
    T::Currency::increase_balance(who, amount, Precision::Exact).unwrap();
    T::Currency::set_total_issuance(T::Currency::total_issuance().saturating_add(amount));
}

/// An unproven machine without a bond, its provider, who can pay for some bonds, and its minimum.
fn machine<T: Config>() -> (T::AccountId, MachineId, Balance) {
    let provider: T::AccountId = whitelisted_caller();
    let worker: T::AccountId = account("worker", 0, 0);
    let machine = T::Machines::benchmark_machine(&provider, &worker, SLOTS);
    let minimum = Pallet::<T>::minimum_bond(machine).unwrap();
    fund::<T>(&provider, minimum.saturating_mul(10).saturating_add(1_000 * ASY));
    (provider, machine, minimum)
}

/// Holds and records a bond of [`machine`] of which nobody is told, so that the call to be measured tells it.
/// Its chunks are of one ASY each and long due.
fn insert_bond<T: Config>(provider: &T::AccountId, machine: MachineId, bonded: Balance, chunks: u32) {
    // All due in the chain's first epoch, which is where benchmarks run. That they would be one is no matter:
    // what costs is how many they are.
    let unlocking: UnlockChunks = vec![
        UnlockChunk {
            amount: ASY,
            due_epoch: 0
        };
        chunks as usize
    ]
    .try_into()
    .unwrap();
    let record = BondRecord {
        provider: provider.clone(),
        bonded,
        unlocking,
        auto_stake: false,
    };
    T::Currency::hold(&HoldReason::MachineBond.into(), provider, record.total_held()).unwrap();
    Bonds::<T>::insert(machine, record);
}

/// What [`assay_primitives::stake::BondInspect::benchmark_bond`] says.
pub(crate) fn bond_minimum<T: Config>(machine: MachineId) {
    let provider = T::Machines::provider_of(machine).unwrap();
    let minimum = Pallet::<T>::minimum_bond(machine).unwrap();
    fund::<T>(&provider, minimum.saturating_add(ASY));
    Pallet::<T>::do_bond(provider, machine, minimum).unwrap();
}

/// Whether the call's own event was deposited; events of who hears of the bond come after it.
fn assert_has_event<T: Config>(event: Event<T>) {
    frame_system::Pallet::<T>::assert_has_event(event.into());
}

#[benchmarks]
mod benches {
    use super::*;

    #[benchmark]
    fn bond() {
        let (provider, machine, minimum) = machine::<T>();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, minimum);

        assert_has_event::<T>(Event::Bonded {
            machine,
            amount: minimum,
            total: minimum,
        });
    }

    #[benchmark]
    fn bond_extra() {
        let (provider, machine, minimum) = machine::<T>();
        insert_bond::<T>(&provider, machine, ASY, MAX_UNLOCK_CHUNKS);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, minimum);

        assert_has_event::<T>(Event::Bonded {
            machine,
            amount: minimum,
            total: minimum + ASY,
        });
    }

    #[benchmark]
    fn unbond() {
        let (provider, machine, minimum) = machine::<T>();
        insert_bond::<T>(&provider, machine, minimum + ASY, MAX_UNLOCK_CHUNKS - 1);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, ASY);

        let record = Bonds::<T>::get(machine).unwrap();
        assert_eq!(record.bonded, minimum);
        assert_eq!(
            record.total_held(),
            minimum + Balance::from(MAX_UNLOCK_CHUNKS) * ASY
        );
    }

    /// Of a retired machine, the last of its bond: its record in the registry goes too.
    #[benchmark]
    fn withdraw() {
        let (provider, machine, _) = machine::<T>();
        insert_bond::<T>(&provider, machine, 0, MAX_UNLOCK_CHUNKS);
        T::Machines::benchmark_retire(machine);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine);

        assert!(!Bonds::<T>::contains_key(machine));
        assert_has_event::<T>(Event::Withdrawn {
            machine,
            amount: Balance::from(MAX_UNLOCK_CHUNKS) * ASY,
        });
    }

    #[benchmark]
    fn set_auto_stake() {
        let (provider, machine, minimum) = machine::<T>();
        insert_bond::<T>(&provider, machine, minimum, MAX_UNLOCK_CHUNKS);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, true);

        assert_has_event::<T>(Event::AutoStakeSet {
            machine,
            auto_stake: true,
        });
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
    );
}
