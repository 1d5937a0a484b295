//! Benchmark of a machine: its rates, compared with its hardware's limits, and the classes that it can hold.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use assay_proof::{
    ChallengeParams, FILL_DOUBLE_ROUNDS, Hash, LANES_LOG2, STEP_DOUBLE_ROUNDS, SlotClaim,
    prover::{Commitment, Prover, ProverError, Watch},
};

use crate::{detect::AnyProver, device::HardwareLimits, sizing::most_items};

/// 32-bit additions, exclusive ors and rotations of one double round: twelve in each of eight quarter rounds.
const OPERATIONS_PER_DOUBLE_ROUND: f64 = 96.0;

/// Additions of the input after a permutation.
const OPERATIONS_PER_ADDITION: f64 = 16.0;

/// Operations of a lane's step: four double rounds, the item's exclusive or, and the addition.
const OPERATIONS_PER_READ: f64 = OPERATIONS_PER_DOUBLE_ROUND * STEP_DOUBLE_ROUNDS as f64 + 16.0 + 16.0;

/// First challenge, which finds the amount of work that fills the measurement's time. Small enough for
/// software GPUs.
const FIRST: ChallengeParams = ChallengeParams {
    items: 1 << 16,
    fill_double_rounds: 64,
    lanes_log2: 12,
    steps: 64,
    openings: 4,
    deadline_ms: 1,
};

/// Maximum number of measurements until one fills its time. A fast GPU does the first in less than a
/// millisecond, most of it spent on starting slices, so that its rates are only a lower bound.
const MOST_SAMPLES: u32 = 3;

/// Reads of a lane in the measurement, as in the classes of real GPUs.
const STEPS: u16 = 256;

/// Minimum double rounds of an item in the measurement: with fewer, the time of writing items would show.
const FEWEST_DOUBLE_ROUNDS: u16 = 16;

/// Length in bytes of one half of the plain copy.
const COPY_HALF_BYTES: u64 = 1 << 30;

/// Default spare time of a class, in percent of the challenge's duration: for a busy machine, the transaction
/// and the block.
pub const DEFAULT_MARGIN_PERCENT: u16 = 25;

/// Measured rates of a device, with the limits of its hardware.
#[derive(Clone, PartialEq, Debug)]
pub struct Measurement {
    /// Device and its driver interface.
    pub device: String,
    /// Answered challenge with its times.
    pub commitment: Commitment,
    /// Duration of opening the lanes.
    pub open_time: Duration,
    /// Limits of the hardware, as its interface reports them.
    pub limits: HardwareLimits,
    /// Bytes read per second when the device copies its own memory, with as many written; `None` for CPUs.
    pub copy_bytes_per_second: Option<f64>,
}

/// Answers a challenge that fills the memory, or as much of it as `stage_time` allows, and walks it as long.
///
/// More filled memory gives better figures: a walk of a few GiB flatters a GPU whose caches and page tables
/// cover them.
pub fn measure(
    prover: &mut AnyProver,
    stage_time: Duration,
    watch: &dyn Watch,
) -> Result<Measurement, ProverError> {
    const SEED: Hash = [0x5a; 32];
    let copy_bytes_per_second = copy_rate(prover)?;
    let mut commitment = prover.commit(&FIRST, &SEED, watch)?;
    for _ in 0..MOST_SAMPLES {
        let params = sample(&commitment, stage_time, prover.free_bytes()?);
        commitment = prover.commit(&params, &SEED, watch)?;
        if 2 * commitment.fill_time.min(commitment.walk_time) >= stage_time {
            break;
        }
    }
    let claim = SlotClaim {
        params: commitment.params,
        seed: SEED,
        opening_randomness: [0xa5; 32],
        machine_id: 0,
        slot: 0,
        root: commitment.root,
    };
    let lanes: Vec<u32> = claim.opened_lanes().collect();
    let start = Instant::now();
    prover.open(&commitment, &lanes, watch)?;
    let open_time = start.elapsed();
    prover.release();
    Ok(Measurement {
        device: prover.name(),
        commitment,
        open_time,
        limits: prover.limits(),
        copy_bytes_per_second,
    })
}

