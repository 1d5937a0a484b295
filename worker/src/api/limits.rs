//! Budgets of one part of the API: connections, requests and time, in total and for each address.
//!
//! Each part has a [`Limiter`] of its own, so that a flood of one takes nothing from the other.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of addresses whose rates are remembered. Beyond it, those without a connection are
/// forgotten.
const MAX_ADDRESSES: usize = 4_096;

/// Cost of one request or connection in a bucket's unit.
const REQUEST_COST: u64 = 1_000;

/// Limits of one part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Maximum number of connections.
    pub connections: usize,
    /// Maximum number of connections from one address; of IPv6, from one /64 network.
    pub connections_per_address: usize,
    /// Maximum number of requests that are handled at once.
    pub requests: usize,
    /// Requests and new connections of one address in a second, on average.
    pub requests_per_second: u32,
    /// Requests and new connections of one address at once, after a pause.
    pub burst: u32,
    /// Maximum length of a request's body, in bytes.
    pub body_bytes: usize,
    /// Maximum time of a TLS handshake.
    pub handshake_time: Duration,
    /// Maximum time until a request's headers are complete, from the connection or the response before on.
    pub header_time: Duration,
    /// Maximum time between two parts of a request's body.
    pub body_idle_time: Duration,
    /// Maximum time of a request's whole body.
    pub body_time: Duration,
    /// Maximum time for which a client takes nothing of a response.
    pub stall_time: Duration,
}

impl PartLimits {
    /// Limits of the public part. Several validators may probe from one address.
    pub const PUBLIC: Self = Self {
        connections: 256,
        connections_per_address: 64,
        requests: 64,
        requests_per_second: 100,
        burst: 400,
        body_bytes: 1_024,
        handshake_time: Duration::from_secs(5),
        header_time: Duration::from_secs(10),
        body_idle_time: Duration::from_secs(5),
        body_time: Duration::from_secs(10),
        stall_time: Duration::from_secs(30),
    };

    /// Limits of the owner part, as `worker.yaml` has none.
    pub const OWNER: Self = Self {
        connections: 256,
        connections_per_address: 32,
        requests: 64,
        requests_per_second: 50,
        burst: 200,
        body_bytes: super::owner::MAX_OWNER_BODY_BYTES,
        handshake_time: Duration::from_secs(10),
        header_time: Duration::from_secs(10),
        body_idle_time: Duration::from_secs(15),
        body_time: Duration::from_secs(60),
        stall_time: Duration::from_secs(30),
    };
}

/// Reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// The address sends too many requests.
    Address,
    /// Too many requests are being handled.
    Part,
}

/// State of one address.
struct Address {
    connections: usize,
    /// Level of the bucket, in thousandths of a request.
    level: u64,
    filled: Instant,
}

/// Counts connections and requests of one part.
pub(super) struct Limiter {
    /// Limits that it enforces.
    pub(super) limits: PartLimits,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

/// Permit of a connection; released once every clone is dropped.
///
/// Every request carries it as an extension: a handler that takes the connection over, as for a WebSocket,
/// keeps a clone until that ends.
#[derive(Clone)]
pub struct ConnectionSeat {
    _seat: Arc<Seat>,
}

struct Seat {
    limiter: Arc<Limiter>,
    network: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(address) = self.limiter.addresses().get_mut(&self.network) {
            address.connections = address.connections.saturating_sub(1);
        }
    }
}

