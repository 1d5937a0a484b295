//! Test of the CUDA kernels' arithmetic on machines without NVIDIA's hardware: their source is compiled as
//! C++ and run on the CPU. `back_ends.rs` covers launches and memory, which need a GPU.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

use assay_proof::{
    ChallengeParams, Hash,
    prover::{CpuOptions, CpuProver, Prover},
};

#[test]
fn the_kernels_compute_what_the_specification_says() {
    // Building the workspace requires a C++ compiler, so its absence is a failure.
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("cuda_on_cpu");
    // Tests start in the folder of their crate. A path from compile time may be that of another clone.
    let source = Path::new("tests/cuda_on_cpu/main.cpp");
    // CUDA's pragmas are unknown to other compilers and change nothing.
    let status = Command::new(&compiler)
        .args([
            "-std=c++17",
            "-O2",
            "-Wall",
            "-Werror",
            "-Wno-unknown-pragmas",
            "-o",
        ])
        .arg(&program)
        .arg(source)
        .status()
        .unwrap_or_else(|error| panic!("the C++ compiler '{compiler}' does not start: {error}"));
    assert!(status.success(), "{compiler} does not compile the kernels");

    let mut prover = CpuProver::new(CpuOptions::default()).unwrap();
    for (items, fill_double_rounds, lanes_log2, steps) in [
        (1 << 10, 4, 4, 1),
        (1500, 10, 6, 16),
        (3001, 5, 11, 3),
        (1025, 67, 8, 40),
    ] {
        let params = ChallengeParams {
            items,
            fill_double_rounds,
            lanes_log2,
            steps,
            openings: 1,
            deadline_ms: 1,
        };
        let seed: Hash = std::array::from_fn(|index| (index * 37 + steps as usize) as u8);
        let root = prover.commit(&params, &seed, &()).unwrap().root;

        let words = seed.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let numbers = words.chain([items, fill_double_rounds.into(), lanes_log2.into(), steps.into()]);
        let output = Command::new(&program)
            .args(numbers.map(|number| number.to_string()))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let roots = String::from_utf8(output.stdout).unwrap();
        let root = hex::encode(root);
        assert_eq!(
            roots.lines().collect::<Vec<_>>(),
            [root.as_str(), &root],
            "{params:?}"
        );
    }
}
