//! Random histories of weights, epochs and payouts, against a model that keeps everything and rounds nothing
//! away.

use std::collections::BTreeMap;

use assay_primitives::{clock::ActiveClock, emission::FlywheelLedger, money::Balance};
use polkadot_sdk::sp_core::U256;
use proptest::prelude::*;

use super::*;
use crate::{EpochRecords, Error, Event, MAX_WEIGHT_SEGMENTS, RemainingEmission};

const MACHINES: MachineId = 5;

/// Step of a history.
#[derive(Clone, Debug)]
enum Step {
    SetWeight(MachineId, RewardWeight),
    EndEpochs(u32),
    Payout(MachineId, u32),
    Fee(Balance),
    Uptime(MachineId, u32),
    Cap(Balance),
}

fn step() -> impl Strategy<Value = Step> {
    let weight = prop_oneof![
        2 => Just(0),
        6 => 1..1_000u64,
        1 => any::<u64>(),
    ];
    prop_oneof![
        6 => (0..MACHINES, weight).prop_map(|(machine, weight)| Step::SetWeight(machine, weight)),
        4 => (1..3u32).prop_map(Step::EndEpochs),
        // Once in a while long enough for rewards to fall out of history.
        1 => (1..2 * HISTORY).prop_map(Step::EndEpochs),
        4 => (0..MACHINES, 1..=MAX_EPOCHS).prop_map(|(machine, epochs)| Step::Payout(machine, epochs)),
        1 => (0..1_000_000u128).prop_map(Step::Fee),
        1 => (0..MACHINES, 0..=1_000_000u32).prop_map(|(machine, ppm)| Step::Uptime(machine, ppm)),
        1 => prop_oneof![Just(1), Just(CAP), 1..FIRST_POOL].prop_map(Step::Cap),
    ]
}

/// A machine in the model.
#[derive(Default)]
struct ModelMachine {
    /// Weight in each epoch up to the current one.
    weights: BTreeMap<EpochIndex, RewardWeight>,
    /// Weight in the current epoch.
    current: RewardWeight,
    /// Weight from the next epoch on.
    next: RewardWeight,
    /// True if the pallet may have merged segments, and so may pay less than the model.
    merged: bool,
}

/// The emission as the design tells it, without bounds.
#[derive(Default)]
struct Model {
    machines: BTreeMap<MachineId, ModelMachine>,
    /// Pool and total weight of each ended epoch.
    closed: BTreeMap<EpochIndex, (Balance, u128)>,
    /// Plancks minted for each epoch.
    minted: BTreeMap<EpochIndex, Balance>,
}

impl Model {
    fn set_weight(&mut self, machine: MachineId, weight: RewardWeight) {
        let steps = segments(machine).len() as u32;
        let machine = self.machines.entry(machine).or_default();
        // A change adds two steps at most.
        machine.merged |= steps + 2 > MAX_WEIGHT_SEGMENTS;
        machine.current = machine.current.min(weight);
        machine.next = weight;
    }

    fn end_epoch(&mut self, epoch: EpochIndex, pool: Balance) {
        let mut total = 0;
        for machine in self.machines.values_mut() {
            total += u128::from(machine.current);
            machine.weights.insert(epoch, machine.current);
            machine.current = machine.next;
        }
        self.closed.insert(epoch, (pool, total));
    }

    fn total_weight(&self) -> u128 {
        self.machines
            .values()
            .map(|machine| u128::from(machine.current))
            .sum()
    }

    fn next_total_weight(&self) -> u128 {
        self.machines
            .values()
            .map(|machine| u128::from(machine.next))
            .sum()
    }

    fn reward(&self, machine: MachineId, epoch: EpochIndex) -> Balance {
        let (pool, total) = self.closed[&epoch];
        let weight = self
            .machines
            .get(&machine)
            .and_then(|machine| machine.weights.get(&epoch))
            .copied();
        let uptime = Uptimes::get()
            .get(&(machine, epoch))
            .copied()
            .unwrap_or(1_000_000);
        if total == 0 {
            return 0;
        }
        (U256::from(pool) * U256::from(weight.unwrap_or(0)) * U256::from(uptime)
            / (U256::from(total) * U256::from(1_000_000)))
        .as_u128()
    }
}

