use assay_primitives::challenge::RoundKind::Newcomers;
use polkadot_sdk::frame_support::{traits::Hooks, weights::Weight};

use crate::{Answers, Entropy, NextDraw, NextRound, OldestRound, RoundOutcome, WeightInfo, mock::*};

type Weights = ();

fn overhead() -> Weight {
    <Weights as WeightInfo>::hook_overhead()
}

fn open() -> Weight {
    <Weights as WeightInfo>::hook_open()
}

fn draw() -> Weight {
    <Weights as WeightInfo>::hook_draw()
}

fn pass_epoch() -> Weight {
    <Weights as WeightInfo>::hook_expire().max(<Weights as WeightInfo>::hook_pass_epoch())
}

fn forget() -> Weight {
    <Weights as WeightInfo>::hook_forget_answer().max(<Weights as WeightInfo>::hook_forget_round())
}

fn conclude() -> Weight {
    <Weights as WeightInfo>::hook_conclude()
}

fn punish() -> Weight {
    <Weights as WeightInfo>::hook_punish()
}

fn one_less(weight: Weight) -> Weight {
    weight.saturating_sub(Weight::from_parts(1, 0))
}

/// Blocks until the hook has nothing to do but to look.
fn settle() {
    blocks_until(|| block_with(0, Weight::MAX) == overhead() + open());
}

#[test]
fn hook_does_nothing_when_overhead_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        let before = Entropy::<Test>::get();
        assert_eq!(block_with(BLOCK_MS, one_less(overhead())), Weight::zero());
        assert_eq!(Entropy::<Test>::get(), before);
        assert_eq!(NextRound::<Test>::get(), 0);
    });
}

#[test]
fn hook_opens_no_round_when_it_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        // The epoch's end has no room either, with which the cursor of expiries starts.
        assert_eq!(block_with(BLOCK_MS, one_less(overhead() + open())), overhead());
        assert_eq!(NextRound::<Test>::get(), 0);
        assert_eq!(block_with(BLOCK_MS, overhead() + open()), overhead() + open());
        assert_eq!(NextRound::<Test>::get(), 1);
        assert_eq!(round_record(0).kind, Newcomers);
    });
}

#[test]
fn hook_draws_nothing_when_it_does_not_fit() {
    ExtBuilder::default().build_and_execute(|| {
        let round = newcomer_round();
        settle();
        let closed_ms = round_record(round).draws_after_ms;
        block_with(closed_ms + 1 - now_ms(), overhead());
        assert_eq!(block_with(BLOCK_MS, one_less(overhead() + draw())), overhead());
        assert_eq!(NextDraw::<Test>::get(), round);
        assert_eq!(block_with(BLOCK_MS, overhead() + draw()), overhead() + draw());
        assert_eq!(NextDraw::<Test>::get(), round + 1);
    });
}

#[test]
fn hook_forgets_answer_by_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machines: Vec<u64> = (1..=3).map(|worker| register(worker, 1)).collect();
        next_block();
        let round = newcomer_round();
        answer(round, &machines);
        let end_ms = round_record(round).reports_until_ms().unwrap();
        blocks_until(|| OldestRound::<Test>::get() == round);
        block_with(end_ms + 1 - now_ms(), Weight::zero());
        // No round can open meanwhile, so that only forgetting is left after drawing those that are open.
        crate::LastNewcomersMs::<Test>::put(u64::MAX);
        while crate::NextDraw::<Test>::get() < NextRound::<Test>::get() {
            block_with(BLOCK_MS, overhead() + draw());
        }
        assert_eq!(Answers::<Test>::iter_prefix(round).count(), 3);
        let weight = overhead() + open() + conclude() + forget() * 2;
        assert_eq!(
            block_with(0, one_less(overhead() + open() + conclude())),
            overhead() + open()
        );
        assert_eq!(round_record(round).outcome, None);
        assert_eq!(block_with(0, weight), weight);
        assert_eq!(round_record(round).outcome, Some(RoundOutcome::Punished));
        assert_eq!(Answers::<Test>::iter_prefix(round).count(), 1);
        HardwareChallenge::do_try_state().unwrap();
        assert_eq!(block_with(0, one_less(weight)), weight - forget());
        assert_eq!(Answers::<Test>::iter_prefix(round).count(), 0);
        assert_eq!(OldestRound::<Test>::get(), round);
        block_with(0, overhead() + open() + conclude() + forget());
        assert_eq!(OldestRound::<Test>::get(), round + 1);
        crate::LastNewcomersMs::<Test>::put(now_ms());
    });
}

