//! The durable table of the jobs' networks: which part of the pool, and which ports of the host, each has.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    ops::RangeInclusive,
    path::PathBuf,
};

use assay_client::manifest::{PortProtocol, PublishPort};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    files::{Disk, Found},
    lease::LeaseKey,
};

/// Name of the file.
const FILE: &str = "networks.json";

/// Prefix of a job's network: four addresses, of which the host has one and the container another.
pub(super) const NETWORK_PREFIX: u8 = 30;

/// Number of addresses of a job's network.
const NETWORK_ADDRESSES: u32 = 1 << (32 - NETWORK_PREFIX);

/// Reason why the ledger cannot give a network.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    /// Every network of the pool is taken.
    #[error(
        "no network is free in {pool}, because jobs or the host's routes have them all; set `assay.network.job_subnets` \
         to another private network"
    )]
    NoNetwork {
        /// The pool.
        pool: Ipv4Net,
    },
    /// Every port of the range is taken.
    #[error("no {protocol} port is free in {first}-{last}; give `assay.network.port_range` more ports")]
    NoPort {
        /// Name of the protocol.
        protocol: &'static str,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Published port of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortRecord {
    pub(super) name: String,
    pub(super) protocol: PortProtocol,
    pub(super) container_port: u16,
    /// Port of the host; `None` for HTTP, which the worker's own listener serves.
    pub(super) host_port: Option<u16>,
    #[serde(default)]
    pub(super) is_public: bool,
}

/// Network of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    job: u64,
    fingerprint: String,
    /// The network: four addresses.
    pub(super) subnet: Ipv4Net,
    /// Number in the bridge's name.
    pub(super) number: u32,
    /// Published ports.
    pub(super) ports: Vec<PortRecord>,
}

