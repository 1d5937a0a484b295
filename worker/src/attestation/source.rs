//! The interface to a source of evidence, and the reason why a machine lacks one.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use assay_evidence::Binding;
use assay_primitives::market::TeeKind;

/// Paths of the devices that give evidence. Tests put files of their own there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePaths {
    /// Folder of the kernel's reports: configfs-tsm.
    pub tsm_reports: PathBuf,
    /// The device of an SEV-SNP guest.
    pub sev_guest: PathBuf,
    /// The device of a TDX trust domain.
    pub tdx_guest: PathBuf,
    /// File with the address at which the host of a trust domain serves quotes, for kernels that do not
    /// request them themselves.
    pub tdx_attest_config: PathBuf,
    /// Folder of Gramine's pseudo-files in an SGX enclave.
    pub gramine: PathBuf,
    /// NVIDIA's management library; by its name where the system's loader finds it.
    pub nvml: PathBuf,
}

impl DevicePaths {
    /// Returns the paths on Linux.
    pub fn of_linux() -> Self {
        Self {
            tsm_reports: "/sys/kernel/config/tsm/report".into(),
            sev_guest: "/dev/sev-guest".into(),
            tdx_guest: "/dev/tdx_guest".into(),
            tdx_attest_config: "/etc/tdx-attest.conf".into(),
            gramine: "/dev/attestation".into(),
            nvml: "libnvidia-ml.so.1".into(),
        }
    }

    /// Returns the same paths below a folder.
    #[cfg(test)]
    pub(crate) fn below(folder: &Path) -> Self {
        Self {
            tsm_reports: folder.join("tsm/report"),
            sev_guest: folder.join("sev-guest"),
            tdx_guest: folder.join("tdx_guest"),
            tdx_attest_config: folder.join("tdx-attest.conf"),
            gramine: folder.join("attestation"),
            nvml: folder.join("libnvidia-ml.so.1"),
        }
    }
}

/// Evidence as a device gave it. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// An SGX or TDX quote.
    Quote(Vec<u8>),
    /// A SEV-SNP report.
    Snp {
        /// The report.
        report: Vec<u8>,
        /// Certificates that the host gave with it (each DER), the chip's or cloud's first; often none.
        certificates: Vec<Vec<u8>>,
    },
    /// A GPU's measurements.
    Gpu {
        /// SPDM request and response, one behind the other.
        report: Vec<u8>,
        /// The GPU's chain of certificates (each DER), the attestation key's first.
        chain: Vec<Vec<u8>>,
    },
}

/// A device that signs evidence. A value exists only for a device that was found.
pub trait EvidenceSource: Send + Sync + 'static {
    /// Returns the name for people; unique on its machine.
    fn name(&self) -> &str;

    /// Returns the kind of TEE that signs.
    fn kind(&self) -> TeeKind;

    /// Collects evidence that is bound to `binding`. Blocks, for seconds at times.
    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError>;
}

/// Error of collecting evidence.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The action that failed, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// More bytes than any genuine answer has.
    #[error("{} gave more than {limit} bytes, which no genuine answer has", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Maximum number of bytes that are read.
        limit: usize,
    },
    /// Another program wrote into the same report.
    #[error(
        "another program wrote into {} while the report was made; it is asked for again",
        path.display()
    )]
    Raced {
        /// The report's folder.
        path: PathBuf,
    },
    /// The device refused, or its answer is no evidence.
    #[error("{device} gave no evidence: {reason}")]
    Refused {
        /// The device.
        device: String,
        /// Its answer, and the remedy if that is known.
        reason: String,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run the worker as root, or give its user the right to it",
        _ => "",
    }
}

impl SourceError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn refused(device: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused {
            device: device.into(),
            reason: reason.into(),
        }
    }
}

/// A source of evidence that a machine does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSource {
    /// Name of the source that was looked for.
    pub name: &'static str,
    /// The reason why it is missing, and the remedy.
    pub reason: String,
}

impl MissingSource {
    pub(super) fn new(name: &'static str, reason: impl Into<String>) -> Self {
        Self {
            name,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for MissingSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.reason)
    }
}

/// Returns the name of a kind of TEE in texts and metrics.
pub fn kind_name(kind: TeeKind) -> &'static str {
    match kind {
        TeeKind::Sgx => "sgx",
        TeeKind::Tdx => "tdx",
        TeeKind::SevSnp => "sev_snp",
        TeeKind::NvidiaGpu => "nvidia_gpu",
    }
}