fn copy_rate(prover: &mut AnyProver) -> Result<Option<f64>, ProverError> {
    let AnyProver::Gpu(gpu) = prover else {
        return Ok(None);
    };
    // A quarter of the free memory: other memory of the device may be short too.
    let half_bytes = gpu
        .free_bytes()?
        .map_or(COPY_HALF_BYTES, |free| COPY_HALF_BYTES.min(free / 4));
    gpu.copy_bytes_per_second(half_bytes).map(Some)
}

/// Returns a challenge whose filling and walking take about so long each, by the rates of a first one.
fn sample(first: &Commitment, stage_time: Duration, free_bytes: Option<u64>) -> ChallengeParams {
    let seconds = stage_time.as_secs_f64();
    let reads = first.reads_per_second() * seconds;
    // The cast saturates, so lanes out of range become the ends of the range.
    let lanes_log2 = (reads / f64::from(STEPS)).log2() as u8;
    let lanes_log2 = lanes_log2.clamp(*LANES_LOG2.start(), *LANES_LOG2.end());

    let double_rounds = double_rounds_per_second(first) * seconds;
    let affordable = (double_rounds / f64::from(FEWEST_DOUBLE_ROUNDS)) as u32;
    let fitting = free_bytes.map_or(affordable, |free| {
        most_items(free, lanes_log2).unwrap_or(FIRST.items)
    });
    let items = affordable.min(fitting).max(FIRST.items);
    let fill_double_rounds = (double_rounds / f64::from(items)) as u16;
    ChallengeParams {
        items,
        fill_double_rounds: fill_double_rounds.clamp(FEWEST_DOUBLE_ROUNDS, *FILL_DOUBLE_ROUNDS.end()),
        lanes_log2,
        steps: STEPS,
        ..FIRST
    }
}

fn double_rounds_per_second(commitment: &Commitment) -> f64 {
    commitment.items_per_second() * f64::from(commitment.params.fill_double_rounds)
}

impl Measurement {
    /// Returns the 32-bit operations per second of filling.
    pub fn fill_operations_per_second(&self) -> f64 {
        let double_rounds = f64::from(self.commitment.params.fill_double_rounds);
        self.commitment.items_per_second()
            * (OPERATIONS_PER_DOUBLE_ROUND * double_rounds + OPERATIONS_PER_ADDITION)
    }

    /// Returns the 32-bit operations per second of walking.
    pub fn walk_operations_per_second(&self) -> f64 {
        self.commitment.reads_per_second() * OPERATIONS_PER_READ
    }

    /// Returns the expected duration of another challenge at the measured rates.
    pub fn forecast(&self, params: &ChallengeParams) -> Forecast {
        let double_rounds = f64::from(params.items) * f64::from(params.fill_double_rounds);
        Forecast {
            fill_time: seconds(double_rounds / double_rounds_per_second(&self.commitment)),
            walk_time: seconds(params.reads() as f64 / self.commitment.reads_per_second()),
        }
    }

    /// Judges if the machine can hold a class with [`DEFAULT_MARGIN_PERCENT`] of the time to spare.
    pub fn judge_class(&self, prover: &AnyProver, class: &HardwareClass) -> Result<Judgement, ProverError> {
        let verdict = self.judge(prover, &class.params, DEFAULT_MARGIN_PERCENT)?;
        Ok(Judgement {
            class: class.clone(),
            verdict,
            in_full: None,
        })
    }

    /// Judges if the machine can hold a class: if its memory suffices, and the time with the given margin.
    pub fn judge(
        &self,
        prover: &AnyProver,
        params: &ChallengeParams,
        margin_percent: u16,
    ) -> Result<Verdict, ProverError> {
        params.validate()?;
        let needed_bytes = prover.needed_bytes(params)?;
        if let Some(free_bytes) = prover.free_bytes()?.filter(|&free| free < needed_bytes) {
            return Ok(Verdict::MemoryShort {
                needed_bytes,
                free_bytes,
            });
        }
        let forecast = self.forecast(params);
        Ok(if forecast.meets(params.deadline_ms, margin_percent) {
            Verdict::Holds(forecast)
        } else {
            Verdict::TooSlow(forecast)
        })
    }
}

