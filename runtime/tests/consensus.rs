//! Tests of the consensus: an equivocation is reported, proven and punished as long as the offender's stake
//! is there, and refused afterwards.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::money::{ASY, Balance};
use assay_runtime::{
    AccountId, Header, Historical, Runtime, RuntimeEvent, SessionKeys, Staking,
    configs::{
        consensus::{EquivocationWeight, MAX_AUTHORITIES, ReportableSessions},
        market::EMISSION_HISTORY_EPOCHS,
        staking::{MAX_EXPOSED_BACKERS, MIN_REVIEW_ERAS, REPORT_ERAS, SESSIONS_PER_ERA, SLASH_DEFER_ERAS},
        system::BlockWeights,
    },
};
use codec::{Decode, Encode};
use common::*;
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::{DispatchClass, GetDispatchInfo},
        traits::{Get, KeyOwnerProofSystem},
        weights::Weight,
    },
    pallet_babe, pallet_grandpa, pallet_offences,
    pallet_staking::{self, StakerStatus},
    sp_consensus_babe::{
        AuthorityId, BABE_ENGINE_ID, EquivocationProof, KEY_TYPE,
        digests::{PreDigest, SecondaryPlainPreDigest},
    },
    sp_consensus_grandpa,
    sp_core::{H256, Pair},
    sp_keyring::{
        Ed25519Keyring,
        Sr25519Keyring::{self, Alice, AliceStash, Bob, BobStash, CharlieStash, Dave, Ferdie},
    },
    sp_runtime::{Digest, DigestItem, DispatchError, Perbill},
    sp_session::MembershipProof,
    sp_staking::{EraIndex, offence::OffenceDetails},
};
use serde_json::json;

type StakingCall = pallet_staking::Call<Runtime>;

/// Stake of each validator of the preset `local`.
const VALIDATOR_STAKE: Balance = 100_000 * ASY;

/// Returns a header for the slot, sealed by the validator, with the given state root.
fn header_by(validator: Sr25519Keyring, slot: u64, state_root: H256) -> Header {
    let pre_digest = PreDigest::SecondaryPlain(SecondaryPlainPreDigest {
        authority_index: 0,
        slot: slot.into(),
    });
    let mut header = Header {
        parent_hash: H256::repeat_byte(3),
        number: 7,
        state_root,
        extrinsics_root: H256::zero(),
        digest: Digest {
            logs: vec![DigestItem::PreRuntime(BABE_ENGINE_ID, pre_digest.encode())],
        },
    };
    let seal = validator.pair().sign(header.hash().as_ref());
    header
        .digest
        .push(DigestItem::Seal(BABE_ENGINE_ID, seal.encode()));
    header
}

/// Returns the report of a validator's two headers in the current slot, with the proof that it validates now.
fn report_of(validator: Sr25519Keyring, first: Header, second: Header) -> pallet_babe::Call<Runtime> {
    let offender = AuthorityId::from(validator.public());
    pallet_babe::Call::report_equivocation {
        key_owner_proof: Historical::prove((KEY_TYPE, offender.clone())).expect("it validates"),
        equivocation_proof: Box::new(EquivocationProof {
            offender,
            slot: current_slot().into(),
            first_header: first,
            second_header: second,
        }),
    }
}

/// Returns the report of an equivocation by that validator in the current slot, to be sent at any time.
fn babe_equivocation(validator: Sr25519Keyring) -> pallet_babe::Call<Runtime> {
    let [first, second] = [1, 2].map(|byte| header_by(validator, current_slot(), H256::repeat_byte(byte)));
    report_of(validator, first, second)
}

/// Returns the report of two votes by that validator in a round of the current GRANDPA set, to be sent at any
/// time.
fn grandpa_equivocation(validator: Ed25519Keyring) -> pallet_grandpa::Call<Runtime> {
    const ROUND: u64 = 5;
    const PREVOTE: u8 = 0;
    let set_id = pallet_grandpa::CurrentSetId::<Runtime>::get();
    let vote = |byte: u8| {
        let target = (H256::repeat_byte(byte), 7_u32);
        let payload = sp_consensus_grandpa::localized_payload(ROUND, set_id, &(PREVOTE, target));
        (target, validator.pair().sign(&payload))
    };
    let offender = sp_consensus_grandpa::AuthorityId::from(validator.public());
    let equivocation = (set_id, PREVOTE, ROUND, offender.clone(), vote(1), vote(2));
    pallet_grandpa::Call::report_equivocation {
        equivocation_proof: Decode::decode(&mut &equivocation.encode()[..]).expect("the same encoding"),
        key_owner_proof: Historical::prove((sp_consensus_grandpa::KEY_TYPE, offender)).expect("it validates"),
    }
}

