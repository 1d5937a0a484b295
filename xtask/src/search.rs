//! Times of the market's search, from the results of its benchmarks.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs,
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

/// Benchmarks that are measured, in the order of the table.
const SEARCHES: [&str; 2] = ["search_one_region", "search_world"];

/// Powers of ten of the numbers of machines in the networks that are measured, smallest first.
const SIZES: [u32; 3] = [3, 4, 5];

/// Benchmark component that holds the power of ten.
const SIZE_COMPONENT: &str = "n";

/// Nanoseconds of a millisecond.
const NANOSECONDS: f64 = 1e6;

/// Options of `xtask search-table`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File that `assay-node benchmark pallet --json-file` writes
    file: PathBuf,
}

/// Results of one benchmark, as far as the table needs them.
#[derive(Deserialize)]
struct Benchmark {
    #[serde(rename = "benchmark")]
    name: String,
    time_results: Vec<Measurement>,
}

/// One repeat of a benchmark.
#[derive(Deserialize)]
struct Measurement {
    components: Vec<(String, u32)>,
    /// Nanoseconds.
    extrinsic_time: u64,
}

/// Milliseconds of every repeat, by search and size.
type Times = BTreeMap<(String, u32), Vec<f64>>;

/// Writes the table of the results in a file.
pub(crate) fn table_of_file(options: &Options) -> anyhow::Result<String> {
    let text = fs::read_to_string(&options.file)?;
    table_of(&text).with_context(|| format!("cannot read times from {}", options.file.display()))
}

/// Writes the least and the mean time of each search for each size, and the ratio of the least time to that
/// of the smallest network. Fails where a search was not measured for every size.
fn table_of(json: &str) -> anyhow::Result<String> {
    let mut times = Times::new();
    for benchmark in serde_json::from_str::<Vec<Benchmark>>(json)? {
        for measurement in benchmark.time_results {
            let size = measurement
                .components
                .iter()
                .find(|(name, _)| name == SIZE_COMPONENT);
            let size = size
                .with_context(|| format!("{} has no component n", benchmark.name))?
                .1;
            let key = (benchmark.name.clone(), size);
            let milliseconds = measurement.extrinsic_time as f64 / NANOSECONDS;
            times.entry(key).or_default().push(milliseconds);
        }
    }
    let expected = SEARCHES
        .iter()
        .flat_map(|search| SIZES.map(|size| ((*search).to_owned(), size)));
    if !times.keys().cloned().eq(expected) {
        bail!("expected times of {SEARCHES:?}, each in networks of 10^{SIZES:?} machines");
    }
    Ok(write_table(&times)?)
}

fn write_table(times: &Times) -> Result<String, fmt::Error> {
    let mut table = String::new();
    writeln!(
        table,
        "{:<20} {:>8} {:>10} {:>10} {:>8}",
        "search", "machines", "least ms", "mean ms", "ratio"
    )?;
    let mut smallest = f64::NAN;
    for ((search, size), times) in times {
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        if *size == SIZES[0] {
            smallest = least;
        }
        let machines = 10_u64.pow(*size);
        let ratio = least / smallest;
        writeln!(
            table,
            "{search:<20} {machines:>8} {least:>10.2} {mean:>10.2} {ratio:>8.2}"
        )?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn times(values: &[(u32, u64)]) -> Value {
        let time = |(size, time): &(u32, u64)| json!({ "components": [["n", size]], "extrinsic_time": time });
        values.iter().map(time).collect()
    }

    /// Makes results of both searches, out of order; `left_out` of those of the first are missing.
    fn results(left_out: usize) -> String {
        let world = [
            (5, 2_400_000),
            (3, 2_000_000),
            (4, 2_100_000),
            (3, 3_000_000),
            (4, 2_300_000),
        ];
        json!([
            { "benchmark": "search_world", "time_results": times(&world[left_out..]) },
            {
                "benchmark": "search_one_region",
                "time_results": times(&[(3, 500_000), (4, 510_000), (5, 1_000_000)]),
            },
        ])
        .to_string()
    }

    #[test]
    fn table_has_least_and_mean_times_and_ratios() {
        assert_eq!(
            table_of(&results(0)).expect("every size was measured"),
            "search               machines   least ms    mean ms    ratio\n\
             search_one_region        1000       0.50       0.50     1.00\n\
             search_one_region       10000       0.51       0.51     1.02\n\
             search_one_region      100000       1.00       1.00     2.00\n\
             search_world             1000       2.00       2.50     1.00\n\
             search_world            10000       2.10       2.20     1.05\n\
             search_world           100000       2.40       2.40     1.20\n"
        );
    }

    #[test]
    fn table_fails_when_a_size_or_a_search_is_missing() {
        assert!(table_of(&results(1)).is_err());
        assert!(table_of("[]").is_err());
        let other = results(0).replace("search_world", "search_moon");
        assert!(table_of(&other).is_err());
        let other = results(0).replace("\"n\"", "\"m\"");
        assert!(table_of(&other).is_err());
    }
}
