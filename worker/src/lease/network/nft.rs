//! Runs `nft`, the program of nftables.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command};

/// Name of the program, also of its Debian package's main part.
const PROGRAM: &str = "nft";

/// Folders besides those of `PATH`: a service's `PATH` may lack them.
const FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Timeout of one call.
const PATIENCE: Duration = Duration::from_secs(20);

/// Maximum length of an error that is quoted, in bytes.
const MAX_QUOTE_BYTES: usize = 400;

/// Reason why the firewall could not be changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NftError {
    /// The program is not installed.
    #[error("the program `nft` is missing; install nftables (on Debian `apt-get install nftables`)")]
    Missing,
    /// The program failed.
    #[error("`nft` failed: {0}")]
    Failed(String),
}

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Nft {
    program: PathBuf,
}

impl Nft {
    /// Finds the program.
    pub(super) fn find() -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(FOLDERS.iter().map(PathBuf::from))
            .map(|folder| folder.join(PROGRAM))
            .find(|program| is_program(program))
            .map(|program| Self { program })
            .ok_or(NftError::Missing)
    }

    /// Carries out commands as one transaction: all of them or none.
    pub(super) async fn apply(&self, commands: &str) -> Result<(), NftError> {
        self.run(&["-f", "-"], commands).await.map(drop)
    }

    /// Has the kernel judge commands without carrying them out.
    pub(super) async fn judge(&self, commands: &str) -> Result<(), NftError> {
        self.run(&["-c", "-f", "-"], commands).await.map(drop)
    }

    /// Returns a table's rules as text, without counters and without the content of sets; `None` if there is
    /// no such table.
    pub(super) async fn rules(&self, table: &str) -> Result<Option<String>, NftError> {
        match self.run(&["-s", "-t", "list", "table", "inet", table], "").await {
            Ok(text) => Ok(Some(text)),
            Err(NftError::Failed(reason)) if reason.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a table with all that is in it, if there is one.
    pub(super) async fn remove_table(&self, table: &str) -> Result<(), NftError> {
        self.apply(&format!("add table inet {table}\ndelete table inet {table}\n"))
            .await
    }

    async fn run(&self, words: &[&str], input: &str) -> Result<String, NftError> {
        let failed = |error: std::io::Error| NftError::Failed(error.to_string());
        let mut child = Command::new(&self.program)
            .args(words)
            // Its messages are compared.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let running = async {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading its input says why in its output.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(PATIENCE, running)
            .await
            .map_err(|_| NftError::Failed(format!("no end within {} seconds", PATIENCE.as_secs())))?
            .map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = &output.stderr[..output.stderr.len().min(MAX_QUOTE_BYTES)];
        Err(NftError::Failed(
            String::from_utf8_lossy(errors).trim().to_owned(),
        ))
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
