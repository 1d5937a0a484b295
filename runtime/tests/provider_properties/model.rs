//! Model of the stakes held, pending and owed, derived from the calls and the events.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    machine::{
        MachineId,
        MachineStatus::{Active, Retired, Suspended},
        SuspensionReason::{Condemned, Offence as ForOffence},
    },
    money::Balance,
    offence::{Beneficiaries, Offence, SlashId},
};
use assay_runtime::{AccountId, ChainClock, Runtime, RuntimeEvent, System, parameters::bounded};
use pallet_job_escrow::{Assignments, Diversion, JobId};
use pallet_provider_registry::Machines;
use pallet_provider_staking::{Agenda, Bonds, Debts, SlashReason};
use polkadot_sdk::{frame_support::traits::Get, frame_system, pallet_balances, sp_runtime::Permill};

use crate::common::*;

type StakingEvent = pallet_provider_staking::Event<Runtime>;

pub(crate) fn machines() -> Vec<MachineId> {
    let mut machines: Vec<_> = Machines::<Runtime>::iter_keys().collect();
    machines.sort_unstable();
    machines
}

pub(crate) fn parts() -> Vec<(JobId, MachineId)> {
    let mut parts: Vec<_> = Assignments::<Runtime>::iter_keys().collect();
    parts.sort_unstable();
    parts
}

pub(crate) fn slashes() -> Vec<SlashId> {
    let mut slashes: Vec<_> = Agenda::<Runtime>::iter_keys()
        .map(|(due_epoch, index)| SlashId { due_epoch, index })
        .collect();
    slashes.sort_unstable();
    slashes
}

pub(crate) fn debts() -> Vec<(MachineId, SlashId)> {
    let mut debts: Vec<_> = Debts::<Runtime>::iter_keys().collect();
    debts.sort_unstable();
    debts
}

/// Returns the plancks held for a machine, and the bonded part of them.
pub(crate) fn bond_of(machine: MachineId) -> (Balance, Balance) {
    Bonds::<Runtime>::get(machine).map_or((0, 0), |record| (record.total_held(), record.bonded))
}

/// Slash as it must be applied.
#[derive(Clone, Debug)]
struct ExpectedSlash {
    machine: MachineId,
    reason: SlashReason,
    owed: Balance,
    /// Plancks due to the consumer and to be burned, in the order of payment.
    dues: [Balance; 2],
    ends_machine: bool,
}

/// Takes the first plancks of dues, and leaves the others.
fn take(dues: &mut [Balance; 2], amount: Balance) -> [Balance; 2] {
    let mut left = amount;
    dues.each_mut().map(|due| {
        let part = left.min(*due);
        *due -= part;
        left -= part;
        part
    })
}

/// Expected state of the stakes, derived from the calls and the events.
#[derive(Default)]
pub(crate) struct Model {
    /// Plancks held for each machine.
    held: BTreeMap<MachineId, Balance>,
    /// Slashes that were neither applied nor cancelled.
    pending: BTreeMap<SlashId, ExpectedSlash>,
    /// Debts that slashes left.
    debts: BTreeMap<(MachineId, SlashId), [Balance; 2]>,
    /// Number of each machine's offences of each kind, and the epoch of the last.
    strikes: BTreeMap<(MachineId, Offence), (u8, EpochIndex)>,
    /// Machines condemned to leave the market for good.
    condemned: BTreeSet<MachineId>,
    /// Shares burned because nobody could receive them, which the next event counts.
    burned_shares: Vec<(SlashId, AccountId, Balance)>,
    issuance: Balance,
    /// Names of the events seen.
    pub(crate) seen: BTreeSet<String>,
}

impl Model {
    pub(crate) fn of_the_chain() -> Self {
        Self {
            issuance: issuance(),
            ..Self::default()
        }
    }

    fn held(&mut self, machine: MachineId) -> &mut Balance {
        self.held.entry(machine).or_default()
    }

    fn pending_of(&self, machine: MachineId) -> Balance {
        let own = self.pending.values().filter(|slash| slash.machine == machine);
        own.map(|slash| slash.owed).sum()
    }

    fn debt_of(&self, machine: MachineId) -> Balance {
        let own = self.debts.iter().filter(|((owing, _), _)| *owing == machine);
        own.map(|(_, dues)| dues.iter().sum::<Balance>()).sum()
    }

