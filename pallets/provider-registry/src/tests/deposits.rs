//! Deposits under random calls: those on record are held, and nothing stays behind.

use assay_primitives::{
    machine::{
        LeaseEnd::{self, Fulfilled},
        MachineId, MachineInspect, MachineLease, MachineStatus, OnProofChange, OnUptimeChange,
        SuspensionCause::Maintenance,
    },
    money::ASY,
    offence::MachineDiscipline,
    stake::BondStanding::{self, InDebt, Sufficient, TooLow},
};
use polkadot_sdk::frame_support::assert_ok;
use proptest::prelude::*;

use crate::{HoldReason, Machines, MachinesByProvider, Offers, Providers, WorkerKeys, mock::*};

const ENDS: [LeaseEnd; 3] = [Fulfilled, LeaseEnd::NotStarted, LeaseEnd::Abandoned];

/// A call that somebody makes; it may fail.
#[derive(Clone, Copy, Debug)]
enum Step {
    RegisterProvider {
        second: bool,
    },
    DeregisterProvider {
        second: bool,
    },
    RegisterMachine {
        second: bool,
        worker: u8,
    },
    Bond {
        machine: MachineId,
        standing: BondStanding,
    },
    WithdrawBond {
        machine: MachineId,
    },
    UpdateAsk {
        second: bool,
        machine: MachineId,
        ask: u8,
    },
    RotateKeys {
        second: bool,
        machine: MachineId,
        worker: u8,
    },
    Drain {
        second: bool,
        machine: MachineId,
    },
    Lease {
        machine: MachineId,
        slots: u8,
    },
    Release {
        machine: MachineId,
        slots: u8,
        end: LeaseEnd,
    },
    Uptime {
        machine: MachineId,
        uptime_ppm: u32,
    },
    Offend {
        machine: MachineId,
    },
    Condemn {
        machine: MachineId,
    },
    Proof {
        machine: MachineId,
        proven: bool,
    },
    EpochPasses,
    Refresh {
        machine: MachineId,
    },
    Suspend {
        second: bool,
        machine: MachineId,
    },
    Resume {
        second: bool,
        machine: MachineId,
    },
    Retire {
        second: bool,
        machine: MachineId,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let machine = || 0..6_u64;
    prop_oneof![
        any::<bool>().prop_map(|second| Step::RegisterProvider { second }),
        any::<bool>().prop_map(|second| Step::DeregisterProvider { second }),
        (any::<bool>(), 1..5_u8).prop_map(|(second, worker)| Step::RegisterMachine { second, worker }),
        (
            machine(),
            prop_oneof![4 => Just(Sufficient), 1 => Just(TooLow), 1 => Just(InDebt)]
        )
            .prop_map(|(machine, standing)| Step::Bond { machine, standing }),
        (any::<bool>(), machine(), any::<u8>()).prop_map(|(second, machine, ask)| Step::UpdateAsk {
            second,
            machine,
            ask
        }),
        (any::<bool>(), machine(), 1..5_u8).prop_map(|(second, machine, worker)| Step::RotateKeys {
            second,
            machine,
            worker
        }),
        (any::<bool>(), machine()).prop_map(|(second, machine)| Step::Drain { second, machine }),
        (machine(), 0..=SLOTS).prop_map(|(machine, slots)| Step::Lease { machine, slots }),
        (machine(), 0..=SLOTS, prop::sample::select(ENDS.to_vec()))
            .prop_map(|(machine, slots, end)| Step::Release { machine, slots, end }),
        (machine(), any::<bool>()).prop_map(|(machine, proven)| Step::Proof { machine, proven }),
        Just(Step::EpochPasses),
        machine().prop_map(|machine| Step::Refresh { machine }),
        (machine(), 0..=1_000_000_u32).prop_map(|(machine, uptime_ppm)| Step::Uptime { machine, uptime_ppm }),
        machine().prop_map(|machine| Step::Offend { machine }),
        machine().prop_map(|machine| Step::Condemn { machine }),
        machine().prop_map(|machine| Step::WithdrawBond { machine }),
        (any::<bool>(), machine()).prop_map(|(second, machine)| Step::Suspend { second, machine }),
        (any::<bool>(), machine()).prop_map(|(second, machine)| Step::Resume { second, machine }),
        (any::<bool>(), machine()).prop_map(|(second, machine)| Step::Retire { second, machine }),
    ]
}

fn provider(second: bool) -> AccountId {
    if second { OTHER_PROVIDER } else { PROVIDER }
}

/// Makes the call; a failure is as good as a success here.
fn act(step: Step) {
    let signed = |second| RuntimeOrigin::signed(provider(second));
    let _ = match step {
        Step::RegisterProvider { second } => register_provider(provider(second)),
        Step::DeregisterProvider { second } => ProviderRegistry::deregister_provider(signed(second)),
        Step::RegisterMachine { second, worker } => register(provider(second), worker, registration(worker)),
        Step::Bond { machine, standing } => {
            // The stakes bond nothing for machines that are not there or retired.
            if status(machine).is_some_and(|status| status != MachineStatus::Retired) {
                change_bond(machine, ASY, standing);
            }
            Ok(())
        }
        Step::UpdateAsk { second, machine, ask } => {
            ProviderRegistry::update_ask(signed(second), machine, ask.into())
        }
        Step::RotateKeys {
            second,
            machine,
            worker: number,
        } => ProviderRegistry::rotate_keys(
            signed(second),
            machine,
            worker(number),
            [number; 32],
            agreement(number, &provider(second)),
        ),
        Step::Drain { second, machine } => ProviderRegistry::drain(signed(second), machine),
        Step::Lease { machine, slots } => ProviderRegistry::lease(machine, slots).map(|_| ()),
        Step::Release { machine, slots, end } => ProviderRegistry::release(machine, slots, end),
        Step::Proof { machine, proven } => {
            Proven::set(proven);
            ProviderRegistry::on_proof_change(machine);
            Ok(())
        }
        Step::EpochPasses => {
            MockClock::advance_epochs(1);
            Ok(())
        }
        Step::Refresh { machine } => {
            ProviderRegistry::refresh_machine(RuntimeOrigin::signed(STRANGER), machine)
        }
        Step::Uptime { machine, uptime_ppm } => {
            ProviderRegistry::on_uptime_change(machine, uptime_ppm);
            Ok(())
        }
        Step::Offend { machine } => {
            ProviderRegistry::suspend_for_offence(machine);
            Ok(())
        }
        Step::Condemn { machine } => {
            ProviderRegistry::condemn(machine);
            Ok(())
        }
        Step::WithdrawBond { machine } => {
            change_bond(machine, 0, TooLow);
            Ok(())
        }
        Step::Suspend { second, machine } => {
            ProviderRegistry::suspend_self(signed(second), machine, Maintenance)
        }
        Step::Resume { second, machine } => ProviderRegistry::resume(signed(second), machine),
        Step::Retire { second, machine } => ProviderRegistry::retire(signed(second), machine),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn deposits_are_held_exactly(steps in prop::collection::vec(step(), 0..60)) {
        ExtBuilder::default().with_providers().build_and_execute(|| {
            for step in steps {
                // As a dispatch does: a call that fails changes nothing.
                act(step);
                ProviderRegistry::do_try_state().unwrap();
            }

            // Nobody whose slot is leased goes unwatched, or may take out its bond.
            for (machine, record) in Machines::<Test>::iter().filter(|(_, record)| record.is_leased()) {
                assert_ne!(record.status, MachineStatus::Retired);
                assert!(ProviderRegistry::is_watched(machine) && ProviderRegistry::is_accountable(machine));
            }

            // Everybody leaves.
            let machines: Vec<_> = Machines::<Test>::iter().collect();
            for (machine, record) in machines {
                if record.is_leased() {
                    assert_ok!(ProviderRegistry::release(machine, record.slots - record.free_slots, Fulfilled));
                }
                if status(machine) == Some(MachineStatus::Retired) {
                    change_bond(machine, 0, TooLow);
                    continue;
                }
                if status(machine).is_some() {
                    assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(record.provider), machine));
                }
                change_bond(machine, 0, TooLow);
            }
            MockClock::advance_epochs(2);
            for machine in Machines::<Test>::iter_keys().collect::<Vec<_>>() {
                assert_ok!(ProviderRegistry::refresh_machine(RuntimeOrigin::signed(STRANGER), machine));
            }
            for (account, _) in Providers::<Test>::iter().collect::<Vec<_>>() {
                assert_ok!(ProviderRegistry::deregister_provider(RuntimeOrigin::signed(account)));
            }
            for account in [PROVIDER, OTHER_PROVIDER] {
                assert_eq!(held(HoldReason::ProviderDeposit, &account), 0);
                assert_eq!(held(HoldReason::MachineDeposit, &account), 0);
                assert_eq!(Balances::free_balance(&account), ENDOWMENT);
            }
            assert_eq!(Offers::<Test>::iter().count(), 0);
            assert_eq!(Machines::<Test>::iter().count(), 0);
            assert_eq!(MachinesByProvider::<Test>::iter().count(), 0);
            assert_eq!(WorkerKeys::<Test>::iter().count(), 0);
        });
    }
}
