//! Networks of jobs at an engine that enforces rules by itself: a cluster.
//!
//! The rules are the same as those of [`super::JobNetworks`]: special addresses are out of reach, whatever
//! the manifest says, and IPv4 is all that there is. Names of an allow-list are resolved once, before the
//! container starts; it knows them by its hosts file, and has no resolver.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_client::manifest::{JobManifest, PortProtocol};
use ipnet::Ipv4Net;

use super::{
    BYTES_PER_MBPS, HttpTarget, NetworkLease, PortStatus, Wish, address,
    ledger::{Ledger, NetworkRecord, Pool},
    names::Resolver,
    port_status,
    rules::Access,
};
use crate::{
    config::{Config, JobNetworkSettings},
    engine::{
        Bandwidth, ContainerNetwork, KubernetesEngine, NetworkDestination, NetworkRules, PublishedPort,
    },
    files::Disk,
    lease::{LeaseError, LeaseKey, LeaseRequest},
};

/// Dependencies of [`ClusterNetworks`].
pub struct ClusterNetworkParts {
    /// Engine that has the networks.
    pub engine: KubernetesEngine,
    /// Settings. Of `job_subnets` nothing is used: the cluster has addresses of its own.
    pub settings: JobNetworkSettings,
    /// Limits of one slot's traffic.
    pub per_slot: Bandwidth,
    /// Public part of the worker key, hexadecimal.
    pub worker: String,
    /// Folder of the ledger of ports.
    pub folder: PathBuf,
    /// The folder's disk.
    pub disk: Disk,
}

impl ClusterNetworkParts {
    /// Collects the dependencies from a configuration.
    pub fn of(config: &Config, engine: KubernetesEngine, worker: String, disk: Disk) -> Self {
        let slots = u64::from(config.slots().max(1));
        let per_slot = |mbps: u32| u64::from(mbps) * BYTES_PER_MBPS / slots;
        Self {
            engine,
            settings: config.assay.network.clone(),
            per_slot: Bandwidth {
                upload: per_slot(config.network.max_upload_mbps),
                download: per_slot(config.network.max_download_mbps),
            },
            worker,
            folder: config.assay.state_dir.clone(),
            disk,
        }
    }
}

/// Networks of the jobs of a machine in a cluster. Clones share everything.
#[derive(Clone)]
pub struct ClusterNetworks(Arc<Inner>);

impl fmt::Debug for ClusterNetworks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClusterNetworks").finish_non_exhaustive()
    }
}

struct Inner {
    parts: ClusterNetworkParts,
    resolver: Resolver,
    /// Ports of the node, as [`super::JobNetworks`] has them of the host. Its networks are not used here.
    ledger: Mutex<Ledger>,
}

impl ClusterNetworks {
    /// Opens the ledger of ports. Changes nothing of the cluster.
    ///
    /// # Errors
    /// The ledger's file cannot be read.
    pub fn open(parts: ClusterNetworkParts) -> io::Result<Self> {
        let id = parts.worker.get(..6).unwrap_or("000000");
        let ledger = Ledger::open(parts.folder.clone(), parts.disk.clone(), id)?;
        Ok(Self(Arc::new(Inner {
            resolver: Resolver::new(&parts.settings.dns_servers),
            ledger: Mutex::new(ledger),
            parts,
        })))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::lease) async fn take(
        &self,
        request: &LeaseRequest<'_>,
    ) -> Result<NetworkLease, LeaseError> {
        let Some(mut rules) = self.rules(request.manifest).await? else {
            return Ok(NetworkLease {
                network: ContainerNetwork::None,
                ports: Vec::new(),
            });
        };
        let slots = u64::from(request.slots.max(1));
        let per_slot = self.0.parts.per_slot;
        rules.bandwidth = Some(Bandwidth {
            upload: per_slot.upload.saturating_mul(slots),
            download: per_slot.download.saturating_mul(slots),
        });
        let ports = if request.manifest.ports.is_empty() {
            Vec::new()
        } else {
            published(&self.give_ports(request).await?)
        };
        Ok(NetworkLease {
            network: ContainerNetwork::Rules(rules),
            ports,
        })
    }

