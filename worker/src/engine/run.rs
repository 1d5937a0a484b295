//! One run of a container, from its start to its end, as the worker saw it.
//!
//! ```text
//! attach stream ── frames ──▶ Capture: BLAKE3 of standard output, beginnings in files ─┐
//! wait ─────────── exit code ───────────────────────────────────────────────────────────┼─▶ RunEnd ─▶ result
//! events ───────── killed by somebody? the engine gone? ────────────────────────────────┘
//! ```
//!
//! Each of the three has a connection of its own; the attach stream and the events are open before the
//! container is started. The container is subject to backpressure: while the worker does not read, the
//! container blocks in its write.
//!
//! A run ended *cleanly* if the engine process that answered before the start still answers [`SETTLE`] after
//! the end, reports the same exit code twice, and reported no kill or stop of the container. A reboot, an
//! engine that was stopped or died, and a killed monitor process (shim, `conmon`) each break one of these
//! conditions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assay_primitives::job::StdoutResult;
use http_body_util::BodyExt;
use hyper::{
    Method,
    body::{Bytes, Incoming},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    Capture, Container, ContainerState, EngineEndpoint, LABEL_DEVICES, LABEL_FINGERPRINT, LABEL_JOB,
    LABEL_SLOTS,
    wire::{Frames, Wire, WireError, filters},
};
use crate::devices::Holding;

/// Time for which the engine must stay alive after a container's end. An engine or a host that is shutting
/// down ends containers first and itself soon after.
const SETTLE: Duration = Duration::from_secs(2);

/// Timeout of reading the rest of the output after the container's end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum length of a line of the engine's events that is parsed, in bytes.
const MAX_EVENT_BYTES: usize = 64 * 1_024;

/// Exit codes of a first process that SIGKILL or SIGTERM ended, sent for the memory limit or from outside.
pub(super) const SIGNALLED: [i32; 2] = [137, 143];

/// End of a container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The process ended by itself, or by a signal that it caused.
    Clean(i32),
    /// SIGKILL or SIGTERM ended the process. Its own fault is possible but not certain: not every engine
    /// distinguishes the memory limit from other kills.
    Signalled(i32),
    /// The end was not seen, or the process that monitored the container ended with it.
    Unseen,
}

/// End of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// End of the first process.
    pub exit: Exit,
    /// Standard output, if every byte of it was seen.
    pub stdout: Option<StdoutResult>,
}

impl RunEnd {
    /// End of a run that was not seen.
    pub const UNSEEN: Self = Self {
        exit: Exit::Unseen,
        stdout: None,
    };
}

/// This process's observation of a container's present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFact {
    /// The run was started before this process, or not at all.
    Unwatched,
    /// The run is followed, and goes on or has just ended.
    Watched,
    /// The run ended.
    Ended(RunEnd),
}

/// Handle of the task that follows a run; the task goes on without it.
#[derive(Clone, Debug)]
pub(super) struct Run(watch::Receiver<Option<RunEnd>>);

impl Run {
    /// Follows the run of a container in a task of its own. `following` returns the run's end, and the reason
    /// if it was not seen.
    pub(super) fn spawn(
        id: String,
        following: impl Future<Output = (RunEnd, Option<String>)> + Send + 'static,
    ) -> Self {
        let (tell, run) = watch::channel(None);
        tokio::spawn(async move {
            let (end, reason) = following.await;
            if let Some(reason) = reason {
                tracing::info!(
                    container = id,
                    reason,
                    "a container's run was not seen to its end"
                );
            }
            tell.send_replace(Some(end));
            // Kept until no receiver is left: a channel without a sender means that the end was not seen.
            tell.closed().await;
        });
        Self(run)
    }

    pub(super) fn fact(&self) -> RunFact {
        match *self.0.borrow() {
            Some(end) => RunFact::Ended(end),
            // A follower that was dropped, as at the end of the process, saw nothing.
            None if self.0.has_changed().is_err() => RunFact::Ended(RunEnd::UNSEEN),
            None => RunFact::Watched,
        }
    }

    pub(super) async fn ended(mut self) -> RunEnd {
        match self.0.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(RunEnd::UNSEEN),
            Err(_) => RunEnd::UNSEEN,
        }
    }
}

