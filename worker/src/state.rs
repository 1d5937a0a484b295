//! The folder with the worker's persistent state.
//!
//! `lock` keeps a second worker out; `chain.json` names the chain that the folder belongs to and the highest
//! block seen; `machine` is the machine's number, `worker_keys` are the keys that served it from here, and
//! `reward_address` is the address last sent to the chain; `devices.json` is the ledger of slots and devices;
//! `jobs/` holds the notes and results of jobs. Keys are there too unless the configuration says otherwise.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    devices::LEDGER_FILE,
    files::{Disk, DiskStatus, Found, named, put_aside_of, read_if_present},
    jobs::{JOB_FILES, JobStore},
};

/// File with the chain that the folder belongs to, and the highest block seen.
const CHAIN: &str = "chain.json";

/// File with the number of the registered machine.
const MACHINE: &str = "machine";

/// File with the public parts of all worker keys that served the machine from here.
const WORKER_KEYS: &str = "worker_keys";

/// File with the reward address last sent to the chain.
const REWARD_ADDRESS: &str = "reward_address";

/// Reason why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused to read or write it.
    #[error("the state folder cannot be used: {0}; check its owner, or name another with `assay.state_dir`")]
    Io(#[from] io::Error),
    /// Another worker uses the folder.
    #[error(
        "the state folder {} belongs to a worker that runs already; stop that one, or give each machine its own \
         `assay.state_dir`",
        path.display()
    )]
    Locked {
        /// Path of the folder.
        path: PathBuf,
    },
    /// The folder belongs to another chain.
    #[error(
        "the state folder {} belongs to the chain with genesis 0x{recorded}, and the node's chain has 0x{found}; \
         correct `assay.chain_url`, or name another folder with `assay.state_dir`",
        path.display()
    )]
    OtherChain {
        /// Path of the folder.
        path: PathBuf,
        /// Genesis hash of the folder's chain, hexadecimal.
        recorded: String,
        /// Genesis hash of the node's chain, hexadecimal.
        found: String,
    },
}

/// A chain and the highest block seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenChain {
    genesis_hash: String,
    highest_block: u64,
}

/// The machine that a state folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotedMachine {
    /// No machine was registered yet.
    None,
    /// Number of the registered machine.
    Known(u64),
    /// The number was lost, because its file is corrupted.
    Lost {
        /// Paths at which the corrupted file is kept.
        kept_as: Vec<PathBuf>,
    },
}

impl NotedMachine {
    /// Creates the value for a corrupted file.
    fn lost(path: &Path) -> Self {
        let mut kept_as = put_aside_of(path);
        if path.exists() {
            kept_as.insert(0, path.to_owned());
        }
        Self::Lost { kept_as }
    }

    /// Returns the instructions if the chain has no machine for the worker key and the number of an earlier
    /// one is lost.
    ///
    /// Registering once more would bond once more, so the worker does not guess.
    pub fn remedy(kept_as: &[PathBuf]) -> String {
        let files: Vec<_> = kept_as.iter().map(|path| path.display().to_string()).collect();
        format!(
            "the file with the number of this worker's machine was broken (kept as {}), and the chain has no machine for \
             the worker key, so the worker cannot tell whether it has one. If it had, write its number into the file \
             `{MACHINE}` beside; if it never had, delete the broken one. The worker checks again every half minute",
            files.join(", ")
        )
    }
}

/// A state folder that this process alone uses.
///
/// A failed write is reported in the log and in the status, and ends nothing: every fact is read again from
/// the chain, or requested again from the provider.
pub struct StateFolder {
    path: PathBuf,
    jobs: JobStore,
    disk: Disk,
    // Held open: the lock ends with the process, even after a crash.
    _lock: fs::File,
}

impl StateFolder {
    /// Locks a folder for this process, and creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|error| named("create", path, error))?;
        let lock_path = path.join("lock");
        let lock = open_lock(&lock_path).map_err(|error| named("open", &lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(fs::TryLockError::Error(error)) => return Err(named("lock", &lock_path, error).into()),
        }
        let disk = Disk::default();
        disk.probe(path);
        Ok(Self {
            path: path.to_owned(),
            jobs: JobStore::on(path.join("jobs"), disk.clone()),
            disk,
            _lock: lock,
        })
    }

    /// Returns the store of the jobs' notes and results.
    pub fn jobs(&self) -> &JobStore {
        &self.jobs
    }

    /// Returns the folder's disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Tests whether the folder can be written.
    pub fn probe(&self) -> DiskStatus {
        self.disk.probe(&self.path)
    }

    /// Binds the folder to a chain, or checks that it belongs to it; returns the highest block ever seen.
    pub fn bind(&self, genesis_hash: [u8; 32]) -> Result<u64, StateError> {
        let found = hex::encode(genesis_hash);
        match self.read::<SeenChain>(CHAIN).whole() {
            Some(seen) if seen.genesis_hash == found => Ok(seen.highest_block),
            Some(seen) => Err(other_chain(&self.path, seen, found)),
            None => {
                self.note_block(genesis_hash, 0);
                Ok(0)
            }
        }
    }

