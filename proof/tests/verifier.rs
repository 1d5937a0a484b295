//! Tests of the verifier: it accepts exactly the right proofs.

use assay_proof::{
    ChallengeParams, Hash, ParamsError, SlotClaim, SlotProof, SlotsError, VerifyError, WrongLength,
    prover::{CpuProver, Prover},
    seed, verify_slots,
};
use codec::{Decode, DecodeAll, Encode, MaxEncodedLen};
use proptest::prelude::*;

fn small_params() -> impl Strategy<Value = ChallengeParams> {
    (1 << 10..1_200_u32, 4..8_u16, 4..7_u8, 1..6_u16, 1..5_u8).prop_map(
        |(items, fill_double_rounds, lanes_log2, steps, openings)| ChallengeParams {
            items,
            fill_double_rounds,
            lanes_log2,
            steps,
            openings,
            deadline_ms: 1,
        },
    )
}

fn answered(
    params: ChallengeParams,
    machine_id: u64,
    slot: u8,
    opening_randomness: Hash,
) -> (SlotClaim, SlotProof) {
    let seed = seed(&[1; 32], machine_id, &[2; 32], slot);
    let mut prover = CpuProver::new(Default::default()).expect("threads start");
    let commitment = prover.commit(&params, &seed, &()).expect("it commits");
    let claim = SlotClaim {
        params,
        seed,
        opening_randomness,
        machine_id,
        slot,
        root: commitment.root,
    };
    let lanes: Vec<u32> = claim.opened_lanes().collect();
    let proof = prover.open(&commitment, &lanes, &()).expect("it opens");
    (claim, proof)
}

/// Returns one answer for the tests to corrupt. Its tree is so deep that other randomness opens other lanes.
fn answer() -> (SlotClaim, SlotProof) {
    let params = ChallengeParams {
        items: 1 << 10,
        fill_double_rounds: 4,
        lanes_log2: 12,
        steps: 2,
        openings: 3,
        deadline_ms: 1,
    };
    answered(params, 42, 3, [5; 32])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_honest_answer_is_accepted(
        params in small_params(),
        machine_id: u64,
        slot: u8,
        opening_randomness: Hash,
    ) {
        let (claim, proof) = answered(params, machine_id, slot, opening_randomness);
        prop_assert_eq!(claim.verify(&proof), Ok(()));
        let bytes = proof.encode();
        prop_assert_eq!(bytes.len() as u64, params.proof_bytes());
        prop_assert_eq!(claim.verify_encoded(&bytes), Ok(()));
    }

    #[test]
    fn any_flipped_bit_of_the_proof_is_refused(
        params in small_params(),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let (claim, proof) = answered(params, 1, 0, [3; 32]);
        let mut bytes = proof.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(claim.verify_encoded(&bytes).is_err());
    }

    #[test]
    fn truncated_and_longer_proofs_are_refused(
        params in small_params(),
        at: prop::sample::Index,
        extra in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let (claim, proof) = answered(params, 1, 0, [3; 32]);
        let mut bytes = proof.encode();
        let truncated = &bytes[..at.index(bytes.len())];
        prop_assert_eq!(claim.verify_encoded(truncated), Err(VerifyError::Malformed));
        bytes.extend(extra);
        prop_assert_eq!(claim.verify_encoded(&bytes), Err(VerifyError::Malformed));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut claim = claim();
        prop_assert!(claim.verify_encoded(&bytes).is_err());
        if let Ok(params) = ChallengeParams::decode(&mut &bytes[..]) {
            prop_assert_eq!(params.is_valid(), params.validate().is_ok());
            claim.params = params;
            // The lengths differ, so that expensive parameters are not computed with.
            prop_assert!(claim.verify(&SlotProof::default()).is_err());
        }
    }

    #[test]
    fn parameters_survive_encoding(
        items: u32, fill_double_rounds: u16, lanes_log2: u8, steps: u16, openings: u8, deadline_ms: u64,
    ) {
        let params =
            ChallengeParams { items, fill_double_rounds, lanes_log2, steps, openings, deadline_ms };
        let bytes = params.encode();
        prop_assert!(bytes.len() <= ChallengeParams::max_encoded_len());
        prop_assert_eq!(ChallengeParams::decode_all(&mut &bytes[..]), Ok(params));
        let json = serde_json::to_string(&params).expect("it is written");
        prop_assert_eq!(serde_json::from_str::<ChallengeParams>(&json).expect("it is read"), params);
    }
}

