// Each thread hashes two nodes of a level to their parent. Both buffers have room for one group more than a
// level needs: threads past the end read and write there without effect.

@group(0) @binding(0) var<storage, read> below: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> above: array<vec4<u32>>;

@compute @workgroup_size(64)
fn fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + local;
    let at = index * 4u;
    let hash = blake3(below[at], below[at + 1u], below[at + 2u], below[at + 3u]);
    above[index * 2u] = hash.low;
    above[index * 2u + 1u] = hash.high;
}
