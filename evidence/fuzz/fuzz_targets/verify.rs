//! Fuzz target: no verifier panics on any bytes, and decoded values encode to the same bytes.
//!
//! Real evidence makes good seeds:
//!
//! ```text
//! ./scripts/evidence-samples /tmp/evidence
//! mkdir -p evidence/fuzz/corpus/verify && cp /tmp/evidence/* evidence/fuzz/corpus/verify/
//! for f in /tmp/evidence/*.hex; do xxd -r -p "$f" "evidence/fuzz/corpus/verify/$(basename "$f" .hex)"; done
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir evidence/fuzz verify -- -max_total_time=120
//! ```

#![no_main]

use assay_evidence::{
    RevocationList, TrustRoot, TrustRoots, certificates_of_pem,
    intel::{
        AttestationKey, PckKey, QeIdentity, Quote, TcbInfo, verify_attestation_key, verify_pck_chain,
        verify_qe_identity, verify_tcb_info,
    },
    nvidia::{self, DeviceKey, GpuReport, NvidiaPolicy, Reference, References, verify_device_key},
    snp::{self, ChipKey, SnpFloor, SnpPolicy, verify_chip_key},
    vendor_roots,
};
use libfuzzer_sys::fuzz_target;
use parity_scale_codec::{Decode, Encode};

/// Time at which the seeds' real collateral is current, in seconds since 1970.
const NOW_S: u64 = 1_750_809_600;

const SNP_POLICY: SnpPolicy = SnpPolicy {
    floor: SnpFloor {
        milan: NOTHING,
        genoa: NOTHING,
        turin: NOTHING,
    },
    max_vmpl: 3,
    allow_smt: true,
    allow_cloud_keys: true,
    require_list: false,
};

const NOTHING: snp::SnpTcb = snp::SnpTcb {
    fmc: 0,
    boot_loader: 0,
    tee: 0,
    snp: 0,
    microcode: 0,
};

/// Decodes the bytes and asserts that the value encodes to the same bytes.
fn survives<T: Decode + Encode>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = T::decode(&mut rest).ok()?;
    assert_eq!(value.encode(), bytes[..bytes.len() - rest.len()]);
    Some(value)
}

fn certificates(chain: &[Vec<u8>], roots: &TrustRoots) {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let _ = verify_pck_chain(&chain, roots, &[], NOW_S);
    let _ = verify_chip_key(&chain, roots, &[], false, NOW_S);
    let _ = verify_device_key(&chain, roots, &[], false, NOW_S);
    for certificate in chain {
        let _ = TrustRoot::new(certificate);
        let _ = RevocationList::verify(certificate, Some(certificate), &roots.intel, &[], NOW_S);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let roots = vendor_roots().expect("they are well formed");
    if let Ok(chain) = certificates_of_pem(bytes) {
        certificates(&chain, &roots);
    }
    certificates(&[bytes.to_vec(), bytes.to_vec()], &roots);
    certificates(&vec![bytes.to_vec(); 4], &roots);
    let _ = RevocationList::verify(bytes, None, &roots.intel, &[], NOW_S);
    let _ = verify_tcb_info(bytes, &[1; 64], &[bytes], &roots, &[], NOW_S);
    let _ = verify_qe_identity(bytes, &[1; 64], &[bytes], &roots, &[], NOW_S);

    if let Ok(quote) = Quote::read(bytes) {
        let chain = quote.certificate_chain().map(certificates_of_pem);
        if let Some(Ok(chain)) = chain {
            certificates(&chain, &roots);
        }
        if let Some(pck) = survives::<PckKey>(bytes) {
            let _ = verify_attestation_key(&quote, pck);
        }
    }
    if let Ok(report) = GpuReport::read(bytes) {
        assert!(
            report
                .measurements()
                .all(|(index, value)| report.measurement(index) == Some(value))
        );
        let _ = (report.opaque_fields().count(), References::of(&report, b"GH100"));
    }

    // Keys and references come from the state of a chain.
    let _ = survives::<AttestationKey>(bytes);
    let _ = survives::<TcbInfo>(bytes);
    let _ = survives::<QeIdentity>(bytes);
    let _ = survives::<RevocationList>(bytes);
    let _ = survives::<Reference>(bytes);
    let _ = survives::<TrustRoots>(bytes);
    if let Some(key) = survives::<ChipKey>(bytes) {
        let _ = snp::verify_report(bytes, &key, &[], &roots, &SNP_POLICY, NOW_S);
    }
    if let (Some(key), Ok(report)) = (survives::<DeviceKey>(bytes), GpuReport::read(bytes)) {
        let policy = NvidiaPolicy { require_lists: false };
        let _ = nvidia::verify_report(&report, &key, &[], &[], &roots, &policy, NOW_S);
    }
});
