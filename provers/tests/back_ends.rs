//! Test suite for every back end. It prints the reason and skips a back end that is absent; with
//! `ASSAY_REQUIRE_WGPU=1` or `ASSAY_REQUIRE_CUDA=1` in the environment its absence is a failure.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, env};

use assay_proof::{
    ChallengeParams, Hash, SlotClaim, SlotProof,
    prover::{
        Cancel, Commitment, CpuOptions, CpuProver, Progress, Prover, ProverError, Stage, WatchWith, self_test,
    },
};
use assay_provers::{
    AnyProver, BackEnd, DetectOptions, GpuOptions, detect,
    wgpu::{self, WgpuOptions},
};
use proptest::{strategy::Strategy, strategy::ValueTree, test_runner::TestRunner};
use serde_json::Value;

const PARAMS: ChallengeParams = ChallengeParams {
    items: 5000,
    fill_double_rounds: 9,
    lanes_log2: 12,
    steps: 8,
    openings: 3,
    deadline_ms: 6_000,
};

/// Runs a test on every device of every back end that is present.
fn for_each_prover(options: &DetectOptions, mut test: impl FnMut(&mut AnyProver)) {
    for back_end in BackEnd::ALL {
        match detect(back_end, options) {
            Ok(provers) => {
                for prover in provers {
                    let mut prover = prover.expect("a device that is there starts");
                    println!("{back_end}: {}", prover.name());
                    test(&mut prover);
                }
            }
            Err(absent) => {
                println!("{back_end} is left out: {absent}");
                let required = format!("ASSAY_REQUIRE_{}", back_end.to_string().to_uppercase());
                assert!(back_end != BackEnd::Cpu, "every machine has a CPU");
                assert!(
                    env::var(&required).as_deref() != Ok("1"),
                    "{required} is set, and {back_end} is absent: {absent}"
                );
            }
        }
    }
}

fn for_each_usual_prover(test: impl FnMut(&mut AnyProver)) {
    for_each_prover(&DetectOptions::default(), test);
}

fn claim(params: ChallengeParams, seed: Hash, root: Hash) -> SlotClaim {
    SlotClaim {
        params,
        seed,
        opening_randomness: [9; 32],
        machine_id: 4,
        slot: 2,
        root,
    }
}

/// Commits, opens, and verifies the proof.
fn answer(prover: &mut dyn Prover, params: ChallengeParams, seed: Hash) -> (Commitment, SlotProof) {
    let commitment = prover.commit(&params, &seed, &()).unwrap();
    let claim = claim(params, seed, commitment.root);
    let lanes: Vec<u32> = claim.opened_lanes().collect();
    let proof = prover.open(&commitment, &lanes, &()).unwrap();
    assert_eq!(claim.verify(&proof), Ok(()), "{params:?}");
    (commitment, proof)
}

fn cpu_answer(params: ChallengeParams, seed: Hash) -> (Commitment, SlotProof) {
    answer(&mut CpuProver::new(CpuOptions::default()).unwrap(), params, seed)
}

#[test]
fn self_tests_work() {
    for_each_usual_prover(|prover| self_test(prover).unwrap());
}

#[test]
fn every_prover_gives_the_vectors() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../proof/tests/vectors/challenge.json")).unwrap();
    assert!(!cases.is_empty());
    for_each_usual_prover(|prover| {
        for case in &cases {
            let number = |name: &str| case["params"][name].as_u64().unwrap();
            let params = ChallengeParams {
                items: number("items").try_into().unwrap(),
                fill_double_rounds: number("fill_double_rounds").try_into().unwrap(),
                lanes_log2: number("lanes_log2").try_into().unwrap(),
                steps: number("steps").try_into().unwrap(),
                openings: number("openings").try_into().unwrap(),
                deadline_ms: 1,
            };
            let commitment = prover.commit(&params, &hash(&case["seed"]), &()).unwrap();
            assert_eq!(commitment.root, hash(&case["root"]));
            let openings = case["openings"].as_array().unwrap();
            let lanes: Vec<u32> = openings
                .iter()
                .map(|opening| opening["lane"].as_u64().unwrap().try_into().unwrap())
                .collect();
            let paths = openings.iter().map(|opening| {
                let siblings = opening["siblings"].as_array().unwrap();
                siblings.iter().map(hash).collect::<Vec<_>>()
            });
            let proof = prover.open(&commitment, &lanes, &()).unwrap();
            assert_eq!(Some(proof), SlotProof::from_paths(paths));
        }
    });
}

fn hash(value: &Value) -> Hash {
    let mut hash = [0; 32];
    hex::decode_to_slice(value.as_str().unwrap(), &mut hash).unwrap();
    hash
}