/// Converts seconds to a duration, capped at the longest one, which a rate of zero gives.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Expected duration of a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Duration of filling the memory.
    pub fill_time: Duration,
    /// Duration of walking the lanes and building the tree.
    pub walk_time: Duration,
}

impl Forecast {
    /// Returns the duration of the whole commit.
    pub fn total(&self) -> Duration {
        self.fill_time.saturating_add(self.walk_time)
    }

    /// Returns true if the commit ends before the deadline with the given margin.
    pub fn meets(&self, deadline_ms: u64, margin_percent: u16) -> bool {
        let with_margin = self.total().as_millis() * (100 + u128::from(margin_percent)) / 100;
        with_margin <= deadline_ms.into()
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "filling {:.1} s and walking {:.1} s",
            self.fill_time.as_secs_f64(),
            self.walk_time.as_secs_f64()
        )
    }
}

/// Verdict on a machine for a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The machine can hold the class.
    Holds(Forecast),
    /// The memory suffices, but the time does not.
    TooSlow(Forecast),
    /// The memory does not suffice.
    MemoryShort {
        /// Bytes that the challenge takes.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
}

/// Maximum number of deadlines that a challenge answered in full may take.
const MOST_DEADLINES: u64 = 4;

impl Verdict {
    /// Returns true if answering the class's challenge in full is worth the time: the memory suffices, and it
    /// takes at most four deadlines.
    pub fn is_worth_answering(&self, params: &ChallengeParams) -> bool {
        match self {
            Self::Holds(forecast) | Self::TooSlow(forecast) => {
                forecast.meets(params.deadline_ms.saturating_mul(MOST_DEADLINES), 0)
            }
            Self::MemoryShort { .. } => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(forecast) => write!(formatter, "can be held: {forecast}"),
            Self::TooSlow(forecast) => write!(formatter, "too slow: {forecast}"),
            Self::MemoryShort {
                needed_bytes,
                free_bytes,
            } => write!(
                formatter,
                "too little memory: {:.2} GiB are needed and {:.2} GiB are free",
                gib(*needed_bytes),
                gib(*free_bytes)
            ),
        }
    }
}

/// Hardware class with the verdict on a device.
#[derive(Clone, PartialEq, Debug)]
pub struct Judgement {
    /// Hardware class.
    pub class: HardwareClass,
    /// Verdict by the measured rates.
    pub verdict: Verdict,
    /// Commit of the class's whole challenge, if it was answered.
    pub in_full: Option<Commitment>,
}

impl Judgement {
    /// Answers the class's whole challenge if [it is worth the time](Verdict::is_worth_answering).
    pub fn answer_in_full(&mut self, prover: &mut AnyProver, watch: &dyn Watch) -> Result<(), ProverError> {
        const SEED: Hash = [1; 32];
        if self.verdict.is_worth_answering(&self.class.params) {
            self.in_full = Some(prover.commit(&self.class.params, &SEED, watch)?);
            prover.release();
        }
        Ok(())
    }
}

/// Prints one line, and one more if the challenge was answered in full.
impl fmt::Display for Judgement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "  {:<20} deadline {:.1} s: {}",
            self.class.name,
            self.class.params.deadline_ms as f64 / 1e3,
            self.verdict
        )?;
        if let Some(commitment) = &self.in_full {
            write!(
                formatter,
                "\n  {:<20} answered in full: filling {:.2} s and walking {:.2} s",
                "",
                commitment.fill_time.as_secs_f64(),
                commitment.walk_time.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

/// Prints the table for display.
impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commitment = &self.commitment;
        let params = &commitment.params;
        writeln!(formatter, "{}", self.device)?;
        writeln!(
            formatter,
            "  sample   {:.2} GiB of items, {} double rounds each, 2^{} lanes of {} reads",
            gib(params.memory_bytes()),
            params.fill_double_rounds,
            params.lanes_log2,
            params.steps
        )?;
        writeln!(
            formatter,
            "  filling  {:.2} s: {:.3} million items/s, {:.2} billion double rounds/s, {}",
            commitment.fill_time.as_secs_f64(),
            commitment.items_per_second() / 1e6,
            double_rounds_per_second(commitment) / 1e9,
            Share {
                value: self.fill_operations_per_second(),
                of: self.limits.integer_operations_per_second,
                unit: "billion integer operations/s",
            }
        )?;
        writeln!(
            formatter,
            "  walking  {:.2} s: {:.3} million reads/s, {}, {}",
            commitment.walk_time.as_secs_f64(),
            commitment.reads_per_second() / 1e6,
            Share {
                value: commitment.bytes_per_second(),
                of: self.limits.memory_bytes_per_second,
                unit: "GB/s",
            },
            Share {
                value: self.walk_operations_per_second(),
                of: self.limits.integer_operations_per_second,
                unit: "billion integer operations/s",
            }
        )?;
        if let Some(copy) = self.copy_bytes_per_second {
            // A copy reads and writes each byte.
            let moved = Share {
                value: 2.0 * copy,
                of: self.limits.memory_bytes_per_second,
                unit: "GB/s",
            };
            writeln!(formatter, "  copying  {moved} read and written")?;
        }
        write!(
            formatter,
            "  opening  {:.1} ms for {} lanes",
            self.open_time.as_secs_f64() * 1e3,
            params.openings
        )
    }
}