/// Returns true if this block reports a slash of that validator's whole stake for that era.
fn slash_reported(stash: &AccountId, era: EraIndex) -> bool {
    happened(|event| {
        matches!(
            event,
            RuntimeEvent::Staking(pallet_staking::Event::SlashReported { validator, fraction, slash_era })
                if validator == stash && *fraction == Perbill::one() && *slash_era == era
        )
    })
}

#[test]
fn a_validator_that_makes_two_blocks_in_a_slot_is_reported_and_slashed() {
    with_chain("local", |chain| {
        chain.next_block();
        let report = babe_equivocation(Alice);
        assert_ok!(call_as(&account(Ferdie), report.clone()));
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::Offences(pallet_offences::Event::Offence { .. })
        )));
        assert!(slash_reported(&account(AliceStash), 0));
        assert_noop!(
            call_as(&account(Ferdie), report),
            pallet_babe::Error::<Runtime>::DuplicateOffenceReport
        );
    });
}

#[test]
fn a_report_of_one_header_twice_is_refused() {
    with_chain("local", |chain| {
        chain.next_block();
        let header = header_by(Alice, current_slot(), H256::repeat_byte(1));
        assert_noop!(
            call_as(&account(Ferdie), report_of(Alice, header.clone(), header)),
            pallet_babe::Error::<Runtime>::InvalidEquivocationProof
        );
    });
}

#[test]
fn a_vote_for_two_blocks_in_a_round_is_reported_and_slashed() {
    with_chain("local", |chain| {
        chain.next_block();
        let report = grandpa_equivocation(Ed25519Keyring::Bob);
        assert_ok!(call_as(&account(Ferdie), report.clone()));
        assert!(slash_reported(&account(BobStash), 0));
        assert_noop!(
            call_as(&account(Ferdie), report),
            pallet_grandpa::Error::<Runtime>::DuplicateOffenceReport
        );
    });
}

/// Two equivocations in the first session of an era are reported in the last session in which they may be.
///
/// Alice's stake is still bonded; Bob left in the era in which he equivocated, as soon as he was elected for
/// it.
#[test]
fn the_latest_report_costs_what_is_bonded_and_what_is_on_its_way_out() {
    with_chain("local", |chain| {
        let (alice, bob) = (account(AliceStash), account(BobStash));
        // Era 2 is planned with Bob, and he leaves at once.
        while pallet_staking::CurrentEra::<Runtime>::get() != Some(2) {
            chain.next_session();
        }
        assert_ok!(call_as(&bob, StakingCall::chill {}));
        assert_ok!(call_as(
            &bob,
            StakingCall::unbond {
                value: VALIDATOR_STAKE
            }
        ));
        chain.until_era(2);
        let (by_alice, by_bob) = (
            babe_equivocation(Alice),
            grandpa_equivocation(Ed25519Keyring::Bob),
        );

        chain.until_era(2 + REPORT_ERAS);
        for _ in 1..SESSIONS_PER_ERA {
            chain.next_session();
        }
        assert_eq!(active_era(), 2 + REPORT_ERAS);
        assert_ok!(call_as(&account(Ferdie), by_alice));
        assert!(slash_reported(&alice, 2));
        assert_ok!(call_as(&account(Ferdie), by_bob));
        assert!(slash_reported(&bob, 2));

        // None of it can leave before the slash, however often Bob tries.
        let due = 2 + SLASH_DEFER_ERAS + 1;
        assert!(due - active_era() >= MIN_REVIEW_ERAS);
        let reward_before = wealth(&account(Ferdie));
        while active_era() < due {
            assert_eq!(
                [&alice, &bob].map(|stash| Staking::ledger(stash.clone().into()).unwrap().total),
                [VALIDATOR_STAKE; 2]
            );
            let withdraw = StakingCall::withdraw_unbonded {
                num_slashing_spans: 10,
            };
            assert_ok!(call_as(&bob, withdraw));
            chain.next_session();
        }
        for stash in [&alice, &bob] {
            assert_eq!(Staking::ledger(stash.clone().into()).unwrap().total, 0);
            assert!(happened(|event| matches!(
                event,
                RuntimeEvent::Staking(pallet_staking::Event::Slashed { staker, amount: VALIDATOR_STAKE })
                    if staker == stash
            )));
        }
        // Half of a tenth of each goes to the reporter: one that reports its own other account loses 95 %.
        assert_eq!(wealth(&account(Ferdie)) - reward_before, 2 * VALIDATOR_STAKE / 20);
    });
}

