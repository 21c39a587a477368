//! Entries as rows of the tables, and as sums. Pure.
//!
//! Each request and attempt is one row, and is added to the sums of its minute, its hour and its day. A sum that a sidecar has folded is added
//! to these alone: sums miss nothing.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::closed::{ATTEMPT_OUTCOMES, COUNTED, DIALECTS, REASONS, REQUEST_OUTCOMES, one_of, refused_by};
use super::tables::{ATTEMPTS, DAY, HOUR, MINUTE, RATE_LIMITS, REQUESTS, SAMPLED};
use super::text::{clipped, kept};
use super::{Row, Value};
use crate::entry::{Attempt, BATCH, Cached, Cost, Entry, Headroom, MOST_TURNS, Request, Sum, Tokens, Turn};
use crate::schema::hex;

/// The most that one entry may tell of anything that is summed: far beyond what can be. Sums of them stop at the largest number.
pub const MOST_COUNT: u64 = 1_000_000_000;
const MOST_TOKENS: u64 = 10_000_000_000;
const MOST_MICROSECONDS: u64 = 1_000_000_000_000;
/// Of an attempt: a thousand dollars, picodollars.
const MOST_COST: i64 = 1_000_000_000_000_000;
/// Of a folded sum: a hundred thousand.
const MOST_FOLDED_COST: i64 = 100 * MOST_COST;

/// Whose entries they are.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The outbox's number in the store.
    pub outbox: i64,
    /// From the token.
    pub namespace: &'a str,
    /// As the injector wrote it.
    pub workload: &'a str,
}

/// Rows by table, and sums.
#[derive(Debug, Default)]
pub struct Rows {
    /// Of [`REQUESTS`].
    pub requests: Vec<Row>,
    /// Of [`SAMPLED`].
    pub sampled: Vec<Row>,
    /// Of [`ATTEMPTS`].
    pub attempts: Vec<Row>,
    /// Of [`RATE_LIMITS`].
    pub rate_limits: Vec<Row>,
    /// By minute and digest.
    minutes: BTreeMap<(i64, String), (Names, Summed)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    kind: &'static str,
    namespace: String,
    workload: String,
    route: String,
    provider: String,
    model: String,
    outcome: &'static str,
}

impl Names {
    /// In one order everywhere; each with its length, so that no two lists are the same.
    fn digest(&self) -> String {
        digest_of([
            self.kind,
            &self.namespace,
            &self.workload,
            &self.route,
            &self.provider,
            &self.model,
            self.outcome,
        ])
    }
}

/// What a list of names is known by.
pub(super) fn digest_of<const N: usize>(names: [&str; N]) -> String {
    let mut digest = Sha256::new();
    for name in names {
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name.as_bytes());
    }
    hex(&digest.finalize(), 16)
}

/// What is added up, in the order of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summed([i64; 14]);

