//! Networks at the engine: one bridge per job, of which the worker names the bridge and the addresses.

use std::net::Ipv4Addr;

use bollard::errors::Error as ApiError;
use hyper::Method;
use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixStream;

use super::{
    DockerEngine, EngineEndpoint, EngineError, LABEL_FINGERPRINT, LABEL_JOB, LABEL_WORKER,
    docker::of_wire,
    wire::{Wire, WireError, filters},
};

/// Specification of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Name at the engine.
    pub name: String,
    /// Name of the bridge on the host.
    pub bridge: String,
    /// Addresses of the network.
    pub subnet: Ipv4Net,
    /// Address of the host.
    pub gateway: Ipv4Addr,
    /// Public part of the worker key, hexadecimal.
    pub worker: String,
    /// Number of the job.
    pub job: u64,
    /// The job's fingerprint.
    pub fingerprint: String,
}

/// Network of this worker at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineNetwork {
    /// Name.
    pub name: String,
    /// Number of the job.
    pub job: u64,
    /// The job's fingerprint.
    pub fingerprint: String,
}

/// Network as the engine lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    name: String,
    #[serde(default)]
    labels: Option<std::collections::HashMap<String, String>>,
}

impl DockerEngine {
    /// Creates a job's network; leaves one of the same name as it is.
    pub async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        let listed = self.networks(&spec.worker).await?;
        if listed.iter().any(|network| network.name == spec.name) {
            return Ok(());
        }
        let action = "create the job's network";
        let labels = json!({
            LABEL_WORKER: spec.worker,
            LABEL_JOB: spec.job.to_string(),
            LABEL_FINGERPRINT: spec.fingerprint,
        });
        // Podman's own interface: by Docker's it always adds a resolver of its own, which listens on the
        // host.
        let (path, body) = if self.is_podman().await? {
            let body = json!({
                "name": spec.name,
                "driver": "bridge",
                "network_interface": spec.bridge,
                "dns_enabled": false,
                "ipv6_enabled": false,
                "internal": false,
                "labels": labels,
                "subnets": [{ "subnet": spec.subnet, "gateway": spec.gateway }],
            });
            ("/v4.0.0/libpod/networks/create", body)
        } else {
            let body = json!({
                "Name": spec.name,
                "Driver": "bridge",
                "CheckDuplicate": true,
                "EnableIPv6": false,
                "Internal": false,
                "Labels": labels,
                "IPAM": { "Driver": "default", "Config": [{ "Subnet": spec.subnet, "Gateway": spec.gateway }] },
                "Options": {
                    "com.docker.network.bridge.name": spec.bridge,
                    "com.docker.network.bridge.enable_icc": "false",
                },
            });
            ("/networks/create", body)
        };
        self.network_request(action, Method::POST, path, &body)
            .await
            .map(drop)
    }

    /// Removes a network; succeeds if it is gone. Fails while a container uses it.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let action = "remove the job's network";
        let path = format!("/networks/{name}");
        let removing = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            wire.request(Method::DELETE, &path, &serde_json::Value::Null)
                .await
        };
        match removing.await {
            Ok(_) | Err(WireError::Status { code: 404, .. }) => Ok(()),
            Err(error) => Err(self.of_request(action, error)),
        }
    }

    /// Lists the networks of a worker.
    pub async fn networks(&self, worker: &str) -> Result<Vec<EngineNetwork>, EngineError> {
        let filters = filters("label", &format!("{LABEL_WORKER}={worker}"));
        let action = "list networks";
        let listing = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            let path = format!("/networks?filters={filters}");
            wire.json::<Vec<serde_json::Value>>(Method::GET, &path).await
        };
        let listed = listing.await.map_err(|error| self.of_request(action, error))?;
        Ok(listed
            .into_iter()
            .filter_map(|entry| {
                let Listed { name, labels } = serde_json::from_value(entry).ok()?;
                let labels = labels?;
                // Older engines ignore the filter.
                if labels.get(LABEL_WORKER).map(String::as_str) != Some(worker) {
                    return None;
                }
                Some(EngineNetwork {
                    name,
                    job: labels.get(LABEL_JOB)?.parse().ok()?,
                    fingerprint: labels.get(LABEL_FINGERPRINT)?.clone(),
                })
            })
            .collect())
    }

    /// Returns the reason why the engine's bridges are not interfaces of the network namespace of this
    /// process; `None` if they are.
    pub async fn foreign_network(&self) -> Result<Option<String>, EngineError> {
        let EngineEndpoint::Socket(path) = &self.endpoint else {
            return Ok(Some(
                "the engine is reached by HTTP, so its networks may be on another host; name its socket with `assay.engine`"
                    .to_owned(),
            ));
        };
        let info = self
            .call("describe itself", |docker| async move { docker.info().await })
            .await?;
        let is_rootless = info
            .security_options
            .unwrap_or_default()
            .iter()
            .any(|option| option.starts_with("name=rootless"));
        if is_rootless {
            return Ok(Some(
                "the engine runs rootless, so its networks are out of the firewall's reach; run the engine as root".to_owned(),
            ));
        }
        let peer = match UnixStream::connect(path)
            .await
            .and_then(|stream| stream.peer_cred())
        {
            Ok(peer) => peer.pid(),
            Err(error) => return Err(self.of_request("answer", WireError::Broken(error.to_string()))),
        };
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let theirs = peer.and_then(|pid| namespace(&pid.to_string()));
        if theirs.is_some() && theirs == namespace("self") {
            return Ok(None);
        }
        Ok(Some(
            "the engine does not run in the worker's network namespace, so the firewall cannot reach its networks; run \
             both on the host itself, as root"
                .to_owned(),
        ))
    }

    async fn network_request(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Option<serde_json::Value>, EngineError> {
        let requesting = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            wire.request(method, path, body).await
        };
        requesting.await.map_err(|error| self.of_request(action, error))
    }

    fn of_request(&self, action: &str, error: WireError) -> EngineError {
        match error {
            WireError::Status { code, message } => self.translate(
                action,
                &ApiError::DockerResponseServerError {
                    status_code: code,
                    message,
                },
            ),
            error => of_wire(&self.endpoint, action, &error),
        }
    }
}
