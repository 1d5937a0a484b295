//! BLAKE3, plain and keyed, without dependencies.
//!
//! The worker compares the hash of a job's output with the one made here: both must be the same function. A
//! test of the worker compares it with the crate `blake3`.

/// Length of a block, in bytes.
const BLOCK: usize = 64;

/// Length of a chunk, in bytes.
const CHUNK: usize = 1_024;

/// Number of levels of the tree: enough for 2^64 bytes.
const MAX_DEPTH: usize = 54;

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;
const KEYED: u32 = 16;

const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// Order of a message's words in the next round.
const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/// Positions that each step of a round mixes: the columns, then the diagonals.
const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// Chaining value of a node of the tree.
type Value = [u32; 8];

fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(x);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(y);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}

/// Returns the first half of the compression's output, which is all that a hash of 32 bytes needs.
fn compress(value: &Value, block: &[u8; BLOCK], counter: u64, length: u32, flags: u32) -> Value {
    let mut message = [0_u32; 16];
    for (word, bytes) in message.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let mut state = [
        value[0],
        value[1],
        value[2],
        value[3],
        value[4],
        value[5],
        value[6],
        value[7],
        IV[0],
        IV[1],
        IV[2],
        IV[3],
        counter as u32,
        (counter >> 32) as u32,
        length,
        flags,
    ];
    for round in 0..7 {
        for (step, positions) in MIXED.into_iter().enumerate() {
            mix(&mut state, positions, message[2 * step], message[2 * step + 1]);
        }
        if round < 6 {
            message = PERMUTATION.map(|from| message[from]);
        }
    }
    std::array::from_fn(|index| state[index] ^ state[index + 8])
}

/// Node of the tree before it is known to be the root.
struct Node {
    value: Value,
    block: [u8; BLOCK],
    counter: u64,
    length: u32,
    flags: u32,
}

