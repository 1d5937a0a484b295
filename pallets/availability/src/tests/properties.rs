//! Random histories of sessions, epochs, reports, claims and busy blocks, against a model that keeps
//! everything and decides by counting.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{clock::EpochIndex, emission::EpochUptime, machine::MachineId, money::Balance};
use polkadot_sdk::frame_support::weights::Weight;
use proptest::prelude::*;

use crate::{EpochRecords, Rewards, mock::*};

/// Machines that the model follows.
const FOLLOWED: MachineId = 8;

/// Step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Validators with these numbers take over.
    Session(u32, u32),
    /// The epoch ends.
    EndEpoch,
    /// The validator at that place reports that it did not see the machines whose bits are set.
    Report(u32, u8),
    /// Somebody claims for the validator with that number.
    Claim(u32),
    /// A block has room for so much, in parts of the hook's share.
    Poll(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..6u32, 1..8u32).prop_map(|(first, count)| Step::Session(first, count)),
        4 => Just(Step::EndEpoch),
        10 => (0..8u32, prop_oneof![3 => Just(0), 2 => Just(0b0000_0111), 3 => any::<u8>()])
            .prop_map(|(index, failed)| Step::Report(index, failed)),
        2 => (0..12u32).prop_map(Step::Claim),
        3 => (0..=100u64).prop_map(Step::Poll),
    ]
}

/// An epoch in the model.
#[derive(Clone, Default)]
struct ModelEpoch {
    /// The validators' numbers, by their places.
    validators: Vec<u32>,
    /// Validators that watched each machine, by their indices.
    assigned: BTreeMap<MachineId, BTreeSet<u32>>,
    /// Validators that reported, with the machines that they did not see.
    reports: BTreeMap<u32, BTreeSet<MachineId>>,
}

impl ModelEpoch {
    /// Those that reported on the machine: how many saw it, and how many did not.
    fn votes(&self, machine: MachineId) -> (usize, usize) {
        let reporting: Vec<&BTreeSet<MachineId>> = self.assigned[&machine]
            .iter()
            .filter_map(|index| self.reports.get(index))
            .collect();
        let failed = reporting
            .iter()
            .filter(|failures| failures.contains(&machine))
            .count();
        (reporting.len() - failed, failed)
    }

    fn is_up(&self, machine: MachineId) -> bool {
        let (_, failed) = self.votes(machine);
        let alone = self.validators.len() == 1;
        let accused = 2 * failed > self.assigned[&machine].len() && (failed >= 2 || alone);
        !accused
    }

    /// The numbers of the validators that earn a reward.
    fn rewarded(&self) -> Vec<u32> {
        self.reports
            .iter()
            .filter(|(index, failures)| {
                self.assigned.iter().all(|(machine, watching)| {
                    let (saw, failed) = self.votes(*machine);
                    let against = if failures.contains(machine) { saw } else { failed };
                    !watching.contains(index) || saw + failed < 3 || against * 3 < (saw + failed) * 2
                })
            })
            .map(|(index, _)| self.validators[*index as usize])
            .collect()
    }
}

/// Availability as the design tells it, without bounds.
#[derive(Default)]
struct Model {
    epochs: BTreeMap<EpochIndex, ModelEpoch>,
    session: Vec<u32>,
    claimed: BTreeMap<u32, Balance>,
}

impl Model {
    fn epoch_began(&mut self) {
        let epoch = current_epoch();
        let assigned = (0..FOLLOWED)
            .map(|machine| (machine, assigned(machine, epoch).into_iter().collect()))
            .collect();
        self.epochs.insert(
            epoch,
            ModelEpoch {
                validators: self.session.clone(),
                assigned,
                reports: BTreeMap::new(),
            },
        );
    }

    /// Returns the rewards of each validator in the epochs before `settled`.
    fn earned(&self, settled: EpochIndex) -> BTreeMap<u32, Balance> {
        let mut earned = BTreeMap::new();
        for (_, epoch) in self.epochs.range(..settled) {
            for validator in epoch.rewarded() {
                *earned.entry(validator).or_default() += REWARD;
            }
        }
        earned
    }
}

