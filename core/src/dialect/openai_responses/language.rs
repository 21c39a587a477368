//! The row of `OpenAI` Responses.

use super::super::RequestError;
use super::super::envelope::with_model;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::language::Decode;
use super::super::language::Language;
use super::super::scan::seen::Passage;
use super::super::{Echo, success, usage};
use super::rules::RULES;
use super::{answer, count, encoder, error, features, request_in, scan};
use crate::fault::ErrorKind;
use crate::json::json;
use crate::search::finder;

/// See [`super::super::Dialect::PROVIDERS`]: the proxy never gets here.
const NOT_ASKED: &str = "cannot be said in Responses: no provider is asked in it for a caller of another dialect";

/// A reader that has nothing to read: see [`NOT_ASKED`].
#[derive(Debug)]
struct NotAsked;

impl Decode for NotAsked {
    fn event(&mut self, _: &[u8], _: &mut Vec<Event>) -> Result<(), StreamError> {
        Err(StreamError::Malformed(
            "Responses events are for callers of Responses only".to_owned(),
        ))
    }
}

finder!(DENSE, "\"status\":\"completed\"");
finder!(SPACED, "\"status\": \"completed\"");

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    rules: &RULES,
    error_body: error::body,
    error_event: error::event,
    tells_end: |body| DENSE.find(body).is_some() || SPACED.find(body).is_some(),
    // It may still be at work, in the background.
    answers: |answer| !success::list(answer, "output").is_empty() || success::is_text(answer, "status"),
    usage: usage::tiered::<usage::Responses>,
    echo: Echo::read,
    features: features::features,
    read_request: request_in::decode,
    write_request: |_, _, _| Err(RequestError::unsupported("", NOT_ASKED)),
    read_answer: |_, _| Err(ErrorKind::Malformed),
    write_answer: answer::encode,
    decoder: |_| Box::new(NotAsked),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: |data, seen| scan::event(data, seen).map(|()| Passage::Keep),
    strip: |_, _| None,
    rename_model: with_model,
    model: |name, owner| json!({ "id": name, "object": "model", "created": 0, "owned_by": owner }),
    models: |all, _, _| json!({ "object": "list", "data": all }),
    counting: Some(count::COUNTING),
};
