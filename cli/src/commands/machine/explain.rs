//! `assay machine explain`, and reasons for passing over machines in plain words.

use anyhow::Context;
use assay_client::{
    json,
    market::{Gap, Mismatch, Requirements, TeeKind},
    units::{format_asy, format_ppm},
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    no_machine,
    requirements::{RequirementOptions, refusal},
};
use crate::{connection::Connection, output::Output};

/// The machine to compare with the requirements.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The machine
    id: u64,

    #[command(flatten)]
    requirements: RequirementOptions,
}

pub(super) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Options { id, requirements } = options;
    let wanted = Requirements::from(requirements);
    let client = connection.client().await?;
    let mismatches = match client.explain(&wanted, id).await {
        Ok(mismatches) => mismatches.with_context(|| no_machine(id))?,
        Err(error) => return Err(refusal(&client, &wanted, error).await),
    };
    let text = if mismatches.is_empty() {
        format!("machine {id} meets every requirement")
    } else {
        let reasons = mismatches.iter().map(|mismatch| describe(mismatch, &wanted));
        let lines: Vec<_> = reasons.map(|reason| format!("\n  {reason}")).collect();
        format!("machine {id} is passed over:{}", lines.concat())
    };
    output.print(&object(id, &mismatches)?, text)
}

/// A machine and the requirements that it does not meet, for programs.
fn object(machine: u64, mismatches: &[Mismatch]) -> anyhow::Result<Value> {
    Ok(json!({ "machine": machine, "mismatches": json::to_value(mismatches)? }))
}

/// A requirement that a machine does not meet, as a sentence about the machine.
pub(super) fn describe(mismatch: &Mismatch, wanted: &Requirements) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match mismatch {
        Mismatch::Status { found } => format!("it is {found}"),
        Mismatch::MinFreeSlots(Gap { wanted, found }) => {
            format!("{found} of its slots are free, {wanted} wanted")
        }
        Mismatch::GpuType { found } => format!(
            "its class is {}, {} wanted",
            text(found),
            wanted
                .gpu_type
                .as_ref()
                .map_or_else(String::new, |name| text(name))
        ),
        Mismatch::MinVramMib(Gap { wanted, found }) => format!(
            "its GPU has {} of memory, {} wanted",
            format_mib(*found),
            format_mib(*wanted)
        ),
        Mismatch::MinCudaCores(Gap { wanted, found }) => {
            format!("its GPU has {found} cores, {wanted} wanted")
        }
        Mismatch::MinComputeScore(Gap { wanted, found }) => {
            format!("its GPU computes {found} TFLOPS, {wanted} wanted")
        }
        Mismatch::MinCpuCores(Gap { wanted, found }) => {
            format!("the wanted slots share {found} CPU cores, {wanted} wanted")
        }
        Mismatch::MinRamMib(Gap { wanted, found }) => format!(
            "the wanted slots share {} of memory, {} wanted",
            format_mib(*found),
            format_mib(*wanted)
        ),
        Mismatch::MinDiskGib(Gap { wanted, found }) => {
            format!("the wanted slots share {found} GiB of disk, {wanted} GiB wanted")
        }
        Mismatch::MinUploadMbps(Gap { wanted, found }) => {
            format!("it uploads {found} Mbit/s, {wanted} Mbit/s wanted")
        }
        Mismatch::MinDownloadMbps(Gap { wanted, found }) => {
            format!("it downloads {found} Mbit/s, {wanted} Mbit/s wanted")
        }
        Mismatch::Region { found } => format!(
            "it stands in {}, {} wanted",
            text(found),
            wanted
                .region
                .as_ref()
                .map_or_else(String::new, |region| text(region))
        ),
        Mismatch::WithinKm(Gap { wanted, found }) => {
            format!("it is {found} km away, at most {wanted} km wanted")
        }
        Mismatch::MaxPricePerSlotHour { found } => format!(
            "it asks {} per slot-hour, at most {} wanted",
            format_asy(*found),
            format_asy(wanted.max_price_per_slot_hour.unwrap_or_default())
        ),
        Mismatch::Tee { found } => {
            let has: Vec<_> = TeeKind::ALL
                .into_iter()
                .filter(|kind| found.contains(*kind))
                .map(TeeKind::full_name)
                .collect();
            format!(
                "it has no fresh evidence of {}{}",
                wanted.tee.map_or("that TEE", TeeKind::full_name),
                if has.is_empty() {
                    String::new()
                } else {
                    format!(", but of {}", has.join(" and "))
                }
            )
        }
        Mismatch::MinUptimePpm(Gap { wanted, found }) => format!(
            "it was up {} of the time, {} wanted",
            format_ppm(*found),
            format_ppm(*wanted)
        ),
        Mismatch::MinNodes(Gap { wanted, found }) => {
            format!("its provider has {found} such machines, {wanted} wanted")
        }
    }
}