fn apply(model: &mut Model, step: Step) {
    match step {
        Step::Session(first, count) => {
            model.session = (first..first + count).collect();
            new_session(model.session.clone());
        }
        Step::EndEpoch => {
            next_epoch();
            model.epoch_began();
        }
        Step::Report(index, failed) => {
            let Some(epoch) = current_epoch().checked_sub(1).filter(|epoch| *epoch > 0) else {
                return;
            };
            let of_epoch = model.epochs.get_mut(&epoch).unwrap();
            let Some(number) = of_epoch.validators.get(index as usize).copied() else {
                return;
            };
            let failures: BTreeSet<MachineId> = (0..FOLLOWED)
                .filter(|machine| failed & (1 << machine) != 0 && of_epoch.assigned[machine].contains(&index))
                .collect();
            let listed: Vec<MachineId> = failures.iter().copied().collect();
            let call = crate::Call::report {
                epoch,
                validator_index: index,
                after: None,
                failures: listed.clone().try_into().unwrap(),
                signature: sign(number, epoch, index, &listed),
            };
            let is_new = !of_epoch.reports.contains_key(&index);
            assert_eq!(authorize(call.clone()).is_ok(), is_new);
            assert_eq!(dispatch_authorized(call).is_ok(), is_new);
            of_epoch.reports.entry(index).or_insert(failures);
        }
        Step::Claim(number) => {
            let owed = owed(number);
            assert_eq!(claim(number).is_ok(), owed > 0);
            *model.claimed.entry(number).or_default() += owed;
        }
        Step::Poll(percent) => {
            let weight = SERVICE_WEIGHT.saturating_mul(percent) / 100;
            assert!(poll_with(weight).all_lte(weight));
        }
    }
    Availability::do_try_state().unwrap();
}

/// Every verdict of a closed epoch that is in history is the model's.
fn compare_verdicts(model: &Model) {
    let oldest = current_epoch().saturating_sub(HISTORY);
    for (epoch, of_epoch) in model
        .epochs
        .range(oldest..Availability::first_open_epoch().max(oldest))
    {
        for machine in 0..FOLLOWED {
            let expected = if of_epoch.is_up(machine) { 1_000_000 } else { 0 };
            assert_eq!(
                Availability::uptime_ppm(machine, *epoch),
                expected,
                "machine {machine} in epoch {epoch}"
            );
        }
    }
}

/// Checks that each validator's payments and owed plancks are the rewards in the model.
fn compare_rewards(model: &Model) {
    let earned = model.earned(crate::Settlement::<Test>::get().epoch);
    for number in 0..16 {
        let claimed = model.claimed.get(&number).copied().unwrap_or(0);
        assert_eq!(Balances::free_balance(stash(number)), claimed);
        assert_eq!(
            claimed + owed(number),
            earned.get(&number).copied().unwrap_or(0),
            "validator {number}"
        );
    }
}

/// Report of one of three validators, all of which watch all machines.
#[derive(Clone, Debug)]
struct Said {
    /// Machines that it did not see.
    failures: BTreeSet<MachineId>,
    /// Most parts of its report that blocks have.
    parts: usize,
}

impl Said {
    /// Number of parts of the whole report, the last of which is not full.
    fn parts_needed(&self) -> usize {
        self.failures.len() / MAX_FAILURES as usize + 1
    }

    /// The machines that the chain hears of.
    fn heard(&self) -> Vec<MachineId> {
        let heard = self.parts * MAX_FAILURES as usize;
        self.failures.iter().copied().take(heard).collect()
    }

    /// Returns true when the chain hears what it saw of the machine.
    fn tells_of(&self, machine: MachineId) -> bool {
        let is_behind = || self.heard().last().is_some_and(|last| machine > *last);
        self.parts > 0 && (self.parts >= self.parts_needed() || !is_behind())
    }
}

