//! The objects of a job's container, as they are sent to the API server.

use std::collections::BTreeMap;

use assay_client::manifest::{PortProtocol, Profile};
use assay_init::{ATTACHED, FOLDER, PROGRAM, PROGRAM_NAME, SECRETS_FOLDER};
use k8s_openapi::{
    api::{
        core::v1::{
            Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerState, ContainerStatus,
            EmptyDirVolumeSource, EnvVar, EphemeralVolumeSource, HostAlias, Namespace,
            PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, Pod, PodDNSConfig, PodSecurityContext,
            PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
            VolumeResourceRequirements,
        },
        networking::v1::{
            IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
            NetworkPolicyPort, NetworkPolicySpec,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{KubernetesSettings, collect::OutputCopy, images::ImageConfig};
use crate::devices::HOOK_VARIABLES;
use crate::engine::{
    ContainerNetwork, ContainerSpec, DeviceAccess, EngineError, LABEL_DEVICES, LABEL_FINGERPRINT, LABEL_JOB,
    LABEL_MACHINE, LABEL_SLOTS, LABEL_WORKER, NetworkRules, STOP_GRACE_SECONDS, loader, volumes::SCRATCH,
};

/// Name of a job's pod and of its one container.
pub(super) const POD: &str = "job";

/// Name of the ConfigMap with the files of `assay-init` and the pod's specification.
pub(super) const FILES: &str = "assay";

/// Name of the service account, which has no rights and no token.
pub(super) const SERVICE_ACCOUNT: &str = "job";

/// Entry of the files with the pod's specification.
pub(super) const POD_ENTRY: &str = "pod.json";

/// Annotation with the whole public part of the worker key: a label holds 63 characters.
pub(super) const ANNOTATION_WORKER: &str = "assay.worker-key";

/// Annotation of a sealed job's namespace: folder of the worker's host, in memory, with the launch.
pub(super) const ANNOTATION_LAUNCH: &str = "assay.launch-folder";

/// Annotation of a sealed job's namespace: folder of the worker's host, in memory, with the secrets.
pub(super) const ANNOTATION_SECRETS: &str = "assay.secrets-folder";

/// Annotation of a namespace with the key of its run's report, hexadecimal.
pub(super) const ANNOTATION_REPORT_KEY: &str = "assay.report-key";

/// Annotation of a namespace with the output folder that is to be copied, as JSON.
pub(super) const ANNOTATION_OUTPUT: &str = "assay.output";

/// File whose content becomes the container's termination message; the kubelet makes it for anybody to write.
pub(super) const REPORT_FILE: &str = "/dev/termination-log";

/// User and group of containers whose image names none, root, or one by a name, which the kubelet cannot
/// judge.
const UNPRIVILEGED: i64 = 65_532;

/// Room in MiB besides a job's disk: the kubelet counts its copy of the output, each line of it with some 40
/// bytes before it, and cuts that to its bounds every ten seconds only. A job that wrote more meanwhile is
/// evicted.
const DISK_MARGIN_MIB: u64 = 1_024;

/// Number of bytes in a MiB.
const MIB: u64 = 1_024 * 1_024;

/// Returns the label of a worker: a part of its key that fits, of characters that labels have.
pub(super) fn short_worker(worker: &str) -> String {
    worker
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect()
}

/// Returns the metadata of an object with a name.
pub(super) fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn texts<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns the labels by which a worker finds its objects.
pub(super) fn labels(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let identity = &spec.identity;
    texts([
        (LABEL_JOB, identity.job.to_string()),
        (LABEL_MACHINE, identity.machine.to_string()),
        (LABEL_WORKER, short_worker(&identity.worker)),
        (LABEL_FINGERPRINT, identity.fingerprint.clone()),
    ])
}

/// Returns the folder of the worker's host that a container of the specification would have at a path.
fn host_folder(spec: &ContainerSpec, target: &str) -> Option<String> {
    let mount = spec.mounts.iter().find(|mount| mount.target == target)?;
    Some(mount.source.to_string_lossy().into_owned())
}

/// Returns true if the launch comes from a folder in memory: neither command nor environment is stored then.
pub(super) fn is_sealed(spec: &ContainerSpec) -> bool {
    host_folder(spec, FOLDER).is_some()
}

/// Returns the level of the Pod Security Standards that a profile needs.
pub(super) fn security_level(profile: Profile) -> &'static str {
    match profile {
        Profile::Batch => "restricted",
        Profile::Interactive => "baseline",
    }
}

/// Returns a job's namespace.
pub(super) fn namespace(spec: &ContainerSpec) -> Namespace {
    let mut labels = labels(spec);
    for mode in ["enforce", "warn", "audit"] {
        labels.insert(
            format!("pod-security.kubernetes.io/{mode}"),
            security_level(spec.profile).to_owned(),
        );
    }
    let mut annotations = texts([
        (ANNOTATION_WORKER, spec.identity.worker.clone()),
        (LABEL_SLOTS, spec.holding.slots_text()),
        (LABEL_DEVICES, spec.holding.devices_text()),
    ]);
    for (name, target) in [(ANNOTATION_LAUNCH, FOLDER), (ANNOTATION_SECRETS, SECRETS_FOLDER)] {
        if let Some(folder) = host_folder(spec, target) {
            annotations.insert(name.to_owned(), folder);
        }
    }
    // A path that is no text is none of the worker's own.
    if let Some(copy) = OutputCopy::of_spec(spec).and_then(|copy| serde_json::to_string(&copy).ok()) {
        annotations.insert(ANNOTATION_OUTPUT.to_owned(), copy);
    }
    Namespace {
        metadata: ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..named(&spec.identity.name())
        },
        ..Namespace::default()
    }
}

/// Returns a job's network policy: everything that it does not allow is refused.
pub(super) fn network_policy(spec: &ContainerSpec) -> NetworkPolicy {
    let (egress, ingress) = match &spec.network {
        ContainerNetwork::None | ContainerNetwork::Named { .. } => (Vec::new(), Vec::new()),
        ContainerNetwork::Rules(rules) => (egress(rules), ingress(rules)),
    };
    NetworkPolicy {
        metadata: ObjectMeta {
            labels: Some(labels(spec)),
            ..named("job")
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            egress: Some(egress),
            ingress: Some(ingress),
        }),
    }
}

