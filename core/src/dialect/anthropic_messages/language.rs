//! The row of `Anthropic` messages.

use super::super::envelope::with_model;
use super::super::language::Language;
use super::super::message::to_bytes;
use super::super::scan::seen::Passage;
use super::{answer, count, decoder, encoder, request_in, request_out, scan, strip};
use crate::fault::ErrorKind;

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    read_request: request_in::decode,
    write_request: request_out::encode,
    read_answer: |body, ctx| answer::decode(body, ctx).ok_or(ErrorKind::Malformed),
    write_answer: |answer, ctx| to_bytes(&answer::encode(answer, ctx)),
    decoder: |ctx| Box::new(decoder::Decoder::new(ctx)),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: |data, seen| scan::event(data, seen).map(|()| Passage::Keep),
    strip: strip::strip,
    rename_model: with_model,
    counting: Some(count::COUNTING),
};