impl Limiter {
    /// Creates a limiter that has counted nothing.
    pub(super) fn new(limits: PartLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            addresses: Mutex::default(),
        })
    }

    /// The map is whole after a panic: every change is one operation.
    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a permit for a new connection; `None` if it must be closed at once.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<ConnectionSeat> {
        let network = network_of(peer);
        let mut addresses = self.addresses();
        let address = self.address(&mut addresses, network, now);
        if address.connections >= self.limits.connections_per_address || address.level < REQUEST_COST {
            return None;
        }
        let permit = self.connections.clone().try_acquire_owned().ok()?;
        address.connections += 1;
        address.level -= REQUEST_COST;
        drop(addresses);
        let seat = Seat {
            limiter: self.clone(),
            network,
            _permit: permit,
        };
        Some(ConnectionSeat {
            _seat: Arc::new(seat),
        })
    }

    /// Returns a permit for a request, held until its response.
    pub(super) fn request(&self, peer: IpAddr, now: Instant) -> Result<OwnedSemaphorePermit, Overload> {
        {
            let mut addresses = self.addresses();
            let address = self.address(&mut addresses, network_of(peer), now);
            if address.level < REQUEST_COST {
                return Err(Overload::Address);
            }
            address.level -= REQUEST_COST;
        }
        self.requests
            .clone()
            .try_acquire_owned()
            .map_err(|_| Overload::Part)
    }

    /// Returns the state of an address, its bucket filled up to now.
    fn address<'a>(
        &self,
        addresses: &'a mut HashMap<IpAddr, Address>,
        network: IpAddr,
        now: Instant,
    ) -> &'a mut Address {
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&network) {
            addresses.retain(|_, address| address.connections > 0);
        }
        let full = u64::from(self.limits.burst) * REQUEST_COST;
        let address = addresses.entry(network).or_insert(Address {
            connections: 0,
            level: full,
            filled: now,
        });
        let elapsed = now.saturating_duration_since(address.filled);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // A thousandth of a request in a millisecond is one request in a second.
        let gained = elapsed_ms.saturating_mul(self.limits.requests_per_second.into());
        if gained > 0 {
            address.level = address.level.saturating_add(gained).min(full);
            address.filled = now;
        }
        address
    }
}

/// Returns the unit by which addresses are counted: an address of IPv4, a /64 network of IPv6.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LIMITS: PartLimits = PartLimits {
        connections: 5,
        connections_per_address: 2,
        requests: 2,
        requests_per_second: 10,
        burst: 4,
        ..PartLimits::OWNER
    };

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn connections_are_limited_in_total_and_for_each_address() {
        let now = Instant::now();
        let limiter = Limiter::new(LIMITS);
        let first = limiter.admit(address(1), now).unwrap();
        let _second = limiter.admit(address(1), now).unwrap();
        assert!(limiter.admit(address(1), now).is_none());
        let _others: Vec<_> = (2..5)
            .map(|other| limiter.admit(address(other), now).unwrap())
            .collect();
        assert!(limiter.admit(address(6), now).is_none(), "the part is full");
        drop(first);
        assert!(limiter.admit(address(1), now).is_some());
    }

    #[test]
    fn requests_of_one_address_come_at_its_rate() {
        let begun = Instant::now();
        let limiter = Limiter::new(LIMITS);
        for _ in 0..LIMITS.burst {
            assert!(limiter.request(address(1), begun).is_ok());
        }
        assert_eq!(limiter.request(address(1), begun).err(), Some(Overload::Address));
        assert!(
            limiter.admit(address(1), begun).is_none(),
            "a connection costs as much"
        );
        assert!(
            limiter.request(address(2), begun).is_ok(),
            "another address has its own rate"
        );
        let later = begun + Duration::from_millis(100);
        assert!(limiter.request(address(1), later).is_ok());
        assert_eq!(limiter.request(address(1), later).err(), Some(Overload::Address));
        let much_later = begun + Duration::from_secs(3_600);
        for _ in 0..LIMITS.burst {
            assert!(limiter.request(address(1), much_later).is_ok());
        }
        assert!(
            limiter.request(address(1), much_later).is_err(),
            "no more is saved up"
        );
    }

    #[test]
    fn requests_at_once_are_limited_in_total() {
        let now = Instant::now();
        let limiter = Limiter::new(LIMITS);
        let first = limiter.request(address(1), now).unwrap();
        let _second = limiter.request(address(2), now).unwrap();
        assert_eq!(limiter.request(address(3), now).err(), Some(Overload::Part));
        drop(first);
        assert!(limiter.request(address(3), now).is_ok());
    }

    #[test]
    fn addresses_are_forgotten_before_they_are_too_many() {
        let now = Instant::now();
        let limiter = Limiter::new(LIMITS);
        let seat = limiter.admit(address(1), now).unwrap();
        for number in 0..3 * MAX_ADDRESSES as u32 {
            let _ = limiter.request(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(limiter.addresses().len() <= MAX_ADDRESSES);
        drop(seat);
        assert_eq!(
            limiter.addresses()[&address(1)].connections,
            0,
            "one with a connection is kept"
        );
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let parse = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::7"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
    }
}
