//! What is spent of the budgets of a policy that pods spend together, and when that is worth a write. Pure: time is passed in.
//!
//! The leader knows what it lends; one that has just begun knows of a budget once a sidecar asks. Until then, and while nobody asks, the
//! last word stays as long as its window runs.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::cost::Picodollars;
use bowsprit_core::spend::book::Budget;
use bowsprit_core::spend::shared::treasury::{Key, Totals};
use bowsprit_crds::BudgetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::status::pace::{LEAP, is_leap, stays};

/// How often it is looked at: money moves without anything that is watched, and what is small of it waits for no look.
pub const LOOK: Duration = Duration::from_mins(1);
/// Percent of an amount from which on it is as good as spent, which is told at once.
const SPENT: u64 = 95;
/// Budgets that a status names: each team, workload, route and run is one.
const MOST: usize = 20;
/// What is beyond any amount by so much is no longer told exactly.
const MOST_PERCENT: u64 = 1_000_000;
/// Picodollars in a millionth of a dollar, which is what amounts are written in.
const MILLIONTH: u64 = 1_000_000;

/// What is spent of these budgets of a policy, by what is lent: those of which most is spent first.
pub fn measured(budgets: &[Arc<Budget>], lent: &[(Key, Totals)], now: Timestamp) -> Vec<BudgetStatus> {
    let status = |(key, totals): &(Key, Totals)| {
        let budget = budgets.iter().find(|budget| *budget.full_name == *key.budget)?;
        let time = |seconds| Timestamp::from_second(seconds).ok().map(Time);
        Some(BudgetStatus {
            name: budget.name.to_string(),
            of: key.of.clone(),
            amount: dollars(totals.amount),
            spent: dollars(totals.spent),
            left: dollars(totals.amount.saturating_sub(totals.spent)),
            spent_percent: totals.spent_percent().min(MOST_PERCENT),
            window_ends: time(totals.window.ends)?,
            as_of: Time(now),
        })
    };
    lent.iter().filter_map(status).collect()
}

/// Whether a budget that was spent so far, in percent, and is `now` is to be looked at before the next time: the first word of it, and each
/// tenth, so that all pods of a namespace that spend at once are as many looks as one.
pub fn is_due(before: Option<u64>, now: Option<u64>) -> bool {
    let step = |percent: u64| (percent.min(100) / LEAP, percent >= SPENT);
    now.map(step) > before.map(step)
}

/// As decimal text of at most six decimals, rounded down.
fn dollars(picodollars: u64) -> String {
    let whole = picodollars / MILLIONTH * MILLIONTH;
    Picodollars::new(i64::try_from(whole).unwrap_or(i64::MAX)).to_string()
}

/// Whether so much more of one is spent than is said `before` that it is told at once. What a leader of before has lent is no news.
pub fn leaps(before: &[BudgetStatus], budgets: &[Arc<Budget>], lent: &[(Key, Totals)]) -> bool {
    lent.iter().any(|(key, totals)| {
        let named = |old: &&BudgetStatus| {
            budgets
                .iter()
                .any(|one| *one.full_name == *key.budget && *one.name == *old.name)
        };
        let old = before.iter().filter(named).find(|old| old.of == key.of);
        let runs = |old: &&BudgetStatus| old.window_ends.0.as_second() == totals.window.ends;
        old.filter(runs)
            .is_some_and(|old| is_leap(old.spent_percent, totals.certain_percent()))
    })
}

