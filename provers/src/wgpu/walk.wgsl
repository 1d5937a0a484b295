// Each thread walks one lane and writes its leaf. The host appends `read_item`, which reads buffers or makes
// items.

@group(0) @binding(1) var<storage, read_write> leaves: array<vec4<u32>>;

// The high half of a 64-bit product, for devices without 64-bit integers.
fn multiply_high(left: u32, right: u32) -> u32 {
    let left_low = left & 0xffffu;
    let left_high = left >> 16u;
    let right_low = right & 0xffffu;
    let right_high = right >> 16u;
    // None of these sums overflows: a product of halves is at most 2^32 - 2^17 + 1.
    let middle = left_high * right_low + ((left_low * right_low) >> 16u);
    let other_middle = left_low * right_high + (middle & 0xffffu);
    return left_high * right_high + (middle >> 16u) + (other_middle >> 16u);
}

@compute @workgroup_size(64)
fn walk(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = thread_index(group, groups, local);
    if index >= params.count {
        return;
    }
    var accumulator = step_permute_add(initial_state(LANE_DOMAIN, params.first + index));
    for (var step = params.steps; step > 0u; step--) {
        let read = read_item(multiply_high(accumulator.a.x, params.items));
        accumulator = step_permute_add(xor(accumulator, read));
    }
    let hash = blake3(accumulator.a, accumulator.b, accumulator.c, accumulator.d);
    leaves[index * 2u] = hash.low;
    leaves[index * 2u + 1u] = hash.high;
}
