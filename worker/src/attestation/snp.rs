//! Certificates of the key that signed a SEV-SNP report.
//!
//! They come from the host, as a table beside the report; else from the file in the configuration; else from
//! AMD's key distribution service (KDS), by the chip's id and the versions of its firmware. Source of the
//! table: AMD, *SEV-ES Guest-Hypervisor Communication Block Standardization* (56421), extended guest
//! requests; of the service: AMD, *VCEK Certificate and KDS Interface Specification* (57230) and *VLEK
//! Certificate and KDS Interface Specification*.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use assay_evidence::{
    MAX_CERTIFICATE_BYTES, certificates_of_pem,
    snp::{Product, ReportClaims, SnpTcb, product_of_report, verify_chip_key},
    vendor_roots,
};

use super::{
    bounded,
    fetch::{FetchError, HttpFetch},
    source::SourceError,
};

/// Maximum length of a certificate table, in bytes; kernels accept at most 16 KiB.
pub(super) const MAX_TABLE_BYTES: usize = 64 * 1_024;

/// Length of an entry of the table, in bytes: kind (GUID), offset and length.
const ENTRY_BYTES: usize = 24;

/// Maximum number of entries. Five kinds are known.
const MAX_ENTRIES: usize = 32;

/// Maximum length of a file with certificates, in bytes: three of them as PEM.
const MAX_FILE_BYTES: usize = 16 * 1_024;

/// GUIDs of the kinds of certificates in the table.
mod guid {
    pub(super) const VCEK: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();
    pub(super) const VLEK: [u8; 16] = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes();
    pub(super) const ASK: [u8; 16] = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes();
    pub(super) const END: [u8; 16] = [0; 16];
}

/// Returns the certificates of a table: the chip's or the cloud's, then its authority's, as far as they are
/// present. None for an empty table. The root's is left out: the chain has its own.
pub(super) fn certificates_of_table(table: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    const CUT: &str = "the table of certificates ends within an entry";
    const OUTSIDE: &str = "an entry of the table of certificates lies outside it";
    let (mut leaf, mut authority) = (None, None);
    if table.is_empty() {
        return Ok(Vec::new());
    }
    for place in 0..MAX_ENTRIES {
        let entry = table
            .get(place * ENTRY_BYTES..(place + 1) * ENTRY_BYTES)
            .ok_or(CUT)?;
        let (kind, rest) = entry.split_first_chunk::<16>().ok_or(CUT)?;
        let (offset, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (length, _) = rest.split_first_chunk().ok_or(CUT)?;
        let wanted = match *kind {
            guid::END => return Ok(leaf.into_iter().chain(authority).collect()),
            guid::VCEK | guid::VLEK => &mut leaf,
            guid::ASK => &mut authority,
            _ => continue,
        };
        let offset = usize::try_from(u32::from_le_bytes(*offset)).map_err(|_| OUTSIDE)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| OUTSIDE)?;
        let end = offset.checked_add(length).ok_or(OUTSIDE)?;
        let bytes = table.get(offset..end).ok_or(OUTSIDE)?;
        let certificate = one_certificate(bytes)?;
        if wanted.replace(certificate).is_some() {
            return Err("the table of certificates has two of one kind");
        }
    }
    Err("the table of certificates does not end")
}

/// Reads one certificate. Some hosts encode it as PEM.
fn one_certificate(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    if bytes.starts_with(b"-----BEGIN") {
        let mut certificates =
            certificates_of_pem(bytes).map_err(|_| "a certificate of the table is not valid PEM")?;
        return match certificates.len() {
            1 => certificates.pop().ok_or("an entry has no certificate"),
            _ => Err("an entry of the table has more than one certificate"),
        };
    }
    if bytes.is_empty() || bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err("a certificate of the table is empty or too long");
    }
    Ok(bytes.to_vec())
}