/// What the status is to say where it says `before` now, and how long to wait for a look at more. `leaps`: see [`leaps`].
pub fn told(
    before: &[BudgetStatus],
    budgets: &[Arc<Budget>],
    (mut measured, leaps): (Vec<BudgetStatus>, bool),
    now: Timestamp,
) -> (Vec<BudgetStatus>, Option<Duration>) {
    if budgets.is_empty() {
        return (Vec::new(), None);
    }
    // What this leader has not heard of yet, or nobody asks for any more.
    let is_known = |old: &BudgetStatus| measured.iter().any(|new| is_same(old, new));
    let still = |old: &&BudgetStatus| {
        let amount = budgets.iter().find(|budget| *budget.name == *old.name);
        old.window_ends.0 > now && amount.is_some_and(|budget| dollars(budget.amount) == old.amount) && !is_known(old)
    };
    let kept: Vec<BudgetStatus> = before.iter().filter(still).cloned().collect();
    measured.extend(kept);
    measured.sort_by(|a, b| (b.spent_percent, &a.name, &a.of).cmp(&(a.spent_percent, &b.name, &b.of)));
    measured.truncate(MOST);
    let wait = match news(before, &measured) {
        News::None => return (before.to_vec(), Some(LOOK)),
        News::AtOnce => return (measured, Some(LOOK)),
        News::Percent if leaps => return (measured, Some(LOOK)),
        News::Percent => {
            let last = before.iter().map(|old| old.as_of.0).max();
            last.and_then(|last| stays(last, now))
        }
    };
    match wait {
        Some(wait) => (before.to_vec(), Some(wait.min(LOOK))),
        None => (measured, Some(LOOK)),
    }
}

/// The same budget in the same window, of the same amount.
fn is_same(old: &BudgetStatus, new: &BudgetStatus) -> bool {
    let is = |status: &BudgetStatus| (status.name.clone(), status.of.clone(), status.window_ends.clone());
    is(old) == is(new)
}

enum News {
    None,
    /// A whole percent of one.
    Percent,
    /// One is as good as spent, or no longer; its amount is another, or its window is.
    AtOnce,
}

