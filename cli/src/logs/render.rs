//! `logs` for people and as CSV. Pure.

use bowsprit_ledger::entry::Cached;
use bowsprit_ledger::query::Listed;

use crate::args::{LogsArgs, RowFormat};
use crate::output::csv::{self, Field};
use crate::output::units::{moment, number, rfc3339, took};
use crate::output::{Cell, Paint, Table, Tone, short};

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct What<'a> {
    /// One namespace; `None`: each row tells its own.
    pub(super) namespace: Option<&'a str>,
    /// Only what did not succeed was asked for.
    pub(super) failed: bool,
    /// Everything.
    pub(super) wide: bool,
}

impl<'a> What<'a> {
    /// As the arguments say.
    pub(super) fn new(args: &LogsArgs, namespace: Option<&'a str>) -> Self {
        Self {
            namespace,
            failed: args.failed,
            wide: args.out.output == RowFormat::Wide,
        }
    }
}

/// The whole screen.
pub(super) fn screen(listed: &[Listed], what: What<'_>, paint: Paint) -> String {
    if listed.is_empty() {
        let place = what
            .namespace
            .map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
        let such = if what.failed {
            "request that failed"
        } else {
            "such request"
        };
        return format!("The ledger has no {such} of {place}.\n");
    }
    table(listed, what).render(paint)
}

/// The rows.
pub(super) fn table(listed: &[Listed], what: What<'_>) -> Table {
    let mut heads = vec![
        "ENDED",
        "REQUEST",
        "WORKLOAD",
        "ASKED FOR",
        "PROVIDER",
        "OUTCOME",
        "CODE",
        "HTTP",
        "ATTEMPTS",
        "TOOK",
        "IN",
        "OUT",
    ];
    if what.namespace.is_none() {
        heads.insert(1, "NAMESPACE");
    }
    if what.wide {
        heads.extend([
            "POD",
            "ROUTE",
            "MODEL",
            "OPERATION",
            "STREAM",
            "FIRST WORDS",
            "HEDGES",
            "OWN TIME",
            "BYTES",
            "TRACE",
            "CACHED",
            "REFUSED BY",
        ]);
    }
    let mut table = Table::new(heads);
    for it in listed {
        let request = &it.request;
        let tokens = request.tokens;
        let status = if request.status == 0 {
            String::new()
        } else {
            request.status.to_string()
        };
        let mut row: Vec<Cell> = vec![
            moment(it.at).into(),
            request.id.clone().into(),
            short(&it.workload).into(),
            short(&request.asked_model).into(),
            short(&request.provider).into(),
            outcome(&request.outcome),
            request.code.clone().into(),
            status.into(),
            request.attempts.to_string().into(),
            took(request.took).into(),
            with_estimate(tokens.input, tokens.estimated_input).into(),
            with_estimate(tokens.output, tokens.estimated_output).into(),
        ];
        if what.namespace.is_none() {
            row.insert(1, it.namespace.clone().into());
        }
        if what.wide {
            row.extend([
                it.pod.clone().into(),
                short(&request.route).into(),
                short(&request.model).into(),
                Cell::from(request.operation.clone()),
                (if request.is_stream { "yes" } else { "no" }).into(),
                request.first_token.map(took).unwrap_or_default().into(),
                request.hedges.to_string().into(),
                took(request.overhead).into(),
                number(request.answer_bytes).into(),
                request.trace_id.clone().into(),
                request
                    .cache
                    .as_ref()
                    .map(|it| took(it.age.saturating_mul(1_000)))
                    .unwrap_or_default()
                    .into(),
                request.refused_by.clone().into(),
            ]);
        }
        table.row(row);
    }
    table
}

fn cached(cached: Option<&Cached>) -> [Field; 5] {
    let none = Cached::default();
    let told = cached.unwrap_or(&none);
    [
        Field::maybe(cached.map(|it| it.age)),
        Field::from(&told.request_id),
        Field::from(&told.provider),
        Field::number(told.saved_tokens),
        Field::number(told.saved_cost),
    ]
}

fn outcome(outcome: &str) -> Cell {
    let tone = match outcome {
        "ok" => Tone::Good,
        "cancelled" | "client_error" | "shed" => Tone::Warn,
        _ => Tone::Bad,
    };
    Cell::new(tone, outcome)
}

fn with_estimate(told: u64, estimated: u64) -> String {
    let mark = if estimated > 0 { "~" } else { "" };
    format!("{mark}{}", number(told.saturating_add(estimated)))
}

/// As CSV: microseconds and counts, exact.
pub(super) fn csv(listed: &[Listed]) -> String {
    let heads = [
        "ENDED",
        "NAMESPACE",
        "POD",
        "WORKLOAD",
        "REQUEST",
        "TRACE",
        "ROUTE",
        "DIALECT",
        "OPERATION",
        "ASKED_MODEL",
        "PROVIDER",
        "MODEL",
        "STREAM",
        "OUTCOME",
        "CODE",
        "HTTP",
        "ATTEMPTS",
        "HEDGES",
        "TOOK_MICROSECONDS",
        "FIRST_TOKEN_MICROSECONDS",
        "OVERHEAD_MICROSECONDS",
        "ANSWER_BYTES",
        "CACHE_AGE_MILLISECONDS",
        "CACHE_OF",
        "CACHE_PROVIDER",
        "CACHE_SAVED_TOKENS",
        "CACHE_SAVED_PICODOLLARS",
        "REFUSED_BY",
    ];
    let rows = listed.iter().map(|it| {
        let request = &it.request;
        let texts = [
            &it.namespace,
            &it.pod,
            &it.workload,
            &request.id,
            &request.trace_id,
            &request.route,
            &request.dialect,
            &request.operation,
            &request.asked_model,
            &request.provider,
            &request.model,
        ];
        let mut row = vec![Field::Number(rfc3339(it.at))];
        row.extend(texts.map(Field::from));
        row.push(Field::number(request.is_stream));
        row.extend([&request.outcome, &request.code].map(Field::from));
        row.extend([
            Field::number(request.status),
            Field::number(request.attempts),
            Field::number(request.hedges),
            Field::number(request.took),
            Field::maybe(request.first_token),
            Field::number(request.overhead),
            Field::number(request.answer_bytes),
        ]);
        row.extend(cached(request.cache.as_ref()));
        row.push(Field::from(&request.refused_by));
        row.extend(request.tokens.counts().map(Field::number));
        row
    });
    csv::table(heads.into_iter().chain(csv::TOKENS), rows)
}
