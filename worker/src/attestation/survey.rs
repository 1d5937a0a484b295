//! A survey of a machine's sources of evidence: asks every implementation whether its device is there.

use std::sync::Arc;

use assay_primitives::market::TeeKind;

use super::{
    configfs, gramine, nvidia, sev_guest,
    source::{DevicePaths, EvidenceSource, MissingSource},
    tdx_guest,
};

/// Looks for a processor's source of evidence.
type Look = fn(&DevicePaths) -> Result<Arc<dyn EvidenceSource>, MissingSource>;

/// The sources of evidence of a machine, and those that it does not have.
#[derive(Clone, Default)]
pub struct Survey {
    /// The sources found: at most one for the processor, and one for each GPU.
    pub sources: Vec<Arc<dyn EvidenceSource>>,
    /// The sources not found. Empty of processors where a source for the processor was found.
    pub missing: Vec<MissingSource>,
}

impl Survey {
    /// Surveys the machine. Blocks for as long as drivers take to answer.
    pub fn of(paths: &DevicePaths) -> Self {
        let mut survey = Self::default();
        let processors: [Look; 4] = [
            // Inside an enclave no other source is visible.
            gramine::look,
            // The kernel's common interface, where it has one.
            configfs::look,
            sev_guest::look,
            tdx_guest::look,
        ];
        for look in processors {
            match look(paths) {
                Ok(source) => {
                    survey.sources.push(source);
                    survey.missing.clear();
                    break;
                }
                Err(missing) => survey.missing.push(missing),
            }
        }
        match nvidia::look(paths) {
            Ok(gpus) => survey.sources.extend(gpus),
            Err(missing) => survey.missing.push(missing),
        }
        survey
    }

    /// Returns the processor's kind of TEE, if the survey found a source for the processor.
    pub fn processor(&self) -> Option<TeeKind> {
        self.sources
            .iter()
            .map(|source| source.kind())
            .find(|kind| *kind != TeeKind::NvidiaGpu)
    }
}
