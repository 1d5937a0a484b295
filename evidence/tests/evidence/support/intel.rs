//! Intel with test keys: root, authorities, collateral, quoting enclave.

use alloc::{format, string::String, vec, vec::Vec};

use assay_evidence::{
    EvidenceError, RevocationList, TrustRoot, TrustRoots, Unbound,
    intel::{
        AttestationKey, Collateral, IntelPolicy, PckKey, QeIdentity, Quote, TcbInfo, verify_attestation_key,
        verify_pck_chain, verify_qe_identity, verify_quote, verify_tcb_info,
    },
};
use sha2::{Digest, Sha256};

use super::{
    der::{CertificateDraft, ListDraft, NOW_S, extension, integer, octets, oid, sequence, tlv},
    keys::TestKey,
};

pub(crate) const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
pub(crate) const PPID: [u8; 16] = [0x77; 16];

/// Properties and quote of a test platform. The default is valid.
#[derive(Clone)]
pub(crate) struct Intel {
    pub(crate) root_key: TestKey,
    pub(crate) authority_key: TestKey,
    pub(crate) pck_key: TestKey,
    pub(crate) signer_key: TestKey,
    pub(crate) attestation_key: TestKey,
    pub(crate) root: CertificateDraft,
    pub(crate) authority: CertificateDraft,
    pub(crate) pck: CertificateDraft,
    pub(crate) signer: CertificateDraft,
    pub(crate) root_list: ListDraft,
    pub(crate) authority_list: ListDraft,
    pub(crate) ppid: [u8; 16],
    pub(crate) components: [u8; 16],
    pub(crate) pce: u16,
    pub(crate) tcb_info: String,
    pub(crate) qe_identity: String,
    pub(crate) qe_report: Vec<u8>,
    /// Header; for version 5 also the body's descriptor.
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// Kind of quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Sgx(u16),
    Td10(u16),
    Td15,
    Td15Ex,
}

pub(crate) const KINDS: [Kind; 7] = [
    Kind::Sgx(3),
    Kind::Sgx(4),
    Kind::Sgx(5),
    Kind::Td10(4),
    Kind::Td10(5),
    Kind::Td15,
    Kind::Td15Ex,
];

/// Offsets in an enclave's report.
pub(crate) mod enclave {
    pub(crate) const ATTRIBUTES: usize = 48;
    pub(crate) const MR_SIGNER: usize = 128;
    pub(crate) const PRODUCT_ID: usize = 256;
    pub(crate) const SECURITY_VERSION: usize = 258;
    pub(crate) const REPORT_DATA: usize = 320;
}

/// Offsets in a trust domain's report.
pub(crate) mod domain {
    pub(crate) const TEE_TCB_SVN: usize = 0;
    pub(crate) const MR_SIGNER_SEAM: usize = 64;
    pub(crate) const SEAM_ATTRIBUTES: usize = 112;
    pub(crate) const TD_ATTRIBUTES: usize = 120;
    pub(crate) const MR_TD: usize = 136;
    pub(crate) const REPORT_DATA: usize = 520;
    pub(crate) const TEE_TCB_SVN_NOW: usize = 584;
    pub(crate) const MR_SERVICE_TD: usize = 600;
}

