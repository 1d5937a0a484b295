//! Keeps the machine attested: collects evidence, submits it, and renews it before it ends.
//!
//! The valid evidence is read from the chain in every round, so a restarted worker goes on where it was, and
//! evidence that the chain dropped or that a rotation of the machine's keys invalidated is submitted anew.
//! The sources, the processor and each GPU, are independent: the failure of one keeps no other from
//! attesting.

pub(crate) mod bounded;
mod collateral;
mod configfs;
mod fetch;
mod gramine;
mod nvidia;
mod sev_guest;
mod snp;
mod source;
mod status;
mod survey;
mod tdx_guest;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_client::{
    BlockId, Error, calls,
    types::{
        Collateral, CollateralId, Evidence, EvidenceId, EvidenceRecord, KeyId, KeySource, KeyVendor, Machine,
        MachineStatus, key_id, keys_digest,
    },
};
use assay_evidence::{
    Binding, certificates_of_pem, intel::Quote, nvidia::verify_device_key, snp::verify_chip_key, vendor_roots,
};
use assay_primitives::market::TeeKind;
use tokio::time::Instant;

pub use collateral::{CollateralChain, CollateralError, CollateralUrls, Collector};
pub(crate) use fetch::read_whole;
#[cfg(test)]
pub(crate) use fetch::tests as fetch_tests;
pub use fetch::{
    AddressPolicy, FetchError, FoundAddresses, HttpFetch, HttpResponse, NameSource, SystemNames,
};
pub(crate) use nvidia::load as load_nvml;
pub(crate) use sev_guest::{derived_key, own_report};
pub use snp::{AmdCertificates, CertificateError};
pub use source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError, kind_name};
pub use status::{AttestationStatus, SourceStatus};
pub use survey::Survey;

use crate::{
    backoff::Backoff,
    chain::{ConnectedChain, bounded as in_time},
    metrics::Metrics,
};

/// Pause between two reads of the valid evidence.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Backoff between failed attempts. A refused submission costs its fee.
pub(crate) const ATTEMPT_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(60),
    maximum: Duration::from_secs(2 * 3_600),
};

/// The chain, as far as attestation needs it.
pub trait AttestationChain: CollateralChain {
    /// Returns a recent block to bind evidence to, one that is hardly ever replaced.
    fn anchor(&self) -> impl Future<Output = Result<BlockId, Error>> + Send;

    /// Returns the machine's record.
    fn machine(&self, machine: u64) -> impl Future<Output = Result<Option<Machine>, Error>> + Send;

    /// Returns the machine's evidence.
    fn evidence_of(&self, machine: u64) -> impl Future<Output = Result<Vec<EvidenceRecord>, Error>> + Send;

