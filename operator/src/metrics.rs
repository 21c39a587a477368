//! What the operator counts. Labels are closed sets: neither names nor namespaces, so the number of series is fixed.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabel {
    object: &'static str,
    result: &'static str,
}

/// Every family of the operator; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ResultLabel, Counter>,
    reconcile_seconds: Histogram,
    writes: Family<WriteLabel, Counter>,
    nudges: Family<ResultLabel, Counter>,
    polls: Family<ResultLabel, Counter>,
    admissions: Family<ResultLabel, Counter>,
    admission_seconds: Histogram,
    certificate_not_after: Gauge,
    leader: Gauge,
    namespaces: Gauge,
}

impl Metrics {
    /// Registers every family under `bowsprit_operator_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bowsprit_operator");
        // From the budget of a change (1 s to every sidecar) down to a reconcile that finds nothing to do.
        let reconcile_seconds = Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0]);
        // Up to the webhook's timeout of 5 s.
        let admission_seconds = Histogram::new([0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 5.0]);
        let mut this = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            reconcile_seconds,
            writes: Family::default(),
            nudges: Family::default(),
            polls: Family::default(),
            admissions: Family::default(),
            admission_seconds,
            certificate_not_after: Gauge::default(),
            leader: Gauge::default(),
            namespaces: Gauge::default(),
        };
        let r = &mut registry;
        r.register(
            "reconciles",
            "Reconciles of a namespace, by result",
            this.reconciles.clone(),
        );
        r.register(
            "reconcile_seconds",
            "Duration of a namespace's reconcile",
            this.reconcile_seconds.clone(),
        );
        r.register(
            "writes",
            "Writes to the apiserver, by object and result",
            this.writes.clone(),
        );
        r.register(
            "nudges",
            "Pods touched so that their kubelet refreshes the config, by result",
            this.nudges.clone(),
        );
        r.register(
            "sidecar_polls",
            "Questions to a sidecar's /health, by result",
            this.polls.clone(),
        );
        r.register(
            "admissions",
            "Pods seen by the webhook, by result",
            this.admissions.clone(),
        );
        r.register(
            "admission_seconds",
            "Duration of an admission",
            this.admission_seconds.clone(),
        );
        r.register(
            "webhook_certificate_not_after_seconds",
            "When the webhook's certificate expires, in seconds since 1970",
            this.certificate_not_after.clone(),
        );
        r.register(
            "leader",
            "1 while this replica holds the lease and writes",
            this.leader.clone(),
        );
        r.register(
            "namespaces",
            "Namespaces with a ProviderConfig or ModelRoute",
            this.namespaces.clone(),
        );
        this.registry = Arc::new(registry);
        this
    }

    /// The exposition in `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A namespace was reconciled.
    pub fn reconciled(&self, ok: bool, took: Duration) {
        self.reconciles.get_or_create(&result(ok)).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Something was written, or refused by the apiserver.
    pub fn wrote(&self, object: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.writes.get_or_create(&WriteLabel { object, result }).inc();
    }

    /// A pod was nudged.
    pub fn nudged(&self, ok: bool) {
        self.nudges.get_or_create(&result(ok)).inc();
    }

    /// A sidecar was asked.
    pub fn polled(&self, ok: bool) {
        self.polls.get_or_create(&result(ok)).inc();
    }

    /// The webhook answered: `injected`, `unchanged`, `refused`, `invalid` or `not_ready`.
    pub fn admitted(&self, result: &'static str, took: Duration) {
        self.admissions.get_or_create(&ResultLabel { result }).inc();
        self.admission_seconds.observe(took.as_secs_f64());
    }

    /// The certificate now served ends at this second since 1970.
    pub fn certificate(&self, not_after: i64) {
        self.certificate_not_after.set(not_after);
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How many namespaces there are to look after.
    pub fn namespaces(&self, count: usize) {
        self.namespaces.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn result(ok: bool) -> ResultLabel {
    ResultLabel {
        result: if ok { "ok" } else { "error" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_is_this() {
        let metrics = Metrics::new();
        metrics.reconciled(true, Duration::from_millis(3));
        metrics.wrote("configmap", true);
        metrics.nudged(false);
        metrics.polled(true);
        metrics.admitted("injected", Duration::from_millis(1));
        metrics.certificate(1_800_000_000);
        metrics.leads(true);
        metrics.namespaces(2);
        insta::assert_snapshot!(metrics.encode().unwrap());
    }
}
