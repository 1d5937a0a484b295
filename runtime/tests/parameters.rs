//! Bounds of the parameters: no value that governance sets harms a party without fault.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    job::{DEFAULT_PROTOCOL_FEE_PPM, DEFAULT_START_WINDOW_MS},
    money::{ASY, Balance, MILLI_ASY},
    offence::Offence,
};
use assay_runtime::{
    Runtime,
    parameters::{DEFAULT_JOB_TERMS, RuntimeParameters, bounded, dynamic},
};
use common::*;
use pallet_provider_staking::{DEFAULT_OFFENCE_TABLE, OffencePenalty, OffenceTable};
use polkadot_sdk::{frame_support::traits::Get, sp_runtime::Permill};

/// Builds a parameter of availability with its new value.
macro_rules! availability_parameter {
    ($name:ident, $value:expr) => {
        RuntimeParameters::Availability(dynamic::availability::Parameters::$name(
            dynamic::availability::$name,
            Some($value),
        ))
    };
}

/// Sets a parameter to zero, to its type's maximum and to a value within its bounds, and compares the
/// pallets' values with the expected ones.
macro_rules! holds_bounds {
    ($setter:ident, $name:ident, $nothing:expr => $least:expr, $everything:expr => $most:expr, $within:expr) => {
        for (set, effective) in [($nothing, $least), ($everything, $most), ($within, $within)] {
            set_parameter($setter!($name, set));
            assert_eq!(bounded::$name::get(), effective, stringify!($name));
        }
    };
}

/// Does the same for one of the terms of jobs.
macro_rules! holds_bounds_of_term {
    ($term:ident, $nothing:expr => $least:expr, $everything:expr => $most:expr, $within:expr) => {
        for (set, effective) in [($nothing, $least), ($everything, $most), ($within, $within)] {
            set_parameter(job_terms!($term: set));
            assert_eq!(bounded::JobTerms::get().$term, effective, stringify!($term));
        }
    };
}

#[test]
fn every_parameter_keeps_its_bounds_whatever_governance_sets() {
    with_chain("development", |_| {
        holds_bounds!(staking_parameter, BaseBond, 0 => ASY, Balance::MAX => 1_000_000 * ASY, 7 * ASY);
        holds_bounds!(staking_parameter, BondPerPoint, 0 => ASY / 10, Balance::MAX => 1_000 * ASY, 2 * ASY);
        holds_bounds!(staking_parameter, UnbondingEpochs, 0 => 2, u32::MAX => 8_766, 24);
        holds_bounds!(staking_parameter, SlashDeferEpochs, 0 => 1, u32::MAX => 168, 48);
        // No shorter than the delay of a slash.
        holds_bounds!(staking_parameter, StrikeMemoryEpochs, 0 => 48, u32::MAX => 8_766, 100);

        let (nothing, whole, half) = (Permill::zero(), Permill::one(), Permill::from_percent(50));
        let some = Permill::from_percent(7);
        holds_bounds_of_term!(protocol_fee, nothing => nothing, whole => half, some);
        holds_bounds_of_term!(hold_back, nothing => nothing, whole => half, some);
        let day = 24 * MILLIS_PER_HOUR;
        holds_bounds_of_term!(start_window_ms, 0 => 20 * SLOT_MS, u64::MAX => day, 600_000);
        holds_bounds_of_term!(reveal_window_ms, 0 => 20 * SLOT_MS, u64::MAX => day, 600_000);
        holds_bounds_of_term!(bounty, 0 => 10 * MILLI_ASY, Balance::MAX => 10 * ASY, ASY);

        holds_bounds!(availability_parameter, RewardPerReport, 0 => 0, Balance::MAX => 1_000 * ASY, ASY);
        holds_bounds!(availability_parameter, UptimeMemoryEpochs, 0 => 2, u32::MAX => 8_766, 24);
    });
}

