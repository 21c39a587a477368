//! What the operator counts. Labels are closed sets: neither names nor namespaces, so the number of series is fixed.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::reconcile;

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
    reconcile: reconcile::Metrics,
    certificate_writes: Family<WriteLabel, Counter>,
    admissions: Family<ResultLabel, Counter>,
    admission_seconds: Histogram,
    certificate_not_after: Gauge,
    leader: Gauge,
}

impl Metrics {
    /// Registers every family under `bowsprit_operator_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bowsprit_operator");
        let r = &mut registry;
        let mut this = Self {
            registry: Arc::default(),
            reconcile: reconcile::Metrics::register(r),
            certificate_writes: Family::default(),
            admissions: Family::default(),
            // Up to the webhook's timeout of 5 s.
            admission_seconds: Histogram::new([0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 5.0]),
            certificate_not_after: Gauge::default(),
            leader: Gauge::default(),
        };
        r.register(
            "certificate_writes",
            "Writes of the webhook's Secret and caBundle",
            this.certificate_writes.clone(),
        );
        r.register(
            "admissions",
            "Reviews answered by the webhook, by result",
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
        this.registry = Arc::new(registry);
        this
    }

    /// The reconciler's own families.
    pub fn reconcile(&self) -> reconcile::Metrics {
        self.reconcile.clone()
    }

    /// The exposition in `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// `webhook_secret` or `webhook_configuration` was written, or the apiserver refused it.
    pub fn wrote(&self, object: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.certificate_writes
            .get_or_create(&WriteLabel { object, result })
            .inc();
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
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_is_this() {
        let metrics = Metrics::new();
        metrics.wrote("webhook_secret", true);
        metrics.admitted("injected", Duration::from_millis(1));
        metrics.certificate(1_800_000_000);
        metrics.leads(true);
        insta::assert_snapshot!(metrics.encode().unwrap());
    }
}
