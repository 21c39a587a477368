//! What lending budgets counts. Labels are closed sets, and name nobody.

use bowsprit_core::spend::shared::treasury::Totals;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The families of budgets that pods spend together; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    asks: Family<ResultLabel, Counter>,
    writes: Family<ResultLabel, Counter>,
    budgets: Gauge,
    spent: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "budget_asks",
            "Asks of sidecars about budgets that pods spend together",
            this.asks.clone(),
        );
        registry.register(
            "budget_mark_writes",
            "Writes of how much of such budgets may be out, ahead of lending it",
            this.writes.clone(),
        );
        registry.register(
            "budgets_lent",
            "Budgets that pods spend together and that are lent out, each team, workload, route and Job run by itself; 0 where another replica leads",
            this.budgets.clone(),
        );
        registry.register(
            "budgets_spent",
            "Of these, those of which 95 % or more are spent in the window that runs; 0 where another replica leads",
            this.spent.clone(),
        );
        for result in ["ok", "error"] {
            drop(this.writes.get_or_create(&ResultLabel { result }));
        }
        for result in ["ok", "no_pod"] {
            drop(this.asks.get_or_create(&ResultLabel { result }));
        }
        this
    }

    pub(super) fn asked(&self) {
        self.asks.get_or_create(&ResultLabel { result: "ok" }).inc();
    }

    /// So many of one whose pod is not known.
    pub(super) fn strangers(&self, asks: usize) {
        let asks = u64::try_from(asks).unwrap_or(u64::MAX);
        self.asks.get_or_create(&ResultLabel { result: "no_pod" }).inc_by(asks);
    }

    pub(super) fn wrote(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "error" };
        self.writes.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn count(&self, all: impl Iterator<Item = Totals>) {
        let (mut budgets, mut spent) = (0, 0);
        for totals in all {
            budgets += 1;
            spent += i64::from(u128::from(totals.spent) * 100 >= u128::from(totals.amount) * 95);
        }
        self.budgets.set(budgets);
        self.spent.set(spent);
    }
}
