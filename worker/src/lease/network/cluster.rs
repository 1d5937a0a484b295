//! Networks of jobs at an engine that enforces rules by itself: a cluster.
//!
//! The rules are the same as those of [`super::JobNetworks`]: special addresses are out of reach, whatever
//! the manifest says, and IPv4 is all that there is. Names of an allow-list are resolved once, before the
//! container starts; it knows them by its hosts file, and has no resolver.

use std::net::Ipv4Addr;

use assay_client::manifest::JobManifest;
use ipnet::Ipv4Net;

use super::{NetworkLease, Wish, address, names::Resolver, rules::Access};
use crate::{
    engine::{ContainerNetwork, NetworkDestination, NetworkRules},
    lease::{LeaseError, LeaseRequest},
};

/// Networks of the jobs of a machine in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterNetworks {
    dns_servers: Vec<Ipv4Addr>,
    resolver: Resolver,
}

impl ClusterNetworks {
    /// Creates the networks. `dns_servers` are the public resolvers of jobs, and those that the worker asks.
    pub fn new(dns_servers: Vec<Ipv4Addr>) -> Self {
        Self {
            resolver: Resolver::new(&dns_servers),
            dns_servers,
        }
    }

    pub(in crate::lease) async fn take(
        &self,
        request: &LeaseRequest<'_>,
    ) -> Result<NetworkLease, LeaseError> {
        if !request.manifest.ports.is_empty() {
            return Err(LeaseError::Refused(
                "the manifest publishes ports, and a worker whose engine is a cluster has none to give yet"
                    .to_owned(),
            ));
        }
        let network = match self.rules(request.manifest).await? {
            Some(rules) => ContainerNetwork::Rules(rules),
            None => ContainerNetwork::None,
        };
        Ok(NetworkLease {
            network,
            ports: Vec::new(),
        })
    }

    /// Returns the rules for a manifest; `None` if it needs no network.
    async fn rules(&self, manifest: &JobManifest) -> Result<Option<NetworkRules>, LeaseError> {
        let Some(wish) = Wish::of(manifest)? else {
            return Ok(None);
        };
        let refused: Vec<Ipv4Net> = address::unreachable().collect();
        let rules = match wish.access {
            Access::Off => return Ok(None),
            Access::On => NetworkRules {
                destinations: vec![NetworkDestination {
                    network: Ipv4Net::default(),
                    port: None,
                }],
                resolvers: self.dns_servers.clone(),
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
        Ok(Some(rules))
    }

    async fn add_name(
        &self,
        rules: &mut NetworkRules,
        name: &str,
        ports: &[Option<u16>],
    ) -> Result<(), LeaseError> {
        let addresses: Vec<Ipv4Addr> = self
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn rules(network: &str) -> Result<Option<NetworkRules>, LeaseError> {
        let image = format!("a/b@sha256:{}", "ab".repeat(32));
        let text = format!(r#"{{"image":"{image}","network":{network}}}"#);
        let manifest = JobManifest::from_bytes(text.as_bytes()).unwrap();
        ClusterNetworks::new(vec!["192.0.2.53".parse().unwrap()])
            .rules(&manifest)
            .await
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
