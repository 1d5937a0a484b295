//! The certificate of the owner part: one that the worker signs itself, or one of a public authority.
//!
//! Assay's clients trust neither a name nor an authority: the worker key signs the hash of the certificate's
//! public key, and they accept no other key. So a worker without a name in the DNS needs no authority, and
//! one with a certificate that browsers trust is pinned all the same.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use super::auth::unix_time_s;
use crate::{config::CertificateFiles, files::Disk};

/// File of the state folder with the self-signed certificate and its key.
const OWN_FILE: &str = "tls.json";

/// Life of a self-signed certificate and of its key, in seconds: 90 days.
const OWN_LIFE_S: u64 = 90 * 24 * 3_600;

/// Rest of a self-signed certificate's life at which another key takes its place, in seconds: 30 days.
const RENEW_BEFORE_S: u64 = 30 * 24 * 3_600;

/// Time by which a certificate begins in the past, in seconds: clients' clocks may be late.
const BACKDATED_S: u64 = 24 * 3_600;

/// Interval at which the worker looks at the age of its certificate, and at the provider's files.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum length of a file of certificates or of a key, in bytes.
const MAX_PEM_BYTES: u64 = 256 * 1_024;

/// Reason why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the provider cannot be read.
    #[error("cannot read {}: {source}; correct `assay.{key}`, or give the worker's user access to the file", path.display())]
    Unreadable {
        /// Key of the configuration that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A file of the provider does not hold PEM of the expected kind.
    #[error("{} holds no {expected} as PEM: {reason}; correct `assay.{key}`", path.display())]
    BadPem {
        /// Key of the configuration that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Content that was expected.
        expected: &'static str,
        /// Fault of the content.
        reason: String,
    },
    /// The provider's key is not the certificate's.
    #[error(
        "the key in {} is not the key of the certificate in {}, or TLS cannot use it ({reason}); name a pair with \
         `assay.tls_certificate_file` and `assay.tls_key_file`",
        key_file.display(), certificate_file.display()
    )]
    NoPair {
        /// File of the certificate.
        certificate_file: PathBuf,
        /// File of the key.
        key_file: PathBuf,
        /// Fault of the pair.
        reason: String,
    },
    /// A certificate could not be made or loaded.
    #[error("the worker's own TLS certificate cannot be made: {0}; please report it")]
    Own(String),
}

/// The worker's own certificate and key, as they are kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    /// Certificate as DER, hexadecimal.
    certificate: String,
    /// Key as PKCS #8, hexadecimal.
    key: String,
    /// End of the certificate's life, in Unix seconds.
    not_after_s: u64,
}

impl OwnFile {
    fn create(names: &[String], now_s: u64) -> Result<Self, TlsError> {
        let own = |error: &dyn fmt::Display| TlsError::Own(error.to_string());
        let key = KeyPair::generate().map_err(|error| own(&error))?;
        let mut parameters = CertificateParams::new(names).map_err(|error| own(&error))?;
        let moment = |seconds: u64| {
            OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
                .map_err(|error| own(&error))
        };
        let not_after_s = now_s.saturating_add(OWN_LIFE_S);
        parameters.not_before = moment(now_s.saturating_sub(BACKDATED_S))?;
        parameters.not_after = moment(not_after_s)?;
        parameters.serial_number = Some(SerialNumber::from(now_s));
        let certificate = parameters.self_signed(&key).map_err(|error| own(&error))?;
        Ok(Self {
            certificate: hex::encode(certificate.der()),
            key: hex::encode(key.serialize_der()),
            not_after_s,
        })
    }

    fn is_fresh(&self, now_s: u64) -> bool {
        // A clock that was ahead at the file's creation must not extend its life.
        (now_s.saturating_add(RENEW_BEFORE_S)..=now_s.saturating_add(OWN_LIFE_S)).contains(&self.not_after_s)
    }

    fn load(&self) -> Result<Served, TlsError> {
        let own = |error: &dyn fmt::Display| TlsError::Own(error.to_string());
        let certificate = hex::decode(&self.certificate).map_err(|error| own(&error))?;
        let key = hex::decode(&self.key).map_err(|error| own(&error))?;
        let served = Served::new(
            vec![CertificateDer::from(certificate)],
            PrivatePkcs8KeyDer::from(key).into(),
        )
        .map_err(|error| own(&error))?;
        Ok(Served {
            renew_at_s: Some(self.not_after_s.saturating_sub(RENEW_BEFORE_S)),
            ..served
        })
    }
}

/// A certificate that is being served.
struct Served {
    pair: Arc<CertifiedKey>,
    spki_sha256: [u8; 32],
    /// Time of the renewal of the worker's own certificate, in Unix seconds.
    renew_at_s: Option<u64>,
}

impl Served {
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        let end_entity = ParsedCertificate::try_from(pair.end_entity_cert()?)?;
        Ok(Self {
            spki_sha256: Sha256::digest(&*end_entity.subject_public_key_info()).into(),
            pair: Arc::new(pair),
            renew_at_s: None,
        })
    }
}