/// Workers reckon with these: what an order earns, and whether its image can be pulled in time.
#[test]
fn defaults_that_workers_rely_on_are_those_of_the_runtime() {
    with_chain("development", |_| {
        let terms = bounded::JobTerms::get();
        assert_eq!(terms, DEFAULT_JOB_TERMS, "which are within their bounds");
        assert_eq!(terms.protocol_fee, Permill::from_parts(DEFAULT_PROTOCOL_FEE_PPM));
        assert_eq!(terms.protocol_fee, Permill::from_percent(5));
        assert_eq!(terms.start_window_ms, DEFAULT_START_WINDOW_MS);
        assert_eq!(terms.start_window_ms, MILLIS_PER_HOUR / 6);
    });
}

#[test]
fn pallets_read_parameters_within_their_bounds() {
    use pallet_availability::Config as Availability;
    use pallet_job_escrow::Config as Escrow;
    use pallet_provider_registry::Config as Registry;
    use pallet_provider_staking::Config as Staking;

    with_chain("development", |_| {
        set_parameter(staking_parameter!(BaseBond, 0));
        set_parameter(staking_parameter!(BondPerPoint, 0));
        set_parameter(staking_parameter!(UnbondingEpochs, 0));
        set_parameter(staking_parameter!(SlashDeferEpochs, 0));
        set_parameter(job_terms!(start_window_ms: 0, reveal_window_ms: 0, bounty: 0));
        set_parameter(job_terms!(protocol_fee: Permill::one(), hold_back: Permill::one()));
        set_parameter(availability_parameter!(UptimeMemoryEpochs, 0));
        set_parameter(availability_parameter!(RewardPerReport, Balance::MAX));

        assert_eq!(<Runtime as Staking>::BaseBond::get(), ASY);
        assert_eq!(<Runtime as Registry>::BondPerPoint::get(), ASY / 10);
        assert_eq!(<Runtime as Staking>::UnbondingEpochs::get(), 2);
        assert_eq!(<Runtime as Staking>::SlashDeferEpochs::get(), 1);
        let terms = <Runtime as Escrow>::Terms::get();
        assert_eq!(terms.start_window_ms, 60_000);
        assert_eq!(terms.reveal_window_ms, 60_000);
        assert_eq!(terms.protocol_fee, Permill::from_percent(50));
        assert_eq!(terms.hold_back, Permill::from_percent(50));
        assert_eq!(terms.bounty, 10 * MILLI_ASY);
        assert_eq!(<Runtime as Availability>::UptimeMemoryEpochs::get(), 2);
        assert_eq!(<Runtime as Availability>::RewardPerReport::get(), 1_000 * ASY);
    });
}

#[test]
fn penalties_keep_to_what_each_offence_proves() {
    let all = |penalty: OffencePenalty| OffenceTable {
        challenge_unanswered: penalty,
        challenge_wrong: penalty,
        forged_evidence: penalty,
    };
    let penalty = |first, factor, at_most| OffencePenalty {
        first: Permill::from_percent(first),
        factor,
        at_most: Permill::from_percent(at_most),
    };
    with_chain("development", |_| {
        assert_eq!(
            bounded::Offences::get(),
            DEFAULT_OFFENCE_TABLE,
            "which is within its bounds"
        );

        set_parameter(staking_parameter!(Offences, all(penalty(0, 0, 0))));
        let effective = bounded::Offences::get();
        assert_eq!(effective.challenge_unanswered, penalty(0, 1, 0));
        assert_eq!(effective.challenge_wrong, penalty(10, 1, 10));
        assert_eq!(effective.forged_evidence, penalty(50, 1, 50));

        set_parameter(staking_parameter!(Offences, all(penalty(100, u8::MAX, 100))));
        let effective = bounded::Offences::get();
        assert_eq!(effective.challenge_unanswered, penalty(10, 10, 50));
        assert_eq!(effective.challenge_wrong, penalty(100, 10, 100));
        assert_eq!(effective.forged_evidence, penalty(100, 10, 100));
        for offence in Offence::ALL {
            let penalty = effective.penalty(offence);
            assert!(penalty.first <= penalty.at_most && penalty.factor > 0);
        }
    });
}