/// In whole GiB where it is exact.
fn format_mib(mib: u32) -> String {
    if mib.is_multiple_of(1_024) {
        format!("{} GiB", mib / 1_024)
    } else {
        format!("{mib} MiB")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn mismatch(json: serde_json::Value) -> Mismatch {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn mismatches_are_printed_as_the_schema_says() {
        let found = [
            mismatch(json!({ "requirement": "minVramMib", "wanted": 2, "found": 1 })),
            mismatch(json!({ "requirement": "gpuType", "found": "NVIDIA_A100" })),
            mismatch(json!({ "requirement": "status", "found": { "suspended": "inDebt" } })),
        ];
        crate::schema::assert_is("mismatches", &object(7, &found).unwrap());
    }

    #[test]
    fn mismatches_read_as_sentences() {
        let wanted = Requirements {
            gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
            region: Some(b"us-east".to_vec().try_into().unwrap()),
            max_price_per_slot_hour: Some(1_000_000_000_000),
            tee: Some(TeeKind::SevSnp),
            ..Requirements::default()
        };
        let gap = |requirement: &str, wanted: u32, found: u32| {
            let names = ["requirement", "wanted", "found"].map(str::to_owned);
            serde_json::Value::from_iter(names.into_iter().zip([
                json!(requirement),
                json!(wanted),
                json!(found),
            ]))
        };
        for (json, sentence) in [
            (
                json!({ "requirement": "status", "found": { "suspended": "inDebt" } }),
                "it is suspended (in debt)",
            ),
            (gap("minFreeSlots", 4, 1), "1 of its slots are free, 4 wanted"),
            (
                json!({ "requirement": "gpuType", "found": "NVIDIA_A100" }),
                "its class is NVIDIA_A100, NVIDIA_H100 wanted",
            ),
            (
                gap("minVramMib", 81_920, 24_564),
                "its GPU has 24564 MiB of memory, 80 GiB wanted",
            ),
            (
                gap("minRamMib", 65_536, 8_192),
                "the wanted slots share 8 GiB of memory, 64 GiB wanted",
            ),
            (
                json!({ "requirement": "region", "found": "eu-west" }),
                "it stands in eu-west, us-east wanted",
            ),
            (
                gap("withinKm", 50, 812),
                "it is 812 km away, at most 50 km wanted",
            ),
            (
                json!({ "requirement": "maxPricePerSlotHour", "found": "1500000000000" }),
                "it asks 1.5 ASY per slot-hour, at most 1 ASY wanted",
            ),
            (
                json!({ "requirement": "tee", "found": [] }),
                "it has no fresh evidence of AMD SEV-SNP",
            ),
            (
                json!({ "requirement": "tee", "found": ["sgx", "tdx"] }),
                "it has no fresh evidence of AMD SEV-SNP, but of Intel SGX and Intel TDX",
            ),
            (
                gap("minUptimePpm", 995_000, 950_000),
                "it was up 95 % of the time, 99.5 % wanted",
            ),
            (
                gap("minNodes", 4, 2),
                "its provider has 2 such machines, 4 wanted",
            ),
        ] {
            assert_eq!(describe(&mismatch(json), &wanted), sentence);
        }
    }
}