/// Applies one step to pallet and model, and compares them.
fn apply(model: &mut Model, step: Step) {
    match step {
        Step::SetWeight(machine, weight) => {
            model.set_weight(machine, weight);
            set_weight(machine, weight);
        }
        Step::EndEpochs(count) => {
            for _ in 0..count {
                let epoch = MockClock::current_epoch();
                let remaining = RemainingEmission::<Test>::get();
                end_epochs(1);
                let record = EpochRecords::<Test>::get(epoch);
                model.end_epoch(epoch, record.pool);
                let total = model.closed[&epoch].1;
                assert_eq!(record.total_weight, total);
                // In 256 bits, in which nothing has to be cut off.
                let most = U256::from(total) * U256::from(CapPerWeight::get());
                assert_eq!(U256::from(record.pool), most.min((remaining / DIVISOR).into()));
                assert_eq!(record.pool + record.withheld, remaining / DIVISOR);
                assert_eq!(RemainingEmission::<Test>::get(), remaining - record.pool);
            }
        }
        Step::Payout(machine, max_epochs) => pay(model, machine, max_epochs),
        Step::Fee(fee) => RewardEmission::note_fee(fee, fee.div_ceil(2)),
        Step::Cap(cap) => CapPerWeight::set(cap),
        // Only of an epoch that is still to end: an ended one may have been paid.
        Step::Uptime(machine, ppm) => {
            Uptimes::mutate(|uptimes| uptimes.insert((machine, MockClock::current_epoch()), ppm));
        }
    }
    assert_eq!(sums().0, model.total_weight());
    assert_eq!(sums().0 + sums().1, model.next_total_weight());
}

/// Pays a machine and compares with the model: exactly, or, where segments may have been merged, as an upper
/// bound.
fn pay(model: &mut Model, machine: MachineId, max_epochs: u32) {
    let before = issuance();
    let due = RewardEmission::due(machine, max_epochs);
    let _ = take_events();
    let result = payout(machine, max_epochs);
    let Some(due) = due else {
        assert_eq!(result, Err(Error::<Test>::NothingToPay.into()));
        assert_eq!(issuance(), before);
        return;
    };
    result.unwrap();
    let amount = issuance() - before;
    assert_eq!(amount, due.amount);
    let events = take_events();
    assert!(
        matches!(
            events.as_slice(),
            [Event::RewardPaid { first_epoch, last_epoch, amount: paid, .. }]
                if (*first_epoch, *last_epoch, *paid) == (due.first_epoch, due.last_epoch, amount)
        ),
        "{events:?} is not the payout of {due:?}"
    );

    let owed: Balance = (due.first_epoch..=due.last_epoch)
        .map(|epoch| model.reward(machine, epoch))
        .sum();
    if model.machines[&machine].merged {
        assert!(amount <= owed, "machine {machine} was paid {amount} of {owed}");
    } else {
        assert_eq!(amount, owed, "machine {machine}");
    }
    for epoch in due.first_epoch..=due.last_epoch {
        model
            .minted
            .insert(epoch, EpochRecords::<Test>::get(epoch).minted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: every epoch mints at most its pool, every planck minted is in an epoch's accounts,
    /// machines get their exact share, and pools and remainder sum up to the cap.
    #[test]
    fn emission_is_exact_and_capped(steps in prop::collection::vec(step(), 1..120)) {
        ExtBuilder::default().build_and_execute(|| {
            let mut model = Model::default();
            let at_genesis = issuance();
            for step in steps {
                apply(&mut model, step);
                RewardEmission::do_try_state().unwrap();
            }
            // Everybody is paid everything.
            apply(&mut model, Step::EndEpochs(1));
            for machine in 0..MACHINES {
                while RewardEmission::due(machine, MAX_EPOCHS).is_some() {
                    apply(&mut model, Step::Payout(machine, MAX_EPOCHS));
                }
            }

            let minted: Balance = model.minted.values().sum();
            assert_eq!(issuance() - at_genesis, minted);
            for (epoch, minted) in &model.minted {
                assert!(*minted <= model.closed[epoch].0, "epoch {epoch} minted more than its pool");
            }
            let released: Balance = model.closed.values().map(|(pool, _)| pool).sum();
            assert_eq!(released + RemainingEmission::<Test>::get(), CAP);
        });
    }

    /// Machines that change their weight every epoch and are paid late: their oldest steps are merged, which
    /// may cost them, and never the pool.
    #[test]
    fn merged_steps_never_mint_too_much(
        weights in prop::collection::vec(prop::collection::vec(0..100u64, 3), 10..30),
    ) {
        ExtBuilder::default().build_and_execute(|| {
            let mut model = Model::default();
            for round in weights {
                for (machine, weight) in round.into_iter().enumerate() {
                    apply(&mut model, Step::SetWeight(machine as MachineId, weight));
                }
                apply(&mut model, Step::EndEpochs(1));
                RewardEmission::do_try_state().unwrap();
            }
            for machine in 0..3 {
                apply(&mut model, Step::Payout(machine, MAX_EPOCHS));
            }
        });
    }

    /// Machines that are up all the time and paid in time share all of a pool, but for one planck each.
    #[test]
    fn pool_is_shared_without_a_rest(weights in prop::collection::vec(1..u64::MAX, 1..10)) {
        ExtBuilder::default().build_and_execute(|| {
            for (machine, weight) in weights.iter().enumerate() {
                set_weight(machine as MachineId, *weight);
            }
            end_epochs(2);
            for machine in 0..weights.len() {
                payout(machine as MachineId, 1).unwrap();
            }
            let record = EpochRecords::<Test>::get(1);
            assert!(record.minted <= record.pool);
            assert!(record.pool - record.minted < weights.len() as Balance);
        });
    }
}