fn policy_port(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port.into())),
        end_port: None,
    }
}

fn block(cidr: String, except: Vec<String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr,
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn egress(rules: &NetworkRules) -> Vec<NetworkPolicyEgressRule> {
    let destinations = rules.destinations.iter().map(|destination| {
        let ports = destination
            .port
            .map(|port| vec![policy_port("TCP", port), policy_port("UDP", port)]);
        // The API server takes exceptions within the block only.
        let except = rules
            .refused
            .iter()
            .filter(|refused| destination.network.contains(*refused) && **refused != destination.network);
        NetworkPolicyEgressRule {
            ports,
            to: Some(vec![block(
                destination.network.to_string(),
                except.map(ToString::to_string).collect(),
            )]),
        }
    });
    destinations.collect()
}

fn ingress(rules: &NetworkRules) -> Vec<NetworkPolicyIngressRule> {
    let ports: Vec<_> = rules
        .ports
        .iter()
        .map(|(protocol, port)| match protocol {
            PortProtocol::Udp => policy_port("UDP", *port),
            PortProtocol::Tcp | PortProtocol::Http => policy_port("TCP", *port),
        })
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    vec![NetworkPolicyIngressRule {
        from: Some(vec![block("0.0.0.0/0".to_owned(), Vec::new())]),
        ports: Some(ports),
    }]
}

/// Returns the pod of a job.
///
/// # Errors
/// A refusal of what a cluster cannot give.
pub(super) fn pod(
    spec: &ContainerSpec,
    image: &ImageConfig,
    settings: &KubernetesSettings,
) -> Result<Pod, EngineError> {
    let refused = |reason: String| EngineError::Refused {
        action: "create the job's pod".into(),
        reason,
    };
    let foreign = |target: &str| target != FOLDER && target != SECRETS_FOLDER;
    if let Some(mount) = spec.mounts.iter().find(|mount| foreign(&mount.target)) {
        return Err(refused(format!(
            "a folder of the worker's host cannot be given to a pod, as at {}",
            mount.target
        )));
    }
    if matches!(spec.network, ContainerNetwork::Named { .. }) {
        return Err(refused(
            "pods have no networks of the worker's own host".to_owned(),
        ));
    }
    let devices = device_limit(&spec.devices).map_err(refused)?;
    let (volumes, mounts) = storage(spec, image, settings);
    let container = Container {
        name: POD.to_owned(),
        image: Some(image.name(&spec.image)),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(vec![ATTACHED.to_owned()]),
        env: Some(environment(spec, image)),
        stdin: Some(true),
        // A worker that dies before it sent the launch ends the wait.
        stdin_once: Some(true),
        termination_message_path: Some(REPORT_FILE.to_owned()),
        // The end of the log instead of a report that is missing would be the job's own words.
        termination_message_policy: Some("File".to_owned()),
        resources: Some(resources(spec, settings, devices)),
        security_context: Some(container_security(spec)),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    let (nameservers, hosts) = match &spec.network {
        ContainerNetwork::Rules(rules) => (
            rules.resolvers.iter().map(ToString::to_string).collect(),
            rules.hosts.clone(),
        ),
        _ => (Vec::new(), Vec::new()),
    };
    let host_aliases: Vec<_> = hosts
        .into_iter()
        .map(|(name, address)| HostAlias {
            ip: address.to_string(),
            hostnames: Some(vec![name]),
        })
        .collect();
    Ok(Pod {
        metadata: ObjectMeta {
            labels: Some(labels(spec)),
            annotations: Some(annotations(spec)),
            ..named(POD)
        },
        spec: Some(PodSpec {
            restart_policy: Some("Never".to_owned()),
            service_account_name: Some(SERVICE_ACCOUNT.to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(STOP_GRACE_SECONDS.into()),
            runtime_class_name: spec.runtime.clone().or_else(|| settings.runtime_class.clone()),
            node_selector: settings
                .node_name()
                .map(|node| texts([("kubernetes.io/hostname", node)])),
            // Neither the cluster's names nor the node's resolvers.
            dns_policy: Some("None".to_owned()),
            dns_config: Some(PodDNSConfig {
                nameservers: Some(if nameservers.is_empty() {
                    vec!["127.0.0.1".to_owned()]
                } else {
                    nameservers
                }),
                ..PodDNSConfig::default()
            }),
            host_aliases: (!host_aliases.is_empty()).then_some(host_aliases),
            security_context: Some(pod_security(spec, image)),
            volumes: Some(volumes),
            containers: vec![container],
            ..PodSpec::default()
        }),
        status: None,
    })
}

/// Returns the annotations of a job's pod: what autoscalers and the network plugin read.
fn annotations(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut annotations = texts([(
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "false".to_owned(),
    )]);
    if let ContainerNetwork::Rules(NetworkRules {
        bandwidth: Some(bandwidth),
        ..
    }) = &spec.network
    {
        // In bits per second, of the pod's point of view. The kubelet takes no less than 1k.
        let bits = |bytes: u64| bytes.saturating_mul(8).max(1_000).to_string();
        annotations.extend(texts([
            ("kubernetes.io/egress-bandwidth", bits(bandwidth.upload)),
            ("kubernetes.io/ingress-bandwidth", bits(bandwidth.download)),
        ]));
    }
    annotations
}

fn pod_security(spec: &ContainerSpec, image: &ImageConfig) -> PodSecurityContext {
    let common = PodSecurityContext {
        // A volume belongs to root, and this group may write to it.
        fs_group: Some(UNPRIVILEGED),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    };
    match spec.profile {
        Profile::Interactive => common,
        Profile::Batch => {
            let user = replaced_user(&image.user);
            PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                run_as_group: user,
                ..common
            }
        }
    }
}

/// Returns the user that replaces the image's own; `None` if that one is no root, and named by its number.
pub(super) fn replaced_user(user: &str) -> Option<i64> {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(number) if number > 0 => None,
        _ => Some(UNPRIVILEGED),
    }
}

fn container_security(spec: &ContainerSpec) -> SecurityContext {
    let add = (!spec.capabilities.is_empty()).then(|| spec.capabilities.clone());
    let is_batch = spec.profile == Profile::Batch;
    SecurityContext {
        allow_privilege_escalation: Some(!is_batch),
        privileged: Some(false),
        read_only_root_filesystem: Some(!spec.writable_root),
        capabilities: Some(Capabilities {
            add,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..SecurityContext::default()
    }
}

/// Returns the variables that runtimes read before the container starts. All others come with the launch.
///
/// The device plugin says which GPUs it has, and must not be overridden; without GPUs the image must not.
/// Whatever else hooks obey, and what a loader would load into them, is the lease's and not the image's.
fn environment(spec: &ContainerSpec, image: &ImageConfig) -> Vec<EnvVar> {
    let of_lease = HOOK_VARIABLES.into_iter().filter_map(|name| {
        let mut values = spec.environment.iter().filter_map(|entry| entry.split_once('='));
        let (_, value) = values.rfind(|(found, _)| *found == name)?;
        Some((name.to_owned(), value.to_owned()))
    });
    let others: Vec<(String, String)> = if spec.devices == DeviceAccess::None {
        ["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES"]
            .map(|name| (name.to_owned(), "void".to_owned()))
            .to_vec()
    } else {
        loader::emptied(image.environment.iter().map(String::as_str))
            .into_iter()
            .filter_map(|entry| Some((entry.strip_suffix('=')?.to_owned(), String::new())))
            .collect()
    };
    of_lease
        .chain(others)
        .map(|(name, value)| EnvVar {
            name,
            value: Some(value),
            value_from: None,
        })
        .collect()
}

/// Returns the name of the resource that a device plugin offers, and the number that the job gets.
fn device_limit(devices: &DeviceAccess) -> Result<Option<(&'static str, usize)>, String> {
    match devices {
        DeviceAccess::None => Ok(None),
        DeviceAccess::Nvidia(names) | DeviceAccess::Cdi(names) => Ok(Some(("nvidia.com/gpu", names.len()))),
        DeviceAccess::Nodes(_) => Err(
            "GPUs of AMD cannot be given to pods yet; offer them by a worker with Docker or Podman"
                .to_owned(),
        ),
    }
}

fn mib(amount: u64) -> Quantity {
    Quantity(format!("{amount}Mi"))
}

fn resources(
    spec: &ContainerSpec,
    settings: &KubernetesSettings,
    devices: Option<(&'static str, usize)>,
) -> ResourceRequirements {
    let disk_mib = spec.disk.as_ref().map_or(0, |disk| disk.bytes / MIB);
    // A volume of a class has its own limit; what is written to the root is the node's.
    let of_node = if settings.storage_class.is_some() && !spec.writable_root {
        0
    } else {
        disk_mib
    };
    let mut limits = BTreeMap::from([
        ("cpu".to_owned(), Quantity(format!("{}m", spec.share.cpu_millis))),
        ("memory".to_owned(), mib(spec.share.memory_mib.into())),
        (
            "ephemeral-storage".to_owned(),
            mib(of_node.saturating_add(DISK_MARGIN_MIB)),
        ),
    ]);
    if let Some((name, number)) = devices {
        limits.insert(name.to_owned(), Quantity(number.to_string()));
    }
    ResourceRequirements {
        requests: Some(limits.clone()),
        limits: Some(limits),
        claims: None,
    }
}

/// Volumes of a pod, and their places in its container.
#[derive(Default)]
struct Places {
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

impl Places {
    fn add(&mut self, volume: Volume, path: &str, read_only: bool) {
        self.mounts.push(VolumeMount {
            name: volume.name.clone(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
        self.volumes.push(volume);
    }

    fn is_taken(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| mount.mount_path == path)
    }
}

/// Returns a folder in memory, which the container's limit bounds.
fn memory(name: &str, size_mib: u64) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(mib(size_mib)),
        }),
        ..Volume::default()
    }
}

/// Returns a folder of the node, which the container's limit of ephemeral storage bounds.
fn node_folder(name: &str, size_mib: u64) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(mib(size_mib)),
        }),
        ..Volume::default()
    }
}

