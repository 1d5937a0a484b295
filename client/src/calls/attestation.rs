//! Calls by which machines attest.

use assay_primitives::{machine::MachineId, market::TeeKind};
use subxt::dynamic::Value;

use super::{Call, number, optional, record, unit_variant};
use crate::types::{Collateral, Evidence, EvidenceId, IntelTee, KeySource, SignedJson, Vendor};

/// Submits evidence of a machine's processor or GPU, or renews it; signed by its worker key or its provider,
/// whose money pays the deposits. `anchor`: the block that the evidence is bound to.
pub fn submit_evidence(machine: MachineId, anchor: u64, evidence: Evidence) -> Call {
    Call::new(
        "Attestation",
        "submit_evidence",
        [
            ("machine", number(machine)),
            ("anchor", number(anchor)),
            ("evidence", evidence_value(evidence)),
        ],
    )
}

/// Withdraws evidence, so that its device can belong to another machine; signed by the worker key or the
/// provider.
pub fn withdraw_evidence(machine: MachineId, id: EvidenceId) -> Call {
    let id = record([
        ("device", Value::from_bytes(id.device)),
        ("kind", tee_kind(id.kind)),
    ]);
    Call::new(
        "Attestation",
        "withdraw_evidence",
        [("machine", number(machine)), ("id", id)],
    )
}

/// Submits collateral that replaces an older piece; any account may sign.
pub fn submit_collateral(collateral: Collateral) -> Call {
    Call::new(
        "Attestation",
        "submit_collateral",
        [("collateral", collateral_value(collateral))],
    )
}

pub(super) fn tee_kind(kind: TeeKind) -> Value<()> {
    unit_variant(match kind {
        TeeKind::Sgx => "Sgx",
        TeeKind::Tdx => "Tdx",
        TeeKind::SevSnp => "SevSnp",
        TeeKind::NvidiaGpu => "NvidiaGpu",
    })
}

/// Returns the TEE as a part of a storage key.
pub(crate) fn intel_tee(tee: IntelTee) -> Value<()> {
    unit_variant(match tee {
        IntelTee::Sgx => "Sgx",
        IntelTee::Tdx => "Tdx",
    })
}

fn chain(certificates: Vec<Vec<u8>>) -> Value<()> {
    Value::unnamed_composite(certificates.into_iter().map(Value::from_bytes))
}

fn key_source(source: KeySource) -> Value<()> {
    match source {
        KeySource::Known(id) => Value::unnamed_variant("Known", [Value::from_bytes(id)]),
        KeySource::Carried => unit_variant("Carried"),
        KeySource::Chain(certificates) => Value::unnamed_variant("Chain", [chain(certificates)]),
    }
}

fn evidence_value(evidence: Evidence) -> Value<()> {
    let (name, field, bytes, key) = match evidence {
        Evidence::Quote { quote, key } => ("Quote", "quote", quote, key),
        Evidence::SnpReport { report, key } => ("SnpReport", "report", report, key),
        Evidence::GpuReport { report, key } => ("GpuReport", "report", report, key),
    };
    Value::named_variant(
        name,
        [(field, Value::from_bytes(bytes)), ("key", key_source(key))],
    )
}

fn signed_json(signed: SignedJson) -> Value<()> {
    record([
        ("json", Value::from_bytes(signed.json)),
        ("signature", Value::from_bytes(signed.signature)),
        ("chain", chain(signed.chain)),
    ])
}

fn collateral_value(collateral: Collateral) -> Value<()> {
    match collateral {
        Collateral::TcbInfo(signed) => Value::unnamed_variant("TcbInfo", [signed_json(signed)]),
        Collateral::QeIdentity(signed) => Value::unnamed_variant("QeIdentity", [signed_json(signed)]),
        Collateral::RevocationList { vendor, list, issuer } => Value::named_variant(
            "RevocationList",
            [
                (
                    "vendor",
                    unit_variant(match vendor {
                        Vendor::Intel => "Intel",
                        Vendor::AmdMilan => "AmdMilan",
                        Vendor::AmdGenoa => "AmdGenoa",
                        Vendor::AmdTurin => "AmdTurin",
                        Vendor::Nvidia => "Nvidia",
                    }),
                ),
                ("list", Value::from_bytes(list)),
                ("issuer", optional(issuer.map(Value::from_bytes))),
            ],
        ),
    }
}
