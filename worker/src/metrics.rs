//! The worker's metrics for Prometheus.
//!
//! Those of the machine as a whole are public. The values of single devices, and of the jobs that have
//! them, are for the provider: they tell how a consumer uses its lease.

use prometheus::{
    Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::health::metrics::HealthMetrics;

/// The worker's metrics; every name begins with `assay_worker_`.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Registry of what only the provider may see.
    private: Registry,
    /// One while the chain answers, zero otherwise.
    pub chain_connected: IntGauge,
    /// One while the container engine answers, zero otherwise.
    pub engine_reachable: IntGauge,
    /// One while the machine takes new jobs, zero otherwise.
    pub machine_takes_jobs: IntGauge,
    /// Number of the best block.
    pub best_block: IntGauge,
    /// Number of the newest finalized block.
    pub finalized_block: IntGauge,
    /// Number of block subscriptions that were renewed because they fell silent.
    pub resubscriptions: IntCounter,
    /// One while the worker's files can be written, zero otherwise.
    pub disk_writable: IntGauge,
    /// Number of corrupted files that were put aside.
    pub broken_files: IntGauge,
    /// Failures of the worker's parts, by part.
    pub task_failures: IntCounterVec,
    /// Panics of the worker's parts, by part.
    pub task_panics: IntCounterVec,
    /// Number of open jobs by their state on chain, such as `starting`, `running` or `verifying`.
    pub jobs: IntGaugeVec,
    /// Completed steps for jobs, by step.
    pub steps: IntCounterVec,
    /// Failed steps that are retried, by step.
    pub step_failures: IntCounterVec,
    /// Number of connections made to the chain.
    pub connections: IntCounter,
    /// Number of payouts of rewards.
    pub payouts: IntCounter,
    /// Number of answers to hardware challenges that the node accepted.
    pub challenge_answers: IntCounter,
    /// Number of failed answers to hardware challenges.
    pub challenge_failures: IntCounter,
    /// Number of submissions of evidence that the chain accepted.
    pub attestations: IntCounter,
    /// Number of failed attempts to attest.
    pub attestation_failures: IntCounter,
    /// End of the evidence, in seconds since 1970, by source and kind of TEE; zero if there is none.
    pub attestation_ends: IntGaugeVec,
    /// Balance of the worker key, in ASY.
    pub worker_balance_asy: Gauge,
    /// Health of the machine's devices.
    pub health: HealthMetrics,
}

impl Metrics {
    /// Creates the metrics in registries of their own.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("assay_worker".into()), None)?;
        let private = Registry::new_custom(Some("assay_worker".into()), None)?;
        let metrics = Self {
            chain_connected: IntGauge::new("chain_connected", "1 while the chain answers")?,
            engine_reachable: IntGauge::new("engine_reachable", "1 while the container engine answers")?,
            machine_takes_jobs: IntGauge::new("machine_takes_jobs", "1 while the machine takes new jobs")?,
            best_block: IntGauge::new("best_block", "Number of the best block")?,
            finalized_block: IntGauge::new("finalized_block", "Number of the newest finalized block")?,
            resubscriptions: IntCounter::new(
                "chain_resubscriptions_total",
                "Block subscriptions that were renewed because they fell silent",
            )?,
            disk_writable: IntGauge::new("disk_writable", "1 while the worker's files can be written")?,
            broken_files: IntGauge::new(
                "broken_files",
                "Corrupted files that were put aside since the worker started",
            )?,
            task_failures: IntCounterVec::new(
                Opts::new(
                    "part_failures_total",
                    "Failures of the worker's parts, which restarted",
                ),
                &["part"],
            )?,
            task_panics: IntCounterVec::new(
                Opts::new("part_panics_total", "Panics of the worker's parts"),
                &["part"],
            )?,
            jobs: IntGaugeVec::new(Opts::new("jobs", "Open jobs by their state on chain"), &["state"])?,
            steps: IntCounterVec::new(Opts::new("steps_total", "Steps done for jobs"), &["step"])?,
            step_failures: IntCounterVec::new(
                Opts::new("step_failures_total", "Steps for jobs that failed"),
                &["step"],
            )?,
            connections: IntCounter::new("chain_connections_total", "Connections to the chain")?,
            payouts: IntCounter::new("payouts_total", "Payouts of rewards")?,
            challenge_answers: IntCounter::new(
                "challenge_answers_total",
                "Answers to hardware challenges that the node accepted",
            )?,
            challenge_failures: IntCounter::new(
                "challenge_failures_total",
                "Failed answers to hardware challenges",
            )?,
            attestations: IntCounter::new(
                "attestations_total",
                "Submissions of evidence that the chain accepted",
            )?,
            attestation_failures: IntCounter::new("attestation_failures_total", "Failed attempts to attest")?,
            attestation_ends: IntGaugeVec::new(
                Opts::new(
                    "attestation_ends_seconds",
                    "End of the evidence, in seconds since 1970; 0 without any",
                ),
                &["source", "kind"],
            )?,
            worker_balance_asy: Gauge::new(
                "worker_balance_asy",
                "Balance of the worker key for fees, in ASY",
            )?,
            health: HealthMetrics::new(&registry, &private)?,
            registry,
            private,
        };
        metrics.disk_writable.set(1);
        let collectors: [Box<dyn prometheus::core::Collector>; 21] = [
            Box::new(metrics.best_block.clone()),
            Box::new(metrics.resubscriptions.clone()),
            Box::new(metrics.disk_writable.clone()),
            Box::new(metrics.broken_files.clone()),
            Box::new(metrics.task_failures.clone()),
            Box::new(metrics.task_panics.clone()),
            Box::new(metrics.chain_connected.clone()),
            Box::new(metrics.engine_reachable.clone()),
            Box::new(metrics.machine_takes_jobs.clone()),
            Box::new(metrics.finalized_block.clone()),
            Box::new(metrics.jobs.clone()),
            Box::new(metrics.steps.clone()),
            Box::new(metrics.step_failures.clone()),
            Box::new(metrics.connections.clone()),
            Box::new(metrics.payouts.clone()),
            Box::new(metrics.challenge_answers.clone()),
            Box::new(metrics.challenge_failures.clone()),
            Box::new(metrics.attestations.clone()),
            Box::new(metrics.attestation_failures.clone()),
            Box::new(metrics.attestation_ends.clone()),
            Box::new(metrics.worker_balance_asy.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Encodes the public metrics in Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        encoded(&[&self.registry])
    }

    /// Encodes all metrics, those of devices and jobs among them, in Prometheus' text format.
    pub fn render_all(&self) -> Result<Vec<u8>, prometheus::Error> {
        encoded(&[&self.registry, &self.private])
    }
}

fn encoded(registries: &[&Registry]) -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::new();
    for registry in registries {
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn metrics_render_under_their_prefix() {
        let metrics = Metrics::new().unwrap();
        metrics.chain_connected.set(1);
        metrics.steps.with_label_values(&["prepare"]).inc();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("\nassay_worker_chain_connected 1\n"), "{text}");
        assert!(
            text.contains("assay_worker_steps_total{step=\"prepare\"} 1\n"),
            "{text}"
        );
    }
}
