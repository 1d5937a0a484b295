//! Containers whose removal was cut off.
//!
//! An engine that dies while it removes a container leaves it in the state `removing` for good. With Podman
//! its name stays taken, so that the job gets no other container, and the Docker-compatible list fails as a
//! whole because one container has no storage. So the worker lists by Podman's own API where the other list
//! fails, and removes containers again that have been in that state for too long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::query_parameters::RemoveContainerOptionsBuilder;
use hyper::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    DockerEngine, EngineError, LABEL_WORKER,
    docker::{is_not_found, of_wire},
    wire::{Wire, WireError, filters},
};

/// Time that a removal may take before it counts as cut off, and pause between two attempts at finishing it.
/// An engine that is still at the first one only refuses the second.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// Containers that are being removed, each with the time of its first sight, by the worker's key and the
/// engine's identifier. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals(Arc<Mutex<HashMap<(String, String), Instant>>>);

impl Removals {
    /// Notes which containers of a worker are being removed, and returns those whose removal was cut off.
    fn overdue(&self, worker: &str, removing: &[&str]) -> Vec<String> {
        let now = Instant::now();
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|(owner, id), _| owner != worker || removing.contains(&id.as_str()));
        let mut overdue = Vec::new();
        for id in removing {
            let key = (worker.to_owned(), (*id).to_owned());
            let waited_since = since.entry(key).or_insert(now);
            if now.duration_since(*waited_since) >= REMOVAL_PATIENCE {
                *waited_since = now;
                overdue.push((*id).to_owned());
            }
        }
        overdue
    }
}

impl DockerEngine {
    /// Returns the engine's list of a worker's containers, ended ones too. This is a request of our own,
    /// whose entries are read one by one: an unreadable entry must not hide the others.
    pub(super) async fn entries(&self, worker: &str) -> Result<Vec<Value>, EngineError> {
        let filters = filters("label", &format!("{LABEL_WORKER}={worker}"));
        let query = format!("containers/json?all=true&filters={filters}");
        let error = match self.entries_at(&format!("/{query}")).await {
            Ok(entries) => return Ok(entries),
            Err(error) => error,
        };
        if matches!(error, WireError::Status { .. })
            && let Ok(entries) = self.entries_at(&format!("/v4.0.0/libpod/{query}")).await
        {
            return Ok(entries);
        }
        Err(of_wire(&self.endpoint, "list containers", &error))
    }

    async fn entries_at(&self, path: &str) -> Result<Vec<Value>, WireError> {
        let mut wire = Wire::open(&self.endpoint).await?;
        wire.json(Method::GET, path).await
    }

    /// Removes again, in tasks of their own, the listed containers whose removal was cut off.
    pub(super) fn finish_removals(&self, worker: &str, entries: &[Value]) {
        let removing: Vec<&str> = entries
            .iter()
            .filter(|entry| text(entry, "State") == Some("removing"))
            .filter_map(|entry| text(entry, "Id"))
            .filter(|id| !id.is_empty())
            .collect();
        for id in self.removals.overdue(worker, &removing) {
            let engine = self.clone();
            tokio::spawn(async move {
                match engine.remove_by_force(&id).await {
                    Ok(()) => tracing::warn!(
                        container = id,
                        "the engine had removed a container by half, and has now removed it whole"
                    ),
                    Err(error) => tracing::warn!(
                        container = id,
                        %error,
                        "the engine has removed a container by half; trying again"
                    ),
                }
            });
        }
    }

    /// Removes a container in any state. Succeeds if there is none.
    async fn remove_by_force(&self, id: &str) -> Result<(), EngineError> {
        self.call("remove the container", |docker| async move {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(id, Some(options)).await {
                Err(error) if is_not_found(&error) => Ok(()),
                other => other,
            }
        })
        .await?;
        self.change_runs(|runs| drop(runs.remove(id)));
        Ok(())
    }
}

/// Returns a text of an entry of the engine's list.
fn text<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn removal_that_lasts_too_long_is_finished_again_and_again() {
        let removals = Removals::default();
        let none = Vec::<String>::new();
        assert_eq!(removals.overdue("worker", &["a"]), none);
        tokio::time::advance(REMOVAL_PATIENCE).await;
        assert_eq!(removals.overdue("another worker", &["b"]), none);
        assert_eq!(removals.overdue("worker", &["a", "c"]), ["a"]);
        assert_eq!(
            removals.overdue("worker", &["a", "c"]),
            none,
            "one attempt at a time"
        );
        tokio::time::advance(REMOVAL_PATIENCE).await;
        assert_eq!(removals.overdue("worker", &["a"]), ["a"]);
        assert_eq!(removals.overdue("worker", &[]), none);
        tokio::time::advance(REMOVAL_PATIENCE).await;
        assert_eq!(removals.overdue("worker", &["a"]), none, "it was gone meanwhile");
        assert_eq!(removals.overdue("another worker", &["b"]), ["b"]);
    }
}
