//! Random histories of rounds, answers, leases, silence and cheating, against a model that remembers
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{
    challenge::{ChallengePhase, RoundId, RoundKind},
    clock::{ActiveClock, Millis},
    machine::{
        HardwareProofs, MachineId,
        MachineStatus::{Active, Suspended, Unproven},
        SuspensionReason::OwnRequest,
    },
    offence::Offence,
};
use assay_proof::SlotProof;
use polkadot_sdk::frame_support::weights::Weight;
use proptest::prelude::*;

use crate::{MAX_LIVE_AUDITS, MAX_LIVE_ROUNDS, NextRound, OldestRound, Rounds, mock::*};

/// Machines that the model follows; each has two slots.
const FOLLOWED: MachineId = 4;
const SLOTS: u8 = 2;

/// Step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// So many blocks.
    Blocks(u8),
    /// A block that has room for so much, in parts of the hook's share.
    BusyBlock(u64),
    /// A long time without blocks.
    Pass(u64),
    /// An audit is overdue.
    Audit,
    /// The machine's worker does what it owes in the oldest round that it may answer: rightly, or not.
    Answer(MachineId, bool),
    /// Slots of the machine are leased, or given back.
    Lease(MachineId, bool),
    /// The machine leaves the market for a while, or comes back.
    Suspend(MachineId, bool),
    /// Somebody reports whoever can be reported.
    ReportMissed,
    /// Somebody reports the machine whose proof may have expired.
    ReportExpired(MachineId),
}

fn step() -> impl Strategy<Value = Step> {
    let machine = || 0..FOLLOWED;
    prop_oneof![
        8 => (1..8u8).prop_map(Step::Blocks),
        2 => (0..=100u64).prop_map(Step::BusyBlock),
        1 => (1..200u64).prop_map(Step::Pass),
        3 => Just(Step::Audit),
        20 => (machine(), prop::bool::weighted(0.95)).prop_map(|(machine, right)| Step::Answer(machine, right)),
        5 => (machine(), any::<bool>()).prop_map(|(machine, back)| Step::Lease(machine, back)),
        2 => (machine(), any::<bool>()).prop_map(|(machine, back)| Step::Suspend(machine, back)),
        4 => Just(Step::ReportMissed),
        1 => machine().prop_map(Step::ReportExpired),
    ]
}

/// Result of a machine in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Committed { right: bool },
    Proven,
    Wrong,
    Reported,
}

/// The rules as the head of the crate tells them, without bounds and shortcuts.
#[derive(Default)]
struct Model {
    /// Free slots of each machine when each round opened, and true if it was active.
    at_opening: BTreeMap<RoundId, BTreeMap<MachineId, (u8, bool)>>,
    opened_at_ms: BTreeMap<RoundId, Millis>,
    kinds: BTreeMap<RoundId, RoundKind>,
    outcomes: BTreeMap<(RoundId, MachineId), Outcome>,
    /// Machines that are no newcomers, and the first round that counts for them.
    first_round: BTreeMap<MachineId, RoundId>,
    /// Slots that were proven, and until when.
    proofs: BTreeMap<MachineId, Vec<(u8, Millis)>>,
    /// Wrong answers, in order.
    wrong: Vec<MachineId>,
    /// Machines that were reported in each round.
    missed: BTreeMap<RoundId, Vec<MachineId>>,
}

impl Model {
    /// Makes a block, and notes the round that opened in it with what the machines were before.
    fn block(&mut self, make: impl FnOnce()) {
        let before: BTreeMap<MachineId, (u8, bool)> = Machines::get()
            .iter()
            .map(|(machine, record)| (*machine, (record.free_slots, record.status == Active)))
            .collect();
        make();
        let next = self.at_opening.len() as RoundId;
        if next < NextRound::<Test>::get() {
            assert_eq!(next + 1, NextRound::<Test>::get(), "a block opens one round");
            self.at_opening.insert(next, before);
            self.opened_at_ms.insert(next, round_record(next).opened_at_ms);
            self.kinds.insert(next, round_record(next).kind);
        }
    }

    /// Returns the machine's number of slots in the round and true if it owes an answer; none if it may not
    /// answer.
    fn due(&self, round: RoundId, machine: MachineId) -> Option<(bool, u8)> {
        let (free_slots, was_active) = self.at_opening[&round][&machine];
        match self.kinds[&round] {
            RoundKind::Newcomers => (!self.first_round.contains_key(&machine)).then_some((false, free_slots)),
            RoundKind::Audit => (free_slots > 0).then_some((was_active, free_slots)),
        }
    }

    fn proven_slots(&self, machine: MachineId) -> u8 {
        self.proofs
            .get(&machine)
            .into_iter()
            .flatten()
            .filter(|(_, until_ms)| now_ms() <= *until_ms)
            .map(|(slots, _)| *slots)
            .max()
            .unwrap_or(0)
    }

