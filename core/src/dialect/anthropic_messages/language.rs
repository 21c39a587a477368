//! The row of `Anthropic` messages.

use super::super::envelope::with_model;
use super::super::language::Language;
use super::super::message::to_bytes;
use super::super::scan::seen::Passage;
use super::super::success::tells;
use super::super::{Echo, success, usage};
use super::rules::RULES;
use super::{answer, count, decoder, encoder, error, features, request_in, request_out, scan, strip};
use crate::fault::ErrorKind;
use crate::json::json;
use crate::search::finder;

finder!(STOP_REASON, "\"stop_reason\"");

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    rules: &RULES,
    error_body: error::body,
    error_event: error::event,
    tells_end: |body| tells(&STOP_REASON, body),
    answers: |answer| !success::list(answer, "content").is_empty() || success::is_text(answer, "stop_reason"),
    usage: usage::named::<usage::Anthropic>,
    echo: |_| Echo::default(),
    features: features::features,
    read_request: request_in::decode,
    write_request: request_out::encode,
    read_answer: |body, ctx| answer::decode(body, ctx).ok_or(ErrorKind::Malformed),
    write_answer: |answer, ctx| to_bytes(&answer::encode(answer, ctx)),
    decoder: |ctx| Box::new(decoder::Decoder::new(ctx)),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: |data, seen| scan::event(data, seen).map(|()| Passage::Keep),
    strip: strip::strip,
    rename_model: with_model,
    model: |name, _| json!({ "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z" }),
    models: |all, first, last| json!({ "data": all, "has_more": false, "first_id": first, "last_id": last }),
    counting: Some(count::COUNTING),
};
