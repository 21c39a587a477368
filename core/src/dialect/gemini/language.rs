//! The row of `Gemini`.

use super::super::language::Language;
use super::super::message::to_bytes;
use super::super::success::tells;
use super::super::{Echo, success, usage};
use super::rules::RULES;
use super::{answer, count, decoder, encoder, error, features, request_in, request_out, scan, strip};
use super::{blocked, full_name, says, with_model_inside};
use crate::fault::ErrorKind;
use crate::json::json;
use crate::search::finder;

finder!(FINISH_REASON, "\"finishReason\"");

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    rules: &RULES,
    error_body: error::body,
    error_event: error::event,
    tells_end: |body| tells(&FINISH_REASON, body),
    answers: |answer| blocked(answer) || success::list(answer, "candidates").iter().any(says),
    usage: usage::gemini,
    echo: |_| Echo::default(),
    features: features::features,
    read_request: request_in::decode,
    write_request: request_out::encode,
    read_answer: |body, ctx| answer::decode(body, ctx).ok_or(ErrorKind::Malformed),
    write_answer: |answer, ctx| to_bytes(&answer::encode(answer, ctx)),
    decoder: |ctx| Box::new(decoder::Decoder::new(ctx)),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: scan::event,
    strip: strip::strip,
    rename_model: with_model_inside,
    model: |name, _| {
        json!({
            "name": full_name(name),
            "displayName": name,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        })
    },
    models: |all, _, _| json!({ "models": all }),
    counting: Some(count::COUNTING),
};