/// Loads the provider's certificate and key.
fn load_files(files: &CertificateFiles) -> Result<Served, TlsError> {
    const CERTIFICATE: &str = "tls_certificate_file";
    const KEY: &str = "tls_key_file";
    let read = |key, path: &PathBuf| {
        read_bounded(path).map_err(|source| TlsError::Unreadable {
            key,
            path: path.clone(),
            source,
        })
    };
    let bad = |key, path: &PathBuf, expected, reason: String| TlsError::BadPem {
        key,
        path: path.clone(),
        expected,
        reason,
    };
    let pem = read(CERTIFICATE, &files.certificate_file)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = match chain {
        Ok(chain) if chain.is_empty() => Err("it has none".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(error.to_string()),
    }
    .map_err(|reason| bad(CERTIFICATE, &files.certificate_file, "certificate", reason))?;
    let pem = read(KEY, &files.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| bad(KEY, &files.key_file, "private key", error.to_string()))?;
    Served::new(chain, key).map_err(|error| TlsError::NoPair {
        certificate_file: files.certificate_file.clone(),
        key_file: files.key_file.clone(),
        reason: error.to_string(),
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(fs::File::open(path)?, MAX_PEM_BYTES + 1),
        &mut bytes,
    )?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(bytes)
}

/// Checks the provider's certificate and key.
pub(crate) fn check_files(files: &CertificateFiles) -> Result<(), TlsError> {
    load_files(files).map(|_| ())
}

/// Source of the certificate.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Certificate that the worker makes, kept in a folder, for names.
    Own {
        /// The worker's state folder.
        folder: PathBuf,
        /// Names and addresses in the certificate.
        names: Vec<String>,
    },
    /// Files of the provider.
    Files(CertificateFiles),
}

/// The certificate of the owner part, kept fresh.
#[derive(Clone)]
pub struct TlsKeeper(Arc<Keeper>);

struct Keeper {
    source: CertificateSource,
    disk: Disk,
    served: RwLock<Served>,
    /// Times of change of the provider's files when they were last tried.
    seen: RwLock<Vec<Option<SystemTime>>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keeper")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Keeper {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.served
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .pair
                .clone(),
        )
    }
}

impl TlsKeeper {
    /// Loads the certificate; a missing or old one of the worker's own is made anew.
    pub fn open(source: CertificateSource, disk: Disk) -> Result<Self, TlsError> {
        let seen = changes(&source);
        let served = match &source {
            CertificateSource::Own { folder, names } => own_certificate(folder, names, &disk, unix_time_s())?,
            CertificateSource::Files(files) => load_files(files)?,
        };
        Ok(Self(Arc::new(Keeper {
            source,
            disk,
            served: RwLock::new(served),
            seen: RwLock::new(seen),
        })))
    }

    /// Returns the SHA-256 of the SubjectPublicKeyInfo of the certificate.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.0
            .served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .spki_sha256
    }

    /// Returns the acceptor of TLS connections.
    pub fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }

    /// Replaces the certificate if it is old, or if the provider's files have changed. Returns true if it
    /// did.
    pub fn refresh(&self, now_s: u64) -> Result<bool, TlsError> {
        let served = match &self.0.source {
            CertificateSource::Own { folder, names } => {
                let present = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
                if present.renew_at_s.is_some_and(|renew_at_s| now_s <= renew_at_s) {
                    return Ok(false);
                }
                drop(present);
                own_certificate(folder, names, &self.0.disk, now_s)?
            }
            CertificateSource::Files(files) => {
                let now = changes(&self.0.source);
                let mut seen = self.0.seen.write().unwrap_or_else(PoisonError::into_inner);
                if *seen == now {
                    return Ok(false);
                }
                *seen = now;
                load_files(files)?
            }
        };
        let mut present = self.0.served.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = present.pair.cert != served.pair.cert;
        *present = served;
        Ok(is_new)
    }

    /// Keeps the certificate fresh for as long as the worker runs, and tells `on_change` the hash of a new
    /// key.
    pub async fn keep_fresh(&self, on_change: impl Fn([u8; 32])) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            match self.refresh(unix_time_s()) {
                Ok(true) => {
                    tracing::info!("the TLS certificate of the owner part was replaced");
                    on_change(self.spki_sha256());
                }
                Ok(false) => (),
                Err(error) => {
                    tracing::error!(%error, "the TLS certificate is not replaced; the old one stays")
                }
            }
        }
    }
}

/// Returns the times at which the provider's files changed; none for the worker's own.
fn changes(source: &CertificateSource) -> Vec<Option<SystemTime>> {
    match source {
        CertificateSource::Own { .. } => Vec::new(),
        CertificateSource::Files(files) => [&files.certificate_file, &files.key_file]
            .into_iter()
            .map(|path| fs::metadata(path).and_then(|details| details.modified()).ok())
            .collect(),
    }
}

