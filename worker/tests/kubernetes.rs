//! Stories that only a cluster has: namespaces, Pod Security, policies, sealed launches without a disk,
//! evictions, device plugins. The stories of all engines are in `engines/`; `support/engines.rs` has the
//! variables of the environment.

#![allow(clippy::unwrap_used)]

use std::{future::Future, time::Duration};

use assay_client::manifest::{ImageReference, Profile};
use assay_init::Launch;
use assay_primitives::job::StdoutResult;
use assay_worker::{
    config::SlotShare,
    devices::{DeviceId, Holding},
    engine::{
        BindMount, CaptureTarget, ContainerEngine, ContainerIdentity, ContainerNetwork, ContainerSpec,
        ContainerState, DeviceAccess, DiskRequest, ExecSpec, Exit, KubernetesEngine, KubernetesSettings,
        NetworkDestination, NetworkRules, OutputStream, RunEnd,
    },
    lease::profile,
    logs::{self, LiveLogs},
    registry::{PrivateRegistries, RegistryNames},
};
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    networking::v1::NetworkPolicy,
    node::v1::RuntimeClass,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

#[path = "support/cluster.rs"]
mod cluster;
#[path = "kubernetes/produced.rs"]
mod produced;

struct Fixture {
    engine: KubernetesEngine,
    image: ImageReference,
    folder: tempfile::TempDir,
}

/// Runs a test in the cluster, if there is one.
fn in_cluster<F: Future<Output = ()>>(test: impl FnOnce(Fixture) -> F) {
    let image = std::env::var("ASSAY_TEST_IMAGE").ok();
    let (Some(settings), Some(image)) = (cluster::settings(), image) else {
        println!("no cluster: set ASSAY_TEST_KUBECONFIG and ASSAY_TEST_IMAGE");
        return;
    };
    let fixture = Fixture {
        engine: KubernetesEngine::new(settings),
        image: image.parse().unwrap(),
        folder: tempfile::tempdir().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(300), test(fixture))
            .await
            .expect("the test takes too long");
    });
}

impl Fixture {
    fn spec(&self, line: &str) -> ContainerSpec {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = format!("{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        ContainerSpec {
            identity: ContainerIdentity {
                job: 1,
                machine: 0,
                worker: format!("k{unique}"),
                fingerprint: format!("q{unique}"),
            },
            image: self.image.pull_reference(),
            entrypoint: Vec::new(),
            command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
            environment: vec!["GREETING=hello".into()],
            share: SlotShare {
                memory_mib: 64,
                cpu_millis: 200,
                processes: 32,
            },
            shm_mib: 16,
            profile: Profile::Batch,
            capabilities: Vec::new(),
            writable_root: false,
            runtime: None,
            network: ContainerNetwork::None,
            ports: Vec::new(),
            devices: DeviceAccess::None,
            holding: Holding::default(),
            disk: None,
            mounts: Vec::new(),
        }
    }