impl Intel {
    pub(crate) fn new(kind: Kind, report_data: [u8; 64]) -> Self {
        let tdx = !matches!(kind, Kind::Sgx(_));
        let mut intel = Self {
            root_key: TestKey::p256("root"),
            authority_key: TestKey::p256("authority"),
            pck_key: TestKey::p256("pck"),
            signer_key: TestKey::p256("signer"),
            attestation_key: TestKey::p256("attestation"),
            root: CertificateDraft::authority("Test SGX Root CA", "Test SGX Root CA"),
            authority: CertificateDraft::authority("Test SGX PCK Platform CA", "Test SGX Root CA"),
            pck: CertificateDraft::signer("Test SGX PCK Certificate", "Test SGX PCK Platform CA"),
            signer: CertificateDraft::signer("Test SGX TCB Signing", "Test SGX Root CA"),
            root_list: ListDraft::new("Test SGX Root CA"),
            authority_list: ListDraft::new("Test SGX PCK Platform CA"),
            ppid: PPID,
            components: [5; 16],
            pce: 11,
            tcb_info: tcb_info_json(tdx),
            qe_identity: qe_identity_json(tdx),
            qe_report: vec![0; 384],
            header: Vec::new(),
            body: Vec::new(),
        };
        intel.qe_report[enclave::ATTRIBUTES] = 0x11;
        intel.qe_report[enclave::MR_SIGNER..][..32].fill(0x8c);
        intel.qe_report[enclave::PRODUCT_ID] = if tdx { 2 } else { 1 };
        intel.qe_report[enclave::SECURITY_VERSION] = 8;
        intel.body = if tdx {
            let length = match kind {
                Kind::Td15 => 648,
                Kind::Td15Ex => 885,
                _ => 584,
            };
            let mut body = vec![0; length];
            body[domain::TEE_TCB_SVN..][..3].copy_from_slice(&[6, 1, 3]);
            body[domain::TD_ATTRIBUTES + 3] = 0x10;
            body[domain::MR_TD..][..48].fill(0xab);
            body[domain::REPORT_DATA..][..64].copy_from_slice(&report_data);
            if length > 584 {
                body[domain::TEE_TCB_SVN_NOW..][..3].copy_from_slice(&[6, 1, 3]);
            }
            body
        } else {
            let mut body = vec![0; 384];
            body[enclave::ATTRIBUTES] = 0x05;
            body[64..96].fill(0xee);
            body[enclave::REPORT_DATA..].copy_from_slice(&report_data);
            body
        };
        intel.header = header(kind, intel.body.len());
        intel
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        let root = TrustRoot::new(&self.root.sign(&self.root_key, &self.root_key)).expect("a root");
        TrustRoots {
            intel: vec![root].try_into().expect("there is room"),
            ..Default::default()
        }
    }

    pub(crate) fn lists(&self) -> Result<Vec<RevocationList>, EvidenceError> {
        let roots = self.roots();
        let root_list = RevocationList::verify(
            &self.root_list.sign(&self.root_key),
            None,
            &roots.intel,
            &[],
            NOW_S,
        )?;
        let authority = self.authority.sign(&self.authority_key, &self.root_key);
        let authority_list = RevocationList::verify(
            &self.authority_list.sign(&self.authority_key),
            Some(&authority),
            &roots.intel,
            &[],
            NOW_S,
        )?;
        Ok(vec![root_list, authority_list])
    }

    /// Returns the chain, with the SGX extension in the first certificate.
    pub(crate) fn pck_chain(&self) -> Vec<Vec<u8>> {
        let mut pck = self.pck.clone();
        pck.extensions
            .push(sgx_extension(&self.ppid, &self.components, self.pce));
        vec![
            pck.sign(&self.pck_key, &self.authority_key),
            self.authority.sign(&self.authority_key, &self.root_key),
            self.root.sign(&self.root_key, &self.root_key),
        ]
    }

    pub(crate) fn signer_chain(&self) -> Vec<Vec<u8>> {
        vec![
            self.signer.sign(&self.signer_key, &self.root_key),
            self.root.sign(&self.root_key, &self.root_key),
        ]
    }

