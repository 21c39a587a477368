//! Asks a store, and makes answers of its rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::sums::{self, First, Scope};
use super::{AppliedConfig, By, Listed, ListedAttempt, MAX_NUMBER, Quality, RateLimit, Stat, Why, Window};
use crate::entry::{Attempt, Cached, Cost, Headroom, Request, Tokens};
use crate::store::text::kept;
use crate::store::{Error, Query, Row, Store, Value};

/// The newest rate limits are looked for in this much of time before now, milliseconds.
const LATEST: i64 = 3600 * 1000;
/// Codes that are told of a provider.
const MOST_CODES: usize = 20;
/// Codes that are read, of all providers together.
const MOST_FAILURES: usize = 4_000;
/// The name of what is behind the names of an answer.
const OTHER: &str = "other";
/// Latency at which a provider's score is not lowered, seconds.
const GOOD_LATENCY: f64 = 10.0;

/// Which requests are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One namespace; `None`: all.
    pub namespace: Option<String>,
    /// One provider.
    pub provider: Option<String>,
    /// One route.
    pub route: Option<String>,
    /// Only those that failed, were shed or were mistaken.
    pub is_failed: bool,
    /// How many at most.
    pub number: u32,
    /// Older than this cursor.
    pub before: Option<Cursor>,
    /// Arrived later than this cursor of arrivals, in the order in which they did.
    pub after: Option<Cursor>,
}

/// Where a request stands among all: when it ended, or when it was taken, its outbox, its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub i64, pub i64, pub i64);

impl Cursor {
    /// From the text of an answer.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse::<i64>().ok());
        let cursor = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(cursor)
    }
}

/// Sums by name, busiest first.
pub async fn stats(store: &dyn Store, scope: &Scope<'_>, by: By) -> Result<Vec<Stat>, Error> {
    named(store, scope, by, First::Busiest, sums::MOST_NAMES).await
}

/// Sums by name of what was spent, dearest first.
pub async fn spend(store: &dyn Store, scope: &Scope<'_>, by: By) -> Result<Vec<Stat>, Error> {
    let mut spent = named(store, scope, by, First::Dearest, sums::MOST_NAMES).await?;
    spent.retain(|stat| stat.attempts > 0);
    Ok(spent)
}

/// The first `most` names, and behind them, where there are more, a row of what all others have together: whatever the number of
/// names is that somebody made up, the rows add up to what there was.
pub async fn named(
    store: &dyn Store,
    scope: &Scope<'_>,
    by: By,
    first: First,
    most: usize,
) -> Result<Vec<Stat>, Error> {
    let rows = store
        .query(sums::stats(scope, by, first, most.saturating_add(1)))
        .await?;
    let mut stats: Vec<Stat> = rows.iter().take(most).map(sums::stat).collect();
    if rows.len() <= most {
        return Ok(stats);
    }
    let all = store.query(sums::all(scope, by)).await?;
    let Some(row) = all.first() else { return Ok(stats) };
    let mut others = sums::stat(row);
    for listed in &stats {
        others.less(listed);
    }
    OTHER.clone_into(&mut others.name);
    // What came between the two questions may have been of names that are listed.
    others.more = sums::all_names(row).saturating_sub(stats.len()).max(1) as u64;
    stats.push(others);
    Ok(stats)
}

/// The scope of a question about sums.
pub fn scope<'a>(namespace: Option<&'a str>, provider: Option<&'a str>, window: Window) -> Scope<'a> {
    Scope {
        namespace,
        provider,
        window,
    }
}