    /// Returns true if the chain has a key.
    fn keeps_key(&self, id: &KeyId) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Submits evidence, and waits until it is finalized; while finality stalls, for some minutes.
    fn submit(
        &self,
        machine: u64,
        anchor: u64,
        evidence: Evidence,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl CollateralChain for ConnectedChain {
    async fn collateral_ends_s(&self, id: &CollateralId) -> Result<Option<u64>, Error> {
        in_time(self.client().collateral_ends_s(id)).await
    }

    async fn bring(&self, collateral: Collateral) -> Result<(), Error> {
        self.submit_and_settle(calls::submit_collateral(collateral)).await
    }
}

impl AttestationChain for ConnectedChain {
    async fn anchor(&self) -> Result<BlockId, Error> {
        in_time(self.client().anchor()).await
    }

    async fn machine(&self, machine: u64) -> Result<Option<Machine>, Error> {
        in_time(self.client().machine(machine)).await
    }

    async fn evidence_of(&self, machine: u64) -> Result<Vec<EvidenceRecord>, Error> {
        in_time(self.client().evidence_of(machine)).await
    }

    async fn keeps_key(&self, id: &KeyId) -> Result<bool, Error> {
        in_time(self.client().keeps_key(id)).await
    }

    async fn submit(&self, machine: u64, anchor: u64, evidence: Evidence) -> Result<(), Error> {
        self.submit_and_settle(calls::submit_evidence(machine, anchor, evidence))
            .await
    }
}

/// Callback for the status of each source, and for a problem that keeps all of them from attesting.
pub type StatusCallback = Box<dyn Fn(Vec<SourceStatus>, Option<String>) + Send + Sync>;

/// Dependencies of [`keep_attested`].
pub struct AttestorParts<C> {
    /// The chain.
    pub chain: C,
    /// Number of the machine.
    pub machine: u64,
    /// Hash of the genesis block.
    pub genesis_hash: [u8; 32],
    /// Public part of this worker's key.
    pub worker_key: [u8; 32],
    /// Key that consumers seal to and this worker can open.
    pub sealing_key: [u8; 32],
    /// Sources of evidence, each once.
    pub sources: Vec<Arc<dyn EvidenceSource>>,
    /// Submits collateral; `None` if the configuration leaves that to others.
    pub collector: Option<Collector>,
    /// Finds the certificates of AMD's chips.
    pub amd: AmdCertificates,
    /// Called with the status of each source after every round.
    pub on_status: StatusCallback,
    /// Metrics that count the attestations.
    pub metrics: Metrics,
    /// Returns the time in seconds since 1970.
    pub now_s: fn() -> u64,
}

/// Returns the system time in seconds since 1970.
pub fn system_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Attests until the connection is lost.
pub async fn keep_attested<C: AttestationChain>(parts: AttestorParts<C>) -> Result<(), Error> {
    let mut attestor = Attestor::new(parts);
    loop {
        attestor.round().await?;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// State of one source.
struct TrackedSource {
    source: Arc<dyn EvidenceSource>,
    /// Identifier of the device, once known. A machine has one processor, so only GPUs need it.
    device: Option<[u8; 32]>,
    /// End of its valid evidence, in seconds since 1970; `None` if it has none.
    until_s: Option<u64>,
    /// Time from which on the evidence is renewed, in seconds since 1970.
    renew_at_s: u64,
    failures: u32,
    not_before: Option<Instant>,
    last_error: Option<String>,
}

impl TrackedSource {
    /// Returns the source's own evidence among the machine's valid evidence.
    fn own<'r>(&self, counting: &'r [EvidenceRecord]) -> Option<&'r EvidenceRecord> {
        let kind = self.source.kind();
        match self.device {
            Some(device) => {
                let device = device.into();
                counting
                    .iter()
                    .find(|record| record.id == EvidenceId { device, kind })
            }
            None if kind == TeeKind::NvidiaGpu => None,
            None => counting.iter().find(|record| record.id.kind == kind),
        }
    }

    /// Updates the state from the valid evidence on chain. New evidence is renewed at half of its remaining
    /// lifetime.
    fn observe(&mut self, counting: &[EvidenceRecord], now_s: u64) {
        let until_s = self.own(counting).map(|record| record.until_s);
        if until_s != self.until_s {
            self.until_s = until_s;
            self.renew_at_s = until_s.map_or(0, |until_s| {
                now_s.saturating_add(until_s.saturating_sub(now_s) / 2)
            });
        }
    }

    fn is_due(&self, now_s: u64) -> bool {
        now_s >= self.renew_at_s && self.not_before.is_none_or(|time| time <= Instant::now())
    }

    fn failed(&mut self, problem: String) {
        let pause = ATTEMPT_BACKOFF.delay(self.failures);
        tracing::warn!(
            source = self.source.name(),
            problem,
            again_in_seconds = pause.as_secs(),
            "collecting or submitting evidence failed"
        );
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause);
        self.last_error = Some(problem);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.last_error = None;
    }
}

/// Reason why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Chain(#[from] Error),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    #[error("the evidence cannot be read: {0}")]
    Evidence(#[from] assay_evidence::EvidenceError),
    #[error("the driver's task failed: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
    #[error("the chain accepted the evidence and does not show it; looking for it again")]
    NotShown,
}

impl AttemptError {
    /// Returns the chain's error if the connection is lost, otherwise the error itself.
    fn lost(self) -> Result<Error, Self> {
        match self {
            Self::Chain(error) | Self::Collateral(CollateralError::Chain(error))
                if error.is_connection_lost() =>
            {
                Ok(error)
            }
            other => Err(other),
        }
    }
}

/// Evidence together with the data that its submission needs.
struct PreparedEvidence {
    collected: Collected,
    /// Certificate chain of the signing key, if the evidence has one.
    certificates: Vec<Vec<u8>>,
    /// The chain's identifier of the signing key, if the certificates have it.
    key: Option<KeyId>,
    /// Identifier of the device, where sources of the same kind must be distinguished.
    device: Option<[u8; 32]>,
}

impl PreparedEvidence {
    fn evidence(&self, known: Option<KeyId>) -> Evidence {
        let chain = || known.map_or_else(|| KeySource::Chain(self.certificates.clone()), KeySource::Known);
        match &self.collected {
            Collected::Quote(quote) => Evidence::Quote {
                quote: quote.clone(),
                key: known.map_or(KeySource::Carried, KeySource::Known),
            },
            Collected::Snp { report, .. } => Evidence::SnpReport {
                report: report.clone(),
                key: chain(),
            },
            Collected::Gpu { report, .. } => Evidence::GpuReport {
                report: report.clone(),
                key: chain(),
            },
        }
    }
}

struct Attestor<C> {
    parts: AttestorParts<C>,
    tracked: Vec<TrackedSource>,
}

impl<C: AttestationChain> Attestor<C> {
    fn new(mut parts: AttestorParts<C>) -> Self {
        let tracked = std::mem::take(&mut parts.sources)
            .into_iter()
            .map(|source| TrackedSource {
                source,
                device: None,
                until_s: None,
                renew_at_s: 0,
                failures: 0,
                not_before: None,
                last_error: None,
            })
            .collect();
        Self { parts, tracked }
    }

