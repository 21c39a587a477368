//! What the sidecar asks of the operator about budgets that pods spend together, and requests that wait for the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowsprit_core::spend::book::Need;
use bowsprit_core::spend::shared::purses::Held;
use bowsprit_core::spend::shared::{PATIENCE, WRITING};
use bowsprit_core::spend::spending::Refused;
use bowsprit_core::stream::loans::{BudgetKey, WireBorrow, WireLoan};
use tokio::time::{Instant, timeout_at};

use super::shared::Pocket;
use super::{Budgets, Guard, now, tell};
use crate::sync::locked;

impl Budgets {
    /// Whose this sidecar is. To be called before any configuration.
    pub fn belong_to(&self, pocket: Pocket) {
        let _ = self.shared.pocket.set(pocket);
    }

    /// What is to be asked of the operator. `anew`: the stream has just been opened.
    pub fn borrows(&self, anew: bool) -> Vec<WireBorrow> {
        let is_last = self.shared.is_last.load(Ordering::Acquire);
        let asks = locked(&self.book).purses.asks(anew, is_last, now());
        let wire = asks.into_iter().map(|(budget, of, ask)| {
            let key = BudgetKey {
                budget: budget.to_string(),
                of: of.to_string(),
            };
            WireBorrow::new(key, &ask)
        });
        wire.collect()
    }

    /// Takes what the operator lends.
    pub fn lent(&self, loans: &[WireLoan]) {
        for loan in loans {
            let took = locked(&self.book)
                .purses
                .take(&loan.key.budget, &loan.key.of, &loan.loan(), now());
            let Some((before, after)) = took else {
                // Another window runs, or who asks has to count on: it is asked again at once.
                if loan.is_pending && loan.again_ms == 0 {
                    self.shared.urgent.notify_one();
                }
                continue;
            };
            let had = if before.window == after.window { before.spent } else { 0 };
            if let Some(percent) = after.budget.passed(had, after.spent) {
                tell(percent, &after);
            }
        }
        self.changed.notify_one();
        self.shared.look_again();
    }

    /// A request that waits for what is lent.
    pub(super) async fn wait(
        self: &Arc<Self>,
        need: Need,
        route: Option<&str>,
        is_diverted: bool,
    ) -> Result<Guard, Box<Held>> {
        let until = Instant::now() + PATIENCE;
        let mut is_tired = false;
        loop {
            let mut lent = std::pin::pin!(self.shared.lent.notified());
            // First listen, then look: what is lent in between is not missed.
            lent.as_mut().enable();
            match self.try_take(need, route, is_diverted, is_tired) {
                Ok(guard) => return Ok(guard),
                Err(Refused::Held(held)) => return Err(Box::new(held)),
                Err(Refused::Asks) => self.shared.urgent.notify_one(),
            }
            // A mark may have to be written first: then it is asked again.
            let _ = timeout_at(until.min(Instant::now() + WRITING), lent).await;
            is_tired = Instant::now() >= until;
        }
    }

