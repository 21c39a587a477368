//! Questions about sums, as SQL that both engines read alike, and their rows. Pure.
//!
//! A window is made of whole days, of the hours before the first and behind the last of them, and of the minutes around those.

use std::fmt::Write as _;

use super::{By, Money, Stat, Window};
use crate::entry::Tokens;
use crate::store::tables::{DAY, HOUR, MINUTE};
use crate::store::text::kept;
use crate::store::{Query, Row, Value};

/// Which sums.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// One namespace; `None`: all.
    pub namespace: Option<&'a str>,
    /// One provider; `None`: all.
    pub provider: Option<&'a str>,
    /// When.
    pub window: Window,
}

/// `$1` to `$6`: first minute, first whole hour, first whole day, end of the last whole day, of the last whole hour, of the last
/// minute; seconds.
fn edges(window: Window) -> [i64; 6] {
    let (from, to) = (
        window.from.div_euclid(1000),
        window.to.saturating_add(999).div_euclid(1000),
    );
    let down = |at: i64, grain: i64| at - at.rem_euclid(grain);
    let up = |at: i64, grain: i64| down(at.saturating_add(grain - 1), grain);
    let (from, to) = (down(from, MINUTE), up(to, MINUTE));
    // Where none is whole in it, it lies behind the finer ones.
    let whole = |from: i64, to: i64, grain: i64| match (up(from, grain), down(to, grain)) {
        (first, last) if first < last => (first, last),
        _ => (to, to),
    };
    let (first_hour, last_hour) = whole(from, to, HOUR);
    let (first_day, last_day) = whole(first_hour, last_hour, DAY);
    [from, first_hour, first_day, last_day, last_hour, to]
}

/// What one part of a sum holds at most, for each row that is added up.
pub(super) const PART: i64 = 1_000_000;

/// The sums of the window as a table `m`, and the parameters that it needs: by `names`, kind and outcome, each of the `summed` columns in
/// two, whole [`PART`]s (`COLUMN_parts`) and what is beyond them (`COLUMN_rest`), so that no sum of what fits into its rows overflows.
///
/// Each part of the window is added up on its own and by few columns, which makes most of its rows few before anything is asked of them.
fn within(scope: &Scope<'_>, names: &str, summed: &[&str]) -> (String, Vec<Value>) {
    let mut parameters: Vec<Value> = edges(scope.window).map(Value::Int).into();
    let only = only(scope, &mut parameters);
    let sums: Vec<_> = summed
        .iter()
        .map(|column| format!("sum({column} / {PART}) AS {column}_parts, sum({column} % {PART}) AS {column}_rest"))
        .collect();
    let sums = sums.join(", ");
    let part = |grain: i64, from: &str, to: &str| {
        format!(
            "SELECT {names}, kind, outcome, {sums} FROM provider_metrics
            WHERE grain = {grain} AND start >= {from} AND start < {to}{only} GROUP BY {names}, kind, outcome"
        )
    };
    let parts = [
        part(DAY, "$3", "$4"),
        part(HOUR, "$2", "$3"),
        part(HOUR, "$4", "$5"),
        part(MINUTE, "$1", "$2"),
        part(MINUTE, "$5", "$6"),
    ];
    (format!("WITH m AS ({})", parts.join(" UNION ALL ")), parameters)
}

/// The end of a condition: which namespace and which provider, as parameters behind those that are there.
pub(super) fn only(scope: &Scope<'_>, parameters: &mut Vec<Value>) -> String {
    let mut only = String::new();
    for (column, value) in [("namespace", scope.namespace), ("provider", scope.provider)] {
        if let Some(value) = value {
            parameters.push(Value::Text(kept(value)));
            let _ = write!(only, " AND {column} = ${}", parameters.len());
        }
    }
    only
}

/// The sum of a column of `m` where a condition holds, in two columns as it is there; [`whole`] reads it.
fn total(condition: &str, column: &str) -> String {
    let of = |half: &str| format!("CAST(sum(CASE WHEN {condition} THEN {column}_{half} ELSE 0 END) AS BIGINT)");
    format!("{}, {}", of("parts"), of("rest"))
}

