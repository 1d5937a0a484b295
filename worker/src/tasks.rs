//! Keeps the parts of the worker going: one that fails, or panics, takes none of the others down.

use std::{any::Any, fmt::Display, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;

use crate::{backoff::Backoff, metrics::Metrics};

/// Delays before a part begins again.
pub(crate) const RESTART_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(60),
};

/// Time after which a part counts as running well: the pauses begin small again, and the status forgets its
/// failure.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Shows that a part does not run, and why; or that it runs well.
pub type ShowPart = Arc<dyn Fn(&'static str, Option<String>) + Send + Sync>;

/// Keeps parts going and tells how they do.
#[derive(Clone)]
pub struct TaskBoard {
    /// Where it is shown.
    pub show: ShowPart,
    /// Where failures and panics are counted.
    pub metrics: Metrics,
}

impl TaskBoard {
    /// Runs a part, again after each failure that `is_passing`, until it ends by itself.
    ///
    /// # Errors
    /// The first failure that does not pass, such as a lost connection, which all parts need anew.
    pub async fn keep_going<T, E: Display, F>(
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
            (self.show)(name, Some(reason));
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
        (self.show)(name, None);
        part.await
    }
}

/// The message of a panic, where it has one.
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

    use std::{cell::Cell, collections::BTreeMap, convert::Infallible, sync::Mutex};

    use super::*;

    type Shown = Arc<Mutex<BTreeMap<&'static str, String>>>;

    fn board() -> (TaskBoard, Shown) {
        let shown = Shown::default();
        let broken = shown.clone();
        let board = TaskBoard {
            show: Arc::new(move |name, reason| {
                let mut broken = broken.lock().unwrap();
                broken.remove(name);
                broken.extend(reason.map(|reason| (name, reason)));
            }),
            metrics: Metrics::new().unwrap(),
        };
        (board, shown)
    }

    #[tokio::test(start_paused = true)]
    async fn part_that_panics_begins_again_and_others_go_on() {
        let (board, shown) = board();
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
            ended = board.keep_going("jobs", |_| true, begin) => ended,
            () = other => unreachable!("it never ends"),
        };
        assert_eq!(ended.unwrap(), 3);
        assert_eq!(since.elapsed(), Duration::from_secs(3), "a second, then two");
        assert!(ticks.get() >= 5, "{} ticks", ticks.get());
        assert_eq!(board.metrics.task_panics.with_label_values(&["jobs"]).get(), 2);
        let said = shown.lock().unwrap()["jobs"].clone();
        assert!(said.contains("time 2"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn failure_that_passes_is_shown_until_the_part_runs_well() {
        let (board, shown) = board();
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
        let (ended, (before, after)) = tokio::join!(board.keep_going("rewards", |_| true, begin), look);
        ended.unwrap();
        assert_eq!(before["rewards"], "full");
        assert!(after.is_empty(), "{after:?}");
        assert_eq!(
            board.metrics.task_failures.with_label_values(&["rewards"]).get(),
            1
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failure_that_does_not_pass_ends_it() {
        let ended: Result<(), _> = board()
            .0
            .keep_going("rewards", |error| *error != "lost", || async { Err("lost") })
            .await;
        assert_eq!(ended, Err("lost"));
    }
}
