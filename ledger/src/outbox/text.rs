//! Records as the text of entries, written by hand: it is done while a request waits. What is empty, zero or false is left out,
//! as whoever reads an entry has that for a default. Texts are clipped here ([`LONGEST_TEXT`]).

use std::borrow::Cow;
use std::time::Duration;

use bowsprit_core::cost::{Cost, Picodollars};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::moves::Move;
use bowsprit_core::flow::retry::Next;
use bowsprit_core::json::line;
use bowsprit_core::record::path::{Happened, Turn};
use bowsprit_core::record::{AttemptRecord, RequestRecord, Spent};

use crate::entry::LONGEST_TEXT;

/// The operation that costs no tokens: it counts them.
const COUNTING: &str = "count_tokens";

/// A member's name as it stands in a line, from the comma to the colon.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Appends a request as an entry.
pub(super) fn request(out: &mut Vec<u8>, record: &RequestRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"request\"");
    text(out, key!("id"), record.id);
    text(out, key!("traceId"), record.trace_id);
    text(out, key!("route"), record.route);
    text(out, key!("dialect"), record.dialect.as_str());
    text(out, key!("operation"), record.operation);
    text(out, key!("askedModel"), record.asked_model);
    text(out, key!("provider"), record.provider);
    text(out, key!("model"), record.model);
    flag(out, key!("isStream"), record.is_stream);
    number(out, key!("attempts"), u64::from(record.attempts));
    number(out, key!("hedges"), u64::from(record.hedges));
    number(out, key!("sdkRetries"), u64::from(record.sdk_retries));
    number(out, key!("fieldsLeftOut"), u64::from(record.fields_left_out));
    number(out, key!("toolsLeftOut"), u64::from(record.tools_left_out));
    text(out, key!("outcome"), record.outcome.as_str());
    text(out, key!("code"), record.code.map_or("", Code::as_str));
    number(out, key!("status"), u64::from(record.status));
    number(out, key!("took"), micros(record.took));
    if let Some(after) = record.first_token_after {
        always(out, key!("firstToken"), micros(after));
    }
    number(out, key!("overhead"), micros(record.overhead));
    number(out, key!("answerBytes"), record.answer_bytes);
    tokens(out, &record.spent);
    if !record.path.turns().is_empty() {
        path(out, record.path.turns());
        number(out, key!("turnsLeftOut"), u64::from(record.path.left_out()));
    }
    out.push(b'}');
}

/// Appends an attempt as an entry.
pub(super) fn attempt(out: &mut Vec<u8>, record: &AttemptRecord<'_>) {
    out.extend_from_slice(b"{\"kind\":\"attempt\"");
    text(out, key!("requestId"), record.request_id);
    text(out, key!("traceId"), record.trace_id);
    text(out, key!("route"), record.route);
    number(out, key!("number"), u64::from(record.number));
    text(out, key!("reason"), record.kind.as_str());
    text(out, key!("provider"), record.provider);
    text(out, key!("model"), record.model);
    text(out, key!("reportedModel"), record.reported_model);
    text(out, key!("credential"), record.credential.unwrap_or(""));
    text(out, key!("providerRequestId"), record.provider_request_id);
    text(out, key!("operation"), record.operation);
    number(out, key!("status"), u64::from(record.status.unwrap_or(0)));
    text(out, key!("outcome"), record.outcome.as_str());
    text(out, key!("code"), record.code.map_or("", Code::as_str));
    number(out, key!("took"), micros(record.took));
    if let Some(after) = record.head_after {
        always(out, key!("head"), micros(after));
    }
    if let Some(after) = record.first_content_after {
        always(out, key!("firstToken"), micros(after));
    }
    tokens(out, &record.spent);
    flag(out, key!("tokensUnknown"), are_tokens_unknown(record));
    if let Some(cost) = priced(record) {
        out.extend_from_slice(b",\"cost\":{\"reported\":");
        line::number(out, picodollars(cost.reported));
        number(out, key!("estimated"), picodollars(cost.estimated));
        text(out, key!("version"), cost.version);
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

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(time.subsec_micros()))
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
    text(out, key!("provider"), &turn.provider);
    let (what, because) = match &turn.what {
        Happened::LeftOut(why) => ("passed_over", why.as_str()),
        Happened::Moved(Move::PassedOver { reason, .. }) => ("passed_over", reason.as_str()),
        Happened::Moved(Move::Retried { after }) => ("retried", after.as_str()),
        Happened::Moved(Move::Failed { code, .. }) => ("failed", code.as_str()),
        Happened::Waited(reason, _) => ("waited", reason.as_str()),
    };
    text(out, key!("what"), what);
    text(out, key!("because"), because);
    let mut wait = None;
    if let Happened::Moved(Move::Failed {
        followed: Some((next, why)),
        ..
    }) = &turn.what
    {
        text(out, key!("then"), &format!("{}: {}", next.as_str(), why.as_str()));
        if let Next::Again(after) = next {
            wait = Some(*after);
        }
    }
    if let Happened::Waited(_, waited) = &turn.what {
        wait = Some(*waited);
    }
    let millis = wait.map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
    number(out, key!("wait"), u64::from(millis));
    out.push(b'}');
}

fn tokens(out: &mut Vec<u8>, spent: &Spent) {
    let told = spent.reported.unwrap_or_default();
    if spent.reported.is_none() && spent.estimated_input == 0 && spent.estimated_output == 0 {
        return;
    }
    out.extend_from_slice(b",\"tokens\":{\"input\":");
    line::number(out, told.input);
    number(out, key!("output"), told.output);
    number(out, key!("cached"), told.cached);
    number(out, key!("cacheWrite"), told.cache_write);
    number(out, key!("reasoning"), told.reasoning);
    number(out, key!("estimatedInput"), spent.estimated_input);
    number(out, key!("estimatedOutput"), spent.estimated_output);
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(key.as_bytes());
    line::text(out, &clipped(value), LONGEST_TEXT);
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
