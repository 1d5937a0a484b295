//! Measures verification times on real evidence. Prints figures and asserts nothing.
//!
//! ```text
//! ./scripts/evidence-samples
//! cargo run --release -p assay-evidence --example evidence_bench
//! ```

extern crate alloc;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use assay_evidence::{
    EvidenceError, certificates_of_pem,
    intel::{Quote, verify_attestation_key, verify_qe_identity, verify_tcb_info},
    nvidia::{
        Component, GpuReport, NvidiaPolicy, Reference, ReferenceMeasurement, verify_device_key,
        verify_report as verify_gpu_report,
    },
    snp::{SnpPolicy, verify_chip_key, verify_report as verify_snp_report},
    vendor_roots,
};

#[allow(dead_code, reason = "the example needs only a part of what the tests do")]
#[path = "../tests/evidence/support/mod.rs"]
mod support;

use support::{
    der::NOW_S,
    real::{Prepared, RealQuote, SGX, TDX, TDX_15_EX, lenient, slices},
    samples::{hex_sample, sample, text_sample},
};

/// Time for which each piece of work is repeated.
const TIME: Duration = Duration::from_millis(400);

fn main() -> Result<(), EvidenceError> {
    println!("{:<44} {:>10}", "", "ms");
    for (name, quote) in [
        ("SGX, quote version 3", SGX),
        ("TDX, quote version 4", TDX),
        ("TDX 1.5, quote version 5", TDX_15_EX),
    ] {
        intel(name, quote)?;
    }
    amd()?;
    nvidia()
}

fn intel(name: &str, quote: RealQuote) -> Result<(), EvidenceError> {
    let prepared = quote.prepared();
    let Prepared {
        raw,
        roots,
        lists,
        now_s,
        ..
    } = &prepared;
    let policy = lenient();
    report(&format!("{name}: the first time"), || prepared.verify(&policy))?;
    let key = prepared.attestation_key()?;
    report(&format!("{name}: a renewal"), || {
        prepared.verify_with(&raw.quote, &key, &policy)
    })?;
    let pck = prepared.pck_key()?;
    report(&format!("{name}: another quoting enclave"), || {
        let key = verify_attestation_key(&Quote::read(&raw.quote)?, pck.clone())?;
        prepared.verify_with(&raw.quote, &key, &policy)
    })?;
    let chain = slices(&raw.tcb_info_chain);
    report(&format!("{name}: TCB info"), || {
        verify_tcb_info(
            &raw.tcb_info,
            &raw.tcb_info_signature,
            &chain,
            roots,
            lists,
            *now_s,
        )
    })?;
    let chain = slices(&raw.qe_identity_chain);
    report(&format!("{name}: QE identity"), || {
        verify_qe_identity(
            &raw.qe_identity,
            &raw.qe_identity_signature,
            &chain,
            roots,
            lists,
            *now_s,
        )
    })?;
    report(&format!("{name}: all collateral and lists"), || {
        Prepared::new(quote.raw(), *now_s).map(|_| ())
    })
}

fn amd() -> Result<(), EvidenceError> {
    let roots = vendor_roots()?;
    let mut chain = vec![sample("vcek_milan.der")];
    chain.extend(certificates_of_pem(
        text_sample("cert_chain_milan.pem").as_bytes(),
    )?);
    let chain = slices(&chain);
    let report_bytes = hex_sample("report_milan.hex");
    let policy = SnpPolicy {
        floor: Default::default(),
        max_vmpl: 0,
        allow_smt: true,
        allow_cloud_keys: false,
        require_list: false,
    };
    report("SEV-SNP, Milan: the first time", || {
        let key = verify_chip_key(&chain, &roots, &[], false, NOW_S)?;
        verify_snp_report(&report_bytes, &key, &[], &roots, &policy, NOW_S)
    })?;
    let key = verify_chip_key(&chain, &roots, &[], false, NOW_S)?;
    report("SEV-SNP, Milan: a renewal", || {
        verify_snp_report(&report_bytes, &key, &[], &roots, &policy, NOW_S)
    })
}

fn nvidia() -> Result<(), EvidenceError> {
    let roots = vendor_roots()?;
    let chain = certificates_of_pem(text_sample("hopper_chain.pem").as_bytes())?;
    let chain = slices(&chain);
    let bytes = hex_sample("hopper_report.hex");
    let read = GpuReport::read(&bytes)?;
    // One measurement for each active one in NVIDIA's files, with the values of the report.
    let reference = |component, board, version, indices: std::ops::RangeInclusive<u8>| Reference {
        component,
        chip: b"GH100".to_vec().try_into().unwrap_or_default(),
        board,
        version,
        measurements: indices
            .map(|index| ReferenceMeasurement {
                index,
                alternatives: vec![
                    read.measurement(index)
                        .and_then(|value| value.try_into().ok())
                        .unwrap_or([0; 48]),
                ]
                .try_into()
                .unwrap_or_default(),
            })
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default(),
    };
    let references = [
        reference(
            Component::Driver,
            Default::default(),
            read.driver_version().unwrap_or_default(),
            1..=21,
        ),
        reference(
            Component::Vbios,
            read.board().unwrap_or_default(),
            read.vbios_version().unwrap_or_default(),
            30..=41,
        ),
    ];
    let policy = NvidiaPolicy { require_lists: false };
    report("NVIDIA, H100: the first time", || {
        let key = verify_device_key(&chain, &roots, &[], false, NOW_S)?;
        verify_gpu_report(
            &GpuReport::read(&bytes)?,
            &key,
            &references,
            &[],
            &roots,
            &policy,
            NOW_S,
        )
    })?;
    let key = verify_device_key(&chain, &roots, &[], false, NOW_S)?;
    report("NVIDIA, H100: a renewal", || {
        verify_gpu_report(
            &GpuReport::read(&bytes)?,
            &key,
            &references,
            &[],
            &roots,
            &policy,
            NOW_S,
        )
    })
}

/// Prints the shortest time of the work; returns the work's error if it fails.
fn report<R>(name: &str, work: impl Fn() -> Result<R, EvidenceError>) -> Result<(), EvidenceError> {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < TIME {
        let start = Instant::now();
        black_box(work()?);
        best = best.min(start.elapsed());
    }
    println!("{name:<44} {:>10.3}", best.as_secs_f64() * 1e3);
    Ok(())
}
