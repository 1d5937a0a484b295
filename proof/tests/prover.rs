//! Tests of the prover for CPUs, used as a worker uses it.

use std::{cell::RefCell, num::NonZeroUsize};

use assay_proof::{
    ChallengeParams, ParamsError,
    prover::{
        Cancel, Commitment, CpuOptions, CpuProver, Instructions, KeptTree, Progress, Prover, ProverError,
        Stage, Watch, WatchWith, self_test,
    },
};

/// The class `CPU` of the development preset, with fewer items and a cheaper filling.
const PARAMS: ChallengeParams = ChallengeParams {
    items: 1 << 12,
    fill_double_rounds: 16,
    lanes_log2: 8,
    steps: 16,
    openings: 4,
    deadline_ms: 6_000,
};

fn prover(options: CpuOptions) -> CpuProver {
    CpuProver::new(options).expect("threads start")
}

fn committed(prover: &mut CpuProver, seed: u8) -> Commitment {
    prover.commit(&PARAMS, &[seed; 32], &()).expect("it commits")
}

#[test]
fn self_test_works() {
    for instructions in [Instructions::Fastest, Instructions::Scalar] {
        for kept_tree in [KeptTree::Whole, KeptTree::default()] {
            for threads in [None, NonZeroUsize::new(1), NonZeroUsize::new(5)] {
                let options = CpuOptions {
                    threads,
                    instructions,
                    kept_tree,
                    memory_limit_bytes: None,
                };
                self_test(&mut prover(options)).expect("it computes what the specification says");
            }
        }
    }
}

#[test]
fn self_test_fails_when_the_root_is_wrong() {
    struct Wrong(CpuProver);

    impl Prover for Wrong {
        fn name(&self) -> String {
            "wrong".into()
        }

        fn commit(
            &mut self,
            params: &ChallengeParams,
            seed: &[u8; 32],
            watch: &dyn Watch,
        ) -> Result<Commitment, ProverError> {
            let mut commitment = self.0.commit(params, seed, watch)?;
            commitment.root[0] ^= 1;
            Ok(commitment)
        }

        fn open(
            &mut self,
            commitment: &Commitment,
            lanes: &[u32],
            watch: &dyn Watch,
        ) -> Result<assay_proof::SlotProof, ProverError> {
            self.0.open(commitment, lanes, watch)
        }

        fn release(&mut self) {}
    }

    assert!(self_test(&mut Wrong(prover(CpuOptions::default()))).is_err());
}

