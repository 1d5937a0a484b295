//! What the consensus is held to: equivocation is reported, proven and punished.

#![allow(clippy::unwrap_used)]

mod common;

use assay_runtime::{Header, Historical, Runtime, RuntimeEvent};
use codec::Encode;
use common::*;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::KeyOwnerProofSystem},
    pallet_babe, pallet_offences, pallet_staking,
    sp_consensus_babe::{
        AuthorityId, BABE_ENGINE_ID, EquivocationProof, KEY_TYPE,
        digests::{PreDigest, SecondaryPlainPreDigest},
    },
    sp_core::{H256, Pair},
    sp_keyring::Sr25519Keyring::{Alice, AliceStash, Ferdie},
    sp_runtime::{Digest, DigestItem},
};

/// A header for the slot, sealed by Alice, that differs by its state root.
fn header_by_alice(slot: u64, state_root: H256) -> Header {
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
    let seal = Alice.pair().sign(header.hash().as_ref());
    header
        .digest
        .push(DigestItem::Seal(BABE_ENGINE_ID, seal.encode()));
    header
}

/// The report of Alice's two headers in one slot.
fn report(first: Header, second: Header, slot: u64) -> pallet_babe::Call<Runtime> {
    let offender = AuthorityId::from(Alice.public());
    pallet_babe::Call::report_equivocation {
        key_owner_proof: Historical::prove((KEY_TYPE, offender.clone())).expect("Alice validates"),
        equivocation_proof: Box::new(EquivocationProof {
            offender,
            slot: slot.into(),
            first_header: first,
            second_header: second,
        }),
    }
}

#[test]
fn a_validator_that_makes_two_blocks_in_a_slot_is_reported_and_slashed() {
    with_chain("local", |chain| {
        chain.next_block();
        let slot = current_slot();
        let (first, second) = (
            header_by_alice(slot, H256::repeat_byte(1)),
            header_by_alice(slot, H256::repeat_byte(2)),
        );

        assert_ok!(call_as(
            &account(Ferdie),
            report(first.clone(), second.clone(), slot)
        ));
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::Offences(pallet_offences::Event::Offence { .. })
        )));
        let stash = account(AliceStash);
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::Staking(pallet_staking::Event::SlashReported { validator, fraction, .. })
                if *validator == stash && !polkadot_sdk::sp_runtime::traits::Zero::is_zero(fraction)
        )));

        assert_noop!(
            call_as(&account(Ferdie), report(first, second, slot)),
            pallet_babe::Error::<Runtime>::DuplicateOffenceReport
        );
    });
}

#[test]
fn a_report_of_one_header_twice_is_refused() {
    with_chain("local", |chain| {
        chain.next_block();
        let slot = current_slot();
        let header = header_by_alice(slot, H256::repeat_byte(1));
        assert_noop!(
            call_as(&account(Ferdie), report(header.clone(), header, slot)),
            pallet_babe::Error::<Runtime>::InvalidEquivocationProof
        );
    });
}
