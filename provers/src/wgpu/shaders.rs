//! Sources of the kernels.

use std::fmt::Write;

/// Threads of a group, as in the kernels.
pub(super) const GROUP: u32 = 64;

/// Length in bytes of the kernels' parameters; a multiple of 16, as uniform buffers require.
pub(super) const PARAMS_BYTES: u64 = 64;

const CHACHA: &str = include_str!("chacha.wgsl");
const BLAKE3: &str = include_str!("blake3.wgsl");

/// Returns the kernel that makes items into one buffer.
pub(super) fn fill() -> String {
    [CHACHA, include_str!("fill.wgsl")].concat()
}

/// Returns the kernel that folds a level of the tree into the one above.
pub(super) fn fold() -> String {
    [BLAKE3, include_str!("fold.wgsl")].concat()
}

/// Returns the kernel that walks lanes whose items are made at every read.
pub(super) fn walk_made() -> String {
    walk("fn read_item(index: u32) -> Words { return item(index); }\n")
}

/// Returns the kernel that walks lanes over so many item buffers, each of which but the last is full.
///
/// A `switch` selects the buffer: indexing an array of buffers by a number that differs between threads is a
/// feature that not every device has.
pub(super) fn walk_memory(buffers: u32, items_per_buffer: u32) -> String {
    let mut reader = String::new();
    let mut cases = String::new();
    for buffer in 0..buffers {
        // Writing to a string does not fail.
        let _ = writeln!(
            reader,
            "@group(1) @binding({buffer}) var<storage, read> items_{buffer}: array<vec4<u32>>;"
        );
        let label = if buffer + 1 == buffers {
            "default".to_string()
        } else {
            format!("case {buffer}u")
        };
        let words: Vec<String> = (0..4).map(|row| format!("items_{buffer}[at + {row}u]")).collect();
        let _ = writeln!(
            cases,
            "        {label}: {{ return Words({}); }}",
            words.join(", ")
        );
    }
    let _ = write!(
        reader,
        "fn read_item(index: u32) -> Words {{
    let at = (index % {items_per_buffer}u) * 4u;
    switch index / {items_per_buffer}u {{
{cases}    }}
}}
"
    );
    walk(&reader)
}

fn walk(reader: &str) -> String {
    [CHACHA, BLAKE3, reader, include_str!("walk.wgsl")].concat()
}
