//! Processes of a command that the worker started in a container, and their end.
//!
//! Engines know a command's first process only. Its children stay in the container when it ends, and belong
//! to the container's first process then. So each command gets a mark of its own in its environment, which
//! its children inherit in any session and below any parent. A process belongs to a command if it
//!
//! 1. is in the container's control group, and
//! 2. began with the command's mark in its environment, or
//! 3. has a parent that belongs to the command, or
//! 4. is in a session of the command: one whose leader belongs to it, or whose leader has ended while another
//!    process of it belongs to it, or the session that the command's first process began.
//!
//! The job's own processes have neither the mark nor such a parent, and nobody enters a session that another
//! process began. A process escapes only if it has dropped the mark, has left the session and has lost its
//! parent.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Name of the environment variable with a command's mark.
const MARK_VARIABLE: &str = "ASSAY_EXEC";

/// Maximum number of bytes of a process's environment that are searched; the engine puts the mark near its
/// beginning.
const MAX_ENVIRONMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Number of scans of the processes: a killed one may have started another just before.
const MAX_LOOKS: u32 = 25;

/// Pause between two scans. A killed process needs a moment to end.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Mark of one command, as a variable of its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// Draws a unique and unpredictable mark.
    pub(super) fn draw() -> io::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(format!("{MARK_VARIABLE}={}", hex::encode(random))))
    }

    /// Returns the variable as `NAME=value`.
    pub(super) fn variable(&self) -> &str {
        &self.0
    }
}

/// Place of a process among the others, by the numbers that this host gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// Process that leads its session.
    session: i32,
    /// Time of its start, in ticks since the host's. With the number it names a process for good.
    started: u64,
}

/// Session that the first process of a command began: its leader's number and start.
///
/// The kernel gives the leader's number to no other process as long as a process of the session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    leader: i32,
    started: u64,
}

impl Session {
    /// Returns the session that a process leads; `None` if it has ended, leads none, or is in no control
    /// group of the container.
    pub(super) fn led_by(process: i32, container: &str) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let stat = stat(process)?;
        (!container.is_empty() && groups.contains(container) && stat.session == process).then_some(Self {
            leader: process,
            started: stat.started,
        })
    }
}

/// A process in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    stat: Stat,
    is_marked: bool,
}

/// Reads the place of a process; `None` if it has ended.
fn stat(pid: i32) -> Option<Stat> {
    stat_of_text(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the content of `/proc/PID/stat`. The name in brackets may have any bytes.
fn stat_of_text(text: &[u8]) -> Option<Stat> {
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let (state, parent, session, started) =
        (fields.first()?, fields.get(1)?, fields.get(3)?, fields.get(19)?);
    // It has ended, and waits for its parent only.
    if matches!(*state, "Z" | "X" | "x") {
        return None;
    }
    Some(Stat {
        parent: parent.parse().ok()?,
        session: session.parse().ok()?,
        started: started.parse().ok()?,
    })
}

/// Returns true if a process began with the mark in its environment.
fn is_marked(pid: i32, mark: &Mark) -> bool {
    let mut environment = Vec::new();
    // Of a process that has just ended, or that this worker may not look into, nothing is read.
    let read = fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut environment));
    read.is_ok()
        && environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.0.as_bytes())
}

/// Returns the processes of a container, whose control groups are named after it.
fn processes_of(container: &str, mark: &Mark) -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
            continue;
        };
        if !groups.contains(container) {
            continue;
        }
        processes.extend(stat(pid).map(|stat| Process {
            pid,
            stat,
            is_marked: is_marked(pid, mark),
        }));
    }
    Ok(processes)
}

