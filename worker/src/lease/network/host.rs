//! Facts of this host: networks that it has, and ports that are in use.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use assay_client::manifest::PortProtocol;
use ipnet::Ipv4Net;

/// File of the kernel with the routes of IPv4.
const ROUTES: &str = "/proc/net/route";

/// Returns the networks that the host has routes to, besides the default route.
pub(super) fn routed_networks() -> Vec<Ipv4Net> {
    read_routes(&std::fs::read_to_string(Path::new(ROUTES)).unwrap_or_default())
}

/// Reads the kernel's table: interface, destination, gateway, three numbers, metric and mask of each line.
fn read_routes(text: &str) -> Vec<Ipv4Net> {
    // Addresses are written as the processor holds them.
    let address = |word: &str| Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()));
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (destination, mask) = (address(words.get(1)?)?, address(words.get(7)?)?);
            Ipv4Net::with_netmask(destination, mask).ok()
        })
        .filter(|network| network.prefix_len() > 0)
        .collect()
}

/// Returns true if nothing listens on a port.
pub(super) fn is_port_free(address: IpAddr, protocol: PortProtocol, port: u16) -> bool {
    let at = SocketAddr::new(address, port);
    match protocol {
        PortProtocol::Udp => UdpSocket::bind(at).is_ok(),
        PortProtocol::Tcp | PortProtocol::Http => TcpListener::bind(at).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    broken\n\
                    br0\t0400E70A\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0\n";
        let networks: Vec<_> = read_routes(text).iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["192.0.2.0/24", "10.231.0.4/30"]);
    }

    #[test]
    fn port_in_use_is_not_free() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let tcp = TcpListener::bind((local, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(!is_port_free(local, PortProtocol::Tcp, port));
        let udp = UdpSocket::bind((local, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        assert!(!is_port_free(local, PortProtocol::Udp, port));
        drop(udp);
        assert!(is_port_free(local, PortProtocol::Udp, port));
    }
}