/// The sum that is in column `index` of a row's columns of [`total`], which begin at `first`.
pub fn whole(row: &Row, first: usize, index: usize) -> i128 {
    let cell = |index: usize| i128::from(row.get(index).map_or(0, Value::int));
    let at = first + 2 * index;
    cell(at) * i128::from(PART) + cell(at + 1)
}

fn if_request(outcomes: &str) -> String {
    total(&format!("kind = 'request' AND outcome IN ({outcomes})"), "count")
}

fn of_attempts(column: &str) -> String {
    total("kind = 'attempt'", column)
}

/// The columns that are a row's namespace, provider and name.
pub(super) fn key(by: By) -> [&'static str; 3] {
    match by {
        By::Provider => ["''", "provider", "provider"],
        By::Model => ["''", "provider", "model"],
        By::Route => ["''", "''", "route"],
        By::Namespace => ["namespace", "''", "namespace"],
        By::Workload => ["namespace", "''", "workload"],
    }
}

/// Names that an answer has rows of its own for.
pub const MOST_NAMES: usize = 10_000;

/// Which names come first, and are in an answer that has no room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Those with the most requests, and then the most attempts.
    Busiest,
    /// Those that cost most; among names without a price, those with the most attempts.
    Dearest,
}

const SUMMED: [&str; 13] = [
    "count",
    "took",
    "input",
    "output",
    "cached",
    "cache_write",
    "reasoning",
    "estimated_input",
    "estimated_output",
    "tokens_unknown",
    "cost_reported",
    "cost_estimated",
    "cost_unknown",
];

/// The columns of a [`Stat`] behind its names.
fn counts() -> String {
    let mut told = vec![total("kind = 'request'", "count")];
    let outcomes = [
        "'ok'",
        "'provider_error', 'own_error', 'cut'",
        "'client_error'",
        "'shed'",
        "'cancelled'",
    ];
    told.extend(outcomes.map(if_request));
    told.push(total("kind = 'request'", "took"));
    told.push(of_attempts("count"));
    told.extend(SUMMED.iter().skip(2).map(|column| of_attempts(column)));
    told.join(", ")
}

/// The names of rows that are told apart by this.
pub(super) fn names(by: By) -> String {
    let mut names: Vec<&str> = key(by).into_iter().filter(|column| *column != "''").collect();
    names.dedup();
    names.join(", ")
}

/// Sums by name, those first that are asked for, and `most` of them.
pub fn stats(scope: &Scope<'_>, by: By, first: First, most: usize) -> Query {
    let names = names(by);
    let (with, parameters) = within(scope, &names, &SUMMED);
    let told = key(by).map(|column| format!("CAST({column} AS TEXT)")).join(", ");
    let of = |kind: &str, columns: &[&str]| {
        let columns: Vec<_> = columns
            .iter()
            .map(|column| format!("{column}_parts * {PART}.0 + {column}_rest"))
            .collect();
        format!(
            "sum(CASE WHEN kind = '{kind}' THEN {} ELSE 0 END) DESC",
            columns.join(" + ")
        )
    };
    let order = match first {
        First::Busiest => of("request", &["count"]),
        First::Dearest => of("attempt", &["cost_reported", "cost_estimated"]),
    };
    let then = of("attempt", &["count"]);
    Query {
        name: "stats",
        sql: format!(
            "{with} SELECT {told}, {} FROM m GROUP BY {names} ORDER BY {order}, {then}, {names} LIMIT {most}",
            counts()
        ),
        parameters,
    }
}

/// The same sums over all names as one row, behind which the number of names is; [`all_names`] reads that.
pub fn all(scope: &Scope<'_>, by: By) -> Query {
    let names = names(by);
    let (with, parameters) = within(scope, &names, &SUMMED);
    Query {
        name: "stats_of_all",
        sql: format!(
            "{with} SELECT CAST('' AS TEXT), CAST('' AS TEXT), CAST('' AS TEXT), {}, (SELECT count(*) FROM (SELECT DISTINCT {names} FROM m) AS named) FROM m",
            counts()
        ),
        parameters,
    }
}