fn said() -> impl Strategy<Value = Said> {
    (
        prop_oneof![Just(0), Just(10), Just(40), 0..40u64],
        0..5usize,
        any::<u64>(),
    )
        .prop_map(|(most, parts, bits)| Said {
            failures: (0..MACHINES)
                .filter(|machine| *machine < most && bits & (1 << machine) != 0)
                .collect(),
            parts,
        })
}

/// Sends what a validator says, as far as blocks have room for it.
fn send(epoch: EpochIndex, validator: u32, said: &Said) {
    let mut after = None;
    let failures: Vec<MachineId> = said.failures.iter().copied().collect();
    for part in 0..said.parts.min(said.parts_needed()) {
        let from = part * MAX_FAILURES as usize;
        let to = failures.len().min(from + MAX_FAILURES as usize);
        report_part(epoch, validator, after, &failures[from..to]);
        after = failures[..to].last().copied();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However much of their reports comes: verdicts, outages and rewards are those of counting.
    #[test]
    fn parts_and_outages_are_as_counted(
        all_said in prop::collection::vec(said(), 3),
        weights in prop::collection::vec(0..4u64, MACHINES as usize),
    ) {
        ExtBuilder::default().validators(3).build_and_execute(|| {
            Weighty::set((0..).zip(weights.iter().copied()).collect());
            next_epoch();
            for (validator, said) in (0..).zip(&all_said) {
                send(1, validator, said);
            }
            next_epoch();
            poll();

            let accusers = |machine| all_said.iter().filter(|said| said.heard().contains(&machine)).count();
            let down: Vec<MachineId> = (0..MACHINES).filter(|machine| accusers(*machine) >= 2).collect();
            let down_weight: u64 = down.iter().map(|machine| weights[*machine as usize]).sum();
            let is_outage = down.len() >= 10 && down_weight * 3 > MACHINES;
            for machine in 0..MACHINES {
                let expected = if down.contains(&machine) { 0 } else { 1_000_000 };
                assert_eq!(Availability::uptime(machine, 1), Some(expected), "machine {machine}");
            }
            let record = EpochRecords::<Test>::get(1).unwrap();
            assert_eq!(record.down_machines as usize, down.len());
            assert_eq!(record.is_outage, is_outage);
            assert!(record.unfinished.is_empty(), "nothing is left of it in history");

            // With three that tell of a machine, one is against the other two.
            let is_alone = |said: &Said| {
                (0..MACHINES).any(|machine| {
                    let like = |other: &&Said| {
                        other.heard().contains(&machine) == said.heard().contains(&machine)
                    };
                    all_said.iter().all(|other| other.tells_of(machine))
                        && all_said.iter().filter(like).count() == 1
                })
            };
            for (validator, said) in (0..).zip(&all_said) {
                let earns = said.parts > 0 && !is_outage && !is_alone(said);
                assert_eq!(owed(validator), if earns { REWARD } else { 0 }, "validator {validator}");
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens: verdicts and rewards are the model's, and all that is kept is bounded.
    #[test]
    fn verdicts_and_rewards_are_what_was_reported(steps in prop::collection::vec(step(), 1..100)) {
        ExtBuilder::default().validators(6).build_and_execute(|| {
            let mut model = Model { session: (0..6).collect(), ..Default::default() };
            model.epoch_began();
            for step in steps {
                apply(&mut model, step);
                compare_verdicts(&model);
                compare_rewards(&model);
            }
            // Everything is settled and paid.
            for step in [Step::EndEpoch, Step::EndEpoch] {
                apply(&mut model, step);
            }
            poll();
            for number in 0..16 {
                apply(&mut model, Step::Claim(number));
            }
            compare_rewards(&model);
            assert_eq!(Rewards::<Test>::iter().count(), 0);
            assert!(EpochRecords::<Test>::iter().count() <= HISTORY as usize + 1);
            assert_eq!(poll_with(Weight::MAX), poll_with(Weight::MAX));
        });
    }
}