    fn target(&self, spec: &ContainerSpec) -> CaptureTarget {
        CaptureTarget {
            folder: self.folder.path().join(&spec.identity.fingerprint),
            append: false,
            logs: LiveLogs::default(),
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> String {
        self.engine
            .pull(&spec.image, self.image.digest(), None)
            .await
            .unwrap();
        self.engine.create(spec).await.unwrap()
    }

    /// Runs a container to its end, and removes it; returns the end and both kept streams.
    async fn run(&self, spec: &ContainerSpec) -> (RunEnd, String, String) {
        let id = self.create(spec).await;
        self.engine.start(&id, self.target(spec)).await.unwrap();
        let end = self.engine.run_end(&id).await;
        self.engine.remove(&id).await.unwrap();
        let (stdout, stderr) = logs::beginnings(&self.target(spec).folder).unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (end, text(stdout), text(stderr))
    }
}

fn clean(exit_code: i32, stdout: &str) -> RunEnd {
    RunEnd {
        exit: Exit::Clean(exit_code),
        stdout: Some(StdoutResult::Whole(blake3::hash(stdout.as_bytes()).into())),
    }
}

#[test]
fn batch_container_is_nobody_and_has_no_rights_in_the_cluster() {
    in_cluster(|fixture| async move {
        let line = "id -u; ls /var/run/secrets /run/secrets 2>/dev/null; env | /bin/busybox grep _SERVICE_ | /bin/busybox grep -vc ^KUBERNETES_; \
                    /bin/busybox cat /etc/resolv.conf; echo $NVIDIA_VISIBLE_DEVICES";
        let (end, stdout, _) = fixture.run(&fixture.spec(line)).await;
        assert_eq!(end, clean(0, &stdout));
        assert_eq!(stdout.trim_end(), "65532\n0\nnameserver 127.0.0.1\nvoid");
    });
}

#[test]
fn container_is_fenced_before_it_is_started() {
    in_cluster(|fixture| async move {
        let spec = fixture.spec("exit 0");
        let id = fixture.create(&spec).await;
        let client = cluster::admin().await;
        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), cluster::namespace(&id));
        let policies = policies.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(policies.len(), 1);
        let policy = policies[0].spec.clone().unwrap();
        assert_eq!(
            policy.policy_types.unwrap(),
            ["Ingress", "Egress"].map(str::to_owned)
        );
        // The API server leaves empty lists out.
        assert_eq!(
            (
                policy.egress.unwrap_or_default(),
                policy.ingress.unwrap_or_default()
            ),
            (vec![], vec![])
        );
        let namespaces: Api<Namespace> = Api::all(client);
        let namespace = namespaces.get(cluster::namespace(&id)).await.unwrap();
        assert_eq!(
            namespace.labels()["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
        fixture.engine.remove(&id).await.unwrap();
        assert!(
            namespaces
                .get_opt(cluster::namespace(&id))
                .await
                .unwrap()
                .is_none()
        );
    });
}

#[test]
fn public_network_is_taken_by_the_api_server() {
    in_cluster(|fixture| async move {
        let rules = NetworkRules {
            destinations: vec![
                NetworkDestination {
                    network: "0.0.0.0/0".parse().unwrap(),
                    port: None,
                },
                NetworkDestination {
                    network: "1.1.1.1/32".parse().unwrap(),
                    port: Some(443),
                },
            ],
            refused: assay_primitives::network::REFUSED_IPV4.to_vec(),
            resolvers: vec!["9.9.9.9".parse().unwrap()],
            hosts: vec![("one.example".into(), "1.1.1.1".parse().unwrap())],
            ..NetworkRules::default()
        };
        let spec = ContainerSpec {
            network: ContainerNetwork::Rules(rules),
            ..fixture.spec("/bin/busybox grep example /etc/hosts; cat /etc/resolv.conf")
        };
        let (end, stdout, _) = fixture.run(&spec).await;
        assert_eq!(end.exit, Exit::Clean(0));
        assert_eq!(stdout, "1.1.1.1\tone.example\nnameserver 9.9.9.9\n");
    });
}

#[test]
fn container_that_reaches_what_it_must_not_is_not_started() {
    in_cluster(|fixture| async move {
        // No plugin of this cluster enforces policies, so pods reach each other.
        let listening = fixture.spec("while true; do /bin/busybox nc -l -p 5000 </dev/null; done");
        let other = fixture.create(&listening).await;
        fixture
            .engine
            .start(&other, fixture.target(&listening))
            .await
            .unwrap();
        let pods: Api<Pod> = Api::namespaced(cluster::admin().await, cluster::namespace(&other));
        let address = pods.get("job").await.unwrap().status.unwrap().pod_ip.unwrap();
        let engine = KubernetesEngine::new(KubernetesSettings {
            fence_targets: vec![format!("{address}:5000")],
            ..cluster::settings().unwrap()
        });
        let spec = fixture.spec("echo ran");
        let id = engine.create(&spec).await.unwrap();
        let error = engine.start(&id, fixture.target(&spec)).await.unwrap_err();
        assert!(error.is_permanent(), "{error}");
        let text = error.to_string();
        assert!(text.contains("does not enforce network policies"), "{text}");
        assert!(text.contains(&address), "{text}");
        let listed = engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].state, ContainerState::Created);
        engine.remove(&id).await.unwrap();
        fixture.engine.remove(&other).await.unwrap();
    });
}

