//! GPUs at the engine: the interface that it has for them, and containers with CDI devices at Podman.
//!
//! Docker takes names of the Container Device Interface as device requests of the driver `cdi`. Podman takes
//! them as devices of its own API (libpod) alone: its Docker-compatible API looks for a file of that name. So
//! a container with such devices is created there by libpod, from the same request as all others.

use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, ContainerCreateResponse};
use serde_json::{Map, Value, json};

use super::{
    EngineError,
    docker::{DockerEngine, of_wire},
    wire::{Wire, WireError},
};

/// Period of the processor quota, in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// An engine's interface for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuInterface {
    /// CDI names as devices of Podman's own API.
    PodmanDevices,
    /// CDI names as Docker's device requests, with the folders that it reads specifications from.
    DockerCdi(Vec<PathBuf>),
    /// Docker's device requests for NVIDIA's hook.
    DockerRequests,
}

impl DockerEngine {
    /// Returns the engine's interface for GPUs.
    pub async fn gpu_interface(&self) -> Result<GpuInterface, EngineError> {
        if self.is_podman().await? {
            return Ok(GpuInterface::PodmanDevices);
        }
        let info = self
            .call(
                "describe its devices",
                |docker| async move { docker.info().await },
            )
            .await?;
        // An empty list says that CDI is switched off, a missing one that the engine does not know it.
        let folders = info.cdi_spec_dirs.unwrap_or_default();
        Ok(if folders.is_empty() {
            GpuInterface::DockerRequests
        } else {
            GpuInterface::DockerCdi(folders.into_iter().map(PathBuf::from).collect())
        })
    }

    /// Creates a container with CDI devices by Podman's own API, and returns the identifier.
    pub(super) async fn create_by_libpod(
        &self,
        name: &str,
        body: &ContainerCreateBody,
        cdi: &[String],
    ) -> Result<String, EngineError> {
        let action = "create the container";
        let body = libpod_body(name, body, cdi).map_err(|reason| EngineError::Refused {
            action: action.to_owned(),
            reason,
        })?;
        let creating = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            let path = "/v4.0.0/libpod/containers/create";
            wire.post_json::<ContainerCreateResponse>(path, &body).await
        };
        match creating.await {
            Ok(created) => Ok(created.id),
            Err(WireError::Status { code, message }) => Err(if (400..500).contains(&code) {
                EngineError::Refused {
                    action: action.to_owned(),
                    reason: message,
                }
            } else {
                EngineError::Failed {
                    action: action.to_owned(),
                    reason: message,
                }
            }),
            Err(error) => Err(of_wire(&self.endpoint, action, &error)),
        }
    }
}

/// Translates a request of the Docker API into one of libpod.
///
/// # Errors
/// Fails if the request has a setting that is not translated: a container with fewer restrictions than the
/// request has must not come about.
fn libpod_body(name: &str, body: &ContainerCreateBody, cdi: &[String]) -> Result<Value, String> {
    let mut wishes = Wishes::of(body)?;
    let mut host = wishes.section("HostConfig")?;
    let security = Security::of(&host.take("SecurityOpt"))?;
    let mut spec = json!({
        "name": name,
        "image": wishes.take("Image"),
        "entrypoint": wishes.take("Entrypoint"),
        "command": wishes.take("Cmd"),
        "env": environment(&wishes.take("Env")),
        "labels": wishes.take("Labels"),
        "terminal": wishes.take("Tty"),
        "stdin": wishes.take("OpenStdin"),
        "user": wishes.take("User"),
        "work_dir": wishes.take("WorkingDir"),
        "hostname": wishes.take("Hostname"),
        "stop_timeout": wishes.take("StopTimeout"),
        "shm_size": host.take("ShmSize"),
        "cap_add": host.take("CapAdd"),
        "cap_drop": host.take("CapDrop"),
        "read_only_filesystem": host.take("ReadonlyRootfs"),
        "privileged": host.take("Privileged"),
        "oci_runtime": host.take("Runtime"),
        "storage_opts": host.take("StorageOpt"),
        "sysctl": host.take("Sysctls"),
        "init": host.take("Init"),
        "groups": host.take("GroupAdd"),
        "dns_server": host.take("Dns"),
        "dns_search": host.take("DnsSearch"),
        "hostadd": host.take("ExtraHosts"),
        "oom_score_adj": host.take("OomScoreAdj"),
        "resource_limits": limits(&mut host),
        "portmappings": ports(&host.take("PortBindings"))?,
        "log_configuration": { "driver": host.take("LogConfig")["Type"] },
        "restart_policy": host.take("RestartPolicy")["Name"],
        "no_new_privileges": security.rules_out_new_privileges,
        "seccomp_profile_path": security.seccomp_profile,
        "devices": devices(&host.take("Devices"), cdi),
        "mounts": mounts(&host.take("Tmpfs"), &host.take("Mounts"))?,
    });
    network(&host.take("NetworkMode"), &mut spec);
    // Standard input is never attached, and `PortBindings` names the ports.
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts"] {
        wishes.take(name);
    }
    wishes.end("the request")?;
    host.end("the request's HostConfig")?;
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| !is_empty(value));
    }
    Ok(spec)
}

