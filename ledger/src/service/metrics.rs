//! What the service counts. Labels are closed sets, and name nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::reconcile::exposition::Drifts;
use crate::store::Retired;
use crate::sync::locked;

/// What becomes of a clean-up.
const CLEAN_UPS: [&str; 2] = ["done", "failed"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabel {
    query: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct DriftLabels {
    beside: &'static str,
    provider: String,
    kind: &'static str,
}

/// The families; clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    batches: Family<ResultLabel, Counter>,
    entries: Counter,
    folded: Counter,
    waiting: Gauge,
    up: Gauge,
    take_seconds: Histogram,
    group: Histogram,
    query_seconds: Family<QueryLabel, Histogram, fn() -> Histogram>,
    slow: Family<QueryLabel, Counter>,
    reviews: Family<ResultLabel, Counter>,
    retained: Counter,
    clean_ups: Family<ResultLabel, Counter>,
    drift: Family<DriftLabels, Gauge>,
    /// Which of them there are: what is no more compared is no more told.
    drifting: Arc<Mutex<BTreeSet<DriftLabels>>>,
    compared_at: Gauge,
    comparisons: Family<ResultLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Metrics {
    /// All of them; those of comparisons with Prometheus only where there are any.
    pub fn new(compares: bool) -> Self {
        let mut whole = Registry::default();
        let registry = whole.sub_registry_with_prefix("bowsprit_ledger_service");
        let seconds = || Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0]);
        let mut this = Self {
            registry: Arc::default(),
            batches: Family::default(),
            entries: Counter::default(),
            folded: Counter::default(),
            waiting: Gauge::default(),
            up: Gauge::default(),
            take_seconds: seconds(),
            group: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
            query_seconds: Family::new_with_constructor(seconds),
            slow: Family::default(),
            reviews: Family::default(),
            retained: Counter::default(),
            clean_ups: Family::default(),
            drift: Family::default(),
            drifting: Arc::default(),
            compared_at: Gauge::default(),
            comparisons: Family::default(),
        };
        registry.register("batches", "Batches, by what became of them", this.batches.clone());
        registry.register(
            "entries",
            "Requests and attempts of batches that were taken, those taken before included",
            this.entries.clone(),
        );
        let help = "Requests and attempts that came added up in sums of sidecars, those taken before included";
        registry.register("folded", help, this.folded.clone());
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
        for result in CLEAN_UPS {
            let _ = this.clean_ups.get_or_create(&ResultLabel { result });
        }
        let help = "Clean-ups, by whether all went that was too old";
        registry.register("clean_ups", help, this.clean_ups.clone());
        if compares {
            registry.register(
                "reconciles",
                "Comparisons of the ledger with Prometheus, by what became of them",
                this.comparisons.clone(),
            );
            // As `reconcile --metrics-file` names them: one alert is for both.
            let ledger = whole.sub_registry_with_prefix("bowsprit_ledger");
            ledger.register(
                "drift_tokens",
                "Tokens by which those lines of the last comparison differ that do not close",
                this.drift.clone(),
            );
            ledger.register(
                "reconciled_timestamp_seconds",
                "When the last comparison was",
                this.compared_at.clone(),
            );
        }
        this.registry = Arc::new(whole);
        this
    }

    /// `taken`, `unavailable`, `busy`, or why it was refused.
    pub(crate) fn batch(&self, result: &'static str) {
        self.batches.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn entries(&self, entries: u64, folded: u64) {
        self.entries.inc_by(entries);
        self.folded.inc_by(folded);
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

    /// A clean-up, which is `failed` if something is left that is too old.
    pub(crate) fn retained(&self, retired: &Retired) {
        self.retained.inc_by(retired.rows);
        let [done, failed] = CLEAN_UPS;
        let result = if retired.failed.is_some() { failed } else { done };
        self.clean_ups.get_or_create(&ResultLabel { result }).inc();
    }

    /// What differs as of `at`, seconds since 1970.
    pub(crate) fn compared(&self, drifts: Drifts, at: i64, closes: bool) {
        let mut drifting = locked(&self.drifting);
        let mut gone = std::mem::take(&mut *drifting);
        for ((beside, provider, kind), drift) in drifts {
            let labels = DriftLabels {
                beside,
                provider,
                kind: kind.as_str(),
            };
            self.drift
                .get_or_create(&labels)
                .set(i64::try_from(drift).unwrap_or(i64::MAX));
            gone.remove(&labels);
            drifting.insert(labels);
        }
        for labels in gone {
            self.drift.remove(&labels);
        }
        self.compared_at.set(at);
        let result = if closes { "closes" } else { "open" };
        self.comparisons.get_or_create(&ResultLabel { result }).inc();
    }

    /// Prometheus or the store did not answer.
    pub(crate) fn not_compared(&self) {
        let result = "failed";
        self.comparisons.get_or_create(&ResultLabel { result }).inc();
    }

    /// As OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    /// Where the ledger service's part begins.
    const MARK: &str = "<!-- The ledger service's part, written from ledger/src/service/metrics.rs. -->\n";
    const HEAD: &str = "## The ledger service's families\nOn its admin port 8081. Labels: a batch's `result` is `taken`, `gap`, `malformed`, `version`, \
        `too_large`, `foreign_namespace`, `unauthorized`, `busy` or `unavailable`; a review's `authentic`, `denied`, `allowed`, `forbidden`, `error` or \
        `cached`; a clean-up's `done` or `failed`; `query` is the name of a question. Those of comparisons are there where it is told of a Prometheus (`ledger.reconcile.prometheus`): \
        `beside` is `prometheus`, a comparison's `result` is `closes`, `open` or `failed`, and beyond a hundred providers the others are `other`. \
        What they mean is in [ledger-service.md](ledger-service.md).\n\n\
        | name | type | labels | meaning |\n|---|---|---|---|\n";

    /// Each family once, so that its labels are seen.
    fn driven() -> String {
        let metrics = Metrics::new(true);
        let key = ("prometheus", "claude".to_owned(), crate::reconcile::Kind::Input);
        metrics.compared([(key, 0)].into(), 1, true);
        metrics.batch("taken");
        metrics.queried("stats", Duration::from_secs(1), true);
        metrics.reviewed("authentic");
        metrics.encode().unwrap()
    }

    fn page(exposition: &str) -> String {
        let mut page = String::from(HEAD);
        for line in exposition.lines() {
            let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            let series = |rest: &str| {
                exposition
                    .lines()
                    .find_map(|line| line.strip_prefix(rest))
                    .map(str::to_owned)
            };
            let kind = series(&format!("# TYPE {name} ")).unwrap();
            let (scraped, first) = match kind.as_str() {
                "counter" => (format!("{name}_total"), format!("{name}_total{{")),
                "histogram" => (name.to_owned(), format!("{name}_sum{{")),
                _ => (name.to_owned(), format!("{name}{{")),
            };
            let labels = series(&first).unwrap_or_default();
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            let labels: Vec<_> = labels
                .split(',')
                .filter_map(|pair| Some(format!("`{}`", pair.split_once('=')?.0)))
                .collect();
            let _ = writeln!(
                page,
                "| `{scraped}` | {kind} | {} | {} |",
                labels.join(", "),
                help.trim_end_matches('.')
            );
        }
        page
    }

    #[test]
    fn what_is_no_more_compared_is_no_more_told() {
        let metrics = Metrics::new(true);
        let key = |provider: &str| ("prometheus", provider.to_owned(), crate::reconcile::Kind::Input);
        metrics.compared([(key("claude"), 7), (key("openai"), u128::MAX)].into(), 1, false);
        let told = metrics.encode().unwrap();
        let line = |provider: &str, drift: i64| {
            format!(
                "bowsprit_ledger_drift_tokens{{beside=\"prometheus\",provider=\"{provider}\",kind=\"input\"}} {drift}\n"
            )
        };
        assert!(
            told.contains(&line("claude", 7)) && told.contains(&line("openai", i64::MAX)),
            "{told}"
        );
        metrics.compared([(key("claude"), 0)].into(), 2, true);
        let told = metrics.encode().unwrap();
        assert!(told.contains(&line("claude", 0)) && !told.contains("openai"), "{told}");
        assert!(!Metrics::default().encode().unwrap().contains("drift"));
    }

    /// `make docs` runs it with `BOWSPRIT_WRITE_DOCS=1`, which writes the page instead.
    #[test]
    fn the_page_of_metrics_says_what_the_ledger_services_registry_says() {
        let wanted = page(&driven());
        let now = std::fs::read_to_string(PAGE).unwrap();
        let (others, ours) = now.split_once(MARK).unwrap_or((&now, ""));
        if std::env::var_os("BOWSPRIT_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{others}{MARK}{wanted}")).unwrap();
            return;
        }
        assert!(
            ours == wanted,
            "docs/metrics.md is not what the code says: run 'make docs' and commit the result"
        );
    }
}
