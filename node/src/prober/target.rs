//! Permitted targets of a probe: the provider's URL, and the addresses that it must not lead to.
//!
//! A provider chooses its endpoint and the answer of its name server, and could point both at the validator's
//! own network. So the check applies to the address after name resolution, and the probe connects to no
//! other.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use assay_primitives::{availability::PROBE_PATH, network::is_public};
use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;

/// Maximum number of a name's addresses that are tried.
const MAX_ADDRESSES: usize = 4;

/// Policy for the addresses of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPolicy {
    /// Only addresses of the public network.
    Public,
    /// Any address: for a development chain, whose machines are in the validator's own network.
    Any,
}

impl AddressPolicy {
    /// Returns true if a probe may connect to the address.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        self == Self::Any || is_public(address)
    }
}

/// Reason why an endpoint is not probed. All count as no answer: the provider chose the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// The endpoint is not a URL for HTTP.
    #[error("the endpoint is no URL of the form http[s]://host[:port][/path]")]
    NotUrl,
    /// A validator must not connect to the address for a stranger.
    #[error("the endpoint leads to {0}, which is not an address of the public network")]
    Refused(IpAddr),
}

/// Returns the URL of a probe to the machine behind an endpoint.
pub(super) fn probe_uri(endpoint: &[u8], nonce_hex: &str, policy: AddressPolicy) -> Result<Uri, TargetError> {
    let endpoint = std::str::from_utf8(endpoint).map_err(|_| TargetError::NotUrl)?;
    // A query or a fragment would swallow the probe's path, and credentials must not be sent.
    if endpoint.contains(['?', '#', '@']) {
        return Err(TargetError::NotUrl);
    }
    let base: Uri = endpoint.parse().map_err(|_| TargetError::NotUrl)?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (base.scheme_str(), base.authority()) else {
        return Err(TargetError::NotUrl);
    };
    // The parser accepts a port beyond 16 bits; it would fail only when connecting.
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && authority.port_u16().is_none() {
        return Err(TargetError::NotUrl);
    }
    let path = base.path().trim_end_matches('/');
    let uri: Uri = format!("{scheme}://{authority}{path}{PROBE_PATH}?nonce={nonce_hex}")
        .parse()
        .map_err(|_| TargetError::NotUrl)?;
    let host = authority.host();
    // A literal address is connected to without a resolver.
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>()
        && !policy.allows(address)
    {
        return Err(TargetError::Refused(address));
    }
    Ok(uri)
}

/// Resolves names with the system's resolver and returns only addresses that may be probed. The prober
/// connects to these only, so a name whose address changes between two lookups gains nothing.
#[derive(Clone)]
pub(super) struct GuardedResolver(pub(super) AddressPolicy);

impl tower_service::Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.0;
        Box::pin(async move {
            // The connector sets the port.
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(allowed(addresses, policy)?.into_iter())
        })
    }
}

/// Returns the addresses of a name that may be connected to; fails if there are none.
fn allowed(
    addresses: impl Iterator<Item = SocketAddr>,
    policy: AddressPolicy,
) -> io::Result<Vec<SocketAddr>> {
    let (allowed, refused): (Vec<_>, Vec<_>) =
        addresses.partition(|address: &SocketAddr| policy.allows(address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (true, Some(refused)) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            TargetError::Refused(refused.ip()),
        )),
        _ => Ok(allowed.into_iter().take(MAX_ADDRESSES).collect()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OWN_NETWORK: [&str; 38] = [
        "0.0.0.0",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
    ];

    const PUBLIC: [&str; 10] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
    ];

    fn refused(endpoint: &str) -> TargetError {
        probe_uri(endpoint.as_bytes(), "ab", AddressPolicy::Public).unwrap_err()
    }

    #[test]
    fn own_network_is_refused_and_the_public_one_is_not() {
        for text in OWN_NETWORK {
            let address: IpAddr = text.parse().unwrap();
            assert!(!AddressPolicy::Public.allows(address), "{text}");
            assert!(AddressPolicy::Any.allows(address), "{text}");
            let endpoint = match address {
                IpAddr::V4(_) => format!("http://{text}:4001"),
                IpAddr::V6(_) => format!("https://[{text}]:4001/worker"),
            };
            assert_eq!(refused(&endpoint), TargetError::Refused(address));
        }
        for text in PUBLIC {
            assert!(AddressPolicy::Public.allows(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn names_are_refused_only_when_nothing_public_is_left() {
        let addresses = |texts: &[&str]| {
            let addresses: Vec<_> = texts
                .iter()
                .map(|text| SocketAddr::new(text.parse().unwrap(), 0))
                .collect();
            allowed(addresses.into_iter(), AddressPolicy::Public)
        };
        let error = addresses(&["10.1.2.3", "::1"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("10.1.2.3"));
        let kept = addresses(&["10.1.2.3", "1.1.1.1", "fe80::1", "2606:4700::1111"]).unwrap();
        assert_eq!(
            kept.iter()
                .map(|address| address.ip().to_string())
                .collect::<Vec<_>>(),
            ["1.1.1.1", "2606:4700::1111"]
        );
        assert_eq!(addresses(&["1.1.1.1"; 50]).unwrap().len(), MAX_ADDRESSES);
        assert_eq!(addresses(&[]).unwrap(), []);
    }

    #[test]
    fn path_comes_below_the_endpoint() {
        let uri = |endpoint: &str| {
            probe_uri(endpoint.as_bytes(), "ab12", AddressPolicy::Public)
                .unwrap()
                .to_string()
        };
        assert_eq!(
            uri("http://1.1.1.1:4001"),
            "http://1.1.1.1:4001/v1/probe?nonce=ab12"
        );
        assert_eq!(
            uri("http://1.1.1.1:4001/"),
            "http://1.1.1.1:4001/v1/probe?nonce=ab12"
        );
        assert_eq!(
            uri("https://a.example/w"),
            "https://a.example/w/v1/probe?nonce=ab12"
        );
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        for endpoint in [
            "",
            "http://",
            "http:///",
            "ftp://1.1.1.1",
            "1.1.1.1:80",
            "http://user@1.1.1.1",
            "http://1.1.1.1/?a=b",
            "http://1.1.1.1/#a",
            "http://1.1.1.1:99999",
            "http://1.1.1.1:x",
            "http://[::1",
        ] {
            assert_eq!(refused(endpoint), TargetError::NotUrl, "{endpoint}");
        }
        assert_eq!(
            probe_uri(&[0xff, 0xfe], "ab", AddressPolicy::Any).unwrap_err(),
            TargetError::NotUrl
        );
    }
}
