#![allow(clippy::unwrap_used)]

use assay_client::manifest::{PortProtocol, Profile};
use k8s_openapi::api::{core::v1::PodSpec, networking::v1::NetworkPolicySpec};
use serde_json::json;

use super::{images::ImageConfig, *};
use crate::{
    config::SlotShare,
    engine::{
        Bandwidth, BindMount, ContainerIdentity, ContainerNetwork, DeviceAccess, DiskRequest,
        NetworkDestination, NetworkRules, OutputRequest, PublishedPort,
    },
    registry::{PUBLIC_REGISTRIES, RegistryNames},
};

fn spec() -> ContainerSpec {
    ContainerSpec {
        identity: ContainerIdentity {
            job: 7,
            machine: 3,
            worker: "ab".repeat(32),
            fingerprint: "cd".repeat(16),
        },
        image: format!("registry.example/a@sha256:{}", "ef".repeat(32)),
        entrypoint: Vec::new(),
        command: vec!["run".into()],
        environment: vec!["KEY=value".into()],
        share: SlotShare {
            memory_mib: 512,
            cpu_millis: 1_500,
            processes: 64,
        },
        shm_mib: 64,
        profile: Profile::Batch,
        capabilities: Vec::new(),
        writable_root: false,
        runtime: None,
        network: ContainerNetwork::None,
        ports: Vec::new(),
        devices: DeviceAccess::None,
        holding: Holding::default(),
        disk: Some(DiskRequest {
            target: "/work".into(),
            bytes: 10 * 1_024 * 1_024 * 1_024,
            output: None,
        }),
        mounts: Vec::new(),
    }
}

fn settings() -> KubernetesSettings {
    KubernetesSettings {
        node: Some("node-1".into()),
        ..KubernetesSettings::default()
    }
}

fn pod_of(spec: &ContainerSpec, image: &ImageConfig, settings: &KubernetesSettings) -> PodSpec {
    objects::pod(spec, image, settings).unwrap().spec.unwrap()
}

fn policy(network: ContainerNetwork) -> NetworkPolicySpec {
    let spec = ContainerSpec { network, ..spec() };
    objects::network_policy(&spec).spec.unwrap()
}

#[test]
fn pod_of_a_batch_job_fits_the_restricted_standard() {
    let pod = pod_of(&spec(), &ImageConfig::default(), &settings());
    let container = &pod.containers[0];
    let security = container.security_context.as_ref().unwrap();
    let of_pod = pod.security_context.as_ref().unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.privileged, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let capabilities = security.capabilities.as_ref().unwrap();
    assert_eq!(
        (&capabilities.drop, &capabilities.add),
        (&Some(vec!["ALL".into()]), &None)
    );
    assert_eq!(of_pod.run_as_non_root, Some(true));
    assert_eq!(of_pod.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
    assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
    assert!(container.ports.is_none());
    // Of the volumes that the standard allows, these kinds only.
    for volume in pod.volumes.as_ref().unwrap() {
        assert!(
            volume.config_map.is_some() || volume.empty_dir.is_some() || volume.ephemeral.is_some(),
            "{}",
            volume.name
        );
    }
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    assert_eq!(pod.node_selector.unwrap()["kubernetes.io/hostname"], "node-1");
    let labels = objects::namespace(&spec()).metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    // Values of labels have 63 characters at most.
    assert!(labels.values().all(|value| value.len() <= 63), "{labels:?}");
}

#[test]
fn interactive_job_is_relaxed_to_the_baseline_and_no_further() {
    let spec = ContainerSpec {
        profile: Profile::Interactive,
        capabilities: crate::lease::profile::capabilities(Profile::Interactive),
        writable_root: true,
        ..spec()
    };
    let labels = objects::namespace(&spec).metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    let pod = pod_of(&spec, &ImageConfig::default(), &settings());
    let security = pod.containers[0].security_context.as_ref().unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(true));
    assert_eq!(security.read_only_root_filesystem, Some(false));
    // What the baseline standard allows to be added.
    let baseline = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let added = security.capabilities.as_ref().unwrap().add.as_ref().unwrap();
    assert!(
        added.iter().all(|name| baseline.contains(&name.as_str())),
        "{added:?}"
    );
}

