//! Address of the container engine.

use std::{fmt, path::Path};

use assay_client::redaction;

/// Path of Docker's socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Path of the socket of a Podman that runs as root.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// Address of a Docker Engine API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEndpoint {
    /// Path of a Unix socket.
    Socket(String),
    /// Host and port of plain HTTP.
    Http(String),
}

impl EngineEndpoint {
    /// Returns the configured endpoint; else `DOCKER_HOST`; else the first that exists of Docker's socket,
    /// the socket of this user's Podman and the socket of root's Podman; else Docker's socket, so that an
    /// error names it.
    pub fn resolve(configured: Option<&str>) -> Self {
        Self::resolve_with(configured, |name| std::env::var(name).ok(), |path| path.exists())
    }

    fn resolve_with(
        configured: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
        exists: impl Fn(&Path) -> bool,
    ) -> Self {
        if let Some(text) = configured {
            return Self::parse(text);
        }
        if let Some(text) = variable("DOCKER_HOST").filter(|text| !text.is_empty()) {
            return Self::parse(&text);
        }
        let of_user = variable("XDG_RUNTIME_DIR").map(|folder| format!("{folder}/podman/podman.sock"));
        let sockets = [
            Some(DOCKER_SOCKET.to_owned()),
            of_user,
            Some(PODMAN_SOCKET.to_owned()),
        ];
        let found = sockets
            .into_iter()
            .flatten()
            .find(|socket| exists(Path::new(socket)));
        Self::Socket(found.unwrap_or_else(|| DOCKER_SOCKET.to_owned()))
    }

    fn parse(text: &str) -> Self {
        for scheme in ["http://", "tcp://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Self::Http(rest.trim_end_matches('/').to_owned());
            }
        }
        Self::Socket(text.strip_prefix("unix://").unwrap_or(text).to_owned())
    }
}

/// Shows the address without user name and password.
impl fmt::Display for EngineEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(formatter, "unix://{path}"),
            Self::Http(address) => {
                let url = format!("http://{address}");
                formatter.write_str(&redaction::shown_url(&url))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(configured: Option<&str>, docker_host: Option<&str>, sockets: &[&str]) -> String {
        let variable = |name: &str| match name {
            "DOCKER_HOST" => docker_host.map(str::to_owned),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".to_owned()),
            _ => None,
        };
        let exists = |path: &Path| sockets.iter().any(|socket| Path::new(socket) == path);
        EngineEndpoint::resolve_with(configured, variable, exists).to_string()
    }

    #[test]
    fn endpoint_order_is_config_variable_docker_podman() {
        let all = [
            "/var/run/docker.sock",
            "/run/user/7/podman/podman.sock",
            "/run/podman/podman.sock",
        ];
        assert_eq!(
            resolve(Some("/a.sock"), Some("tcp://b:1"), &all),
            "unix:///a.sock"
        );
        assert_eq!(resolve(Some("unix:///a.sock"), None, &all), "unix:///a.sock");
        assert_eq!(resolve(None, Some("tcp://b:1"), &all), "http://b:1");
        assert_eq!(resolve(None, Some(""), &all), "unix:///var/run/docker.sock");
        assert_eq!(
            resolve(None, None, &all[1..]),
            "unix:///run/user/7/podman/podman.sock"
        );
        assert_eq!(resolve(None, None, &all[2..]), "unix:///run/podman/podman.sock");
        assert_eq!(resolve(None, None, &[]), "unix:///var/run/docker.sock");
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = resolve(Some("http://me:swordfish@engine.example:2375/a"), None, &[]);
        assert_eq!(shown, "http://…@engine.example:2375/a");
    }
}
