//! Runs the parts of the worker side by side: a failure or panic of one ends none of the others.

use std::{
    any::Any,
    fmt::Display,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use tokio::{task::JoinSet, time::Instant};
use tracing::Instrument;

use crate::{backoff::Backoff, metrics::Metrics};

/// Delays before a part begins again.
pub(crate) const RESTART_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(60),
};

/// Duration of a run after which a part counts as healthy: its backoff begins anew, and the status drops its
/// failure.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Callback for a part that failed, with the reason, or that is healthy again, with `None`.
pub type PartCallback = Arc<dyn Fn(&'static str, Option<String>) + Send + Sync>;

/// Restarts parts that fail, and reports their health.
#[derive(Clone)]
pub struct PartRunner {
    /// Called when a part fails, and when it is healthy again.
    pub on_change: PartCallback,
    /// Counts failures and panics.
    pub metrics: Metrics,
}

impl PartRunner {
    /// Runs a part until it ends by itself, and restarts it after each panic and each failure that
    /// `is_passing`.
    ///
    /// # Errors
    /// The first failure that is not passing, such as a lost connection, which all parts need anew.
    pub async fn keep_going<T, E: Display, F>(
        &self,
        name: &'static str,
        is_passing: impl Fn(&E) -> bool,
        begin: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let span = tracing::info_span!("part", name);
        self.restart_on_failure(name, is_passing, begin)
            .instrument(span)
            .await
    }

    async fn restart_on_failure<T, E: Display, F>(
        &self,
        name: &'static str,
        is_passing: impl Fn(&E) -> bool,
        mut begin: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let reason = match self.run_once(name, begin()).await {
                Ok(Ok(ended)) => return Ok(ended),
                Ok(Err(error)) if is_passing(&error) => error.to_string(),
                Ok(Err(error)) => return Err(error),
                Err(panic) => {
                    self.metrics.task_panics.with_label_values(&[name]).inc();
                    format!(
                        "the worker panicked, which is a bug: {}; please report it",
                        panic_text(&*panic)
                    )
                }
            };
            if begun.elapsed() >= WELL_AFTER {
                failures = 0;
            }
            let pause = RESTART_BACKOFF.delay(failures);
            failures = failures.saturating_add(1);
            tracing::error!(
                part = name,
                reason,
                again_in_seconds = pause.as_secs(),
                "a part of the worker failed; the others go on"
            );
            self.metrics.task_failures.with_label_values(&[name]).inc();
            (self.on_change)(name, Some(reason));
            tokio::time::sleep(pause).await;
        }
    }

    async fn run_once<T>(
        &self,
        name: &'static str,
        part: impl Future<Output = T>,
    ) -> Result<T, Box<dyn Any + Send>> {
        let mut part = pin!(AssertUnwindSafe(part).catch_unwind());
        if let Ok(ended) = tokio::time::timeout(WELL_AFTER, &mut part).await {
            return ended;
        }
        (self.on_change)(name, None);
        part.await
    }
}