    fn lose(&mut self, machine: MachineId) {
        self.proofs.remove(&machine);
        self.first_round.insert(machine, NextRound::<Test>::get());
    }

    fn prove(&mut self, round: RoundId, machine: MachineId, slots: u8) {
        let until_ms = self.opened_at_ms[&round] + SCHEDULE.max_proof_age_ms;
        let first_round = self.first_round.get(&machine).copied().unwrap_or(0);
        if round >= first_round && until_ms >= now_ms() {
            self.first_round.insert(machine, first_round);
            self.proofs.entry(machine).or_default().push((slots, until_ms));
        }
    }

    /// Machines that are punished for their silence in a round: all that were reported, unless they are a
    /// third of those that owed an answer.
    fn punished(&self, round: RoundId) -> Vec<MachineId> {
        let missed = self.missed.get(&round).cloned().unwrap_or_default();
        let owed = |machine: &MachineId| self.due(round, *machine).is_some_and(|(is_owed, _)| is_owed);
        let answered = (0..FOLLOWED)
            .filter(|machine| {
                let outcome = self.outcomes.get(&(round, *machine));
                owed(machine) && matches!(outcome, Some(Outcome::Proven | Outcome::Wrong))
            })
            .count();
        let silent = missed.iter().filter(|machine| owed(machine)).count();
        if silent > 0 && silent * 3 >= answered + silent {
            return Vec::new();
        }
        missed
    }

    /// The offences and what every machine has proven are the model's.
    fn compare(&self) {
        let of = |offence| -> Vec<MachineId> {
            Reported::get()
                .into_iter()
                .filter(|(_, of)| *of == offence)
                .map(|(machine, ..)| machine)
                .collect()
        };
        assert_eq!(of(Offence::ChallengeWrong), self.wrong);
        let mut silent = of(Offence::ChallengeUnanswered);
        // A round whose answers are still being forgotten may have punished some of its machines.
        let oldest = OldestRound::<Test>::get();
        let mut least: Vec<MachineId> = (0..oldest).flat_map(|round| self.punished(round)).collect();
        let mut most = least.clone();
        if oldest < NextRound::<Test>::get() && round_record(oldest).outcome.is_some() {
            most.extend(self.punished(oldest));
        }
        for list in [&mut silent, &mut least, &mut most] {
            list.sort_unstable();
        }
        assert!(
            is_among(&least, &silent) && is_among(&silent, &most),
            "{least:?} {silent:?} {most:?}"
        );
        for machine in 0..FOLLOWED {
            assert_eq!(
                proven_slots(machine),
                self.proven_slots(machine),
                "machine {machine}"
            );
            assert_eq!(
                HardwareChallenge::is_proven(machine),
                self.proven_slots(machine) > 0
            );
            for round in OldestRound::<Test>::get()..NextRound::<Test>::get() {
                let offered = due_in(round, machine)
                    .is_some_and(|due| matches!(due.phase, ChallengePhase::Commit { .. }));
                let expected = !self.outcomes.contains_key(&(round, machine))
                    && self.due(round, machine).is_some()
                    && now_ms() <= self.opened_at_ms[&round] + PARAMS.deadline_ms;
                assert_eq!(offered, expected, "round {round}, machine {machine}");
            }
        }
    }
}

/// Returns true where a sorted list holds every element of another one, as often as that does.
fn is_among(part: &[MachineId], whole: &[MachineId]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|machine| rest.any(|other| other == machine))
}

/// The machine's worker does the next thing that it can, and the model knows what must come of it.
fn work(model: &mut Model, machine: MachineId, right: bool) {
    for due in HardwareChallenge::challenge_due(machine) {
        let round = due.round;
        match due.phase {
            ChallengePhase::Commit { .. } => {
                assert_eq!(model.due(round, machine), Some((due.is_owed, due.slots)));
                let mut roots = honest_roots(&due, machine);
                if !right {
                    roots[0][0] ^= 1;
                }
                send(signed_commit(round, machine, &roots));
                model
                    .outcomes
                    .insert((round, machine), Outcome::Committed { right });
                return;
            }
            ChallengePhase::AwaitOpenings { .. } => {}
            ChallengePhase::Prove { next_slot, .. } => {
                assert_eq!(next_slot, 0);
                let proofs: Vec<SlotProof> = (0..due.slots)
                    .map(|slot| honest_proof(&due, machine, slot))
                    .collect();
                send(signed_prove(round, machine, 0, &proofs));
                let is_right = model.outcomes[&(round, machine)] == Outcome::Committed { right: true };
                if is_right {
                    model.outcomes.insert((round, machine), Outcome::Proven);
                    model.prove(round, machine, due.slots);
                } else {
                    model.outcomes.insert((round, machine), Outcome::Wrong);
                    model.wrong.push(machine);
                    model.lose(machine);
                    // Its provider brings it back, unproven.
                    set_status(machine, Unproven);
                }
                return;
            }
        }
    }
}

