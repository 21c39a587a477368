//! What the ledger's outbox holds, and how it stands: for `kubectl bowsprit`, which asks all sidecars where there is no ledger
//! service, and for people who look why one has nothing.
//!
//! A page is read by the outbox's own thread, between two commits: no request waits for it, and what is queued meanwhile is
//! bounded as ever. It names requests, models and money, so it is told to nobody but the pod itself; who may forward a port
//! into the pod is in the pod.

use std::net::IpAddr;
use std::time::Duration;

use bowsprit_ledger::outbox::{self, Asked, Most, Outbox};
use bowsprit_ledger::wire::MAX_ENTRIES;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::answer::{JSON, answer, from_outside};
use crate::observe::ledger::Ledger;
use crate::process::Process;
use crate::time::unix_millis;

/// What a page holds at most: read in a few milliseconds, and little beside a sidecar's memory.
const PAGE: Most = Most {
    entries: MAX_ENTRIES,
    bytes: 512 << 10,
};
/// How long the outbox's thread may take: a slow disk holds it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the outbox stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// `file` or `memory`.
    kept_in: &'static str,
    /// Where it is sent; none: it stays here.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Bytes that wait for the next commit.
    queued_bytes: usize,
    /// Bytes of entries that no service has.
    unshipped_bytes: u64,
    /// Since the start: kept in detail, added up for want of room on disk, and in memory.
    kept: u64,
    folded: u64,
    spilled: u64,
    /// The last sequence that the service has.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipped_through: Option<u64>,
    /// Since it took the last batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_shipped_seconds: Option<u64>,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// How the outbox stands; none: nothing is kept.
pub(super) fn report(ledger: &Ledger) -> Option<Report> {
    let (outbox, about) = (ledger.outbox()?, ledger.about()?);
    let (counts, shipped) = (outbox.counts(), ledger.metrics.shipped());
    let mut problems = Vec::new();
    if let Some(why) = outbox.problem() {
        problems.push(format!(
            "the outbox cannot be written ({why}): entries wait in memory, and what finds no room there is added up"
        ));
    }
    if let (Some(service), Some(why)) = (&about.service, &shipped.problem) {
        problems.push(format!(
            "{service} takes no batches ({why}): they are kept here and sent once it does"
        ));
    }
    let now = i64::try_from(unix_millis()).unwrap_or(i64::MAX);
    let since = |then: i64| u64::try_from(now.saturating_sub(then) / 1000).unwrap_or(0);
    Some(Report {
        kept_in: if about.in_file { "file" } else { "memory" },
        service: about.service.clone(),
        queued_bytes: outbox.queued(),
        unshipped_bytes: counts.bytes,
        kept: counts.kept,
        folded: counts.folded,
        spilled: counts.spilled,
        shipped_through: about.service.is_some().then_some(counts.taken),
        last_shipped_seconds: shipped.last.map(since),
        problems,
    })
}

/// `GET /ledger?after=SEQUENCE&since=MILLISECONDS`.
pub(super) async fn page(process: &Process, peer: IpAddr, query: Option<&str>) -> Response<Full<Bytes>> {
    if let Some(refusal) = from_outside(process, peer) {
        return refusal;
    }
    let ledger = &process.sinks.ledger;
    let (Some(outbox), Some(about)) = (ledger.outbox(), ledger.about()) else {
        let error = "this sidecar keeps nothing: it was started without --ledger-dir and --ledger";
        return answer(StatusCode::NOT_FOUND, &json!({"error": error}));
    };
    let Some(asked) = asked(query.unwrap_or_default()) else {
        let error = "after= and since= are whole numbers: a sequence, and milliseconds since 1970";
        return answer(StatusCode::BAD_REQUEST, &json!({"error": error}));
    };
    let Some(page) = read(outbox, asked).await else {
        let why = outbox.problem().unwrap_or_else(|| "it is busy".to_owned());
        let error = format!("the outbox cannot be read now: {why}");
        return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": error}));
    };
    let mut response = Response::new(Full::new(Bytes::from(outbox::page(&page, &about.sender))));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

async fn read(outbox: &Outbox, asked: Asked) -> Option<outbox::Page> {
    let (sender, page) = oneshot::channel();
    outbox.read(asked, move |page| {
        let _ = sender.send(page);
    });
    tokio::time::timeout(PATIENCE, page).await.ok()?.ok()?
}

/// What a query string asks for; none: it makes no sense.
fn asked(query: &str) -> Option<Asked> {
    let mut asked = Asked {
        after: 0,
        since: 0,
        most: PAGE,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("after", number) => asked.after = number.parse().ok()?,
            ("since", number) => asked.since = number.parse().ok()?,
            _ => return None,
        }
    }
    Some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_two_numbers_or_none() {
        let of = |query| asked(query).map(|asked| (asked.after, asked.since));
        assert_eq!(of(""), Some((0, 0)));
        assert_eq!(of("after=7&since=1700000000000"), Some((7, 1_700_000_000_000)));
        for none in ["after", "after=x", "after=-1", "since=1;drop", "limit=3"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
