//! Verification of evidence and collateral with the roots, lists and policies on chain.

use alloc::vec::Vec;

use assay_evidence::{
    Attestation, Binding, EvidenceError, Path, RevocationList, TrustRoot, TrustRoots, certificates_of_pem,
    intel::{
        self, AttestationKey, IntelTee, QeIdentity, Quote, TcbInfo, verify_attestation_key, verify_pck_chain,
        verify_qe_identity, verify_quote, verify_tcb_info,
    },
    issuers_of_chain,
    nvidia::{self, DeviceKey, GpuReport, References as NeededReferences, verify_device_key},
    snp::{self, ChipKey, verify_chip_key},
};
use polkadot_sdk::sp_core::H256;

use crate::{
    CertificateChain, Config, CurrentPolicies, Error, Evidence, KeyId, KeySource, QeIdentities, References,
    Refusal, RevocationLists, Roots, SignedJson, TcbInfoId, TcbInfos, Vendor, VerifiedKey, VerifiedKeys,
    types::amd_product,
};

impl<T> From<EvidenceError> for Error<T> {
    fn from(error: EvidenceError) -> Self {
        Self::Refused(Refusal(error))
    }
}

/// Result of evidence that was verified and is bound to the machine.
pub(crate) struct Verified {
    pub(crate) attestation: Attestation,
    /// Key that signed, if its chain was verified for this submission.
    pub(crate) new_key: Option<VerifiedKey>,
}

/// Verifies evidence down to a trusted root, at this time, and its binding.
pub(crate) fn verify_evidence<T: Config>(
    evidence: &Evidence,
    binding: &Binding,
    now_s: u64,
) -> Result<Verified, Error<T>> {
    let roots = Roots::<T>::get();
    // The lists of the chain serve the report too: each is read once.
    let mut lists = Lists::default();
    let (unbound, key, is_new) = match evidence {
        Evidence::Quote { quote, key } => {
            let quote = Quote::read(quote)?;
            let (key, is_new) = intel_key::<T>(&quote, key, &roots, &mut lists, now_s)?;
            let unbound = check_quote::<T>(&quote, &key, &roots, lists, now_s)?;
            (unbound, VerifiedKey::Intel(key), is_new)
        }
        Evidence::SnpReport { report, key } => {
            let (key, is_new) = amd_key::<T>(key, &roots, &mut lists, now_s)?;
            let lists = lists.of_path::<T>(&key.path);
            let policy = CurrentPolicies::<T>::get().snp;
            let unbound = snp::verify_report(report, &key, lists, &roots, &policy, now_s)?;
            (unbound, VerifiedKey::Amd(key), is_new)
        }
        Evidence::GpuReport { report, key } => {
            let report = GpuReport::read(report)?;
            let (key, is_new) = nvidia_key::<T>(key, &roots, &mut lists, now_s)?;
            let unbound = check_gpu_report::<T>(&report, &key, &roots, lists, now_s)?;
            (unbound, VerifiedKey::Nvidia(key), is_new)
        }
    };
    Ok(Verified {
        attestation: unbound.bound_to(binding)?,
        new_key: is_new.then_some(key),
    })
}

/// Returns the key of the quoting enclave, and true if its chain was verified just now.
fn intel_key<T: Config>(
    quote: &Quote<'_>,
    source: &KeySource,
    roots: &TrustRoots,
    lists: &mut Lists,
    now_s: u64,
) -> Result<(AttestationKey, bool), Error<T>> {
    let carried;
    let chain: Vec<&[u8]> = match source {
        KeySource::Known(id) => {
            return match known_key::<T>(id)? {
                VerifiedKey::Intel(key) => Ok((key, false)),
                VerifiedKey::Amd(_) | VerifiedKey::Nvidia(_) => Err(Error::KeyOfOtherVendor),
            };
        }
        KeySource::Carried => {
            let pem = quote.certificate_chain().ok_or(Error::NoChain)?;
            carried = certificates_of_pem(pem)?;
            carried.iter().map(Vec::as_slice).collect()
        }
        KeySource::Chain(chain) => slices(chain),
    };
    let lists = lists.of_chain::<T>(&chain, &roots.intel)?;
    let pck = verify_pck_chain(&chain, roots, lists, now_s)?;
    Ok((verify_attestation_key(quote, pck)?, true))
}

