//! Merkle tree, whole or in pieces.

use rayon::prelude::*;

use crate::{Hash, merkle::node};

/// Minimum number of nodes of a level that is worth another thread.
const NODES_PER_THREAD: usize = 1 << 10;

/// All nodes from one level of the tree upwards: the whole tree, or the part above subtrees.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Levels from the lowest that is kept to the root, which is alone in the last one.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Builds all levels above the lowest one that is kept, on all threads.
    ///
    /// Panics unless the number of nodes is a power of two, as the lanes of a challenge always are.
    pub fn new(lowest: Vec<Hash>) -> Self {
        assert!(lowest.len().is_power_of_two(), "a level has 2^n nodes");
        let mut levels = vec![lowest];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level
                .par_chunks_exact(2)
                .with_min_len(NODES_PER_THREAD)
                .map(|pair| node(&pair[0], &pair[1]))
                .collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Returns the root.
    pub fn root(&self) -> Hash {
        self.levels[self.levels.len() - 1][0]
    }

    /// Returns the siblings of a node of the lowest level and of its ancestors below the root.
    pub fn siblings(&self, lowest_index: usize) -> impl Iterator<Item = Hash> {
        self.levels
            .iter()
            .filter(|level| level.len() > 1)
            .enumerate()
            .map(move |(height, level)| level[lowest_index >> height ^ 1])
    }
}

/// Returns the root of a subtree, computed in place; the number of leaves is a power of two.
pub(crate) fn top_of(mut level: Vec<Hash>) -> Hash {
    while level.len() > 1 {
        for index in 0..level.len() / 2 {
            level[index] = node(&level[2 * index], &level[2 * index + 1]);
        }
        level.truncate(level.len() / 2);
    }
    level[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::root_of_path;

    #[test]
    fn every_leaf_has_a_path_to_the_root() {
        for leaves_log2 in 0..6 {
            let leaves: Vec<Hash> = (0..1_u8 << leaves_log2).map(|leaf| [leaf; 32]).collect();
            let tree = Tree::new(leaves.clone());
            assert_eq!(top_of(leaves.clone()), tree.root());
            for (index, leaf) in leaves.iter().enumerate() {
                let siblings: Vec<Hash> = tree.siblings(index).collect();
                assert_eq!(siblings.len(), leaves_log2);
                assert_eq!(root_of_path(*leaf, index as u32, &siblings), tree.root());
            }
        }
    }
}