#[test]
fn root_of_an_image_is_replaced_in_batch_jobs() {
    for (user, replaced) in [
        ("", Some(65_532)),
        ("0", Some(65_532)),
        ("0:0", Some(65_532)),
        ("root", Some(65_532)),
        ("nginx", Some(65_532)),
        ("-1", Some(65_532)),
        ("1000", None),
        ("1000:0", None),
    ] {
        assert_eq!(objects::replaced_user(user), replaced, "{user}");
    }
}

#[test]
fn limits_are_those_of_the_share() {
    let limits = |spec: &ContainerSpec, settings: &KubernetesSettings| {
        let pod = pod_of(spec, &ImageConfig::default(), settings);
        let resources = pod.containers[0].resources.clone().unwrap();
        assert_eq!(resources.limits, resources.requests);
        let mut limits: Vec<_> = resources
            .limits
            .unwrap()
            .into_iter()
            .map(|(name, quantity)| format!("{name}={}", quantity.0))
            .collect();
        limits.sort_unstable();
        limits.join(" ")
    };
    assert_eq!(
        limits(&spec(), &settings()),
        "cpu=1500m ephemeral-storage=11264Mi memory=512Mi"
    );
    let class = KubernetesSettings {
        storage_class: Some("local".into()),
        runtime_class: Some("gvisor".into()),
        ..settings()
    };
    assert_eq!(
        limits(&spec(), &class),
        "cpu=1500m ephemeral-storage=1024Mi memory=512Mi"
    );
    let gpus = ContainerSpec {
        devices: DeviceAccess::Nvidia(vec!["GPU-a".into(), "GPU-b".into()]),
        ..spec()
    };
    assert!(limits(&gpus, &class).ends_with("nvidia.com/gpu=2"));
    // The device plugin chooses; nothing may override it.
    assert_eq!(
        pod_of(&gpus, &ImageConfig::default(), &class).containers[0].env,
        Some(Vec::new())
    );
    // What hooks obey besides is the lease's, and no library of the image is loaded into them.
    let image = ImageConfig {
        environment: [
            "LD_PRELOAD=/proc/self/cwd/library.so",
            "LD_LIBRARY_PATH=/usr/lib",
            "NVIDIA_VISIBLE_DEVICES=all",
            "NVIDIA_IMEX_CHANNELS=0",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..ImageConfig::default()
    };
    let guarded = ContainerSpec {
        environment: ["NVIDIA_IMEX_CHANNELS=1", "NVIDIA_IMEX_CHANNELS=", "OTHER=x"]
            .map(str::to_owned)
            .to_vec(),
        ..gpus
    };
    let variables = |spec: &ContainerSpec| -> Vec<String> {
        let mut pod = pod_of(spec, &image, &class);
        let variables = pod.containers.remove(0).env.unwrap();
        variables
            .into_iter()
            .map(|variable| format!("{}={}", variable.name, variable.value.unwrap()))
            .collect()
    };
    assert_eq!(variables(&guarded), ["NVIDIA_IMEX_CHANNELS=", "LD_PRELOAD="]);
    assert_eq!(
        variables(&spec()),
        ["NVIDIA_VISIBLE_DEVICES=void", "AMD_VISIBLE_DEVICES=void"]
    );
    // The node gets the manifest that the worker read, and never an index.
    let image = ImageConfig {
        manifest: format!("sha256:{}", "12".repeat(32)),
        ..ImageConfig::default()
    };
    assert_eq!(
        pod_of(&spec(), &image, &class).containers[0].image,
        Some(format!("registry.example/a@sha256:{}", "12".repeat(32)))
    );
    let pod = pod_of(&spec(), &ImageConfig::default(), &class);
    assert_eq!(pod.runtime_class_name.as_deref(), Some("gvisor"));
    let disk = pod
        .volumes
        .unwrap()
        .into_iter()
        .find(|volume| volume.name == "disk")
        .unwrap();
    let claim = disk.ephemeral.unwrap().volume_claim_template.unwrap().spec;
    assert_eq!(claim.storage_class_name.as_deref(), Some("local"));
    assert_eq!(claim.resources.unwrap().requests.unwrap()["storage"].0, "10240Mi");
}

#[test]
fn every_declared_volume_has_a_limit() {
    let image = ImageConfig {
        volumes: vec!["/data".into(), "/work".into()],
        ..ImageConfig::default()
    };
    for disk in [spec().disk, None] {
        let spec = ContainerSpec { disk, ..spec() };
        let pod = pod_of(&spec, &image, &settings());
        let mut paths: Vec<_> = pod.containers[0]
            .volume_mounts
            .as_ref()
            .unwrap()
            .iter()
            .map(|mount| mount.mount_path.clone())
            .collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "/data",
                "/dev/shm",
                "/run",
                "/run/assay",
                "/tmp",
                "/var/tmp",
                "/work"
            ]
        );
        for volume in pod.volumes.unwrap() {
            assert!(
                volume.config_map.is_some()
                    || volume.empty_dir.is_some_and(|folder| folder.size_limit.is_some()),
                "{}",
                volume.name
            );
        }
    }
}