/// Parts that run side by side, each in a task of its own. Dropping the set stops them.
pub struct PartSet<T, E> {
    tasks: JoinSet<(&'static str, Result<T, E>)>,
}

impl<T: Send + 'static, E: Send + 'static> PartSet<T, E> {
    /// Creates a set without parts.
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
        }
    }

    /// Starts a part.
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<T, E>> + Send + 'static) {
        self.tasks.spawn(async move { (name, part.await) });
    }

    /// Waits until the first part ends, and returns its outcome; pending while the set has no part. The
    /// others go on until [`Self::stop`].
    ///
    /// # Errors
    /// The error of the part that ended.
    ///
    /// # Panics
    /// Resumes the panic of a part.
    pub async fn first_ended(&mut self) -> Result<T, PartError<E>> {
        match self.tasks.join_next().await {
            Some(Ok((part, outcome))) => outcome.map_err(|source| PartError { part, source }),
            Some(Err(error)) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Stops all parts, and waits until every one of them has stopped.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl<T: Send + 'static, E: Send + 'static> Default for PartSet<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Error that ended a part of the worker.
#[derive(Debug, thiserror::Error)]
#[error("the worker's part `{part}` failed: {source}")]
pub struct PartError<E> {
    /// Name of the part.
    pub part: &'static str,
    /// Error of the part.
    pub source: E,
}

/// Returns the message of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        cell::Cell,
        collections::BTreeMap,
        convert::Infallible,
        io,
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;

    type Shown = Arc<Mutex<BTreeMap<&'static str, String>>>;

    fn runner() -> (PartRunner, Shown) {
        let shown = Shown::default();
        let broken = shown.clone();
        let runner = PartRunner {
            on_change: Arc::new(move |name, reason| {
                let mut broken = broken.lock().unwrap();
                broken.remove(name);
                broken.extend(reason.map(|reason| (name, reason)));
            }),
            metrics: Metrics::new().unwrap(),
        };
        (runner, shown)
    }

    #[tokio::test(start_paused = true)]
    async fn part_that_panics_begins_again_and_others_go_on() {
        let (runner, shown) = runner();
        let begun = Cell::new(0);
        let begin = || async {
            begun.set(begun.get() + 1);
            match begun.get() {
                1 => panic!("the first time"),
                2 => panic!("time {}", begun.get()),
                _ => Ok::<_, Infallible>(begun.get()),
            }
        };
        let ticks = Cell::new(0);
        let other = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                ticks.set(ticks.get() + 1);
            }
        };
        let since = Instant::now();
        let ended: Result<i32, _> = tokio::select! {
            ended = runner.keep_going("jobs", |_| true, begin) => ended,
            () = other => unreachable!("it never ends"),
        };
        assert_eq!(ended.unwrap(), 3);
        assert_eq!(since.elapsed(), Duration::from_secs(3), "a second, then two");
        assert!(ticks.get() >= 5, "{} ticks", ticks.get());
        assert_eq!(runner.metrics.task_panics.with_label_values(&["jobs"]).get(), 2);
        let said = shown.lock().unwrap()["jobs"].clone();
        assert!(said.contains("time 2"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn failure_that_passes_is_shown_until_the_part_runs_well() {
        let (runner, shown) = runner();
        let begun = Cell::new(0);
        let begin = || async {
            begun.set(begun.get() + 1);
            match begun.get() {
                1 => Err("full"),
                2 => {
                    tokio::time::sleep(WELL_AFTER * 2).await;
                    Ok(())
                }
                _ => unreachable!("it ended"),
            }
        };
        let look = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = shown.lock().unwrap().clone();
            tokio::time::sleep(WELL_AFTER).await;
            (before, shown.lock().unwrap().clone())
        };
        let (ended, (before, after)) = tokio::join!(runner.keep_going("rewards", |_| true, begin), look);
        ended.unwrap();
        assert_eq!(before["rewards"], "full");
        assert!(after.is_empty(), "{after:?}");
        assert_eq!(
            runner.metrics.task_failures.with_label_values(&["rewards"]).get(),
            1
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failure_that_does_not_pass_ends_it() {
        let ended: Result<(), _> = runner()
            .0
            .keep_going("rewards", |error| *error != "lost", || async { Err("lost") })
            .await;
        assert_eq!(ended, Err("lost"));
    }

    /// A part that takes its time to stop, and says when it has.
    struct SlowToStop(Arc<AtomicU32>);

    impl Drop for SlowToStop {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A set with two parts that run until they are stopped, and the number of those that have stopped.
    fn endless_parts<E: Send + 'static>() -> (PartSet<u32, E>, Arc<AtomicU32>) {
        let (mut parts, stopped) = (PartSet::new(), Arc::new(AtomicU32::new(0)));
        for name in ["challenge", "orders"] {
            let part = SlowToStop(stopped.clone());
            parts.spawn(name, async move {
                let _part = part;
                std::future::pending().await
            });
        }
        (parts, stopped)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn error_of_one_part_ends_the_set_with_its_name() {
        let (mut parts, stopped) = endless_parts();
        parts.spawn("rewards", async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Err(io::Error::other("unplugged"))
        });
        let error = parts.first_ended().await.unwrap_err();
        assert_eq!(error.part, "rewards");
        assert_eq!(error.to_string(), "the worker's part `rewards` failed: unplugged");
        assert_eq!(
            stopped.load(Ordering::SeqCst),
            0,
            "the others go on until they are stopped"
        );
        parts.stop().await;
        assert_eq!(stopped.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn stopping_waits_for_all_parts() {
        let (mut parts, stopped) = endless_parts::<Infallible>();
        parts.spawn("jobs", async { Ok(7) });
        assert_eq!(parts.first_ended().await.unwrap(), 7);
        parts.stop().await;
        assert_eq!(stopped.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn panic_of_a_part_is_resumed() {
        let (mut parts, _) = endless_parts::<Infallible>();
        fn bug() -> Result<u32, Infallible> {
            panic!("a bug");
        }
        parts.spawn("blocks", async { bug() });
        let _ = parts.first_ended().await;
    }
}
