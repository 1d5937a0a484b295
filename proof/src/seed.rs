//! Values derived from the round's randomness: the seed of a slot, and the lanes that it has to open.

use blake2b_simd::Params;

use crate::Hash;

/// Domain separator of a slot's seed.
pub const SEED_CONTEXT: &[u8] = b"assay/challenge/v1";

/// Domain separator of an opened lane's choice.
pub const OPENINGS_CONTEXT: &[u8] = b"assay/openings/v1";

/// Returns the seed of one slot of one machine in one round. No other slot can use the memory filled from it.
pub fn seed(round_randomness: &Hash, machine_id: u64, worker_key: &Hash, slot: u8) -> Hash {
    blake2b_256(&[
        SEED_CONTEXT,
        round_randomness,
        &machine_id.to_le_bytes(),
        worker_key,
        &[slot],
    ])
}

/// Returns the lane of opening number `opening`, among 2^`lanes_log2`. Two openings may choose the same lane.
pub fn opened_lane(opening_randomness: &Hash, machine_id: u64, slot: u8, opening: u8, lanes_log2: u8) -> u32 {
    let [a, b, c, d, ..] = blake2b_256(&[
        OPENINGS_CONTEXT,
        opening_randomness,
        &machine_id.to_le_bytes(),
        &[slot],
        &[opening],
    ]);
    let mask = 1_u32.checked_shl(lanes_log2.into()).unwrap_or(0).wrapping_sub(1);
    u32::from_le_bytes([a, b, c, d]) & mask
}

/// Returns the lanes that a slot has to open, in the order of the proof.
pub fn opened_lanes(
    opening_randomness: &Hash,
    machine_id: u64,
    slot: u8,
    openings: u8,
    lanes_log2: u8,
) -> impl Iterator<Item = u32> {
    let randomness = *opening_randomness;
    (0..openings).map(move |opening| opened_lane(&randomness, machine_id, slot, opening, lanes_log2))
}

fn blake2b_256(parts: &[&[u8]]) -> Hash {
    let mut state = Params::new().hash_length(32).to_state();
    for part in parts {
        state.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(state.finalize().as_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opened_lane_keeps_as_many_bits_as_asked_for() {
        let all = opened_lane(&[7; 32], 1, 2, 3, 32);
        for lanes_log2 in 0..32 {
            let mask = (1_u32 << lanes_log2) - 1;
            assert_eq!(opened_lane(&[7; 32], 1, 2, 3, lanes_log2), all & mask);
        }
        assert_eq!(opened_lane(&[7; 32], 1, 2, 3, u8::MAX), all);
    }

    #[test]
    fn every_part_changes_the_seed() {
        let seeds = [
            seed(&[1; 32], 2, &[3; 32], 4),
            seed(&[0; 32], 2, &[3; 32], 4),
            seed(&[1; 32], 0, &[3; 32], 4),
            seed(&[1; 32], 2, &[0; 32], 4),
            seed(&[1; 32], 2, &[3; 32], 0),
        ];
        for (index, left) in seeds.iter().enumerate() {
            assert!(!seeds[index + 1..].contains(left));
        }
    }
}