#[test]
fn what_a_cluster_cannot_give_is_refused() {
    let refusal = |spec: ContainerSpec| {
        let error = objects::pod(&spec, &ImageConfig::default(), &settings()).unwrap_err();
        assert!(error.is_permanent(), "{error}");
        error.to_string()
    };
    let mounted = ContainerSpec {
        mounts: vec![BindMount {
            source: "/etc".into(),
            target: "/host".into(),
            is_read_only: true,
        }],
        ..spec()
    };
    assert!(refusal(mounted).contains("/host"));
    let named = ContainerSpec {
        network: ContainerNetwork::Named {
            name: "bridge".into(),
            resolvers: Vec::new(),
        },
        ..spec()
    };
    assert!(refusal(named).contains("networks"));
    let nodes = ContainerSpec {
        devices: DeviceAccess::Nodes(vec!["/dev/kfd".into()]),
        ..spec()
    };
    assert!(refusal(nodes).contains("AMD"));
}

#[test]
fn policy_allows_what_the_manifest_asks_for_and_nothing_else() {
    let closed = policy(ContainerNetwork::None);
    assert_eq!(closed.policy_types.unwrap(), ["Ingress", "Egress"]);
    assert_eq!(
        (closed.egress, closed.ingress),
        (Some(Vec::new()), Some(Vec::new()))
    );
    assert_eq!(closed.pod_selector, Some(Default::default()));

    let rules = NetworkRules {
        destinations: vec![
            NetworkDestination {
                network: "0.0.0.0/0".parse().unwrap(),
                port: None,
            },
            NetworkDestination {
                network: "1.1.1.0/24".parse().unwrap(),
                port: Some(443),
            },
        ],
        refused: vec!["10.0.0.0/8".parse().unwrap(), "1.1.1.128/25".parse().unwrap()],
        ..NetworkRules::default()
    };
    let open = serde_json::to_value(policy(ContainerNetwork::Rules(rules))).unwrap();
    assert_eq!(
        open["egress"],
        json!([
            { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "1.1.1.128/25"] } }] },
            {
                "ports": [{ "port": 443, "protocol": "TCP" }, { "port": 443, "protocol": "UDP" }],
                "to": [{ "ipBlock": { "cidr": "1.1.1.0/24", "except": ["1.1.1.128/25"] } }]
            }
        ])
    );
    assert_eq!(open["ingress"], json!([]));
}

