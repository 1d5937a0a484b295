//! Sets the environment of a sealed job and becomes its program; see the library beside it.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use assay_init::{CANNOT_EXECUTE, LAUNCH, Launch, NOT_FOUND, find_program, merged_environment};

fn main() -> ExitCode {
    let error = become_program();
    // The host's disk keeps standard error, so the message has no part of the launch.
    eprintln!("assay-init: the job's program cannot be executed: {error}");
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    })
}

/// Executes the job's program; returns only if that fails.
fn become_program() -> io::Error {
    match prepare() {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

fn prepare() -> io::Result<Command> {
    let launch = Launch::decode(&fs::read(LAUNCH)?).map_err(io::Error::other)?;
    let environment = merged_environment(std::env::vars_os(), launch.environment);
    let (word, arguments) = launch.command.split_first().ok_or(io::ErrorKind::InvalidData)?;
    let path = environment
        .iter()
        .find(|(name, _)| *name == "PATH")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    let mut command = Command::new(find_program(word, &path)?);
    command.arg0(word).args(arguments).env_clear().envs(environment);
    Ok(command)
}
