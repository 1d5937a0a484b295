//! One run of a pod: the greeting, the launch, the output, the mark behind it, and the end.
//!
//! ```text
//! attached streams ── output ─▶ log                     ┐
//!                  ── mark ───▶ read the output folder, │
//!                               then let the pod end    ├─▶ RunEnd ─▶ result
//! pod's status ── exit code, assay-init's report ───────┘
//! ```
//!
//! A run ended *cleanly* if the container ended by itself, the node knows its exit code, nobody removed or
//! evicted the pod, and all of that still holds [`SETTLE`] later.

use std::{io, time::Duration};

use assay_client::manifest::Profile;
use assay_init::{Frame, Greeting, KEY_BYTES, Orders, Report};
use assay_primitives::job::MAX_RESULT_STDOUT_BYTES;
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    ContainerId, KubernetesEngine, LAUNCHED, LOOK_INTERVAL, MAX_FENCE_TARGETS,
    collect::OutputCopy,
    launch, launched, objects,
    objects::{ANNOTATION_REPORT_KEY, POD, REPORT_FILE, container_status},
    streams::{Attached, of_report, read_output},
};
use crate::{
    devices::Holding,
    engine::{
        Capture, CaptureTarget, EngineError, Exit, LABEL_DEVICES, LABEL_SLOTS, RunEnd,
        run::{Run, SIGNALLED},
    },
};

/// Time for which the end of a run must stay as it is.
const SETTLE: Duration = Duration::from_secs(2);

/// Timeout of the start of a pod whose image is there.
const START_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Time for which an obstacle that may pass is waited out.
const OBSTACLE_PATIENCE: Duration = Duration::from_secs(30);

/// Time in which the network's rules must be in force in a new pod.
const FENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of looks at a pod that runs.
const RUNNING_INTERVAL: Duration = Duration::from_secs(2);

/// Time in which the streams end after their container did.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for which a container waits for the worker after its job's end, so that the output is read to its
/// end. The result does not need it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time for which a container with an output folder waits for the worker after its job's end: the folder is
/// gone with it, and a host that is down is expected back within a day.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Port of the kubelet on each node.
const KUBELET_PORT: u16 = 10_250;

/// Service of the cloud for its machines, which must not answer a job.
const METADATA: &str = "169.254.169.254:80";

