//! The row of `OpenAI` chat completions.

use super::super::envelope::with_model;
use super::super::language::Language;
use super::super::message::to_bytes;
use super::super::success::tells;
use super::super::{Echo, success, usage};
use super::rules::RULES;
use super::says;
use super::{answer, decoder, encoder, error, features, request_in, request_out, scan};
use crate::json::json;
use crate::search::finder;

finder!(FINISH_REASON, "\"finish_reason\"");

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    rules: &RULES,
    error_body: error::body,
    error_event: error::event,
    tells_end: |body| tells(&FINISH_REASON, body),
    answers: |answer| success::list(answer, "choices").iter().any(says),
    usage: usage::tiered::<usage::OpenAi>,
    echo: |_| Echo::default(),
    features: features::features,
    read_request: request_in::decode,
    write_request: request_out::encode,
    read_answer: answer::decode,
    write_answer: |answer, ctx| to_bytes(&answer::encode(answer, ctx)),
    decoder: |ctx| Box::new(decoder::Decoder::new(ctx)),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: scan::event,
    strip: |_, _| None,
    rename_model: with_model,
    model: |name, owner| json!({ "id": name, "object": "model", "created": 0, "owned_by": owner }),
    models: |all, _, _| json!({ "object": "list", "data": all }),
    counting: None,
};
