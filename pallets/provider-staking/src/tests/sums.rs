//! Conservation of money under random calls: the held plancks are those on record, the issuance is the sum of
//! all balances, and everything comes back except for slashes.

use assay_primitives::{
    clock::EpochIndex,
    machine::{
        MachineId, MachineInspect,
        MachineStatus::{Active, Suspended},
        SuspensionReason::OwnRequest,
    },
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, ReportOffence, SlashId},
    stake::BondRewards,
};
use polkadot_sdk::{
    frame_support::{
        assert_ok, dispatch::DispatchResult, storage::with_storage_layer, traits::fungible::Mutate,
        weights::Weight,
    },
    sp_runtime::Permill,
};
use proptest::{prelude::*, sample::Index};

use crate::{Agenda, Bonds, Debts, Event, mock::*};

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
    ClassStakeChanges {
        amount: Balance,
    },
    Suspend {
        machine: MachineId,
    },
    Retire {
        machine: MachineId,
    },
    Offence {
        machine: MachineId,
        offence: Offence,
        victim: Victim,
    },
    Slash {
        machine: MachineId,
        parts: u32,
        victim: Victim,
    },
    Cancel {
        slash: Index,
    },
    Apply {
        slash: Index,
    },
    PayDebt {
        who: AccountId,
        debt: Index,
    },
    Poll {
        time: u64,
    },
}

/// Consumer that lost money by an offence, and the amount.
#[derive(Clone, Copy, Debug)]
struct Victim(Option<(AccountId, Balance)>);

impl From<Victim> for Beneficiaries<AccountId> {
    fn from(victim: Victim) -> Self {
        Self { consumer: victim.0 }
    }
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

/// Base bond that governance may set: zero in half of the cases.
fn asked() -> impl Strategy<Value = Balance> {
    prop_oneof![Just(0), 0..1_000 * ASY]
}

/// Somebody who can receive anything, somebody who cannot receive little, or the provider itself.
fn recipient() -> impl Strategy<Value = AccountId> {
    prop_oneof![Just(CONSUMER), Just(NEWCOMER), Just(PROVIDER)]
}

fn victim() -> impl Strategy<Value = Victim> {
    let loss = prop_oneof![0..2 * MINIMUM, 0..2 * EXISTENTIAL_DEPOSIT];
    prop::option::of((recipient(), loss)).prop_map(Victim)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (machine(), prop::sample::select(Offence::ALL.to_vec()), victim())
            .prop_map(|(machine, offence, victim)| Step::Offence { machine, offence, victim }),
        2 => (machine(), 0..=1_000_000_u32, victim())
            .prop_map(|(machine, parts, victim)| Step::Slash { machine, parts, victim }),
        2 => any::<Index>().prop_map(|slash| Step::Cancel { slash }),
        2 => any::<Index>().prop_map(|slash| Step::Apply { slash }),
        3 => (prop_oneof![Just(PROVIDER), Just(STRANGER), Just(CONSUMER)], any::<Index>())
            .prop_map(|(who, debt)| Step::PayDebt { who, debt }),
        4 => (0..10_000_000_000_u64).prop_map(|time| Step::Poll { time }),
        3 => (party(), amount()).prop_map(|((who, machine), amount)| Step::Bond { who, machine, amount }),
        3 => (party(), amount()).prop_map(|((who, machine), amount)| Step::BondExtra { who, machine, amount }),
        5 => (party(), amount()).prop_map(|((who, machine), amount)| Step::Unbond { who, machine, amount }),
        1 => machine().prop_map(|machine| Step::UnbondAll { machine }),
        3 => machine().prop_map(|machine| Step::Withdraw { machine }),
        1 => party().prop_map(|(who, machine)| Step::SetAutoStake { who, machine }),
        2 => (machine(), 0..=ASY).prop_map(|(machine, amount)| Step::Reward { machine, amount }),
        4 => (0..4_u32).prop_map(|epochs| Step::EpochsPass { epochs }),
        1 => asked().prop_map(|amount| Step::BaseBondChanges { amount }),
        1 => asked().prop_map(|amount| Step::ClassStakeChanges { amount }),
        1 => machine().prop_map(|machine| Step::Suspend { machine }),
        1 => machine().prop_map(|machine| Step::Retire { machine }),
    ]
}