    /// Processes all events since the last call. `shares`: the beneficiaries of a queued slash, with the
    /// fraction that governance named.
    pub(crate) fn follow(&mut self, shares: &Beneficiaries<AccountId>, fraction: Permill) {
        for record in System::events() {
            self.see(&record.event);
            match record.event {
                RuntimeEvent::ProviderStaking(event) => self.follow_staking(event, shares, fraction),
                RuntimeEvent::ProviderRegistry(pallet_provider_registry::Event::MachineRemoved {
                    machine,
                    ..
                }) => {
                    assert_eq!(*self.held(machine), 0, "a machine is gone whose bond is not");
                    assert_eq!(self.pending_of(machine), 0);
                    assert_eq!(self.debt_of(machine), 0);
                    self.strikes.retain(|(striker, _), _| *striker != machine);
                }
                RuntimeEvent::JobEscrow(pallet_job_escrow::Event::PaymentSettled { burned, .. }) => {
                    self.issuance -= burned;
                }
                RuntimeEvent::JobEscrow(pallet_job_escrow::Event::PaymentDiverted {
                    amount,
                    destination: Diversion::Burned,
                    ..
                }) => self.issuance -= amount,
                RuntimeEvent::RewardEmission(pallet_reward_emission::Event::RewardPaid {
                    amount, ..
                }) => {
                    self.issuance += amount;
                }
                RuntimeEvent::Balances(pallet_balances::Event::DustLost { amount, .. }) => {
                    self.issuance -= amount;
                }
                _ => {}
            }
        }
        System::reset_events();
    }

    fn see(&mut self, event: &RuntimeEvent) {
        let text = match event {
            RuntimeEvent::ProviderRegistry(event) => format!("{event:?}"),
            RuntimeEvent::ProviderStaking(event) => format!("{event:?}"),
            RuntimeEvent::JobEscrow(pallet_job_escrow::Event::AssignmentClosed { outcome, .. }) => {
                format!("{outcome:?}")
            }
            _ => return,
        };
        let name = text.split([' ', '{']).next().unwrap_or_default();
        self.seen.insert(name.trim_start_matches("Event::").into());
    }

    fn follow_staking(&mut self, event: StakingEvent, shares: &Beneficiaries<AccountId>, fraction: Permill) {
        match event {
            StakingEvent::Bonded { machine, amount, .. } => {
                assert_eq!(self.debt_of(machine), 0, "a machine in debt took a bond");
                *self.held(machine) += amount;
            }
            StakingEvent::Withdrawn { machine, amount } => {
                let locked = self.pending_of(machine);
                assert_eq!(self.debt_of(machine), 0, "something left that is owed");
                let held = self.held(machine);
                *held = held.checked_sub(amount).unwrap();
                assert!(*held >= locked, "something left that is locked");
            }
            StakingEvent::SlashQueued {
                id,
                machine,
                reason,
                owed,
            } => {
                let slash = self.expect_slash(machine, reason, shares, fraction);
                assert_eq!(owed, slash.owed, "of {slash:?}");
                assert!(
                    self.pending.insert(id, slash).is_none(),
                    "{id:?} was given out twice"
                );
            }
            StakingEvent::SlashCancelled { id, machine } => {
                let slash = self.pending.remove(&id).unwrap();
                assert_eq!(slash.machine, machine);
                if let SlashReason::Offence(offence) = slash.reason
                    && let Some((count, _)) = self.strikes.get_mut(&(machine, offence))
                {
                    *count = count.saturating_sub(1);
                }
            }
            StakingEvent::Slashed {
                id,
                machine,
                taken,
                to_consumer,
                burned,
                debt,
            } => {
                assert!(
                    id.due_epoch <= ChainClock::current_epoch(),
                    "{id:?} was applied early"
                );
                let mut slash = self.pending.remove(&id).unwrap();
                assert_eq!(slash.machine, machine);
                let held = self.held(machine);
                assert_eq!(taken, slash.owed.min(*held), "a slash takes what there is");
                *held -= taken;
                let paid = take(&mut slash.dues, taken);
                self.check_payout(id, paid, [to_consumer, burned]);
                assert_eq!(debt, slash.owed - taken, "and the rest is owed");
                if debt > 0 {
                    self.debts.insert((machine, id), slash.dues);
                }
                if slash.ends_machine {
                    self.condemned.insert(machine);
                }
            }
            StakingEvent::DebtPaid {
                id,
                machine,
                to_consumer,
                burned,
                ..
            } => {
                let dues = self.debts.remove(&(machine, id)).unwrap();
                self.check_payout(id, dues, [to_consumer, burned]);
            }
            StakingEvent::ShareBurned {
                id,
                recipient,
                amount,
            } => self.burned_shares.push((id, recipient, amount)),
            _ => {}
        }
    }