/// How many names the sums of [`all`] are of.
pub fn all_names(row: &Row) -> usize {
    row.last()
        .and_then(|cell| usize::try_from(cell.int()).ok())
        .unwrap_or(0)
}

/// A row of [`stats`].
pub fn stat(row: &Row) -> Stat {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    let sum = |index: usize| whole(row, 3, index);
    let count = |index: usize| u64::try_from(sum(index)).unwrap_or(u64::MAX);
    Stat {
        namespace: text(0),
        provider: text(1),
        name: text(2),
        requests: count(0),
        succeeded: count(1),
        failed: count(2),
        client_errors: count(3),
        shed: count(4),
        cancelled: count(5),
        took: count(6),
        attempts: count(7),
        tokens: Tokens {
            input: count(8),
            output: count(9),
            cached: count(10),
            cache_write: count(11),
            reasoning: count(12),
            estimated_input: count(13),
            estimated_output: count(14),
        },
        tokens_unknown: count(15),
        cost: Money(sum(16)),
        cost_estimated: Money(sum(17)),
        cost_unknown: count(18),
        more: 0,
    }
}

/// Providers that are judged: those with the most attempts. Their names are what pods tell.
const MOST_PROVIDERS: usize = 200;

/// By provider: attempts answered and failed, their durations, and requests answered and cut.
pub fn quality(scope: &Scope<'_>) -> Query {
    let (with, parameters) = within(scope, "provider", &["count", "took"]);
    let attempts =
        |outcomes: &str, column: &str| total(&format!("kind = 'attempt' AND outcome IN ({outcomes})"), column);
    let told = [
        "CAST(provider AS TEXT)".to_owned(),
        attempts("'answered'", "count"),
        attempts("'failed'", "count"),
        attempts("'answered', 'failed'", "took"),
        if_request("'ok', 'cut'"),
        if_request("'cut'"),
    ];
    Query {
        name: "quality",
        sql: format!(
            "{with} SELECT {} FROM m WHERE provider <> '' GROUP BY provider
            ORDER BY sum(CASE WHEN kind = 'attempt' THEN count_parts * {PART}.0 + count_rest ELSE 0 END) DESC, 1 LIMIT {MOST_PROVIDERS}",
            told.join(", ")
        ),
        parameters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_whole_days_the_hours_around_them_and_the_minutes_around_those() {
        let (hour, day) = (|hour: i64| hour * HOUR, |day: i64| day * DAY);
        let window = |from: i64, to: i64| {
            edges(Window {
                from: from * 1000,
                to: to * 1000,
            })
        };
        assert_eq!(window(day(1), day(3)), [day(1), day(1), day(1), day(3), day(3), day(3)]);
        let (from, to) = (day(1) - hour(2) - 90, day(3) + hour(1) + 61);
        let whole = [day(1) - hour(2), day(1), day(3), day(3) + hour(1)];
        assert_eq!(
            window(from, to),
            [whole[0] - 120, whole[0], whole[1], whole[2], whole[3], whole[3] + 120]
        );
        // From noon to noon no day is whole.
        let (from, to) = (hour(12), hour(36));
        assert_eq!(window(from, to), [from, from, to, to, to, to]);
        let (from, to) = (hour(1) - 90, hour(3) + 61);
        assert_eq!(
            window(from, to),
            [hour(1) - 120, hour(1), hour(3), hour(3), hour(3), hour(3) + 120]
        );
        // Between 1:59 and 2:01 there is no whole hour.
        let (from, to) = (hour(2) - 60, hour(2) + 60);
        assert_eq!(window(from, to), [from, to, to, to, to, to]);
    }

    #[test]
    fn what_was_told_is_a_parameter_and_never_text() {
        let hostile = "'; DROP TABLE outboxes; --";
        let scope = Scope {
            namespace: Some(hostile),
            provider: Some("$9"),
            window: Window { from: 0, to: 1 },
        };
        let query = stats(&scope, By::Model, First::Busiest, MOST_NAMES);
        assert!(!query.sql.contains("DROP") && !query.sql.contains("$9"));
        assert!(query.parameters.contains(&Value::Text(hostile.into())));
    }
}
