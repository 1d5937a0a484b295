#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    manifest::{ManifestError, Secret},
    market::Near,
    types::{Location, ManifestRef},
};

fn spec() -> OrderSpec {
    OrderSpec::new("registry.example/team/finetune:v2.4".parse().unwrap())
}

fn reference(name: &str) -> ImageReference {
    format!("{name}@sha256:{}", "ab".repeat(32)).parse().unwrap()
}

/// First rule that a changed order breaks.
fn broken(change: impl FnOnce(&mut OrderSpec)) -> OrderError {
    let mut spec = spec();
    change(&mut spec);
    spec.check().unwrap_err()
}

#[test]
fn order_by_default_is_one_sealed_task_for_the_image_as_it_is() {
    let spec = spec();
    spec.check().unwrap();
    let image = reference("registry.example/team/finetune:v2.4");
    assert_eq!(spec.manifest(image.clone()).unwrap(), JobManifest::new(image));
    assert!(spec.sealed);
    assert_eq!(
        spec.search(),
        Requirements {
            min_free_slots: 1,
            min_nodes: 1,
            ..Requirements::default()
        }
    );
}

#[test]
fn order_fails_when_a_bound_is_broken() {
    assert_eq!(broken(|spec| spec.nodes = 0), OrderError::BadNodes { nodes: 0 });
    assert_eq!(broken(|spec| spec.nodes = 65), OrderError::BadNodes { nodes: 65 });
    assert_eq!(broken(|spec| spec.slots = 65), OrderError::BadSlots { slots: 65 });
    for duration_ms in [MIN_DURATION_MS - 1, MAX_DURATION_MS + 1] {
        assert_eq!(
            broken(|spec| spec.max_duration_ms = duration_ms),
            OrderError::BadDuration { duration_ms }
        );
    }
    for attempts in [0, MAX_ATTEMPTS + 1] {
        assert_eq!(
            broken(|spec| spec.retry.attempts = attempts),
            OrderError::BadAttempts { attempts }
        );
    }
    let nowhere = Near {
        center: Location {
            latitude_microdegrees: 90_000_001,
            longitude_microdegrees: 0,
        },
        within_km: 1,
    };
    assert_eq!(
        broken(|spec| spec.requirements.near = Some(nowhere)),
        OrderError::NotOnEarth
    );
}

#[test]
fn order_fails_when_the_chain_would_refuse_its_verification() {
    let quorum = |replicas, threshold| JobKind::Task {
        verification: Verification::Quorum { replicas, threshold },
    };
    let with_kind = |nodes, kind| {
        broken(|spec| {
            spec.nodes = nodes;
            spec.kind = kind;
        })
    };
    assert_eq!(
        with_kind(2, quorum(3, 2)),
        OrderError::BadReplicas {
            replicas: 3,
            nodes: 2
        }
    );
    assert_eq!(
        with_kind(17, quorum(17, 9)),
        OrderError::BadReplicas {
            replicas: 17,
            nodes: 17
        }
    );
    for threshold in [2, 5] {
        assert_eq!(
            with_kind(4, quorum(4, threshold)),
            OrderError::BadThreshold {
                threshold,
                replicas: 4
            }
        );
    }
    let wait_ms = MAX_VERIFICATION_MS + 1;
    assert_eq!(
        with_kind(1, JobKind::task(wait_ms)),
        OrderError::BadVerification { wait_ms }
    );
    let proof = JobKind::Task {
        verification: Verification::Proof {
            verifying_key: [0; 32].into(),
        },
    };
    assert_eq!(with_kind(1, proof), OrderError::ProofNotSupported);

    let mut replicated = spec();
    replicated.nodes = 3;
    replicated.kind = quorum(3, 2);
    replicated.check().unwrap();
    assert!(replicated.needs_distinct_providers());
    assert_eq!(
        replicated.search().min_nodes,
        1,
        "no provider has all the replicas"
    );
    replicated.max_duration_ms = wait_ms;
    assert_eq!(replicated.check(), Err(OrderError::BadVerification { wait_ms }));
}

#[test]
fn manifest_fails_when_the_image_is_another_or_a_secret_is_public() {
    let mut spec = spec();
    assert!(matches!(
        spec.manifest(reference("registry.example/team/other")),
        Err(OrderError::OtherImage { .. })
    ));
    spec.container
        .secrets
        .insert("token".into(), Secret::Text("s3cret".into()));
    spec.container.env.insert("KEY".into(), "s3cret".into());
    spec.check().unwrap();
    assert!(!format!("{spec:?}").contains("s3cret"));
    spec.sealed = false;
    assert_eq!(
        spec.check(),
        Err(OrderError::Manifest(ManifestError::Exposed { key: "secrets" }))
    );
}

#[test]
fn settings_of_a_manifest_make_the_same_manifest() {
    let text = format!(
        r#"{{"image":"a@sha256:{}","entrypoint":["/e"],"command":["c"],"env":{{"K":"v"}},"secrets":{{"a":"b"}},
        "registry":{{"username":"u","password":"p"}},"network":true,"ports":[{{"port":80}}],"work_dir":"/w",
        "output":"/w/o","writable_root":true,"shm_mib":65,"profile":"interactive","runtime":"kata",
        "delegates":["5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"],"capture_stdout":false}}"#,
        "ab".repeat(32)
    );
    let manifest = JobManifest::from_sealed_bytes(text.as_bytes()).unwrap();
    let spec = OrderSpec {
        container: manifest.clone().into(),
        ..OrderSpec::new(manifest.image.clone().into())
    };
    assert_eq!(spec.manifest(manifest.image.clone()), Ok(manifest));
}

#[test]
fn requirements_travel_with_the_order() {
    let mut spec = spec();
    spec.slots = 2;
    spec.nodes = 4;
    spec.requirements.min_vram_mib = 81_920;
    spec.requirements.min_nodes = 9;
    let image = reference("registry.example/team/finetune");
    let manifest = Manifest::Public(ManifestRef::of(b"bytes"));
    let order = spec.job_order(manifest, &image, 7);
    assert_eq!(order.requirements.min_vram_mib, 81_920);
    assert_eq!((order.slots, order.requirements.min_free_slots), (2, 2));
    assert_eq!(order.max_price_per_slot_hour, 7);
    assert_eq!(order.image_digest, [0xab; 32]);
    assert_eq!(spec.search().min_nodes, 4);
    spec.spread.providers = true;
    assert_eq!(spec.search().min_nodes, 1);
    spec.max_price_per_slot_hour = Some(5);
    assert_eq!(spec.job_order(manifest, &image, 7).max_price_per_slot_hour, 5);
}
