//! Remains of jobs that are gone from the chain.

use std::{collections::HashSet, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{ChainView, StepReport, Supervisor, broke_off, steps::Leftover};
use crate::{
    chain::WorkerChain,
    engine::{Container, ContainerEngine},
};

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// Removes the container, and closes the notes, of jobs that are gone from the chain.
    ///
    /// The best block may be replaced. So a job counts as gone only once the block at which it was first
    /// missed is finalized, and the finalized state lacks the job too: on another fork the job may end in a
    /// later block than the one at which it was missed.
    pub(super) fn clear_leftovers(
        &mut self,
        view: &ChainView,
        open: &HashSet<(u64, String)>,
        containers: Option<&[Container]>,
    ) {
        let Some(containers) = containers else { return };
        let mut leftovers: HashSet<Leftover> = containers
            .iter()
            .filter(|container| !open.contains(&(container.job, container.fingerprint.clone())))
            .map(|container| Leftover {
                job: container.job,
                fingerprint: container.fingerprint.clone(),
                // A container without a name cannot be addressed.
                container: Some(container.id.clone()).filter(|id| !id.is_empty()),
            })
            .collect();
        for (job, fingerprint) in &self.open_notes {
            let has_container = containers.iter().any(|container| container.job == *job);
            if !has_container && !open.contains(&(*job, fingerprint.clone())) {
                let fingerprint = fingerprint.clone();
                leftovers.insert(Leftover {
                    job: *job,
                    fingerprint,
                    container: None,
                });
            }
        }
        for lease in self.executor.leases.held() {
            let has_container = containers
                .iter()
                .any(|container| (container.job, &container.fingerprint) == (lease.job, &lease.fingerprint));
            if !has_container && !open.contains(&(lease.job, lease.fingerprint.clone())) {
                leftovers.insert(Leftover {
                    job: lease.job,
                    fingerprint: lease.fingerprint,
                    container: None,
                });
            }
        }
        self.left_over_since
            .retain(|leftover, _| leftovers.contains(leftover));
        for leftover in leftovers {
            let since = *self
                .left_over_since
                .entry(leftover.clone())
                .or_insert(view.head.best_block);
            let may_come_back =
                view.finalized_block < since || self.final_view.is_open(leftover.job, &leftover.fingerprint);
            let pause = self
                .retries
                .get(&leftover.job)
                .and_then(|retry| retry.pause_until);
            // Another attempt at giving back a lease whose container is gone.
            let is_paused = !self.open_notes.contains_key(&leftover.job)
                && leftover.container.is_none()
                && pause.is_some_and(|until| until > Instant::now());
            if may_come_back || is_paused || self.busy.contains_key(&leftover.job) {
                continue;
            }
            self.busy.insert(leftover.job, CancellationToken::new());
            tracing::info!(
                job = leftover.job,
                "the job is closed; removing its container and closing its notes"
            );
            self.open_notes.remove(&leftover.job);
            self.missing_since.remove(&leftover.job);
            let executor = self.executor.clone();
            let report = async move {
                let step = AssertUnwindSafe(executor.clear_away(&leftover));
                let outcome = step.catch_unwind().await.unwrap_or_else(broke_off);
                StepReport {
                    job: leftover.job,
                    decision: None,
                    runs: false,
                    outcome,
                }
            };
            self.steps.spawn(report.in_current_span());
        }
    }
}
