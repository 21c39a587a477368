//! What lending counts. Labels are closed sets, and name nobody.

use bowsprit_core::share::allocator::Totals;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The families of limits of the fleet; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    asks: Counter,
    grants: Counter,
    epoch: Gauge,
    limits: Gauge,
    sidecars: Gauge,
    silent: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "share_asks",
            "Asks of sidecars for a share of a limit of the fleet",
            this.asks.clone(),
        );
        registry.register("share_grants", "Shares granted or renewed", this.grants.clone());
        registry.register(
            "share_epoch",
            "Number of this replica's leadership, which its grants carry; 0 where another replica leads",
            this.epoch.clone(),
        );
        registry.register(
            "share_limits",
            "Limits of the fleet that are lent out; 0 where another replica leads",
            this.limits.clone(),
        );
        registry.register(
            "share_sidecars",
            "Sidecars that are counted with a share or a floor, once for each limit; 0 where another replica leads",
            this.sidecars.clone(),
        );
        registry.register(
            "share_silent",
            "Of these, those whose share is over without a word and for which the floor is kept back; 0 where another replica leads",
            this.silent.clone(),
        );
        this
    }

    pub(super) fn asked(&self) {
        self.asks.inc();
    }

    pub(super) fn granted(&self) {
        self.grants.inc();
    }

    pub(super) fn count(&self, epoch: u64, totals: &[Totals]) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.epoch, epoch);
        set(&self.limits, totals.len() as u64);
        set(&self.sidecars, totals.iter().map(|of| of.pods).sum());
        set(&self.silent, totals.iter().map(|of| of.silent).sum());
    }
}
