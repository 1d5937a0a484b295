//! The folder in which the worker keeps what must survive it.
//!
//! `lock` keeps a second worker out; `chain.json` says which chain the folder belongs to and how far that chain was
//! seen; `machine` is its number, `worker_keys` are those that served it from here, and `reward_address` is what the
//! chain was last told; `jobs/` holds the notes and results of jobs. Keys lie there too unless the configuration says
//! otherwise.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::jobs::{JobStore, read_if_present, write_whole};

/// A state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("the state folder {} cannot be used: {source}; check its owner, or name another with `assay.state_dir`", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another worker uses it.
    #[error(
        "the state folder {} belongs to a worker that runs already; stop that one, or give each machine its own \
         `assay.state_dir`",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// It was used with another chain.
    #[error(
        "the state folder {} belongs to the chain with genesis 0x{recorded}, and the node's chain has 0x{found}; \
         correct `assay.chain_url`, or name another folder with `assay.state_dir`",
        path.display()
    )]
    OtherChain {
        /// The folder.
        path: PathBuf,
        /// The genesis hash that the folder belongs to, hexadecimal.
        recorded: String,
        /// The genesis hash of the node's chain, hexadecimal.
        found: String,
    },
}

/// How far a chain was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenChain {
    genesis_hash: String,
    highest_block: u64,
}

/// A state folder that this process alone uses.
pub struct StateFolder {
    path: PathBuf,
    jobs: JobStore,
    // Held open: the lock ends with the process, however that ends.
    _lock: fs::File,
}

impl StateFolder {
    /// Takes a folder, which is created when absent, for this process.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = fs::File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let jobs = JobStore::open(path.join("jobs")).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            jobs,
            _lock: lock,
        })
    }

    /// The notes and results of jobs.
    pub fn jobs(&self) -> &JobStore {
        &self.jobs
    }

    /// Binds the folder to a chain, or checks that it belongs to it; returns the highest block that was ever seen.
    pub fn bind(&self, genesis_hash: [u8; 32]) -> Result<u64, StateError> {
        let found = hex::encode(genesis_hash);
        match self.seen()? {
            Some(seen) if seen.genesis_hash == found => Ok(seen.highest_block),
            Some(seen) => Err(StateError::OtherChain {
                path: self.path.clone(),
                recorded: seen.genesis_hash,
                found,
            }),
            None => {
                self.note_block(genesis_hash, 0)?;
                Ok(0)
            }
        }
    }

    /// Notes how far the chain was seen.
    pub fn note_block(&self, genesis_hash: [u8; 32], highest_block: u64) -> Result<(), StateError> {
        let seen = SeenChain {
            genesis_hash: hex::encode(genesis_hash),
            highest_block,
        };
        let bytes = serde_json::to_vec(&seen).map_err(|error| self.failed(io::Error::other(error)))?;
        write_whole(&self.path, "chain.json", &bytes).map_err(|error| self.failed(error))
    }

    /// The machine that this worker once found registered, if any.
    pub fn registered_machine(&self) -> Result<Option<u64>, StateError> {
        noted_machine(&self.path)
    }

    /// Notes that a machine is registered, so that it is not registered again when it is retired.
    pub fn note_machine(&self, machine: u64) -> Result<(), StateError> {
        if self.registered_machine()? == Some(machine) {
            return Ok(());
        }
        write_whole(&self.path, "machine", machine.to_string().as_bytes()).map_err(|error| self.failed(error))
    }

    /// Notes that a worker key serves the machine, and returns the hexadecimal public parts of those that did so before
    /// it: their containers are this machine's still.
    pub fn note_worker_key(&self, public: &[u8; 32]) -> Result<Vec<String>, StateError> {
        let bytes = read_if_present(&self.path.join("worker_keys")).map_err(|error| self.failed(error))?;
        let mut keys: Vec<String> = bytes
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(|error| self.failed(io::Error::other(format!("worker_keys: {error}"))))?
            .unwrap_or_default();
        let key = hex::encode(public);
        if !keys.contains(&key) {
            keys.push(key.clone());
            let bytes = serde_json::to_vec(&keys).map_err(|error| self.failed(io::Error::other(error)))?;
            write_whole(&self.path, "worker_keys", &bytes).map_err(|error| self.failed(error))?;
        }
        keys.retain(|known| *known != key);
        Ok(keys)
    }

    /// The reward address that the chain was last told, as `worker.yaml` spells addresses.
    pub fn told_reward_address(&self) -> Result<Option<Vec<u8>>, StateError> {
        read_if_present(&self.path.join("reward_address")).map_err(|error| self.failed(error))
    }

    /// Notes the reward address that the chain was told.
    pub fn note_reward_address(&self, address: &[u8]) -> Result<(), StateError> {
        write_whole(&self.path, "reward_address", address).map_err(|error| self.failed(error))
    }

    fn seen(&self) -> Result<Option<SeenChain>, StateError> {
        let bytes = read_if_present(&self.path.join("chain.json")).map_err(|error| self.failed(error))?;
        bytes
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(|error| self.failed(io::Error::other(format!("chain.json: {error}"))))
    }

    fn failed(&self, source: io::Error) -> StateError {
        StateError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// The machine that the worker of a state folder once found registered, if any; the folder may be in use.
pub fn noted_machine(folder: &Path) -> Result<Option<u64>, StateError> {
    let failed = |source| StateError::Io {
        path: folder.to_owned(),
        source,
    };
    read_if_present(&folder.join("machine"))
        .map_err(failed)?
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|error| failed(io::Error::other(format!("machine: {error}"))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(
            StateFolder::open(folder.path()),
            Err(StateError::Locked { .. })
        ));
        drop(state);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn folder_belongs_to_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.bind([1; 32]).unwrap(), 0);
        state.note_block([1; 32], 9).unwrap();
        assert_eq!(state.bind([1; 32]).unwrap(), 9);
        assert!(matches!(state.bind([2; 32]), Err(StateError::OtherChain { .. })));
        assert_eq!(state.registered_machine().unwrap(), None);
        state.note_machine(7).unwrap();
        assert_eq!(state.registered_machine().unwrap(), Some(7));
        assert_eq!(noted_machine(folder.path()).unwrap(), Some(7));
        assert_eq!(state.told_reward_address().unwrap(), None);
        state.note_reward_address(b"address").unwrap();
        assert_eq!(state.told_reward_address().unwrap().unwrap(), b"address");
    }

    #[test]
    fn folder_remembers_earlier_worker_keys() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert!(state.note_worker_key(&[1; 32]).unwrap().is_empty());
        assert!(state.note_worker_key(&[1; 32]).unwrap().is_empty());
        assert_eq!(state.note_worker_key(&[2; 32]).unwrap(), ["01".repeat(32)]);
        assert_eq!(state.note_worker_key(&[1; 32]).unwrap(), ["02".repeat(32)]);
    }
}