/// Reason why the certificate chain of a report's key is not available.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The report cannot be read.
    #[error("the report cannot be read: {0}")]
    Report(#[from] assay_evidence::EvidenceError),
    /// The configured file is unusable.
    #[error(
        "the file with the chip's certificates is unusable: {0}; correct `assay.attestation.amd_certificate_file`"
    )]
    File(String),
    /// AMD's service did not return the certificates.
    #[error(
        "neither the host nor AMD's service has the chip's certificates: {0}; configure the host to provide them, or \
         name a file with `assay.attestation.amd_certificate_file`"
    )]
    Service(#[from] FetchError),
    /// A VLEK signed the report, and only the cloud that owns it has its certificate.
    #[error(
        "a key of the cloud (VLEK) signed the report, and its host provides no certificate of it; put it into a file and name \
         that with `assay.attestation.amd_certificate_file`"
    )]
    CloudKey,
}

/// Source of the chips' certificates.
#[derive(Clone)]
pub struct AmdCertificates {
    fetch: HttpFetch,
    base_url: String,
    file: Option<PathBuf>,
    /// Cached response of the service, which limits the rate of requests.
    known: Arc<Mutex<Option<Known>>>,
}

/// Key of the cache: the chip's id and its firmware's versions.
type Asked = ([u8; 64], SnpTcb);

/// A certificate chain with its key.
type Known = (Asked, Vec<Vec<u8>>);

impl AmdCertificates {
    /// Uses a file if one is named, else the service at this URL.
    pub fn new(fetch: HttpFetch, base_url: &str, file: Option<PathBuf>) -> Self {
        Self {
            fetch,
            base_url: base_url.trim_end_matches('/').to_owned(),
            file,
            known: Arc::default(),
        }
    }

    /// Returns the certificate chain of the key that signed a report: the chip's or cloud's certificate, then
    /// its authority's. `given` are the certificates from the host.
    pub async fn chain_of(
        &self,
        report: &[u8],
        mut given: Vec<Vec<u8>>,
        now_s: u64,
    ) -> Result<Vec<Vec<u8>>, CertificateError> {
        if is_outdated(report, &given, now_s) {
            tracing::warn!("the host's certificate of the chip is for another version of its firmware");
            given.clear();
        }
        if given.len() == 2 {
            return Ok(given);
        }
        if let Some(file) = &self.file {
            return chain_of_file(file);
        }
        let named = product_of_report(report)?;
        let products: &[Product] = match named {
            Some(Product::Milan) => &[Product::Milan],
            Some(Product::Genoa) => &[Product::Genoa],
            Some(Product::Turin) => &[Product::Turin],
            // Older firmware does not state its product. AMD's service finds a chip under its own product
            // only.
            None => &[Product::Milan, Product::Genoa],
        };
        let mut outcome = Err(CertificateError::CloudKey);
        for product in products {
            outcome = self.ask(report, *product, &given).await;
            let is_unknown = matches!(
                &outcome,
                Err(CertificateError::Service(FetchError::Status { code: 404, .. }))
            );
            if !is_unknown {
                break;
            }
        }
        outcome
    }

    async fn ask(
        &self,
        report: &[u8],
        product: Product,
        given: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, CertificateError> {
        let claims = ReportClaims::read(report, product)?;
        let asked = (claims.chip_id, claims.reported);
        if let Some((known, chain)) = &*self.known.lock().unwrap_or_else(PoisonError::into_inner)
            && *known == asked
        {
            return Ok(chain.clone());
        }
        let leaf = match given.first() {
            Some(leaf) => leaf.clone(),
            None if claims.is_cloud_key => return Err(CertificateError::CloudKey),
            None => {
                let url = chip_url(&self.base_url, product, &claims.chip_id, &claims.reported);
                self.fetch.get(&url, MAX_CERTIFICATE_BYTES).await?.body
            }
        };
        let kind = if claims.is_cloud_key { "vlek" } else { "vcek" };
        let url = format!("{}/{kind}/v1/{}/cert_chain", self.base_url, product_name(product));
        let authorities = self.fetch.get(&url, MAX_FILE_BYTES).await?.body;
        let authority = certificates_of_pem(&authorities)?
            .into_iter()
            .next()
            .ok_or(CertificateError::CloudKey)?;
        let chain = vec![leaf, authority];
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, chain.clone()));
        Ok(chain)
    }
}

