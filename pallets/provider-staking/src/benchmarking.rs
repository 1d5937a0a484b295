//! Benchmarks of the calls, each where its change of the bond changes the machine's status too, of the hook's
//! steps, and the bond that benchmarks of other pallets start from.

#![allow(clippy::unwrap_used)]

use alloc::vec;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, Millis},
    machine::{MachineId, MachineInspect},
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, SlashId},
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        storage::with_storage_layer,
        traits::{
            EnsureOrigin, Get,
            fungible::{Inspect, Mutate, MutateHold},
        },
        weights::WeightMeter,
    },
    frame_system::{self, RawOrigin},
    sp_runtime::Permill,
};

use crate::{
    Agenda, AgendaCounts, BondRecord, Bonds, Call, Config, DebtRecord, Debts, Event, HoldReason,
    LastAgendaEpoch, MAX_UNLOCK_CHUNKS, NextSlash, Pallet, SlashReason, SlashRecord, UnlockChunk,
    UnlockChunks, WeightInfo,
    agenda::{Encounter, SlashAgenda},
};

/// Slots of the machines that are bonded.
const SLOTS: u8 = 8;

/// Makes money for an account, counted in the total issuance.
fn fund<T: Config>(who: &T::AccountId, amount: Balance) {
    T::Currency::mint_into(who, amount).unwrap();
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
        bonded,
        unlocking,
        ..BondRecord::empty(provider.clone())
    };
    T::Currency::hold(&HoldReason::MachineBond.into(), provider, record.total_held()).unwrap();
    Bonds::<T>::insert(machine, record);
}

/// Implements [`assay_primitives::stake::BondInspect::benchmark_bond`].
pub(crate) fn bond_minimum<T: Config>(machine: MachineId) {
    let provider = T::Machines::provider_of(machine).unwrap();
    let minimum = Pallet::<T>::minimum_bond(machine).unwrap();
    fund::<T>(&provider, minimum.saturating_add(ASY));
    Pallet::<T>::do_bond(provider, machine, minimum).unwrap();
}

/// Somebody who was harmed and has no account yet.
fn beneficiaries<T: Config>(loss: Balance) -> Beneficiaries<T::AccountId> {
    Beneficiaries::consumer(account("consumer", 0, 0), loss)
}

/// Puts a slash in the agenda, of what is held for the machine but at least one ASY, and lets it fall due.
/// Half of it is the consumer's loss.
fn insert_due_slash<T: Config>(machine: MachineId, ends_machine: bool) -> (SlashId, Balance) {
    let mut record = Bonds::<T>::get(machine).unwrap();
    let owed = record.total_held().max(ASY);
    let offence = Offence::ForgedEvidence;
    record.add_strike(offence, 0, 0);
    record.pending = owed;
    record.pending_slashes = 1;
    Bonds::<T>::insert(machine, record);
    let id = SlashAgenda::<T>::queue(SlashRecord {
        machine,
        reason: SlashReason::Offence(offence),
        owed,
        beneficiaries: beneficiaries::<T>(owed / 2),
        ends_machine,
    });
    set_epoch::<T>(id.due_epoch);
    (id, owed)
}

fn set_epoch<T: Config>(epoch: EpochIndex) {
    T::Clock::benchmark_set_now_ms(T::Clock::epoch_duration_ms().saturating_mul(Millis::from(epoch)));
}

/// A machine, in the market where its bond is enough for that, with all of its chunks and a slash that takes
/// everything and ends it. Its record in the registry goes too, which is more work than writing a debt.
fn machine_to_end<T: Config>() -> (SlashId, MachineId, Balance) {
    let (provider, machine, minimum) = machine::<T>();
    Pallet::<T>::do_bond(provider.clone(), machine, minimum).unwrap();
    let mut record = Bonds::<T>::get(machine).unwrap();
    for due_epoch in 0..MAX_UNLOCK_CHUNKS {
        assert!(record.try_push_chunk(ASY, due_epoch));
    }
    let chunks = Balance::from(MAX_UNLOCK_CHUNKS).saturating_mul(ASY);
    T::Currency::hold(&HoldReason::MachineBond.into(), &provider, chunks).unwrap();
    Bonds::<T>::insert(machine, record);
    T::Machines::benchmark_audit();
    let (id, owed) = insert_due_slash::<T>(machine, true);
    (id, machine, owed)
}

/// Checks that the slash of [`machine_to_end`] was applied.
fn assert_ended<T: Config>(id: SlashId, machine: MachineId, owed: Balance) {
    assert_has_event::<T>(Event::Slashed {
        id,
        machine,
        taken: owed,
        to_consumer: owed / 2,
        burned: owed - owed / 2,
        debt: 0,
    });
    assert_eq!(T::Currency::balance(&account("consumer", 0, 0)), owed / 2);
    assert!(!SlashAgenda::<T>::contains(id));
}

