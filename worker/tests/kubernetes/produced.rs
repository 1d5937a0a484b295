//! Stories of what leaves a pod: its output, its output folder, and its ports.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use assay_client::manifest::PortProtocol;
use assay_init::end_mark;
use assay_worker::{
    artifacts::{ArtifactError, OutputFolder},
    engine::{
        Bandwidth, ContainerEngine, ContainerNetwork, ContainerSpec, ContainerState, DiskRequest, Exit,
        KubernetesEngine, NetworkRules, OutputRequest, PublishedPort, RunEnd,
    },
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt, api::ListParams};

use super::{Fixture, clean, cluster, in_cluster};

/// Returns the identifier of a container that a worker started and left: all of its connections are gone.
fn started_by_a_worker_that_left(fixture: &Fixture, spec: &ContainerSpec) -> String {
    let (spec, target) = (spec.clone(), fixture.target(spec));
    let digest = fixture.image.digest();
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = KubernetesEngine::new(cluster::settings().unwrap());
            engine.pull(&spec.image, digest, None).await.unwrap();
            let id = engine.create(&spec).await.unwrap();
            engine.start(&id, target).await.unwrap();
            // What was sent is on its way only.
            tokio::time::sleep(Duration::from_secs(2)).await;
            id
        })
    });
    worker.join().unwrap()
}

/// Returns a disk whose folder `out` is copied to a folder of this host.
fn disk_with_output(folder: &Path, name: &str) -> DiskRequest {
    DiskRequest {
        target: "/work".into(),
        bytes: 64 * 1_024 * 1_024,
        output: Some(OutputRequest {
            below: "out".into(),
            folder: folder.join("outputs").join(name),
        }),
    }
}

fn root_hash(folder: &Path) -> [u8; 32] {
    OutputFolder::new(folder, "out")
        .listing(None, &AtomicBool::new(false))
        .unwrap()
        .root_hash()
}

#[test]
fn job_can_forge_neither_the_end_of_its_output_nor_the_report() {
    in_cluster(|fixture| async move {
        let mark = String::from_utf8(end_mark(&[0; 32])).unwrap();
        let octal = mark.replace('\0', "\\000").replace('\n', "\\n");
        let line = format!(
            "/bin/busybox printf '{octal}'; echo 'assay-init/report/1 stdout=0 {zeros} stderr=0 tag={zeros}' \
             > /dev/termination-log; /bin/busybox cat /proc/1/environ /proc/1/maps > /dev/null 2>&1 && echo read; \
             (echo forged > /proc/1/fd/1) 2>/dev/null && echo wrote; echo rest",
            zeros = "0".repeat(64)
        );
        let (end, stdout, _) = fixture.run(&fixture.spec(&line)).await;
        let expected = format!("{mark}rest\n");
        assert_eq!(end, clean(0, &expected));
        assert_eq!(stdout, expected);
    });
}

#[test]
fn killed_and_orphaned_processes_end_as_in_any_container() {
    in_cluster(|fixture| async move {
        let (end, ..) = fixture.run(&fixture.spec("kill -9 $$")).await;
        assert_eq!(end.exit, Exit::Signalled(137));
        let begun = Instant::now();
        let line = "(sleep 600; echo late) & /bin/busybox setsid sleep 600 & echo first; exit 3";
        let (end, ..) = fixture.run(&fixture.spec(line)).await;
        assert_eq!(end, clean(3, "first\n"));
        assert!(begun.elapsed() < Duration::from_secs(120));
    });
}

