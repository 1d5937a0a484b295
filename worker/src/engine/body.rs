//! The request that creates a container, for the Docker Engine API.

use std::{
    collections::{BTreeSet, HashMap},
    os::unix::fs::MetadataExt,
};

use assay_client::manifest::{PortProtocol, Profile};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType,
    PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::{
    ContainerIdentity, ContainerNetwork, ContainerSpec, DeviceAccess, LABEL_DEVICES, LABEL_FINGERPRINT,
    LABEL_JOB, LABEL_MACHINE, LABEL_SLOTS, LABEL_WORKER, volumes::SCRATCH,
};

/// Number of bytes in a MiB.
const MIB: i64 = 1024 * 1024;

/// Returns the request body. `volumes` are the paths that the image declares as writable.
pub(super) fn create_body(spec: &ContainerSpec, volumes: &[String]) -> ContainerCreateBody {
    let ContainerIdentity {
        job,
        machine,
        worker,
        fingerprint,
    } = &spec.identity;
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: words(&spec.entrypoint),
        cmd: words(&spec.command),
        env: Some(spec.environment.clone()),
        labels: Some(HashMap::from([
            (LABEL_JOB.to_owned(), job.to_string()),
            (LABEL_MACHINE.to_owned(), machine.to_string()),
            (LABEL_WORKER.to_owned(), worker.clone()),
            (LABEL_FINGERPRINT.to_owned(), fingerprint.clone()),
            (LABEL_SLOTS.to_owned(), spec.holding.slots_text()),
            (LABEL_DEVICES.to_owned(), spec.holding.devices_text()),
        ])),
        attach_stdin: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        exposed_ports: Some(spec.ports.iter().map(|port| port.engine_name()).collect()),
        host_config: Some(host_config(spec, volumes)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, volumes: &[String]) -> HostConfig {
    let memory_bytes = i64::from(spec.share.memory_mib) * MIB;
    let (device_requests, devices) = device_access(&spec.devices);
    let security = match spec.profile {
        Profile::Batch => vec!["no-new-privileges".to_owned()],
        Profile::Interactive => Vec::new(),
    };
    HostConfig {
        memory: Some(memory_bytes),
        // Equal to the memory limit: no swap on top of it.
        memory_swap: Some(memory_bytes),
        nano_cpus: Some(i64::from(spec.share.cpu_millis) * 1_000_000),
        pids_limit: Some(i64::from(spec.share.processes)),
        shm_size: Some(i64::from(spec.shm_mib) * MIB),
        network_mode: Some(match &spec.network {
            // The rules of another kind of engine: without them the container gets no network.
            ContainerNetwork::None | ContainerNetwork::Rules(_) => "none".to_owned(),
            ContainerNetwork::Named { name, .. } => name.clone(),
        }),
        dns: resolvers(&spec.network),
        // No suffixes of the host's own network.
        dns_search: Some(vec![".".to_owned()]),
        port_bindings: Some(port_bindings(spec)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(spec.capabilities.clone()),
        security_opt: Some(security),
        readonly_rootfs: Some(!spec.writable_root),
        privileged: Some(false),
        tmpfs: Some(scratch(spec, volumes)),
        mounts: Some(mounts(spec)),
        device_requests,
        devices,
        group_add: node_groups(&spec.devices),
        runtime: spec.runtime.clone(),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // The output is taken from the attach stream. A log would only fill the host's disk with a copy.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        ..HostConfig::default()
    }
}

/// Returns the writable folders in memory, which the memory limit bounds.
fn scratch(spec: &ContainerSpec, volumes: &[String]) -> HashMap<String, String> {
    let memory_bytes = i64::from(spec.share.memory_mib) * MIB;
    // Just-in-time compilers execute files that they write here; engines forbid that by default.
    let options = format!("rw,exec,nosuid,nodev,size={}", memory_bytes / 2);
    let is_mounted = |path: &str| spec.mounts.iter().any(|mount| mount.target == path);
    SCRATCH
        .into_iter()
        // Each declared volume needs a mount of ours: otherwise the engine makes one, which has no limit.
        .chain(volumes.iter().map(String::as_str))
        .filter(|path| !is_mounted(path))
        .map(|path| (path.to_owned(), options.clone()))
        .collect()
}

/// Returns the addresses of the resolvers: without any, engines copy those of the host.
fn resolvers(network: &ContainerNetwork) -> Option<Vec<String>> {
    match network {
        ContainerNetwork::None | ContainerNetwork::Rules(_) => None,
        ContainerNetwork::Named { resolvers, .. } => {
            Some(resolvers.iter().map(ToString::to_string).collect())
        }
    }
}

fn mounts(spec: &ContainerSpec) -> Vec<Mount> {
    spec.mounts
        .iter()
        .map(|mount| Mount {
            target: Some(mount.target.clone()),
            source: Some(mount.source.to_string_lossy().into_owned()),
            typ: Some(MountType::BIND),
            read_only: Some(mount.is_read_only),
            ..Mount::default()
        })
        .collect()
}

fn port_bindings(spec: &ContainerSpec) -> HashMap<String, Option<Vec<PortBinding>>> {
    spec.ports
        .iter()
        .map(|port| {
            let binding = PortBinding {
                // An absent address stands for all addresses: Podman takes 0.0.0.0 for a destination address.
                host_ip: (!port.host_address.is_unspecified()).then(|| port.host_address.to_string()),
                host_port: Some(port.host_port.to_string()),
            };
            (port.engine_name(), Some(vec![binding]))
        })
        .collect()
}

/// Returns the groups that device nodes belong to, so that an image's own user may open them, too.
fn node_groups(access: &DeviceAccess) -> Option<Vec<String>> {
    let DeviceAccess::Nodes(paths) = access else {
        return None;
    };
    let groups: BTreeSet<u32> = paths
        .iter()
        .filter_map(|path| Some(std::fs::metadata(path).ok()?.gid()))
        .collect();
    Some(groups.into_iter().map(|group| group.to_string()).collect())
}

/// Returns the device requests and the device nodes of a container.
fn device_access(access: &DeviceAccess) -> (Option<Vec<DeviceRequest>>, Option<Vec<DeviceMapping>>) {
    match access {
        DeviceAccess::None => (None, None),
        DeviceAccess::Cdi(names) => (
            Some(vec![DeviceRequest {
                driver: Some("cdi".to_owned()),
                device_ids: Some(names.clone()),
                ..DeviceRequest::default()
            }]),
            None,
        ),
        DeviceAccess::Nvidia(uuids) => (
            Some(vec![DeviceRequest {
                driver: Some("nvidia".to_owned()),
                device_ids: Some(uuids.clone()),
                capabilities: Some(vec![vec![
                    "gpu".to_owned(),
                    "compute".to_owned(),
                    "utility".to_owned(),
                ]]),
                ..DeviceRequest::default()
            }]),
            None,
        ),
        DeviceAccess::Nodes(paths) => (
            None,
            Some(
                paths
                    .iter()
                    .map(|path| {
                        let path = path.to_string_lossy().into_owned();
                        DeviceMapping {
                            path_on_host: Some(path.clone()),
                            path_in_container: Some(path),
                            cgroup_permissions: Some("rw".to_owned()),
                        }
                    })
                    .collect(),
            ),
        ),
    }
}

impl super::PublishedPort {
    /// Returns the port as the engine names it, such as `8080/tcp`.
    pub(super) fn engine_name(&self) -> String {
        let protocol = match self.protocol {
            PortProtocol::Udp => "udp",
            // HTTP comes over TCP.
            PortProtocol::Tcp | PortProtocol::Http => "tcp",
        };
        format!("{}/{protocol}", self.container_port)
    }
}
