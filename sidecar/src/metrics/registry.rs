//! Registration: one place that knows every family's full name, meaning and labels, so that the page of metrics can be
//! written from it, and that can take a provider's series away when the configuration names it no more.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{self, Metric};

use super::series::{Counters, Labels, Pool, Seconds, Series};

/// What comes before our own names.
const PREFIX: &str = "bowsprit_";

/// Takes away the series of providers for which the answer is no.
type Forget = Box<dyn Fn(&dyn Fn(&str) -> bool) + Send + Sync>;

/// A family as the page shows it.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: String,
    pub help: &'static str,
    pub labels: &'static [&'static str],
    pub kind: String,
}

/// Where families are registered.
#[derive(Default)]
pub struct Registry {
    inner: registry::Registry,
    pool: Arc<Pool>,
    forget: Vec<Forget>,
    #[cfg(test)]
    pub(super) entries: Vec<Entry>,
}

impl Registry {
    /// Registers `bowsprit_<name>`: a gauge, a histogram, or a counter whose series are few by nature.
    pub fn register(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        metric: impl Metric,
    ) {
        self.add(format!("{PREFIX}{name}"), help, labels, metric);
    }

    /// Registers a family whose name is not ours: `OpenTelemetry`'s, Prometheus' process families.
    pub fn register_foreign(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        metric: impl Metric,
    ) {
        self.add(name.to_owned(), help, labels, metric);
    }

    /// Registers `bowsprit_<name>_total` with labels: its series draw on the common pool ([`Series::get`]).
    pub fn counters<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Counters<L> {
        let counters = Counters::new(Arc::clone(&self.pool));
        self.add_series(&counters);
        self.register(name, help, labels, counters.family());
        counters
    }

    /// The same for a sum of seconds.
    pub fn seconds<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Series<L, Seconds> {
        let sums = Series::new(Arc::clone(&self.pool));
        self.add_series(&sums);
        self.register(name, help, labels, sums.family());
        sums
    }

    fn add_series<L: Labels, M: Clone + Default + Send + Sync + 'static>(&mut self, series: &Series<L, M>) {
        let series = series.clone();
        self.forget.push(Box::new(move |keep| series.retain(keep)));
    }

    fn add(&mut self, name: String, help: &'static str, labels: &'static [&'static str], metric: impl Metric) {
        #[cfg(test)]
        self.entries.push(Entry {
            name: name.clone(),
            help,
            labels,
            kind: metric.metric_type().as_str().to_owned(),
        });
        let _ = labels;
        self.inner.register(name, help, metric);
    }

    /// The pool that rare series draw on.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Takes away the series of providers that are not kept.
    pub(super) fn retain(&self, keep: &dyn Fn(&str) -> bool) {
        for forget in &self.forget {
            forget(keep);
        }
    }

    /// The text exposition.
    pub(super) fn encode(&self) -> String {
        let mut out = String::with_capacity(32 << 10);
        // Writing into a String cannot fail; a half exposition would be worse than an empty one.
        if encode(&mut out, &self.inner).is_err() {
            out.clear();
        }
        out
    }
}
