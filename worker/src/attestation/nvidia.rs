//! NVIDIA GPUs in confidential-computing mode, through NVIDIA's own library, which is loaded at run time.

use std::{path::Path, sync::Arc};

use assay_evidence::{
    Binding, certificates_of_pem,
    nvidia::{GpuReport, MAX_REPORT_BYTES},
};
use assay_primitives::market::TeeKind;
use nvml_wrapper::{Nvml, error::NvmlError};

use super::source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError};

const WHAT: &str = "NVIDIA GPU";

/// Maximum number of a machine's GPUs: the maximum number of its slots.
const MAX_GPUS: u32 = assay_primitives::machine::MAX_SLOTS as u32;

struct Gpu {
    nvml: Arc<Nvml>,
    index: u32,
    name: String,
}

/// Returns the GPUs of this machine that can attest.
pub(super) fn look(paths: &DevicePaths) -> Result<Vec<Arc<dyn EvidenceSource>>, MissingSource> {
    let nvml = load(&paths.nvml)?;
    let missing = |reason: String| MissingSource::new(WHAT, reason);
    let count = nvml
        .device_count()
        .map_err(|error| missing(format!("NVIDIA's driver does not list its GPUs: {error}")))?;
    if count == 0 {
        return Err(missing("NVIDIA's driver has no GPU".to_owned()));
    }
    if count > MAX_GPUS {
        return Err(missing(format!(
            "the driver has {count} GPUs, and a machine has no more than {MAX_GPUS}"
        )));
    }
    is_confidential(&nvml).map_err(missing)?;
    let nvml = Arc::new(nvml);
    Ok((0..count)
        .map(|index| {
            Arc::new(Gpu {
                nvml: nvml.clone(),
                index,
                name: format!("gpu-{index}"),
            }) as Arc<dyn EvidenceSource>
        })
        .collect())
}

/// Loads NVIDIA's library. The reason of a failure has the remedy.
pub(crate) fn load(library: &Path) -> Result<Nvml, MissingSource> {
    let outcome = Nvml::builder().lib_path(library.as_os_str()).init();
    outcome.map_err(|error| {
        let reason = match &error {
            NvmlError::LibloadingError(_) => format!(
                "{} cannot be loaded; install NVIDIA's driver, where there is a GPU of theirs",
                library.display()
            ),
            NvmlError::DriverNotLoaded => {
                "NVIDIA's library is there, but the driver is not loaded".to_owned()
            }
            NvmlError::NoPermission => {
                "this user may not use NVIDIA's driver; give it access to /dev/nvidia*".to_owned()
            }
            error => format!("initializing NVIDIA's library failed: {error}"),
        };
        MissingSource::new(WHAT, reason)
    })
}

/// Checks that the GPUs can attest. Their development mode attests, too, but with other measurements, which
/// no reference values match.
fn is_confidential(nvml: &Nvml) -> Result<(), String> {
    let device = nvml
        .device_by_index(0)
        .map_err(|error| format!("the first GPU does not answer: {error}"))?;
    match device.check_confidential_compute_status() {
        Ok(true) => Ok(()),
        Ok(false) => Err(
            "confidential computing is off, in its development mode, or not ready: turn it on with NVIDIA's gpu-admin-tools \
             (`--set-cc-mode=on`), pass the GPU to a confidential guest, and set it ready (`nvidia-smi conf-compute -srs 1`)"
                .to_owned(),
        ),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => Err(
            "these GPUs or their driver do not support confidential computing; H100 and later do, with a driver of 550 or later"
                .to_owned(),
        ),
        Err(error) => Err(format!("reading the state of confidential computing failed: {error}")),
    }
}

impl EvidenceSource for Gpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> TeeKind {
        TeeKind::NvidiaGpu
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        let refused = |error: NvmlError| SourceError::refused(&*self.name, error.to_string());
        let device = self.nvml.device_by_index(self.index).map_err(refused)?;
        let nonce = binding.nonce();
        let report = device
            .confidential_compute_gpu_attestation_report(nonce)
            .map_err(refused)?
            .attestation_report;
        if report.len() > MAX_REPORT_BYTES {
            return Err(SourceError::TooLong {
                path: self.name.clone().into(),
                limit: MAX_REPORT_BYTES,
            });
        }
        let read =
            GpuReport::read(&report).map_err(|error| SourceError::refused(&*self.name, error.to_string()))?;
        if *read.nonce() != nonce {
            return Err(SourceError::refused(
                &*self.name,
                "the report does not contain the nonce of the request",
            ));
        }
        let text = device
            .confidential_compute_gpu_certificate()
            .map_err(refused)?
            .attestation_cert_chain;
        let chain = certificates_of_pem(&text)
            .map_err(|error| SourceError::refused(&*self.name, error.to_string()))?;
        Ok(Collected::Gpu { report, chain })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, process::Command};

    use super::{
        super::tests::{BINDING, hex_sample, sample},
        *,
    };

    /// C source of a library in place of NVIDIA's, with the structs of its interface.
    const LIBRARY: &str = r#"
#include <string.h>
#include <stdio.h>

typedef struct { unsigned int environment, feature, dev_tools; } State;
typedef struct {
    unsigned int chain_size, attestation_chain_size;
    unsigned char chain[0x1000], attestation_chain[0x1400];
} Certificate;
typedef struct {
    unsigned int has_cec, size, cec_size;
    unsigned char nonce[0x20], report[0x2000], cec[0x1000];
} Report;

