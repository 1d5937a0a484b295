#!/usr/bin/python3
"""Attempts to get out of a container, for worker/tests/engines/escapes.rs. Runs inside of one.

Prints one JSON line for each attempt: its name, whether it succeeded, and what happened. Each runs in a child
of its own, and none changes the host even where it succeeds: files of the kernel are opened for writing and
closed, requests to the kernel are such that only the check of rights can tell them from nonsense.

The environment names what only the host has:
    ESCAPES_MARK     path of a file on the host, ESCAPES_SECRET its content
    ESCAPES_NAME     name of an abstract socket, of a process and of a file in /dev/shm
    ESCAPES_REPORT   file that gets the lines as well
    ESCAPES_LEAK     folder that is opened and kept open, as if the runtime had leaked it
"""

import ctypes
import errno
import glob
import json
import os
import platform
import signal
import socket
import stat
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": {
        "ptrace": 101, "syslog": 103, "iopl": 172, "init_module": 175, "reboot": 169, "swapoff": 168, "kexec_load": 246,
        "add_key": 248, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "setns": 308, "finit_module": 313, "bpf": 321, "userfaultfd": 323,
        "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    },
    "aarch64": {
        "ptrace": 117, "syslog": 116, "init_module": 105, "reboot": 142, "swapoff": 225, "kexec_load": 104,
        "add_key": 217, "keyctl": 219, "unshare": 97, "perf_event_open": 241, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "setns": 268, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
        "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    },
}[platform.machine()]
MARK = os.environ.get("ESCAPES_MARK", "/nowhere")
SECRET = os.environ.get("ESCAPES_SECRET", "none")
NAME = os.environ.get("ESCAPES_NAME", "none")
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWCGROUP = 0x20000, 0x10000000, 0x2000000
MIB = 1 << 20
ATTEMPTS = {}


class Refused(Exception):
    """The attempt failed, for a reason that is no error of the system."""


def attempt(name):
    def enter(function):
        ATTEMPTS[name] = function
        return function

    return enter