/// Returns the obstacle to a pod's start, if there is one.
pub(super) fn obstacle(pod: &Pod, action: &str) -> Option<EngineError> {
    let waiting = container_status(pod)
        .and_then(|status| status.state.as_ref())
        .and_then(|state| state.waiting.as_ref());
    if let Some(waiting) = waiting {
        let word = waiting.reason.clone().unwrap_or_default();
        let reason = match &waiting.message {
            Some(message) => format!("{word}: {message}"),
            None => word.clone(),
        };
        let action = action.to_owned();
        return match &*word {
            "" | "ContainerCreating" | "PodInitializing" => None,
            "InvalidImageName" | "CreateContainerConfigError" => {
                Some(EngineError::Refused { action, reason })
            }
            _ => Some(EngineError::Failed { action, reason }),
        };
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unscheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(EngineError::Failed {
        action: action.to_owned(),
        reason: format!(
            "the node cannot take the pod: {}",
            unscheduled.message.as_deref().unwrap_or("no reason is given")
        ),
    })
}

impl KubernetesEngine {
    /// Starts a container and follows its run. Runs in a task of its own, so that a cancelled caller does not
    /// leave a run behind that nobody follows.
    pub(super) async fn begin(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        let action = "start the container";
        let parsed = Self::id_of(id, action)?;
        let (engine, id) = (self.clone(), id.to_owned());
        let starting = tokio::spawn(async move { engine.begin_now(&id, &parsed, &output).await });
        starting.await.unwrap_or_else(|error| {
            Err(EngineError::Failed {
                action: action.into(),
                reason: error.to_string(),
            })
        })
    }

    async fn begin_now(
        &self,
        id: &str,
        parsed: &ContainerId,
        output: &CaptureTarget,
    ) -> Result<(), EngineError> {
        let action = "start the container";
        let namespace = self.namespace_of(parsed, action).await?;
        let pods: Api<Pod> = self.of(&parsed.namespace).await?;
        let present = self.connection.call(action, pods.get_opt(POD)).await?;
        let has_launch =
            |pod: &Pod| launched(&namespace).is_some() && pod.metadata.uid.as_ref() == launched(&namespace);
        if let Some(pod) = &present {
            if has_launch(pod) && objects::is_running(pod) {
                return self.follow_late(id, output).await;
            }
            if has_launch(pod) || objects::ending(pod).is_some() || pod.metadata.deletion_timestamp.is_some()
            {
                self.remove_pod(&parsed.namespace, 0).await?;
            }
        }
        // Without effect if it is there.
        self.make_pod(&parsed.namespace).await?;
        let pod = self.await_running(&pods).await?;
        self.note_address(id, &namespace, &pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let targets = self.fence_targets().await?;
        let broken = |error: io::Error| EngineError::Failed {
            action: action.into(),
            reason: error.to_string(),
        };
        let mut attached = self.attach(&pods, true).await?;
        attached
            .send(&launch::program().map_err(broken)?)
            .await
            .map_err(broken)?;
        self.await_fence(&mut attached, &namespace, &targets).await?;
        let key = random_key().map_err(broken)?;
        let copy = OutputCopy::of_namespace(&namespace);
        if let Some(copy) = &copy {
            copy.forget().await.map_err(broken)?;
        }
        let patience = if copy.is_some() { OUTPUT_PATIENCE } else { PATIENCE };
        let orders = Frame::Orders(Orders {
            key,
            hashed_bytes: MAX_RESULT_STDOUT_BYTES,
            patience_s: u32::try_from(patience.as_secs()).unwrap_or(u32::MAX),
            report: REPORT_FILE.to_owned(),
        });
        let orders = orders.encode().map_err(broken)?;
        let frames = launch::frames(&namespace).await?;
        // Written before the program runs: a run that is lost from here on was one.
        self.note_launch(parsed, &uid, &key).await?;
        attached.send(&orders).await.map_err(broken)?;
        attached.send(&frames).await.map_err(broken)?;
        let following = Following {
            pods,
            uid,
            key,
            copy,
            from_the_start: true,
        };
        let run = self.followed(id, following, attached, output);
        self.change_runs(|runs| drop(runs.insert(id.to_owned(), run)));
        Ok(())
    }

    /// Follows a run that is under way.
    pub(super) async fn follow_late(&self, id: &str, output: &CaptureTarget) -> Result<(), EngineError> {
        let action = "follow the container";
        let parsed = Self::id_of(id, action)?;
        let namespace = self.namespace_of(&parsed, action).await?;
        let pods: Api<Pod> = self.of(&parsed.namespace).await?;
        let pod = self.connection.call(action, pods.get(POD)).await?;
        self.note_address(id, &namespace, &pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let attached = self.attach(&pods, false).await?;
        let broken = |error: io::Error| EngineError::Failed {
            action: action.into(),
            reason: error.to_string(),
        };
        let following = Following {
            pods,
            uid,
            // One that nobody knows if it is not there: then nothing of the job passes for a report or a
            // mark.
            key: report_key(&namespace)
                .map_or_else(random_key, Ok)
                .map_err(broken)?,
            copy: OutputCopy::of_namespace(&namespace),
            from_the_start: false,
        };
        let run = self.followed(id, following, attached, output);
        self.change_runs(|runs| drop(runs.insert(id.to_owned(), run)));
        Ok(())
    }

    /// Waits until the container's first process runs.
    async fn await_running(&self, pods: &Api<Pod>) -> Result<Pod, EngineError> {
        let action = "start the container";
        let begun = Instant::now();
        let mut obstructed_since: Option<Instant> = None;
        loop {
            let pod = self.connection.call(action, pods.get(POD)).await?;
            if objects::is_running(&pod) {
                return Ok(pod);
            }
            if let Some(end) = objects::ending(&pod) {
                return Err(EngineError::Failed {
                    action: action.into(),
                    reason: format!("its first process ended before the launch: {end:?}"),
                });
            }
            match obstacle(&pod, action) {
                Some(error) if error.is_permanent() => return Err(error),
                Some(error) => {
                    let since = *obstructed_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= OBSTACLE_PATIENCE {
                        return Err(error);
                    }
                }
                None => obstructed_since = None,
            }
            if begun.elapsed() >= START_TIMEOUT {
                return Err(EngineError::Failed {
                    action: action.into(),
                    reason: format!(
                        "its pod does not run after {} minutes",
                        START_TIMEOUT.as_secs() / 60
                    ),
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Returns addresses that answer the worker and must not answer a job: where one does, the cluster does
    /// not enforce network policies.
    async fn fence_targets(&self) -> Result<Vec<String>, EngineError> {
        let action = "find the cluster's own addresses";
        let mut targets = vec![METADATA.to_owned()];
        let node: Node = self.node().await?;
        for address in node.status.unwrap_or_default().addresses.unwrap_or_default() {
            if address.type_ == "InternalIP" {
                targets.push(socket_address(&address.address, KUBELET_PORT));
            }
        }
        let endpoints: Api<Endpoints> = self.of("default").await?;
        let found = self
            .connection
            .call(action, endpoints.get_opt("kubernetes"))
            .await?;
        for subset in found.and_then(|found| found.subsets).unwrap_or_default() {
            let port = subset.ports.unwrap_or_default().into_iter().next();
            let port = port.and_then(|port| u16::try_from(port.port).ok()).unwrap_or(443);
            for address in subset.addresses.unwrap_or_default() {
                targets.push(socket_address(&address.ip, port));
            }
        }
        // A greeting tries sixteen.
        targets.truncate(8);
        targets.extend(
            self.settings
                .fence_targets
                .iter()
                .take(MAX_FENCE_TARGETS)
                .cloned(),
        );
        Ok(targets)
    }

    /// Waits until the network's rules are in force in the container, and checks its devices.
    async fn await_fence(
        &self,
        attached: &mut Attached,
        namespace: &Namespace,
        targets: &[String],
    ) -> Result<(), EngineError> {
        let action = "start the container";
        let end = Instant::now() + FENCE_TIMEOUT;
        let mut number: u32 = 1;
        loop {
            let greeting = attached
                .greet(number, targets)
                .await
                .map_err(|error| EngineError::Failed {
                    action: action.into(),
                    reason: error.to_string(),
                })?;
            if greeting.reached.is_empty() {
                return devices_fit(namespace, &greeting);
            }
            if Instant::now() >= end {
                return Err(EngineError::Refused {
                    action: action.into(),
                    reason: format!(
                        "the cluster does not enforce network policies: the container reaches {}; use a network plugin that \
                         does, such as Calico or Cilium",
                        greeting.reached.join(", ")
                    ),
                });
            }
            number = number.saturating_add(1);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Notes at a namespace that a pod has got its launch, and the key of its report. A job cannot read that:
    /// it has no token of the cluster.
    async fn note_launch(
        &self,
        id: &ContainerId,
        uid: &str,
        key: &[u8; KEY_BYTES],
    ) -> Result<(), EngineError> {
        let patch = serde_json::json!({
            "metadata": {
                "uid": id.uid,
                "annotations": { LAUNCHED: uid, ANNOTATION_REPORT_KEY: hex::encode(key) }
            }
        });
        let namespaces = self.namespaces().await?;
        self.connection
            .call(
                "note the container's start",
                namespaces.patch(&id.namespace, &PatchParams::default(), &Patch::Merge(&patch)),
            )
            .await
            .map(drop)
    }

    /// Follows a run in a task of its own.
    fn followed(&self, id: &str, following: Following, attached: Attached, output: &CaptureTarget) -> Run {
        let mut capture = Capture::new(output);
        if !following.from_the_start {
            capture.note_late();
        }
        let engine = self.clone();
        Run::spawn(id.to_owned(), async move {
            engine.follow_to_end(following, attached, capture).await
        })
    }

    /// Follows a run to its end; returns that, and the reason if it was not seen.
    async fn follow_to_end(
        &self,
        following: Following,
        attached: Attached,
        capture: Capture,
    ) -> (RunEnd, Option<String>) {
        let Following {
            pods,
            uid,
            key,
            copy,
            from_the_start,
        } = following;
        let Attached {
            process,
            mut stdin,
            stdout,
            stderr,
        } = attached;
        let (tell_marked, marked) = oneshot::channel();
        let mut reading = tokio::spawn(read_output(process, stdout, stderr, capture, key, tell_marked));
        let end = {
            let mut waiting = std::pin::pin!(self.await_end(&pods, &uid));
            let closing = async {
                if marked.await.is_err() {
                    self.await_mark(&pods, key).await;
                }
                if let Some(copy) = &copy {
                    self.collect(&pods, copy).await;
                }
                self.release(&pods, stdin.as_mut()).await;
            };
            tokio::select! {
                end = &mut waiting => end,
                () = closing => waiting.await,
            }
        };
        let SeenEnd {
            mut exit,
            mut reason,
            message,
        } = end;
        // Without its output such a run has no result, and its disk is gone.
        if exit != Exit::Unseen && copy.is_some_and(|copy| !copy.is_done()) {
            exit = Exit::Unseen;
            reason.get_or_insert_with(|| "its output folder was not copied before its pod ended".to_owned());
        }
        // The streams end with the container.
        let received = tokio::time::timeout(DRAIN_TIMEOUT, &mut reading).await;
        // Nobody waits for a stream that does not end.
        reading.abort();
        // Held until then: without standard input some versions of the API end the connection.
        drop(stdin);
        let stdout = match (received, Report::read(&message, &key)) {
            (Ok(Ok(received)), Some(report)) => Some(received.finish(&report)),
            // The log has a gap, and the hash none.
            (_, Some(report)) => Some(of_report(&report)),
            (received, None) => {
                let fault = match received {
                    Ok(Ok(received)) => received.fault,
                    _ => Some("its output does not end".to_owned()),
                };
                let fault = fault.map(|fault| format!(": {fault}")).unwrap_or_default();
                reason.get_or_insert_with(|| format!("it left no report of its output{fault}"));
                None
            }
        };
        let stdout = stdout.filter(|_| from_the_start && exit != Exit::Unseen);
        (RunEnd { exit, stdout }, reason)
    }

    /// Waits for the end of a pod's container.
    async fn await_end(&self, pods: &Api<Pod>, uid: &str) -> SeenEnd {
        let unseen = |reason: String| SeenEnd {
            exit: Exit::Unseen,
            reason: Some(reason),
            message: String::new(),
        };
        let mut pause = LOOK_INTERVAL;
        let first = loop {
            match self.look(pods, uid).await {
                Look::Gone => return unseen("its pod is gone".to_owned()),
                Look::Removed => return unseen("its pod was removed".to_owned()),
                Look::Ended(end) => break end,
                // Containers go on while the API server is away.
                Look::Running | Look::Unknown => (),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RUNNING_INTERVAL);
        };
        tokio::time::sleep(SETTLE).await;
        for _ in 0..30 {
            match self.look(pods, uid).await {
                Look::Gone => return unseen("its pod is gone".to_owned()),
                Look::Removed => return unseen("its pod was removed".to_owned()),
                Look::Ended(end) if end == first => {
                    let (exit, reason) = exit_of(&end);
                    return SeenEnd {
                        exit,
                        reason,
                        message: end.message,
                    };
                }
                Look::Ended(_) | Look::Running => {
                    return unseen("its pod's state changed after its end".to_owned());
                }
                Look::Unknown => tokio::time::sleep(RUNNING_INTERVAL).await,
            }
        }
        unseen("the API server did not answer after its end".to_owned())
    }

    async fn look(&self, pods: &Api<Pod>, uid: &str) -> Look {
        let pod = match self
            .connection
            .call("look at the job's pod", pods.get_opt(POD))
            .await
        {
            Ok(Some(pod)) => pod,
            Ok(None) => return Look::Gone,
            Err(_) => return Look::Unknown,
        };
        if pod.metadata.uid.as_deref() != Some(uid) {
            return Look::Gone;
        }
        // Whoever removes a pod has its container killed: its end is not its own.
        if pod.metadata.deletion_timestamp.is_some() {
            return Look::Removed;
        }
        objects::ending(&pod).map_or(Look::Running, Look::Ended)
    }
}

/// Run that is to be followed.
struct Following {
    pods: Api<Pod>,
    /// Identifier of the pod.
    uid: String,
    /// Key of its `assay-init`'s report.
    key: [u8; KEY_BYTES],
    /// Output folder that is to be copied.
    copy: Option<OutputCopy>,
    from_the_start: bool,
}

/// End of a pod's container.
struct SeenEnd {
    exit: Exit,
    /// Reason if it was not seen.
    reason: Option<String>,
    /// Message that the container left.
    message: String,
}

/// A look at a pod.
enum Look {
    Gone,
    Removed,
    Running,
    Ended(objects::Ending),
    /// The API server did not answer.
    Unknown,
}

/// Translates a container's end; returns the reason as well if it is not known.
fn exit_of(end: &objects::Ending) -> (Exit, Option<String>) {
    let exit_code = end.exit_code.filter(|code| (0..=255).contains(code));
    match (exit_code, &*end.reason) {
        (Some(code), "Completed" | "Error" | "OOMKilled" | "") if SIGNALLED.contains(&code) => {
            (Exit::Signalled(code), None)
        }
        (Some(code), "Completed" | "Error" | "") => (Exit::Clean(code), None),
        // The memory limit, at which another than the first process was killed.
        (Some(code), "OOMKilled") => (Exit::Clean(code), None),
        // Its own disk or the node's need: the kubelet does not distinguish them by a word.
        (Some(code), "Evicted") => (Exit::Signalled(code), Some("it was evicted".to_owned())),
        (_, reason) => (Exit::Unseen, Some(format!("the node says {reason}"))),
    }
}

/// Returns a new key.
pub(super) fn random_key() -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key)
}

/// Returns the key of the report of a namespace's run.
fn report_key(namespace: &Namespace) -> Option<[u8; KEY_BYTES]> {
    let text = namespace.annotations().get(ANNOTATION_REPORT_KEY)?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(text, &mut key).ok()?;
    Some(key)
}

/// Checks that the device plugin gave the devices of the lease. Nobody can tell it which: where it chose
/// others, the container is not started, its pod ends, and the next attempt makes a new one.
fn devices_fit(namespace: &Namespace, greeting: &Greeting) -> Result<(), EngineError> {
    let action = "start the container".to_owned();
    let annotation = |name: &str| namespace.annotations().get(name).cloned().unwrap_or_default();
    let holding = Holding::of_texts(&annotation(LABEL_SLOTS), &annotation(LABEL_DEVICES));
    let mut leased: Vec<&str> = holding.devices.iter().map(|id| id.0.as_str()).collect();
    let mut given: Vec<&str> = greeting
        .devices
        .split(',')
        .filter(|name| name.starts_with("GPU-") || name.starts_with("MIG-"))
        .collect();
    leased.sort_unstable();
    given.sort_unstable();
    if given.is_empty() && !leased.is_empty() && !greeting.devices.is_empty() {
        return Err(EngineError::Refused {
            action,
            reason: format!(
                "the container cannot tell which GPUs it got (NVIDIA_VISIBLE_DEVICES is {:?}), and another job's may be \
                 among them; start NVIDIA's device plugin with DEVICE_ID_STRATEGY=uuid",
                greeting.devices
            ),
        });
    }
    // No word at all: a plugin that gives none of NVIDIA's.
    if given.is_empty() || leased == given {
        return Ok(());
    }
    Err(EngineError::Failed {
        action,
        reason: format!(
            "the device plugin gave the pod {}, and the lease is of {}",
            given.join(", "),
            if leased.is_empty() {
                "no GPU".to_owned()
            } else {
                leased.join(", ")
            }
        ),
    })
}

/// Writes an address with its port.
fn socket_address(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// Level that the profile's shells need; named here so that the engine refuses others by itself.
pub(super) fn has_shells(namespace: &Namespace) -> bool {
    let level = namespace.labels().get("pod-security.kubernetes.io/enforce");
    level.is_some_and(|level| level == objects::security_level(Profile::Interactive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kubernetes::objects::Ending;

    fn end(exit_code: Option<i32>, reason: &str) -> Exit {
        exit_of(&Ending {
            exit_code,
            reason: reason.to_owned(),
            message: String::new(),
        })
        .0
    }

    #[test]
    fn end_that_somebody_else_caused_is_not_clean() {
        assert_eq!(end(Some(0), "Completed"), Exit::Clean(0));
        assert_eq!(end(Some(3), "Error"), Exit::Clean(3));
        assert_eq!(end(Some(137), "OOMKilled"), Exit::Signalled(137));
        assert_eq!(end(Some(143), "Error"), Exit::Signalled(143));
        assert_eq!(end(Some(137), "Evicted"), Exit::Signalled(137));
        for reason in ["NodeLost", "Shutdown", "Terminated", "NodeAffinity", "Preempting"] {
            assert_eq!(end(Some(0), reason), Exit::Unseen, "{reason}");
        }
        assert_eq!(end(None, "Unknown"), Exit::Unseen);
        assert_eq!(end(Some(-1), "Error"), Exit::Unseen);
        assert_eq!(end(Some(256), "Error"), Exit::Unseen);
    }

    #[test]
    fn container_with_other_devices_than_its_lease_has_is_not_started() {
        let fit = |leased: &str, seen: &str| {
            let mut namespace = Namespace::default();
            namespace
                .annotations_mut()
                .insert(LABEL_DEVICES.into(), leased.to_owned());
            let greeting = Greeting {
                number: 1,
                devices: seen.to_owned(),
                reached: Vec::new(),
            };
            devices_fit(&namespace, &greeting).map_err(|error| error.is_permanent())
        };
        for (leased, seen, verdict) in [
            ("", "void", Ok(())),
            ("", "", Ok(())),
            ("GPU-a,GPU-b", "GPU-b,GPU-a", Ok(())),
            ("MIG-a", "MIG-a", Ok(())),
            // A plugin that says nothing.
            ("GPU-a", "", Ok(())),
            ("GPU-a", "GPU-b", Err(false)),
            ("GPU-a", "GPU-a,GPU-b", Err(false)),
            ("GPU-a,GPU-b", "GPU-a", Err(false)),
            ("", "GPU-a", Err(false)),
            ("GPU-a", "0", Err(true)),
            ("GPU-a", "all", Err(true)),
        ] {
            assert_eq!(fit(leased, seen), verdict, "{leased:?} {seen:?}");
        }
    }

    #[test]
    fn addresses_have_their_ports() {
        assert_eq!(socket_address("10.0.0.1", 443), "10.0.0.1:443");
        assert_eq!(socket_address("fd00::1", 443), "[fd00::1]:443");
    }
}
