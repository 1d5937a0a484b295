//! Profile of system calls for containers at Podman.
//!
//! Docker's own profile refuses new user namespaces, sockets to the hypervisor and, in its newest versions,
//! those of the kernel's cryptography (CVE-2026-31431). Podman's allows all of them: a process without any
//! capability makes itself a user namespace, has all capabilities in it, and reaches the parts of the kernel
//! behind them. So at Podman the worker takes the engine's own profile, removes that, and names the result in
//! the request that creates a container. Only Podman takes the path of a profile there; Docker takes a whole
//! profile and does not disclose its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sp_crypto_hashing::blake2_256;

use super::{DockerEngine, EngineEndpoint, EngineError, docker::of_wire, wire::Wire};
use crate::{files, launch::default_run_dir};

/// Maximum length of the engine's profile, in bytes. Podman's has about 16 KiB.
const MAX_PROFILE_BYTES: u64 = 1024 * 1024;

/// System calls that make namespaces or enter them, or could do that besides other things, and those that
/// make sockets. The rules for them are replaced.
///
/// `socketcall` makes sockets of 32-bit programs, with arguments that no rule can read. These programs have
/// `socket` as well.
const REPLACED: [&str; 6] = ["clone", "clone3", "setns", "socket", "socketcall", "unshare"];

/// Flags of `clone` for new namespaces: mount, cgroup, UTS, IPC, user, PID and network.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Flag of `clone` for a new user namespace.
const USER_NAMESPACE_FLAG: u64 = 0x1000_0000;

/// Address family of the kernel's cryptography.
const AF_ALG: u64 = 38;

/// Address family of sockets to the hypervisor.
const AF_VSOCK: u64 = 40;

/// Error "operation not permitted".
const EPERM: u64 = 1;

/// Error "function not implemented", upon which programs use `clone` instead of `clone3`, whose flags no rule
/// can read.
const ENOSYS: u64 = 38;

/// Part of Podman's description of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    host: HostInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostInfo {
    security: SecurityInfo,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecurityInfo {
    seccomp_enabled: bool,
    seccomp_profile_path: PathBuf,
}

/// Reason why an engine cannot keep containers from user namespaces and from the hypervisor.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The profile cannot be written at present.
    #[error(
        "the profile of system calls for containers cannot be written: {0}; make room there, or let the worker write"
    )]
    Unwritten(io::Error),
    /// The host or the engine lacks something; the text has the remedy.
    #[error("{0}")]
    Missing(String),
}

impl ConfinementError {
    /// Returns the error with which a container is not created.
    pub(super) fn into_engine_error(self) -> EngineError {
        let action = "create the container".to_owned();
        match self {
            Self::Engine(error) => error,
            Self::Unwritten(_) => EngineError::Failed {
                action,
                reason: self.to_string(),
            },
            Self::Missing(reason) => EngineError::Refused { action, reason },
        }
    }
}

impl DockerEngine {
    /// Checks that containers of this engine run under a profile that refuses new user namespaces and
    /// sockets to the hypervisor; returns a description of it.
    ///
    /// At Podman that is the worker's stricter profile, without which [`DockerEngine`] creates no
    /// container there. Docker's own is good enough, as long as its daemon does not switch it off.
    pub async fn confinement(&self) -> Result<String, ConfinementError> {
        if self.is_podman().await? {
            let path = self.strict_profile().await?;
            return Ok(format!("the worker's profile {}", path.display()));
        }
        let info = self
            .call(
                "describe its security",
                |docker| async move { docker.info().await },
            )
            .await?;
        docker_profile(info.security_options.as_deref().unwrap_or_default())
            .map_err(|reason| ConfinementError::Missing(reason.to_owned()))
    }

    /// Returns the path of the stricter profile for a Podman.
    pub(super) async fn strict_profile(&self) -> Result<PathBuf, ConfinementError> {
        if !matches!(self.endpoint, EngineEndpoint::Socket(_)) {
            return Err(ConfinementError::Missing(
                "a Podman at an HTTP address may be on another host, where the worker can give containers no profile of \
                 system calls, and Podman's own allows user namespaces: name its socket with `assay.engine`, or use Docker"
                    .to_owned(),
            ));
        }
        let describing = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            wire.json::<Info>(Method::GET, "/v4.0.0/libpod/info").await
        };
        let info = describing
            .await
            .map_err(|error| of_wire(&self.endpoint, "describe its security", &error))?;
        let strict = strict_of(&info.host.security).map_err(ConfinementError::Missing)?;
        keep(&default_run_dir(), &strict).map_err(ConfinementError::Unwritten)
    }
}

