//! Fuzz target: the verifier neither panics nor accepts random bytes, and decoding and encoding agree.
//!
//! ```text
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir proof/fuzz verify -- -max_total_time=120
//! ```

#![no_main]

use assay_proof::{
    ChallengeParams, FILL_DOUBLE_ROUNDS, Hash, ITEMS, LANES_LOG2, OPENINGS, STEPS, SlotClaim, SlotProof,
};
use libfuzzer_sys::fuzz_target;
use parity_scale_codec::{Decode, Encode};

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let Ok((mut params, seed, opening_randomness, machine_id, slot, root)) =
        <(ChallengeParams, Hash, Hash, u64, u8, Hash)>::decode(&mut input)
    else {
        return;
    };
    // Unchanged parameters must be refused, or pass the checks of lengths.
    let _ = (params.is_valid(), params.passes(), params.verification_double_rounds(), params.proof_bytes());
    let proof = SlotProof::decode_exact(input);
    if let Some(proof) = &proof {
        assert_eq!(proof.encode(), input);
        let _ = proof.check_shape(&params);
    }
    let claim = |params| SlotClaim {
        params,
        seed,
        opening_randomness,
        machine_id,
        slot,
        root,
    };
    if !params.is_valid() {
        assert!(claim(params).verify_encoded(input).is_err());
    }

    // Folded into the cheap part of the ranges, so that many are valid and none takes long.
    params.items = (*ITEMS.start()).max(params.items);
    params.fill_double_rounds = FILL_DOUBLE_ROUNDS.start() + params.fill_double_rounds % 4;
    params.lanes_log2 = LANES_LOG2.start() + params.lanes_log2 % 27;
    params.steps = STEPS.start() + params.steps % 4;
    params.openings = OPENINGS.start() + params.openings % 16;
    params.deadline_ms = params.deadline_ms.max(1);
    assert!(params.is_valid());
    assert!(claim(params).verify_encoded(input).is_err());
    if let Some(proof) = proof {
        // With the shape of the given proof, so that lanes and paths are computed too.
        params.openings = proof.openings.len() as u8;
        params.lanes_log2 = proof.openings.first().map_or(0, |siblings| siblings.len() as u8);
        assert!(claim(params).verify(&proof).is_err());
    }
});