int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the fake"; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "550.90.07");
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    static int gpus[64];
    *device = &gpus[index];
    return 0;
}
int nvmlSystemGetConfComputeState(State *state) {
    state->environment = 2;
    state->feature = FEATURE;
    state->dev_tools = 0;
    return 0;
}
int nvmlSystemGetConfComputeGpusReadyState(unsigned int *ready) { *ready = 1; return 0; }
static int from_file(const char *path, unsigned char *to, size_t room, unsigned int *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return 999;
    *size = (unsigned int)fread(to, 1, room, file);
    fclose(file);
    return 0;
}
int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, Report *report) {
    (void)device;
    int outcome = from_file(FOLDER "/report", report->report, sizeof report->report, &report->size);
    if (!outcome && ECHO) memcpy(report->report + 4, report->nonce, sizeof report->nonce);
    return outcome;
}
int nvmlDeviceGetConfComputeGpuCertificate(void *device, Certificate *certificate) {
    (void)device;
    return from_file(FOLDER "/chain", certificate->attestation_chain, sizeof certificate->attestation_chain,
                     &certificate->attestation_chain_size);
}
"#;

    struct Driver<'a> {
        init: u32,
        count: u32,
        feature: u32,
        echo: u32,
        report: &'a [u8],
        chain: &'a [u8],
    }

    const DRIVER: Driver<'static> = Driver {
        init: 0,
        count: 2,
        feature: 1,
        echo: 1,
        report: &[],
        chain: &[],
    };

    /// Compiles such a library.
    fn install(driver: &Driver<'_>) -> (tempfile::TempDir, DevicePaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = DevicePaths::below(folder.path());
        let source = folder.path().join("nvml.c");
        fs::write(&source, LIBRARY).unwrap();
        fs::write(folder.path().join("report"), driver.report).unwrap();
        fs::write(folder.path().join("chain"), driver.chain).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&paths.nvml)
            .arg(&source)
            .arg(format!("-DINIT={}", driver.init))
            .arg(format!("-DCOUNT={}", driver.count))
            .arg(format!("-DFEATURE={}", driver.feature))
            .arg(format!("-DECHO={}", driver.echo))
            .arg(format!("-DFOLDER=\"{}\"", folder.path().display()))
            .status()
            .unwrap();
        assert!(built.success());
        (folder, paths)
    }

    fn missing(driver: &Driver<'_>) -> String {
        let (_folder, paths) = install(driver);
        look(&paths).map(|_| ()).unwrap_err().reason
    }

    /// Makes a report of one measurement, with an invalid signature.
    fn small_report() -> Vec<u8> {
        let mut report = vec![0x11, 0xe0, 1, 0xff];
        report.extend([0; 32 + 1]);
        report.extend([0x11, 0x60, 0, 0, 1]);
        let block = [1, 1, 5, 0, 0x81, 2, 0, 7, 7];
        report.extend([block.len() as u8, 0, 0]);
        report.extend(block);
        report.extend([0; 32 + 2 + 96]);
        report
    }

    const CHAIN: &[u8] = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n\
                           -----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";

    #[test]
    fn every_gpu_is_asked_with_the_binding() {
        let (_folder, paths) = install(&Driver {
            report: &small_report(),
            chain: CHAIN,
            ..DRIVER
        });
        let gpus = look(&paths).unwrap();
        let names: Vec<_> = gpus.iter().map(|gpu| gpu.name()).collect();
        assert_eq!(names, ["gpu-0", "gpu-1"]);
        for gpu in gpus {
            let Collected::Gpu { report, chain } = gpu.collect(&BINDING).unwrap() else {
                panic!("it is no report of a GPU")
            };
            assert_eq!(GpuReport::read(&report).unwrap().nonce(), &BINDING.nonce());
            assert_eq!(chain, [vec![1, 2, 3], vec![4, 5, 6]]);
        }
    }

    #[test]
    fn report_for_another_question_is_refused() {
        let (_folder, paths) = install(&Driver {
            echo: 0,
            report: &small_report(),
            chain: CHAIN,
            ..DRIVER
        });
        let error = look(&paths).unwrap()[0]
            .collect(&BINDING)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the nonce of the request"), "{error}");
    }

    #[test]
    fn report_that_is_none_is_refused() {
        let (_folder, paths) = install(&Driver {
            report: b"nonsense",
            chain: CHAIN,
            ..DRIVER
        });
        let error = look(&paths).unwrap()[0].collect(&BINDING).unwrap_err();
        assert!(matches!(error, SourceError::Refused { .. }), "{error}");
    }

    #[test]
    fn report_of_a_real_gpu_is_read() {
        let (report, chain) = (hex_sample("hopper_report.hex"), sample("hopper_chain.pem"));
        let (_folder, paths) = install(&Driver {
            report: &report,
            chain: &chain,
            ..DRIVER
        });
        let collected = look(&paths).unwrap()[0].collect(&BINDING).unwrap();
        let Collected::Gpu { report, chain } = collected else {
            panic!("it is no report of a GPU")
        };
        assert_eq!(GpuReport::read(&report).unwrap().nonce(), &BINDING.nonce());
        assert_eq!(chain.len(), 5);
    }

    #[test]
    fn every_missing_piece_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let absent = look(&DevicePaths::below(folder.path()))
            .map(|_| ())
            .unwrap_err()
            .reason;
        assert!(absent.contains("install NVIDIA's driver"), "{absent}");
        for (driver, expected) in [
            (Driver { init: 9, ..DRIVER }, "the driver is not loaded"),
            (Driver { count: 0, ..DRIVER }, "has no GPU"),
            (Driver { count: 65, ..DRIVER }, "has 65 GPUs"),
            (Driver { feature: 0, ..DRIVER }, "--set-cc-mode=on"),
        ] {
            let missing = missing(&driver);
            assert!(missing.contains(expected), "{missing}");
        }
    }
}