    pub(crate) fn quote(&self) -> Vec<u8> {
        let mut qe_report = self.qe_report.clone();
        let authentication_data = [9; 32];
        let named = Sha256::new()
            .chain_update(self.attestation_key.point())
            .chain_update(authentication_data)
            .finalize();
        qe_report[enclave::REPORT_DATA..][..32].copy_from_slice(&named);
        let signed = [&self.header[..], &self.body].concat();
        let mut certification = qe_report.clone();
        certification.extend(self.pck_key.sign_raw(&qe_report));
        certification.extend((authentication_data.len() as u16).to_le_bytes());
        certification.extend(authentication_data);
        let chain = pem(&self.pck_chain());
        certification.extend(5_u16.to_le_bytes());
        certification.extend((chain.len() as u32).to_le_bytes());
        certification.extend(chain.as_bytes());
        let mut data = self.attestation_key.sign_raw(&signed);
        data.extend(self.attestation_key.point());
        if self.header[0] != 3 {
            data.extend(6_u16.to_le_bytes());
            data.extend((certification.len() as u32).to_le_bytes());
        }
        data.extend(certification);
        let mut quote = signed;
        quote.extend((data.len() as u32).to_le_bytes());
        quote.extend(data);
        quote
    }

    pub(crate) fn verify_pck(&self, roots: &TrustRoots, now_s: u64) -> Result<PckKey, EvidenceError> {
        let chain = self.pck_chain();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        verify_pck_chain(&chain, roots, &self.lists()?, now_s)
    }

    pub(crate) fn verify_tcb_info(&self, now_s: u64) -> Result<TcbInfo, EvidenceError> {
        let json = self.tcb_info.as_bytes();
        let signature = self.signer_key.sign_raw(json).try_into().expect("64 bytes");
        let chain = self.signer_chain();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        verify_tcb_info(json, &signature, &chain, &self.roots(), &self.lists()?, now_s)
    }

    pub(crate) fn verify_qe_identity(&self, now_s: u64) -> Result<QeIdentity, EvidenceError> {
        let json = self.qe_identity.as_bytes();
        let signature = self.signer_key.sign_raw(json).try_into().expect("64 bytes");
        let chain = self.signer_chain();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        verify_qe_identity(json, &signature, &chain, &self.roots(), &self.lists()?, now_s)
    }

    pub(crate) fn attestation_key(&self) -> Result<AttestationKey, EvidenceError> {
        let quote = self.quote();
        verify_attestation_key(&Quote::read(&quote)?, self.verify_pck(&self.roots(), NOW_S)?)
    }

    /// Verifies chain, lists, collateral and quote.
    pub(crate) fn verify(&self, policy: &IntelPolicy) -> Result<Unbound, EvidenceError> {
        let tcb_info = self.verify_tcb_info(NOW_S)?;
        let qe_identity = self.verify_qe_identity(NOW_S)?;
        let lists = self.lists()?;
        let collateral = Collateral {
            tcb_info: &tcb_info,
            qe_identity: &qe_identity,
            lists: &lists,
        };
        let quote = self.quote();
        verify_quote(
            &Quote::read(&quote)?,
            &self.attestation_key()?,
            collateral,
            &self.roots(),
            policy,
            NOW_S,
        )
    }
}

fn header(kind: Kind, body_length: usize) -> Vec<u8> {
    let (version, body_kind, tee): (u16, u16, u32) = match kind {
        Kind::Sgx(version) => (version, 1, 0),
        Kind::Td10(version) => (version, 2, 0x81),
        Kind::Td15 => (5, 3, 0x81),
        Kind::Td15Ex => (5, 4, 0x81),
    };
    let mut header = version.to_le_bytes().to_vec();
    header.extend(2_u16.to_le_bytes());
    header.extend(tee.to_le_bytes());
    header.extend([0; 4]);
    header.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").expect("hexadecimal digits"));
    header.extend([0; 20]);
    if version == 5 {
        header.extend(body_kind.to_le_bytes());
        header.extend((body_length as u32).to_le_bytes());
    }
    header
}

fn sgx_extension(ppid: &[u8; 16], components: &[u8; 16], pce: u16) -> Vec<u8> {
    const ARC: &str = "1.2.840.113741.1.13.1";
    let pair = |below: &str, value: &[u8]| sequence(&[&oid(&format!("{ARC}.{below}")), value]);
    let mut tcb: Vec<u8> = components
        .iter()
        .zip(1..)
        .flat_map(|(component, number)| pair(&format!("2.{number}"), &integer(&[*component])))
        .collect();
    tcb.extend(pair("2.17", &integer(&pce.to_be_bytes())));
    tcb.extend(pair("2.18", &octets(components)));
    let value = sequence(&[
        &pair("1", &octets(ppid)),
        &pair("2", &tlv(0x30, &tcb)),
        &pair("3", &octets(&[0, 0])),
        &pair("4", &octets(&FMSPC)),
        &pair("5", &tlv(10, &[0])),
    ]);
    extension(ARC, false, &value)
}

