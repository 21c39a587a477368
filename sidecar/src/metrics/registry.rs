//! Registration: one place that knows every family's full name, meaning and labels, so that the page of metrics can be
//! written from it, and that can take a provider's series away when the configuration names it no more.

use std::sync::{Arc, Mutex};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{self, Metric};

use super::money::Dollars;
use super::series::{Counters, Labels, Pool, Seconds, Series};

use crate::sync::locked;

/// What comes before our own names.
const PREFIX: &str = "bowsprit_";

/// Takes away the series of providers for which the answer is no.
type Forget = Box<dyn Fn(&dyn Fn(&str) -> bool) + Send + Sync>;

/// A family as the page shows it.
#[cfg(test)]
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, prefix included.
    pub name: String,
    /// What it counts.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Counter, gauge or histogram.
    pub kind: String,
}

/// The bound on the series of a registry: how many more may be made, and whose may stay.
#[derive(Clone, Default)]
pub struct SeriesBound {
    pool: Arc<Pool>,
    forget: Arc<Mutex<Vec<Forget>>>,
}

impl SeriesBound {
    /// Lets `series` be made for what happens seldom. Those that were made stay.
    pub fn allow(&self, series: usize) {
        self.pool.allow(series);
    }

    /// Takes away the series of providers that are not kept.
    pub fn retain(&self, keep: &dyn Fn(&str) -> bool) {
        for forget in &*locked(&self.forget) {
            forget(keep);
        }
    }

    /// How often something was counted under [`super::OTHER`] for want of room.
    pub fn folded(&self) -> Counter {
        self.pool.folded()
    }
}

/// Where families are registered.
#[derive(Default)]
pub struct Registry {
    inner: registry::Registry,
    bound: SeriesBound,
    /// Every family that was registered, in order.
    #[cfg(test)]
    pub entries: Vec<Entry>,
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
        let counters = Counters::new(Arc::clone(&self.bound.pool));
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
        let sums = Series::new(Arc::clone(&self.bound.pool));
        self.add_series(&sums);
        self.register(name, help, labels, sums.family());
        sums
    }

    /// The same for a sum of money.
    pub fn dollars<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Series<L, Dollars> {
        let sums = Series::new(Arc::clone(&self.bound.pool));
        self.add_series(&sums);
        self.register(name, help, labels, sums.family());
        sums
    }

    fn add_series<L: Labels, M: Clone + Default + Send + Sync + 'static>(&mut self, series: &Series<L, M>) {
        let series = series.clone();
        let mut forget = locked(&self.bound.forget);
        forget.push(Box::new(move |keep| series.retain(keep)));
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

    /// The bound on the series of all families, those registered later included.
    pub fn bound(&self) -> SeriesBound {
        self.bound.clone()
    }

    /// The text exposition.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(32 << 10);
        // Writing into a String cannot fail; a half exposition would be worse than an empty one.
        if encode(&mut out, &self.inner).is_err() {
            out.clear();
        }
        out
    }
}