/// Runs that this process started or follows, by the engine's identifier of the container. Clones share them:
/// runs outlive a connection to the chain, and with it the supervisor.
#[derive(Clone, Default)]
pub(super) struct Runs(Arc<Mutex<HashMap<String, Run>>>);

impl Runs {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut HashMap<String, Run>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what is known of each run. A list of containers must be asked for later than that: a container
    /// that is listed as running and followed must not have ended in between.
    pub(super) fn facts(&self) -> HashMap<String, RunFact> {
        self.change(|runs| runs.iter().map(|(id, run)| (id.clone(), run.fact())).collect())
    }

    /// Waits for the end of a container's run that this process started, and returns it.
    pub(super) async fn end(&self, id: &str) -> RunEnd {
        let run = self.change(|runs| runs.get(id).cloned());
        match run {
            Some(run) => run.ended().await,
            None => RunEnd::UNSEEN,
        }
    }
}

/// Connections by which a run is followed, open before it starts.
pub(super) struct Follower {
    id: String,
    wait: Wire,
    events: Option<Events>,
    /// `None` if it is no longer possible to attach to a run under way; its end can be waited for all the
    /// same.
    output: Option<Frames<TokioIo<Upgraded>>>,
    /// True if the output is followed from the first byte on.
    from_the_start: bool,
}

impl Follower {
    /// Opens the connections. `from_the_start` is true if the container does not run yet.
    pub(super) async fn connect(
        endpoint: &EngineEndpoint,
        id: &str,
        from_the_start: bool,
    ) -> Result<Self, WireError> {
        // Not every engine has events; one that has them ends that stream when it ends itself.
        let events = Events::listen(endpoint, id).await.ok();
        let attached = Wire::open(endpoint)
            .await?
            .attach(&format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1"))
            .await;
        let output = match attached {
            Ok(output) => Some(output),
            Err(_) if !from_the_start => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            id: id.to_owned(),
            wait: Wire::open(endpoint).await?,
            events,
            output,
            from_the_start,
        })
    }

    /// Records that the container was started already, perhaps before these connections were open: a start
    /// that was cancelled and repeated.
    pub(super) fn came_late(&mut self) {
        self.from_the_start = false;
    }

    /// Follows the run, which has started, in a task of its own.
    pub(super) fn follow(self, mut capture: Capture) -> Run {
        if !self.from_the_start {
            capture.note_late();
        }
        Run::spawn(self.id.clone(), self.follow_to_end(capture))
    }

    /// Returns the run's end, and the reason if it was not seen.
    async fn follow_to_end(self, mut capture: Capture) -> (RunEnd, Option<String>) {
        let Self {
            id,
            mut wait,
            events,
            output,
            from_the_start,
        } = self;
        let mut events = events.unwrap_or_default();
        let mut reading = std::pin::pin!(async move {
            let mut output = output.ok_or_else(|| WireError::Broken("the output is not attached".into()))?;
            while let Some((stream, bytes)) = output.next().await? {
                capture.take(stream, bytes);
            }
            Ok(capture)
        });
        let mut read = None;
        let waited = {
            let path = format!("/containers/{id}/wait?condition=not-running");
            let mut waiting = std::pin::pin!(wait.slow_json::<Waited>(Method::POST, &path));
            loop {
                tokio::select! {
                    ended = &mut reading, if read.is_none() => read = Some(ended),
                    answer = &mut waiting => break answer,
                    () = events.watch(), if events.is_connected() => (),
                }
            }
        };
        let unseen = |reason: String| (RunEnd::UNSEEN, Some(reason));
        let exit_code = match waited.map(Waited::exit_code) {
            Ok(Ok(exit_code)) => exit_code,
            Ok(Err(reason)) => return unseen(reason),
            Err(error) => return unseen(error.to_string()),
        };
        let read = match read {
            Some(read) => read,
            None => tokio::time::timeout(DRAIN_TIMEOUT, reading)
                .await
                .unwrap_or_else(|_| Err(WireError::Broken("the output does not end".into()))),
        };
        // Either the engine lives on and reports a kill of the container, or this connection sees the
        // engine's end.
        let _ = tokio::time::timeout(SETTLE, events.watch_on()).await;
        if let Some(reason) = events.fault() {
            return unseen(reason);
        }
        match wait
            .json::<Inspected>(Method::GET, &format!("/containers/{id}/json"))
            .await
        {
            Ok(found) if found.is_end_by(exit_code) => (),
            Ok(found) => {
                return unseen(format!(
                    "the container is {found:?} after it ended with {exit_code}"
                ));
            }
            Err(error) => return unseen(error.to_string()),
        }
        let exit = if SIGNALLED.contains(&exit_code) {
            Exit::Signalled(exit_code)
        } else {
            Exit::Clean(exit_code)
        };
        let (stdout, reason) = match read {
            Ok(capture) => (from_the_start.then(|| capture.finish()), None),
            Err(error) => (None, Some(format!("its output ended early: {error}"))),
        };
        (RunEnd { exit, stdout }, reason)
    }
}

