//! SGX enclaves under Gramine, which offers attestation as pseudo-files.
//!
//! Source: Gramine's documentation, *Attestation and Secret Provisioning*: 64 bytes are written to
//! `user_report_data`, then `quote` is read. `attestation_type` says whether the enclave can make quotes.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use assay_evidence::{Binding, intel::MAX_QUOTE_BYTES};
use assay_primitives::market::TeeKind;

use super::{
    bounded,
    source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError},
};

const WHAT: &str = "SGX (Gramine)";

struct Gramine {
    folder: PathBuf,
    /// Serializes requests: the enclave has a single `user_report_data`.
    turn: Mutex<()>,
}

/// Returns Gramine as a source of DCAP quotes, if the worker runs in an enclave that makes them.
pub(super) fn look(paths: &DevicePaths) -> Result<Arc<dyn EvidenceSource>, MissingSource> {
    let folder = &paths.gramine;
    if !folder.join("quote").exists() {
        return Err(MissingSource::new(
            WHAT,
            format!(
                "{} is not there; run the worker in an SGX enclave by Gramine, with `sgx.remote_attestation = \"dcap\"` in \
                 its manifest",
                folder.display()
            ),
        ));
    }
    match bounded::read_text(&folder.join("attestation_type")) {
        Ok(kind) if kind == "dcap" => Ok(Arc::new(Gramine {
            folder: folder.clone(),
            turn: Mutex::default(),
        })),
        Ok(kind) => Err(MissingSource::new(
            WHAT,
            format!(
                "the enclave attests by {kind:?}, and the chain verifies DCAP quotes; write \
                 `sgx.remote_attestation = \"dcap\"` into its manifest"
            ),
        )),
        Err(error) => Err(MissingSource::new(WHAT, error.to_string())),
    }
}

impl EvidenceSource for Gramine {
    fn name(&self) -> &str {
        "gramine"
    }

    fn kind(&self) -> TeeKind {
        TeeKind::Sgx
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        bounded::write(&self.folder.join("user_report_data"), &binding.report_data())?;
        bounded::read(&self.folder.join("quote"), MAX_QUOTE_BYTES).map(Collected::Quote)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{super::tests::BINDING, *};

    fn enclave(kind: &str) -> (tempfile::TempDir, DevicePaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = DevicePaths::below(folder.path());
        fs::create_dir(&paths.gramine).unwrap();
        fs::write(paths.gramine.join("attestation_type"), kind).unwrap();
        fs::write(paths.gramine.join("user_report_data"), "").unwrap();
        fs::write(paths.gramine.join("quote"), "the quote").unwrap();
        (folder, paths)
    }

    #[test]
    fn quote_is_asked_for_with_the_binding() {
        let (_folder, paths) = enclave("dcap\n");
        let source = look(&paths).unwrap();
        assert_eq!((source.name(), source.kind()), ("gramine", TeeKind::Sgx));
        assert_eq!(
            source.collect(&BINDING).unwrap(),
            Collected::Quote(b"the quote".to_vec())
        );
        let written = fs::read(paths.gramine.join("user_report_data")).unwrap();
        assert_eq!(written, BINDING.report_data());
    }

    #[test]
    fn quote_is_read_up_to_its_bound() {
        let (_folder, paths) = enclave("dcap");
        let source = look(&paths).unwrap();
        fs::write(paths.gramine.join("quote"), vec![1; MAX_QUOTE_BYTES + 1]).unwrap();
        assert!(matches!(
            source.collect(&BINDING),
            Err(SourceError::TooLong { .. })
        ));
    }

    #[test]
    fn enclave_without_quotes_says_what_to_do() {
        let (_folder, paths) = enclave("none");
        let missing = look(&paths).map(|_| ()).unwrap_err().to_string();
        assert!(missing.contains("sgx.remote_attestation"), "{missing}");
        fs::remove_dir_all(&paths.gramine).unwrap();
        let missing = look(&paths).map(|_| ()).unwrap_err().to_string();
        assert!(missing.contains("is not there"), "{missing}");
    }
}
