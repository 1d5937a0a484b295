//! First program in a container at an engine that gives it no folder of the host (Kubernetes).
//!
//! A ConfigMap has room for 1 MiB, and the static `assay-init` is larger. This program is a few KiB, without
//! any library: it reads `assay-init` from standard input into a file in memory, and becomes it.
//!
//! ```text
//! --nothing                            ends at once, with success
//! --attached                           reads a length (four bytes, little endian) and a program of that
//!                                      length, becomes it with the same arguments, and leaves it the rest
//! --with COUNT NAME=VALUE… PROGRAM …   becomes the program with these variables before the container's
//! ```
//!
//! It is not a part of the workspace: the worker's build script compiles it by rustc alone.
#![no_std]
#![no_main]

use core::{
    arch::{asm, global_asm},
    ffi::CStr,
    panic::PanicInfo,
    ptr,
};

/// Exit code if no program came, see `assay_init::NO_LAUNCH`.
const NO_LAUNCH: usize = 125;

/// Exit code if the program cannot be executed, as shells have it.
const CANNOT_EXECUTE: usize = 126;

/// Maximum length of the program, in bytes.
const MAX_PROGRAM_BYTES: usize = 64 * 1_024 * 1_024;

/// Maximum number of variables and their end.
const MAX_VARIABLES: usize = 4_096;

/// Maximum length of a program's path with its end, in bytes.
const MAX_PATH_BYTES: usize = 4_096;

/// Folders of programs where the container sets no `PATH`.
const DEFAULT_PATH: &CStr = c"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `AT_EMPTY_PATH`: execute the open file itself.
const EMPTY_PATH: usize = 0x1000;

/// `MFD_CLOEXEC`: the program does not inherit the file that it came from.
const CLOSE_ON_EXEC: usize = 1;

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub(super) const READ: usize = 0;
    pub(super) const WRITE: usize = 1;
    pub(super) const EXECVE: usize = 59;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const MEMFD_CREATE: usize = 319;
    pub(super) const EXECVEAT: usize = 322;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub(super) const READ: usize = 63;
    pub(super) const WRITE: usize = 64;
    pub(super) const EXECVE: usize = 221;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const MEMFD_CREATE: usize = 279;
    pub(super) const EXECVEAT: usize = 281;
}

// The kernel starts a program with its arguments on the stack, and no call has aligned it.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {begin}",
    "brk #1",
    begin = sym begin,
);

/// Makes a system call.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the caller passes what the kernel expects of this call.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the caller passes what the kernel expects of this call.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: the call has no pointers, and does not return.
        unsafe { call(numbers::EXIT_GROUP, code, 0, 0, 0, 0) };
    }
}

fn fail(message: &[u8], code: usize) -> ! {
    // SAFETY: the message is as long as it is said to be.
    unsafe { call(numbers::WRITE, 2, message.as_ptr() as usize, message.len(), 0, 0) };
    exit(code)
}

/// `EINTR`.
const INTERRUPTED: isize = -4;

/// Fills a buffer from standard input.
fn read_exact(buffer: &mut [u8]) -> bool {
    let mut done = 0;
    while done < buffer.len() {
        let Some(rest) = buffer.get_mut(done..) else {
            return false;
        };
        // SAFETY: the kernel writes to the rest of the buffer only.
        let read = unsafe { call(numbers::READ, 0, rest.as_mut_ptr() as usize, rest.len(), 0, 0) };
        match usize::try_from(read) {
            Ok(0) => return false,
            Ok(read) => done = done.saturating_add(read),
            Err(_) if read == INTERRUPTED => (),
            Err(_) => return false,
        }
    }
    true
}

/// Writes a buffer to a file.
fn write_all(file: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads from the buffer only.
        let written = unsafe { call(numbers::WRITE, file, bytes.as_ptr() as usize, bytes.len(), 0, 0) };
        match usize::try_from(written) {
            Ok(0) => return false,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) if written == INTERRUPTED => (),
            Err(_) => return false,
        }
    }
    true
}

/// Arguments and variables as the kernel laid them on the stack: pointers to texts, each list with a null at
/// its end.
struct Start {
    argument_count: usize,
    arguments: *const *const u8,
    variables: *const *const u8,
}

impl Start {
    /// Returns an argument; `None` behind the last one.
    fn argument(&self, index: usize) -> Option<&CStr> {
        if index >= self.argument_count {
            return None;
        }
        // SAFETY: the kernel laid down this many arguments, each with a NUL byte at its end.
        unsafe { Some(CStr::from_ptr((*self.arguments.add(index)).cast())) }
    }
}

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the layout of the stack at a program's start is part of the kernel's interface.
    let start = unsafe {
        let argument_count = *stack;
        let arguments = stack.add(1).cast::<*const u8>();
        Start {
            argument_count,
            arguments,
            variables: arguments.add(argument_count + 1),
        }
    };
    match start.argument(1).map(CStr::to_bytes) {
        Some(b"--nothing") => exit(0),
        Some(b"--attached") => load(&start),
        Some(b"--with") => run_with(&start),
        _ => fail(b"assay-loader: the worker starts this program\n", NO_LAUNCH),
    }
}