    /// Gives a job its ports, or returns those that it has.
    async fn give_ports(&self, request: &LeaseRequest<'_>) -> Result<NetworkRecord, LeaseError> {
        let settings = &self.0.parts.settings;
        let wished = &request.manifest.ports;
        let wants_range = wished.iter().any(|port| port.protocol != PortProtocol::Http);
        if wants_range && settings.port_range.is_none() {
            return Err(LeaseError::Refused(
                "the manifest publishes ports, and this worker has none to give: its provider has not set \
                 `assay.network.port_range`"
                    .to_owned(),
            ));
        }
        let is_new = self.ledger().get(&request.key).is_none();
        let mut used = if is_new && wants_range {
            self.0.parts.engine.node_ports().await?
        } else {
            BTreeSet::new()
        };
        let pool = Pool {
            subnets: settings.job_subnets,
            ports: settings.port_range.clone(),
        };
        let mut ledger = self.ledger();
        // A cluster gives a number to one Service, whatever the protocol; those of other jobs may not be made
        // yet.
        used.extend(
            ledger
                .all()
                .flat_map(|record| &record.ports)
                .filter_map(|port| port.host_port),
        );
        Ok(ledger.give(&request.key, wished, &pool, &[], |_, port| !used.contains(&port))?)
    }

    /// Takes back a job's ports.
    pub(in crate::lease) fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.ledger()
            .take_back(key)
            .map_err(|error| LeaseError::Failed(error.to_string()))
    }

    /// Returns a job's published ports.
    pub fn ports(&self, key: &LeaseKey) -> Vec<PortStatus> {
        self.ledger().get(key).map(port_status).unwrap_or_default()
    }

    /// Returns the target of requests to a job's HTTP port, the address of its pod. The job must be the
    /// newest of its number, and run.
    pub fn http_target(&self, job: u64, name: &str) -> Option<HttpTarget> {
        let record = self
            .ledger()
            .all()
            .filter(|record| record.key().job == job)
            .last()?
            .clone();
        let port = record
            .ports
            .iter()
            .find(|port| port.name == name && port.protocol == PortProtocol::Http)?;
        let address = self.0.parts.engine.pod_address(job, &record.key().fingerprint)?;
        Some(HttpTarget {
            address: SocketAddr::from((address, port.container_port)),
            is_public: port.is_public,
        })
    }

    /// Returns the rules for a manifest; `None` if it needs no network.
    async fn rules(&self, manifest: &JobManifest) -> Result<Option<NetworkRules>, LeaseError> {
        let Some(wish) = Wish::of(manifest)? else {
            return Ok(None);
        };
        let refused: Vec<Ipv4Net> = address::unreachable().collect();
        let mut rules = match wish.access {
            // It answers whoever reaches a published port, and nothing else.
            Access::Off => NetworkRules::default(),
            Access::On => NetworkRules {
                destinations: vec![NetworkDestination {
                    network: Ipv4Net::default(),
                    port: None,
                }],
                resolvers: self.0.parts.settings.dns_servers.clone(),
                refused,
                ..NetworkRules::default()
            },
            Access::Allow { networks, .. } => {
                let mut rules = NetworkRules {
                    destinations: networks
                        .into_iter()
                        .map(|(network, port)| NetworkDestination { network, port })
                        .collect(),
                    refused,
                    ..NetworkRules::default()
                };
                for (name, ports) in &wish.names {
                    self.add_name(&mut rules, name, ports).await?;
                }
                rules
            }
        };
        rules.ports = manifest
            .ports
            .iter()
            .map(|port| (port.protocol, port.port))
            .collect();
        Ok(Some(rules))
    }

    async fn add_name(
        &self,
        rules: &mut NetworkRules,
        name: &str,
        ports: &[Option<u16>],
    ) -> Result<(), LeaseError> {
        let addresses: Vec<Ipv4Addr> = self
            .0
            .resolver
            .resolve(name)
            .await
            .addresses
            .into_iter()
            .map(|(address, _)| address)
            .filter(|address| address::is_reachable(*address))
            .collect();
        if addresses.is_empty() {
            return Err(LeaseError::Failed(format!(
                "the manifest allows {name}, and `assay.network.dns_servers` know no public IPv4 address of it"
            )));
        }
        for address in addresses {
            rules.hosts.push((name.to_owned(), address));
            for port in ports {
                rules.destinations.push(NetworkDestination {
                    network: Ipv4Net::from(address),
                    port: *port,
                });
            }
        }
        Ok(())
    }
}

