//! Measures every device of this machine and lists the hardware classes that each can hold.
//!
//! ```text
//! cargo run --release -p assay-provers --example provers_bench -- \
//!     [all|cpu|wgpu|cuda [SECONDS [forecast|full [CLASS...]]]]
//! ```
//!
//! Filling and walking take about `SECONDS` each, 5 by default. A `CLASS` is
//! `NAME:ITEMS:FILL_DOUBLE_ROUNDS:LANES_LOG2:STEPS:DEADLINE_MS`. With `full`, the example also answers and
//! times the challenge of every class that fits, as a worker would, unless it would take more than four times
//! its deadline.

use std::{error::Error, process::ExitCode, time::Duration};

use assay_proof::prover::self_test;
use assay_provers::{
    AnyProver, BackEnd, DetectOptions,
    bench::{HardwareClass, measure},
    detect,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize, default| arguments.get(index).map_or(default, String::as_str);
    let wanted = argument(0, "all");
    let back_ends: Vec<BackEnd> = BackEnd::ALL
        .into_iter()
        .filter(|back_end| wanted == "all" || back_end.to_string().eq_ignore_ascii_case(wanted))
        .collect();
    if back_ends.is_empty() {
        return Err(format!("'{wanted}' is no back end: choose all, cpu, wgpu or cuda").into());
    }
    let stage_time = Duration::from_secs(argument(1, "5").parse()?);
    let is_full = match argument(2, "forecast") {
        "forecast" => false,
        "full" => true,
        other => return Err(format!("'{other}' is neither forecast nor full").into()),
    };
    let classes: Vec<HardwareClass> = arguments
        .iter()
        .skip(3)
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;

    for back_end in back_ends {
        match detect(back_end, &DetectOptions::default()) {
            Err(absent) => println!("{back_end} is absent: {absent}"),
            Ok(provers) => {
                for prover in provers {
                    match prover {
                        Err(error) => println!("a device of {back_end} does not start: {error}"),
                        Ok(mut prover) => bench(&mut prover, stage_time, is_full, &classes)?,
                    }
                }
            }
        }
    }
    Ok(())
}

fn bench(
    prover: &mut AnyProver,
    stage_time: Duration,
    is_full: bool,
    classes: &[HardwareClass],
) -> Result<(), Box<dyn Error>> {
    self_test(prover)?;
    let measurement = measure(prover, stage_time, &())?;
    println!("{measurement}");
    for class in classes {
        let mut judgement = measurement.judge_class(prover, class)?;
        if is_full {
            judgement.answer_in_full(prover, &())?;
        }
        println!("{judgement}");
    }
    Ok(())
}
