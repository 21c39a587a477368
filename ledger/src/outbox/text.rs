//! Records as the text of entries, written by hand: it is done while a request waits. What is empty, zero or false is left out,
//! as whoever reads an entry has that for a default. Texts are clipped here ([`LONGEST_TEXT`]).

use std::borrow::Cow;

use bowsprit_core::clock::micros;
use bowsprit_core::cost::{Cost, Picodollars};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::moves::Move;
use bowsprit_core::flow::retry::Next;
use bowsprit_core::json::line::{self, member};
use bowsprit_core::record::path::{Happened, Turn};
use bowsprit_core::record::{AttemptRecord, Cached, HeadroomRecord, RequestRecord, Spent, Stale};

use crate::entry::{ANSWERED_STALE, LONGEST_TEXT};

/// The operation that costs no tokens: it counts them.
const COUNTING: &str = "count_tokens";

/// Appends a request as an entry.
pub(super) fn request(out: &mut Vec<u8>, record: &RequestRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"request\"");
    text(out, member!("id"), record.id);
    text(out, member!("traceId"), record.trace_id);
    text(out, member!("route"), record.route);
    word(out, member!("dialect"), record.dialect.as_str());
    text(out, member!("operation"), record.operation);
    text(out, member!("askedModel"), record.asked_model);
    text(out, member!("provider"), record.provider);
    text(out, member!("model"), record.model);
    flag(out, member!("isStream"), record.is_stream);
    number(out, member!("attempts"), u64::from(record.attempts));
    number(out, member!("hedges"), u64::from(record.hedges));
    number(out, member!("sdkRetries"), u64::from(record.sdk_retries));
    number(out, member!("fieldsLeftOut"), u64::from(record.fields_left_out));
    number(out, member!("toolsLeftOut"), u64::from(record.tools_left_out));
    word(out, member!("outcome"), record.outcome.as_str());
    word(out, member!("code"), record.code.map_or("", Code::as_str));
    number(out, member!("status"), u64::from(record.status));
    number(out, member!("took"), micros(record.took));
    if let Some(after) = record.first_token_after {
        always(out, member!("firstToken"), micros(after));
    }
    number(out, member!("overhead"), micros(record.overhead));
    number(out, member!("answerBytes"), record.answer_bytes);
    tokens(out, &record.spent);
    if !record.path.turns().is_empty() || record.stale.is_some() {
        path(out, record);
        number(out, member!("turnsLeftOut"), u64::from(record.path.left_out()));
    }
    if let Some(cached) = &record.cache {
        self::cached(out, cached);
    }
    text(out, member!("refusedBy"), record.refused_by);
    text(out, member!("wouldRefuseBy"), record.would_refuse_by);
    out.push(b'}');
}

/// An answer of the cache.
fn cached(out: &mut Vec<u8>, cached: &Cached<'_>) {
    out.extend_from_slice(b",\"cache\":{\"age\":");
    line::number(out, micros(cached.age) / 1_000);
    text(out, member!("requestId"), cached.request_id);
    text(out, member!("provider"), cached.provider);
    number(out, member!("savedTokens"), cached.saved_tokens);
    number(out, member!("savedCost"), picodollars(cached.saved_cost));
    out.push(b'}');
}

/// Appends an attempt as an entry.
pub(super) fn attempt(out: &mut Vec<u8>, record: &AttemptRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"attempt\"");
    text(out, member!("requestId"), record.request_id);
    text(out, member!("traceId"), record.trace_id);
    text(out, member!("route"), record.route);
    number(out, member!("number"), u64::from(record.number));
    word(out, member!("reason"), record.kind.as_str());
    text(out, member!("provider"), record.provider);
    text(out, member!("model"), record.model);
    text(out, member!("reportedModel"), record.reported_model);
    text(out, member!("credential"), record.credential.unwrap_or(""));
    text(out, member!("providerRequestId"), record.provider_request_id);
    text(out, member!("operation"), record.operation);
    number(out, member!("status"), u64::from(record.status.unwrap_or(0)));
    word(out, member!("outcome"), record.outcome.as_str());
    word(out, member!("code"), record.code.map_or("", Code::as_str));
    number(out, member!("took"), micros(record.took));
    if let Some(after) = record.head_after {
        always(out, member!("head"), micros(after));
    }
    if let Some(after) = record.first_content_after {
        always(out, member!("firstToken"), micros(after));
    }
    tokens(out, &record.spent);
    flag(out, member!("tokensUnknown"), are_tokens_unknown(record));
    if let Some(cost) = priced(record) {
        out.extend_from_slice(b",\"cost\":{\"reported\":");
        line::number(out, picodollars(cost.reported));
        number(out, member!("estimated"), picodollars(cost.estimated));
        text(out, member!("version"), cost.version);
        out.push(b'}');
    }
    out.push(b'}');
}

/// How what a provider says of a limit of its own begins.
const HEADROOM: &[u8] = b"{\"kind\":\"headroom\"";

/// Whether an entry is a request or an attempt, and so one of those that are counted.
pub(super) fn is_counted(entry: &[u8]) -> bool {
    !entry.starts_with(HEADROOM)
}

