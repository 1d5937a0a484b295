//! Interface between the GPU prover and its back ends: the operations of a challenge.

use assay_proof::{Hash, prover::ProverError};

/// GPU behind a driver interface. Every call blocks until the device is done.
pub(crate) trait Device: Send {
    /// Returns the device and its driver interface, for display.
    fn name(&self) -> String;

    /// Returns the limits of the hardware, as its interface reports them.
    fn limits(&self) -> HardwareLimits;

    /// Returns the bytes of memory that a challenge may take now; `None` if the interface does not report
    /// them.
    fn free_bytes(&self) -> Result<Option<u64>, ProverError>;

    /// Returns the most items that the interface can address, whatever the memory.
    fn most_items(&self) -> u32;

    /// Allocates the memory of a challenge; frees an earlier allocation first.
    fn allocate(&mut self, layout: Layout) -> Result<(), ProverError>;

    /// Frees all memory.
    fn free(&mut self);

    /// Makes items and stores them.
    fn fill(&mut self, fill: &Fill) -> Result<(), ProverError>;

    /// Walks lanes, hashes their ends and folds the leaves by so many levels of the tree; returns the nodes
    /// of the resulting level.
    fn walk(&mut self, walk: &Walk, levels: u8) -> Result<Vec<Hash>, ProverError>;

    /// Copies one half of the device's copy buffers to the other, and waits.
    ///
    /// [`Self::copy_buffers`] has allocated them.
    fn copy(&mut self) -> Result<(), ProverError>;

    /// Allocates two buffers for [`Self::copy`]; returns the bytes of each, at most `half_bytes`.
    fn copy_buffers(&mut self, half_bytes: u64) -> Result<u64, ProverError>;
}

/// Peak rates of the hardware; `None` for a value that its interface does not report.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct HardwareLimits {
    /// Bytes of the device's memory.
    pub memory_bytes: Option<u64>,
    /// 32-bit integer additions, or logic operations, or shifts, per second.
    pub integer_operations_per_second: Option<f64>,
    /// Bytes per second between the device and its memory.
    pub memory_bytes_per_second: Option<f64>,
}

/// Sizes of a challenge's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Number of stored items; zero for an opening.
    pub(crate) items: u32,
    /// Maximum number of lanes that one call walks; a power of two.
    pub(crate) lanes: u32,
}

/// Consecutive items to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fill {
    pub(crate) seed: [u32; 8],
    pub(crate) double_rounds: u32,
    pub(crate) first_item: u32,
    /// Number of items, at least one.
    pub(crate) items: u32,
}

/// Consecutive lanes to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walk {
    pub(crate) seed: [u32; 8],
    /// Number of the challenge's items.
    pub(crate) items: u32,
    pub(crate) steps: u32,
    pub(crate) source: Source,
    pub(crate) first_lane: u32,
    /// Number of lanes, a power of two.
    pub(crate) lanes: u32,
}

/// Source of the items that lanes read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Stored items, filled before.
    Memory,
    /// Items made at every read: slow, without memory.
    Made {
        /// Cost of making an item, in ChaCha double rounds.
        fill_double_rounds: u32,
    },
}

/// Returns the words of a seed that go into every block.
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

/// Returns the numbers of nodes in the two buffers of a fold, for so many leaves.
///
/// A fold reads from one buffer, writes to the other, and swaps them. Its threads run in whole groups, and
/// those past the end read and write too, so there is always room for a group.
pub(crate) fn fold_buffer_nodes(leaves: u32, group: u32) -> [u64; 2] {
    let leaves = u64::from(leaves);
    let group = u64::from(group);
    [leaves.max(2 * group), (leaves / 2).max(2 * group)]
}

/// Wraps an error of a driver interface.
pub(crate) fn device_error(error: impl std::error::Error + Send + Sync + 'static) -> ProverError {
    ProverError::Device(Box::new(error))
}

/// Failure of a device or its interface without an error type of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DeviceFailure(pub(crate) String);

pub(crate) fn failure(text: impl Into<String>) -> ProverError {
    device_error(DeviceFailure(text.into()))
}