/// Reads a program from standard input and becomes it.
fn load(start: &Start) -> ! {
    let none = || -> ! { fail(b"assay-loader: no program came\n", NO_LAUNCH) };
    let mut length = [0; 4];
    if !read_exact(&mut length) {
        none();
    }
    let mut left = u32::from_le_bytes(length) as usize;
    if left > MAX_PROGRAM_BYTES {
        none();
    }
    let name = c"assay-init";
    // SAFETY: the name has a NUL byte at its end.
    let file = unsafe { call(numbers::MEMFD_CREATE, name.as_ptr() as usize, CLOSE_ON_EXEC, 0, 0, 0) };
    let Ok(file) = usize::try_from(file) else {
        fail(b"assay-loader: the kernel gives no file in memory\n", CANNOT_EXECUTE)
    };
    let mut chunk = [0; 16 * 1_024];
    while left > 0 {
        let wanted = left.min(chunk.len());
        let Some(part) = chunk.get_mut(..wanted) else { none() };
        if !read_exact(part) || !write_all(file, part) {
            none();
        }
        left -= wanted;
    }
    // SAFETY: both lists are those of this program, and the path is an empty text.
    unsafe {
        call(
            numbers::EXECVEAT,
            file,
            c"".as_ptr() as usize,
            start.arguments as usize,
            start.variables as usize,
            EMPTY_PATH,
        )
    };
    fail(b"assay-loader: assay-init cannot be executed\n", CANNOT_EXECUTE)
}

/// Becomes a program with further variables.
fn run_with(start: &Start) -> ! {
    let bad = || -> ! { fail(b"assay-loader: bad arguments\n", CANNOT_EXECUTE) };
    let Some(count) = start.argument(2).and_then(|text| number(text.to_bytes())) else {
        bad()
    };
    let program_at = count.saturating_add(3);
    let Some(program) = start.argument(program_at) else { bad() };
    // The first of two values for a name counts.
    let mut variables = [ptr::null::<u8>(); MAX_VARIABLES];
    let mut next = 0;
    let mut add = |variable: *const u8| {
        // The last place stays null: it is the end of the list.
        if next + 1 < MAX_VARIABLES
            && let Some(place) = variables.get_mut(next)
        {
            *place = variable;
            next += 1;
        }
    };
    for index in 3..program_at {
        if let Some(variable) = start.argument(index) {
            add(variable.as_ptr().cast());
        }
    }
    let mut path = DEFAULT_PATH;
    let mut at = start.variables;
    // SAFETY: the list of variables ends with a null, and each has a NUL byte at its end.
    unsafe {
        while !(*at).is_null() {
            let text = CStr::from_ptr((*at).cast());
            if text.to_bytes().starts_with(b"PATH=") {
                path = CStr::from_ptr((*at).add(5).cast());
            }
            add(*at);
            at = at.add(1);
        }
    }
    // SAFETY: the program's position is within the arguments.
    let arguments = unsafe { start.arguments.add(program_at) };
    let execute = |file: *const u8| {
        // SAFETY: the path has a NUL byte at its end, and both lists a null.
        unsafe {
            call(
                numbers::EXECVE,
                file as usize,
                arguments as usize,
                variables.as_ptr() as usize,
                0,
                0,
            )
        };
    };
    let name = program.to_bytes();
    if name.contains(&b'/') {
        execute(program.as_ptr().cast());
    } else {
        for folder in path.to_bytes().split(|byte| *byte == b':') {
            let mut file = [0; MAX_PATH_BYTES];
            if join(&mut file, folder, name) {
                execute(file.as_ptr());
            }
        }
    }
    fail(b"the command cannot be executed\n", 127)
}

/// Writes `folder/name` with a NUL byte at its end; returns false if it does not fit.
fn join(file: &mut [u8], folder: &[u8], name: &[u8]) -> bool {
    let bytes = folder.iter().chain(b"/").chain(name);
    let length = folder.len().saturating_add(name.len()).saturating_add(1);
    if length >= file.len() {
        return false;
    }
    for (place, byte) in file.iter_mut().zip(bytes) {
        *place = *byte;
    }
    true
}

/// Reads a number of at most three digits.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 3 {
        return None;
    }
    text.iter().try_fold(0usize, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + usize::from(byte - b'0'))
    })
}

// The compiler makes calls of these for copies and comparisons, and there is no library that has them.

/// Copies bytes that do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    let mut index = 0;
    while index < length {
        // SAFETY: the caller gives this much room in both places. Volatile, or this loop becomes a call of
        // itself.
        unsafe { ptr::write_volatile(to.add(index), ptr::read_volatile(from.add(index))) };
        index += 1;
    }
    to
}

/// Fills bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    let mut index = 0;
    while index < length {
        // SAFETY: the caller gives this much room.
        unsafe { ptr::write_volatile(to.add(index), value as u8) };
        index += 1;
    }
    to
}

/// Compares bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    let mut index = 0;
    while index < length {
        // SAFETY: the caller gives this much room in both places.
        let (a, b) = unsafe { (ptr::read_volatile(one.add(index)), ptr::read_volatile(other.add(index))) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        index += 1;
    }
    0
}

/// Compares bytes for equality.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: the same as of the caller.
    unsafe { memcmp(one, other, length) }
}

/// Returns the length of a text.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the text has a NUL byte at its end.
    while unsafe { ptr::read_volatile(text.add(length)) } != 0 {
        length += 1;
    }
    length
}

/// Part of unwinding that the compiled core library names. Nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(CANNOT_EXECUTE)
}