#[test]
fn sealed_launch_reaches_the_container_and_nothing_else() {
    in_cluster(|fixture| async move {
        let (assay, secrets) = (
            fixture.folder.path().join("assay"),
            fixture.folder.path().join("secrets"),
        );
        std::fs::create_dir(&assay).unwrap();
        std::fs::create_dir(&secrets).unwrap();
        let line = "echo $MARKED; cat /run/secrets/key; ls -l /run/secrets | /bin/busybox grep -c -- '-r--r--r--'; sleep 3";
        let launch = Launch {
            command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
            environment: vec![("MARKED".into(), "marker-of-the-environment".into())],
        };
        std::fs::write(assay.join("launch"), launch.encode().unwrap()).unwrap();
        std::fs::write(secrets.join("key"), "marker-of-the-secret\n").unwrap();
        let mount = |source: &std::path::Path, target: &str| BindMount {
            source: source.to_owned(),
            target: target.to_owned(),
            is_read_only: true,
        };
        let spec = ContainerSpec {
            entrypoint: vec![assay_init::PROGRAM.to_owned()],
            command: Vec::new(),
            environment: Vec::new(),
            mounts: vec![
                mount(&assay, assay_init::FOLDER),
                mount(&secrets, assay_init::SECRETS_FOLDER),
            ],
            ..fixture.spec("")
        };
        let id = fixture.create(&spec).await;
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        let all = cluster::everything_in(cluster::namespace(&id)).await;
        assert!(all.contains("assay.launch-folder"));
        assert!(!all.contains("marker-of"), "{all}");
        let end = fixture.engine.run_end(&id).await;
        assert_eq!(
            end,
            clean(0, "marker-of-the-environment\nmarker-of-the-secret\n1\n")
        );
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn disk_and_volumes_are_writable_for_the_user_of_the_image() {
    in_cluster(|fixture| async move {
        let spec = ContainerSpec {
            disk: Some(DiskRequest {
                target: "/work".into(),
                bytes: 64 * 1_024 * 1_024,
                output: None,
            }),
            ..fixture.spec(
                "for f in /work /tmp /run /var/tmp /dev/shm; do echo x > $f/x && cat $f/x; done; echo y > /y",
            )
        };
        let (end, stdout, stderr) = fixture.run(&spec).await;
        assert_eq!(end, clean(1, &stdout));
        assert_eq!(stdout, "x\n".repeat(5), "{stderr}");
        assert!(stderr.contains("Read-only file system"), "{stderr}");
    });
}

#[test]
fn job_that_writes_more_than_its_disk_is_evicted() {
    in_cluster(|fixture| async move {
        let spec = ContainerSpec {
            disk: Some(DiskRequest {
                target: "/work".into(),
                bytes: 16 * 1_024 * 1_024,
                output: None,
            }),
            ..fixture.spec("/bin/busybox dd if=/dev/zero of=/work/zeros bs=1M count=200; exec sleep 600")
        };
        let id = fixture.create(&spec).await;
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        let end = fixture.engine.run_end(&id).await;
        assert!(matches!(end.exit, Exit::Signalled(137) | Exit::Unseen), "{end:?}");
        let listed = fixture.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].state, ContainerState::Exited);
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn interactive_container_is_root_of_its_own_files_and_has_shells() {
    in_cluster(|fixture| async move {
        let spec = ContainerSpec {
            profile: Profile::Interactive,
            capabilities: profile::capabilities(Profile::Interactive),
            writable_root: true,
            ..fixture.spec("id -u; echo z > /z && cat /z; exec sleep 600")
        };
        let id = fixture.create(&spec).await;
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        let exec = async |line: &str, tty: bool| {
            let mut session = fixture
                .engine
                .exec(
                    &id,
                    &ExecSpec {
                        command: ["/bin/busybox", "sh", "-c", line].map(str::to_owned).to_vec(),
                        environment: vec!["TERM=xterm".into()],
                        tty,
                    },
                )
                .await
                .unwrap();
            session.input.write_all(b"typed\n").await.unwrap();
            session.input.flush().await.unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            while let Some(piece) = session.output.next().await {
                let (stream, bytes) = piece.unwrap();
                match stream {
                    OutputStream::Stdout => out.extend_from_slice(&bytes),
                    OutputStream::Stderr => err.extend_from_slice(&bytes),
                }
            }
            let code = session.control.exit_code().await.unwrap();
            assert!(
                !session.control.kill().await.unwrap(),
                "no API of a cluster ends a command's processes"
            );
            (
                String::from_utf8(out).unwrap(),
                String::from_utf8(err).unwrap(),
                code,
            )
        };
        let (out, err, code) = exec("read word; echo $word $TERM; cat /z; echo oh >&2; exit 5", false).await;
        assert_eq!((&*out, &*err, code), ("typed xterm\nz\n", "oh\n", Some(5)));
        let (out, _, code) = exec("read word; echo got $word; test -t 0 && echo terminal", true).await;
        assert!(out.contains("got typed") && out.contains("terminal"), "{out}");
        assert_eq!(code, Some(0));
        fixture.engine.remove(&id).await.unwrap();

        let batch = fixture.spec("exec sleep 600");
        let id = fixture.create(&batch).await;
        fixture.engine.start(&id, fixture.target(&batch)).await.unwrap();
        let spec = ExecSpec {
            command: vec!["/bin/busybox".into(), "sh".into()],
            environment: Vec::new(),
            tty: false,
        };
        assert!(
            fixture
                .engine
                .exec(&id, &spec)
                .await
                .is_err_and(|error| error.is_permanent())
        );
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn run_whose_pod_is_removed_is_lost_and_starts_again() {
    in_cluster(|fixture| async move {
        let spec = fixture.spec("echo run; sleep 600");
        let id = fixture.create(&spec).await;
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        cluster::remove_pod(&id).await;
        assert_eq!(fixture.engine.run_end(&id).await, RunEnd::UNSEEN);
        // Another worker sees what is left of it, and starts it from the stored specification.
        let other = KubernetesEngine::new(cluster::settings().unwrap());
        let listed = other.list(&spec.identity.worker).await.unwrap();
        assert_eq!((listed[0].state, &listed[0].id), (ContainerState::Exited, &id));
        other.start(&id, fixture.target(&spec)).await.unwrap();
        let listed = other.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].state, ContainerState::Running);
        other.remove(&id).await.unwrap();
    });
}

#[test]
fn worker_that_dies_before_the_launch_leaves_a_container_that_never_ran() {
    in_cluster(|fixture| async move {
        let spec = fixture.spec("echo ran");
        let id = fixture.create(&spec).await;
        // An attachment that ends without a launch, as that of a worker that was killed.
        let pods: Api<Pod> = Api::namespaced(cluster::admin().await, cluster::namespace(&id));
        let is_running = async || {
            let status = pods.get("job").await.unwrap().status.unwrap();
            let statuses = status.container_statuses.unwrap_or_default();
            statuses
                .iter()
                .any(|status| status.state.as_ref().unwrap().running.is_some())
        };
        while !is_running().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let attached = pods
            .attach("job", &kube::api::AttachParams::default().stdin(true))
            .await
            .unwrap();
        drop(attached);
        while is_running().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let listed = fixture.engine.list(&spec.identity.worker).await.unwrap();
        assert_eq!(listed[0].state, ContainerState::Created);
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        assert_eq!(fixture.engine.run_end(&id).await, clean(0, "ran\n"));
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn runtime_of_a_manifest_is_a_class_of_the_cluster() {
    in_cluster(|fixture| async move {
        // The node's own runtime, under a name of the stronger ones.
        let class = json!({ "metadata": { "name": "kata-test" }, "handler": "runc" });
        let class: RuntimeClass = serde_json::from_value(class).unwrap();
        let classes: Api<RuntimeClass> = Api::all(cluster::admin().await);
        classes.create(&PostParams::default(), &class).await.unwrap();
        let offered = fixture.engine.ping().await.unwrap().runtimes;
        assert_eq!(offered, ["kata-test"]);
        let spec = ContainerSpec {
            runtime: Some("kata-test".into()),
            ..fixture.spec("echo $GREETING; exit 3")
        };
        let id = fixture.create(&spec).await;
        let pods: Api<Pod> = Api::namespaced(cluster::admin().await, cluster::namespace(&id));
        let pod = pods.get("job").await.unwrap().spec.unwrap();
        assert_eq!(pod.runtime_class_name.as_deref(), Some("kata-test"));
        fixture.engine.start(&id, fixture.target(&spec)).await.unwrap();
        assert_eq!(fixture.engine.run_end(&id).await, clean(3, "hello\n"));
        fixture.engine.remove(&id).await.unwrap();
        classes
            .delete("kata-test", &DeleteParams::default())
            .await
            .unwrap();
        assert_eq!(
            fixture.engine.ping().await.unwrap().runtimes,
            Vec::<String>::new()
        );
    });
}

#[test]
fn nodes_pull_only_from_registries_that_somebody_vouches_for() {
    in_cluster(|fixture| async move {
        let name = fixture.image.pull_reference();
        let registry = name.split('/').next().unwrap();
        let image = format!("{registry}/none@sha256:{}", "07".repeat(32));
        let pull = async |registries: RegistryNames| {
            let engine = KubernetesEngine::new(KubernetesSettings {
                registries,
                private_registries: PrivateRegistries::default(),
                ..cluster::settings().unwrap()
            });
            let checked = engine.check_registry(&image.parse().unwrap());
            (checked, engine.pull(&image, [7; 32], None).await.unwrap_err())
        };
        let (checked, error) = pull(RegistryNames::default()).await;
        assert_eq!(
            checked,
            Err(error.clone()),
            "an order is declined for the same reason"
        );
        assert!(error.is_permanent(), "{error}");
        assert!(
            error.to_string().contains("assay.kubernetes.registries"),
            "{error}"
        );
        // One whose operator is trusted has a public address all the same.
        let (checked, error) = pull(RegistryNames::new([registry]).unwrap()).await;
        assert_eq!(checked, Ok(()));
        assert!(error.is_permanent(), "{error}");
        assert!(
            error.to_string().contains("not an address of the public network"),
            "{error}"
        );
    });
}

#[test]
fn gpus_are_counted_by_the_cluster() {
    in_cluster(|fixture| async move {
        let node = std::env::var("ASSAY_TEST_KUBERNETES_NODE").unwrap();
        let nodes: Api<Node> = Api::all(cluster::admin().await);
        // Stands for a device plugin, which needs GPUs: it tells the API server how many there are.
        let patch = json!({ "status": { "capacity": { "nvidia.com/gpu": "1" } } });
        nodes
            .patch_status(&node, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        let leased = |spec: ContainerSpec| ContainerSpec {
            devices: DeviceAccess::Nvidia(vec!["GPU-1".into()]),
            holding: Holding {
                slots: vec![0],
                devices: vec![DeviceId("GPU-1".into())],
            },
            ..spec
        };
        let first = leased(fixture.spec("exec sleep 600"));
        let id = fixture.create(&first).await;
        fixture.engine.start(&id, fixture.target(&first)).await.unwrap();
        let listed = fixture.engine.list(&first.identity.worker).await.unwrap();
        assert_eq!(listed[0].holding, first.holding);
        // The one GPU is taken.
        let second = leased(fixture.spec("exit 0"));
        let other = fixture.create(&second).await;
        let error = fixture
            .engine
            .start(&other, fixture.target(&second))
            .await
            .unwrap_err();
        assert!(
            !error.is_permanent() && error.to_string().contains("nvidia.com/gpu"),
            "{error}"
        );
        fixture.engine.remove(&id).await.unwrap();
        fixture.engine.remove(&other).await.unwrap();
    });
}
