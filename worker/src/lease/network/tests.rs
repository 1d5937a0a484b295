#![allow(clippy::unwrap_used)]

use super::*;
use crate::engine::ImageRoot;

fn manifest(more: &str) -> JobManifest {
    let text = format!(
        r#"{{"image":"localhost:5000/a@sha256:{}"{more}}}"#,
        "ab".repeat(32)
    );
    JobManifest::from_bytes(text.as_bytes()).unwrap()
}

fn wish(more: &str) -> Option<Wish> {
    Wish::of(&manifest(more)).unwrap()
}

#[test]
fn job_without_wishes_has_no_network() {
    assert!(wish("").is_none());
    let wish = wish(r#","ports":[{"port":80,"protocol":"http"}]"#).unwrap();
    assert_eq!(wish.access, Access::Off);
}

#[test]
fn allow_list_is_sorted_into_networks_and_names() {
    let wish =
        wish(r#","network":{"allow":["1.2.3.0/24:443","example.org:443","example.org","1.1.1.1"]}"#).unwrap();
    assert_eq!(
        wish.access,
        Access::Allow {
            networks: vec![
                ("1.2.3.0/24".parse().unwrap(), Some(443)),
                ("1.1.1.1/32".parse().unwrap(), None),
            ],
            has_names: true,
        }
    );
    assert_eq!(
        wish.names,
        AllowedNames::from([("example.org".into(), vec![Some(443), None])])
    );
}

#[test]
fn allow_list_fails_when_nothing_of_a_destination_can_be_reached() {
    for (destination, reason) in [
        ("10.0.0.0/8", "which is not of the public network"),
        ("169.254.169.254:80", "which is not of the public network"),
        (
            "[2606:4700::1111]:443",
            "and networks of jobs have IPv4 addresses only",
        ),
    ] {
        let manifest = manifest(&format!(r#","network":{{"allow":["{destination}"]}}"#));
        let error = Wish::of(&manifest).err().unwrap().to_string();
        assert!(
            error.starts_with("the manifest allows ") && error.ends_with(reason),
            "{error}"
        );
    }
}

fn networks(folder: &tempfile::TempDir, ports: Option<std::ops::RangeInclusive<u16>>) -> JobNetworks {
    let endpoint = crate::engine::EngineEndpoint::resolve(Some("http://192.0.2.1:1"));
    JobNetworks::open(JobNetworkParts {
        engine: DockerEngine::new(endpoint),
        settings: JobNetworkSettings {
            port_range: ports,
            ..JobNetworkSettings::default()
        },
        listen_address: [127, 0, 0, 1].into(),
        upload_per_slot: 1,
        download_per_slot: 1,
        worker: "ab12cd34".repeat(8),
        folder: folder.path().to_owned(),
        disk: Disk::default(),
    })
    .unwrap()
}

fn key(job: u64) -> LeaseKey {
    LeaseKey {
        job,
        fingerprint: "f".repeat(32),
    }
}

async fn refusal(networks: &JobNetworks, manifest: &JobManifest) -> String {
    let request = LeaseRequest {
        key: key(7),
        slots: 1,
        share: crate::config::SlotShare {
            memory_mib: 1,
            cpu_millis: 1,
            processes: 1,
        },
        manifest,
        image: &ImageRoot::default(),
    };
    match networks.take(&request).await {
        Err(LeaseError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn engine_elsewhere_gives_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let networks = networks(&folder, None);
    let reason = refusal(&networks, &manifest(r#","network":true"#)).await;
    // Without the program, that is the first reason.
    let is_told =
        reason.contains("name its socket with `assay.engine`") || reason.contains("install nftables");
    assert!(
        reason.starts_with("this machine gives jobs no network") && is_told,
        "{reason}"
    );
    // A manifest that needs no network of the engine needs no enforcement either.
    let none = manifest("");
    let request = LeaseRequest {
        key: key(8),
        slots: 1,
        share: crate::config::SlotShare {
            memory_mib: 1,
            cpu_millis: 1,
            processes: 1,
        },
        manifest: &none,
        image: &ImageRoot::default(),
    };
    assert_eq!(
        networks.take(&request).await.unwrap().network,
        ContainerNetwork::None
    );
    assert!(networks.ensure(&key(8)).await.unwrap());
}

#[tokio::test]
async fn ports_fail_when_there_is_no_range() {
    let folder = tempfile::tempdir().unwrap();
    let networks = networks(&folder, None);
    let reason = refusal(&networks, &manifest(r#","ports":[{"port":22}]"#)).await;
    assert!(reason.contains("`assay.network.port_range`"), "{reason}");
}

#[test]
fn ports_are_told_by_name_and_path() {
    let folder = tempfile::tempdir().unwrap();
    let networks = networks(&folder, Some(30_000..=30_001));
    let manifest =
        manifest(r#","ports":[{"port":22},{"port":8080,"protocol":"http","name":"web","public":true}]"#);
    let inner = &networks.0;
    inner
        .ledger()
        .give(&key(7), &manifest.ports, &inner.pool(), &[], |_, _| true)
        .unwrap();
    let ports = serde_json::to_value(networks.ports(&key(7))).unwrap();
    assert_eq!(
        ports,
        serde_json::json!([
            { "name": "tcp-22", "protocol": "tcp", "container_port": 22, "host_port": 30_000, "path": null, "public": true },
            { "name": "web", "protocol": "http", "container_port": 8080, "host_port": null,
              "path": "/v1/jobs/7/ports/web/", "public": true },
        ])
    );
    assert_eq!(networks.ports(&key(8)), []);
    let target = networks.http_target(7, "web").unwrap();
    assert_eq!(target.address.to_string(), "10.231.0.2:8080");
    assert!(target.is_public);
    assert_eq!(networks.http_target(7, "tcp-22"), None);
    assert_eq!(networks.http_target(8, "web"), None);
}