/// Response to `wait`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i64,
    error: Option<WaitFault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WaitFault {
    #[serde(default)]
    message: String,
}

impl Waited {
    fn exit_code(self) -> Result<i32, String> {
        if let Some(fault) = self.error.filter(|fault| !fault.message.is_empty()) {
            return Err(fault.message);
        }
        u8::try_from(self.status_code)
            .map(i32::from)
            .map_err(|_| format!("{} is no exit code", self.status_code))
    }
}

/// Response to the inspection of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: InspectedState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    exit_code: i64,
    #[serde(default)]
    error: String,
}

impl Inspected {
    fn is_end_by(&self, exit_code: i32) -> bool {
        container_state(&self.state.status) == Some(ContainerState::Exited)
            && self.state.exit_code == i64::from(exit_code)
            && self.state.error.is_empty()
    }
}

/// Translates the engine's name of a container's state; `None` for a container that is being removed.
///
/// Knows the names of Docker and Podman; any other is [`ContainerState::Unknown`].
pub(super) fn container_state(word: &str) -> Option<ContainerState> {
    match word {
        "created" | "configured" | "initialized" => Some(ContainerState::Created),
        "running" => Some(ContainerState::Running),
        "paused" => Some(ContainerState::Paused),
        "exited" | "stopped" => Some(ContainerState::Exited),
        "restarting" | "stopping" | "dead" | "unknown" => Some(ContainerState::Stuck),
        "removing" => None,
        _ => Some(ContainerState::Unknown),
    }
}

/// Event stream of one container.
#[derive(Default)]
struct Events {
    connection: Option<(Wire, Incoming)>,
    line: Vec<u8>,
    fault: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
}