/// Rate in billions, beside the hardware's limit.
struct Share {
    value: f64,
    of: Option<f64>,
    unit: &'static str,
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, of, unit } = self;
        write!(formatter, "{:.1} {unit} ", value / 1e9)?;
        match of {
            Some(of) => write!(
                formatter,
                "({:.0} % of the hardware's {:.0})",
                100.0 * value / of,
                of / 1e9
            ),
            None => formatter.write_str("(the hardware's limit is not told)"),
        }
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Hardware class in the form of a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HardwareClass {
    /// Name of the class.
    pub name: String,
    /// Parameters of its challenge. The openings have no influence on the verdict.
    pub params: ChallengeParams,
}

/// Reason for which a class could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "'{text}' is no hardware class ({cause}); write it as NAME:ITEMS:FILL_DOUBLE_ROUNDS:LANES_LOG2:STEPS:DEADLINE_MS, \
     for example NVIDIA_H100:1207959552:1024:27:256:30000"
)]
pub struct BadClass {
    text: String,
    cause: String,
}

impl FromStr for HardwareClass {
    type Err = BadClass;

    fn from_str(text: &str) -> Result<Self, BadClass> {
        let bad = |cause: String| BadClass {
            text: text.into(),
            cause,
        };
        let parts: Vec<&str> = text.split(':').collect();
        let &[name, items, fill_double_rounds, lanes_log2, steps, deadline_ms] = parts.as_slice() else {
            return Err(bad(format!("it has {} parts instead of 6", parts.len())));
        };
        let params = ChallengeParams {
            items: number("the items", items).map_err(bad)?,
            fill_double_rounds: number("the double rounds", fill_double_rounds).map_err(bad)?,
            lanes_log2: number("the logarithm of the lanes", lanes_log2).map_err(bad)?,
            steps: number("the steps", steps).map_err(bad)?,
            openings: FIRST.openings,
            deadline_ms: number("the deadline", deadline_ms).map_err(bad)?,
        };
        params.validate().map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            name: name.into(),
            params,
        })
    }
}

