//! Things of the host that only somebody who got out of a container finds.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::{
            net::{SocketAddr, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

/// Content of the host's file that no job may read.
pub(crate) const SECRET: &str = "what only the host knows";

/// Returns a text that no other test of this machine uses at this time.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("escapes-{}-{number}", std::process::id())
}

/// A file, an abstract socket, a process and shared memory; they end with the test.
pub(crate) struct Host {
    name: String,
    mark: PathBuf,
    shared: PathBuf,
    process: Child,
    _socket: UnixListener,
}

impl Host {
    /// Makes them; the file lies in a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let name = unique();
        let (mark, shared) = (folder.join("mark"), Path::new("/dev/shm").join(&name));
        for path in [&mark, &shared] {
            std::fs::write(path, SECRET).unwrap();
        }
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let process = Command::new("sleep")
            .arg0(&name)
            .arg("120")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            _socket: UnixListener::bind_addr(&address).unwrap(),
            name,
            mark,
            shared,
            process,
        }
    }

    /// Returns the variables that tell the attempts what to look for.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        [
            ("ESCAPES_MARK", self.mark.display().to_string()),
            ("ESCAPES_SECRET", SECRET.to_owned()),
            ("ESCAPES_NAME", self.name.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.shared);
    }
}
