//! Secrecy of seeds, audits and openings before their block: the same chain is run again and again, with all
//! as it was except for the randomness of one author.

use std::collections::BTreeSet;

use assay_primitives::{
    challenge::RoundKind::{self, Audit},
    clock::MILLIS_PER_HOUR,
};
use polkadot_sdk::frame_support::traits::Randomness;

use crate::{Entropy, NextRound, Schedule, mock::*, rounds::is_audit};

/// Runs a chain in which the author of the block at `height` draws each of these, and tells what came of it.
fn with_draws<Outcome: Ord>(
    schedule: Schedule,
    height: u64,
    draws: impl IntoIterator<Item = u64>,
    story: impl Fn() -> Outcome,
) -> BTreeSet<Outcome> {
    draws
        .into_iter()
        .map(|draw| {
            let mut outcome = None;
            ExtBuilder::default().schedule(schedule).build_and_execute(|| {
                Vrf::set([(height, Some(draw))].into());
                outcome = Some(story());
            });
            outcome.unwrap()
        })
        .collect()
}

/// The height of the first block of a test.
const FIRST: u64 = 1_001;

#[test]
fn a_seed_follows_from_what_the_author_before_its_block_drew() {
    // The round opens in the first block: its parent's author decides.
    let randomness = || round_record(newcomer_round()).randomness;
    let seen = with_draws(SCHEDULE, FIRST - 1, 0..20, randomness);
    assert_eq!(seen.len(), 20, "20 draws make 20 different seeds");
    // What the round's own author drew, or anybody later, changes nothing.
    assert_eq!(with_draws(SCHEDULE, FIRST, 0..20, randomness).len(), 1);
}

#[test]
fn a_seed_follows_from_what_every_author_before_drew() {
    // The author of the parent alone does not know it: the round opens ten blocks after the draw.
    let randomness = || {
        newcomer_round();
        round_record(newcomer_round()).randomness
    };
    assert_eq!(with_draws(SCHEDULE, FIRST + 2, 0..20, randomness).len(), 20);
}

#[test]
fn openings_follow_from_what_was_drawn_after_the_last_commit() {
    // Opened in the first block, closed after 12 s, and 6 s later: the 8th block is the first one after that.
    let first_late = FIRST + 7;
    let openings = || {
        let round = newcomer_round();
        until_drawn(round);
        let record = round_record(round);
        assert_eq!(System::block_number(), first_late + 1);
        record.openings.unwrap().randomness
    };
    assert_eq!(with_draws(SCHEDULE, first_late, 0..20, openings).len(), 20);
    // All blocks of the delay add to them: the last of these alone does not know.
    for height in FIRST + 5..first_late {
        assert_eq!(with_draws(SCHEDULE, height, 0..20, openings).len(), 20);
    }
    assert_eq!(with_draws(SCHEDULE, first_late + 1, 0..20, openings).len(), 1);
}

#[test]
fn openings_differ_from_seeds_and_among_rounds() {
    ExtBuilder::default().build_and_execute(|| {
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let round = newcomer_round();
            until_drawn(round);
            let record = round_record(round);
            assert!(seen.insert(record.randomness));
            assert!(seen.insert(record.openings.unwrap().randomness));
        }
    });
}

#[test]
fn seeds_differ_among_chains() {
    let mut seen = BTreeSet::new();
    for chain in 0..5 {
        ExtBuilder::default().build_and_execute(|| {
            polkadot_sdk::frame_system::BlockHash::<Test>::insert(
                0,
                polkadot_sdk::sp_core::H256::repeat_byte(chain),
            );
            seen.insert(round_record(newcomer_round()).randomness);
        });
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn seeds_differ_among_slots_machines_and_keys() {
    ExtBuilder::default().build_and_execute(|| {
        let machines = [register(1, 3), register(2, 3)];
        next_block();
        let round = newcomer_round();
        let mut seen = BTreeSet::new();
        for machine in machines {
            seen.extend(seeds(&due_in(round, machine).unwrap(), machine));
            change(machine, |record| record.worker += 10);
            seen.extend(seeds(&due_in(round, machine).unwrap(), machine));
        }
        assert_eq!(seen.len(), 12);
    });
}

/// Audits every ten blocks on average.
const BUSY: Schedule = Schedule {
    mean_audit_interval_ms: 10 * BLOCK_MS,
    max_audit_interval_ms: MILLIS_PER_HOUR,
    ..SCHEDULE
};

#[test]
fn whether_an_audit_opens_is_not_known_before_the_block_before() {
    // In the very next block after the one whose author drew.
    let opens = || {
        next_block();
        next_block();
        (0..NextRound::<Test>::get()).any(|round| round_record(round).kind == Audit)
    };
    assert_eq!(with_draws(BUSY, FIRST, 0..100, opens), [false, true].into());
}

#[test]
fn audits_are_as_frequent_as_the_schedule_says() {
    let schedule = Schedule {
        mean_audit_interval_ms: 1_000,
        ..SCHEDULE
    };
    let count = |passed_ms| {
        (0..10_000_u32)
            .filter(|number| {
                let randomness = polkadot_sdk::sp_io::hashing::blake2_256(&number.to_le_bytes());
                is_audit(&randomness, passed_ms, &schedule)
            })
            .count()
    };
    assert_eq!(count(0), 0);
    // A tenth of the time, with three standard deviations of 30.
    assert!((910..=1_090).contains(&count(100)), "{}", count(100));
    assert!((4_850..=5_150).contains(&count(500)), "{}", count(500));
    assert_eq!(count(1_000), 10_000);
    assert_eq!(count(u64::MAX), 10_000);
    // The ends of what can be drawn.
    assert!(is_audit(&[0; 32], 1, &schedule));
    assert!(!is_audit(&[0xff; 32], 999, &schedule));
}

#[test]
fn audits_come_at_no_regular_time() {
    ExtBuilder::default().schedule(BUSY).build_and_execute(|| {
        let mut gaps = BTreeSet::new();
        let mut last = now_ms();
        for _ in 0..12 {
            let opened_at_ms = round_record(next_audit()).opened_at_ms;
            gaps.insert(opened_at_ms - last);
            last = opened_at_ms;
        }
        assert!(gaps.len() > 4, "{gaps:?}");
    });
}

/// The next audit that opens by itself.
fn next_audit() -> u32 {
    next_round(RoundKind::Audit)
}

#[test]
fn nothing_opens_or_is_drawn_without_fresh_randomness() {
    ExtBuilder::default().build_and_execute(|| {
        let round = newcomer_round();
        let first = System::block_number();
        Vrf::set((first..first + 40).map(|block| (block, None)).collect());
        crate::LastAuditMs::<Test>::put(0);
        let entropy = Entropy::<Test>::get();
        for _ in 0..40 {
            next_block();
        }
        assert_eq!(Entropy::<Test>::get(), entropy);
        assert_eq!(NextRound::<Test>::get(), round + 1);
        assert_eq!(round_record(round).openings, None);
        // The next author has some.
        next_block();
        next_block();
        assert!(round_record(round).openings.is_some());
        assert_eq!(round_record(round + 1).kind, Audit);
    });
}

#[test]
fn the_mock_draws_for_each_block() {
    // So that the tests above try what they say.
    ExtBuilder::default().build_and_execute(|| {
        let mut seen = BTreeSet::new();
        for _ in 0..10 {
            next_block();
            seen.insert(MockRandomness::random(b"").0.unwrap());
            seen.insert(Entropy::<Test>::get().into());
        }
        assert_eq!(seen.len(), 20);
        assert_eq!(Vrf::get().len(), 0);
    });
}
