//! Requirements of a consumer for machines, as options of the command line.

use anyhow::anyhow;
use assay_client::{
    ChainClient, Error,
    market::{ClassName, MAX_NODES, Near, Region, Requirements, TeeKind, parse_class_name, parse_region},
    types::Location,
    units::parse_asy,
};
use clap::{Args, ValueEnum, builder::RangedI64ValueParser};

use crate::numbers::{parse_decimal, parse_percent};

const MIB_PER_GIB: u32 = 1_024;

/// Heading of these options.
const HEADING: &str = "Requirements";

/// A trusted execution environment.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tee {
    /// Intel SGX: an enclave
    Sgx,
    /// Intel TDX: a virtual machine
    Tdx,
    /// AMD SEV-SNP: a virtual machine
    SevSnp,
    /// NVIDIA confidential computing: a GPU
    NvidiaGpu,
}

/// Requirements for a machine, in a search and in an order; each is optional.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct MachineOptions {
    /// Hardware class, such as NVIDIA_H100
    #[arg(long, value_name = "CLASS", value_parser = parse_class_name)]
    gpu: Option<ClassName>,

    /// Memory of one GPU
    #[arg(long, value_name = "GIB", value_parser = gib())]
    min_vram_gib: Option<u32>,

    /// CUDA cores or stream processors of one GPU
    #[arg(long, value_name = "CORES")]
    min_cuda_cores: Option<u32>,

    /// Dense BF16 TFLOPS of one GPU
    #[arg(long, value_name = "TFLOPS")]
    min_compute_score: Option<u32>,

    /// CPU cores for the wanted slots: the host's in proportion to its slots
    #[arg(long, value_name = "CORES")]
    min_cpu_cores: Option<u32>,

    /// Main memory for the wanted slots
    #[arg(long, value_name = "GIB", value_parser = gib())]
    min_ram_gib: Option<u32>,

    /// Disk space for the wanted slots
    #[arg(long, value_name = "GIB")]
    min_disk_gib: Option<u32>,

    /// Upload bandwidth of the host
    #[arg(long, value_name = "MBPS")]
    min_upload_mbps: Option<u32>,

    /// Download bandwidth of the host
    #[arg(long, value_name = "MBPS")]
    min_download_mbps: Option<u32>,

    /// Region code, such as us-east
    #[arg(long, value_name = "REGION", value_parser = parse_region)]
    region: Option<Region>,

    /// Around this point, in degrees north and east, such as 52.52,13.405 or -33.87,151.21
    #[arg(
        long,
        value_name = "LAT,LON",
        value_parser = parse_near,
        allow_hyphen_values = true,
        requires = "within_km"
    )]
    near: Option<Location>,

    /// Maximum distance from that point
    #[arg(long, value_name = "KM", requires = "near")]
    within_km: Option<u32>,

    /// Fresh evidence on chain of this trusted execution environment
    #[arg(long, value_enum)]
    tee: Option<Tee>,

    /// Average uptime, such as 99.5
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    min_uptime: Option<u32>,
}

/// Requirements for a search.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct RequirementOptions {
    #[command(flatten)]
    machine: MachineOptions,

    /// Maximum price in ASY per slot-hour
    // Without hyphens, the hint of a negative price would be to write it as an argument.
    #[arg(long, value_name = "ASY", value_parser = parse_asy, allow_hyphen_values = true)]
    max_price: Option<u128>,

    /// Free slots on the machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    slots: u8,

    /// Number of machines of one provider that meet all of this, at most 64
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    nodes: u8,
}

impl MachineOptions {
    /// Returns the requirements for each machine, without slots, nodes and price.
    pub(crate) fn requirements(&self) -> Requirements {
        let mib = |gib: Option<u32>| gib.unwrap_or_default().saturating_mul(MIB_PER_GIB);
        Requirements {
            gpu_type: self.gpu.clone(),
            min_vram_mib: mib(self.min_vram_gib),
            min_cuda_cores: self.min_cuda_cores.unwrap_or_default(),
            min_compute_score: self.min_compute_score.unwrap_or_default(),
            min_cpu_cores: self.min_cpu_cores.unwrap_or_default(),
            min_ram_mib: mib(self.min_ram_gib),
            min_disk_gib: self.min_disk_gib.unwrap_or_default(),
            min_upload_mbps: self.min_upload_mbps.unwrap_or_default(),
            min_download_mbps: self.min_download_mbps.unwrap_or_default(),
            region: self.region.clone(),
            near: self
                .near
                .zip(self.within_km)
                .map(|(center, within_km)| Near { center, within_km }),
            max_price_per_slot_hour: None,
            tee: self.tee.map(|tee| match tee {
                Tee::Sgx => TeeKind::Sgx,
                Tee::Tdx => TeeKind::Tdx,
                Tee::SevSnp => TeeKind::SevSnp,
                Tee::NvidiaGpu => TeeKind::NvidiaGpu,
            }),
            min_uptime_ppm: self.min_uptime.unwrap_or_default(),
            min_free_slots: 0,
            min_nodes: 0,
        }
    }
}

