//! The tree over the ends of the lanes: BLAKE3, exactly as many levels as lanes have bits.

use crate::{Hash, permute::Words};

/// The leaf of a lane's end.
pub fn leaf(accumulator: &Words) -> Hash {
    let mut bytes = [0; 64];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(accumulator) {
        *bytes = word.to_le_bytes();
    }
    *blake3::hash(&bytes).as_bytes()
}

/// The node above two nodes.
///
/// Leaves and nodes are both hashes of 64 bytes; that a node cannot pass as a leaf follows from the fixed depth.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(left);
    bytes[32..].copy_from_slice(right);
    *blake3::hash(&bytes).as_bytes()
}

/// The top of the path that starts at the leaf of `lane`; `siblings` begin at the level of the leaves.
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
