//! Questions about sums, as SQL that both engines read alike, and their rows. Pure.
//!
//! A window is made of whole hours, and of the minutes before the first and behind the last of them.

use std::fmt::Write as _;

use super::{By, Money, Stat, Window};
use crate::entry::Tokens;
use crate::store::text::kept;
use crate::store::{Query, Row, Value};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

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

/// `$1` to `$4`: first minute, first whole hour, end of the last whole hour, end of the last minute; seconds.
fn edges(window: Window) -> [i64; 4] {
    let (from, to) = (
        window.from.div_euclid(1000),
        window.to.saturating_add(999).div_euclid(1000),
    );
    let down = |at: i64, grain: i64| at - at.rem_euclid(grain);
    let up = |at: i64, grain: i64| down(at.saturating_add(grain - 1), grain);
    let (from, to) = (down(from, MINUTE), up(to, MINUTE));
    let (first, last) = (up(from, HOUR), down(to, HOUR));
    if first >= last {
        // No whole hour in it.
        return [from, to, to, to];
    }
    [from, first, last, to]
}

/// The rows of the window as a table `m`, and the parameters that it needs.
fn within(scope: &Scope<'_>, columns: &str) -> (String, Vec<Value>) {
    let mut parameters: Vec<Value> = edges(scope.window).map(Value::Int).into();
    let mut only = String::new();
    for (column, value) in [("namespace", scope.namespace), ("provider", scope.provider)] {
        if let Some(value) = value {
            parameters.push(Value::Text(kept(value)));
            let _ = write!(only, " AND {column} = ${}", parameters.len());
        }
    }
    let part = |grain: i64, from: &str, to: &str| {
        format!(
            "SELECT {columns} FROM provider_metrics WHERE grain = {grain} AND start >= {from} AND start < {to}{only}"
        )
    };
    let parts = [
        part(HOUR, "$2", "$3"),
        part(MINUTE, "$1", "$2"),
        part(MINUTE, "$3", "$4"),
    ];
    (format!("WITH m AS ({})", parts.join(" UNION ALL ")), parameters)
}

fn total(expression: &str) -> String {
    format!("CAST(sum({expression}) AS BIGINT)")
}

fn if_request(outcomes: &str) -> String {
    total(&format!(
        "CASE WHEN kind = 'request' AND outcome IN ({outcomes}) THEN count ELSE 0 END"
    ))
}

fn of_attempts(column: &str) -> String {
    total(&format!("CASE WHEN kind = 'attempt' THEN {column} ELSE 0 END"))
}

/// An amount in two parts, so that a fleet's sum does not overflow: whole microdollars, and picodollars beyond them.
fn amount(column: &str) -> String {
    format!(
        "{}, {}",
        of_attempts(&format!("{column} / 1000000")),
        of_attempts(&format!("{column} % 1000000"))
    )
}

fn key(by: By) -> [&'static str; 3] {
    match by {
        By::Provider => ["''", "provider", "provider"],
        By::Model => ["''", "provider", "model"],
        By::Route => ["''", "''", "route"],
        By::Namespace => ["namespace", "''", "namespace"],
        By::Workload => ["namespace", "''", "workload"],
    }
}

/// Sums by name, largest first.
pub fn stats(scope: &Scope<'_>, by: By) -> Query {
    let columns = "namespace, workload, route, provider, model, kind, outcome, count, took, input, output, cached, cache_write, reasoning,
        estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown";
    let (with, parameters) = within(scope, columns);
    let key = key(by);
    let tokens = [
        "input",
        "output",
        "cached",
        "cache_write",
        "reasoning",
        "estimated_input",
        "estimated_output",
    ];
    let mut told: Vec<String> = key.iter().map(|column| format!("CAST({column} AS TEXT)")).collect();
    told.push(total("CASE WHEN kind = 'request' THEN count ELSE 0 END"));
    let outcomes = [
        "'ok'",
        "'provider_error', 'own_error', 'cut'",
        "'client_error'",
        "'shed'",
        "'cancelled'",
    ];
    told.extend(outcomes.map(if_request));
    told.push(total("CASE WHEN kind = 'request' THEN took ELSE 0 END"));
    told.push(of_attempts("count"));
    told.extend(tokens.map(of_attempts));
    told.push(of_attempts("tokens_unknown"));
    told.extend([
        amount("cost_reported"),
        amount("cost_estimated"),
        of_attempts("cost_unknown"),
    ]);
    let groups: Vec<&str> = key.into_iter().filter(|column| *column != "''").collect();
    let (told, groups) = (told.join(", "), groups.join(", "));
    Query {
        name: "stats",
        sql: format!("{with} SELECT {told} FROM m GROUP BY {groups} ORDER BY 4 DESC, 3 LIMIT 10000"),
        parameters,
    }
}

/// A row of [`stats`].
pub fn stat(row: &Row) -> Stat {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    let int = |index: usize| row.get(index).map_or(0, Value::int);
    let count = |index: usize| u64::try_from(int(index)).unwrap_or(0);
    let money = |index: usize| Money(i128::from(int(index)) * 1_000_000 + i128::from(int(index + 1)));
    Stat {
        namespace: text(0),
        provider: text(1),
        name: text(2),
        requests: count(3),
        succeeded: count(4),
        failed: count(5),
        client_errors: count(6),
        shed: count(7),
        cancelled: count(8),
        took: count(9),
        attempts: count(10),
        tokens: Tokens {
            input: count(11),
            output: count(12),
            cached: count(13),
            cache_write: count(14),
            reasoning: count(15),
            estimated_input: count(16),
            estimated_output: count(17),
        },
        tokens_unknown: count(18),
        cost: money(19),
        cost_estimated: money(21),
        cost_unknown: count(23),
    }
}

/// By provider: attempts answered and failed, their durations, and requests answered and cut.
pub fn quality(scope: &Scope<'_>) -> Query {
    let (with, parameters) = within(scope, "provider, kind, outcome, count, took");
    let attempts = |outcomes: &str, column: &str| {
        total(&format!(
            "CASE WHEN kind = 'attempt' AND outcome IN ({outcomes}) THEN {column} ELSE 0 END"
        ))
    };
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
            "{with} SELECT {} FROM m WHERE provider <> '' GROUP BY provider ORDER BY 1",
            told.join(", ")
        ),
        parameters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_whole_hours_and_the_minutes_around_them() {
        let hour = |hour: i64| hour * HOUR;
        let window = |from: i64, to: i64| {
            edges(Window {
                from: from * 1000,
                to: to * 1000,
            })
        };
        assert_eq!(window(hour(1), hour(3)), [hour(1), hour(1), hour(3), hour(3)]);
        let (from, to) = (hour(1) - 90, hour(3) + 61);
        assert_eq!(window(from, to), [hour(1) - 120, hour(1), hour(3), hour(3) + 120]);
        let (from, to) = (hour(1) + 60, hour(1) + 120);
        assert_eq!(window(from, to), [from, to, to, to]);
        let (from, to) = (hour(2) - 60, hour(2) + 60);
        // Between 1:59 and 2:01 there is no whole hour.
        assert_eq!(window(from, to), [from, to, to, to]);
    }

    #[test]
    fn what_was_told_is_a_parameter_and_never_text() {
        let hostile = "'; DROP TABLE outboxes; --";
        let scope = Scope {
            namespace: Some(hostile),
            provider: Some("$9"),
            window: Window { from: 0, to: 1 },
        };
        let query = stats(&scope, By::Model);
        assert!(!query.sql.contains("DROP") && !query.sql.contains("$9"));
        assert!(query.parameters.contains(&Value::Text(hostile.into())));
    }
}