#[test]
fn ports_are_published_by_a_service_and_let_in_by_the_policy() {
    let port = |protocol, host_port, container_port| PublishedPort {
        host_address: [127, 0, 0, 1].into(),
        host_port,
        container_port,
        protocol,
    };
    let rules = NetworkRules {
        ports: vec![
            (PortProtocol::Http, 8_080),
            (PortProtocol::Tcp, 22),
            (PortProtocol::Udp, 22),
        ],
        ..NetworkRules::default()
    };
    let published = ContainerSpec {
        ports: vec![
            port(PortProtocol::Tcp, 30_001, 22),
            port(PortProtocol::Udp, 30_001, 22),
        ],
        network: ContainerNetwork::Rules(rules.clone()),
        ..spec()
    };
    assert!(ports::service(&spec()).is_none());
    let service = serde_json::to_value(ports::service(&published).unwrap().spec.unwrap()).unwrap();
    assert_eq!(
        service["ports"],
        json!([
            { "name": "tcp-30001", "nodePort": 30_001, "port": 30_001, "protocol": "TCP", "targetPort": 22 },
            { "name": "udp-30001", "nodePort": 30_001, "port": 30_001, "protocol": "UDP", "targetPort": 22 }
        ])
    );
    assert_eq!(service["type"], "NodePort");
    assert_eq!(service["externalTrafficPolicy"], "Local");
    assert_eq!(service["selector"]["assay.job"], "7");
    // No port of the host: the restricted standard forbids them.
    assert!(
        pod_of(&published, &ImageConfig::default(), &settings()).containers[0]
            .ports
            .is_none()
    );
    let policy = serde_json::to_value(policy(ContainerNetwork::Rules(rules))).unwrap();
    assert_eq!(
        policy["ingress"],
        json!([{
            "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }],
            "ports": [
                { "port": 8_080, "protocol": "TCP" },
                { "port": 22, "protocol": "TCP" },
                { "port": 22, "protocol": "UDP" }
            ]
        }])
    );
    assert_eq!(policy["egress"], json!([]));
}

#[test]
fn bandwidth_is_told_to_the_network_plugin() {
    let annotations = |bandwidth| {
        let rules = NetworkRules {
            bandwidth,
            ..NetworkRules::default()
        };
        let spec = ContainerSpec {
            network: ContainerNetwork::Rules(rules),
            ..spec()
        };
        let pod = objects::pod(&spec, &ImageConfig::default(), &settings()).unwrap();
        let annotation = |name: &str| {
            pod.annotations()
                .get(&format!("kubernetes.io/{name}-bandwidth"))
                .cloned()
        };
        (annotation("egress"), annotation("ingress"))
    };
    assert_eq!(annotations(None), (None, None));
    let limits = Bandwidth {
        upload: 1_250_000,
        download: 1,
    };
    assert_eq!(
        annotations(Some(limits)),
        (Some("10000000".into()), Some("1000".into()))
    );
}

#[test]
fn output_folder_is_noted_at_the_namespace() {
    let spec = ContainerSpec {
        disk: Some(DiskRequest {
            target: "/work".into(),
            bytes: 5,
            output: Some(OutputRequest {
                below: "out".into(),
                folder: "/var/lib/assay/outputs/7-cd".into(),
            }),
        }),
        ..spec()
    };
    let namespace = objects::namespace(&spec);
    let copy = collect::OutputCopy::of_namespace(&namespace);
    assert_eq!(copy, collect::OutputCopy::of_spec(&spec));
    assert!(copy.is_some_and(|copy| !copy.is_done()));
}

#[test]
fn sealed_launch_is_nowhere_in_the_objects() {
    let mount = |name: &str, target: &str| BindMount {
        source: format!("/run/assay-worker/x/{name}").into(),
        target: target.to_owned(),
        is_read_only: true,
    };
    let sealed = ContainerSpec {
        entrypoint: vec![assay_init::PROGRAM.into()],
        command: Vec::new(),
        environment: vec!["CUDA_VISIBLE_DEVICES=void".into()],
        mounts: vec![
            mount("assay", assay_init::FOLDER),
            mount("secrets", assay_init::SECRETS_FOLDER),
        ],
        ..spec()
    };
    let image = ImageConfig::default();
    let pod = objects::pod(&sealed, &image, &settings()).unwrap();
    let files = launch::files(&sealed, &image, &pod).unwrap();
    assert_eq!(
        files.binary_data.as_ref().unwrap().keys().collect::<Vec<_>>(),
        ["init"]
    );
    assert_eq!(objects::stored_pod(&files), Some(pod));
    let annotations = objects::namespace(&sealed).metadata.annotations.unwrap();
    assert_eq!(annotations["assay.launch-folder"], "/run/assay-worker/x/assay");
    // A public one is stored.
    let pod = objects::pod(&spec(), &image, &settings()).unwrap();
    let files = launch::files(&spec(), &image, &pod).unwrap();
    let launch = assay_init::Launch::decode(&files.binary_data.unwrap()["launch"].0).unwrap();
    assert_eq!(launch.command, ["run"]);
    assert_eq!(launch.environment, [("KEY".to_owned(), "value".to_owned())]);
}

