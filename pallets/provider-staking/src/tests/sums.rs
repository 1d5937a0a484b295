//! Whatever is called in whatever order: what is held is what is on record, and it all comes back.

use assay_primitives::{
    clock::EpochIndex,
    machine::{
        MachineId, MachineInspect,
        MachineStatus::{Active, Retired, Suspended},
        SuspensionReason::OwnRequest,
    },
    money::{ASY, Balance},
    stake::{BondInspect, BondRewards},
};
use polkadot_sdk::frame_support::{assert_ok, storage::with_storage_layer, traits::fungible::Mutate};
use proptest::prelude::*;

use crate::{Bonds, mock::*};

/// Something that happens; calls may fail.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bond {
        who: AccountId,
        machine: MachineId,
        amount: Balance,
    },
    BondExtra {
        who: AccountId,
        machine: MachineId,
        amount: Balance,
    },
    Unbond {
        who: AccountId,
        machine: MachineId,
        amount: Balance,
    },
    UnbondAll {
        machine: MachineId,
    },
    Withdraw {
        machine: MachineId,
    },
    SetAutoStake {
        who: AccountId,
        machine: MachineId,
    },
    Reward {
        machine: MachineId,
        amount: Balance,
    },
    EpochsPass {
        epochs: EpochIndex,
    },
    BaseBondChanges {
        amount: Balance,
    },
    Suspend {
        machine: MachineId,
    },
    Retire {
        machine: MachineId,
    },
}

fn machine() -> impl Strategy<Value = MachineId> {
    prop_oneof![Just(MACHINE), Just(SECOND_MACHINE), Just(OTHER_MACHINE)]
}

/// Mostly an account that owns the machine that it names.
fn party() -> impl Strategy<Value = (AccountId, MachineId)> {
    prop_oneof![
        4 => Just((PROVIDER, MACHINE)),
        2 => Just((PROVIDER, SECOND_MACHINE)),
        2 => Just((OTHER_PROVIDER, OTHER_MACHINE)),
        1 => Just((OTHER_PROVIDER, MACHINE)),
    ]
}

/// Mostly around the minimum; sometimes next to nothing, or more than there is.
fn amount() -> impl Strategy<Value = Balance> {
    prop_oneof![
        6 => 0..=1_500 * ASY,
        2 => MINIMUM - 2..=MINIMUM + 2,
        1 => 0..=2_u128,
        1 => any::<Balance>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (party(), amount()).prop_map(|((who, machine), amount)| Step::Bond { who, machine, amount }),
        3 => (party(), amount()).prop_map(|((who, machine), amount)| Step::BondExtra { who, machine, amount }),
        5 => (party(), amount()).prop_map(|((who, machine), amount)| Step::Unbond { who, machine, amount }),
        1 => machine().prop_map(|machine| Step::UnbondAll { machine }),
        3 => machine().prop_map(|machine| Step::Withdraw { machine }),
        1 => party().prop_map(|(who, machine)| Step::SetAutoStake { who, machine }),
        2 => (machine(), 0..=ASY).prop_map(|(machine, amount)| Step::Reward { machine, amount }),
        4 => (0..4_u32).prop_map(|epochs| Step::EpochsPass { epochs }),
        1 => (0..1_000 * ASY).prop_map(|amount| Step::BaseBondChanges { amount }),
        1 => machine().prop_map(|machine| Step::Suspend { machine }),
        1 => machine().prop_map(|machine| Step::Retire { machine }),
    ]
}

/// Lets the step happen as on a chain, where a failure changes nothing. Returns what was made for a reward.
fn act(step: Step) -> (AccountId, Balance) {
    let mut made = (PROVIDER, 0);
    let _ = with_storage_layer(|| match step {
        Step::Bond { who, machine, amount } => bond(who, machine, amount),
        Step::BondExtra { who, machine, amount } => bond_extra(who, machine, amount),
        Step::Unbond { who, machine, amount } => unbond(who, machine, amount),
        Step::UnbondAll { machine } => match Bonds::<Test>::get(machine) {
            Some(record) => unbond(record.provider, machine, record.bonded),
            None => Ok(()),
        },
        Step::Withdraw { machine } => withdraw(machine),
        Step::SetAutoStake { who, machine } => set_auto_stake(who, machine, true),
        Step::Reward { machine, amount } => match MockRegistry::provider_of(machine) {
            Some(provider) => {
                Balances::mint_into(&provider, amount)?;
                ProviderStaking::bond_reward(machine, amount)?;
                made = (provider, amount);
                Ok(())
            }
            None => Ok(()),
        },
        Step::EpochsPass { epochs } => {
            CurrentEpoch::mutate(|epoch| *epoch += epochs);
            Ok(())
        }
        Step::BaseBondChanges { amount } => {
            LeastBond::set(amount);
            Ok(())
        }
        Step::Suspend { machine } => {
            if MockRegistry::status(machine) == Some(Active) {
                set_status(machine, Suspended(OwnRequest));
            }
            Ok(())
        }
        Step::Retire { machine } => {
            retire(machine);
            Ok(())
        }
    });
    made
}

/// As the registry does it: a machine without a bond goes at once.
fn retire(machine: MachineId) {
    if MockRegistry::status(machine).is_none() {
        return;
    }
    set_status(machine, Retired);
    if ProviderStaking::total_held(machine) == 0 {
        Machines::mutate(|machines| machines.remove(&machine));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn holds_are_the_records_and_all_comes_back(steps in prop::collection::vec(step(), 0..80)) {
        ExtBuilder::default().build_and_execute(|| {
            let mut made = [(PROVIDER, 0), (OTHER_PROVIDER, 0)];
            for step in steps {
                let (who, amount) = act(step);
                made.iter_mut().filter(|(account, _)| *account == who).for_each(|(_, sum)| *sum += amount);

                ProviderStaking::do_try_state().unwrap();
                for (account, made) in made {
                    let recorded: Balance = Bonds::<Test>::iter_values()
                        .filter(|record| record.provider == account)
                        .map(|record| record.total_held())
                        .sum();
                    assert_eq!(held(account), recorded);
                    assert_eq!(Balances::free_balance(account) + recorded, ENDOWMENT + made);
                }
            }

            // Retire, unbond, wait, withdraw.
            for machine in [MACHINE, SECOND_MACHINE, OTHER_MACHINE] {
                retire(machine);
                let Some(record) = Bonds::<Test>::get(machine) else { continue };
                if record.unlocking.is_full() {
                    CurrentEpoch::mutate(|epoch| *epoch += UNBONDING_EPOCHS);
                    assert_ok!(withdraw(machine));
                }
                if record.bonded > 0 {
                    assert_ok!(unbond(record.provider, machine, record.bonded));
                }
            }
            CurrentEpoch::mutate(|epoch| *epoch += UNBONDING_EPOCHS);
            for machine in Bonds::<Test>::iter_keys().collect::<Vec<_>>() {
                assert_ok!(withdraw(machine));
            }

            assert_eq!(Bonds::<Test>::iter().count(), 0);
            assert!(Machines::get().is_empty());
            for (account, made) in made {
                assert_eq!(held(account), 0);
                assert_eq!(Balances::free_balance(account), ENDOWMENT + made);
            }
        });
    }
}