fn number<T: FromStr<Err: fmt::Display>>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{what}, '{text}': {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const H100: &str = "NVIDIA_H100:1207959552:1024:27:256:30000";

    /// Returns a commit that takes a nanosecond for each item of 64 double rounds, and one for each read.
    fn commitment() -> Commitment {
        Commitment {
            params: FIRST,
            seed: [0; 32],
            root: [0; 32],
            fill_time: Duration::from_nanos(FIRST.items.into()),
            walk_time: Duration::from_nanos(FIRST.reads()),
        }
    }

    fn measurement(limits: HardwareLimits) -> Measurement {
        Measurement {
            device: "made up".into(),
            commitment: commitment(),
            open_time: Duration::from_millis(3),
            limits,
            copy_bytes_per_second: Some(1e12),
        }
    }

    #[test]
    fn a_class_is_read() {
        let class: HardwareClass = H100.parse().unwrap();
        assert_eq!(class.name, "NVIDIA_H100");
        assert_eq!(class.params.memory_bytes(), 72 << 30);
        assert_eq!(class.params.deadline_ms, 30_000);
    }

    #[test]
    fn a_bad_class_says_what_is_wrong() {
        for (text, cause) in [
            ("", "it has 1 parts instead of 6"),
            ("A:1:2:3:4:5:6", "it has 7 parts instead of 6"),
            ("A:many:1024:27:256:1", "the items, 'many'"),
            ("A:2048:99999:27:256:1", "the double rounds, '99999'"),
            (
                "A:2048:1024:31:256:1",
                "the logarithm of the lanes must be 4 to 30",
            ),
            ("A:2048:1024:27:256:0", "the deadline must not be zero"),
        ] {
            let error = text.parse::<HardwareClass>().unwrap_err().to_string();
            assert!(error.contains(cause) && error.contains("NAME:ITEMS"), "{error}");
        }
    }

    #[test]
    fn a_forecast_scales_what_was_measured() {
        let class: HardwareClass = H100.parse().unwrap();
        let forecast = measurement(HardwareLimits::default()).forecast(&class.params);
        // 1.2 billion items of 16 times the cost, and 34 billion reads.
        assert_eq!(forecast.fill_time.as_millis(), 19_327);
        assert_eq!(forecast.walk_time.as_millis(), 34_359);
        assert!(forecast.meets(53_700, 0));
        assert!(!forecast.meets(53_600, 0));
        assert!(!forecast.meets(67_000, 25));
        assert!(forecast.meets(67_200, 25));
        let endless = Forecast {
            fill_time: Duration::MAX,
            walk_time: Duration::MAX,
        };
        assert!(!endless.meets(u64::MAX, u16::MAX));
    }

    #[test]
    fn only_what_ends_soon_is_answered_in_full() {
        let params = H100.parse::<HardwareClass>().unwrap().params;
        let takes = |seconds| Forecast {
            fill_time: Duration::from_secs(seconds),
            walk_time: Duration::ZERO,
        };
        assert!(Verdict::Holds(takes(1)).is_worth_answering(&params));
        assert!(Verdict::TooSlow(takes(120)).is_worth_answering(&params));
        assert!(!Verdict::TooSlow(takes(121)).is_worth_answering(&params));
        let short = Verdict::MemoryShort {
            needed_bytes: 2,
            free_bytes: 1,
        };
        assert!(!short.is_worth_answering(&params));
    }

    #[test]
    fn a_sample_fills_the_time_and_the_memory() {
        let of = |seconds, free_bytes| sample(&commitment(), Duration::from_secs(seconds), free_bytes);
        // Five seconds would be 20 billion items at the fewest double rounds: all that fit, with more double
        // rounds.
        let large = of(5, Some(80 << 30));
        assert!(large.is_valid());
        assert_eq!(large.items, most_items(80 << 30, large.lanes_log2).unwrap());
        assert_eq!(large.fill_double_rounds, 238);
        // 5 billion reads in lanes of 256.
        assert_eq!(large.lanes_log2, 24);
        let small = of(0, Some(0));
        assert!(small.is_valid());
        assert_eq!(
            (small.items, small.fill_double_rounds, small.lanes_log2),
            (1 << 16, 16, 4)
        );
        assert!(of(u64::MAX, None).is_valid());
    }

    #[test]
    fn the_table_shows_shares_where_the_hardware_tells_its_limits() {
        let told = measurement(HardwareLimits {
            memory_bytes: Some(80 << 30),
            integer_operations_per_second: Some(16e12),
            memory_bytes_per_second: Some(4e12),
        })
        .to_string();
        assert!(
            told.contains("6160.0 billion integer operations/s (38 % of the hardware's 16000)"),
            "{told}"
        );
        assert!(told.contains("64.0 GB/s (2 % of the hardware's 4000)"), "{told}");
        assert!(
            told.contains("2000.0 GB/s (50 % of the hardware's 4000) read and written"),
            "{told}"
        );
        let untold = measurement(HardwareLimits::default()).to_string();
        assert!(
            untold.contains("64.0 GB/s (the hardware's limit is not told)"),
            "{untold}"
        );
    }
}