impl NetworkRecord {
    /// Returns the host's address in the network.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Returns the container's address: the only one that is left for it.
    pub(super) fn container(&self) -> Ipv4Addr {
        self.address(2)
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits().saturating_add(offset))
    }

    pub(super) fn key(&self) -> LeaseKey {
        LeaseKey {
            job: self.job,
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// Resources that the ledger gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Private network that the jobs' networks are parts of.
    pub(super) subnets: Ipv4Net,
    /// Ports of the host for published ports; `None` if there are none.
    pub(super) ports: Option<RangeInclusive<u16>>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LedgerFile {
    /// Six hexadecimal digits in the names of table and bridges. They stay when the worker key changes.
    id: String,
    networks: Vec<NetworkRecord>,
}

/// The ledger. Every change is on the disk before a method returns it.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
    disk: Disk,
    id: String,
    networks: BTreeMap<LeaseKey, NetworkRecord>,
}

impl Ledger {
    /// Reads the ledger of a state folder. `id` is its identifier if there is none yet.
    pub(super) fn open(folder: PathBuf, disk: Disk, id: &str) -> io::Result<Self> {
        let found = disk.read_json::<LedgerFile>(&folder.join(FILE))?;
        let file = match found {
            Found::Whole(file) if is_id(&file.id) => file,
            _ => LedgerFile {
                id: id.to_owned(),
                networks: Vec::new(),
            },
        };
        Ok(Self {
            folder,
            disk,
            id: file.id,
            networks: file
                .networks
                .into_iter()
                .map(|record| (record.key(), record))
                .collect(),
        })
    }

    /// Returns the identifier in the names of table and bridges.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn get(&self, key: &LeaseKey) -> Option<&NetworkRecord> {
        self.networks.get(key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &NetworkRecord> {
        self.networks.values()
    }

    /// Gives a job its network and ports, or returns those that it has. `taken` are networks that the host
    /// has otherwise, and `is_free` tests a port.
    pub(super) fn give(
        &mut self,
        key: &LeaseKey,
        ports: &[PublishPort],
        pool: &Pool,
        taken: &[Ipv4Net],
        is_free: impl Fn(PortProtocol, u16) -> bool,
    ) -> Result<NetworkRecord, LedgerError> {
        if let Some(record) = self.networks.get(key) {
            return Ok(record.clone());
        }
        let (number, subnet) = self
            .free_network(pool.subnets, taken)
            .ok_or(LedgerError::NoNetwork { pool: pool.subnets })?;
        let mut record = NetworkRecord {
            job: key.job,
            fingerprint: key.fingerprint.clone(),
            subnet,
            number,
            ports: Vec::with_capacity(ports.len()),
        };
        let mut used = self.used_ports();
        for port in ports {
            let host_port = match port.protocol {
                PortProtocol::Http => None,
                protocol => Some(free_port(protocol, pool, &mut used, &is_free)?),
            };
            record.ports.push(PortRecord {
                name: port.name(),
                protocol: port.protocol,
                container_port: port.port,
                host_port,
                is_public: port.public,
            });
        }
        self.networks.insert(key.clone(), record.clone());
        if let Err(error) = self.write() {
            self.networks.remove(key);
            return Err(error.into());
        }
        Ok(record)
    }

    /// Takes back a job's network and ports, if it has any.
    pub(super) fn take_back(&mut self, key: &LeaseKey) -> io::Result<()> {
        let Some(record) = self.networks.remove(key) else {
            return Ok(());
        };
        if let Err(error) = self.write() {
            self.networks.insert(key.clone(), record);
            return Err(error);
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let file = LedgerFile {
            id: self.id.clone(),
            networks: self.networks.values().cloned().collect(),
        };
        let bytes = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        self.disk.write_whole(&self.folder, FILE, &bytes)
    }

    fn free_network(&self, pool: Ipv4Net, taken: &[Ipv4Net]) -> Option<(u32, Ipv4Net)> {
        let numbers: BTreeSet<_> = self.networks.values().map(|record| record.number).collect();
        let overlap = |one: &Ipv4Net, other: &Ipv4Net| one.contains(other) || other.contains(one);
        let count = 1_u32 << NETWORK_PREFIX.saturating_sub(pool.prefix_len());
        (0..count)
            .filter(|number| !numbers.contains(number))
            .map(|number| {
                let begin = pool.network().to_bits() + number * NETWORK_ADDRESSES;
                (
                    number,
                    Ipv4Net::new_assert(Ipv4Addr::from_bits(begin), NETWORK_PREFIX),
                )
            })
            .find(|(_, subnet)| {
                let mut others = taken
                    .iter()
                    .chain(self.networks.values().map(|record| &record.subnet));
                !others.any(|other| overlap(other, subnet))
            })
    }

    fn used_ports(&self) -> BTreeSet<(PortProtocol, u16)> {
        self.networks
            .values()
            .flat_map(|record| &record.ports)
            .filter_map(|port| port.host_port.map(|number| (port.protocol, number)))
            .collect()
    }
}

fn free_port(
    protocol: PortProtocol,
    pool: &Pool,
    used: &mut BTreeSet<(PortProtocol, u16)>,
    is_free: impl Fn(PortProtocol, u16) -> bool,
) -> Result<u16, LedgerError> {
    let range = pool.ports.clone();
    let (first, last) = range
        .as_ref()
        .map_or((0, 0), |range| (*range.start(), *range.end()));
    let port = range
        .into_iter()
        .flatten()
        .find(|port| !used.contains(&(protocol, *port)) && is_free(protocol, *port))
        .ok_or(LedgerError::NoPort {
            protocol: protocol.name(),
            first,
            last,
        })?;
    used.insert((protocol, port));
    Ok(port)
}

/// Returns true for six lower-case hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn key(job: u64) -> LeaseKey {
        LeaseKey {
            job,
            fingerprint: "f".repeat(32),
        }
    }

    fn port(port: u16, protocol: PortProtocol) -> PublishPort {
        PublishPort {
            port,
            protocol,
            name: None,
            public: false,
        }
    }

    fn pool(subnets: &str, ports: Option<RangeInclusive<u16>>) -> Pool {
        Pool {
            subnets: subnets.parse().unwrap(),
            ports,
        }
    }

    fn open(folder: &tempfile::TempDir) -> Ledger {
        Ledger::open(folder.path().to_owned(), Disk::default(), "ab12cd").unwrap()
    }

    #[test]
    fn network_and_ports_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool("10.231.0.0/24", Some(30_000..=30_001));
        let wished = [
            port(80, PortProtocol::Http),
            port(22, PortProtocol::Tcp),
            port(53, PortProtocol::Udp),
        ];
        let given = open(&folder)
            .give(&key(7), &wished, &pool, &[], |_, _| true)
            .unwrap();
        let ports: Vec<_> = given.ports.iter().map(|port| port.host_port).collect();
        assert_eq!(ports, [None, Some(30_000), Some(30_000)]);
        assert_eq!(
            (given.gateway(), given.container()),
            ([10, 231, 0, 1].into(), [10, 231, 0, 2].into())
        );
        let mut again = Ledger::open(folder.path().to_owned(), Disk::default(), "ffffff").unwrap();
        assert_eq!(again.id(), "ab12cd");
        // Even if the port is in use now: by this very job.
        assert_eq!(
            again.give(&key(7), &wished, &pool, &[], |_, _| false).unwrap(),
            given
        );
        again.take_back(&key(7)).unwrap();
        again.take_back(&key(7)).unwrap();
        assert_eq!(open(&folder).all().count(), 0);
    }

    #[test]
    fn broken_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(open(&folder).all().count(), 0);
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn networks_of_the_host_and_busy_ports_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(&folder);
        let pool = pool("10.231.0.0/28", Some(30_000..=30_001));
        let taken = ["10.231.0.0/29".parse().unwrap(), "0.0.0.0/32".parse().unwrap()];
        let wished = [port(1, PortProtocol::Tcp)];
        let given = ledger
            .give(&key(1), &wished, &pool, &taken, |_, port| port != 30_000)
            .unwrap();
        assert_eq!(given.subnet.to_string(), "10.231.0.8/30");
        assert_eq!((given.number, given.ports[0].host_port), (2, Some(30_001)));
        let error = ledger
            .give(&key(2), &wished, &pool, &taken, |_, _| true)
            .map(drop);
        // The other port of the range is free again.
        assert!(error.is_ok(), "{error:?}");
        let error = ledger
            .give(&key(3), &wished, &pool, &taken, |_, _| true)
            .unwrap_err();
        assert!(matches!(error, LedgerError::NoNetwork { .. }), "{error}");
        ledger.take_back(&key(2)).unwrap();
        let two = [port(1, PortProtocol::Tcp), port(2, PortProtocol::Tcp)];
        let error = ledger
            .give(&key(3), &two, &pool, &taken, |_, _| true)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no tcp port is free in 30000-30001; give `assay.network.port_range` more ports"
        );
        assert_eq!(ledger.get(&key(3)), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Give(u64, Vec<(u16, PortProtocol)>),
        TakeBack(u64),
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let protocol = prop_oneof![
            Just(PortProtocol::Tcp),
            Just(PortProtocol::Udp),
            Just(PortProtocol::Http)
        ];
        let ports = proptest::collection::vec((1_u16..100, protocol), 0..4);
        let step = prop_oneof![
            4 => (0_u64..8, ports).prop_map(|(job, ports)| Step::Give(job, ports)),
            2 => (0_u64..8).prop_map(Step::TakeBack),
            1 => Just(Step::Reopen),
        ];
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_is_given_twice(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let pool = pool("10.231.0.0/27", Some(30_000..=30_007));
            let mut ledger = open(&folder);
            let mut held = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Give(job, ports) => {
                        let ports: Vec<_> = ports.into_iter().map(|(number, protocol)| port(number, protocol)).collect();
                        if let Ok(record) = ledger.give(&key(job), &ports, &pool, &[], |_, _| true) {
                            let first = held.entry(job).or_insert_with(|| record.clone());
                            prop_assert_eq!(&*first, &record);
                        } else {
                            prop_assert!(!held.contains_key(&job));
                        }
                    }
                    Step::TakeBack(job) => {
                        ledger.take_back(&key(job)).unwrap();
                        held.remove(&job);
                    }
                    Step::Reopen => ledger = open(&folder),
                }
                let kept: Vec<_> = ledger.all().cloned().collect();
                prop_assert_eq!(&kept, &held.values().cloned().collect::<Vec<_>>());
                let subnets: BTreeSet<_> = kept.iter().map(|record| record.subnet).collect();
                let numbers: BTreeSet<_> = kept.iter().map(|record| record.number).collect();
                prop_assert!(subnets.len() == kept.len() && numbers.len() == kept.len());
                prop_assert!(subnets.iter().all(|subnet| pool.subnets.contains(subnet)));
                let ports: Vec<_> = kept
                    .iter()
                    .flat_map(|record| &record.ports)
                    .filter_map(|port| Some((port.protocol, port.host_port?)))
                    .collect();
                prop_assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
                prop_assert!(ports.iter().all(|(_, port)| (30_000..=30_007).contains(port)));
            }
        }
    }
}
