//! Whatever is called in whatever order: deposits on record are held, and nothing stays behind.

use assay_primitives::{machine::MachineId, money::ASY};
use polkadot_sdk::frame_support::assert_ok;
use proptest::prelude::*;

use crate::{HoldReason, Machines, MachinesByProvider, Providers, WorkerKeys, mock::*};

/// A call that somebody makes; it may fail.
#[derive(Clone, Copy, Debug)]
enum Step {
    RegisterProvider { second: bool },
    DeregisterProvider { second: bool },
    RegisterMachine { second: bool, worker: u8 },
    Bond { machine: MachineId, sufficient: bool },
    WithdrawBond { machine: MachineId },
    Suspend { second: bool, machine: MachineId },
    Resume { second: bool, machine: MachineId },
    Retire { second: bool, machine: MachineId },
}

fn step() -> impl Strategy<Value = Step> {
    let machine = || 0..6_u64;
    prop_oneof![
        any::<bool>().prop_map(|second| Step::RegisterProvider { second }),
        any::<bool>().prop_map(|second| Step::DeregisterProvider { second }),
        (any::<bool>(), 1..5_u8).prop_map(|(second, worker)| Step::RegisterMachine { second, worker }),
        (machine(), any::<bool>()).prop_map(|(machine, sufficient)| Step::Bond { machine, sufficient }),
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
        Step::Bond { machine, sufficient } => {
            // The stakes bond nothing for machines that are not there or retired.
            if status(machine)
                .is_some_and(|status| status != assay_primitives::machine::MachineStatus::Retired)
            {
                change_bond(machine, ASY, sufficient);
            }
            Ok(())
        }
        Step::WithdrawBond { machine } => {
            change_bond(machine, 0, false);
            Ok(())
        }
        Step::Suspend { second, machine } => ProviderRegistry::suspend_self(signed(second), machine),
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

            // Everybody leaves.
            let machines: Vec<_> = Machines::<Test>::iter().collect();
            for (machine, record) in machines {
                if record.status != assay_primitives::machine::MachineStatus::Retired {
                    assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(record.provider), machine));
                }
                change_bond(machine, 0, false);
            }
            for (account, _) in Providers::<Test>::iter().collect::<Vec<_>>() {
                assert_ok!(ProviderRegistry::deregister_provider(RuntimeOrigin::signed(account)));
            }
            for account in [PROVIDER, OTHER_PROVIDER] {
                assert_eq!(held(HoldReason::ProviderDeposit, &account), 0);
                assert_eq!(held(HoldReason::MachineDeposit, &account), 0);
                assert_eq!(Balances::free_balance(&account), ENDOWMENT);
            }
            assert_eq!(Machines::<Test>::iter().count(), 0);
            assert_eq!(MachinesByProvider::<Test>::iter().count(), 0);
            assert_eq!(WorkerKeys::<Test>::iter().count(), 0);
        });
    }
}