fn news(before: &[BudgetStatus], now: &[BudgetStatus]) -> News {
    let mut news = News::None;
    if before.iter().any(|old| !now.iter().any(|new| is_same(old, new))) {
        news = News::Percent;
    }
    for new in now {
        match before.iter().find(|old| is_same(old, new)) {
            Some(old) if old.amount != new.amount => return News::AtOnce,
            Some(old) if (old.spent_percent >= SPENT) != (new.spent_percent >= SPENT) => return News::AtOnce,
            Some(old) if old.spent_percent == new.spent_percent => {}
            // Another team or run in the company of others is no hurry.
            None if before.is_empty() || new.spent_percent >= SPENT => return News::AtOnce,
            Some(_) | None => news = News::Percent,
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bowsprit_core::spend::book::{Beyond, Spenders};
    use bowsprit_core::spend::window::{Calendar, Division, Window};

    use super::*;

    const DOLLAR: u64 = 1_000_000_000_000;
    const END: i64 = 3_600;

    fn budget(dollars: u64) -> Vec<Arc<Budget>> {
        vec![Arc::new(Budget {
            name: "month".into(),
            policy: "shop".into(),
            full_name: "shop/month".into(),
            amount: dollars * DOLLAR,
            calendar: Calendar::new(Division::Every(NonZeroU32::new(3_600).unwrap()), "UTC").unwrap(),
            warn_at: Vec::new(),
            beyond: Beyond::Stop,
            per: Spenders::Namespace,
            stops_without_operator: true,
        })]
    }

    fn lent(of: &str, amount: u64, spent: u64) -> (Key, Totals) {
        let key = Key {
            namespace: "team".into(),
            budget: "shop/month".into(),
            of: of.into(),
        };
        let window = Window { begins: 0, ends: END };
        let totals = Totals {
            window,
            amount: amount * DOLLAR,
            spent,
            unknown: 0,
            out: spent,
        };
        (key, totals)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spent(picodollars: u64, second: i64) -> Vec<BudgetStatus> {
        measured(&budget(2), &[lent("", 2, picodollars)], at(second))
    }

    #[test]
    fn what_is_spent_and_left_is_told_in_dollars_until_the_windows_end() {
        let told = spent(DOLLAR / 3, 10).remove(0);
        assert_eq!(
            (&*told.name, &*told.of, &*told.amount, &*told.spent, &*told.left),
            ("month", "", "2", "0.333333", "1.666666")
        );
        assert_eq!(
            (told.spent_percent, told.window_ends.0, told.as_of.0),
            (16, at(END), at(10))
        );
        assert_eq!(spent(5 * DOLLAR, 10).remove(0).left, "0", "more than there was");
        let none = measured(&[], &[lent("", 2, 1)], at(10));
        assert_eq!(none, [], "no budget of the policy");
    }

    #[test]
    fn only_a_whole_percent_is_written_and_only_every_two_minutes_but_a_tenth_and_what_is_spent_at_once() {
        let all = budget(2);
        let first = told(&[], &all, (spent(DOLLAR, 10), false), at(10));
        assert_eq!(first, (spent(DOLLAR, 10), Some(LOOK)), "the first at once");
        let known = first.0;
        let same = told(&known, &all, (spent(DOLLAR + 1, 900), false), at(900));
        assert_eq!(same.0, known, "no whole percent");
        let soon = told(&known, &all, (spent(DOLLAR + DOLLAR / 20, 100), false), at(100));
        assert_eq!(soon, (known.clone(), Some(Duration::from_secs(30))));
        let due = told(&known, &all, (spent(DOLLAR + DOLLAR / 20, 130), false), at(130));
        assert_eq!(due.0, spent(DOLLAR + DOLLAR / 20, 130));
        let gone = told(&known, &all, (spent(2 * DOLLAR, 11), false), at(11));
        assert_eq!(gone.0, spent(2 * DOLLAR, 11));
        let (key, mut totals) = lent("", 2, DOLLAR + DOLLAR / 5);
        assert!(leaps(&known, &all, &[(key.clone(), totals)]));
        let leap = told(&known, &all, (spent(DOLLAR + DOLLAR / 5, 11), true), at(11));
        assert_eq!(leap.0, spent(DOLLAR + DOLLAR / 5, 11), "a tenth of it in one second");
        totals.unknown = DOLLAR / 50;
        assert!(
            !leaps(&known, &all, &[(key.clone(), totals)]),
            "a leader of before may have lent it"
        );
        (totals.unknown, totals.window.ends) = (0, END + 1);
        assert!(
            !leaps(&known, &all, &[(key, totals)]),
            "of another window nothing was said"
        );
        let more = measured(&all, &[lent("", 3, DOLLAR)], at(12));
        assert_eq!(
            told(&known, &budget(3), (more.clone(), false), at(12)).0,
            more,
            "another amount"
        );
    }

    #[test]
    fn a_budget_that_ten_thousand_pods_spend_is_looked_at_for_each_tenth_of_it_and_no_more() {
        let mut known = None;
        let mut looks = 0;
        // A pod's ask brings a hundredth of a percent; it goes on far beyond the amount.
        for asks in 0..20_000_u64 {
            let now = Some(asks / 100);
            looks += u32::from(is_due(known, now));
            known = now;
        }
        assert_eq!(looks, 12, "the first, ten tenths, and 95 percent");
        assert!(is_due(Some(94), Some(95)) && !is_due(Some(95), Some(94)) && !is_due(Some(9), None));
    }

    #[test]
    fn a_leader_that_knows_nothing_yet_says_what_was_said_until_the_window_is_over() {
        let known = spent(DOLLAR, 10);
        assert_eq!(told(&known, &budget(2), (Vec::new(), false), at(900)).0, known);
        assert_eq!(told(&known, &budget(2), (Vec::new(), false), at(END)).0, []);
        assert_eq!(
            told(&known, &budget(3), (Vec::new(), false), at(900)).0,
            [],
            "of another amount"
        );
        assert_eq!(
            told(&known, &[], (spent(DOLLAR, 20), false), at(20)),
            (Vec::new(), None)
        );
    }

    #[test]
    fn of_many_teams_those_that_have_spent_most_are_named() {
        let all: Vec<_> = (0..50)
            .map(|team| lent(&format!("team-{team}"), 2, team * DOLLAR / 50))
            .collect();
        let (named, _) = told(&[], &budget(2), (measured(&budget(2), &all, at(10)), false), at(10));
        assert_eq!(
            (named.len(), &*named[0].of, &*named[19].of),
            (MOST, "team-49", "team-30")
        );
    }
}