impl From<RequirementOptions> for Requirements {
    fn from(options: RequirementOptions) -> Self {
        Self {
            max_price_per_slot_hour: options.max_price,
            min_free_slots: options.slots,
            min_nodes: options.nodes,
            ..options.machine.requirements()
        }
    }
}

/// Accepts GiB that fit into 32 bits as MiB.
fn gib() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=i64::from(u32::MAX / MIB_PER_GIB))
}

fn parse_near(text: &str) -> Result<Location, String> {
    let bad = |reason: String| {
        format!("{text:?} is not a point: {reason}; write degrees north and east, such as 52.52,13.405")
    };
    let (latitude, longitude) = text
        .split_once(',')
        .ok_or_else(|| bad("it has no comma".to_owned()))?;
    let degrees = |part: &str, most: i64| {
        let microdegrees = parse_decimal(part.trim(), 6).map_err(bad)?;
        i32::try_from(microdegrees)
            .ok()
            .filter(|_| microdegrees.abs() <= most * 1_000_000)
            .ok_or_else(|| bad(format!("{part:?} is not within {most} degrees")))
    };
    Ok(Location {
        latitude_microdegrees: degrees(latitude, 90)?,
        longitude_microdegrees: degrees(longitude, 180)?,
    })
}

/// Returns the error of a failed search; for an unknown class, with the known ones.
pub(super) async fn refusal(client: &ChainClient, wanted: &Requirements, error: Error) -> anyhow::Error {
    let (Error::SearchRefused { .. }, Some(name)) = (&error, &wanted.gpu_type) else {
        return error.into();
    };
    let Ok(classes) = client.hardware_classes().await else {
        return error.into();
    };
    if classes
        .iter()
        .any(|(_, class)| class.name.as_bytes() == name.as_slice())
    {
        return error.into();
    }
    let known: Vec<_> = classes.iter().map(|(_, class)| class.name.to_string()).collect();
    anyhow!(
        "the catalogue has no hardware class {}; its classes are {}",
        String::from_utf8_lossy(name),
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::testing::parsed;

    fn parse(line: &str) -> Result<Requirements, clap::Error> {
        let words: Vec<_> = line.split_whitespace().collect();
        parsed::<RequirementOptions>(&words).map(Into::into)
    }

    #[test]
    fn nothing_asks_for_one_slot_of_anything() {
        let expected = Requirements {
            min_free_slots: 1,
            min_nodes: 1,
            ..Requirements::default()
        };
        assert_eq!(parse("").unwrap(), expected);
    }

    #[test]
    fn every_requirement_is_taken_in_its_unit() {
        let wanted = parse(
            "--gpu=nvidia_h100 --min-vram-gib=80 --min-cuda-cores=16000 --min-compute-score=900 --min-cpu-cores=8 \
             --min-ram-gib=64 --min-disk-gib=100 --min-upload-mbps=50 --min-download-mbps=60 --region=us-east \
             --near -33.8688,151.2093 --within-km=50 --max-price=2.5 --tee=sev-snp --min-uptime=99.5% --slots=2 \
             --nodes=3",
        )
        .unwrap();
        let expected = Requirements {
            gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
            min_vram_mib: 81_920,
            min_cuda_cores: 16_000,
            min_compute_score: 900,
            min_cpu_cores: 8,
            min_ram_mib: 65_536,
            min_disk_gib: 100,
            min_upload_mbps: 50,
            min_download_mbps: 60,
            region: Some(b"us-east".to_vec().try_into().unwrap()),
            near: Some(Near {
                center: Location {
                    latitude_microdegrees: -33_868_800,
                    longitude_microdegrees: 151_209_300,
                },
                within_km: 50,
            }),
            max_price_per_slot_hour: Some(2_500_000_000_000),
            tee: Some(TeeKind::SevSnp),
            min_uptime_ppm: 995_000,
            min_free_slots: 2,
            min_nodes: 3,
        };
        assert_eq!(wanted, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (line, remedy) in [
            ("--gpu=H/100", "such as NVIDIA_H100"),
            ("--region=us_east", "such as us-east"),
            ("--region=a-region-that-is-too-long", "such as us-east"),
            ("--near=52.52 --within-km=5", "such as 52.52,13.405"),
            ("--near=95,0 --within-km=5", "within 90 degrees"),
            ("--near=1,2", "--within-km"),
            ("--within-km=5", "--near"),
            ("--min-vram-gib=4194304", "4194303"),
            ("--min-uptime=101", "0 to 100"),
            ("--max-price -5", "only digits and one decimal point"),
            ("--slots=0", "1..=255"),
            ("--nodes=65", "1..=64"),
            ("--tee=sev", "sev-snp"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
