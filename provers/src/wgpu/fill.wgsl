// Each thread makes one item.

@group(0) @binding(1) var<storage, read_write> stored: array<vec4<u32>>;

@compute @workgroup_size(64)
fn fill(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = thread_index(group, groups, local);
    if index >= params.count {
        return;
    }
    let made = item(params.first + index);
    let at = (params.offset + index) * 4u;
    stored[at] = made.a;
    stored[at + 1u] = made.b;
    stored[at + 2u] = made.c;
    stored[at + 3u] = made.d;
}
