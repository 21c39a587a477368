//! `why`: what the ledger has of one request, in words.

mod advice;
mod render;
mod sentence;
mod steps;
#[cfg(test)]
mod tests;
mod timeline;
mod words;

use bowsprit_ledger::query::{Money, Why};
use serde::Serialize;

use crate::args::{ClusterArgs, WhyArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// Asks and tells.
pub(crate) async fn run(cluster: &ClusterArgs, args: &WhyArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let ledger = Ledger::new(&cluster, &args.place);
    let scope = cluster.scope_of_ledger(&args.place);
    let found = ledger.why(scope, &args.id).await?;
    drop(progress);
    if found.is_empty() {
        let place = scope.map_or("any namespace".to_owned(), |namespace| format!("namespace {namespace}"));
        return Err(Failure::Wrong(format!(
            "the ledger has no request {} of {place}: sidecars send what has ended within seconds, and what is older than \
             the ledger's retention is gone{}",
            args.id,
            if scope.is_some() {
                "; -A looks in all namespaces"
            } else {
                ""
            }
        )));
    }
    let stories: Vec<Story> = found.into_iter().map(Story::of).collect();
    Report::new(args.out.output, &stories, true, || {
        render::screen(&stories, screen.paint)
    })
}

/// A request that is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    /// What the caller got, after how long, because of what.
    sentence: String,
    /// What happened, in order.
    steps: Vec<steps::Step>,
    /// What the errors mean.
    meant: Vec<advice::Meant>,
    /// What to do.
    advice: Vec<String>,
    /// What it cost, over all attempts.
    cost: Total,
    /// What the ledger has.
    told: Why,
}

/// What a request cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    /// Of the tokens that providers told.
    reported: Money,
    /// Of tokens that are estimated, beside that.
    estimated: Money,
    /// Attempts of which it is not known.
    unknown: usize,
    /// By which prices.
    prices: Vec<String>,
}

impl Story {
    fn of(why: Why) -> Self {
        Self {
            sentence: sentence::of(&why),
            steps: steps::of(&why),
            meant: advice::meant(&why),
            advice: advice::advice(&why),
            cost: Total::of(&why),
            told: why,
        }
    }
}

impl Total {
    fn of(why: &Why) -> Self {
        let mut total = Self::default();
        for attempt in why.attempts_made.iter().map(|it| &it.attempt) {
            match &attempt.cost {
                Some(cost) if !attempt.tokens_unknown => {
                    total.reported.0 += i128::from(cost.reported);
                    total.estimated.0 += i128::from(cost.estimated);
                    if !cost.version.is_empty() && !total.prices.contains(&cost.version) {
                        total.prices.push(cost.version.clone());
                    }
                }
                _ => total.unknown += 1,
            }
        }
        total
    }
}
