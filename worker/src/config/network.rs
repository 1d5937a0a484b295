//! `assay.network`: networks and published ports of jobs.

use std::{net::Ipv4Addr, ops::RangeInclusive};

use assay_client::yaml::{Reader, Text};
use assay_primitives::network::REFUSED_IPV4;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// Maximum number of resolvers; containers take no more.
const MAX_RESOLVERS: usize = 3;

/// Lowest port of a range: those below are for the system's own services.
const FIRST_PORT: u16 = 1_024;

/// Private networks, of which the jobs' networks are parts.
const PRIVATE: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// `assay.network` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkSection {
    port_range: Option<Text>,
    job_subnets: Option<Text>,
    dns_servers: Option<Vec<Text>>,
}

/// `assay.network`: networks and published ports of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobNetworkSettings {
    /// `port_range`: ports of the host for jobs' TCP and UDP ports, such as `30000-30999`, within 1,024 to
    /// 65,535. Default: none; then jobs that want such ports are declined.
    pub port_range: Option<RangeInclusive<u16>>,
    /// `job_subnets`: private network that the jobs' networks of four addresses are parts of, of a prefix
    /// from 8 to 24. Default: `10.231.0.0/16`.
    pub job_subnets: Ipv4Net,
    /// `dns_servers`: one to three public IPv4 addresses of resolvers. Jobs with the public network ask them,
    /// and the worker does for the names of allow-lists. Default: `1.1.1.1` and `9.9.9.9`.
    pub dns_servers: Vec<Ipv4Addr>,
}

impl Default for JobNetworkSettings {
    fn default() -> Self {
        Self {
            port_range: None,
            job_subnets: Ipv4Net::new_assert(Ipv4Addr::new(10, 231, 0, 0), 16),
            dns_servers: vec![Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9)],
        }
    }
}

/// Reads the section.
pub(super) fn resolve(reader: &mut Reader, section: &NetworkSection) -> JobNetworkSettings {
    let defaults = JobNetworkSettings::default();
    JobNetworkSettings {
        port_range: section.port_range.as_ref().and_then(|text| {
            reader.with("assay.network.port_range", text, |value| {
                port_range(value).map(Some).ok_or_else(|| {
                    format!("two ports from {FIRST_PORT} to 65535, the lower first, such as 30000-30999")
                })
            })
        }),
        job_subnets: section.job_subnets.as_ref().map_or(defaults.job_subnets, |text| {
            reader.with("assay.network.job_subnets", text, |value| {
                job_subnets(value).ok_or_else(|| {
                    "a private network with a prefix from 8 to 24, such as 10.231.0.0/16".to_owned()
                })
            })
        }),
        dns_servers: section
            .dns_servers
            .as_ref()
            .map_or(defaults.dns_servers, |list| dns_servers(reader, list)),
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= FIRST_PORT);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

fn job_subnets(text: &str) -> Option<Ipv4Net> {
    let network: Ipv4Net = text.parse().ok()?;
    let is_private = PRIVATE.iter().any(|private| private.contains(&network));
    ((8..=24).contains(&network.prefix_len()) && network.trunc() == network && is_private).then_some(network)
}

fn dns_servers(reader: &mut Reader, list: &[Text]) -> Vec<Ipv4Addr> {
    let key = "assay.network.dns_servers";
    if let Some(surplus) = list.get(MAX_RESOLVERS) {
        let message = format!("`{key}` has more than {MAX_RESOLVERS} entries; remove those from here on");
        reader.problem(surplus.place, message);
    }
    list.iter()
        .map(|text| {
            let address = text.value.parse::<Ipv4Addr>().ok();
            let is_public =
                |address: &Ipv4Addr| !REFUSED_IPV4.iter().any(|network| network.contains(address));
            address.filter(is_public).unwrap_or_else(|| {
                reader.bad(key, text, "public IPv4 addresses, because jobs reach no others");
                Ipv4Addr::UNSPECIFIED
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(port_range("30000-30999"), Some(30_000..=30_999));
        assert_eq!(port_range("1024 - 1024"), Some(1_024..=1_024));
        for text in ["", "30000", "30999-30000", "80-90", "30000-65536", "-1-2", "a-b"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }

    #[test]
    fn networks_of_jobs_are_private() {
        for text in ["10.0.0.0/8", "10.231.0.0/16", "172.16.0.0/12", "192.168.7.0/24"] {
            assert_eq!(
                job_subnets(text).map(|network| network.to_string()),
                Some(text.to_owned())
            );
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/16",
            "10.0.0.0/25",
            "8.8.8.0/24",
            "192.168.0.0/15",
            "0.0.0.0/0",
        ] {
            assert_eq!(job_subnets(text), None, "{text}");
        }
    }
}