fn check_quote<T: Config>(
    quote: &Quote<'_>,
    key: &AttestationKey,
    roots: &TrustRoots,
    mut lists: Lists,
    now_s: u64,
) -> Result<assay_evidence::Unbound, Error<T>> {
    let tee = if quote.is_tdx() {
        IntelTee::Tdx
    } else {
        IntelTee::Sgx
    };
    let id = TcbInfoId {
        tee,
        fmspc: key.pck.fmspc,
        pce_id: key.pck.pce_id,
    };
    let tcb_info = TcbInfos::<T>::get(id).ok_or(Error::NoTcbInfo)?.content;
    let qe_identity = QeIdentities::<T>::get(tee).ok_or(Error::NoQeIdentity)?.content;
    for path in [&key.pck.path, &tcb_info.path, &qe_identity.path] {
        lists.of_path::<T>(path);
    }
    let collateral = intel::Collateral {
        tcb_info: &tcb_info,
        qe_identity: &qe_identity,
        lists: &lists.read,
    };
    let policy = CurrentPolicies::<T>::get().intel;
    Ok(verify_quote(quote, key, collateral, roots, &policy, now_s)?)
}

/// Returns the chip's key, and true if its chain was verified just now.
fn amd_key<T: Config>(
    source: &KeySource,
    roots: &TrustRoots,
    lists: &mut Lists,
    now_s: u64,
) -> Result<(ChipKey, bool), Error<T>> {
    match source {
        KeySource::Known(id) => match known_key::<T>(id)? {
            VerifiedKey::Amd(key) => Ok((key, false)),
            VerifiedKey::Intel(_) | VerifiedKey::Nvidia(_) => Err(Error::KeyOfOtherVendor),
        },
        KeySource::Carried => Err(Error::NoChain),
        KeySource::Chain(chain) => {
            let chain = slices(chain);
            let lists = lists.of_chain::<T>(&chain, roots.amd.iter().map(|amd| &amd.root))?;
            let required = CurrentPolicies::<T>::get().snp.require_list;
            Ok((verify_chip_key(&chain, roots, lists, required, now_s)?, true))
        }
    }
}

/// Returns the GPU's key, and true if its chain was verified just now.
fn nvidia_key<T: Config>(
    source: &KeySource,
    roots: &TrustRoots,
    lists: &mut Lists,
    now_s: u64,
) -> Result<(DeviceKey, bool), Error<T>> {
    match source {
        KeySource::Known(id) => match known_key::<T>(id)? {
            VerifiedKey::Nvidia(key) => Ok((key, false)),
            VerifiedKey::Intel(_) | VerifiedKey::Amd(_) => Err(Error::KeyOfOtherVendor),
        },
        KeySource::Carried => Err(Error::NoChain),
        KeySource::Chain(chain) => {
            let chain = slices(chain);
            let lists = lists.of_chain::<T>(&chain, &roots.nvidia)?;
            let required = CurrentPolicies::<T>::get().nvidia.require_lists;
            Ok((verify_device_key(&chain, roots, lists, required, now_s)?, true))
        }
    }
}

fn check_gpu_report<T: Config>(
    report: &GpuReport<'_>,
    key: &DeviceKey,
    roots: &TrustRoots,
    mut lists: Lists,
    now_s: u64,
) -> Result<assay_evidence::Unbound, Error<T>> {
    // A report without its versions is refused below, for that reason.
    let references: Vec<_> = NeededReferences::of(report, key.chip())
        .into_iter()
        .flat_map(|needed| [needed.driver, needed.vbios])
        .filter_map(|wanted| References::<T>::get(H256::from(wanted)))
        .collect();
    let policy = CurrentPolicies::<T>::get().nvidia;
    Ok(nvidia::verify_report(
        report,
        key,
        &references,
        lists.of_path::<T>(&key.path),
        roots,
        &policy,
        now_s,
    )?)
}