pub(crate) fn pem(chain: &[Vec<u8>]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    chain
        .iter()
        .map(|der| {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> = (0..text.len())
                .step_by(64)
                .map(|from| &text[from..text.len().min(from + 64)])
                .collect();
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                lines.join("\n")
            )
        })
        .collect()
}

/// Returns a TCB info with these levels: 5 is up to date, 4 needs hardening, 3 is out of date, 2 is revoked.
fn tcb_info_json(tdx: bool) -> String {
    let level = |version: u8, status: &str, date: &str, advisories: &str| {
        let components = |version: u8| vec![format!("{{\"svn\":{version}}}"); 16].join(",");
        let tdx_components = if tdx {
            format!(",\"tdxtcbcomponents\":[{}]", components(0))
        } else {
            String::new()
        };
        format!(
            "{{\"tcb\":{{\"sgxtcbcomponents\":[{}],\"pcesvn\":{}{tdx_components}}},\"tcbDate\":\"{date}\",\"tcbStatus\":\"{status}\",\"advisoryIDs\":[{advisories}]}}",
            components(version),
            version + 6,
        )
    };
    let levels = [
        level(5, "UpToDate", "2025-11-01T00:00:00Z", ""),
        level(
            4,
            "SWHardeningNeeded",
            "2025-05-01T00:00:00Z",
            "\"INTEL-SA-00004\"",
        ),
        level(
            3,
            "OutOfDate",
            "2024-11-01T00:00:00Z",
            "\"INTEL-SA-00003\",\"INTEL-SA-00004\"",
        ),
        level(2, "Revoked", "2023-11-01T00:00:00Z", ""),
    ]
    .join(",");
    let zeros = "0".repeat(96);
    let module = if tdx {
        format!(
            "\"tdxModule\":{{\"mrsigner\":\"{zeros}\",\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"}},\"tdxModuleIdentities\":[{{\"id\":\"TDX_01\",\"mrsigner\":\"{zeros}\",\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\",\"tcbLevels\":[{{\"tcb\":{{\"isvsvn\":6}},\"tcbDate\":\"2025-10-01T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}},{{\"tcb\":{{\"isvsvn\":4}},\"tcbDate\":\"2024-06-01T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"INTEL-SA-01036\"]}}]}}],"
        )
    } else {
        String::new()
    };
    format!(
        "{{\"id\":\"{}\",\"version\":3,\"issueDate\":\"2025-12-20T00:00:00Z\",\"nextUpdate\":\"2026-01-20T00:00:00Z\",\"fmspc\":\"90C06F000000\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":18,{module}\"tcbLevels\":[{levels}]}}",
        if tdx { "TDX" } else { "SGX" }
    )
}

fn qe_identity_json(tdx: bool) -> String {
    format!(
        "{{\"id\":\"{}\",\"version\":2,\"issueDate\":\"2025-12-21T00:00:00Z\",\"nextUpdate\":\"2026-01-21T00:00:00Z\",\"tcbEvaluationDataNumber\":17,\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"11000000000000000000000000000000\",\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\"mrsigner\":\"{}\",\"isvprodid\":{},\"tcbLevels\":[{{\"tcb\":{{\"isvsvn\":8}},\"tcbDate\":\"2025-03-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}},{{\"tcb\":{{\"isvsvn\":6}},\"tcbDate\":\"2021-11-10T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"INTEL-SA-00615\"]}}]}}",
        if tdx { "TD_QE" } else { "QE" },
        "8C".repeat(32),
        if tdx { 2 } else { 1 }
    )
}
