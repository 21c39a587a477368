//! The row of `OpenAI` chat completions.

use super::super::envelope::with_model;
use super::super::language::Language;
use super::super::message::to_bytes;
use super::{answer, decoder, encoder, request_in, request_out, scan};

/// This dialect's row.
pub(in super::super) static LANGUAGE: Language = Language {
    read_request: request_in::decode,
    write_request: request_out::encode,
    read_answer: answer::decode,
    write_answer: |answer, ctx| to_bytes(&answer::encode(answer, ctx)),
    decoder: |ctx| Box::new(decoder::Decoder::new(ctx)),
    encoder: |ctx| Box::new(encoder::Encoder::new(ctx)),
    scan: scan::event,
    strip: |_, _| None,
    rename_model: with_model,
    counting: None,
};
