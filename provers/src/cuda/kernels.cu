// CUDA kernels of the hardware challenge, compiled by NVRTC when the worker starts.
//
// Each thread has one item, lane or node, with its whole state in registers: every array below has constant
// indices once its loop is unrolled. A lane reads an item with four loads of 16 bytes; the two loads of a
// sector are adjacent, so that the second one hits the sector in flight.

typedef unsigned int word;

#define GROUP 128

// Eight groups per multiprocessor, the most with 64 registers per thread: enough lanes to hide memory
// latency.
#define KERNEL extern "C" __global__ void __launch_bounds__(GROUP, 8)

#define ITEM_DOMAIN 1u
#define LANE_DOMAIN 2u

// Passed by value: read from the constant bank, without registers.
struct Seed {
    word words[8];
};

__device__ __forceinline__ word rotate_left(word value, int bits) {
    // Rotations by whole bytes use a byte permutation, others a funnel shift: one instruction each.
    if (bits == 16) return __byte_perm(value, 0, 0x1032);
    if (bits == 8) return __byte_perm(value, 0, 0x2103);
    return __funnelshift_l(value, value, bits);
}

__device__ __forceinline__ void quarter_round(word& a, word& b, word& c, word& d) {
    a += b;
    d = rotate_left(d ^ a, 16);
    c += d;
    b = rotate_left(b ^ c, 12);
    a += b;
    d = rotate_left(d ^ a, 8);
    c += d;
    b = rotate_left(b ^ c, 7);
}

__device__ __forceinline__ void double_round(word (&w)[16]) {
    quarter_round(w[0], w[4], w[8], w[12]);
    quarter_round(w[1], w[5], w[9], w[13]);
    quarter_round(w[2], w[6], w[10], w[14]);
    quarter_round(w[3], w[7], w[11], w[15]);
    quarter_round(w[0], w[5], w[10], w[15]);
    quarter_round(w[1], w[6], w[11], w[12]);
    quarter_round(w[2], w[7], w[8], w[13]);
    quarter_round(w[3], w[4], w[9], w[14]);
}

__device__ __forceinline__ void initial_state(word (&w)[16], const Seed& seed, word domain, word counter) {
    w[0] = 0x61707865u;
    w[1] = 0x3320646eu;
    w[2] = 0x79622d32u;
    w[3] = 0x6b206574u;
#pragma unroll
    for (int i = 0; i < 8; i++) w[4 + i] = seed.words[i];
    w[12] = counter;
    w[13] = domain;
    w[14] = 0;
    w[15] = 0;
}

// Step of a lane: four double rounds, then the addition of the input.
__device__ __forceinline__ void step_permute_add(word (&w)[16]) {
    word input[16];
#pragma unroll
    for (int i = 0; i < 16; i++) input[i] = w[i];
#pragma unroll
    for (int round = 0; round < 4; round++) double_round(w);
#pragma unroll
    for (int i = 0; i < 16; i++) w[i] += input[i];
}

__device__ __forceinline__ void make_item(word (&w)[16], const Seed& seed, word index, word double_rounds) {
    initial_state(w, seed, ITEM_DOMAIN, index);
    // There are at least four double rounds.
    for (word round = double_rounds / 4; round > 0; round--) {
#pragma unroll
        for (int i = 0; i < 4; i++) double_round(w);
    }
    for (word round = double_rounds % 4; round > 0; round--) double_round(w);
    word input[16];
    initial_state(input, seed, ITEM_DOMAIN, index);
#pragma unroll
    for (int i = 0; i < 16; i++) w[i] += input[i];
}

__device__ __forceinline__ word rotate_right(word value, int bits) {
    return rotate_left(value, 32 - bits);
}

__device__ __forceinline__ void blake3_mix(word& a, word& b, word& c, word& d, word x, word y) {
    a += b + x;
    d = rotate_right(d ^ a, 16);
    c += d;
    b = rotate_right(b ^ c, 12);
    a += b + y;
    // A rotation to the right by 8 is one to the left by 24: also a byte permutation.
    d = __byte_perm(d ^ a, 0, 0x0321);
    c += d;
    b = rotate_right(b ^ c, 7);
}

