//! Submissions of evidence and collateral of the tests' vendors.

use alloc::{format, vec::Vec};

use assay_evidence::{Binding, Workload, nvidia::Reference, snp::Product};
use polkadot_sdk::{frame_support::BoundedVec, sp_core::H256};

use super::{
    amd::Amd,
    der::{NOW_S, extension},
    intel::{Intel, Kind},
    keys::TestKey,
    nvidia::{FIRMWARE_ID, Nvidia, alternative_name, firmware},
};
use crate::{CertificateChain, Collateral, Evidence, KeySource, SignedJson, Vendor};

/// Time at which everything of the tests' vendors is valid, in seconds since 1970.
pub(crate) const VENDORS_NOW_S: u64 = NOW_S;

/// A chain as it is submitted.
pub(crate) fn chain(certificates: Vec<Vec<u8>>) -> CertificateChain {
    certificates
        .into_iter()
        .map(BoundedVec::truncate_from)
        .collect::<Vec<_>>()
        .try_into()
        .expect("a chain is short")
}

/// An Intel platform whose enclave or trust domain is bound to this; `number` tells it from others.
pub(crate) fn intel(kind: Kind, number: u8, binding: &Binding) -> Intel {
    let mut intel = Intel::new(kind, binding.report_data());
    intel.ppid = [number; 16];
    intel.pck_key = TestKey::p256(&format!("pck {number}"));
    intel.attestation_key = TestKey::p256(&format!("attestation {kind:?} {number}"));
    intel
}

/// An AMD chip whose guest is bound to this; `number` tells it from others.
pub(crate) fn amd(number: u8, binding: &Binding) -> Amd {
    let mut amd = Amd::new(Product::Genoa, 3, binding.report_data());
    amd.chip_key = TestKey::p384(&format!("chip {number}"));
    let chip_id = [number; 64];
    amd.report[super::amd::report::CHIP_ID..][..64].copy_from_slice(&chip_id);
    // The last extension is the chip's id.
    amd.chip.extensions.pop();
    amd.chip
        .extensions
        .push(extension("1.3.6.1.4.1.3704.1.4", false, &chip_id));
    amd
}

/// A GPU that was asked with this; `number` tells it from others.
pub(crate) fn gpu(number: u8, binding: &Binding) -> Nvidia {
    let mut gpu = Nvidia::new(binding.nonce());
    gpu.keys[4] = TestKey::p384(&format!("GPU {number}"));
    let extensions = &mut gpu.certificates[4].extensions;
    // The last two are the GPU's name and its firmware.
    extensions.truncate(extensions.len() - 2);
    extensions.push(alternative_name(&format!("NVIDIA:GH100:{number:016X}")));
    extensions.push(firmware(&FIRMWARE_ID));
    gpu
}

/// The quote as it is submitted the first time.
pub(crate) fn quote_evidence(intel: &Intel, key: KeySource) -> Evidence {
    Evidence::Quote {
        quote: BoundedVec::truncate_from(intel.quote()),
        key,
    }
}

/// The report as it is submitted.
pub(crate) fn snp_evidence(amd: &Amd, key: KeySource) -> Evidence {
    Evidence::SnpReport {
        report: BoundedVec::truncate_from(amd.signed_report()),
        key,
    }
}

/// The GPU's report as it is submitted.
pub(crate) fn gpu_evidence(gpu: &Nvidia, key: KeySource) -> Evidence {
    Evidence::GpuReport {
        report: BoundedVec::truncate_from(gpu.report()),
        key,
    }
}

/// The chip's chain as it is submitted.
pub(crate) fn amd_chain(amd: &Amd) -> KeySource {
    KeySource::Chain(chain(amd.chain()))
}

/// The GPU's chain as it is submitted.
pub(crate) fn gpu_chain(gpu: &Nvidia) -> KeySource {
    KeySource::Chain(chain(gpu.chain()))
}

/// A TCB info or QE identity that this Intel signs.
pub(crate) fn signed_json(intel: &Intel, json: &str) -> SignedJson {
    SignedJson {
        json: BoundedVec::truncate_from(json.as_bytes().to_vec()),
        signature: intel
            .signer_key
            .sign_raw(json.as_bytes())
            .try_into()
            .expect("64 bytes"),
        chain: chain(intel.signer_chain()),
    }
}

