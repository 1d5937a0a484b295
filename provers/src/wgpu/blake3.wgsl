// BLAKE3 of exactly 64 bytes: one chunk of one block, which is also the root.

const BLAKE3_IV_LOW: vec4<u32> = vec4<u32>(0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au);
const BLAKE3_IV_HIGH: vec4<u32> = vec4<u32>(0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u);
// Counter 0 in two words, length 64, and the flags chunk start, chunk end and root.
const BLAKE3_LAST_ROW: vec4<u32> = vec4<u32>(0u, 0u, 64u, 11u);

struct Hash {
    low: vec4<u32>,
    high: vec4<u32>,
}

fn blake3_rotate_right(words: vec4<u32>, bits: u32) -> vec4<u32> {
    return (words >> vec4<u32>(bits)) | (words << vec4<u32>(32u - bits));
}

fn blake3(first: vec4<u32>, second: vec4<u32>, third: vec4<u32>, fourth: vec4<u32>) -> Hash {
    var m0 = first;
    var m1 = second;
    var m2 = third;
    var m3 = fourth;
    var a = BLAKE3_IV_LOW;
    var b = BLAKE3_IV_HIGH;
    var c = BLAKE3_IV_LOW;
    var d = BLAKE3_LAST_ROW;
    for (var round = 0u; round < 7u; round++) {
        // Columns, with the even words of the message's first half and then its odd ones.
        a += b + vec4<u32>(m0.xz, m1.xz);
        d = blake3_rotate_right(d ^ a, 16u);
        c += d;
        b = blake3_rotate_right(b ^ c, 12u);
        a += b + vec4<u32>(m0.yw, m1.yw);
        d = blake3_rotate_right(d ^ a, 8u);
        c += d;
        b = blake3_rotate_right(b ^ c, 7u);
        b = b.yzwx;
        c = c.zwxy;
        d = d.wxyz;
        // Diagonals, with the second half.
        a += b + vec4<u32>(m2.xz, m3.xz);
        d = blake3_rotate_right(d ^ a, 16u);
        c += d;
        b = blake3_rotate_right(b ^ c, 12u);
        a += b + vec4<u32>(m2.yw, m3.yw);
        d = blake3_rotate_right(d ^ a, 8u);
        c += d;
        b = blake3_rotate_right(b ^ c, 7u);
        b = b.wxyz;
        c = c.zwxy;
        d = d.yzwx;
        // The message's permutation: 2 6 3 10, 7 0 4 13, 1 11 12 5, 9 14 15 8.
        let p0 = vec4<u32>(m0.z, m1.z, m0.w, m2.z);
        let p1 = vec4<u32>(m1.w, m0.x, m1.x, m3.y);
        let p2 = vec4<u32>(m0.y, m2.w, m3.x, m1.y);
        let p3 = vec4<u32>(m2.y, m3.z, m3.w, m2.x);
        m0 = p0;
        m1 = p1;
        m2 = p2;
        m3 = p3;
    }
    return Hash(a ^ c, b ^ d);
}
