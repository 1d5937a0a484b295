//! Self-test, the same for every back end.

use super::{Prover, ProverError, Tree};
use crate::{
    Hash,
    lane::{item, walk},
    merkle::leaf,
    params::ChallengeParams,
    permute::Words,
    verify::{SlotClaim, VerifyError},
};

/// Small challenges that cover the edge cases: items that do not fill a vector, fewer lanes than a device has
/// threads, trees in one piece and in several, the minimum of every parameter.
const CASES: [ChallengeParams; 4] = [
    small(1 << 10, 4, 4, 1, 1),
    small(1500, 10, 6, 16, 4),
    small(3001, 5, 11, 3, 16),
    small(1025, 65, 5, 40, 2),
];

/// Reason not to trust a prover.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The prover gave no answer.
    #[error("the prover failed its self-test: {0}")]
    Prover(#[from] ProverError),

    /// The prover's root is wrong.
    #[error("the prover failed its self-test: it computed a wrong root for {0:?}")]
    WrongRoot(ChallengeParams),

    /// The prover's root is right but its proof is wrong.
    #[error("the prover failed its self-test: it made a wrong proof for {params:?}: {error}")]
    WrongProof {
        /// Parameters of the challenge.
        params: ChallengeParams,
        /// Error of the verifier.
        error: VerifyError,
    },
}

/// Runs small challenges on a prover and compares the answers with the simplest implementation.
///
/// Takes a short time. Run it before a device answers for a bond: to the chain, a faulty driver or
/// memory looks like spoofed hardware. Releases the prover's earlier commit.
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