/// Everything that this Intel publishes, in an order in which each piece is accepted.
pub(crate) fn intel_collateral(intel: &Intel) -> Vec<Collateral> {
    let list = |list: Vec<u8>, issuer: Option<Vec<u8>>| Collateral::RevocationList {
        vendor: Vendor::Intel,
        list: BoundedVec::truncate_from(list),
        issuer: issuer.map(BoundedVec::truncate_from),
    };
    let authority = intel.authority.sign(&intel.authority_key, &intel.root_key);
    [
        list(intel.root_list.sign(&intel.root_key), None),
        list(intel.authority_list.sign(&intel.authority_key), Some(authority)),
        Collateral::TcbInfo(signed_json(intel, &intel.tcb_info)),
        Collateral::QeIdentity(signed_json(intel, &intel.qe_identity)),
    ]
    .into()
}

/// The list of this AMD's root.
pub(crate) fn amd_collateral(amd: &Amd) -> Vec<Collateral> {
    [Collateral::RevocationList {
        vendor: Vendor::AmdGenoa,
        list: BoundedVec::truncate_from(amd.list.sign(&amd.root_key)),
        issuer: None,
    }]
    .into()
}

/// The lists of this NVIDIA's root and chip family.
pub(crate) fn nvidia_collateral(gpu: &Nvidia) -> Vec<Collateral> {
    let family = gpu.certificates[1].sign(&gpu.keys[1], &gpu.keys[0]);
    [
        (gpu.root_list.sign(&gpu.keys[0]), None),
        (gpu.family_list.sign(&gpu.keys[1]), Some(family)),
    ]
    .into_iter()
    .map(|(list, issuer)| Collateral::RevocationList {
        vendor: Vendor::Nvidia,
        list: BoundedVec::truncate_from(list),
        issuer: issuer.map(BoundedVec::truncate_from),
    })
    .collect()
}

/// The root certificates of the three, with those whose they are.
pub(crate) fn test_roots() -> [(Vendor, Vec<u8>); 3] {
    let binding = no_binding();
    let (intel, amd, gpu) = (intel(Kind::Td15, 1, &binding), amd(1, &binding), gpu(1, &binding));
    [
        (Vendor::Intel, intel.root.sign(&intel.root_key, &intel.root_key)),
        (Vendor::AmdGenoa, amd.root.sign(&amd.root_key, &amd.root_key)),
        (
            Vendor::Nvidia,
            gpu.certificates[0].sign(&gpu.keys[0], &gpu.keys[0]),
        ),
    ]
}

/// Everything that the three publish.
pub(crate) fn test_collateral() -> Vec<Collateral> {
    let binding = no_binding();
    let (sgx, tdx) = (intel(Kind::Sgx(3), 1, &binding), intel(Kind::Td15, 1, &binding));
    let mut all = intel_collateral(&sgx);
    // The lists are the same.
    all.extend(intel_collateral(&tdx).split_off(2));
    all.extend(amd_collateral(&amd(1, &binding)));
    all.extend(nvidia_collateral(&gpu(1, &binding)));
    all
}

/// Measurements of the tests' GPUs.
pub(crate) fn test_references() -> Vec<Reference> {
    gpu(1, &no_binding()).references
}

/// The digests of what runs in the three kinds of the tests' processors.
pub(crate) fn test_workloads() -> [H256; 3] {
    let digest = |workload: Workload| H256::from(workload.digest());
    [
        digest(Workload::Sgx {
            mr_enclave: [0xee; 32],
            mr_signer: [0; 32],
            product_id: 0,
            security_version: 0,
            config_id: [0; 64],
            config_security_version: 0,
        }),
        digest(Workload::Tdx {
            mr_td: [0xab; 48],
            rt_mr: [[0; 48]; 4],
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
        }),
        digest(Workload::SevSnp {
            measurement: [0xcd; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
        }),
    ]
}

/// For what does not depend on it.
fn no_binding() -> Binding {
    Binding {
        genesis_hash: [0; 32],
        machine_id: 0,
        worker_key: [0; 32],
        sealing_key: [0; 32],
        anchor_hash: [0; 32],
    }
}
