//! Merkle tree over the ends of the lanes: BLAKE3, with exactly as many levels as a lane number has bits.

use crate::{Hash, permute::Words};

/// Returns the leaf for a lane's end.
pub fn leaf(accumulator: &Words) -> Hash {
    let mut bytes = [0; 64];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(accumulator) {
        *bytes = word.to_le_bytes();
    }
    *blake3::hash(&bytes).as_bytes()
}

/// Returns the node above two nodes.
///
/// Leaves and nodes are both hashes of 64 bytes; the fixed depth prevents that a node passes as a leaf.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(left);
    bytes[32..].copy_from_slice(right);
    *blake3::hash(&bytes).as_bytes()
}

/// Returns the root of the path that starts at the leaf of `lane`; `siblings` begin at the level of the
/// leaves.
///
/// The caller checks that there is exactly one sibling for each level, and that the lane has no more bits.
pub fn root_of_path(leaf: Hash, lane: u32, siblings: &[Hash]) -> Hash {
    let mut position = lane;
    siblings.iter().fold(leaf, |below, sibling| {
        let is_right = position & 1 == 1;
        position >>= 1;
        if is_right {
            node(sibling, &below)
        } else {
            node(&below, sibling)
        }
    })
}