/// Settings of a request that are not translated yet.
struct Wishes(Map<String, Value>);

impl Wishes {
    fn of(body: &ContainerCreateBody) -> Result<Self, String> {
        match serde_json::to_value(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err("the request is no object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    fn section(&mut self, name: &str) -> Result<Self, String> {
        match self.take(name) {
            Value::Object(map) => Ok(Self(map)),
            Value::Null => Ok(Self(Map::new())),
            _ => Err(format!("{name} is no object")),
        }
    }

    fn end(self, of: &str) -> Result<(), String> {
        match self.0.iter().find(|(_, value)| !is_empty(value)) {
            Some((name, _)) => Err(format!(
                "{of} has the setting {name}, which this worker cannot give Podman together with GPUs; use Docker, or a \
                 job without GPUs"
            )),
            None => Ok(()),
        }
    }
}

/// Returns true for an empty value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Of two values for a name the last counts.
fn environment(value: &Value) -> Value {
    let entries = texts(value).filter_map(|entry| entry.split_once('='));
    entries
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn limits(host: &mut Wishes) -> Value {
    let quota = host
        .take("NanoCpus")
        .as_u64()
        .map(|nanos| nanos / (1_000_000_000 / CPU_PERIOD_US));
    json!({
        "memory": { "limit": host.take("Memory"), "swap": host.take("MemorySwap") },
        "cpu": { "quota": quota, "period": quota.map(|_| CPU_PERIOD_US) },
        "pids": { "limit": host.take("PidsLimit") },
    })
}

fn ports(bindings: &Value) -> Result<Value, String> {
    let mut mappings = Vec::new();
    for (name, hosts) in bindings.as_object().into_iter().flatten() {
        let unreadable = || format!("the port {name} cannot be read");
        let (port, protocol) = name.split_once('/').ok_or_else(unreadable)?;
        let number = |text: &str| text.parse::<u16>().map_err(|_| unreadable());
        for host in hosts.as_array().into_iter().flatten() {
            mappings.push(json!({
                "container_port": number(port)?,
                "host_port": number(host["HostPort"].as_str().unwrap_or_default())?,
                "host_ip": host["HostIp"],
                "protocol": protocol,
            }));
        }
    }
    Ok(mappings.into())
}

/// Security options of a request.
#[derive(Default)]
struct Security {
    rules_out_new_privileges: bool,
    /// Path of the profile of system calls; empty for the engine's own.
    seccomp_profile: String,
}

impl Security {
    fn of(options: &Value) -> Result<Self, String> {
        let mut security = Self::default();
        for option in texts(options) {
            match (option, option.strip_prefix("seccomp=")) {
                ("no-new-privileges" | "no-new-privileges:true", _) => {
                    security.rules_out_new_privileges = true;
                }
                (_, Some(path)) if path.starts_with('/') => path.clone_into(&mut security.seccomp_profile),
                _ => return Err(format!("the security option {option} is not known")),
            }
        }
        Ok(security)
    }
}

fn devices(nodes: &Value, cdi: &[String]) -> Value {
    let nodes = nodes.as_array().into_iter().flatten();
    nodes
        .filter_map(|node| node["PathOnHost"].as_str())
        .chain(cdi.iter().map(String::as_str))
        .map(|path| json!({ "path": path }))
        .collect()
}

fn mounts(tmpfs: &Value, mounts: &Value) -> Result<Value, String> {
    let mut all: Vec<Value> = tmpfs
        .as_object()
        .into_iter()
        .flatten()
        .map(|(path, options)| {
            let options: Vec<&str> = options.as_str().unwrap_or_default().split(',').collect();
            json!({ "destination": path, "type": "tmpfs", "source": "tmpfs", "options": options })
        })
        .collect();
    for mount in mounts.as_array().into_iter().flatten() {
        if mount["Type"] != "bind" {
            return Err(format!("a mount of type {} is not known", mount["Type"]));
        }
        let known = ["Target", "Source", "Type", "ReadOnly"];
        let unknown = mount
            .as_object()
            .into_iter()
            .flatten()
            .find(|(name, value)| !known.contains(&name.as_str()) && !is_empty(value));
        if let Some((name, _)) = unknown {
            return Err(format!("a mount's setting {name} is not known"));
        }
        let access = if mount["ReadOnly"] == true { "ro" } else { "rw" };
        all.push(json!({
            "destination": mount["Target"], "type": "bind", "source": mount["Source"],
            "options": [access, "rbind"],
        }));
    }
    Ok(all.into())
}

fn network(mode: &Value, spec: &mut Value) {
    let name = mode.as_str().unwrap_or_default();
    match name {
        "" => (),
        "none" | "host" | "slirp4netns" => spec["netns"] = json!({ "nsmode": name }),
        "bridge" | "default" => spec["netns"] = json!({ "nsmode": "bridge" }),
        network => {
            spec["netns"] = json!({ "nsmode": "bridge" });
            // Its settings are empty, and it is there all the same.
            spec["Networks"] = json!({ network: { "aliases": [network] } });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bollard::models::HostConfig;

    use super::*;

    fn body(host: HostConfig) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some("image".into()),
            env: Some(vec!["A=1".into(), "B=x=y".into(), "A=2".into()]),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }

    #[test]
    fn limits_and_rights_are_translated() {
        let host: HostConfig = serde_json::from_value(json!({
            "Memory": 64, "MemorySwap": 64, "NanoCpus": 500_000_000, "PidsLimit": 9, "ShmSize": 7,
            "NetworkMode": "job-net", "CapDrop": ["ALL"], "CapAdd": ["CHOWN"], "ReadonlyRootfs": true, "Privileged": false,
            "SecurityOpt": ["no-new-privileges", "seccomp=/run/profile.json"], "Tmpfs": { "/tmp": "rw,size=5" },
            "Mounts": [{ "Target": "/in", "Source": "/data", "Type": "bind", "ReadOnly": true }],
            "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] },
            "RestartPolicy": { "Name": "no" }, "LogConfig": { "Type": "none" },
        }))
        .unwrap();
        let spec = libpod_body("name", &body(host), &["nvidia.com/gpu=GPU-a".into()]).unwrap();
        assert_eq!(
            spec,
            json!({
                "name": "name", "image": "image", "env": { "A": "2", "B": "x=y" },
                "resource_limits": {
                    "memory": { "limit": 64, "swap": 64 }, "cpu": { "quota": 50_000, "period": 100_000 }, "pids": { "limit": 9 },
                },
                "shm_size": 7, "netns": { "nsmode": "bridge" }, "Networks": { "job-net": { "aliases": ["job-net"] } },
                "cap_drop": ["ALL"], "cap_add": ["CHOWN"], "read_only_filesystem": true, "privileged": false,
                "no_new_privileges": true, "seccomp_profile_path": "/run/profile.json",
                "mounts": [
                    { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["rw", "size=5"] },
                    { "destination": "/in", "type": "bind", "source": "/data", "options": ["ro", "rbind"] },
                ],
                "portmappings": [
                    { "container_port": 80, "host_port": 8080, "host_ip": "127.0.0.1", "protocol": "tcp" },
                ],
                "restart_policy": "no", "log_configuration": { "driver": "none" },
                "devices": [{ "path": "nvidia.com/gpu=GPU-a" }],
            })
        );
    }

    #[test]
    fn setting_that_is_not_translated_is_refused() {
        for (host, expected) in [
            (json!({ "UsernsMode": "keep-id" }), "UsernsMode"),
            (
                json!({ "SecurityOpt": ["seccomp=unconfined"] }),
                "seccomp=unconfined",
            ),
            (json!({ "SecurityOpt": ["apparmor=x"] }), "apparmor=x"),
            (
                json!({ "Mounts": [{ "Target": "/v", "Source": "v", "Type": "volume" }] }),
                "volume",
            ),
            (
                json!({ "Mounts": [{ "Target": "/v", "Source": "/v", "Type": "bind",
                    "BindOptions": { "Propagation": "shared" } }] }),
                "BindOptions",
            ),
        ] {
            let host: HostConfig = serde_json::from_value(host).unwrap();
            let error = libpod_body("name", &body(host), &[]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