#[test]
fn random_challenges_are_answered_like_the_cpu_does() {
    const CHALLENGES: usize = 12;
    let params = (1_u32 << 10..1 << 13, 4_u16..40, 4_u8..14, 1_u16..40, 1_u8..=16).prop_map(
        |(items, fill_double_rounds, lanes_log2, steps, openings)| ChallengeParams {
            items,
            fill_double_rounds,
            lanes_log2,
            steps,
            openings,
            deadline_ms: 1,
        },
    );
    let challenge = (params, proptest::array::uniform32(0_u8..));
    let mut runner = TestRunner::deterministic();
    let challenges: Vec<(ChallengeParams, Hash)> = (0..CHALLENGES)
        .map(|_| challenge.new_tree(&mut runner).unwrap().current())
        .collect();
    let expected: Vec<_> = challenges
        .iter()
        .map(|&(params, seed)| cpu_answer(params, seed))
        .collect();
    for_each_usual_prover(|prover| {
        for (&(params, seed), (commitment, proof)) in challenges.iter().zip(&expected) {
            let (own, own_proof) = answer(prover, params, seed);
            assert!(own.is_same_answer(commitment), "{params:?}");
            assert_eq!(&own_proof, proof, "{params:?}");
        }
    });
}

#[test]
fn seeds_and_all_bits_of_the_parameters_count() {
    // The largest cost of an item, and lanes that read few of many items.
    let params = ChallengeParams {
        items: (1 << 16) + 1,
        fill_double_rounds: 2048,
        lanes_log2: 4,
        steps: 3,
        openings: 1,
        deadline_ms: 1,
    };
    let expected = cpu_answer(params, [0xff; 32]);
    for_each_usual_prover(|prover| {
        let (commitment, proof) = answer(prover, params, [0xff; 32]);
        assert!(commitment.is_same_answer(&expected.0));
        assert_eq!(proof, expected.1);
        let other = prover.commit(&params, &[0xfe; 32], &()).unwrap();
        assert_ne!(other.root, commitment.root);
    });
}

#[test]
fn progress_is_told_in_order_and_to_the_end() {
    for_each_usual_prover(|prover| {
        let heard = RefCell::new(Vec::new());
        let watch = WatchWith {
            on_progress: |progress: Progress| heard.borrow_mut().push(progress),
            cancel: Cancel::default(),
        };
        let commitment = prover.commit(&PARAMS, &[1; 32], &watch).unwrap();
        prover.open(&commitment, &[0, 1, 4095], &watch).unwrap();

        let heard = heard.borrow();
        for (stage, total) in [(Stage::Fill, 5000), (Stage::Walk, 1 << 12), (Stage::Open, 3)] {
            let done: Vec<u64> = heard
                .iter()
                .filter(|progress| progress.stage == stage)
                .inspect(|progress| assert_eq!(progress.total, total))
                .map(|progress| progress.done)
                .collect();
            assert!(done.is_sorted());
            assert_eq!(done.last(), Some(&total), "{stage:?}");
        }
    });
}

#[test]
fn a_cancelled_commit_holds_nothing() {
    let params = ChallengeParams {
        items: 1 << 20,
        lanes_log2: 14,
        steps: 64,
        ..PARAMS
    };
    for_each_usual_prover(|prover| {
        for stage in [Stage::Fill, Stage::Walk] {
            let held = prover.commit(&PARAMS, &[1; 32], &()).unwrap();
            let cancel = Cancel::default();
            let heard_after = RefCell::new(0);
            let watch = WatchWith {
                on_progress: |progress: Progress| {
                    if cancel_is_on(&cancel) {
                        *heard_after.borrow_mut() += 1;
                    }
                    if progress.stage == stage && progress.done < progress.total {
                        cancel.cancel();
                    }
                },
                cancel: cancel.clone(),
            };
            let result = prover.commit(&params, &[2; 32], &watch);
            if cancel_is_on(&cancel) {
                assert!(matches!(result, Err(ProverError::Cancelled)), "{stage:?}");
                assert_eq!(*heard_after.borrow(), 0, "{stage:?}");
            } else {
                // The stage was so fast that it was one piece of work: there was nothing to cancel.
                println!("{stage:?} is one piece of work here");
                assert!(result.is_ok());
            }
            assert!(matches!(
                prover.open(&held, &[0; 3], &()),
                Err(ProverError::NotHeld)
            ));
        }
        // The cancelled work leaves nothing behind.
        answer(prover, PARAMS, [3; 32]);
    });
}

fn cancel_is_on(cancel: &Cancel) -> bool {
    use assay_proof::prover::Watch;
    cancel.is_cancelled()
}

#[test]
fn a_cancelled_opening_can_be_made_again() {
    for_each_usual_prover(|prover| {
        let commitment = prover.commit(&PARAMS, &[1; 32], &()).unwrap();
        let cancelled = Cancel::default();
        cancelled.cancel();
        assert!(matches!(
            prover.open(&commitment, &[0; 3], &cancelled),
            Err(ProverError::Cancelled)
        ));
        assert!(prover.open(&commitment, &[0; 3], &()).is_ok());
        assert!(matches!(
            prover.commit(&PARAMS, &[1; 32], &cancelled),
            Err(ProverError::Cancelled)
        ));
    });
}

