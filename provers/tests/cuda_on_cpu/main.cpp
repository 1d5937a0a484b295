// Runs the CUDA kernels on a CPU, thread after thread, with the same arithmetic.
//
// Usage: PROGRAM SEED_WORD... (8) ITEMS FILL_DOUBLE_ROUNDS LANES_LOG2 STEPS, all in decimal. Prints two lines
// in hex: the root with stored items, and the root with items that are made at every read.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads, groups)
#define __restrict__

struct uint4 {
    uint32_t x, y, z, w;
};

struct Position {
    uint32_t x;
};

static Position blockIdx, threadIdx;

static uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

static uint4 __ldg(const uint4* from) { return *from; }

static uint32_t __umulhi(uint32_t left, uint32_t right) { return (uint64_t(left) * right) >> 32; }

// High word of both, shifted to the left by up to 31 bits.
static uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t bits) {
    return (((uint64_t(high) << 32) | low) << (bits & 31)) >> 32;
}

// Each digit of the selector chooses one byte of the eight.
static uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t bytes = (uint64_t(high) << 32) | low;
    uint32_t chosen = 0;
    for (int i = 0; i < 4; i++) chosen |= uint32_t(bytes >> (8 * ((selector >> (4 * i)) & 7)) & 0xff) << (8 * i);
    return chosen;
}

#include "../../src/cuda/kernels.cu"

// Like a launch: whole groups of threads, so that some are past the end.
template <typename Kernel, typename... Arguments>
static void launch(uint32_t threads, Kernel kernel, Arguments... arguments) {
    for (blockIdx.x = 0; blockIdx.x * GROUP < threads; blockIdx.x++) {
        for (threadIdx.x = 0; threadIdx.x < GROUP; threadIdx.x++) kernel(arguments...);
    }
}

static void print_root(std::vector<uint4> nodes, uint32_t lanes) {
    std::vector<uint4> above(nodes.size() / 2);
    for (uint32_t pairs = lanes / 2; pairs > 0; pairs /= 2) {
        launch(pairs, fold, nodes.data(), above.data(), pairs);
        nodes.swap(above);
    }
    for (int i = 0; i < 2; i++) {
        const uint32_t words[4] = {nodes[i].x, nodes[i].y, nodes[i].z, nodes[i].w};
        for (uint32_t value : words) {
            for (int byte = 0; byte < 4; byte++) std::printf("%02x", value >> (8 * byte) & 0xff);
        }
    }
    std::printf("\n");
}

int main(int count, char** arguments) {
    if (count != 13) {
        std::fprintf(stderr, "12 numbers are needed, not %d\n", count - 1);
        return 2;
    }
    uint32_t numbers[12];
    for (int i = 0; i < 12; i++) numbers[i] = std::strtoul(arguments[i + 1], nullptr, 10);
    Seed seed;
    for (int i = 0; i < 8; i++) seed.words[i] = numbers[i];
    const uint32_t items = numbers[8], double_rounds = numbers[9], lanes = 1u << numbers[10], steps = numbers[11];

    // In two launches each, so that the first item and lane are varied as well.
    std::vector<uint4> stored(4ull * items), leaves(2ull * lanes), made(2ull * lanes);
    const uint32_t some = items / 3;
    launch(some, fill, stored.data(), seed, double_rounds, 0u, some);
    launch(items - some, fill, stored.data(), seed, double_rounds, some, items - some);
    const uint32_t half = lanes / 2;
    for (uint32_t first : {0u, half}) {
        launch(half, walk, stored.data(), items, leaves.data() + 2ull * first, seed, steps, first, half);
        launch(half, walk_made, items, made.data() + 2ull * first, seed, double_rounds, steps, first, half);
    }
    print_root(leaves, lanes);
    print_root(made, lanes);
}