/// Returns the ports of a record that a Service publishes.
fn published(record: &NetworkRecord) -> Vec<PublishedPort> {
    let ports = record.ports.iter().filter_map(|port| {
        Some(PublishedPort {
            // Of every address of the node.
            host_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host_port: port.host_port?,
            container_port: port.container_port,
            protocol: port.protocol,
        })
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        config::SlotShare,
        engine::{ImageRoot, KubernetesSettings},
    };

    fn networks(folder: &tempfile::TempDir) -> ClusterNetworks {
        let settings = JobNetworkSettings {
            dns_servers: vec!["192.0.2.53".parse().unwrap()],
            port_range: Some(30_000..=30_010),
            ..JobNetworkSettings::default()
        };
        ClusterNetworks::open(ClusterNetworkParts {
            engine: KubernetesEngine::new(KubernetesSettings::default()),
            settings,
            per_slot: Bandwidth {
                upload: 1_000,
                download: 2_000,
            },
            worker: "ab".repeat(32),
            folder: folder.path().to_owned(),
            disk: Disk::default(),
        })
        .unwrap()
    }

    fn manifest(rest: &str) -> JobManifest {
        let image = format!("a/b@sha256:{}", "ab".repeat(32));
        JobManifest::from_bytes(format!(r#"{{"image":"{image}",{rest}}}"#).as_bytes()).unwrap()
    }

    async fn rules(network: &str) -> Result<Option<NetworkRules>, LeaseError> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(&format!(r#""network":{network}"#));
        networks(&folder).rules(&manifest).await
    }

    #[tokio::test]
    async fn http_ports_need_no_port_of_the_node_and_limits_follow_the_slots() {
        let folder = tempfile::tempdir().unwrap();
        let networks = networks(&folder);
        let image = ImageRoot::default();
        let manifest = manifest(r#""ports":[{"port":8080,"protocol":"http","name":"web","public":true}]"#);
        let key = LeaseKey {
            job: 7,
            fingerprint: "ab".into(),
        };
        let request = LeaseRequest {
            key: key.clone(),
            slots: 3,
            share: SlotShare {
                memory_mib: 64,
                cpu_millis: 100,
                processes: 16,
            },
            manifest: &manifest,
            image: &image,
        };
        // No cluster is asked: there is none here.
        let lease = networks.take(&request).await.unwrap();
        let ContainerNetwork::Rules(rules) = lease.network else {
            panic!("rules of its own");
        };
        assert_eq!(lease.ports, []);
        assert_eq!(
            (rules.destinations, rules.ports),
            (vec![], vec![(PortProtocol::Http, 8_080)])
        );
        let limits = Bandwidth {
            upload: 3_000,
            download: 6_000,
        };
        assert_eq!(rules.bandwidth, Some(limits));
        let ports = networks.ports(&key);
        assert_eq!((&*ports[0].name, ports[0].host_port), ("web", None));
        // Without a pod there is nothing to reach.
        assert_eq!(networks.http_target(7, "web"), None);
        networks.release(&key).unwrap();
        assert_eq!(networks.ports(&key), []);
    }

    #[tokio::test]
    async fn special_addresses_are_refused_whatever_is_allowed() {
        assert_eq!(rules("false").await.unwrap(), None);
        for network in [
            "true",
            r#"{"allow":["0.0.0.0/0"]}"#,
            r#"{"allow":["8.0.0.0/6:443"]}"#,
        ] {
            let rules = rules(network).await.unwrap().unwrap();
            assert_eq!(rules.refused, address::unreachable().collect::<Vec<_>>());
            assert_eq!(rules.destinations.len(), 1);
        }
        assert!(matches!(
            rules(r#"{"allow":["10.0.0.0/8"]}"#).await,
            Err(LeaseError::Refused(_))
        ));
    }

    #[tokio::test]
    async fn only_the_whole_network_has_resolvers() {
        assert_eq!(rules("true").await.unwrap().unwrap().resolvers.len(), 1);
        let listed = rules(r#"{"allow":["1.1.1.1:443"]}"#).await.unwrap().unwrap();
        assert_eq!(listed.resolvers, Vec::<Ipv4Addr>::new());
        assert_eq!(
            listed.destinations,
            [NetworkDestination {
                network: "1.1.1.1/32".parse().unwrap(),
                port: Some(443)
            }]
        );
    }
}