impl Node {
    fn parent(left: &Value, right: &Value, key: &Value, flags: u32) -> Self {
        let mut block = [0; BLOCK];
        for (place, word) in block.chunks_exact_mut(4).zip(left.iter().chain(right)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self {
            value: *key,
            block,
            counter: 0,
            length: BLOCK as u32,
            flags: flags | PARENT,
        }
    }

    fn value(&self) -> Value {
        compress(&self.value, &self.block, self.counter, self.length, self.flags)
    }

    fn root(&self) -> [u8; 32] {
        let words = compress(&self.value, &self.block, 0, self.length, self.flags | ROOT);
        let mut hash = [0; 32];
        for (place, word) in hash.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        hash
    }
}

/// Hasher of bytes that come piece by piece.
#[derive(Clone)]
pub struct Blake3 {
    key: Value,
    flags: u32,
    /// Chaining values of whole subtrees, the largest first.
    stack: [Value; MAX_DEPTH],
    stack_len: usize,
    /// The present chunk: its number, its chaining value so far, and its last block.
    chunk: u64,
    value: Value,
    block: [u8; BLOCK],
    block_len: usize,
    blocks: usize,
}

impl Default for Blake3 {
    fn default() -> Self {
        Self::with(IV, 0)
    }
}

impl Blake3 {
    /// Creates a hasher with a key: without the key nobody makes the same hash.
    pub fn keyed(key: &[u8; 32]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(key.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self::with(words, KEYED)
    }

    fn with(key: Value, flags: u32) -> Self {
        Self {
            key,
            flags,
            stack: [[0; 8]; MAX_DEPTH],
            stack_len: 0,
            chunk: 0,
            value: key,
            block: [0; BLOCK],
            block_len: 0,
            blocks: 0,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.chunk_len() == CHUNK {
                self.end_chunk();
            }
            if self.block_len == BLOCK {
                self.value = compress(
                    &self.value,
                    &self.block,
                    self.chunk,
                    BLOCK as u32,
                    self.block_flags(),
                );
                self.blocks += 1;
                self.block = [0; BLOCK];
                self.block_len = 0;
            }
            let taken = bytes.len().min(BLOCK - self.block_len);
            let (now, later) = bytes.split_at(taken);
            self.block[self.block_len..self.block_len + taken].copy_from_slice(now);
            self.block_len += taken;
            bytes = later;
        }
    }

    /// Returns the hash of all bytes so far.
    pub fn finish(&self) -> [u8; 32] {
        let mut node = self.chunk_node();
        for left in self.stack[..self.stack_len].iter().rev() {
            node = Node::parent(left, &node.value(), &self.key, self.flags);
        }
        node.root()
    }

    fn chunk_len(&self) -> usize {
        self.blocks * BLOCK + self.block_len
    }

    fn block_flags(&self) -> u32 {
        let start = if self.blocks == 0 { CHUNK_START } else { 0 };
        self.flags | start
    }

    fn chunk_node(&self) -> Node {
        Node {
            value: self.value,
            block: self.block,
            counter: self.chunk,
            length: self.block_len as u32,
            flags: self.block_flags() | CHUNK_END,
        }
    }

    /// Joins a whole chunk with the subtrees before it: one for each trailing zero of the number of chunks.
    fn end_chunk(&mut self) {
        let mut value = self.chunk_node().value();
        self.chunk += 1;
        let mut chunks = self.chunk;
        while chunks & 1 == 0 && self.stack_len > 0 {
            self.stack_len -= 1;
            value = Node::parent(&self.stack[self.stack_len], &value, &self.key, self.flags).value();
            chunks >>= 1;
        }
        // 2^54 chunks are more than the counter of bytes can tell.
        if let Some(place) = self.stack.get_mut(self.stack_len) {
            *place = value;
            self.stack_len += 1;
        }
        self.value = self.key;
        self.block = [0; BLOCK];
        self.block_len = 0;
        self.blocks = 0;
    }
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads 32 bytes of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Input of the published vectors: the numbers from 0 to 250, again and again.
    fn input(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    const VECTORS: &[(usize, &str, &str)] = &[
        (
            0,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
        ),
        (
            1,
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
        ),
        (
            63,
            "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b",
            "bb1eb5d4afa793c1ebdd9fb08def6c36d10096986ae0cfe148cd101170ce37ae",
        ),
        (
            64,
            "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98",
            "ba8ced36f327700d213f120b1a207a3b8c04330528586f414d09f2f7d9ccb7e6",
        ),
        (
            65,
            "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee",
            "c0a4edefa2d2accb9277c371ac12fcdbb52988a86edc54f0716e1591b4326e72",
        ),
        (
            1_023,
            "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
            "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e",
        ),
        (
            1_024,
            "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
            "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
        ),
        (
            1_025,
            "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
            "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
        ),
        (
            2_048,
            "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
            "879cf1fa2ea0e79126cb1063617a05b6ad9d0b696d0d757cf053439f60a99dd1",
        ),
        (
            2_049,
            "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
            "9f29700902f7c86e514ddc4df1e3049f258b2472b6dd5267f61bf13983b78dd5",
        ),
        (
            3_072,
            "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2",
            "044a0e7b172a312dc02a4c9a818c036ffa2776368d7f528268d2e6b5df191770",
        ),
        (
            3_073,
            "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
            "68dede9bef00ba89e43f31a6825f4cf433389fedae75c04ee9f0cf16a427c95a",
        ),
        (
            4_096,
            "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969",
            "befc660aea2f1718884cd8deb9902811d332f4fc4a38cf7c7300d597a081bfc0",
        ),
        (
            5_121,
            "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff",
            "6ccf1c34753e7a044db80798ecd0782a8f76f33563accaddbfbb2e0ea4b2d024",
        ),
        (
            8_193,
            "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
            "954a2a75420c8d6547e3ba5b98d963e6fa6491addc8c023189cc519821b4a1f5",
        ),
        (
            31_744,
            "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
            "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419",
        ),
        (
            102_400,
            "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
            "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7",
        ),
    ];

    #[test]
    fn published_vectors_are_met() {
        for (length, plain, keyed) in VECTORS {
            let input = input(*length);
            let mut hasher = Blake3::default();
            hasher.update(&input);
            assert_eq!(hex(&hasher.finish()), *plain, "{length}");
            let mut hasher = Blake3::keyed(b"whats the Elvish word for friend");
            hasher.update(&input);
            assert_eq!(hex(&hasher.finish()), *keyed, "{length}");
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        let input = input(9_000);
        let mut whole = Blake3::default();
        whole.update(&input);
        for size in [1, 7, 63, 64, 65, 1_000, 1_024, 1_025, 4_096] {
            let mut pieces = Blake3::default();
            for piece in input.chunks(size) {
                pieces.update(piece);
                pieces.update(b"");
            }
            assert_eq!(pieces.finish(), whole.finish(), "{size}");
        }
    }

    #[test]
    fn digits_are_read_back() {
        let bytes = std::array::from_fn(|index| (index * 8 + 1) as u8);
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for text in ["", "00", &*"g".repeat(64), &*"+1".repeat(32), &*"0".repeat(65)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
