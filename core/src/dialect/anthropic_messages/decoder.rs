//! A streamed message, read into common events.

use std::collections::HashMap;

use crate::json::{self, Text, Value};
use serde::Deserialize;

use super::super::error;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::ids::call_id;
use super::super::language::Decode;
use super::super::{AnswerContext, success, usage};
use super::rules::RULES;

/// Content blocks that are followed at most: far beyond any real answer, a bound on memory.
const MAX_BLOCKS: usize = 4096;

#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    usage: usage::Anthropic,
    /// The answer's own id, to make ids of for calls that have none.
    answer_id: String,
    /// The tool calls, by the index of their block.
    calls: HashMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    number: u32,
    /// The input that came with the block's start. The API streams it; servers that do not put it there, whole.
    whole: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<Message>,
    content_block: Option<Block>,
    delta: Option<Delta>,
    usage: Option<usage::Anthropic>,
}

#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    usage: Option<usage::Anthropic>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<Text>,
    thinking: Option<Text>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<Text>,
    thinking: Option<Text>,
    signature: Option<String>,
    partial_json: Option<Value>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

fn missing(what: &str) -> StreamError {
    StreamError::Malformed(format!("an event lacks {what}"))
}

impl Decoder {
    pub(in super::super) fn new(ctx: &AnswerContext) -> Self {
        Self {
            answer_id: ctx.id.clone(),
            ..Self::default()
        }
    }

    fn decode(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        let raw: Raw = match json::from_slice(data) {
            Ok(raw) => raw,
            Err(problem) => {
                success::no_error(&RULES, data)?;
                let text = format!("an event is not a message event: {problem}");
                return Err(StreamError::Malformed(text));
            }
        };
        match raw.kind.as_str() {
            "message_start" => {
                let message = raw.message.ok_or_else(|| missing("message"))?;
                self.usage.merge(message.usage.unwrap_or_default());
                events.push(Event::Start {
                    id: message.id,
                    usage: Some(self.usage.into()),
                });
            }
            "content_block_start" => {
                let block = raw.content_block.ok_or_else(|| missing("content_block"))?;
                self.block_start(raw.index.ok_or_else(|| missing("index"))?, block, events)?;
            }
            "content_block_delta" => {
                let delta = raw.delta.ok_or_else(|| missing("delta"))?;
                self.delta(raw.index.ok_or_else(|| missing("index"))?, delta, events)?;
            }
            "content_block_stop" => {
                if let Some(call) = raw.index.and_then(|index| self.calls.get_mut(&index)) {
                    call.say_whole(events);
                    let index = call.number;
                    events.push(Event::CallEnd { choice: 0, index });
                }
            }
            "message_delta" => {
                if let Some(usage) = raw.usage {
                    self.usage.merge(usage);
                    events.push(Event::Usage(self.usage.into()));
                }
                let delta = raw.delta.ok_or_else(|| missing("delta"))?;
                if let Some(reason) = delta.stop_reason.filter(|reason| !reason.is_empty()) {
                    self.say_whole(events);
                    let reason = super::finish_of(&reason);
                    events.push(Event::Finish {
                        choice: 0,
                        reason,
                        stop_sequence: delta.stop_sequence,
                    });
                }
            }
            "message_stop" => {
                self.say_whole(events);
                events.push(Event::End);
            }
            "ping" => events.push(Event::Ping),
            "error" => return Err(error::parse(&RULES, 200, data).into()),
            // The API may add kinds of events, and says that readers must let them pass.
            _ => {}
        }
        Ok(())
    }

    /// Says the inputs that came whole of the calls that have not ended by themselves.
    fn say_whole(&mut self, events: &mut Vec<Event>) {
        let mut calls: Vec<&mut Call> = self.calls.values_mut().collect();
        calls.sort_by_key(|call| call.number);
        for call in calls {
            call.say_whole(events);
        }
    }

    fn block_start(&mut self, at: u64, block: Block, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        match block.kind.as_str() {
            "text" => events.extend(
                block
                    .text
                    .filter(|text| !text.is_empty())
                    .map(|text| Event::Text { choice: 0, text }),
            ),
            "thinking" => events.extend(
                block
                    .thinking
                    .filter(|text| !text.is_empty())
                    .map(|text| Event::Thought { choice: 0, text }),
            ),
            "redacted_thinking" => events.extend(some(block.data).map(|data| Event::Redacted { choice: 0, data })),
            "tool_use" => {
                if self.calls.len() >= MAX_BLOCKS {
                    return Err(StreamError::Malformed("more than 4096 content blocks".to_owned()));
                }
                let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
                let some = |text: Option<String>| text.filter(|text| !text.is_empty());
                let id = some(block.id).unwrap_or_else(|| call_id(&self.answer_id, self.calls.len()));
                let name = some(block.name).ok_or_else(|| missing("content_block.name"))?;
                let whole = super::input(block.input.as_ref());
                let whole = whole
                    .as_object()
                    .is_some_and(|input| !input.is_empty())
                    .then(|| whole.to_string());
                self.calls.insert(at, Call { number: index, whole });
                events.push(Event::CallStart {
                    choice: 0,
                    index,
                    id,
                    name: name.into(),
                    signature: None,
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, at: u64, delta: Delta, events: &mut Vec<Event>) -> Result<(), StreamError> {
        match delta.kind.as_deref() {
            Some("text_delta") => {
                let text = delta.text.ok_or_else(|| missing("delta.text"))?;
                events.push(Event::Text { choice: 0, text });
            }
            Some("thinking_delta") => {
                let text = delta.thinking.ok_or_else(|| missing("delta.thinking"))?;
                events.push(Event::Thought { choice: 0, text });
            }
            Some("signature_delta") => {
                let signature = delta.signature.ok_or_else(|| missing("delta.signature"))?;
                events.push(Event::Signature { choice: 0, signature });
            }
            Some("input_json_delta") => {
                // Blocks of server-side tools stream their input too; they are not the caller's to run.
                let Some(call) = self.calls.get_mut(&at) else {
                    return Ok(());
                };
                let fragment = match delta.partial_json {
                    None | Some(Value::Null) => return Ok(()),
                    Some(Value::String(text)) => text,
                    Some(whole) => whole.to_string().into(),
                };
                if !fragment.is_empty() {
                    call.whole = None;
                    let index = call.number;
                    events.push(Event::CallArguments {
                        choice: 0,
                        index,
                        fragment,
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Call {
    fn say_whole(&mut self, events: &mut Vec<Event>) {
        if let Some(whole) = self.whole.take() {
            let (index, fragment) = (self.number, whole.into());
            events.push(Event::CallArguments {
                choice: 0,
                index,
                fragment,
            });
        }
    }
}

impl Decode for Decoder {
    fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        self.decode(data, events)
    }
}