    /// Notes the highest block seen.
    pub fn note_block(&self, genesis_hash: [u8; 32], highest_block: u64) {
        self.write_json(
            CHAIN,
            &SeenChain {
                genesis_hash: hex::encode(genesis_hash),
                highest_block,
            },
        );
    }

    /// Returns the machine that this worker once found registered.
    pub fn registered_machine(&self) -> NotedMachine {
        match self.read(MACHINE) {
            Found::Whole(machine) => NotedMachine::Known(machine),
            Found::Broken => NotedMachine::lost(&self.path.join(MACHINE)),
            Found::Nothing => NotedMachine::None,
        }
    }

    /// Notes that a machine is registered, so that it is not registered again after it was retired. Call it
    /// only for a machine in a finalized block: a registration that is reverted must be made again.
    pub fn note_machine(&self, machine: u64) {
        if self.read(MACHINE) != Found::Whole(machine) {
            self.write_json(MACHINE, &machine);
        }
    }

    /// Returns the worker keys, hexadecimal, that served the machine from here, in chronological order.
    pub fn known_worker_keys(&self) -> Vec<String> {
        self.read(WORKER_KEYS).whole().unwrap_or_default()
    }

    /// Notes that a worker key serves the machine, and returns the hexadecimal public parts of the earlier
    /// keys, whose containers still belong to this machine.
    pub fn note_worker_key(&self, public: &[u8; 32]) -> Vec<String> {
        let mut keys = self.known_worker_keys();
        let key = hex::encode(public);
        if !keys.contains(&key) {
            keys.push(key.clone());
            self.write_json(WORKER_KEYS, &keys);
        }
        keys.retain(|known| *known != key);
        keys
    }

    /// Returns the reward address last sent to the chain, as spelled in `worker.yaml`.
    pub fn told_reward_address(&self) -> Option<Vec<u8>> {
        read_if_present(&self.path.join(REWARD_ADDRESS)).unwrap_or_else(|error| {
            tracing::warn!(%error, "reading the noted reward address failed; sending it to the chain again");
            None
        })
    }

    /// Notes the reward address that was sent to the chain.
    pub fn note_reward_address(&self, address: &[u8]) {
        self.disk.write_if_possible(&self.path, REWARD_ADDRESS, address);
    }

    /// Reads a file; it counts as corrupted if the system cannot read it.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Found<T> {
        self.disk
            .read_json(&self.path.join(name))
            .unwrap_or_else(|error| {
                tracing::error!(%error, "reading a state file failed; going on without it");
                Found::Broken
            })
    }

    fn write_json(&self, name: &str, content: &impl Serialize) {
        match serde_json::to_vec(content) {
            Ok(bytes) => self.disk.write_if_possible(&self.path, name, &bytes),
            Err(error) => tracing::error!(name, %error, "encoding a state file failed"),
        }
    }
}

/// Opens the lock file; read-only if it exists already on a disk that takes no writes.
fn open_lock(path: &Path) -> io::Result<fs::File> {
    let opened = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    opened.or_else(|error| fs::File::open(path).map_err(|_| error))
}

fn other_chain(path: &Path, seen: SeenChain, found: String) -> StateError {
    StateError::OtherChain {
        path: path.to_owned(),
        recorded: seen.genesis_hash,
        found,
    }
}

/// Checks that no worker that runs has a state folder. Nothing in it is changed.
pub fn ensure_free(folder: &Path) -> Result<(), StateError> {
    let lock_path = folder.join("lock");
    let lock = match fs::File::open(&lock_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| named("open", &lock_path, error))?,
    };
    // Shared, so that two that look do not disturb each other. It ends with this function.
    match lock.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked {
            path: folder.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(named("lock", &lock_path, error).into()),
    }
}

/// Checks that a state folder belongs to the chain with this genesis, or to none yet. The folder may be in
/// use; nothing in it is changed.
pub fn ensure_of_chain(folder: &Path, genesis_hash: [u8; 32]) -> Result<(), StateError> {
    let found = hex::encode(genesis_hash);
    let seen = read_if_present(&folder.join(CHAIN))
        .ok()
        .flatten()
        .and_then(|bytes| serde_json::from_slice::<SeenChain>(&bytes).ok());
    match seen {
        Some(seen) if seen.genesis_hash != found => Err(other_chain(folder, seen, found)),
        _ => Ok(()),
    }
}

/// Returns the machine that the worker of a state folder once found registered. The folder may be in use;
/// nothing in it is changed.
pub fn noted_machine(folder: &Path) -> NotedMachine {
    let path = folder.join(MACHINE);
    match read_if_present(&path) {
        Ok(None) if put_aside_of(&path).is_empty() => NotedMachine::None,
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_or_else(|_| NotedMachine::lost(&path), NotedMachine::Known)
        }
        Ok(None) | Err(_) => NotedMachine::lost(&path),
    }
}

