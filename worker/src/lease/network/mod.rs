//! One network per job: a bridge of its own, the firewall's rules around it, and published ports.
//!
//! A job whose manifest wants neither network nor ports has the container's loopback interface alone. All
//! others get a network of four addresses (network, host, container, broadcast) behind a bridge that the
//! worker names. It has IPv4 only: the rules drop everything else. The firewall ([`rules`]) is in force
//! before the network exists, so no container ever runs without it; [`JobNetworks::ensure`] checks it again
//! before each start, and [`JobNetworks::keep`] all the time.
//!
//! | manifest | the container reaches | resolver |
//! |---|---|---|
//! | `false` with ports | nothing; it answers on its published ports | none |
//! | `{"allow": […]}` | the listed destinations of the public network | the worker's, for the listed names |
//! | `true` | the public network | `assay.network.dns_servers` |
//!
//! A host on which the rules cannot be enforced gives no network: a manifest that wants one is refused.

mod address;
mod cluster;
mod dns;
mod host;
mod ledger;
mod names;
mod nft;
mod rules;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use assay_client::manifest::{Destination, DestinationHost, JobManifest, NetworkAccess, PortProtocol};
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use tokio::task::AbortHandle;
use utoipa::ToSchema;

pub use cluster::{ClusterNetworkParts, ClusterNetworks};

use super::{LeaseError, LeaseKey, LeaseRequest};
use crate::{
    config::{Config, JobNetworkSettings},
    engine::{ContainerNetwork, DockerEngine, EngineError, NetworkSpec, PublishedPort},
    files::Disk,
};
use ledger::{Ledger, LedgerError, NetworkRecord, Pool};
use names::{AllowedNames, NameService, Resolver};
use nft::{Nft, NftError};
use rules::{Access, JobRules, TableNames};

/// Interval at which the firewall's rules are compared with those that were set.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Number of comparisons between two removals of leftovers.
const SWEEP_EVERY: u32 = 12;

/// Maximum number of parts of the pool that are tried because the engine has them in use already.
const MAX_CONFLICTS: usize = 16;

/// Bytes per second of one Mbit/s.
const BYTES_PER_MBPS: u64 = 125_000;

/// Dependencies of [`JobNetworks`].
pub struct JobNetworkParts {
    /// Engine that has the networks.
    pub engine: DockerEngine,
    /// Settings.
    pub settings: JobNetworkSettings,
    /// Address of the host on which ports are published.
    pub listen_address: IpAddr,
    /// Upload rate of one slot, in bytes per second.
    pub upload_per_slot: u64,
    /// Download rate of one slot, in bytes per second.
    pub download_per_slot: u64,
    /// Public part of the worker key, hexadecimal.
    pub worker: String,
    /// Folder of the ledger.
    pub folder: PathBuf,
    /// The folder's disk.
    pub disk: Disk,
}

impl JobNetworkParts {
    /// Collects the dependencies from a configuration.
    pub fn of(config: &Config, engine: DockerEngine, worker: String, disk: Disk) -> Self {
        let slots = u64::from(config.slots().max(1));
        let per_slot = |mbps: u32| u64::from(mbps) * BYTES_PER_MBPS / slots;
        Self {
            engine,
            settings: config.assay.network.clone(),
            listen_address: config.assay.listen_address,
            upload_per_slot: per_slot(config.network.max_upload_mbps),
            download_per_slot: per_slot(config.network.max_download_mbps),
            worker,
            folder: config.assay.state_dir.clone(),
            disk,
        }
    }
}

/// Published port as the consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PortStatus {
    /// Name in the manifest.
    pub name: String,
    /// Protocol: `tcp`, `udp` or `http`.
    #[schema(value_type = String)]
    pub protocol: PortProtocol,
    /// Port that the container listens on.
    pub container_port: u16,
    /// Port of the host, of the machine's endpoint; `None` for HTTP.
    pub host_port: Option<u16>,
    /// Path at the worker's own interface, for HTTP.
    pub path: Option<String>,
    /// True if the path needs no token.
    pub public: bool,
}

/// Target of requests to a job's HTTP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Address of the container.
    pub address: SocketAddr,
    /// True if it is open without a token.
    pub is_public: bool,
}

/// A job's part of its container's specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkLease {
    pub(super) network: ContainerNetwork,
    pub(super) ports: Vec<PublishedPort>,
}

