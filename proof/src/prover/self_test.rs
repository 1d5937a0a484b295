//! One test for every back end.

use super::{Prover, ProverError, Tree};
use crate::{
    Hash,
    lane::{item, walk},
    merkle::leaf,
    params::ChallengeParams,
    permute::Words,
    verify::{SlotClaim, VerifyError},
};

/// Small challenges that reach the corners: items that fill no whole vector, fewer lanes than a device has
/// threads, trees in one piece and in several, the smallest of everything.
const CASES: [ChallengeParams; 4] = [
    small(1 << 10, 4, 4, 1, 1),
    small(1500, 10, 6, 16, 4),
    small(3001, 5, 11, 3, 16),
    small(1025, 65, 5, 40, 2),
];

/// Why a prover is not to be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// It gave no answer.
    #[error("the prover failed its self-test: {0}")]
    Prover(#[from] ProverError),

    /// Its root is not the right one.
    #[error("the prover failed its self-test: it computed a wrong root for {0:?}")]
    WrongRoot(ChallengeParams),

    /// Its root is right and its proof is not.
    #[error("the prover failed its self-test: it made a wrong proof for {params:?}: {error}")]
    WrongProof {
        /// What was challenged with.
        params: ChallengeParams,
        /// What the verifier said.
        error: VerifyError,
    },
}

/// Has a prover answer small challenges and compares the answers with the plainest computation.
///
/// Takes moments. Run it before a device answers for a bond: a driver or a memory that errs would look like
/// spoofed hardware to the chain. What the prover held before is released.
pub fn self_test(prover: &mut dyn Prover) -> Result<(), SelfTestError> {
    for (case, params) in (0_u8..).zip(CASES) {
        let seed = [case.wrapping_mul(37).wrapping_add(1); 32];
        let commitment = prover.commit(&params, &seed, &())?;
        if commitment.root != plain_root(&params, &seed) {
            return Err(SelfTestError::WrongRoot(params));
        }
        let claim = SlotClaim {
            params,
            seed,
            opening_randomness: [case; 32],
            machine_id: case.into(),
            slot: case,
            root: commitment.root,
        };
        let lanes: Vec<u32> = claim.opened_lanes().collect();
        let proof = prover.open(&commitment, &lanes, &())?;
        claim
            .verify(&proof)
            .map_err(|error| SelfTestError::WrongProof { params, error })?;
    }
    prover.release();
    Ok(())
}

const fn small(
    items: u32,
    fill_double_rounds: u16,
    lanes_log2: u8,
    steps: u16,
    openings: u8,
) -> ChallengeParams {
    ChallengeParams {
        items,
        fill_double_rounds,
        lanes_log2,
        steps,
        openings,
        deadline_ms: 1,
    }
}

fn plain_root(params: &ChallengeParams, seed: &Hash) -> Hash {
    let items: Vec<Words> = (0..params.items)
        .map(|index| item(seed, index, params.fill_double_rounds))
        .collect();
    let leaves = (0..1_u32 << params.lanes_log2)
        .map(|lane| leaf(&walk(params, seed, lane, |index| items[index as usize])))
        .collect();
    Tree::new(leaves).root()
}