/// Returns the worker keys, hexadecimal, that a state folder was used with. The folder may be in use; nothing
/// in it is changed.
pub fn noted_worker_keys(folder: &Path) -> Vec<String> {
    let bytes = read_if_present(&folder.join(WORKER_KEYS)).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Returns the files of a state folder that were put aside as corrupted.
pub fn broken_files(folder: &Path) -> Vec<PathBuf> {
    let of = |folder: &Path, names: &[&str]| -> Vec<PathBuf> {
        names
            .iter()
            .flat_map(|name| put_aside_of(&folder.join(name)))
            .collect()
    };
    let mut broken = of(folder, &[CHAIN, MACHINE, WORKER_KEYS, LEDGER_FILE]);
    let jobs = JobStore::on(folder.join("jobs"), Disk::default());
    for job in jobs.known_jobs().unwrap_or_default() {
        broken.extend(of(&jobs.folder_of(job), &JOB_FILES));
    }
    broken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::files::tests::SmallDisk;

    #[test]
    fn folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(
            StateFolder::open(folder.path()),
            Err(StateError::Locked { .. })
        ));
        assert!(matches!(
            ensure_free(folder.path()),
            Err(StateError::Locked { .. })
        ));
        drop(state);
        ensure_free(folder.path()).unwrap();
        ensure_free(&folder.path().join("none")).unwrap();
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn folder_belongs_to_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.bind([1; 32]).unwrap(), 0);
        state.note_block([1; 32], 9);
        assert_eq!(state.bind([1; 32]).unwrap(), 9);
        assert!(matches!(state.bind([2; 32]), Err(StateError::OtherChain { .. })));
        ensure_of_chain(folder.path(), [1; 32]).unwrap();
        assert!(matches!(
            ensure_of_chain(folder.path(), [2; 32]),
            Err(StateError::OtherChain { .. })
        ));
        ensure_of_chain(&folder.path().join("none"), [2; 32]).unwrap();
        assert_eq!(state.registered_machine(), NotedMachine::None);
        state.note_machine(7);
        assert_eq!(state.registered_machine(), NotedMachine::Known(7));
        assert_eq!(noted_machine(folder.path()), NotedMachine::Known(7));
        assert_eq!(state.told_reward_address(), None);
        state.note_reward_address(b"address");
        assert_eq!(state.told_reward_address().unwrap(), b"address");
    }

    #[test]
    fn folder_remembers_earlier_worker_keys() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert!(state.note_worker_key(&[1; 32]).is_empty());
        assert!(state.note_worker_key(&[1; 32]).is_empty());
        assert_eq!(state.note_worker_key(&[2; 32]), ["01".repeat(32)]);
        assert_eq!(state.note_worker_key(&[1; 32]), ["02".repeat(32)]);
    }

    #[test]
    fn broken_files_end_nothing_and_are_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.bind([1; 32]).unwrap();
        state.note_machine(7);
        state.note_worker_key(&[1; 32]);
        for name in [CHAIN, MACHINE, WORKER_KEYS] {
            fs::write(folder.path().join(name), "{\"half").unwrap();
        }
        assert_eq!(
            noted_machine(folder.path()),
            NotedMachine::Lost {
                kept_as: vec![folder.path().join(MACHINE)]
            }
        );
        assert_eq!(state.bind([1; 32]).unwrap(), 0);
        assert!(state.note_worker_key(&[2; 32]).is_empty());
        let kept_as = vec![folder.path().join("machine.broken-0")];
        let lost = NotedMachine::Lost {
            kept_as: kept_as.clone(),
        };
        assert_eq!(state.registered_machine(), lost);
        assert_eq!(noted_machine(folder.path()), lost, "also for who looks later");
        assert!(NotedMachine::remedy(&kept_as).contains("machine.broken-0"));
        assert_eq!(state.disk().status().broken_files.len(), 3);
        assert_eq!(broken_files(folder.path()).len(), 3);
        // The machine is found by its worker key, and then its number is known again.
        state.note_machine(7);
        assert_eq!(state.registered_machine(), NotedMachine::Known(7));
    }

    #[test]
    fn full_or_read_only_disk_keeps_the_folder_usable() {
        let Some(small) = SmallDisk::mount() else { return };
        let folder = small.path().join("state");
        let state = StateFolder::open(&folder).unwrap();
        state.note_machine(7);
        assert_eq!(state.bind([1; 32]).unwrap(), 0);
        let ballast = small.fill();
        // The file that is there has its block's room; a new one has none.
        state.note_reward_address(&[b'a'; 8_192]);
        assert!(!state.disk().status().writable);
        assert_eq!(
            state.told_reward_address(),
            None,
            "nothing is said to be written that is not"
        );
        assert_eq!(state.bind([1; 32]).unwrap(), 0);
        drop(state);

        small.make_read_only(true);
        let state = StateFolder::open(&folder).unwrap();
        assert!(state.disk().problem().is_some(), "known from the start");
        assert_eq!(state.registered_machine(), NotedMachine::Known(7));
        assert!(matches!(
            StateFolder::open(&folder),
            Err(StateError::Locked { .. })
        ));
        state.note_block([1; 32], 5);
        small.make_read_only(false);
        fs::remove_file(ballast).unwrap();
        assert!(state.probe().writable);
        state.note_block([1; 32], 6);
        assert_eq!(state.bind([1; 32]).unwrap(), 6);
    }
}
