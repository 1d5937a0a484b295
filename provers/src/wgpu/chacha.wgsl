// ChaCha with a variable number of double rounds, and the parameters of all kernels.
//
// A state is four rows of four words; a row's operations work on four columns, or diagonals, at once.

const GROUP: u32 = 64u;
const ITEM_DOMAIN: u32 = 1u;
const LANE_DOMAIN: u32 = 2u;

struct Params {
    seed_low: vec4<u32>,
    seed_high: vec4<u32>,
    // Number of the challenge's items.
    items: u32,
    fill_double_rounds: u32,
    steps: u32,
    // First item or lane of this slice.
    first: u32,
    // Number of items or lanes in this slice.
    count: u32,
    // Position of the first item, counted in items from the start of its buffer.
    offset: u32,
}

struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;

// Number of a thread within its dispatch.
fn thread_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * GROUP + local;
}

fn rotate_left(words: vec4<u32>, bits: u32) -> vec4<u32> {
    return (words << vec4<u32>(bits)) | (words >> vec4<u32>(32u - bits));
}

fn quarter_rounds(words: Words) -> Words {
    var w = words;
    w.a += w.b;
    w.d = rotate_left(w.d ^ w.a, 16u);
    w.c += w.d;
    w.b = rotate_left(w.b ^ w.c, 12u);
    w.a += w.b;
    w.d = rotate_left(w.d ^ w.a, 8u);
    w.c += w.d;
    w.b = rotate_left(w.b ^ w.c, 7u);
    return w;
}

fn double_round(words: Words) -> Words {
    let columns = quarter_rounds(words);
    let diagonals = quarter_rounds(Words(columns.a, columns.b.yzwx, columns.c.zwxy, columns.d.wxyz));
    return Words(diagonals.a, diagonals.b.wxyz, diagonals.c.zwxy, diagonals.d.yzwx);
}

fn add(left: Words, right: Words) -> Words {
    return Words(left.a + right.a, left.b + right.b, left.c + right.c, left.d + right.d);
}

fn xor(left: Words, right: Words) -> Words {
    return Words(left.a ^ right.a, left.b ^ right.b, left.c ^ right.c, left.d ^ right.d);
}

// Step of a lane: four double rounds.
fn step_permute_add(input: Words) -> Words {
    return add(double_round(double_round(double_round(double_round(input)))), input);
}

fn initial_state(domain: u32, counter: u32) -> Words {
    return Words(
        vec4<u32>(0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u),
        params.seed_low,
        params.seed_high,
        vec4<u32>(counter, domain, 0u, 0u),
    );
}

fn item(index: u32) -> Words {
    let input = initial_state(ITEM_DOMAIN, index);
    var words = input;
    // There are at least four, so unrolling by four leaves few to the second loop.
    for (var round = params.fill_double_rounds / 4u; round > 0u; round--) {
        words = double_round(double_round(double_round(double_round(words))));
    }
    for (var round = params.fill_double_rounds % 4u; round > 0u; round--) {
        words = double_round(words);
    }
    return add(words, input);
}