    /// Reads the chain and attests with each source that is due. The error is a lost connection.
    async fn round(&mut self) -> Result<(), Error> {
        let problem = match self.look().await {
            Ok(problem) => problem,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            tracing::warn!(problem, "attestation is paused");
        }
        let sources = self
            .tracked
            .iter()
            .map(|tracked| {
                let ends = self
                    .parts
                    .metrics
                    .attestation_ends
                    .with_label_values(&[tracked.source.name(), kind_name(tracked.source.kind())]);
                ends.set(
                    tracked
                        .until_s
                        .map_or(0, |until_s| i64::try_from(until_s).unwrap_or(i64::MAX)),
                );
                SourceStatus {
                    name: tracked.source.name().to_owned(),
                    kind: kind_name(tracked.source.kind()),
                    until_s: tracked.until_s,
                    last_error: tracked.last_error.clone(),
                }
            })
            .collect();
        (self.parts.on_status)(sources, problem);
        Ok(())
    }

    /// Attests with each source that is due; returns the problem that keeps all of them from attesting, if
    /// there is one.
    async fn look(&mut self) -> Result<Option<String>, Error> {
        let machine = self.parts.machine;
        let Some(record) = self.parts.chain.machine(machine).await? else {
            return Ok(Some("the chain has no such machine any more".to_owned()));
        };
        if record.status == MachineStatus::Retired {
            return Ok(Some("the machine has left the market".to_owned()));
        }
        // Evidence certifies that this machine holds the keys: for other keys that would be false.
        if record.worker_key.0 != self.parts.worker_key || record.sealing_key != self.parts.sealing_key {
            return Ok(Some(format!(
                "the machine's keys on chain are not this worker's: rotate them to the worker key 0x{} and the sealing key \
                 0x{}",
                hex::encode(self.parts.worker_key),
                hex::encode(self.parts.sealing_key)
            )));
        }
        for place in 0..self.tracked.len() {
            let counting = self.counting().await?;
            let now_s = (self.parts.now_s)();
            let Some(tracked) = self.tracked.get_mut(place) else {
                continue;
            };
            tracked.observe(&counting, now_s);
            if !tracked.is_due(now_s) {
                continue;
            }
            let outcome = self.attempt(place, &counting).await;
            let Some(tracked) = self.tracked.get_mut(place) else {
                continue;
            };
            match outcome {
                Ok(()) => tracked.succeeded(),
                Err(error) => match error.lost() {
                    Ok(lost) => return Err(lost),
                    Err(error) => {
                        self.parts.metrics.attestation_failures.inc();
                        tracked.failed(error.to_string());
                    }
                },
            }
        }
        Ok(None)
    }

