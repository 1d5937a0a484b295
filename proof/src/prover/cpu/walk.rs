//! The walk over all lanes, subtree by subtree.

use rayon::prelude::*;

use super::{Pool, tree::top_of};
use crate::{
    Hash,
    merkle::leaf,
    params::ChallengeParams,
    permute::Words,
    prover::{Progress, ProverError, Stage, Watch},
};

/// Reads per thread between two calls of the watch: a few hundredths of a second.
const PIECE_READS: u64 = 1 << 20;

/// Binary logarithm of the lanes of a piece if the leaves are kept, and when a subtree is opened.
const PIECE_LANES_LOG2: u8 = 8;

/// Minimum number of pieces for every thread, so that none is idle for long at the end.
const PIECES_PER_THREAD: usize = 4;

/// Returns the binary logarithm of the lanes of a piece: at most `most`, and less if there are few lanes for
/// the threads.
///
/// It is at least 4, the binary logarithm of the fewest lanes.
pub(super) fn lanes_log2_of_piece(most: u8, params: &ChallengeParams, threads: usize) -> u8 {
    let pieces = threads.saturating_mul(PIECES_PER_THREAD).max(1);
    // At most 64.
    let pieces_log2 = (usize::BITS - (pieces - 1).leading_zeros()) as u8;
    most.min(params.lanes_log2.saturating_sub(pieces_log2)).max(4)
}

/// Returns the bytes of the threads' working memory: the ends of their lanes, and their leaves.
pub(super) fn working_bytes(params: &ChallengeParams, lowest_level: u8, threads: usize) -> u64 {
    (64 + 32) * threads as u64 * (1 << piece_log2(params, lowest_level, threads))
}

/// Walks all lanes and returns the nodes of one level of the tree, counted from the leaves.
///
/// `walker` computes the ends of consecutive lanes, starting at the given one; their number is a multiple of
/// eight.
pub(crate) fn walk_pieces(
    params: &ChallengeParams,
    lowest_level: u8,
    pool: &Pool,
    watch: &dyn Watch,
    walker: impl Fn(u32, &mut [Words]) + Sync,
) -> Result<Vec<Hash>, ProverError> {
    let refused = |_| ProverError::MemoryRefused {
        needed_bytes: params.lanes() * 32,
    };
    let piece_log2 = piece_log2(params, lowest_level, pool.threads());
    let pieces = 1_u32 << (params.lanes_log2 - piece_log2);
    let nodes_of_piece = 1_usize << (piece_log2 - lowest_level);
    let mut nodes: Vec<Hash> = Vec::new();
    nodes
        .try_reserve_exact(pieces as usize * nodes_of_piece)
        .map_err(refused)?;

    let piece_reads = u64::from(params.steps) << piece_log2;
    let at_once = (PIECE_READS / piece_reads).max(1) * pool.threads() as u64;
    let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
    let mut done = 0;
    while done < pieces {
        if watch.is_cancelled() {
            return Err(ProverError::Cancelled);
        }
        let end = pieces.min(done.saturating_add(at_once));
        let walked: Vec<Vec<Hash>> = pool.run(|| {
            (done..end)
                .into_par_iter()
                .map(|piece| {
                    let mut ends = vec![[0; 16]; 1 << piece_log2];
                    walker(piece << piece_log2, &mut ends);
                    let leaves: Vec<Hash> = ends.iter().map(leaf).collect();
                    if lowest_level == 0 {
                        leaves
                    } else {
                        vec![top_of(leaves)]
                    }
                })
                .collect()
        });
        nodes.extend(walked.into_iter().flatten());
        done = end;
        watch.progress(Progress {
            stage: Stage::Walk,
            done: u64::from(done) << piece_log2,
            total: params.lanes(),
        });
    }
    Ok(nodes)
}

/// Walks the lanes of one subtree and returns its leaves.
pub(super) fn leaves(
    first_lane: u32,
    leaves_log2: u8,
    pool: &Pool,
    walker: impl Fn(u32, &mut [Words]) + Sync,
) -> Vec<Hash> {
    let part_log2 = leaves_log2.min(PIECE_LANES_LOG2);
    let parts = 1_u32 << (leaves_log2 - part_log2);
    let walked: Vec<Vec<Hash>> = pool.run(|| {
        (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut ends = vec![[0; 16]; 1 << part_log2];
                walker(first_lane + (part << part_log2), &mut ends);
                ends.iter().map(leaf).collect()
            })
            .collect()
    });
    walked.concat()
}

/// Returns the binary logarithm of the lanes of a piece: of a subtree whose root is kept, or, if the leaves
/// are kept, of enough lanes to be worth a thread.
fn piece_log2(params: &ChallengeParams, lowest_level: u8, threads: usize) -> u8 {
    if lowest_level == 0 {
        lanes_log2_of_piece(PIECE_LANES_LOG2, params, threads)
    } else {
        lowest_level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_enough_for_all_threads() {
        let mut params = ChallengeParams {
            items: 1 << 10,
            fill_double_rounds: 4,
            lanes_log2: 12,
            steps: 1,
            openings: 1,
            deadline_ms: 1,
        };
        assert_eq!(lanes_log2_of_piece(10, &params, 1), 10);
        assert_eq!(lanes_log2_of_piece(10, &params, 2), 9);
        assert_eq!(lanes_log2_of_piece(10, &params, 64), 4);
        assert_eq!(lanes_log2_of_piece(0, &params, 1), 4);
        params.lanes_log2 = 4;
        assert_eq!(lanes_log2_of_piece(10, &params, usize::MAX), 4);
        params.lanes_log2 = 30;
        assert_eq!(lanes_log2_of_piece(10, &params, 128), 10);
    }
}
