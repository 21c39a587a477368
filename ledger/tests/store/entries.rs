//! What pods send.

use std::sync::Arc;

use bowsprit_ledger::entry::{Attempt, Cost, Entry, Headroom, Numbered, Request, Sum, Tokens, Turn};
use bowsprit_ledger::store::{Arrival, Identity};
use bowsprit_ledger::wire::{Batch, VERSION};

/// A time that every test takes for now, milliseconds since 1970: minutes after an hour.
pub(crate) const NOW: i64 = 1_790_000_100_000;

pub(crate) fn request(id: &str, outcome: &str) -> Request {
    Request {
        id: id.into(),
        trace_id: format!("{id}-trace"),
        route: "chat".into(),
        dialect: "openai".into(),
        operation: "chat_completions".into(),
        asked_model: "gpt-5".into(),
        provider: "claude".into(),
        model: "m".into(),
        attempts: 2,
        outcome: outcome.into(),
        status: 200,
        took: 2_000,
        first_token: Some(700),
        path: vec![Turn {
            after: 5,
            provider: "openai".into(),
            what: "failed".into(),
            because: "EXT_OVERLOADED".into(),
            then: "onward".into(),
            wait: 0,
        }],
        ..Request::default()
    }
}

pub(crate) fn attempt(id: &str, outcome: &str) -> Attempt {
    Attempt {
        request_id: id.into(),
        trace_id: format!("{id}-trace"),
        route: "chat".into(),
        number: 1,
        reason: "first".into(),
        provider: "claude".into(),
        model: "m".into(),
        credential: "main".into(),
        provider_request_id: format!("msg_{id}"),
        outcome: outcome.into(),
        code: if outcome == "failed" {
            "EXT_OVERLOADED".into()
        } else {
            String::new()
        },
        took: 1_500,
        head: Some(400),
        tokens: Tokens {
            input: 100,
            output: 20,
            cached: 10,
            estimated_output: 3,
            ..Tokens::default()
        },
        cost: Some(Cost {
            reported: 1_500_001,
            estimated: 7,
            version: "table:2026-11-01".into(),
        }),
        ..Attempt::default()
    }
}

pub(crate) fn folded(of: &str, outcome: &str, count: u64) -> Sum {
    Sum {
        of: of.into(),
        minute: NOW / 60_000,
        route: "chat".into(),
        provider: "claude".into(),
        model: "m".into(),
        outcome: outcome.into(),
        count,
        took: count * 1_000,
        tokens: Tokens {
            input: count,
            ..Tokens::default()
        },
        ..Sum::default()
    }
}

pub(crate) fn headroom(remaining: u64) -> Headroom {
    Headroom {
        provider: "claude".into(),
        credential: "main".into(),
        what: "tokens".into(),
        limit: Some(1_000),
        remaining: Some(remaining),
        reset: None,
    }
}

/// Entries from sequence `from` on, a millisecond apart, of one pod.
pub(crate) fn arrival(pod: &str, from: u64, entries: impl IntoIterator<Item = Entry>) -> Arrival {
    let entries: Vec<_> = entries
        .into_iter()
        .zip(from..)
        .map(|(entry, sequence)| Numbered {
            sequence,
            at: NOW - 10_000 + i64::try_from(sequence).unwrap(),
            entry,
        })
        .collect();
    Arrival {
        identity: Identity {
            namespace: "team".into(),
            pod: pod.into(),
            service_account: "app".into(),
        },
        batch: Batch {
            version: VERSION,
            outbox: "0f".into(),
            from,
            to: entries.last().map_or(from, |last| last.sequence),
            entries,
            workload: "Deployment/app".into(),
            ..Batch::default()
        },
    }
}

pub(crate) fn requests(ids: impl IntoIterator<Item = u64>, outcome: &str) -> Vec<Entry> {
    let entry = |id: u64| Entry::Request(Box::new(request(&format!("r{id}"), outcome)));
    ids.into_iter().map(entry).collect()
}

pub(crate) fn group(arrivals: impl IntoIterator<Item = Arrival>) -> Arc<Vec<Arrival>> {
    Arc::new(arrivals.into_iter().collect())
}
