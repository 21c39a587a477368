//! The questions of reports, as SQL that both engines read alike. Pure.

use std::fmt::Write as _;

use super::super::sums::{MOST_NAMES, PART, Scope, key, names, only};
use super::super::{By, Window};
use super::{MOST_HOURS, MOST_REFUSALS};
use crate::store::tables::HOUR;
use crate::store::{Query, Value};

/// How requests end that are not as an objective wants them.
const BAD: &str = "'provider_error', 'own_error', 'cut', 'shed'";
/// The percentiles of durations.
const RANKS: [u32; 3] = [50, 95, 99];

/// The names of a row, as an answer has them.
fn told(by: By) -> String {
    key(by).map(|column| format!("CAST({column} AS TEXT)")).join(", ")
}

/// Good and bad requests by name and window of this grain, of the windows that begin between `$1` and `$2`. A sum of no requests, which a pod
/// may tell, is none of a window. `counted` makes the columns of
/// one of the two of its outcomes and its name.
fn judged(scope: &Scope<'_>, by: By, grain: i64, counted: impl Fn(&str, &str) -> String) -> (String, Vec<Value>) {
    let second = |at: i64| at.div_euclid(1000);
    let down = |at: i64| second(at) - second(at).rem_euclid(grain);
    let Window { from, to } = scope.window;
    let up = down(to.saturating_add(grain * 1000 - 1));
    let mut parameters = vec![Value::Int(down(from)), Value::Int(up)];
    let (names, only) = (names(by), only(scope, &mut parameters));
    let (good, bad) = (counted("'ok'", "good"), counted(BAD, "bad"));
    let sql = format!(
        "SELECT {names}, start, {good}, {bad} FROM provider_metrics
        WHERE grain = {grain} AND start >= $1 AND start < $2 AND kind = 'request' AND count > 0 AND outcome IN ('ok', {BAD}){only}
        GROUP BY {names}, start"
    );
    (sql, parameters)
}

/// The sum of what a column has of these outcomes.
fn sum(outcomes: &str, column: &str) -> String {
    format!("sum(CASE WHEN outcome IN ({outcomes}) THEN {column} ELSE 0 END)")
}

/// By name: windows of this grain with requests, those of them in which nothing was bad, and those in which at least half was.
pub fn windows(scope: &Scope<'_>, by: By, grain: i64) -> Query {
    // To be compared alone: such a number overflows never, and a fleet's minutes are many.
    let (inner, parameters) = judged(scope, by, grain, |outcomes, name| {
        format!("{} AS {name}", sum(outcomes, "CAST(count AS DOUBLE PRECISION)"))
    });
    Query {
        name: "report_windows",
        sql: format!(
            "SELECT {}, CAST(count(*) AS BIGINT), CAST(sum(CASE WHEN bad = 0 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN bad >= good THEN 1 ELSE 0 END) AS BIGINT)
            FROM ({inner}) AS w GROUP BY {names} ORDER BY 4 DESC, {names} LIMIT {MOST_NAMES}",
            told(by),
            names = names(by),
        ),
        parameters,
    }
}

/// The hours in which most was bad, with what was good in them.
pub fn worst(scope: &Scope<'_>, by: By) -> Query {
    // Each count in two, as `PART` has it.
    let (inner, parameters) = judged(scope, by, HOUR, |outcomes, name| {
        let [parts, rest] = ["/", "%"].map(|half| sum(outcomes, &format!("count {half} {PART}")));
        format!("{parts} AS {name}_parts, {rest} AS {name}_rest")
    });
    let halves = ["good_parts", "good_rest", "bad_parts", "bad_rest"].map(|half| format!("CAST({half} AS BIGINT)"));
    let bad = format!("(bad_parts * {PART}.0 + bad_rest)");
    Query {
        name: "report_worst",
        sql: format!(
            "SELECT {}, start, {} FROM ({inner}) AS h WHERE bad_parts > 0 OR bad_rest > 0 ORDER BY {bad} DESC, start, {} LIMIT {MOST_HOURS}",
            told(by),
            halves.join(", "),
            names(by),
        ),
        parameters,
    }
}

/// The end of a condition that says which rows of requests are meant, and its parameters: `$1` to `$2` and a namespace. `column` is as it is
/// compared, so that who asks decides by which index.
fn rows(scope: &Scope<'_>, column: &str) -> (String, Vec<Value>) {
    let Window { from, to } = scope.window;
    let mut parameters = vec![Value::Int(from), Value::Int(to)];
    let only = scope.namespace.map_or(String::new(), |namespace| {
        parameters.push(Value::Text(namespace.to_owned()));
        format!(" AND {column} = $3")
    });
    (only, parameters)
}