#[test]
fn a_report_is_refused_from_the_era_on_in_which_it_would_cost_nothing() {
    with_chain("local", |chain| {
        chain.until_era(2);
        // The last session of the era: counting sessions instead of eras would accept the report.
        for _ in 1..SESSIONS_PER_ERA {
            chain.next_session();
        }
        assert_eq!(active_era(), 2);
        let session = assay_runtime::Session::current_index();
        let (by_alice, by_bob) = (
            babe_equivocation(Alice),
            grandpa_equivocation(Ed25519Keyring::Bob),
        );
        chain.shorten_eras();
        chain.until_era(2 + REPORT_ERAS);
        assert!(ReportableSessions::contains(session));
        chain.until_era(2 + REPORT_ERAS + 1);
        assert!(!ReportableSessions::contains(session));

        assert_noop!(
            call_as(&account(Ferdie), by_alice),
            pallet_babe::Error::<Runtime>::InvalidKeyOwnershipProof
        );
        assert_noop!(
            call_as(&account(Ferdie), by_bob),
            pallet_grandpa::Error::<Runtime>::InvalidKeyOwnershipProof
        );
    });
}

#[test]
fn governance_slashes_no_era_whose_slashes_are_past() {
    with_chain("local", |chain| {
        let slash = |era| StakingCall::manual_slash {
            validator_stash: account(CharlieStash),
            era,
            slash_fraction: Perbill::from_percent(10),
        };
        chain.shorten_eras();
        chain.until_era(REPORT_ERAS + 3);
        // The oldest era with a known exposure.
        let oldest = (0..active_era())
            .find(|era| pallet_staking::ErasStartSessionIndex::<Runtime>::contains_key(era))
            .unwrap();
        assert_eq!(
            sudo(slash(oldest - 1)),
            Err(pallet_staking::Error::<Runtime>::InvalidEraToReward.into())
        );
        assert_ok!(sudo(slash(oldest)));
        let due = oldest + SLASH_DEFER_ERAS + 1;
        assert!(due > active_era());
        let before = wealth(&account(CharlieStash));
        chain.until_era(due);
        assert_eq!(before - wealth(&account(CharlieStash)), VALIDATOR_STAKE / 10);
    });
}

/// The defaults of the windows that governance can change fit together. `configs/staking.rs` asserts the
/// validators' windows at compile time.
#[test]
fn the_market_s_windows_fit_into_each_other() {
    with_chain("development", |_| {
        let unbonding = <Runtime as pallet_provider_staking::Config>::UnbondingEpochs::get();
        let defer = <Runtime as pallet_provider_staking::Config>::SlashDeferEpochs::get();
        let memory = <Runtime as pallet_provider_staking::Config>::StrikeMemoryEpochs::get();
        assert!(
            defer < unbonding,
            "a bond could leave before what it did falls due"
        );
        assert!(
            unbonding < memory,
            "a strike would be forgotten before its bond is free"
        );
        assert!(
            unbonding < EMISSION_HISTORY_EPOCHS,
            "a machine could leave unpaid"
        );
    });
}

/// Runs a test on the preset `local` with six validators, where an equivocation of one costs a quarter, and
/// of two everything.
fn with_six_validators(test: impl FnOnce(&mut Chain)) {
    let validators: Vec<_> = Sr25519Keyring::well_known()
        .take(6)
        .zip(Ed25519Keyring::well_known())
        .map(|(sr25519, ed25519)| {
            let keys = SessionKeys {
                babe: sr25519.public().into(),
                grandpa: ed25519.public().into(),
                availability: sr25519.public().into(),
            };
            (account(sr25519), keys)
        })
        .collect();
    let keys: Vec<_> = validators
        .iter()
        .map(|(stash, keys)| json!([stash, stash, keys]))
        .collect();
    let stakers: Vec<_> = validators
        .iter()
        .map(|(stash, _)| {
            json!([
                stash,
                stash,
                VALIDATOR_STAKE,
                StakerStatus::<AccountId>::Validator
            ])
        })
        .collect();
    let patch = json!({
        "session": { "keys": keys },
        "staking": { "stakers": stakers, "validatorCount": 6 }
    });
    with_patched_chain("local", patch, test);
}