/// One of the slashes in the agenda.
fn pick_slash(index: Index) -> Option<SlashId> {
    let mut slashes: Vec<_> = Agenda::<Test>::iter_keys()
        .map(|(epoch, index)| place(epoch, index))
        .collect();
    slashes.sort();
    (!slashes.is_empty()).then(|| *index.get(&slashes))
}

/// One of the debts.
fn pick_debt(index: Index) -> Option<(MachineId, SlashId)> {
    let mut debts: Vec<_> = Debts::<Test>::iter_keys().collect();
    debts.sort();
    (!debts.is_empty()).then(|| *index.get(&debts))
}

/// Lets the step happen as on a chain, where a failure changes nothing. Returns what was made for a reward.
fn act(step: Step) -> (AccountId, Balance) {
    let mut made = (PROVIDER, 0);
    let _: DispatchResult = with_storage_layer(|| match step {
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
            MockClock::advance_epochs(epochs);
            Ok(())
        }
        Step::BaseBondChanges { amount } => {
            LeastBond::set(amount);
            Ok(())
        }
        Step::ClassStakeChanges { amount } => {
            StakeOfClass::set(amount);
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
        Step::Offence {
            machine,
            offence,
            victim,
        } => ProviderStaking::report_offence(machine, offence, victim.into()).map(|_| ()),
        Step::Slash {
            machine,
            parts,
            victim,
        } => ProviderStaking::slash(
            RuntimeOrigin::root(),
            machine,
            Permill::from_parts(parts),
            victim.into(),
        ),
        Step::Cancel { slash } => pick_slash(slash).map_or(Ok(()), cancel_slash),
        Step::Apply { slash } => pick_slash(slash).map_or(Ok(()), apply_slash),
        Step::PayDebt { who, debt } => {
            pick_debt(debt).map_or(Ok(()), |(machine, id)| pay_debt(who, machine, id))
        }
        Step::Poll { time } => {
            poll_with(Weight::from_parts(time, u64::MAX));
            Ok(())
        }
    });
    made
}

/// Expected balance of every account, bonds included, and expected issuance.
struct Ledger {
    accounts: Vec<(AccountId, Balance)>,
    issuance: Balance,
}

impl Ledger {
    fn new() -> Self {
        let accounts: Vec<_> = [PROVIDER, OTHER_PROVIDER, STRANGER, CONSUMER, NEWCOMER]
            .map(|account| (account, total_balance(account)))
            .into();
        Self {
            issuance: accounts.iter().map(|(_, balance)| balance).sum(),
            accounts,
        }
    }

    fn of(&mut self, who: AccountId) -> &mut Balance {
        let (_, balance) = self
            .accounts
            .iter_mut()
            .find(|(account, _)| *account == who)
            .unwrap();
        balance
    }

    /// Takes from one account what a slash or a debt cost, and notes what was burned.
    fn pay(&mut self, payer: AccountId, recipient: Option<AccountId>, amount: Balance, burned: Balance) {
        *self.of(payer) -= amount + burned;
        self.issuance -= burned;
        if let Some(recipient) = recipient {
            *self.of(recipient) += amount;
        } else {
            assert_eq!(amount, 0);
        }
    }

    fn check(&self) {
        for (account, balance) in &self.accounts {
            assert_eq!(total_balance(*account), *balance, "of account {account}");
        }
        assert_eq!(Balances::total_issuance(), self.issuance);
        assert_eq!(Balances::total_issuance(), sum_of_balances());
    }
}

/// Returns the provider that owns the machine, or did.
fn owner(machine: MachineId) -> AccountId {
    if machine == OTHER_MACHINE {
        OTHER_PROVIDER
    } else {
        PROVIDER
    }
}

/// The consumer that each slash makes whole, of those that were ever queued.
type Shares = Vec<(SlashId, Option<AccountId>)>;

/// Records the consumers of new slashes.
fn note_slashes(shares: &mut Shares) {
    for (epoch, index, slash) in Agenda::<Test>::iter() {
        let id = place(epoch, index);
        if shares.iter().all(|(other, _)| *other != id) {
            let consumer = slash.beneficiaries.consumer.map(|(account, _)| account);
            shares.push((id, consumer));
        }
    }
}

