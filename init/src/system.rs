//! Calls of the C library that the standard library does not offer: processes other than one's own children,
//! and signals.

use std::{
    io,
    sync::atomic::{AtomicI32, Ordering},
};

/// SIGKILL, which no process can keep off.
const KILL: i32 = 9;

/// SIGTERM: the end that an engine asks for.
const TERMINATE: i32 = 15;

/// Signals that are passed on: HUP, INT, QUIT, USR1, USR2, TERM, CONT, WINCH. Their numbers are those of
/// Linux on every architecture that the loader knows.
const PASSED_ON: [i32; 8] = [1, 2, 3, 10, 12, TERMINATE, 18, 28];

/// `PR_SET_DUMPABLE`.
const SET_DUMPABLE: i32 = 4;

/// `PR_SET_CHILD_SUBREAPER`.
const SET_CHILD_SUBREAPER: i32 = 36;

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
    fn kill(process: i32, number: i32) -> i32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
}

/// Number of the process that signals are passed on to; zero for none, [`OVER`] after its end.
static RECEIVER: AtomicI32 = AtomicI32::new(0);

/// The receiver has ended: SIGTERM releases this process.
const OVER: i32 = -1;

/// Set by SIGTERM after the receiver's end.
static RELEASED: AtomicI32 = AtomicI32::new(0);

/// Closes this process to others of its user: neither its memory nor its open files can be read, and nobody
/// can trace it. Only a process with `CAP_SYS_PTRACE` in the container's own user namespace could, and no
/// container of Assay has that.
pub(crate) fn hide() -> io::Result<()> {
    // SAFETY: the option takes one number, and changes this process's attribute only.
    match unsafe { prctl(SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns true if this is the first process of its namespace, whose end is the end of all others.
fn is_first() -> bool {
    std::process::id() == 1
}

/// Makes this process the parent of orphans, as the first process of a namespace is anyway.
pub(crate) fn adopt_orphans() {
    if !is_first() {
        // SAFETY: the option takes one number. Where it fails, orphans go to another parent.
        unsafe { prctl(SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64) };
    }
}

extern "C" fn pass_on(number: i32) {
    match RECEIVER.load(Ordering::SeqCst) {
        OVER if number == TERMINATE => RELEASED.store(1, Ordering::SeqCst),
        // SAFETY: `kill` may be called in a handler, and the number is one of a child.
        receiver if receiver > 0 => unsafe {
            kill(receiver, number);
        },
        _ => (),
    }
}

/// Passes signals on to a child from now on.
pub(crate) fn pass_signals_to(child: u32) {
    RECEIVER.store(i32::try_from(child).unwrap_or(0), Ordering::SeqCst);
    let handler: extern "C" fn(i32) = pass_on;
    for number in PASSED_ON {
        // SAFETY: the handler is a function of the expected kind that lives as long as the process.
        unsafe { signal(number, handler as usize) };
    }
}

/// Ends the passing on: from now on SIGTERM sets [`is_released`].
pub(crate) fn stop_passing() {
    RECEIVER.store(OVER, Ordering::SeqCst);
    let handler: extern "C" fn(i32) = pass_on;
    // SAFETY: as above. No child was started if the handler was not set before.
    unsafe { signal(TERMINATE, handler as usize) };
}

/// Returns true after SIGTERM.
pub(crate) fn is_released() -> bool {
    RELEASED.load(Ordering::SeqCst) != 0
}

/// Sends SIGTERM to the first process of the namespace.
pub(crate) fn release_first() -> io::Result<()> {
    // SAFETY: the call has no pointers.
    match unsafe { kill(1, TERMINATE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills all that is left of a child: every other process of the namespace if this is its first one,
/// otherwise the child's group.
pub(crate) fn kill_rest(child: u32) {
    let group = match i32::try_from(child) {
        // Zero and one would be this process's own group, and everybody.
        Ok(child) if child > 1 => -child,
        _ => return,
    };
    let target = if is_first() { -1 } else { group };
    // SAFETY: the call has no pointers. For the first process -1 means its own namespace without itself.
    unsafe { kill(target, KILL) };
}

/// Waits for the end of any child, and returns its number and status; `None` if there is no child any more.
pub(crate) fn wait_any() -> Option<(u32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes the status only.
        let ended = unsafe { waitpid(-1, &raw mut status, 0) };
        match u32::try_from(ended) {
            Ok(ended) => return Some((ended, status)),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => (),
            Err(_) => return None,
        }
    }
}