#[test]
fn hook_punishes_miss_by_miss() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = [active_machine(1, 1), active_machine(2, 1)];
        let honest = honest_crowd(5);
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        for machine in silent {
            report_missed(round, machine).unwrap();
        }
        blocks_until(|| OldestRound::<Test>::get() == round);
        let end_ms = round_record(round).reports_until_ms().unwrap();
        block_with(end_ms + 1 - now_ms(), Weight::zero());
        crate::LastNewcomersMs::<Test>::put(u64::MAX);
        while crate::NextDraw::<Test>::get() < NextRound::<Test>::get() {
            block_with(BLOCK_MS, overhead() + draw());
        }
        // Room for all of the answers, and for one of the punishments.
        let weight = overhead() + open() + conclude() + forget() * 7 + punish();
        block_with(0, weight);
        assert_eq!(Reported::get().len(), 1);
        let left: Vec<u64> = Answers::<Test>::iter_key_prefix(round).collect();
        assert!(left.contains(&silent[0]) != left.contains(&silent[1]), "{left:?}");
        HardwareChallenge::do_try_state().unwrap();
        // The outcome stands, whatever happens meanwhile.
        IsStalled::set(true);
        blocks_until(|| !crate::Rounds::<Test>::contains_key(round));
        assert_eq!(Reported::get().len(), 2);
        crate::LastNewcomersMs::<Test>::put(now_ms());
    });
}

#[test]
fn hook_spends_no_more_than_it_may() {
    ExtBuilder::default().build_and_execute(|| {
        let machines: Vec<u64> = (1..=60).map(|worker| register(worker, 1)).collect();
        next_block();
        let round = newcomer_round();
        answer(round, &machines);
        // Everything expires and is forgotten at the same time.
        crate::LastAuditMs::<Test>::put(now_ms() + 3_000 * EPOCH_MS);
        let mut took = block_with(SCHEDULE.max_proof_age_ms + EPOCH_MS, Weight::MAX);
        let mut blocks = 0;
        while took.ref_time() > SERVICE_WEIGHT.ref_time() / 2 {
            assert!(took.all_lte(SERVICE_WEIGHT));
            HardwareChallenge::do_try_state().unwrap();
            took = block_with(0, Weight::MAX);
            blocks += 1;
        }
        assert!(blocks > 0);
        assert_eq!(Answers::<Test>::iter().count(), 0);
        assert!(machines.iter().all(|machine| proven_slots(*machine) == 0));
    });
}

#[test]
fn hook_passes_epochs_in_which_nothing_expires() {
    ExtBuilder::default().build_and_execute(|| {
        settle();
        crate::LastAuditMs::<Test>::put(now_ms() + 10 * EPOCH_MS);
        crate::LastNewcomersMs::<Test>::put(now_ms() + 10 * EPOCH_MS);
        block_with(3 * EPOCH_MS, Weight::zero());
        while crate::NextDraw::<Test>::get() < NextRound::<Test>::get()
            || OldestRound::<Test>::get() < NextRound::<Test>::get()
        {
            block_with(BLOCK_MS, Weight::MAX);
        }
        crate::NextExpiryEpoch::<Test>::mutate(|epoch| *epoch -= 2);
        assert_eq!(block_with(0, Weight::MAX), overhead() + open() + pass_epoch() * 2);
        assert_eq!(block_with(0, Weight::MAX), overhead() + open());
    });
}

#[test]
fn integrity_test_works() {
    ExtBuilder::default().build_and_execute(|| {
        <HardwareChallenge as Hooks<_>>::integrity_test();
        assert!(HardwareChallenge::one_unit_weight().all_lte(SERVICE_WEIGHT));
    });
}