def system(name, *arguments):
    """Calls the kernel directly; an error is raised."""
    if name not in NUMBERS:
        raise OSError(errno.ENOSYS, "not on this processor")
    words = [ctypes.c_long(NUMBERS[name])]
    words += [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = LIBC.syscall(*words)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def passes_check(name, *arguments):
    """Calls the kernel with nonsense; an error other than that of a missing right shows that the right is there."""
    try:
        system(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
        return f"{name} got as far as {error.strerror}"
    return f"{name} returned"


def mount(source, target, kind, flags=0, data=None):
    words = [text.encode() if text else None for text in (source, target, kind)]
    if LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {kind or ''}: {os.strerror(ctypes.get_errno())}")


def any_of(attempts):
    """Makes several attempts; one that succeeds is enough."""
    reasons = []
    for one in attempts:
        try:
            return one()
        except (OSError, Refused) as error:
            reasons.append(str(error))
    raise Refused("; ".join(dict.fromkeys(reasons))[:400] or "nothing to try")


def folder():
    """Makes a folder for a mount."""
    for number in range(1000):
        path = f"/tmp/escape-{os.getpid()}-{number}"
        try:
            os.mkdir(path)
            return path
        except FileExistsError:
            pass
    raise Refused("no folder")


def opens(path, flags=os.O_WRONLY):
    os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    return f"opened {path}"


def shows_mark(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        if file.read(200).strip() == SECRET:
            return f"read the host's file at {path}"
    raise Refused(f"another file is at {path}")


def marked_process():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if NAME.encode() == words[0]:
            return int(path.split("/")[2])
    raise Refused("no process of the host is to be seen")


# --- Sockets ---


@attempt("engine socket by its path")
def engine_socket():
    usual = ["docker.sock", "podman/podman.sock", "containerd/containerd.sock", "crio/crio.sock", "buildkit/buildkitd.sock"]
    paths = [f"{run}/{name}" for run in ("/run", "/var/run") for name in usual]
    for top in ("/run", "/tmp", "/var", "/work"):
        for path, _, files in os.walk(top):
            paths += [f"{path}/{name}" for name in files if name.endswith("sock")]

    def connects(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        return f"connected to {path}"

    return any_of([lambda path=path: connects(path) for path in dict.fromkeys(paths)])


@attempt("abstract socket of the host")
def abstract_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{NAME}")
    return "connected"


@attempt("vsock to the hypervisor")
def vsock():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return "made a socket"


@attempt("raw packets")
def raw_packets():
    def makes(*kind):
        with socket.socket(*kind):
            return "made a socket"

    return any_of([
        lambda: makes(socket.AF_PACKET, socket.SOCK_RAW, 0),
        lambda: makes(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ])


@attempt("network interface by netlink")
def netlink():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as client:
        # RTM_SETLINK of the loopback interface without any change; NLM_F_REQUEST | NLM_F_ACK.
        client.sendall(struct.pack("=IHHII BBHiII", 32, 19, 5, 1, 0, 0, 0, 0, 1, 0, 0))
        answer = client.recv(4096)
    code = -struct.unpack_from("=i", answer, 16)[0]
    if code:
        raise OSError(code, os.strerror(code))
    return "changed an interface"


# --- Control groups and files of the kernel ---


@attempt("release_agent of a fresh cgroup mount")
def cgroup_mount():
    def mounts(kind, data):
        place = folder()
        mount("cgroup", place, kind, 0, data)
        agent = f"{place}/release_agent"
        return opens(agent if os.path.exists(agent) else f"{place}/cgroup.procs")

    kinds = [("cgroup", name) for name in ("rdma", "memory", "pids", "devices")] + [("cgroup2", None)]
    return any_of([lambda kind=kind: mounts(*kind) for kind in kinds])


@attempt("files of the container's cgroups")
def cgroup_files():
    names = ("release_agent", "notify_on_release", "devices.allow", "cgroup.procs", "memory.max", "memory.limit_in_bytes")
    paths = [path for name in names for path in glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")]
    return any_of([lambda path=path: opens(path) for path in paths])


for title, path in {
    "core_pattern": "/proc/sys/kernel/core_pattern",
    "modprobe path": "/proc/sys/kernel/modprobe",
    "uevent_helper": "/sys/kernel/uevent_helper",
    "sysrq-trigger": "/proc/sysrq-trigger",
    "other settings of the kernel": "/proc/sys/vm/overcommit_memory",
    "power state": "/sys/power/state",
}.items():
    attempt(title)(lambda path=path: opens(path))


@attempt("binfmt_misc")
def binfmt_misc():
    def mounts():
        place = folder()
        mount("binfmt_misc", place, "binfmt_misc")
        return opens(f"{place}/register")

    return any_of([lambda: opens("/proc/sys/fs/binfmt_misc/register"), mounts])


@attempt("memory of the kernel by /proc/kcore")
def kcore():
    with open("/proc/kcore", "rb") as file:
        if not file.read(1):
            raise Refused("it is empty")
    return "read"


@attempt("kernel's log")
def kernel_log():
    text = ctypes.create_string_buffer(4096)

    def reads():
        os.read(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), 4096)
        return "read /dev/kmsg"

    return any_of([lambda: f"syslog returned {system('syslog', 3, text, 4096)} bytes", reads])


@attempt("masked parts of /proc and /sys")
def masked():
    def shows(path):
        if os.path.isdir(path):
            if not os.listdir(path):
                raise Refused(f"{path} is empty")
        else:
            with open(path, "rb") as file:
                if not file.read(1):
                    raise Refused(f"{path} is empty")
        return f"{path} has content"

    paths = ("/sys/firmware", "/proc/acpi", "/proc/scsi", "/proc/timer_list", "/proc/keys", "/proc/latency_stats",
             "/proc/sched_debug", "/proc/asound", "/sys/devices/virtual/powercap")
    return any_of([lambda path=path: shows(path) for path in paths])


@attempt("security module's label of the process")
def label():
    def writes(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write("changeprofile unconfined")
        return f"wrote to {path}"

    return any_of([lambda path=path: writes(path) for path in (
        "/proc/self/attr/apparmor/current", "/proc/self/attr/current", "/proc/self/attr/exec")])


# --- Devices ---


def device_node(kind, major, minor, flags):
    def makes(place):
        path = f"{place}/escape-node-{os.getpid()}"
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
        try:
            with open(os.open(path, flags | os.O_NONBLOCK), "rb") as file:
                file.read(16)
        finally:
            os.unlink(path)
        return f"opened {major}:{minor} in {place}"

    return any_of([lambda place=place: makes(place) for place in ("/dev", "/work", "/root", "/tmp")])


@attempt("block device of the host by mknod")
def block_device():
    numbers = []
    for path in sorted(glob.glob("/sys/class/block/*/dev"), key=lambda path: ("loop" in path or "ram" in path, path)):
        with open(path, encoding="ascii") as file:
            numbers.append([int(part) for part in file.read().split(":")])
    return any_of([lambda pair=pair: device_node(stat.S_IFBLK, *pair, os.O_RDONLY) for pair in numbers[:8]])


@attempt("/dev/mem by mknod")
def memory_device():
    return device_node(stat.S_IFCHR, 1, 1, os.O_RDONLY)


@attempt("/dev/kmsg by mknod")
def kmsg_device():
    return device_node(stat.S_IFCHR, 1, 11, os.O_RDONLY)


@attempt("host's devices that are there already")
def devices():
    names = ("mem", "kmsg", "loop-control", "loop0", "kvm", "vhost-net", "fuse", "net/tun", "btrfs-control", "vda", "sda", "nvme0n1")
    return any_of([lambda name=name: opens(f"/dev/{name}", os.O_RDONLY) for name in names])


# --- Files of the host ---


@attempt("descriptors that the runtime left open")
def descriptors():
    starts = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")] + ["/proc/self/cwd", "/proc/1/cwd"]
    starts += [f"/proc/1/fd/{number}" for number in range(64)]
    ways = [f"{start}{up}{MARK}" for start in starts for up in ("", "/.." * 12)]
    return any_of([lambda way=way: shows_mark(way) for way in ways])


@attempt("root of another process")
def process_root():
    return any_of([lambda path=path: shows_mark(f"{path}{MARK}") for path in glob.glob("/proc/[0-9]*/root")])


@attempt("chroot out of the container")
def chroot():
    place = folder()
    os.chroot(place)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return shows_mark(MARK)


@attempt("open_by_handle_at (shocker)")
def handles():
    def opens_one(path):
        handle = ctypes.create_string_buffer(struct.pack("=II", 128, 0) + bytes(128), 136)
        mount_id = ctypes.c_int()
        system("name_to_handle_at", -100, path.encode(), handle, ctypes.byref(mount_id), 0)
        where = os.open(os.path.dirname(path), os.O_RDONLY)
        os.close(system("open_by_handle_at", where, handle, os.O_RDONLY))
        return f"opened {path} by its handle"

    with open("/dev/shm/escape-handle", "w", encoding="ascii"):
        pass
    paths = ("/dev/shm/escape-handle", "/etc/hosts", "/etc/hostname")
    try:
        return any_of([lambda path=path: opens_one(path) for path in paths])
    finally:
        os.unlink("/dev/shm/escape-handle")


@attempt("shared memory of the host")
def shared_memory():
    return shows_mark(f"/dev/shm/{NAME}")


@attempt("fresh mounts: proc, sysfs, tmpfs, overlay, bind")
def fresh_mounts():
    def mounts(source, kind, flags=0, data=None):
        mount(source, folder(), kind, flags, data)
        return f"mounted {kind or source}"

    return any_of([
        lambda: mounts("proc", "proc"),
        lambda: mounts("sysfs", "sysfs"),
        lambda: mounts("tmpfs", "tmpfs"),
        lambda: mounts("overlay", "overlay", 0, "lowerdir=/etc:/bin"),
        lambda: mounts("/proc/sys", None, MS_BIND),
        lambda: f"fsopen returned {system('fsopen', b'tmpfs', 0)}",
        lambda: f"open_tree returned {system('open_tree', -100, b'/', 1)}",
    ])


@attempt("read-only mounts made writable")
def remounts():
    def remount(path):
        mount(None, path, None, MS_REMOUNT | MS_BIND)
        return f"remounted {path}"

    return any_of([lambda path=path: remount(path) for path in ("/proc/sys", "/sys", "/sys/fs/cgroup", "/")])


# --- Namespaces and processes ---


@attempt("processes of the host")
def processes():
    return f"saw process {marked_process()}"


@attempt("ptrace of a process of the host")
def ptrace():
    return f"PTRACE_SEIZE returned {system('ptrace', 0x4206, marked_process(), 0, 0)}"


@attempt("nsenter into another process")
def nsenter():
    def enters(process):
        system("setns", os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY), 0)
        return shows_mark(MARK)

    return any_of([lambda: enters(1), lambda: enters(marked_process())])


@attempt("new user namespace")
def user_namespace():
    return f"unshare returned {system('unshare', CLONE_NEWUSER)}"


@attempt("mounts in a new user namespace")
def mounts_in_user_namespace():
    system("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    mount("tmpfs", "/tmp", "tmpfs")
    return "mounted"


@attempt("new mount and control group namespaces")
def other_namespaces():
    return any_of([
        lambda: f"unshare returned {system('unshare', CLONE_NEWNS)}",
        lambda: f"unshare returned {system('unshare', CLONE_NEWCGROUP)}",
    ])


@attempt("name of the host")
def host_name():
    socket.sethostname(socket.gethostname())
    return "set"


@attempt("priority above others")
def priority():
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return "raised"


# Not for the profile `interactive`, in which such programs are meant to work.
@attempt("set-user-ID program")
def set_user_id():
    path = "/opt/other-user"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.execv(path, [path, "-c", "import os; print(os.geteuid())"])
    os.close(writer)
    found = os.read(reader, 100).decode().strip()
    os.waitpid(child, 0)
    if int(found) == os.geteuid():
        raise Refused("it stayed the same user")
    return f"became user {found}"


# --- Requests to the kernel ---


@attempt("kernel modules")
def modules():
    return any_of([
        lambda: passes_check("init_module", 0, 0, 0),
        lambda: passes_check("finit_module", -1, 0, 0),
    ])


@attempt("another kernel by kexec_load")
def kexec():
    return passes_check("kexec_load", 0, 99, 0, 0xFFFF)


@attempt("reboot")
def reboot():
    return passes_check("reboot", 0, 0, 0, 0)


@attempt("swap of the host")
def swap():
    return passes_check("swapoff", b"/nowhere")


@attempt("input and output ports")
def ports():
    return f"iopl returned {system('iopl', 3)}"


@attempt("keyrings of the host's user")
def keyrings():
    name = f"{NAME}-key".encode()
    key = system("add_key", b"user", name, b"secret", 6, -4)
    # KEYCTL_LINK of the user's keyring (-4) into that of the process (-2), KEYCTL_UNLINK of the key.
    system("keyctl", 8, -4, -2)
    system("keyctl", 9, key, -4)
    return f"wrote and reached key {key}"


@attempt("BPF")
def bpf():
    return f"bpf returned {system('bpf', 0, struct.pack('=IIII', 2, 4, 4, 1) + bytes(112), 128)}"


@attempt("perf events")
def perf_events():
    attributes = struct.pack("=II", 1, 128) + bytes(120)
    return f"perf_event_open returned {system('perf_event_open', attributes, 0, -1, -1, 0)}"


@attempt("io_uring")
def io_uring():
    return f"io_uring_setup returned {system('io_uring_setup', 4, ctypes.create_string_buffer(120))}"


@attempt("userfaultfd with faults of the kernel")
def userfaultfd():
    return f"userfaultfd returned {system('userfaultfd', 0)}"


# --- Limits, smallest first: what the last one leaves behind may end the program ---


def fills(path, bytes_wanted):
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(bytes_wanted // MIB):
                if file.write(bytes(MIB)) != MIB:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return f"wrote {bytes_wanted // MIB} MiB"


@attempt("more in /dev/shm than its size")
def fill_shm():
    return fills("/dev/shm/escape-fill", 100 * MIB)


@attempt("more in /tmp than half of the memory")
def fill_tmp():
    return fills("/tmp/escape-fill", 200 * MIB)


@attempt("more processes than the job has")
def fork_bomb():
    children = []
    try:
        for _ in range(300):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"made {len(children)} processes"


@attempt("more memory than the job has")
def memory():
    blocks = []
    for _ in range(25):
        blocks.append(b"x" * (16 * MIB))
    return f"used {16 * len(blocks)} MiB"


# --- The program ---


def outcome(function):
    """Makes one attempt in a child; returns whether it succeeded, and what happened."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(8)
        try:
            # What an attempt prints is none of the lines.
            succeeded, text = True, str(function())
        except (OSError, Refused) as error:
            succeeded, text = False, str(error) or type(error).__name__
        except MemoryError:
            succeeded, text = False, "no memory"
        os.write(writer, json.dumps([succeeded, text[:600]]).encode())
        os._exit(0)
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, 4096):
        answer += chunk
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if not answer:
        return False, f"ended with status {status}"
    return json.loads(answer)


def main():
    if "ESCAPES_LEAK" in os.environ:
        os.dup2(os.open(os.environ["ESCAPES_LEAK"], os.O_RDONLY), 200)
    report = open(os.environ["ESCAPES_REPORT"], "w", encoding="utf-8") if "ESCAPES_REPORT" in os.environ else None
    wanted = sys.argv[1:] or list(ATTEMPTS)
    for name in wanted:
        succeeded, text = outcome(ATTEMPTS[name])
        line = json.dumps({"name": name, "succeeded": succeeded, "text": text})
        for file in filter(None, (sys.stdout, report)):
            print(line, file=file, flush=True)


main()