/// Networks of a machine's jobs. Clones share everything.
#[derive(Clone)]
pub struct JobNetworks(Arc<Inner>);

impl fmt::Debug for JobNetworks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JobNetworks").finish_non_exhaustive()
    }
}

struct Inner {
    parts: JobNetworkParts,
    names: TableNames,
    ledger: Mutex<Ledger>,
    /// Held while the firewall is read or changed.
    firewall: tokio::sync::Mutex<Firewall>,
}

/// The firewall as this process set it.
#[derive(Default)]
struct Firewall {
    /// The program, once this host was found to enforce rules.
    nft: Option<Nft>,
    /// Rules of the jobs that this process knows the manifests of.
    jobs: BTreeMap<LeaseKey, JobFirewall>,
    /// Text of the rules after the last change; `None` before the first.
    in_force: Option<String>,
}

struct JobFirewall {
    rules: JobRules,
    names: Option<RunningNames>,
}

/// Resolver in a task of its own, which ends with this value.
struct RunningNames {
    service: Arc<NameService>,
    task: AbortHandle,
}

impl Drop for RunningNames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl From<LedgerError> for LeaseError {
    fn from(error: LedgerError) -> Self {
        // Another attempt may succeed: jobs end.
        Self::Failed(error.to_string())
    }
}

impl From<NftError> for LeaseError {
    fn from(error: NftError) -> Self {
        Self::Failed(format!("the job's network cannot be fenced off: {error}"))
    }
}

/// Destinations of a manifest, checked.
struct Wish {
    access: Access,
    names: AllowedNames,
}

impl Wish {
    /// Returns a manifest's wish; `None` if it needs no network.
    fn of(manifest: &JobManifest) -> Result<Option<Self>, LeaseError> {
        let without_names = |access| {
            Ok(Some(Self {
                access,
                names: AllowedNames::new(),
            }))
        };
        match &manifest.network {
            NetworkAccess::Off if manifest.ports.is_empty() => Ok(None),
            NetworkAccess::Off => without_names(Access::Off),
            NetworkAccess::On => without_names(Access::On),
            NetworkAccess::Allow(destinations) => Self::allow(destinations).map(Some),
        }
    }

    fn allow(destinations: &[Destination]) -> Result<Self, LeaseError> {
        let mut names = AllowedNames::new();
        let mut networks = Vec::new();
        for destination in destinations {
            let refused =
                |reason: &str| LeaseError::Refused(format!("the manifest allows {destination}, {reason}"));
            match &destination.host {
                DestinationHost::Name(name) => {
                    names.entry(name.clone()).or_default().push(destination.port);
                }
                DestinationHost::Network(IpNet::V6(_)) => {
                    return Err(refused("and networks of jobs have IPv4 addresses only"));
                }
                DestinationHost::Network(IpNet::V4(network)) if !address::has_reachable(*network) => {
                    return Err(refused("which is not of the public network"));
                }
                DestinationHost::Network(IpNet::V4(network)) => networks.push((*network, destination.port)),
            }
        }
        let has_names = !names.is_empty();
        Ok(Self {
            access: Access::Allow { networks, has_names },
            names,
        })
    }
}

/// Returns the published ports of a record as its consumer sees them.
fn port_status(record: &NetworkRecord) -> Vec<PortStatus> {
    let job = record.key().job;
    record
        .ports
        .iter()
        .map(|port| PortStatus {
            name: port.name.clone(),
            protocol: port.protocol,
            container_port: port.container_port,
            host_port: port.host_port,
            path: (port.protocol == PortProtocol::Http)
                .then(|| format!("/v1/jobs/{job}/ports/{}/", port.name)),
            public: port.protocol != PortProtocol::Http || port.is_public,
        })
        .collect()
}

impl JobNetworks {
    /// Opens the ledger. Changes nothing of the host yet.
    pub fn open(parts: JobNetworkParts) -> io::Result<Self> {
        let id = parts.worker.get(..6).unwrap_or("000000");
        let ledger = Ledger::open(parts.folder.clone(), parts.disk.clone(), id)?;
        let names = TableNames {
            id: ledger.id().to_owned(),
        };
        Ok(Self(Arc::new(Inner {
            parts,
            names,
            ledger: Mutex::new(ledger),
            firewall: tokio::sync::Mutex::default(),
        })))
    }