/// Appends what a provider says of a limit of its own as an entry.
pub(super) fn headroom(out: &mut Vec<u8>, record: &HeadroomRecord<'_>) {
    let limit = &record.limit;
    out.extend_from_slice(HEADROOM);
    text(out, member!("provider"), record.provider);
    text(out, member!("credential"), record.credential);
    word(out, member!("what"), limit.what);
    if let Some(whole) = limit.limit {
        always(out, member!("limit"), whole);
    }
    always(out, member!("remaining"), limit.remaining);
    if let Some(reset) = limit.reset {
        always(out, member!("reset"), micros(reset) / 1_000);
    }
    out.push(b'}');
}

/// Whether an attempt's tokens are not known at all.
pub(super) fn are_tokens_unknown(record: &AttemptRecord<'_>) -> bool {
    record.spent.total().is_none() && record.operation != COUNTING
}

/// What an attempt cost, where something was spent and its price is known.
pub(super) fn priced<'a>(record: &AttemptRecord<'a>) -> Option<Cost<'a>> {
    record.cost.ok().filter(|cost| !cost.version.is_empty())
}

/// An amount, which is never below zero.
fn picodollars(amount: Picodollars) -> u64 {
    u64::try_from(amount.get()).unwrap_or(0)
}

/// A text as it is kept.
pub(super) fn clipped(value: &str) -> Cow<'_, str> {
    let value = value.get(..value.floor_char_boundary(LONGEST_TEXT)).unwrap_or("");
    if value.as_bytes().contains(&0) {
        // U+FFFD is three bytes long.
        let kept = value.replace('\0', "\u{fffd}");
        let length = kept.floor_char_boundary(LONGEST_TEXT);
        return Cow::Owned(kept.get(..length).unwrap_or("").to_owned());
    }
    Cow::Borrowed(value)
}

fn path(out: &mut Vec<u8>, record: &RequestRecord<'_>) {
    let turns = record.path.turns();
    out.extend_from_slice(b",\"path\":[");
    for (number, turn) in turns.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        self::turn(out, turn);
    }
    if let Some(stale) = &record.stale {
        if !turns.is_empty() {
            out.push(b',');
        }
        self::stale(out, record, stale);
    }
    out.push(b']');
}

/// A kept answer as the last turn, beyond the bound on turns: a release that does not know it keeps it as it is.
fn stale(out: &mut Vec<u8>, record: &RequestRecord<'_>, stale: &Stale<'_>) {
    out.extend_from_slice(b"{\"after\":");
    line::number(out, micros(record.took));
    text(out, member!("provider"), stale.provider);
    text(out, member!("what"), ANSWERED_STALE);
    text(out, member!("because"), stale.request_id);
    let age = u32::try_from(stale.age.as_millis()).unwrap_or(u32::MAX);
    number(out, member!("wait"), u64::from(age));
    out.push(b'}');
}

fn turn(out: &mut Vec<u8>, turn: &Turn) {
    out.extend_from_slice(b"{\"after\":");
    line::number(out, micros(turn.after));
    text(out, member!("provider"), &turn.provider);
    word(out, member!("what"), turn.what.as_str());
    word(out, member!("because"), turn.what.because());
    let mut wait = None;
    if let Happened::Moved(Move::Failed {
        followed: Some((next, why)),
        ..
    }) = &turn.what
    {
        text(out, member!("then"), &format!("{}: {}", next.as_str(), why.as_str()));
        if let Next::Again(after) = next {
            wait = Some(*after);
        }
    }
    if let Happened::Waited(_, waited) = &turn.what {
        wait = Some(*waited);
    }
    let millis = wait.map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
    number(out, member!("wait"), u64::from(millis));
    out.push(b'}');
}

fn tokens(out: &mut Vec<u8>, spent: &Spent) {
    let told = spent.reported.unwrap_or_default();
    if spent.reported.is_none() && spent.estimated_input == 0 && spent.estimated_output == 0 {
        return;
    }
    out.extend_from_slice(b",\"tokens\":{\"input\":");
    line::number(out, told.input);
    number(out, member!("output"), told.output);
    number(out, member!("cached"), told.cached);
    number(out, member!("cacheWrite"), told.cache_write);
    number(out, member!("reasoning"), told.reasoning);
    number(out, member!("estimatedInput"), spent.estimated_input);
    number(out, member!("estimatedOutput"), spent.estimated_output);
    out.push(b'}');
}

/// Names are known when this is compiled, and so written without a call: these are small, and what is large is apart.
#[inline]
fn text(out: &mut Vec<u8>, key: &'static str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(key.as_bytes());
        told(out, value);
    }
}

/// A text of a caller's or a provider's.
fn told(out: &mut Vec<u8>, value: &str) {
    // Nearly every one. A NUL is not plain.
    if value.len() <= LONGEST_TEXT && line::is_plain(value) {
        line::plain(out, value);
    } else {
        line::string(out, &clipped(value));
    }
}

/// A word of a closed list, which is neither long nor has a special character in it.
#[inline]
fn word(out: &mut Vec<u8>, key: &'static str, value: &'static str) {
    if !value.is_empty() {
        out.extend_from_slice(key.as_bytes());
        line::plain(out, value);
    }
}

#[inline]
fn flag(out: &mut Vec<u8>, key: &'static str, value: bool) {
    if value {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"true");
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &'static str, value: u64) {
    if value > 0 {
        always(out, key, value);
    }
}

#[inline]
fn always(out: &mut Vec<u8>, key: &'static str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    line::number(out, value);
}
