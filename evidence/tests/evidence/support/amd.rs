//! AMD with test keys: roots of the three products, chips, clouds, reports.

use alloc::{format, vec, vec::Vec};

use assay_evidence::{
    AmdRoot, EvidenceError, RevocationList, TrustRoot, TrustRoots, Unbound,
    snp::{ChipKey, Product, REPORT_BYTES, SnpPolicy, verify_chip_key, verify_report},
};

use super::{
    der::{CertificateDraft, ListDraft, NOW_S, extension, integer, tlv},
    keys::TestKey,
};

/// Offsets in a report.
pub(crate) mod report {
    pub(crate) const VERSION: usize = 0x00;
    pub(crate) const POLICY: usize = 0x08;
    pub(crate) const VMPL: usize = 0x30;
    pub(crate) const ALGORITHM: usize = 0x34;
    pub(crate) const KEY_INFORMATION: usize = 0x48;
    pub(crate) const REPORT_DATA: usize = 0x50;
    pub(crate) const MEASUREMENT: usize = 0x90;
    pub(crate) const REPORTED_TCB: usize = 0x180;
    pub(crate) const CPU_FAMILY: usize = 0x188;
    pub(crate) const CPU_MODEL: usize = 0x189;
    pub(crate) const CHIP_ID: usize = 0x1a0;
    pub(crate) const COMMITTED_TCB: usize = 0x1e0;
    pub(crate) const SIGNATURE: usize = 0x2a0;
}

/// Properties and report of a test chip. The default is valid.
#[derive(Clone)]
pub(crate) struct Amd {
    pub(crate) product: Product,
    pub(crate) root_key: TestKey,
    pub(crate) authority_key: TestKey,
    pub(crate) chip_key: TestKey,
    pub(crate) root: CertificateDraft,
    pub(crate) authority: CertificateDraft,
    pub(crate) chip: CertificateDraft,
    pub(crate) list: ListDraft,
    pub(crate) report: Vec<u8>,
}

/// Versions in a certificate: FMC (Turin only), boot loader, TEE, SNP, microcode.
pub(crate) const VERSIONS: [u8; 5] = [2, 3, 4, 22, 213];

impl Amd {
    pub(crate) fn new(product: Product, version: u8, report_data: [u8; 64]) -> Self {
        let name = format!("{product:?}");
        let (ark, ask) = (format!("ARK-{name}"), format!("SEV-{name}"));
        let turin = product == Product::Turin;
        let [fmc, boot_loader, tee, snp, microcode] = VERSIONS;
        let tcb = if turin {
            [fmc, boot_loader, tee, snp, 0, 0, 0, microcode]
        } else {
            [boot_loader, tee, 0, 0, 0, 0, snp, microcode]
        };
        let chip_id_length = if turin { 8 } else { 64 };
        let mut report = vec![0; REPORT_BYTES];
        report[report::VERSION] = version;
        // Threads may share a core; the reserved bit is one.
        report[report::POLICY + 2] = 0x03;
        report[report::ALGORITHM] = 1;
        report[report::REPORT_DATA..][..64].copy_from_slice(&report_data);
        report[report::MEASUREMENT..][..48].fill(0xcd);
        report[report::REPORTED_TCB..][..8].copy_from_slice(&tcb);
        report[report::COMMITTED_TCB..][..8].copy_from_slice(&tcb);
        report[report::CHIP_ID..][..chip_id_length].fill(0x42);
        if version >= 3 {
            let (family, model) = match product {
                Product::Milan => (0x19, 0x01),
                Product::Genoa => (0x19, 0xa0),
                Product::Turin => (0x1a, 0x02),
            };
            report[report::CPU_FAMILY] = family;
            report[report::CPU_MODEL] = model;
        }
        let mut chip = CertificateDraft::signer("SEV-VCEK", &ask);
        chip.extensions = version_extensions(product);
        chip.extensions.push(extension(
            "1.3.6.1.4.1.3704.1.4",
            false,
            &vec![0x42; chip_id_length],
        ));
        Self {
            product,
            root_key: TestKey::rsa(0),
            authority_key: TestKey::rsa(1),
            chip_key: TestKey::p384("chip"),
            root: CertificateDraft::authority(&ark, &ark),
            authority: CertificateDraft::authority(&ask, &ark),
            chip,
            list: ListDraft::new(&ark),
            report,
        }
    }

    /// Returns a report signed by a cloud's key.
    pub(crate) fn cloud(product: Product, report_data: [u8; 64]) -> Self {
        let mut amd = Self::new(product, 3, report_data);
        amd.chip.extensions = version_extensions(product);
        amd.chip
            .extensions
            .push(extension("1.3.6.1.4.1.3704.1.5", false, &tlv(22, b"a cloud")));
        amd.report[report::KEY_INFORMATION] = 1 << 2;
        amd
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        let root = TrustRoot::new(&self.root.sign(&self.root_key, &self.root_key)).expect("a root");
        let root = AmdRoot {
            product: self.product,
            root,
        };
        TrustRoots {
            amd: vec![root].try_into().expect("there is room"),
            ..Default::default()
        }
    }

    pub(crate) fn lists(&self) -> Result<Vec<RevocationList>, EvidenceError> {
        let roots: Vec<TrustRoot> = self.roots().amd.into_iter().map(|amd| amd.root).collect();
        let list = self.list.sign(&self.root_key);
        Ok(vec![RevocationList::verify(&list, None, &roots, &[], NOW_S)?])
    }

    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        vec![
            self.chip.sign(&self.chip_key, &self.authority_key),
            self.authority.sign(&self.authority_key, &self.root_key),
            self.root.sign(&self.root_key, &self.root_key),
        ]
    }

    pub(crate) fn signed_report(&self) -> Vec<u8> {
        let mut report = self.report.clone();
        let signature = self.chip_key.sign_raw(&report[..report::SIGNATURE]);
        for (half, at) in signature.chunks(48).zip([0, 72]) {
            let little_endian: Vec<u8> = half.iter().rev().copied().collect();
            report[report::SIGNATURE + at..][..48].copy_from_slice(&little_endian);
        }
        report
    }

    pub(crate) fn chip_key(&self, roots: &TrustRoots) -> Result<ChipKey, EvidenceError> {
        let chain = self.chain();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        verify_chip_key(&chain, roots, &self.lists()?, true, NOW_S)
    }

    /// Verifies chain, lists and report.
    pub(crate) fn verify(&self, policy: &SnpPolicy) -> Result<Unbound, EvidenceError> {
        let roots = self.roots();
        let key = self.chip_key(&roots)?;
        verify_report(&self.signed_report(), &key, &self.lists()?, &roots, policy, NOW_S)
    }
}

/// Policy that every valid chip passes.
pub(crate) fn policy() -> SnpPolicy {
    SnpPolicy {
        floor: Default::default(),
        max_vmpl: 0,
        allow_smt: true,
        allow_cloud_keys: true,
        require_list: true,
    }
}

fn version_extensions(product: Product) -> Vec<Vec<u8>> {
    let [fmc, boot_loader, tee, snp, microcode] = VERSIONS;
    let mut extensions = Vec::new();
    for (below, version) in [(9, fmc), (1, boot_loader), (2, tee), (3, snp), (8, microcode)] {
        if below != 9 || product == Product::Turin {
            let identifier = format!("1.3.6.1.4.1.3704.1.3.{below}");
            extensions.push(extension(&identifier, false, &integer(&[version])));
        }
    }
    extensions
}
