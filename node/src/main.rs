//! The validator and full node.

fn main() {}