/// Everybody who can be reported is, and nobody else.
fn report_all(model: &mut Model) {
    let reportable: BTreeSet<RoundId> = HardwareChallenge::reportable_rounds().into_iter().collect();
    for round in OldestRound::<Test>::get()..NextRound::<Test>::get() {
        for machine in 0..FOLLOWED {
            let expected = reportable.contains(&round)
                && match model.outcomes.get(&(round, machine)) {
                    Some(Outcome::Committed { .. }) => true,
                    Some(_) => false,
                    None => model.due(round, machine).is_some_and(|(is_owed, _)| is_owed),
                };
            let listed =
                HardwareChallenge::missed(round, 0, 100).is_some_and(|page| page.machines.contains(&machine));
            assert_eq!(listed, expected, "round {round}, machine {machine}");
            assert_eq!(report_missed(round, machine).is_ok(), expected);
            if expected {
                model.outcomes.insert((round, machine), Outcome::Reported);
                model.missed.entry(round).or_default().push(machine);
                model.lose(machine);
            }
        }
    }
}

fn apply(model: &mut Model, step: Step) {
    match step {
        Step::Blocks(count) => {
            for _ in 0..count {
                model.block(next_block);
            }
        }
        Step::BusyBlock(percent) => {
            let weight = SERVICE_WEIGHT.saturating_mul(percent) / 100;
            model.block(|| assert!(block_with(BLOCK_MS, weight).all_lte(weight)));
        }
        Step::Pass(epochs) => {
            model.block(|| block_after(epochs * EPOCH_MS));
        }
        Step::Audit => {
            crate::LastAuditMs::<Test>::put(0);
            model.block(next_block);
        }
        Step::Answer(machine, right) => work(model, machine, right),
        Step::Lease(machine, back) => {
            let record = Machines::get()[&machine].clone();
            if back && record.free_slots < record.slots {
                lease(machine, -1);
            } else if !back && record.free_slots > 0 && record.status == Active {
                lease(machine, 1);
            }
        }
        Step::Suspend(machine, back) => match status(machine) {
            Active if !back => set_status(machine, Suspended(OwnRequest)),
            Suspended(_) if back => {
                let to = if proven_slots(machine) > 0 {
                    Active
                } else {
                    Unproven
                };
                set_status(machine, to)
            }
            _ => {}
        },
        Step::ReportMissed => report_all(model),
        Step::ReportExpired(machine) => {
            let has_expired = HardwareChallenge::has_expired(machine);
            let result = HardwareChallenge::report_expired(RuntimeOrigin::signed(STRANGER), machine);
            assert_eq!(result.is_ok(), has_expired);
        }
    }
    model.compare();
    HardwareChallenge::do_try_state().unwrap();
    assert!(Rounds::<Test>::iter().count() <= MAX_LIVE_ROUNDS as usize);
    assert!(crate::Audits::<Test>::get().len() <= MAX_LIVE_AUDITS as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens: who is due, punished and proven is the model's, and nothing is left over.
    #[test]
    fn offences_and_proofs_are_what_was_answered(steps in prop::collection::vec(step(), 1..120)) {
        ExtBuilder::default().build_and_execute(|| {
            let mut model = Model::default();
            for worker in 0..FOLLOWED as u8 {
                register(worker + 1, SLOTS);
            }
            model.block(next_block);
            for step in steps {
                apply(&mut model, step);
            }
            // Everything ends: rounds are forgotten and proofs expire.
            crate::LastNewcomersMs::<Test>::put(u64::MAX);
            crate::LastAuditMs::<Test>::put(u64::MAX);
            crate::AuditsDrawnUntilMs::<Test>::put(u64::MAX);
            for after_ms in [BLOCK_MS, MILLIS_OF_A_ROUND, BLOCK_MS, MILLIS_OF_A_ROUND] {
                crate::AuditsDrawnUntilMs::<Test>::put(u64::MAX);
                block_after(after_ms);
            }
            crate::AuditsDrawnUntilMs::<Test>::put(u64::MAX);
            block_after(SCHEDULE.max_proof_age_ms + EPOCH_MS);
            for _ in 0..200 {
                block_with(0, Weight::MAX);
            }
            assert_eq!(Rounds::<Test>::iter().count(), 0);
            assert_eq!(crate::Answers::<Test>::iter().count(), 0);
            assert_eq!(crate::Exposures::<Test>::iter().count(), 0);
            assert_eq!(crate::Expiries::<Test>::iter().count(), 0);
            assert_eq!(crate::NextExpiryEpoch::<Test>::get(), MockClock::current_epoch() + 1);
            model.compare();
            for machine in 0..FOLLOWED {
                assert_ne!(status(machine), Active);
            }
        });
    }
}

/// Longer than any part of a round.
const MILLIS_OF_A_ROUND: Millis = SCHEDULE.report_window_ms + SCHEDULE.prove_window_ms + EPOCH_MS;