/// Returns true if the certificates are for other firmware versions than the report's: after a firmware
/// update a host must fetch new ones. The chain judges certificates that cannot be verified here.
fn is_outdated(report: &[u8], chain: &[Vec<u8>], now_s: u64) -> bool {
    let slices: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let Ok(key) = vendor_roots().and_then(|roots| verify_chip_key(&slices, &roots, &[], false, now_s)) else {
        return false;
    };
    ReportClaims::read(report, key.product).is_ok_and(|claims| claims.reported != key.tcb)
}

/// Returns the name of a product in AMD's service.
pub(super) fn product_name(product: Product) -> &'static str {
    match product {
        Product::Milan => "Milan",
        Product::Genoa => "Genoa",
        Product::Turin => "Turin",
    }
}

/// Returns the URL of a chip's certificate at AMD's service.
fn chip_url(base_url: &str, product: Product, chip_id: &[u8; 64], tcb: &SnpTcb) -> String {
    let SnpTcb {
        fmc,
        boot_loader,
        tee,
        snp,
        microcode,
    } = tcb;
    let versions = format!("blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
    let name = product_name(product);
    match product {
        // A Turin chip's id has eight bytes, padded with zeros in reports.
        Product::Turin => {
            let id = hex::encode(chip_id.first_chunk::<8>().map_or(&chip_id[..], |id| &id[..]));
            format!("{base_url}/vcek/v1/{name}/{id}?fmcSPL={fmc:02}&{versions}")
        }
        Product::Milan | Product::Genoa => {
            format!("{base_url}/vcek/v1/{name}/{}?{versions}", hex::encode(chip_id))
        }
    }
}

/// Reads the certificate chain in a file: PEM, the chip's or cloud's certificate first, then its authority's.
fn chain_of_file(path: &Path) -> Result<Vec<Vec<u8>>, CertificateError> {
    let read = || -> Result<Vec<Vec<u8>>, SourceError> {
        let text = bounded::read(path, MAX_FILE_BYTES)?;
        let chain = certificates_of_pem(&text)
            .map_err(|error| SourceError::refused(path.display().to_string(), error.to_string()))?;
        if matches!(chain.len(), 2 | 3) {
            return Ok(chain);
        }
        Err(SourceError::refused(
            path.display().to_string(),
            format!(
                "it has {} certificate(s); it must have the chip's and its authority's (ASK), in this order, as PEM",
                chain.len()
            ),
        ))
    };
    read().map_err(|error| CertificateError::File(error.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{
        super::{
            fetch::tests::{Reply, Server},
            tests::{hex_sample, pem_sample, sample},
        },
        *,
    };

    /// Time at which the real certificates are valid, in seconds since 1970.
    const NOW_S: u64 = 1_750_809_600;

    /// Makes a table of these entries, followed by the bytes of each.
    fn table_of(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
        let mut offset = (entries.len() + 1) * ENTRY_BYTES;
        let mut table = Vec::new();
        for (kind, bytes) in entries {
            table.extend(kind);
            table.extend((offset as u32).to_le_bytes());
            table.extend((bytes.len() as u32).to_le_bytes());
            offset += bytes.len();
        }
        table.extend([0; ENTRY_BYTES]);
        table.extend(entries.iter().flat_map(|(_, bytes)| bytes.iter()));
        table
    }

    const ARK: [u8; 16] = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes();

    /// Makes a table as hosts provide it.
    pub(in crate::attestation) fn table() -> Vec<u8> {
        table_of(&[
            (ARK, b"the root's"),
            (guid::ASK, b"the authority's"),
            (guid::VCEK, b"the chip's"),
        ])
    }

    #[test]
    fn table_gives_the_chain_in_its_order() {
        let chain = [b"the chip's".to_vec(), b"the authority's".to_vec()];
        assert_eq!(certificates_of_table(&table()).unwrap(), chain);
        let cloud = table_of(&[(guid::VLEK, b"the cloud's")]);
        assert_eq!(certificates_of_table(&cloud).unwrap(), [b"the cloud's".to_vec()]);
        // A host without certificates leaves the pages empty.
        assert!(certificates_of_table(&[]).unwrap().is_empty());
        assert!(certificates_of_table(&[0; 4_096]).unwrap().is_empty());
        let pem = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let table = table_of(&[(guid::VCEK, pem)]);
        assert_eq!(certificates_of_table(&table).unwrap(), [vec![1, 2, 3]]);
    }

    #[test]
    fn wrong_tables_are_refused() {
        for (table, problem) in [
            (vec![1; ENTRY_BYTES - 1], "ends within an entry"),
            (vec![1; MAX_ENTRIES * ENTRY_BYTES], "does not end"),
            (table()[..ENTRY_BYTES * 2].to_vec(), "outside it"),
            (
                table_of(&[(guid::VCEK, b"a"), (guid::VLEK, b"b")]),
                "two of one kind",
            ),
            (table_of(&[(guid::VCEK, b"")]), "empty or too long"),
            (
                table_of(&[(guid::ASK, &[1; MAX_CERTIFICATE_BYTES + 1])]),
                "empty or too long",
            ),
            (table_of(&[(guid::ASK, b"-----BEGIN NOTHING")]), "not valid PEM"),
        ] {
            let error = certificates_of_table(&table).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let mut far = table();
        far[ENTRY_BYTES + 16..ENTRY_BYTES + 20].copy_from_slice(&u32::MAX.to_le_bytes());
        far[ENTRY_BYTES + 20..ENTRY_BYTES + 24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(certificates_of_table(&far).unwrap_err().contains("outside it"));
    }

    proptest! {
        #[test]
        fn any_table_is_read_or_refused(table in proptest::collection::vec(any::<u8>(), 0..2_048)) {
            let _ = certificates_of_table(&table);
        }

        #[test]
        fn damaged_tables_give_no_more_than_they_have(at in 0_usize..200, byte: u8) {
            let mut table = table();
            let length = table.len();
            table[at % length] = byte;
            if let Ok(certificates) = certificates_of_table(&table) {
                prop_assert!(certificates.len() <= 2);
                prop_assert!(certificates.iter().all(|der| der.len() <= length));
            }
        }
    }

    #[test]
    fn chips_are_asked_for_as_amd_wants_it() {
        let tcb = SnpTcb {
            fmc: 1,
            boot_loader: 4,
            tee: 0,
            snp: 22,
            microcode: 213,
        };
        let mut id = [0; 64];
        id[..8].copy_from_slice(&[0xa1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            chip_url("https://kds", Product::Turin, &id, &tcb),
            "https://kds/vcek/v1/Turin/a102030405060708?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=22&ucodeSPL=213"
        );
        assert_eq!(
            chip_url("https://kds", Product::Genoa, &id, &tcb),
            format!(
                "https://kds/vcek/v1/Genoa/{}?blSPL=04&teeSPL=00&snpSPL=22&ucodeSPL=213",
                hex::encode(id)
            )
        );
    }

    /// Makes a report with the family and model of a processor; version 2 has no such fields.
    fn report(version: u8, family: u8, model: u8) -> Vec<u8> {
        let mut report = vec![0; assay_evidence::snp::REPORT_BYTES];
        report[0] = version;
        report[0x188] = family;
        report[0x189] = model;
        report[0x1a0..0x1e0].copy_from_slice(&[9; 64]);
        report
    }

    const AUTHORITIES: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n\
                               -----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";

    #[tokio::test]
    async fn chain_comes_from_the_service_and_is_asked_for_once() {
        let server = Server::start(|path| {
            if path.ends_with("/vcek/v1/Genoa/cert_chain") {
                Reply::ok(AUTHORITIES)
            } else if path.contains(&format!("/vcek/v1/Genoa/{}?blSPL=00", "09".repeat(64))) {
                Reply::ok("the chip's")
            } else {
                Reply::status(404)
            }
        })
        .await;
        let certificates = AmdCertificates::new(HttpFetch::new(), &format!("{}/", server.url), None);
        // A Genoa's report that states its product, and one that does not.
        for report in [report(3, 0x19, 0x11), report(2, 0, 0)] {
            let chain = certificates.chain_of(&report, Vec::new(), NOW_S).await.unwrap();
            assert_eq!(chain, [b"the chip's".to_vec(), vec![1, 2, 3]]);
        }
        let asked = server.requests();
        // For the second report, Milan was tried before the cache was checked for Genoa.
        assert_eq!(
            asked.iter().filter(|path| path.contains("Genoa")).count(),
            2,
            "{asked:?}"
        );
    }

    #[tokio::test]
    async fn what_the_host_gives_is_not_asked_for() {
        let server = Server::start(|path| {
            if path.ends_with("/vlek/v1/Milan/cert_chain") {
                Reply::ok(AUTHORITIES)
            } else {
                Reply::status(500)
            }
        })
        .await;
        let certificates = AmdCertificates::new(HttpFetch::new(), &server.url, None);
        let whole = vec![vec![7], vec![8]];
        let chain = certificates
            .chain_of(&report(3, 0x19, 1), whole.clone(), NOW_S)
            .await
            .unwrap();
        assert_eq!(chain, whole);
        assert!(server.requests().is_empty());
        // A VLEK has another authority.
        let mut cloud = report(3, 0x19, 1);
        cloud[0x48] = 1 << 2;
        let chain = certificates.chain_of(&cloud, vec![vec![7]], NOW_S).await.unwrap();
        assert_eq!(chain, [vec![7], vec![1, 2, 3]]);
        let error = AmdCertificates::new(HttpFetch::new(), &server.url, None)
            .chain_of(&cloud, Vec::new(), NOW_S)
            .await
            .unwrap_err();
        assert!(matches!(error, CertificateError::CloudKey), "{error}");
    }

    #[tokio::test]
    async fn file_takes_the_services_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip.pem");
        std::fs::write(&path, AUTHORITIES).unwrap();
        let certificates = AmdCertificates::new(HttpFetch::new(), "http://127.0.0.1:9", Some(path.clone()));
        let chain = certificates
            .chain_of(&report(3, 0x19, 1), Vec::new(), NOW_S)
            .await
            .unwrap();
        assert_eq!(chain, [vec![1, 2, 3], vec![4, 5, 6]]);
        std::fs::write(&path, "no certificate").unwrap();
        let error = certificates
            .chain_of(&report(3, 0x19, 1), Vec::new(), NOW_S)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("assay.attestation.amd_certificate_file"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn certificates_of_another_firmware_are_asked_for_anew() {
        let server = Server::start(|path| {
            if path.ends_with("cert_chain") {
                Reply::ok(AUTHORITIES)
            } else {
                Reply::ok("the new one")
            }
        })
        .await;
        let certificates = AmdCertificates::new(HttpFetch::new(), &server.url, None);
        let mut report = hex_sample("report_milan.hex");
        let given = vec![
            sample("vcek_milan.der"),
            pem_sample("cert_chain_milan.pem").remove(0),
        ];
        let chain = certificates
            .chain_of(&report, given.clone(), NOW_S)
            .await
            .unwrap();
        assert_eq!(chain, given);
        // Firmware update of the host: another microcode version in the report.
        report[0x187] += 1;
        let chain = certificates.chain_of(&report, given, NOW_S).await.unwrap();
        assert_eq!(chain, [b"the new one".to_vec(), vec![1, 2, 3]]);
    }
}
