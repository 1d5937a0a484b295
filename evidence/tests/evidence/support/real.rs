//! Real samples with their collateral, verified.

use assay_evidence::TcbStatus;
use assay_evidence::{
    EvidenceError, RevocationList, TrustRoots, Unbound, certificates_of_pem,
    intel::{
        AttestationKey, Collateral, IntelPolicy, PckKey, QeIdentity, Quote, TcbInfo, verify_attestation_key,
        verify_pck_chain, verify_qe_identity, verify_quote, verify_tcb_info,
    },
    vendor_roots,
};
use serde_json::Value;

use super::samples::{sample, text_sample};

/// Quote of `dcap-qvl`, with a time at which its collateral is current.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealQuote {
    pub(crate) name: &'static str,
    pub(crate) now_s: u64,
}

pub(crate) const SGX: RealQuote = RealQuote {
    name: "sgx_quote",
    now_s: 1_750_809_600,
};
pub(crate) const TDX: RealQuote = RealQuote {
    name: "tdx_quote",
    now_s: 1_750_809_600,
};
pub(crate) const TDX_OUTDATED: RealQuote = RealQuote {
    name: "tdx_quote_outdated",
    now_s: 1_772_323_200,
};
pub(crate) const TDX_15_EX: RealQuote = RealQuote {
    name: "tdx_quote_td15ex",
    now_s: 1_792_022_400,
};

pub(crate) const QUOTES: [RealQuote; 4] = [SGX, TDX, TDX_OUTDATED, TDX_15_EX];

/// Evidence and collateral as the vendor sent them.
pub(crate) struct Raw {
    pub(crate) quote: Vec<u8>,
    pub(crate) pck_chain: Vec<Vec<u8>>,
    pub(crate) list_issuer: Vec<u8>,
    pub(crate) root_list: Vec<u8>,
    pub(crate) pck_list: Vec<u8>,
    pub(crate) tcb_info: Vec<u8>,
    pub(crate) tcb_info_signature: [u8; 64],
    pub(crate) tcb_info_chain: Vec<Vec<u8>>,
    pub(crate) qe_identity: Vec<u8>,
    pub(crate) qe_identity_signature: [u8; 64],
    pub(crate) qe_identity_chain: Vec<Vec<u8>>,
}

impl RealQuote {
    pub(crate) fn raw(self) -> Raw {
        let json: Value =
            serde_json::from_str(&text_sample(&format!("{}_collateral.json", self.name))).expect("JSON");
        let text = |name: &str| json[name].as_str().expect("text").to_owned();
        let bytes = |name: &str| hex::decode(text(name)).expect("hexadecimal digits");
        let chain = |name: &str| certificates_of_pem(text(name).as_bytes()).expect("a chain");
        let quote = sample(self.name);
        // The collateral has the chain if the quote has none.
        let pck_chain = match json.get("pck_certificate_chain").and_then(Value::as_str) {
            Some(text) => certificates_of_pem(text.as_bytes()).expect("a chain"),
            None => {
                let chain = Quote::read(&quote).expect("a quote").certificate_chain();
                certificates_of_pem(chain.expect("the quote has a chain")).expect("a chain")
            }
        };
        Raw {
            quote,
            pck_chain,
            list_issuer: chain("pck_crl_issuer_chain").remove(0),
            root_list: bytes("root_ca_crl"),
            pck_list: bytes("pck_crl"),
            tcb_info: text("tcb_info").into_bytes(),
            tcb_info_signature: bytes("tcb_info_signature").try_into().expect("64 bytes"),
            tcb_info_chain: chain("tcb_info_issuer_chain"),
            qe_identity: text("qe_identity").into_bytes(),
            qe_identity_signature: bytes("qe_identity_signature").try_into().expect("64 bytes"),
            qe_identity_chain: chain("qe_identity_issuer_chain"),
        }
    }

    pub(crate) fn prepared(self) -> Prepared {
        Prepared::new(self.raw(), self.now_s).expect("real collateral is verified")
    }
}

/// The same, verified as far as it does not depend on the quote.
pub(crate) struct Prepared {
    pub(crate) raw: Raw,
    pub(crate) now_s: u64,
    pub(crate) roots: TrustRoots,
    pub(crate) lists: Vec<RevocationList>,
    pub(crate) tcb_info: TcbInfo,
    pub(crate) qe_identity: QeIdentity,
}

impl Prepared {
    pub(crate) fn new(raw: Raw, now_s: u64) -> Result<Self, EvidenceError> {
        let roots = vendor_roots()?;
        let root_list = RevocationList::verify(&raw.root_list, None, &roots.intel, &[], now_s)?;
        let pck_list = RevocationList::verify(
            &raw.pck_list,
            Some(&raw.list_issuer),
            &roots.intel,
            core::slice::from_ref(&root_list),
            now_s,
        )?;
        let lists = vec![root_list, pck_list];
        let tcb_info = verify_tcb_info(
            &raw.tcb_info,
            &raw.tcb_info_signature,
            &slices(&raw.tcb_info_chain),
            &roots,
            &lists,
            now_s,
        )?;
        let qe_identity = verify_qe_identity(
            &raw.qe_identity,
            &raw.qe_identity_signature,
            &slices(&raw.qe_identity_chain),
            &roots,
            &lists,
            now_s,
        )?;
        Ok(Self {
            raw,
            now_s,
            roots,
            lists,
            tcb_info,
            qe_identity,
        })
    }

    pub(crate) fn pck_key(&self) -> Result<PckKey, EvidenceError> {
        verify_pck_chain(&slices(&self.raw.pck_chain), &self.roots, &self.lists, self.now_s)
    }

    pub(crate) fn attestation_key(&self) -> Result<AttestationKey, EvidenceError> {
        verify_attestation_key(&Quote::read(&self.raw.quote)?, self.pck_key()?)
    }

    pub(crate) fn collateral(&self) -> Collateral<'_> {
        Collateral {
            tcb_info: &self.tcb_info,
            qe_identity: &self.qe_identity,
            lists: &self.lists,
        }
    }

    pub(crate) fn verify_with(
        &self,
        quote: &[u8],
        key: &AttestationKey,
        policy: &IntelPolicy,
    ) -> Result<Unbound, EvidenceError> {
        verify_quote(
            &Quote::read(quote)?,
            key,
            self.collateral(),
            &self.roots,
            policy,
            self.now_s,
        )
    }

    pub(crate) fn verify(&self, policy: &IntelPolicy) -> Result<Unbound, EvidenceError> {
        self.verify_with(&self.raw.quote, &self.attestation_key()?, policy)
    }
}

pub(crate) fn slices(chain: &[Vec<u8>]) -> Vec<&[u8]> {
    chain.iter().map(Vec::as_slice).collect()
}

/// Policy that accepts every verdict but `Revoked`.
pub(crate) fn lenient() -> IntelPolicy {
    IntelPolicy {
        accepted: vec![
            TcbStatus::SwHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
            TcbStatus::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded,
            TcbStatus::TdRelaunchAdvised,
            TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        ]
        .try_into()
        .expect("there is room"),
        out_of_date_grace_s: u64::MAX,
        ..IntelPolicy::strict()
    }
}
