//! Deliveries to one machine: accepted ones, refused ones, and the stored files.

#![allow(clippy::unwrap_used)]

use assay_client::{
    keys::keypair_from_uri,
    manifest::JobManifest,
    types::{AccountId, Assignment, Job, JobKind},
};

use super::*;

const GENESIS: [u8; 32] = [4; 32];
const DIGEST: [u8; 32] = [0xab; 32];

fn plain(env: &str) -> PlainManifest {
    let text = format!(
        r#"{{"image":"a@sha256:{}","env":{{"TOKEN":"{env}"}}}}"#,
        "ab".repeat(32)
    );
    PlainManifest::new(&JobManifest::from_sealed_bytes(text.as_bytes()).unwrap()).unwrap()
}

fn assigned(manifest: Manifest, image_digest: [u8; 32]) -> AssignedJob {
    AssignedJob {
        job: Job {
            consumer: AccountId::from([1; 32]),
            kind: JobKind::Service,
            manifest,
            image_digest,
            slots: 1,
            nodes: 1,
            max_price_per_slot_hour: 1,
            max_duration_ms: 1,
            auction: None,
            open_places: 0,
            assignments: 1,
            ballot: None,
            deposit: 0,
            bounties: 0,
            paid: 0,
            created_at_ms: 0,
        },
        assignment: Assignment {
            provider: AccountId::from([2; 32]),
            price_per_slot_hour: 1,
            max_duration_ms: 1,
            escrowed: 0,
            earned: 0,
            paid: 0,
            state: AssignmentState::Starting {
                assigned_at_ms: 0,
                deadline_ms: 600_000,
                risen_ms: 0,
            },
        },
    }
}

fn sealed_job(plain: &PlainManifest) -> AssignedJob {
    assigned(
        Manifest::Sealed {
            hash: plain.hash().into(),
        },
        DIGEST,
    )
}

fn key(fingerprint: &str) -> LeaseKey {
    LeaseKey {
        job: 7,
        fingerprint: fingerprint.into(),
    }
}

/// A machine to which job 7 is assigned.
struct Machine {
    delivery: Delivery,
    store: JobStore,
    folder: tempfile::TempDir,
    job: AssignedJob,
}

impl Machine {
    fn of(job: AssignedJob) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        let mut machine = Self {
            delivery: delivery(&store, 7),
            store,
            folder,
            job,
        };
        machine.look(50);
        machine
    }

    fn look(&mut self, active_time_ms: u64) {
        let jobs = [(7, "ab".to_owned(), &self.job)].into_iter();
        self.delivery.note_chain(GENESIS, 3, active_time_ms, jobs);
    }

    /// Starts the worker anew, with a sealing key of these bytes.
    fn restart(&mut self, sealing: u8) {
        self.delivery = delivery(&self.store, sealing);
        self.look(60);
    }

    fn fact(&self) -> DeliveryFact {
        self.delivery.fact(&key("ab"), &self.job.job.manifest)
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("7/delivery.json")
    }
}

fn delivery(store: &JobStore, sealing: u8) -> Delivery {
    let worker = keypair_from_uri("//Eve").unwrap();
    Delivery::new(worker, StaticSecret::from([sealing; 32]), store.clone())
}

fn sealed_to(plain: &PlainManifest, machine: u64, sealing: u8) -> Vec<u8> {
    let context = SealContext {
        genesis_hash: GENESIS,
        job: 7,
        machine,
        sealing_key: sealing_public_key(&StaticSecret::from([sealing; 32])),
    };
    plain.seal(&context).unwrap().bytes().to_vec()
}

#[test]
fn delivery_is_kept_sealed_and_answered_with_one_receipt() {
    let plain = plain("marker");
    let mut machine = Machine::of(sealed_job(&plain));
    assert_eq!(machine.fact(), DeliveryFact::Awaited);
    let body = sealed_to(&plain, 3, 7);
    let receipt = machine.delivery.put(7, &body).unwrap();
    let eve = account_of(&keypair_from_uri("//Eve").unwrap());
    assert!(receipt.is_signed_by(&eve, &GENESIS));
    assert_eq!(
        receipt.statement(),
        ReceiptStatement {
            job: 7,
            machine: 3,
            manifest_hash: plain.hash(),
            active_time_ms: 50
        }
    );
    assert_eq!(machine.fact(), DeliveryFact::Received);
    let file = std::fs::read_to_string(machine.file()).unwrap();
    assert!(!file.contains("marker") && !file.contains("TOKEN"), "{file}");

    // The same again, sealed anew, later, and after a restart.
    machine.look(70);
    assert_eq!(machine.delivery.put(7, &body).unwrap(), receipt);
    assert_eq!(
        machine.delivery.put(7, &sealed_to(&plain, 3, 7)).unwrap(),
        receipt
    );
    assert_eq!(std::fs::read_to_string(machine.file()).unwrap(), file);
    machine.restart(7);
    assert_eq!(machine.fact(), DeliveryFact::Received);
    assert_eq!(machine.delivery.put(7, &body).unwrap(), receipt);
    let opened = machine.delivery.manifest(&key("ab"), &plain.hash()).unwrap();
    assert_eq!(opened.env["TOKEN"], "marker");

    machine.delivery.forget(&key("ab")).unwrap();
    assert!(!machine.file().exists() && !machine.folder.path().join("7").exists());
    assert_eq!(machine.fact(), DeliveryFact::Awaited);
}

