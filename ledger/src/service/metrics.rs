//! What the service counts. Labels are closed sets, and name nobody.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabel {
    query: &'static str,
}

/// The families; clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    batches: Family<ResultLabel, Counter>,
    entries: Counter,
    without_entry: Counter,
    waiting: Gauge,
    up: Gauge,
    take_seconds: Histogram,
    group: Histogram,
    query_seconds: Family<QueryLabel, Histogram, fn() -> Histogram>,
    slow: Family<QueryLabel, Counter>,
    reviews: Family<ResultLabel, Counter>,
    retained: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bowsprit_ledger_service");
        let seconds = || Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0]);
        let mut this = Self {
            registry: Arc::default(),
            batches: Family::default(),
            entries: Counter::default(),
            without_entry: Counter::default(),
            waiting: Gauge::default(),
            up: Gauge::default(),
            take_seconds: seconds(),
            group: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
            query_seconds: Family::new_with_constructor(seconds),
            slow: Family::default(),
            reviews: Family::default(),
            retained: Counter::default(),
        };
        registry.register("batches", "Batches, by what became of them", this.batches.clone());
        registry.register(
            "entries",
            "Entries of batches that were taken, those taken before included",
            this.entries.clone(),
        );
        let help = "Sequences of batches that had no entry: what sidecars had folded into sums, or had lost";
        registry.register("sequences_without_entry", help, this.without_entry.clone());
        registry.register(
            "batches_waiting",
            "Batches that wait for the store",
            this.waiting.clone(),
        );
        registry.register("store_up", "Whether the store answered last: 1 or 0", this.up.clone());
        registry.register(
            "take_seconds",
            "How long the store took for a group of batches",
            this.take_seconds.clone(),
        );
        registry.register(
            "group_batches",
            "Batches that were written in one transaction",
            this.group.clone(),
        );
        registry.register(
            "query_seconds",
            "How long a query took, by its name",
            this.query_seconds.clone(),
        );
        registry.register(
            "slow_queries",
            "Queries that took longer than they should, by name",
            this.slow.clone(),
        );
        registry.register(
            "reviews",
            "Tokens and rights judged, by the API server or from memory",
            this.reviews.clone(),
        );
        registry.register(
            "rows_retired",
            "Rows and partitions dropped since they were too old",
            this.retained.clone(),
        );
        this.registry = Arc::new(registry);
        this
    }
}

impl Metrics {
    /// `taken`, `unavailable`, `busy`, or why it was refused.
    pub(crate) fn batch(&self, result: &'static str) {
        self.batches.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn entries(&self, entries: u64, without: u64) {
        self.entries.inc_by(entries);
        self.without_entry.inc_by(without);
    }

    pub(crate) fn waiting(&self, more: i64) {
        self.waiting.inc_by(more);
    }

    pub(crate) fn store(&self, is_up: bool) {
        self.up.set(is_up.into());
    }

    pub(crate) fn took(&self, took: Duration, batches: usize) {
        self.take_seconds.observe(took.as_secs_f64());
        self.group.observe(batches as f64);
    }

    pub(crate) fn queried(&self, query: &'static str, took: Duration, is_slow: bool) {
        let label = QueryLabel { query };
        self.query_seconds.get_or_create(&label).observe(took.as_secs_f64());
        if is_slow {
            self.slow.get_or_create(&label).inc();
        }
    }

    /// `authentic`, `denied`, `allowed`, `forbidden`, `error` or `cached`.
    pub(crate) fn reviewed(&self, result: &'static str) {
        self.reviews.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn retained(&self, rows: u64) {
        self.retained.inc_by(rows);
    }

    /// As OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
