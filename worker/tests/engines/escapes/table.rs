//! The attempts, by the names that `attempts.py` and `docs/LEASE.md` use.

/// Expectation of an attempt in a container without any protection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// It succeeds.
    Succeeds,
    /// It succeeds, or the kernel says that it lacks what the attempt is about.
    WhereTheKernelHasIt,
    /// It does not tell anything. A label is left only where the host has a security module and a profile of
    /// it is loaded, and a container without protection has none; and no setting of an engine leaves the
    /// host's root below that of a container.
    Impossible,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Name, the same as in `attempts.py`.
    pub(crate) name: &'static str,
    /// Advisory or guide that names it.
    pub(crate) reference: &'static str,
    /// Reason why it fails.
    pub(crate) stopped_by: &'static str,
    /// Expectation without any protection.
    pub(crate) control: Control,
    /// True if it may succeed with the profile `interactive`, because it is meant to work there.
    pub(crate) only_batch: bool,
}

/// Creates an attempt that must fail in both profiles.
const fn attempt(
    name: &'static str,
    reference: &'static str,
    stopped_by: &'static str,
    control: Control,
) -> Attempt {
    Attempt {
        name,
        reference,
        stopped_by,
        control,
        only_batch: false,
    }
}

/// Attempts of a program inside of a container.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "engine socket by its path",
        "CVE-2025-9074; OWASP Docker Security rule 1",
        "no socket of the host is mounted",
        Control::Succeeds,
    ),
    attempt(
        "abstract socket of the host",
        "MITRE ATT&CK T1611; Kubernetes Pod Security Standards, host namespaces",
        "a network of its own",
        Control::Succeeds,
    ),
    attempt(
        "vsock to the hypervisor",
        "Docker 23, default seccomp profile (moby 44562)",
        "the engine's profile of system calls; at Podman the worker's",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "raw packets",
        "OWASP Docker Security rule 3",
        "no capability NET_RAW",
        Control::Succeeds,
    ),
    attempt(
        "network interface by netlink",
        "OWASP Docker Security rule 3",
        "no capability NET_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "release_agent of a fresh cgroup mount",
        "MITRE ATT&CK T1611; Datadog rule def-000-f39",
        "no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "files of the container's cgroups",
        "CVE-2023-25809",
        "control groups are read-only",
        Control::Succeeds,
    ),
    attempt(
        "core_pattern",
        "CVE-2025-31133, CVE-2025-52881; Datadog rule def-000-f39",
        "`/proc/sys` is read-only",
        Control::Succeeds,
    ),
    attempt(
        "modprobe path",
        "MITRE ATT&CK T1611",
        "`/proc/sys` is read-only",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "uevent_helper",
        "MITRE ATT&CK T1611",
        "`/sys` is read-only",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "sysrq-trigger",
        "CVE-2025-52881",
        "`/proc/sysrq-trigger` is read-only",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "other settings of the kernel",
        "CVE-2025-52881",
        "`/proc/sys` is read-only",
        Control::Succeeds,
    ),
    attempt(
        "power state",
        "MITRE ATT&CK T1611",
        "`/sys` is read-only",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "binfmt_misc",
        "MITRE ATT&CK T1611",
        "no capability SYS_ADMIN",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "memory of the kernel by /proc/kcore",
        "CVE-2025-31133",
        "`/proc/kcore` is masked",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "kernel's log",
        "OWASP Docker Security rule 3",
        "no capability SYSLOG, no `/dev/kmsg`",
        Control::Succeeds,
    ),
    attempt(
        "masked parts of /proc and /sys",
        "CVE-2025-31133",
        "the engine masks them",
        Control::Succeeds,
    ),
    attempt(
        "security module's label of the process",
        "CVE-2023-28642, CVE-2025-52881",
        "the module's profile, where the host has one",
        Control::Impossible,
    ),
    attempt(
        "block device of the host by mknod",
        "MITRE ATT&CK T1611",
        "no capability MKNOD, and the devices of the control group",
        Control::Succeeds,
    ),
    attempt(
        "/dev/mem by mknod",
        "MITRE ATT&CK T1611",
        "no capability MKNOD, and the devices of the control group",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "/dev/kmsg by mknod",
        "MITRE ATT&CK T1611",
        "no capability MKNOD, and the devices of the control group",
        Control::Succeeds,
    ),
    attempt(
        "host's devices that are there already",
        "OWASP Docker Security rule 3",
        "`/dev` has the lease's devices alone",
        Control::Succeeds,
    ),
    attempt(
        "descriptors that the runtime left open",
        "CVE-2024-21626",
        "the runtime, from runc 1.1.12 on",
        Control::Succeeds,
    ),
    attempt(
        "root of another process",
        "MITRE ATT&CK T1611; Datadog rule def-000-f39",
        "a PID namespace of its own",
        Control::Succeeds,
    ),
    attempt(
        "chroot out of the container",
        "MITRE ATT&CK T1611",
        "the runtime leaves nothing of the host's root below",
        Control::Impossible,
    ),
    attempt(
        "open_by_handle_at (shocker)",
        "OWASP Docker Security rule 3",
        "no capability DAC_READ_SEARCH",
        Control::Succeeds,
    ),
    attempt(
        "shared memory of the host",
        "Kubernetes Pod Security Standards, host namespaces",
        "an IPC namespace of its own",
        Control::Succeeds,
    ),
    attempt(
        "fresh mounts: proc, sysfs, tmpfs, overlay, bind",
        "MITRE ATT&CK T1611; Datadog rule def-000-f39",
        "no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "read-only mounts made writable",
        "CVE-2025-52881",
        "no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "processes of the host",
        "Kubernetes Pod Security Standards, host namespaces",
        "a PID namespace of its own",
        Control::Succeeds,
    ),
    attempt(
        "ptrace of a process of the host",
        "Datadog rule def-000-f39",
        "a PID namespace of its own, no capability SYS_PTRACE",
        Control::Succeeds,
    ),
    attempt(
        "nsenter into another process",
        "MITRE ATT&CK T1611; Datadog rule def-000-f39",
        "a PID namespace of its own, no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "new user namespace",
        "Ubuntu 23.10, unprivileged user namespaces",
        "the engine's profile of system calls; at Podman the worker's",
        Control::Succeeds,
    ),
    attempt(
        "mounts in a new user namespace",
        "Ubuntu 23.10, unprivileged user namespaces",
        "the engine's profile of system calls; at Podman the worker's",
        Control::Succeeds,
    ),
    attempt(
        "new mount and control group namespaces",
        "MITRE ATT&CK T1611",
        "no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "name of the host",
        "Kubernetes Pod Security Standards, host namespaces",
        "no capability SYS_ADMIN",
        Control::Succeeds,
    ),
    attempt(
        "priority above others",
        "OWASP Docker Security rule 7",
        "no capability SYS_NICE",
        Control::Succeeds,
    ),
    Attempt {
        only_batch: true,
        ..attempt(
            "set-user-ID program",
            "OWASP Docker Security rule 4",
            "no new privileges, in `batch`; `interactive` has such programs",
            Control::Succeeds,
        )
    },
    attempt(
        "kernel modules",
        "MITRE ATT&CK T1611; Datadog rule def-000-f39",
        "no capability SYS_MODULE",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "another kernel by kexec_load",
        "MITRE ATT&CK T1611",
        "no capability SYS_BOOT",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "reboot",
        "OWASP Docker Security rule 3",
        "no capability SYS_BOOT",
        Control::Succeeds,
    ),
    attempt(
        "swap of the host",
        "OWASP Docker Security rule 3",
        "no capability SYS_ADMIN",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "input and output ports",
        "OWASP Docker Security rule 3",
        "no capability SYS_RAWIO",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "keyrings of the host's user",
        "OWASP Docker Security rule 6",
        "the engine's profile of system calls",
        Control::Succeeds,
    ),
    attempt(
        "BPF",
        "OWASP Docker Security rule 6",
        "no capability BPF, and the engine's profile of system calls",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "perf events",
        "OWASP Docker Security rule 6",
        "no capability PERFMON, and the engine's profile of system calls",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "io_uring",
        "Docker 25, default seccomp profile (moby 46762)",
        "the engine's profile of system calls",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "userfaultfd with faults of the kernel",
        "OWASP Docker Security rule 6",
        "no capability SYS_PTRACE, and the engine's profile of system calls",
        Control::WhereTheKernelHasIt,
    ),
    attempt(
        "more in /dev/shm than its size",
        "OWASP Docker Security rule 7",
        "the size of the mount",
        Control::Succeeds,
    ),
    attempt(
        "more in /tmp than half of the memory",
        "OWASP Docker Security rule 7",
        "the size of the mount",
        Control::Succeeds,
    ),
    attempt(
        "more processes than the job has",
        "OWASP Docker Security rule 7",
        "the limit of processes",
        Control::Succeeds,
    ),
    attempt(
        "more memory than the job has",
        "OWASP Docker Security rule 7",
        "the limit of memory",
        Control::Succeeds,
    ),
];

