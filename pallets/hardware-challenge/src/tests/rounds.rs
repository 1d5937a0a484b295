use assay_primitives::{
    challenge::{
        ChallengePhase,
        RoundKind::{Audit, Newcomers},
    },
    clock::MILLIS_PER_HOUR,
    machine::MachineStatus::Active,
};

use crate::{
    Answers, Audits, Event, Exposures, MAX_LIVE_AUDITS, MAX_LIVE_ROUNDS, NextRound, OldestRound, Rounds,
    Schedule, mock::*,
};

#[test]
fn newcomer_rounds_open_by_themselves() {
    ExtBuilder::default().build_and_execute(|| {
        next_block();
        let record = round_record(0);
        assert_eq!(record.kind, Newcomers);
        assert_eq!(record.opened_at_ms, START_MS + BLOCK_MS);
        assert_eq!(
            take_events(),
            [Event::RoundOpened {
                round: 0,
                kind: Newcomers,
                randomness: record.randomness,
                commits_until_ms: record.opened_at_ms + 12_000
            }]
        );
        let next = newcomer_round();
        assert_eq!(next, 1);
        assert_eq!(round_record(next).opened_at_ms, record.opened_at_ms + 30_000);
    });
}

#[test]
fn openings_are_drawn_by_themselves() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        commit(round, machine);
        let draws_after_ms = round_record(round).draws_after_ms;
        assert_eq!(draws_after_ms, round_record(round).opened_at_ms + 18_000);
        let phase = due_in(round, machine).unwrap().phase;
        assert_eq!(
            phase,
            ChallengePhase::AwaitOpenings {
                not_before_ms: draws_after_ms
            }
        );
        // Not in the first block that is late enough: its parent was not.
        blocks_until(|| now_ms() > draws_after_ms);
        assert_eq!(round_record(round).openings, None);
        take_events();
        next_block();
        let openings = round_record(round).openings.unwrap();
        assert_eq!(openings.drawn_at_ms, now_ms());
        assert_eq!(
            take_events(),
            [Event::OpeningsDrawn {
                round,
                randomness: openings.randomness,
                prove_until_ms: now_ms() + 30_000
            }]
        );
    });
}

#[test]
fn openings_wait_for_a_block_after_a_late_parent() {
    ExtBuilder::default().build_and_execute(|| {
        let round = newcomer_round();
        let draws_after_ms = round_record(round).draws_after_ms;
        block_after(draws_after_ms - now_ms());
        next_block();
        assert_eq!(round_record(round).openings, None, "its parent is not late");
        next_block();
        assert!(round_record(round).openings.is_some());
    });
}

#[test]
fn an_audit_that_is_overdue_opens() {
    ExtBuilder::default().build_and_execute(|| {
        crate::AuditsDrawnUntilMs::<Test>::put(u64::MAX);
        block_after(SCHEDULE.max_audit_interval_ms - 1);
        assert_eq!(Audits::<Test>::get().len(), 0);
        crate::AuditsDrawnUntilMs::<Test>::put(u64::MAX);
        block_after(1);
        let audit = Audits::<Test>::get()[0];
        assert_eq!(round_record(audit).kind, Audit);
        assert_eq!(round_record(audit).opened_at_ms, now_ms());
    });
}

#[test]
fn late_blocks_make_audits_no_rarer() {
    ExtBuilder::default().build_and_execute(|| {
        // As long as the mean time: it opens for certain.
        block_after(SCHEDULE.mean_audit_interval_ms);
        assert_eq!(Audits::<Test>::get().len(), 1);
    });
}

#[test]
fn an_audit_comes_before_a_newcomer_round_that_is_due() {
    ExtBuilder::default().build_and_execute(|| {
        crate::LastAuditMs::<Test>::put(0);
        next_block();
        assert_eq!(round_record(0).kind, Audit);
        next_block();
        assert_eq!(round_record(1).kind, Newcomers);
    });
}

#[test]
fn rounds_are_forgotten_with_all_that_belongs_to_them() {
    ExtBuilder::default().build_and_execute(|| {
        let machines = [active_machine(1, 2), active_machine(2, 2)];
        let round = audit();
        lease(machines[0], 1);
        answer(round, &machines);
        assert_eq!(Exposures::<Test>::iter_prefix(round).count(), 1);
        assert_eq!(Answers::<Test>::iter_prefix(round).count(), 2);
        blocks_until(|| OldestRound::<Test>::get() > round);
        assert!(!Rounds::<Test>::contains_key(round));
        assert_eq!(Exposures::<Test>::iter().count(), 0);
        assert_eq!(Answers::<Test>::iter_prefix(round).count(), 0);
        assert!(!Audits::<Test>::get().contains(&round));
    });
}

#[test]
fn there_are_never_too_many_audits() {
    ExtBuilder::default().build_and_execute(|| {
        for _ in 0..20 {
            crate::LastAuditMs::<Test>::put(0);
            next_block();
        }
        assert_eq!(Audits::<Test>::get().len(), MAX_LIVE_AUDITS as usize);
        // It is still overdue: when the oldest is forgotten the next one opens.
        let newest = Audits::<Test>::get().last().copied();
        blocks_until(|| {
            assert!(Audits::<Test>::get().len() <= MAX_LIVE_AUDITS as usize);
            Audits::<Test>::get().last().copied() > newest
        });
    });
}

#[test]
fn there_are_never_too_many_rounds() {
    let schedule = Schedule {
        newcomer_interval_ms: 1,
        report_window_ms: MILLIS_PER_HOUR / 3,
        ..SCHEDULE
    };
    ExtBuilder::default().schedule(schedule).build_and_execute(|| {
        for _ in 0..2 * MAX_LIVE_ROUNDS {
            next_block();
            assert!(Rounds::<Test>::iter().count() <= MAX_LIVE_ROUNDS as usize);
        }
        assert_eq!(NextRound::<Test>::get(), MAX_LIVE_ROUNDS);
        blocks_until(|| NextRound::<Test>::get() > MAX_LIVE_ROUNDS);
        assert!(Rounds::<Test>::iter().count() <= MAX_LIVE_ROUNDS as usize);
    });
}

#[test]
fn rounds_open_and_are_drawn_without_a_look_at_any_machine() {
    ExtBuilder::default().build_and_execute(|| {
        for worker in 0..100 {
            let machine = register(worker, 1);
            set_status(machine, Active);
        }
        next_block();
        let round = audit();
        until_drawn(round);
        blocks_until(|| !Rounds::<Test>::contains_key(round));
        assert_eq!(ClaimsRead::get(), 0);
    });
}