/// Brings the ledger up to what the events tell, and checks that no slash took more than was held.
fn follow_events(ledger: &mut Ledger, shares: &Shares, mut held_before: impl FnMut(MachineId) -> Balance) {
    let recipient = |id| {
        let (_, recipient) = shares.iter().find(|(slash, _)| *slash == id).unwrap();
        *recipient
    };
    let mut taken_of: Vec<(MachineId, Balance)> = Vec::new();
    for event in take_events() {
        match event {
            Event::Slashed {
                id,
                machine,
                taken,
                to_consumer,
                burned,
                ..
            } => {
                assert_eq!(taken, to_consumer + burned);
                ledger.pay(owner(machine), recipient(id), to_consumer, burned);
                taken_of.push((machine, taken));
                let sum: Balance = taken_of
                    .iter()
                    .filter(|(other, _)| *other == machine)
                    .map(|(_, taken)| taken)
                    .sum();
                assert!(sum <= held_before(machine));
            }
            Event::DebtPaid {
                id,
                payer,
                to_consumer,
                burned,
                ..
            } => {
                ledger.pay(payer, recipient(id), to_consumer, burned);
            }
            _ => {}
        }
    }
}

const ALL_MACHINES: [MachineId; 3] = [MACHINE, SECOND_MACHINE, OTHER_MACHINE];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn money_is_where_the_records_say_and_all_comes_back(steps in prop::collection::vec(step(), 0..80)) {
        ExtBuilder::default().build_and_execute(|| {
            let mut ledger = Ledger::new();
            let mut shares = Shares::new();
            for step in steps {
                let before = ALL_MACHINES.map(|machine| (machine, held_for(machine)));
                let held_before = |machine| {
                    let (_, held) = before.iter().find(|(other, _)| *other == machine).unwrap();
                    *held
                };
                let (who, amount) = act(step);
                *ledger.of(who) += amount;
                ledger.issuance += amount;
                note_slashes(&mut shares);
                follow_events(&mut ledger, &shares, held_before);

                ProviderStaking::do_try_state().unwrap();
                ledger.check();
                for machine in ALL_MACHINES {
                    assert!(
                        MockRegistry::status(machine) != Some(Active)
                            || Bonds::<Test>::get(machine).is_some_and(|record| record.bonded > 0),
                        "machine {machine} works without a bond"
                    );
                }
                for account in [PROVIDER, OTHER_PROVIDER] {
                    let recorded: Balance = Bonds::<Test>::iter_values()
                        .filter(|record| record.provider == account)
                        .map(|record| record.total_held())
                        .sum();
                    assert_eq!(held(account), recorded);
                }
            }

            // Let every slash be applied, and pay what is owed.
            MockClock::advance_epochs(100);
            while Agenda::<Test>::iter().next().is_some() {
                poll();
            }
            follow_events(&mut ledger, &shares, |_| Balance::MAX);
            ledger.check();
            Balances::mint_into(&STRANGER, 1_000_000 * ASY).unwrap();
            *ledger.of(STRANGER) += 1_000_000 * ASY;
            ledger.issuance += 1_000_000 * ASY;
            for (machine, id) in Debts::<Test>::iter_keys().collect::<Vec<_>>() {
                assert_ok!(pay_debt(STRANGER, machine, id));
            }
            follow_events(&mut ledger, &shares, |_| 0);

            // Retire, unbond, wait, withdraw.
            for machine in ALL_MACHINES {
                retire(machine);
                let Some(record) = Bonds::<Test>::get(machine) else { continue };
                if record.unlocking.is_full() {
                    MockClock::advance_epochs(UNBONDING_EPOCHS);
                    assert_ok!(withdraw(machine));
                }
                if record.bonded > 0 {
                    assert_ok!(unbond(record.provider, machine, record.bonded));
                }
            }
            MockClock::advance_epochs(UNBONDING_EPOCHS);
            for machine in Bonds::<Test>::iter_keys().collect::<Vec<_>>() {
                assert_ok!(withdraw(machine));
            }

            assert_eq!(Bonds::<Test>::iter().count(), 0);
            assert!(Machines::get().is_empty());
            ledger.check();
            for account in [PROVIDER, OTHER_PROVIDER] {
                assert_eq!(held(account), 0);
            }
        });
    }
}