fn claim() -> SlotClaim {
    SlotClaim {
        params: ChallengeParams {
            items: 1 << 10,
            fill_double_rounds: 4,
            lanes_log2: 4,
            steps: 1,
            openings: 1,
            deadline_ms: 1,
        },
        seed: [0; 32],
        opening_randomness: [0; 32],
        machine_id: 0,
        slot: 0,
        root: [0; 32],
    }
}

#[test]
fn any_flipped_byte_of_the_claim_is_refused() {
    let (claim, proof) = answer();
    assert_eq!(claim.verify(&proof), Ok(()));
    let refused = |claim: SlotClaim| matches!(claim.verify(&proof), Err(VerifyError::WrongRoot { .. }));
    type Part = fn(&mut SlotClaim) -> &mut Hash;
    let parts: [Part; 3] = [
        |claim| &mut claim.root,
        |claim| &mut claim.seed,
        |claim| &mut claim.opening_randomness,
    ];
    for byte in 0..32 {
        for part in parts {
            let mut spoiled = claim;
            part(&mut spoiled)[byte] ^= 0x10;
            assert!(refused(spoiled), "byte {byte}");
        }
    }
    for bit in 0..64 {
        assert!(
            refused(SlotClaim {
                machine_id: claim.machine_id ^ 1 << bit,
                ..claim
            }),
            "bit {bit}"
        );
    }
    for slot in (0..=u8::MAX).filter(|slot| *slot != claim.slot) {
        assert!(refused(SlotClaim { slot, ..claim }), "slot {slot}");
    }
}

#[test]
fn other_parameters_are_refused() {
    let (claim, proof) = answer();
    type Change = fn(&mut ChallengeParams);
    let changes: [(Change, VerifyError); 7] = [
        (|params| params.items += 1, VerifyError::WrongRoot { opening: 0 }),
        (
            |params| params.fill_double_rounds += 1,
            VerifyError::WrongRoot { opening: 0 },
        ),
        (|params| params.steps += 1, VerifyError::WrongRoot { opening: 0 }),
        (
            |params| params.lanes_log2 += 1,
            VerifyError::WrongLength(WrongLength::Siblings { opening: 0 }),
        ),
        (
            |params| params.openings -= 1,
            VerifyError::WrongLength(WrongLength::Openings),
        ),
        (
            |params| params.openings += 1,
            VerifyError::WrongLength(WrongLength::Openings),
        ),
        (
            |params| params.openings = 0,
            VerifyError::Params(ParamsError::Openings),
        ),
    ];
    for (change, error) in changes {
        let mut spoiled = claim;
        change(&mut spoiled.params);
        assert_eq!(spoiled.verify(&proof), Err(error));
    }
}

#[test]
fn errors_name_the_opening() {
    let (claim, proof) = answer();
    for opening in 0..3 {
        let mut paths: Vec<Vec<Hash>> = proof.openings.iter().map(|path| path.to_vec()).collect();
        paths[usize::from(opening)][11][31] ^= 1;
        let spoiled = SlotProof::from_paths(&paths).expect("it fits");
        assert_eq!(claim.verify(&spoiled), Err(VerifyError::WrongRoot { opening }));

        paths[usize::from(opening)].pop();
        let short = SlotProof::from_paths(&paths).expect("it fits");
        let error = WrongLength::Siblings { opening };
        assert_eq!(claim.verify(&short), Err(VerifyError::WrongLength(error)));
    }
    let mut swapped = proof.clone();
    swapped.openings.as_mut().swap(0, 1);
    assert_eq!(claim.verify(&swapped), Err(VerifyError::WrongRoot { opening: 0 }));
}

#[test]
fn verify_slots_wants_exactly_one_proof_for_each_slot() {
    let params = answer().0.params;
    let (claims, proofs): (Vec<_>, Vec<_>) = (4..7).map(|slot| answered(params, 42, slot, [5; 32])).unzip();
    assert_eq!(verify_slots(&claims, &proofs), Ok(()));
    assert_eq!(
        verify_slots(&claims, &proofs[..2]),
        Err(SlotsError::WrongNumberOfSlots)
    );
    assert_eq!(
        verify_slots(&claims[1..], &proofs),
        Err(SlotsError::WrongNumberOfSlots)
    );
    let swapped = [proofs[0].clone(), proofs[2].clone(), proofs[1].clone()];
    let error = VerifyError::WrongRoot { opening: 0 };
    assert_eq!(
        verify_slots(&claims, &swapped),
        Err(SlotsError::Wrong { slot: 5, error })
    );
}
