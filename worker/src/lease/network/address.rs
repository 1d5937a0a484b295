//! Addresses that no job reaches.

use std::net::Ipv4Addr;

use assay_primitives::network::REFUSED_IPV4;
use ipnet::Ipv4Net;

/// Address of Azure's host agent, with the secrets of virtual machines. It lies in a public range, but each
/// machine of that cloud has its own behind it.
const AZURE_HOST_AGENT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32);

/// Returns the networks that no manifest opens: special-purpose addresses, and services of clouds for their
/// own machines.
pub(super) fn unreachable() -> impl Iterator<Item = Ipv4Net> {
    REFUSED_IPV4.into_iter().chain([AZURE_HOST_AGENT])
}

/// Returns true for an address that a job may reach.
pub(super) fn is_reachable(address: Ipv4Addr) -> bool {
    !unreachable().any(|network| network.contains(&address))
}

/// Returns true if a network has an address that a job may reach.
pub(super) fn has_reachable(network: Ipv4Net) -> bool {
    let refused = Ipv4Net::aggregate(&unreachable().collect());
    !refused.iter().any(|refused| refused.contains(&network))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::IpAddr;

    use assay_primitives::network::is_public;

    use super::*;

    /// First and last address of each special range, with the neighbours outside it that are public.
    const RANGES: [(&str, &str, Option<&str>, Option<&str>); 16] = [
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        (
            "10.0.0.0",
            "10.255.255.255",
            Some("9.255.255.255"),
            Some("11.0.0.0"),
        ),
        (
            "100.64.0.0",
            "100.127.255.255",
            Some("100.63.255.255"),
            Some("100.128.0.0"),
        ),
        (
            "127.0.0.0",
            "127.255.255.255",
            Some("126.255.255.255"),
            Some("128.0.0.0"),
        ),
        (
            "168.63.129.16",
            "168.63.129.16",
            Some("168.63.129.15"),
            Some("168.63.129.17"),
        ),
        (
            "169.254.0.0",
            "169.254.255.255",
            Some("169.253.255.255"),
            Some("169.255.0.0"),
        ),
        (
            "172.16.0.0",
            "172.31.255.255",
            Some("172.15.255.255"),
            Some("172.32.0.0"),
        ),
        (
            "192.0.0.0",
            "192.0.0.255",
            Some("191.255.255.255"),
            Some("192.0.1.0"),
        ),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
        (
            "192.88.99.0",
            "192.88.99.255",
            Some("192.88.98.255"),
            Some("192.88.100.0"),
        ),
        (
            "192.168.0.0",
            "192.168.255.255",
            Some("192.167.255.255"),
            Some("192.169.0.0"),
        ),
        (
            "198.18.0.0",
            "198.19.255.255",
            Some("198.17.255.255"),
            Some("198.20.0.0"),
        ),
        (
            "198.51.100.0",
            "198.51.100.255",
            Some("198.51.99.255"),
            Some("198.51.101.0"),
        ),
        (
            "203.0.113.0",
            "203.0.113.255",
            Some("203.0.112.255"),
            Some("203.0.114.0"),
        ),
        ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None),
        ("240.0.0.0", "255.255.255.255", None, None),
    ];

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn special_ranges_are_unreachable_to_their_ends() {
        for (first, last, before, behind) in RANGES {
            for inside in [first, last] {
                assert!(!is_reachable(address(inside)), "{inside}");
            }
            for outside in [before, behind].into_iter().flatten() {
                assert!(is_reachable(address(outside)), "{outside}");
            }
        }
        assert_eq!(unreachable().count(), RANGES.len());
    }

    #[test]
    fn addresses_in_ipv6_clothes_are_not_public() {
        for text in [
            "::ffff:8.8.8.8",
            "::ffff:10.0.0.1",
            "::8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "2002:808:808::1",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse::<IpAddr>().unwrap()), "{text}");
        }
        assert!(is_public("2606:4700:4700::1111".parse().unwrap()));
    }

    #[test]
    fn network_without_a_reachable_address_is_told() {
        for text in ["10.0.0.0/8", "10.1.0.0/16", "192.168.1.1/32", "224.0.0.0/3"] {
            assert!(!has_reachable(text.parse().unwrap()), "{text}");
        }
        for text in ["0.0.0.0/0", "8.0.0.0/6", "192.0.0.0/16", "1.1.1.1/32"] {
            assert!(has_reachable(text.parse().unwrap()), "{text}");
        }
    }
}