#[test]
fn open_fails_when_the_request_is_wrong() {
    for_each_usual_prover(|prover| {
        let first = prover.commit(&PARAMS, &[1; 32], &()).unwrap();
        let second = prover.commit(&PARAMS, &[2; 32], &()).unwrap();
        assert!(matches!(
            prover.open(&first, &[0; 3], &()),
            Err(ProverError::NotHeld)
        ));
        assert!(matches!(
            prover.open(&second, &[0; 2], &()),
            Err(ProverError::WrongLaneCount {
                given: 2,
                expected: 3
            })
        ));
        assert!(matches!(
            prover.open(&second, &[0, 1, 4096], &()),
            Err(ProverError::NoSuchLane {
                lane: 4096,
                lanes: 4096
            })
        ));
        prover.release();
        assert!(matches!(
            prover.open(&second, &[0; 3], &()),
            Err(ProverError::NotHeld)
        ));
        let bad = ChallengeParams { steps: 0, ..PARAMS };
        assert!(matches!(
            prover.commit(&bad, &[1; 32], &()),
            Err(ProverError::Params(_))
        ));
    });
}

fn limited(memory_limit_bytes: u64) -> DetectOptions {
    DetectOptions {
        cpu: CpuOptions {
            memory_limit_bytes: Some(memory_limit_bytes),
            ..CpuOptions::default()
        },
        gpu: GpuOptions {
            memory_limit_bytes: Some(memory_limit_bytes),
            ..GpuOptions::default()
        },
    }
}

#[test]
fn commit_fails_when_memory_is_short() {
    for_each_prover(&limited(PARAMS.memory_bytes()), |prover| {
        let error = prover.commit(&PARAMS, &[1; 32], &()).unwrap_err();
        assert!(
            matches!(error, ProverError::MemoryShort { needed_bytes, free_bytes }
                if needed_bytes > free_bytes && free_bytes == PARAMS.memory_bytes()),
            "{error}"
        );
        assert!(error.to_string().contains("are missing"), "{error}");
    });
    // 256 GiB of items: more than any test device has, whatever it reports about its memory.
    let huge = ChallengeParams {
        items: u32::MAX,
        ..PARAMS
    };
    for_each_usual_prover(|prover| {
        let error = prover.commit(&huge, &[1; 32], &()).unwrap_err();
        assert!(
            matches!(
                error,
                ProverError::MemoryShort { .. } | ProverError::MemoryRefused { .. }
            ),
            "{error}"
        );
        answer(prover, PARAMS, [1; 32]);
    });
}

#[test]
fn pieces_of_the_tree_give_the_same_root() {
    let params = ChallengeParams {
        lanes_log2: 16,
        steps: 2,
        ..PARAMS
    };
    let expected = cpu_answer(params, [5; 32]);
    // The items, 64 MiB for the driver, and room for 2^14 leaves with the nodes folded from them, but for no
    // more.
    let limit = params.memory_bytes() + (64 << 20) + (64 << 14);
    for options in [DetectOptions::default(), limited(limit)] {
        for_each_prover(&options, |prover| {
            if let AnyProver::Gpu(prover) = prover {
                let plan = prover.plan(&params).unwrap();
                let is_limited = options.gpu.memory_limit_bytes.is_some();
                assert_eq!(plan.batch_lanes_log2, if is_limited { 14 } else { 16 });
                assert_eq!(plan.subtree_lanes_log2, 10);
            }
            let (commitment, proof) = answer(prover, params, [5; 32]);
            assert!(commitment.is_same_answer(&expected.0));
            assert_eq!(proof, expected.1);
        });
    }
}

#[test]
fn gpus_tell_how_fast_they_copy() {
    for_each_usual_prover(|prover| {
        if let AnyProver::Gpu(prover) = prover {
            let rate = prover.copy_bytes_per_second(8 << 20).unwrap();
            assert!(rate.is_finite() && rate > 1e6, "{rate}");
            answer(prover, PARAMS, [1; 32]);
        }
    });
}

#[test]
fn items_in_many_buffers_give_the_same_answer() {
    let expected = cpu_answer(PARAMS, [6; 32]);
    for adapter in 0..wgpu::adapter_names().len() {
        // 5000 items in buffers of 1000, in buffers of 999 with five in a last one, and in one buffer.
        for buffer_items in [1000, 999, 5000] {
            let options = WgpuOptions {
                buffer_limit_bytes: Some(buffer_items * 64),
                ..WgpuOptions::default()
            };
            let mut prover = wgpu::prover(adapter, options).unwrap();
            let (commitment, proof) = answer(&mut prover, PARAMS, [6; 32]);
            assert!(commitment.is_same_answer(&expected.0));
            assert_eq!(proof, expected.1);
        }
        let options = WgpuOptions {
            buffer_limit_bytes: Some(0),
            ..WgpuOptions::default()
        };
        let error = wgpu::prover(adapter, options)
            .unwrap()
            .commit(&PARAMS, &[6; 32], &())
            .unwrap_err();
        assert!(matches!(error, ProverError::MemoryShort { .. }), "{error}");
    }
    assert!(wgpu::prover(usize::MAX, WgpuOptions::default()).is_err());
}