#[test]
fn pod_whose_worker_left_ends_once_the_next_one_has_come() {
    in_cluster(|fixture| async move {
        let spec = fixture.spec("sleep 8; echo done; exit 4");
        let id = started_by_a_worker_that_left(&fixture, &spec);
        fixture.engine.follow(&id, fixture.target(&spec)).await.unwrap();
        let end = fixture.engine.run_end(&id).await;
        assert_eq!(
            end,
            RunEnd {
                exit: Exit::Clean(4),
                stdout: None
            }
        );
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn output_folder_is_copied_before_its_disk_is_gone() {
    in_cluster(|fixture| async move {
        let line = "cd /work; /bin/busybox mkdir -p out/inner/empty beside; echo content > out/inner/file; echo x > beside/file; \
                    /bin/busybox chmod 640 out/inner/file; /bin/busybox ln -s /etc out/link; /bin/busybox mkfifo out/pipe; echo done";
        let spec = ContainerSpec {
            disk: Some(disk_with_output(fixture.folder.path(), "one")),
            ..fixture.spec(line)
        };
        let (end, stdout, stderr) = fixture.run(&spec).await;
        assert_eq!(end, clean(0, "done\n"), "{stdout} {stderr}");
        let twin = fixture.folder.path().join("twin");
        fs::create_dir_all(twin.join("out/inner")).unwrap();
        fs::write(twin.join("out/inner/file"), "content\n").unwrap();
        fs::set_permissions(twin.join("out/inner/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc", twin.join("out/link")).unwrap();
        let copy = fixture.folder.path().join("outputs/one");
        assert_eq!(root_hash(&copy), root_hash(&twin));
        assert!(!copy.join("beside").exists());
    });
}

#[test]
fn output_that_is_none_or_no_folder_counts_as_on_any_machine() {
    in_cluster(|fixture| async move {
        let spec = |name: &str, line: &str| ContainerSpec {
            disk: Some(disk_with_output(fixture.folder.path(), name)),
            ..fixture.spec(line)
        };
        let folder = |name: &str| fixture.folder.path().join("outputs").join(name);
        assert_eq!(fixture.run(&spec("none", "exit 1")).await.0, clean(1, ""));
        fs::create_dir(fixture.folder.path().join("empty")).unwrap();
        assert_eq!(
            root_hash(&folder("none")),
            root_hash(&fixture.folder.path().join("empty"))
        );
        fixture
            .run(&spec("link", "/bin/busybox ln -s /etc /work/out"))
            .await;
        let listed = OutputFolder::new(folder("link"), "out").listing(None, &AtomicBool::new(false));
        assert!(matches!(listed, Err(ArtifactError::TooMuch { .. })), "{listed:?}");
    });
}

#[test]
fn output_folder_waits_for_the_next_worker() {
    in_cluster(|fixture| async move {
        let spec = ContainerSpec {
            disk: Some(disk_with_output(fixture.folder.path(), "late")),
            // It ends when the worker is gone.
            ..fixture.spec(
                "/bin/busybox mkdir /work/out; echo content > /work/out/file; /bin/busybox sleep 15; exit 6",
            )
        };
        let id = started_by_a_worker_that_left(&fixture, &spec);
        // Longer than a pod without an output folder waits.
        tokio::time::sleep(Duration::from_secs(45)).await;
        let copy = fixture.folder.path().join("outputs/late");
        assert!(!copy.exists());
        let listed = fixture.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].state, ContainerState::Running);
        fixture.engine.follow(&id, fixture.target(&spec)).await.unwrap();
        assert_eq!(fixture.engine.run_end(&id).await.exit, Exit::Clean(6));
        assert_eq!(fs::read_to_string(copy.join("out/file")).unwrap(), "content\n");
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn ports_are_published_and_removed_with_the_job() {
    in_cluster(|fixture| async move {
        let used = fixture.engine.node_ports().await.unwrap();
        let free = (30_000..32_767_u16).find(|port| !used.contains(port)).unwrap();
        let port = |protocol, host_port| PublishedPort {
            host_address: [0, 0, 0, 0].into(),
            host_port,
            container_port: 5_000,
            protocol,
        };
        let rules = NetworkRules {
            ports: vec![(PortProtocol::Tcp, 5_000), (PortProtocol::Udp, 5_000)],
            bandwidth: Some(Bandwidth {
                upload: 1_000_000,
                download: 1_000_000,
            }),
            ..NetworkRules::default()
        };
        let published = |ports| ContainerSpec {
            network: ContainerNetwork::Rules(rules.clone()),
            ports,
            ..fixture.spec("exec sleep 600")
        };
        let spec = published(vec![port(PortProtocol::Tcp, free), port(PortProtocol::Udp, free)]);
        let id = fixture.create(&spec).await;
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        let namespace = cluster::namespace(&id);
        let services: Api<Service> = Api::namespaced(cluster::admin().await, namespace);
        let found = services.list(&ListParams::default()).await.unwrap().items;
        let given: Vec<_> = found[0]
            .spec
            .as_ref()
            .unwrap()
            .ports
            .as_ref()
            .unwrap()
            .iter()
            .collect();
        assert!(
            given.iter().all(|port| port.node_port == Some(free.into())),
            "{given:?}"
        );
        let used = fixture.engine.node_ports().await.unwrap();
        assert!(used.contains(&free));
        let pods: Api<Pod> = Api::namespaced(cluster::admin().await, namespace);
        let pod = pods.get("job").await.unwrap();
        assert_eq!(pod.annotations()["kubernetes.io/egress-bandwidth"], "8000000");
        let address = fixture
            .engine
            .pod_address(spec.identity.job, &spec.identity.fingerprint);
        assert_eq!(address.unwrap().to_string(), pod.status.unwrap().pod_ip.unwrap());

        // Another job cannot have the same one, but perhaps later.
        let other = published(vec![port(PortProtocol::Tcp, free)]);
        let error = fixture.engine.create(&other).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        fixture.engine.remove(&id).await.unwrap();
        let id = fixture.create(&other).await;
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn range_that_the_cluster_does_not_give_is_told() {
    in_cluster(|fixture| async move {
        fixture.engine.check_node_ports(&(30_000..=32_767)).await.unwrap();
        for range in [20_000..=20_010, 32_000..=33_000] {
            let error = fixture.engine.check_node_ports(&range).await.unwrap_err();
            assert!(error.is_permanent(), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("30000-32767") && text.contains("`assay.network.port_range`"),
                "{text}"
            );
        }
    });
}
