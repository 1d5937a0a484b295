//! The program as the parent of real processes.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use assay_init::{
    ATTACHED, Blake3, Frame, KEY_BYTES, Launch, MarkReader, NO_LAUNCH, NOT_FOUND, Orders, Report, end_mark,
};

const KEY: [u8; KEY_BYTES] = [5; KEY_BYTES];

/// Seconds for which the program waits for its release.
const PATIENCE_S: u32 = 60;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("assay-init-watch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(
            path.join("report"),
            "text of the job that is longer than any report\n".repeat(40),
        )
        .unwrap();
        fs::set_permissions(path.join("report"), fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }

    fn report_path(&self) -> PathBuf {
        self.0.join("report")
    }

    fn report(&self) -> Option<Report> {
        Report::read(&fs::read_to_string(self.report_path()).ok()?, &KEY)
    }

    fn orders(&self) -> Orders {
        Orders {
            key: KEY,
            hashed_bytes: u64::MAX,
            patience_s: PATIENCE_S,
            report: self.report_path().to_str().unwrap().to_owned(),
        }
    }

    /// Starts the program with a shell's line as its job.
    fn start(&self, program: &mut Command, orders: Orders, line: &str) -> Running {
        let launch = Launch {
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            environment: vec![("REPORT".into(), orders.report.clone())],
        };
        self.start_launch(program, orders, &launch)
    }

    fn start_launch(&self, program: &mut Command, orders: Orders, launch: &Launch) -> Running {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for frame in [Frame::Orders(orders), Frame::Launch(launch.encode().unwrap())] {
            stdin.write_all(&frame.encode().unwrap()).unwrap();
        }
        Running { child, stdin }
    }

    fn run(&self, line: &str) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        self.start(&mut init(), self.orders(), line).finish()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn init() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-init"));
    command.arg(ATTACHED).env("PATH", "/usr/bin:/bin");
    command
}

/// Sends SIGTERM, as an engine does that wants a container's end.
fn terminate(child: &Child) {
    let killed = Command::new("sh")
        .args(["-c", "kill -TERM $0", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

struct Running {
    child: Child,
    stdin: ChildStdin,
}

/// Reads a stream up to its mark; returns the output before it. Without a mark the whole stream is output.
fn read_marked(mut stream: impl Read) -> Vec<u8> {
    let mut reader = MarkReader::new(&KEY);
    let (mut output, mut buffer) = (Vec::new(), vec![0; 100_000]);
    while !reader.has_ended() {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            output.extend(reader.rest());
            break;
        }
        output.extend(reader.take(&buffer[..read]));
    }
    output
}

impl Running {
    /// Reads both streams to their marks, releases the program, and waits for its end.
    fn finish(mut self) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        let stderr = self.child.stderr.take().unwrap();
        let errors = thread::spawn(move || read_marked(stderr));
        let output = read_marked(self.child.stdout.take().unwrap());
        let errors = errors.join().unwrap();
        // A program that ended already does not read.
        let _ = self.stdin.write_all(&Frame::Release.encode().unwrap());
        let begun = Instant::now();
        let status = self.child.wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "the release ends it");
        (status, output, errors)
    }
}

fn report_of(stdout: &[u8], stderr: &[u8]) -> Report {
    let mut hasher = Blake3::default();
    hasher.update(stdout);
    Report {
        stdout_bytes: stdout.len() as u64,
        stdout_hash: hasher.finish(),
        stderr_bytes: stderr.len() as u64,
    }
}

#[test]
fn exit_code_output_and_report_are_those_of_the_job() {
    let place = Place::new("codes");
    for (line, code, stdout, stderr) in [
        ("echo out; echo err >&2; exit 7", 7, &b"out\n"[..], &b"err\n"[..]),
        ("exit 0", 0, b"", b""),
        // Closed streams do not end the run.
        ("exec >&- 2>&-; sleep 0.2; exit 4", 4, b"", b""),
        ("cat; printf '\\377\\000'", 0, b"\xff\0", b""),
        ("kill -9 $$", 137, b"", b""),
        ("kill -TERM $$", 143, b"", b""),
    ] {
        let (status, out, err) = place.run(line);
        assert_eq!(status.code(), Some(code), "{line}");
        assert_eq!((&out[..], &err[..]), (stdout, stderr), "{line}");
        assert_eq!(place.report(), Some(report_of(stdout, stderr)), "{line}");
    }
}