/// Returns the numbers of the processes that belong to the command with the mark and the session.
fn of_command(processes: &[Process], session: Option<Session>) -> HashSet<i32> {
    let started: HashMap<i32, u64> = processes
        .iter()
        .map(|process| (process.pid, process.stat.started))
        .collect();
    let marked = processes.iter().filter(|process| process.is_marked);
    let mut own: HashSet<i32> = marked.map(|process| process.pid).collect();
    // Another process has the leader's number by now: the session is over.
    let session = session.filter(|session| {
        started
            .get(&session.leader)
            .is_none_or(|started| *started == session.started)
    });
    let mut sessions: HashSet<i32> = session.map(|session| session.leader).into_iter().collect();
    loop {
        let before = (own.len(), sessions.len());
        for process in processes {
            let Stat { parent, session, .. } = process.stat;
            if own.contains(&parent) || own.contains(&session) || sessions.contains(&session) {
                own.insert(process.pid);
            }
            // A leader outside of the container's namespace has the number 0 for all of them.
            if own.contains(&process.pid) && session != 0 && !started.contains_key(&session) {
                sessions.insert(session);
            }
        }
        if (own.len(), sessions.len()) == before {
            return own;
        }
    }
}

/// Kills a process, unless its number has another owner by now.
fn kill(process: &Process) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return Ok(());
    };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        handle => handle?,
    };
    // Read after the handle is open: either both concern the same process, or the signal is lost.
    if stat(process.pid).is_none_or(|stat| stat.started != process.stat.started) {
        return Ok(());
    }
    match pidfd_send_signal(handle, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills all processes of a container that belong to the command with the mark and the session, and waits
/// until they are gone. Returns the numbers of those that it killed. Blocks, for half a second at most.
///
/// # Errors
/// A process that may not be killed, or that does not end.
pub(super) fn end(container: &str, mark: &Mark, session: Option<Session>) -> io::Result<HashSet<i32>> {
    let mut killed = HashSet::new();
    // Every group contains the empty text.
    if container.is_empty() {
        return Ok(killed);
    }
    for _ in 0..MAX_LOOKS {
        let processes = processes_of(container, mark)?;
        let own = of_command(&processes, session);
        if own.is_empty() {
            return Ok(killed);
        }
        for process in processes.iter().filter(|process| own.contains(&process.pid)) {
            kill(process)?;
        }
        killed.extend(own);
        thread::sleep(LOOK_PAUSE);
    }
    Err(io::Error::other(
        "processes of the command were killed and do not end; look at `dmesg` for a disk or a driver that hangs",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::{Child, Command, Stdio};

    use super::*;

    fn process(pid: i32, parent: i32, session: i32, is_marked: bool) -> Process {
        Process {
            pid,
            stat: Stat {
                parent,
                session,
                started: 1,
            },
            is_marked,
        }
    }

    fn own(processes: &[Process], session: Option<Session>) -> Vec<i32> {
        let mut own: Vec<i32> = of_command(processes, session).into_iter().collect();
        own.sort_unstable();
        own
    }

    #[test]
    fn processes_belong_by_mark_parent_or_session() {
        let processes = [
            process(10, 1, 10, false),
            process(11, 10, 10, false),
            process(20, 1, 20, true),
            // Without the mark: a child, a grandchild in a session of its own, and an orphan of the session.
            process(21, 20, 20, false),
            process(22, 21, 22, false),
            process(23, 10, 20, false),
            // With the mark, in another session, of another parent.
            process(24, 10, 24, true),
            process(30, 1, 30, false),
        ];
        assert_eq!(own(&processes, None), [20, 21, 22, 23, 24]);
        assert_eq!(own(&processes[..2], None), [0; 0]);
    }

    #[test]
    fn processes_belong_by_a_session_whose_leader_has_ended() {
        let processes = [
            process(10, 1, 10, false),
            // The job's own session without a leader, and processes whose leader is in no namespace of ours.
            process(11, 10, 9, false),
            process(12, 10, 0, false),
            process(13, 10, 0, true),
            // The leader 20 has ended; one of its orphans has the mark.
            process(21, 10, 20, false),
            process(22, 10, 20, true),
            // A child of an orphan, in a session of its own.
            process(23, 21, 23, false),
            // No mark is left in this one.
            process(31, 10, 30, false),
        ];
        assert_eq!(own(&processes, None), [13, 21, 22, 23]);
        let session = |leader| Some(Session { leader, started: 1 });
        assert_eq!(own(&processes, session(30)), [13, 21, 22, 23, 31]);
        // The number 10 is of another process now.
        let over = Some(Session {
            leader: 10,
            started: 0,
        });
        assert_eq!(own(&processes, over), [13, 21, 22, 23]);
    }

    #[test]
    fn stat_is_read_whatever_the_name_of_the_program_is() {
        let rest = "S 7 9 8 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 8192 1";
        let expected = Some(Stat {
            parent: 7,
            session: 8,
            started: 123_456,
        });
        for name in [&b"sh"[..], b"a) S 1 1 1 (b", b"\xff\xfe"] {
            let text = [&b"42 ("[..], name, b") ", rest.as_bytes()].concat();
            assert_eq!(stat_of_text(&text), expected, "{name:?}");
        }
        assert_eq!(stat_of_text(b"42 (sh) Z 7 9 8"), None);
        assert_eq!(stat_of_text(b"42 (sh"), None);
        assert!(stat(std::process::id().try_into().unwrap()).is_some());
    }

    fn shell(line: &str, mark: &str) -> Child {
        let (name, value) = mark.split_once('=').unwrap();
        Command::new("sh")
            .args(["-c", line])
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Counts the processes of this host with the mark.
    fn count(mark: &Mark) -> usize {
        let all = processes_of("/", mark).unwrap();
        all.iter().filter(|process| process.is_marked).count()
    }

    fn wait_for(mark: &Mark, wanted: usize) {
        for _ in 0..200 {
            if count(mark) == wanted {
                return;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("there are not {wanted} processes but {}", count(mark));
    }

    #[test]
    fn orphans_in_sessions_of_their_own_end_and_nobody_else_does() {
        let (own, other) = (Mark::draw().unwrap(), Mark::draw().unwrap());
        assert_ne!(own, other);
        // The first shell ends at once; its children are another process's by then.
        let mut gone = shell("setsid sh -c 'sleep 600 & sleep 600 &' & exit 0", own.variable());
        gone.wait().unwrap();
        // A child without the mark.
        let mut first = shell("env -i sleep 600; exit 3", own.variable());
        let mut bystander = shell("sleep 600; exit 3", other.variable());
        wait_for(&other, 2);
        wait_for(&own, 3);

        // Every process is in some group.
        let killed = end("/", &own, None).unwrap();
        assert!(killed.len() >= 4, "{killed:?}");
        assert!(!first.wait().unwrap().success());
        wait_for(&own, 0);
        assert_eq!(end("/", &own, None).unwrap(), HashSet::new());
        assert!(bystander.try_wait().unwrap().is_none());
        assert!(end("", &other, None).unwrap().is_empty());
        assert!(end(&"ab".repeat(32), &other, None).unwrap().is_empty());
        assert!(bystander.try_wait().unwrap().is_none());

        end("/", &other, None).unwrap();
        assert!(!bystander.wait().unwrap().success());
    }
    #[test]
    fn orphan_without_the_mark_ends_with_the_session_of_the_first_process() {
        let mark = Mark::draw().unwrap();
        // The shell leads a session, and ends before anybody looks; its child has dropped the mark.
        let line = "exec setsid sh -c 'env -i sleep 611 & read line'";
        let (name, value) = mark.variable().split_once('=').unwrap();
        let mut first = Command::new("sh")
            .args(["-c", line])
            .env(name, value)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let leader = i32::try_from(first.id()).unwrap();
        let session = (0..200).find_map(|_| {
            thread::sleep(Duration::from_millis(25));
            Session::led_by(leader, "/")
        });
        let session = session.unwrap();
        let members = || {
            let all = processes_of("/", &mark).unwrap();
            all.iter()
                .filter(|process| process.stat.session == leader && !process.is_marked)
                .count()
        };
        assert!((0..200).any(|_| {
            thread::sleep(Duration::from_millis(25));
            members() == 1
        }));
        drop(first.stdin.take());
        assert!(!first.wait().unwrap().success());

        assert!(end("/", &mark, None).unwrap().is_empty());
        assert_eq!(members(), 1);
        assert_eq!(end("/", &mark, Some(session)).unwrap().len(), 1);
        assert_eq!(members(), 0);
        assert_eq!(Session::led_by(leader, "/"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Session::led_by(own, &"ab".repeat(32)), None);
    }
}