    /// Gives back all that is not spent, and waits until the operator has heard it, or for so long. To be called at the end.
    pub async fn give_back(&self, at_most: Duration) {
        let holds = locked(&self.book)
            .purses
            .standings(now())
            .any(|purse| purse.held > purse.spent_here);
        if self.shared.is_alone() || !holds {
            return;
        }
        let mut lent = std::pin::pin!(self.shared.lent.notified());
        lent.as_mut().enable();
        self.shared.is_last.store(true, Ordering::Release);
        self.shared.urgent.notify_one();
        if tokio::time::timeout(at_most, lent).await.is_err() {
            tracing::info!("no operator has heard what is left of budgets: it counts as spent");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowsprit_core::config::{Config, Scope, load};
    use bowsprit_core::spend::shared::treasury::{Key, Treasury};

    use super::*;
    use crate::metrics::Registry;
    use crate::tenant::budgets::BudgetMetrics;

    const CENT: Need = Need {
        most: 10_000_000_000,
        is_unknown: false,
    };

    fn config(fields: &str) -> Config {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: shop}}\nspec: {{budgets: [{{name: all, \
             amount: '0.1', currency: USD, window: Custom, every: 2160h, {fields}}}]}}\n"
        );
        load(&text, &Scope::Standalone).unwrap()
    }

    fn budgets(config: &Config, has_operator: bool) -> Arc<Budgets> {
        let budgets = Budgets::new(BudgetMetrics::register(&mut Registry::default()));
        budgets.belong_to(Pocket {
            workload: Some("Deployment/checkout".into()),
            pod: "checkout-1".into(),
            has_operator,
        });
        budgets.fit(config);
        budgets
    }

    /// The operator that leads, whose marks are written at once.
    struct Operator {
        treasury: Treasury<&'static str>,
        config: Config,
    }

    impl Operator {
        fn new(config: &Config) -> Self {
            Self {
                treasury: Treasury::new(1, BTreeMap::new()),
                config: config.clone(),
            }
        }

        /// Answers what a sidecar asks now.
        fn answer(&mut self, pod: &'static str, budgets: &Arc<Budgets>) {
            let asks = budgets.borrows(false);
            let loans = asks.iter().map(|ask| {
                let key = Key {
                    namespace: "team".into(),
                    budget: ask.key.budget.clone(),
                    of: ask.key.of.clone(),
                };
                let budget = self.config.budgets().next().unwrap();
                let hear = |treasury: &mut Treasury<_>| {
                    treasury
                        .hear(&key, budget, &pod, &ask.ask(), 2, Duration::ZERO, now())
                        .unwrap()
                };
                let loan = hear(&mut self.treasury);
                let marks = self.treasury.marks("team", now());
                self.treasury.written(&marks);
                // The clock of a purse is not the one that is paused here.
                let again_ms = 0;
                WireLoan {
                    again_ms,
                    ..WireLoan::new(ask.key.clone(), &loan)
                }
            });
            let loans: Vec<_> = loans.collect();
            budgets.lent(&loans);
        }
    }

    /// Answers until a request that waits is through.
    async fn through<T>(waits: impl Future<Output = T>, mut answer: impl FnMut()) -> T {
        let mut waits = std::pin::pin!(waits);
        loop {
            tokio::select! {
                biased;
                through = &mut waits => return through,
                () = tokio::time::sleep(Duration::from_millis(10)) => answer(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_pods_spend_no_more_than_the_amount_together_and_the_refusal_says_whose_it_is() {
        let config = config("per: Workload, withoutOperator: Stop");
        let (one, two) = (budgets(&config, true), budgets(&config, true));
        let mut operator = Operator::new(&config);
        let (mut passed, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            for (pod, budgets) in [("one", &one), ("two", &two)] {
                match through(budgets.take(CENT, None, false), || operator.answer(pod, budgets)).await {
                    Ok(guard) => passed.push(guard),
                    Err(held) => refused.push(held),
                }
            }
        }
        assert_eq!((passed.len(), refused.len()), (10, 30));
        let held = refused.last().unwrap();
        assert_eq!((&*held.of, held.is_without), ("Deployment/checkout", false));
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_operator_answers_one_request_waits_and_the_others_go_on_or_are_stopped() {
        for (fields, passes) in [("per: Namespace", 10), ("per: Namespace, withoutOperator: Stop", 0)] {
            let budgets = budgets(&config(fields), true);
            let begun = Instant::now();
            let first = budgets.take(CENT, None, false).await;
            assert_eq!(begun.elapsed(), PATIENCE, "{fields}");
            let mut all = vec![first];
            for _ in 0..19 {
                all.push(budgets.take(CENT, None, false).await);
            }
            assert_eq!(begun.elapsed(), PATIENCE, "{fields}");
            assert_eq!(all.iter().filter(|taken| taken.is_ok()).count(), passes, "{fields}");
            let held = all.iter().find_map(|taken| taken.as_ref().err()).unwrap();
            assert_eq!(held.is_without, passes == 0);
            let report = budgets.report().remove(0).shared.unwrap();
            assert!(report.is_without_operator);
        }
        // There is none to wait for.
        let alone = budgets(&config("per: Namespace"), false);
        let begun = Instant::now();
        assert!(alone.take(CENT, None, false).await.is_ok());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_graceful_end_what_is_not_spent_is_given_back() {
        let config = config("per: Namespace");
        let budgets = budgets(&config, true);
        let mut operator = Operator::new(&config);
        let guard = through(budgets.take(CENT, None, false), || operator.answer("one", &budgets)).await;
        drop(guard.unwrap());
        let out = |operator: &Operator| operator.treasury.totals().next().unwrap().1.out;
        assert!(out(&operator) > 0);
        through(budgets.give_back(Duration::from_secs(1)), || {
            operator.answer("one", &budgets);
        })
        .await;
        assert_eq!(out(&operator), 0);
    }
}