#[test]
fn state_follows_from_the_namespace_and_its_pod() {
    let namespace = |launched: Option<&str>| -> Namespace {
        let mut made = objects::namespace(&spec());
        made.metadata.uid = Some("n".into());
        if let Some(uid) = launched {
            made.annotations_mut().insert(LAUNCHED.into(), uid.into());
        }
        made
    };
    let pod = |uid: &str, state: serde_json::Value| -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "job", "uid": uid },
            "status": {
                "phase": "Running",
                "containerStatuses": [{
                    "name": "job", "state": state, "image": "", "imageID": "", "ready": true, "restartCount": 0
                }]
            }
        }))
        .unwrap()
    };
    let running = json!({ "running": {} });
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
    for (launched, pod, state) in [
        (None, None, ContainerState::Created),
        (None, Some(pod("a", running.clone())), ContainerState::Created),
        (None, Some(pod("a", ended.clone())), ContainerState::Created),
        (
            Some("a"),
            Some(pod("a", running.clone())),
            ContainerState::Running,
        ),
        (Some("a"), Some(pod("a", ended)), ContainerState::Exited),
        // The pod that ran is gone.
        (Some("a"), None, ContainerState::Exited),
        (Some("a"), Some(pod("b", running)), ContainerState::Exited),
        (
            Some("a"),
            Some(pod("a", json!({ "waiting": {} }))),
            ContainerState::Stuck,
        ),
    ] {
        assert_eq!(state_of(&namespace(launched), pod.as_ref()), state);
    }
    let evicted: Pod = serde_json::from_value(json!({
        "metadata": { "name": "job", "uid": "a" },
        "status": { "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource" }
    }))
    .unwrap();
    assert_eq!(
        state_of(&namespace(Some("a")), Some(&evicted)),
        ContainerState::Exited
    );
    let id = ContainerId {
        namespace: "x".into(),
        uid: "n".into(),
    };
    let mut going = namespace(None);
    assert!(describe(&going, None, RunFact::Unwatched, &id).is_some());
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2030-01-01T00:00:00Z")).unwrap();
    assert_eq!(describe(&going, None, RunFact::Unwatched, &id), None);
}

#[test]
fn amounts_of_nodes_are_read() {
    for (text, thousandths) in [
        ("4", Some(4_000)),
        ("3900m", Some(3_900)),
        ("2Ki", Some(2_048_000)),
        ("16Gi", Some(16 * 1_024 * 1_024 * 1_024 * 1_000)),
        ("x", None),
        ("1e3", None),
    ] {
        assert_eq!(objects::amount(text), thousandths, "{text}");
    }
}

#[test]
fn names_by_digest_are_compared_without_the_default_registry() {
    assert!(same_repository(
        "docker.io/library/busybox@sha256:1",
        "busybox@sha256:1"
    ));
    assert!(same_repository("a.example/b@sha256:1", "a.example/b@sha256:1"));
    assert!(!same_repository("a.example/b@sha256:1", "c.example/b@sha256:1"));
}

#[test]
fn nodes_pull_from_named_registries_only() {
    let engine = KubernetesEngine::new(KubernetesSettings {
        registries: RegistryNames::new(PUBLIC_REGISTRIES).unwrap(),
        private_registries: RegistryNames::new(["registry.lan:5000"]).unwrap(),
        ..settings()
    });
    for (name, is_allowed) in [
        ("busybox", true),
        ("docker.io/library/busybox", true),
        ("quay.io/a/b", true),
        ("registry.lan:5000/a", true),
        ("registry.lan/a", false),
        ("quay.io.example/a", false),
        ("other.example/a", false),
    ] {
        let image = format!("{name}@sha256:{}", "ab".repeat(32)).parse().unwrap();
        let checked = engine.check_registry(&image);
        assert_eq!(checked.is_ok(), is_allowed, "{name}: {checked:?}");
    }
}

#[tokio::test]
async fn pods_cannot_be_paused() {
    let engine = KubernetesEngine::new(settings());
    let error = engine.unpause("namespace/uid").await.unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("pods cannot be paused"),
        "{error}"
    );
}