/// Verifies a TCB info.
pub(crate) fn verify_tcb<T: Config>(signed: &SignedJson, now_s: u64) -> Result<TcbInfo, Error<T>> {
    let roots = Roots::<T>::get();
    let chain = slices(&signed.chain);
    let mut lists = Lists::default();
    Ok(verify_tcb_info(
        &signed.json,
        &signed.signature,
        &chain,
        &roots,
        lists.of_chain::<T>(&chain, &roots.intel)?,
        now_s,
    )?)
}

/// Verifies an identity of the quoting enclave.
pub(crate) fn verify_qe<T: Config>(signed: &SignedJson, now_s: u64) -> Result<QeIdentity, Error<T>> {
    let roots = Roots::<T>::get();
    let chain = slices(&signed.chain);
    let mut lists = Lists::default();
    Ok(verify_qe_identity(
        &signed.json,
        &signed.signature,
        &chain,
        &roots,
        lists.of_chain::<T>(&chain, &roots.intel)?,
        now_s,
    )?)
}

/// Verifies a list of revoked certificates.
pub(crate) fn verify_list<T: Config>(
    vendor: Vendor,
    list: &[u8],
    issuer: Option<&[u8]>,
    now_s: u64,
) -> Result<RevocationList, Error<T>> {
    let roots = roots_of(Roots::<T>::get(), vendor);
    let mut lists = Lists::default();
    if let Some(issuer) = issuer {
        lists.of_chain::<T>(&[issuer], &roots)?;
    }
    Ok(RevocationList::verify(list, issuer, &roots, &lists.read, now_s)?)
}

/// Returns the roots of a vendor.
pub(crate) fn roots_of(roots: TrustRoots, vendor: Vendor) -> Vec<TrustRoot> {
    match amd_product(vendor) {
        Some(product) => roots
            .amd
            .into_iter()
            .filter(|amd| amd.product == product)
            .map(|amd| amd.root)
            .collect(),
        None if vendor == Vendor::Intel => roots.intel.into_inner(),
        None => roots.nvidia.into_inner(),
    }
}

fn known_key<T: Config>(id: &KeyId) -> Result<VerifiedKey, Error<T>> {
    let record = VerifiedKeys::<T>::get(id).ok_or(Error::NoSuchKey)?;
    Ok(record.key)
}

/// Lists of revoked certificates that one call needs, each read from storage and decoded once.
#[derive(Default)]
struct Lists {
    read: Vec<RevocationList>,
}

impl Lists {
    /// Adds the lists of the issuers of a chain that is not verified yet. Returns all lists.
    fn of_chain<'r, T: Config>(
        &mut self,
        chain: &[&[u8]],
        roots: impl IntoIterator<Item = &'r TrustRoot>,
    ) -> Result<&[RevocationList], Error<T>> {
        Ok(self.of_issuers::<T>(issuers_of_chain(chain, roots)?))
    }

    /// Adds the lists of the issuers of a chain that was verified before. Returns all lists.
    fn of_path<T: Config>(&mut self, path: &Path) -> &[RevocationList] {
        self.of_issuers::<T>(path.certificates.iter().map(|certificate| certificate.issuer))
    }

    fn of_issuers<T: Config>(&mut self, issuers: impl IntoIterator<Item = [u8; 32]>) -> &[RevocationList] {
        for issuer in issuers {
            if !self.read.iter().any(|list| list.issuer == issuer)
                && let Some(record) = RevocationLists::<T>::get(H256::from(issuer))
            {
                self.read.push(record.content);
            }
        }
        &self.read
    }
}

fn slices(chain: &CertificateChain) -> Vec<&[u8]> {
    chain.iter().map(|der| der.as_slice()).collect()
}
