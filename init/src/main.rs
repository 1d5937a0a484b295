//! Sets the environment of a job and becomes its program, or its parent; see the library beside it.

use std::{
    env, fs,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use assay_init::{
    ATTACHED, CANNOT_EXECUTE, Frame, Greeting, LAUNCH, Launch, NO_LAUNCH, NOT_FOUND, NOTHING, Orders,
    SECRETS_FOLDER, devices_seen, find_program, hide, merged_environment, release_first, send_folder, watch,
};

/// Time in which a target of a greeting is reached, or counts as out of reach.
const TARGET_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let word = env::args_os().nth(1);
    match word {
        Some(word) if word == NOTHING => ExitCode::SUCCESS,
        Some(word) if word == ATTACHED => match attached() {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("assay-init: no launch came: {error}");
                ExitCode::from(NO_LAUNCH)
            }
        },
        _ => ExitCode::from(tell_failure(&become_program(&[]))),
    }
}

/// Tells why the job's program does not run, and returns the exit code for that.
fn tell_failure(error: &io::Error) -> u8 {
    // The host's disk keeps standard error, so the message has no part of the launch.
    eprintln!("assay-init: the job's program cannot be executed: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    }
}

/// Request that ends the greetings.
enum Wish {
    Launch { orders: Option<Orders>, launch: Vec<u8> },
    Release,
}

/// Serves the worker over standard input; returns the exit code.
fn attached() -> io::Result<u8> {
    // Before any secret comes: the job will run as the same user.
    hide()?;
    match await_wish()? {
        Wish::Release => release_first().map(|()| 0),
        Wish::Launch { orders: None, launch } => Ok(tell_failure(&become_program(&launch))),
        Wish::Launch {
            orders: Some(orders),
            launch,
        } => match prepare(&launch) {
            Ok(command) => watch(command, &orders, tell_failure),
            // One that cannot be started ends as one that was: with a report.
            Err(error) => watch(Command::new(""), &orders, |_| tell_failure(&error)),
        },
    }
}

/// Answers greetings, writes secrets and sends folders until the launch comes, or the word that none will.
fn await_wish() -> io::Result<Wish> {
    let mut input = io::stdin().lock();
    let mut orders = None;
    loop {
        match Frame::read(&mut input)? {
            Frame::Hello { number, targets } => {
                let greeting = Greeting {
                    number,
                    devices: devices_seen(),
                    reached: reached(targets),
                };
                let line = greeting.line();
                let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
                stdout.write_all(line.as_bytes())?;
                stdout.flush()?;
                stderr.write_all(line.as_bytes())?;
            }
            Frame::Secret { name, content } => {
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o444)
                    .open(Path::new(SECRETS_FOLDER).join(name))?;
                file.write_all(&content)?;
            }
            Frame::Orders(given) => orders = Some(given),
            Frame::Collect { key, disk, below } => {
                let mut output = io::stdout().lock();
                send_folder(&mut output, &key, Path::new(&disk), &below)?;
            }
            Frame::Release => return Ok(Wish::Release),
            Frame::Launch(launch) => return Ok(Wish::Launch { orders, launch }),
        }
    }
}

/// Returns the targets that accept a connection, after trying all of them at once. A refusal may come from
/// the network's rules, and proves nothing.
fn reached(targets: Vec<String>) -> Vec<String> {
    let attempts: Vec<_> = targets
        .into_iter()
        .filter_map(|target| Some((target.parse::<SocketAddr>().ok()?, target)))
        .map(|(address, target)| {
            thread::spawn(move || {
                let attempt = TcpStream::connect_timeout(&address, TARGET_TIMEOUT);
                attempt.is_ok().then_some(target)
            })
        })
        .collect();
    attempts
        .into_iter()
        .filter_map(|attempt| attempt.join().ok().flatten())
        .collect()
}

/// Executes the job's program; returns only if that fails. An empty launch lies in its file.
fn become_program(launch: &[u8]) -> io::Error {
    match prepare(launch) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

fn prepare(launch: &[u8]) -> io::Result<Command> {
    let launch = match launch {
        [] => Launch::decode(&fs::read(LAUNCH)?),
        bytes => Launch::decode(bytes),
    };
    let launch = launch.map_err(io::Error::other)?;
    let environment = merged_environment(env::vars_os(), launch.environment);
    let (word, arguments) = launch.command.split_first().ok_or(io::ErrorKind::InvalidData)?;
    let path = environment
        .iter()
        .find(|(name, _)| *name == "PATH")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    let mut command = Command::new(find_program(word, &path)?);
    command
        .arg0(word)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null());
    Ok(command)
}
