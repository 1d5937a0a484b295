//! Prometheus metrics of the prober.

use polkadot_sdk::substrate_prometheus_endpoint::{
    Counter, CounterVec, Gauge, Opts, PrometheusError, Registry, U64, register,
};

use super::probe::ProbeError;

/// Counters, which exist with or without a registry.
pub(super) struct Metrics {
    /// Probes by outcome.
    probes: CounterVec<U64>,
    /// Reports submitted to the pool, including resent ones.
    pub(super) reports: Counter<U64>,
    /// Machines that this validator watches in the current epoch.
    pub(super) watched: Gauge<U64>,
}

impl Metrics {
    /// Creates the metrics, and registers them if there is a registry.
    pub(super) fn new(registry: Option<&Registry>) -> Self {
        let metrics = Self {
            probes: CounterVec::new(
                Opts::new(
                    "assay_availability_probes_total",
                    "Probes of machines, by outcome",
                ),
                &["outcome"],
            )
            .expect("the name and the label are valid; qed"),
            reports: Counter::new(
                "assay_availability_reports_total",
                "Reports submitted to the transaction pool",
            )
            .expect("the name is valid; qed"),
            watched: Gauge::new(
                "assay_availability_watched_machines",
                "Machines that this validator watches in the current epoch",
            )
            .expect("the name is valid; qed"),
        };
        if let Some(Err(error)) = registry.map(|registry| metrics.register(registry)) {
            log::warn!(target: "availability", "cannot register the metrics of probes: {error}");
        }
        metrics
    }

    fn register(&self, registry: &Registry) -> Result<(), PrometheusError> {
        register(self.probes.clone(), registry)?;
        register(self.reports.clone(), registry)?;
        register(self.watched.clone(), registry)?;
        Ok(())
    }

    /// Counts a probe.
    pub(super) fn note_probe(&self, result: &Result<(), ProbeError>) {
        let outcome = match result {
            Ok(()) => "seen",
            Err(ProbeError::NoRoots) => "unknown",
            Err(ProbeError::Target(_)) => "refused",
            Err(_) => "missed",
        };
        self.probes.with_label_values(&[outcome]).inc();
    }
}
