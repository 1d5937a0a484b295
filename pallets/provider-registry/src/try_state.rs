//! Invariants of the registry between any two calls.

use alloc::collections::BTreeMap;

use assay_primitives::{
    clock::ActiveClock,
    machine::{MAX_SLOTS, MachineId, MachineStatus, SuspensionReason},
    money::Balance,
    stake::{BondInspect, BondStanding},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    frame_system,
    sp_runtime::TryRuntimeError,
};

use crate::{
    Config, HardwareClassIds, HardwareClasses, HoldReason, MAX_HARDWARE_CLASSES, MachineRecordOf, Machines,
    MachinesByProvider, NextMachineId, Offers, Pallet, Providers, WorkerKeys, offers, types,
};

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. Every name in the catalogue is valid and finds its entry; the catalogue has room for all of them.
    /// 2. A machine's class is in the catalogue and its identifier was given out.
    /// 3. A machine has 1 to [`MAX_SLOTS`] slots and no more free ones; all slots of a retired one are free.
    /// 4. Worker keys and machines that are not retired name each other, one to one, and the account of each
    ///    key has a sufficient reference.
    /// 5. A retired machine's record exists only while something ties it to the stakes, or if it was in the
    ///    market or leased; the last epoch of that is not in the future.
    /// 6. A provider's count is that of its machines, and the index by provider lists exactly these.
    /// 7. The deposits on record are the held plancks, for each provider.
    /// 8. The index of offers has every machine on offer, twice and at its rank, and nothing else.
    /// 9. No active machine is in debt or without a bond; a machine is suspended for its debt while it has
    ///    one, and none in debt is suspended for a low bond.
    /// 10. A condemned machine has a leased slot: otherwise it would be retired.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        // 1
        let mut classes = 0_u32;
        for (id, class) in HardwareClasses::<T>::iter() {
            classes = classes.saturating_add(1);
            ensure!(
                types::is_class_name(&class.name),
                "1: a hardware class has a bad name"
            );
            ensure!(
                HardwareClassIds::<T>::get(&class.name) == Some(id),
                "1: a hardware class is not found by its name"
            );
        }
        ensure!(
            classes <= MAX_HARDWARE_CLASSES && HardwareClasses::<T>::count() == classes,
            "1: the catalogue is too large or miscounted"
        );
        ensure!(
            HardwareClassIds::<T>::iter_keys().count() == classes as usize,
            "1: a name finds no hardware class"
        );

        let next_machine = NextMachineId::<T>::get();
        let mut per_provider: BTreeMap<T::AccountId, (u32, Balance)> = BTreeMap::new();
        let (mut machines, mut keys, mut offers) = (0_usize, 0_usize, 0_usize);
        for (machine, record) in Machines::<T>::iter() {
            let retired = record.status == MachineStatus::Retired;
            // 2
            ensure!(
                HardwareClasses::<T>::contains_key(record.class),
                "2: a machine's class is unknown"
            );
            ensure!(
                machine < next_machine,
                "2: a machine's identifier was not given out"
            );
            // 3
            ensure!(
                (1..=MAX_SLOTS).contains(&record.slots),
                "3: a machine has a bad number of slots"
            );
            ensure!(
                record.free_slots <= record.slots,
                "3: more slots are free than there are"
            );
            ensure!(
                !retired || !record.is_leased(),
                "3: a slot of a retired machine is leased"
            );
            // 4
            if !retired {
                keys = keys.saturating_add(1);
                ensure!(
                    WorkerKeys::<T>::get(&record.worker_key) == Some(machine),
                    "4: a machine's worker key names another machine or none"
                );
                ensure!(
                    frame_system::Account::<T>::get(&record.worker_key).sufficients > 0,
                    "4: the account of a worker key lives by its balance only"
                );
            }
            // 5
            ensure!(
                !retired || !T::Bonds::is_settled(machine) || record.last_duty_epoch.is_some(),
                "5: a removable machine is still there"
            );
            ensure!(
                record
                    .last_duty_epoch
                    .is_none_or(|last| last <= T::Clock::current_epoch()),
                "5: a machine was on duty in an epoch to come"
            );
            // 8
            for key in offers::keys::<T>(machine, &record).into_iter().flatten() {
                offers = offers.saturating_add(1);
                ensure!(
                    Offers::<T>::contains_key(key),
                    "8: a machine on offer is not listed"
                );
            }
            // 9, 10
            Self::check_status(machine, &record)?;
            // 6
            machines = machines.saturating_add(1);
            ensure!(
                MachinesByProvider::<T>::contains_key(&record.provider, machine),
                "6: a machine is missing in the index by provider"
            );
            let (count, deposit) = per_provider.entry(record.provider).or_default();
            *count = count.saturating_add(1);
            *deposit = deposit.saturating_add(record.deposit);
        }
        // 4: as many keys as machines with one, so none is left over.
        ensure!(
            WorkerKeys::<T>::iter_keys().count() == keys,
            "4: a worker key names no machine"
        );
        // 8
        ensure!(
            Offers::<T>::iter_keys().count() == offers,
            "8: an entry of the offers names no machine on offer"
        );
        // 6
        ensure!(
            MachinesByProvider::<T>::iter_keys().count() == machines,
            "6: the index by provider lists a machine that is not there"
        );

        for (account, provider) in Providers::<T>::iter() {
            let (count, deposit) = per_provider.remove(&account).unwrap_or_default();
            // 6
            ensure!(
                provider.machines == count,
                "6: a provider's count of machines is wrong"
            );
            // 7
            let held = |reason: HoldReason| T::Currency::balance_on_hold(&reason.into(), &account);
            ensure!(
                held(HoldReason::ProviderDeposit) == provider.deposit,
                "7: a provider's deposit is not what is held"
            );
            ensure!(
                held(HoldReason::MachineDeposit) == deposit,
                "7: deposits of machines are not what is held"
            );
        }
        // 6
        ensure!(per_provider.is_empty(), "6: a machine's owner is no provider");
        Ok(())
    }

    fn check_status(machine: MachineId, record: &MachineRecordOf<T>) -> Result<(), TryRuntimeError> {
        let standing = T::Bonds::standing(machine);
        match record.status {
            MachineStatus::Active => ensure!(
                standing != BondStanding::InDebt && !T::Bonds::is_settled(machine),
                "9: an active machine is in debt or has no bond"
            ),
            MachineStatus::Suspended(SuspensionReason::InDebt) => ensure!(
                standing == BondStanding::InDebt,
                "9: a machine is suspended for a debt that it does not have"
            ),
            MachineStatus::Suspended(SuspensionReason::BondTooLow) => ensure!(
                standing != BondStanding::InDebt,
                "9: a machine in debt is suspended for its bond"
            ),
            MachineStatus::Suspended(SuspensionReason::Condemned) => ensure!(
                record.is_leased(),
                "10: a condemned machine without jobs is not retired"
            ),
            MachineStatus::Suspended(
                SuspensionReason::OwnRequest
                | SuspensionReason::Overheated
                | SuspensionReason::Faulty
                | SuspensionReason::Offence
                | SuspensionReason::MissedStart,
            )
            | MachineStatus::Unproven
            | MachineStatus::Draining
            | MachineStatus::Retired => {}
        }
        Ok(())
    }
}