#[test]
fn pieces_of_the_tree_give_the_same_proofs() {
    // Deep enough for pieces of 2^10 leaves on one thread.
    let params = ChallengeParams {
        lanes_log2: 12,
        steps: 2,
        ..PARAMS
    };
    let lanes = [0, 1023, 1024, 4095];
    let answers = [
        KeptTree::Whole,
        KeptTree::default(),
        KeptTree::Pieces { leaves_log2: 5 },
    ]
    .map(|kept_tree| {
        let mut prover = prover(CpuOptions {
            threads: NonZeroUsize::new(1),
            kept_tree,
            ..CpuOptions::default()
        });
        let commitment = prover.commit(&params, &[1; 32], &()).expect("it commits");
        (
            commitment.root,
            prover.open(&commitment, &lanes, &()).expect("it opens"),
        )
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn progress_is_told_in_order_and_to_the_end() {
    let heard = RefCell::new(Vec::new());
    let watch = WatchWith {
        on_progress: |progress: Progress| heard.borrow_mut().push(progress),
        cancel: Cancel::default(),
    };
    let mut prover = prover(CpuOptions::default());
    let commitment = prover.commit(&PARAMS, &[1; 32], &watch).expect("it commits");
    prover.open(&commitment, &[0, 1, 2, 3], &watch).expect("it opens");

    let heard = heard.borrow();
    for (stage, total) in [(Stage::Fill, 1 << 12), (Stage::Walk, 1 << 8), (Stage::Open, 4)] {
        let done: Vec<u64> = heard
            .iter()
            .filter(|progress| progress.stage == stage)
            .inspect(|progress| assert_eq!(progress.total, total))
            .map(|progress| progress.done)
            .collect();
        assert!(done.is_sorted());
        assert_eq!(done.last(), Some(&total), "{stage:?}");
    }
}

#[test]
fn a_cancelled_commit_holds_nothing() {
    // Enough reads for one thread to call the watch in between.
    let params = ChallengeParams {
        lanes_log2: 9,
        steps: 4096,
        ..PARAMS
    };
    let mut prover = prover(CpuOptions {
        threads: NonZeroUsize::new(1),
        ..CpuOptions::default()
    });
    for stage in [Stage::Fill, Stage::Walk] {
        let commitment = committed(&mut prover, 1);
        let cancel = Cancel::default();
        let watch = WatchWith {
            on_progress: |progress: Progress| {
                if progress.stage == stage {
                    assert!(stage == Stage::Fill || progress.done < progress.total);
                    cancel.cancel();
                }
            },
            cancel: cancel.clone(),
        };
        let result = prover.commit(&params, &[2; 32], &watch);
        assert!(matches!(result, Err(ProverError::Cancelled)), "{stage:?}");
        assert!(matches!(
            prover.open(&commitment, &[0; 4], &()),
            Err(ProverError::NotHeld)
        ));
    }
}

#[test]
fn a_cancelled_opening_can_be_made_again() {
    let mut prover = prover(CpuOptions::default());
    let commitment = committed(&mut prover, 1);
    let cancelled = Cancel::default();
    cancelled.cancel();
    assert!(matches!(
        prover.open(&commitment, &[0; 4], &cancelled),
        Err(ProverError::Cancelled)
    ));
    assert!(prover.open(&commitment, &[0; 4], &()).is_ok());
    assert!(matches!(
        prover.commit(&PARAMS, &[3; 32], &cancelled),
        Err(ProverError::Cancelled)
    ));
}

#[test]
fn open_fails_when_the_commitment_is_not_held() {
    let mut prover = prover(CpuOptions::default());
    let first = committed(&mut prover, 1);
    let second = committed(&mut prover, 2);
    assert!(matches!(
        prover.open(&first, &[0; 4], &()),
        Err(ProverError::NotHeld)
    ));
    let proof = prover.open(&second, &[0; 4], &()).expect("it opens");
    prover.release();
    assert!(matches!(
        prover.open(&second, &[0; 4], &()),
        Err(ProverError::NotHeld)
    ));

    // As after a restart: the times differ, but the answer does not.
    let again = committed(&mut prover, 2);
    assert!(again.is_same_answer(&second));
    assert_eq!(prover.open(&second, &[0; 4], &()).expect("it opens"), proof);
}

#[test]
fn open_fails_when_the_lanes_are_not_those_of_the_class() {
    let mut prover = prover(CpuOptions::default());
    let commitment = committed(&mut prover, 1);
    assert!(matches!(
        prover.open(&commitment, &[0; 3], &()),
        Err(ProverError::WrongLaneCount {
            given: 3,
            expected: 4
        })
    ));
    assert!(matches!(
        prover.open(&commitment, &[0, 1, 2, 256], &()),
        Err(ProverError::NoSuchLane {
            lane: 256,
            lanes: 256
        })
    ));
}

#[test]
fn commit_fails_when_the_parameters_are_out_of_range() {
    let params = ChallengeParams { steps: 0, ..PARAMS };
    let result = prover(CpuOptions::default()).commit(&params, &[0; 32], &());
    assert!(matches!(result, Err(ProverError::Params(ParamsError::Steps))));
}

#[test]
fn commit_fails_when_memory_is_short() {
    let needed = prover(CpuOptions::default()).needed_bytes(&PARAMS);
    assert!(needed > PARAMS.memory_bytes());
    let limited = |limit| {
        let options = CpuOptions {
            memory_limit_bytes: Some(limit),
            ..CpuOptions::default()
        };
        prover(options).commit(&PARAMS, &[0; 32], &())
    };
    assert!(limited(needed).is_ok());
    let error = limited(needed - 1).expect_err("one byte is missing");
    assert!(matches!(error, ProverError::MemoryShort { needed_bytes, .. } if needed_bytes == needed));
    assert!(error.to_string().contains("1 MiB are missing"), "{error}");

    // More memory than any test machine has, so that the system's limit applies too.
    let huge = ChallengeParams {
        items: u32::MAX,
        lanes_log2: 30,
        ..PARAMS
    };
    let mut whole = prover(CpuOptions {
        kept_tree: KeptTree::Whole,
        ..CpuOptions::default()
    });
    assert_eq!(whole.needed_bytes(&huge) >> 36, 5);
    if cfg!(target_os = "linux") {
        let error = whole
            .commit(&huge, &[0; 32], &())
            .expect_err("320 GiB are too much");
        assert!(matches!(error, ProverError::MemoryShort { .. }));
    }
}