    /// Returns the machine's evidence that is valid now, for the keys of this worker.
    async fn counting(&self) -> Result<Vec<EvidenceRecord>, Error> {
        let keys = keys_digest(&self.parts.worker_key, &self.parts.sealing_key);
        let now_s = (self.parts.now_s)();
        let mut records = self.parts.chain.evidence_of(self.parts.machine).await?;
        records.retain(|record| record.keys == keys && now_s < record.until_s);
        Ok(records)
    }

    /// Collects evidence from a source and submits it.
    async fn attempt(&mut self, place: usize, counting: &[EvidenceRecord]) -> Result<(), AttemptError> {
        let Some(tracked) = self.tracked.get(place) else {
            return Ok(());
        };
        let source = tracked.source.clone();
        let anchor = self.parts.chain.anchor().await?;
        let binding = Binding {
            genesis_hash: self.parts.genesis_hash,
            machine_id: self.parts.machine,
            worker_key: self.parts.worker_key,
            sealing_key: self.parts.sealing_key,
            anchor_hash: anchor.hash,
        };
        let asked = source.clone();
        let collected = tokio::task::spawn_blocking(move || asked.collect(&binding)).await??;
        let now_s = (self.parts.now_s)();
        let prepared = self.prepare(collected, now_s).await?;

        // A GPU is identified by its certificate: it may have evidence from before this worker was started.
        if let Some(tracked) = self.tracked.get_mut(place)
            && prepared.device.is_some()
            && tracked.device != prepared.device
        {
            tracked.device = prepared.device;
            tracked.observe(counting, now_s);
            if !tracked.is_due(now_s) {
                return Ok(());
            }
        }
        self.bring_collateral(&prepared, now_s).await?;
        self.submit(anchor.number, &prepared).await?;

        // Submissions are sequential, and each waits for finality, or some minutes, before the next one takes
        // its anchor: so the evidence recorded for this anchor is this source's.
        let kind = source.kind();
        let recorded = self.counting().await?;
        let own = recorded
            .iter()
            .find(|record| record.id.kind == kind && record.anchor == anchor.number)
            .ok_or(AttemptError::NotShown)?;
        let now_s = (self.parts.now_s)();
        if let Some(tracked) = self.tracked.get_mut(place) {
            tracked.device = Some(own.id.device.0);
            tracked.observe(&recorded, now_s);
        }
        self.parts.metrics.attestations.inc();
        tracing::info!(
            source = source.name(),
            kind = kind_name(kind),
            until_s = own.until_s,
            workload = hex::encode(own.workload),
            "the machine is attested"
        );
        Ok(())
    }