    /// Computes the cost and the shares of a slash that was just queued.
    fn expect_slash(
        &mut self,
        machine: MachineId,
        reason: SlashReason,
        shares: &Beneficiaries<AccountId>,
        fraction: Permill,
    ) -> ExpectedSlash {
        let (fraction, ends_machine) = match reason {
            SlashReason::Governance => (fraction, false),
            SlashReason::Offence(offence) => {
                let before = self.strike(machine, offence);
                let penalty = bounded::Offences::get().penalty(offence);
                let ends_machine = match offence {
                    Offence::ForgedEvidence => true,
                    Offence::ChallengeWrong => before > 0,
                    _ => false,
                };
                (penalty.fraction(before), ends_machine)
            }
        };
        let owed = fraction.mul_floor((*self.held(machine)).max(minimum_bond(machine)));
        let to_consumer = shares.consumer.as_ref().map_or(0, |(_, loss)| owed.min(*loss));
        ExpectedSlash {
            machine,
            reason,
            owed,
            dues: [to_consumer, owed - to_consumer],
            ends_machine,
        }
    }

    /// Records an offence and returns how often the machine committed it before.
    fn strike(&mut self, machine: MachineId, offence: Offence) -> u8 {
        let epoch = ChainClock::current_epoch();
        let (count, last) = self.strikes.entry((machine, offence)).or_default();
        if epoch - *last > bounded::StrikeMemoryEpochs::get() {
            *count = 0;
        }
        *last = epoch;
        *count += 1;
        *count - 1
    }

    /// Compares the payment with the dues: a share that the consumer could not receive was burned.
    fn check_payout(&mut self, id: SlashId, mut due: [Balance; 2], paid: [Balance; 2]) {
        for (slash, _, amount) in std::mem::take(&mut self.burned_shares) {
            assert_eq!((slash, amount), (id, due[0]));
            due = [0, due[1] + amount];
        }
        assert_eq!(paid, due, "of {id:?}");
        self.issuance -= paid[1];
    }

    /// Compares the chain with the model.
    pub(crate) fn check(&self) {
        assert_eq!(issuance(), self.issuance);
        assert_eq!(issuance(), sum_of_accounts(), "the issuance is what there is");

        let of_chain: BTreeMap<_, _> = Bonds::<Runtime>::iter()
            .map(|(machine, record)| (machine, (record.total_held(), record.pending, record.debt)))
            .filter(|(_, sums)| *sums != (0, 0, 0))
            .collect();
        let known = self.held.keys().copied().chain(machines());
        let of_model: BTreeMap<_, _> = known
            .map(|machine| {
                let held = self.held.get(&machine).copied().unwrap_or_default();
                (machine, (held, self.pending_of(machine), self.debt_of(machine)))
            })
            .filter(|(_, sums)| *sums != (0, 0, 0))
            .collect();
        assert_eq!(of_chain, of_model, "held, pending and owed of each machine");
        assert_eq!(slashes(), self.pending.keys().copied().collect::<Vec<_>>());
        assert_eq!(debts(), self.debts.keys().copied().collect::<Vec<_>>());

        for machine in &self.condemned {
            assert!(
                matches!(status(*machine), None | Some(Retired | Suspended(Condemned))),
                "a condemned machine came back"
            );
        }
        for slash in self.pending.values() {
            assert!(
                status(slash.machine) != Some(Active)
                    || bond_of(slash.machine).1 >= self.pending_of(slash.machine),
                "a machine works although all that it has is lost already"
            );
            let suspends = matches!(
                slash.reason,
                SlashReason::Offence(Offence::ChallengeWrong | Offence::ForgedEvidence)
            );
            assert!(
                !suspends
                    || matches!(
                        status(slash.machine),
                        Some(Retired | Suspended(ForOffence | Condemned))
                    ),
                "a machine works although its offence takes it out of the market"
            );
        }
    }
}

/// Returns the sum of all accounts' balances, held or not.
fn sum_of_accounts() -> Balance {
    frame_system::Account::<Runtime>::iter_values()
        .map(|account| account.data.free + account.data.reserved)
        .sum()
}
