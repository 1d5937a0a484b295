//! Published ports: Services of the type NodePort, and the addresses of pods for the worker's proxy.
//!
//! A Service keeps Pod Security `restricted`, which forbids ports of the host. With `externalTrafficPolicy:
//! Local` only the machine's own node answers, and the job sees its clients' addresses.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use assay_client::manifest::PortProtocol;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
    core::Status,
};

use super::{
    KubernetesEngine, connection,
    connection::{is_gone, is_there},
    objects::{labels, named},
};
use crate::engine::{ContainerSpec, EngineError, LABEL_FINGERPRINT, LABEL_JOB, PublishedPort};

/// Name of a job's Service.
const SERVICE: &str = "ports";

/// Name of the Service by which ports are tried.
const TRIED_SERVICE: &str = "assay-worker-check";

/// Address of a running job's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodAddress {
    job: u64,
    fingerprint: String,
    address: IpAddr,
}

impl PodAddress {
    fn of(namespace: &Namespace, pod: &Pod) -> Option<Self> {
        Some(Self {
            job: namespace.labels().get(LABEL_JOB)?.parse().ok()?,
            fingerprint: namespace.labels().get(LABEL_FINGERPRINT)?.clone(),
            address: pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?,
        })
    }
}

fn protocol_name(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Udp => "UDP",
        PortProtocol::Tcp | PortProtocol::Http => "TCP",
    }
}

fn service_port(protocol: PortProtocol, node_port: u16, container_port: u16) -> ServicePort {
    let protocol = protocol_name(protocol);
    ServicePort {
        name: Some(format!("{}-{node_port}", protocol.to_ascii_lowercase())),
        protocol: Some(protocol.to_owned()),
        // Ports of a Service differ from each other; those of the node do.
        port: node_port.into(),
        target_port: Some(IntOrString::Int(container_port.into())),
        node_port: Some(node_port.into()),
        ..ServicePort::default()
    }
}

