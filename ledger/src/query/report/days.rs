//! Days that are over are judged once, of all namespaces, and kept: a report of a month reads neither each of its minutes again nor each
//! request that was turned away.
//!
//! A kept day is asked only where its requests are as many as they were when it was judged. Sums only grow while they are kept, so what has
//! come since, whoever took it, is found by that; they are read again then, until the next clean-up has judged the day anew.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::sums::{PART, Scope};
use super::super::{By, MINUTES_KEPT, Window};
use super::judged::judged;
use super::refused::turned_away;
use crate::store::tables::{DAY, MINUTE};
use crate::store::{Error, Keep, Query, Row, Store, Value};

/// Milliseconds of a day.
const LONG: i64 = DAY * 1000;
/// For how long a day is over before it is judged, milliseconds: what comes later, as of a pod that was cut off, costs judging it again.
const LATE: i64 = 10 * 60 * 1000;
/// What a day has beside what names are told apart by: who was turned away by which rule.
pub const RULES: &str = "rules";
/// What a day is kept in, and by which reading of its requests: another number where what counts as good, bad or turned away is another, or what is
/// kept of it. Days of another one are judged anew.
const FORM: u32 = 1;
/// The longest text of a day, bytes: thousands of names. What is longer, which names that somebody made up can make it, is read each time, or a month
/// of such days would not fit into the service's memory.
const LONGEST: usize = 1 << 20;
/// So many days that cannot be judged are enough for one time.
const MOST_FAILURES: u32 = 3;

/// The requests of each day that begins between `$1` and `$2`, in two, as [`PART`] has it. A sum that is full does not grow.
fn requests() -> String {
    format!(
        "SELECT start, sum(count / {PART}) AS parts, sum(count % {PART}) AS rest FROM provider_metrics
        WHERE grain = {DAY} AND start >= $1 AND start < $2 AND kind = 'request' GROUP BY start HAVING max(count) < {}",
        i64::MAX
    )
}

/// What stands in the table for it.
fn form_of(told_by: &str) -> String {
    format!("{told_by}.{FORM}")
}

/// The kept days of these that are as they were judged.
pub fn kept(days: Window, told_by: &str) -> Query {
    Query {
        name: "report_days",
        sql: format!(
            "WITH d AS MATERIALIZED ({})
            SELECT j.start, j.told FROM judged_days j JOIN d ON d.start = j.start AND d.parts = j.requests_parts AND d.rest = j.requests_rest
            WHERE j.told_by = $3 ORDER BY j.start",
            requests()
        ),
        parameters: vec![Value::Int(days.from / 1000), Value::Int(days.to / 1000), Value::Text(form_of(told_by))],
    }
}

/// Those of these days that are not kept, or not as they are now, the newest first; with how many requests they have.
pub fn stale(days: Window) -> Query {
    let all = By::ALL.map(By::as_str).into_iter().chain([RULES]);
    let all: Vec<String> = all.map(|told_by| format!("'{}'", form_of(told_by))).collect();
    let (names, count) = (all.join(", "), all.len());
    Query {
        name: "report_days_stale",
        sql: format!(
            "WITH d AS MATERIALIZED ({})
            SELECT d.start, CAST(d.parts AS BIGINT), CAST(d.rest AS BIGINT) FROM d
            WHERE (SELECT count(*) FROM judged_days j WHERE j.start = d.start AND j.requests_parts = d.parts AND j.requests_rest = d.rest
                AND j.told_by IN ({names})) < {count}
            ORDER BY d.start DESC",
            requests()
        ),
        parameters: vec![Value::Int(days.from / 1000), Value::Int(days.to / 1000)],
    }
}