// BLAKE3 of exactly 64 bytes: one chunk of one block, which is also the root.
__device__ __forceinline__ void blake3(word (&hash)[8], const word (&block)[16]) {
    const word iv[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                        0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    const int permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    word m[16], v[16];
#pragma unroll
    for (int i = 0; i < 16; i++) m[i] = block[i];
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = iv[i];
#pragma unroll
    for (int i = 0; i < 4; i++) v[8 + i] = iv[i];
    // Counter 0 in two words, length 64, and the flags chunk start, chunk end and root.
    v[12] = 0;
    v[13] = 0;
    v[14] = 64;
    v[15] = 11;
#pragma unroll
    for (int round = 0; round < 7; round++) {
        blake3_mix(v[0], v[4], v[8], v[12], m[0], m[1]);
        blake3_mix(v[1], v[5], v[9], v[13], m[2], m[3]);
        blake3_mix(v[2], v[6], v[10], v[14], m[4], m[5]);
        blake3_mix(v[3], v[7], v[11], v[15], m[6], m[7]);
        blake3_mix(v[0], v[5], v[10], v[15], m[8], m[9]);
        blake3_mix(v[1], v[6], v[11], v[12], m[10], m[11]);
        blake3_mix(v[2], v[7], v[8], v[13], m[12], m[13]);
        blake3_mix(v[3], v[4], v[9], v[14], m[14], m[15]);
        word permuted[16];
#pragma unroll
        for (int i = 0; i < 16; i++) permuted[i] = m[permutation[i]];
#pragma unroll
        for (int i = 0; i < 16; i++) m[i] = permuted[i];
    }
#pragma unroll
    for (int i = 0; i < 8; i++) hash[i] = v[i] ^ v[8 + i];
}

__device__ __forceinline__ void store_words(uint4* to, const word* words, int quads) {
#pragma unroll
    for (int i = 0; i < quads; i++) {
        to[i] = make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    }
}

// Number of the thread in the launch; less than 2^32, since there are no more items.
__device__ __forceinline__ word thread_index() {
    return blockIdx.x * GROUP + threadIdx.x;
}

// Stores the hash of a lane's end as its leaf.
__device__ __forceinline__ void store_leaf(uint4* leaves, word index, const word (&end)[16]) {
    word hash[8];
    blake3(hash, end);
    store_words(leaves + 2ull * index, hash, 2);
}

// Makes `count` items from `first` on.
KERNEL fill(uint4* items, const Seed seed, word double_rounds, word first, word count) {
    word index = thread_index();
    if (index >= count) return;
    word w[16];
    make_item(w, seed, first + index, double_rounds);
    store_words(items + 4ull * (first + index), w, 4);
}

// Walks `count` lanes from `first` on over stored items.
KERNEL walk(const uint4* __restrict__ items, word item_count, uint4* __restrict__ leaves, const Seed seed,
            word steps, word first, word count) {
    word index = thread_index();
    if (index >= count) return;
    word w[16];
    initial_state(w, seed, LANE_DOMAIN, first + index);
    step_permute_add(w);
    for (word step = 0; step < steps; step++) {
        const uint4* item = items + 4ull * __umulhi(w[0], item_count);
        const uint4 rows[4] = {__ldg(item), __ldg(item + 1), __ldg(item + 2), __ldg(item + 3)};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[4 * i] ^= rows[i].x;
            w[4 * i + 1] ^= rows[i].y;
            w[4 * i + 2] ^= rows[i].z;
            w[4 * i + 3] ^= rows[i].w;
        }
        step_permute_add(w);
    }
    store_leaf(leaves, index, w);
}

// Walks `count` lanes from `first` on, making each item when it is read.
KERNEL walk_made(word item_count, uint4* __restrict__ leaves, const Seed seed, word fill_double_rounds, word steps,
                 word first, word count) {
    word index = thread_index();
    if (index >= count) return;
    word w[16];
    initial_state(w, seed, LANE_DOMAIN, first + index);
    step_permute_add(w);
    for (word step = 0; step < steps; step++) {
        word item[16];
        make_item(item, seed, __umulhi(w[0], item_count), fill_double_rounds);
#pragma unroll
        for (int i = 0; i < 16; i++) w[i] ^= item[i];
        step_permute_add(w);
    }
    store_leaf(leaves, index, w);
}

// Hashes `count` pairs of nodes to their parents.
KERNEL fold(const uint4* __restrict__ below, uint4* __restrict__ above, word count) {
    word index = thread_index();
    if (index >= count) return;
    word block[16];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint4 row = __ldg(below + 4ull * index + i);
        block[4 * i] = row.x;
        block[4 * i + 1] = row.y;
        block[4 * i + 2] = row.z;
        block[4 * i + 3] = row.w;
    }
    store_leaf(above, index, block);
}
