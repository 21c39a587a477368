//! A streamed chat completion, written from common events.

use crate::json::{Value, json};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;

use super::super::error::{ErrorView, StreamError};
use super::super::event::Event;
use super::super::language::Encode;
use super::super::logprobs;
use super::super::message::TokenLogprob;
use super::super::sse::put_event;
use super::super::{AnswerContext, Usage};

#[derive(Debug)]
pub(in super::super) struct Encoder {
    ctx: AnswerContext,
    id: String,
    /// The choices whose role was said.
    begun: Vec<u32>,
    usage: Option<Usage>,
    /// The thought text of all choices since the last signature, since a signed block repeats what it signs; no fragment is
    /// added that would make it longer than [`THOUGHT_LIMIT`].
    thought: String,
    /// The calls of custom tools, as (choice, index).
    custom: Vec<(u32, u32)>,
}

/// Bytes of thought text that are kept for a signed block. Of a longer text the block has a part, with the signature of the
/// whole.
const THOUGHT_LIMIT: usize = 1 << 20;

#[derive(Serialize)]
struct Chunk<'a, D: Serialize> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [ChunkChoice<D>; 1],
}

#[derive(Serialize)]
struct ChunkChoice<D: Serialize> {
    index: u32,
    delta: D,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Content<'a> {
    content: &'a str,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    reasoning_content: &'a str,
}

#[derive(Serialize)]
struct Arguments<'a> {
    tool_calls: [CallArguments<'a>; 1],
}

#[derive(Serialize)]
struct CallArguments<'a> {
    index: u32,
    function: FunctionArguments<'a>,
}

#[derive(Serialize)]
struct FunctionArguments<'a> {
    arguments: &'a str,
}

impl Encoder {
    pub(in super::super) fn new(ctx: AnswerContext) -> Self {
        Self {
            id: ctx.id.clone(),
            ctx,
            begun: Vec::new(),
            usage: None,
            thought: String::new(),
            custom: Vec::new(),
        }
    }

    fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Start { id, usage } => {
                if let Some(id) = id {
                    self.id.clone_from(id);
                }
                self.usage = usage.or(self.usage);
                self.begin(0, out);
            }
            Event::Text { choice, text } => self.put(*choice, Content { content: text }, out),
            Event::Thought { choice, text } => {
                if self.thought.len() + text.len() <= THOUGHT_LIMIT {
                    self.thought.push_str(text);
                }
                self.put(
                    *choice,
                    Reasoning {
                        reasoning_content: text,
                    },
                    out,
                );
            }
            Event::Signature { choice, signature } => {
                let thought = std::mem::take(&mut self.thought);
                let block = json!({ "type": "thinking", "thinking": thought, "signature": signature });
                self.put(*choice, json!({ "thinking_blocks": [block] }), out);
            }
            Event::Redacted { choice, data } => {
                let block = json!({ "type": "redacted_thinking", "data": data });
                self.put(*choice, json!({ "thinking_blocks": [block] }), out);
            }
            Event::Logprobs { choice, tokens } => self.logprobs(*choice, tokens, out),
            Event::Refusal { choice, text } => self.put(*choice, json!({ "refusal": text }), out),
            Event::CallStart {
                choice,
                index,
                id,
                name,
                signature,
            } => {
                let mut call = if name.is_custom() {
                    self.custom.push((*choice, *index));
                    let custom = json!({ "name": name.name, "input": "" });
                    json!({ "index": index, "id": id, "type": "custom", "custom": custom })
                } else {
                    let function = json!({ "name": name.name, "arguments": "" });
                    json!({ "index": index, "id": id, "type": "function", "function": function })
                };
                super::super::signature::put_signature(&mut call, signature.as_deref());
                self.put(*choice, json!({ "tool_calls": [call] }), out);
            }
            Event::CallArguments {
                choice,
                index,
                fragment,
            } if self.custom.contains(&(*choice, *index)) => {
                let call = json!({ "index": index, "custom": { "input": fragment } });
                self.put(*choice, json!({ "tool_calls": [call] }), out);
            }
            Event::CallArguments {
                choice,
                index,
                fragment,
            } => {
                let function = FunctionArguments { arguments: fragment };
                self.put(
                    *choice,
                    Arguments {
                        tool_calls: [CallArguments {
                            index: *index,
                            function,
                        }],
                    },
                    out,
                );
            }
            Event::CallEnd { .. } => {}
            Event::Finish { choice, reason, .. } => {
                self.begin(*choice, out);
                self.chunk(*choice, json!({}), Some(super::finish_reason(*reason)), out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => out.put_slice(b": ping\n\n"),
            Event::End => self.end(out),
        }
    }

    /// Says the role first, once a choice.
    fn begin(&mut self, choice: u32, out: &mut BytesMut) {
        if !self.begun.contains(&choice) {
            self.begun.push(choice);
            self.chunk(
                choice,
                json!({ "role": "assistant", "content": "", "refusal": null }),
                None,
                out,
            );
        }
    }

    fn put(&mut self, choice: u32, delta: impl Serialize, out: &mut BytesMut) {
        self.begin(choice, out);
        self.chunk(choice, delta, None, out);
    }

    fn chunk(&self, choice: u32, delta: impl Serialize, finish_reason: Option<&'static str>, out: &mut BytesMut) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.ctx.created,
            model: &self.ctx.model,
            choices: [ChunkChoice {
                index: choice,
                delta,
                logprobs: None,
                finish_reason,
            }],
        };
        put_event(out, None, &chunk);
    }

    /// In a chunk of its own, for it comes with text that may have been split differently.
    fn logprobs(&mut self, choice: u32, tokens: &[TokenLogprob], out: &mut BytesMut) {
        self.begin(choice, out);
        let choice = json!({
            "index": choice,
            "delta": {},
            "logprobs": logprobs::to_openai(tokens),
            "finish_reason": null,
        });
        let chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.ctx.created,
            "model": self.ctx.model,
            "choices": [choice],
        });
        put_event(out, None, &chunk);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if self.ctx.include_usage {
            let chunk: Value = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.ctx.created,
                "model": self.ctx.model,
                "choices": [],
                "usage": self.usage.unwrap_or_default().to_openai(),
            });
            put_event(out, None, &chunk);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
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
