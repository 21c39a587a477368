//! Holds the ledger against what Prometheus counted, again and again, so that somebody is told when it does not close.

use std::sync::Arc;
use std::time::Duration;

use super::metrics::Metrics;
use super::now;
use crate::query::Window;
use crate::reconcile::exposition::drifts;
use crate::reconcile::run::{MOST_MODELS, ask, client, held};
use crate::reconcile::{Line, beside_prometheus};
use crate::store::Store;

/// How much of time is compared, milliseconds.
const WINDOW: i64 = 3600 * 1000;
/// How long ago it ended, milliseconds: a sidecar tries again within a minute, and Prometheus scrapes more often than that.
const LAG: i64 = 10 * 60 * 1000;
const MINUTE: i64 = 60 * 1000;

/// What to compare with, and how often.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Its URL.
    pub prometheus: String,
    /// From one comparison to the next, and to the first: after a start sidecars send what they have kept meanwhile.
    pub every: Duration,
}

impl Watch {
    /// Runs until dropped.
    pub async fn run(self, store: Arc<dyn Store>, metrics: Metrics) {
        loop {
            tokio::time::sleep(self.every).await;
            match self.compared(&*store, now()).await {
                Ok(lines) => {
                    let open = lines.iter().filter(|line| !line.closes()).count();
                    if open > 0 {
                        tracing::warn!(
                            lines = open,
                            "the ledger and Prometheus differ: `bowsprit-ledger reconcile` shows where"
                        );
                    }
                    metrics.compared(drifts(&[("prometheus", lines)]), now().div_euclid(1000), open == 0);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(%error, "the ledger cannot be held against Prometheus, will try again");
                    metrics.not_compared();
                }
            }
        }
    }

    async fn compared(&self, store: &dyn Store, now: i64) -> anyhow::Result<Vec<Line>> {
        let window = window(now);
        let counted = ask(&client()?, &self.prometheus, None, window, now).await?;
        let ledger = held(store, None, window, MOST_MODELS).await?;
        Ok(beside_prometheus(&ledger, &counted))
    }
}

/// The hour that ended ten minutes ago, in whole minutes as the ledger's sums are.
fn window(now: i64) -> Window {
    let to = (now - LAG).div_euclid(MINUTE) * MINUTE;
    Window { from: to - WINDOW, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_compared_that_is_over_for_sidecars_and_scrapes() {
        let now = 1_790_000_059_999;
        let Window { from, to } = window(now);
        assert_eq!((from % MINUTE, to % MINUTE, to - from), (0, 0, WINDOW));
        assert!((LAG..LAG + MINUTE).contains(&(now - to)), "{to}");
    }
}
