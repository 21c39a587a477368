//! Events of messages.

use crate::json::{self, Raw};
use serde::Deserialize;

use super::super::error::StreamError;
use super::super::scan::finishes::says;
use super::super::scan::seen::{Seen, Text};
use super::super::{error, success, usage};
use super::rules::RULES;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    message: Option<Message>,
    usage: Option<usage::Anthropic>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<usage::Anthropic>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Raw<'a>>,
}

pub(in super::super) fn event(data: &[u8], seen: &mut Seen) -> Result<(), StreamError> {
    // The frequent event, as `Anthropic` writes it; spelled differently it is only read the slow way.
    if data.starts_with(br#"{"type":"content_block_delta""#) {
        seen.started = true;
        seen.chunks += 1;
        return Ok(());
    }
    let Ok(event) = json::from_slice::<Event<'_>>(data) else {
        return Ok(success::no_error(&RULES, data)?);
    };
    match event.kind.0.as_ref() {
        "content_block_delta" => {
            seen.started = true;
            seen.chunks += 1;
        }
        // A tool call is known from its start; a text block is empty until its first delta.
        "content_block_start" => {
            seen.started |= event
                .content_block
                .is_some_and(|block| !matches!(&*block.kind.0, "text" | "thinking"));
        }
        "message_start" | "message_delta" => {
            let usage = event.message.and_then(|message| message.usage).or(event.usage);
            if let Some(usage) = usage {
                seen.anthropic.merge(usage);
                seen.usage = Some(seen.anthropic.into());
            }
            seen.started |= &*event.kind.0 == "message_delta";
            if says(event.delta.and_then(|delta| delta.stop_reason)) {
                seen.finishes.see(0, true);
            }
        }
        // An end of nothing is no answer.
        "message_stop" if !seen.started => return Err(StreamError::Truncated),
        "message_stop" => seen.ended = true,
        "error" => return Err(error::parse(&RULES, 200, data).into()),
        _ => {}
    }
    Ok(())
}
