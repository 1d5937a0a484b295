//! Elections under attack: an attacker who fills the lists of candidates and voters stops no era, takes no
//! seat beyond its stake, and prevents no slash.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::money::{ASY, Balance};
use assay_runtime::{
    AccountId, Runtime, RuntimeEvent, Session, SessionKeys, Staking,
    configs::{
        consensus::MAX_AUTHORITIES,
        election::{
            CANDIDATES_RANGE, MAX_CANDIDATES, MAX_ELECTING_VOTERS, MIN_NOMINATOR_BOND, MIN_VALIDATOR_BOND,
            NOMINATOR_BOND_RANGE, SnapshotVoter, VALIDATOR_BOND_RANGE, candidates, exposed, without_solver,
        },
        market::EMISSION_CAP,
        staking::{MAX_EXPOSED_BACKERS, SLASH_DEFER_ERAS},
    },
    genesis_config_presets::preset_names,
};
use common::*;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    pallet_staking::{self, ConfigOp, RewardDestination, ValidatorPrefs},
    sp_keyring::{
        Ed25519Keyring,
        Sr25519Keyring::{self, Alice, AliceStash, Bob, BobStash, Charlie, CharlieStash, Dave, Eve},
    },
    sp_runtime::{Perbill, Percent},
    sp_staking::EraIndex,
};
use serde_json::json;

type Call = pallet_staking::Call<Runtime>;
type Error = pallet_staking::Error<Runtime>;

/// Stake of each validator of the presets.
const VALIDATOR_STAKE: Balance = 100_000 * ASY;

/// Returns the attacker's account with that number.
fn attacker(number: u32) -> AccountId {
    let mut bytes = [0xa7; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

/// Bonds the amount for the account, and nothing else.
fn bond(who: &AccountId, value: Balance) {
    endow(who, value + ASY);
    assert_ok!(call_as(
        who,
        Call::bond {
            value,
            payee: RewardDestination::Stash
        }
    ));
}

fn validate() -> Call {
    Call::validate {
        prefs: ValidatorPrefs::default(),
    }
}

fn nominate(targets: &[AccountId]) -> Call {
    Call::nominate {
        targets: targets.iter().map(|target| target.clone().into()).collect(),
    }
}

/// Builds a call that changes only the given limits.
macro_rules! set_limits {
    ($($name:ident: $op:expr),*) => {{
        #[allow(unused_mut)]
        let mut limits = Limits::default();
        $(limits.$name = $op;)*
        assert_ok!(sudo(Call::set_staking_configs {
            min_nominator_bond: limits.min_nominator_bond,
            min_validator_bond: limits.min_validator_bond,
            max_nominator_count: limits.max_nominator_count,
            max_validator_count: limits.max_validator_count,
            chill_threshold: limits.chill_threshold,
            min_commission: ConfigOp::Noop,
            max_staked_rewards: ConfigOp::Noop,
        }));
    }};
}

/// Limits that governance can set.
struct Limits {
    min_nominator_bond: ConfigOp<Balance>,
    min_validator_bond: ConfigOp<Balance>,
    max_nominator_count: ConfigOp<u32>,
    max_validator_count: ConfigOp<u32>,
    chill_threshold: ConfigOp<Percent>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_nominator_bond: ConfigOp::Noop,
            min_validator_bond: ConfigOp::Noop,
            max_nominator_count: ConfigOp::Noop,
            max_validator_count: ConfigOp::Noop,
            chill_threshold: ConfigOp::Noop,
        }
    }
}

/// Returns the validators of the preset `local`.
fn honest() -> Vec<AccountId> {
    let mut stashes: Vec<_> = [AliceStash, BobStash, CharlieStash].map(account).into();
    stashes.sort();
    stashes
}

/// Returns the active validators.
fn at_work() -> Vec<AccountId> {
    let mut validators = Session::validators();
    validators.sort();
    validators
}

/// Advances two eras, and asserts that only the honest validators are elected.
fn assert_eras_turn_with_the_honest(chain: &mut Chain) {
    let era = active_era();
    until_era(chain, era + 2);
    assert_eq!(at_work(), honest());
}

/// Makes sessions until that era is active; panics if an election fails on the way.
fn until_era(chain: &mut Chain, era: EraIndex) {
    while active_era() < era {
        chain.next_session();
        assert!(
            !happened(|event| matches!(
                event,
                RuntimeEvent::Staking(pallet_staking::Event::StakingElectionFailed)
            )),
            "an election failed"
        );
    }
}

