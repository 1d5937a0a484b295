//! Test vectors: every field of every published case, with every implementation.

use std::num::NonZeroUsize;

use assay_proof::{
    ChallengeParams, Hash, SlotClaim, SlotProof, Words,
    calibration::{StoredFraction, commit_with_fraction},
    item, lane, opened_lanes,
    prover::{CpuOptions, CpuProver, Instructions, KeptTree, Prover},
    seed,
};
use serde_json::Value;

struct Case {
    params: ChallengeParams,
    claim: SlotClaim,
    round_randomness: Hash,
    worker_key: Hash,
    item_0: String,
    lane_0: String,
    lanes: Vec<u32>,
    proof: SlotProof,
}

#[test]
fn seeds_are_those_of_the_vectors() {
    for case in cases() {
        let SlotClaim { machine_id, slot, .. } = case.claim;
        assert_eq!(
            seed(&case.round_randomness, machine_id, &case.worker_key, slot),
            case.claim.seed
        );
    }
}

#[test]
fn items_and_lanes_are_those_of_the_vectors() {
    for case in cases() {
        let seed = case.claim.seed;
        assert_eq!(
            hex_of(&item(&seed, 0, case.params.fill_double_rounds)),
            case.item_0
        );
        assert_eq!(hex_of(&lane(&case.params, &seed, 0)), case.lane_0);
    }
}

#[test]
fn opened_lanes_are_those_of_the_vectors() {
    for case in cases() {
        let SlotClaim {
            params,
            machine_id,
            slot,
            opening_randomness,
            ..
        } = case.claim;
        let lanes = opened_lanes(
            &opening_randomness,
            machine_id,
            slot,
            params.openings,
            params.lanes_log2,
        );
        assert_eq!(lanes.collect::<Vec<_>>(), case.lanes);
        assert_eq!(case.claim.opened_lanes().collect::<Vec<_>>(), case.lanes);
    }
}

#[test]
fn the_verifier_accepts_the_vectors() {
    for case in cases() {
        assert_eq!(case.claim.verify(&case.proof), Ok(()));
    }
}

#[test]
fn every_prover_gives_the_vectors() {
    let trees = [
        KeptTree::Whole,
        KeptTree::Pieces { leaves_log2: 4 },
        KeptTree::default(),
        KeptTree::Pieces { leaves_log2: u8::MAX },
    ];
    for case in cases() {
        for instructions in [Instructions::Fastest, Instructions::Scalar] {
            for kept_tree in trees {
                for threads in [None, NonZeroUsize::new(1)] {
                    let options = CpuOptions {
                        threads,
                        instructions,
                        kept_tree,
                        memory_limit_bytes: None,
                    };
                    let mut prover = CpuProver::new(options.clone()).expect("threads start");
                    let commitment = prover
                        .commit(&case.params, &case.claim.seed, &())
                        .expect("it commits");
                    assert_eq!(commitment.root, case.claim.root, "{options:?}");
                    let proof = prover.open(&commitment, &case.lanes, &()).expect("it opens");
                    assert_eq!(proof, case.proof, "{options:?}");
                }
            }
        }
    }
}

#[test]
fn the_wrong_memory_gives_the_same_roots() {
    for case in cases() {
        for percent in [0, 1, 50, 99, 100, 101] {
            let fraction = StoredFraction::from_percent(percent);
            let commit = commit_with_fraction(&case.params, &case.claim.seed, fraction, None, &())
                .expect("it commits");
            assert_eq!(commit.root, case.claim.root, "{percent} %");
        }
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("vectors/challenge.json")).expect("the vectors are JSON");
    assert!(!cases.is_empty());
    cases.iter().map(case).collect()
}

fn case(case: &Value) -> Case {
    let param = |name: &str| number(&case["params"][name]);
    let params = ChallengeParams {
        items: param("items").try_into().expect("32 bits"),
        fill_double_rounds: param("fill_double_rounds").try_into().expect("16 bits"),
        lanes_log2: param("lanes_log2").try_into().expect("8 bits"),
        steps: param("steps").try_into().expect("16 bits"),
        openings: param("openings").try_into().expect("8 bits"),
        deadline_ms: 1,
    };
    let openings = case["openings"].as_array().expect("openings are a list");
    let paths = openings.iter().map(|opening| {
        let siblings = opening["siblings"].as_array().expect("siblings are a list");
        siblings.iter().map(hash).collect::<Vec<_>>()
    });
    Case {
        params,
        claim: SlotClaim {
            params,
            seed: hash(&case["seed"]),
            opening_randomness: hash(&case["opening_randomness"]),
            machine_id: number(&case["machine_id"]),
            slot: number(&case["slot"]).try_into().expect("8 bits"),
            root: hash(&case["root"]),
        },
        round_randomness: hash(&case["round_randomness"]),
        worker_key: hash(&case["worker_key"]),
        item_0: text(&case["item_0"]).into(),
        lane_0: text(&case["lane_0"]).into(),
        lanes: openings
            .iter()
            .map(|opening| number(&opening["lane"]).try_into().expect("32 bits"))
            .collect(),
        proof: SlotProof::from_paths(paths).expect("it is no longer than a proof can be"),
    }
}

fn hash(value: &Value) -> Hash {
    let mut hash = [0; 32];
    hex::decode_to_slice(text(value), &mut hash).expect("a hash is 32 bytes in hex");
    hash
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is a string")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("it is a number")
}

fn hex_of(words: &Words) -> String {
    words.iter().map(|word| hex::encode(word.to_le_bytes())).collect()
}