#[test]
fn put_fails_with_the_reason_and_keeps_nothing() {
    let ordered = plain("marker");
    let other = plain("marker");
    let mut machine = Machine::of(sealed_job(&ordered));
    let body = sealed_to(&ordered, 3, 7);
    let refusal = |machine: &Machine, body: &[u8]| machine.delivery.put(7, body).unwrap_err();
    for (body, expected) in [
        (sealed_to(&ordered, 4, 7), "does not open"),
        (sealed_to(&ordered, 3, 8), "does not open"),
        (sealed_to(&other, 3, 7), "not the one that was ordered"),
        (vec![0; 10], "this has 10"),
        (vec![0; 1_000_000], "this has 1000000"),
    ] {
        let text = refusal(&machine, &body).to_string();
        assert!(text.contains(expected), "{text}");
    }
    let unknown = machine.delivery.put(8, &body).unwrap_err();
    assert!(matches!(unknown, DeliveryError::NotAssigned { job: 8 }));
    machine.job = assigned(machine.job.job.manifest, [1; 32]);
    machine.look(50);
    let other_image = refusal(&machine, &body).to_string();
    assert!(
        other_image.contains("the order names sha256:0101"),
        "{other_image}"
    );
    machine.job = assigned(
        Manifest::Public(assay_client::types::ManifestRef::of(b"{}")),
        DIGEST,
    );
    machine.look(50);
    assert!(matches!(
        refusal(&machine, &body),
        DeliveryError::Public { job: 7 }
    ));
    assert_eq!(machine.fact(), DeliveryFact::NotNeeded);
    let early = delivery(&machine.store, 7).put(7, &body).unwrap_err();
    assert!(matches!(early, DeliveryError::NotReady));
    assert!(!machine.file().exists());
}

#[test]
fn manifest_that_is_not_valid_gets_no_receipt() {
    for json in ["", "{}", r#"{"image":"a"}"#] {
        let plain = PlainManifest::from_bytes([&[5; 32], json.as_bytes()].concat()).unwrap();
        let machine = Machine::of(sealed_job(&plain));
        let error = machine.delivery.put(7, &sealed_to(&plain, 3, 7)).unwrap_err();
        assert!(matches!(error, DeliveryError::Invalid { .. }), "{error}");
        assert!(machine.delivery.close(&key("ab")), "nothing usable was delivered");
    }
}

#[test]
fn closed_job_takes_no_delivery_and_a_receipt_keeps_it_open() {
    let plain = plain("marker");
    let machine = Machine::of(sealed_job(&plain));
    let body = sealed_to(&plain, 3, 7);
    assert!(machine.delivery.close(&key("ab")));
    let late = machine.delivery.put(7, &body).unwrap_err();
    assert!(matches!(late, DeliveryError::TooLate { job: 7 }));
    assert!(!machine.file().exists());

    let machine = Machine::of(sealed_job(&plain));
    machine.delivery.put(7, &body).unwrap();
    assert!(!machine.delivery.close(&key("ab")));
    machine.delivery.put(7, &body).unwrap();
}

#[test]
fn lost_ciphertext_is_delivered_again_and_still_counts_as_received() {
    let plain = plain("marker");
    let mut machine = Machine::of(sealed_job(&plain));
    let receipt = machine.delivery.put(7, &sealed_to(&plain, 3, 7)).unwrap();

    // Another sealing key: the ciphertext cannot be opened any more.
    machine.restart(8);
    assert_eq!(machine.fact(), DeliveryFact::Unusable);
    assert!(!machine.delivery.close(&key("ab")));
    let error = machine.delivery.manifest(&key("ab"), &plain.hash()).unwrap_err();
    assert!(error.to_string().contains("earlier key"), "{error}");
    assert_eq!(
        machine.delivery.put(7, &sealed_to(&plain, 3, 8)).unwrap(),
        receipt
    );
    assert_eq!(machine.fact(), DeliveryFact::Received);

    // A corrupted file: a receipt may have been given.
    std::fs::write(machine.file(), "{").unwrap();
    machine.restart(8);
    assert_eq!(machine.fact(), DeliveryFact::Unusable);
    assert!(!machine.delivery.close(&key("ab")));
    machine.delivery.put(7, &sealed_to(&plain, 3, 8)).unwrap();
    assert_eq!(machine.fact(), DeliveryFact::Received);
    machine.delivery.forget(&key("ab")).unwrap();
    machine.restart(8);
    assert_eq!(machine.fact(), DeliveryFact::Awaited);
}

#[test]
fn delivery_of_another_chains_job_does_not_count() {
    let plain = plain("marker");
    let machine = Machine::of(sealed_job(&plain));
    machine.delivery.put(7, &sealed_to(&plain, 3, 7)).unwrap();
    let fact = machine.delivery.fact(&key("cd"), &machine.job.job.manifest);
    assert_eq!(fact, DeliveryFact::Awaited);
    machine.delivery.forget(&key("cd")).unwrap();
    assert_eq!(
        machine.fact(),
        DeliveryFact::Received,
        "nothing of it was removed"
    );
}

#[test]
fn full_disk_gives_no_receipt() {
    let plain = plain("marker");
    let machine = Machine::of(sealed_job(&plain));
    // A file in place of the job's folder.
    std::fs::write(machine.folder.path().join("7"), "").unwrap();
    let error = machine.delivery.put(7, &sealed_to(&plain, 3, 7)).unwrap_err();
    assert!(matches!(error, DeliveryError::Store(_)), "{error}");
}