#[test]
fn every_preset_sets_the_limits() {
    for preset in preset_names() {
        let name: &str = preset.as_ref();
        with_chain(name, |_| {
            assert_eq!(
                pallet_staking::MinValidatorBond::<Runtime>::get(),
                MIN_VALIDATOR_BOND
            );
            assert_eq!(
                pallet_staking::MinNominatorBond::<Runtime>::get(),
                MIN_NOMINATOR_BOND
            );
            assert_eq!(
                pallet_staking::MaxValidatorsCount::<Runtime>::get(),
                Some(MAX_CANDIDATES)
            );
            for validator in Session::validators() {
                let ledger = Staking::ledger(validator.into()).unwrap();
                assert!(
                    ledger.active >= VALIDATOR_BOND_RANGE.1,
                    "the dearest bond that can be asked for"
                );
            }
        });
    }
}

#[test]
fn dust_can_neither_validate_nor_nominate() {
    with_chain("local", |chain| {
        // As many as once stopped every election, for 0.2 ASY in all.
        for number in 0..200 {
            let dust = attacker(number);
            bond(&dust, ASY / 1_000);
            assert_noop!(call_as(&dust, validate()), Error::InsufficientBond);
            assert_noop!(call_as(&dust, nominate(&honest())), Error::InsufficientBond);
        }
        let almost = attacker(200);
        bond(&almost, MIN_VALIDATOR_BOND - 1);
        assert_noop!(call_as(&almost, validate()), Error::InsufficientBond);
        // Afterwards no account can get below the least bond, except by leaving.
        assert_ok!(call_as(&almost, Call::bond_extra { max_additional: 1 }));
        assert_ok!(call_as(&almost, validate()));
        assert_noop!(
            call_as(&almost, Call::unbond { value: 1 }),
            Error::InsufficientBond
        );
        assert_ok!(call_as(&almost, Call::chill {}));
        assert_ok!(call_as(
            &almost,
            Call::unbond {
                value: MIN_VALIDATOR_BOND
            }
        ));
        assert_eras_turn_with_the_honest(chain);
    });
}

#[test]
fn a_full_list_of_candidates_stops_no_era_and_no_slash() {
    with_chain("local", |chain| {
        let stash = account(AliceStash);
        let due = active_era() + SLASH_DEFER_ERAS + 1;
        assert_ok!(sudo(Call::manual_slash {
            validator_stash: stash.clone(),
            era: active_era(),
            slash_fraction: Perbill::from_percent(10)
        }));
        chain.shorten_eras();
        until_era(chain, due - 3);
        for number in honest().len() as u32..MAX_CANDIDATES {
            let candidate = attacker(number);
            bond(&candidate, MIN_VALIDATOR_BOND);
            assert_ok!(call_as(&candidate, validate()));
        }
        let late = attacker(MAX_CANDIDATES);
        bond(&late, MIN_VALIDATOR_BOND);
        assert_noop!(call_as(&late, validate()), Error::TooManyValidators);

        let before = wealth(&stash);
        assert_eras_turn_with_the_honest(chain);
        assert_eq!(wealth(&stash), before);
        until_era(chain, due);
        assert_eq!(before - wealth(&stash), VALIDATOR_STAKE / 10);
        assert_eq!(at_work(), honest());
    });
}

#[test]
fn more_candidates_than_an_election_looks_at_stop_no_era() {
    with_chain("local", |chain| {
        set_limits!(max_validator_count: ConfigOp::Remove);
        // The snapshot has as many voters as candidates, so these do not all fit into either.
        for number in 0..MAX_CANDIDATES + 50 {
            let candidate = attacker(number);
            bond(&candidate, MIN_VALIDATOR_BOND);
            assert_ok!(call_as(&candidate, validate()));
        }
        assert_eras_turn_with_the_honest(chain);
        assert_eq!(
            pallet_staking::MaxValidatorsCount::<Runtime>::get(),
            Some(CANDIDATES_RANGE.1)
        );
    });
}

#[test]
fn more_nominators_than_an_election_looks_at_stop_no_era() {
    with_chain("local", |chain| {
        // All of them vote for a validator without keys: it would have the most stake of all.
        let favourite = attacker(0);
        bond(&favourite, MIN_VALIDATOR_BOND);
        assert_ok!(call_as(&favourite, validate()));
        for number in 1..=MAX_ELECTING_VOTERS + 50 {
            let voter = attacker(number);
            bond(&voter, 10 * MIN_NOMINATOR_BOND);
            assert_ok!(call_as(&voter, nominate(std::slice::from_ref(&favourite))));
        }
        assert_eras_turn_with_the_honest(chain);
    });
}