/// Returns a description of Docker's profile by its security options, such as `name=seccomp,profile=builtin`.
fn docker_profile(options: &[String]) -> Result<String, &'static str> {
    let profile = options.iter().find_map(|option| {
        let mut parts = option.split(',');
        (parts.next() == Some("name=seccomp")).then(|| parts.find_map(|part| part.strip_prefix("profile=")))
    });
    match profile {
        None => Err(
            "the engine filters no system calls, so jobs could make user namespaces: use a kernel with \
             CONFIG_SECCOMP_FILTER, and a Docker that is built with seccomp",
        ),
        Some(Some("unconfined")) => Err(
            "Docker's profile of system calls is switched off, so jobs could make user namespaces: remove \
             `seccomp-profile` from its daemon.json, and restart it",
        ),
        Some(profile) => Ok(format!("Docker's profile {}", profile.unwrap_or("default"))),
    }
}

/// Returns the stricter form of a Podman's own profile, or the reason with its remedy.
fn strict_of(security: &SecurityInfo) -> Result<Vec<u8>, String> {
    if !security.seccomp_enabled {
        return Err(
            "Podman filters no system calls, so jobs could make user namespaces: use a kernel with \
             CONFIG_SECCOMP_FILTER, and a Podman that is built with seccomp"
                .to_owned(),
        );
    }
    let own = &security.seccomp_profile_path;
    let unusable = |reason: String| {
        format!(
            "Podman's profile of system calls cannot be used, and without the stricter one that the worker makes of it jobs \
             could make user namespaces: {reason}; install the package that has it (containers-common, at Debian \
             golang-github-containers-common), or name a file with `seccomp_profile` in containers.conf, and restart Podman"
        )
    };
    // Empty for the profile inside of the program, and one word for none at all.
    if !own.is_absolute() {
        return Err(unusable(format!("it is no file but {own:?}")));
    }
    read_bounded(own)
        .map_err(|error| error.to_string())
        .and_then(|text| strict(&text).map_err(|reason| format!("{}: {reason}", own.display())))
        .map_err(unusable)
}

/// Reads a profile of a bounded length.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let details = fs::metadata(path).map_err(|error| files::named("look at", path, error))?;
    if !details.is_file() || details.len() > MAX_PROFILE_BYTES {
        return Err(io::Error::other(format!(
            "{} is no file, or has more than {MAX_PROFILE_BYTES} bytes",
            path.display()
        )));
    }
    fs::read(path).map_err(|error| files::named("read", path, error))
}

/// Maximum number of attempts to write the profile: several processes may write the same file at once.
const MAX_ATTEMPTS: usize = 3;

/// Writes a profile to a folder, in a file named after its content, and returns the path.
fn keep(folder: &Path, strict: &[u8]) -> io::Result<PathBuf> {
    let hash = blake2_256(strict);
    let name = format!("seccomp-{}.json", hex::encode(&hash[..16]));
    let path = folder.join(&name);
    let is_there = || fs::read(&path).is_ok_and(|found| found == strict);
    let mut outcome = Ok(());
    for _ in 0..MAX_ATTEMPTS {
        if is_there() {
            return Ok(path);
        }
        outcome = files::write_whole(folder, &name, strict);
    }
    match outcome {
        Err(error) if !is_there() => Err(error),
        _ => Ok(path),
    }
}

