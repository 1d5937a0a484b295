//! The ChaCha permutation (RFC 8439 §2.3) with a variable number of double rounds.

use crate::Hash;

/// Sixteen 32-bit words: a state of ChaCha, an item, or the accumulator of a lane.
pub type Words = [u32; 16];

/// "expand 32-byte k" as little-endian words.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Index of the word that counts blocks.
pub(crate) const COUNTER_WORD: usize = 12;

/// Returns the input state of [`block`].
pub(crate) fn initial_state(seed: &Hash, domain: u32, counter: u32) -> Words {
    let mut state = [0; 16];
    state[..4].copy_from_slice(&CONSTANTS);
    for (word, bytes) in state[4..12].iter_mut().zip(seed.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    state[COUNTER_WORD] = counter;
    state[COUNTER_WORD + 1] = domain;
    state
}

/// Returns the block of a seed, a domain separator and a counter. With ten double rounds it is the ChaCha20
/// block whose nonce is the domain followed by zeros.
pub fn block(seed: &Hash, domain: u32, counter: u32, double_rounds: u16) -> Words {
    permute_add(&initial_state(seed, domain, counter), double_rounds)
}

/// Permutes by so many double rounds, then adds the input words: without the addition it would be invertible.
pub fn permute_add(input: &Words, double_rounds: u16) -> Words {
    let mut state = *input;
    for _ in 0..double_rounds {
        quarter_round(&mut state, 0, 4, 8, 12);
        quarter_round(&mut state, 1, 5, 9, 13);
        quarter_round(&mut state, 2, 6, 10, 14);
        quarter_round(&mut state, 3, 7, 11, 15);
        quarter_round(&mut state, 0, 5, 10, 15);
        quarter_round(&mut state, 1, 6, 11, 12);
        quarter_round(&mut state, 2, 7, 8, 13);
        quarter_round(&mut state, 3, 4, 9, 14);
    }
    for (word, before) in state.iter_mut().zip(input) {
        *word = word.wrapping_add(*before);
    }
    state
}

/// Returns the bitwise XOR of two states.
pub(crate) fn xor(left: &Words, right: &Words) -> Words {
    core::array::from_fn(|word| left[word] ^ right[word])
}

#[inline(always)]
fn quarter_round(state: &mut Words, a: usize, b: usize, c: usize, d: usize) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

#[cfg(test)]
mod tests {
    use chacha20::{
        ChaCha20,
        cipher::{KeyIvInit, StreamCipher, StreamCipherSeek},
    };
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn block_of_ten_double_rounds_is_chacha20(seed: Hash, domain: u32, counter: u32) {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&domain.to_le_bytes());
            let mut cipher = ChaCha20::new(&seed.into(), &nonce.into());
            cipher.seek(u64::from(counter) * 64);
            let mut expected = [0; 64];
            // The reference crate reserves the last block, so its counter never wraps.
            prop_assume!(cipher.try_apply_keystream(&mut expected).is_ok());

            let words = block(&seed, domain, counter, 10);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            prop_assert_eq!(bytes, expected.to_vec());
        }
    }

    #[test]
    fn quarter_round_is_that_of_the_rfc() {
        // RFC 8439 §2.1.1.
        let mut state = [0; 16];
        state[..4].copy_from_slice(&[0x1111_1111, 0x0102_0304, 0x9b8d_6f43, 0x0123_4567]);
        quarter_round(&mut state, 0, 1, 2, 3);
        assert_eq!(state[..4], [0xea2a_92f4, 0xcb1c_f8ce, 0x4581_472e, 0x5881_c4bb]);
    }

    #[test]
    fn no_double_rounds_add_the_input_to_itself() {
        let input = core::array::from_fn(|word| word as u32 + 0x8000_0000);
        assert_eq!(
            permute_add(&input, 0),
            core::array::from_fn(|word| word as u32 * 2)
        );
    }
}
