//! Published ports of a job, and requests to those that speak HTTP.

use hyper::{Method, Uri};
use serde::{Deserialize, Serialize};

use super::{Download, OwnerSession, WorkerApiError};
use crate::manifest::{MAX_PORT_NAME_BYTES, PortProtocol};

/// Maximum length of the path of a request, in bytes.
const MAX_PATH_BYTES: usize = 8 * 1_024;

/// Published port of a job's container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPort {
    /// Name in the manifest.
    pub name: String,
    /// Protocol.
    pub protocol: PortProtocol,
    /// Port that the container listens on.
    pub container_port: u16,
    /// Port of the worker's host for TCP and UDP; `None` for HTTP.
    pub host_port: Option<u16>,
    /// True if no token is needed.
    pub public: bool,
}

impl OwnerSession {
    /// Returns the ports of the job's container, from the status that the worker key signs; none if the job
    /// does not run.
    pub async fn ports(&self) -> Result<Vec<JobPort>, WorkerApiError> {
        let status = self.status().await?;
        let not_understood = |reason: String| WorkerApiError::NotUnderstood {
            path: format!("/v1/jobs/{}", self.job),
            reason,
        };
        let ports = &status["open"]["ports"];
        if ports.is_null() {
            return Ok(Vec::new());
        }
        let ports = Vec::<JobPort>::deserialize(ports).map_err(|error| not_understood(error.to_string()))?;
        // Names are shown on terminals.
        match ports.iter().find(|port| !is_name(&port.name)) {
            Some(port) => Err(not_understood(format!("{:?} is no name of a port", port.name))),
            None => Ok(ports),
        }
    }

    /// Returns the URL of an HTTP port of the job.
    pub fn port_url(&self, name: &str) -> String {
        format!("{}/v1/jobs/{}/ports/{name}/", self.api.url(), self.job)
    }

    /// Returns the host at which the worker is reached: that of the job's TCP and UDP ports as well, if these
    /// listen on all of its addresses.
    pub fn host(&self) -> &str {
        self.api.base.host()
    }

    /// Makes a GET request to a path of an HTTP port, through the worker's TLS, whose key is known. The
    /// answer comes part by part.
    ///
    /// # Errors
    /// The answer is not one of success: of the worker, or of the container. Redirects are not followed.
    pub async fn fetch(&self, port: &str, path: &str) -> Result<Download, WorkerApiError> {
        if !is_name(port) {
            return Err(WorkerApiError::BadPort {
                name: port.to_owned(),
            });
        }
        if !is_path(path) {
            return Err(WorkerApiError::BadPath {
                path: path.to_owned(),
            });
        }
        let call = self.call_of(Method::GET, &format!("/ports/{port}{path}"));
        self.api.base.stream(call).await
    }
}

/// Returns true for characters of a port's name.
fn is_name(text: &str) -> bool {
    (1..=MAX_PORT_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Returns true for a path, with a query or without, that means the same to everybody.
fn is_path(text: &str) -> bool {
    text.len() <= MAX_PATH_BYTES
        && text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && text.parse::<Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_plain() {
        for name in ["web", "tcp-80", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a/b", "..", "Web", "a b", "a\u{1b}", &"a".repeat(33)] {
            assert!(!is_name(name), "{name}");
        }
        for path in ["/", "/a/b.html?c=d&e=%20"] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "a",
            "/a b",
            "/a#b",
            "/ä",
            "/a\r\nHost: b",
            &format!("/{}", "a".repeat(9_000)),
        ] {
            assert!(!is_path(path), "{path}");
        }
    }
}