fn storage(
    spec: &ContainerSpec,
    image: &ImageConfig,
    settings: &KubernetesSettings,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut places = Places::default();
    let files = Volume {
        name: "assay".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: FILES.to_owned(),
            default_mode: Some(0o555),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    places.add(files, FOLDER, true);
    if host_folder(spec, SECRETS_FOLDER).is_some() {
        places.add(memory("secrets", 4), SECRETS_FOLDER, false);
    }
    places.add(memory("shm", spec.shm_mib.into()), "/dev/shm", false);
    let half_mib = u64::from(spec.share.memory_mib / 2).max(1);
    if let Some(disk) = &spec.disk {
        let size_mib = disk.bytes / MIB;
        places.add(disk_volume(settings, size_mib), &disk.target, false);
    }
    for (number, path) in SCRATCH.into_iter().enumerate() {
        if !places.is_taken(path) {
            places.add(memory(&format!("scratch-{number}"), half_mib), path, false);
        }
    }
    for (number, path) in image.volumes.iter().enumerate() {
        if places.is_taken(path) {
            continue;
        }
        let name = format!("volume-{number}");
        // Without a volume of ours the runtime makes one, which has no limit.
        let volume = match &spec.disk {
            Some(disk) => node_folder(&name, disk.bytes / MIB),
            None => memory(&name, half_mib),
        };
        places.add(volume, path, false);
    }
    (places.volumes, places.mounts)
}

/// Returns the volume of a job's disk.
fn disk_volume(settings: &KubernetesSettings, size_mib: u64) -> Volume {
    let Some(class) = &settings.storage_class else {
        return node_folder("disk", size_mib);
    };
    Volume {
        name: "disk".to_owned(),
        ephemeral: Some(EphemeralVolumeSource {
            volume_claim_template: Some(PersistentVolumeClaimTemplate {
                metadata: None,
                spec: PersistentVolumeClaimSpec {
                    access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                    storage_class_name: Some(class.clone()),
                    resources: Some(VolumeResourceRequirements {
                        requests: Some(BTreeMap::from([("storage".to_owned(), mib(size_mib))])),
                        limits: None,
                    }),
                    ..PersistentVolumeClaimSpec::default()
                },
            }),
        }),
        ..Volume::default()
    }
}

/// Returns the pod that a namespace's files specify.
pub(super) fn stored_pod(files: &ConfigMap) -> Option<Pod> {
    serde_json::from_str(files.data.as_ref()?.get(POD_ENTRY)?).ok()
}

/// Returns the name of the entry with `assay-init`.
pub(super) fn program_entry() -> String {
    PROGRAM_NAME.to_owned()
}

/// End of a pod's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Exit code; `None` if the node does not know it, or if nothing ran.
    pub(super) exit_code: Option<i32>,
    /// The cluster's words for it.
    pub(super) reason: String,
    /// Message that the container left; anybody in it may have written that.
    pub(super) message: String,
}

