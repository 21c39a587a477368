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
use bowsprit_core::record::{AttemptRecord, RequestRecord, Spent};

use crate::entry::LONGEST_TEXT;

/// The operation that costs no tokens: it counts them.
const COUNTING: &str = "count_tokens";

/// Appends a request as an entry.
pub(super) fn request(out: &mut Vec<u8>, record: &RequestRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"request\"");
    text(out, member!("id"), record.id);
    text(out, member!("traceId"), record.trace_id);
    text(out, member!("route"), record.route);
    text(out, member!("dialect"), record.dialect.as_str());
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
    text(out, member!("outcome"), record.outcome.as_str());
    text(out, member!("code"), record.code.map_or("", Code::as_str));
    number(out, member!("status"), u64::from(record.status));
    number(out, member!("took"), micros(record.took));
    if let Some(after) = record.first_token_after {
        always(out, member!("firstToken"), micros(after));
    }
    number(out, member!("overhead"), micros(record.overhead));
    number(out, member!("answerBytes"), record.answer_bytes);
    tokens(out, &record.spent);
    if !record.path.turns().is_empty() {
        path(out, record.path.turns());
        number(out, member!("turnsLeftOut"), u64::from(record.path.left_out()));
    }
    out.push(b'}');
}

/// Appends an attempt as an entry.
pub(super) fn attempt(out: &mut Vec<u8>, record: &AttemptRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"attempt\"");
    text(out, member!("requestId"), record.request_id);
    text(out, member!("traceId"), record.trace_id);
    text(out, member!("route"), record.route);
    number(out, member!("number"), u64::from(record.number));
    text(out, member!("reason"), record.kind.as_str());
    text(out, member!("provider"), record.provider);
    text(out, member!("model"), record.model);
    text(out, member!("reportedModel"), record.reported_model);
    text(out, member!("credential"), record.credential.unwrap_or(""));
    text(out, member!("providerRequestId"), record.provider_request_id);
    text(out, member!("operation"), record.operation);
    number(out, member!("status"), u64::from(record.status.unwrap_or(0)));
    text(out, member!("outcome"), record.outcome.as_str());
    text(out, member!("code"), record.code.map_or("", Code::as_str));
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

fn path(out: &mut Vec<u8>, turns: &[Turn]) {
    out.extend_from_slice(b",\"path\":[");
    for (number, turn) in turns.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        self::turn(out, turn);
    }
    out.push(b']');
}

fn turn(out: &mut Vec<u8>, turn: &Turn) {
    out.extend_from_slice(b"{\"after\":");
    line::number(out, micros(turn.after));
    text(out, member!("provider"), &turn.provider);
    text(out, member!("what"), turn.what.as_str());
    text(out, member!("because"), turn.what.because());
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

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(key.as_bytes());
    line::string(out, &clipped(value));
}

fn flag(out: &mut Vec<u8>, key: &str, value: bool) {
    if value {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"true");
    }
}

fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    if value > 0 {
        always(out, key, value);
    }
}

fn always(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    line::number(out, value);
}
