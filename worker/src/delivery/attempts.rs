//! Bound of the deliveries that one address may attempt.
//!
//! Opening a sealed manifest costs about as much as receiving it. The bound protects the worker's time
//! against floods; it is per address and not per job, so that no other client uses up the attempts of a job's
//! consumer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Time for which attempts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Maximum number of attempts of one address in [`WINDOW`]: one every two seconds.
const MAX_ATTEMPTS: u32 = 30;

/// Maximum number of addresses that are counted; beyond it all counts begin anew.
const MAX_ADDRESSES: usize = 4_096;

/// Counts of attempts by address.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Attempts {
    /// Counts an attempt; returns false if the address had too many. Addresses of one IPv6 network of 64
    /// bits, which one host can have all of, count as one.
    pub fn allow(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network_of(address);
        if counts.len() >= MAX_ADDRESSES && !counts.contains_key(&address) {
            counts.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if counts.len() >= MAX_ADDRESSES {
                counts.clear();
            }
        }
        let (since, count) = counts.entry(address).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_ATTEMPTS
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => Ipv4Addr::into(address),
            None => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_of_one_address_are_bounded() {
        let attempts = Attempts::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..MAX_ATTEMPTS {
            assert!(attempts.allow(address("192.0.2.1")));
            assert!(attempts.allow(address("2001:db8::1")));
        }
        assert!(!attempts.allow(address("192.0.2.1")));
        assert!(
            !attempts.allow(address("::ffff:192.0.2.1")),
            "the same by another name"
        );
        assert!(!attempts.allow(address("2001:db8::ffff")), "the same network");
        assert!(attempts.allow(address("192.0.2.2")));
        assert!(attempts.allow(address("2001:db8:0:1::1")));
        tokio::time::advance(WINDOW).await;
        assert!(attempts.allow(address("192.0.2.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_bounded() {
        let attempts = Attempts::default();
        for number in 0..3 * MAX_ADDRESSES as u32 {
            assert!(attempts.allow(Ipv4Addr::from_bits(number).into()));
        }
        assert!(attempts.0.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
