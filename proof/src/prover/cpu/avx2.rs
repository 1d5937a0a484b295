//! Eight ChaCha states side by side in the registers of AVX2.
//!
//! All of the crate's unsafe code is here. The instructions are safe to use: an [`Avx2`] exists only after
//! the CPU was queried. The pointers come from references.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::tile::{Item, LANES_SIDE_BY_SIDE, Tile};
use crate::{
    Hash,
    lane::{LANE_DOMAIN, initial_item_state, item_index_of_word},
    params::{ChallengeParams, STEP_DOUBLE_ROUNDS},
    permute::{COUNTER_WORD, Words, initial_state},
};

/// Vectors of lanes that are walked in turns: while one is computed, the items of the others are being loaded
/// from memory.
const VECTORS_IN_FLIGHT: usize = 8;

/// Proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// See [`Kernel::items`](super::kernel::Kernel::items).
    pub(super) fn items(
        self,
        seed: &Hash,
        indices: [u32; LANES_SIDE_BY_SIDE],
        fill_double_rounds: u16,
    ) -> Tile {
        // SAFETY: the CPU has AVX2, which `self` proves.
        unsafe { items(seed, indices, fill_double_rounds) }
    }

    /// See [`Kernel::walk`](super::kernel::Kernel::walk).
    pub(super) fn walk(
        self,
        params: &ChallengeParams,
        seed: &Hash,
        items: &[Item],
        first_lane: u32,
        ends: &mut [Words],
    ) {
        let (vectors, rest) = ends.as_chunks_mut();
        assert!(rest.is_empty(), "lanes are walked eight at a time");
        let mut first_lane = first_lane;
        for vectors in vectors.chunks_mut(VECTORS_IN_FLIGHT) {
            // SAFETY: the CPU has AVX2, which `self` proves.
            unsafe { walk(params, seed, items, first_lane, vectors) }
            first_lane += (vectors.len() * LANES_SIDE_BY_SIDE) as u32;
        }
    }

    /// See [`Kernel::step`](super::kernel::Kernel::step).
    pub(super) fn step(
        self,
        accumulators: &mut [Words; LANES_SIDE_BY_SIDE],
        items: &[Words; LANES_SIDE_BY_SIDE],
    ) {
        // SAFETY: the CPU has AVX2, which `self` proves.
        unsafe { step(accumulators, items) }
    }
}

/// Eight states: each register holds the same word of all of them.
type States = [__m256i; 16];

#[target_feature(enable = "avx2")]
fn items(seed: &Hash, indices: [u32; LANES_SIDE_BY_SIDE], fill_double_rounds: u16) -> Tile {
    let mut states = broadcast(&initial_item_state(seed));
    states[COUNTER_WORD] = load(&indices);
    unpack(&permute_add(&states, fill_double_rounds)).map(Item)
}

#[target_feature(enable = "avx2")]
fn walk(
    params: &ChallengeParams,
    seed: &Hash,
    items: &[Item],
    first_lane: u32,
    ends: &mut [[Words; LANES_SIDE_BY_SIDE]],
) {
    let mut states = [[_mm256_setzero_si256(); 16]; VECTORS_IN_FLIGHT];
    let mut indices = [[0; LANES_SIDE_BY_SIDE]; VECTORS_IN_FLIGHT];
    let vectors = ends.len();

    let mut lanes: [u32; LANES_SIDE_BY_SIDE] = core::array::from_fn(|lane| first_lane + lane as u32);
    for (states, indices) in states.iter_mut().zip(&mut indices).take(vectors) {
        let mut start = broadcast(&initial_state(seed, LANE_DOMAIN, 0));
        start[COUNTER_WORD] = load(&lanes);
        *states = permute_add(&start, STEP_DOUBLE_ROUNDS);
        *indices = next_indices(states, params.items);
        prefetch(items, indices);
        lanes = lanes.map(|lane| lane + LANES_SIDE_BY_SIDE as u32);
    }
    for _ in 0..params.steps {
        for (states, indices) in states.iter_mut().zip(&mut indices).take(vectors) {
            let read = pack(indices.map(|index| &items[index as usize].0));
            *states = permute_add(&xor(states, &read), STEP_DOUBLE_ROUNDS);
            *indices = next_indices(states, params.items);
            // After the last step this prefetches unused items; a branch would cost more.
            prefetch(items, indices);
        }
    }
    for (end, states) in ends.iter_mut().zip(&states) {
        *end = unpack(states);
    }
}

#[target_feature(enable = "avx2")]
fn step(accumulators: &mut [Words; LANES_SIDE_BY_SIDE], items: &[Words; LANES_SIDE_BY_SIDE]) {
    let states = xor(&pack(accumulators.each_ref()), &pack(items.each_ref()));
    *accumulators = unpack(&permute_add(&states, STEP_DOUBLE_ROUNDS));
}

#[inline]
#[target_feature(enable = "avx2")]
fn next_indices(states: &States, items: u32) -> [u32; LANES_SIDE_BY_SIDE] {
    store(states[0]).map(|word| item_index_of_word(word, items))
}