/// How good each provider was.
pub async fn quality(store: &dyn Store, namespace: Option<&str>, window: Window) -> Result<Vec<Quality>, Error> {
    let scope = scope(namespace, None, window);
    let rows = store.query(sums::quality(&scope)).await?;
    let mut all: BTreeMap<String, Quality> = BTreeMap::new();
    for row in rows {
        let quality = judged(&row);
        all.insert(quality.provider.clone(), quality);
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    for row in store.query(failures(namespace, &names, window)).await? {
        let told = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
        if let Some(provider) = all.get_mut(&told(0)).filter(|one| one.failures.len() < MOST_CODES) {
            provider.failures.push((told(1), count(&row, 2)));
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by(|one, other| other.score.total_cmp(&one.score));
    Ok(all)
}

fn judged(row: &Row) -> Quality {
    let attempts = sums::whole(row, 1, 0) + sums::whole(row, 1, 1);
    let [answered, failed, took, ended, cut] = [0, 1, 2, 3, 4].map(|index| sums::whole(row, 1, index) as f64);
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let success = share(answered, answered + failed);
    let mean_seconds = share(took, answered + failed) / 1e6;
    let speed = if mean_seconds > GOOD_LATENCY {
        GOOD_LATENCY / mean_seconds
    } else {
        1.0
    };
    Quality {
        provider: row.first().map(Value::told).unwrap_or_default(),
        score: 100.0 * success * (1.0 - share(cut, ended)) * speed,
        attempts: u64::try_from(attempts).unwrap_or(u64::MAX),
        success,
        cut: share(cut, ended),
        mean_ms: mean_seconds * 1000.0,
        failures: Vec::new(),
    }
}

/// What attempts at these providers failed with, most often first; one question however many they are.
pub fn failures(namespace: Option<&str>, providers: &[&str], window: Window) -> Query {
    let mut parameters = vec![Value::Int(window.from), Value::Int(window.to)];
    let mut place = |text: String| {
        parameters.push(Value::Text(text));
        format!("${}", parameters.len())
    };
    let providers: Vec<_> = providers.iter().map(|name| place(kept(name))).collect();
    let only = namespace.map_or(String::new(), |name| {
        format!(" AND namespace = {}", place(name.to_owned()))
    });
    Query {
        name: "failures",
        sql: format!(
            "SELECT provider, code, CAST(count(*) AS BIGINT) FROM provider_logs
            WHERE outcome = 'failed' AND provider IN ({}) AND at >= $1 AND at < $2{only}
            GROUP BY provider, code ORDER BY 3 DESC, 1, 2 LIMIT {MOST_FAILURES}",
            providers.join(", ")
        ),
        parameters,
    }
}

const REQUEST_COLUMNS: &str = "r.at, r.outbox, r.sequence, r.namespace, coalesce(o.pod, ''), r.workload, r.request_id, r.trace_id, r.route,
    r.dialect, r.operation, r.asked_model, r.provider, r.model, r.is_stream, r.attempts, r.hedges, r.sdk_retries, r.fields_left_out,
    r.tools_left_out, r.outcome, r.code, r.status, r.took, r.first_token, r.overhead, r.answer_bytes, r.input, r.output, r.cached,
    r.cache_write, r.reasoning, r.estimated_input, r.estimated_output, r.path, r.turns_left_out, r.arrived,
    r.cache_age, r.cache_of, r.cache_provider, r.cache_saved_tokens, r.cache_saved_cost, r.refused_by, r.would_refuse_by";

/// Requests: newest first, or those that have arrived after a cursor, in the order in which they did.
pub fn requests(filter: &Filter) -> Query {
    let mut parameters = Vec::new();
    let mut only = vec!["1 = 1".to_owned()];
    let mut place = |value: Value| {
        parameters.push(value);
        format!("${}", parameters.len())
    };
    let names = [
        ("namespace", &filter.namespace),
        ("provider", &filter.provider),
        ("route", &filter.route),
    ];
    for (column, value) in names {
        if let Some(value) = value {
            only.push(format!("{column} = {}", place(Value::Text(kept(value)))));
        }
    }
    if filter.route.is_some() {
        only.push("route <> ''".to_owned());
    }
    if filter.is_failed {
        only.push("outcome NOT IN ('ok', 'cancelled')".to_owned());
    }
    let (moment, direction) = match filter.after {
        Some(_) => ("arrived", "ASC"),
        None => ("at", "DESC"),
    };
    for (column, cursor, sign) in [("at", filter.before, "<"), ("arrived", filter.after, ">")] {
        if let Some(Cursor(at, outbox, sequence)) = cursor {
            let [at, outbox, sequence] = [at, outbox, sequence].map(|number| place(Value::Int(number)));
            only.push(format!(
                "{column} {sign}= {at} AND ({column}, outbox, sequence) {sign} ({at}, {outbox}, {sequence})"
            ));
        }
    }
    if filter.after.is_some() {
        // As its index has it: when older rows were taken is not known.
        only.push("arrived > 0".to_owned());
    }
    let number = place(Value::Int(filter.number.min(MAX_NUMBER).into()));
    let order = format!("{moment} {direction}, outbox {direction}, sequence {direction}");
    let inner = format!(
        "SELECT * FROM provider_requests WHERE {} ORDER BY {order} LIMIT {number}",
        only.join(" AND ")
    );
    let order = format!("r.{moment} {direction}, r.outbox {direction}, r.sequence {direction}");
    Query {
        name: "requests",
        sql: format!(
            "SELECT {REQUEST_COLUMNS} FROM ({inner}) r LEFT JOIN outboxes o ON o.id = r.outbox ORDER BY {order}"
        ),
        parameters,
    }
}

/// Requests as [`requests`] lists them.
pub async fn list(store: &dyn Store, filter: &Filter) -> Result<Vec<Listed>, Error> {
    let rows = store.query(requests(filter)).await?;
    Ok(rows.iter().map(listed).collect())
}

/// By which id a request is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdOf {
    /// `X-Request-ID`.
    Request,
    /// A trace.
    Trace,
    /// What a provider calls one of its attempts.
    Provider,
}

/// The requests that have an id.
pub fn by_id(of: IdOf, id: &str, namespace: Option<&str>) -> Query {
    let mut parameters = vec![Value::Text(kept(id))];
    let found = match of {
        IdOf::Request => "r.request_id = $1",
        IdOf::Trace => "r.trace_id = $1 AND r.trace_id <> ''",
        IdOf::Provider => {
            "r.request_id IN (SELECT request_id FROM provider_logs WHERE provider_request_id = $1 AND provider_request_id <> '')"
        }
    };
    let mut only = "";
    if let Some(namespace) = namespace {
        parameters.push(Value::Text(namespace.to_owned()));
        only = " AND r.namespace = $2";
    }
    // `+ 0`: sorted once they are found. By the index on `at` a planner would look through all requests for a few.
    Query {
        name: "request",
        sql: format!(
            "SELECT {REQUEST_COLUMNS} FROM provider_requests r LEFT JOIN outboxes o ON o.id = r.outbox WHERE {found}{only}
            ORDER BY r.at + 0 DESC, r.outbox, r.sequence LIMIT 20"
        ),
        parameters,
    }
}

/// The attempts of a request of one outbox.
pub fn attempts(id: &str, outbox: i64) -> Query {
    Query {
        name: "attempts",
        sql: "SELECT at, request_id, trace_id, route, number, reason, provider, model, reported_model, credential, provider_request_id,
            operation, status, outcome, code, took, head, first_token, input, output, cached, cache_write, reasoning, estimated_input,
            estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown, price_version
            FROM provider_logs WHERE request_id = $1 AND outbox = $2 ORDER BY number, sequence LIMIT 200"
            .to_owned(),
        parameters: vec![Value::Text(kept(id)), Value::Int(outbox)],
    }
}

/// Each request that has this id, newest first, with its attempts. An id that a caller chose may be that of several.
pub async fn why(store: &dyn Store, id: &str, namespace: Option<&str>) -> Result<Vec<Why>, Error> {
    let mut rows = Vec::new();
    for of in [IdOf::Request, IdOf::Trace, IdOf::Provider] {
        rows = store.query(by_id(of, id, namespace)).await?;
        if !rows.is_empty() {
            break;
        }
    }
    let mut all = Vec::new();
    for row in rows {
        let listed = listed(&row);
        let outbox = row.get(1).map_or(0, Value::int);
        let attempts = store.query(attempts(&listed.request.id, outbox)).await?;
        all.push(Why {
            listed,
            attempts_made: attempts.iter().map(attempt).collect(),
        });
    }
    Ok(all)
}

/// How much each provider lets through, the newest of each credential and count.
pub fn rate_limits_query(namespace: &str, provider: Option<&str>, now: i64) -> Query {
    let mut parameters = vec![Value::Text(namespace.to_owned()), Value::Int(now - LATEST)];
    let mut only = "";
    if let Some(provider) = provider {
        parameters.push(Value::Text(kept(provider)));
        only = " AND provider = $3";
    }
    Query {
        name: "rate_limits",
        sql: format!(
            "SELECT r.at, r.namespace, r.provider, r.credential, r.what, r.most, r.remaining, r.reset FROM provider_rate_limits r
            JOIN (SELECT provider, credential, what, max(at) AS newest FROM provider_rate_limits
                WHERE namespace = $1 AND at >= $2{only} GROUP BY provider, credential, what) n
            ON r.namespace = $1 AND r.provider = n.provider AND r.at = n.newest AND r.credential = n.credential AND r.what = n.what
            ORDER BY r.provider, r.credential, r.what, r.outbox, r.sequence DESC LIMIT 5000"
        ),
        parameters,
    }
}

/// How much each provider of a namespace lets through.
pub async fn rate_limits(
    store: &dyn Store,
    namespace: &str,
    provider: Option<&str>,
    now: i64,
) -> Result<Vec<RateLimit>, Error> {
    let rows = store.query(rate_limits_query(namespace, provider, now)).await?;
    let mut newest: BTreeMap<(String, String, String), RateLimit> = BTreeMap::new();
    for row in rows {
        let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
        let number = |index: usize| {
            row.get(index)
                .and_then(Value::maybe_int)
                .and_then(|number| u64::try_from(number).ok())
        };
        let limit = RateLimit {
            at: row.first().map_or(0, Value::int),
            namespace: text(1),
            headroom: Headroom {
                provider: text(2),
                credential: text(3),
                what: text(4),
                limit: number(5),
                remaining: number(6),
                reset: number(7),
            },
        };
        newest.entry((text(2), text(3), text(4))).or_insert(limit);
    }
    Ok(newest.into_values().collect())
}

/// What was applied, newest first; of one object or of all.
pub fn configs_query(namespace: Option<&str>, object: Option<(&str, &str)>, number: u32) -> Query {
    let mut parameters = vec![Value::Int(number.min(MAX_NUMBER).into())];
    let mut only = "1 = 1".to_owned();
    let object = object.map_or([None, None], |(kind, name)| [Some(kind), Some(name)]);
    for (column, value) in ["namespace", "kind", "name"]
        .into_iter()
        .zip([namespace, object[0], object[1]])
    {
        if let Some(value) = value {
            parameters.push(Value::Text(kept(value)));
            let _ = write!(only, " AND {column} = ${}", parameters.len());
        }
    }
    Query {
        name: "configs",
        sql: format!(
            "SELECT at, namespace, kind, name, what, who, revision, replaced_at FROM provider_configs WHERE {only}
            ORDER BY at DESC LIMIT $1"
        ),
        parameters,
    }
}

/// What was applied.
pub async fn configs(
    store: &dyn Store,
    namespace: Option<&str>,
    object: Option<(&str, &str)>,
    number: u32,
) -> Result<Vec<AppliedConfig>, Error> {
    let rows = store.query(configs_query(namespace, object, number)).await?;
    let config = |row: &Row| {
        let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
        AppliedConfig {
            at: row.first().map_or(0, Value::int),
            namespace: text(1),
            kind: text(2),
            name: text(3),
            what: text(4),
            who: text(5),
            revision: text(6),
            replaced_at: row.get(7).and_then(Value::maybe_int),
        }
    };
    Ok(rows.iter().map(config).collect())
}

fn count(row: &Row, index: usize) -> u64 {
    u64::try_from(row.get(index).map_or(0, Value::int)).unwrap_or(0)
}

fn tokens(row: &Row, from: usize) -> Tokens {
    Tokens {
        input: count(row, from),
        output: count(row, from + 1),
        cached: count(row, from + 2),
        cache_write: count(row, from + 3),
        reasoning: count(row, from + 4),
        estimated_input: count(row, from + 5),
        estimated_output: count(row, from + 6),
    }
}

fn small(row: &Row, index: usize) -> u32 {
    u32::try_from(count(row, index)).unwrap_or(u32::MAX)
}

fn maybe(row: &Row, index: usize) -> Option<u64> {
    row.get(index)?
        .maybe_int()
        .and_then(|number| u64::try_from(number).ok())
}

fn listed(row: &Row) -> Listed {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    let int = |index: usize| row.get(index).map_or(0, Value::int);
    let path = match row.get(34) {
        Some(Value::Text(json)) => serde_json::from_str(json).unwrap_or_default(),
        _ => Vec::new(),
    };
    Listed {
        cursor: format!("{}.{}.{}", int(0), int(1), int(2)),
        arrival: format!("{}.{}.{}", int(36), int(1), int(2)),
        arrived: int(36),
        at: int(0),
        namespace: text(3),
        pod: text(4),
        workload: text(5),
        request: Request {
            id: text(6),
            trace_id: text(7),
            route: text(8),
            dialect: text(9),
            operation: text(10),
            asked_model: text(11),
            provider: text(12),
            model: text(13),
            is_stream: int(14) != 0,
            attempts: small(row, 15),
            hedges: small(row, 16),
            sdk_retries: small(row, 17),
            fields_left_out: small(row, 18),
            tools_left_out: small(row, 19),
            outcome: text(20),
            code: text(21),
            status: u16::try_from(int(22)).unwrap_or(0),
            took: count(row, 23),
            first_token: maybe(row, 24),
            overhead: count(row, 25),
            answer_bytes: count(row, 26),
            tokens: tokens(row, 27),
            path,
            turns_left_out: small(row, 35),
            cache: maybe(row, 37).map(|age| Cached {
                age,
                request_id: text(38),
                provider: text(39),
                saved_tokens: count(row, 40),
                saved_cost: int(41),
            }),
            refused_by: text(42),
            would_refuse_by: text(43),
        },
    }
}

fn attempt(row: &Row) -> ListedAttempt {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    let int = |index: usize| row.get(index).map_or(0, Value::int);
    let cost = Cost {
        reported: int(26),
        estimated: int(27),
        version: text(29),
    };
    ListedAttempt {
        at: int(0),
        attempt: Attempt {
            request_id: text(1),
            trace_id: text(2),
            route: text(3),
            number: small(row, 4),
            reason: text(5),
            provider: text(6),
            model: text(7),
            reported_model: text(8),
            credential: text(9),
            provider_request_id: text(10),
            operation: text(11),
            status: u16::try_from(int(12)).unwrap_or(0),
            outcome: text(13),
            code: text(14),
            took: count(row, 15),
            head: maybe(row, 16),
            first_token: maybe(row, 17),
            tokens: tokens(row, 18),
            tokens_unknown: int(25) != 0,
            cost: (int(28) == 0).then_some(cost),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_an_answer_says_and_nothing_else() {
        assert_eq!(Cursor::parse("17.2.3"), Some(Cursor(17, 2, 3)));
        for none in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1 OR 1=1.2.3"] {
            assert_eq!(Cursor::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_score_falls_with_failures_cut_answers_and_waiting() {
        let row = |numbers: [i64; 5]| -> Row {
            let mut row = vec![Value::Text("p".into())];
            // Each in two parts, of which the larger is 0.
            row.extend(
                numbers
                    .into_iter()
                    .flat_map(|number| [Value::Int(0), Value::Int(number)]),
            );
            row
        };
        let score = |numbers| judged(&row(numbers)).score;
        assert!((score([100, 0, 100_000_000, 100, 0]) - 100.0).abs() < 1e-9);
        assert!((score([50, 50, 100_000_000, 50, 0]) - 50.0).abs() < 1e-9);
        assert!((score([100, 0, 100_000_000, 100, 10]) - 90.0).abs() < 1e-9);
        assert!((score([100, 0, 2_000_000_000, 100, 0]) - 50.0).abs() < 1e-9);
        assert!(score([0, 0, 0, 0, 0]).abs() < 1e-9);
    }
}
