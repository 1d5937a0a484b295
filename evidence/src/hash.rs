//! The hash by which this crate names things.

use crate::Hash;

/// BLAKE2b with 32 bytes of output, over the parts one after the other.
pub(crate) fn blake2_256(parts: &[&[u8]]) -> Hash {
    let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
    for part in parts {
        state.update(part);
    }
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(state.finalize().as_bytes()) {
        *to = *from;
    }
    hash
}