/// Returns a profile without new namespaces, and without sockets of AF_ALG and AF_VSOCK.
fn strict(profile: &[u8]) -> Result<Vec<u8>, String> {
    let mut profile: Value =
        serde_json::from_slice(profile).map_err(|error| format!("the profile cannot be read: {error}"))?;
    let allows_by_default = matches!(
        profile.get("defaultAction").and_then(Value::as_str),
        Some("SCMP_ACT_ALLOW" | "SCMP_ACT_LOG")
    );
    let rules = profile
        .get_mut("syscalls")
        .and_then(Value::as_array_mut)
        .ok_or("the profile has no `syscalls`")?;
    let is_replaced = |name: &Value| name.as_str().is_some_and(|name| REPLACED.contains(&name));
    for rule in rules.iter_mut() {
        if let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) {
            names.retain(|name| !is_replaced(name));
        }
    }
    rules.retain(|rule| {
        // A rule of the old form has one name.
        let has_single = rule.get("name").is_some_and(|name| !is_replaced(name));
        let has_many = rule
            .get("names")
            .and_then(Value::as_array)
            .is_some_and(|names| !names.is_empty());
        has_single || has_many
    });
    let refuse = |names: &[&str], error: u64, arguments: Value| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error, "args": arguments });
    let allow = |name: &str, arguments: Value| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments });
    rules.push(refuse(&["setns", "unshare"], EPERM, json!([])));
    rules.push(refuse(&["clone3", "socketcall"], ENOSYS, json!([])));
    // The first argument of both: the flags, and the address family.
    let first = |operator: &str, value: u64, other: u64| json!([{ "index": 0, "value": value, "valueTwo": other, "op": operator }]);
    if allows_by_default {
        let flag = USER_NAMESPACE_FLAG;
        rules.push(refuse(&["clone"], EPERM, first("SCMP_CMP_MASKED_EQ", flag, flag)));
        for family in [AF_ALG, AF_VSOCK] {
            rules.push(refuse(&["socket"], EPERM, first("SCMP_CMP_EQ", family, 0)));
        }
    } else {
        rules.push(allow("clone", first("SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0)));
        // One of these is enough. A rule compares an argument once only, so it cannot exclude two values.
        rules.push(allow("socket", first("SCMP_CMP_LT", AF_ALG, 0)));
        rules.push(allow("socket", first("SCMP_CMP_EQ", AF_ALG + 1, 0)));
        rules.push(allow("socket", first("SCMP_CMP_GT", AF_VSOCK, 0)));
    }
    serde_json::to_vec(&profile).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn strict_rules(profile: &Value) -> Vec<Value> {
        let strict: Value = serde_json::from_slice(&strict(profile.to_string().as_bytes()).unwrap()).unwrap();
        assert_eq!(strict["defaultAction"], profile["defaultAction"]);
        strict["syscalls"].as_array().unwrap().clone()
    }

    #[test]
    fn rules_for_namespaces_and_sockets_are_replaced_and_the_rest_is_kept() {
        let rules = strict_rules(&json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["read", "clone", "unshare"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["setns"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
                { "name": "socket", "action": "SCMP_ACT_ALLOW" },
                { "name": "write", "action": "SCMP_ACT_ALLOW" },
            ],
        }));
        assert_eq!(
            rules[..2],
            [
                json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW" }),
                json!({ "name": "write", "action": "SCMP_ACT_ALLOW" }),
            ]
        );
        for (name, action) in [
            ("unshare", "SCMP_ACT_ERRNO"),
            ("setns", "SCMP_ACT_ERRNO"),
            ("clone3", "SCMP_ACT_ERRNO"),
            ("socketcall", "SCMP_ACT_ERRNO"),
            ("clone", "SCMP_ACT_ALLOW"),
            ("socket", "SCMP_ACT_ALLOW"),
        ] {
            let found: Vec<_> = rules
                .iter()
                .filter(|rule| {
                    let names = rule["names"].as_array();
                    names.is_some_and(|names| names.iter().any(|found| found == name))
                })
                .collect();
            assert_eq!(found.len(), if name == "socket" { 3 } else { 1 }, "{name}");
            assert!(found.iter().all(|rule| rule["action"] == action), "{name}");
        }
    }

    #[test]
    fn profile_that_allows_by_default_gets_refusals() {
        let rules = strict_rules(&json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [] }));
        assert!(
            rules.iter().all(|rule| rule["action"] == "SCMP_ACT_ERRNO"),
            "{rules:?}"
        );
        assert_eq!(rules.len(), 5);
    }

    #[test]
    fn file_is_named_after_its_content_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let path = keep(&run, b"{}").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(keep(&run, b"{}").unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        assert_ne!(keep(&run, b"{ }").unwrap(), path);
    }

    #[test]
    fn profile_that_cannot_be_made_stricter_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.json");
        fs::write(&own, r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}"#).unwrap();
        let security = |enabled: bool, path: &Path| SecurityInfo {
            seccomp_enabled: enabled,
            seccomp_profile_path: path.to_owned(),
        };
        assert!(strict_of(&security(true, &own)).is_ok());
        let missing = folder.path().join("missing.json");
        let broken = folder.path().join("broken.json");
        fs::write(&broken, "no JSON").unwrap();
        let long = folder.path().join("long.json");
        fs::write(&long, vec![b' '; MAX_PROFILE_BYTES as usize + 1]).unwrap();
        for (enabled, path, reason) in [
            (false, &*own, "filters no system calls"),
            (true, Path::new(""), "it is no file"),
            (true, Path::new("unconfined"), "it is no file"),
            (true, folder.path(), "is no file, or has more"),
            (true, &*missing, "missing.json"),
            (true, &*broken, "broken.json: the profile cannot be read"),
            (true, &*long, "is no file, or has more"),
        ] {
            let told = strict_of(&security(enabled, path)).unwrap_err();
            assert!(told.contains(reason), "{told}");
            assert!(told.contains("user namespaces: "), "{told}");
            let error = ConfinementError::Missing(told).into_engine_error();
            assert!(error.is_permanent(), "the job is declined, not tried again");
        }
    }

    #[test]
    fn docker_without_its_profile_is_told() {
        let options = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (given, described) in [
            (
                &["name=apparmor", "name=seccomp,profile=builtin"][..],
                "Docker's profile builtin",
            ),
            (&["name=seccomp,profile=default"][..], "Docker's profile default"),
            (&["name=seccomp"][..], "Docker's profile default"),
        ] {
            assert_eq!(docker_profile(&options(given)).unwrap(), described);
        }
        assert!(docker_profile(&[]).is_err());
        for given in ["name=apparmor", "name=seccomp,profile=unconfined"] {
            assert!(docker_profile(&options(&[given])).is_err(), "{given}");
        }
    }
}
