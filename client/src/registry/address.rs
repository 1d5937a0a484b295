//! Addresses of repositories and of token services.

use std::net::Ipv4Addr;

use hyper::{HeaderMap, Uri, header};

/// Returns the URL of a repository, below which its manifests and blobs are. Names without a registry are of
/// Docker Hub, where those of one word are in `library`.
///
/// `may_be_plain`: allows HTTP without TLS, for a registry on this host. As the engines do it, all others are
/// asked over HTTPS in any case.
pub fn repository_url(registry: Option<&str>, repository: &str, may_be_plain: bool) -> String {
    match registry {
        None | Some("docker.io" | "index.docker.io") => {
            let folder = if repository.contains('/') { "" } else { "library/" };
            format!("https://registry-1.docker.io/v2/{folder}{repository}")
        }
        Some(registry) => {
            let scheme = if may_be_plain && is_on_this_host(registry) {
                "http"
            } else {
                "https"
            };
            format!("{scheme}://{registry}/v2/{repository}")
        }
    }
}

/// Returns true for a loopback address, with a port or without.
fn is_on_this_host(registry: &str) -> bool {
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

/// Returns the target of a redirect; `None` from HTTPS to HTTP.
pub fn redirected(from: &str, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let from: Uri = from.parse().ok()?;
    if location.starts_with('/') {
        return Some(format!(
            "{}://{}{location}",
            from.scheme_str()?,
            from.authority()?
        ));
    }
    let to: Uri = location.parse().ok()?;
    match (from.scheme_str()?, to.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(location.to_owned()),
        _ => None,
    }
}

/// Returns the URL of the token service in a refusal: `Bearer realm="…",service="…",scope="…"`.
pub fn token_url(headers: &HeaderMap) -> Option<String> {
    let challenge = headers.get(header::WWW_AUTHENTICATE)?.to_str().ok()?;
    let fields = challenge.strip_prefix("Bearer ")?;
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value)
    };
    let realm = field("realm")?;
    let parameters: Vec<String> = ["service", "scope"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", field(name)?)))
        .collect();
    let separator = if realm.contains('?') { '&' } else { '?' };
    Some(format!("{realm}{separator}{}", parameters.join("&")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyper::header::HeaderName;

    use super::*;

    fn answer(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn repository_is_where_engines_look_for_it() {
        for (registry, repository, url) in [
            (None, "busybox", "https://registry-1.docker.io/v2/library/busybox"),
            (None, "a/b", "https://registry-1.docker.io/v2/a/b"),
            (Some("docker.io"), "a/b", "https://registry-1.docker.io/v2/a/b"),
            (Some("ghcr.io"), "a/b", "https://ghcr.io/v2/a/b"),
            (
                Some("registry.example.org:5000"),
                "b",
                "https://registry.example.org:5000/v2/b",
            ),
            // A name, and not an address of this host.
            (Some("127.example.org"), "a", "https://127.example.org/v2/a"),
        ] {
            for may_be_plain in [false, true] {
                assert_eq!(repository_url(registry, repository, may_be_plain), url);
            }
        }
        for registry in ["127.0.0.1:5000", "localhost:5000"] {
            let url = |may_be_plain| repository_url(Some(registry), "a", may_be_plain);
            assert_eq!(url(true), format!("http://{registry}/v2/a"));
            assert_eq!(url(false), format!("https://{registry}/v2/a"));
        }
    }

    #[test]
    fn token_is_asked_for_where_the_registry_says() {
        let challenge =
            r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull""#;
        assert_eq!(
            token_url(&answer(header::WWW_AUTHENTICATE, challenge)).unwrap(),
            "https://auth.example/token?service=reg&scope=repository:a/b:pull"
        );
        assert_eq!(
            token_url(&answer(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")),
            None
        );
    }

    #[test]
    fn redirects_stay_within_their_protection() {
        let to = |from: &str, location: &str| redirected(from, &answer(header::LOCATION, location));
        assert_eq!(to("https://a/v2/x", "/y").unwrap(), "https://a/y");
        assert_eq!(to("https://a/v2/x", "https://b/y").unwrap(), "https://b/y");
        assert_eq!(to("http://a/v2/x", "http://b/y").unwrap(), "http://b/y");
        assert_eq!(to("https://a/v2/x", "http://b/y"), None);
        assert_eq!(to("https://a/v2/x", "file:///etc/passwd"), None);
    }
}
