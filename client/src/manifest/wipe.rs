//! Overwriting of a manifest in memory.

use std::{fmt, ops::Deref};

use zeroize::Zeroize;

use super::{JobManifest, Secret};

impl JobManifest {
    /// Overwrites the parts of a sealed manifest that must not reach the host's disks: command, environment,
    /// secrets and credentials. Copies made of them stay.
    pub fn wipe(&mut self) {
        self.entrypoint.zeroize();
        self.command.zeroize();
        for value in self.env.values_mut() {
            value.zeroize();
        }
        for secret in self.secrets.values_mut() {
            match secret {
                Secret::Text(text) => text.zeroize(),
                Secret::Bytes(bytes) => bytes.base64.zeroize(),
            }
        }
        if let Some(login) = &mut self.registry {
            login.username.zeroize();
            login.password.zeroize();
        }
    }

    /// Returns the manifest without command, environment, secrets and credentials.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Self {
            version: self.version,
            image: self.image.clone(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: Default::default(),
            secrets: Default::default(),
            registry: None,
            network: self.network.clone(),
            ports: self.ports.clone(),
            work_dir: self.work_dir.clone(),
            output: self.output.clone(),
            writable_root: self.writable_root,
            shm_mib: self.shm_mib,
            profile: self.profile,
            runtime: self.runtime.clone(),
            delegates: self.delegates.clone(),
            capture_stdout: self.capture_stdout,
        }
    }
}

/// Manifest that came sealed. Wiped when it is dropped, and never printed.
pub struct OpenedManifest(JobManifest);

impl OpenedManifest {
    /// Wraps a manifest.
    pub fn new(manifest: JobManifest) -> Self {
        Self(manifest)
    }
}

impl Deref for OpenedManifest {
    type Target = JobManifest;

    fn deref(&self) -> &JobManifest {
        &self.0
    }
}

impl Drop for OpenedManifest {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl fmt::Debug for OpenedManifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret must not reach a log.
        formatter.write_str("OpenedManifest(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn manifest() -> JobManifest {
        let text = format!(
            r#"{{"image":"a@sha256:{}","entrypoint":["marker"],"command":["marker"],"env":{{"K":"marker"}},
            "secrets":{{"a":"marker","b":{{"base64":"bWFya2Vy"}}}},"registry":{{"username":"marker","password":"marker"}},
            "network":true,"shm_mib":65}}"#,
            "ab".repeat(32)
        );
        JobManifest::from_sealed_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn wiped_manifest_has_nothing_left_of_its_secrets() {
        let mut manifest = manifest();
        manifest.wipe();
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(!text.contains("marker") && !text.contains("bWFya2Vy"), "{text}");
    }

    #[test]
    fn manifest_without_secrets_keeps_the_rest() {
        let visible = manifest().without_secrets();
        let text = serde_json::to_string(&visible).unwrap();
        assert!(!text.contains("marker") && !text.contains("bWFya2Vy"), "{text}");
        assert_eq!(visible.shm_mib, Some(65));
        assert_eq!(visible.network, crate::manifest::NetworkAccess::On);
        assert_eq!(visible.image, manifest().image);
    }

    #[test]
    fn opened_manifest_is_not_printed() {
        assert!(!format!("{:?}", OpenedManifest::new(manifest())).contains("marker"));
    }
}
