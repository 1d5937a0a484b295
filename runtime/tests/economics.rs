//! Figures of `docs/ECONOMICS.md`, computed from the runtime's parameters, so that the page cannot go stale.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeSet, fs, path::Path};

use assay_primitives::money::{ASY, Balance};
use assay_runtime::Runtime;
use common::with_chain;
use pallet_job_escrow::{Config as Escrow, Outcome, types::MAX_HOLD_BACK_EPOCHS};
use polkadot_sdk::{frame_support::traits::Get, sp_runtime::Permill};

/// Text of the page.
const PAGE: &str = include_str!("../../docs/ECONOMICS.md");

/// Milliseconds of an hour.
const HOUR_MS: u128 = 3_600_000;

/// Every outcome of an assignment, by the name that the page uses.
const OUTCOMES: [Outcome; 16] = [
    Outcome::Completed,
    Outcome::Cancelled,
    Outcome::ClosedByConsumer,
    Outcome::Expired,
    Outcome::NotStarted,
    Outcome::Declined,
    Outcome::NotDelivered,
    Outcome::NoResult,
    Outcome::Abandoned,
    Outcome::Rejected,
    Outcome::Outvoted,
    Outcome::NotRevealed,
    Outcome::NoQuorum,
    Outcome::WorkloadEnded,
    Outcome::Disputed,
    Outcome::WentDown,
];

/// Formats an amount in thousandths of an ASY, rounded to the nearest, as the page does.
fn amount(plancks: Balance) -> String {
    let thousandths = (plancks + ASY / 2_000) / (ASY / 1_000);
    format!("{}.{:03} ASY", thousandths / 1_000, thousandths % 1_000)
}

fn assert_says(sentence: &str) {
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        page.contains(sentence),
        "docs/ECONOMICS.md does not say: {sentence}"
    );
}

#[test]
fn every_outcome_has_a_row_and_the_right_one() {
    for outcome in OUTCOMES {
        let name = format!("`{outcome:?}`");
        let rows: Vec<_> = PAGE
            .lines()
            .filter(|line| {
                line.starts_with('|') && line.split('|').nth(1).is_some_and(|cell| cell.contains(&name))
            })
            .collect();
        assert!(
            !rows.is_empty(),
            "{name} has no row in the table of who bears what"
        );
        for row in rows {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let counted = match outcome.lease_end() {
                assay_primitives::machine::LeaseEnd::Fulfilled => "fulfilled",
                assay_primitives::machine::LeaseEnd::Cancelled => "cancelled",
                assay_primitives::machine::LeaseEnd::NotStarted => "not started",
                assay_primitives::machine::LeaseEnd::Abandoned => "abandoned",
                assay_primitives::machine::LeaseEnd::Unresolved => "unresolved",
            };
            assert_eq!(cells[6], counted, "{name}");
            // The provider of a service loses the hold-back in the cases of the code, and in no others.
            let loses = cells[4].contains("all but the hold-back");
            let is_task = row.contains("a task up");
            assert_eq!(loses, outcome.loses_hold_back() && !is_task, "{name}");
        }
    }
}

#[test]
fn what_jobs_cost_is_as_the_page_says() {
    with_chain("development", |_| {
        let terms = <Runtime as Escrow>::Terms::get();
        let fee = terms.protocol_fee;
        assert_eq!(fee, Permill::from_percent(5));
        assert_says("the protocol keeps 5 %");
        assert_eq!(terms.hold_back, Permill::from_percent(10));
        assert_says(
            "The hold-back is 10 % of what a running service earned, and no more than a day of its pay",
        );
        assert_eq!(MAX_HOLD_BACK_EPOCHS, 24, "a day of one-hour epochs");

        // Two slots at one ASY an hour, for the whole start window, and for the part that a decline leaves.
        let window_ms = u128::from(terms.start_window_ms);
        assert_eq!(window_ms, HOUR_MS / 6);
        let reserved = 2 * ASY * window_ms / HOUR_MS;
        assert_says(&format!(
            "the time at the ask: {} for ten minutes",
            amount(reserved)
        ));
        assert_eq!(window_ms / 5, 120_000);
        let beyond = reserved - reserved / 5;
        assert_says(&format!(
            "the time beyond two minutes: {} for ten minutes",
            amount(beyond)
        ));
        let shortest_ms: u64 = <Runtime as Escrow>::MinDurationMs::get();
        assert_eq!(shortest_ms, 60_000);
        assert_says("the shortest order is a minute");
    });
}

/// Adds the names of all functions in the Rust files below a folder.
fn collect_functions(folder: &Path, functions: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect_functions(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let names = source.split("fn ").skip(1).map(|rest| {
                rest.chars()
                    .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                    .collect()
            });
            functions.extend(names);
        }
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut functions = BTreeSet::new();
    for folder in ["node/src", "pallets", "runtime/tests", "worker/src"] {
        collect_functions(&root.join(folder), &mut functions);
    }
    // Test names are the only words of that length in code style on the page.
    let named: Vec<_> = PAGE
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.rsplit("::").next())
        .filter(|word| {
            word.len() > 22
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '_')
        })
        .collect();
    assert!(named.len() > 60, "{} names were read", named.len());
    for name in named {
        assert!(functions.contains(name), "there is no test {name}");
    }
}
