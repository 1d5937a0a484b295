//! Rights of a job's container.
//!
//! | | `batch` | `interactive` |
//! |---|---|---|
//! | capabilities | none | [`INTERACTIVE_CAPABILITIES`] |
//! | new privileges (set-user-ID programs) | no | yes |
//! | root | read-only, writable on request | writable, on the job's disk |
//! | devices, host's namespaces, host's network | no | no |
//!
//! Both run with the engine's filters of system calls and its masked paths.

use assay_client::manifest::Profile;

/// Capabilities of an interactive container: what package managers, `su`, `sshd` and servers that drop their
/// rights need. All of them act on the container's own files, processes and addresses.
///
/// Not among them, though engines keep them by default: `MKNOD` (devices), `NET_RAW` (forged packets) and
/// `SETFCAP` (files that give capabilities).
pub const INTERACTIVE_CAPABILITIES: [&str; 11] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Returns the capabilities that a container of a profile keeps.
pub fn capabilities(profile: Profile) -> Vec<String> {
    match profile {
        Profile::Batch => Vec::new(),
        Profile::Interactive => INTERACTIVE_CAPABILITIES.map(str::to_owned).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interactive_containers_keep_nothing_that_reaches_the_host() {
        assert_eq!(capabilities(Profile::Batch), Vec::<String>::new());
        let kept = capabilities(Profile::Interactive);
        for dropped in [
            "SYS_ADMIN",
            "SYS_MODULE",
            "SYS_PTRACE",
            "SYS_RAWIO",
            "SYS_RESOURCE",
            "NET_ADMIN",
            "NET_RAW",
            "MKNOD",
            "DAC_READ_SEARCH",
            "BPF",
            "PERFMON",
            "SYSLOG",
            "SETFCAP",
        ] {
            assert!(!kept.iter().any(|name| name == dropped), "{dropped}");
        }
    }
}