/// Returns the status of the job's container.
pub(super) fn container_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == POD)
}

fn container_state(pod: &Pod) -> Option<&ContainerState> {
    container_status(pod)?.state.as_ref()
}

/// Returns true while the container's first process runs.
pub(super) fn is_running(pod: &Pod) -> bool {
    container_state(pod).is_some_and(|state| state.running.is_some())
}

/// Returns the end of a pod's container, if it ended.
pub(super) fn ending(pod: &Pod) -> Option<Ending> {
    let status = pod.status.as_ref()?;
    let of_pod = status.reason.clone().filter(|reason| !reason.is_empty());
    if let Some(terminated) = container_state(pod).and_then(|state| state.terminated.as_ref()) {
        let reason = terminated.reason.clone().unwrap_or_default();
        // The runtime lost the container, or the kubelet never saw how it ended.
        let is_known = !matches!(&*reason, "Unknown" | "ContainerStatusUnknown");
        return Some(Ending {
            exit_code: is_known.then_some(terminated.exit_code),
            reason: of_pod.unwrap_or(reason),
            message: terminated.message.clone().unwrap_or_default(),
        });
    }
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => Some(Ending {
            exit_code: None,
            reason: of_pod.or_else(|| status.message.clone()).unwrap_or_default(),
            message: String::new(),
        }),
        _ => None,
    }
}

/// Reads an amount in thousandths, such as `4`, `3900m` or `16Gi`; `None` if it is no such number.
pub(super) fn amount(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let number: i64 = number.parse().ok()?;
    let factor = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000 * 1_000,
        "M" => 1_000 * 1_000_000,
        "G" => 1_000 * 1_000_000_000,
        "Ki" => 1_000 * 1_024,
        "Mi" => 1_000 * 1_024 * 1_024,
        "Gi" => 1_000 * 1_024 * 1_024 * 1_024,
        _ => return None,
    };
    number.checked_mul(factor)
}
