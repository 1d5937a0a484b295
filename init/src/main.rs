//! Sets the environment of a job and becomes its program; see the library beside it.

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
    ATTACHED, CANNOT_EXECUTE, Frame, Greeting, LAUNCH, Launch, NO_LAUNCH, NOT_FOUND, NOTHING, SECRETS_FOLDER,
    find_program, merged_environment,
};

/// Time in which a target of a greeting is reached, or counts as out of reach.
const TARGET_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let word = env::args_os().nth(1);
    let launch = match word {
        Some(word) if word == NOTHING => return ExitCode::SUCCESS,
        Some(word) if word == ATTACHED => match await_launch() {
            Ok(launch) => launch,
            Err(error) => {
                eprintln!("assay-init: no launch came: {error}");
                return ExitCode::from(NO_LAUNCH);
            }
        },
        _ => Vec::new(),
    };
    let error = become_program(&launch);
    // The host's disk keeps standard error, so the message has no part of the launch.
    eprintln!("assay-init: the job's program cannot be executed: {error}");
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    })
}

/// Answers greetings and writes secrets until the launch comes, and returns its bytes.
fn await_launch() -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    loop {
        match Frame::read(&mut input)? {
            Frame::Hello { number, targets } => {
                let greeting = Greeting {
                    number,
                    devices: env::var("NVIDIA_VISIBLE_DEVICES").unwrap_or_default(),
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
            Frame::Launch(launch) => return Ok(launch),
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