#[test]
fn a_candidate_without_session_keys_is_not_elected_however_rich() {
    let keys = SessionKeys {
        babe: Dave.public().into(),
        grandpa: Ed25519Keyring::Dave.public().into(),
        availability: Dave.public().into(),
    };
    let dave = account(Dave);
    let patch = json!({ "session": { "nonAuthorityKeys": [(dave.clone(), dave.clone(), keys)] } });
    with_patched_chain("local", patch, |chain| {
        // Three accounts with more stake than all others would have left the chain without block authors.
        for rich in [Eve, Bob, Charlie].map(account) {
            bond(&rich, 2 * VALIDATOR_STAKE);
            assert_ok!(call_as(&rich, validate()));
        }
        assert_eras_turn_with_the_honest(chain);

        bond(&dave, 2 * VALIDATOR_STAKE);
        assert_ok!(call_as(&dave, validate()));
        chain.until_era(active_era() + 2);
        assert_eq!(at_work().len(), 3);
        assert!(
            at_work().contains(&dave),
            "with keys it has the seat that its stake pays for"
        );
    });
}

#[test]
fn without_candidates_validators_and_their_stake_stay_until_there_is_one() {
    with_chain("local", |chain| {
        chain.until_era(1);
        for stash in honest() {
            assert_ok!(call_as(&stash, Call::chill {}));
        }
        for _ in 0..12 {
            chain.next_session();
        }
        assert_eq!((active_era(), at_work()), (1, honest()));

        assert_ok!(call_as(&account(AliceStash), validate()));
        chain.until_era(2);
        assert_eq!(at_work(), [account(AliceStash)]);
    });
}

/// Returns a voter of a snapshot.
fn voter(who: Sr25519Keyring, weight: u64, targets: &[Sr25519Keyring]) -> SnapshotVoter {
    let targets: Vec<_> = targets.iter().copied().map(account).collect();
    (account(who), weight, targets.try_into().unwrap())
}

#[test]
fn candidates_are_those_with_the_most_stake_behind_them() {
    with_chain("local", |_| {
        let voters = [
            voter(AliceStash, 5, &[AliceStash]),
            voter(BobStash, 9, &[BobStash]),
            voter(CharlieStash, 7, &[CharlieStash]),
            // A repeated vote counts once, and an account that does not validate is no candidate.
            voter(Dave, 1, &[BobStash, BobStash, Eve]),
            voter(Eve, 6, &[AliceStash, Dave]),
        ];
        let ranked = [AliceStash, BobStash, CharlieStash].map(account);
        assert_eq!(candidates(&voters, 10), ranked);
        assert_eq!(candidates(&voters, 2), ranked[..2]);
        assert_eq!(candidates(&[], 2), []);
    });
}

#[test]
fn without_a_solver_the_first_candidates_are_elected_with_their_voters_behind_them() {
    let voters = [
        voter(AliceStash, 5, &[AliceStash]),
        voter(BobStash, 9, &[BobStash]),
        voter(Dave, 2, &[CharlieStash, BobStash, AliceStash]),
        voter(Eve, 1, &[CharlieStash]),
    ];
    let ranked = [BobStash, AliceStash, CharlieStash].map(account);
    let of = |who, weight| (account(who), weight);
    assert_eq!(
        without_solver(&voters, &ranked, 2),
        [
            (account(BobStash), vec![of(BobStash, 9), of(Dave, 2)]),
            (account(AliceStash), vec![of(AliceStash, 5)]),
        ]
    );
    // No winner is without stake at risk.
    assert_eq!(
        without_solver(&voters[2..3], &ranked, 2),
        [(account(BobStash), vec![of(Dave, 2)])]
    );
    assert_eq!(without_solver(&voters, &[], 2), []);
}

#[test]
fn a_winner_s_own_stake_is_exposed_before_that_of_any_backer() {
    let winner = account(Alice);
    let mut backers: Vec<_> = (0..100)
        .map(|number| (attacker(number), 1_000 + u128::from(number)))
        .collect();
    backers.push((winner.clone(), 1));
    let supports = exposed([(winner.clone(), backers)].into_iter());
    let (elected, support) = &supports.0[0];
    assert_eq!(*elected, winner);
    assert_eq!(support.voters.len(), MAX_EXPOSED_BACKERS as usize);
    assert_eq!(support.voters[0], (winner, 1));
    // Then the largest: 63 from 1,099 down.
    assert_eq!(support.voters[1], (attacker(99), 1_099));
    assert_eq!(support.voters[63], (attacker(37), 1_037));
    assert_eq!(support.total, 1 + (1_037..=1_099).sum::<u128>());
}

#[test]
fn no_exposure_has_more_accounts_than_a_slash_is_weighed_for() {
    with_chain("local", |chain| {
        let favourite = account(AliceStash);
        for number in 0..100 {
            let voter = attacker(number);
            bond(&voter, 2 * VALIDATOR_STAKE + Balance::from(number) * ASY);
            assert_ok!(call_as(&voter, nominate(std::slice::from_ref(&favourite))));
        }
        chain.until_era(active_era() + 2);
        let exposure = Staking::eras_stakers(active_era(), &favourite);
        assert_eq!(exposure.own, VALIDATOR_STAKE);
        assert_eq!(exposure.others.len() + 1, MAX_EXPOSED_BACKERS as usize);
        let smallest = exposure.others.iter().map(|other| other.value).min().unwrap();
        assert_eq!(smallest, 2 * VALIDATOR_STAKE + 37 * ASY);
    });
}