#[test]
fn all_slashes_of_a_validator_for_an_era_are_one() {
    with_six_validators(|chain| {
        let (alice, bob) = (account(Alice), account(Bob));
        let nominator = account(Dave);
        // Dave validates and cannot nominate: another account backs Alice.
        let backer = account(Sr25519Keyring::AliceStash);
        let payee = pallet_staking::RewardDestination::Stash;
        assert_ok!(call_as(
            &backer,
            StakingCall::bond {
                value: VALIDATOR_STAKE,
                payee
            }
        ));
        let targets = vec![alice.clone().into()];
        assert_ok!(call_as(&backer, StakingCall::nominate { targets }));
        chain.until_era(2);

        let reports = [Alice, Bob].map(babe_equivocation);
        let reporters = [account(Ferdie), nominator];
        let pending = || pallet_staking::UnappliedSlashes::<Runtime>::get(2 + SLASH_DEFER_ERAS + 1);
        let quarter = VALIDATOR_STAKE / 4;
        assert_ok!(call_as(&reporters[0], reports[0].clone()));
        let first = &pending()[0];
        assert_eq!(
            (pending().len(), first.own, &first.others),
            (1, quarter, &vec![(backer.clone(), quarter)])
        );

        // Alice's penalty has grown, since Bob equivocated in the same slot.
        assert_ok!(call_as(&reporters[1], reports[1].clone()));
        let slashes = pending();
        assert_eq!(
            slashes
                .iter()
                .map(|slash| (&slash.validator, slash.own))
                .collect::<Vec<_>>(),
            [(&alice, VALIDATOR_STAKE), (&bob, VALIDATOR_STAKE)]
        );
        assert_eq!(slashes[0].others, [(backer.clone(), VALIDATOR_STAKE)]);
        assert_eq!(slashes[0].reporters, reporters[..1]);
        assert_eq!(slashes[1].reporters, reporters[1..]);

        chain.shorten_eras();
        chain.until_era(2 + SLASH_DEFER_ERAS + 1);
        for stash in [alice, bob, backer] {
            assert_eq!(Staking::ledger(stash.into()).unwrap().total, 0);
        }
    });
}

/// Returns the SDK's weight for the report and slash of one validator with so many accounts at stake.
fn counted(chain: &mut Chain, others: u32) -> Weight {
    let stash = account(AliceStash);
    for number in 0..others {
        let who = AccountId::from([number as u8; 32]);
        let value = VALIDATOR_STAKE;
        endow(&who, 2 * value);
        let payee = pallet_staking::RewardDestination::Stash;
        assert_ok!(call_as(&who, StakingCall::bond { value, payee }));
        let targets = vec![stash.clone().into()];
        assert_ok!(call_as(&who, StakingCall::nominate { targets }));
    }
    chain.until_era(active_era() + 2);
    let exposed = Staking::eras_stakers(active_era(), &stash).others.len();
    assert_eq!(exposed as u32 + 1, MAX_EXPOSED_BACKERS.min(others + 1));
    let details = OffenceDetails {
        offender: stash,
        reporters: vec![account(Ferdie)],
    };
    Staking::on_offence(
        core::iter::once(details),
        &[Perbill::from_percent(50)],
        assay_runtime::Session::current_index(),
    )
}

#[test]
fn a_report_is_weighed_for_the_most_accounts_that_it_slashes() {
    with_chain("local", |chain| {
        // More accounts nominate than can be exposed.
        let of_one = counted(chain, MAX_EXPOSED_BACKERS + 20);
        let report = babe_equivocation(Bob);
        let weight_of = <EquivocationWeight as pallet_babe::WeightInfo>::report_equivocation;
        assert_eq!(
            report.get_dispatch_info().call_weight,
            weight_of(3, MAX_EXPOSED_BACKERS)
        );
        // The SDK's own figures, with all offenders in one slot, up to the third from which on an
        // equivocation costs everything.
        for validators in [1, 2, 3, 10, 100, MAX_AUTHORITIES] {
            let again = u64::from(validators.div_ceil(3));
            let declared = weight_of(validators, MAX_EXPOSED_BACKERS);
            assert!(declared.all_gte(of_one.saturating_mul(again)), "{validators}");
        }
    });
}

#[test]
fn the_dearest_report_fits_into_a_block() {
    let most = BlockWeights::get()
        .get(DispatchClass::Normal)
        .max_extrinsic
        .unwrap();
    for dearest in [
        <EquivocationWeight as pallet_babe::WeightInfo>::report_equivocation(
            MAX_AUTHORITIES,
            MAX_EXPOSED_BACKERS,
        ),
        <EquivocationWeight as pallet_grandpa::WeightInfo>::report_equivocation(
            MAX_AUTHORITIES,
            MAX_EXPOSED_BACKERS,
        ),
    ] {
        assert!(dearest.all_lte(most), "{dearest} of {most}");
    }
}

#[test]
fn a_proof_of_another_session_is_refused() {
    with_chain("local", |chain| {
        chain.until_era(1);
        let mut report = babe_equivocation(Alice);
        let pallet_babe::Call::report_equivocation { key_owner_proof, .. } = &mut report else {
            unreachable!("it is a report")
        };
        let MembershipProof { session, .. } = key_owner_proof;
        *session = u32::MAX;
        assert_eq!(
            call_as(&account(Ferdie), report),
            Err(DispatchError::from(
                pallet_babe::Error::<Runtime>::InvalidKeyOwnershipProof
            ))
        );
    });
}
