//! The last verdict, shared by all parts of the worker.

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::judge::{DeviceHealth, Level, SuspendCause, Verdict};

/// Shared storage of the last verdict; clones share it. Before the first verdict nothing is held back.
#[derive(Clone, Debug)]
pub struct HealthBoard {
    verdict: watch::Sender<Option<Verdict>>,
    /// Reason besides the devices why the machine takes no new jobs.
    hindrance: watch::Sender<Option<String>>,
}

impl Default for HealthBoard {
    fn default() -> Self {
        Self {
            verdict: watch::Sender::new(None),
            hindrance: watch::Sender::new(None),
        }
    }
}

impl HealthBoard {
    /// Replaces the verdict.
    pub fn publish(&self, verdict: Verdict) {
        self.verdict.send_replace(Some(verdict));
    }

    /// Replaces the reason besides the devices why the machine takes no new jobs; returns true if it is
    /// another.
    pub fn hinder(&self, reason: Option<String>) -> bool {
        self.hindrance
            .send_if_modified(|known| std::mem::replace(known, reason.clone()) != reason)
    }

    /// Returns the reason besides the devices why the machine takes no new jobs.
    pub fn hindrance(&self) -> Option<String> {
        self.hindrance.borrow().clone()
    }

    /// Returns the last verdict; `None` before the first one.
    pub fn read(&self) -> Option<Verdict> {
        self.verdict.borrow().clone()
    }

    /// Returns true if the machine may take new jobs.
    pub fn takes_jobs(&self) -> bool {
        self.hindrance.borrow().is_none()
            && self
                .verdict
                .borrow()
                .as_ref()
                .is_none_or(|verdict| verdict.level.takes_jobs())
    }

    /// Returns the reason why the machine takes no new jobs, for a decline.
    pub fn refusal(&self) -> Option<String> {
        if let Some(hindrance) = self.hindrance() {
            return Some(format!("the machine takes no new jobs: {hindrance}"));
        }
        let verdict = self.verdict.borrow();
        let refusals = verdict.as_ref().filter(|verdict| !verdict.level.takes_jobs())?;
        Some(format!(
            "the machine takes no new jobs: {}",
            refusals.refusals.join("; ")
        ))
    }
}

/// The machine's health, as `GET /status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthStatus {
    /// Level: `unknown` before the first reading, then `fine`, `warning`, `no_new_jobs` or `suspended`.
    pub level: &'static str,
    /// Cause of a suspension.
    pub cause: Option<SuspendCause>,
    /// Reasons of the level, with their remedies.
    pub reasons: Vec<String>,
    /// The GPUs and processors.
    pub devices: Vec<DeviceHealth>,
}

impl Default for HealthStatus {
    fn default() -> Self {
        Self {
            level: "unknown",
            cause: None,
            reasons: Vec::new(),
            devices: Vec::new(),
        }
    }
}

impl From<&Verdict> for HealthStatus {
    fn from(verdict: &Verdict) -> Self {
        Self {
            level: verdict.level.name(),
            cause: match verdict.level {
                Level::Suspended(cause) => Some(cause),
                _ => None,
            },
            reasons: verdict.reasons.clone(),
            devices: verdict.devices.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Makes a verdict of a level with one reason.
    pub(crate) fn verdict(level: Level) -> Verdict {
        let reasons = vec!["the GPU is hot; cool it".to_owned()];
        Verdict {
            level,
            refusals: if level.takes_jobs() {
                Vec::new()
            } else {
                reasons.clone()
            },
            reasons,
            devices: Vec::new(),
            is_settled: true,
        }
    }

    #[test]
    fn jobs_are_refused_from_no_new_jobs_on() {
        let board = HealthBoard::default();
        assert!(board.takes_jobs());
        assert_eq!(board.refusal(), None);
        for (level, expected) in [
            (Level::Fine, None),
            (Level::Warning, None),
            (
                Level::NoNewJobs,
                Some("the machine takes no new jobs: the GPU is hot; cool it"),
            ),
            (
                Level::Suspended(SuspendCause::Heat),
                Some("the machine takes no new jobs: the GPU is hot; cool it"),
            ),
        ] {
            board.publish(verdict(level));
            assert_eq!(board.takes_jobs(), expected.is_none());
            assert_eq!(board.refusal().as_deref(), expected);
        }
    }

    #[test]
    fn hindrance_holds_jobs_back_whatever_the_verdict() {
        let board = HealthBoard::default();
        board.publish(verdict(Level::Fine));
        assert!(board.hinder(Some("no profile".into())));
        assert!(!board.hinder(Some("no profile".into())), "the same is no news");
        assert!(!board.takes_jobs());
        assert_eq!(
            board.clone().refusal().as_deref(),
            Some("the machine takes no new jobs: no profile")
        );
        assert!(board.hinder(None));
        assert!(board.takes_jobs());
        assert_eq!(board.refusal(), None);
    }

    #[test]
    fn status_shows_level_and_cause() {
        let status = HealthStatus::from(&verdict(Level::Suspended(SuspendCause::Fault)));
        let shown = serde_json::to_value(status).unwrap();
        assert_eq!(shown["level"], "suspended");
        assert_eq!(shown["cause"], "fault");
        assert_eq!(HealthStatus::default().level, "unknown");
    }
}