    /// Reads the certificates of evidence for the signing key and its identifier on chain.
    async fn prepare(&self, collected: Collected, now_s: u64) -> Result<PreparedEvidence, AttemptError> {
        // With the vendors' own roots. If governance trusts other roots, the key has no identifier here, and
        // its certificate chain is sent every time.
        let roots = vendor_roots()?;
        match &collected {
            Collected::Quote(bytes) => {
                let quote = Quote::read(bytes)?;
                let certificates = match quote.certificate_chain() {
                    Some(text) => certificates_of_pem(text)?,
                    None => Vec::new(),
                };
                let key = Some(key_id(KeyVendor::Intel, quote.attestation_key()));
                Ok(PreparedEvidence {
                    collected,
                    certificates,
                    key,
                    device: None,
                })
            }
            Collected::Snp { report, certificates } => {
                let certificates = self
                    .parts
                    .amd
                    .chain_of(report, certificates.clone(), now_s)
                    .await?;
                let key = verify_chip_key(&as_slices(&certificates), &roots, &[], false, now_s)
                    .ok()
                    .map(|key| key_id(KeyVendor::Amd, &key.key));
                Ok(PreparedEvidence {
                    collected,
                    certificates,
                    key,
                    device: None,
                })
            }
            Collected::Gpu { chain, .. } => {
                let certificates = chain.clone();
                let key = verify_device_key(&as_slices(&certificates), &roots, &[], false, now_s).ok();
                Ok(PreparedEvidence {
                    collected,
                    certificates,
                    device: key.as_ref().map(|key| key.device()),
                    key: key.map(|key| key_id(KeyVendor::Nvidia, &key.key)),
                })
            }
        }
    }

    /// Submits the collateral that the chain needs to judge the evidence.
    async fn bring_collateral(&self, prepared: &PreparedEvidence, now_s: u64) -> Result<(), AttemptError> {
        let Some(collector) = &self.parts.collector else {
            return Ok(());
        };
        let (chain, certificates) = (&self.parts.chain, &prepared.certificates);
        let (outcome, is_required) = match &prepared.collected {
            // Without certificates the needed collateral is unknown.
            Collected::Quote(_) if certificates.is_empty() => return Ok(()),
            Collected::Quote(quote) => (
                collector.bring_for_quote(chain, quote, certificates, now_s).await,
                true,
            ),
            Collected::Snp { .. } => (collector.bring_for_chip(chain, certificates, now_s).await, false),
            Collected::Gpu { .. } => (collector.bring_for_gpu(chain, certificates, now_s).await, false),
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => match AttemptError::from(error).lost() {
                Ok(lost) => Err(lost.into()),
                Err(error) if is_required => Err(error),
                // The chain's policy decides whether lists are required, so a missing list is no failure
                // here.
                Err(error) => {
                    tracing::warn!(%error, "submitting a list of revoked certificates failed");
                    Ok(())
                }
            },
        }
    }

    /// Submits evidence by the key that the chain has; with its certificate chain if the chain lacks the key,
    /// or if the chain's entry no longer matches.
    async fn submit(&self, anchor: u64, prepared: &PreparedEvidence) -> Result<(), Error> {
        let (chain, machine) = (&self.parts.chain, self.parts.machine);
        let known = match prepared.key {
            Some(id) if chain.keeps_key(&id).await? => Some(id),
            _ => None,
        };
        let outcome = chain.submit(machine, anchor, prepared.evidence(known)).await;
        let Err(error) = outcome else { return Ok(()) };
        // After a firmware update a platform has new certificates of the same key.
        let may_be_outdated = error.is_dispatch("Attestation", "Refused")
            || error.is_dispatch("Attestation", "NoSuchKey")
            || error.is_dispatch("Attestation", "ExpiresTooSoon");
        if known.is_none() || !may_be_outdated {
            return Err(error);
        }
        tracing::info!(%error, "the chain's entry of the key does not match; sending its certificates again");
        chain.submit(machine, anchor, prepared.evidence(None)).await
    }
}

fn as_slices(chain: &[Vec<u8>]) -> Vec<&[u8]> {
    chain.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests;
