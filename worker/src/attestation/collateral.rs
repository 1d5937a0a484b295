//! Vendors' collateral, brought to the chain where it is missing there or ends within two days.
//!
//! Any account may submit collateral, and the chain accepts only signed and newer pieces, so nothing is
//! verified here. The certificates of evidence determine its collateral: the revocation lists of their
//! issuers, and for Intel's platforms also the TCB info of their family and the identity of the quoting
//! enclave. Sources: Intel, *SGX and TDX Provisioning Certification Service API, version 4*; AMD, *VCEK
//! Certificate and KDS Interface Specification*; NVIDIA's certificates contain the addresses of NVIDIA's
//! lists.

use std::future::Future;

use assay_client::{
    Error,
    types::{Collateral, CollateralId, IntelTee, SignedJson, TcbInfoId, Vendor},
};
use assay_evidence::{
    EvidenceError, TrustRoot, certificates_of_pem,
    intel::{MAX_COLLATERAL_BYTES, Quote, platform_of_certificate},
    issuers_of_chain,
    snp::Product,
    vendor_roots,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    fetch::{FetchError, Fetched, HttpFetch},
    snp::product_name,
};

/// Remaining lifetime below which collateral is renewed, in seconds: evidence counts no longer than the
/// collateral that it is judged by.
const MARGIN_S: u64 = 2 * 24 * 3_600;

/// Maximum length of a revocation list that the chain accepts, in bytes.
const MAX_LIST_BYTES: usize = 64 * 1_024;

/// Base URLs of the vendors' services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollateralUrls {
    /// URL of Intel's provisioning certification service, or of a cache of it (PCCS).
    pub intel: String,
    /// URL of AMD's key distribution service.
    pub amd: String,
    /// Replaces scheme and host of the URLs in NVIDIA's certificates; `None` keeps these.
    pub nvidia: Option<String>,
}

/// URL of Intel's own service.
const INTEL_URL: &str = "https://api.trustedservices.intel.com";

/// URL of the list of Intel's root, from its root certificate. Caches serve it beside the other lists.
const INTEL_ROOT_LIST_URL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

impl Default for CollateralUrls {
    fn default() -> Self {
        Self {
            intel: INTEL_URL.into(),
            amd: "https://kdsintf.amd.com".into(),
            nvidia: None,
        }
    }
}

/// The chain, as far as collateral needs it.
pub trait CollateralChain: Clone + Send + Sync + 'static {
    /// Returns the time at which a piece must be replaced, in seconds since 1970; `None` if the chain lacks
    /// it.
    fn collateral_ends_s(&self, id: &CollateralId)
    -> impl Future<Output = Result<Option<u64>, Error>> + Send;

    /// Submits a piece of collateral.
    fn bring(&self, collateral: Collateral) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Reason why collateral is not available.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// The vendor's service did not return it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The service's response is not in the expected format.
    #[error("the response of {url} is not what was requested: {reason}")]
    Unexpected {
        /// URL of the request.
        url: String,
        /// Fault of the response.
        reason: String,
    },
    /// The certificates of the evidence do not determine its collateral.
    #[error("the certificates of the evidence cannot be read: {0}")]
    Evidence(#[from] EvidenceError),
    /// The chain refused the call, or is unreachable.
    #[error(transparent)]
    Chain(#[from] Error),
}

/// A piece of collateral that evidence is judged by, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needed {
    id: CollateralId,
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    List {
        vendor: Vendor,
        url: String,
        issuer: Option<Vec<u8>>,
    },
    TcbInfo {
        url: String,
    },
    QeIdentity {
        url: String,
    },
}

/// Submits the collateral that the chain lacks.
#[derive(Clone)]
pub struct Collector {
    fetch: HttpFetch,
    urls: CollateralUrls,
}

