//! The person's command line.

fn main() {}