#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(items: &[Item], indices: &[u32; LANES_SIDE_BY_SIDE]) {
    for &index in indices {
        let item: *const Item = &items[index as usize];
        _mm_prefetch::<_MM_HINT_T0>(item.cast());
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn permute_add(input: &States, double_rounds: u16) -> States {
    let mut states = *input;
    for _ in 0..double_rounds {
        quarter_round(&mut states, 0, 4, 8, 12);
        quarter_round(&mut states, 1, 5, 9, 13);
        quarter_round(&mut states, 2, 6, 10, 14);
        quarter_round(&mut states, 3, 7, 11, 15);
        quarter_round(&mut states, 0, 5, 10, 15);
        quarter_round(&mut states, 1, 6, 11, 12);
        quarter_round(&mut states, 2, 7, 8, 13);
        quarter_round(&mut states, 3, 4, 9, 14);
    }
    for (word, before) in states.iter_mut().zip(input) {
        *word = _mm256_add_epi32(*word, *before);
    }
    states
}

#[inline]
#[target_feature(enable = "avx2")]
fn quarter_round(states: &mut States, a: usize, b: usize, c: usize, d: usize) {
    states[a] = _mm256_add_epi32(states[a], states[b]);
    states[d] = rotate_left_16(_mm256_xor_si256(states[d], states[a]));
    states[c] = _mm256_add_epi32(states[c], states[d]);
    states[b] = rotate_left::<12, 20>(_mm256_xor_si256(states[b], states[c]));
    states[a] = _mm256_add_epi32(states[a], states[b]);
    states[d] = rotate_left_8(_mm256_xor_si256(states[d], states[a]));
    states[c] = _mm256_add_epi32(states[c], states[d]);
    states[b] = rotate_left::<7, 25>(_mm256_xor_si256(states[b], states[c]));
}

/// Rotates each word to the left by `LEFT` bits; `RIGHT` is 32 − `LEFT`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_left<const LEFT: i32, const RIGHT: i32>(words: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_slli_epi32::<LEFT>(words),
        _mm256_srli_epi32::<RIGHT>(words),
    )
}

/// Rotates by two bytes, with one shuffle.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_left_16(words: __m256i) -> __m256i {
    let bytes = _mm256_setr_epi8(
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15,
        12, 13,
    );
    _mm256_shuffle_epi8(words, bytes)
}

/// Rotates by one byte, with one shuffle.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_left_8(words: __m256i) -> __m256i {
    let bytes = _mm256_setr_epi8(
        3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12,
        13, 14,
    );
    _mm256_shuffle_epi8(words, bytes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(left: &States, right: &States) -> States {
    let mut states = *left;
    for (word, other) in states.iter_mut().zip(right) {
        *word = _mm256_xor_si256(*word, *other);
    }
    states
}

/// Returns eight copies of one state.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(state: &Words) -> States {
    let mut states = [_mm256_setzero_si256(); 16];
    for (word, value) in states.iter_mut().zip(state) {
        *word = _mm256_set1_epi32(value.cast_signed());
    }
    states
}

/// Packs eight consecutive states side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn pack(states: [&Words; LANES_SIDE_BY_SIDE]) -> States {
    let mut packed = [_mm256_setzero_si256(); 16];
    for (half, packed) in packed.as_chunks_mut().0.iter_mut().enumerate() {
        let mut rows = [_mm256_setzero_si256(); 8];
        for (row, state) in rows.iter_mut().zip(states) {
            *row = load(&state.as_chunks().0[half]);
        }
        *packed = transpose(&rows);
    }
    packed
}

/// Unpacks states that are side by side into eight consecutive ones.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack(packed: &States) -> [Words; LANES_SIDE_BY_SIDE] {
    let mut states = [[0; 16]; LANES_SIDE_BY_SIDE];
    for (half, packed) in packed.as_chunks().0.iter().enumerate() {
        for (state, row) in states.iter_mut().zip(transpose(packed)) {
            state.as_chunks_mut().0[half] = store(row);
        }
    }
    states
}

/// Swaps rows and columns of an eight by eight matrix of words.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &[__m256i; 8]) -> [__m256i; 8] {
    // Pairs of rows by words, then pairs of pairs by double words, then the halves.
    let a = _mm256_unpacklo_epi32(rows[0], rows[1]);
    let b = _mm256_unpackhi_epi32(rows[0], rows[1]);
    let c = _mm256_unpacklo_epi32(rows[2], rows[3]);
    let d = _mm256_unpackhi_epi32(rows[2], rows[3]);
    let e = _mm256_unpacklo_epi32(rows[4], rows[5]);
    let f = _mm256_unpackhi_epi32(rows[4], rows[5]);
    let g = _mm256_unpacklo_epi32(rows[6], rows[7]);
    let h = _mm256_unpackhi_epi32(rows[6], rows[7]);

    let low = [
        _mm256_unpacklo_epi64(a, c),
        _mm256_unpackhi_epi64(a, c),
        _mm256_unpacklo_epi64(b, d),
        _mm256_unpackhi_epi64(b, d),
    ];
    let high = [
        _mm256_unpacklo_epi64(e, g),
        _mm256_unpackhi_epi64(e, g),
        _mm256_unpacklo_epi64(f, h),
        _mm256_unpackhi_epi64(f, h),
    ];

    let mut columns = [_mm256_setzero_si256(); 8];
    for column in 0..4 {
        columns[column] = _mm256_permute2x128_si256::<0x20>(low[column], high[column]);
        columns[column + 4] = _mm256_permute2x128_si256::<0x31>(low[column], high[column]);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u32; 8]) -> __m256i {
    let words: *const [u32; 8] = words;
    // SAFETY: the reference points to 32 initialised bytes, and the instruction requires no alignment.
    unsafe { _mm256_loadu_si256(words.cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(register: __m256i) -> [u32; 8] {
    let mut words = [0; 8];
    let to: *mut [u32; 8] = &mut words;
    // SAFETY: the pointer is to 32 writable bytes, and the instruction requires no alignment.
    unsafe { _mm256_storeu_si256(to.cast(), register) }
    words
}
