//! A test's own Podman service, on the storage of the service that all tests share.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// The Podman service; ends with the test.
pub(crate) struct OwnService {
    process: Child,
    /// Path of its socket.
    pub(crate) socket: String,
}

impl OwnService {
    /// Returns the Podman command from `ASSAY_TEST_ENGINE_COMMAND`, one word per line.
    pub(crate) fn command() -> Option<Command> {
        let text = std::env::var("ASSAY_TEST_ENGINE_COMMAND").ok()?;
        let mut words = text.lines();
        let mut command = Command::new(words.next()?);
        command.args(words);
        Some(command)
    }

    /// Starts a service with its socket in a folder, if there is a Podman; it answers a little later.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        Self::start_with(folder, &[])
    }

    /// Starts a service with more environment variables, passed to `env`, with which the command begins.
    pub(crate) fn start_with(folder: &Path, variables: &[String]) -> Option<Self> {
        let command = Self::command().map(|shared| {
            let words: Vec<_> = shared.get_args().map(ToOwned::to_owned).collect();
            let options = words.iter().take_while(|word| **word != "podman").count();
            let mut command = Command::new(shared.get_program());
            command
                .args(&words[..options])
                .args(variables)
                .args(&words[options..]);
            command
        });
        let Some(mut command) = command else {
            println!("no engine of one's own: set ASSAY_TEST_ENGINE_COMMAND");
            return None;
        };
        let socket = folder.join("own.sock").display().to_string();
        let process = command
            .args(["system", "service", "--time=0", &format!("unix://{socket}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { process, socket })
    }

    /// Kills the service at once, like a crash.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Drop for OwnService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