/// Checks that the call's own event was deposited; events of listeners to the bond come after it.
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

    /// Into the epoch after the agenda's last, because that and the one it is due in are full.
    #[benchmark]
    fn slash() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|_| BenchmarkError::Weightless)?;
        let (provider, machine, minimum) = machine::<T>();
        insert_bond::<T>(&provider, machine, minimum, MAX_UNLOCK_CHUNKS);
        // Its bond does not suffice any more: it leaves the market.
        T::Machines::benchmark_enter_market(machine);
        T::Machines::benchmark_audit();
        let due_epoch = T::Clock::current_epoch().saturating_add(T::SlashDeferEpochs::get());
        let last_epoch = due_epoch.saturating_add(1);
        for epoch in [due_epoch, last_epoch] {
            AgendaCounts::<T>::insert(epoch, T::MaxSlashesPerEpoch::get());
        }
        LastAgendaEpoch::<T>::put(last_epoch);

        #[extrinsic_call]
        _(
            origin as T::RuntimeOrigin,
            machine,
            Permill::one(),
            beneficiaries::<T>(ASY),
        );

        assert!(Agenda::<T>::contains_key(last_epoch.saturating_add(1), 0));
        assert_eq!(Bonds::<T>::get(machine).unwrap().pending_slashes, 1);
        Ok(())
    }

    /// Of a retired machine that nothing else keeps: its record in the registry goes too.
    #[benchmark]
    fn cancel_slash() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|_| BenchmarkError::Weightless)?;
        let (provider, machine, _) = machine::<T>();
        insert_bond::<T>(&provider, machine, 0, 0);
        let (id, _) = insert_due_slash::<T>(machine, true);
        T::Machines::benchmark_retire(machine);

        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, id);

        assert!(!Bonds::<T>::contains_key(machine));
        assert_has_event::<T>(Event::SlashCancelled { id, machine });
        Ok(())
    }

    #[benchmark]
    fn apply_slash() {
        let (id, machine, owed) = machine_to_end::<T>();
        let caller: T::AccountId = whitelisted_caller();

        #[extrinsic_call]
        _(RawOrigin::Signed(caller), id);

        assert_ended::<T>(id, machine, owed);
    }

    /// Of a retired machine, the last of its debts: its record in the registry goes too.
    #[benchmark]
    fn pay_debt() {
        let (provider, machine, minimum) = machine::<T>();
        insert_bond::<T>(&provider, machine, 0, 0);
        let id = SlashId {
            due_epoch: 0,
            index: 0,
        };
        let share = minimum / 4;
        let debt = DebtRecord {
            consumer: Some((account("consumer", 0, 0), share)),
            burn: share,
        };
        Bonds::<T>::mutate(machine, |record| record.as_mut().unwrap().debt = debt.total());
        Debts::<T>::insert(machine, id, debt);
        T::Machines::benchmark_retire(machine);
        let payer: T::AccountId = account("payer", 0, 0);
        fund::<T>(&payer, minimum);

        #[extrinsic_call]
        _(RawOrigin::Signed(payer.clone()), machine, id);

        assert!(!Bonds::<T>::contains_key(machine));
        assert_has_event::<T>(Event::DebtPaid {
            id,
            machine,
            payer,
            to_consumer: share,
            burned: share,
        });
    }

    /// The hook in a block that has no room for a step.
    #[benchmark]
    fn hook_overhead() {
        let mut meter = WeightMeter::with_limit(T::WeightInfo::hook_overhead());

        #[block]
        {
            Pallet::<T>::apply_due_slashes(&mut meter);
        }

        assert_eq!(meter.consumed(), T::WeightInfo::hook_overhead());
        assert!(NextSlash::<T>::exists());
    }

    #[benchmark]
    fn hook_step_over_hole() {
        let mut cursor = SlashId {
            due_epoch: T::Clock::current_epoch(),
            index: 0,
        };
        AgendaCounts::<T>::insert(cursor.due_epoch, 1);

        let met;
        #[block]
        {
            met = SlashAgenda::<T>::meet(cursor);
            cursor = SlashAgenda::<T>::pass(cursor, met);
        }

        assert_eq!(met, Encounter::Hole);
        assert_eq!(cursor.index, 1);
    }

    #[benchmark]
    fn hook_step_to_next_epoch() {
        let mut cursor = SlashId {
            due_epoch: 0,
            index: 1,
        };
        AgendaCounts::<T>::insert(0, 1);
        set_epoch::<T>(1);

        let met;
        #[block]
        {
            met = SlashAgenda::<T>::meet(cursor);
            cursor = SlashAgenda::<T>::pass(cursor, met);
        }

        assert_eq!(met, Encounter::EpochEnd);
        assert_eq!(cursor.due_epoch, 1);
        assert!(!AgendaCounts::<T>::contains_key(0));
    }

    #[benchmark]
    fn hook_apply() {
        let (id, machine, owed) = machine_to_end::<T>();

        #[block]
        {
            with_storage_layer(|| Pallet::<T>::apply(id)).unwrap();
        }

        assert_ended::<T>(id, machine, owed);
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
    );
}