impl Events {
    async fn listen(endpoint: &EngineEndpoint, id: &str) -> Result<Self, WireError> {
        let mut wire = Wire::open(endpoint).await?;
        let body = wire
            .stream(&format!("/events?filters={}", filters("container", id)))
            .await?;
        Ok(Self {
            connection: Some((wire, body)),
            ..Self::default()
        })
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns the reason against a clean end, if there is one.
    fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    /// Reads events until the engine ends.
    async fn watch_on(&mut self) {
        while self.is_connected() {
            self.watch().await;
        }
        std::future::pending().await
    }

    /// Reads the next chunk of the event stream.
    async fn watch(&mut self) {
        let Some((_, body)) = &mut self.connection else {
            return std::future::pending().await;
        };
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.take(&data);
                }
            }
            Some(Err(_)) | None => {
                self.connection = None;
                self.fault.get_or_insert_with(|| "the engine ended".into());
            }
        }
    }

    fn take(&mut self, data: &Bytes) {
        for byte in data {
            if *byte != b'\n' {
                // A longer line is no event of interest, and its rest does not parse.
                if self.line.len() < MAX_EVENT_BYTES {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            if matches!(event.action.as_str(), "kill" | "stop" | "restart") {
                self.fault
                    .get_or_insert_with(|| format!("the engine was told to {} the container", event.action));
            }
        }
    }
}

/// A container in the engine's list.
pub(super) struct Listed {
    /// The engine's identifier of the container; empty if unreadable.
    id: String,
    job: u64,
    fingerprint: String,
    holding: Holding,
    /// The engine's name of the state; empty if missing.
    state: String,
}

impl Listed {
    /// Reads only the needed fields of a list entry; `None` if its labels name no job.
    pub(super) fn read(entry: Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let label = |name| entry.get("Labels")?.get(name).and_then(text);
        Some(Self {
            id: entry.get("Id").and_then(text).unwrap_or_default(),
            job: label(LABEL_JOB)?.parse().ok()?,
            fingerprint: label(LABEL_FINGERPRINT)?,
            holding: Holding::of_texts(
                &label(LABEL_SLOTS).unwrap_or_default(),
                &label(LABEL_DEVICES).unwrap_or_default(),
            ),
            state: entry.get("State").and_then(text).unwrap_or_default(),
        })
    }

    /// Translates the entry; `None` for a container that is being removed.
    pub(super) fn describe(self, fact: impl FnOnce(&str) -> RunFact) -> Option<Container> {
        let Self {
            id,
            job,
            fingerprint,
            holding,
            state: word,
        } = self;
        let state = container_state(&word)?;
        if state == ContainerState::Unknown {
            tracing::warn!(
                job,
                state = word,
                "a job's container is in a state that this worker does not know; leaving it alone"
            );
        }
        Some(Container {
            // A container without a name cannot be addressed.
            state: if id.is_empty() {
                ContainerState::Unknown
            } else {
                state
            },
            run: fact(&id),
            id,
            job,
            fingerprint,
            holding,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_state_that_an_engine_has_is_understood() {
        for (words, state) in [
            (
                &["created", "configured", "initialized"][..],
                Some(ContainerState::Created),
            ),
            (&["running"], Some(ContainerState::Running)),
            (&["paused"], Some(ContainerState::Paused)),
            (&["exited", "stopped"], Some(ContainerState::Exited)),
            (&["removing"], None),
            (
                &["restarting", "stopping", "dead", "unknown"],
                Some(ContainerState::Stuck),
            ),
            (&["", "a word of next year"], Some(ContainerState::Unknown)),
        ] {
            for word in words {
                assert_eq!(container_state(word), state, "{word}");
            }
        }
    }

    #[test]
    fn container_in_an_unknown_state_does_not_hide_the_others() {
        let text = r#"[
            {"Id":"a","State":"dreaming","Labels":{"assay.job":"1","assay.fingerprint":"x"}},
            {"Id":"b","State":"running","Labels":{"assay.job":"2","assay.fingerprint":"y"},"Ports":null},
            {"Id":"c","State":"running","Labels":null},
            {"Id":7,"State":[],"Labels":"none"},
            null,
            {"Id":"d","State":"removing","Labels":{"assay.job":"4","assay.fingerprint":"z"}}
        ]"#;
        let entries: Vec<Value> = serde_json::from_str(text).unwrap();
        let states: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| Listed::read(entry)?.describe(|_| RunFact::Unwatched))
            .map(|container| (container.id, container.job, container.state))
            .collect();
        assert_eq!(
            states,
            [
                ("a".to_owned(), 1, ContainerState::Unknown),
                ("b".to_owned(), 2, ContainerState::Running)
            ]
        );
    }

    #[test]
    fn exit_code_is_one_of_a_process() {
        let waited = |text: &str| serde_json::from_str::<Waited>(text).unwrap().exit_code();
        assert_eq!(waited(r#"{"StatusCode":3}"#), Ok(3));
        assert_eq!(waited(r#"{"StatusCode":137,"Error":null}"#), Ok(137));
        assert_eq!(waited(r#"{"StatusCode":0,"Error":{"Message":""}}"#), Ok(0));
        // Podman's answer after the process that monitored the container was killed.
        assert!(waited(r#"{"StatusCode":0,"Error":{"Message":"no such exit code"}}"#).is_err());
        assert!(waited(r#"{"StatusCode":-1}"#).is_err());
        assert!(waited(r#"{"StatusCode":256}"#).is_err());
    }

    #[test]
    fn kill_among_the_events_is_a_fault() {
        let fault = |pieces: &[&str]| {
            let mut events = Events::default();
            for piece in pieces {
                events.take(&Bytes::copy_from_slice(piece.as_bytes()));
            }
            events.fault()
        };
        assert_eq!(
            fault(&["{\"Action\":\"start\"}\n{\"Action\":\"die\"}\n", "nonsense\n"]),
            None
        );
        for action in ["kill", "stop", "restart"] {
            let told = fault(&[
                "{\"Action\":\"start\"}\n{\"Act",
                &format!("ion\":\"{action}\"}}\n"),
            ]);
            assert_eq!(
                told.unwrap(),
                format!("the engine was told to {action} the container")
            );
        }
    }
}