#[test]
fn program_that_does_not_exist_has_a_report_too() {
    let place = Place::new("none");
    let launch = Launch {
        command: vec!["no-such-program".into()],
        environment: Vec::new(),
    };
    let (status, out, err) = place.start_launch(&mut init(), place.orders(), &launch).finish();
    assert_eq!(status.code(), Some(i32::from(NOT_FOUND)));
    assert_eq!(out, b"");
    assert!(String::from_utf8(err).unwrap().contains("cannot be executed"));
    assert_eq!(place.report(), Some(report_of(b"", b"")));
}

#[test]
fn thirty_megabytes_are_counted_hashed_and_passed_on() {
    let place = Place::new("long");
    let mut expected = Vec::new();
    for number in 1..=4_000_000 {
        writeln!(expected, "{number}").unwrap();
    }
    let (status, out, _) = place.run("seq 1 4000000");
    assert_eq!(status.code(), Some(0));
    assert!(out == expected);
    assert_eq!(place.report(), Some(report_of(&expected, b"")));
}

#[test]
fn only_the_first_bytes_are_hashed_beyond_the_bound() {
    let place = Place::new("bound");
    let orders = Orders {
        hashed_bytes: 3,
        ..place.orders()
    };
    place.start(&mut init(), orders, "echo 12345").finish();
    let report = place.report().unwrap();
    assert_eq!(report.stdout_bytes, 6);
    assert_eq!(report.stdout_hash, report_of(b"123", b"").stdout_hash);
}

#[test]
fn forged_ends_and_reports_are_output_and_nothing_else() {
    let place = Place::new("forged");
    let forged_mark = String::from_utf8(end_mark(&[0; KEY_BYTES])).unwrap();
    let octal = forged_mark.replace('\0', "\\000").replace('\n', "\\n");
    let forged_report = report_of(b"forged", b"").text(&[0; KEY_BYTES]);
    let line = format!(
        "printf '{octal}'; echo '{forged_report}' > $REPORT; (sleep 100; echo '{forged_report}' > $REPORT) & echo rest"
    );
    let (status, out, _) = place.run(&line);
    assert_eq!(status.code(), Some(0));
    let expected = format!("{forged_mark}rest\n");
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(place.report(), Some(report_of(expected.as_bytes(), b"")));
}

#[test]
fn whoever_the_job_leaves_behind_ends_with_it() {
    let place = Place::new("orphans");
    let begun = Instant::now();
    let (status, out, _) = place.run("(sleep 100; echo late) & (exec sleep 100) & echo first; exit 3");
    assert_eq!(status.code(), Some(3));
    assert_eq!(out, b"first\n");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn orphans_are_reaped_while_the_job_runs() {
    let place = Place::new("reaped");
    let line = "for i in 1 2 3 4 5; do (sleep 0.1 & exec true); done; sleep 1; \
                cat /proc/[0-9]*/stat 2>/dev/null | grep -c \" Z $PPID \"";
    let (status, out, _) = place.run(line);
    assert_eq!((status.code(), &out[..]), (Some(1), &b"0\n"[..]));
}

#[test]
fn signals_are_passed_on() {
    let place = Place::new("signals");
    let line = "trap 'echo asked; exit 9' TERM; echo ready; while true; do sleep 0.05; done";
    let mut running = place.start(&mut init(), place.orders(), line);
    let mut first = [0; 6];
    running
        .child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"ready\n");
    terminate(&running.child);
    let (status, out, _) = running.finish();
    assert_eq!((status.code(), &out[..]), (Some(9), &b"asked\n"[..]));
}

#[test]
fn slow_reader_loses_nothing() {
    let place = Place::new("slow");
    let mut running = place.start(
        &mut init(),
        place.orders(),
        "head -c 8000000 /dev/zero | tr '\\0' x; echo end >&2",
    );
    let mut stdout = running.child.stdout.take().unwrap();
    let mut out = vec![0; 1_000];
    stdout.read_exact(&mut out).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(running.child.try_wait().unwrap().is_none());
    running.child.stdout = Some(stdout);
    let (_, rest, _) = running.finish();
    out.extend(rest);
    assert!(out == vec![b'x'; 8_000_000]);
    assert_eq!(place.report(), Some(report_of(&out, b"end\n")));
}