/// Attempts by what an image is or leaves behind, each with a test of its own: name, reference, and the
/// reason why it fails.
pub(crate) const IMAGES: &[(&str, &str, &str)] = &[
    (
        "image that begins in `/proc/self/fd/8`",
        "CVE-2024-21626",
        "the worker refuses the image; the runtime refuses a link to there",
    ),
    (
        "links of the image on the way to the folder in which it begins",
        "CVE-2026-55686",
        "at Podman the worker refuses the image; Docker's runtime does not start it",
    ),
    (
        "links of the image where `/work`, `/run`, `/etc/hosts` are mounted",
        "CVE-2024-1753, CVE-2024-45310",
        "the runtime resolves them inside of the container's root",
    ),
    (
        "links of the image in place of `/proc` and `/sys`",
        "CVE-2023-27561, CVE-2023-28642",
        "the runtime does not start it, or Docker puts folders in their place",
    ),
    (
        "link of the image in place of `/dev`",
        "CVE-2026-41579",
        "at Podman the worker refuses the image; Docker puts a folder in its place",
    ),
    (
        "links, pipes and devices in the output folder",
        "CVE-2024-9676",
        "the worker follows no link and reads regular files alone",
    ),
    (
        "labels of the image that name another job",
        "Docker, \"Object labels\"",
        "the worker's labels override those of the image",
    ),
    (
        "annotations of the image for the runtime",
        "crun(1); runc, `systemd-properties.md` in its documents",
        "Docker hands none on; at Podman the worker refuses the image",
    ),
    (
        "`LD_PRELOAD` and `LD_LIBRARY_PATH` for the hooks of GPUs",
        "CVE-2025-23266",
        "the worker empties them where they name folders that a job may write",
    ),
];