#[test]
fn limits_that_would_keep_everybody_out_or_let_dust_in_last_no_longer_than_an_era() {
    with_chain("local", |chain| {
        let joins = |number: u32, value| {
            let who = attacker(number);
            bond(&who, value);
            call_as(&who, validate())
        };
        let too_little = Err(Error::InsufficientBond.into());
        set_limits!(
            min_validator_bond: ConfigOp::Set(Balance::MAX),
            min_nominator_bond: ConfigOp::Set(Balance::MAX),
            max_validator_count: ConfigOp::Set(0),
            max_nominator_count: ConfigOp::Set(0)
        );
        assert_ok!(sudo(Call::set_validator_count { new: 0 }));
        assert_eq!(joins(0, VALIDATOR_BOND_RANGE.1), too_little);
        until_era(chain, active_era() + 2);
        assert_ok!(joins(1, VALIDATOR_BOND_RANGE.1));
        assert_eq!(at_work().len(), 1, "somebody has to make blocks");
        let nominator = attacker(2);
        bond(&nominator, NOMINATOR_BOND_RANGE.1);
        assert_ok!(call_as(&nominator, nominate(&honest())));

        set_limits!(
            min_validator_bond: ConfigOp::Remove,
            min_nominator_bond: ConfigOp::Set(0),
            max_validator_count: ConfigOp::Set(u32::MAX),
            max_nominator_count: ConfigOp::Remove
        );
        until_era(chain, active_era() + 2);
        assert_eq!(joins(3, VALIDATOR_BOND_RANGE.0 - 1), too_little);
        assert_eq!(
            pallet_staking::MinNominatorBond::<Runtime>::get(),
            NOMINATOR_BOND_RANGE.0
        );
        assert_eq!(
            pallet_staking::MaxValidatorsCount::<Runtime>::get(),
            Some(MAX_CANDIDATES)
        );
        assert_eq!(pallet_staking::MaxNominatorsCount::<Runtime>::get(), None);
    });
}

#[test]
fn who_is_below_a_raised_bond_can_be_removed_by_anybody_and_nobody_else_can() {
    with_chain("local", |_| {
        let (small, stranger) = (attacker(0), account(Eve));
        bond(&small, MIN_VALIDATOR_BOND);
        assert_ok!(call_as(&small, validate()));
        let chill = |stash: &AccountId| call_as(&stranger, Call::chill_other { stash: stash.clone() });
        set_limits!(min_validator_bond: ConfigOp::Set(2 * MIN_VALIDATOR_BOND));
        assert_noop!(chill(&small), Error::CannotChillOther);
        set_limits!(chill_threshold: ConfigOp::Set(Percent::zero()));
        assert_ok!(chill(&small));
        assert_noop!(call_as(&small, validate()), Error::InsufficientBond);
        for stash in honest() {
            assert_noop!(chill(&stash), Error::CannotChillOther);
        }
    });
}

/// The table of the module: the least stake that each attack locks.
#[test]
fn attacks_on_elections_cost_what_the_tables_say() {
    // Every place taken: 1 % of all that will ever be minted, and no validator loses a seat.
    let places = Balance::from(MAX_CANDIDATES) * MIN_VALIDATOR_BOND;
    assert_eq!(places, 10_000_000 * ASY);
    assert_eq!(places * 100, EMISSION_CAP);
    // With the worst limits of governance: 200,000 ASY, a million times the 0.2 ASY that it cost before.
    let at_worst = Balance::from(CANDIDATES_RANGE.0) * VALIDATOR_BOND_RANGE.0;
    assert_eq!(at_worst, 200_000 * ASY);
    // A vote pushed out of the snapshot: voters of a higher bag, 12 % apart.
    let votes = Balance::from(MAX_ELECTING_VOTERS) * MIN_VALIDATOR_BOND * 100 / 112;
    assert!(votes >= 8_900_000 * ASY);
    // A full set of the poorest validators is elected again even then.
    const { assert!(MAX_AUTHORITIES <= MAX_ELECTING_VOTERS) };
    // Every candidate's own vote fits into the snapshot.
    const { assert!(MAX_CANDIDATES <= MAX_ELECTING_VOTERS) };
    // A nominator's bond is many times the deposit for its five entries.
    let stored = assay_runtime::configs::system::storage_deposit(5, 1_000);
    assert!(MIN_NOMINATOR_BOND > 50 * stored);
}