/// Loads the worker's own certificate, or makes another if it is missing, broken or old.
fn own_certificate(folder: &Path, names: &[String], disk: &Disk, now_s: u64) -> Result<Served, TlsError> {
    let found = disk.read_json::<OwnFile>(&folder.join(OWN_FILE));
    if let Ok(found) = found
        && let Some(file) = found.whole().filter(|file| file.is_fresh(now_s))
        && let Ok(served) = file.load()
    {
        return Ok(served);
    }
    let file = OwnFile::create(names, now_s)?;
    let served = file.load()?;
    let bytes = serde_json::to_vec(&file).map_err(|error| TlsError::Own(error.to_string()))?;
    // On a disk that takes no writes the key lasts until the next start: clients ask for its hash each time.
    disk.write_secret_if_possible(folder, OWN_FILE, &bytes);
    Ok(served)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn own(folder: &Path) -> CertificateSource {
        CertificateSource::Own {
            folder: folder.to_owned(),
            names: vec!["worker.example.org".into(), "127.0.0.1".into()],
        }
    }

    fn open(source: CertificateSource) -> Result<TlsKeeper, TlsError> {
        TlsKeeper::open(source, Disk::default())
    }

    #[test]
    fn own_key_survives_a_restart_and_is_replaced_before_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = open(own(folder.path())).unwrap();
        let first = keeper.spki_sha256();
        let mode = fs::metadata(folder.path().join(OWN_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(open(own(folder.path())).unwrap().spki_sha256(), first);

        let now_s = unix_time_s();
        assert!(!keeper.refresh(now_s + OWN_LIFE_S - RENEW_BEFORE_S - 60).unwrap());
        assert_eq!(keeper.spki_sha256(), first);
        assert!(keeper.refresh(now_s + OWN_LIFE_S - RENEW_BEFORE_S + 60).unwrap());
        assert_ne!(keeper.spki_sha256(), first);
    }

    #[test]
    fn broken_own_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(own(folder.path())).unwrap().spki_sha256();
        for content in ["{", r#"{"certificate":"00","key":"00","not_after_s":1}"#] {
            fs::write(folder.path().join(OWN_FILE), content).unwrap();
            assert_ne!(open(own(folder.path())).unwrap().spki_sha256(), first);
        }
        let far = unix_time_s() + OWN_LIFE_S - 60;
        let content = format!(r#"{{"certificate":"zz","key":"","not_after_s":{far}}}"#);
        fs::write(folder.path().join(OWN_FILE), content).unwrap();
        assert_ne!(open(own(folder.path())).unwrap().spki_sha256(), first);
    }

    fn pem(kind: &str, der: &[u8]) -> String {
        let digits = STANDARD.encode(der);
        let lines: Vec<_> = digits
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
            lines.join("\n")
        )
    }

    /// Writes a certificate and its key as a provider would.
    fn write_files(folder: &Path) -> CertificateFiles {
        let file = OwnFile::create(&["a.example".into()], unix_time_s()).unwrap();
        let files = CertificateFiles {
            certificate_file: folder.join("fullchain.pem"),
            key_file: folder.join("privkey.pem"),
        };
        let der = |text: &str| hex::decode(text).unwrap();
        fs::write(
            &files.certificate_file,
            pem("CERTIFICATE", &der(&file.certificate)),
        )
        .unwrap();
        fs::write(&files.key_file, pem("PRIVATE KEY", &der(&file.key))).unwrap();
        files
    }

    #[test]
    fn files_of_the_provider_are_served_and_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_files(folder.path());
        let keeper = open(CertificateSource::Files(files.clone())).unwrap();
        let first = keeper.spki_sha256();
        assert!(!keeper.refresh(0).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        write_files(folder.path());
        assert!(keeper.refresh(0).unwrap());
        assert_ne!(keeper.spki_sha256(), first);
        assert!(!folder.path().join(OWN_FILE).exists());

        // A renewal that is half done keeps the old pair.
        let present = keeper.spki_sha256();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&files.certificate_file, "half").unwrap();
        assert!(keeper.refresh(0).is_err());
        assert_eq!(keeper.spki_sha256(), present);
    }

    #[test]
    fn bad_files_are_named_with_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_files(folder.path());
        let other = tempfile::tempdir().unwrap();
        let missing = CertificateFiles {
            certificate_file: other.path().join("none.pem"),
            ..files.clone()
        };
        let error = check_files(&missing).unwrap_err().to_string();
        assert!(
            error.contains("none.pem") && error.contains("assay.tls_certificate_file"),
            "{error}"
        );
        let swapped = CertificateFiles {
            key_file: files.certificate_file.clone(),
            ..files.clone()
        };
        let error = check_files(&swapped).unwrap_err().to_string();
        assert!(
            error.contains("private key") && error.contains("assay.tls_key_file"),
            "{error}"
        );
        let mixed = CertificateFiles {
            key_file: write_files(other.path()).key_file,
            ..files.clone()
        };
        assert!(matches!(check_files(&mixed), Err(TlsError::NoPair { .. })));
        check_files(&files).unwrap();
    }
}
