//! Hash function of this crate.

use crate::Hash;

/// Returns the BLAKE2b hash (32 bytes) of the concatenated parts.
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
