//! A streamed message, written from common events.

use crate::json::{Value, json};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::super::error::{ErrorView, StreamError};
use super::super::event::Event;
use super::super::ids::safe_id;
use super::super::language::Encode;
use super::super::message::Finish;
use super::super::signature::{Origin, wrap};
use super::super::sse::put_event;
use super::super::{AnswerContext, Usage};

/// Holds `message_delta` back until the end, because the usage that belongs into it comes last.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    ctx: AnswerContext,
    begun: bool,
    /// Index of the next content block.
    next: u32,
    /// The text or thinking block that is open.
    open: Option<(u32, Open)>,
    /// The tool calls' block indexes, `None` once closed. They stay open until they end or the turn does: other
    /// dialects may come back to an earlier one.
    calls: Vec<(u32, Option<u32>)>,
    /// Whether a thought or a mark was said.
    thought: bool,
    usage: Usage,
    finish: Option<(Finish, Option<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
}

#[derive(Serialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    delta: Delta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
}

impl Encoder {
    pub(in super::super) fn new(ctx: AnswerContext) -> Self {
        Self {
            ctx,
            begun: false,
            next: 0,
            open: None,
            calls: Vec::new(),
            thought: false,
            usage: Usage::default(),
            finish: None,
        }
    }

    fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Start { id, usage } => {
                self.usage = usage.unwrap_or_default();
                self.begin(id.as_deref(), out);
            }
            // A message has one answer: `n` is never asked for on behalf of this dialect.
            Event::Text { choice: 0, text } | Event::Refusal { choice: 0, text } => {
                let index = self.opened(Open::Text, out);
                delta(index, Delta::Text { text }, out);
            }
            Event::Thought { choice: 0, text } if self.ctx.show_thoughts => {
                let index = self.opened(Open::Thought, out);
                delta(index, Delta::Thinking { thinking: text }, out);
            }
            Event::Signature { choice: 0, signature } if self.ctx.show_thoughts => self.signature(signature, out),
            Event::CallStart {
                choice: 0,
                index,
                id,
                name,
                signature,
            } => {
                self.close(out);
                if let Some(block) = super::before_call(signature.as_deref(), self.ctx.show_thoughts && !self.thought) {
                    self.thought = true;
                    let at = self.start(&block, out);
                    stop(at, out);
                }
                let block = json!({ "type": "tool_use", "id": safe_id(id), "name": name.name, "input": {} });
                let at = self.start(&block, out);
                self.calls.push((*index, Some(at)));
            }
            Event::CallArguments {
                choice: 0,
                index,
                fragment,
            } => {
                if let Some(at) = self.calls.iter().find(|call| call.0 == *index).and_then(|call| call.1) {
                    delta(at, Delta::Input { partial_json: fragment }, out);
                }
            }
            Event::CallEnd { choice: 0, index } => {
                if let Some(at) = self
                    .calls
                    .iter_mut()
                    .find(|call| call.0 == *index)
                    .and_then(|call| call.1.take())
                {
                    stop(at, out);
                }
            }
            Event::Finish {
                choice: 0,
                reason,
                stop_sequence,
            } => {
                self.finish = Some((*reason, stop_sequence.clone()));
            }
            Event::Usage(usage) => self.usage = *usage,
            // Thoughts that nobody asked to read only show that the model is at work. Nothing may come before
            // `message_start`.
            Event::Ping | Event::Thought { .. } if self.begun => {
                put_event(out, Some("ping"), &json!({ "type": "ping" }));
            }
            Event::End => self.end(out),
            _ => {}
        }
    }

    fn begin(&mut self, id: Option<&str>, out: &mut BytesMut) {
        if self.begun {
            return;
        }
        self.begun = true;
        let mut usage = self.usage.to_anthropic();
        if let (0, Some(object)) = (self.usage.output, usage.as_object_mut()) {
            // As the API itself does: the first token is on its way.
            object.insert("output_tokens".into(), 1.into());
        }
        let message = json!({
            "id": id.unwrap_or(&self.ctx.id),
            "type": "message",
            "role": "assistant",
            "model": self.ctx.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        });
        put_event(
            out,
            Some("message_start"),
            &json!({ "type": "message_start", "message": message }),
        );
    }

    /// The index of the open block of this kind; opens one if need be.
    fn opened(&mut self, kind: Open, out: &mut BytesMut) -> u32 {
        if let Some((index, open)) = self.open
            && open == kind
        {
            return index;
        }
        self.close(out);
        let block = match kind {
            Open::Text => json!({ "type": "text", "text": "" }),
            Open::Thought => {
                self.thought = true;
                json!({ "type": "thinking", "thinking": "", "signature": "" })
            }
        };
        let index = self.start(&block, out);
        self.open = Some((index, kind));
        index
    }

    /// Ends the open block; a thought that nobody signed is marked as such, for this dialect's callers send back signed
    /// ones only.
    fn close(&mut self, out: &mut BytesMut) {
        let Some((index, open)) = self.open.take() else { return };
        if open == Open::Thought {
            let signature = wrap(Origin::Unsigned, "");
            delta(index, Delta::Signature { signature: &signature }, out);
        }
        stop(index, out);
    }

    /// Signs the open thought, or says the signature alone.
    fn signature(&mut self, signature: &str, out: &mut BytesMut) {
        if let Some((index, Open::Thought)) = self.open {
            self.open = None;
            delta(index, Delta::Signature { signature }, out);
            stop(index, out);
        } else {
            self.close(out);
            self.thought = true;
            let at = self.start(&json!({ "type": "redacted_thinking", "data": signature }), out);
            stop(at, out);
        }
    }

    fn start(&mut self, block: &Value, out: &mut BytesMut) -> u32 {
        self.begin(None, out);
        let index = self.next;
        self.next += 1;
        let event = json!({ "type": "content_block_start", "index": index, "content_block": block });
        put_event(out, Some("content_block_start"), &event);
        index
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(None, out);
        self.close(out);
        for (_, at) in std::mem::take(&mut self.calls) {
            if let Some(at) = at {
                stop(at, out);
            }
        }
        let (finish, stop_sequence) = self.finish.take().unwrap_or((Finish::Stop, None));
        let delta = json!({ "stop_reason": super::stop_reason(finish), "stop_sequence": stop_sequence });
        let event = json!({ "type": "message_delta", "delta": delta, "usage": self.usage.to_anthropic() });
        put_event(out, Some("message_delta"), &event);
        put_event(out, Some("message_stop"), &json!({ "type": "message_stop" }));
    }
}

fn delta(index: u32, delta: Delta<'_>, out: &mut BytesMut) {
    put_event(
        out,
        Some("content_block_delta"),
        &BlockDelta {
            kind: "content_block_delta",
            index,
            delta,
        },
    );
}

fn stop(index: u32, out: &mut BytesMut) {
    put_event(
        out,
        Some("content_block_stop"),
        &json!({ "type": "content_block_stop", "index": index }),
    );
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError> {
        self.encode(event, out);
        Ok(())
    }

    fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        super::error::event(error, 0)
    }
}
