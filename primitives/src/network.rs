//! Addresses of the public network, for programs that connect to an address that a stranger wrote down.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Special-purpose addresses of IANA's registry for IPv4, with multicast and the reserved rest: none leads to
/// somebody else's machine.
pub const REFUSED_IPV4: [Ipv4Net; 15] = [
    // This network; private; shared by carriers; loopback; link-local, with the clouds' metadata services.
    ipv4([0, 0, 0, 0], 8),
    ipv4([10, 0, 0, 0], 8),
    ipv4([100, 64, 0, 0], 10),
    ipv4([127, 0, 0, 0], 8),
    ipv4([169, 254, 0, 0], 16),
    ipv4([172, 16, 0, 0], 12),
    // Protocol assignments; documentation; relays of 6to4; private; benchmarks; documentation twice.
    ipv4([192, 0, 0, 0], 24),
    ipv4([192, 0, 2, 0], 24),
    ipv4([192, 88, 99, 0], 24),
    ipv4([192, 168, 0, 0], 16),
    ipv4([198, 18, 0, 0], 15),
    ipv4([198, 51, 100, 0], 24),
    ipv4([203, 0, 113, 0], 24),
    // Multicast; reserved, with the broadcast address.
    ipv4([224, 0, 0, 0], 4),
    ipv4([240, 0, 0, 0], 4),
];

/// Where IPv6 addresses of the public network come from. Loopback, link-local and unique local addresses,
/// multicast and the forms that carry an IPv4 address in their end (mapped, translated) are outside.
const PUBLIC_IPV6: Ipv6Net = ipv6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Special-purpose addresses within [`PUBLIC_IPV6`].
const REFUSED_IPV6: [Ipv6Net; 4] = [
    // Protocol assignments, with Teredo; documentation; 6to4, which carries an IPv4 address; documentation.
    ipv6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ipv6([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32),
    ipv6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ipv6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

const fn ipv4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn ipv6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// Returns true for an address of the public network: one that may be connected to because a stranger names
/// it.
///
/// All others may be the own host, its neighbours, or services that trust every client.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_IPV4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_IPV6.contains(&address) && !REFUSED_IPV6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_network_is_not_public() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::ffff:8.8.8.8",
            "fd00::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in ["1.1.1.1", "2606:4700::1111"] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
