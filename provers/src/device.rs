//! What a GPU has to be able to do for a challenge: the seam between the prover and the back ends.

use assay_proof::{Hash, prover::ProverError};

/// A GPU and the way it is driven. Every call blocks until the device is done.
pub(crate) trait Device: Send {
    /// The device and how it is driven, for people to read.
    fn name(&self) -> String;

    /// What the hardware can do, as far as its interface tells.
    fn limits(&self) -> HardwareLimits;

    /// Bytes of memory that a challenge may take now; `None` where the interface does not tell.
    fn free_bytes(&self) -> Result<Option<u64>, ProverError>;

    /// Most items that the interface can address, however much memory there is.
    fn most_items(&self) -> u32;

    /// Takes the memory of a challenge; what was taken before is given back first.
    fn allocate(&mut self, layout: Layout) -> Result<(), ProverError>;

    /// Gives all memory back.
    fn free(&mut self);

    /// Makes items and stores them.
    fn fill(&mut self, fill: &Fill) -> Result<(), ProverError>;

    /// Walks lanes, hashes their ends and folds the leaves by so many levels of the tree; gives the nodes of the
    /// level that is reached.
    fn walk(&mut self, walk: &Walk, levels: u8) -> Result<Vec<Hash>, ProverError>;

    /// Copies one half of so many bytes of the device's memory to the other half, and waits.
    ///
    /// `bytes` is what [`Self::copy_buffers`] took.
    fn copy(&mut self) -> Result<(), ProverError>;

    /// Takes memory for [`Self::copy`]: two buffers of as many bytes as are given back, at most `half_bytes` each.
    fn copy_buffers(&mut self, half_bytes: u64) -> Result<u64, ProverError>;
}

/// What the hardware can do at best; `None` is what its interface does not tell.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct HardwareLimits {
    /// Bytes of the device's memory.
    pub memory_bytes: Option<u64>,
    /// 32-bit integer additions, or logic operations, or shifts, per second.
    pub integer_operations_per_second: Option<f64>,
    /// Bytes per second between the device and its memory.
    pub memory_bytes_per_second: Option<f64>,
}

/// The memory of a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Items that are stored; none for an opening.
    pub(crate) items: u32,
    /// Most lanes that are walked in one call; a power of two.
    pub(crate) lanes: u32,
}

/// Consecutive items to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fill {
    pub(crate) seed: [u32; 8],
    pub(crate) double_rounds: u32,
    pub(crate) first_item: u32,
    /// At least one.
    pub(crate) items: u32,
}

/// Consecutive lanes to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walk {
    pub(crate) seed: [u32; 8],
    /// Items of the challenge.
    pub(crate) items: u32,
    pub(crate) steps: u32,
    pub(crate) source: Source,
    pub(crate) first_lane: u32,
    /// A power of two.
    pub(crate) lanes: u32,
}

/// Where the items that lanes read come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// They were filled and are read.
    Memory,
    /// They are made at every read: slow, and needs no memory.
    Made {
        /// The cost of making one.
        fill_double_rounds: u32,
    },
}

/// The words that a seed puts into every block.
pub(crate) fn seed_words(seed: &Hash) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(seed.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Reads nodes of a tree from a device's bytes.
pub(crate) fn nodes_of_bytes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks().0.to_vec()
}

/// Nodes that the two buffers of a fold take, for so many leaves.
///
/// A fold reads from one buffer, writes to the other, and swaps them. Its threads come in whole groups, and those
/// past the end read and write too: so there is always room for a group.
pub(crate) fn fold_buffer_nodes(leaves: u32, group: u32) -> [u64; 2] {
    let leaves = u64::from(leaves);
    let group = u64::from(group);
    [leaves.max(2 * group), (leaves / 2).max(2 * group)]
}

/// Wraps an error of an interface.
pub(crate) fn device_error(error: impl std::error::Error + Send + Sync + 'static) -> ProverError {
    ProverError::Device(Box::new(error))
}

/// Something that the device or its interface did and that has no error of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DeviceFailure(pub(crate) String);

pub(crate) fn failure(text: impl Into<String>) -> ProverError {
    device_error(DeviceFailure(text.into()))
}