impl Collector {
    /// Creates a collector for these URLs.
    pub fn new(fetch: HttpFetch, urls: CollateralUrls) -> Self {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            fetch,
            urls: CollateralUrls {
                intel: trimmed(&urls.intel),
                amd: trimmed(&urls.amd),
                nvidia: urls.nvidia.as_deref().map(trimmed),
            },
        }
    }

    /// Submits the collateral for a quote that the chain lacks. `certificates` is the certificate chain of
    /// the quote.
    pub async fn bring_for_quote(
        &self,
        chain: &impl CollateralChain,
        quote: &[u8],
        certificates: &[Vec<u8>],
        now_s: u64,
    ) -> Result<u32, CollateralError> {
        let tee = if Quote::read(quote)?.is_tdx() {
            IntelTee::Tdx
        } else {
            IntelTee::Sgx
        };
        let needed = self.needed_for_quote(tee, certificates)?;
        self.bring(chain, needed, now_s).await
    }

    /// Submits the collateral for a SEV-SNP report that the chain lacks.
    pub async fn bring_for_chip(
        &self,
        chain: &impl CollateralChain,
        certificates: &[Vec<u8>],
        now_s: u64,
    ) -> Result<u32, CollateralError> {
        let needed = self.needed_for_chip(certificates)?;
        self.bring(chain, needed, now_s).await
    }

    /// Submits the collateral for a GPU's report that the chain lacks.
    pub async fn bring_for_gpu(
        &self,
        chain: &impl CollateralChain,
        certificates: &[Vec<u8>],
        now_s: u64,
    ) -> Result<u32, CollateralError> {
        let needed = self.needed_for_gpu(certificates)?;
        self.bring(chain, needed, now_s).await
    }

    /// Returns the collateral for a quote: first the lists, the root's before those of its authorities,
    /// because later pieces are checked against earlier ones.
    fn needed_for_quote(
        &self,
        tee: IntelTee,
        certificates: &[Vec<u8>],
    ) -> Result<Vec<Needed>, CollateralError> {
        let [leaf, authority, ..] = certificates else {
            return Err(EvidenceError::WrongChainLength.into());
        };
        let issuers = issuers_of(certificates, &vendor_roots()?.intel)?;
        let base = &self.urls.intel;
        let (fmspc, pce_id) = platform_of_certificate(leaf)?;
        // Intel has one authority for single-socket and one for multi-socket platforms; each has its list.
        let ca = if contains(authority, b"Intel SGX PCK Platform CA") {
            "platform"
        } else {
            "processor"
        };
        let of_tee = match tee {
            IntelTee::Sgx => "sgx",
            IntelTee::Tdx => "tdx",
        };
        let list = |issuer: [u8; 32], url: String, certificate: Option<&Vec<u8>>| Needed {
            id: CollateralId::RevocationList(issuer),
            origin: Origin::List {
                vendor: Vendor::Intel,
                url,
                issuer: certificate.cloned(),
            },
        };
        let mut needed = Vec::new();
        if let Some(root) = issuers.get(1) {
            let url = if base == INTEL_URL {
                INTEL_ROOT_LIST_URL.to_owned()
            } else {
                format!("{base}/sgx/certification/v4/rootcacrl")
            };
            needed.push(list(*root, url, None));
        }
        if let Some(issuer) = issuers.first() {
            let url = format!("{base}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der");
            needed.push(list(*issuer, url, Some(authority)));
        }
        needed.push(Needed {
            id: CollateralId::TcbInfo(TcbInfoId { tee, fmspc, pce_id }),
            origin: Origin::TcbInfo {
                url: format!(
                    "{base}/{of_tee}/certification/v4/tcb?fmspc={}",
                    hex::encode_upper(fmspc)
                ),
            },
        });
        needed.push(Needed {
            id: CollateralId::QeIdentity(tee),
            origin: Origin::QeIdentity {
                url: format!("{base}/{of_tee}/certification/v4/qe/identity"),
            },
        });
        Ok(needed)
    }

    /// Returns the collateral for a chip. AMD has one list for each product: its root's, which lists
    /// authorities only.
    fn needed_for_chip(&self, certificates: &[Vec<u8>]) -> Result<Vec<Needed>, CollateralError> {
        let below_root = certificates.get(..2).ok_or(EvidenceError::WrongChainLength)?;
        for amd in &vendor_roots()?.amd {
            let issuers = issuers_of(below_root, [&amd.root])?;
            // First the authority's issuer and then, if the chain is of this product, the root's.
            let Some(issuer) = issuers.get(1) else { continue };
            let vendor = match amd.product {
                Product::Milan => Vendor::AmdMilan,
                Product::Genoa => Vendor::AmdGenoa,
                Product::Turin => Vendor::AmdTurin,
            };
            return Ok(vec![Needed {
                id: CollateralId::RevocationList(*issuer),
                origin: Origin::List {
                    vendor,
                    url: format!("{}/vcek/v1/{}/crl", self.urls.amd, product_name(amd.product)),
                    issuer: None,
                },
            }]);
        }
        Ok(Vec::new())
    }

    /// Returns the collateral for a GPU. NVIDIA has lists of the root and of each chip family; their
    /// addresses are in the certificates that these lists may revoke.
    fn needed_for_gpu(&self, certificates: &[Vec<u8>]) -> Result<Vec<Needed>, CollateralError> {
        let [_, _, provisioner, family, ..] = certificates else {
            return Err(EvidenceError::WrongChainLength.into());
        };
        let issuers = issuers_of(certificates, &vendor_roots()?.nvidia)?;
        let mut needed = Vec::new();
        for (issuer, named, certificate) in [
            (issuers.get(3), family, None),
            (issuers.get(2), provisioner, Some(family)),
        ] {
            let (Some(issuer), Some(url)) = (issuer, list_url(named)) else {
                continue;
            };
            needed.push(Needed {
                id: CollateralId::RevocationList(*issuer),
                origin: Origin::List {
                    vendor: Vendor::Nvidia,
                    url: match &self.urls.nvidia {
                        Some(base) => format!("{base}{}", path_of(&url)),
                        None => url,
                    },
                    issuer: certificate.cloned(),
                },
            });
        }
        Ok(needed)
    }

    /// Submits each piece that the chain lacks or that ends soon; returns their number.
    async fn bring(
        &self,
        chain: &impl CollateralChain,
        needed: Vec<Needed>,
        now_s: u64,
    ) -> Result<u32, CollateralError> {
        let mut brought = 0;
        for Needed { id, origin } in needed {
            let ends_s = chain.collateral_ends_s(&id).await?;
            if ends_s.is_some_and(|ends_s| ends_s > now_s.saturating_add(MARGIN_S)) {
                continue;
            }
            let outcome = match self.fetched(&origin).await {
                Ok(collateral) => chain.bring(collateral).await.map_err(CollateralError::from),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => {
                    tracing::info!(collateral = ?id, "brought collateral to the chain");
                    brought += 1;
                }
                Err(CollateralError::Chain(error)) if error.is_connection_lost() => return Err(error.into()),
                // Another account was faster, or the vendor has no newer piece yet.
                Err(CollateralError::Chain(error))
                    if error.is_dispatch("Attestation", "CollateralNotNewer") => {}
                // The chain's piece is still valid.
                Err(error) if ends_s.is_some_and(|ends_s| ends_s > now_s) => {
                    tracing::warn!(collateral = ?id, %error, "renewing collateral that ends soon failed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(brought)
    }

    async fn fetched(&self, origin: &Origin) -> Result<Collateral, CollateralError> {
        match origin {
            Origin::List { vendor, url, issuer } => {
                // A cache encodes Intel's lists in hexadecimal, which is twice as long.
                let body = self.fetch.get(url, MAX_LIST_BYTES * 2).await?.body;
                let list = hex::decode(body.trim_ascii()).unwrap_or(body);
                if list.len() > MAX_LIST_BYTES {
                    return Err(unexpected(url, "the list is longer than the chain accepts"));
                }
                Ok(Collateral::RevocationList {
                    vendor: *vendor,
                    list,
                    issuer: issuer.clone(),
                })
            }
            Origin::TcbInfo { url } => {
                let answer = self.fetch.get(url, 2 * MAX_COLLATERAL_BYTES).await?;
                let read: TcbInfoAnswer<'_> = parsed(url, &answer)?;
                let chain = chain_in(url, &answer, "TCB-Info-Issuer-Chain")?;
                signed(url, read.tcb_info, read.signature, chain).map(Collateral::TcbInfo)
            }
            Origin::QeIdentity { url } => {
                let answer = self.fetch.get(url, 2 * MAX_COLLATERAL_BYTES).await?;
                let read: QeIdentityAnswer<'_> = parsed(url, &answer)?;
                let chain = chain_in(url, &answer, "SGX-Enclave-Identity-Issuer-Chain")?;
                signed(url, read.enclave_identity, read.signature, chain).map(Collateral::QeIdentity)
            }
        }
    }
}

/// The signed part is kept byte for byte.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfoAnswer<'a> {
    #[serde(borrow)]
    tcb_info: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentityAnswer<'a> {
    #[serde(borrow)]
    enclave_identity: &'a RawValue,
    signature: &'a str,
}

fn unexpected(url: &str, reason: impl ToString) -> CollateralError {
    CollateralError::Unexpected {
        url: url.to_owned(),
        reason: reason.to_string(),
    }
}

fn parsed<'a, T: Deserialize<'a>>(url: &str, answer: &'a Fetched) -> Result<T, CollateralError> {
    serde_json::from_slice(&answer.body).map_err(|error| unexpected(url, error))
}

fn chain_in(url: &str, answer: &Fetched, header: &str) -> Result<Vec<Vec<u8>>, CollateralError> {
    let text = answer
        .header(header)
        .ok_or_else(|| unexpected(url, format!("it lacks the header {header}")))?;
    certificates_of_pem(&text).map_err(|error| unexpected(url, error))
}

fn signed(
    url: &str,
    json: &RawValue,
    signature: &str,
    chain: Vec<Vec<u8>>,
) -> Result<SignedJson, CollateralError> {
    let json = json.get().as_bytes().to_vec();
    if json.len() > MAX_COLLATERAL_BYTES {
        return Err(unexpected(url, "it is longer than the chain accepts"));
    }
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes)
        .map_err(|_| unexpected(url, "its signature is not 128 hexadecimal digits"))?;
    Ok(SignedJson {
        json,
        signature: bytes,
        chain,
    })
}

/// Returns the issuers in a certificate chain, from the lowest to the root.
fn issuers_of<'r>(
    certificates: &[Vec<u8>],
    roots: impl IntoIterator<Item = &'r TrustRoot>,
) -> Result<Vec<[u8; 32]>, EvidenceError> {
    let slices: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    issuers_of_chain(&slices, roots)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Returns the address of a list in a certificate's distribution point: text from `http` to `.crl`.
fn list_url(certificate: &[u8]) -> Option<String> {
    let (begin, _) = certificate.windows(4).enumerate().find(|(at, window)| {
        *window == b"http"
            && certificate
                .get(*at..)
                .is_some_and(|rest| text_at(rest).ends_with(".crl"))
    })?;
    certificate.get(begin..).map(|rest| text_at(rest).to_owned())
}

/// Returns the printable text at the start of `bytes`, up to and including `.crl`.
fn text_at(bytes: &[u8]) -> &str {
    let length = bytes
        .iter()
        .take(256)
        .position(|byte| !byte.is_ascii_graphic())
        .unwrap_or(bytes.len().min(256));
    let text = bytes
        .get(..length)
        .and_then(|text| std::str::from_utf8(text).ok())
        .unwrap_or_default();
    text.find(".crl")
        .and_then(|at| text.get(..at + 4))
        .unwrap_or(text)
}

/// Returns the part of a URL after its scheme and host.
fn path_of(url: &str) -> &str {
    url.split_once("://")
        .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
