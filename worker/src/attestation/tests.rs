//! A machine with devices, and a chain that judges their evidence.

#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, sync::Mutex};

use assay_client::AccountId;

use super::{fetch::tests::Server, *};
use crate::market_status::tests::machine as machine_record;

const MACHINE: u64 = 3;
const WORKER: [u8; 32] = [2; 32];
const SEALING: [u8; 32] = [3; 32];
const GENESIS: [u8; 32] = [9; 32];

/// Start time of the tests, in seconds since 1970.
const BEGIN_S: u64 = 1_750_000_000;
const LIFETIME_S: u64 = 24 * 3_600;

/// Binding that tests of sources use.
pub(super) const BINDING: Binding = Binding {
    genesis_hash: GENESIS,
    machine_id: MACHINE,
    worker_key: WORKER,
    sealing_key: SEALING,
    anchor_hash: [4; 32],
};

/// Reads real evidence, which `scripts/evidence-samples` downloads: from `ASSAY_EVIDENCE_SAMPLES`, or from
/// the folder of that name in the target folder of this program.
pub(super) fn sample(name: &str) -> Vec<u8> {
    const FOLDER: &str = "evidence-samples";
    let folder = std::env::var_os("ASSAY_EVIDENCE_SAMPLES").map(PathBuf::from);
    let program = std::env::current_exe().unwrap();
    let folder = folder.or_else(|| {
        program
            .ancestors()
            .map(|folder| folder.join(FOLDER))
            .find(|folder| folder.is_dir())
    });
    let folder = folder.unwrap_or_else(|| {
        panic!(
            "there is no folder {FOLDER} above {}: run ./scripts/evidence-samples, which makes it",
            program.display()
        )
    });
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reads a sample that is encoded in hexadecimal.
pub(super) fn hex_sample(name: &str) -> Vec<u8> {
    hex::decode(sample(name).trim_ascii()).unwrap()
}

/// Reads the certificates of a sample.
pub(super) fn pem_sample(name: &str) -> Vec<Vec<u8>> {
    certificates_of_pem(&sample(name)).unwrap()
}

// --- a clock that goes with tokio's ---

/// Returns the start time plus the time that has passed on tokio's clock.
fn now_s() -> u64 {
    thread_local! {
        static BEGIN: Instant = Instant::now();
    }
    BEGIN_S + BEGIN.with(Instant::elapsed).as_secs()
}

// --- devices ---

/// A device that signs by repeating the requested data.
struct Device {
    name: &'static str,
    kind: TeeKind,
    /// Certificate chain of a GPU; its name if the content does not matter.
    chain: Option<Vec<Vec<u8>>>,
    /// Error that it returns instead of evidence.
    refusal: Mutex<Option<&'static str>>,
}

impl Device {
    fn new(name: &'static str, kind: TeeKind) -> Arc<Self> {
        Arc::new(Self {
            name,
            kind,
            chain: None,
            refusal: Mutex::default(),
        })
    }
}

impl EvidenceSource for Device {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> TeeKind {
        self.kind
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        if let Some(reason) = *self.refusal.lock().unwrap() {
            return Err(SourceError::refused(self.name, reason));
        }
        let report = [self.name.as_bytes(), &binding.report_data()].concat();
        Ok(match self.kind {
            TeeKind::NvidiaGpu => Collected::Gpu {
                report,
                chain: self
                    .chain
                    .clone()
                    .unwrap_or_else(|| vec![self.name.as_bytes().to_vec()]),
            },
            TeeKind::SevSnp => Collected::Snp {
                report,
                certificates: vec![b"chip".to_vec(), b"authority".to_vec()],
            },
            TeeKind::Sgx | TeeKind::Tdx => Collected::Quote(report),
        })
    }
}

// --- a chain ---

#[derive(Default)]
struct State {
    block: u64,
    machine: Option<Machine>,
    evidence: Vec<EvidenceRecord>,
    kept_keys: Vec<KeyId>,
    submissions: Vec<Evidence>,
    /// Times of the submissions, in seconds since the start.
    times_s: Vec<u64>,
    /// Errors of the next submissions, the last one first.
    refusals: Vec<Error>,
    lost: bool,
    /// True if the chain accepts evidence and does not show it.
    forgets: bool,
}

#[derive(Clone)]
struct FakeChain(Arc<Mutex<State>>);

impl FakeChain {
    fn new() -> Self {
        let mut record = machine_record(MachineStatus::Active);
        record.worker_key = AccountId::from(WORKER);
        record.sealing_key = SEALING;
        Self(Arc::new(Mutex::new(State {
            block: 100,
            machine: Some(record),
            ..State::default()
        })))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn ask<T>(&self, question: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        self.change(|state| {
            if state.lost {
                return Err(Error::ConnectionLost {
                    reason: "unplugged".into(),
                });
            }
            Ok(question(state))
        })
    }

    fn submissions(&self) -> usize {
        self.change(|state| state.submissions.len())
    }
}

fn hash_of(block: u64) -> [u8; 32] {
    let mut hash = [0xbb; 32];
    hash[..8].copy_from_slice(&block.to_le_bytes());
    hash
}

fn refused(error: &str) -> Error {
    Error::Dispatch {
        pallet: "Attestation".into(),
        error: error.into(),
        docs: String::new(),
    }
}

impl CollateralChain for FakeChain {
    async fn collateral_ends_s(&self, _: &CollateralId) -> Result<Option<u64>, Error> {
        self.ask(|_| None)
    }

    async fn bring(&self, _: Collateral) -> Result<(), Error> {
        self.ask(|_| ())
    }
}

impl AttestationChain for FakeChain {
    async fn anchor(&self) -> Result<BlockId, Error> {
        self.ask(|state| BlockId {
            number: state.block,
            hash: hash_of(state.block),
        })
    }

    async fn machine(&self, machine: u64) -> Result<Option<Machine>, Error> {
        assert_eq!(machine, MACHINE);
        self.ask(|state| state.machine.clone())
    }

    async fn evidence_of(&self, _: u64) -> Result<Vec<EvidenceRecord>, Error> {
        self.ask(|state| state.evidence.clone())
    }

    async fn keeps_key(&self, id: &KeyId) -> Result<bool, Error> {
        self.ask(|state| state.kept_keys.contains(id))
    }

    async fn submit(&self, machine: u64, anchor: u64, evidence: Evidence) -> Result<(), Error> {
        assert_eq!(machine, MACHINE);
        let (kind, bytes) = match &evidence {
            Evidence::Quote { quote, .. } => (TeeKind::Tdx, quote),
            Evidence::SnpReport { report, .. } => (TeeKind::SevSnp, report),
            Evidence::GpuReport { report, .. } => (TeeKind::NvidiaGpu, report),
        };
        let (device, report_data) = bytes.split_at(bytes.len() - 64);
        self.ask(|state| {
            state.submissions.push(evidence.clone());
            state.times_s.push(now_s() - BEGIN_S);
            // New blocks come whatever the outcome.
            state.block += 3;
            if let Some(error) = state.refusals.pop() {
                return Err(error);
            }
            let record = state.machine.as_ref().unwrap();
            let binding = Binding {
                genesis_hash: GENESIS,
                machine_id: MACHINE,
                worker_key: record.worker_key.0,
                sealing_key: record.sealing_key,
                anchor_hash: hash_of(anchor),
            };
            if report_data != binding.report_data() {
                return Err(refused("Refused"));
            }
            if state.forgets {
                return Ok(());
            }
            let id = EvidenceId {
                device: sp_crypto_hashing::blake2_256(device).into(),
                kind,
            };
            state.evidence.retain(|record| record.id != id);
            state.evidence.push(EvidenceRecord {
                id,
                workload: [7; 32],
                keys: keys_digest(&record.worker_key.0, &record.sealing_key),
                anchor,
                until_s: now_s() + LIFETIME_S,
            });
            Ok(())
        })?
    }
}

// --- worlds ---

struct World {
    chain: FakeChain,
    shown: Arc<Mutex<(Vec<SourceStatus>, Option<String>)>>,
    metrics: Metrics,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl World {
    fn new(sources: Vec<Arc<dyn EvidenceSource>>) -> Self {
        Self::on(FakeChain::new(), sources)
    }

    fn on(chain: FakeChain, sources: Vec<Arc<dyn EvidenceSource>>) -> Self {
        now_s();
        let shown: Arc<Mutex<(Vec<SourceStatus>, Option<String>)>> = Arc::default();
        let metrics = Metrics::new().unwrap();
        let board = shown.clone();
        let task = tokio::spawn(keep_attested(AttestorParts {
            chain: chain.clone(),
            machine: MACHINE,
            genesis_hash: GENESIS,
            worker_key: WORKER,
            sealing_key: SEALING,
            sources,
            collector: None,
            amd: AmdCertificates::new(HttpFetch::new(), "http://127.0.0.1:9", None),
            on_status: Box::new(move |sources, problem| *board.lock().unwrap() = (sources, problem)),
            metrics: metrics.clone(),
            now_s,
        }));
        Self {
            chain,
            shown,
            metrics,
            task,
        }
    }

    /// Lets time pass. The paused clock does not advance while devices run on their own threads.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits for a number of submissions; the time that this takes is short compared with every pause.
    async fn until_submissions(&self, count: usize) {
        for _ in 0..5_000 {
            if self.chain.submissions() >= count {
                return;
            }
            self.pass(10).await;
        }
        panic!(
            "there never were {count} submissions, but {}",
            self.chain.submissions()
        );
    }

    fn source(&self, place: usize) -> SourceStatus {
        self.shown.lock().unwrap().0[place].clone()
    }
}

fn snp() -> Arc<Device> {
    Device::new("processor", TeeKind::SevSnp)
}

#[tokio::test(start_paused = true)]
async fn machine_is_attested_and_renewed_at_half_of_its_life() {
    let world = World::new(vec![snp()]);
    world.until_submissions(1).await;
    world.pass(60).await;
    let status = world.source(0);
    assert_eq!((status.name.as_str(), status.kind), ("processor", "sev_snp"));
    let until_s = status.until_s.unwrap();
    assert!(until_s >= BEGIN_S + LIFETIME_S && status.last_error.is_none());
    assert_eq!(world.metrics.attestations.get(), 1);

    world.until_submissions(2).await;
    let (first, second) = world.chain.change(|state| (state.times_s[0], state.times_s[1]));
    let waited_s = second - first;
    assert!(
        (LIFETIME_S / 2 - 60..=LIFETIME_S / 2 + 120).contains(&waited_s),
        "{waited_s}"
    );
    // The new anchor is a later block.
    world.pass(60).await;
    let record = world.chain.change(|state| state.evidence[0]);
    assert_eq!(record.anchor, 103);
    assert_eq!(world.chain.change(|state| state.evidence.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn every_source_goes_its_own_way() {
    let broken = Device::new("gpu-0", TeeKind::NvidiaGpu);
    *broken.refusal.lock().unwrap() = Some("fallen off the bus");
    let world = World::new(vec![
        snp(),
        broken.clone(),
        Device::new("gpu-1", TeeKind::NvidiaGpu),
    ]);
    world.until_submissions(2).await;
    world.pass(60).await;
    let error = world.source(1).last_error.unwrap();
    assert!(error.contains("fallen off the bus"), "{error}");
    assert!(world.source(0).until_s.is_some() && world.source(2).until_s.is_some());
    assert_eq!(world.source(1).until_s, None);
    // Two GPUs are two devices, and each recovers by itself.
    *broken.refusal.lock().unwrap() = None;
    world.until_submissions(3).await;
    world.pass(60).await;
    assert_eq!(world.chain.change(|state| state.evidence.len()), 3);
    assert_eq!(world.source(1).last_error, None);
    assert_eq!(world.chain.submissions(), 3);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_while_the_chain_refuses() {
    let chain = FakeChain::new();
    chain.change(|state| {
        state.refusals = (0..6).map(|_| refused("WorkloadNotAllowed")).collect();
    });
    let world = World::on(chain, vec![snp()]);
    world.until_submissions(1).await;
    world.pass(40).await;
    let error = world.source(0).last_error.unwrap();
    assert!(error.contains("WorkloadNotAllowed"), "{error}");
    world.until_submissions(7).await;
    let times = world.chain.change(|state| state.times_s.clone());
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (number, pause) in pauses.iter().enumerate() {
        let least = 60 << number;
        assert!((least..=least + 90).contains(pause), "{pauses:?}");
    }
    world.pass(60).await;
    assert_eq!(world.source(0).last_error, None);
    assert_eq!(world.metrics.attestation_failures.get(), 6);
}

#[test]
fn longest_pause_is_bounded() {
    let source = snp();
    let mut tracked = TrackedSource {
        source,
        device: None,
        until_s: None,
        renew_at_s: 0,
        failures: u32::MAX,
        not_before: None,
        last_error: None,
    };
    tracked.failed("again".into());
    assert!(tracked.not_before.unwrap() <= Instant::now() + ATTEMPT_BACKOFF.maximum);
    tracked.succeeded();
    assert_eq!((tracked.failures, tracked.last_error), (0, None));
}

#[tokio::test(start_paused = true)]
async fn evidence_that_the_chain_forgot_is_brought_again() {
    let world = World::new(vec![snp()]);
    world.until_submissions(1).await;
    world.pass(60).await;
    world.chain.change(|state| state.evidence.clear());
    world.until_submissions(2).await;
    let times = world.chain.change(|state| state.times_s.clone());
    assert!(times[1] - times[0] < 300, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn evidence_for_earlier_keys_does_not_count() {
    let chain = FakeChain::new();
    chain.change(|state| {
        state.evidence.push(EvidenceRecord {
            id: EvidenceId {
                device: [1; 32].into(),
                kind: TeeKind::SevSnp,
            },
            workload: [7; 32],
            keys: keys_digest(&WORKER, &[8; 32]),
            anchor: 50,
            until_s: BEGIN_S + LIFETIME_S,
        });
    });
    let world = World::on(chain, vec![snp()]);
    world.until_submissions(1).await;
}

#[tokio::test(start_paused = true)]
async fn restart_goes_on_with_what_counts() {
    let chain = FakeChain::new();
    chain.change(|state| {
        state.evidence.push(EvidenceRecord {
            id: EvidenceId {
                device: [1; 32].into(),
                kind: TeeKind::SevSnp,
            },
            workload: [7; 32],
            keys: keys_digest(&WORKER, &SEALING),
            anchor: 50,
            until_s: BEGIN_S + 4_000,
        });
    });
    let world = World::on(chain, vec![snp()]);
    world.pass(1_900).await;
    assert_eq!(world.chain.submissions(), 0);
    assert_eq!(world.source(0).until_s, Some(BEGIN_S + 4_000));
    world.until_submissions(1).await;
    let time_s = world.chain.change(|state| state.times_s[0]);
    assert!((1_990..2_200).contains(&time_s), "{time_s}");
}

#[tokio::test(start_paused = true)]
async fn restart_knows_a_gpu_by_its_certificate() {
    let gpu = |name, chain| -> Arc<dyn EvidenceSource> {
        Arc::new(Device {
            name,
            kind: TeeKind::NvidiaGpu,
            chain,
            refusal: Mutex::default(),
        })
    };
    let chain = FakeChain::new();
    chain.change(|state| {
        state.evidence.push(EvidenceRecord {
            id: EvidenceId {
                device: device_of("NVIDIA:GH100:48B02D92494BADF4").into(),
                kind: TeeKind::NvidiaGpu,
            },
            workload: [7; 32],
            keys: keys_digest(&WORKER, &SEALING),
            anchor: 50,
            until_s: BEGIN_S + 4_000,
        });
    });
    // The other GPU has no evidence yet.
    let known = gpu("gpu-0", Some(pem_sample("hopper_chain.pem")));
    let world = World::on(chain, vec![known, gpu("gpu-1", None)]);
    world.pass(1_900).await;
    assert_eq!(world.source(0).until_s, Some(BEGIN_S + 4_000));
    assert!(world.source(1).until_s.unwrap() > BEGIN_S + 4_000);
    assert_eq!(world.chain.submissions(), 1);
    world.until_submissions(2).await;
    let time_s = world.chain.change(|state| state.times_s[1]);
    assert!((1_990..2_200).contains(&time_s), "{time_s}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_attested_for_keys_that_are_not_here() {
    let chain = FakeChain::new();
    chain.change(|state| state.machine.as_mut().unwrap().sealing_key = [8; 32]);
    let world = World::on(chain, vec![snp()]);
    world.pass(600).await;
    assert_eq!(world.chain.submissions(), 0);
    let problem = world.shown.lock().unwrap().1.clone().unwrap();
    assert!(problem.contains(&hex::encode(SEALING)), "{problem}");
    // After the rotation, attestation starts.
    world
        .chain
        .change(|state| state.machine.as_mut().unwrap().sealing_key = SEALING);
    world.until_submissions(1).await;
    world.pass(60).await;
    assert_eq!(world.shown.lock().unwrap().1, None);
}

#[tokio::test(start_paused = true)]
async fn machine_that_is_gone_attests_nothing() {
    let chain = FakeChain::new();
    chain.change(|state| state.machine.as_mut().unwrap().status = MachineStatus::Retired);
    let world = World::on(chain, vec![snp()]);
    world.pass(120).await;
    assert!(
        world
            .shown
            .lock()
            .unwrap()
            .1
            .clone()
            .unwrap()
            .contains("left the market")
    );
    world.chain.change(|state| state.machine = None);
    world.pass(120).await;
    assert!(
        world
            .shown
            .lock()
            .unwrap()
            .1
            .clone()
            .unwrap()
            .contains("no such machine")
    );
    assert_eq!(world.chain.submissions(), 0);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_ends_it() {
    let world = World::new(vec![snp()]);
    world.until_submissions(1).await;
    world.chain.change(|state| state.lost = true);
    world.pass(60).await;
    assert!(world.task.await.unwrap().unwrap_err().is_connection_lost());
}

#[tokio::test(start_paused = true)]
async fn evidence_that_is_not_shown_is_no_success() {
    let chain = FakeChain::new();
    chain.change(|state| state.forgets = true);
    let world = World::on(chain, vec![snp()]);
    world.until_submissions(1).await;
    world.pass(40).await;
    assert!(world.source(0).last_error.unwrap().contains("does not show it"));
    assert_eq!(world.metrics.attestations.get(), 0);
}

/// Creates an attestor that has not started, for tests of one step.
fn attestor(chain: FakeChain) -> Attestor<FakeChain> {
    Attestor::new(AttestorParts {
        chain,
        machine: MACHINE,
        genesis_hash: GENESIS,
        worker_key: WORKER,
        sealing_key: SEALING,
        sources: Vec::new(),
        collector: None,
        amd: AmdCertificates::new(HttpFetch::new(), "http://127.0.0.1:9", None),
        on_status: Box::new(|_, _| ()),
        metrics: Metrics::new().unwrap(),
        now_s,
    })
}

fn prepared(key: Option<KeyId>) -> PreparedEvidence {
    PreparedEvidence {
        collected: Collected::Snp {
            report: [b"chip", &BINDING.report_data()[..]].concat(),
            certificates: Vec::new(),
        },
        certificates: vec![vec![1], vec![2]],
        key,
        device: None,
    }
}

fn key_of(evidence: &Evidence) -> &KeySource {
    match evidence {
        Evidence::Quote { key, .. } | Evidence::SnpReport { key, .. } | Evidence::GpuReport { key, .. } => {
            key
        }
    }
}

#[tokio::test]
async fn chain_of_certificates_goes_along_until_the_chain_keeps_the_key() {
    let chain = FakeChain::new();
    // The fake refuses the anchor of the binding, which does not matter here.
    let keys = |chain: &FakeChain| -> Vec<KeySource> {
        chain.change(|state| {
            state
                .submissions
                .drain(..)
                .map(|evidence| key_of(&evidence).clone())
                .collect()
        })
    };
    let whole = KeySource::Chain(vec![vec![1], vec![2]]);
    let attestor = attestor(chain.clone());
    let _ = attestor.submit(100, &prepared(Some([5; 32]))).await;
    assert_eq!(keys(&chain), std::slice::from_ref(&whole));
    let _ = attestor.submit(100, &prepared(None)).await;
    assert_eq!(keys(&chain), std::slice::from_ref(&whole));

    chain.change(|state| state.kept_keys.push([5; 32]));
    // The chain's entry may be outdated: the evidence is sent again, with the certificates.
    for (refusal, expected) in [
        ("Refused", vec![KeySource::Known([5; 32]), whole.clone()]),
        ("NoSuchKey", vec![KeySource::Known([5; 32]), whole.clone()]),
        ("DeviceTaken", vec![KeySource::Known([5; 32])]),
    ] {
        chain.change(|state| state.refusals = vec![refused(refusal)]);
        let _ = attestor.submit(100, &prepared(Some([5; 32]))).await;
        assert_eq!(keys(&chain), expected, "{refusal}");
    }
}

#[tokio::test]
async fn real_evidence_is_named_as_the_chain_names_it() {
    let quote = sample("tdx_quote");
    let attestor = attestor(FakeChain::new());
    let found = attestor
        .prepare(Collected::Quote(quote.clone()), 1_750_809_600)
        .await
        .unwrap();
    assert_eq!(found.certificates.len(), 3);
    let expected = key_id(KeyVendor::Intel, Quote::read(&quote).unwrap().attestation_key());
    assert_eq!(found.key, Some(expected));
    assert!(matches!(
        found.evidence(None),
        Evidence::Quote {
            key: KeySource::Carried,
            ..
        }
    ));

    let authority = pem_sample("cert_chain_milan.pem").remove(0);
    let collected = Collected::Snp {
        report: hex_sample("report_milan.hex"),
        certificates: vec![sample("vcek_milan.der"), authority],
    };
    let found = attestor.prepare(collected, 1_750_809_600).await.unwrap();
    assert!(found.key.is_some() && found.device.is_none());

    let collected = Collected::Gpu {
        report: hex_sample("hopper_report.hex"),
        chain: pem_sample("hopper_chain.pem"),
    };
    let found = attestor.prepare(collected, 1_750_809_600).await.unwrap();
    assert!(found.key.is_some());
    // The device id is the one that the verifier of evidence computes.
    assert_eq!(found.device, Some(device_of("NVIDIA:GH100:48B02D92494BADF4")));
}

/// Computes the hash of a GPU's identity.
fn device_of(identity: &str) -> [u8; 32] {
    sp_crypto_hashing::blake2_256(format!("assay/evidence/device/v1/nvidia/{identity}").as_bytes())
}

#[tokio::test]
async fn chip_without_certificates_is_an_error_that_says_what_to_do() {
    let server = Server::start(|_| super::fetch::tests::Reply::status(404)).await;
    let mut attestor = attestor(FakeChain::new());
    attestor.parts.amd = AmdCertificates::new(HttpFetch::new(), &server.url, None);
    let collected = Collected::Snp {
        report: vec![0; assay_evidence::snp::REPORT_BYTES],
        certificates: Vec::new(),
    };
    let error = attestor
        .prepare(collected, BEGIN_S)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("assay.attestation.amd_certificate_file"),
        "{error}"
    );
}