    /// Gives a job its network and its ports, and puts its rules in force. Idempotent.
    pub(super) async fn take(&self, request: &LeaseRequest<'_>) -> Result<NetworkLease, LeaseError> {
        let Some(wish) = Wish::of(request.manifest)? else {
            return Ok(NetworkLease {
                network: ContainerNetwork::None,
                ports: Vec::new(),
            });
        };
        let inner = &self.0;
        let settings = &inner.parts.settings;
        let wants_range = |protocol| matches!(protocol, PortProtocol::Tcp | PortProtocol::Udp);
        if settings.port_range.is_none()
            && request
                .manifest
                .ports
                .iter()
                .any(|port| wants_range(port.protocol))
        {
            return Err(LeaseError::Refused(
                "the manifest publishes ports, and this worker has none to give: its provider has not set \
                 `assay.network.port_range`"
                    .to_owned(),
            ));
        }
        let mut taken = host::routed_networks();
        for _ in 0..MAX_CONFLICTS {
            let record = inner.ledger().give(
                &request.key,
                &request.manifest.ports,
                &inner.pool(),
                &taken,
                |protocol, port| host::is_port_free(inner.parts.listen_address, protocol, port),
            )?;
            inner.fence(&record, &wish, request.slots).await?;
            let spec = inner.network_spec(&record);
            match inner.parts.engine.create_network(&spec).await {
                Ok(()) => return Ok(inner.lease_of(&record, &wish)),
                Err(error) if is_conflict(&error) => {
                    taken.push(record.subnet);
                    self.release(&request.key).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(LeaseError::Failed(format!(
            "the engine has networks of its own in {}; set `assay.network.job_subnets` to another private network",
            settings.job_subnets
        )))
    }

    /// Checks that a job's network exists and that its rules are in force, before its container starts.
    /// Returns false if this process does not know the job's manifest: then its network must be taken anew.
    pub(super) async fn ensure(&self, key: &LeaseKey) -> Result<bool, LeaseError> {
        let inner = &self.0;
        let Some(record) = inner.ledger().get(key).cloned() else {
            return Ok(true);
        };
        let mut firewall = inner.firewall.lock().await;
        if !firewall.jobs.contains_key(key) {
            return Ok(false);
        }
        inner.verify(&mut firewall).await?;
        drop(firewall);
        inner
            .parts
            .engine
            .create_network(&inner.network_spec(&record))
            .await?;
        Ok(true)
    }

    /// Removes a job's network and its rules, and takes back its ports.
    pub(super) async fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        let inner = &self.0;
        let Some(record) = inner.ledger().get(key).cloned() else {
            return Ok(());
        };
        inner
            .parts
            .engine
            .remove_network(&inner.network_name(key))
            .await?;
        let mut firewall = inner.firewall.lock().await;
        firewall.jobs.remove(key);
        let nft = inner.nft(&mut firewall)?;
        let is_last = inner.ledger().all().count() == 1;
        if is_last {
            nft.remove_table(&inner.names.table()).await?;
            firewall.in_force = None;
        } else {
            let bridge = inner.names.bridge(record.number);
            nft.apply(&rules::remove(&inner.names, &bridge)).await?;
            firewall.in_force = nft.rules(&inner.names.table()).await?;
        }
        inner
            .ledger()
            .take_back(key)
            .map_err(|error| LeaseError::Failed(error.to_string()))
    }

    /// Returns a job's published ports.
    pub fn ports(&self, key: &LeaseKey) -> Vec<PortStatus> {
        self.0.ledger().get(key).map(port_status).unwrap_or_default()
    }

    /// Returns the target of requests to a job's HTTP port. The job must be the newest of its number.
    pub fn http_target(&self, job: u64, name: &str) -> Option<HttpTarget> {
        let ledger = self.0.ledger();
        let record = ledger.all().filter(|record| record.key().job == job).last()?;
        let port = record
            .ports
            .iter()
            .find(|port| port.name == name && port.protocol == PortProtocol::Http)?;
        Some(HttpTarget {
            address: SocketAddr::from((record.container(), port.container_port)),
            is_public: port.is_public,
        })
    }

    /// Returns an error if this host cannot enforce the rules of jobs' networks, with the remedy.
    pub async fn check(&self) -> Result<(), LeaseError> {
        let mut firewall = self.0.firewall.lock().await;
        self.0.capable(&mut firewall).await.map(drop)
    }

    /// Keeps the rules in force, and removes networks that no job has, for as long as it is polled.
    ///
    /// # Errors
    /// The rules are gone and cannot be set again.
    pub async fn keep(&self) -> io::Result<Infallible> {
        let mut round: u32 = 0;
        loop {
            let has_jobs = self.0.ledger().all().next().is_some();
            if has_jobs {
                let mut firewall = self.0.firewall.lock().await;
                self.0.verify(&mut firewall).await.map_err(io::Error::other)?;
            }
            if round.is_multiple_of(SWEEP_EVERY)
                && let Err(error) = self.sweep().await
            {
                tracing::debug!(%error, "looking for networks of jobs that are gone failed; trying again later");
            }
            round = round.wrapping_add(1);
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// Removes networks of this worker that the ledger does not have: left by a crash, or by a lost ledger.
    async fn sweep(&self) -> Result<(), EngineError> {
        let inner = &self.0;
        for network in inner.parts.engine.networks(&inner.parts.worker).await? {
            let key = LeaseKey {
                job: network.job,
                fingerprint: network.fingerprint,
            };
            if inner.ledger().get(&key).is_some() {
                continue;
            }
            match inner.parts.engine.remove_network(&network.name).await {
                Ok(()) => tracing::info!(
                    network = network.name,
                    "removed the network of a job that is gone"
                ),
                // Its container is removed first.
                Err(error) => tracing::debug!(network = network.name, %error, "a network of no job stays"),
            }
        }
        Ok(())
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> Pool {
        let settings = &self.parts.settings;
        Pool {
            subnets: settings.job_subnets,
            ports: settings.port_range.clone(),
        }
    }

    fn network_name(&self, key: &LeaseKey) -> String {
        let short = |text: &str| text.chars().take(12).collect::<String>();
        format!(
            "assay-{}-net-{}-{}",
            short(&self.parts.worker),
            key.job,
            short(&key.fingerprint)
        )
    }

    fn network_spec(&self, record: &NetworkRecord) -> NetworkSpec {
        let key = record.key();
        NetworkSpec {
            name: self.network_name(&key),
            bridge: self.names.bridge(record.number),
            subnet: record.subnet,
            gateway: record.gateway(),
            worker: self.parts.worker.clone(),
            job: key.job,
            fingerprint: key.fingerprint,
        }
    }

    fn lease_of(&self, record: &NetworkRecord, wish: &Wish) -> NetworkLease {
        let ports = record.ports.iter().filter_map(|port| {
            Some(PublishedPort {
                host_address: self.parts.listen_address,
                host_port: port.host_port?,
                container_port: port.container_port,
                protocol: port.protocol,
            })
        });
        NetworkLease {
            network: ContainerNetwork::Named {
                name: self.network_name(&record.key()),
                resolvers: match wish.access {
                    Access::On => self.parts.settings.dns_servers.clone(),
                    // Where no resolver listens, the firewall says so at once.
                    Access::Off | Access::Allow { .. } => vec![record.gateway()],
                },
            },
            ports: ports.collect(),
        }
    }

    fn rules_of(&self, record: &NetworkRecord, access: &Access, slots: u8) -> JobRules {
        let ports_of = |protocol| {
            let ports = record.ports.iter().filter(|port| port.protocol == protocol);
            ports.map(|port| port.container_port).collect()
        };
        let slots = u64::from(slots.max(1));
        JobRules {
            bridge: self.names.bridge(record.number),
            gateway: record.gateway(),
            container: record.container(),
            access: access.clone(),
            tcp_ports: ports_of(PortProtocol::Tcp),
            udp_ports: ports_of(PortProtocol::Udp),
            upload: self.parts.upload_per_slot.saturating_mul(slots),
            download: self.parts.download_per_slot.saturating_mul(slots),
        }
    }

    /// Puts a job's rules in force, and starts its resolver if it has one.
    async fn fence(&self, record: &NetworkRecord, wish: &Wish, slots: u8) -> Result<(), LeaseError> {
        let mut firewall = self.firewall.lock().await;
        let nft = self.capable(&mut firewall).await?;
        let rules = self.rules_of(record, &wish.access, slots);
        let known = firewall.jobs.get(&record.key());
        if known.is_some_and(|known| known.rules == rules) {
            return self.verify(&mut firewall).await;
        }
        let commands = [rules::base(&self.names), rules::job(&self.names, &rules)].concat();
        nft.apply(&commands).await?;
        firewall.in_force = nft.rules(&self.names.table()).await?;
        let names = if wish.names.is_empty() {
            None
        } else {
            Some(self.start_names(record, wish.names.clone(), nft)?)
        };
        firewall.jobs.insert(record.key(), JobFirewall { rules, names });
        Ok(())
    }

    fn start_names(
        &self,
        record: &NetworkRecord,
        allowed: AllowedNames,
        nft: Nft,
    ) -> Result<RunningNames, LeaseError> {
        let gateway = record.gateway();
        let socket = NameService::listen(gateway).map_err(|error| {
            LeaseError::Failed(format!(
                "the resolver of the job cannot listen on {gateway}:53: {error}; make programs on this host that listen on \
                 port 53 of all addresses listen on their own"
            ))
        })?;
        let service = Arc::new(NameService::new(
            allowed,
            Resolver::new(&self.parts.settings.dns_servers),
            nft,
            self.names.clone(),
            self.names.bridge(record.number),
        ));
        let task = tokio::spawn(service.clone().serve(socket)).abort_handle();
        Ok(RunningNames { service, task })
    }

    /// Returns the program that sets rules, if rules hold on this host.
    async fn capable(&self, firewall: &mut Firewall) -> Result<Nft, LeaseError> {
        if let Some(nft) = &firewall.nft {
            return Ok(nft.clone());
        }
        let refused = |reason: String| {
            LeaseError::Refused(format!(
                "this machine gives jobs no network, because it could not keep them from the provider's: {reason}"
            ))
        };
        let nft = Nft::find().map_err(|error| refused(error.to_string()))?;
        if let Some(reason) = self.parts.engine.foreign_network().await? {
            return Err(refused(reason));
        }
        // Everything that a job's rules are made of, judged by the kernel.
        let sample = JobRules {
            bridge: self.names.bridge(0),
            gateway: Ipv4Addr::LOCALHOST,
            container: Ipv4Addr::LOCALHOST,
            access: Access::Allow {
                networks: vec![(Ipv4Net::default(), Some(1))],
                has_names: true,
            },
            tcp_ports: vec![1],
            udp_ports: vec![1],
            upload: 1,
            download: 1,
        };
        let commands = [rules::base(&self.names), rules::job(&self.names, &sample)].concat();
        nft.judge(&commands).await.map_err(|error| {
            refused(format!(
                "{error}; run the worker as root on a kernel with nftables"
            ))
        })?;
        firewall.nft = Some(nft.clone());
        Ok(nft)
    }

    /// Returns the program for removing rules, which needs no check of the host.
    fn nft(&self, firewall: &mut Firewall) -> Result<Nft, LeaseError> {
        match &firewall.nft {
            Some(nft) => Ok(nft.clone()),
            None => Ok(Nft::find()?),
        }
    }

    /// Compares the rules in force with those that were set, and sets them again if they differ.
    async fn verify(&self, firewall: &mut Firewall) -> Result<(), LeaseError> {
        let nft = self.capable(firewall).await?;
        let table = self.names.table();
        let present = nft.rules(&table).await?;
        if present.is_some() && present == firewall.in_force {
            return Ok(());
        }
        if firewall.in_force.is_some() {
            tracing::warn!(
                table,
                "the rules of the jobs' networks were changed from outside; setting them again"
            );
        }
        let mut commands = rules::base(&self.names);
        for job in firewall.jobs.values() {
            commands.push_str(&rules::job(&self.names, &job.rules));
            if let Some(names) = &job.names {
                commands.push_str(&names.service.pins_again().await);
            }
        }
        // A job's chains that this process does not know stay as they are; without any, its bridge is shut.
        nft.apply(&commands).await?;
        firewall.in_force = nft.rules(&table).await?;
        Ok(())
    }
}

/// Returns true if the engine refused a network because its addresses or its bridge are in use.
fn is_conflict(error: &EngineError) -> bool {
    let (EngineError::Refused { reason, .. } | EngineError::Failed { reason, .. }) = error else {
        return false;
    };
    // Podman: "subnet 10.231.0.0/30 is already used on the host or by another config"; Docker: "Pool overlaps
    // with other one on this address space", and "networks have overlapping IPv4".
    ["already used", "already in use", "being used", "overlap"]
        .iter()
        .any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests;
