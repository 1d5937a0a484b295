//! Items as the inner loops hold them.

use crate::permute::Words;

/// Number of items, lanes or accumulators that vector instructions process side by side.
pub(crate) const LANES_SIDE_BY_SIDE: usize = 8;

/// Item, aligned so that a read touches one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Item(pub(crate) Words);

/// Items that are made together.
pub(crate) type Tile = [Item; LANES_SIDE_BY_SIDE];