/// Keeps what is told of a day, with how many requests it has as `stale` told it.
fn keep(day: &Row, told_by: &str, told: String) -> Query {
    let number = |index: usize| Value::Int(day.get(index).map_or(0, Value::int));
    Query {
        name: "report_days_keep",
        sql: "INSERT INTO judged_days (start, told_by, requests_parts, requests_rest, told) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (start, told_by) DO UPDATE SET requests_parts = excluded.requests_parts, requests_rest = excluded.requests_rest, told = excluded.told"
            .to_owned(),
        parameters: vec![number(0), Value::Text(form_of(told_by)), number(1), number(2), Value::Text(told)],
    }
}

/// As a day is kept; empty where it cannot be added to others, or is too long: it is read each time.
fn text<T: Serialize>(judged: &T, is_whole: bool) -> String {
    let text = is_whole.then(|| serde_json::to_string(judged).unwrap_or_default());
    text.filter(|text| text.len() <= LONGEST).unwrap_or_default()
}

/// Whole days of a window, milliseconds.
fn whole_days(window: Window) -> Window {
    let begin = |at: i64| at.div_euclid(LONG).saturating_mul(LONG);
    Window {
        from: begin(window.from.saturating_add(LONG - 1)),
        to: begin(window.to),
    }
}

/// The days of a window over all namespaces that need not be judged again: when each begins, milliseconds since 1970. None where they cannot be had:
/// all that they tell is told by what they were judged by.
async fn told<T: DeserializeOwned>(store: &dyn Store, window: Window, told_by: &str) -> Vec<(i64, T)> {
    let days = whole_days(window);
    if days.from >= days.to {
        return Vec::new();
    }
    let rows = match store.query(kept(days, told_by)).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(%error, "judged days cannot be read: the report reads their minutes and requests");
            return Vec::new();
        }
    };
    let day = |row: &Row| match row.as_slice() {
        [Value::Int(start), Value::Text(told)] => Some((start * 1000, serde_json::from_str(told).ok()?)),
        _ => None,
    };
    rows.iter().filter_map(day).collect()
}

/// A period in parts that add up: the days of it that are kept by this name, and what is left as `ask` tells it. All of it as one part where no day is
/// kept or may be asked, and where a part is cut: what was left out is told by all of the period, and by no part of it.
pub(super) async fn parts<T: DeserializeOwned, F: Future<Output = Result<T, Error>>>(
    store: &dyn Store,
    scope: &Scope<'_>,
    told_by: Option<&str>,
    is_whole: impl Fn(&T) -> bool,
    ask: impl Fn(Window) -> F,
) -> Result<Vec<T>, Error> {
    let days = match told_by {
        Some(told_by) => told::<T>(store, scope.window, told_by).await,
        None => Vec::new(),
    };
    if !days.is_empty() {
        let rest = rest(scope.window, days.iter().map(|(day, _)| *day));
        let rest = futures::future::try_join_all(rest.into_iter().map(&ask)).await?;
        if rest.iter().all(is_whole) {
            return Ok(days.into_iter().map(|(_, day)| day).chain(rest).collect());
        }
    }
    Ok(vec![ask(scope.window).await?])
}

/// What is left of a window without these days, which are in order.
fn rest(window: Window, days: impl IntoIterator<Item = i64>) -> Vec<Window> {
    let (mut from, mut rest) = (window.from, Vec::new());
    for day in days {
        rest.push(Window { from, to: day });
        from = day.saturating_add(LONG);
    }
    rest.push(Window { from, to: window.to });
    rest.retain(|part| part.from < part.to);
    rest
}

/// The days that are over and whose minutes are kept.
fn over(keeps: Keep, now: i64) -> Window {
    let minutes = now
        .saturating_sub(MINUTES_KEPT * LONG)
        .div_euclid(LONG)
        .saturating_add(1)
        * LONG;
    let oldest = minutes.max(Keep::oldest_sums(keeps.hours, now).saturating_mul(1000));
    whole_days(Window {
        from: oldest,
        to: now.saturating_sub(LATE),
    })
}

/// Before this, milliseconds since 1970, requests are not kept one by one.
fn oldest_detail(keeps: Keep, now: i64) -> i64 {
    now.saturating_sub(i64::try_from(keeps.detail.as_millis()).unwrap_or(i64::MAX))
}