impl Summed {
    fn add(&mut self, more: &Self) {
        for (sum, more) in self.0.iter_mut().zip(more.0) {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Rows {
    /// Adds one entry that ended at `at`, where it is `now`.
    pub fn add(&mut self, sender: &Sender<'_>, sequence: u64, at: i64, now: i64, entry: &Entry) {
        self.add_sums(sender, at, now, entry);
        let place = [Value::Int(at), Value::Int(sender.outbox), Value::Int(int(sequence))];
        match entry {
            Entry::Request(request) => {
                let row = request_row(place, sender, request, now);
                if request.outcome == "ok" && is_sampled(at) {
                    self.sampled.push(sampled_row(&row));
                }
                self.requests.push(row);
            }
            Entry::Attempt(attempt) => self.attempts.push(attempt_row(place, sender, attempt)),
            Entry::Headroom(headroom) => self.rate_limits.push(headroom_row(place, sender, headroom)),
            Entry::Sum(_) => {}
        }
    }

    /// Adds what is summed of an entry, and no row.
    pub fn add_sums(&mut self, sender: &Sender<'_>, at: i64, now: i64, entry: &Entry) {
        match entry {
            Entry::Request(request) => self.sum(sender, at, request_names(request), request_sum(request)),
            Entry::Attempt(attempt) => self.sum(sender, at, attempt_names(attempt), attempt_sum(attempt)),
            Entry::Headroom(_) => {}
            Entry::Sum(sum) => {
                // Its minute is before its end, and not beyond what an entry's own time may be.
                let minute = sum
                    .minute
                    .saturating_mul(MINUTE * 1000)
                    .clamp(now.saturating_sub(super::take::BACK), at);
                self.sum(sender, minute, folded_names(sum), folded_sum(sum));
            }
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.attempts.is_empty() && self.rate_limits.is_empty() && self.minutes.is_empty()
    }

    /// Rows of [`METRICS`], in one order everywhere, so that two services never wait for each other.
    pub fn metrics(&self) -> Vec<Row> {
        let mut sums: BTreeMap<(i64, i64, &str), (&Names, Summed)> = BTreeMap::new();
        for ((minute, digest), (names, summed)) in &self.minutes {
            for grain in [MINUTE, HOUR, DAY] {
                let start = minute - minute.rem_euclid(grain);
                let sum = sums.entry((grain, start, digest));
                sum.or_insert((names, Summed::default())).1.add(summed);
            }
        }
        let row = |((grain, start, digest), (names, summed)): ((i64, i64, &str), (&Names, Summed))| {
            let mut row = vec![Value::Int(grain), Value::Int(start), text(digest), text(names.kind)];
            let told = [
                &names.namespace,
                &names.workload,
                &names.route,
                &names.provider,
                &names.model,
            ];
            row.extend(told.map(|name| name_of(name)));
            row.push(text(names.outcome));
            row.extend(summed.0.map(Value::Int));
            row
        };
        sums.into_iter().map(row).collect()
    }

    fn sum(&mut self, sender: &Sender<'_>, at: i64, names: Names, summed: Summed) {
        let names = Names {
            namespace: sender.namespace.to_owned(),
            workload: clipped(sender.workload).into_owned(),
            ..names
        };
        let (second, digest) = (at.div_euclid(1000), names.digest());
        let minute = second - second.rem_euclid(MINUTE);
        let sum = self.minutes.entry((minute, digest));
        sum.or_insert((names, Summed::default())).1.add(&summed);
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn bounded(number: u64, most: u64) -> i64 {
    int(number.min(most))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn name_of(told: &str) -> Value {
    Value::Text(kept(told))
}

fn maybe(number: Option<u64>) -> Value {
    number.map_or(Value::Null, |number| Value::Int(bounded(number, MOST_MICROSECONDS)))
}

fn tokens(tokens: &Tokens, most: u64) -> [i64; 7] {
    tokens.counts().map(|number| bounded(number, most))
}

fn money(amount: i64, most: i64) -> i64 {
    amount.clamp(0, most)
}

/// What tokens cost: reported, estimated, and whether the price is not known.
fn cost(attempt: &Attempt) -> [i64; 3] {
    // A batch is a sum as well, of up to 100,000 answers.
    let most = if attempt.operation == BATCH {
        MOST_FOLDED_COST
    } else {
        MOST_COST
    };
    let cost = attempt
        .cost
        .as_ref()
        .map(|cost: &Cost| [money(cost.reported, most), money(cost.estimated, most), 0]);
    cost.unwrap_or([0, 0, attempt.is_cost_unknown().into()])
}

fn names(kind: &'static str, route: &str, provider: &str, model: &str, outcome: &'static str) -> Names {
    Names {
        kind,
        namespace: String::new(),
        workload: String::new(),
        route: clipped(route).into_owned(),
        provider: clipped(provider).into_owned(),
        model: clipped(model).into_owned(),
        outcome,
    }
}

fn request_names(request: &Request) -> Names {
    let outcome = one_of(REQUEST_OUTCOMES, &request.outcome);
    names("request", &request.route, &request.provider, &request.model, outcome)
}

/// Without tokens: what was billed is told by its attempts.
fn request_sum(request: &Request) -> Summed {
    summed([1, 0, bounded(request.took, MOST_MICROSECONDS)], [0; 7], [0; 4])
}

fn attempt_names(attempt: &Attempt) -> Names {
    let outcome = one_of(ATTEMPT_OUTCOMES, &attempt.outcome);
    names("attempt", &attempt.route, &attempt.provider, &attempt.model, outcome)
}

fn attempt_sum(attempt: &Attempt) -> Summed {
    let [reported, estimated, unknown] = cost(attempt);
    summed(
        [1, 0, bounded(attempt.took, MOST_MICROSECONDS)],
        tokens(&attempt.tokens, MOST_TOKENS),
        [attempt.tokens_unknown.into(), reported, estimated, unknown],
    )
}

fn summed(counts: [i64; 3], tokens: [i64; 7], costs: [i64; 4]) -> Summed {
    let mut all = [0; 14];
    let told = counts.into_iter().chain(tokens).chain(costs);
    all.iter_mut().zip(told).for_each(|(cell, told)| *cell = told);
    Summed(all)
}

fn folded_names(sum: &Sum) -> Names {
    if sum.of == "request" {
        let outcome = one_of(REQUEST_OUTCOMES, &sum.outcome);
        return names("request", &sum.route, &sum.provider, &sum.model, outcome);
    }
    let outcome = one_of(ATTEMPT_OUTCOMES, &sum.outcome);
    names("attempt", &sum.route, &sum.provider, &sum.model, outcome)
}

fn folded_sum(sum: &Sum) -> Summed {
    let count = bounded(sum.count, MOST_COUNT);
    let counts = [count, count, bounded(sum.took, MOST_MICROSECONDS * 1000)];
    if sum.of == "request" {
        return summed(counts, [0; 7], [0; 4]);
    }
    let costs = [
        bounded(sum.tokens_unknown, MOST_COUNT),
        money(sum.cost.reported, MOST_FOLDED_COST),
        money(sum.cost.estimated, MOST_FOLDED_COST),
        bounded(sum.cost_unknown, MOST_COUNT),
    ];
    summed(counts, tokens(&sum.tokens, MOST_TOKENS * 1000), costs)
}

fn request_row(place: [Value; 3], sender: &Sender<'_>, request: &Request, now: i64) -> Row {
    let mut row = Row::with_capacity(REQUESTS.columns.len());
    row.extend(place);
    row.extend([text(sender.namespace), name_of(sender.workload)]);
    row.extend([&request.id, &request.trace_id, &request.route].map(|name| name_of(name)));
    row.push(text(one_of(DIALECTS, &request.dialect)));
    row.extend(
        [
            &request.operation,
            &request.asked_model,
            &request.provider,
            &request.model,
        ]
        .map(|name| name_of(name)),
    );
    row.push(Value::Int(request.is_stream.into()));
    let counts = [
        request.attempts,
        request.hedges,
        request.sdk_retries,
        request.fields_left_out,
        request.tools_left_out,
    ];
    row.extend(counts.map(|count| Value::Int(count.into())));
    row.extend([
        text(one_of(REQUEST_OUTCOMES, &request.outcome)),
        name_of(&request.code),
        status(request.status),
    ]);
    row.extend([
        Value::Int(bounded(request.took, MOST_MICROSECONDS)),
        maybe(request.first_token),
    ]);
    row.extend([
        Value::Int(bounded(request.overhead, MOST_MICROSECONDS)),
        Value::Int(int(request.answer_bytes)),
    ]);
    row.extend(tokens(&request.tokens, MOST_TOKENS).map(Value::Int));
    let left_out = request.path.len().saturating_sub(MOST_TURNS) + request.turns_left_out as usize;
    row.extend([
        Value::Text(path(&request.path)),
        Value::Int(int(left_out as u64)),
        Value::Int(now),
    ]);
    row.extend(cache(request.cache.as_ref()));
    row.push(name_of(&refused_by(&request.refused_by)));
    row.push(name_of(&refused_by(&request.would_refuse_by)));
    row
}

/// Of an answer of the cache: its age, which request it answered first, who gave it, and what was not spent again.
fn cache(cached: Option<&Cached>) -> [Value; 5] {
    let none = Cached::default();
    let told = cached.unwrap_or(&none);
    [
        cached.map_or(Value::Null, |cached| Value::Int(int(cached.age))),
        name_of(&told.request_id),
        name_of(&told.provider),
        Value::Int(bounded(told.saved_tokens, MOST_TOKENS)),
        Value::Int(money(told.saved_cost, MOST_COST)),
    ]
}

/// Whether a request that ended then is one of the [`SAMPLED`]: 8 of 127 are, mixed so that what comes at regular times is not in
/// step with it. The schema picks those that were there before in the same way.
fn is_sampled(at: i64) -> bool {
    at % 1009 * 37 % 127 % 16 == 0
}

/// The cells of a request's row that [`SAMPLED`] has.
fn sampled_row(request: &Row) -> Row {
    let named = || REQUESTS.columns.iter().zip(request);
    let cell = |column| {
        named()
            .find(|(known, _)| *known == column)
            .map(|(_, cell)| cell.clone())
    };
    SAMPLED.columns.iter().filter_map(cell).collect()
}

fn attempt_row(place: [Value; 3], sender: &Sender<'_>, attempt: &Attempt) -> Row {
    let mut row = Row::with_capacity(ATTEMPTS.columns.len());
    row.extend(place);
    row.extend([text(sender.namespace), name_of(sender.workload)]);
    row.extend([&attempt.request_id, &attempt.trace_id, &attempt.route].map(|name| name_of(name)));
    row.extend([
        Value::Int(attempt.number.into()),
        text(one_of(REASONS, &attempt.reason)),
    ]);
    let names = [
        &attempt.provider,
        &attempt.model,
        &attempt.reported_model,
        &attempt.credential,
        &attempt.provider_request_id,
        &attempt.operation,
    ];
    row.extend(names.map(|name| name_of(name)));
    row.extend([
        status(attempt.status),
        text(one_of(ATTEMPT_OUTCOMES, &attempt.outcome)),
        name_of(&attempt.code),
    ]);
    row.extend([
        Value::Int(bounded(attempt.took, MOST_MICROSECONDS)),
        maybe(attempt.head),
        maybe(attempt.first_token),
    ]);
    row.extend(tokens(&attempt.tokens, MOST_TOKENS).map(Value::Int));
    row.push(Value::Int(attempt.tokens_unknown.into()));
    row.extend(cost(attempt).map(Value::Int));
    let version = attempt.cost.as_ref().map_or("", |cost| cost.version.as_str());
    row.push(name_of(version));
    row
}

fn headroom_row(place: [Value; 3], sender: &Sender<'_>, headroom: &Headroom) -> Row {
    let mut row = Row::with_capacity(RATE_LIMITS.columns.len());
    row.extend(place);
    row.extend([
        text(sender.namespace),
        name_of(&headroom.provider),
        name_of(&headroom.credential),
    ]);
    row.push(text(one_of(COUNTED, &headroom.what)));
    let numbers = [headroom.limit, headroom.remaining, headroom.reset];
    row.extend(numbers.map(|number| number.map_or(Value::Null, |number| Value::Int(int(number)))));
    row
}

fn status(status: u16) -> Value {
    Value::Int(status.min(999).into())
}

/// JSON, which has no NUL of its own.
fn path(turns: &[Turn]) -> String {
    let clip = |turn: &Turn| Turn {
        provider: clipped(&turn.provider).into_owned(),
        what: clipped(&turn.what).into_owned(),
        because: clipped(&turn.because).into_owned(),
        then: clipped(&turn.then).into_owned(),
        ..*turn
    };
    let turns: Vec<_> = turns.iter().take(MOST_TURNS).map(clip).collect();
    serde_json::to_string(&turns).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tables::{FIRST_SUMMED, METRICS};
    use super::*;

    const SENDER: Sender<'static> = Sender {
        outbox: 1,
        namespace: "team",
        workload: "Deployment/app",
    };

    fn attempt() -> Attempt {
        Attempt {
            provider: "claude".into(),
            model: "m".into(),
            outcome: "answered".into(),
            took: 5,
            tokens: Tokens {
                input: 10,
                output: 3,
                ..Tokens::default()
            },
            ..Attempt::default()
        }
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let mut rows = Rows::default();
        let entries = [
            Entry::Request(Box::default()),
            Entry::Attempt(Box::new(attempt())),
            Entry::Headroom(Box::default()),
        ];
        for entry in &entries {
            rows.add(&SENDER, 1, 0, 0, entry);
        }
        assert_eq!(rows.requests[0].len(), REQUESTS.columns.len());
        assert_eq!(rows.attempts[0].len(), ATTEMPTS.columns.len());
        assert_eq!(rows.rate_limits[0].len(), RATE_LIMITS.columns.len());
        assert!(rows.metrics().iter().all(|row| row.len() == METRICS.columns.len()));
        assert_eq!(METRICS.columns.len() - FIRST_SUMMED, 14);
    }

    #[test]
    fn one_of_sixteen_requests_that_succeeded_is_sampled_however_regularly_they_come() {
        let at = |number: i64, step: i64| 1_790_000_000_123 + number * step;
        for step in [1, 2, 4, 10, 16, 60, 127, 1_000, 60_000] {
            let one_in = 20_000 / (0..20_000).filter(|number| is_sampled(at(*number, step))).count();
            assert!((14..=18).contains(&one_in), "every {step} ms: one in {one_in}");
        }
        let mut rows = Rows::default();
        for number in 0..254 {
            let request = Request {
                outcome: if number < 127 { "cut" } else { "ok" }.into(),
                model: "m".into(),
                took: 77,
                ..Request::default()
            };
            let at = at(number, 1);
            rows.add(&SENDER, 1, at, at, &Entry::Request(Box::new(request)));
        }
        assert!((5..=11).contains(&rows.sampled.len()), "{}", rows.sampled.len());
        let row = &rows.sampled[0];
        assert_eq!(row.len(), SAMPLED.columns.len());
        let names = ["team", "Deployment/app", "", "", "m"].map(text);
        assert_eq!(row[3..8], names);
        assert_eq!(row[8], Value::Int(77));
    }

    #[test]
    fn detail_and_folded_sums_add_up_in_the_same_minute_hour_and_day() {
        let mut rows = Rows::default();
        let minute_21 = 21 * 60_000;
        rows.add(
            &SENDER,
            1,
            minute_21 + 1,
            minute_21 + 1,
            &Entry::Attempt(Box::new(attempt())),
        );
        let folded = Sum {
            of: "attempt".into(),
            minute: 21,
            provider: "claude".into(),
            model: "m".into(),
            outcome: "answered".into(),
            count: 4,
            tokens: Tokens {
                input: 40,
                ..Tokens::default()
            },
            ..Sum::default()
        };
        rows.add(
            &SENDER,
            2,
            minute_21 + 59_000,
            minute_21 + 60_000,
            &Entry::Sum(Box::new(folded)),
        );
        let sums = rows.metrics();
        let places: Vec<_> = sums.iter().map(|row| (row[0].int(), row[1].int())).collect();
        assert_eq!(places, [(60, 21 * 60), (3600, 0), (86_400, 0)]);
        for row in sums {
            // count, folded, took, input, output
            let summed: Vec<_> = row[FIRST_SUMMED..FIRST_SUMMED + 5].iter().map(Value::int).collect();
            assert_eq!(summed, [5, 4, 5, 50, 3]);
        }
    }

    #[test]
    fn tokens_without_a_price_are_counted_and_never_free() {
        assert_eq!(cost(&attempt()), [0, 0, 1]);
        assert_eq!(cost(&Attempt::default()), [0, 0, 0]);
        let priced = Attempt {
            cost: Some(Cost {
                reported: 7,
                ..Cost::default()
            }),
            ..attempt()
        };
        assert_eq!(cost(&priced), [7, 0, 0]);
    }

    #[test]
    fn a_batch_may_cost_more_than_an_attempt() {
        let dear = |operation: &str| Attempt {
            operation: operation.into(),
            cost: Some(Cost {
                reported: 5 * MOST_COST,
                ..Cost::default()
            }),
            ..attempt()
        };
        assert_eq!(cost(&dear("messages")), [MOST_COST, 0, 0]);
        assert_eq!(cost(&dear(BATCH)), [5 * MOST_COST, 0, 0]);
    }

    #[test]
    fn what_cannot_be_is_bounded() {
        let absurd = Attempt {
            took: u64::MAX,
            tokens: Tokens {
                input: u64::MAX,
                ..Tokens::default()
            },
            cost: Some(Cost {
                reported: i64::MAX,
                estimated: -5,
                version: String::new(),
            }),
            outcome: "exploded".into(),
            status: u16::MAX,
            ..Attempt::default()
        };
        let mut rows = Rows::default();
        for sequence in 1..=1000 {
            rows.add(&SENDER, sequence, 0, 0, &Entry::Attempt(Box::new(absurd.clone())));
        }
        let row = &rows.metrics()[0];
        assert_eq!(row[9], text("unknown"));
        assert!(
            row[FIRST_SUMMED..].iter().all(|sum| (0..i64::MAX).contains(&sum.int())),
            "{row:?}"
        );
    }
}