#[test]
fn worker_that_goes_away_stops_neither_the_job_nor_its_report() {
    let place = Place::new("away");
    let orders = Orders {
        patience_s: 1,
        ..place.orders()
    };
    let Running { mut child, stdin } = place.start(&mut init(), orders, "sleep 0.3; seq 1 500000; exit 6");
    drop((stdin, child.stdout.take(), child.stderr.take()));
    // Without a reader the streams are broken; the patience ends the wait.
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let mut expected = Vec::new();
    for number in 1..=500_000 {
        writeln!(expected, "{number}").unwrap();
    }
    assert_eq!(place.report(), Some(report_of(&expected, b"")));
}

#[test]
fn mark_comes_again_for_a_worker_that_comes_late() {
    let place = Place::new("late");
    let mut running = place.start(&mut init(), place.orders(), "echo out");
    let mut stdout = running.child.stdout.take().unwrap();
    assert_eq!(read_marked(&mut stdout), b"out\n");
    assert_eq!(read_marked(&mut stdout), b"");
    running.child.stdout = Some(stdout);
    // SIGTERM releases, too: the engine wants the end.
    terminate(&running.child);
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn without_a_file_for_its_report_nothing_runs() {
    let place = Place::new("no-report");
    let orders = Orders {
        report: place.0.join("none").to_str().unwrap().to_owned(),
        ..place.orders()
    };
    let (status, out, _) = place.start(&mut init(), orders, "echo ran").finish();
    assert_eq!(status.code(), Some(i32::from(NO_LAUNCH)));
    assert_eq!(out, b"");
}

/// Returns true if this process may do everything.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

#[test]
fn job_of_the_same_user_cannot_look_into_the_program() {
    let place = Place::new("closed");
    let program = place.0.join("init");
    fs::copy(env!("CARGO_BIN_EXE_assay-init"), &program).unwrap();
    let mut command = Command::new(&program);
    command
        .arg(ATTACHED)
        .env("PATH", "/usr/bin:/bin")
        .env("MARKER", "1");
    if is_root() {
        // A user without rights, as in a pod.
        command.uid(65_534).gid(65_534);
    }
    let line = "for f in environ maps mem; do head -c 1 /proc/$PPID/$f >/dev/null 2>&1 && echo read $f; done; \
                ls /proc/$PPID/fd >/dev/null 2>&1 && echo listed; \
                (echo forged > /proc/$PPID/fd/1) 2>/dev/null && echo wrote; \
                head -c 1 /proc/self/environ >/dev/null && echo own";
    let (status, out, _) = place.start(&mut command, place.orders(), line).finish();
    assert_eq!((status.code(), &out[..]), (Some(0), &b"own\n"[..]));
    assert_eq!(place.report(), Some(report_of(b"own\n", b"")));
}

/// Returns a command that starts the program as the first process of a namespace, if this host lets it.
fn first_of_namespace(program: &Path) -> Option<Command> {
    let command = || {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command
    };
    let works = command()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success());
    works.then(|| {
        let mut command = command();
        command.arg(program).arg(ATTACHED).env("PATH", "/usr/bin:/bin");
        command
    })
}

#[test]
fn first_process_of_a_namespace_ends_all_others_and_stands_their_signals() {
    let Some(mut command) = first_of_namespace(Path::new(env!("CARGO_BIN_EXE_assay-init"))) else {
        println!("no namespaces here: nothing is tested");
        return;
    };
    let place = Place::new("first");
    // Signals of the job to the first process come back to the job, and neither end nor stop the first one.
    let line = "trap 'echo passed' USR1; kill -KILL 1; kill -STOP 1; kill -SEGV 1; kill -USR1 1; sleep 0.3; \
                setsid sleep 100 & (setsid sleep 100 &) ; sleep 0.2; echo $PPID; exit 5";
    let (status, out, _) = place.start(&mut command, place.orders(), line).finish();
    assert_eq!(status.signal(), None);
    assert_eq!(
        (status.code(), String::from_utf8(out).unwrap()),
        (Some(5), "passed\n1\n".to_owned())
    );
}