/// Returns the Service that publishes a job's ports; `None` if it publishes none.
pub(super) fn service(spec: &ContainerSpec) -> Option<Service> {
    if spec.ports.is_empty() {
        return None;
    }
    let ports = spec
        .ports
        .iter()
        .map(|port: &PublishedPort| service_port(port.protocol, port.host_port, port.container_port));
    let mut metadata = named(SERVICE);
    metadata.labels = Some(labels(spec));
    Some(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            external_traffic_policy: Some("Local".to_owned()),
            selector: Some(labels(spec)),
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// Translates the refusal of a port.
fn of_status(action: &str, status: &Status) -> EngineError {
    let (action_text, reason) = (action.to_owned(), status.message.trim().to_owned());
    if reason.contains("not in the valid range") {
        return EngineError::Refused {
            action: action_text,
            reason: format!(
                "{reason}; set `assay.network.port_range` to ports within that, or start the API server with another \
                 --service-node-port-range"
            ),
        };
    }
    if reason.contains("already allocated") {
        // Another Service of the cluster may give it back, and the next job gets another port.
        return EngineError::Failed {
            action: action_text,
            reason,
        };
    }
    connection::of_status(action, status)
}

impl KubernetesEngine {
    /// Creates the Service of a container's ports, if it publishes some.
    pub(super) async fn publish(&self, namespace: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        let action = "publish the job's ports";
        let Some(service) = service(spec) else {
            return Ok(());
        };
        let services: Api<Service> = self.of(namespace).await?;
        let created = self
            .connection
            .try_call(action, services.create(&PostParams::default(), &service))
            .await?;
        match created {
            Ok(_) => Ok(()),
            Err(status) if is_there(&status) => Ok(()),
            Err(status) => Err(of_status(action, &status)),
        }
    }

    /// Returns the ports of nodes that Services of the whole cluster have. A cluster gives a number to one
    /// Service, whatever the protocol.
    pub async fn node_ports(&self) -> Result<BTreeSet<u16>, EngineError> {
        let services: Api<Service> = Api::all(self.connection.client().await?);
        let services = self.all(&services, "list the cluster's services", "").await?;
        let ports = services
            .into_iter()
            .filter_map(|service| service.spec?.ports)
            .flatten();
        Ok(ports
            .filter_map(|port| u16::try_from(port.node_port?).ok())
            .collect())
    }

    /// Checks that the API server gives the first and the last port of a range to Services: makes one without
    /// a target for each, and removes it. A dry run would not tell: not every version compares the range in
    /// one.
    ///
    /// # Errors
    /// A refusal with the range that it gives.
    pub async fn check_node_ports(&self, range: &RangeInclusive<u16>) -> Result<(), EngineError> {
        let action = "give ports of the node to jobs";
        let services: Api<Service> = self.of("default").await?;
        for port in [*range.start(), *range.end()] {
            let service = Service {
                metadata: named(TRIED_SERVICE),
                spec: Some(ServiceSpec {
                    type_: Some("NodePort".to_owned()),
                    ports: Some(vec![service_port(PortProtocol::Tcp, port, port)]),
                    ..ServiceSpec::default()
                }),
                status: None,
            };
            // One that an earlier check left behind.
            self.remove_tried(&services, action).await?;
            let tried = self
                .connection
                .try_call(action, services.create(&PostParams::default(), &service))
                .await?;
            match tried {
                Ok(_) => self.remove_tried(&services, action).await?,
                Err(status) => match of_status(action, &status) {
                    // It is in the range, and another Service has it.
                    EngineError::Failed { reason, .. } if reason.contains("already allocated") => (),
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    async fn remove_tried(&self, services: &Api<Service>, action: &str) -> Result<(), EngineError> {
        let removed = self
            .connection
            .try_call(action, services.delete(TRIED_SERVICE, &DeleteParams::default()))
            .await?;
        match removed {
            Ok(_) => Ok(()),
            Err(status) if is_gone(&status) => Ok(()),
            Err(status) => Err(connection::of_status(action, &status)),
        }
    }

    /// Notes the address of a container's pod.
    pub(super) fn note_address(&self, id: &str, namespace: &Namespace, pod: &Pod) {
        if let Some(address) = PodAddress::of(namespace, pod) {
            self.change_addresses(|addresses| drop(addresses.insert(id.to_owned(), address)));
        }
    }

    /// Returns the address of a running job's pod, as far as this process started or follows it.
    pub fn pod_address(&self, job: u64, fingerprint: &str) -> Option<IpAddr> {
        self.change_addresses(|addresses| {
            addresses
                .values()
                .find(|of| of.job == job && of.fingerprint == fingerprint)
                .map(|of| of.address)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn refusal(message: &str) -> EngineError {
        let status = json!({ "status": "Failure", "code": 422, "message": message, "reason": "Invalid" });
        of_status("publish", &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn port_beyond_the_range_is_refused_with_a_remedy_and_a_taken_one_may_come_free() {
        let beyond = refusal(
            "Service \"ports\" is invalid: spec.ports[0].nodePort: Invalid value: 20000: provided port is not in the \
             valid range. The range of valid ports is 30000-32767",
        );
        assert!(beyond.is_permanent());
        assert!(
            beyond.to_string().contains("`assay.network.port_range`"),
            "{beyond}"
        );
        assert!(beyond.to_string().contains("30000-32767"), "{beyond}");
        let taken =
            refusal("spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated");
        assert!(!taken.is_permanent());
        assert!(refusal("something else").is_permanent());
    }

    #[test]
    fn address_is_that_of_the_job() {
        let engine = KubernetesEngine::new(crate::engine::KubernetesSettings::default());
        let mut namespace = Namespace::default();
        let pod: Pod = serde_json::from_value(json!({ "status": { "podIP": "10.1.2.3" } })).unwrap();
        engine.note_address("a/b", &namespace, &pod);
        namespace.labels_mut().insert(LABEL_JOB.into(), "7".into());
        namespace
            .labels_mut()
            .insert(LABEL_FINGERPRINT.into(), "ab".into());
        engine.note_address("a/b", &namespace, &Pod::default());
        assert_eq!(engine.pod_address(7, "ab"), None);
        engine.note_address("a/b", &namespace, &pod);
        assert_eq!(engine.pod_address(7, "ab"), Some("10.1.2.3".parse().unwrap()));
        assert_eq!(engine.pod_address(7, "cd"), None);
    }
}
