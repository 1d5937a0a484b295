//! Measures the prover for CPUs beside a plain memory copy, and the verifier. Prints figures, asserts
//! nothing.
//!
//! ```text
//! cargo run --release -p assay-proof --example proof_bench -- \
//!     [ITEMS [FILL_DOUBLE_ROUNDS [LANES_LOG2 [STEPS [THREADS [STORED_PERCENT...]]]]]]
//! ```
//!
//! `THREADS` 0 means all cores. Each `STORED_PERCENT` adds a measurement of a prover that stores only so
//! much.

use std::{
    error::Error,
    hint::black_box,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use assay_proof::{
    ChallengeParams, SlotClaim,
    calibration::{StoredFraction, commit_with_fraction},
    prover::{CpuOptions, CpuProver, Prover, self_test},
};
use rayon::{ThreadPoolBuilder, prelude::*};

/// Bytes that one thread copies at a time.
const COPY_PART_BYTES: usize = 1 << 20;

/// Maximum number of bytes that are copied.
const COPY_BYTES: u64 = 1 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let argument = |index: usize, default: u64| arguments.get(index).copied().unwrap_or(default);
    let params = ChallengeParams {
        items: argument(0, 1 << 22).try_into()?,
        fill_double_rounds: argument(1, 64).try_into()?,
        lanes_log2: argument(2, 20).try_into()?,
        steps: argument(3, 64).try_into()?,
        openings: 4,
        deadline_ms: 1,
    };
    params.validate()?;
    let threads = NonZeroUsize::new(argument(4, 0).try_into()?);
    let seed = [7; 32];

    println!("{params:?}");
    println!(
        "memory {:.2} GiB, {} passes, proof of {} bytes, {} double rounds to verify it",
        gib(params.memory_bytes()),
        params.passes(),
        params.proof_bytes(),
        params.verification_double_rounds()
    );
    println!(
        "memory copy: {:.2} GB/s read, as much written",
        copy_rate(params.memory_bytes(), threads)? / 1e9
    );

    let mut prover = CpuProver::new(CpuOptions {
        threads,
        ..CpuOptions::default()
    })?;
    self_test(&mut prover)?;
    let commitment = prover.commit(&params, &seed, &())?;
    println!("{}", prover.name());
    println!(
        "fill: {:.3} s, {:.3} million items/s, {:.2} ns per item and double round",
        commitment.fill_time.as_secs_f64(),
        commitment.items_per_second() / 1e6,
        1e9 / commitment.items_per_second() / f64::from(params.fill_double_rounds)
    );
    println!(
        "walk: {:.3} s, {:.3} million reads/s, {:.2} GB/s",
        commitment.walk_time.as_secs_f64(),
        commitment.reads_per_second() / 1e6,
        commitment.bytes_per_second() / 1e9
    );

    let claim = SlotClaim {
        params,
        seed,
        opening_randomness: [9; 32],
        machine_id: 1,
        slot: 0,
        root: commitment.root,
    };
    let lanes: Vec<u32> = claim.opened_lanes().collect();
    let (opened, open_time) = timed(|| prover.open(&commitment, &lanes, &()));
    let (verdict, verify_time) = timed(|| opened.map(|proof| claim.verify(&proof)));
    verdict??;
    println!(
        "open: {:.2} ms; verify: {:.2} ms",
        millis(open_time),
        millis(verify_time)
    );
    prover.release();

    for percent in arguments.iter().skip(5) {
        let fraction = StoredFraction::from_percent((*percent).try_into()?);
        let commit = commit_with_fraction(&params, &seed, fraction, threads, &())?;
        let honest = commitment.fill_time + commitment.walk_time;
        let time = commit.fill_time + commit.walk_time;
        println!(
            "{percent} % stored: fill {:.3} s, walk {:.3} s: {:.2} times the honest time, root {}",
            commit.fill_time.as_secs_f64(),
            commit.walk_time.as_secs_f64(),
            time.as_secs_f64() / honest.as_secs_f64(),
            if commit.root == commitment.root {
                "equal"
            } else {
                "DIFFERENT"
            }
        );
    }
    Ok(())
}

/// Returns the bytes per second when one half of so much memory is copied to the other, the best of three
/// runs.
fn copy_rate(bytes: u64, threads: Option<NonZeroUsize>) -> Result<f64, Box<dyn Error>> {
    let half = usize::try_from(bytes.min(COPY_BYTES) / 2)?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, NonZeroUsize::get))
        .build()?;
    let from = vec![1_u8; half];
    let mut to = vec![2_u8; half];
    let best = (0..3).map(|_| {
        let ((), time) = timed(|| {
            pool.install(|| {
                to.par_chunks_mut(COPY_PART_BYTES)
                    .zip(from.par_chunks(COPY_PART_BYTES))
                    .for_each(|(to, from)| to.copy_from_slice(from));
            });
        });
        black_box(&to);
        half as f64 / time.as_secs_f64()
    });
    Ok(best.fold(0.0, f64::max))
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