/// Forgets days whose sums are not kept any more, and who was turned away on those whose requests are not. To be done before these are dropped: what
/// they told is told no longer than they are.
pub async fn forget(store: &dyn Store, keeps: Keep, now: i64) -> Result<(), Error> {
    let forget = |sql: String, before: i64| Query {
        name: "report_days_forget",
        sql,
        parameters: vec![Value::Int(before.div_euclid(1000))],
    };
    let rules = form_of(RULES);
    let rules = format!("UPDATE judged_days SET told = '' WHERE told_by = '{rules}' AND start <= $1 AND told <> ''");
    store
        .note(vec![
            forget(
                "DELETE FROM judged_days WHERE start < $1".to_owned(),
                over(keeps, now).from,
            ),
            forget(rules, oldest_detail(keeps, now)),
        ])
        .await
}

/// Judges the days that are over and not kept as they are, the newest first. Begins none once it is at it for `most`. How many it judged.
pub async fn judge(
    store: &dyn Store,
    keeps: Keep,
    now: i64,
    most: Duration,
    passed: impl Fn() -> Duration,
) -> Result<u32, Error> {
    let detail = oldest_detail(keeps, now);
    let (mut made, mut failures) = (0, 0);
    for day in store.query(stale(over(keeps, now))).await? {
        if passed() >= most {
            break;
        }
        match judge_one(store, &day, detail).await {
            Ok(()) => made += 1,
            Err(error @ Error::TooSlow(..)) if failures >= MOST_FAILURES => return Err(error),
            Err(Error::TooSlow(..)) => failures += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// How many requests it has was read before all else is: what comes in between makes it stale.
async fn judge_one(store: &dyn Store, day: &Row, detail: i64) -> Result<(), Error> {
    let from = day.first().map_or(0, Value::int).saturating_mul(1000);
    let scope = Scope {
        namespace: None,
        provider: None,
        window: Window {
            from,
            to: from.saturating_add(LONG),
        },
    };
    let mut statements = Vec::new();
    for by in By::ALL {
        let judged = judged(store, &scope, by, MINUTE).await?;
        statements.push(keep(day, by.as_str(), text(&judged, judged.is_whole())));
    }
    let rules = turned_away(store, &scope).await?;
    let is_whole = rules.is_whole() && from > detail;
    statements.push(keep(day, RULES, text(&rules, is_whole)));
    store.note(statements).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_window_are_its_parts_between_the_days() {
        let parts = |from: i64, to: i64, days: &[i64]| -> Vec<(i64, i64)> {
            let days = days.iter().map(|day| day * LONG);
            let parts = rest(Window { from, to }, days);
            parts.iter().map(|part| (part.from, part.to)).collect()
        };
        let day = |day: i64| day * LONG;
        assert_eq!(parts(5, 9, &[]), [(5, 9)]);
        assert_eq!(parts(day(1), day(3), &[1, 2]), []);
        assert_eq!(
            parts(day(1) - 5, day(5) + 5, &[1, 2, 4]),
            [(day(1) - 5, day(1)), (day(3), day(4)), (day(5), day(5) + 5)]
        );
    }

    #[test]
    fn a_day_is_whole_or_none() {
        let days = |from, to| {
            let Window { from, to } = whole_days(Window { from, to });
            (from / LONG, to / LONG)
        };
        assert_eq!(days(LONG, 3 * LONG), (1, 3));
        assert_eq!(days(LONG + 1, 3 * LONG - 1), (2, 2));
        assert_eq!(days(LONG + 1, LONG + 2), (2, 1));
        // Whatever somebody asks about.
        let (from, to) = days(i64::MIN, i64::MAX);
        assert!(from < 0 && to > 0);
        assert!(days(i64::MIN, i64::MIN).1 <= days(i64::MIN, i64::MIN).0);
    }
}