/// A duration less what it is beyond the begin of its bucket, of which each power of two has 256: no two in a bucket differ by more than
/// one part of 256. So many can be counted, where to put each row in its place takes several times as long.
fn bucket() -> String {
    let mut width = "CASE".to_owned();
    for power in 9..=40 {
        let _ = write!(width, " WHEN took < {} THEN {}", 1_i64 << power, 1_i64 << (power - 9));
    }
    format!("took - took % {width} ELSE {} END", 1_i64 << 32)
}

/// By name: durations at each of the [`RANKS`] of those that succeeded, and how many they are; `is_sampled`: of those that are sampled.
pub fn ranks(scope: &Scope<'_>, by: By, is_sampled: bool) -> Query {
    let (only, parameters) = rows(scope, "namespace");
    let names = names(by);
    let of = if is_sampled {
        format!("sampled_requests WHERE at >= $1 AND at < $2{only}")
    } else {
        format!("provider_requests WHERE at >= $1 AND at < $2 AND outcome = 'ok'{only}")
    };
    // The nearest rank, rounded up: the first bucket that so many are in or before, and the longest in it.
    let at = |rank: u32| format!("CAST(min(CASE WHEN upto * 100 >= of_all * {rank} THEN longest END) AS BIGINT)");
    Query {
        name: "report_ranks",
        sql: format!(
            "SELECT {}, {}, CAST(max(of_all) AS BIGINT) FROM (
            SELECT {names}, longest, sum(counted) OVER (PARTITION BY {names} ORDER BY longest) AS upto, sum(counted) OVER (PARTITION BY {names}) AS of_all
            FROM (SELECT {names}, max(took) AS longest, CAST(count(*) AS INTEGER) AS counted FROM {of} GROUP BY {names}, {}) AS buckets) AS ranked
            GROUP BY {names} ORDER BY max(of_all) DESC, {names} LIMIT {MOST_NAMES}",
            told(by),
            RANKS.map(at).join(", "),
            bucket(),
        ),
        parameters,
    }
}

/// By name: requests that got a kept answer, the tokens and the cost (in two, as [`PART`] has it) that this saved.
pub fn hits(scope: &Scope<'_>, by: By) -> Query {
    // They are few among those that nobody was asked for, and those have an index: no other is to be taken.
    let (only, parameters) = rows(scope, "coalesce(namespace, '')");
    let names = names(by);
    Query {
        name: "report_hits",
        sql: format!(
            "SELECT {}, CAST(count(*) AS BIGINT), CAST(sum(cache_saved_tokens) AS BIGINT),
            CAST(sum(cache_saved_cost / {PART}) AS BIGINT), CAST(sum(cache_saved_cost % {PART}) AS BIGINT)
            FROM provider_requests WHERE provider = '' AND at >= $1 AND at < $2 AND cache_age IS NOT NULL{only}
            GROUP BY {names} ORDER BY 4 DESC, {names} LIMIT {MOST_NAMES}",
            told(by),
        ),
        parameters,
    }
}

/// Who was turned away by which rule; behind each row how many requests and how many rows there are in all.
pub fn refusals(scope: &Scope<'_>) -> Query {
    let rows = "r.outcome NOT IN ('ok', 'cancelled') AND r.refused_by <> ''";
    by_rule("report_refusals", self::rows(scope, "r.namespace"), "refused_by", rows)
}

/// The same of those that rules in shadow would have turned away.
pub fn shadows(scope: &Scope<'_>) -> Query {
    // They are few, and have an index: no other is to be taken.
    let only = rows(scope, "coalesce(r.namespace, '')");
    by_rule("report_shadows", only, "would_refuse_by", "r.would_refuse_by <> ''")
}

fn by_rule(name: &'static str, (only, parameters): (String, Vec<Value>), rule: &str, which: &str) -> Query {
    let names = format!("r.namespace, r.workload, coalesce(o.service_account, ''), r.{rule}, r.code");
    Query {
        name,
        sql: format!(
            "SELECT {names}, CAST(count(*) AS BIGINT), CAST(min(r.at) AS BIGINT), CAST(max(r.at) AS BIGINT),
            CAST(sum(count(*)) OVER () AS BIGINT), CAST(count(*) OVER () AS BIGINT)
            FROM provider_requests r LEFT JOIN outboxes o ON o.id = r.outbox
            WHERE {which} AND r.at >= $1 AND r.at < $2{only}
            GROUP BY {names} ORDER BY 6 DESC, {names} LIMIT {MOST_REFUSALS}"
        ),
        parameters,
    }
}

/// How many requests that ended otherwise than well are kept one by one.
pub fn unsuccessful(scope: &Scope<'_>) -> Query {
    let (only, parameters) = rows(scope, "namespace");
    Query {
        name: "report_unsuccessful",
        sql: format!(
            "SELECT CAST(count(*) AS BIGINT) FROM provider_requests
            WHERE outcome NOT IN ('ok', 'cancelled') AND at >= $1 AND at < $2{only}"
        ),
        parameters,
    }
}
